/*
 * test_authres - the Authentication-Results field as written, and forged ones among others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "filters/authres.h"
#include "filters/authres_claims.h"
#include "filters/verify_conf.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- writing ---- */

struct world {
    struct verify_conf conf;
    struct findings findings;
    struct facts facts;
    char out[AUTHRES_SIZE];
};

static struct world *world_create(void)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    (void)snprintf(world->conf.authserv_id, sizeof(world->conf.authserv_id), "%s",
                   "mx.example.org");
    world->facts = (struct facts){.conf = &world->conf, .findings = &world->findings};
    return world;
}

static void set_spf(struct world *world, enum check_result result, const char *domain)
{
    struct found_spf *found = &world->findings.spf;
    found->is_present = true;
    found->result = result;
    (void)snprintf(found->domain, sizeof(found->domain), "%s", domain);
}

static struct found_signature *add_dkim(struct world *world, enum check_result result,
                                        const char *domain, const char *selector)
{
    struct found_dkim *found = &world->findings.dkim;
    struct found_signature *signature = &found->signatures[found->count++];
    found->is_present = true;
    signature->result = result;
    signature->algorithm = "rsa-sha256";
    (void)snprintf(signature->domain, sizeof(signature->domain), "%s", domain);
    (void)snprintf(signature->selector, sizeof(signature->selector), "%s", selector);
    (void)snprintf(signature->b8, sizeof(signature->b8), "%s", "AbC/12+=");
    return signature;
}

static void set_dmarc(struct world *world, enum check_result result, enum dmarc_policy policy)
{
    struct found_dmarc *found = &world->findings.dmarc;
    found->is_present = true;
    found->has_record = result != CHECK_NONE;
    found->result = result;
    found->policy = policy;
    (void)snprintf(found->domain, sizeof(found->domain), "%s", "example.com");
}

/* Every line ends in CRLF and is no longer than that, every following one begins with white space, and
 * nothing is there but visible ASCII. */
static void check_form(const struct world *world, uint32_t len, uint32_t columns)
{
    assert_int_equal(len, strlen(world->out));
    assert_true(len < AUTHRES_SIZE);
    uint32_t column = 0;
    for (uint32_t i = 0; i < len; i++) {
        char c = world->out[i];
        if (c == '\r') {
            assert_int_equal(world->out[i + 1], '\n');
            assert_true(i + 2 == len || world->out[i + 2] == '\t');
            assert_true(column <= columns);
            column = 0;
            i++;
        } else {
            assert_true(c == '\t' ? column == 0 : c >= ' ' && c <= '~');
            column = c == '\t' ? 8 : column + 1;
        }
    }
    assert_string_equal(world->out + len - 2, "\r\n");
}

static void test_nothing_was_checked(void **state)
{
    (void)state;
    struct world *world = world_create();
    check_form(world, authres_write(&world->facts, world->out), 78);
    assert_string_equal(world->out, "Authentication-Results: mx.example.org; none\r\n");
    assert_int_equal(authres_write_trace(&world->facts, "X-Mailweir", world->out), 0);
    free(world);
}

static void test_all_that_passes(void **state)
{
    (void)state;
    struct world *world = world_create();
    set_spf(world, CHECK_PASS, "bounce.example.com");
    (void)add_dkim(world, CHECK_PASS, "example.com", "s1");
    set_dmarc(world, CHECK_PASS, DMARC_POLICY_REJECT);
    check_form(world, authres_write(&world->facts, world->out), 78);
    assert_string_equal(world->out,
                        "Authentication-Results: mx.example.org; spf=pass\r\n"
                        "\tsmtp.mailfrom=bounce.example.com; dkim=pass header.d=example.com\r\n"
                        "\theader.s=s1 header.a=rsa-sha256 header.b=\"AbC/12+=\"; dmarc=pass\r\n"
                        "\theader.from=example.com policy.dmarc=reject\r\n");
    free(world);
}

