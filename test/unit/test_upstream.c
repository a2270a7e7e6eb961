/*
 * test_upstream - which server is next: weights, order of tiers, max, health with back-off and slow
 * start.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/upstream.h"

enum { ROUNDS = 12000, NOW = 1000000 };

static struct upstream *make(struct config_upstream *config, enum config_balance balance,
                             const uint32_t *weights, uint32_t count)
{
    struct upstream *upstream = calloc(1, sizeof(*upstream));
    assert_non_null(upstream);
    memset(config, 0, sizeof(*config));
    config->balance = balance;
    config->server_count = count;
    config->check_interval_ms = 1000;
    for (uint32_t i = 0; i < count; i++) {
        config->servers[i].weight = weights[i];
    }
    upstream_init(upstream, config);
    for (uint32_t i = 0; i < count; i++) {
        (void)upstream_note_up(&upstream->servers[i], 0, 0, NOW);
    }
    return upstream;
}

static int ask(struct upstream *upstream, uint32_t tried, uint32_t client, int64_t now_ms)
{
    return upstream_choose(
        upstream, &(struct upstream_ask){.tried = tried, .client_hash = client, .now_ms = now_ms});
}

/* Each server's share of the choices is its weight's, within `permille`. */
static void check_shares(const uint32_t *got, const uint32_t *weights, uint32_t count,
                         uint32_t permille)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += weights[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        int64_t due = (int64_t)ROUNDS * weights[i] / total;
        int64_t off = llabs((int64_t)got[i] - due);
        assert_true(off * 1000 <= due * permille);
    }
}

static void test_round_robin_by_weight(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 2, 5};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 3);
    uint32_t got[3] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        got[ask(upstream, 0, 0, NOW)]++;
    }
    check_shares(got, weights, 3, 10);
    free(upstream);
}

/* Leases are held for a while, as in life: the load settles by weight. */
static void test_least_conn_by_weight(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 2, 5};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_LEAST_CONN, weights, 3);
    uint32_t got[3] = {0};
    int held[400];
    for (int i = 0; i < ROUNDS; i++) {
        int server = ask(upstream, 0, 0, NOW);
        if (i >= 400) {
            atomic_fetch_sub(&upstream->servers[held[i % 400]].active, 1);
        }
        held[i % 400] = server;
        atomic_fetch_add(&upstream->servers[server].active, 1);
        got[server]++;
    }
    check_shares(got, weights, 3, 50);
    free(upstream);
}

static void test_hash_keeps_clients(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 1, 2};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_HASH, weights, 3);
    uint32_t got[3] = {0};
    for (uint32_t client = 0; client < ROUNDS; client++) {
        int with_all = ask(upstream, 0, client * 2654435761u, NOW);
        assert_int_equal(with_all, ask(upstream, 0, client * 2654435761u, NOW));
        int without_0 = ask(upstream, 1, client * 2654435761u, NOW);
        assert_true(with_all == 0 || with_all == without_0); /* only server 0's clients move */
        got[with_all]++;
    }
    check_shares(got, weights, 3, 50);
    free(upstream);
}

static void test_tiers(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 1, 1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 3);
    config.servers[2].is_backup = true;
    (void)upstream_note_down(upstream, &upstream->servers[0]);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ask(upstream, 0, 0, NOW), 1);
    }
    (void)upstream_note_down(upstream, &upstream->servers[1]);
    assert_int_equal(ask(upstream, 0, 0, NOW), 2); /* the backup */
    assert_in_range(ask(upstream, 1u << 2, 0, NOW), 0,
                    1); /* then, as a last try, those that are down */
    assert_int_equal(ask(upstream, 7, 0, NOW), -1);
    free(upstream);
}

static void test_max(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 2);
    config.servers[0].max = 1;
    config.servers[1].max = 1;
    assert_true(upstream_reserve(&upstream->servers[0]));
    assert_false(upstream_reserve(&upstream->servers[0]));
    assert_int_equal(ask(upstream, 0, 0, NOW), 1);
    assert_true(upstream_reserve(&upstream->servers[1]));
    struct upstream_ask full = {.now_ms = NOW};
    assert_int_equal(upstream_choose(upstream, &full), -1);
    assert_true(upstream_is_full(upstream, &full));
    uint32_t idle[2] = {1, 0};
    assert_int_equal(upstream_choose(upstream, &(struct upstream_ask){.now_ms = NOW, .idle = idle}),
                     0);
    upstream_release(&upstream->servers[1]);
    assert_int_equal(upstream_choose(upstream, &full), 1);
    free(upstream);
}

