/*
 * test_gather - a short message that goes over whole with BDAT, and what becomes of one that does
 * not: too long, too slow, refused, cut, its upstream lost. One test a rule; every edge of the
 * states GATHER and OPEN. Messages that are checked never get there: test_hold has the same rules for
 * them.
 */
#include "core/session.h"
#include "test/sim/dialogue.h"

enum { LONG = 30000, MESSAGE_MAX = 32768, LEAD = 12 };

static struct dialogue world; /* 10 MB, used by one test after the other */
static char message[MESSAGE_MAX];

/* The upstream offers CHUNKING, and nothing is checked. */
static void open_gathering_world(enum config_contact contact)
{
    struct weir_options options = usual_options(contact);
    options.unchecked = true;
    open_world_with(&world, &options);
    world.model.ehlo = "250-up.example\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
}

static void open_gathering_session(enum config_contact contact)
{
    open_gathering_world(contact);
    say_hello(&world, &world.client);
}

static enum session_state state_now(void)
{
    return (enum session_state)weir_session(world.weir)->state;
}

static void pass_time(int64_t ms)
{
    sim_advance(world.weir->sim, ms);
    client_settle(&world.client);
}

/* `len` octets in lines of 50, some of them with a stuffed dot, as they are sent. */
static void make_message(uint32_t len, char *out)
{
    for (uint32_t i = 0; i < len; i++) {
        uint32_t column = i % 50;
        out[i] = column == 48 ? '\r' : column == 49 ? '\n' : (char)('a' + i % 7);
        out[i] = column < 2 && i % 3 != 0 && i + 2 < len && i / 50 % 3 == 0 ? '.' : out[i];
    }
    if (len >= 2) {
        memcpy(out + len - 2, "\r\n", 2);
    }
    if (len >= 4 && out[len - 3] == '\r') {
        out[len - 3] = 'x'; /* the last line's length is by chance */
    }
}

static void send_all(const char *bytes, uint32_t len)
{
    assert_true(client_send(&world.client, bytes, len));
    client_settle(&world.client);
}

static void expect_arrived(const char *sent, uint32_t len)
{
    assert_true(world.model.last_len >= len);
    assert_memory_equal(world.model.last + world.model.last_len - len, sent, len);
    assert_memory_equal(weir_behind_results(world.model.last), "Received: ", 10);
}

/* In pieces of `piece` bytes, the end-of-data with the last ones. */
static void deliver_pieces(uint32_t len, uint32_t piece)
{
    uint32_t messages = world.model.messages;
    uint32_t end = len + 3;
    memcpy(message + len, ".\r\n", 3);
    say_envelope(&world.client);
    for (uint32_t at = 0; at < end; at += piece) {
        send_all(message + at, piece < end - at ? piece : end - at);
    }
    expect_reply(&world.client, "250 2.0.0 taken\r\n");
    assert_int_equal(world.client.waited_ms, 0);
    assert_int_equal(world.model.messages, messages + 1);
    expect_arrived(message, len);
}

/* ---- whole ---- */

static void test_short_message_goes_whole(void **state)
{
    (void)state;
    static const enum config_contact contacts[] = {CONTACT_RCPT, CONTACT_MAIL, CONTACT_CONNECT};
    for (uint32_t i = 0; i < 3; i++) {
        open_gathering_session(contacts[i]);
        deliver(&world.client);
        deliver(&world.client);
        assert_int_equal(world.model.chunks, 2);
        assert_int_equal(world.datas, 0);
        assert_int_equal(world.resets, 0);
        assert_int_equal(world.model.connections, 1);
        close_world(&world);
    }
}

static void test_off_means_data(void **state)
{
    (void)state;
    open_gathering_world(CONTACT_RCPT);
    world.weir->config.upstreams[0].chunking = CHUNKING_OFF;
    world.model.ehlo = "250-up.example\r\n250 CHUNKING\r\n";
    say_hello(&world, &world.client);
    deliver(&world.client);
    assert_int_equal(world.model.chunks, 0);
    assert_int_equal(world.datas, 1);
    close_world(&world);
}

