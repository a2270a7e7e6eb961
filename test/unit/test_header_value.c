/*
 * test_header_value - a field's value where its line ends in odd ways, and DKIM on such a field: a value
 * without a line end was once taken for one that is four gigabytes long.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "filters/checks.h"
#include "filters/verify_conf.h"
#include "net/loop_backend.h"
#include "test/fake_dns.h"

static struct header header;

static void read_header(const char *text)
{
    uint32_t len = (uint32_t)strlen(text);
    header_init(&header);
    assert_int_equal(header_feed(&header, text, len), len);
    header_end(&header);
}

static void test_value_is_what_stands_there(void **state)
{
    static const struct {
        const char *text;
        const char *value;
    } rows[] = {
        {"A: b\r\n", " b"},   {"A:\r\n", ""},   {"A: b\r\n c\r\n", " b\r\n c"},
        {"A:\n", ""},         {"A:", ""},       {"A:x", "x"},
        {"A:\r", ""},         {"A: b\n", " b"}, {"A \t: b\r\n", " b"},
        {"A:b\r\r\n", "b\r"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        read_header(rows[i].text);
        assert_int_equal(header.count, 1);
        struct span value = header_value(&header, &header.fields[0]);
        assert_int_equal(value.len, strlen(rows[i].value));
        assert_memory_equal(value.at, rows[i].value, value.len);
    }
}

static void on_done(struct chain *chain)
{
    (void)chain;
}

/* What DKIM says of the one signature of a message that is a header alone. */
static const char *reason_of(const char *text)
{
    static struct findings findings;
    static struct verify_conf conf = {.dkim = {.action = ACTION_TAG, .signatures_max = 8}};
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    struct sockaddr_in client = {.sin_family = AF_INET};
    struct fake_dns fake;
    struct loop *loop;
    memset(&findings, 0, sizeof(findings));
    read_header(text);
    fake_dns_init(&fake);
    assert_int_equal(loop_create(&loop, &loop_epoll, &limits, NULL), 0);
    struct facts facts = {
        .conf = &conf,
        .dns = &fake.dns,
        .client = (const struct sockaddr *)&client,
        .hostname = "mx.example",
        .helo = "",
        .from = "",
        .header = &header,
        .findings = &findings,
    };
    struct chain *chain = malloc(chain_size(SCOPE_TRANSACTION));
    assert_non_null(chain);
    chain_init(chain, SCOPE_TRANSACTION, loop, &facts, on_done, NULL);
    chain_reach(chain, PHASE_HEADER);
    chain_reach(chain, PHASE_EOM);
    assert_true(chain_await(chain, PHASE_EOM, loop_now_ms(loop) + 1000));
    chain_cancel(chain);
    free(chain);
    loop_destroy(&loop);
    fake_dns_fini(&fake);
    assert_int_equal(findings.dkim.count, 1);
    assert_int_equal(findings.dkim.signatures[0].result, CHECK_PERMERROR);
    return findings.dkim.signatures[0].reason;
}

static void test_signature_field_without_line_end(void **state)
{
    (void)state;
    assert_string_equal(reason_of("From: a@b\r\nDKIM-Signature:"),
                        "bad tag syntax, or a tag given twice");
    assert_string_equal(reason_of("From: a@b\r\nDKIM-Signature:\n\r\n"),
                        "bad tag syntax, or a tag given twice");
    assert_string_equal(reason_of("From: a@b\r\nDKIM-Signature:v=1"), "a required tag is missing");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_is_what_stands_there),
        cmocka_unit_test(test_signature_field_without_line_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
