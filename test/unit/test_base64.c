/*
 * test_base64 - against an encoder and a decoder of a few lines: every length, every octet in every
 * place, folding and padding.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "filters/base64.h"

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t encode(const uint8_t *in, uint32_t len, char *out)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < len; i += 3) {
        uint32_t left = len - i;
        uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                        (left > 2 ? (uint32_t)in[i + 2] : 0);
        out[at++] = DIGITS[bits >> 18];
        out[at++] = DIGITS[bits >> 12 & 63];
        out[at++] = left > 1 ? DIGITS[bits >> 6 & 63] : '=';
        out[at++] = left > 2 ? DIGITS[bits & 63] : '=';
    }
    return at;
}

static uint32_t seed = 7;

static uint8_t draw(void)
{
    seed = seed * 1103515245u + 12345u;
    return (uint8_t)(seed >> 16);
}

static void test_every_length(void **state)
{
    (void)state;
    uint8_t in[200];
    uint8_t out[200];
    char text[300];
    for (uint32_t len = 1; len <= sizeof(in); len++) {
        for (uint32_t i = 0; i < len; i++) {
            in[i] = draw();
        }
        uint32_t text_len = encode(in, len, text);
        assert_int_equal(base64_decode((struct span){text, text_len}, out, len), len);
        assert_memory_equal(out, in, len);
        assert_int_equal(base64_decode((struct span){text, text_len}, out, len - 1), -EMSGSIZE);
        assert_int_equal(base64_decode((struct span){text, text_len - 1}, out, len), -EINVAL);
    }
    assert_int_equal(base64_decode((struct span){"", 0}, out, 10), -EINVAL);
    assert_int_equal(base64_decode((struct span){"====", 4}, out, 10), -EINVAL);
    assert_int_equal(base64_decode((struct span){"QQ==QQ==", 8}, out, 10), -EINVAL);
}

static void test_every_octet_in_every_place(void **state)
{
    (void)state;
    uint8_t out[16];
    for (uint32_t place = 0; place < 12; place++) {
        for (int c = 0; c < 256; c++) {
            char text[13] = "AAAABBBBCCCC";
            text[place] = (char)c;
            bool is_digit = c != '\0' && strchr(DIGITS, c) != NULL;
            bool is_folding = c != '\0' && strchr(" \t\r\n", c) != NULL;
            bool is_padding = c == '=' && place == 11;
            int result = base64_decode((struct span){text, 12}, out, sizeof(out));
            assert_int_equal(result, is_digit ? 9 : is_padding ? 8 : -EINVAL);
            assert_true(!is_folding || result == -EINVAL); /* eleven digits are left */
        }
    }
}

static void test_folding_anywhere(void **state)
{
    (void)state;
    static const uint8_t in[] = "any carnal pleasure";
    uint8_t out[32];
    char text[64];
    uint32_t len = encode(in, sizeof(in) - 1, text);
    for (uint32_t place = 0; place <= len; place++) {
        char folded[64];
        memcpy(folded, text, place);
        memcpy(folded + place, "\r\n\t ", 4);
        memcpy(folded + place + 4, text + place, len - place);
        assert_int_equal(base64_decode((struct span){folded, len + 4}, out, sizeof(out)),
                         sizeof(in) - 1);
        assert_memory_equal(out, in, sizeof(in) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_every_octet_in_every_place),
        cmocka_unit_test(test_folding_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
