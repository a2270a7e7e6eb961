/*
 * test_group - several servers behind one session: waiting for a free connection, and what another
 * server can prevent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/session.h"
#include "test/model_upstream.h"

enum { CLIENTS_MAX = 4 };

struct run {
    struct weir *weir;
    struct model model;
    char replies[4096];
};

/* A group of `servers` entries with the model behind each. */
static struct run *open_world(uint32_t servers, uint32_t max, uint32_t pool_idle)
{
    struct run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    run->weir = weir_create(&(struct weir_options){
        .sim = {.seed = 1}, .pool_idle = pool_idle, .extensions = EXT_PIPELINING});
    struct config_upstream *config = &run->weir->config.upstreams[0];
    for (uint32_t i = 0; i < servers; i++) {
        config->servers[i] = config->servers[0];
        config->servers[i].max = max;
    }
    config->server_count = servers;
    config->balance = BALANCE_ROUND_ROBIN;
    upstream_init(&run->weir->shared.upstreams[0], config);
    for (uint32_t i = 0; i < servers; i++) {
        (void)upstream_note_up(&run->weir->shared.upstreams[0].servers[i], EXT_PIPELINING, 0, 1);
    }
    model_init(&run->model, run->weir);
    worker_start_sweeps(run->weir->worker);
    return run;
}

static void close_world(struct run *run)
{
    weir_destroy(&run->weir);
    free(run);
}

static const char *settle(struct run *run, int client)
{
    assert_true(model_settle(&run->model, 10000));
    int64_t got = sim_read(run->weir->sim, client, run->replies, sizeof(run->replies) - 1);
    run->replies[got > 0 ? got : 0] = '\0';
    return run->replies;
}

static const char *say(struct run *run, int client, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);
    assert_int_equal(sim_write(run->weir->sim, client, text, len), len);
    return settle(run, client);
}

/* Time passes until the client has a reply; how long it took. */
static int64_t await_reply(struct run *run, int client)
{
    int64_t begun_ms = sim_now_ms(run->weir->sim);
    for (int turns = 0; settle(run, client)[0] == '\0'; turns++) {
        assert_true(turns < 100000);
        weir_wait(run->weir);
    }
    return sim_now_ms(run->weir->sim) - begun_ms;
}

static int open_transaction(struct run *run)
{
    int client = weir_dial(run->weir);
    assert_memory_equal(settle(run, client), "220", 3);
    assert_memory_equal(say(run, client, "EHLO c.example\r\n"), "250", 3);
    assert_memory_equal(say(run, client, "MAIL FROM:<a@b.example>\r\n"), "250", 3);
    return client;
}

static void finish(struct run *run, int client)
{
    assert_memory_equal(say(run, client, "DATA\r\n"), "354", 3);
    assert_memory_equal(say(run, client, "Subject: x\r\n\r\nx\r\n.\r\n"), "250", 3);
}

static void hang_up(struct run *run, int client)
{
    sim_close(run->weir->sim, client);
    assert_true(model_settle(&run->model, 10000));
}

/* `max` connections are out: the others wait and get theirs by seniority; never is there one more.
 */
static void check_waiters(uint32_t pool_idle)
{
    struct run *run = open_world(1, 1, pool_idle);
    int clients[CLIENTS_MAX];
    for (int i = 0; i < CLIENTS_MAX; i++) {
        clients[i] = open_transaction(run);
    }
    assert_memory_equal(say(run, clients[0], "RCPT TO:<d@e.example>\r\n"), "250", 3);
    for (int i = 1; i < CLIENTS_MAX; i++) {
        assert_string_equal(say(run, clients[i], "RCPT TO:<d@e.example>\r\n"), "");
    }
    for (int i = 0; i < CLIENTS_MAX; i++) {
        assert_int_equal(atomic_load(&run->weir->shared.upstreams[0].servers[0].connections), 1);
        finish(run, clients[i]);
        if (i + 1 < CLIENTS_MAX) {
            assert_in_range(await_reply(run, clients[i + 1]), 0, 100);
            assert_memory_equal(run->replies, "250", 3);
        }
    }
    assert_int_equal(run->model.messages, CLIENTS_MAX);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        hang_up(run, clients[i]);
    }
    close_world(run);
}

