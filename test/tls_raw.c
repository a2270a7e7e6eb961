/*
 * tls_raw - see tls_raw.h for what it gives. Section numbers are RFC 8446's.
 */
#include "test/tls_raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/curve25519.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/random.h>

enum {
    HEADER = 5,
    TAG = 16,
    RANDOM = 32,
    SHARE = 32,
    SERVER_HELLO = 2,
    FINISHED = 20,
    FLIGHT_MAX = 16384,
    LABEL_MAX = 80,
};

/* What the handshake needs and the session does not. */
struct handshake {
    curve25519_key key;
    struct raw_keys server;
    struct raw_keys client;
    uint8_t secret[RAW_HASH_SIZE]; /* of the key schedule, section 7.1 */
    uint8_t flight[FLIGHT_MAX];    /* what the server sent */
    uint32_t flight_len;
};

/* ---- key schedule (section 7.1) ---- */

static void expand(const uint8_t *secret, const char *label, const uint8_t *context,
                   uint32_t context_len, uint8_t *out, uint32_t out_len)
{
    uint8_t info[LABEL_MAX];
    uint32_t label_len = (uint32_t)strlen(label);
    assert_true(10 + label_len + context_len <= sizeof(info));
    info[0] = 0;
    info[1] = (uint8_t)out_len;
    info[2] = (uint8_t)(6 + label_len);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, label_len);
    info[9 + label_len] = (uint8_t)context_len;
    if (context_len > 0) {
        memcpy(info + 10 + label_len, context, context_len);
    }
    assert_int_equal(wc_HKDF_Expand(WC_SHA256, secret, RAW_HASH_SIZE, info,
                                    10 + label_len + context_len, out, out_len),
                     0);
}

static void derive(const uint8_t *secret, const char *label, const uint8_t *messages,
                   uint32_t messages_len, uint8_t *out)
{
    uint8_t sum[RAW_HASH_SIZE];
    assert_int_equal(wc_Sha256Hash(messages, messages_len, sum), 0);
    expand(secret, label, sum, sizeof(sum), out, RAW_HASH_SIZE);
}

/* The schedule's next secret, from the one before and `input`. */
static void extract(uint8_t secret[RAW_HASH_SIZE], const uint8_t *input)
{
    uint8_t salt[RAW_HASH_SIZE];
    uint8_t material[RAW_HASH_SIZE] = {0};
    derive(secret, "derived", (const uint8_t *)"", 0, salt);
    if (input != NULL) {
        memcpy(material, input, sizeof(material));
    }
    assert_int_equal(
        wc_HKDF_Extract(WC_SHA256, salt, sizeof(salt), material, sizeof(material), secret), 0);
}

static void derive_keys(const struct tls_raw *raw, const uint8_t *secret, const char *label,
                        struct raw_keys *keys)
{
    derive(secret, label, raw->transcript, raw->transcript_len, keys->secret);
    expand(keys->secret, "key", NULL, 0, keys->key, sizeof(keys->key));
    expand(keys->secret, "iv", NULL, 0, keys->iv, sizeof(keys->iv));
    keys->sequence = 0;
}

/* ---- records (sections 5.2 and 5.3) ---- */

static void next_nonce(struct raw_keys *keys, uint8_t nonce[RAW_IV_SIZE])
{
    memcpy(nonce, keys->iv, RAW_IV_SIZE);
    for (int i = 0; i < 8; i++) {
        nonce[RAW_IV_SIZE - 1 - i] ^= (uint8_t)(keys->sequence >> (8 * i));
    }
    keys->sequence++;
}

static void put_header(uint8_t *record, uint8_t type, uint32_t len)
{
    record[0] = type;
    record[1] = 3;
    record[2] = 3;
    record[3] = (uint8_t)(len >> 8);
    record[4] = (uint8_t)len;
}

static uint32_t seal(struct raw_keys *keys, const uint8_t *inner, uint32_t len, uint8_t *record)
{
    Aes aes;
    uint8_t nonce[RAW_IV_SIZE];
    next_nonce(keys, nonce);
    put_header(record, RAW_DATA, len + TAG);
    assert_int_equal(wc_AesInit(&aes, NULL, INVALID_DEVID), 0);
    assert_int_equal(wc_AesGcmSetKey(&aes, keys->key, sizeof(keys->key)), 0);
    assert_int_equal(wc_AesGcmEncrypt(&aes, record + HEADER, inner, len, nonce, sizeof(nonce),
                                      record + HEADER + len, TAG, record, HEADER),
                     0);
    wc_AesFree(&aes);
    return HEADER + len + TAG;
}

/* Opens the record of `len` bytes behind its header; returns the length of what is inside, its type
 * included. */