static void test_reasons_and_testing(void **state)
{
    (void)state;
    struct world *world = world_create();
    set_spf(world, CHECK_TEMPERROR, "client.example.com");
    world->findings.spf.is_helo = true;
    world->findings.spf.reason = "no answer in time";
    world->findings.dkim.is_present = true;
    set_dmarc(world, CHECK_FAIL, DMARC_POLICY_REJECT);
    world->findings.dmarc.is_testing = true;
    check_form(world, authres_write(&world->facts, world->out), 78);
    assert_string_equal(
        world->out, "Authentication-Results: mx.example.org; spf=temperror\r\n"
                    "\treason=\"no answer in time\" smtp.helo=client.example.com; dkim=none;\r\n"
                    "\tdmarc=fail header.from=example.com policy.dmarc=quarantine\r\n"
                    "\t(reject, t=y)\r\n");
    free(world);
}

/* Whatever peers say, it stays a value. */
static void test_peers_bytes_stay_values(void **state)
{
    (void)state;
    struct world *world = world_create();
    set_spf(world, CHECK_FAIL, "a;\r\ndkim=pass \"\\(\xff\x01");
    (void)add_dkim(world, CHECK_FAIL, "x.example dkim=pass", "s;dmarc=pass");
    set_dmarc(world, CHECK_NONE, DMARC_POLICY_NONE);
    (void)snprintf(world->findings.dmarc.domain, sizeof(world->findings.dmarc.domain), "%s",
                   "(unclosed");
    check_form(world, authres_write(&world->facts, world->out), 78);
    assert_non_null(strstr(world->out, "smtp.mailfrom=\"a;??dkim=pass \\\"\\\\(??\";"));
    assert_non_null(strstr(world->out, "header.d=\"x.example dkim=pass\""));
    assert_non_null(strstr(world->out, "header.s=\"s;dmarc=pass\""));
    assert_non_null(strstr(world->out, "header.from=\"(unclosed\"\r\n"));
    free(world);
}

static void fill(char *out, uint32_t size, char c)
{
    memset(out, c, size - 1);
    out[size - 1] = '\0';
}

static void test_everything_too_long(void **state)
{
    (void)state;
    for (const char *c = "a\"\xff;"; *c != '\0'; c++) {
        struct world *world = world_create();
        fill(world->conf.authserv_id, sizeof(world->conf.authserv_id), *c);
        set_spf(world, CHECK_FAIL, "");
        world->findings.spf.reason = world->conf.authserv_id;
        fill(world->findings.spf.domain, sizeof(world->findings.spf.domain), *c);
        for (uint32_t i = 0; i < FOUND_SIGNATURES_MAX; i++) {
            struct found_signature *found =
                add_dkim(world, i + 1 < FOUND_SIGNATURES_MAX ? CHECK_FAIL : CHECK_PASS, "", "");
            found->reason = world->conf.authserv_id;
            fill(found->domain, sizeof(found->domain), *c);
            fill(found->selector, sizeof(found->selector), *c);
        }
        set_dmarc(world, CHECK_FAIL, DMARC_POLICY_REJECT);
        world->findings.dmarc.reason = world->conf.authserv_id;
        world->findings.dmarc.is_testing = true;
        fill(world->findings.dmarc.domain, sizeof(world->findings.dmarc.domain), *c);
        check_form(world, authres_write(&world->facts, world->out), 8 + 17 + 2 * 256);
        assert_non_null(strstr(world->out, "spf=fail"));
        assert_non_null(strstr(world->out, "dmarc=fail"));
        assert_non_null(strstr(world->out, "(reject, t=y)\r\n"));
        if (*c == 'a') {
            assert_non_null(strstr(world->out, "dkim=pass")); /* before those that do not fit */
        }
        free(world);
    }
}

