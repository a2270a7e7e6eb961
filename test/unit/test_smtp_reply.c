/*
 * test_smtp_reply - replies of an upstream: every rule of the header a row, every row at every cut.
 */
#include "core/smtp_command.h"
#include "core/smtp_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct row {
    const char *bytes;
    uint32_t len;
    enum smtp_reply_result result;
    uint16_t code;
    uint16_t lines;
    uint32_t reply_len;
    const char *enhanced;
    const char *last;
};

#define BYTES(literal) .bytes = (literal), .len = sizeof(literal) - 1
#define MORE(literal)                                                                              \
    {                                                                                              \
        BYTES(literal), .result = REPLY_MORE                                                       \
    }
#define BAD(literal)                                                                               \
    {                                                                                              \
        BYTES(literal), .result = REPLY_BAD                                                        \
    }
#define GOOD(literal, code_, lines_, enhanced_, last_)                                             \
    {                                                                                              \
        BYTES(literal), .result = REPLY_OK, .code = (code_), .lines = (lines_),                    \
                        .reply_len = sizeof(literal) - 1, .enhanced = (enhanced_), .last = (last_) \
    }

static const struct row rows[] = {
    GOOD("250 ok\r\n", 250, 1, "", "ok"),
    GOOD("250\r\n", 250, 1, "", ""),
    GOOD("250 \r\n", 250, 1, "", ""),
    GOOD("250-a\r\n250-\r\n250 b\r\n", 250, 3, "", "b"),
    GOOD("250-a\r\n250\r\n", 250, 2, "", ""),
    GOOD("200 a\r\n", 200, 1, "", "a"),
    GOOD("559 a\r\n", 559, 1, "", "a"),
    GOOD("354 go\r\n", 354, 1, "", "go"),
    GOOD("220 h\xc3\xa9\xff\x80\t.\r\n", 220, 1, "", "h\xc3\xa9\xff\x80\t."),
    GOOD("250 2.1.5 ok\r\n", 250, 1, "2.1.5", "2.1.5 ok"),
    GOOD("250 2.1.5\r\n", 250, 1, "2.1.5", "2.1.5"),
    GOOD("250 2.1.5\tok\r\n", 250, 1, "2.1.5", "2.1.5\tok"),
    GOOD("550-5.7.1 a\r\n550 5.123.456 b\r\n", 550, 2, "5.123.456", "5.123.456 b"),
    GOOD("550-5.7.1 a\r\n550 b\r\n", 550, 2, "", "b"), /* the last line's counts */
    GOOD("451 4.4.1 a\r\n", 451, 1, "4.4.1", "4.4.1 a"),
    GOOD("250 5.1.5 a\r\n", 250, 1, "", "5.1.5 a"), /* another class */
    GOOD("200 2.0.0 a\r\n", 200, 1, "2.0.0", "2.0.0 a"),
    GOOD("400 4.0.0 a\r\n", 400, 1, "4.0.0", "4.0.0 a"),
    GOOD("500 5.5.1 a\r\n", 500, 1, "5.5.1", "5.5.1 a"),
    GOOD("559 5.0.0 a\r\n", 559, 1, "5.0.0", "5.0.0 a"),
    GOOD("300 3.0.0 a\r\n", 300, 1, "", "3.0.0 a"),
    GOOD("354 3.0.0 a\r\n", 354, 1, "", "3.0.0 a"), /* there is no class 3 */
    GOOD("250 2.1.5x\r\n", 250, 1, "", "2.1.5x"),
    GOOD("250 2.1.5.3 a\r\n", 250, 1, "", "2.1.5.3 a"),
    GOOD("250 2.1234.5 a\r\n", 250, 1, "", "2.1234.5 a"),
    GOOD("250 2.1.5678 a\r\n", 250, 1, "", "2.1.5678 a"),
    GOOD("250 2..5 a\r\n", 250, 1, "", "2..5 a"),
    GOOD("250 2.1. a\r\n", 250, 1, "", "2.1. a"),
    GOOD("250 2.10\r\n", 250, 1, "", "2.10"),
    GOOD("250 2.1\r\n", 250, 1, "", "2.1"),
    GOOD("250  2.1.5 a\r\n", 250, 1, "", " 2.1.5 a"),
    GOOD("250 --\r\n", 250, 1, "", "--"),
    MORE(""),
    MORE("2"),
    MORE("250"),
    MORE("250 "),
    MORE("250\r"),
    MORE("250 ok\r"),
    MORE("250-a\r\n"),
    MORE("250-a\r\n25"),
    MORE("250-a\r\n250 b"),
    BAD("x"),
    BAD("2x"),
    BAD("25x"),
    BAD("\r\n"),
    BAD(" 250 ok\r\n"),
    BAD("2\r\n"),
    BAD("25\r\n"),
    BAD("199 a\r\n"),
    BAD("100 a\r\n"),
    BAD("000 a\r\n"),
    BAD("600 a\r\n"),
    BAD("260 a\r\n"),
    BAD("290 a\r\n"),
    BAD("2500 a\r\n"),
    BAD("250x"),
    BAD("250_ok\r\n"),
    BAD("250\tok\r\n"),
    BAD("250.ok\r\n"),
    BAD("250\n"),
    BAD("250\rx"),
    BAD("250 ok\n"),
    BAD("250 ok\n\r\n"),
    BAD("250 o\rk\r\n"),
    BAD("250 ok\r\r\n"),
    BAD("250 o\0k\r\n"),
    BAD("250\0ok\r\n"),
    BAD("250 o\x01k\r\n"),
    BAD("250 o\x1b[31mk\r\n"),
    BAD("250 o\x7fk\r\n"),
    BAD("250 o\x0bk\r\n"),
    BAD("250-a\r\n251 b\r\n"),
    BAD("250-a\r\n5"),
    BAD("250-a\r\n354-b"),
    BAD("250-a\r\n\r\n"),
    BAD("250-a\r\nb\r\n250 c\r\n"),
    BAD("250-a\n250 b\r\n"),
    BAD("HTTP/1.1 400 Bad Request\r\n"),
};

