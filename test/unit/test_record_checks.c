/*
 * test_record_checks - what the checks found, as the record tells it: the keys of the contract, a check that
 * did not run left out, one line of valid JSON whatever stands in a domain or selector, and never longer
 * than RECORD_MAX.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/record.h"
#include "core/record_checks.h"
#include "test/unit/json_strict.h"

enum { CHUNKS = 64, SHOWN_MAX = 300 /* octets of a domain or selector, escaped */ };

static char line[RECORD_MAX + 1];
static struct findings findings;

/* ---- helpers ---- */

static int reset(void **state)
{
    (void)state;
    memset(&findings, 0, sizeof(findings));
    return 0;
}

/* What stands in the place of "checks"; the record is written to `line`, and is one line of valid JSON. */
static const char *written(const struct findings *found, enum config_log_format format)
{
    static char part[RECORD_MAX];
    struct record record = {.session = TEXT("s"),
                            .listener = TEXT("mx"),
                            .client = TEXT("192.0.2.7:1"),
                            .findings = found};
    line[RECORD_MAX] = '#';
    uint32_t len = record_write(&record, format, line);
    assert_true(len > 0 && len <= RECORD_MAX);
    assert_int_equal(line[RECORD_MAX], '#');
    assert_int_equal(line[len - 1], '\n');
    for (uint32_t i = 0; i + 1 < len; i++) {
        assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
    }
    const char *begin = format == LOG_FORMAT_JSON ? ",\"verdict\":\"accept\",\"checks\":"
                                                  : " verdict=accept checks=";
    const char *end = format == LOG_FORMAT_JSON ? ",\"ms\":{" : " ms_total=";
    const char *from = memmem(line, len, begin, strlen(begin));
    assert_non_null(from);
    from += strlen(begin);
    const char *to = memmem(from, (size_t)(line + len - from), end, strlen(end));
    assert_non_null(to);
    snprintf(part, sizeof(part), "%.*s", (int)(to - from), from);
    if (format == LOG_FORMAT_JSON) {
        struct json json;
        assert_true(json_parse(&json, line, len - 1));
        assert_true(json_parse(&json, part, strlen(part)));
    }
    return part;
}

static void set_zone(struct found_dnsbl *found, const char *name, bool is_listed, uint8_t code)
{
    struct found_zone *zone = &found->zones[found->zone_count++];
    *zone = (struct found_zone){.zone = name, .is_listed = is_listed, .is_temperror = !is_listed};
    if (code > 0) {
        zone->codes[zone->code_count][0] = 127;
        zone->codes[zone->code_count++][3] = code;
    }
}

static void set_signature(enum check_result result, const char *domain, const char *selector)
{
    struct found_signature *signature = &findings.dkim.signatures[findings.dkim.count++];
    signature->result = result;
    (void)snprintf(signature->domain, sizeof(signature->domain), "%s", domain);
    (void)snprintf(signature->selector, sizeof(signature->selector), "%s", selector);
}

static void set_all(void)
{
    findings.dnsbl.is_present = true;
    findings.dnsbl.score = 6;
    set_zone(&findings.dnsbl, "zen.example.org", true, 2);
    findings.dnsbl.zones[0].codes[1][0] = 127;
    findings.dnsbl.zones[0].codes[1][1] = 255;
    findings.dnsbl.zones[0].codes[1][3] = 10;
    findings.dnsbl.zones[0].code_count = 2;
    set_zone(&findings.dnsbl, "dead.example.org", false, 0);
    findings.rhsbl.is_present = true;
    findings.rhsbl.score = -2;
    findings.spf.is_present = true;
    findings.spf.result = CHECK_SOFTFAIL;
    (void)snprintf(findings.spf.domain, FOUND_DOMAIN_MAX, "example.com");
    findings.dkim.is_present = true;
    set_signature(CHECK_PASS, "example.com", "s1");
    set_signature(CHECK_TEMPERROR, "example.net", "s2");
    findings.dmarc.is_present = true;
    findings.dmarc.has_record = true;
    findings.dmarc.result = CHECK_FAIL;
    findings.dmarc.policy = DMARC_POLICY_REJECT;
}

/* ---- what is told ---- */