static void test_waiters_get_a_pooled_connection(void **state)
{
    (void)state;
    check_waiters(4);
}

static void test_waiters_get_a_free_slot(void **state)
{
    (void)state;
    check_waiters(0);
}

static void test_waiting_ends_at_the_deadline(void **state)
{
    (void)state;
    struct run *run = open_world(1, 1, 4);
    int holder = open_transaction(run);
    int waiter = open_transaction(run);
    assert_memory_equal(say(run, holder, "RCPT TO:<d@e.example>\r\n"), "250", 3);
    assert_string_equal(say(run, waiter, "RCPT TO:<d@e.example>\r\n"), "");
    assert_in_range(await_reply(run, waiter), 9900, 10200); /* connect_timeout */
    assert_memory_equal(run->replies, "451 4.3.2", 9);
    finish(run, holder);
    assert_memory_equal(say(run, waiter, "RCPT TO:<d@e.example>\r\n"), "250",
                        3); /* and it may try again */
    hang_up(run, holder);
    hang_up(run, waiter);
    close_world(run);
}

/* A waiter that hangs up is not woken, and nobody waits behind a ghost. */
static void test_a_waiter_leaves(void **state)
{
    (void)state;
    struct run *run = open_world(1, 1, 4);
    int holder = open_transaction(run);
    int first = open_transaction(run);
    int second = open_transaction(run);
    assert_memory_equal(say(run, holder, "RCPT TO:<d@e.example>\r\n"), "250", 3);
    (void)say(run, first, "RCPT TO:<d@e.example>\r\n");
    (void)say(run, second, "RCPT TO:<d@e.example>\r\n");
    sim_reset(run->weir->sim, first);
    sim_close(run->weir->sim, first);
    finish(run, holder);
    assert_in_range(await_reply(run, second), 0, 200);
    assert_memory_equal(run->replies, "250", 3);
    finish(run, second);
    hang_up(run, holder);
    hang_up(run, second);
    close_world(run);
}

static const char *first_connection_is_silent(struct model *model, struct model_conn *conn,
                                              enum model_stage stage, const char *line,
                                              uint32_t len)
{
    (void)model;
    (void)line;
    (void)len;
    return conn->number == 1 && stage == STAGE_MAIL ? MODEL_SILENT : NULL;
}

/* Frozen behind its EHLO: once the server is known to be down, the other one takes the transaction.
 */
static void test_a_frozen_server_is_left(void **state)
{
    (void)state;
    struct run *run = open_world(2, 0, 4);
    struct upstream *upstream = &run->weir->shared.upstreams[0];
    run->model.script = first_connection_is_silent;
    int client = open_transaction(run);
    assert_string_equal(say(run, client, "RCPT TO:<d@e.example>\r\n"), "");
    uint32_t frozen = weir_session(run->weir)->lease->server;
    (void)upstream_note_down(upstream, &upstream->servers[frozen]);
    assert_in_range(await_reply(run, client), 0, 1000);
    assert_memory_equal(run->replies, "250", 3);
    assert_int_equal(weir_session(run->weir)->lease->server, 1 - frozen);
    finish(run, client);
    hang_up(run, client);
    close_world(run);
}

static const char *greets_421(struct model *model, struct model_conn *conn, enum model_stage stage,
                              const char *line, uint32_t len)
{
    (void)model;
    (void)line;
    (void)len;
    return conn->number == 1 && stage == STAGE_CONNECT ? "421 4.3.2 not now\r\n" : NULL;
}

static void test_421_at_the_greeting_is_the_next_servers_turn(void **state)
{
    (void)state;
    struct run *run = open_world(2, 0, 4);
    run->model.script = greets_421;
    int client = open_transaction(run);
    assert_memory_equal(say(run, client, "RCPT TO:<d@e.example>\r\n"), "250", 3);
    assert_int_equal(run->model.connections, 2);
    finish(run, client);
    hang_up(run, client);
    close_world(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiters_get_a_pooled_connection),
        cmocka_unit_test(test_waiters_get_a_free_slot),
        cmocka_unit_test(test_waiting_ends_at_the_deadline),
        cmocka_unit_test(test_a_waiter_leaves),
        cmocka_unit_test(test_a_frozen_server_is_left),
        cmocka_unit_test(test_421_at_the_greeting_is_the_next_servers_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