/* The first `len` bytes from a block of exactly that size, so that a read behind them is seen. */
static enum smtp_reply_result scan_copy(const struct row *row, uint32_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, row->bytes, len);
    struct smtp_reply reply;
    enum smtp_reply_result result = smtp_reply_scan(copy, len, &reply);
    if (result == REPLY_OK) {
        assert_int_equal(reply.code, row->code);
        assert_int_equal(reply.lines, row->lines);
        assert_int_equal(reply.len, row->reply_len);
        assert_true(text_is(reply.enhanced, row->enhanced));
        assert_true(text_is(reply.last, row->last));
    }
    free(copy);
    return result;
}

/* Each row in a growing window: MORE, then what the row says, for good. */
static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        enum smtp_reply_result before = REPLY_MORE;
        for (uint32_t len = 0; len <= rows[i].len; len++) {
            enum smtp_reply_result result = scan_copy(&rows[i], len);
            assert_true(before == REPLY_MORE || result == before);
            assert_true(result != REPLY_OK || len == rows[i].len);
            before = result;
        }
        assert_int_equal(before, rows[i].result);
    }
}

static void test_next_reply_is_left(void **state)
{
    (void)state;
    static const char bytes[] = "250 a\r\n354 b\r\n\n\0";
    struct smtp_reply reply;
    assert_int_equal(smtp_reply_scan(bytes, sizeof(bytes), &reply), REPLY_OK);
    assert_int_equal(reply.len, 7);
    assert_int_equal(smtp_reply_scan(bytes + 7, sizeof(bytes) - 7, &reply), REPLY_OK);
    assert_int_equal(reply.code, 354);
}

/* `lines` times "250-" CRLF, and a last line that makes the whole `len` bytes long. */
static void make_long_reply(char *bytes, uint32_t lines, uint32_t len)
{
    memset(bytes, 'x', len);
    for (uint32_t i = 0; i < lines; i++) {
        memcpy(bytes + (size_t)i * 6, "250-\r\n", 6);
    }
    memcpy(bytes + (size_t)lines * 6, "250 ", 4);
    memcpy(bytes + len - 2, "\r\n", 2);
}

