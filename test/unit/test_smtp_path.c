/*
 * test_smtp_path - the grammar of paths: every rule of the header a row, each through MAIL and
 * RCPT.
 */
#include "core/smtp_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEN(x)     x x x x x x x x x x
#define COUNT(row) (sizeof(row) / sizeof((row)[0]))
#define ALL        (EXT_SIZE | EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN)

struct path_row {
    const char *path; /* between the brackets */
    enum smtp_syntax syntax;
    const char *local; /* NULL: all in front of the first "@" */
};

/* 63 and 64 octets; a domain of three full labels; 21 times u with umlaut. */
#define S63  TEN("abcdef") "abc"
#define S64  TEN("abcdef") "abcd"
#define D191 S63 "." S63 "." S63
#define U21  TEN("\xc3\xbc\xc3\xbc") "\xc3\xbc"

static const struct path_row path_rows[] = {
    {"a@b", SYNTAX_OK, NULL},
    {"user.name+tag@mx-1.example.com", SYNTAX_OK, NULL},
    {"!#$%&'*+-/=?^_`{|}~@b", SYNTAX_OK, NULL},
    {"0@1", SYNTAX_OK, NULL},
    {"azAZ09@azAZ09", SYNTAX_OK, NULL},
    {"a@b_c.example", SYNTAX_OK, NULL},
    {"a@_dmarc.example", SYNTAX_OK, NULL},
    {"a@xn--bcher-kva.example", SYNTAX_OK, NULL},
    {"a@1.2.3.4", SYNTAX_OK, NULL},
    {"\"\"@b", SYNTAX_OK, NULL},
    {"\"a b\"@c", SYNTAX_OK, NULL},
    {"\"a@b\"@c", SYNTAX_OK, "\"a@b\""},
    {"\"a>b\"@c", SYNTAX_OK, "\"a>b\""},
    {"\"a\\\"b\\\\\\@\"@c", SYNTAX_OK, "\"a\\\"b\\\\\\@\""},
    {"\"\\ \"@c", SYNTAX_OK, NULL},
    /* local parts that are none */
    {"@", SYNTAX_PATH, NULL},
    {"@b", SYNTAX_PATH, NULL},
    {".a@b", SYNTAX_PATH, NULL},
    {"a.@b", SYNTAX_PATH, NULL},
    {"a..b@c", SYNTAX_PATH, NULL},
    {"a b@c", SYNTAX_PATH, NULL},
    {" a@b", SYNTAX_PATH, NULL},
    {"a@b ", SYNTAX_PATH, NULL},
    {"a\\@b@c", SYNTAX_PATH, NULL},
    {"a(x)@b", SYNTAX_PATH, NULL},
    {"a,b@c", SYNTAX_PATH, NULL},
    {"a:b@c", SYNTAX_PATH, NULL},
    {"a@b@c", SYNTAX_PATH, NULL},
    {"<a@b", SYNTAX_PATH, NULL},
    {"a\x01@b", SYNTAX_PATH, NULL},
    {"a\t@b", SYNTAX_PATH, NULL},
    {"a\x7f@b", SYNTAX_PATH, NULL},
    {"\"a@b", SYNTAX_PATH, NULL},
    {"\"a\"b@c", SYNTAX_PATH, NULL},
    {"a\"b\"@c", SYNTAX_PATH, NULL},
    {"\"a\".b@c", SYNTAX_PATH, NULL},
    {"\"a\tb\"@c", SYNTAX_PATH, NULL},
    {"\"a\x01\"@c", SYNTAX_PATH, NULL},
    {"\"a\x7f\"@c", SYNTAX_PATH, NULL},
    {"\"a\\\x01\"@c", SYNTAX_PATH, NULL},
    {"\"a\\\"@c", SYNTAX_PATH, NULL},
    {"\"a\\\xc3\xbc\"@c", SYNTAX_PATH, NULL}, /* RFC 6531 has no such pair */
    {"\"", SYNTAX_PATH, NULL},
    /* domains that are none */
    {"a@", SYNTAX_PATH, NULL},
    {"a@.", SYNTAX_PATH, NULL},
    {"a@b.", SYNTAX_PATH, NULL},
    {"a@.b", SYNTAX_PATH, NULL},
    {"a@b..c", SYNTAX_PATH, NULL},
    {"a@-b.c", SYNTAX_PATH, NULL},
    {"a@b-.c", SYNTAX_PATH, NULL},
    {"a@b.c-", SYNTAX_PATH, NULL},
    {"a@-", SYNTAX_PATH, NULL},
    {"a@b c", SYNTAX_PATH, NULL},
    {"a@b\x01", SYNTAX_PATH, NULL},
    {"a@b/c", SYNTAX_PATH, NULL},
    {"a@b:25", SYNTAX_PATH, NULL},
    {"a@b%c", SYNTAX_PATH, NULL},
    {"a@" S63 ".b", SYNTAX_OK, NULL},
    {"a@" S64 ".b", SYNTAX_PATH, NULL},
    {"a@b." S64, SYNTAX_PATH, NULL},
    /* address literals */
    {"a@[192.0.2.1]", SYNTAX_OK, NULL},
    {"a@[0.0.0.0]", SYNTAX_OK, NULL},
    {"a@[IPv6:2001:db8::1]", SYNTAX_OK, NULL},
    {"a@[ipV6:::]", SYNTAX_OK, NULL},
    {"a@[IPv6:::ffff:192.0.2.1]", SYNTAX_OK, NULL},
    {"a@[IPv6:1:2:3:4:5:6:7:8]", SYNTAX_OK, NULL},
    {"a@[IPv6:1111:2222:3333:4444:5555:6666:123.123.123.123]", SYNTAX_OK, NULL},
    {"a@[]", SYNTAX_PATH, NULL},
    {"a@[", SYNTAX_PATH, NULL},
    {"a@[192.0.2.1", SYNTAX_PATH, NULL},
    {"a@[192.0.2.1]x", SYNTAX_PATH, NULL},
    {"a@[192.0.2.1].b", SYNTAX_PATH, NULL},
    {"a@[192.0.2]", SYNTAX_PATH, NULL},
    {"a@[192.0.2.256]", SYNTAX_PATH, NULL},
    {"a@[192.0.2.1.2]", SYNTAX_PATH, NULL},
    {"a@[192.0.2.01]", SYNTAX_PATH, NULL}, /* octal to some */
    {"a@[ 192.0.2.1]", SYNTAX_PATH, NULL},
    {"a@[192.0.2.1\xc3\xbc]", SYNTAX_PATH, NULL},
    {"a@[2001:db8::1]", SYNTAX_PATH, NULL},
    {"a@[IPv6:]", SYNTAX_PATH, NULL},
    {"a@[IPv6:192.0.2.1]", SYNTAX_PATH, NULL},
    {"a@[IPv6:1::2::3]", SYNTAX_PATH, NULL},
    {"a@[IPv6:1:2:3:4:5:6:7:8:9]", SYNTAX_PATH, NULL},
    {"a@[IPv6:12345::]", SYNTAX_PATH, NULL},
    {"a@[IPv6:fe80::1%eth0]", SYNTAX_PATH, NULL},
    {"a@[IPv6:1111:2222:3333:4444:5555:6666:123.123.123.1234]", SYNTAX_PATH, NULL},
    {"a@[X400:a]", SYNTAX_PATH, NULL},
    {"a@[example.com]", SYNTAX_PATH, NULL},
    /* source routes */
    {"@a:u@c", SYNTAX_ROUTE, NULL},
    {"@a,@b:u@c", SYNTAX_ROUTE, NULL},
    {"@[192.0.2.1],@b.example:u@c", SYNTAX_ROUTE, NULL},
    {"@a:", SYNTAX_ROUTE, NULL},
    {"@a,b:u@c", SYNTAX_PATH, NULL},
    {"@a,:u@c", SYNTAX_PATH, NULL},
    {"@:u@c", SYNTAX_PATH, NULL},
    {"@a@b", SYNTAX_PATH, NULL},
    {"@a,@b", SYNTAX_PATH, NULL},
    /* limits: local part 64, domain 255, path 256 */
    {S64 "@b", SYNTAX_OK, NULL},
    {S64 "a@b", SYNTAX_PATH_LONG, NULL},
    {"\"" TEN("abcdef") "ab\"@b", SYNTAX_OK, NULL},
    {"\"" TEN("abcdef") "abc\"@b", SYNTAX_PATH_LONG, NULL},
    {S64 "@" D191, SYNTAX_OK, NULL},
    {S64 "@" D191 ".a", SYNTAX_PATH_LONG, NULL},         /* 258 */
    {"a@" D191 "." TEN("abcdef") "ab", SYNTAX_OK, NULL}, /* domain 254, path 256 */
    {"a@" D191 "." S63, SYNTAX_PATH_LONG, NULL},         /* domain 255, path 257 */
    {"@" D191 "." D191 ":a@b", SYNTAX_ROUTE, NULL},
    /* UTF-8 */
    {"\xc3\xbc@b", SYNTAX_OK, NULL},
    {"a@b\xc3\xbc.example", SYNTAX_OK, NULL},
    {"\"\xc3\xbc\"@b", SYNTAX_OK, NULL},
    {"\"\\\\\xc3\xbc\"@b", SYNTAX_OK, NULL},
    {"a.\xe2\x82\xac\xf0\x9f\x98\x80@b", SYNTAX_OK, NULL},
    {"\xc2\xa0@b", SYNTAX_OK, NULL},
    {"\xdf\xbf@b", SYNTAX_OK, NULL},
    {"\xef\xbf\xbf@b", SYNTAX_OK, NULL},
    {"\xe0\xa0\x80@b", SYNTAX_OK, NULL},
    {"\xed\x9f\xbf@b", SYNTAX_OK, NULL},
    {"\xee\x80\x80@b", SYNTAX_OK, NULL},
    {"\xf4\x8f\xbf\xbf@b", SYNTAX_OK, NULL},
    {"a@" U21 U21 U21, SYNTAX_OK, NULL}, /* 63 characters */
    {"a@" U21 U21 U21 "a", SYNTAX_PATH, NULL},
    {"\xff@b", SYNTAX_PATH_UTF8, NULL},
    {"\x80@b", SYNTAX_PATH_UTF8, NULL},
    {"\xc3@b", SYNTAX_PATH_UTF8, NULL},
    {"\xc3", SYNTAX_PATH_UTF8, NULL},
    {"\xe2\x82@b", SYNTAX_PATH_UTF8, NULL},
    {"\xe2\x82", SYNTAX_PATH_UTF8, NULL},
    {"\xf0\x9f\x98@b", SYNTAX_PATH_UTF8, NULL},
    {"\xc0\xaf@b", SYNTAX_PATH_UTF8, NULL}, /* overlong "/" */
    {"\xc1\xbf@b", SYNTAX_PATH_UTF8, NULL},
    {"\xe0\x9f\xbf@b", SYNTAX_PATH_UTF8, NULL},
    {"\xf0\x8f\xbf\xbf@b", SYNTAX_PATH_UTF8, NULL},
    {"\xed\xa0\x80@b", SYNTAX_PATH_UTF8, NULL}, /* surrogate */
    {"\xed\xbf\xbf@b", SYNTAX_PATH_UTF8, NULL},
    {"\xf4\x90\x80\x80@b", SYNTAX_PATH_UTF8, NULL}, /* U+110000 */
    {"\xf5\x80\x80\x80@b", SYNTAX_PATH_UTF8, NULL},
    {"\xc2\x85@b", SYNTAX_PATH_UTF8, NULL}, /* C1 control */
    {"\xc2\x9f@b", SYNTAX_PATH_UTF8, NULL},
    {"a@b\xff", SYNTAX_PATH_UTF8, NULL},
    {"\"\xff\"@b", SYNTAX_PATH_UTF8, NULL},
    {"\"\\\\\xff\"@b", SYNTAX_PATH_UTF8, NULL},
    {"@\xff:a@b", SYNTAX_PATH_UTF8, NULL},
};

