/*
 * credentials - the TLS contexts of one worker: the certificates it shows to clients, and for each
 * upstream group what it trusts and shows there.
 *
 * Made on the main thread for all workers at once from files read once, all or nothing, then handed
 * over: a worker owns its own, and sessions under way keep the contexts that they began with. The
 * main thread makes new ones on SIGHUP; a fault in them leaves the old ones in use.
 */
#ifndef CORE_CREDENTIALS_H
#define CORE_CREDENTIALS_H

#include "core/config.h"
#include "tls/tls_ctx.h"

struct tls_tickets;

struct credentials {
    struct tls_ctx *server;                        /* NULL: no certificate is configured */
    struct tls_ctx *clients[CONFIG_UPSTREAMS_MAX]; /* NULL where [upstream] tls = off */
};

struct credentials_error {
    uint32_t line;                                    /* of the configuration; 0: not known */
    char text[TLS_ERROR_SIZE + CONFIG_NAME_MAX + 64]; /* "[SECTION] key: FILE: reason" */
};

/* Fills `count` credentials (one for each worker; at most CONFIG_WORKERS_MAX). 0, or -errno with a
 * text and nothing to give back. `tickets` is borrowed for as long as the contexts live. */
int credentials_create(const struct config *config, const struct tls_tickets *tickets,
                       uint32_t count, struct credentials *ret_all, struct credentials_error *error)
    __attribute__((warn_unused_result));

/* Lets go of the contexts: each is freed now, or with its last session. On the owner's thread. */
void credentials_retire(struct credentials *credentials);

#endif