static void test_all_checks(void **state)
{
    (void)state;
    set_all();
    assert_string_equal(
        written(&findings, LOG_FORMAT_JSON),
        "{\"dnsbl\":{\"score\":6,\"zones\":[{\"zone\":\"zen.example.org\",\"codes\":[\"127.0.0.2\","
        "\"127.255.0.10\"],\"result\":\"listed\"},{\"zone\":\"dead.example.org\",\"codes\":[],"
        "\"result\":\"temperror\"}]},\"rhsbl\":{\"score\":-2,\"zones\":[]},\"spf\":{\"result\":"
        "\"softfail\",\"domain\":\"example.com\"},\"dkim\":[{\"result\":\"pass\",\"domain\":"
        "\"example.com\",\"selector\":\"s1\"},{\"result\":\"temperror\",\"domain\":\"example.net\","
        "\"selector\":\"s2\"}],\"dmarc\":{\"result\":\"fail\",\"policy\":\"reject\"}}");
    assert_string_equal(written(&findings, LOG_FORMAT_TEXT),
                        "dnsbl:6,rhsbl:-2,spf:softfail,dkim:pass+temperror,dmarc:fail");
}

static void test_no_checks(void **state)
{
    (void)state;
    assert_string_equal(written(NULL, LOG_FORMAT_JSON), "{}");
    assert_string_equal(written(NULL, LOG_FORMAT_TEXT), "-");
    assert_string_equal(written(&findings, LOG_FORMAT_JSON), "{}");
    assert_string_equal(written(&findings, LOG_FORMAT_TEXT), "-");
}

/* Each set of checks: those that ran stand there, in the order of the contract, and no other. */
static void test_what_did_not_run_is_left_out(void **state)
{
    (void)state;
    static const char *const keys[] = {"dnsbl", "rhsbl", "spf", "dkim", "dmarc"};
    set_all();
    bool *const present[] = {&findings.dnsbl.is_present, &findings.rhsbl.is_present,
                             &findings.spf.is_present, &findings.dkim.is_present,
                             &findings.dmarc.is_present};
    for (unsigned set = 0; set < 32; set++) {
        for (unsigned i = 0; i < 5; i++) {
            *present[i] = (set >> i & 1) != 0;
        }
        struct json json;
        const char *part = written(&findings, LOG_FORMAT_JSON);
        assert_true(json_parse(&json, part, strlen(part)));
        const char *text = written(&findings, LOG_FORMAT_TEXT);
        int at = 0;
        for (unsigned i = 0; i < 5; i++) {
            char word[16];
            (void)snprintf(word, sizeof(word), "%s:", keys[i]);
            assert_int_equal(strstr(text, word) != NULL, *present[i]);
            if (*present[i]) {
                assert_true(at < json.key_count);
                assert_string_equal(json.keys[at++], keys[i]);
            }
        }
        assert_int_equal(at, json.key_count);
    }
}

static void test_nothing_found(void **state)
{
    (void)state;
    findings.dnsbl.is_present = findings.spf.is_present = findings.dkim.is_present = true;
    findings.dmarc.is_present = true;
    findings.dmarc.policy = DMARC_POLICY_REJECT; /* of no record: not told */
    assert_string_equal(written(&findings, LOG_FORMAT_JSON),
                        "{\"dnsbl\":{\"score\":0,\"zones\":[]},\"spf\":{\"result\":\"none\","
                        "\"domain\":null},\"dkim\":[],\"dmarc\":{\"result\":\"none\",\"policy\":"
                        "null}}");
    assert_string_equal(written(&findings, LOG_FORMAT_TEXT),
                        "dnsbl:0,spf:none,dkim:none,dmarc:none");
}

/* What the owner published, not the milder step that t=y asks for. */
static void test_policy_is_the_published_one(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "quarantine", "reject"};
    findings.dmarc.is_present = findings.dmarc.has_record = findings.dmarc.is_testing = true;
    for (int i = 0; i < 3; i++) {
        char want[64];
        findings.dmarc.policy = (enum dmarc_policy)i;
        (void)snprintf(want, sizeof(want), "{\"dmarc\":{\"result\":\"none\",\"policy\":\"%s\"}}",
                       names[i]);
        assert_string_equal(written(&findings, LOG_FORMAT_JSON), want);
    }
}

static void test_listed_domain(void **state)
{
    (void)state;
    findings.rhsbl.is_present = true;
    set_zone(&findings.rhsbl, "dbl.example.org", true, 4);
    (void)snprintf(findings.rhsbl.subject, FOUND_DOMAIN_MAX, "spam.example");
    assert_string_equal(written(&findings, LOG_FORMAT_JSON),
                        "{\"rhsbl\":{\"score\":0,\"zones\":[{\"zone\":\"dbl.example.org\","
                        "\"codes\":[\"127.0.0.4\"],\"result\":\"listed\"}],\"domain\":"
                        "\"spam.example\"}}");
}

/* ---- what peers send ---- */

