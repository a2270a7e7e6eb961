/*
 * test_dnsbl_watch - what takes a list out and what brings it back, against a table of records and a
 * clock that the test moves; and that the checks leave out what is out.
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
#include "filters/dnsbl_watch.h"
#include "filters/verify_conf.h"
#include "test/fake_dns.h"
#include "test/loop_sim.h"

enum { MINUTE = 60 * 1000, POINTS = 4, CALLS_MAX = 16 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct call {
    const struct verify_zone *zone;
    bool is_in;
    char reason[200];
};

struct world {
    struct sim *sim;
    struct loop *loop;
    struct fake_dns fake;
    struct verify_conf conf;
    struct dnsbl_watch *watch;
    uint32_t call_count;
    struct call calls[CALLS_MAX];
    uint32_t subject; /* the next network */
    struct sockaddr_in client;
    struct findings findings;
    struct chain *chain;
};

static void on_changed(void *owner, const struct verify_zone *zone, bool is_in, const char *reason)
{
    struct world *world = owner;
    assert_true(world->call_count < CALLS_MAX);
    struct call *call = &world->calls[world->call_count++];
    call->zone = zone;
    call->is_in = is_in;
    (void)snprintf(call->reason, sizeof(call->reason), "%s", reason);
    assert_int_equal(dnsbl_watch_is_in(world->watch, zone), is_in);
}

static const struct verify_zone *addresses(const struct world *world)
{
    return &world->conf.dnsbl.zones[0];
}

static const struct verify_zone *names(const struct world *world)
{
    return &world->conf.rhsbl.zones[0];
}

/* "bl.example" of addresses and "dbl.example" of names, as they should be. */
static void add_good(struct world *world)
{
    fake_dns_add(&world->fake, "2.0.0.127.bl.example", DNS_A, "127.0.0.2");
    fake_dns_add(&world->fake, "test.dbl.example", DNS_A, "127.0.1.2");
}

static struct world *world_prepare(void)
{
    struct world *world = calloc(1, sizeof(*world));
    struct loop_limits limits = {.fd_count = 16, .op_count = 16, .buf_count = 4};
    assert_non_null(world);
    world->sim = sim_create(&(struct sim_options){.seed = 1, .fd_count = 16});
    assert_int_equal(loop_create(&world->loop, &loop_sim, &limits, world->sim), 0);
    fake_dns_init(&world->fake);
    world->conf.dnsbl.action = ACTION_REJECT;
    world->conf.dnsbl.threshold = 3;
    world->conf.dnsbl.zone_count = 1;
    world->conf.dnsbl.zones[0] = (struct verify_zone){.name = "bl.example", .weight = 3};
    world->conf.rhsbl.zone_count = 1;
    world->conf.rhsbl.zones[0] = (struct verify_zone){.name = "dbl.example", .weight = 3};
    return world;
}

static void start(struct world *world)
{
    assert_int_equal(dnsbl_watch_create(&world->watch, world->loop, &world->fake.dns, &world->conf,
                                        on_changed, world),
                     0);
}

/* Both lists are good and have been tested. */
static struct world *world_create(void)
{
    struct world *world = world_prepare();
    add_good(world);
    start(world);
    assert_int_equal(fake_dns_run(&world->fake), 2 * POINTS);
    assert_int_equal(world->call_count, 0);
    return world;
}

static void world_destroy(struct world *world)
{
    dnsbl_watch_destroy(&world->watch);
    assert_null(world->watch);
    fake_dns_fini(&world->fake);
    loop_destroy(&world->loop);
    sim_destroy(&world->sim);
    free(world);
}

/* Other records from now on. */
static void forget_records(struct world *world)
{
    uint32_t asked = world->fake.asked;
    fake_dns_fini(&world->fake);
    fake_dns_init(&world->fake);
    world->fake.asked = asked;
}

