/*
 * test_hold_end - the end of a client, and of the worker, in each state that a checked message goes
 * through, in `hold` and in `stream`: what the upstream has had of it is no message unless its client had
 * said all of it, nobody gets an answer that is not his, and nothing is left.
 */
#include "test/holding.h"

static struct holding world; /* 10 MB, used by one test after the other */
static struct client *const client = &world.talk.client;
static struct model *const model = &world.talk.model;

enum { LONG = 50000, QUEUE = 8192, MODES = 2 };

static const enum config_verify_mode modes[] = {VERIFY_HOLD, VERIFY_STREAM};

static char text[LONG];

/* ---- the ways into the states ---- */

static void open_it(enum config_verify_mode mode, bool is_slow)
{
    struct weir_options options = usual_options(CONTACT_RCPT);
    options.sim.queue_bytes = QUEUE;
    options.hold_memory = 1;
    holding_open(&world, mode, options, is_slow);
    world.talk.weir->config.verify.spf.action = is_slow ? ACTION_TAG : ACTION_OFF;
}

static void send_text(uint32_t len)
{
    memcpy(text, "x: y\r\n\r\n", 8);
    for (uint32_t i = 8; i < len; i++) {
        text[i] = i % 50 == 48 ? '\r' : i % 50 == 49 ? '\n' : 'x';
    }
    for (uint32_t at = 0; at < len; at += 4000) {
        assert_true(client_send(client, text + at, len - at < 4000 ? len - at : 4000));
        client_settle(client);
    }
}

static void say_and_settle(const char *line)
{
    say(client, line);
    client_settle(client);
}

static void into_screen(enum config_verify_mode mode)
{
    open_it(mode, true);
    holding_set_list(&world);
    holding_hello(&world, client);
    expect(client, "MAIL FROM:<a@example.com>", "250 ");
    say_and_settle("RCPT TO:<b@example.net>\r\n");
}

static void into_hold(enum config_verify_mode mode)
{
    open_it(mode, false);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    say_and_settle("x: y\r\n");
}

/* With a file, or with a part of it over. */
static void into_hold_long(enum config_verify_mode mode)
{
    open_it(mode, false);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    send_text(LONG);
}

static void into_verdict(enum config_verify_mode mode)
{
    open_it(mode, true);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    say_and_settle("x: y\r\n\r\nbody\r\n.\r\n");
}

static void into_replay(enum config_verify_mode mode)
{
    open_it(mode, false);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    model_hang_up(model);
    client_settle(client);
    sim_set_connect(world.talk.weir->sim, world.talk.weir->listener, SIM_CONNECT_SILENT, 0);
    say_and_settle("x: y\r\n\r\nbody\r\n.\r\n");
}

/* The new connection is there, and says nothing to the envelope. */
static void into_replay_envelope(enum config_verify_mode mode)
{
    open_it(mode, false);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    model_hang_up(model);
    client_settle(client);
    world.talk.stage = STAGE_RCPT;
    world.talk.answer = MODEL_SILENT;
    say_and_settle("x: y\r\n\r\nbody\r\n.\r\n");
}

static void into_open(enum config_verify_mode mode)
{
    open_it(mode, false);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    world.talk.stage = STAGE_DATA;
    world.talk.answer = MODEL_SILENT;
    say_and_settle("x: y\r\n\r\nbody\r\n.\r\n");
}

/* Behind the first octets it does not even read. */
static const char *falls_deaf(struct model *of, struct model_conn *conn, enum model_stage stage,
                              const char *line, uint32_t len)
{
    (void)of;
    (void)line;
    (void)len;
    conn->is_deaf = stage == STAGE_BODY;
    return NULL;
}

static void into_deliver(enum config_verify_mode mode)
{
    open_it(mode, false);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    model->script = falls_deaf;
    send_text(mode == VERIFY_HOLD ? LONG : LONG / 50 * 16);
    say_and_settle(".\r\n");
}

static void into_forward(enum config_verify_mode mode)
{
    open_it(mode, false);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    world.talk.stage = STAGE_EOM;
    world.talk.answer = MODEL_SILENT;
    say_and_settle("x: y\r\n\r\nbody\r\n.\r\n");
}

static void into_discard(enum config_verify_mode mode)
{
    open_it(mode, false);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    say_and_settle("x: y\r\n\r\nbare\n");
}

struct place {
    const char *name;
    void (*into)(enum config_verify_mode mode);
    enum session_state state;
    bool said_all;
};

