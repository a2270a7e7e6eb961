/*
 * test_escape - what comes out of core/escape.c for named bytes, for every byte, for random ones,
 * and into rooms that are too small.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/escape.h"

struct sample {
    const char *in;
    const char *json;
    const char *text;
};

static const struct sample SAMPLES[] = {
    {"", "", ""},
    {"user@example.org", "user@example.org", "user@example.org"},
    {"a\"b\\c", "a\\\"b\\\\c", "a\\x22b\\x5Cc"},
    {"250 ok\r\n550 no\t", "250 ok\\r\\n550 no\\t", "250 ok\\x0D\\x0A550 no\\x09"},
    {"\x01\x1f\x7f", "\\u0001\\u001F\\u007F", "\\x01\\x1F\\x7F"},
    {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xa7", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xa7",
     "\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xa7"},
    /* C1 controls, line and paragraph separator */
    {"\xc2\x85", "\\u00C2\\u0085", "\\xC2\\x85"},
    {"\xe2\x80\xa8", "\\u00E2\\u0080\\u00A8", "\\xE2\\x80\\xA8"},
    {"\xe2\x80\xa9", "\\u00E2\\u0080\\u00A9", "\\xE2\\x80\\xA9"},
    {"\xc2\xa0", "\xc2\xa0", "\xc2\xa0"},
    /* overlong, surrogate, too large, cut, stray tail */
    {"\xc0\xaf", "\\u00C0\\u00AF", "\\xC0\\xAF"},
    {"\xe0\x9f\xbf", "\\u00E0\\u009F\\u00BF", "\\xE0\\x9F\\xBF"},
    {"\xed\xa0\x80", "\\u00ED\\u00A0\\u0080", "\\xED\\xA0\\x80"},
    {"\xf0\x8f\xbf\xbf", "\\u00F0\\u008F\\u00BF\\u00BF", "\\xF0\\x8F\\xBF\\xBF"},
    {"\xf4\x90\x80\x80", "\\u00F4\\u0090\\u0080\\u0080", "\\xF4\\x90\\x80\\x80"},
    {"\xe2\x82", "\\u00E2\\u0082", "\\xE2\\x82"},
    {"\xc3x", "\\u00C3x", "\\xC3x"},
    {"\x80", "\\u0080", "\\x80"},
};

static void test_samples(void **state)
{
    (void)state;
    char out[256];
    for (size_t i = 0; i < sizeof(SAMPLES) / sizeof(SAMPLES[0]); i++) {
        const struct sample *sample = &SAMPLES[i];
        uint32_t len = escape_json(out, sizeof(out), text_of(sample->in));
        assert_int_equal(len, strlen(sample->json));
        assert_memory_equal(out, sample->json, len);
        len = escape_text(out, sizeof(out), text_of(sample->in));
        assert_int_equal(len, strlen(sample->text));
        assert_memory_equal(out, sample->text, len);
    }
}

static void test_nul_is_a_byte_like_others(void **state)
{
    (void)state;
    char out[64];
    struct text text = {.at = "a\0b", .len = 3};
    assert_int_equal(escape_json(out, sizeof(out), text), 8);
    assert_memory_equal(out, "a\\u0000b", 8);
    assert_int_equal(escape_text(out, sizeof(out), text), 6);
    assert_memory_equal(out, "a\\x00b", 6);
}

/* In a room of every size the output is the longest prefix that ends at a whole character. */
static void test_small_rooms(void **state)
{
    (void)state;
    const char *in = "ab\n\xc3\xa9\x01z\xf0\x9f\x93\xa7";
    const uint32_t ends[] = {0, 1, 2, 4, 6, 12, 13, 17}; /* of characters in the JSON output */
    char whole[64];
    uint32_t whole_len = escape_json(whole, sizeof(whole), text_of(in));
    assert_int_equal(whole_len, 17);
    for (uint32_t size = 0; size <= 20; size++) {
        char out[32];
        memset(out, '#', sizeof(out));
        uint32_t want = 0;
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
            want = ends[i] <= size ? ends[i] : want;
        }
        assert_int_equal(escape_json(out, size, text_of(in)), want);
        assert_memory_equal(out, whole, want);
        assert_int_equal(out[size], '#');
    }
}

static void test_random_bytes_never_leak(void **state)
{
    (void)state;
    unsigned seed = 20261124;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 20000; round++) {
        char in[48];
        uint32_t in_len = (uint32_t)rand_r(&seed) % (sizeof(in) + 1);
        for (uint32_t i = 0; i < in_len; i++) {
            in[i] = (char)(rand_r(&seed) >> 8);
        }
        struct text text = {.at = in, .len = in_len};
        char out[6 * sizeof(in)];
        uint32_t json_len = escape_json(out, sizeof(out), text);
        assert_true(json_len >= in_len);
        for (uint32_t i = 0; i < json_len; i++) {
            assert_true((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
            assert_true(out[i] != '"' || (i > 0 && out[i - 1] == '\\'));
        }
        uint32_t text_len = escape_text(out, sizeof(out), text);
        assert_true(text_len >= in_len);
        for (uint32_t i = 0; i < text_len; i++) {
            assert_true((unsigned char)out[i] >= 0x20 && out[i] != 0x7f && out[i] != '"');
            assert_true(out[i] != '\\' || (i + 3 < text_len && out[i + 1] == 'x'));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_nul_is_a_byte_like_others),
        cmocka_unit_test(test_small_rooms),
        cmocka_unit_test(test_random_bytes_never_leak),
    };
    return cmocka_run_group_tests_name("escape", tests, NULL, NULL);
}
