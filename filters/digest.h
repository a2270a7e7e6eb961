/*
 * digest - SHA-256 of bytes that come in pieces, and public-key signatures over such a sum.
 *
 * The one file of filters/ that names wolfSSL is digest.c; its state is embedded here as plain
 * memory, so that owners need neither the library's headers nor an allocation. Pure computation:
 * nothing here waits, logs or fails because of what the bytes are. A digest in work belongs to one
 * thread and ends with digest_final() or digest_drop().
 */
#ifndef FILTERS_DIGEST_H
#define FILTERS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum {
    DIGEST_SIZE = 32,
    DIGEST_HEX_SIZE = 65,    /* lower-case digits and the terminating NUL */
    DIGEST_STATE_SIZE = 256, /* holds the library's state; checked when digest.c is compiled */
};

struct digest {
    uint32_t magic;
    _Alignas(16) unsigned char state[DIGEST_STATE_SIZE];
};

/* Begins. 0, or -ENOMEM when the library cannot set itself up. */
int digest_init(struct digest *digest) __attribute__((warn_unused_result));

void digest_update(struct digest *digest, const void *data, size_t len);

/* A second one that goes on from here by itself. 0 or -ENOMEM. */
int digest_copy(const struct digest *digest, struct digest *ret_copy)
    __attribute__((warn_unused_result));

/* Ends: writes the sum. The digest may be digest_init()ed again. */
void digest_final(struct digest *digest, uint8_t ret_sum[DIGEST_SIZE]);

/* Ends without a sum. Harmless on a digest that has ended or that is all zero. */
void digest_drop(struct digest *digest);

enum signature_key { SIGNATURE_RSA, SIGNATURE_ED25519 };

enum {
    SIGNATURE_KEY_MAX = 2048,      /* octets of a public key that is looked at */
    SIGNATURE_MAX = 1024,          /* octets of a signature: RSA with 8192 bits */
    SIGNATURE_RSA_BITS_MIN = 1024, /* RFC 8301, 3.2 */
    SIGNATURE_RSA_BITS_MAX = 8192,
    SIGNATURE_RSA_EXPONENT_BITS_MAX = 17, /* 65537; the arithmetic grows with it */
};

/*
 * Verifies a signature over a SHA-256 sum: RSASSA-PKCS1-v1_5 (`key` is a SubjectPublicKeyInfo or a bare
 * RSAPublicKey, DER) or Ed25519 of the sum's octets (`key` is 32 octets). 0: it is good; -EBADMSG: it
 * is not; -EINVAL: no usable key; -ERANGE: an RSA key of a size or exponent that is not accepted; -ENOMEM.
 */
int signature_verify(enum signature_key kind, const uint8_t *key, uint32_t key_len,
                     const uint8_t *signature, uint32_t signature_len,
                     const uint8_t sum[DIGEST_SIZE]) __attribute__((warn_unused_result));

void digest_hex(const uint8_t sum[DIGEST_SIZE], char ret_hex[DIGEST_HEX_SIZE]);

#endif
