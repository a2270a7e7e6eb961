/*
 * test_idn - names beyond ASCII into the form of DNS, and names that have none.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filters/idn.h"

static const struct row {
    const char *text;
    const char *ascii; /* NULL: -EINVAL */
} rows[] = {
    {"", ""},
    {"example.com", "example.com"},
    {"EXAMPLE.Com.", "example.com"},
    {"xn--MNCHEN-3ya.de", "xn--mnchen-3ya.de"},
    {"münchen.de", "xn--mnchen-3ya.de"},
    {"MÜNCHEN.DE", "xn--mnchen-3ya.de"},
    {"mail.bücher.example", "mail.xn--bcher-kva.example"},
    {"例え.テスト", "xn--r8jz45g.xn--zckzah"},
    {"例え。テスト", "xn--r8jz45g.xn--zckzah"},
    {"παράδειγμα.δοκιμή", "xn--hxajbheg2az3al.xn--jxalpdlp"},
    {"ПРИМЕР.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"},
    {"उदाहरण.परीक्षा", "xn--p1b6ci4b4b3a.xn--11b5bs3a9aj6g"},
    /* RFC 3492, 7.1: (L) and (S), in the case that they fold to, and (E), Hebrew */
    {"3年b組金八先生", "xn--3b-ww4c5e180e575a65lsy2b"},
    {"パフィーdeルンバ", "xn--de-jg4avhby1noc0d"},
    {"למההםפשוטלאמדבריםעברית", "xn--4dbcagdahymbxekheh6e0a7fei0b"},
    {"ＥＸＡＭＰＬＥ．ｃｏｍ", "example.com"},
    {"ŁÓDŹ.pl", "xn--d-uga0v4h.pl"},
    {"Ÿ.example", "xn--wda.example"},
    {"😀.example", "xn--e28h.example"},
    {"a..b", "a..b"},
    {".", ""},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xa4",
     NULL}, /* no room in front of the "-" */
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xa4", NULL},
    {"mu\xcc\x88nchen.de", NULL}, /* not composed */
    {"m\xfcnchen.de", NULL},      /* Latin-1 */
    {"\xc0\xae", NULL},           /* overlong */
    {"\xed\xa0\x80", NULL},       /* a surrogate */
    {"\xf4\x90\x80\x80", NULL},   /* past the last one */
    {"\xe4\xbe", NULL},           /* cut */
    {"\xe4\xbe.com", NULL},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com", NULL}, /* 64 */
    {"äääääääääääääääääääääääääääääääääääääääääääääääääääääääää.com",
     "xn--4caaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com"}, /* 63 */
    {"ääääääääääääääääääääääääääääääääääääääääääääääääääääääääää.com", NULL},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[IDN_NAME_MAX];
        int len = idn_to_ascii(rows[i].text, (uint32_t)strlen(rows[i].text), out);
        if (rows[i].ascii == NULL) {
            assert_int_equal(len, -EINVAL);
        } else {
            assert_string_equal(len < 0 ? rows[i].text : out, rows[i].ascii);
            assert_int_equal(len, strlen(rows[i].ascii));
        }
    }
}

/* Every name with the form of every other one. */
static void test_comparison(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t j = 0; j < sizeof(rows) / sizeof(rows[0]); j++) {
            char out[IDN_NAME_MAX];
            uint32_t len = (uint32_t)strlen(rows[i].text);
            bool is_same = rows[j].ascii != NULL && idn_to_ascii(rows[i].text, len, out) >= 0 &&
                           strcmp(out, rows[j].ascii) == 0;
            if (rows[j].ascii != NULL) {
                assert_int_equal(idn_is(rows[i].text, len, rows[j].ascii), is_same);
            }
        }
    }
    assert_false(idn_is("a.b", 3, "a"));
    assert_false(idn_is("a", 1, "a.b"));
    assert_true(idn_is("a.", 2, "a"));
}

static void test_longest_name(void **state)
{
    char text[300];
    char out[IDN_NAME_MAX];
    (void)state;
    for (uint32_t i = 0; i < sizeof(text); i++) {
        text[i] = i % 10 == 9 ? '.' : 'A';
    }
    assert_int_equal(idn_to_ascii(text, 254, out), 254);
    assert_int_equal(strlen(out), 254);
    assert_int_equal(idn_to_ascii(text, 258, out), -EINVAL);
    assert_int_equal(idn_to_ascii("a\0b", 3, out), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_comparison),
        cmocka_unit_test(test_longest_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
