/*
 * test_upstream - which server is next: weights, order of tiers, max, what is needed, health with
 * back-off and slow start; and addresses that change.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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
    assert_int_equal(atomic_load(&upstream->changes), 1);
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

/* ---- what is needed ---- */

enum { UTF8 = EXT_SMTPUTF8, BOTH = EXT_SMTPUTF8 | EXT_8BITMIME, UNKNOWN = 1 << 30 };

/* Which of three servers may be chosen, as a set, over many turns; the last one is a backup. */
static const struct needs_row {
    uint32_t offers[3]; /* UNKNOWN: never asked */
    uint32_t down;      /* servers, a bit each */
    uint32_t tried;
    uint32_t needs;
    uint32_t want;
    bool may_offer;
} needs_rows[] = {
    {{0, BOTH, BOTH}, 0, 0, 0, 3, true},               /* nothing needed: as ever */
    {{0, BOTH, BOTH}, 0, 0, UTF8, 2, true},            /* the one that has it */
    {{BOTH, BOTH, 0}, 0, 0, UTF8, 3, true},            /* balanced among those */
    {{UTF8, EXT_8BITMIME, 0}, 0, 0, BOTH, 3, false},   /* nobody has both: any regular one */
    {{UTF8, EXT_8BITMIME, BOTH}, 0, 0, BOTH, 4, true}, /* the backup alone has both */
    {{0, UNKNOWN, 0}, 0, 0, UTF8, 2, true},            /* never asked: it may */
    {{0, BOTH, 0}, 2, 0, UTF8, 2, true},               /* down, but the only one that has it */
    {{0, BOTH, 0}, 0, 2, UTF8, 0, false},              /* it was tried: the others are no use */
    {{BOTH, BOTH, 0}, 2, 1, UTF8, 2, true},            /* as a last try one that is down */
    {{0, 0, 0}, 0, 1, UTF8, 2, false},                 /* none has it: the next for its refusal */
};

static void test_needs(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 1, 1};
    for (uint32_t row = 0; row < sizeof(needs_rows) / sizeof(needs_rows[0]); row++) {
        const struct needs_row *r = &needs_rows[row];
        struct config_upstream config;
        struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 3);
        config.servers[2].is_backup = true;
        for (uint32_t i = 0; i < 3; i++) {
            struct upstream_server *server = &upstream->servers[i];
            (void)upstream_note_up(server, r->offers[i], 0, NOW);
            atomic_store(&server->known, r->offers[i] == UNKNOWN ? 0 : 1);
            if ((r->down & 1u << i) != 0) {
                (void)upstream_note_down(upstream, server);
            }
        }
        struct upstream_ask asked = {.tried = r->tried, .needs = r->needs, .now_ms = NOW};
        uint32_t got = 0;
        for (int i = 0; i < 20; i++) {
            int server = upstream_choose(upstream, &asked);
            got |= server < 0 ? 0 : 1u << server;
        }
        if (got != r->want || upstream_may_offer(upstream, &asked) != r->may_offer) {
            fail_msg("row %u: chose from %x, not %x", row, got, r->want);
        }
        free(upstream);
    }
}

/* The only server that offers it is at its max: waiting helps; another one's being full does not. */
static void test_needs_and_max(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 2);
    struct upstream_ask asked = {.needs = UTF8, .now_ms = NOW};
    config.servers[0].max = 1;
    config.servers[1].max = 1;
    (void)upstream_note_up(&upstream->servers[1], UTF8, 0, NOW);
    assert_true(upstream_reserve(&upstream->servers[1]));
    assert_int_equal(upstream_choose(upstream, &asked), -1);
    assert_true(upstream_is_full(upstream, &asked));
    upstream_release(&upstream->servers[1]);
    assert_true(upstream_reserve(&upstream->servers[0]));
    assert_int_equal(upstream_choose(upstream, &asked), 1);
    assert_false(upstream_is_full(upstream, &asked));
    free(upstream);
}

/* ---- addresses ---- */

static struct config_address address_of(uint32_t host)
{
    struct config_address address = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(25)};
    in.sin_addr.s_addr = host;
    memcpy(&address.addr, &in, sizeof(in));
    (void)snprintf(address.text, sizeof(address.text), "%08x-%08x-%08x-%08x", host, host, host,
                   host);
    return address;
}

static void test_a_server_moves(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 1);
    struct upstream_server *server = &upstream->servers[0];
    struct upstream_found found;
    assert_int_equal(upstream_address(server, &found), 0);
    assert_false(upstream_has_moved(server, 0));
    for (uint32_t i = 1; i <= 3; i++) {
        struct config_address address = address_of(i);
        upstream_move(upstream, server, &address);
        assert_true(upstream_has_moved(server, i - 1));
        assert_int_equal(upstream_address(server, &found), i);
        assert_string_equal(found.text, address.text);
        assert_int_equal(found.len, address.len);
        assert_memory_equal(&found.addr, &address.addr, address.len);
        assert_int_equal(atomic_load(&upstream->changes), i); /* the workers will look */
    }
    free(upstream);
}

/* What the old address has done is not held against the new one: the next probe may bring it up. */
static void test_a_move_ends_the_back_off(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1};
    struct config_upstream config;
    struct upstream *upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 1);
    struct upstream_server *server = &upstream->servers[0];
    struct config_address address = address_of(1);
    (void)upstream_eject(upstream, server, NOW);
    assert_false(upstream_note_up(server, 0, 0, NOW + 1));
    upstream_move(upstream, server, &address);
    assert_true(upstream_note_up(server, 0, 0, NOW + 1));
    free(upstream);
}

enum { MOVES = 1000000, PLACES = 16 };

struct mover {
    struct upstream *upstream;
    struct config_address places[PLACES];
};

static void *move_often(void *arg)
{
    struct mover *mover = arg;
    for (uint32_t i = 1; i <= MOVES; i++) {
        upstream_move(mover->upstream, &mover->upstream->servers[0], &mover->places[i % PLACES]);
    }
    return NULL;
}

/* A reader never sees parts of two addresses, whatever the writer's haste. */
static void test_no_address_is_torn(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1};
    static struct mover mover;
    struct config_upstream config;
    pthread_t thread;
    uint32_t number = 0;
    mover.upstream = make(&config, BALANCE_ROUND_ROBIN, weights, 1);
    for (uint32_t i = 0; i < PLACES; i++) {
        mover.places[i] = address_of(i * 0x11111111u);
    }
    assert_int_equal(pthread_create(&thread, NULL, move_often, &mover), 0);
    while (number < MOVES) {
        struct upstream_found found;
        number = upstream_address(&mover.upstream->servers[0], &found);
        const struct config_address *want = &mover.places[number % PLACES];
        if (number > 0 && (strcmp(found.text, want->text) != 0 ||
                           memcmp(&found.addr, &want->addr, want->len) != 0)) {
            fail_msg("move %u: %s instead of %s", number, found.text, want->text);
        }
    }
    pthread_join(thread, NULL);
    free(mover.upstream);
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
        cmocka_unit_test(test_needs),
        cmocka_unit_test(test_needs_and_max),
        cmocka_unit_test(test_a_server_moves),
        cmocka_unit_test(test_a_move_ends_the_back_off),
        cmocka_unit_test(test_no_address_is_torn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
