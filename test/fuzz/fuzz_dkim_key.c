/*
 * fuzz_dkim_key - a DKIM key record, and what is in it as a key: nothing that is not one verifies
 * anything, and no octets of it reach arithmetic that they were not checked for.
 */
#include "filters/dkim_signature.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A signature that nobody has made, of the length of each usual key. */
static void check_key(const struct dkim_key *key)
{
    static const uint32_t lens[] = {64, 128, 256, 512, SIGNATURE_MAX};
    static uint8_t octets[SIGNATURE_MAX];
    static const uint8_t sum[DIGEST_SIZE] = {1, 2, 3};
    assert(key->len > 0 && key->len <= SIGNATURE_KEY_MAX);
    assert(key->algorithm == SIGNATURE_RSA || key->algorithm == SIGNATURE_ED25519);
    memset(octets, 0x11, sizeof(octets));
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        int result = signature_verify(key->algorithm, key->octets, key->len, octets, lens[i], sum);
        assert(result == -EBADMSG || result == -EINVAL || result == -ERANGE || result == -ENOMEM);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dkim_key key;
    char *text = malloc(size > 0 ? size : 1); /* of that size, so that reading past it is seen */
    assert(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    if (dkim_key_parse((struct span){text, (uint32_t)size}, &key) == NULL) {
        check_key(&key);
    }
    free(text);
    return 0;
}
