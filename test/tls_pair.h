/*
 * tls_pair - a TLS client and a TLS server, joined by two pipes in memory.
 *
 * Ciphertext is shown to its receiver in steps of a chosen size, so that a test decides how records
 * are cut. Certificates come from test/tls_pki.sh, made once for each program, in a directory that
 * is removed at exit. Everything fails by cmocka's asserts.
 */
#ifndef TEST_TLS_PAIR_H
#define TEST_TLS_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "tls/tls.h"
#include "tls/tls_ctx.h"
#include "tls/tls_tickets.h"

enum { PIPE_SIZE = 256 * 1024, OUT_SIZE = 24 * 1024, STEP_ALL = PIPE_SIZE };

struct pipe_end {
    char bytes[PIPE_SIZE];
    uint32_t begin; /* first byte that the receiver has not used */
    uint32_t shown; /* what it has been shown */
    uint32_t end;
};

struct tls_pair {
    struct tls client;
    struct tls server;
    struct pipe_end to_client;
    struct pipe_end to_server;
    uint32_t step;     /* bytes by which a window grows */
    uint32_t out_size; /* room in each call */
    int client_result; /* of the last handshake call */
    int server_result;
};

/* Makes the certificates; the setup function of a group. */
int pki_setup(void **state);
int pki_teardown(void **state);

/* Path of a file of the certificates; valid until the fourth call after. */
const char *pki_path(const char *file);
void pki_pin(const char *name, uint8_t ret_pin[TLS_PIN_SIZE]);

/* A server with these certificates (names separated by blanks). */
struct tls_ctx *make_server(const char *names, enum tls_version min_version,
                            const struct tls_tickets *tickets);
/* A client that trusts `ca`, or with NULL anybody; with `pin` one whose key is that of this name.
 */
struct tls_ctx *make_client(const char *ca, const char *pin);

/* Allocated, as pipes are large. `name`: what the client asks for. */
struct tls_pair *pair_create(struct tls_ctx *client, struct tls_ctx *server, const char *name);
void pair_destroy(struct tls_pair *pair);

/* The client offers TLS 1.2 alone. */
void pair_use_1_2(struct tls_pair *pair);

/* Both shake hands until nothing moves any more; results are in the pair. */
void pair_run(struct tls_pair *pair);

/* Runs, and both must succeed. */
void pair_connect(struct tls_pair *pair);

/* Encrypts all of `data` into the pipe. */
void pair_send(struct tls_pair *pair, struct tls *from, const char *data, uint32_t len);

/* Decrypts what has been shown (all, in steps) into `out`; the last result, *ret_len bytes. */
int pair_receive(struct tls_pair *pair, struct tls *to, char *out, uint32_t size,
                 uint32_t *ret_len);

/* One decrypt call with a window of the first `shown` bytes. */
int pair_decrypt_shown(struct tls_pair *pair, struct tls *to, uint32_t shown, char *out,
                       uint32_t size, uint32_t *ret_len);

#endif
