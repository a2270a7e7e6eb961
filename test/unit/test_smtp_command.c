/*
 * test_smtp_command - verbs, MAIL, RCPT and their parameters, and the EHLO argument: every rule of
 * the header a row. Paths have test_smtp_path.c.
 */
#include "core/smtp_command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEN(x)     x x x x x x x x x x
#define COUNT(row) (sizeof(row) / sizeof((row)[0]))

struct verb_row {
    const char *line;
    enum smtp_verb verb;
    const char *word;
    const char *args;
};

static const struct verb_row verb_rows[] = {
    {"EHLO mx.example.com", VERB_EHLO, "EHLO", "mx.example.com"},
    {"helo x", VERB_HELO, "helo", "x"},
    {"MAIL FROM:<a@b>", VERB_MAIL, "MAIL", "FROM:<a@b>"},
    {"rCpT \t To:<a@b> X \t ", VERB_RCPT, "rCpT", "To:<a@b> X"},
    {"DATA", VERB_DATA, "DATA", ""},
    {"DATA  ", VERB_DATA, "DATA", ""},
    {"RSET\t", VERB_RSET, "RSET", ""},
    {"NOOP a  b", VERB_NOOP, "NOOP", "a  b"},
    {"VRFY a", VERB_VRFY, "VRFY", "a"},
    {"EXPN a", VERB_EXPN, "EXPN", "a"},
    {"HELP", VERB_HELP, "HELP", ""},
    {"QUIT", VERB_QUIT, "QUIT", ""},
    {"StartTLS", VERB_STARTTLS, "StartTLS", ""},
    {"AUTH PLAIN AA=", VERB_AUTH, "AUTH", "PLAIN AA="},
    {"BDAT 5 LAST", VERB_BDAT, "BDAT", "5 LAST"},
    {"ETRN #a", VERB_ETRN, "ETRN", "#a"},
    {"XCLIENT ADDR=::1", VERB_XCLIENT, "XCLIENT", "ADDR=::1"},
    {"XFORWARD NAME=a", VERB_XFORWARD, "XFORWARD", "NAME=a"},
    {"GET / HTTP/1.1", VERB_HTTP, "GET", "/ HTTP/1.1"},
    {"post /", VERB_HTTP, "post", "/"},
    {"PUT /", VERB_HTTP, "PUT", "/"},
    {"HEAD /", VERB_HTTP, "HEAD", "/"},
    {"CONNECT a:25", VERB_HTTP, "CONNECT", "a:25"},
    {"OPTIONS *", VERB_HTTP, "OPTIONS", "*"},
    {"Host: a", VERB_HTTP, "Host:", "a"},
    {"HOST:a", VERB_HTTP, "HOST:a", ""},
    {"Host a", VERB_UNKNOWN, "Host", "a"},
    {"", VERB_UNKNOWN, "", ""},
    {" NOOP", VERB_UNKNOWN, "", "NOOP"},
    {"   ", VERB_UNKNOWN, "", ""},
    {"MAIL:", VERB_UNKNOWN, "MAIL:", ""},
    {"MAI", VERB_UNKNOWN, "MAI", ""},
    {"MAILX", VERB_UNKNOWN, "MAILX", ""},
    {"UNKNOWN", VERB_UNKNOWN, "UNKNOWN", ""}, /* names of ours are no verbs */
    {"HTTP", VERB_UNKNOWN, "HTTP", ""},
    {"NOOP\x0b", VERB_UNKNOWN, "NOOP\x0b", ""}, /* only SP and HT are white space */
    {"\x8d\xc1IL", VERB_UNKNOWN, "\x8d\xc1IL", ""},
};

static void test_verbs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(verb_rows); i++) {
        struct smtp_command command;
        smtp_command_parse(text_of(verb_rows[i].line), &command);
        assert_int_equal(command.verb, verb_rows[i].verb);
        assert_true(text_is(command.word, verb_rows[i].word));
        assert_true(text_is(command.args, verb_rows[i].args));
    }
}

static void test_verb_names(void **state)
{
    (void)state;
    for (enum smtp_verb verb = VERB_UNKNOWN; verb < VERB_COUNT; verb++) {
        struct smtp_command command;
        smtp_command_parse(text_of(smtp_verb_name(verb)), &command);
        assert_int_equal(command.verb, verb == VERB_HTTP ? VERB_UNKNOWN : verb);
    }
    assert_string_equal(smtp_verb_name(VERB_UNKNOWN), "UNKNOWN");
    assert_string_equal(smtp_verb_name(VERB_HTTP), "HTTP");
    assert_string_equal(smtp_verb_name(VERB_COUNT), "UNKNOWN");
}

struct mail_row {
    const char *args;
    uint32_t offered;
    enum smtp_syntax syntax;
    uint64_t size;
    enum smtp_body_type body;
    const char *ret;
    const char *envid;
};