static void test_hostile_domain_and_selector(void **state)
{
    (void)state;
    findings.dkim.is_present = true;
    set_signature(CHECK_FAIL, "a\"},\n{\"result\":\"pass", "\\\"\r\n\x7f\xff\xc3\xa9");
    assert_string_equal(written(&findings, LOG_FORMAT_JSON),
                        "{\"dkim\":[{\"result\":\"fail\",\"domain\":\"a\\\"},\\n{\\\"result\\\":"
                        "\\\"pass\",\"selector\":\"\\\\\\\"\\r\\n\\u007F\\u00FF\xc3\xa9\"}]}");
    assert_string_equal(written(&findings, LOG_FORMAT_TEXT), "dkim:fail");
}

static void random_name(char *out, uint32_t size, unsigned *seed)
{
    static const char nasty[] = "\n\r\"\\{}[],: =\x7f\x80\xc2\x85\xe2\x80\xa8\xed\xa0\x80\xff";
    uint32_t len = (uint32_t)rand_r(seed) % size;
    for (uint32_t i = 0; i < len; i++) {
        unsigned pick = (unsigned)rand_r(seed) >> 4;
        char any = (char)(1 + (pick >> 8) % 255);
        out[i] = pick % 2 == 0 ? any : nasty[(pick >> 8) % (sizeof(nasty) - 1)];
    }
    out[len] = '\0';
}

static void test_random_bytes_in_every_name(void **state)
{
    (void)state;
    unsigned seed = 20261124;
    print_message("seed %u\n", seed);
    for (unsigned round = 0; round < 2000; round++) {
        reset(NULL);
        set_all();
        random_name(findings.spf.domain, FOUND_DOMAIN_MAX, &seed);
        random_name(findings.dnsbl.subject, FOUND_DOMAIN_MAX, &seed);
        random_name(findings.rhsbl.subject, FOUND_DOMAIN_MAX, &seed);
        for (uint32_t i = 0; i < round % FOUND_SIGNATURES_MAX; i++) {
            findings.dkim.count = i;
            set_signature((enum check_result)(i % (CHECK_PERMERROR + 1)), "", "");
            random_name(findings.dkim.signatures[i].domain, FOUND_DOMAIN_MAX, &seed);
            random_name(findings.dkim.signatures[i].selector, FOUND_SELECTOR_MAX, &seed);
        }
        struct json json;
        const char *part = written(&findings, LOG_FORMAT_JSON);
        assert_true(json_parse(&json, part, strlen(part)));
        assert_int_equal(json.key_count, 5);
        /* The outermost, four checks in braces, two zones, and the signatures. */
        assert_int_equal(json.object_count, 7 + findings.dkim.count);
        written(&findings, LOG_FORMAT_TEXT);
    }
}

/* ---- the longest ---- */

static void fill(char *out, size_t size, char c)
{
    memset(out, c, size - 1);
    out[size - 1] = '\0';
}

static void fill_all(char c, const char *zone)
{
    struct found_dnsbl *const lists[] = {&findings.dnsbl, &findings.rhsbl};
    reset(NULL);
    for (int i = 0; i < 2; i++) {
        lists[i]->is_present = true;
        lists[i]->score = INT32_MIN;
        fill(lists[i]->subject, FOUND_DOMAIN_MAX, c);
        while (lists[i]->zone_count < FOUND_ZONES_MAX) {
            set_zone(lists[i], zone, false, 0);
            struct found_zone *last = &lists[i]->zones[lists[i]->zone_count - 1];
            last->code_count = FOUND_CODES_MAX;
            memset(last->codes, 255, sizeof(last->codes));
        }
    }
    findings.spf.is_present = findings.dkim.is_present = findings.dmarc.is_present = true;
    findings.spf.result = findings.dmarc.result = CHECK_PERMERROR;
    fill(findings.spf.domain, FOUND_DOMAIN_MAX, c);
    findings.dmarc.has_record = true;
    findings.dmarc.policy = DMARC_POLICY_QUARANTINE;
    while (findings.dkim.count < FOUND_SIGNATURES_MAX) {
        set_signature(CHECK_PERMERROR, "", "");
        struct found_signature *last = &findings.dkim.signatures[findings.dkim.count - 1];
        fill(last->domain, FOUND_DOMAIN_MAX, c);
        fill(last->selector, FOUND_SELECTOR_MAX, c);
    }
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned count = 0;
    while ((text = strstr(text, what)) != NULL) {
        text += strlen(what);
        count++;
    }
    return count;
}

