/*
 * digest - see filters/digest.h.
 *
 * wolfSSL's software SHA-256 fails on wrong arguments only, which is our own mistake: the results
 * of update and final are asserted. wc_InitSha256() may allocate in some builds of the library.
 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/rsa.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include "filters/digest.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum {
    DIGEST_MAGIC = 0x44494745,
    DIGEST_STEP_MAX = 1 << 30, /* wolfSSL counts in 32 bits */
};

_Static_assert(sizeof(wc_Sha256) <= DIGEST_STATE_SIZE, "the library's state has outgrown its room");
_Static_assert(_Alignof(wc_Sha256) <= 16, "the library's state needs more alignment");
_Static_assert((int)DIGEST_SIZE == (int)WC_SHA256_DIGEST_SIZE, "size of a SHA-256 sum");

static wc_Sha256 *state_of(struct digest *digest)
{
    assert(digest->magic == DIGEST_MAGIC);
    return (wc_Sha256 *)(void *)digest->state;
}

int digest_init(struct digest *digest)
{
    digest->magic = DIGEST_MAGIC;
    if (wc_InitSha256(state_of(digest)) != 0) {
        digest->magic = 0;
        return -ENOMEM;
    }
    return 0;
}

void digest_update(struct digest *digest, const void *data, size_t len)
{
    const unsigned char *at = data;
    while (len > 0) {
        uint32_t step = len < DIGEST_STEP_MAX ? (uint32_t)len : DIGEST_STEP_MAX;
        int result = wc_Sha256Update(state_of(digest), at, step);
        assert(result == 0);
        at += step;
        len -= step;
    }
}

int digest_copy(const struct digest *digest, struct digest *ret_copy)
{
    struct digest from = *digest; /* the library wants to write to it */
    *ret_copy = (struct digest){.magic = DIGEST_MAGIC};
    if (wc_Sha256Copy(state_of(&from), state_of(ret_copy)) != 0) {
        ret_copy->magic = 0;
        return -ENOMEM;
    }
    return 0;
}

void digest_final(struct digest *digest, uint8_t ret_sum[DIGEST_SIZE])
{
    int result = wc_Sha256Final(state_of(digest), ret_sum);
    assert(result == 0);
    digest_drop(digest);
}

void digest_drop(struct digest *digest)
{
    if (digest->magic != DIGEST_MAGIC) {
        return;
    }
    wc_Sha256Free(state_of(digest));
    digest->magic = 0;
}

void digest_hex(const uint8_t sum[DIGEST_SIZE], char ret_hex[DIGEST_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        ret_hex[2 * i] = digits[sum[i] >> 4];
        ret_hex[2 * i + 1] = digits[sum[i] & 15];
    }
    ret_hex[DIGEST_HEX_SIZE - 1] = '\0';
}

/* ---- signatures ---- */

/* The DigestInfo that a PKCS #1 v1.5 signature over a SHA-256 sum holds (RFC 8017, 9.2). */
static const uint8_t DIGEST_INFO[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                      0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

/* The modulus' bits, from the DER: a size that is not accepted must cost no arithmetic. */
static uint32_t rsa_bits(RsaKey *key)
{
    return (uint32_t)mp_count_bits(&key->n);
}

/* A key's owner could make the exponent as long as the modulus: that costs what signing costs. */
static bool is_accepted(RsaKey *key)
{
    uint32_t bits = rsa_bits(key);
    return bits >= SIGNATURE_RSA_BITS_MIN && bits <= SIGNATURE_RSA_BITS_MAX &&
           (uint32_t)mp_count_bits(&key->e) <= SIGNATURE_RSA_EXPONENT_BITS_MAX;
}

static int rsa_open(RsaKey *key, const uint8_t *signature, uint32_t signature_len,
                    const uint8_t sum[DIGEST_SIZE])
{
    uint8_t copy[SIGNATURE_MAX];
    uint8_t *info = NULL;
    if (!is_accepted(key)) {
        return -ERANGE;
    }
    if (signature_len != (rsa_bits(key) + 7) / 8) {
        return -EBADMSG;
    }
    memcpy(copy, signature, signature_len);
    int len = wc_RsaSSL_VerifyInline(copy, signature_len, &info, key);
    bool is_good = len == (int)(sizeof(DIGEST_INFO) + DIGEST_SIZE) &&
                   memcmp(info, DIGEST_INFO, sizeof(DIGEST_INFO)) == 0 &&
                   memcmp(info + sizeof(DIGEST_INFO), sum, DIGEST_SIZE) == 0;
    return is_good ? 0 : -EBADMSG;
}

static int rsa_verify(const uint8_t *der, uint32_t der_len, const uint8_t *signature,
                      uint32_t signature_len, const uint8_t sum[DIGEST_SIZE])
{
    RsaKey key;
    word32 at = 0;
    if (wc_InitRsaKey(&key, NULL) != 0) {
        return -ENOMEM;
    }
    int decoded = wc_RsaPublicKeyDecode(der, &at, &key, der_len);
    int result =
        decoded == 0 && at == der_len ? rsa_open(&key, signature, signature_len, sum) : -EINVAL;
    wc_FreeRsaKey(&key);
    return result;
}

static int ed25519_verify(const uint8_t *octets, uint32_t len, const uint8_t *signature,
                          uint32_t signature_len, const uint8_t sum[DIGEST_SIZE])
{
    ed25519_key key;
    int is_good = 0;
    if (len != ED25519_PUB_KEY_SIZE) {
        return -EINVAL;
    }
    if (signature_len != ED25519_SIG_SIZE) {
        return -EBADMSG;
    }
    if (wc_ed25519_init(&key) != 0) {
        return -ENOMEM;
    }
    int result = wc_ed25519_import_public(octets, len, &key) == 0 ? 0 : -EINVAL;
    if (result == 0) {
        int verified =
            wc_ed25519_verify_msg(signature, signature_len, sum, DIGEST_SIZE, &is_good, &key);
        result = verified == 0 && is_good == 1 ? 0 : -EBADMSG;
    }
    wc_ed25519_free(&key);
    return result;
}

int signature_verify(enum signature_key kind, const uint8_t *key, uint32_t key_len,
                     const uint8_t *signature, uint32_t signature_len,
                     const uint8_t sum[DIGEST_SIZE])
{
    if (signature_len > SIGNATURE_MAX || key_len > SIGNATURE_KEY_MAX || key_len == 0) {
        return signature_len > SIGNATURE_MAX ? -EBADMSG : -EINVAL;
    }
    return kind == SIGNATURE_RSA ? rsa_verify(key, key_len, signature, signature_len, sum)
                                 : ed25519_verify(key, key_len, signature, signature_len, sum);
}
