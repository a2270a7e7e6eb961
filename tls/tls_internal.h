/*
 * tls_internal - what the files of tls/ share; nobody else includes this.
 *
 * A server context holds a library context for each certificate, and tls_ctx_choose() picks one by
 * the ClientHello; a client context holds one. Sessions are counted, so that a retired context goes
 * with its last session.
 */
#ifndef TLS_TLS_INTERNAL_H
#define TLS_TLS_INTERNAL_H

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "tls/tls.h"
#include "tls/tls_ctx.h"
#include "tls/tls_hello.h"
#include "tls/tls_tickets.h"

enum { TLS_CTX_MAGIC = 0x746c7363 };

struct tls_ctx_item {
    WOLFSSL_CTX *wolf;
    enum tls_key key;
    char *names; /* dNSNames, each with its NUL, and an empty one at the end; NULL without any */
};

struct tls_ctx {
    uint32_t magic;
    uint32_t users; /* sessions */
    bool is_server;
    bool is_retired;
    enum tls_verify verify;
    uint32_t pin_count;
    uint8_t pins[TLS_PINS_MAX][TLS_PIN_SIZE];
    const struct tls_tickets *tickets; /* borrowed */
    uint32_t item_count;
    struct tls_ctx_item items[]; /* item_count of them */
};

/* The certificate for a ClientHello; never NULL. */
WOLFSSL_CTX *tls_ctx_choose(const struct tls_ctx *ctx, const struct tls_hello *hello);

/* A handshake between a server context and a client of ours, in memory. NULL when it succeeds, else
 * why it does not (static text). */
const char *tls_prove(struct tls_ctx *server);

void tls_ctx_acquire(struct tls_ctx *ctx);
void tls_ctx_release(struct tls_ctx *ctx);

/* Callbacks of the library; its prototypes. */
int tls_on_receive(WOLFSSL *ssl, char *bytes, int size, void *user);
int tls_on_send(WOLFSSL *ssl, char *bytes, int len, void *user);
int tls_on_certificate(int preverify, WOLFSSL_X509_STORE_CTX *store);
int tls_on_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac,
                  int seal, unsigned char *ticket, int len, int *ret_len, void *user);

#endif
