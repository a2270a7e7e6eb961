/*
 * test_dnsbl - what zones may answer and what it counts for, through the chain, against a table of
 * records; and the chain's own promises: one `done`, the deadline, cancel.
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

#include "filters/address.h"
#include "test/lists_world.h"

static void add_zone(struct lists_world *world, const char *name, int weight, uint32_t first,
                     uint32_t last)
{
    struct verify_zone *zone = &world->conf.dnsbl.zones[world->conf.dnsbl.zone_count++];
    (void)snprintf(zone->name, sizeof(zone->name), "%s", name);
    zone->weight = weight;
    zone->range_count = first != 0 ? 1 : 0;
    zone->ranges[0] = (struct verify_range){first, last};
}

/* ---- answers ---- */

static const struct answer_row {
    const char *data; /* NULL: the name does not exist */
    int is_listed;
    int is_temperror;
} answer_rows[] = {
    {NULL, 0, 0},
    {"127.0.0.2", 1, 0},
    {"127.0.0.11", 1, 0},
    {"127.0.1.2", 1, 0},
    {"127.0.0.1", 0, 1},
    {"127.255.255.252", 0, 1},
    {"127.255.255.254", 0, 1},
    {"127.255.255.255", 0, 1},
    {"128.0.0.2", 0, 1},
    {"192.0.2.1", 0, 1},
    {"0.0.0.0", 0, 1},
};

static void test_codes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(answer_rows) / sizeof(answer_rows[0]); i++) {
        const struct answer_row *row = &answer_rows[i];
        struct lists_world *world = lists_world_create("203.0.113.9");
        add_zone(world, "bl.example", 3, 0, 0);
        if (row->data != NULL) {
            fake_dns_add(&world->fake, "9.113.0.203.bl.example", DNS_A, row->data);
        }
        lists_begin(world, SCOPE_SESSION, "", "");
        struct verdict verdict = lists_finish(world);
        const struct found_dnsbl *found = &world->findings.dnsbl;
        assert_int_equal(found->is_over, row->is_listed);
        assert_int_equal(found->score, row->is_listed ? 3 : 0);
        assert_int_equal(found->zone_count, row->is_listed || row->is_temperror ? 1 : 0);
        assert_int_equal(verdict.action, row->is_listed ? ACTION_REJECT : ACTION_REPORT);
        if (found->zone_count > 0) {
            assert_int_equal(found->zones[0].is_temperror, row->is_temperror);
            assert_int_equal(found->zones[0].code_count, 1);
        }
        lists_world_destroy(world);
    }
}

static void test_ranges_weights_and_text(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 2, 0x7f000004, 0x7f000007);
    add_zone(world, "b.example", 2, 0, 0);
    add_zone(world, "allow.example", -3, 0, 0);
    fake_dns_add(&world->fake, "9.113.0.203.a.example", DNS_A, "127.0.0.2");
    fake_dns_add(&world->fake, "9.113.0.203.a.example", DNS_A, "127.0.0.6");
    fake_dns_add(&world->fake, "9.113.0.203.b.example", DNS_A, "127.0.0.2");
    fake_dns_add(&world->fake, "9.113.0.203.a.example", DNS_TXT, "see\r\n550 http://x/\x80");
    lists_begin(world, SCOPE_SESSION, "", "");
    struct verdict verdict = lists_finish(world);
    assert_int_equal(world->findings.dnsbl.score, 4);
    assert_int_equal(verdict.action, ACTION_REJECT);
    assert_string_equal(verdict.decided_by, "dnsbl");
    assert_string_equal(verdict.reply, "550 5.7.1 [203.0.113.9] is listed by a.example (see??550 "
                                       "http://x/?)");
    lists_world_destroy(world);

    world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 5, 0x7f000004, 0x7f000007);
    add_zone(world, "allow.example", -3, 0, 0);
    fake_dns_add(&world->fake, "9.113.0.203.a.example", DNS_A, "127.0.0.6");
    fake_dns_add(&world->fake, "9.113.0.203.allow.example", DNS_A, "127.0.0.2");
    lists_begin(world, SCOPE_SESSION, "", "");
    verdict = lists_finish(world);
    assert_int_equal(world->findings.dnsbl.score, 2);
    assert_int_equal(verdict.action, ACTION_REPORT);
    lists_world_destroy(world);
}

/* An allow list that answers first is not what refuses the client. */
static void test_the_reply_names_a_list_that_counts_against(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "allow.example", -1, 0, 0);
    add_zone(world, "b.example", 4, 0, 0);
    fake_dns_add(&world->fake, "9.113.0.203.allow.example", DNS_A, "127.0.0.2");
    fake_dns_add(&world->fake, "9.113.0.203.allow.example", DNS_TXT, "a good one");
    fake_dns_add(&world->fake, "9.113.0.203.b.example", DNS_A, "127.0.0.2");
    lists_begin(world, SCOPE_SESSION, "", "");
    assert_string_equal(lists_finish(world).reply,
                        "550 5.7.1 [203.0.113.9] is listed by b.example");
    lists_world_destroy(world);
}