/* Lets time go by, and what is asked be answered. */
static void pass(struct world *world, int64_t ms)
{
    int64_t end_ms = loop_now_ms(world->loop) + ms;
    while (loop_now_ms(world->loop) < end_ms) {
        assert_int_equal(loop_run_once(world->loop, end_ms - loop_now_ms(world->loop)), 0);
        (void)fake_dns_run(&world->fake);
    }
}

static void check_calls(const struct world *world, uint32_t count, const struct verify_zone *zone,
                        bool is_in, const char *reason)
{
    const struct call *call = &world->calls[world->call_count - 1];
    assert_int_equal(world->call_count, count);
    assert_ptr_equal(call->zone, zone);
    assert_int_equal(call->is_in, is_in);
    if (strcmp(call->reason, reason) != 0) {
        fail_msg("%s, not: %s", call->reason, reason);
    }
    assert_int_equal(dnsbl_watch_is_in(world->watch, zone), is_in);
}

/* An answer of the list of addresses about a network that was not seen before. */
static void hear(struct world *world, enum listing_heard heard)
{
    char subject[32];
    uint32_t n = world->subject++;
    (void)snprintf(subject, sizeof(subject), "9.%u.%u.%u", n & 255, n >> 8 & 255, n >> 16 & 255);
    dnsbl_watch_note(world->watch, addresses(world), subject, heard);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void hear_share(struct world *world, uint32_t count, uint32_t percent, uint64_t *seed)
{
    for (uint32_t i = 0; i < count; i++) {
        hear(world, next_random(seed) % 100 < percent ? HEARD_LISTED : HEARD_UNLISTED);
    }
}

/* ---- tests ---- */

static void test_good_lists_stay_in(void **state)
{
    (void)state;
    struct world *world = world_prepare();
    add_good(world);
    start(world);
    assert_true(dnsbl_watch_is_in(world->watch, addresses(world))); /* before the first test */
    assert_true(dnsbl_watch_is_in(world->watch, names(world)));
    (void)fake_dns_run(&world->fake);
    assert_int_equal(world->fake.asked, 2 * POINTS);
    pass(world, 10 * MINUTE - 1000);
    assert_int_equal(world->fake.asked, 2 * POINTS);
    pass(world, 2000);
    assert_int_equal(world->fake.asked, 4 * POINTS);
    pass(world, 60 * MINUTE);
    assert_int_equal(world->fake.asked, 16 * POINTS);
    assert_int_equal(world->call_count, 0);
    world_destroy(world);
}

struct row {
    const char *name; /* with its record, beside the good ones unless is_alone */
    const char *data;
    bool is_alone;
    bool is_of_names;
    const char *reason;
};

/* Caught at start-up, and back when all is well. */
static void check_row(const struct row *row)
{
    struct world *world = world_prepare();
    const struct verify_zone *zone = row->is_of_names ? names(world) : addresses(world);
    if (row->is_alone) {
        fake_dns_add(&world->fake, "test.dbl.example", DNS_A, "127.0.1.2");
    } else {
        add_good(world);
    }
    fake_dns_add(&world->fake, row->name, DNS_A, row->data);
    start(world);
    (void)fake_dns_run(&world->fake);
    check_calls(world, 1, zone, false, row->reason);
    pass(world, 5 * MINUTE + 100);
    assert_int_equal(world->call_count, 1);
    assert_int_equal(world->fake.asked, 7 * POINTS); /* the other one once */
    forget_records(world);
    add_good(world);
    pass(world, MINUTE - 200);
    assert_int_equal(world->call_count, 1);
    pass(world, 400);
    check_calls(world, 2, zone, true, "its test points are right");
    world_destroy(world);
}

static void test_wrong_points(void **state)
{
    static const struct row rows[] = {
        {"x.bl.example", "127.0.0.2", true, false, "test point 2.0.0.127 is not listed"},
        {"1.0.0.127.bl.example", "127.0.0.2", false, false, "test point 1.0.0.127 is listed"},
        {"2.0.0.127.bl.example", "127.255.255.254", true, false,
         "test point 2.0.0.127 is answered with 127.255.255.254"},
        {"2.0.0.127.bl.example", "127.255.255.252", true, false,
         "test point 2.0.0.127 is answered with 127.255.255.252"},
        {"2.0.0.127.bl.example", "127.0.0.1", true, false,
         "test point 2.0.0.127 is answered with 127.0.0.1"},
        {"2.0.0.127.bl.example", "192.0.2.1", false, false,
         "test point 2.0.0.127 is answered with 192.0.2.1"},
        {"1.0.0.127.bl.example", "127.255.255.255", false, false,
         "test point 1.0.0.127 is answered with 127.255.255.255"},
        {"*.bl.example", "127.0.0.2", true, false, "test point 1.0.0.127 is listed"},
        {"*.bl.example", "127.0.0.2", false, false, "test point watch-1000 is listed"},
        {"*.127.bl.example", "127.0.0.2", false, false, "test point 232.3.128.127 is listed"},
        {"invalid.dbl.example", "127.0.1.2", false, true, "test point invalid is listed"},
        {"*.dbl.example", "127.0.1.2", false, true, "test point invalid is listed"},
        {"*.invalid.dbl.example", "127.0.1.2", false, true,
         "test point watch-1000.invalid is listed"},
        {"test.dbl.example", "127.255.255.255", false, true,
         "test point test is answered with 127.255.255.255"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        check_row(&rows[i]);
    }
}

/* A list that was good goes out with the next test, and its ranges make no difference to that. */
static void test_goes_bad_later(void **state)
{
    (void)state;
    struct world *world = world_create();
    world->conf.dnsbl.zones[0].range_count = 1;
    world->conf.dnsbl.zones[0].ranges[0] = (struct verify_range){0x7f000009, 0x7f000009};
    pass(world, 30 * MINUTE);
    assert_int_equal(world->call_count, 0);
    fake_dns_add(&world->fake, "1.0.0.127.bl.example", DNS_A, "127.0.0.2");
    pass(world, 10 * MINUTE + 100);
    check_calls(world, 1, addresses(world), false, "test point 1.0.0.127 is listed");
    world_destroy(world);
}

static void test_a_name_list_may_lack_test_but_not_lose_it(void **state)
{
    (void)state;
    struct world *world = world_prepare();
    fake_dns_add(&world->fake, "2.0.0.127.bl.example", DNS_A, "127.0.0.2");
    start(world);
    pass(world, 30 * MINUTE);
    assert_int_equal(world->call_count, 0);
    fake_dns_add(&world->fake, "test.dbl.example", DNS_A, "127.0.1.2");
    pass(world, 10 * MINUTE + 100);
    forget_records(world);
    fake_dns_add(&world->fake, "2.0.0.127.bl.example", DNS_A, "127.0.0.2");
    pass(world, 10 * MINUTE + 100);
    check_calls(world, 1, names(world), false, "test point test is not listed");
    world_destroy(world);
}

static void add_dead(struct world *world)
{
    fake_dns_add(&world->fake, "test.dbl.example", DNS_A, "127.0.1.2");
    fake_dns_add_failure(&world->fake, "*.bl.example", DNS_A);
}

static void test_three_silent_tests(void **state)
{
    (void)state;
    struct world *world = world_create();
    forget_records(world);
    add_dead(world);
    pass(world, 11 * MINUTE + 200); /* two of them */
    forget_records(world);
    add_good(world);
    pass(world, MINUTE); /* a good one */
    forget_records(world);
    add_dead(world);
    pass(world, 11 * MINUTE + 200); /* two more */
    assert_int_equal(world->call_count, 0);
    pass(world, MINUTE + 200);
    check_calls(world, 1, addresses(world), false, "its test points are not answered");
    pass(world, 30 * MINUTE);
    assert_int_equal(world->call_count, 1);
    forget_records(world);
    add_good(world);
    pass(world, MINUTE + 200);
    check_calls(world, 2, addresses(world), true, "its test points are right");
    world_destroy(world);
}

/* What a cache still knows brings nothing back: no two tests make up the same. */
static void test_every_test_asks_what_no_cache_knows(void **state)
{
    (void)state;
    struct world *world = world_create();
    forget_records(world);
    add_good(world);
    fake_dns_add_failure(&world->fake, "*.bl.example",
                         DNS_A); /* but not what is there, or below 127 */
    for (uint32_t i = 0; i < DNSBL_WATCH_ERRORS_MAX; i++) {
        hear(world, HEARD_ERROR);
    }
    assert_int_equal(world->call_count, 1);
    char seen[2][DNS_TEXT_MAX] = {"", ""};
    for (int test = 0; test < 5; test++) {
        int64_t end_ms = loop_now_ms(world->loop) + MINUTE + 100;
        while (list_is_empty(&world->fake.waiting)) {
            assert_true(loop_now_ms(world->loop) < end_ms);
            assert_int_equal(loop_run_once(world->loop, 100), 0);
        }
        uint32_t at = 0;
        struct list_node *node = world->fake.waiting.next;
        for (; node != &world->fake.waiting; node = node->next, at++) {
            const struct dns_query *query = list_entry(node, struct dns_query, node);
            char name[DNS_TEXT_MAX];
            assert_true(dns_name_text(query->name, query->name_len, name) > 0);
            if (at >= 2 && strstr(name, ".dbl.") == NULL) {
                assert_string_not_equal(name, seen[at - 2]);
                (void)snprintf(seen[at - 2], sizeof(seen[0]), "%s", name);
            }
        }
        (void)fake_dns_run(&world->fake);
    }
    check_calls(world, 1, addresses(world), false, "it answers nothing but errors");
    world_destroy(world);
}

/* ---- real answers ---- */

static void test_a_run_of_errors(void **state)
{
    (void)state;
    struct world *world = world_create();
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < DNSBL_WATCH_ERRORS_MAX - 1; i++) {
            hear(world, HEARD_ERROR);
        }
        hear(world, round % 2 == 0 ? HEARD_LISTED : HEARD_UNLISTED);
    }
    assert_int_equal(world->call_count, 0);
    for (int i = 0; i < DNSBL_WATCH_ERRORS_MAX; i++) {
        assert_int_equal(world->call_count, 0);
        hear(world, HEARD_ERROR);
    }
    check_calls(world, 1, addresses(world), false, "it answers nothing but errors");
    hear(world, HEARD_ERROR); /* were on their way */
    hear(world, HEARD_LISTED);
    assert_true(dnsbl_watch_is_in(world->watch, names(world)));
    pass(world, MINUTE - 100);
    assert_int_equal(world->call_count, 1);
    pass(world, 200);
    check_calls(world, 2, addresses(world), true, "its test points are right");
    for (int i = 0; i < DNSBL_WATCH_ERRORS_MAX - 1; i++) {
        hear(world, HEARD_ERROR);
    }
    assert_int_equal(world->call_count, 2);
    world_destroy(world);
}