#define ALL  (EXT_SIZE | EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN)
#define S100 TEN("0123456789")

static const struct mail_row mail_rows[] = {
    {"FROM:<>", 0, SYNTAX_OK, 0, BODY_TYPE_NONE, "", ""},
    {"from:<a@b>", 0, SYNTAX_OK, 0, BODY_TYPE_NONE, "", ""},
    {"FROM: \t<a@b>", 0, SYNTAX_OK, 0, BODY_TYPE_NONE, "", ""},
    {"FROM:<a@b> ", 0, SYNTAX_OK, 0, BODY_TYPE_NONE, "", ""},
    {"FROM:<> SIZE=1", ALL, SYNTAX_OK, 1, BODY_TYPE_NONE, "", ""},
    {"FROM:<> \t size=12  body=8bitmime", ALL, SYNTAX_OK, 12, BODY_TYPE_8BITMIME, "", ""},
    {"FROM:<> BODY=7BIT", ALL, SYNTAX_OK, 0, BODY_TYPE_7BIT, "", ""},
    {"FROM:<> SMTPUTF8", ALL, SYNTAX_OK, 0, BODY_TYPE_NONE, "", ""},
    {"FROM:<> RET=hdrs ENVID=a+2Bb", ALL, SYNTAX_OK, 0, BODY_TYPE_NONE, "hdrs", "a+2Bb"},
    {"FROM:<> RET=FULL", ALL, SYNTAX_OK, 0, BODY_TYPE_NONE, "FULL", ""},
    {"FROM:<> ENVID=" S100, ALL, SYNTAX_OK, 0, BODY_TYPE_NONE, "", S100},
    {"FROM:<> SIZE=00000000000000000007", ALL, SYNTAX_OK, 7, BODY_TYPE_NONE, "", ""},
    {"FROM:<> SIZE=18446744073709551614", ALL, SYNTAX_OK, UINT64_MAX - 1, BODY_TYPE_NONE, "", ""},
    {"FROM:<> ENVID=+20+2F+7E", ALL, SYNTAX_OK, 0, BODY_TYPE_NONE, "", "+20+2F+7E"},
    {"FROM:<> ENVID=!~", ALL, SYNTAX_OK, 0, BODY_TYPE_NONE, "", "!~"},
    {"FROM:<> ENVID=+2B+4", ALL, SYNTAX_PARAM, 0, BODY_TYPE_NONE, "", ""},
    {"FROM:<> ENVID=+2B=", ALL, SYNTAX_PARAM, 0, BODY_TYPE_NONE, "", ""},
    {"FROM:<> ENVID=+2G", ALL, SYNTAX_PARAM, 0, BODY_TYPE_NONE, "", ""},
    {"FROM:<> ENVID=+1F", ALL, SYNTAX_PARAM, 0, BODY_TYPE_NONE, "", ""},
    {"FROM:<> SIZE=18446744073709551615", ALL, SYNTAX_OK, UINT64_MAX, BODY_TYPE_NONE, "", ""},
    {"FROM:<> SIZE=18446744073709551616", ALL, SYNTAX_OK, UINT64_MAX, BODY_TYPE_NONE, "", ""},
    {"FROM:<> SIZE=99999999999999999999", ALL, SYNTAX_OK, UINT64_MAX, BODY_TYPE_NONE, "", ""},
    /* not that shape at all */
    {.args = "", .syntax = SYNTAX_ARGUMENT},
    {.args = "<a@b>", .syntax = SYNTAX_ARGUMENT},
    {.args = "TO:<a@b>", .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM", .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM :<a@b>", .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM:", .syntax = SYNTAX_PATH},
    {.args = "FROM:a@b", .syntax = SYNTAX_PATH},
    {.args = "FROM:<a@b", .syntax = SYNTAX_PATH},
    {.args = "FROM:<", .syntax = SYNTAX_PATH},
    {.args = "FROM: a <a@b>", .syntax = SYNTAX_PATH},
    {.args = "FROM:<a>", .syntax = SYNTAX_PATH},
    {.args = "FROM:<postmaster>", .syntax = SYNTAX_PATH},
    {.args = "FROM:<a@b>x", .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM:<a@b>SIZE=1", .offered = ALL, .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM:<a@b> <c@d>", .offered = ALL, .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM:<a@b> =", .offered = ALL, .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM:<a@b> -X=1", .offered = ALL, .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM:<a@b> X\x01=1", .offered = ALL, .syntax = SYNTAX_ARGUMENT},
    /* parameters with bad values, or twice */
    {.args = "FROM:<> SIZE", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SIZE=", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SIZE=-1", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SIZE=1k", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SIZE=000000000000000000007", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SIZE=1 SIZE=1", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SIZE=1 BODY=7BIT size=2", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> BODY", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> BODY=", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> BODY=BINARYMIME", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> BODY=7BIT BODY=7BIT", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SMTPUTF8=", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SMTPUTF8=1", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> SMTPUTF8 SMTPUTF8", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> RET", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> RET=ALL", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=a=b", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=+2b", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=a+2", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=a+", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=+0D+0A", .offered = ALL, .syntax = SYNTAX_PARAM}, /* CR LF */
    {.args = "FROM:<> ENVID=+7F", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=\x01", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=\xc3\xbc SMTPUTF8", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "FROM:<> ENVID=x" S100, .offered = ALL, .syntax = SYNTAX_PARAM},
    /* unknown ones, and those that were not offered */
    {.args = "FROM:<> FOO", .offered = ALL, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> FOO=", .offered = ALL, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> AUTH=<>", .offered = ALL, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> X-Y=1", .offered = ALL, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> NOTIFY=NEVER", .offered = ALL, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> SIZE=1", .offered = ALL & ~EXT_SIZE, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> BODY=7BIT", .offered = ALL & ~EXT_8BITMIME, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> SMTPUTF8", .offered = ALL & ~EXT_SMTPUTF8, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> RET=FULL", .offered = ALL & ~EXT_DSN, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "FROM:<> ENVID=a", .offered = ALL & ~EXT_DSN, .syntax = SYNTAX_PARAM_UNKNOWN},
    /* non-ASCII without leave */
    {.args = "FROM:<\xc3\xbc@b>", .offered = ALL, .syntax = SYNTAX_PATH_UTF8},
    {.args = "FROM:<\xc3\xbc@b> SIZE=1", .offered = ALL, .syntax = SYNTAX_PATH_UTF8},
    {.args = "FROM:<\xc3\xbc@b> SMTPUTF8", .offered = EXT_DSN, .syntax = SYNTAX_PATH_UTF8},
};

static void test_mail(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(mail_rows); i++) {
        const struct mail_row *row = &mail_rows[i];
        struct smtp_mail mail;
        enum smtp_syntax syntax = smtp_mail_parse(text_of(row->args), row->offered, &mail);
        if (syntax != row->syntax) {
            print_error("row %zu %s: %d\n", i, row->args, (int)syntax);
        }
        assert_int_equal(syntax, row->syntax);
        if (syntax == SYNTAX_OK) {
            assert_int_equal(mail.has_size, strstr(row->args, "=") && row->size > 0);
            assert_true(mail.size == row->size);
            assert_int_equal(mail.body, row->body);
            assert_int_equal(mail.smtputf8, strstr(row->args, "SMTPUTF8") != NULL);
            assert_true(text_is(mail.ret, row->ret));
            assert_true(text_is(mail.envid, row->envid));
        }
    }
    struct smtp_mail mail;
    assert_int_equal(smtp_mail_parse(TEXT("FROM:<> SIZE=0"), ALL, &mail), SYNTAX_OK);
    assert_true(mail.has_size && mail.size == 0);
}

struct rcpt_row {
    const char *args;
    uint32_t offered;
    bool smtputf8;
    enum smtp_syntax syntax;
    const char *notify;
    const char *orcpt;
};

#define S490 S100 S100 S100 S100 TEN("012345678")

static const struct rcpt_row rcpt_rows[] = {
    {"TO:<a@b>", 0, false, SYNTAX_OK, "", ""},
    {"to: <a@b> ", 0, false, SYNTAX_OK, "", ""},
    {"TO:<postmaster>", 0, false, SYNTAX_OK, "", ""},
    {"TO:<PostMaster>", 0, false, SYNTAX_OK, "", ""},
    {"TO:<\xc3\xbc@b>", ALL, true, SYNTAX_OK, "", ""},
    {"TO:<a@b> NOTIFY=never", ALL, false, SYNTAX_OK, "never", ""},
    {"TO:<a@b> NOTIFY=SUCCESS,failure,DELAY", ALL, false, SYNTAX_OK, "SUCCESS,failure,DELAY", ""},
    {"TO:<a@b> ORCPT=rfc822;a+2Bc@b NOTIFY=DELAY", ALL, false, SYNTAX_OK, "DELAY",
     "rfc822;a+2Bc@b"},
    {"TO:<a@b> ORCPT=rfc822;" S490 "123", ALL, false, SYNTAX_OK, "", "rfc822;" S490 "123"},
    {"TO:<a@b> ORCPT=rfc822;", ALL, false, SYNTAX_OK, "", "rfc822;"},
    {"TO:<a@b> ORCPT=utf-8;\\x{FC}@b", ALL, false, SYNTAX_OK, "", "utf-8;\\x{FC}@b"},
    {"TO:<a@b> ORCPT=UTF-8;\xc3\xbc@b", ALL, true, SYNTAX_OK, "", "UTF-8;\xc3\xbc@b"},
    {.args = "", .syntax = SYNTAX_ARGUMENT},
    {.args = "FROM:<a@b>", .syntax = SYNTAX_ARGUMENT},
    {.args = "TO<a@b>", .syntax = SYNTAX_ARGUMENT},
    {.args = "TO:<a@b>,<c@d>", .syntax = SYNTAX_ARGUMENT},
    {.args = "TO:<a@b> c", .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "TO:", .syntax = SYNTAX_PATH},
    {.args = "TO:a@b", .syntax = SYNTAX_PATH},
    {.args = "TO:<>", .syntax = SYNTAX_PATH},
    {.args = "TO:<a>", .syntax = SYNTAX_PATH},
    {.args = "TO:<\"postmaster\">", .syntax = SYNTAX_PATH},
    {.args = "TO:<postmaster@>", .syntax = SYNTAX_PATH},
    {.args = "TO:<\xc3\xbc@b>", .offered = ALL, .syntax = SYNTAX_PATH_UTF8},
    {.args = "TO:<a@b> SIZE=1", .offered = ALL, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "TO:<a@b> NOTIFY=NEVER", .offered = ALL & ~EXT_DSN, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "TO:<a@b> ORCPT=a;b", .offered = ALL & ~EXT_DSN, .syntax = SYNTAX_PARAM_UNKNOWN},
    {.args = "TO:<a@b> NOTIFY", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> NOTIFY=", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> NOTIFY=ALWAYS", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> NOTIFY=NEVER,DELAY", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> NOTIFY=DELAY,NEVER", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> NOTIFY=DELAY,", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> NOTIFY=,DELAY", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=rfc822", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=;a@b", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=rfc 822;a@b", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=rfc822;a=b", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=rfc822;+0A", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=rfc822;+", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=rfc822;" S490 "1234", .offered = ALL, .syntax = SYNTAX_PARAM},
    {.args = "TO:<a@b> ORCPT=utf-8;\xc3\xbc@b", .offered = ALL, .syntax = SYNTAX_PARAM},
    {"TO:<a@b> ORCPT=rfc822;\xc3\xbc@b", ALL, true, SYNTAX_PARAM, "", ""},
    {"TO:<a@b> ORCPT=utf-8;\xff@b", ALL, true, SYNTAX_PARAM, "", ""},
};

static void test_rcpt(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rcpt_rows); i++) {
        const struct rcpt_row *row = &rcpt_rows[i];
        struct smtp_rcpt rcpt;
        enum smtp_syntax syntax =
            smtp_rcpt_parse(text_of(row->args), row->offered, row->smtputf8, &rcpt);
        if (syntax != row->syntax) {
            print_error("row %zu %s: %d\n", i, row->args, (int)syntax);
        }
        assert_int_equal(syntax, row->syntax);
        if (syntax == SYNTAX_OK) {
            assert_true(text_is(rcpt.notify, row->notify));
            assert_true(text_is(rcpt.orcpt, row->orcpt));
        }
    }
    struct smtp_rcpt rcpt;
    assert_int_equal(smtp_rcpt_parse(TEXT("TO:<postmaster>"), 0, false, &rcpt), SYNTAX_OK);
    assert_true(text_is(rcpt.path.local, "postmaster"));
    assert_int_equal(rcpt.path.domain.len, 0);
}

