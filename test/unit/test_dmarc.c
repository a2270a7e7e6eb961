/*
 * test_dmarc - which record applies, who is aligned, and what trouble means, in any order of answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/dmarc_world.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { RECORDS_MAX = 5 };

static const struct row {
    const char *about;
    const char *from; /* domain */
    const char
        *records[RECORDS_MAX]; /* "domain text"; "domain !": no answer, "domain +": it exists */
    const char *spf;           /* "pass domain" */
    const char *dkim;
    const char *wanted; /* "result policy record-domain" */
} rows[] = {
    {"no record", "example.com", {NULL}, "pass example.com", "", "none - -"},
    {"no record, nothing passes", "example.com", {NULL}, "", "", "none - -"},
    /* alignment: the table of RFC 9989, 4.4 */
    {"relaxed",
     "news.example.com",
     {"example.com p=reject"},
     "pass foo.example.com",
     "",
     "pass reject example.com"},
    {"identical",
     "news.example.com",
     {"example.com p=reject; aspf=s"},
     "pass news.example.com",
     "",
     "pass reject example.com"},
    {"a stranger",
     "news.example.com",
     {"example.com p=reject", "example.net p=none"},
     "pass foo.example.net",
     "",
     "fail reject example.com"},
    {"strict SPF",
     "news.example.com",
     {"example.com p=reject; aspf=s"},
     "pass foo.example.com",
     "fail example.com",
     "fail reject example.com"},
    {"strict SPF, relaxed DKIM",
     "news.example.com",
     {"example.com p=reject; aspf=s"},
     "pass foo.example.com",
     "pass example.com",
     "pass reject example.com"},
    {"strict DKIM",
     "news.example.com",
     {"example.com p=reject; adkim=s"},
     "",
     "pass example.com",
     "fail reject example.com"},
    {"strict DKIM, relaxed SPF",
     "example.com",
     {"example.com p=reject; adkim=s"},
     "pass bounce.example.com",
     "pass mail.example.com",
     "pass reject example.com"},
    {"case and a dot",
     "Example.COM",
     {"example.com p=reject; aspf=s"},
     "pass EXAMPLE.com.",
     "",
     "pass reject example.com"},
    {"international",
     "b\xc3\xbc"
     "cher.example",
     {"xn--bcher-kva.example p=reject; adkim=s"},
     "",
     "pass xn--bcher-kva.example",
     "pass reject xn--bcher-kva.example"},
    {"international as the signer says it",
     "xn--bcher-kva.example",
     {"xn--bcher-kva.example p=reject; adkim=s"},
     "",
     "pass b\xc3\xbc"
     "cher.example",
     "pass reject xn--bcher-kva.example"},
    {"a suffix that is no parent",
     "example.com",
     {"example.com p=reject"},
     "pass badexample.com",
     "",
     "fail reject example.com"},
    {"a parent signs",
     "a.mail.example.com",
     {"example.com p=reject"},
     "",
     "pass example.com",
     "pass reject example.com"},
    /* only a pass counts */
    {"SPF softfail",
     "example.com",
     {"example.com p=quarantine"},
     "softfail example.com",
     "",
     "fail quarantine example.com"},
    {"DKIM policy",
     "example.com",
     {"example.com p=reject"},
     "neutral example.com",
     "policy example.com",
     "fail reject example.com"},
    /* which record (4.10.1) and which domain (4.10.2) */
    {"the author's own",
     "mail.example.com",
     {"mail.example.com p=none", "example.com p=reject; sp=quarantine"},
     "",
     "",
     "fail none mail.example.com"},
    {"the author's own, relaxed by the organization",
     "mail.example.com",
     {"mail.example.com p=reject", "example.com p=none"},
     "pass other.example.com",
     "",
     "pass reject mail.example.com"},
    {"not the one between",
     "a.mail.example.com",
     {"mail.example.com p=none", "example.com p=reject"},
     "",
     "",
     "fail reject example.com"},
    {"psd=n ends the walk",
     "a.mail.example.com",
     {"mail.example.com p=quarantine; psd=n", "example.com p=reject"},
     "pass example.com",
     "",
     "fail quarantine mail.example.com"},
    {"psd=n at the author",
     "mail.example.com",
     {"mail.example.com p=reject; psd=n", "example.com p=none"},
     "pass other.example.com",
     "",
     "fail reject mail.example.com"},
    {"psd=y above",
     "a.mail.example.com",
     {"com p=reject; psd=y"},
     "pass example.com",
     "",
     "pass reject com"},
    {"psd=y holds two organizations apart",
     "example.com",
     {"com p=reject; psd=y"},
     "pass other.com",
     "",
     "fail reject com"},
    {"the organization's before the public suffix's",
     "mail.example.com",
     {"example.com p=none", "com p=reject; psd=y"},
     "",
     "",
     "fail none example.com"},
    {"one below the organization is none of the three",
     "a.mail.example.com",
     {"mail.example.com p=none", "com p=reject; psd=y"},
     "",
     "",
     "fail reject com"},
    {"a public suffix writes itself",
     "com",
     {"com p=quarantine; sp=reject; psd=y"},
     "pass com",
     "",
     "pass quarantine com"},
    {"a public suffix is not its members",
     "com",
     {"com p=reject; psd=y"},
     "pass example.com",
     "",
     "fail reject com"},
    {"a signer below a psd=n",
     "example.com",
     {"example.com p=reject", "other.example.com p=none; psd=n"},
     "pass a.other.example.com",
     "",
     "fail reject example.com"},
    {"several records are none",
     "mail.example.com",
     {"mail.example.com p=none", "mail.example.com p=quarantine", "example.com p=reject"},
     "",
     "",
     "fail reject example.com"},
    {"other TXT records are nothing",
     "example.com",
     {"example.com =", "example.com p=reject"},
     "",
     "",
     "fail reject example.com"},
    {"states no policy",
     "example.com",
     {"example.com sp=reject"},
     "pass example.com",
     "",
     "none - -"},
    {"reports only",
     "example.com",
     {"example.com sp=reject; rua=mailto:a@example.com"},
     "",
     "",
     "fail none example.com"},
    /* subdomains */
    {"sp",
     "mail.example.com",
     {"example.com p=reject; sp=quarantine", "mail.example.com +"},
     "",
     "",
     "fail quarantine example.com"},
    {"sp is not for the domain itself",
     "example.com",
     {"example.com p=reject; sp=none"},
     "",
     "",
     "fail reject example.com"},
    {"np, the name does not exist",
     "nomail.example.com",
     {"example.com p=none; np=reject"},
     "",
     "",
     "fail reject example.com"},
    {"np, the name exists",
     "mail.example.com",
     {"example.com p=none; np=reject", "mail.example.com +"},
     "",
     "",
     "fail none example.com"},
    {"np, a name below exists",
     "mail.example.com",
     {"example.com p=none; np=reject", "a.mail.example.com +"},
     "",
     "",
     "fail none example.com"},
    {"np, something else stands at _dmarc",
     "mail.example.com",
     {"example.com p=none; np=reject", "mail.example.com ="},
     "",
     "",
     "fail none example.com"},
    {"np before sp",
     "nomail.example.com",
     {"example.com p=none; sp=quarantine; np=reject"},
     "",
     "",
     "fail reject example.com"},
    {"np of a public suffix",
     "nobody.com",
     {"com p=none; np=reject; psd=y"},
     "",
     "",
     "fail reject com"},
    /* trouble */
    {"no answer for the author's record",
     "example.com",
     {"example.com !"},
     "pass example.com",
     "",
     "temperror - -"},
    {"no answer above", "mail.example.com", {"example.com !"}, "", "", "temperror - -"},
    {"no answer above, but a record",
     "mail.example.com",
     {"mail.example.com p=reject", "example.com !"},
     "pass mail.example.com",
     "",
     "pass reject mail.example.com"},
    {"no answer above, which relaxed needs",
     "mail.example.com",
     {"mail.example.com p=reject", "example.com !"},
     "pass other.example.com",
     "",
     "temperror reject mail.example.com"},
    {"no answer above, which strict does not",
     "mail.example.com",
     {"mail.example.com p=reject; aspf=s", "example.com !"},
     "pass other.example.com",
     "",
     "fail reject mail.example.com"},
    {"no answer above the end of the walk",
     "mail.example.com",
     {"mail.example.com p=reject; psd=n", "example.com !"},
     "",
     "",
     "fail reject mail.example.com"},
    {"no answer about the signer",
     "example.com",
     {"example.com p=reject", "a.example.com !"},
     "pass a.example.com",
     "",
     "temperror reject example.com"},
    {"no answer about one signer, another is good",
     "example.com",
     {"example.com p=reject", "a.example.com !"},
     "pass a.example.com",
     "pass example.com",
     "pass reject example.com"},
    {"SPF temperror",
     "example.com",
     {"example.com p=reject"},
     "temperror example.com",
     "",
     "temperror reject example.com"},
    {"DKIM temperror",
     "example.com",
     {"example.com p=reject"},
     "fail example.com",
     "temperror mail.example.com",
     "temperror reject example.com"},
    {"a stranger's temperror",
     "example.com",
     {"example.com p=reject"},
     "temperror example.net",
     "temperror example.org",
     "fail reject example.com"},
    {"temperror beside a pass",
     "example.com",
     {"example.com p=reject"},
     "temperror example.com",
     "pass example.com",
     "pass reject example.com"},
    {"a strict temperror that is not aligned",
     "example.com",
     {"example.com p=reject; aspf=s"},
     "temperror a.example.com",
     "",
     "fail reject example.com"},
    {"SPF permerror",
     "example.com",
     {"example.com p=reject"},
     "permerror example.com",
     "",
     "fail reject example.com"},
    {"does the name exist?",
     "mail.example.com",
     {"example.com p=none; np=reject", "mail.example.com ?"},
     "",
     "",
     "temperror reject example.com"},
    {"does the name exist? it does not matter",
     "mail.example.com",
     {"example.com p=none; np=reject", "mail.example.com ?"},
     "pass example.com",
     "",
     "pass reject example.com"},
};

