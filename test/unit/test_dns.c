/*
 * test_dns - names as text and in wire form, TXT and MX data, and the life of a question.
 */
#include "net/dns.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define A63       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A61       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LIT(text) (text), (sizeof(text) - 1)

static const struct {
    const char *text;
    uint32_t len;
    const char *wire; /* NULL: it is no name */
    int wire_len;
} names[] = {
    {LIT(""), "\0", 1},
    {LIT("."), "\0", 1},
    {LIT("a"), "\1a\0", 3},
    {LIT("a."), "\1a\0", 3},
    {LIT("Www.EXAMPLE.Org"), "\3www\7example\3org\0", 17},
    {LIT("_dmarc.a-b.c"), "\6_dmarc\3a-b\1c\0", 14},
    {LIT("a\0b.c"), "\3a\0b\1c\0", 7},
    {LIT("\xc3\xa4.de"), "\2\xc3\xa4\2de\0", 7},
    {LIT("a b.c"), "\3a b\1c\0", 7},
    {LIT(".."), NULL, 0},
    {LIT(".a"), NULL, 0},
    {LIT("a..b"), NULL, 0},
    {LIT("a.."), NULL, 0},
    {LIT(A63), "\77" A63 "\0", 65},
    {LIT(A63 "a"), NULL, 0},
    {LIT(A63 "." A63 "." A63 "." A61), "\77" A63 "\77" A63 "\77" A63 "\75" A61 "\0", 255},
    {LIT(A63 "." A63 "." A63 "." A61 "a"), NULL, 0},
    {LIT(A63 "." A63 "." A63 "." A61 ".a"), NULL, 0},
};

static void names_from_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        uint8_t wire[DNS_NAME_MAX];
        int len = dns_name_parse(names[i].text, names[i].len, wire);
        if (names[i].wire == NULL) {
            assert_int_equal(len, -EINVAL);
        } else {
            assert_int_equal(len, names[i].wire_len);
            assert_memory_equal(wire, names[i].wire, (size_t)len);
        }
    }
}

static const struct {
    const char *wire;
    uint32_t len;
    const char *text; /* NULL: refused */
} wires[] = {
    {LIT("\0"), "."},
    {LIT("\1a\0"), "a"},
    {LIT("\3WwW\7example\3org\0"), "WwW.example.org"},
    {LIT(""), NULL},
    {LIT("\1"), NULL},
    {LIT("\1a"), NULL},
    {LIT("\2a\0"), NULL},
    {LIT("\1a\0\0"), NULL}, /* something behind the root */
    {LIT("\300\0"), NULL},  /* compressed */
    {LIT("\100a\0"), NULL},
    {LIT("\3a.b\0"), NULL},
    {LIT("\3a b\0"), NULL},
    {LIT("\3a\rb\0"), NULL},
    {LIT("\3a\0b\0"), NULL},
    {LIT("\1\177\0"), NULL},
    {LIT("\1\377\0"), NULL},
    {LIT("\77" A63 "\77" A63 "\77" A63 "\75" A61 "\0"), A63 "." A63 "." A63 "." A61},
    {LIT("\77" A63 "\77" A63 "\77" A63 "\76" A61 "a\0"), NULL},
};

static void names_to_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++) {
        char text[DNS_TEXT_MAX];
        int len = dns_name_text((const uint8_t *)wires[i].wire, wires[i].len, text);
        if (wires[i].text == NULL) {
            assert_int_equal(len, -EINVAL);
        } else {
            assert_int_equal(len, strlen(wires[i].text));
            assert_string_equal(text, wires[i].text);
        }
    }
}

static const struct {
    const char *data;
    uint32_t len;
    uint32_t size;
    const char *text;
    int result;
} strings[] = {
    {LIT("\5hello"), 5, "hello", 5},
    {LIT("\5hello\6 world"), 64, "hello world", 11},
    {LIT("\0"), 64, "", 0},
    {LIT("\0\0\1x\0"), 64, "x", 1},
    {LIT("\3a\0b"), 64, "a\0b", 3},
    {LIT(""), 64, "", -EINVAL},
    {LIT("\1"), 64, "", -EINVAL},
    {LIT("\6hello"), 64, "", -EINVAL},
    {LIT("\1a\377b"), 64, "", -EINVAL},
    {LIT("\5hello"), 4, "", -EMSGSIZE},
    {LIT("\1a\5hello"), 5, "", -EMSGSIZE},
};