static const struct place places[] = {
    {"screen", into_screen, SESSION_SCREEN, false},
    {"hold", into_hold, SESSION_HOLD, false},
    {"hold, long", into_hold_long, SESSION_HOLD, false},
    {"verdict", into_verdict, SESSION_VERDICT, true},
    {"replay", into_replay, SESSION_REPLAY, true},
    {"replay, envelope", into_replay_envelope, SESSION_REPLAY, true},
    {"open", into_open, SESSION_OPEN, true},
    {"deliver", into_deliver, SESSION_DELIVER, true},
    {"forward", into_forward, SESSION_FORWARD, true},
    {"discard", into_discard, SESSION_DISCARD, false},
};

enum { PLACES = sizeof(places) / sizeof(places[0]) };

static void go(const struct place *place, enum config_verify_mode mode)
{
    place->into(mode);
    if (holding_state(&world) != place->state) {
        fail_msg("%s, %s: in state %d, not in %d", place->name,
                 mode == VERIFY_HOLD ? "hold" : "stream", (int)holding_state(&world),
                 (int)place->state);
    }
    assert_int_equal(client->len, 0);
}

/* ---- the ends ---- */

/* Time passes until the session is gone: an hour at most. */
static void await_end(const struct place *place)
{
    int64_t begun_ms = sim_now_ms(world.talk.weir->sim);
    while (world.talk.weir->worker->sessions.used > 0) {
        if (sim_now_ms(world.talk.weir->sim) - begun_ms > 3600 * 1000) {
            fail_msg("%s: the session does not end", place->name);
        }
        weir_wait(world.talk.weir);
        client_settle(client);
    }
}

static void close_and_check(const struct place *place)
{
    if (!place->said_all) {
        assert_int_equal(model->messages, 0);
    }
    model_hang_up(model);
    holding_close(&world);
}

static void test_client_goes(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < PLACES * MODES * 3; i++) {
        const struct place *place = &places[i / (MODES * 3)];
        struct sim *sim;
        go(place, modes[i % MODES]);
        sim = world.talk.weir->sim;
        if (i / MODES % 3 == 1) {
            sim_reset(sim, client->fd);
        } else if (i / MODES % 3 == 2) {
            sim_eof(sim, client->fd);
            client_settle(client);
        }
        if (i / MODES % 3 != 2) {
            client_close(client);
        }
        await_end(place);
        client->len = 0; /* the reply that a half-closed one may still read */
        close_and_check(place);
    }
}

/* What has begun may end; a client that does not end it is told so when the time is up. */
static void test_drain(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < PLACES * MODES; i++) {
        const struct place *place = &places[i / MODES];
        go(place, modes[i % MODES]);
        int64_t begun_ms = sim_now_ms(world.talk.weir->sim);
        worker_ask(world.talk.weir->worker, WORKER_DRAINING);
        client_settle(client);
        assert_int_equal(client->len, 0);
        await_end(place);
        assert_true(sim_now_ms(world.talk.weir->sim) - begun_ms <= 90 * 1000);
        client->len = 0;
        close_and_check(place);
    }
}

static void test_stop(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < PLACES * MODES; i++) {
        const struct place *place = &places[i / MODES];
        go(place, modes[i % MODES]);
        worker_ask(world.talk.weir->worker, WORKER_STOPPING);
        expect_reply(client, "421 4.3.2 shutting down\r\n");
        assert_int_equal(client->waited_ms, 0);
        assert_ended(&world.talk);
        assert_int_equal(model->messages, 0);
        close_and_check(place);
    }
}

/* ---- silence of the client, and of the upstream ---- */

static void test_silence_ends(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        int64_t at_most_ms;
    } rows[PLACES] = {
        {"250 ", 21 * 1000},        /* the deadline of the checks: it passes */
        {"421 4.4.2 ", 181 * 1000}, /* data_timeout */
        {"421 4.4.2 ", 181 * 1000}, {"250 ", 21 * 1000},
        {"451 4.4.1 ", 11 * 1000},  /* connect_timeout */
        {"451 4.4.1 ", 301 * 1000}, /* RFC 5321, 4.5.3.2 */
        {"451 4.4.2 ", 121 * 1000}, {"451 4.4.2 ", 181 * 1000},
        {"451 4.4.2 ", 591 * 1000}, {"421 4.4.2 ", 181 * 1000},
    };
    for (uint32_t i = 0; i < PLACES * MODES; i++) {
        const struct place *place = &places[i / MODES];
        go(place, modes[i % MODES]);
        expect_reply(client, rows[i / MODES].reply);
        if (client->waited_ms > rows[i / MODES].at_most_ms) {
            fail_msg("%s: after %lld ms", place->name, (long long)client->waited_ms);
        }
        close_and_check(place);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_goes),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_silence_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
