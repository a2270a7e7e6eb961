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
#include "filters/checks.h"
#include "filters/verify_conf.h"
#include "net/loop_backend.h"
#include "test/fake_dns.h"

struct world {
    struct loop *loop;
    struct fake_dns fake;
    struct verify_conf conf;
    struct findings findings;
    struct sockaddr_storage client;
    struct chain *chain;
    int done; /* calls of the chain's */
};

static void on_done(struct chain *chain)
{
    struct world *world = chain->owner;
    world->done++;
}

static void set_client(struct world *world, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(&world->client, &in, sizeof(in));
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
        memcpy(&world->client, &in6, sizeof(in6));
    }
}

static void add_zone(struct world *world, const char *name, int weight, uint32_t first,
                     uint32_t last)
{
    struct verify_zone *zone = &world->conf.dnsbl.zones[world->conf.dnsbl.zone_count++];
    (void)snprintf(zone->name, sizeof(zone->name), "%s", name);
    zone->weight = weight;
    zone->range_count = first != 0 ? 1 : 0;
    zone->ranges[0] = (struct verify_range){first, last};
}

static struct world *world_create(const char *client)
{
    struct world *world = calloc(1, sizeof(*world));
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    assert_non_null(world);
    assert_int_equal(loop_create(&world->loop, &loop_epoll, &limits, NULL), 0);
    fake_dns_init(&world->fake);
    world->conf.dnsbl.action = ACTION_REJECT;
    world->conf.dnsbl.threshold = 3;
    set_client(world, client);
    return world;
}

static void begin(struct world *world)
{
    struct facts facts = {
        .conf = &world->conf,
        .dns = &world->fake.dns,
        .client = (const struct sockaddr *)&world->client,
        .findings = &world->findings,
    };
    world->chain = calloc(1, chain_size(SCOPE_SESSION));
    assert_non_null(world->chain);
    chain_init(world->chain, SCOPE_SESSION, world->loop, &facts, on_done, world);
    chain_reach(world->chain, PHASE_CONNECT);
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

static void world_destroy(struct world *world)
{
    chain_cancel(world->chain);
    fake_dns_fini(&world->fake);
    loop_destroy(&world->loop);
    free(world->chain);
    free(world);
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
        struct world *world = world_create("203.0.113.9");
        add_zone(world, "bl.example", 3, 0, 0);
        if (row->data != NULL) {
            fake_dns_add(&world->fake, "9.113.0.203.bl.example", DNS_A, row->data);
        }
        begin(world);
        struct verdict verdict = finish(world);
        const struct found_dnsbl *found = &world->findings.dnsbl;
        assert_int_equal(found->is_over, row->is_listed);
        assert_int_equal(found->score, row->is_listed ? 3 : 0);
        assert_int_equal(found->zone_count, row->is_listed || row->is_temperror ? 1 : 0);
        assert_int_equal(verdict.action, row->is_listed ? ACTION_REJECT : ACTION_REPORT);
        if (found->zone_count > 0) {
            assert_int_equal(found->zones[0].is_temperror, row->is_temperror);
            assert_int_equal(found->zones[0].code_count, 1);
        }
        world_destroy(world);
    }
}

static void test_ranges_weights_and_text(void **state)
{
    (void)state;
    struct world *world = world_create("203.0.113.9");
    add_zone(world, "a.example", 2, 0x7f000004, 0x7f000007);
    add_zone(world, "b.example", 2, 0, 0);
    add_zone(world, "allow.example", -3, 0, 0);
    fake_dns_add(&world->fake, "9.113.0.203.a.example", DNS_A, "127.0.0.2");
    fake_dns_add(&world->fake, "9.113.0.203.a.example", DNS_A, "127.0.0.6");
    fake_dns_add(&world->fake, "9.113.0.203.b.example", DNS_A, "127.0.0.2");
    fake_dns_add(&world->fake, "9.113.0.203.a.example", DNS_TXT, "see\r\n550 http://x/\x80");
    begin(world);
    struct verdict verdict = finish(world);
    assert_int_equal(world->findings.dnsbl.score, 4);
    assert_int_equal(verdict.action, ACTION_REJECT);
    assert_string_equal(verdict.decided_by, "dnsbl");
    assert_string_equal(verdict.reply, "550 5.7.1 [203.0.113.9] is listed by a.example (see??550 "
                                       "http://x/?)");
    world_destroy(world);

    world = world_create("203.0.113.9");
    add_zone(world, "a.example", 5, 0x7f000004, 0x7f000007);
    add_zone(world, "allow.example", -3, 0, 0);
    fake_dns_add(&world->fake, "9.113.0.203.a.example", DNS_A, "127.0.0.6");
    fake_dns_add(&world->fake, "9.113.0.203.allow.example", DNS_A, "127.0.0.2");
    begin(world);
    verdict = finish(world);
    assert_int_equal(world->findings.dnsbl.score, 2);
    assert_int_equal(verdict.action, ACTION_REPORT);
    world_destroy(world);
}