static uint32_t unseal(struct raw_keys *keys, const uint8_t *record, uint32_t len, uint8_t *inner)
{
    Aes aes;
    uint8_t nonce[RAW_IV_SIZE];
    assert_true(len > TAG);
    next_nonce(keys, nonce);
    assert_int_equal(wc_AesInit(&aes, NULL, INVALID_DEVID), 0);
    assert_int_equal(wc_AesGcmSetKey(&aes, keys->key, sizeof(keys->key)), 0);
    assert_int_equal(wc_AesGcmDecrypt(&aes, inner, record + HEADER, len - TAG, nonce, sizeof(nonce),
                                      record + HEADER + len - TAG, TAG, record, HEADER),
                     0);
    wc_AesFree(&aes);
    return len - TAG;
}

uint32_t raw_seal(struct tls_raw *raw, const void *content, uint32_t len, uint8_t type,
                  uint32_t padding, uint8_t *record)
{
    static uint8_t inner[RAW_INNER_MAX];
    uint32_t inner_len = len + (type != RAW_NO_TYPE) + padding;
    assert_true(inner_len <= sizeof(inner));
    memset(inner, 0, inner_len);
    if (len > 0) {
        memcpy(inner, content, len);
    }
    if (type != RAW_NO_TYPE) {
        inner[len] = type;
    }
    return seal(&raw->tx, inner, inner_len, record);
}

/* ---- handshake ---- */

static void remember(struct tls_raw *raw, const uint8_t *message, uint32_t len)
{
    assert_true(raw->transcript_len + len <= sizeof(raw->transcript));
    memcpy(raw->transcript + raw->transcript_len, message, len);
    raw->transcript_len += len;
}

/* The ClientHello (section 4.1.2), as a record. */
static uint32_t put_hello(struct tls_raw *raw, struct handshake *handshake, uint8_t *record)
{
    static const uint8_t front[] = {1, 0, 0, 0, 3, 3};
    /* No session id, one suite, no compression; extensions, and their length before them: versions,
     * groups (the second is the certificate's), signatures, and the key's head. */
    static const uint8_t back[] = {
        0, 0,  2, 0x13, 0x01, 1, 0, 0, 69, 0, 43, 0, 3, 2, 3, 4,  0, 10, 0, 6,  0, 4,  0, 29,
        0, 23, 0, 13,   0,    8, 0, 6, 4,  3, 8,  4, 4, 1, 0, 51, 0, 38, 0, 36, 0, 29, 0, SHARE,
    };
    WC_RNG rng;
    word32 share_len = SHARE;
    uint8_t *at = record + HEADER;
    memcpy(at, front, sizeof(front));
    assert_int_equal(wc_InitRng(&rng), 0);
    assert_int_equal(wc_RNG_GenerateBlock(&rng, at + sizeof(front), RANDOM), 0);
    assert_int_equal(wc_curve25519_init(&handshake->key), 0);
    assert_int_equal(wc_curve25519_make_key(&rng, SHARE, &handshake->key), 0);
    assert_int_equal(wc_FreeRng(&rng), 0);
    memcpy(at + sizeof(front) + RANDOM, back, sizeof(back));
    uint32_t len = sizeof(front) + RANDOM + sizeof(back) + SHARE;
    assert_int_equal(wc_curve25519_export_public_ex(&handshake->key, at + len - SHARE, &share_len,
                                                    EC25519_LITTLE_ENDIAN),
                     0);
    uint32_t extensions = len - (uint32_t)sizeof(front) - RANDOM - 9;
    at[sizeof(front) + RANDOM + 8] = (uint8_t)extensions;
    at[3] = (uint8_t)(len - 4);
    put_header(record, RAW_HANDSHAKE, len);
    remember(raw, at, len);
    return HEADER + len;
}

static int shake(struct tls *server, struct handshake *handshake, const uint8_t *record,
                 uint32_t len)
{
    struct cipher_io io = {.in = (const char *)record,
                           .in_len = len,
                           .out = (char *)handshake->flight,
                           .out_size = sizeof(handshake->flight)};
    int result = tls_handshake(server, &io);
    assert_int_equal(io.in_used, len);
    handshake->flight_len = io.out_len;
    return result;
}

/* The server's share (section 4.2.8) out of its hello. */
static const uint8_t *share_of(const uint8_t *message, uint32_t len)
{
    uint32_t at = 4 + 2 + RANDOM;
    at += 1 + message[at] + 2 + 1 + 2;
    while (at + 4 <= len) {
        uint32_t type = (uint32_t)message[at] << 8 | message[at + 1];
        uint32_t size = (uint32_t)message[at + 2] << 8 | message[at + 3];
        if (type == 51 && size == 4 + SHARE && at + 4 + size <= len) {
            return message + at + 8;
        }
        at += 4 + size;
    }
    fail_msg("no X25519 share");
    return NULL;
}

