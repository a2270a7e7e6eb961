/*
 * test_chain - what the deadline means: it bounds what is waited for, and that alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "filters/checks.h"
#include "filters/verify_conf.h"
#include "net/loop_backend.h"
#include "test/fake_dns.h"

static const char MESSAGE[] = "From: a@example.com\r\n"
                              "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=key; h=from;\r\n"
                              " bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
                              "\r\n";

static int done;

static void on_done(struct chain *chain)
{
    (void)chain;
    done++;
}

/* The chain of one transaction whose questions nobody answers. */
struct world {
    struct loop *loop;
    struct fake_dns fake;
    struct sockaddr_in client;
    struct verify_conf conf;
    struct header header;
    struct findings findings;
    struct chain *chain;
};

static struct world *world_create(void)
{
    struct world *world = calloc(1, sizeof(*world));
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    assert_non_null(world);
    assert_int_equal(loop_create(&world->loop, &loop_epoll, &limits, NULL), 0);
    fake_dns_init(&world->fake);
    world->client = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(0xcb007109)}};
    world->conf.spf.action = ACTION_TAG;
    world->conf.dkim.action = ACTION_TAG;
    world->conf.dkim.signatures_max = 8;
    header_init(&world->header);
    struct facts facts = {
        .conf = &world->conf,
        .dns = &world->fake.dns,
        .client = (const struct sockaddr *)&world->client,
        .hostname = "mx.example",
        .helo = "client.example",
        .from = "a@example.com",
        .from_len = 13,
        .header = &world->header,
        .findings = &world->findings,
    };
    world->chain = malloc(chain_size(SCOPE_TRANSACTION));
    assert_non_null(world->chain);
    chain_init(world->chain, SCOPE_TRANSACTION, world->loop, &facts, on_done, NULL);
    done = 0;
    return world;
}

static void world_destroy(struct world *world)
{
    chain_cancel(world->chain);
    free(world->chain);
    fake_dns_fini(&world->fake);
    loop_destroy(&world->loop);
    free(world);
}

static void feed_header(struct world *world)
{
    assert_int_equal(header_feed(&world->header, MESSAGE, sizeof(MESSAGE) - 1),
                     sizeof(MESSAGE) - 1);
    chain_reach(world->chain, PHASE_HEADER);
}

static bool await(struct world *world, enum filter_phase phase, int64_t timeout_ms)
{
    return chain_await(world->chain, phase, loop_now_ms(world->loop) + timeout_ms);
}

static void run_ms(struct world *world, int64_t ms)
{
    int64_t end_ms = loop_now_ms(world->loop) + ms;
    while (loop_now_ms(world->loop) <= end_ms) {
        assert_int_equal(loop_run_once(world->loop, 20), 0);
    }
}

static void test_what_is_not_awaited_has_its_time(void **state)
{
    (void)state;
    struct world *world = world_create();
    chain_reach(world->chain, PHASE_MAIL);
    feed_header(world);
    run_ms(world, 60); /* a client that takes its time */
    assert_int_equal(done, 0);
    assert_true(world->fake.asked > 0);
    (void)fake_dns_run(&world->fake); /* there is no such name */
    assert_int_equal(world->findings.spf.result, CHECK_NONE);
    chain_reach(world->chain, PHASE_EOM);
    assert_true(await(world, PHASE_EOM, 20));
    assert_int_equal(world->findings.dkim.signatures[0].result, CHECK_PERMERROR);
    assert_int_equal(done, 0);
    world_destroy(world);
}

static void test_deadline_ends_what_is_due_alone(void **state)
{
    (void)state;
    struct world *world = world_create();
    chain_reach(world->chain, PHASE_MAIL);
    feed_header(world);
    assert_false(await(world, PHASE_HEADER, 20));
    run_ms(world, 40);
    assert_int_equal(done, 1);
    assert_int_equal(world->findings.spf.result, CHECK_TEMPERROR);
    (void)fake_dns_run(&world->fake); /* DKIM's key is not there; it had to wait for the end */
    chain_reach(world->chain, PHASE_EOM);
    assert_true(await(world, PHASE_EOM, 20));
    assert_int_equal(world->findings.dkim.signatures[0].result, CHECK_PERMERROR);
    assert_int_equal(done, 1);
    world_destroy(world);
}

static void test_second_deadline_ends_the_rest(void **state)
{
    (void)state;
    struct world *world = world_create();
    chain_reach(world->chain, PHASE_MAIL);
    feed_header(world);
    assert_false(await(world, PHASE_HEADER, 20));
    run_ms(world, 40);
    chain_reach(world->chain, PHASE_EOM);
    assert_false(await(world, PHASE_EOM, 0)); /* no time is left */
    run_ms(world, 20);
    assert_int_equal(done, 2);
    assert_int_equal(world->findings.dkim.count, 1);
    assert_int_equal(world->findings.dkim.signatures[0].result, CHECK_TEMPERROR);
    world_destroy(world);
}

/* What is known early must not decide early: the reply would depend on who was faster. */
static void test_what_is_due_later_does_not_decide_now(void **state)
{
    (void)state;
    struct world *world = world_create();
    struct verdict verdict;
    world->conf.spf.action = ACTION_REJECT;
    fake_dns_add(&world->fake, "example.com", DNS_TXT, "v=spf1 -all");
    chain_reach(world->chain, PHASE_MAIL);
    (void)fake_dns_run(&world->fake);
    assert_int_equal(world->findings.spf.result, CHECK_FAIL);
    chain_judge(world->chain, PHASE_RCPT, &verdict);
    assert_int_equal(verdict.action, ACTION_REPORT);
    chain_judge(world->chain, PHASE_HEADER, &verdict);
    assert_int_equal(verdict.action, ACTION_REJECT);
    assert_string_equal(verdict.decided_by, "spf");
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_awaited_has_its_time),
        cmocka_unit_test(test_deadline_ends_what_is_due_alone),
        cmocka_unit_test(test_second_deadline_ends_the_rest),
        cmocka_unit_test(test_what_is_due_later_does_not_decide_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