static void check_path(const struct path_row *row, const struct smtp_path *path)
{
    const char *local_end = strchr(row->path, '@');
    struct text local = {.at = row->path, .len = (uint32_t)(local_end - row->path)};
    if (row->local != NULL) {
        local = text_of(row->local);
    }
    assert_true(text_is(path->whole, row->path));
    assert_int_equal(path->local.len, local.len);
    assert_memory_equal(path->local.at, local.at, local.len);
    assert_true(text_is(path->domain, row->path + local.len + 1));
    assert_int_equal(path->is_literal, path->domain.at[0] == '[');
    bool has_utf8 = false;
    for (const char *at = row->path; *at != '\0'; at++) {
        has_utf8 = has_utf8 || (unsigned char)*at >= 0x80;
    }
    assert_int_equal(path->has_utf8, has_utf8);
}

static void test_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(path_rows); i++) {
        char args[1024];
        struct smtp_mail mail;
        struct smtp_rcpt rcpt;
        int len = snprintf(args, sizeof(args), "FROM:<%s> SMTPUTF8", path_rows[i].path);
        assert_in_range(len, 1, sizeof(args) - 1);
        enum smtp_syntax syntax = smtp_mail_parse(text_of(args), ALL, &mail);
        if (syntax != path_rows[i].syntax) {
            print_error("row %zu <%s>: %d\n", i, path_rows[i].path, (int)syntax);
        }
        assert_int_equal(syntax, path_rows[i].syntax);
        snprintf(args, sizeof(args), "TO:<%s>", path_rows[i].path);
        assert_int_equal(smtp_rcpt_parse(text_of(args), ALL, true, &rcpt), syntax);
        if (syntax == SYNTAX_OK) {
            check_path(&path_rows[i], &rcpt.path);
            struct smtp_path of_mail;
            uint32_t taken;
            snprintf(args, sizeof(args), "<%s>", path_rows[i].path);
            assert_int_equal(smtp_path_parse(text_of(args), &of_mail, &taken), SYNTAX_OK);
            assert_int_equal(taken, strlen(args));
        }
    }
}

/* A NUL, and a path that breaks off at each byte: no path, and nothing behind it is read. */
static void test_cut_paths(void **state)
{
    (void)state;
    static const char whole[] = "FROM:<\"a\\\"b\xc3\xbc\"@[IPv6:2001:db8::1]>";
    for (uint32_t len = 0; len < sizeof(whole) - 1; len++) {
        char *copy = malloc(len + 1);
        assert_non_null(copy);
        memcpy(copy, whole, len);
        copy[len] = '\0';
        struct smtp_mail mail;
        struct text cut = {.at = copy, .len = len};
        struct text with_nul = {.at = copy, .len = len + 1};
        assert_int_not_equal(smtp_mail_parse(cut, ALL, &mail), SYNTAX_OK);
        assert_int_not_equal(smtp_mail_parse(with_nul, ALL, &mail), SYNTAX_OK);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_cut_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
