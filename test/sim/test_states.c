/*
 * test_states - what is left of a transaction behind each of its ends, and what a drain leaves of a
 * session. One test a rule.
 */
#include "core/session.h"
#include "test/sim/dialogue.h"

static struct dialogue world; /* 10 MB, used by one test after the other */

/* ---- states ---- */

struct error_row {
    const char *name;
    enum config_contact contact;
    enum model_stage stage;
    const char *answer;
    const char *body; /* NULL: the error is before the message */
    const char *reply;
};

static const struct error_row error_rows[] = {
    {"MAIL 4xx", CONTACT_MAIL, STAGE_MAIL, "451 4.0.0 no\r\n", NULL, "451 4.0.0 no\r\n"},
    {"MAIL 5xx", CONTACT_MAIL, STAGE_MAIL, "550 5.0.0 no\r\n", NULL, "550 5.0.0 no\r\n"},
    {"MAIL lost", CONTACT_MAIL, STAGE_MAIL, MODEL_DROP, NULL, "451 4.4.2 "},
    {"MAIL 4xx, connect", CONTACT_CONNECT, STAGE_MAIL, "451 4.0.0 no\r\n", NULL,
     "451 4.0.0 no\r\n"},
    {"MAIL 5xx, connect", CONTACT_CONNECT, STAGE_MAIL, "550 5.0.0 no\r\n", NULL,
     "550 5.0.0 no\r\n"},
    {"DATA 4xx", CONTACT_RCPT, STAGE_DATA, "451 4.0.0 no\r\n", NULL, "451 4.0.0 no\r\n"},
    {"DATA 5xx", CONTACT_RCPT, STAGE_DATA, "554 5.0.0 no\r\n", NULL, "554 5.0.0 no\r\n"},
    {"DATA 5xx, mail", CONTACT_MAIL, STAGE_DATA, "554 5.0.0 no\r\n", NULL, "554 5.0.0 no\r\n"},
    {"DATA 5xx, connect", CONTACT_CONNECT, STAGE_DATA, "554 5.0.0 no\r\n", NULL,
     "554 5.0.0 no\r\n"},
    {"DATA lost", CONTACT_RCPT, STAGE_DATA, MODEL_RESET, NULL, "451 4.4.2 "},
    {"DATA 250", CONTACT_RCPT, STAGE_DATA, "250 2.0.0 ok\r\n", NULL, "451 4.4.2 "},
    {"EOM 4xx", CONTACT_RCPT, STAGE_EOM, "451 4.0.0 no\r\n", "x: y\r\n\r\n", "451 4.0.0 no\r\n"},
    {"EOM 5xx", CONTACT_RCPT, STAGE_EOM, "554 5.0.0 no\r\n", "x: y\r\n\r\n", "554 5.0.0 no\r\n"},
    {"EOM 5xx, mail", CONTACT_MAIL, STAGE_EOM, "554 5.0.0 no\r\n", "x: y\r\n\r\n",
     "554 5.0.0 no\r\n"},
    {"EOM 5xx, connect", CONTACT_CONNECT, STAGE_EOM, "554 5.0.0 no\r\n", "x: y\r\n\r\n",
     "554 5.0.0 no\r\n"},
    {"EOM lost", CONTACT_RCPT, STAGE_EOM, MODEL_DROP, "x: y\r\n\r\n", "451 4.4.2 "},
    {"body 4xx", CONTACT_RCPT, STAGE_BODY, "451 4.0.0 no\r\n", "x: y\r\n\r\n", "451 4.0.0 no\r\n"},
    {"body lost", CONTACT_RCPT, STAGE_BODY, MODEL_RESET, "x: y\r\n\r\n", "451 4.4.2 "},
    {"framing", CONTACT_RCPT, STAGE_COUNT, NULL, "x: y\r\n\r\na\rb\r\n", "550 5.5.2 "},
    {"framing, connect", CONTACT_CONNECT, STAGE_COUNT, NULL, "x: y\r\n\r\na\nb\r\n", "550 5.5.2 "},
    {"accepted", CONTACT_RCPT, STAGE_COUNT, NULL, "x: y\r\n\r\n", "250 2.0.0 taken\r\n"},
    {"accepted, mail", CONTACT_MAIL, STAGE_COUNT, NULL, "x: y\r\n\r\n", "250 2.0.0 taken\r\n"},
    {"EOM 354", CONTACT_RCPT, STAGE_EOM, "354 go on\r\n", "x: y\r\n\r\n", "451 4.4.2 "},
    {"EOM lost, connect", CONTACT_CONNECT, STAGE_EOM, MODEL_RESET, "x: y\r\n\r\n", "451 4.4.2 "},
};