static void test_a_flood(void **state)
{
    (void)state;
    struct world *world = world_create();
    for (uint32_t i = 0; i < DNSBL_WATCH_WARM_UP + DNSBL_WATCH_WINDOW; i++) {
        hear(world, i % 5 < 2 ? HEARD_LISTED : HEARD_UNLISTED);
    }
    for (uint32_t i = 0; i < DNSBL_WATCH_WINDOW - 3; i++) {
        hear(world, HEARD_LISTED);
    }
    check_calls(world, 1, addresses(world), false, "it lists 46 of 50, where it had listed 40 %");
    pass(world, MINUTE - 100);
    assert_int_equal(world->call_count, 1);
    pass(world, 200);
    check_calls(world, 2, addresses(world), true, "its test points are right");
    for (uint32_t i = 0; i < 5000; i++) { /* it was the traffic, then */
        hear(world, i % 20 != 0 ? HEARD_LISTED : HEARD_UNLISTED);
    }
    assert_int_equal(world->call_count, 2);
    world_destroy(world);
}

/* A list that lists the world stays out for as long as it does. */
static void test_a_flood_of_a_broken_list(void **state)
{
    (void)state;
    struct world *world = world_create();
    uint64_t seed = 1;
    hear_share(world, 1000, 30, &seed);
    fake_dns_add(&world->fake, "*.bl.example", DNS_A, "127.0.0.2");
    for (uint32_t i = 0; i < DNSBL_WATCH_WINDOW; i++) {
        hear(world, HEARD_LISTED);
    }
    assert_int_equal(world->call_count, 1);
    assert_false(dnsbl_watch_is_in(world->watch, addresses(world)));
    pass(world, 120 * MINUTE);
    assert_int_equal(world->call_count, 1);
    assert_false(dnsbl_watch_is_in(world->watch, addresses(world)));
    world_destroy(world);
}

