/*
 * tls_raw - a TLS 1.3 client made by hand, for records that no library would send.
 *
 * It speaks one suite (TLS_AES_128_GCM_SHA256 with X25519), believes any certificate, and shakes
 * hands with a server session in memory. After that the test chooses each record's inner plaintext,
 * type and padding itself (RFC 8446 section 5.4). Everything fails by cmocka's asserts.
 */
#ifndef TEST_TLS_RAW_H
#define TEST_TLS_RAW_H

#include <stdint.h>

#include "tls/tls.h"

enum {
    RAW_HASH_SIZE = 32,
    RAW_KEY_SIZE = 16,
    RAW_IV_SIZE = 12,
    RAW_INNER_MAX = 16384 + 1, /* RFC 8446 section 5.4 */
    RAW_RECORD_MAX = 5 + 16384 + 256,
    RAW_TRANSCRIPT_MAX = 16384,
};

/* Inner content types. */
enum { RAW_NO_TYPE = 0, RAW_ALERT = 21, RAW_HANDSHAKE = 22, RAW_DATA = 23 };

/* One direction. */
struct raw_keys {
    uint8_t secret[RAW_HASH_SIZE];
    uint8_t key[RAW_KEY_SIZE];
    uint8_t iv[RAW_IV_SIZE];
    uint64_t sequence;
};

struct tls_raw {
    struct raw_keys tx; /* what the next record is sealed with */
    uint8_t transcript[RAW_TRANSCRIPT_MAX];
    uint32_t transcript_len;
};

/* Brings `server`, which has been initialised, to CIPHER_OK. */
void raw_connect(struct tls_raw *raw, struct tls *server);

/* Writes a record: `len` bytes of content, the type (none with RAW_NO_TYPE) and `padding` zeros
 * behind it. `record` has room for RAW_RECORD_MAX bytes. Returns its length. */
uint32_t raw_seal(struct tls_raw *raw, const void *content, uint32_t len, uint8_t type,
                  uint32_t padding, uint8_t *record);

#endif