/* Every length around the bounds of a window arrives octet for octet, whichever way it takes. */
static void test_every_length_arrives(void **state)
{
    (void)state;
    static const uint32_t around[] = {8, 7100, 8192, 15360, 16384, 24576};
    uint32_t chunks = 0;
    uint32_t datas = 0;
    for (uint32_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
        open_gathering_session(CONTACT_RCPT);
        world.weir->config.received_header = true;
        for (uint32_t len = around[i] - 5; len < around[i] + 10; len++) {
            make_message(len, message);
            deliver_pieces(len, MESSAGE_MAX);
            deliver_pieces(len, 5000);
        }
        chunks += world.model.chunks;
        datas += world.datas;
        close_world(&world);
    }
    print_message("%u with BDAT, %u with DATA\n", chunks, datas);
    assert_int_equal(chunks, 108); /* one receive of 16 KiB, or 5000 bytes and another */
    assert_int_equal(datas, 72);
}

static void test_empty_message(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        open_gathering_session(CONTACT_RCPT);
        world.weir->config.received_header = i == 0;
        say_envelope(&world.client);
        expect(&world.client, ".", "250 2.0.0 taken\r\n");
        assert_int_equal(world.model.chunks, 1);
        assert_int_equal(world.model.last_len > 0, i == 0); /* BDAT 0 LAST */
        close_world(&world);
    }
}

static void test_what_stands_behind_is_the_next_command(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    say_envelope(&world.client);
    say(&world.client, "x: y\r\n\r\n..b\r\n.\r\nNOOP\r\nVRFY x\r\n");
    expect_reply(&world.client, "250 2.0.0 taken\r\n");
    expect_reply(&world.client, "250 2.0.0 ok\r\n");
    expect_reply(&world.client, "252 ");
    expect_arrived("x: y\r\n\r\n..b\r\n", 13);
    close_world(&world);
}

static void test_message_that_came_with_data(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    say(&world.client, "MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nx: y\r\n\r\n.\r\nNOOP\r\n");
    expect_reply(&world.client, "250 ");
    expect_reply(&world.client, "250 ");
    expect_reply(&world.client, "354 ");
    expect_reply(&world.client, "250 2.0.0 taken\r\n");
    expect_reply(&world.client, "250 2.0.0 ok\r\n");
    assert_int_equal(world.model.chunks, 1);
    close_world(&world);
}

/* ---- refused: the upstream has had nothing of it ---- */

static void test_refused_message_costs_no_connection(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *reply;
    } rows[] = {
        {"x: y\r\n\r\na\rb\r\n.", "550 5.5.2 "},
        {"x: y\r\n\r\na\nb\r\n.", "550 5.5.2 "},
        {"x: y\r\n\r\n0123456789012345678901234567890123456789\r\n.", "552 5.3.4 "},
    };
    for (uint32_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        open_gathering_session(i % 2 == 0 ? CONTACT_RCPT : CONTACT_CONNECT);
        world.weir->config.message_size = 40;
        say_envelope(&world.client);
        expect(&world.client, rows[i / 2].body, rows[i / 2].reply);
        deliver(&world.client);
        assert_int_equal(world.resets, 1);
        assert_int_equal(world.model.connections, 1);
        assert_int_equal(world.model.messages, 1);
        close_world(&world);
    }
}

static void test_loop_is_refused(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    say_envelope(&world.client);
    for (uint32_t i = 0; i <= TRANSACTION_HOPS_MAX; i++) {
        say(&world.client, "Received: x\r\n");
    }
    expect(&world.client, ".", "554 5.4.6 ");
    assert_int_equal(world.model.messages, 0);
    close_world(&world);
}

/* The rest of a refused message may be long: nobody waits for it with a connection in hand. */
static void test_refused_message_gives_its_lease_back(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    say_envelope(&world.client);
    say(&world.client, "bare\n");
    client_settle(&world.client);
    assert_int_equal(state_now(), SESSION_DISCARD);
    assert_null(weir_session(world.weir)->lease);
    make_message(LONG, message);
    send_all(message, LONG);
    expect(&world.client, ".", "550 5.5.2 ");
    assert_int_equal(world.datas, 0);
    close_world(&world);
}

/* ---- too long, too slow ---- */

static void test_long_message_goes_as_it_comes(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    make_message(LONG, message);
    deliver_pieces(LONG, 4096);
    assert_int_equal(world.model.chunks, 0);
    assert_int_equal(world.datas, 1);
    deliver(&world.client);
    assert_int_equal(world.model.chunks, 1);
    assert_int_equal(world.resets, 0);
    close_world(&world);
}

