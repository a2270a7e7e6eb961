/*
 * test_hold_lease - the upstream connection of a message that is held: waited with for lease_hold, given
 * back, lost, and the envelope said once more. One test a rule, each with all that the upstream was told.
 */
#include "core/lease.h"
#include "test/holding.h"

static struct holding world; /* 10 MB, used by one test after the other */
static struct client *const client = &world.talk.client;
static struct model *const model = &world.talk.model;

enum { RCPTS = 1000, HOLD_MS = 2000 };

#define MAIL "MAIL FROM:<a@example.com>\r\n"
#define RCPT "RCPT TO:<b@example.net>\r\n"

static const char body[] = "x: y\r\n\r\n..body\r\n";

static void open_hold(enum config_contact contact)
{
    holding_open(&world, VERIFY_HOLD, usual_options(contact), false);
}

static void begin_message(void)
{
    holding_envelope(client, "a@example.com");
    say(client, "x: y\r\n");
    client_settle(client);
    assert_int_equal(holding_state(&world), SESSION_HOLD);
}

static void end_message(const char *reply)
{
    expect(client, "\r\n..body\r\n.", reply);
    if (reply[0] == '2') {
        holding_expect_message(&world, body, sizeof(body) - 1);
    }
}

/* ---- given back ---- */

/* The only connection that there may be is another client's as long as the first one is slow. */
static void test_slow_client_gives_its_lease_back(void **state)
{
    (void)state;
    static struct client other;
    open_hold(CONTACT_RCPT);
    world.talk.weir->config.upstreams[0].servers[0].max = 1;
    holding_hello(&world, client);
    begin_message();
    holding_pass_time(&world, HOLD_MS - 100);
    assert_non_null(weir_session(world.talk.weir)->lease);
    holding_pass_time(&world, 200);
    assert_null(weir_session(world.talk.weir)->lease);
    holding_hello(&world, &other);
    holding_envelope(&other, "other@example.com");
    expect(&other, "x: other\r\n\r\n.", "250 2.0.0 taken\r\n");
    end_message("250 2.0.0 taken\r\n");
    assert_int_equal(model->connections, 1);
    holding_expect_said(&world, "1 " MAIL "1 " RCPT "1 RSET\r\n"
                                "1 MAIL FROM:<other@example.com>\r\n1 " RCPT "1 DATA\r\n"
                                "1 " MAIL "1 " RCPT "1 DATA\r\n");
    client_close(&other);
    holding_close(&world);
}

/* Bytes now and then do not keep it. */
static void test_dripping_client_does_not_keep_it(void **state)
{
    (void)state;
    open_hold(CONTACT_RCPT);
    holding_hello(&world, client);
    begin_message();
    for (uint32_t i = 0; i < 25; i++) {
        say(client, "x");
        holding_pass_time(&world, 100);
    }
    assert_null(weir_session(world.talk.weir)->lease);
    expect(client, ": y\r\n\r\n.", "250 2.0.0 taken\r\n");
    holding_expect_said(&world, "1 " MAIL "1 " RCPT "1 RSET\r\n1 " MAIL "1 " RCPT "1 DATA\r\n");
    holding_close(&world);
}

/* In `stream` it is needed again as soon as the header is there; behind that it stays. */
static void test_stream_gives_it_back_before_the_header_only(void **state)
{
    (void)state;
    holding_open(&world, VERIFY_STREAM, usual_options(CONTACT_RCPT), false);
    holding_hello(&world, client);
    begin_message();
    holding_pass_time(&world, HOLD_MS);
    assert_null(weir_session(world.talk.weir)->lease);
    say(client, "\r\n..b");
    client_settle(client);
    assert_non_null(weir_session(world.talk.weir)->lease);
    holding_pass_time(&world, 10 * HOLD_MS);
    assert_non_null(weir_session(world.talk.weir)->lease);
    expect(client, "ody\r\n.", "250 2.0.0 taken\r\n");
    holding_expect_message(&world, body, sizeof(body) - 1);
    holding_expect_said(&world, "1 " MAIL "1 " RCPT "1 RSET\r\n1 " MAIL "1 " RCPT "1 DATA\r\n");
    holding_close(&world);
}

