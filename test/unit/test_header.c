/*
 * test_header - a header section that comes in pieces: where it ends and what its fields are does not
 * depend on the cuts, also around the most that is kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/header.h"

enum { TEXT_SIZE = 3 * HEADER_TEXT_MAX };

static struct header header;
static struct header other;
static char text[TEXT_SIZE];

/* Octets up to the end of the section; all of them when it has none. */
static uint32_t feed(struct header *into, uint32_t len, uint32_t first, uint32_t cut)
{
    uint32_t at = 0;
    header_init(into);
    while (at < len && !into->is_complete) {
        uint32_t piece = at < first ? first - at : cut;
        piece = piece < len - at ? piece : len - at;
        at += header_feed(into, text + at, piece);
    }
    header_end(into);
    return at;
}

static void expect_same(uint32_t len, uint32_t first, uint32_t cut)
{
    assert_int_equal(feed(&header, len, 0, len), feed(&other, len, first, cut));
    assert_int_equal(header.is_malformed, other.is_malformed);
    assert_int_equal(header.is_too_large, other.is_too_large);
    assert_int_equal(header.len, other.len);
    assert_memory_equal(header.text, other.text, header.len);
    assert_int_equal(header.count, other.count);
    assert_memory_equal(header.fields, other.fields, header.count * sizeof(header.fields[0]));
}

/* ---- tests ---- */

static void test_every_short_section_every_cut(void **state)
{
    static const char *const pieces[] = {"a:b", "\r\n", " ", "\n", "\r", "x"};
    (void)state;
    for (uint32_t number = 0; number < 46656; number++) {
        uint32_t len = 0;
        uint32_t rest = number;
        for (uint32_t i = 0; i < 6; i++, rest /= 6) {
            len += (uint32_t)snprintf(text + len, sizeof(text) - len, "%s", pieces[rest % 6]);
        }
        const char *end = strstr(text, "\n\r\n");
        uint32_t wanted = strncmp(text, "\r\n", 2) == 0 ? 2
                          : end == NULL                 ? len
                                                        : (uint32_t)(end - text) + 3;
        assert_int_equal(feed(&header, len, 0, len), wanted);
        expect_same(len, 0, 1);
        expect_same(len, 2, 3);
    }
}

static void test_what_is_malformed(void **state)
{
    static const struct {
        const char *text;
        bool is_malformed;
        uint32_t count;
    } rows[] = {
        {"a: b\r\n c\r\n\r\n", false, 1},
        {"a: b\r\nc :d\r\n\r\n", false, 2},
        {"a: b\n\r\n", true, 1},
        {"a: \rb\r\n\r\n", true, 1},
        {"a: b\r\r\n\r\n", true, 1},
        {"a: a line that is longer than others are\r and more\r\n\r\n", true, 1},
        {"a: a line that is longer than others are\n\r\n", true, 1},
        {"a: a line that is longer than others are\r\n\r\n", false, 1},
        {" a: b\r\n\r\n", true, 0},
        {"a: b\r\nnone\r\n\r\n", true, 1},
        {"a: b", true, 1},
        {"\r\n", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t len = (uint32_t)snprintf(text, sizeof(text), "%s", rows[i].text);
        (void)feed(&header, len, 0, len);
        assert_int_equal(header.is_malformed, rows[i].is_malformed);
        assert_int_equal(header.count, rows[i].count);
    }
    memcpy(text, "a: b\0c\r\n\r\n", 10);
    (void)feed(&header, 10, 0, 10);
    assert_true(header.is_malformed);
    memcpy(text, "a: b\r\n\r\n\0\0", 10); /* in the body: not its matter */
    (void)feed(&header, 10, 0, 10);
    assert_false(header.is_malformed);
}

/* A long line, then a field, the empty line and a body; so that its parts fall on the limit. */
static uint32_t make_long(uint32_t first_len)
{
    memset(text, 'x', first_len);
    text[1] = ':';
    memcpy(text + first_len - 2, "\r\n", 2);
    return first_len + (uint32_t)snprintf(text + first_len, sizeof(text) - first_len,
                                          "From: a@b.example\r\n\r\nbody\r\n\r\n");
}

/* The end of a line came in a piece of its own, its beginning had just filled the room, and it was taken
 * for the empty line. */
static void test_line_end_behind_the_limit_is_no_empty_line(void **state)
{
    (void)state;
    for (uint32_t first_len = HEADER_TEXT_MAX - 30; first_len < HEADER_TEXT_MAX + 10; first_len++) {
        uint32_t len = make_long(first_len);
        assert_int_equal(feed(&header, len, 0, len), first_len + 21);
        for (uint32_t first = HEADER_TEXT_MAX - 3; first < HEADER_TEXT_MAX + 3; first++) {
            expect_same(len, first, len);
            expect_same(len, first, 1);
        }
        assert_int_equal(header.is_too_large, first_len + 21 > HEADER_TEXT_MAX);
    }
}

static void test_too_many_fields(void **state)
{
    (void)state;
    for (uint32_t count = HEADER_FIELDS_MAX; count <= HEADER_FIELDS_MAX + 1; count++) {
        uint32_t len = 0;
        for (uint32_t i = 0; i < count; i++) {
            len += (uint32_t)snprintf(text + len, sizeof(text) - len, "a: %u\r\n b\r\n", i);
        }
        len += (uint32_t)snprintf(text + len, sizeof(text) - len, "\r\nbody\r\n\r\n");
        assert_int_equal(feed(&header, len, 0, len), len - 8);
        assert_int_equal(header.is_too_large, count > HEADER_FIELDS_MAX);
        assert_int_equal(header.count, HEADER_FIELDS_MAX);
        expect_same(len, 0, 1);
        expect_same(len, 5, 7);
    }
}

/* A body behind a short header does not make the header large. */
static void test_a_large_body_is_not_the_header(void **state)
{
    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, "a: b\r\n\r\n", 8);
    assert_int_equal(feed(&header, sizeof(text), 0, sizeof(text)), 8);
    assert_false(header.is_too_large);
    assert_int_equal(header.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_short_section_every_cut),
        cmocka_unit_test(test_what_is_malformed),
        cmocka_unit_test(test_line_end_behind_the_limit_is_no_empty_line),
        cmocka_unit_test(test_too_many_fields),
        cmocka_unit_test(test_a_large_body_is_not_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
