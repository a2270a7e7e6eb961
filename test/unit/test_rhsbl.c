/*
 * test_rhsbl - which names are asked about, how often, and what lists of domains count for, through the
 * chain, against a table of records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "filters/checks.h"
#include "filters/verify_conf.h"
#include "net/loop_backend.h"
#include "test/fake_dns.h"

struct world {
    struct loop *loop;
    struct fake_dns fake;
    struct verify_conf conf;
    struct findings findings;
    struct sockaddr_in client;
    struct chain *chain;
    int done; /* calls of the chain's */
};

static void on_done(struct chain *chain)
{
    struct world *world = chain->owner;
    world->done++;
}

static void add_zone(struct world *world, const char *name, int weight)
{
    struct verify_zone *zone = &world->conf.rhsbl.zones[world->conf.rhsbl.zone_count++];
    (void)snprintf(zone->name, sizeof(zone->name), "%s", name);
    zone->weight = weight;
}

static struct world *world_create(void)
{
    struct world *world = calloc(1, sizeof(*world));
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    assert_non_null(world);
    assert_int_equal(loop_create(&world->loop, &loop_epoll, &limits, NULL), 0);
    fake_dns_init(&world->fake);
    world->conf.dnsbl.action = ACTION_REJECT;
    world->conf.dnsbl.threshold = 3;
    world->client = (struct sockaddr_in){.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, "203.0.113.9", &world->client.sin_addr), 1);
    return world;
}

static void begin(struct world *world, const char *helo, const char *from)
{
    struct facts facts = {
        .conf = &world->conf,
        .dns = &world->fake.dns,
        .client = (const struct sockaddr *)&world->client,
        .hostname = "MX.example.org",
        .helo = helo,
        .from = from,
        .from_len = (uint32_t)strlen(from),
        .findings = &world->findings,
    };
    world->chain = calloc(1, chain_size(SCOPE_TRANSACTION));
    assert_non_null(world->chain);
    chain_init(world->chain, SCOPE_TRANSACTION, world->loop, &facts, on_done, world);
    chain_reach(world->chain, PHASE_MAIL);
}

/* Runs to the end; the verdict. */
static struct verdict finish(struct world *world)
{
    struct verdict verdict;
    (void)fake_dns_run(&world->fake);
    assert_true(chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + 50));
    chain_judge(world->chain, PHASE_EOM, &verdict);
    return verdict;
}

static void world_free(struct world *world)
{
    fake_dns_fini(&world->fake);
    loop_destroy(&world->loop);
    free(world->chain);
    free(world);
}

static void world_destroy(struct world *world)
{
    chain_cancel(world->chain);
    world_free(world);
}

/* ---- names ---- */

static const struct name_row {
    const char *helo;
    const char *from;
    uint32_t asked;
} name_rows[] = {
    {"client.example", "a@sender.example", 2},
    {"sender.example", "a@sender.example", 1},
    {"SENDER.Example.", "a@sender.EXAMPLE", 1},
    {"client.example", "", 1},
    {"client.example", "postmaster", 1},
    {"client.example", "\"a@b.example\"@sender.example", 2},
    {"[192.0.2.1]", "a@sender.example", 1},
    {"[IPv6:2001:db8::1]", "", 0},
    {"client.example", "a@[192.0.2.1]", 1},
    {"localhost", "a@sender", 0},
    {"192.0.2.1", "", 0},
    {"mx.example.org", "", 0},
    {"Mx.Example.Org.", "a@mx.example.org", 0},
    {"sub.mx.example.org", "", 1},
    {"a_b-c.example", "", 1},
    {"a b.example", "", 0},
    {"a..example", "", 0},
    {".example.com", "", 0},
    {"example.com..", "", 0},
    {".", "", 0},
    {"", "", 0},
    {"a\r\n.example", "", 0},
    {"a\x80.example", "", 0},
    {"a*.example", "", 0},
    {"x123456789x123456789x123456789x123456789x123456789x123456789x123.example", "", 0},
    {"b\xc3\xbc"
     "cher.example",
     "a@xn--bcher-kva.example", 1},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(name_rows) / sizeof(name_rows[0]); i++) {
        const struct name_row *row = &name_rows[i];
        struct world *world = world_create();
        add_zone(world, "dbl.example", 3);
        begin(world, row->helo, row->from);
        assert_int_equal(finish(world).action, ACTION_REPORT);
        if (world->fake.asked != row->asked) {
            fail_msg("row %zu: %u questions", i, world->fake.asked);
        }
        assert_true(world->findings.rhsbl.is_present);
        assert_int_equal(world->findings.rhsbl.zone_count, 0);
        world_destroy(world);
    }
}

static void test_too_long_with_the_zone(void **state)
{
    char helo[256];
    (void)state;
    struct world *world = world_create();
    add_zone(world, "dbl.example", 3);
    add_zone(world, "b", 3);
    memset(helo, 'a', sizeof(helo));
    for (size_t i = 50; i < 250; i += 50) {
        helo[i] = '.';
    }
    helo[251] = '\0';
    begin(world, helo, "");
    (void)finish(world);
    assert_int_equal(world->fake.asked, 1);
    world_destroy(world);
}

/* ---- results ---- */