#define S63  TEN("abcdef") "abc"
#define D191 S63 "." S63 "." S63

struct helo_row {
    const char *args;
    bool is_valid;
};

static const struct helo_row helo_rows[] = {
    {"a", true},
    {"mx.example.com", true},
    {"[192.0.2.1]", true},
    {"[IPv6:2001:db8::1]", true},
    {"a_b", true},
    {"!~", true},
    {"\xc3\xbc", true},
    {"\xc3\xbc.example", true},
    {D191 "." S63, true},      /* 255 */
    {D191 "." S63 "x", false}, /* 256 */
    {"", false},
    {"a b", false},
    {"a\tb", false},
    {"a\x01", false},
    {"a\x1b[31m", false},
    {"a\x7f", false},
    {"\x7f"
     "a",
     false},
    {" ", false},
    {"a\xff", false},
    {"a\xc3", false},
    {"a\xc2\x85", false},
};

static void test_helo(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(helo_rows); i++) {
        assert_int_equal(smtp_helo_is_valid(text_of(helo_rows[i].args)), helo_rows[i].is_valid);
    }
    assert_false(smtp_helo_is_valid((struct text){.at = "a\0b", .len = 3}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs), cmocka_unit_test(test_verb_names),

        cmocka_unit_test(test_mail),  cmocka_unit_test(test_rcpt),
        cmocka_unit_test(test_helo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