/* Names of plain characters are never cut; of those that escape to more, whole characters are left out. */
static void test_long_names(void **state)
{
    (void)state;
    static const struct {
        char c;
        const char *shown;
        unsigned width;
    } kinds[] = {{'x', "x", 1}, {'"', "\\\"", 2}, {'\x01', "\\u0001", 6}, {'\xff', "\\u00FF", 6}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        fill_all(kinds[i].c, "z.example.org");
        unsigned shown = SHOWN_MAX / kinds[i].width;
        shown = shown < FOUND_DOMAIN_MAX - 1 ? shown : FOUND_DOMAIN_MAX - 1;
        char want[2 * SHOWN_MAX];
        int len = snprintf(want, sizeof(want), "\"selector\":\"");
        for (unsigned n = 0; n < shown; n++) {
            len += snprintf(want + len, sizeof(want) - (size_t)len, "%s", kinds[i].shown);
        }
        (void)snprintf(want + len, sizeof(want) - (size_t)len, "\"}");
        const char *part = written(&findings, LOG_FORMAT_JSON);
        assert_int_equal(count_of(part, want), FOUND_SIGNATURES_MAX);
    }
}

/* The room that is kept is enough for what is written, however long the names. */
static void test_room(void **state)
{
    (void)state;
    char zone[256];
    fill(zone, sizeof(zone), '"');
    for (int i = 0; i < 2; i++) {
        fill_all(i == 0 ? '"' : '\x01', zone);
        uint32_t room = record_checks_room(&findings);
        assert_in_range(room, 1, RECORD_CHECKS_MAX);
        assert_true(strlen(written(&findings, LOG_FORMAT_JSON)) <= room);
        assert_true(strlen(written(&findings, LOG_FORMAT_TEXT)) <= room);
    }
}

static void test_everything_at_once_fits(void **state)
{
    (void)state;
    static char big[RECORD_MAX];
    struct pool chunks;
    struct envelope envelope;
    char zone[256];
    assert_int_equal(pool_init(&chunks, ENVELOPE_CHUNK_SIZE, CHUNKS), 0);
    envelope_init(&envelope, &chunks);
    memset(big, '\x01', sizeof(big));
    fill(zone, sizeof(zone), '\x01');
    fill_all('\x01', zone);
    struct text text = {.at = big, .len = sizeof(big)};
    struct record record = {.is_transaction = true,
                            .session = text,
                            .listener = text,
                            .client = text,
                            .helo = text,
                            .tls_version = "TLSv1.3",
                            .tls_cipher = "TLS_AES_256_GCM_SHA384",
                            .from = text,
                            .envelope = &envelope,
                            .size = UINT64_MAX,
                            .upstream = text,
                            .reply_code = UINT16_MAX,
                            .reply_text = text,
                            .decided_by = "dnsbl",
                            .findings = &findings};
    for (int i = 0; i < 40; i++) {
        struct text to = {.at = big, .len = ENVELOPE_CHUNK_SIZE - 64};
        assert_int_equal(envelope_add_rcpt(&envelope, to, TEXT(""), 250), 0);
    }
    for (int format = LOG_FORMAT_JSON; format <= LOG_FORMAT_TEXT; format++) {
        line[RECORD_MAX] = '#';
        uint32_t len = record_write(&record, (enum config_log_format)format, line);
        assert_in_range(len, 1, RECORD_MAX);
        assert_int_equal(line[RECORD_MAX], '#');
        line[len] = '\0';
        struct json json;
        if (format == LOG_FORMAT_JSON) {
            assert_true(json_parse(&json, line, len - 1));
            assert_int_equal(count_of(line, ",\"selector\":"), FOUND_SIGNATURES_MAX);
            assert_int_equal(count_of(line, "\"zone\":"), 2 * FOUND_ZONES_MAX);
            assert_int_equal(count_of(line, "\"rcpt_omitted\":"), 1);
        } else {
            assert_int_equal(count_of(line, "permerror"), FOUND_SIGNATURES_MAX + 2);
        }
    }
    envelope_reset(&envelope);
    pool_fini(&chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_all_checks, reset),
        cmocka_unit_test_setup(test_no_checks, reset),
        cmocka_unit_test_setup(test_what_did_not_run_is_left_out, reset),
        cmocka_unit_test_setup(test_nothing_found, reset),
        cmocka_unit_test_setup(test_policy_is_the_published_one, reset),
        cmocka_unit_test_setup(test_listed_domain, reset),
        cmocka_unit_test_setup(test_hostile_domain_and_selector, reset),
        cmocka_unit_test_setup(test_random_bytes_in_every_name, reset),
        cmocka_unit_test_setup(test_long_names, reset),
        cmocka_unit_test_setup(test_room, reset),
        cmocka_unit_test_setup(test_everything_at_once_fits, reset),
    };
    return cmocka_run_group_tests_name("record_checks", tests, NULL, NULL);
}
