/*
 * fuzz_tls - the parsers that see a TLS peer's bytes first: a ClientHello (first byte even) and a
 * certificate (odd). A hello's answer must not depend on when its bytes arrive: until it is
 * complete or refused, more is wanted, and what follows it changes nothing.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tls/tls_cert.h"
#include "tls/tls_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In a block of its own length, so that a read outside is seen. */
static int parse(const uint8_t *data, uint32_t len, struct tls_hello *hello)
{
    uint8_t *copy = malloc(len + (len == 0));
    assert(copy != NULL);
    memcpy(copy, data, len);
    memset(hello, 0, sizeof(*hello));
    int result = tls_hello_parse(copy, len, hello);
    assert(result == 0 || result == 1 || result == -EPROTO || result == -EMSGSIZE);
    free(copy);
    return result;
}

static void check_hello(const uint8_t *data, uint32_t len)
{
    struct tls_hello whole, part;
    int last = parse(data, len, &whole);
    assert(last != 1 || memchr(whole.name, '\0', sizeof(whole.name)) != NULL);
    uint32_t cut = len / 2;
    int early = parse(data, cut, &part);
    if (early == 1) {
        assert(last == 1);
        assert(memcmp(&whole, &part, sizeof(whole)) == 0);
    } else if (early < 0) {
        assert(last < 0);
    }
}

static void check_cert(const uint8_t *data, uint32_t len)
{
    struct tls_cert cert;
    char name[TLS_NAME_MAX + 1];
    uint8_t *copy = malloc(len + (len == 0));
    assert(copy != NULL);
    memcpy(copy, data, len);
    if (tls_cert_parse(copy, len, &cert) == 0) {
        assert(cert.spki >= copy && cert.spki + cert.spki_len <= copy + len);
        uint32_t before = 0;
        for (uint32_t at = 0; tls_cert_next_name(&cert, &at, name, sizeof(name)); before = at) {
            assert(at > before);
            assert(name[0] != '\0');
            assert(name[0] == '*' || name[strlen(name) - 1] == '.' || name[0] == '.' ||
                   strspn(name, "0123456789.:abcdef") == strlen(name) ||
                   tls_cert_is_for(&cert, name));
        }
        (void)tls_cert_is_for(&cert, "192.0.2.1"); /* only its accesses matter */
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 3 * TLS_HELLO_MAX) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        check_hello(data + 1, (uint32_t)size - 1);
    } else {
        check_cert(data + 1, (uint32_t)size - 1);
    }
    return 0;
}
