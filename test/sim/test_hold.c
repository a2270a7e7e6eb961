/*
 * test_hold - what the checks say, and what comes of it: at RCPT, behind the header, at the end; early,
 * late and never. One test a rule, each with all that the upstream was told.
 */
#include "test/holding.h"

static struct holding world; /* 10 MB, used by one test after the other */
static struct client *const client = &world.talk.client;
static struct model *const model = &world.talk.model;

static const enum config_verify_mode modes[] = {VERIFY_HOLD, VERIFY_STREAM};

enum { MODES = 2, SLACK_MS = 100 };

static struct verify_conf *conf(void)
{
    return &world.talk.weir->config.verify;
}

static void open_it(enum config_verify_mode mode, bool is_slow)
{
    holding_open(&world, mode, usual_options(CONTACT_RCPT), is_slow);
}

/* ---- at RCPT ---- */

static void test_listed_client_is_refused_at_rcpt(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MODES; i++) {
        open_it(modes[i], false);
        holding_set_list(&world);
        holding_hello(&world, client);
        expect(client, "MAIL FROM:<a@example.net>", "250 ");
        expect(client, "RCPT TO:<b@example.net>", "550 5.7.1 ");
        assert_non_null(strstr(client->text, "bl.test"));
        expect(client, "RCPT TO:<c@example.net>", "550 5.7.1 ");
        expect(client, "DATA", "554 5.5.1 ");
        expect(client, "RSET", "250 ");
        assert_int_equal(model->connections, 0);
        holding_expect_said(&world, "");
        holding_close(&world);
    }
}

/* Below the threshold it is only told. */
static void test_client_below_the_threshold_passes(void **state)
{
    (void)state;
    open_it(VERIFY_HOLD, false);
    holding_set_list(&world);
    conf()->dnsbl.zones[0].weight = 2;
    (void)snprintf(world.talk.weir->config.trace_header, 64, "X-Told");
    holding_hello(&world, client);
    holding_envelope(client, "a@example.net");
    expect(client, "x: y\r\nx-TOLD: forged\r\n\r\n.", "250 2.0.0 taken\r\n");
    const char *told = "X-Told: mx.example.org;";
    assert_memory_equal(model->last, told, strlen(told));
    assert_int_equal(model->last_len > 200, 0);
    const char *rest = "\r\nx: y\r\n\r\n";
    assert_memory_equal(model->last + model->last_len - strlen(rest), rest, strlen(rest));
    holding_close(&world);
}

/* ---- DMARC and SPF ---- */

static const char forgery[] = "From: boss@example.org\r\n\r\npay\r\n";

static void test_forgery_is_refused_and_the_upstream_saw_no_data(void **state)
{
    (void)state;
    open_it(VERIFY_HOLD, false);
    conf()->dmarc.action = ACTION_REJECT;
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    say(client, forgery);
    expect(client, ".", "550 5.7.1 ");
    assert_non_null(strstr(client->text, "example.org"));
    holding_expect_said(&world, "1 MAIL FROM:<a@example.com>\r\n1 RCPT TO:<b@example.net>\r\n");
    holding_envelope(client, "a@example.com");
    expect(client, "From: a@example.net\r\n\r\n.", "250 2.0.0 taken\r\n");
    holding_expect_said(&world, "1 RSET\r\n1 MAIL FROM:<a@example.com>\r\n"
                                "1 RCPT TO:<b@example.net>\r\n1 DATA\r\n");
    assert_int_equal(model->begun, 1);
    holding_close(&world);
}