static void test_sender_is_listed(void **state)
{
    (void)state;
    struct world *world = world_create();
    add_zone(world, "dbl.example", 3);
    fake_dns_add(&world->fake, "spam.example.dbl.example", DNS_A, "127.0.1.2");
    fake_dns_add(&world->fake, "spam.example.dbl.example", DNS_TXT, "see\r\n550 x\x80");
    begin(world, "client.example", "a@Spam.example");
    struct verdict verdict = finish(world);
    assert_int_equal(verdict.action, ACTION_REJECT);
    assert_string_equal(verdict.decided_by, "rhsbl");
    assert_string_equal(verdict.reply,
                        "550 5.7.1 the domain spam.example is listed by dbl.example (see??550 x?)");
    assert_string_equal(world->findings.rhsbl.subject, "spam.example");
    assert_false(world->findings.dnsbl.is_present);
    assert_int_equal(world->findings.dnsbl.score, 0);
    world_destroy(world);
}

static void test_helo_is_listed_and_deferred(void **state)
{
    (void)state;
    struct world *world = world_create();
    add_zone(world, "dbl.example", 3);
    world->conf.dnsbl.action = ACTION_DEFER;
    fake_dns_add(&world->fake, "bot.example.dbl.example", DNS_A, "127.0.1.2");
    begin(world, "bot.example", "a@sender.example");
    struct verdict verdict = finish(world);
    assert_int_equal(verdict.action, ACTION_DEFER);
    assert_string_equal(verdict.reply, "450 4.7.1 the domain bot.example is listed by dbl.example");
    world_destroy(world);
}

/* In every order of answers: a zone that lists both names counts once, and says which it listed. */
static void test_a_zone_counts_once(void **state)
{
    (void)state;
    print_message("seeds 0 to 20\n");
    for (uint64_t seed = 0; seed <= 20; seed++) {
        struct world *world = world_create();
        world->fake.seed = seed;
        world->conf.dnsbl.threshold = 4;
        add_zone(world, "a.example", 2);
        add_zone(world, "b.example", 1);
        add_zone(world, "c.example", 5);
        fake_dns_add(&world->fake, "spam.example.a.example", DNS_A, "127.0.0.2");
        fake_dns_add(&world->fake, "bot.example.a.example", DNS_A, "127.0.0.2");
        fake_dns_add(&world->fake, "bot.example.b.example", DNS_A, "127.0.0.2");
        fake_dns_add_failure(&world->fake, "spam.example.b.example", DNS_A);
        fake_dns_add(&world->fake, "spam.example.c.example", DNS_A, "127.255.255.254");
        begin(world, "bot.example", "a@spam.example");
        assert_int_equal(finish(world).action, ACTION_REPORT);
        const struct found_dnsbl *found = &world->findings.rhsbl;
        assert_int_equal(found->score, 3);
        assert_int_equal(found->zone_count, 3);
        for (uint32_t i = 0; i < found->zone_count; i++) {
            bool is_c = strcmp(found->zones[i].zone, "c.example") == 0;
            assert_int_equal(found->zones[i].is_listed, !is_c);
            assert_int_equal(found->zones[i].is_temperror, is_c);
        }
        assert_int_equal(found->by != NULL, 1);
        assert_true(found->subject[0] != '\0');
        world_destroy(world);
    }
}

static void test_scores_of_addresses_and_domains_stay_apart(void **state)
{
    (void)state;
    struct world *world = world_create();
    world->findings.dnsbl = (struct found_dnsbl){.is_present = true, .score = 2};
    add_zone(world, "a.example", 2);
    fake_dns_add(&world->fake, "spam.example.a.example", DNS_A, "127.0.0.2");
    begin(world, "client.example", "a@spam.example");
    assert_int_equal(finish(world).action, ACTION_REPORT);
    assert_int_equal(world->findings.rhsbl.score, 2);
    assert_int_equal(world->findings.dnsbl.score, 2);
    world_destroy(world);
}

static void test_deadline_makes_temperror(void **state)
{
    (void)state;
    struct world *world = world_create();
    add_zone(world, "a.example", 3);
    add_zone(world, "b.example", 3);
    fake_dns_add(&world->fake, "spam.example.b.example", DNS_A, "127.0.0.2");
    world->fake.forget_one = 1;
    begin(world, "[192.0.2.1]", "a@spam.example");
    (void)fake_dns_run(&world->fake);
    assert_false(chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + 50));
    for (int turn = 0; turn < 100 && world->done == 0; turn++) {
        assert_int_equal(loop_run_once(world->loop, 20), 0);
    }
    assert_int_equal(world->done, 1);
    assert_int_equal(world->findings.rhsbl.zone_count, 2);
    assert_true(world->findings.rhsbl.zones[1].is_temperror);
    assert_true(world->findings.rhsbl.is_over); /* what is known counts */
    world_destroy(world);
}

static void test_cancel_and_off(void **state)
{
    (void)state;
    struct world *world = world_create();
    add_zone(world, "a.example", 3);
    begin(world, "client.example", "a@spam.example");
    chain_cancel(world->chain);
    assert_int_equal(fake_dns_run(&world->fake), 0);
    assert_int_equal(world->done, 0);
    world_free(world);

    world = world_create();
    add_zone(world, "a.example", 3);
    world->conf.dnsbl.action = ACTION_OFF;
    begin(world, "client.example", "a@spam.example");
    assert_int_equal(finish(world).action, ACTION_REPORT);
    assert_int_equal(world->fake.asked, 0);
    assert_false(world->findings.rhsbl.is_present);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_too_long_with_the_zone),
        cmocka_unit_test(test_sender_is_listed),
        cmocka_unit_test(test_helo_is_listed_and_deferred),
        cmocka_unit_test(test_a_zone_counts_once),
        cmocka_unit_test(test_scores_of_addresses_and_domains_stay_apart),
        cmocka_unit_test(test_deadline_makes_temperror),
        cmocka_unit_test(test_cancel_and_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
