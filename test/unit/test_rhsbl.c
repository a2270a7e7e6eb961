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

#include "test/lists_world.h"

static void add_zone(struct lists_world *world, const char *name, int weight)
{
    struct verify_zone *zone = &world->conf.rhsbl.zones[world->conf.rhsbl.zone_count++];
    (void)snprintf(zone->name, sizeof(zone->name), "%s", name);
    zone->weight = weight;
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
        struct lists_world *world = lists_world_create("203.0.113.9");
        add_zone(world, "dbl.example", 3);
        lists_begin(world, SCOPE_TRANSACTION, row->helo, row->from);
        assert_int_equal(lists_finish(world).action, ACTION_REPORT);
        if (world->fake.asked != row->asked) {
            fail_msg("row %zu: %u questions", i, world->fake.asked);
        }
        assert_true(world->findings.rhsbl.is_present);
        assert_int_equal(world->findings.rhsbl.zone_count, 0);
        lists_world_destroy(world);
    }
}

static void test_too_long_with_the_zone(void **state)
{
    char helo[256];
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "dbl.example", 3);
    add_zone(world, "b", 3);
    memset(helo, 'a', sizeof(helo));
    for (size_t i = 50; i < 250; i += 50) {
        helo[i] = '.';
    }
    helo[251] = '\0';
    lists_begin(world, SCOPE_TRANSACTION, helo, "");
    (void)lists_finish(world);
    assert_int_equal(world->fake.asked, 1);
    lists_world_destroy(world);
}

/* ---- results ---- */

static void test_sender_is_listed(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "dbl.example", 3);
    fake_dns_add(&world->fake, "spam.example.dbl.example", DNS_A, "127.0.1.2");
    fake_dns_add(&world->fake, "spam.example.dbl.example", DNS_TXT, "see\r\n550 x\x80");
    lists_begin(world, SCOPE_TRANSACTION, "client.example", "a@Spam.example");
    struct verdict verdict = lists_finish(world);
    assert_int_equal(verdict.action, ACTION_REJECT);
    assert_string_equal(verdict.decided_by, "rhsbl");
    assert_string_equal(verdict.reply,
                        "550 5.7.1 the domain spam.example is listed by dbl.example (see??550 x?)");
    assert_string_equal(world->findings.rhsbl.subject, "spam.example");
    assert_false(world->findings.dnsbl.is_present);
    assert_int_equal(world->findings.dnsbl.score, 0);
    lists_world_destroy(world);
}

static void test_helo_is_listed_and_deferred(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "dbl.example", 3);
    world->conf.dnsbl.action = ACTION_DEFER;
    fake_dns_add(&world->fake, "bot.example.dbl.example", DNS_A, "127.0.1.2");
    lists_begin(world, SCOPE_TRANSACTION, "bot.example", "a@sender.example");
    struct verdict verdict = lists_finish(world);
    assert_int_equal(verdict.action, ACTION_DEFER);
    assert_string_equal(verdict.reply, "450 4.7.1 the domain bot.example is listed by dbl.example");
    lists_world_destroy(world);
}

/* In every order of answers: a zone that lists both names counts once, and says which it listed. */
static void test_a_zone_counts_once(void **state)
{
    (void)state;
    print_message("seeds 0 to 20\n");
    for (uint64_t seed = 0; seed <= 20; seed++) {
        struct lists_world *world = lists_world_create("203.0.113.9");
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
        lists_begin(world, SCOPE_TRANSACTION, "bot.example", "a@spam.example");
        assert_int_equal(lists_finish(world).action, ACTION_REPORT);
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
        lists_world_destroy(world);
    }
}

static void test_scores_of_addresses_and_domains_stay_apart(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    world->findings.dnsbl = (struct found_dnsbl){.is_present = true, .score = 2};
    add_zone(world, "a.example", 2);
    fake_dns_add(&world->fake, "spam.example.a.example", DNS_A, "127.0.0.2");
    lists_begin(world, SCOPE_TRANSACTION, "client.example", "a@spam.example");
    assert_int_equal(lists_finish(world).action, ACTION_REPORT);
    assert_int_equal(world->findings.rhsbl.score, 2);
    assert_int_equal(world->findings.dnsbl.score, 2);
    lists_world_destroy(world);
}

static void test_deadline_makes_temperror(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 3);
    add_zone(world, "b.example", 3);
    fake_dns_add(&world->fake, "spam.example.b.example", DNS_A, "127.0.0.2");
    world->fake.forget_one = 1;
    lists_begin(world, SCOPE_TRANSACTION, "[192.0.2.1]", "a@spam.example");
    (void)fake_dns_run(&world->fake);
    assert_false(lists_await(world));
    lists_run_to_deadline(world);
    assert_int_equal(world->done, 1);
    assert_int_equal(world->findings.rhsbl.zone_count, 2);
    assert_true(world->findings.rhsbl.zones[1].is_temperror);
    assert_true(world->findings.rhsbl.is_over); /* what is known counts */
    lists_world_destroy(world);
}

static void test_cancel_and_off(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 3);
    lists_begin(world, SCOPE_TRANSACTION, "client.example", "a@spam.example");
    chain_cancel(world->chain);
    assert_int_equal(fake_dns_run(&world->fake), 0);
    assert_int_equal(world->done, 0);
    lists_world_free(world);

    world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 3);
    world->conf.dnsbl.action = ACTION_OFF;
    lists_begin(world, SCOPE_TRANSACTION, "client.example", "a@spam.example");
    assert_int_equal(lists_finish(world).action, ACTION_REPORT);
    assert_int_equal(world->fake.asked, 0);
    assert_false(world->findings.rhsbl.is_present);
    lists_world_destroy(world);
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