static void test_ipv6_is_asked_by_nibbles(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("2001:db8::1");
    add_zone(world, "bl.example", 3, 0, 0);
    fake_dns_add(&world->fake,
                 "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example",
                 DNS_A, "127.0.0.2");
    lists_begin(world, SCOPE_SESSION, "", "");
    assert_int_equal(lists_finish(world).action, ACTION_REJECT);
    lists_world_destroy(world);
}

static void test_private_addresses_are_not_asked_about(void **state)
{
    static const char *const clients[] = {"127.0.0.1",  "10.1.2.3",        "192.168.3.4",
                                          "172.16.0.1", "172.31.255.255",  "169.254.9.9",
                                          "100.64.0.1", "100.127.255.255", "::1",
                                          "fe80::1",    "fd00::1",         "::ffff:10.0.0.1",
                                          "224.0.0.1",  "255.255.255.255", "0.0.0.0"};
    static const char *const others[] = {"172.32.0.1", "100.128.0.1", "11.0.0.1", "2001:db8::1",
                                         "::ffff:8.8.8.8"};
    (void)state;
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
        struct lists_world *world = lists_world_create(clients[i]);
        add_zone(world, "bl.example", 3, 0, 0);
        lists_begin(world, SCOPE_SESSION, "", "");
        assert_int_equal(lists_finish(world).action, ACTION_REPORT);
        assert_int_equal(world->fake.asked, 0);
        lists_world_destroy(world);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct lists_world *world = lists_world_create(others[i]);
        add_zone(world, "bl.example", 3, 0, 0);
        lists_begin(world, SCOPE_SESSION, "", "");
        (void)lists_finish(world);
        assert_int_equal(world->fake.asked, 1);
        lists_world_destroy(world);
    }
}

static void test_no_answer_is_temperror(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 3, 0, 0);
    fake_dns_add_failure(&world->fake, "9.113.0.203.a.example", DNS_A);
    lists_begin(world, SCOPE_SESSION, "", "");
    assert_int_equal(lists_finish(world).action, ACTION_REPORT);
    assert_true(world->findings.dnsbl.zones[0].is_temperror);
    assert_false(world->findings.dnsbl.zones[0].is_listed);
    lists_world_destroy(world);
}

/* ---- the chain ---- */

static void test_deadline_makes_temperror_and_tells_once(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    struct verdict verdict;
    add_zone(world, "a.example", 3, 0, 0);
    add_zone(world, "b.example", 3, 0, 0);
    fake_dns_add(&world->fake, "9.113.0.203.b.example", DNS_A, "127.0.0.2");
    world->fake.forget_one = 1;
    lists_begin(world, SCOPE_SESSION, "", "");
    (void)fake_dns_run(&world->fake);
    assert_false(lists_await(world));
    assert_int_equal(world->done, 0);
    lists_run_to_deadline(world);
    assert_int_equal(world->done, 1);
    assert_true(lists_await(world));
    chain_judge(world->chain, PHASE_EOM, &verdict);
    assert_int_equal(verdict.action, ACTION_REJECT); /* what is known counts */
    assert_int_equal(world->findings.dnsbl.zone_count, 2);
    assert_true(world->findings.dnsbl.zones[1].is_temperror);
    lists_world_destroy(world);
}

static void test_done_comes_once_and_not_after_cancel(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 3, 0, 0);
    lists_begin(world, SCOPE_SESSION, "", "");
    assert_false(lists_await(world));
    (void)fake_dns_run(&world->fake);
    assert_int_equal(world->done, 1);
    lists_world_destroy(world);

    world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 3, 0, 0);
    lists_begin(world, SCOPE_SESSION, "", "");
    assert_false(lists_await(world));
    chain_cancel(world->chain);
    assert_int_equal(fake_dns_run(&world->fake), 0);
    assert_int_equal(world->done, 0);
    lists_world_free(world);
}

static void test_off_is_no_check(void **state)
{
    (void)state;
    struct lists_world *world = lists_world_create("203.0.113.9");
    add_zone(world, "a.example", 3, 0, 0);
    world->conf.dnsbl.action = ACTION_OFF;
    lists_begin(world, SCOPE_SESSION, "", "");
    assert_int_equal(lists_finish(world).action, ACTION_REPORT);
    assert_int_equal(world->fake.asked, 0);
    assert_false(world->findings.dnsbl.is_present);
    lists_world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_ranges_weights_and_text),
        cmocka_unit_test(test_the_reply_names_a_list_that_counts_against),
        cmocka_unit_test(test_ipv6_is_asked_by_nibbles),
        cmocka_unit_test(test_private_addresses_are_not_asked_about),
        cmocka_unit_test(test_no_answer_is_temperror),
        cmocka_unit_test(test_deadline_makes_temperror_and_tells_once),
        cmocka_unit_test(test_done_comes_once_and_not_after_cancel),
        cmocka_unit_test(test_off_is_no_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