/* All parameters, and the recipients that were accepted. */
static void test_envelope_is_repeated_with_its_parameters(void **state)
{
    (void)state;
    open_hold(CONTACT_RCPT);
    holding_hello(&world, client);
    expect(client, "MAIL FROM:<a@example.com> BODY=8BITMIME RET=HDRS ENVID=q+2B1", "250 ");
    expect(client, "RCPT TO:<b@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@example.net",
           "250 ");
    world.talk.stage = STAGE_RCPT;
    world.talk.answer = "550 5.1.1 nobody\r\n";
    expect(client, "RCPT TO:<nobody@example.net> NOTIFY=NEVER", "550 ");
    world.talk.answer = NULL;
    expect(client, "RCPT TO:<c@example.net>", "250 ");
    expect(client, "RCPT TO:<\"q. q\"@example.net> NOTIFY=NEVER", "250 ");
    expect(client, "DATA", "354 ");
    world.said_len = 0;
    holding_pass_time(&world, HOLD_MS);
    say(client, "x: y\r\n");
    end_message("250 2.0.0 taken\r\n");
    holding_expect_said(
        &world, "1 RSET\r\n"
                "1 MAIL FROM:<a@example.com> BODY=8BITMIME RET=HDRS ENVID=q+2B1\r\n"
                "1 RCPT TO:<b@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@example.net\r\n"
                "1 RCPT TO:<c@example.net>\r\n"
                "1 RCPT TO:<\"q. q\"@example.net> NOTIFY=NEVER\r\n"
                "1 DATA\r\n");
    holding_close(&world);
}

/* Nothing may be on its way before the last reply, where PIPELINING is not offered. */
static const char *one_at_a_time(struct model *of, struct model_conn *conn, enum model_stage stage,
                                 const char *line, uint32_t len)
{
    const struct holding *it = of->arg;
    bool is_command = stage != STAGE_CONNECT && stage != STAGE_EOM && stage != STAGE_BODY;
    if (is_command && conn->len != len) {
        fail_msg("%u bytes behind \"%.*s\"", conn->len - len, (int)len, line);
    }
    return stage == it->talk.stage ? it->talk.answer : NULL;
}

static void name_recipient(uint32_t i, char out[64])
{
    (void)snprintf(out, 64, "RCPT TO:<r%u@example.net>", i);
}

static uint32_t repeated;

/* The recipients, each once and in order. */
static const char *count_recipients(struct model *of, struct model_conn *conn,
                                    enum model_stage stage, const char *line, uint32_t len)
{
    char expected[64];
    if (stage == STAGE_MAIL) {
        repeated = 0;
    } else if (stage == STAGE_RCPT) {
        name_recipient(repeated++, expected);
        assert_int_equal(len, strlen(expected) + 2);
        assert_memory_equal(line, expected, strlen(expected));
    }
    return strstr(of->ehlo, "PIPELINING") != NULL ? NULL
                                                  : one_at_a_time(of, conn, stage, line, len);
}

static void test_thousand_recipients_are_repeated(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        open_hold(CONTACT_RCPT);
        model->script = count_recipients;
        model->ehlo = i == 0 ? model->ehlo : "250 up.example\r\n";
        holding_hello(&world, client);
        expect(client, "MAIL FROM:<a@example.com>", "250 ");
        for (uint32_t k = 0; k < RCPTS; k++) {
            char line[64];
            name_recipient(k, line);
            expect(client, line, "250 ");
        }
        expect(client, "DATA", "354 ");
        holding_pass_time(&world, HOLD_MS);
        repeated = 0;
        say(client, "x: y\r\n");
        end_message("250 2.0.0 taken\r\n");
        assert_int_equal(repeated, RCPTS);
        holding_close(&world);
    }
}

/* ---- the upstream has changed its mind ---- */