static void txt_is_joined(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        struct dns_record record = {
            .data = (const uint8_t *)strings[i].data,
            .len = (uint16_t)strings[i].len,
        };
        char out[64];
        int result = dns_txt_join(&record, out, strings[i].size);
        assert_int_equal(result, strings[i].result);
        if (result > 0) {
            assert_memory_equal(out, strings[i].text, (size_t)result);
        }
    }
}

static void txt_of_every_length(void **state)
{
    (void)state;
    uint8_t data[300];
    memset(data, 7, sizeof(data));
    for (uint32_t len = 0; len < sizeof(data); len++) {
        char out[300];
        struct dns_record record = {.data = data, .len = (uint16_t)len};
        int want = len > 0 && len % 8 == 0 ? (int)len / 8 * 7 : -EINVAL;
        assert_int_equal(dns_txt_join(&record, out, sizeof(out)), want);
    }
}

static void mx_is_read(void **state)
{
    (void)state;
    static const char data[] = "\1\2\4mail\7example\0";
    uint16_t preference = 0;
    char name[DNS_TEXT_MAX];
    struct dns_record record = {.data = (const uint8_t *)data, .len = sizeof(data) - 1};
    assert_int_equal(dns_mx_parse(&record, &preference, name), 0);
    assert_int_equal(preference, 258);
    assert_string_equal(name, "mail.example");
    for (record.len = 0; record.len < sizeof(data) - 1; record.len++) {
        assert_int_equal(dns_mx_parse(&record, &preference, name), -EINVAL);
    }
    static const char null_mx[] = "\0\0\0"; /* RFC 7505 */
    record = (struct dns_record){.data = (const uint8_t *)null_mx, .len = 3};
    assert_int_equal(dns_mx_parse(&record, &preference, name), 0);
    assert_string_equal(name, ".");
}

/* An implementation that only counts. */
struct counter {
    struct dns dns;
    int asked;
    int cancelled;
};

static int answers;

static void count_ask(struct dns *dns, struct dns_query *query)
{
    assert_memory_equal(query->name, "\1a\1b\0", 5);
    assert_int_equal(query->name_len, 5);
    assert_int_equal(query->type, DNS_MX);
    ((struct counter *)dns)->asked++;
}

static void count_cancel(struct dns *dns, struct dns_query *query)
{
    assert_false(dns_is_asking(query));
    ((struct counter *)dns)->cancelled++;
}

static void count_answer(struct dns_query *query, const struct dns_answer *answer)
{
    assert_false(dns_is_asking(query)); /* it may be asked again */
    assert_int_equal(answer->status, DNS_NO_DATA);
    answers++;
}

static void life_of_a_question(void **state)
{
    (void)state;
    static const struct dns_ops ops = {.ask = count_ask, .cancel = count_cancel};
    struct counter counter = {.dns = {.ops = &ops}};
    struct dns_query query = {0};
    struct dns_answer answer = {.status = DNS_NO_DATA};
    dns_cancel(&query);
    assert_int_equal(dns_ask(&counter.dns, &query, "a..b", 4, DNS_MX, count_answer), -EINVAL);
    assert_int_equal(counter.asked, 0);
    assert_int_equal(dns_ask(&counter.dns, &query, "A.b.", 4, DNS_MX, count_answer), 0);
    assert_true(dns_is_asking(&query));
    dns_answer(&query, &answer);
    assert_int_equal(answers, 1);
    assert_int_equal(dns_ask(&counter.dns, &query, "a.B", 3, DNS_MX, count_answer), 0);
    dns_cancel(&query);
    dns_cancel(&query);
    assert_int_equal(counter.asked, 2);
    assert_int_equal(counter.cancelled, 1);
    assert_int_equal(answers, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_from_text), cmocka_unit_test(names_to_text),
        cmocka_unit_test(txt_is_joined),   cmocka_unit_test(txt_of_every_length),
        cmocka_unit_test(mx_is_read),      cmocka_unit_test(life_of_a_question),
    };
    return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
