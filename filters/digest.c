/*
 * digest - see filters/digest.h.
 *
 * wolfSSL's software SHA-256 fails on wrong arguments only, which is our own mistake: the results
 * of update and final are asserted. wc_InitSha256() may allocate in some builds of the library.
 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/sha256.h>

#include "filters/digest.h"

#include <assert.h>
#include <errno.h>
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