static void test_slow_message_goes_as_it_comes(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        open_gathering_session(CONTACT_RCPT);
        make_message(1000, message);
        say_envelope(&world.client);
        uint32_t first = i * 400; /* of nothing as well */
        send_all(message, first);
        assert_int_equal(state_now(), SESSION_GATHER);
        pass_time(SESSION_GATHER_MS / 2);
        send_all(message + first, 10); /* a byte now and then does not prolong it */
        assert_int_equal(state_now(), SESSION_GATHER);
        pass_time(SESSION_GATHER_MS / 2);
        assert_int_equal(state_now(), SESSION_BODY);
        send_all(message + first + 10, 990 - first);
        expect(&world.client, ".", "250 2.0.0 taken\r\n");
        expect_arrived(message, 1000);
        assert_int_equal(world.datas, 1);
        close_world(&world);
    }
}

static void test_silent_client_is_left(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    say_envelope(&world.client);
    expect_reply(&world.client, "421 4.4.2 timeout while waiting for the message\r\n");
    assert_true(world.client.waited_ms >= 180 * 1000 && world.client.waited_ms <= 182 * 1000);
    assert_ended(&world);
    assert_int_equal(world.model.messages, 0);
    close_world(&world);
}

static void test_session_time_is_over(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    world.weir->config.session_timeout_ms = SESSION_GATHER_MS / 2;
    say_envelope(&world.client);
    expect_reply(&world.client, "421 4.4.2 timeout while waiting for the message\r\n");
    assert_int_equal(world.datas, 0);
    assert_ended(&world);
    close_world(&world);
}

/* ---- the upstream refuses DATA, or fails, when the client is in its message ---- */

struct open_row {
    const char *answer; /* to DATA */
    const char *reply;  /* behind the end-of-data */
    bool is_kept;       /* the connection */
};

static const struct open_row open_rows[] = {
    {"451 4.0.0 no\r\n", "451 4.0.0 no\r\n", true},
    {"554-5.0.0 no\r\n554 5.0.0 no\r\n", "554-5.0.0 no\r\n554 5.0.0 no\r\n", true},
    {"250 2.0.0 ok\r\n", "451 4.4.2 upstream connection lost\r\n", false},
    {"what?\r\n", "451 4.4.2 upstream connection lost\r\n", false},
    {"354 go on\r\n250 2.0.0 taken\r\n", "451 4.4.2 upstream connection lost\r\n", false},
    {MODEL_DROP, "451 4.4.2 upstream connection lost\r\n", false},
    {MODEL_RESET, "451 4.4.2 upstream connection lost\r\n", false},
};

static void test_data_refused_in_mid_message(void **state)
{
    (void)state;
    static const enum config_contact contacts[] = {CONTACT_RCPT, CONTACT_MAIL, CONTACT_CONNECT};
    make_message(LONG, message);
    for (uint32_t i = 0; i < 3 * sizeof(open_rows) / sizeof(open_rows[0]); i++) {
        const struct open_row *row = &open_rows[i / 3];
        open_gathering_session(contacts[i % 3]);
        say_envelope(&world.client);
        world.stage = STAGE_DATA;
        world.answer = row->answer;
        send_all(message, LONG);
        assert_int_equal(state_now(), SESSION_DISCARD);
        assert_int_equal(world.client.len, 0); /* nothing before the true end */
        expect(&world.client, ".", row->reply);
        world.answer = NULL;
        expect(&world.client, "DATA", "503 5.5.1 ");
        deliver(&world.client);
        assert_int_equal(world.model.messages, 1);
        assert_int_equal(world.model.connections, row->is_kept ? 1 : 2);
        assert_int_equal(world.resets, row->is_kept ? 1 : 0);
        close_world(&world);
    }
}

static void test_421_to_data_ends_the_session(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    make_message(LONG, message);
    say_envelope(&world.client);
    world.stage = STAGE_DATA;
    world.answer = "421 4.3.2 bye\r\n";
    send_all(message, LONG);
    assert_int_equal(world.client.len, 0);
    expect(&world.client, ".", "421 4.3.2 bye\r\n");
    assert_ended(&world);
    close_world(&world);
}

static void test_data_unanswered(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    make_message(LONG, message);
    say_envelope(&world.client);
    world.stage = STAGE_DATA;
    world.answer = MODEL_SILENT;
    send_all(message, 20000);
    assert_int_equal(state_now(), SESSION_OPEN);
    say(&world.client, "\r\n.\r\n");
    expect_reply(&world.client, "451 4.4.2 ");
    assert_true(world.client.waited_ms >= 120 * 1000 && world.client.waited_ms <= 121 * 1000);
    close_world(&world);
}