static void test_trace(void **state)
{
    (void)state;
    struct world *world = world_create();
    struct found_dnsbl *found = &world->findings.dnsbl;
    found->is_present = true;
    check_form(world, authres_write_trace(&world->facts, "X-Mailweir", world->out), 78);
    assert_string_equal(world->out, "X-Mailweir: mx.example.org; dnsbl=pass score=0\r\n");

    found->is_over = true;
    found->score = 4;
    (void)snprintf(found->text, sizeof(found->text), "%s", "see \"http://x/\"");
    found->zone_count = 2;
    found->zones[0] = (struct found_zone){.zone = "zen.example.org",
                                          .is_listed = true,
                                          .code_count = 2,
                                          .codes = {{127, 0, 0, 2}, {127, 0, 0, 4}}};
    found->zones[1] = (struct found_zone){.zone = "b.example.org", .is_temperror = true};
    check_form(world, authres_write_trace(&world->facts, "X-Mailweir", world->out), 78);
    assert_string_equal(world->out,
                        "X-Mailweir: mx.example.org; dnsbl=fail score=4 "
                        "text=\"see \\\"http://x/\\\"\";\r\n"
                        "\tzone=listed zone.name=zen.example.org zone.code=127.0.0.2\r\n"
                        "\tzone.code=127.0.0.4; zone=temperror zone.name=b.example.org\r\n");

    static char name[FOUND_DOMAIN_MAX];
    fill(name, sizeof(name), 'z');
    found->zone_count = FOUND_ZONES_MAX;
    for (uint32_t i = 0; i < FOUND_ZONES_MAX; i++) {
        found->zones[i] = (struct found_zone){.zone = name, .is_listed = true};
    }
    check_form(world, authres_write_trace(&world->facts, "X-Mailweir", world->out), 300);
    free(world);
}

/* Both kinds of lists, and room for the domains' when addresses are on very many. */
static void test_trace_of_domains(void **state)
{
    (void)state;
    struct world *world = world_create();
    struct found_dnsbl *found = &world->findings.rhsbl;
    found->is_present = true;
    found->is_over = true;
    found->score = 5;
    (void)snprintf(found->subject, sizeof(found->subject), "%s", "spam.example");
    (void)snprintf(found->text, sizeof(found->text), "%s", "why; not");
    found->zone_count = 1;
    found->zones[0] = (struct found_zone){
        .zone = "dbl.example.org", .is_listed = true, .code_count = 1, .codes = {{127, 0, 1, 2}}};
    check_form(world, authres_write_trace(&world->facts, "X-Mailweir", world->out), 78);
    assert_string_equal(world->out,
                        "X-Mailweir: mx.example.org; rhsbl=fail score=5 domain=spam.example\r\n"
                        "\ttext=\"why; not\"; zone=listed zone.name=dbl.example.org\r\n"
                        "\tzone.code=127.0.1.2\r\n");
    world->findings.dnsbl.is_present = true;
    check_form(world, authres_write_trace(&world->facts, "X-Mailweir", world->out), 78);
    assert_non_null(strstr(world->out, "; dnsbl=pass score=0; rhsbl=fail score=5\r\n"));

    static char name[FOUND_DOMAIN_MAX];
    fill(name, sizeof(name), '"');
    fill(found->subject, sizeof(found->subject), '"');
    fill(found->text, sizeof(found->text), '"');
    fill(world->findings.dnsbl.text, sizeof(found->text), '"');
    fill(world->conf.authserv_id, sizeof(world->conf.authserv_id), '"');
    found->zone_count = FOUND_ZONES_MAX;
    world->findings.dnsbl.zone_count = FOUND_ZONES_MAX;
    for (uint32_t i = 0; i < FOUND_ZONES_MAX; i++) {
        found->zones[i] = (struct found_zone){.zone = name, .is_listed = true};
        world->findings.dnsbl.zones[i] = found->zones[i];
    }
    check_form(world, authres_write_trace(&world->facts, "X-Mailweir", world->out), 600);
    assert_non_null(strstr(world->out, "rhsbl=fail score=5"));
    free(world);
}

/* ---- forged ones ---- */