/* In `stream` the upstream has had a part of it: it is cut off. */
static void test_streamed_forgery_never_gets_its_end(void **state)
{
    (void)state;
    open_it(VERIFY_STREAM, false);
    conf()->dmarc.action = ACTION_REJECT;
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    say(client, forgery);
    client_settle(client);
    struct model_conn *conn = &model->conns[0];
    assert_true(conn->in_data);
    const char *results =
        "Authentication-Results: mx.example.org; none\r\n"; /* nothing is known yet */
    assert_int_equal(conn->len, strlen(results) + strlen(forgery));
    assert_memory_equal(conn->bytes, results, strlen(results));
    assert_memory_equal(conn->bytes + strlen(results), forgery, strlen(forgery));
    expect(client, ".", "550 5.7.1 ");
    assert_int_equal(conn->fd, -1);
    assert_int_equal(model->messages, 0);
    holding_envelope(client, "a@example.com");
    expect(client, "From: a@example.net\r\n\r\n.", "250 2.0.0 taken\r\n");
    assert_int_equal(model->connections, 2);
    holding_close(&world);
}

static bool was_tagged;

static const char *look_for_a_tag(struct model *of, struct model_conn *conn, enum model_stage stage,
                                  const char *line, uint32_t len)
{
    (void)of;
    (void)conn;
    (void)line;
    (void)len;
    if (stage == STAGE_EOM) {
        was_tagged = weir_session(world.talk.weir)->transaction->is_tagged;
    }
    return NULL;
}

static void expect_results(const char *word)
{
    const char *name = "Authentication-Results: mx.example.org;";
    assert_memory_equal(model->last, name, strlen(name));
    model->last[model->last_len] = '\0';
    if (strstr(model->last, word) == NULL) {
        fail_msg("no \"%s\" in \"%s\"", word, model->last);
    }
}

static void test_bad_result_is_tagged(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        const char *spf;
        const char *author;
        const char *dmarc;
        bool is_tagged;
    } rows[] = {
        {"a@example.org", "spf=fail", "a@example.net", "dmarc=none", true},
        {"a@example.com", "spf=pass", "a@example.org", "dmarc=fail", true},
        {"a@example.com", "spf=pass", "a@example.com", "dmarc=none", false},
    };
    for (uint32_t i = 0; i < MODES * sizeof(rows) / sizeof(rows[0]); i++) {
        open_it(modes[i % MODES], false);
        conf()->spf.action = ACTION_TAG;
        conf()->dmarc.action = ACTION_TAG;
        model->script = look_for_a_tag;
        was_tagged = !rows[i / MODES].is_tagged;
        holding_hello(&world, client);
        holding_envelope(client, rows[i / MODES].from);
        char text[128];
        (void)snprintf(text, sizeof(text), "From: %s\r\n\r\n.", rows[i / MODES].author);
        expect(client, text, "250 2.0.0 taken\r\n"); /* in one piece: all is known */
        assert_int_equal(was_tagged, rows[i / MODES].is_tagged);
        expect_results(rows[i / MODES].spf);
        expect_results(rows[i / MODES].dmarc);
        holding_close(&world);
    }
}

/* ---- late, and never ---- */

static void send_late(int64_t answers_after_ms)
{
    world.answers_after_ms = answers_after_ms;
    conf()->spf.action = ACTION_TAG;
    holding_hello(&world, client);
    holding_envelope(client, "a@example.org");
    say(client, "x: y\r\n\r\n.\r\n");
    client_settle(client);
    assert_int_equal(holding_state(&world), SESSION_VERDICT);
    assert_int_equal(client->len, 0);
    assert_int_equal(model->begun, 0);
}

static void test_late_answer_is_waited_for(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MODES; i++) {
        open_it(modes[i], true);
        send_late(300);
        int64_t waited_ms = 0;
        for (; client->len == 0 && waited_ms < 5000; waited_ms += 20) {
            holding_pass_time(&world, 20);
        }
        expect_reply(client, "250 2.0.0 taken\r\n");
        assert_in_range(waited_ms, 300, 300 + SLACK_MS);
        expect_results("spf=none");
        holding_close(&world);
    }
}

static void test_deadline_gives_temperror_and_the_message_passes(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MODES; i++) {
        struct weir_options options = usual_options(CONTACT_RCPT);
        options.deadline_ms = 1500;
        holding_open(&world, modes[i], options, true);
        send_late(DNS_NEVER);
        expect_reply(client, "250 2.0.0 taken\r\n");
        assert_true(client->waited_ms >= 1500 - SLACK_MS && client->waited_ms <= 1500 + SLACK_MS);
        expect_results("spf=temperror");
        assert_true(world.asked > 0);
        holding_close(&world);
    }
}