/* Ends or speaks while it owes nothing and the client sends. */
static void test_upstream_lost_while_gathering(void **state)
{
    (void)state;
    static const char *const says[] = {"", "250 2.0.0 taken\r\n", "421 4.4.2 bye\r\n", "5", "x"};
    for (uint32_t i = 0; i < 2 * sizeof(says) / sizeof(says[0]); i++) {
        open_gathering_session(i % 2 == 0 ? CONTACT_RCPT : CONTACT_CONNECT);
        say_envelope(&world.client);
        say(&world.client, "x: y\r\n");
        client_settle(&world.client);
        struct model_conn *conn = &world.model.conns[0];
        (void)sim_write(world.weir->sim, conn->fd, says[i / 2], (uint32_t)strlen(says[i / 2]));
        if (says[i / 2][0] == '\0') {
            sim_close(world.weir->sim, conn->fd);
            conn->fd = -1;
        }
        client_settle(&world.client);
        assert_int_equal(state_now(), SESSION_DISCARD);
        assert_int_equal(world.client.len, 0);
        expect(&world.client, "\r\nbody\r\n.", "451 4.4.2 upstream connection lost\r\n");
        deliver(&world.client);
        assert_int_equal(world.model.connections, 2);
        close_world(&world);
    }
}

/* ---- the client ends ---- */

/* The next client's message goes over the same connection, or over a new one. */
static void next_client_delivers(uint32_t connections, uint32_t resets)
{
    client_settle(&world.client);
    assert_int_equal(world.model.messages, 0);
    say_hello(&world, &world.client);
    deliver(&world.client);
    assert_int_equal(world.model.connections, connections);
    assert_int_equal(world.resets, resets);
    close_world(&world);
}

static void test_client_that_vanishes_costs_no_connection(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        open_gathering_session(CONTACT_RCPT);
        say_envelope(&world.client);
        send_all("x: y\r\n\r\nbody\r\n", i == 0 ? 0 : LEAD);
        if (i == 2) {
            sim_eof(world.weir->sim, world.client.fd);
            assert_ended(&world);
        }
        client_close(&world.client);
        next_client_delivers(1, 1);
    }
}

static void test_client_that_vanishes_while_data_is_open(void **state)
{
    (void)state;
    open_gathering_session(CONTACT_RCPT);
    make_message(LONG, message);
    say_envelope(&world.client);
    world.stage = STAGE_DATA;
    world.answer = "";
    send_all(message, LONG);
    assert_int_equal(state_now(), SESSION_OPEN);
    client_close(&world.client);
    client_settle(&world.client);
    world.model.conns[0].in_data = true;
    (void)sim_write(world.weir->sim, world.model.conns[0].fd, "354 go on\r\n", 11);
    world.answer = NULL;
    next_client_delivers(2, 0);
}

static void test_stop_while_gathering(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        open_gathering_session(CONTACT_RCPT);
        make_message(LONG, message);
        say_envelope(&world.client);
        world.stage = STAGE_DATA;
        world.answer = MODEL_SILENT;
        send_all(message, i == 0 ? 100 : LONG);
        assert_int_equal(state_now(), i == 0 ? SESSION_GATHER : SESSION_OPEN);
        worker_ask(world.weir->worker, WORKER_STOPPING);
        expect_reply(&world.client, "421 4.3.2 shutting down\r\n");
        assert_ended(&world);
        assert_int_equal(world.model.messages, 0);
        close_world(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_message_goes_whole),
        cmocka_unit_test(test_off_means_data),
        cmocka_unit_test(test_every_length_arrives),
        cmocka_unit_test(test_empty_message),
        cmocka_unit_test(test_what_stands_behind_is_the_next_command),
        cmocka_unit_test(test_message_that_came_with_data),
        cmocka_unit_test(test_refused_message_costs_no_connection),
        cmocka_unit_test(test_loop_is_refused),
        cmocka_unit_test(test_refused_message_gives_its_lease_back),
        cmocka_unit_test(test_long_message_goes_as_it_comes),
        cmocka_unit_test(test_slow_message_goes_as_it_comes),
        cmocka_unit_test(test_silent_client_is_left),
        cmocka_unit_test(test_session_time_is_over),
        cmocka_unit_test(test_data_refused_in_mid_message),
        cmocka_unit_test(test_421_to_data_ends_the_session),
        cmocka_unit_test(test_data_unanswered),
        cmocka_unit_test(test_upstream_lost_while_gathering),
        cmocka_unit_test(test_client_that_vanishes_costs_no_connection),
        cmocka_unit_test(test_client_that_vanishes_while_data_is_open),
        cmocka_unit_test(test_stop_while_gathering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