static uint32_t rcpt_number;
static uint32_t odd_one; /* this recipient is answered by `odd_answer`; 0: MAIL is */
static const char *odd_answer;

static const char *answer_one_oddly(struct model *of, struct model_conn *conn,
                                    enum model_stage stage, const char *line, uint32_t len)
{
    (void)of;
    (void)conn;
    (void)line;
    (void)len;
    rcpt_number = stage == STAGE_MAIL ? 0 : rcpt_number + (stage == STAGE_RCPT);
    bool is_envelope = stage == STAGE_MAIL || stage == STAGE_RCPT;
    return is_envelope && rcpt_number == odd_one ? odd_answer : NULL;
}

static void test_other_answers_the_second_time_are_451(void **state)
{
    (void)state;
    static const char *const answers[] = {"451 4.3.0 later\r\n", "550 5.1.1 no\r\n",
                                          "452 4.5.3 too many\r\n", "354 what\r\n"};
    for (uint32_t i = 0; i < 4 * 6 * 2; i++) {
        open_hold(i % 2 == 0 ? CONTACT_RCPT : CONTACT_MAIL);
        holding_hello(&world, client);
        expect(client, "MAIL FROM:<a@example.com>", "250 ");
        for (uint32_t k = 0; k < 5; k++) {
            expect(client, "RCPT TO:<b@example.net>", "250 ");
        }
        expect(client, "DATA", "354 ");
        holding_pass_time(&world, HOLD_MS);
        model->script = answer_one_oddly;
        odd_one = i / 2 % 6;
        odd_answer = answers[i / 12];
        expect(client, "x: y\r\n\r\n.",
               "451 4.4.2 the upstream has changed its mind, please try again\r\n");
        assert_int_equal(model->begun, 0);
        model->script = NULL;
        begin_message();
        end_message("250 2.0.0 taken\r\n");
        /* Where all replies are in, the connection is none the worse. */
        assert_int_equal(model->connections, odd_one == 5 ? 1 : 2);
        holding_close(&world);
    }
}

/* ---- lost ---- */

static void lose_connections(void)
{
    model_hang_up(model);
    client_settle(client);
}

static void test_connection_lost_meanwhile_is_no_loss(void **state)
{
    (void)state;
    static const enum config_contact contacts[] = {CONTACT_RCPT, CONTACT_MAIL};
    for (uint32_t i = 0; i < 4; i++) {
        open_hold(contacts[i % 2]);
        holding_offer(&world, i / 2 == 1);
        holding_hello(&world, client);
        begin_message();
        lose_connections();
        assert_int_equal(client->len, 0);
        end_message("250 2.0.0 taken\r\n");
        const char *data = i / 2 == 1 ? "" : "2 DATA\r\n";
        char said[256];
        (void)snprintf(said, sizeof(said), "1 " MAIL "1 " RCPT "2 " MAIL "2 " RCPT "%s", data);
        holding_expect_said(&world, said);
        assert_int_equal(model->messages, 1);
        holding_close(&world);
    }
}

/* With contact = connect the client's own upstream is the only one. */
static void test_bound_connection_lost_is_451(void **state)
{
    (void)state;
    open_hold(CONTACT_CONNECT);
    holding_hello(&world, client);
    begin_message();
    holding_pass_time(&world, 3 * HOLD_MS); /* it is not given back */
    assert_non_null(weir_session(world.talk.weir)->lease);
    lose_connections();
    end_message("451 4.4.1 no upstream server can be reached\r\n");
    assert_int_equal(model->connections, 1);
    assert_int_equal(model->begun, 0);
    holding_close(&world);
}

static uint32_t drops;

static const char *drop_at_mail(struct model *of, struct model_conn *conn, enum model_stage stage,
                                const char *line, uint32_t len)
{
    (void)of;
    (void)conn;
    (void)line;
    (void)len;
    return stage == STAGE_MAIL && drops > 0 ? (drops--, MODEL_DROP) : NULL;
}

