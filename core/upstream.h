/*
 * upstream - a group of servers: which one is next, what they offer, which are down.
 *
 * One struct per [upstream:NAME], shared by all workers. The configuration in it is immutable;
 * everything else is an atomic word, written by whichever worker learns something and read by all
 * (design, section 4). Nothing here owns connections: those are leases (core/lease.h), one worker's
 * each.
 */
#ifndef CORE_UPSTREAM_H
#define CORE_UPSTREAM_H

#include <stdatomic.h>

#include "core/config.h"
#include "core/smtp_command.h"

struct upstream_server {
    const struct config_server *config;
    _Atomic uint32_t known;       /* 1 once an EHLO reply has been seen */
    _Atomic uint32_t extensions;  /* enum smtp_ext, of the newest EHLO reply */
    _Atomic uint64_t size;        /* its SIZE value; 0: none given */
    _Atomic uint32_t health;      /* untried, up or down, by the newest attempt */
    _Atomic uint32_t connections; /* open or opening, all workers */
};

struct upstream {
    const struct config_upstream *config;
    _Atomic uint32_t turn; /* round-robin */
    struct upstream_server servers[CONFIG_SERVERS_MAX];
};

void upstream_init(struct upstream *upstream, const struct config_upstream *config);

/*
 * The next server to try: in turn over those that are up, then over those that are down; `tried` is
 * a set of server indexes (bit per server) not to be chosen again. Servers at their `max` are
 * passed over. -1: none left.
 */
int upstream_choose(struct upstream *upstream, uint32_t tried);

/* What can be offered to clients: the intersection over the servers that are up and known (over the
 * known ones when all are down); *ret_size is the smallest SIZE, 0 for none. 0 extensions when
 * nothing is known yet. */
uint32_t upstream_extensions(struct upstream *upstream, uint64_t *ret_size);

/* True when each server has answered EHLO or has failed at least once. */
bool upstream_is_probed(const struct upstream *upstream);

/* Notes an attempt's outcome. True when this changed the server between up and down (the caller
 * logs it). */
bool upstream_note_up(struct upstream_server *server, uint32_t extensions, uint64_t size);
bool upstream_note_down(struct upstream_server *server);

#endif
