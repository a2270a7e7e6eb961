/*
 * cipher - what may stand between a socket's bytes and a stream's owner, as TLS does.
 *
 *      bytes received ->  io.in  \                  /-> plaintext (decrypt)
 *                                  )   cipher      (
 *      bytes to send  <-  io.out /                  \<- plaintext (encrypt)
 *
 * net moves the bytes and knows no protocol; the part that knows one implements these operations
 * (tls/tls.h). A cipher never sees a descriptor, never waits, never keeps a pointer beyond the call.
 * The caller lends a window of received bytes and room for bytes to send; what was used and written
 * stands in the struct afterwards. Bytes that a call left unused must be shown again, in front of
 * those that follow.
 */
#ifndef NET_CIPHER_H
#define NET_CIPHER_H

#include <stdint.h>

/* Results besides -errno, which are final: later calls return them again, and io.out may hold an
 * alert that should still be sent. */
enum cipher_result {
    CIPHER_OK,
    CIPHER_WANT_BYTES, /* all is used, or the rest is incomplete */
    CIPHER_WANT_FLUSH, /* io.out has too little room: send it and call again */
    CIPHER_CLOSED,     /* the peer's orderly end: no more plaintext will come */
};

enum { CIPHER_OUT_MIN = 1024 }; /* room that makes progress certain in any call */

struct cipher_io {
    const char *in; /* borrowed for the call */
    uint32_t in_len;
    uint32_t in_used; /* counts on from what the caller set: bytes of `in` that are done with */
    char *out;        /* borrowed for the call */
    uint32_t out_size;
    uint32_t out_len; /* counts on: bytes of `out` that are to be sent */
};

struct cipher;

struct cipher_ops {
    /* Until CIPHER_OK, before everything else. */
    int (*handshake)(struct cipher *cipher, struct cipher_io *io);
    /* CIPHER_OK: at least one byte; call again before receiving more. Any other result: none.
     * CIPHER_WANT_BYTES: all of io.in is used. */
    int (*decrypt)(struct cipher *cipher, struct cipher_io *io, char *out, uint32_t size,
                   uint32_t *ret_len);
    /* CIPHER_OK: all of `data`; CIPHER_WANT_FLUSH: its first *ret_taken bytes; offer the rest again.
     */
    int (*encrypt)(struct cipher *cipher, struct cipher_io *io, const char *data, uint32_t len,
                   uint32_t *ret_taken);
    /* Says that no more will come, once; nothing can be encrypted afterwards. */
    int (*shutdown)(struct cipher *cipher, struct cipher_io *io);
    /* The transport has ended: 0 after the peer's orderly end, else -ECONNABORTED. */
    int (*ended)(const struct cipher *cipher);
};

/* The first member of the struct that implements it. */
struct cipher {
    const struct cipher_ops *ops;
};

#endif