/* A pooled connection may be dead: it is replaced, once. */
static void test_dead_pooled_connection_is_replaced_once(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 2; i++) {
        open_hold(CONTACT_RCPT);
        holding_hello(&world, client);
        begin_message();
        holding_pass_time(&world, HOLD_MS);
        assert_int_equal(world.talk.weir->worker->idle_count[0][0], 1);
        model->script = drop_at_mail;
        drops = i;
        end_message(i == 1 ? "250 2.0.0 taken\r\n"
                           : "451 4.4.1 no upstream server can be reached\r\n");
        assert_int_equal(model->connections, 2);
        assert_int_equal(model->begun, i == 1 ? 1 : 0);
        holding_close(&world);
    }
}

static void test_no_server_for_the_second_time_is_451(void **state)
{
    (void)state;
    static const enum sim_connect hows[] = {SIM_CONNECT_REFUSED, SIM_CONNECT_SILENT};
    for (uint32_t i = 0; i < 2; i++) {
        open_hold(CONTACT_RCPT);
        holding_hello(&world, client);
        begin_message();
        lose_connections();
        sim_set_connect(world.talk.weir->sim, world.talk.weir->listener, hows[i], 0);
        say(client, "\r\n.\r\n");
        expect_reply(client, "451 4.4.1 no upstream server can be reached\r\n");
        assert_true(client->waited_ms <= 10 * 1000 + 100); /* connect_timeout */
        sim_set_connect(world.talk.weir->sim, world.talk.weir->listener, SIM_CONNECT_OK, 0);
        begin_message();
        end_message("250 2.0.0 taken\r\n");
        holding_close(&world);
    }
}

/* Every server's `max` is taken by others: the message waits, and is told so at last. */
static void test_full_server_for_the_second_time_is_451(void **state)
{
    (void)state;
    static struct client other;
    open_hold(CONTACT_RCPT);
    world.talk.weir->config.upstreams[0].servers[0].max = 1;
    holding_hello(&world, client);
    begin_message();
    holding_pass_time(&world, HOLD_MS);
    holding_hello(&world, &other);
    expect(&other, "MAIL FROM:<a@example.com>", "250 ");
    expect(&other, "RCPT TO:<b@example.net>", "250 ");
    say(client, "\r\n.\r\n");
    expect_reply(client, "451 4.3.2 all upstream connections are in use\r\n");
    assert_int_equal(model->begun, 0);
    client_close(&other);
    holding_close(&world);
}

/* What the message needs, the server has no more. */
static void test_server_that_lacks_it_by_now_is_451(void **state)
{
    (void)state;
    open_hold(CONTACT_RCPT);
    holding_hello(&world, client);
    expect(client, "MAIL FROM:<a@example.com> BODY=8BITMIME", "250 ");
    expect(client, "RCPT TO:<b@example.net>", "250 ");
    expect(client, "DATA", "354 ");
    model->ehlo = "250 up.example\r\n";
    lose_connections();
    expect(client, "x: y\r\n\r\n.", "451 4.4.1 no upstream server can be reached\r\n");
    assert_int_equal(model->begun, 0);
    holding_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_client_gives_its_lease_back),
        cmocka_unit_test(test_dripping_client_does_not_keep_it),
        cmocka_unit_test(test_stream_gives_it_back_before_the_header_only),
        cmocka_unit_test(test_envelope_is_repeated_with_its_parameters),
        cmocka_unit_test(test_thousand_recipients_are_repeated),
        cmocka_unit_test(test_other_answers_the_second_time_are_451),
        cmocka_unit_test(test_connection_lost_meanwhile_is_no_loss),
        cmocka_unit_test(test_bound_connection_lost_is_451),
        cmocka_unit_test(test_dead_pooled_connection_is_replaced_once),
        cmocka_unit_test(test_no_server_for_the_second_time_is_451),
        cmocka_unit_test(test_full_server_for_the_second_time_is_451),
        cmocka_unit_test(test_server_that_lacks_it_by_now_is_451),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