/* An allow list that answers first is not what refuses the client. */
static void test_the_reply_names_a_list_that_counts_against(void **state)
{
    (void)state;
    struct world *world = world_create("203.0.113.9");
    add_zone(world, "allow.example", -1, 0, 0);
    add_zone(world, "b.example", 4, 0, 0);
    fake_dns_add(&world->fake, "9.113.0.203.allow.example", DNS_A, "127.0.0.2");
    fake_dns_add(&world->fake, "9.113.0.203.allow.example", DNS_TXT, "a good one");
    fake_dns_add(&world->fake, "9.113.0.203.b.example", DNS_A, "127.0.0.2");
    begin(world);
    assert_string_equal(finish(world).reply, "550 5.7.1 [203.0.113.9] is listed by b.example");
    world_destroy(world);
}

static void test_ipv6_is_asked_by_nibbles(void **state)
{
    (void)state;
    struct world *world = world_create("2001:db8::1");
    add_zone(world, "bl.example", 3, 0, 0);
    fake_dns_add(&world->fake,
                 "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example",
                 DNS_A, "127.0.0.2");
    begin(world);
    assert_int_equal(finish(world).action, ACTION_REJECT);
    world_destroy(world);
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
        struct world *world = world_create(clients[i]);
        add_zone(world, "bl.example", 3, 0, 0);
        begin(world);
        assert_int_equal(finish(world).action, ACTION_REPORT);
        assert_int_equal(world->fake.asked, 0);
        world_destroy(world);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct world *world = world_create(others[i]);
        add_zone(world, "bl.example", 3, 0, 0);
        begin(world);
        (void)finish(world);
        assert_int_equal(world->fake.asked, 1);
        world_destroy(world);
    }
}

static void test_no_answer_is_temperror(void **state)
{
    (void)state;
    struct world *world = world_create("203.0.113.9");
    add_zone(world, "a.example", 3, 0, 0);
    fake_dns_add_failure(&world->fake, "9.113.0.203.a.example", DNS_A);
    begin(world);
    assert_int_equal(finish(world).action, ACTION_REPORT);
    assert_true(world->findings.dnsbl.zones[0].is_temperror);
    assert_false(world->findings.dnsbl.zones[0].is_listed);
    world_destroy(world);
}

/* ---- the chain ---- */

static void test_deadline_makes_temperror_and_tells_once(void **state)
{
    (void)state;
    struct world *world = world_create("203.0.113.9");
    struct verdict verdict;
    add_zone(world, "a.example", 3, 0, 0);
    add_zone(world, "b.example", 3, 0, 0);
    fake_dns_add(&world->fake, "9.113.0.203.b.example", DNS_A, "127.0.0.2");
    world->fake.forget_one = 1;
    begin(world);
    (void)fake_dns_run(&world->fake);
    assert_false(chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + 50));
    assert_int_equal(world->done, 0);
    for (int turn = 0; turn < 100 && world->done == 0; turn++) {
        assert_int_equal(loop_run_once(world->loop, 20), 0);
    }
    assert_int_equal(world->done, 1);
    assert_true(chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + 50));
    chain_judge(world->chain, PHASE_EOM, &verdict);
    assert_int_equal(verdict.action, ACTION_REJECT); /* what is known counts */
    assert_int_equal(world->findings.dnsbl.zone_count, 2);
    assert_true(world->findings.dnsbl.zones[1].is_temperror);
    world_destroy(world);
}

static void test_done_comes_once_and_not_after_cancel(void **state)
{
    (void)state;
    struct world *world = world_create("203.0.113.9");
    add_zone(world, "a.example", 3, 0, 0);
    begin(world);
    assert_false(chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + 50));
    (void)fake_dns_run(&world->fake);
    assert_int_equal(world->done, 1);
    world_destroy(world);

    world = world_create("203.0.113.9");
    add_zone(world, "a.example", 3, 0, 0);
    begin(world);
    assert_false(chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + 50));
    chain_cancel(world->chain);
    assert_int_equal(fake_dns_run(&world->fake), 0);
    assert_int_equal(world->done, 0);
    free(world->chain);
    fake_dns_fini(&world->fake);
    loop_destroy(&world->loop);
    free(world);
}

static void test_off_is_no_check(void **state)
{
    (void)state;
    struct world *world = world_create("203.0.113.9");
    add_zone(world, "a.example", 3, 0, 0);
    world->conf.dnsbl.action = ACTION_OFF;
    begin(world);
    assert_int_equal(finish(world).action, ACTION_REPORT);
    assert_int_equal(world->fake.asked, 0);
    assert_false(world->findings.dnsbl.is_present);
    world_destroy(world);
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