/* RCPT and the end-of-data wait by turns: together no longer than the deadline. */
static void test_deadline_is_the_transactions(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MODES; i++) {
        struct weir_options options = usual_options(CONTACT_RCPT);
        options.deadline_ms = 1500;
        holding_open(&world, modes[i], options, true);
        holding_set_list(&world);
        conf()->spf.action = ACTION_TAG;
        holding_hello(&world, client);
        expect(client, "MAIL FROM:<a@example.org>", "250 ");
        assert_int_equal(client_command(client, "RCPT TO:<b@example.net>"), 250);
        int64_t waited_ms = client->waited_ms;
        assert_true(waited_ms >= 1500 - SLACK_MS && waited_ms <= 1500 + SLACK_MS);
        (void)client_command(client, "RCPT TO:<c@example.net>");
        waited_ms += client->waited_ms;
        expect(client, "DATA", "354 ");
        assert_int_equal(client_command(client, "x: y\r\n\r\n."), 250);
        waited_ms += client->waited_ms;
        assert_true(waited_ms <= 1500 + 3 * SLACK_MS);
        holding_close(&world);
    }
}

/* What the client takes for its message is its own: the answer is there when it is done. */
static void test_slow_client_does_not_wait(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MODES; i++) {
        open_it(modes[i], true);
        world.answers_after_ms = 900;
        conf()->spf.action = ACTION_TAG;
        holding_hello(&world, client);
        holding_envelope(client, "a@example.org");
        say(client, "x: y\r\n");
        for (uint32_t k = 0; k < 4; k++) {
            holding_pass_time(&world, 500);
        }
        expect(client, "\r\n.", "250 2.0.0 taken\r\n"); /* expect() lets no time pass */
        expect_results("spf=none");
        holding_close(&world);
    }
}

/* ---- the time of all ---- */

static void answer_data_late(void)
{
    struct model_conn *conn = &model->conns[0];
    holding_pass_time(&world, 100 * 1000);
    assert_int_equal(holding_state(&world), SESSION_OPEN);
    conn->in_data = true;
    world.talk.stage = STAGE_EOM;
    world.talk.answer = MODEL_SILENT;
    (void)sim_write(world.talk.weir->sim, conn->fd, "354 go on\r\n", 11);
    client_settle(client);
    assert_int_equal(holding_state(&world), SESSION_FORWARD);
}

/* Verdict, 354 and reply, each as late as it may: together no longer than a client waits. */
static void test_answer_comes_within_590_s(void **state)
{
    (void)state;
    open_it(VERIFY_HOLD, true);
    world.talk.stage = STAGE_DATA;
    world.talk.answer = "";
    send_late(DNS_NEVER);
    int64_t begun_ms = sim_now_ms(world.talk.weir->sim);
    for (uint32_t i = 0; i < 25 && holding_state(&world) == SESSION_VERDICT; i++) {
        holding_pass_time(&world, 1000);
    }
    answer_data_late();
    expect_reply(client, "451 4.4.2 ");
    int64_t lasted_ms = sim_now_ms(world.talk.weir->sim) - begun_ms;
    assert_true(lasted_ms >= 589 * 1000 && lasted_ms <= 591 * 1000);
    assert_int_equal(model->messages, 0);
    holding_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listed_client_is_refused_at_rcpt),
        cmocka_unit_test(test_client_below_the_threshold_passes),
        cmocka_unit_test(test_forgery_is_refused_and_the_upstream_saw_no_data),
        cmocka_unit_test(test_streamed_forgery_never_gets_its_end),
        cmocka_unit_test(test_bad_result_is_tagged),
        cmocka_unit_test(test_late_answer_is_waited_for),
        cmocka_unit_test(test_deadline_gives_temperror_and_the_message_passes),
        cmocka_unit_test(test_deadline_is_the_transactions),
        cmocka_unit_test(test_slow_client_does_not_wait),
        cmocka_unit_test(test_answer_comes_within_590_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