static const char *const names[] = {
    "Authentication-Results:",      "authentication-results:",  "AUTHENTICATION-RESULTS:",
    "AuThEnTiCaTiOn-rEsUlTs:",      "Authentication-Results :", "Authentication-Results\t:",
    "Authentication-Results \t  :",
};

/* All of them mx.example.org. */
static const char *const spellings[] = {
    "mx.example.org",
    "MX.EXAMPLE.ORG",
    "Mx.ExAmPlE.oRg",
    "mx.example.org.",
    "\"mx.example.org\"",
    "\"MX.example.org\"",
    "\"m\\x.ex\\ample\\.org\"",
    "\"mx.\"example.org",
    "mx.\"example\".org",
    "\"\"mx.example.org",
    "\"mx.example\r\n .org\"",
    "\" mx.example.org \"",
    "(c)mx.example.org(d)",
    "(a(b(c)d)e) mx.example.org",
    "(\\)) mx.example.org",
    "(\\\\)mx.example.org",
    "(\") mx.example.org (\")",
    "(;)mx.example.org(;)",
    "\r\n\tmx.example.org\r\n\t",
    "\r\n (c)\r\n\t(d)\r\n mx.example.org\r\n ",
    "mx.(c)example.org",
    "mx(c).example(d).org",
    "mx.exam(c)ple.org",
    "mx .example. org",
    "mx\r\n . example\r\n .org",
    "mx.example.org 1",
    "mx.example.org(c)1",
    "mx.example.org.(c)",
    "mx.example.org .foo",
    "\"mx.example.org\"foo",
    "mx.example.org\"foo\"",
    "mx.example.org\r\n\t1 ",
    "mx.example.org 7",
    "\"mx.example.org\" 1",
    "mx.example.org 1 (comment)",
    "mx\\.example.org",
    "\xef\xbd\x8d\xef\xbd\x98.example.org",
    "mx\343\200\202example.org",
};

/* None of them is. */
static const char *const others[] = {
    "example.org",
    "mx2.example.org",
    "mx.example.org.example.com",
    "a.mx.example.org",
    "mx.example.orgx",
    "mx.example.or g",
    "mx.example",
    "mx-example.org",
    "mx..example.org",
    ".mx.example.org",
    "\"mx.example.org.example.com\"",
    "(mx.example.org) mail.example.com",
    "mail.example.com (mx.example.org)",
    "mail.example.com mx.example.org",
    "mail.example.com 1 (mx.example.org)",
    "\"mail.example.com;mx.example.org\"",
    "m\xd1\x85.example.org",
    "xn--mx-.example.org",
};

static const char *const tails[] = {
    "; dkim=pass header.d=example.com\r\n",
    ";none\r\n",
    "; spf=pass\r\n\tsmtp.mailfrom=mx.example.org\r\n",
    "(mx.example.org);dkim=pass;dkim=pass\r\n",
    "\r\n",
};

static const char *const other_fields[] = {
    "ARC-Authentication-Results: i=1; mx.example.org; dkim=pass\r\n",
    "X-Authentication-Results: mx.example.org; dkim=pass\r\n",
    "Authentication-Results-Original: mx.example.org; dkim=pass\r\n",
    "Authentication-Result: mx.example.org; dkim=pass\r\n",
    "Original-Authentication-Results: mx.example.org; dkim=pass\r\n",
    "Subject: Authentication-Results: mx.example.org; dkim=pass\r\n",
    "Received: from a\r\n\tAuthentication-Results: mx.example.org; dkim=pass\r\n",
};

static struct header header; /* large */

static bool claims(const char *field, const char *id)
{
    header_init(&header);
    (void)header_feed(&header, field, (uint32_t)strlen(field));
    header_end(&header);
    assert_int_equal(header.count, 1);
    return authres_claims(&header, &header.fields[0], id);
}