static void test_no_flood_before_the_warm_up(void **state)
{
    (void)state;
    struct world *world = world_create();
    for (uint32_t i = 0; i < DNSBL_WATCH_WARM_UP - 1; i++) {
        hear(world, HEARD_UNLISTED);
    }
    for (uint32_t i = 0; i < DNSBL_WATCH_WINDOW; i++) {
        hear(world, HEARD_LISTED);
    }
    assert_int_equal(world->call_count, 0);
    hear(world, HEARD_LISTED); /* the 200th one is older than 50 others now */
    check_calls(world, 1, addresses(world), false, "it lists 50 of 50, where it had listed 0 %");
    world_destroy(world);
}

static void test_no_false_alarm(void **state)
{
    (void)state;
    print_message("seeds 1 to 20\n");
    for (uint64_t round = 1; round <= 20; round++) {
        static const uint32_t shares[] = {0, 5, 49, 60, 95, 100};
        for (size_t i = 0; i < COUNT(shares); i++) {
            struct world *world = world_create();
            uint64_t seed = round;
            hear_share(world, 5000, shares[i], &seed);
            assert_int_equal(world->call_count, 0);
            world_destroy(world);
        }
        struct world *world = world_create(); /* slowly: a fact of the traffic */
        uint64_t seed = round;
        for (uint32_t percent = 20; percent <= 100; percent += 5) {
            hear_share(world, 1000, percent, &seed);
        }
        assert_int_equal(world->call_count, 0);
        world_destroy(world);
    }
}