static void try_row(const struct row *row, uint64_t seed)
{
    char header[300];
    char got[400];
    const char *domain;
    (void)snprintf(header, sizeof(header), "From: Some One <a@%s>\r\n\r\n", row->from);
    struct dmarc_world *world = dmarc_world_create(header);
    world->fake.seed = seed;
    for (int i = 0; i < RECORDS_MAX && row->records[i] != NULL; i++) {
        dmarc_add_record(world, row->records[i]);
    }
    if (row->spf[0] != '\0') {
        enum check_result result = dmarc_result_of(row->spf, &domain);
        dmarc_set_spf(world, result, domain);
    }
    if (row->dkim[0] != '\0') {
        enum check_result result = dmarc_result_of(row->dkim, &domain);
        dmarc_add_dkim(world, result, domain);
    }
    (void)dmarc_run(world);
    dmarc_describe(&world->findings.dmarc, got, sizeof(got));
    print_message("%s, seed %llu\n", row->about, (unsigned long long)seed);
    assert_string_equal(got, row->wanted);
    assert_true(world->fake.asked <= 24);
    dmarc_world_destroy(world);
}

/* Whatever order the answers come in. */
static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (uint64_t seed = 0; seed < 6; seed++) {
            try_row(&rows[i], seed);
        }
    }
}