static void test_spellings(void **state)
{
    char field[600];
    uint32_t tried = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(names) * COUNT(spellings) * COUNT(tails); i++) {
        (void)snprintf(field, sizeof(field), "%s %s%s", names[i % COUNT(names)],
                       spellings[i / COUNT(names) % COUNT(spellings)],
                       tails[i / COUNT(names) / COUNT(spellings)]);
        if (!claims(field, "mx.example.org") || !claims(field, "MX.Example.org")) {
            fail_msg("not seen: %s", field);
        }
        assert_false(claims(field, "mail.example.com"));
        tried++;
    }
    assert_true(tried >= 100);
    for (size_t i = 0; i < COUNT(names) * COUNT(others) * COUNT(tails); i++) {
        (void)snprintf(field, sizeof(field), "%s %s%s", names[i % COUNT(names)],
                       others[i / COUNT(names) % COUNT(others)],
                       tails[i / COUNT(names) / COUNT(others)]);
        if (claims(field, "mx.example.org")) {
            fail_msg("not ours: %s", field);
        }
    }
    for (size_t i = 0; i < COUNT(other_fields); i++) {
        assert_false(claims(other_fields[i], "mx.example.org"));
    }
}

static void test_international_names(void **state)
{
    static const char *const ids[] = {"mx.b\xc3\xbc"
                                      "cher.example",
                                      "mx.xn--bcher-kva.example"};
    static const char *const fields[] = {
        "Authentication-Results: mx.b\xc3\xbc"
        "cher.example; dkim=pass\r\n",
        "Authentication-Results: MX.B\xc3\x9c"
        "CHER.example 1; dkim=pass\r\n",
        "Authentication-Results: \"mx.b\xc3\xbc"
        "cher.example\"; dkim=pass\r\n",
        "Authentication-Results: mx.XN--BCHER-KVA.example; dkim=pass\r\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(ids) * COUNT(fields); i++) {
        assert_true(claims(fields[i / COUNT(ids)], ids[i % COUNT(ids)]));
        assert_false(claims(fields[i / COUNT(ids)], "mx.bucher.example"));
        assert_false(claims(fields[i / COUNT(ids)], "mx.example.org"));
    }
    assert_false(claims("Authentication-Results: mx.b\xfc"
                        "cher.example; none\r\n",
                        ids[0]));
}

/* Nobody can say whose these are. */
static void test_fields_of_nobody(void **state)
{
    static const char *const fields[] = {
        "Authentication-Results:\r\n",
        "Authentication-Results: ; dkim=pass\r\n",
        "Authentication-Results: (mx.example.org; dkim=pass\r\n",
        "Authentication-Results: \"mx.example.org; dkim=pass\r\n",
        "Authentication-Results: (\\)mx.example.org; dkim=pass\r\n",
        "Authentication-Results: \"\"; dkim=pass\r\n",
        "Authentication-Results: (mx.example.org)\r\n",
        "Authentication-Results: mail.example.com (\r\n",
        "Authentication-Results: (\\\r\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(fields); i++) {
        assert_true(claims(fields[i], "mx.example.org"));
    }
}

/* ---- k forged ones among m others, in any order ---- */

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static const char *any(const char *const *from, size_t count, uint64_t *seed)
{
    return from[next_random(seed) % count];
}

static void add_forged(char *field, size_t size, uint64_t *seed)
{
    (void)snprintf(field, size, "%s %s%s", any(names, COUNT(names), seed),
                   any(spellings, COUNT(spellings), seed), any(tails, COUNT(tails), seed));
}

static void add_foreign(char *field, size_t size, uint64_t *seed)
{
    if (next_random(seed) % 3 == 0) {
        (void)snprintf(field, size, "%s", any(other_fields, COUNT(other_fields), seed));
        return;
    }
    (void)snprintf(field, size, "%s %s%s", any(names, COUNT(names), seed),
                   any(others, COUNT(others), seed), any(tails, COUNT(tails), seed));
}