/* A client that comes again and again, from one network or with one domain, makes no flood. */
static void test_a_network_counts_once(void **state)
{
    (void)state;
    struct world *world = world_create();
    uint64_t seed = 1;
    char subject[100];
    hear_share(world, 1000, 20, &seed);
    for (uint32_t i = 0; i < 1000; i++) {
        (void)snprintf(subject, sizeof(subject), "%u.113.0.203", i % 256);
        dnsbl_watch_note(world->watch, addresses(world), subject, HEARD_LISTED);
        (void)snprintf(subject, sizeof(subject),
                       "%x.%x.%x.%x.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2",
                       i & 15, i >> 4 & 15, i >> 8 & 15, 1);
        dnsbl_watch_note(world->watch, addresses(world), subject, HEARD_LISTED);
    }
    for (uint32_t i = 0; i < 300; i++) {
        (void)snprintf(subject, sizeof(subject), "good%u.example", i);
        dnsbl_watch_note(world->watch, names(world), subject, HEARD_UNLISTED);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        (void)snprintf(subject, sizeof(subject), "a%u.b%u.spam.example", i, i);
        dnsbl_watch_note(world->watch, names(world), subject, HEARD_LISTED);
    }
    assert_int_equal(world->call_count, 0);
    for (uint32_t i = 0; i < DNSBL_WATCH_WINDOW; i++) { /* while as many domains do */
        (void)snprintf(subject, sizeof(subject), "a.spam%u.example", i);
        dnsbl_watch_note(world->watch, names(world), subject, HEARD_LISTED);
    }
    assert_int_equal(world->call_count, 1);
    assert_false(dnsbl_watch_is_in(world->watch, names(world)));
    assert_true(dnsbl_watch_is_in(world->watch, addresses(world)));
    for (uint32_t i = 0; i < DNSBL_WATCH_WINDOW; i++) { /* and as many networks */
        (void)snprintf(subject, sizeof(subject),
                       "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.%x.%x.0.0.8.b.d.0.1.0.0.2", i & 15,
                       i >> 4);
        dnsbl_watch_note(world->watch, addresses(world), subject, HEARD_LISTED);
    }
    assert_int_equal(world->call_count, 2);
    world_destroy(world);
}