/* A transaction with the row's error in it. */
static void make_error(const struct error_row *row)
{
    struct client *client = &world.client;
    world.stage = row->stage;
    world.answer = row->answer;
    if (row->stage == STAGE_MAIL) {
        expect(client, "MAIL FROM:<a@example.org>", row->reply);
        return;
    }
    expect(client, "MAIL FROM:<a@example.org>", "250 ");
    expect(client, "RCPT TO:<b@example.org>", "250 ");
    bool is_checking = weir_is_checking(world.weir);
    if (row->body == NULL && !is_checking) {
        expect(client, "DATA", row->reply);
        return;
    }
    expect(client, "DATA", "354 "); /* of the upstream's answer a checked message's end tells */
    say(client, row->body == NULL ? "x: y\r\n\r\n" : row->body);
    client_settle(client);
    expect(client, ".", row->reply);
}

static void check_error_row(const struct error_row *row, const char *next)
{
    make_error(row);
    world.answer = NULL;
    world.stage = STAGE_COUNT;
    uint32_t rcpts = world.rcpts;
    expect(&world.client, next, "503 5.5.1 ");
    assert_int_equal(world.rcpts, rcpts);
    deliver(&world.client);
    close_world(&world);
}

/* With DATA, and with BDAT, which leaves out two stages. */
static void test_transaction_is_over_behind_each_error(void **state)
{
    (void)state;
    static const char *const next[] = {"RCPT TO:<evil@example.org>", "DATA"};
    for (uint32_t i = 0; i < 2 * sizeof(error_rows) / sizeof(error_rows[0]); i++) {
        const struct error_row *row = &error_rows[i / 2];
        open_session(&world, row->contact);
        check_error_row(row, next[i % 2]);
        if (row->stage != STAGE_DATA && row->stage != STAGE_BODY) {
            open_chunking_session(&world, row->contact);
            check_error_row(row, next[i % 2]);
        }
    }
}

/* RSET is said where the upstream is still in a transaction, and only there. */
static void test_connection_is_reset_when_it_has_to_be(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    deliver(&world.client);
    deliver(&world.client);
    assert_int_equal(world.resets, 0);
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    expect(&world.client, "RCPT TO:<b@example.org>", "250 ");
    expect(&world.client, "RSET", "250 ");
    deliver(&world.client);
    assert_int_equal(world.resets, 1);
    world.stage = STAGE_DATA;
    world.answer = "451 4.0.0 no\r\n";
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    expect(&world.client, "RCPT TO:<b@example.org>", "250 ");
    if (weir_is_checking(world.weir)) {
        expect(&world.client, "DATA", "354 ");
        expect(&world.client, "x: y\r\n\r\n.", world.answer);
    } else {
        expect(&world.client, "DATA", world.answer);
    }
    world.answer = NULL;
    deliver(&world.client);
    assert_int_equal(world.resets, 2);
    assert_int_equal(world.model.connections, 1);
    close_world(&world);
}

