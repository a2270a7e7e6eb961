/*
 * test_sink_content - weir-sink's view of a message: unstuffing, size and faults, cut at each
 * place.
 */
#include "bench/sink_content.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct row {
    struct text input;
    struct text content; /* of a good one */
    bool bad;
};

static const struct row data_rows[] = {
    {TEXT(".\r\n"), TEXT(""), false},
    {TEXT("a\r\n.\r\n"), TEXT("a\r\n"), false},
    {TEXT("..\r\n.\r\n"), TEXT(".\r\n"), false},
    {TEXT(".a\r\n...b.\r\n.c\r\n\r\n.\r\n"), TEXT("a\r\n..b.\r\nc\r\n\r\n"), false},
    {TEXT("a..\r\n.\r\n"), TEXT("a..\r\n"), false},
    {TEXT("a\n.\r\nb\r\n.\r\n"), TEXT(""), true},
    {TEXT("a\r.\r\nb\r\n.\r\n"), TEXT(""), true},
    {TEXT("a\0b\r\n.\r\n"), TEXT(""), true},
};

static const struct row chunk_rows[] = {
    {TEXT(""), TEXT(""), false},       {TEXT("a\r\n.\r\n.b\r\n"), TEXT(""), false},
    {TEXT("no end"), TEXT(""), false}, {TEXT("a\nb"), TEXT(""), true},
    {TEXT("a\rb"), TEXT(""), true},    {TEXT("a\r"), TEXT(""), true},
    {TEXT("\n"), TEXT(""), true},      {TEXT("a\0"), TEXT(""), true},
    {TEXT("a\r\r\n"), TEXT(""), true},
};

/* Feeds a message in two pieces, then something behind it. */
static void feed(const struct row *row, uint32_t cut)
{
    struct sink_content content;
    char out[256];
    uint32_t len = 0;
    uint32_t got;
    uint32_t taken = 0;
    bool end = false;
    sink_content_init(&content);
    if (cut > 0) {
        taken = sink_content_data(&content, row->input.at, cut, out, &got, &end);
        len += got;
    }
    if (!end) {
        char rest[128];
        uint32_t rest_len = row->input.len - cut;
        memcpy(rest, row->input.at + cut, rest_len);
        memcpy(rest + rest_len, "QUIT\r\n", 6);
        taken += sink_content_data(&content, rest, rest_len + 6, out + len, &got, &end);
        len += got;
    }
    assert_true(end);
    assert_int_equal(taken, row->input.len);
    assert_int_equal(sink_content_is_bad(&content), row->bad);
    if (!row->bad) {
        assert_int_equal(len, row->content.len);
        assert_memory_equal(out, row->content.at, len);
        assert_int_equal(sink_content_size(&content), len);
    }
}

static void test_data(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(data_rows) / sizeof(data_rows[0]); i++) {
        for (uint32_t cut = 0; cut <= data_rows[i].input.len; cut++) {
            feed(&data_rows[i], cut);
        }
    }
}

static void test_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(chunk_rows) / sizeof(chunk_rows[0]); i++) {
        struct text input = chunk_rows[i].input;
        for (uint32_t cut = 0; cut <= input.len; cut++) {
            struct sink_content content;
            sink_content_init(&content);
            sink_content_chunk(&content, input.at, cut);
            sink_content_chunk(&content, input.at + cut, input.len - cut);
            assert_int_equal(sink_content_is_bad(&content), chunk_rows[i].bad);
            assert_int_equal(sink_content_size(&content), input.len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
