/*
 * test_dmarc_record - DMARC records against a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filters/dmarc_record.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct record_row {
    const char *text;
    const char *policies; /* p, sp, np: "n", "q", "r"; "-" not usable; NULL: no record */
    const char *flags;    /* aspf, adkim, t, psd: "s", "d", "t", "y" or "n" */
} record_rows[] = {
    {"v=DMARC1; p=none", "nnn", ""},
    {"v=DMARC1;p=reject;", "rrr", ""},
    {"v=DMARC1; p=quarantine; sp=reject", "qrr", ""},
    {"v=DMARC1; p=reject; sp=quarantine; np=none", "rqn", ""},
    {"v=DMARC1; p=reject; np=none", "rrn", ""},
    {"v=DMARC1; np=reject; sp=quarantine; p=none", "nqr", ""},
    {"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", "nnn", ""},
    {"v = DMARC1 ; p = reject ; aspf = s ; adkim = s ; t = y", "rrr", "sdt"},
    {"V=DMARC1; P=Reject; ASPF=S; ADKIM=S; T=Y; PSD=Y", "rrr", "sdty"},
    {"v=DMARC1;\tp=reject\t;\tpsd=n", "rrr", "n"},
    {"v=DMARC1; p=reject; psd=u; t=n; aspf=r; adkim=r", "rrr", ""},
    /* older ones */
    {"v=DMARC1; p=quarantine; pct=25; rf=afrf; ri=86400; fo=1:d:s", "qqq", ""},
    {"v=DMARC1; p=reject; pct=0", "rrr", ""},
    {"v=DMARC1; p=none; rua=mailto:a@example.com!50m,mailto:b@example.net", "nnn", ""},
    /* no record */
    {"", NULL, ""},
    {";", NULL, ""},
    {"v", NULL, ""},
    {"v=", NULL, ""},
    {"v=DMARC", NULL, ""},
    {"v=DMARC2; p=reject", NULL, ""},
    {"v=dmarc1; p=reject", NULL, ""},
    {"v=DMARC1p=reject", NULL, ""},
    {"v=DMARC1 p=reject", NULL, ""},
    {"v=DMARC1\xc2\xa0; p=reject", NULL, ""},
    {" v=DMARC1; p=reject", NULL, ""},
    {"p=reject; v=DMARC1", NULL, ""},
    {"v=spf1 -all", NULL, ""},
    {"\"v=DMARC1; p=reject\"", NULL, ""},
    /* p is missing or bad, sp or np is bad (4.10.1) */
    {"v=DMARC1", "-", ""},
    {"v=DMARC1;;;", "-", ""},
    {"v=DMARC1; sp=reject", "-", ""},
    {"v=DMARC1; p=", "-", ""},
    {"v=DMARC1; p=block", "-", ""},
    {"v=DMARC1; p=reject; sp=all", "-", ""},
    {"v=DMARC1; p=reject; np=", "-", ""},
    {"v=DMARC1; p=reject\x01", "-", ""},
    {"v=DMARC1; p=block; rua=mailto:a@example.com", "nnn", ""},
    {"v=DMARC1; p=reject; sp=all; rua=mailto:a@example.com", "nnn", ""},
    {"v=DMARC1; rua= x , mailto:a@example.com", "nnn", ""},
    {"v=DMARC1; rua=a@example.com", "-", ""},
    {"v=DMARC1; rua=mailto:", "-", ""},
    {"v=DMARC1; rua=mailto:\xff@example.com", "-", ""},
    {"v=DMARC1; rua=:x,1a:b,m ailto:c,mailto:d e", "-", ""},
    {"v=DMARC1; psd=y", "-", "y"},
    /* rubbish among good tags */
    {"v=DMARC1; ; =; p; p=reject; x=y; p=none", "rrr", ""},
    {"v=DMARC1; v=DMARC2; p=reject; aspf=x; adkim=; t=maybe; psd=z", "rrr", ""},
    {"v=DMARC1; aspf=r; aspf=s; p=reject", "rrr", ""},
    {"v=DMARC1; p=reject; rua=\xff\xfe", "rrr", ""},
};

static void test_records(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(record_rows); i++) {
        const struct record_row *row = &record_rows[i];
        struct dmarc_record record;
        char policies[4] = "-";
        char flags[8];
        bool is_record =
            dmarc_record_parse((struct span){row->text, (uint32_t)strlen(row->text)}, &record);
        if (is_record && record.is_usable) {
            (void)snprintf(policies, sizeof(policies), "%c%c%c", "nqr"[record.domain],
                           "nqr"[record.below], "nqr"[record.missing]);
        }
        (void)snprintf(flags, sizeof(flags), "%s%s%s%s", record.is_spf_strict ? "s" : "",
                       record.is_dkim_strict ? "d" : "", record.is_testing ? "t" : "",
                       record.psd == DMARC_PSD_YES  ? "y"
                       : record.psd == DMARC_PSD_NO ? "n"
                                                    : "");
        print_message("%s\n", row->text);
        assert_int_equal(is_record, row->policies != NULL);
        if (is_record) {
            assert_string_equal(policies, row->policies);
            assert_string_equal(flags, row->flags);
        }
    }
}

static void test_testing_is_a_step_milder(void **state)
{
    (void)state;
    assert_int_equal(dmarc_policy_applied(DMARC_POLICY_REJECT, false), DMARC_POLICY_REJECT);
    assert_int_equal(dmarc_policy_applied(DMARC_POLICY_REJECT, true), DMARC_POLICY_QUARANTINE);
    assert_int_equal(dmarc_policy_applied(DMARC_POLICY_QUARANTINE, true), DMARC_POLICY_NONE);
    assert_int_equal(dmarc_policy_applied(DMARC_POLICY_NONE, true), DMARC_POLICY_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_testing_is_a_step_milder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