static void test_refused_recipient_leaves_the_others(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    expect(&world.client, "RCPT TO:<b@example.org>", "250 ");
    world.stage = STAGE_RCPT;
    world.answer = "550 5.1.1 nobody\r\n";
    expect(&world.client, "RCPT TO:<c@example.org>", "550 5.1.1 nobody\r\n");
    expect(&world.client, "VRFY c", "252 ");
    expect(&world.client, "MAIL FROM:<again@example.org>", "503 5.5.1 ");
    expect(&world.client, "DATA", "354 ");
    expect(&world.client, "x: y\r\n\r\n.", "250 2.0.0 taken\r\n");
    close_world(&world);
}

/* ---- our field ---- */

/* What would continue our field is kept out of it, also behind a stuffed dot, and wherever the
 * first bytes are cut. */
static void test_white_space_at_the_top_stays_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_apart;
    } rows[] = {
        {" x\r\n.", true},      {"\tx\r\n.", true},         {". x\r\n.", true},
        {".\tx: y\r\n.", true}, {"x: y\r\n x\r\n.", false}, {"..x\r\n.", false},
        {"\r\n x\r\n.", false},
    };
    for (uint32_t i = 0; i < 3 * sizeof(rows) / sizeof(rows[0]); i++) { /* DATA, cut, BDAT */
        const char *text = rows[i / 3].text;
        uint32_t len = (uint32_t)strlen(text) - 1; /* without the dot that ends it */
        if (i % 3 == 2) {
            open_chunking_session(&world, CONTACT_RCPT);
        } else {
            open_session(&world, CONTACT_RCPT);
        }
        say_envelope(&world.client);
        if (i % 3 == 1) {
            assert_true(client_send(&world.client, text++, 1));
            client_settle(&world.client);
        }
        expect(&world.client, text, "250 2.0.0 taken\r\n");
        char expected[32];
        memcpy(expected, rows[i / 3].text, len);
        if (world.model.chunks > 0 || weir_is_checking(world.weir)) {
            len = model_canonical(rows[i / 3].text, len, expected);
        }
        const char *last = world.model.last;
        const char *top = last + world.model.last_len - len;
        assert_memory_equal(top, expected, len);
        assert_memory_equal(weir_behind_results(last), "Received: ", 10);
        assert_int_equal(memcmp(top - 4, "\r\n\r\n", 4) == 0, rows[i / 3].is_apart);
        close_world(&world);
    }
}

/* ---- drain ---- */

static void test_drain_says_421_to_the_next_command(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    worker_ask(world.weir->worker, WORKER_DRAINING);
    client_settle(&world.client);
    expect(&world.client, "NOOP", "421 4.3.2 shutting down\r\n");
    assert_int_equal(world.client.waited_ms, 0);
    assert_ended(&world);
    close_world(&world);
}

static void test_drain_lets_a_transaction_end(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    worker_ask(world.weir->worker, WORKER_DRAINING);
    client_settle(&world.client);
    expect(&world.client, "RCPT TO:<b@example.org>", "250 ");
    expect(&world.client, "DATA", "354 ");
    expect(&world.client, "x: y\r\n\r\n.", "250 2.0.0 taken\r\n");
    expect(&world.client, "NOOP", "421 4.3.2 shutting down\r\n");
    assert_ended(&world);
    close_world(&world);
}

static void test_drain_is_bounded(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    say_envelope(&world.client);
    worker_ask(world.weir->worker, WORKER_DRAINING);
    expect_reply(&world.client, "421 4.3.2 shutting down\r\n");
    assert_true(world.client.waited_ms >= 30 * 1000 && world.client.waited_ms <= 90 * 1000);
    assert_ended(&world);
    assert_int_equal(world.model.messages, 0);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transaction_is_over_behind_each_error),
        cmocka_unit_test(test_connection_is_reset_when_it_has_to_be),
        cmocka_unit_test(test_refused_recipient_leaves_the_others),
        cmocka_unit_test(test_white_space_at_the_top_stays_apart),
        cmocka_unit_test(test_drain_says_421_to_the_next_command),
        cmocka_unit_test(test_drain_lets_a_transaction_end),
        cmocka_unit_test(test_drain_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