/* A test that was asked before the list went out does not bring it back. */
static void test_an_older_test_brings_nothing_back(void **state)
{
    (void)state;
    struct world *world = world_create();
    while (list_is_empty(&world->fake.waiting)) {
        assert_int_equal(loop_run_once(world->loop, 1000), 0);
    }
    for (int i = 0; i < DNSBL_WATCH_ERRORS_MAX; i++) {
        hear(world, HEARD_ERROR);
    }
    assert_int_equal(fake_dns_run(&world->fake), POINTS); /* the other list's */
    assert_int_equal(world->call_count, 1);
    pass(world, MINUTE - 100);
    assert_int_equal(world->call_count, 1);
    pass(world, 200);
    assert_int_equal(world->call_count, 2);
    world_destroy(world);
}

/* ---- the end ---- */

static void test_stop(void **state)
{
    (void)state;
    struct world *world = world_prepare();
    start(world); /* without 127.0.0.2: would be taken out */
    dnsbl_watch_stop(world->watch);
    assert_int_equal(fake_dns_run(&world->fake), 0);
    for (int i = 0; i < 100; i++) {
        hear(world, HEARD_ERROR);
    }
    uint32_t asked = world->fake.asked;
    pass(world, 60 * MINUTE);
    assert_int_equal(world->fake.asked, asked);
    assert_int_equal(world->call_count, 0);
    world_destroy(world);

    world = world_create();
    pass(world, 9 * MINUTE);
    dnsbl_watch_stop(world->watch); /* between tests */
    pass(world, 60 * MINUTE);
    assert_int_equal(world->fake.asked, 2 * POINTS);
    world_destroy(world);

    world = world_prepare();
    start(world);
    world_destroy(world); /* in a test */
}

static void test_what_is_not_watched_is_in(void **state)
{
    (void)state;
    struct verify_zone other = {.name = "other.example"};
    struct dnsbl_watch *none = NULL;
    assert_true(dnsbl_watch_is_in(NULL, &other));
    dnsbl_watch_note(NULL, &other, "x", HEARD_ERROR);
    dnsbl_watch_destroy(&none);
    struct world *world = world_create();
    for (int i = 0; i < 100; i++) {
        dnsbl_watch_note(world->watch, &other, "x", HEARD_ERROR);
    }
    assert_true(dnsbl_watch_is_in(world->watch, &other));
    assert_int_equal(world->call_count, 0);
    world_destroy(world);
}

/* ---- the checks ---- */

static void on_done(struct chain *chain)
{
    (void)chain;
}

static void begin(struct world *world, enum chain_scope scope)
{
    struct facts facts = {
        .conf = &world->conf,
        .dns = &world->fake.dns,
        .watch = world->watch,
        .client = (const struct sockaddr *)&world->client,
        .hostname = "mx.example.org",
        .helo = "spam.example",
        .from = "",
        .findings = &world->findings,
    };
    world->client = (struct sockaddr_in){.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, "203.0.113.9", &world->client.sin_addr), 1);
    world->findings = (struct findings){0};
    world->chain = calloc(1, chain_size(scope));
    assert_non_null(world->chain);
    chain_init(world->chain, scope, world->loop, &facts, on_done, world);
    chain_reach(world->chain, PHASE_MAIL);
}