static void test_interleavings(void **state)
{
    static char text[HEADER_TEXT_MAX];
    (void)state;
    print_message("seeds 1 to 2000\n");
    for (uint64_t round = 1; round <= 2000; round++) {
        uint64_t seed = round;
        bool is_forged[40];
        uint32_t forged = (uint32_t)next_random(&seed) % 21;
        uint32_t foreign = (uint32_t)next_random(&seed) % 20 + 1;
        uint32_t count = 0;
        size_t len = 0;
        while (forged + foreign > 0 && count < COUNT(is_forged)) {
            bool is_mine = next_random(&seed) % (forged + foreign) < forged;
            is_forged[count++] = is_mine;
            if (is_mine) {
                add_forged(text + len, sizeof(text) - len, &seed);
                forged--;
            } else {
                add_foreign(text + len, sizeof(text) - len, &seed);
                foreign--;
            }
            len += strlen(text + len);
        }
        header_init(&header);
        assert_int_equal(header_feed(&header, text, (uint32_t)len), len);
        header_end(&header);
        assert_int_equal(header.count, count);
        for (uint32_t i = 0; i < count; i++) {
            if (authres_claims(&header, &header.fields[i], "mx.example.org") != is_forged[i]) {
                fail_msg("seed %u, field %u: %.*s", (unsigned)round, i, (int)header.fields[i].len,
                         header.text + header.fields[i].at);
            }
        }
    }
}

/* ---- cost ---- */

static double seconds_for(const char *text, uint32_t len)
{
    struct timespec begin;
    struct timespec end;
    header_init(&header);
    (void)header_feed(&header, text, len);
    header_end(&header);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (uint32_t i = 0; i < header.count; i++) {
        (void)authres_claims(&header, &header.fields[i], "mx.example.org");
    }
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

/* A name in ASCII may come in any number of pieces. One beyond ASCII that comes in more than are read is
 * anybody's. */
static void test_names_in_many_pieces(void **state)
{
    (void)state;
    assert_true(claims("Authentication-Results: m()x(). e\"x\"a()m(c)p()l\"e\" .o()r()g; none\r\n",
                       "mx.example.org"));
    assert_false(claims("Authentication-Results: m()x(). e\"x\"a()m(c)p()l\"e\" .c()o()m; none\r\n",
                        "mx.example.org"));
    assert_false(claims("Authentication-Results: m()x.b\"\xc3\xbc\"cher.example; none\r\n",
                        "mx.example.org"));
    assert_true(claims("Authentication-Results: m()x.b\"\xc3\xbc\"cher.example; none\r\n",
                       "mx.xn--bcher-kva.example"));
    assert_true(
        claims("Authentication-Results: \xc3\xa4()a()a()a()a(). x; none\r\n", "mx.example.org"));
}

static void test_large_fields_cost_little(void **state)
{
    static char text[HEADER_TEXT_MAX];
    static const char *const pieces[] = {"(",     "()",   "(()())",      "\"",
                                         "a",     "\\",   "x . ",        "; dkim=pass",
                                         "\r\n ", "\"\"", "\xe3\x80\x82"};
    (void)state;
    for (size_t i = 0; i < COUNT(pieces); i++) {
        size_t len = (size_t)snprintf(text, sizeof(text), "Authentication-Results: ");
        size_t part = strlen(pieces[i]);
        for (; len + part + 2 < sizeof(text); len += part) {
            memcpy(text + len, pieces[i], part);
        }
        memcpy(text + len, "\r\n", 2);
        assert_true(seconds_for(text, (uint32_t)len + 2) < 0.2);
    }
    size_t len = 0;
    for (int i = 0; i < 1900; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "Authentication-Results: mx%d.example.org; none\r\n", i);
    }
    assert_true(seconds_for(text, (uint32_t)len) < 0.2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_was_checked),
        cmocka_unit_test(test_all_that_passes),
        cmocka_unit_test(test_reasons_and_testing),
        cmocka_unit_test(test_peers_bytes_stay_values),
        cmocka_unit_test(test_everything_too_long),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_trace_of_domains),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_international_names),
        cmocka_unit_test(test_fields_of_nobody),
        cmocka_unit_test(test_names_in_many_pieces),
        cmocka_unit_test(test_interleavings),
        cmocka_unit_test(test_large_fields_cost_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
