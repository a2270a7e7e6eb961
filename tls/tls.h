/*
 * tls - one TLS session: bytes in, bytes out.
 *
 *      ciphertext received ->  io.in  \                       /-> plaintext (tls_decrypt)
 *                                      )   struct tls        (
 *      ciphertext to send  <-  io.out /                       \<- plaintext (tls_encrypt)
 *
 * A session never sees a descriptor, never waits, never logs: it returns a result and keeps a
 * reason. The caller owns all buffers. It lends a window of received ciphertext and room for
 * ciphertext to send, for the time of one call; what was used and written stands in the struct
 * afterwards. Bytes that a call left unused must be shown again, in front of those that follow.
 *
 * A server session allocates nothing before a whole ClientHello is there, so a peer that only
 * connects costs no more than this struct. While a session is idle the library keeps no buffers
 * for it. How much memory that is, is measured by test/unit/test_tls_memory.c.
 *
 * Policy (TLS 1.2 and 1.3, AEAD with ECDHE only, no renegotiation, no early data) stands in
 * tls/tls_ctx.c. A session belongs to the thread of its context.
 *
 * Shapes of use:
 *   handshake: tls_handshake() until CIPHER_OK; send io.out after each call, whatever it returned,
 *              and read more when it says CIPHER_WANT_BYTES.
 *   reading:   tls_decrypt() until CIPHER_WANT_BYTES, and only then receive more: the engine may hold
 *              bytes although the socket is quiet.
 *   end:       tls_shutdown() sends close_notify. CIPHER_CLOSED is the peer's. When the transport
 *              ends, tls_ended() tells an orderly end from a truncation.
 */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "net/cipher.h"

struct tls_ctx;
struct WOLFSSL;

/* Results are those of net/cipher.h. The -errno are -EPROTO (the peer broke the protocol, or sent an
 * alert), -EKEYREJECTED (its certificate was refused) and -ENOMEM; each is final and has a reason. */
enum {
    TLS_RECORD_DATA_MAX = 16384, /* plaintext in one record */
    TLS_RECORD_OVERHEAD = 64,    /* a bound on what a record adds */
    TLS_SILENT_MAX = 64 * 1024,  /* ciphertext without plaintext that a session takes in a row */
};

enum tls_peer { TLS_PEER_UNSEEN, TLS_PEER_OK, TLS_PEER_HAS_NO_PIN, TLS_PEER_HAS_OTHER_NAME };

struct tls {
    struct cipher cipher; /* for a stream (net/stream.h); first, see there */
    uint32_t magic;
    uint8_t state;    /* enum in tls_wolfssl.c; written by tls_enter() alone */
    uint8_t peer;     /* enum tls_peer: what its certificate came to */
    bool is_complete; /* the handshake; also when the session has failed since */
    bool close_sent;
    int error;            /* what failed, or 0 */
    uint32_t held;        /* plaintext of a record that the library holds, or 0 */
    uint32_t silent;      /* ciphertext used since there was plaintext */
    struct tls_ctx *ctx;  /* counted: lives at least as long as the session */
    struct WOLFSSL *ssl;  /* the library's part; NULL before the ClientHello */
    const char *name;     /* a client's; borrowed until the handshake is complete */
    struct cipher_io *io; /* set while a call runs */
    const char *reason;   /* static text */
};

struct tls_info {
    const char *version; /* "TLSv1.3"; static text, as all here */
    const char *cipher;  /* the IANA name */
    bool resumed;
};

/* Begins a session in memory that the caller owns until tls_fini(). */
void tls_init_server(struct tls *tls, struct tls_ctx *ctx);

/* `name` is announced (SNI) and, where the context verifies, must be the certificate's: a host name
 * or an address in its usual notation (announced is a name only). Borrowed until the handshake is
 * complete. NULL: neither, and a context that verifies refuses it. 0, -EINVAL or -ENOMEM. */
int tls_init_client(struct tls *tls, struct tls_ctx *ctx, const char *name)
    __attribute__((warn_unused_result));

/* Ends the session and frees what the library holds. Harmless on one that has ended or is zero. */
void tls_fini(struct tls *tls);

/* Goes on with the handshake. CIPHER_OK when it is complete. */
int tls_handshake(struct tls *tls, struct cipher_io *io) __attribute__((warn_unused_result));

/* Fills `out` with plaintext. CIPHER_OK: at least one byte; call again before receiving more. Any
 * other result: none. A peer that goes on with records that bring none (empty ones, RFC 8446
 * section 5.4, or key updates) is refused after TLS_SILENT_MAX bytes, checked after each call. */
int tls_decrypt(struct tls *tls, struct cipher_io *io, char *out, uint32_t size, uint32_t *ret_len)
    __attribute__((warn_unused_result));

/* Encrypts as much of `data` as io.out has room for. CIPHER_OK: all of it; CIPHER_WANT_FLUSH: the first
 * *ret_taken bytes (may be none); offer the rest again, the same bytes in front. */
int tls_encrypt(struct tls *tls, struct cipher_io *io, const char *data, uint32_t len,
                uint32_t *ret_taken) __attribute__((warn_unused_result));

/* Writes close_notify, once. CIPHER_OK, or CIPHER_WANT_FLUSH. Nothing can be encrypted afterwards. */
int tls_shutdown(struct tls *tls, struct cipher_io *io) __attribute__((warn_unused_result));

/* The transport has ended and all its bytes were shown: 0 after the peer's close_notify, else
 * -ECONNABORTED: what came may have been cut short by anybody. */
int tls_ended(const struct tls *tls) __attribute__((warn_unused_result));

/* Why the last call failed, or NULL. */
const char *tls_reason(const struct tls *tls);

/* After the handshake (assert), whatever has come since. */
void tls_get_info(const struct tls *tls, struct tls_info *ret_info);

#endif