static void test_limit(void **state)
{
    (void)state;
    static char bytes[2 * SMTP_REPLY_MAX];
    static const uint32_t line_counts[] = {0, 1, 1300};
    struct smtp_reply reply;
    for (size_t i = 0; i < 3; i++) {
        make_long_reply(bytes, line_counts[i], SMTP_REPLY_MAX);
        assert_int_equal(smtp_reply_scan(bytes, SMTP_REPLY_MAX - 1, &reply), REPLY_MORE);
        assert_int_equal(smtp_reply_scan(bytes, SMTP_REPLY_MAX, &reply), REPLY_OK);
        assert_int_equal(reply.len, SMTP_REPLY_MAX);
        assert_int_equal(reply.lines, line_counts[i] + 1);
        make_long_reply(bytes, line_counts[i], SMTP_REPLY_MAX + 1);
        assert_int_equal(smtp_reply_scan(bytes, SMTP_REPLY_MAX, &reply), REPLY_LONG);
        assert_int_equal(smtp_reply_scan(bytes, SMTP_REPLY_MAX + 1, &reply), REPLY_LONG);
    }
    for (uint32_t i = 0; i < sizeof(bytes) / 8; i++) {
        memcpy(bytes + (size_t)i * 8, "250-ab\r\n", 8);
    }
    assert_int_equal(smtp_reply_scan(bytes, SMTP_REPLY_MAX - 1, &reply), REPLY_MORE);
    assert_int_equal(smtp_reply_scan(bytes, SMTP_REPLY_MAX, &reply), REPLY_LONG);
    assert_int_equal(smtp_reply_scan(bytes, sizeof(bytes), &reply), REPLY_LONG);
}

struct ehlo_row {
    const char *bytes;
    uint32_t extensions;
    uint64_t size;
};

static const struct ehlo_row ehlo_rows[] = {
    {"250 mx.example.com\r\n", 0, 0},
    {"250 SIZE 100\r\n", 0, 0}, /* the first line is the greeting */
    {"250-a\r\n250 SIZE 1000\r\n", EXT_SIZE, 1000},
    {"250-a\r\n250 size 0\r\n", EXT_SIZE, 0},
    {"250-a\r\n250 SIZE\r\n", EXT_SIZE, 0},
    {"250-a\r\n250 SIZE  7 \r\n", EXT_SIZE, 7},
    {"250-a\r\n250 SIZE abc\r\n", EXT_SIZE, 0},
    {"250-a\r\n250 SIZE 18446744073709551615\r\n", EXT_SIZE, UINT64_MAX},
    {"250-a\r\n250 SIZE 18446744073709551614\r\n", EXT_SIZE, UINT64_MAX - 1},
    {"250-a\r\n250 SIZE 18446744073709551616\r\n", EXT_SIZE, UINT64_MAX},
    {"250-a\r\n250 SIZE 999999999999999999999999\r\n", EXT_SIZE, UINT64_MAX},
    {"250-a\r\n250-8BITMIME\r\n250-SmtpUtf8\r\n250 dsn\r\n", EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN,
     0},
    {"250-a\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
     EXT_ENHANCEDSTATUSCODES | EXT_PIPELINING | EXT_STARTTLS, 0},
    {"250-a\r\n250-CHUNKING\r\n250-XCLIENT NAME ADDR\r\n250 XFORWARD NAME\r\n",
     EXT_CHUNKING | EXT_XCLIENT | EXT_XFORWARD, 0},
    {"250-a\r\n250-DSNX\r\n250-DS\r\n250-\r\n250-AUTH PLAIN\r\n250-X SIZE 5\r\n250 HELP\r\n", 0, 0},
};

static void test_extensions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ehlo_rows) / sizeof(ehlo_rows[0]); i++) {
        uint64_t size = 42;
        uint32_t len = (uint32_t)strlen(ehlo_rows[i].bytes);
        uint32_t extensions = smtp_reply_extensions(ehlo_rows[i].bytes, len, &size);
        assert_int_equal(extensions, ehlo_rows[i].extensions);
        assert_true(size == ehlo_rows[i].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_next_reply_is_left),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_extensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
