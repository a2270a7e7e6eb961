/*
 * test_smtp_line - command lines in a window: every rule of the header a row, every row at every
 * cut.
 */
#include "core/smtp_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct row {
    const char *bytes;
    uint32_t len;
    enum smtp_line_result result;
    uint32_t line_len;
};

#define BYTES(literal) .bytes = (literal), .len = sizeof(literal) - 1

static const struct row rows[] = {
    {BYTES(""), LINE_MORE, 0},
    {BYTES("NOOP"), LINE_MORE, 0},
    {BYTES("NOOP\r"), LINE_MORE, 0}, /* undecided */
    {BYTES("\r"), LINE_MORE, 0},
    {BYTES("NOOP\r\n"), LINE_OK, 4},
    {BYTES("\r\n"), LINE_OK, 0},
    {BYTES("NOOP\r\nQUIT\r\n"), LINE_OK, 4},
    {BYTES("NOOP\r\nQUIT\nX\0"), LINE_OK, 4},          /* what follows is not looked at */
    {BYTES("\x01\t\x7f\xff\x0b\x85\r\n"), LINE_OK, 6}, /* only CR, LF and NUL count here */
    {BYTES("NOOP\n"), LINE_BAD, 0},
    {BYTES("\n"), LINE_BAD, 0},
    {BYTES("\n\r\n"), LINE_BAD, 0},
    {BYTES("NOOP\r\r\n"), LINE_BAD, 0},
    {BYTES("NO\rOP\r\n"), LINE_BAD, 0},
    {BYTES("NO\0OP\r\n"), LINE_BAD, 0},
    {BYTES("\0"), LINE_BAD, 0},
    {BYTES("NOOP\r\0\n"), LINE_BAD, 0},
};

/* The bytes from a block of exactly their length, so that a read behind them is seen. */
static enum smtp_line_result scan_copy(const char *bytes, uint32_t len, uint32_t *ret_line_len,
                                       uint32_t *ret_taken)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    struct text line = {.at = copy, .len = 0};
    enum smtp_line_result result = smtp_line_scan(copy, len, &line, ret_taken);
    assert_ptr_equal(line.at, copy);
    *ret_line_len = line.len;
    free(copy);
    return result;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t line_len;
        uint32_t taken = 0;
        enum smtp_line_result result = scan_copy(rows[i].bytes, rows[i].len, &line_len, &taken);
        assert_int_equal(result, rows[i].result);
        assert_int_equal(line_len, rows[i].line_len);
        assert_int_equal(taken, result == LINE_OK ? rows[i].line_len + 2 : 0);
    }
}

/* A growing window says MORE, then one thing for good. */
static void test_growing_window(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        enum smtp_line_result before = LINE_MORE;
        for (uint32_t len = 0; len <= rows[i].len; len++) {
            uint32_t line_len;
            uint32_t taken;
            enum smtp_line_result result = scan_copy(rows[i].bytes, len, &line_len, &taken);
            assert_true(before == LINE_MORE || result == before);
            before = result;
        }
        assert_int_equal(before, rows[i].result);
    }
}

struct long_row {
    uint32_t window;
    uint32_t special_at;
    const char *special;
    enum smtp_line_result result;
};

static const struct long_row long_rows[] = {
    {SMTP_LINE_MAX - 1, 0, "", LINE_MORE},
    {SMTP_LINE_MAX, 0, "", LINE_LONG}, /* a full window is never answered with MORE */
    {SMTP_LINE_MAX + 1, 0, "", LINE_LONG},
    {SMTP_LINE_MAX, SMTP_LINE_MAX - 2, "\r\n", LINE_OK},
    {SMTP_LINE_MAX + 100, SMTP_LINE_MAX - 2, "\r\n", LINE_OK},
    {SMTP_LINE_MAX, SMTP_LINE_MAX - 1, "\r", LINE_LONG},
    {SMTP_LINE_MAX + 1, SMTP_LINE_MAX - 1, "\r\n", LINE_LONG},
    {SMTP_LINE_MAX + 2, SMTP_LINE_MAX, "\r\n", LINE_LONG},
    {SMTP_LINE_MAX + 1, SMTP_LINE_MAX - 1, "\rx", LINE_LONG},
    {SMTP_LINE_MAX, SMTP_LINE_MAX - 1, "\n", LINE_BAD},
    {SMTP_LINE_MAX + 1, SMTP_LINE_MAX, "\n", LINE_LONG},
    {SMTP_LINE_MAX - 1, SMTP_LINE_MAX - 2, "\r", LINE_MORE},
};

static void test_long_lines(void **state)
{
    (void)state;
    static char bytes[2 * SMTP_LINE_MAX];
    for (size_t i = 0; i < sizeof(long_rows) / sizeof(long_rows[0]); i++) {
        const struct long_row *row = &long_rows[i];
        memset(bytes, 'x', sizeof(bytes));
        memcpy(bytes + row->special_at, row->special, strlen(row->special));
        uint32_t line_len;
        uint32_t taken = 0;
        assert_int_equal(scan_copy(bytes, row->window, &line_len, &taken), row->result);
        assert_int_equal(taken, row->result == LINE_OK ? SMTP_LINE_MAX : 0);
    }
}

struct skip_row {
    const char *bytes;
    uint32_t len;
    uint32_t taken; /* 0: no CRLF */
};

static const struct skip_row skip_rows[] = {
    {BYTES("abc\r\nQUIT\r\n"), 5},
    {BYTES("a\nb\r\n\r\n"), 5},
    {BYTES("a\rb\nc\r\r\n"), 8},
    {BYTES("\0\r\0\n\r\n"), 6},
    {BYTES("\n\r\n"), 3},
    {BYTES("a\n\r"), 0},
    {BYTES(""), 0},
};

static void test_skip(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(skip_rows) / sizeof(skip_rows[0]); i++) {
        const struct skip_row *row = &skip_rows[i];
        for (uint32_t cut = 0; cut <= row->len; cut++) {
            struct smtp_line_skip skip = {.after_cr = false};
            bool found;
            uint32_t taken = smtp_line_skip(&skip, row->bytes, cut, &found);
            assert_true(found || taken == cut);
            if (!found) {
                taken += smtp_line_skip(&skip, row->bytes + cut, row->len - cut, &found);
            }
            assert_int_equal(found, row->taken != 0);
            assert_int_equal(taken, found ? row->taken : row->len);
            assert_true(!found || !skip.after_cr); /* ready for the next bad line */
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_growing_window),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_skip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