static enum filter_action finish(struct world *world)
{
    struct verdict verdict;
    (void)fake_dns_run(&world->fake);
    assert_true(chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + 50));
    chain_judge(world->chain, PHASE_EOM, &verdict);
    chain_cancel(world->chain);
    free(world->chain);
    return verdict.action;
}

static void add_listed(struct world *world)
{
    fake_dns_add(&world->fake, "9.113.0.203.bl.example", DNS_A, "127.0.0.2");
    fake_dns_add(&world->fake, "spam.example.dbl.example", DNS_A, "127.0.1.2");
}

static void test_what_is_out_is_neither_asked_nor_counted(void **state)
{
    (void)state;
    for (enum chain_scope scope = SCOPE_SESSION; scope <= SCOPE_TRANSACTION; scope++) {
        struct world *world = world_create();
        const struct verify_zone *zone = scope == SCOPE_SESSION ? addresses(world) : names(world);
        add_listed(world);
        begin(world, scope);
        assert_int_equal(finish(world), ACTION_REJECT);

        begin(world, scope); /* goes out while it is being asked */
        for (int i = 0; i < DNSBL_WATCH_ERRORS_MAX; i++) {
            dnsbl_watch_note(world->watch, zone, "1.0.0.198", HEARD_ERROR);
        }
        assert_false(dnsbl_watch_is_in(world->watch, zone));
        assert_int_equal(finish(world), ACTION_REPORT);

        uint32_t asked = world->fake.asked;
        begin(world, scope);
        assert_int_equal(finish(world), ACTION_REPORT);
        assert_int_equal(world->fake.asked, asked);
        assert_int_equal(world->findings.dnsbl.zone_count, 0);
        assert_int_equal(world->findings.rhsbl.zone_count, 0);

        pass(world, 2 * MINUTE);
        begin(world, scope);
        assert_int_equal(finish(world), ACTION_REJECT);
        world_destroy(world);
    }
}

/* Errors, and answers that are not there at the deadline, are noted by the checks. */
static void test_checks_note_what_they_hear(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct world *world = world_create();
        if (way == 0) {
            fake_dns_add(&world->fake, "9.113.0.203.bl.example", DNS_A, "127.255.255.254");
        } else if (way == 1) {
            fake_dns_add_failure(&world->fake, "9.113.0.203.bl.example", DNS_A);
        }
        for (int i = 1; i <= DNSBL_WATCH_ERRORS_MAX; i++) {
            assert_true(dnsbl_watch_is_in(world->watch, addresses(world)));
            begin(world, SCOPE_SESSION);
            if (way == 2) {
                assert_false(chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + 50));
                sim_advance(world->sim, 100);
                assert_int_equal(loop_run_once(world->loop, 0), 0);
            }
            assert_int_equal(finish(world), ACTION_REPORT);
            bool is_last = i == DNSBL_WATCH_ERRORS_MAX;
            assert_int_equal(world->findings.dnsbl.zone_count, is_last ? 0 : 1);
        }
        assert_false(dnsbl_watch_is_in(world->watch, addresses(world)));
        world_destroy(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_lists_stay_in),
        cmocka_unit_test(test_wrong_points),
        cmocka_unit_test(test_goes_bad_later),
        cmocka_unit_test(test_a_name_list_may_lack_test_but_not_lose_it),
        cmocka_unit_test(test_three_silent_tests),
        cmocka_unit_test(test_every_test_asks_what_no_cache_knows),
        cmocka_unit_test(test_a_run_of_errors),
        cmocka_unit_test(test_a_flood),
        cmocka_unit_test(test_a_flood_of_a_broken_list),
        cmocka_unit_test(test_no_flood_before_the_warm_up),
        cmocka_unit_test(test_no_false_alarm),
        cmocka_unit_test(test_a_network_counts_once),
        cmocka_unit_test(test_an_older_test_brings_nothing_back),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_what_is_not_watched_is_in),
        cmocka_unit_test(test_what_is_out_is_neither_asked_nor_counted),
        cmocka_unit_test(test_checks_note_what_they_hear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
