/*
 * test_digest - SHA-256 against the vectors of FIPS 180-4's examples, whole and cut at each place; keys
 * that are refused for what they would cost.
 */
#include "filters/digest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct vector {
    const char *text;
    uint32_t times; /* the text is repeated this often */
    const char *hex;
};

static const struct vector vectors[] = {
    {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
     "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
     1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

static void expect_sum(struct digest *digest, const char *hex)
{
    uint8_t sum[DIGEST_SIZE];
    char text[DIGEST_HEX_SIZE];
    digest_final(digest, sum);
    digest_hex(sum, text);
    assert_string_equal(text, hex);
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct digest digest;
        assert_int_equal(digest_init(&digest), 0);
        for (uint32_t n = 0; n < vectors[i].times; n++) {
            digest_update(&digest, vectors[i].text, strlen(vectors[i].text));
        }
        expect_sum(&digest, vectors[i].hex);
    }
}

static void test_cuts(void **state)
{
    (void)state;
    const struct vector *vector = &vectors[3];
    size_t len = strlen(vector->text);
    for (size_t cut = 0; cut <= len; cut++) {
        struct digest digest;
        assert_int_equal(digest_init(&digest), 0);
        digest_update(&digest, vector->text, cut);
        digest_update(&digest, vector->text + cut, len - cut);
        expect_sum(&digest, vector->hex);
    }
}

static void test_drop_and_reuse(void **state)
{
    (void)state;
    struct digest digest = {0};
    digest_drop(&digest); /* never begun */
    assert_int_equal(digest_init(&digest), 0);
    digest_update(&digest, "thrown away", 11);
    digest_drop(&digest);
    digest_drop(&digest); /* has ended */
    assert_int_equal(digest_init(&digest), 0);
    digest_update(&digest, "abc", 3);
    expect_sum(&digest, vectors[1].hex);
}

/* A key of 1024 bits; its exponent is given. */
static uint32_t make_key(const uint8_t *exponent, uint8_t exponent_len, uint8_t *out)
{
    uint8_t content = (uint8_t)(3 + 129 + 2 + exponent_len);
    uint32_t at = 0;
    const uint8_t head[] = {0x30, 0x81, content, 0x02, 0x81, 129, 0};
    memcpy(out, head, sizeof(head));
    at += sizeof(head);
    memset(out + at, 0xa5, 128);
    at += 128;
    out[at++] = 0x02;
    out[at++] = exponent_len;
    memcpy(out + at, exponent, exponent_len);
    return at + exponent_len;
}

static void test_long_exponents(void **state)
{
    static const struct {
        uint8_t exponent[9];
        uint8_t len;
        int wanted;
    } rows[] = {
        {{3}, 1, -EBADMSG},
        {{1, 0, 1}, 3, -EBADMSG},
        {{3, 0, 1}, 3, -ERANGE},
        {{1, 0, 0, 0, 1}, 5, -ERANGE},
        {{0x7f, 1, 1, 1, 1, 1, 1, 1, 1}, 9, -ERANGE},
    };
    static const uint8_t signature[128] = {1};
    static const uint8_t sum[DIGEST_SIZE] = {2};
    uint8_t key[256];
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t len = make_key(rows[i].exponent, rows[i].len, key);
        assert_int_equal(
            signature_verify(SIGNATURE_RSA, key, len, signature, sizeof(signature), sum),
            rows[i].wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_exponents),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_drop_and_reuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
