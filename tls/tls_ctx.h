/*
 * tls_ctx - what sessions have in common: certificates, trust, policy.
 *
 * A context belongs to one thread at a time: one is made for each worker, all from the same files
 * read once, and handed over before its first session. Making them is all or nothing, so that
 * a broken new certificate leaves the old contexts in use: make the new ones, hand each worker its
 * pointer, and let it call tls_ctx_retire() on the old one, which stays until its last session
 * ends.
 *
 * This is the only part of tls/ that reads files. Paths and other texts of a configuration are
 * borrowed for the call.
 */
#ifndef TLS_TLS_CTX_H
#define TLS_TLS_CTX_H

#include <stdint.h>

struct tls_ctx;
struct tls_tickets;

enum {
    TLS_CERTIFICATES_MAX = 64,
    TLS_PINS_MAX = 8,
    TLS_PIN_SIZE = 32, /* SHA-256 of the SubjectPublicKeyInfo */
    TLS_NAME_MAX = 255,
    TLS_ERROR_SIZE = 512,
};

enum tls_version { TLS_VERSION_1_2, TLS_VERSION_1_3 };

/* PEM files: the certificate with those that lead to a root behind it, and its private key. */
struct tls_files {
    const char *chain_path;
    const char *key_path;
};

/* A certificate is chosen by the name that the client asks for (dNSName, exact before wildcard) and
 * the key types it can verify; several for one name may differ in key type. A client that names
 * none of them gets the first, or one with the first one's first name and another key type. */
struct tls_server_conf {
    const struct tls_files *files;
    uint32_t file_count; /* 1 to TLS_CERTIFICATES_MAX */
    enum tls_version min_version;
    const struct tls_tickets *tickets; /* outlives the contexts; NULL: no resumption */
};

enum tls_verify {
    TLS_VERIFY_NONE, /* any certificate, except that a pin must match */
    TLS_VERIFY_PEER, /* chain to ca_path, validity, name; and a pin must match if there are any */
};

/* A pin is compared with the peer's own certificate, never with others in its chain. */
struct tls_client_conf {
    enum tls_verify verify;
    enum tls_version min_version;
    const char *ca_path; /* PEM; needed to verify */
    const uint8_t (*pins)[TLS_PIN_SIZE];
    uint32_t pin_count;            /* at most TLS_PINS_MAX */
    const struct tls_files *files; /* own certificate, or NULL */
};

struct tls_error {
    char text[TLS_ERROR_SIZE]; /* names the file and what is wrong with it */
};

/* Make `count` equal contexts. 0; -EINVAL (a file's content), -errno of reading it, or -ENOMEM,
 * with a text, and ret_ctxs untouched. */
int tls_server_ctx_create(const struct tls_server_conf *conf, uint32_t count,
                          struct tls_ctx **ret_ctxs, struct tls_error *error)
    __attribute__((warn_unused_result));
int tls_client_ctx_create(const struct tls_client_conf *conf, uint32_t count,
                          struct tls_ctx **ret_ctxs, struct tls_error *error)
    __attribute__((warn_unused_result));

/* The owner lets go: frees it now, or with its last session. Nulls the pointer and accepts NULL. */
void tls_ctx_retire(struct tls_ctx **ctx);

#endif