static void test_421s_in_a_row_eject(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 1);
    struct upstream_server *server = &upstream->servers[0];
    for (uint32_t i = 1; i < UPSTREAM_REFUSALS_MAX; i++) {
        assert_false(upstream_note_reply(upstream, server, true, NOW));
    }
    assert_false(upstream_note_reply(upstream, server, false,
                                     NOW)); /* one good word starts the count again */
    for (uint32_t i = 1; i < UPSTREAM_REFUSALS_MAX; i++) {
        assert_false(upstream_note_reply(upstream, server, true, NOW));
    }
    assert_true(upstream_note_reply(upstream, server, true, NOW));
    assert_true(upstream_is_down(server));
    free(upstream);
}

static void test_back_off(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 1);
    struct upstream_server *server = &upstream->servers[0];
    int64_t now_ms = NOW;
    for (int64_t pause_ms = 1000; pause_ms <= 32000; pause_ms *= 2) {
        (void)upstream_eject(upstream, server, now_ms);
        assert_false(upstream_note_up(server, 0, 0, now_ms + pause_ms - 1));
        assert_true(upstream_is_down(server));
        now_ms += pause_ms;
        assert_true(upstream_note_up(server, 0, 0, now_ms));
        assert_false(upstream_is_down(server));
    }
    (void)upstream_eject(upstream, server, now_ms);
    assert_true(upstream_note_up(server, 0, 0, now_ms + 32000)); /* it grows no further */
    free(upstream);
}

/* A plain connect failure needs no back-off: the next probe that succeeds brings the server back.
 */
static void test_down_and_up(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 1);
    assert_true(upstream_note_down(upstream, &upstream->servers[0]));
    assert_false(upstream_note_down(upstream, &upstream->servers[0])); /* said once */
    assert_true(upstream_note_up(&upstream->servers[0], 0, 0, NOW));
    assert_false(upstream_note_up(&upstream->servers[0], 0, 0, NOW));
    assert_int_equal(atomic_load(&upstream->downs), 1);
    free(upstream);
}

static uint32_t share_of_second(struct upstream *upstream, int64_t now_ms)
{
    uint32_t second = 0;
    for (int i = 0; i < ROUNDS; i++) {
        second += ask(upstream, 0, 0, now_ms) == 1;
    }
    return second * 100 / ROUNDS;
}

static void test_slow_start(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 2);
    (void)upstream_note_down(upstream, &upstream->servers[1]);
    (void)upstream_note_up(&upstream->servers[1], 0, 0, NOW);
    assert_in_range(share_of_second(upstream, NOW), 7, 10);         /* a tenth: 1 of 11 */
    assert_in_range(share_of_second(upstream, NOW + 5000), 31, 35); /* half: 1 of 3 */
    assert_in_range(share_of_second(upstream, NOW + UPSTREAM_SLOW_START_MS), 48, 52);
    free(upstream);
}

static void test_extensions_are_the_intersection(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 2);
    uint64_t size = 0;
    (void)upstream_note_up(&upstream->servers[0], EXT_SIZE | EXT_DSN, 500, NOW);
    (void)upstream_note_up(&upstream->servers[1], EXT_SIZE | EXT_8BITMIME, 300, NOW);
    assert_int_equal(upstream_extensions(upstream, &size), EXT_SIZE);
    assert_int_equal(size, 300);
    (void)upstream_note_down(upstream, &upstream->servers[1]);
    assert_int_equal(upstream_extensions(upstream, &size), EXT_SIZE | EXT_DSN);
    (void)upstream_note_down(upstream, &upstream->servers[0]); /* all down: the last known good */
    assert_int_equal(upstream_extensions(upstream, &size), EXT_SIZE);
    free(upstream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_robin_by_weight),
        cmocka_unit_test(test_least_conn_by_weight),
        cmocka_unit_test(test_hash_keeps_clients),
        cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_max),
        cmocka_unit_test(test_421s_in_a_row_eject),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_down_and_up),
        cmocka_unit_test(test_slow_start),
        cmocka_unit_test(test_extensions_are_the_intersection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
