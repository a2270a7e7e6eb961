/*
 * tls_cert - the few facts of an X.509 certificate that choosing and pinning need.
 *
 * Pure: walks DER within its bounds, allocates nothing, judges nothing (signatures, dates and trust
 * are the library's). Pointers lead into the caller's bytes.
 */
#ifndef TLS_TLS_CERT_H
#define TLS_TLS_CERT_H

#include <stdbool.h>
#include <stdint.h>

enum tls_key {
    TLS_KEY_OTHER,
    TLS_KEY_RSA,
    TLS_KEY_P256,
    TLS_KEY_P384,
    TLS_KEY_P521,
    TLS_KEY_ED25519
};

struct tls_cert {
    enum tls_key key;
    const uint8_t *spki; /* SubjectPublicKeyInfo, with its header */
    uint32_t spki_len;
    const uint8_t *names; /* content of subjectAltName, or NULL */
    uint32_t names_len;
};

/* 0, or -EINVAL when the bytes are no certificate. */
int tls_cert_parse(const void *der, uint32_t len, struct tls_cert *ret_cert)
    __attribute__((warn_unused_result));

/* The next dNSName, in lower case; `at` starts at 0. False at the end. Names that are empty, longer
 * than the buffer or hold anything but printable ASCII are passed over. */
bool tls_cert_next_name(const struct tls_cert *cert, uint32_t *at, char *ret_name, uint32_t size);

/* Is the certificate for that host? RFC 9525: an address must stand as iPAddress; a name as
 * dNSName, where "*" may stand for the leftmost label; the subject's common name never counts. Case
 * and one dot at the end of `name` do not matter. */
bool tls_cert_is_for(const struct tls_cert *cert, const char *name);

#endif