/* ---- From ---- */

static void test_authors(void **state)
{
    static const struct {
        const char *header;
        const char *wanted;
    } cases[] = {
        {"Subject: x\r\n\r\n", "permerror - -"},
        {"From: a@example.com\r\nFrom: a@example.com\r\n\r\n", "permerror - -"},
        {"From: a@example.com, b@example.net\r\n\r\n", "permerror - -"},
        {"From: a@example.com, b@example.com\r\n\r\n", "fail reject example.com"},
        {"From: a@[192.0.2.1]\r\n\r\n", "permerror - -"},
        {"From: a\r\n\r\n", "permerror - -"},
        {"From: a@.\r\n\r\n", "permerror - -"},
        {"From: a@m\xfcnchen.example\r\n\r\n", "permerror - -"},
        {"From: a@mu\xcc\x88nchen.example\r\n\r\n", "permerror - -"},
        {"From: a@..example.com\r\n\r\n", "fail reject example.com"},
        {"from : \"x@example.net\" <a@example.com>\r\n\r\n", "fail reject example.com"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char got[400];
        struct dmarc_world *world = dmarc_world_create(cases[i].header);
        fake_dns_add(&world->fake, "_dmarc.example.com", DNS_TXT, "v=DMARC1; p=reject");
        struct verdict verdict = dmarc_run(world);
        dmarc_describe(&world->findings.dmarc, got, sizeof(got));
        print_message("%s", cases[i].header);
        assert_string_equal(got, cases[i].wanted);
        assert_int_equal(verdict.action, ACTION_REJECT);
        if (got[0] == 'p') { /* else two fields would be the way around every policy */
            assert_string_equal(verdict.reply,
                                "550 5.7.1 Rejected: the header does not name one domain of "
                                "an author");
        }
        dmarc_world_destroy(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_authors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