static void agree(struct tls_raw *raw, struct handshake *handshake, const uint8_t *message,
                  uint32_t len)
{
    curve25519_key theirs;
    uint8_t shared[SHARE];
    word32 shared_len = sizeof(shared);
    assert_int_equal(message[0], SERVER_HELLO);
    assert_int_equal(wc_curve25519_init(&theirs), 0);
    assert_int_equal(wc_curve25519_import_public_ex(share_of(message, len), SHARE, &theirs,
                                                    EC25519_LITTLE_ENDIAN),
                     0);
#ifdef WOLFSSL_CURVE25519_BLINDING
    WC_RNG rng;
    assert_int_equal(wc_InitRng(&rng), 0);
    assert_int_equal(wc_curve25519_set_rng(&handshake->key, &rng), 0);
#endif
    assert_int_equal(wc_curve25519_shared_secret_ex(&handshake->key, &theirs, shared, &shared_len,
                                                    EC25519_LITTLE_ENDIAN),
                     0);
#ifdef WOLFSSL_CURVE25519_BLINDING
    assert_int_equal(wc_FreeRng(&rng), 0);
#endif
    wc_curve25519_free(&theirs);
    remember(raw, message, len);
    static const uint8_t zeros[RAW_HASH_SIZE];
    uint8_t none[RAW_HASH_SIZE] = {0};
    assert_int_equal(
        wc_HKDF_Extract(WC_SHA256, zeros, sizeof(zeros), none, sizeof(none), handshake->secret), 0);
    extract(handshake->secret, shared);
    derive_keys(raw, handshake->secret, "s hs traffic", &handshake->server);
    derive_keys(raw, handshake->secret, "c hs traffic", &handshake->client);
}

/* All messages up to the server's Finished go into the transcript. Messages and records need not begin
 * together, so only the last message is looked at: Finished has a fixed size. */
static void read_flight(struct tls_raw *raw, struct handshake *handshake)
{
    uint8_t inner[RAW_RECORD_MAX];
    uint32_t at = 0;
    while (at + HEADER <= handshake->flight_len) {
        const uint8_t *record = handshake->flight + at;
        uint32_t len = (uint32_t)record[3] << 8 | record[4];
        assert_true(at + HEADER + len <= handshake->flight_len);
        if (at == 0) {
            agree(raw, handshake, record + HEADER, len);
        } else if (record[0] == RAW_DATA) {
            uint32_t inner_len = unseal(&handshake->server, record, len, inner);
            assert_int_equal(inner[inner_len - 1], RAW_HANDSHAKE);
            remember(raw, inner, inner_len - 1);
        }
        at += HEADER + len;
    }
    assert_int_equal(at, handshake->flight_len);
    assert_int_equal(raw->transcript[raw->transcript_len - 4 - RAW_HASH_SIZE], FINISHED);
}

static uint32_t put_finished(const struct tls_raw *raw, struct handshake *handshake,
                             uint8_t *record)
{
    uint8_t message[4 + RAW_HASH_SIZE + 1] = {FINISHED, 0, 0, RAW_HASH_SIZE};
    uint8_t key[RAW_HASH_SIZE];
    uint8_t sum[RAW_HASH_SIZE];
    Hmac hmac;
    expand(handshake->client.secret, "finished", NULL, 0, key, sizeof(key));
    assert_int_equal(wc_Sha256Hash(raw->transcript, raw->transcript_len, sum), 0);
    assert_int_equal(wc_HmacInit(&hmac, NULL, INVALID_DEVID), 0);
    assert_int_equal(wc_HmacSetKey(&hmac, WC_SHA256, key, sizeof(key)), 0);
    assert_int_equal(wc_HmacUpdate(&hmac, sum, sizeof(sum)), 0);
    assert_int_equal(wc_HmacFinal(&hmac, message + 4), 0);
    wc_HmacFree(&hmac);
    message[4 + RAW_HASH_SIZE] = RAW_HANDSHAKE;
    return seal(&handshake->client, message, sizeof(message), record);
}

void raw_connect(struct tls_raw *raw, struct tls *server)
{
    static struct handshake handshake;
    uint8_t record[RAW_RECORD_MAX];
    memset(&handshake, 0, sizeof(handshake));
    memset(raw, 0, sizeof(*raw));
    uint32_t len = put_hello(raw, &handshake, record);
    assert_int_equal(shake(server, &handshake, record, len), CIPHER_WANT_BYTES);
    read_flight(raw, &handshake);
    len = put_finished(raw, &handshake, record);
    extract(handshake.secret, NULL);
    derive_keys(raw, handshake.secret, "c ap traffic", &raw->tx);
    assert_int_equal(shake(server, &handshake, record, len), CIPHER_OK);
    wc_curve25519_free(&handshake.key);
}
