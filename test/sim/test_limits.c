/*
 * test_limits - what cheap input gets: every [limits] key, every wait of a client, every growth.
 *
 * One test a rule, on the virtual clock. Where memory is bounded, the receive buffers and chunks in
 * use are looked at after every turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/message.h"
#include "core/session.h"
#include "test/sim/dialogue.h"

enum {
    SESSION_MEMORY_MAX =
        6 * STREAM_CHUNK_SIZE, /* two lent buffers and two chunks a side, at most */
    ENVELOPE_MEMORY_MAX = 8 * STREAM_CHUNK_SIZE, /* a thousand recipients for the record */
    RECORD_TEXT_MAX = 128,
    CHUNKS_MAX = 20000,
};

static struct dialogue world; /* 10 MB, used by one test after the other */

/* A held message has its blocks: what the operator gives it, two that are on their way to the file. */
static uint64_t session_memory_max(void)
{
    if (!weir_is_checking(world.weir)) {
        return SESSION_MEMORY_MAX;
    }
    uint64_t held = weir_is_streaming(world.weir) ? 2 * BUF_SIZE : world.weir->config.hold_memory;
    return SESSION_MEMORY_MAX + held + 2 * MESSAGE_BLOCK_SIZE;
}

static void assert_waited(int64_t ms)
{
    assert_true(world.client.waited_ms >= ms);
    assert_true(world.client.waited_ms < ms + 1000);
}

/* Sends `text` over and over, reading what comes, until `total` bytes are sent or the session ends.
 * Complete replies are counted by their first digit. */
struct tally {
    uint64_t sent;
    uint32_t by_class[6];
    int last;
};

static void take_replies(struct tally *tally)
{
    while (client_find_reply(world.client.bytes, world.client.len) > 0) {
        tally->last = client_reply(&world.client);
        tally->by_class[tally->last / 100]++;
    }
}

static void flood(const char *text, uint64_t times, struct tally *tally)
{
    uint32_t len = (uint32_t)strlen(text);
    *tally = (struct tally){0};
    while (tally->sent < times && !world.client.ended) {
        while (tally->sent < times && sim_room(world.weir->sim, world.client.fd) >= len &&
               client_send(&world.client, text, len)) {
            tally->sent++;
        }
        client_settle(&world.client);
        take_replies(tally);
    }
}

/* ---- lines and commands ---- */

static void test_endless_line_gets_one_500(void **state)
{
    (void)state;
    struct tally tally;
    open_session(&world, CONTACT_RCPT);
    flood("0123456789abcdef", 1 << 16, &tally); /* 1 MB */
    assert_int_equal(tally.sent, 1 << 16);
    assert_int_equal(tally.by_class[5], 1);
    assert_memory_equal(world.client.text, "500 5.5.2 line too long\r\n", 25);
    assert_true(world.memory_max <= session_memory_max());
    say(&world.client, "\r\n");
    expect(&world.client, "NOOP", "250 2.0.0 ok\r\n");
    deliver(&world.client);
    close_world(&world);
}

static void test_endless_line_of_nul_gets_one_500(void **state)
{
    (void)state;
    char nul[4096] = {0};
    open_session(&world, CONTACT_RCPT);
    for (int i = 0; i < 256; i++) {
        assert_true(client_send(&world.client, nul, sizeof(nul)));
        client_settle(&world.client);
    }
    expect_reply(&world.client, "500 5.5.2 only CRLF ends a line");
    assert_int_equal(world.client.len, 0);
    assert_true(world.memory_max <= session_memory_max());
    say(&world.client, "\r\n");
    expect(&world.client, "NOOP", "250 ");
    close_world(&world);
}

static void test_pipelined_noops_end_at_commands(void **state)
{
    (void)state;
    struct tally tally;
    open_session(&world, CONTACT_RCPT);
    flood("NOOP\r\n", 100000, &tally);
    assert_int_equal(tally.by_class[2], 999); /* and EHLO */
    assert_int_equal(tally.by_class[4], 1);
    assert_string_equal(world.client.text, "421 4.7.0 too many commands\r\n");
    assert_true(world.memory_max <= session_memory_max());
    assert_ended(&world);
    close_world(&world);
}

static void test_commands_count_from_the_last_delivered_message(void **state)
{
    (void)state;
    open_world(&world, CONTACT_RCPT);
    world.weir->config.commands = 8;
    say_hello(&world, &world.client);
    for (int i = 0; i < 20; i++) {
        deliver(&world.client);
        expect(&world.client, "NOOP", "250 ");
    }
    for (int i = 0; i < 7; i++) {
        expect(&world.client, "RSET", "250 ");
    }
    expect(&world.client, "NOOP", "421 4.7.0 too many commands\r\n");
    assert_ended(&world);
    close_world(&world);
}

/* Also when it has to wait for a connection, and when it was accepted. */
static void test_recipient_is_one_command(void **state)
{
    (void)state;
    open_world(&world, CONTACT_RCPT);
    world.weir->config.commands = 3;
    say_hello(&world, &world.client);
    deliver(&world.client);
    close_world(&world);
}

static void test_errors_end_with_421(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    for (int i = 0; i < 20; i++) {
        expect(&world.client, i % 2 == 0 ? "FOO" : "RCPT TO:<b@example.org>", "50");
    }
    expect_reply(&world.client, "421 4.7.0 too many errors\r\n");
    assert_ended(&world);
    close_world(&world);
}

static void test_upstream_refusals_are_no_errors(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    world.stage = STAGE_RCPT;
    world.answer = "550 5.1.1 nobody\r\n";
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    for (int i = 0; i < 50; i++) {
        expect(&world.client, "RCPT TO:<b@example.org>", "550 5.1.1 nobody\r\n");
    }
    world.answer = NULL;
    expect(&world.client, "RCPT TO:<b@example.org>", "250 ");
    close_world(&world);
}

static void test_http_request_is_dropped(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    say(&world.client, "GET / HTTP/1.1\r\nHost: evil\r\n\r\nMAIL FROM:<a@b>\r\n");
    expect_reply(&world.client, "554 5.5.1 ");
    assert_ended(&world);
    close_world(&world);
}

static void test_nothing_is_heard_behind_quit(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    say(&world.client, "QUIT\r\nNOOP\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n");
    expect_reply(&world.client, "221 2.0.0 bye\r\n");
    assert_ended(&world);
    assert_int_equal(world.model.connections, 0);
    close_world(&world);
}

/* ---- recipients ---- */

static void test_recipients_get_452(void **state)
{
    (void)state;
    open_world(&world, CONTACT_RCPT);
    world.weir->config.recipients = 3;
    say_hello(&world, &world.client);
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    for (int i = 0; i < 3; i++) {
        expect(&world.client, "RCPT TO:<b@example.org>", "250 2.1.5 ok\r\n");
    }
    expect(&world.client, "RCPT TO:<b@example.org>", "452 4.5.3 ");
    expect(&world.client, "RCPT TO:<b@example.org>", "452 4.5.3 ");
    assert_int_equal(world.rcpts, 3);
    expect(&world.client, "DATA", "354 ");
    expect(&world.client, "x: y\r\n\r\n.", "250 2.0.0 taken\r\n");
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    expect(&world.client, "RCPT TO:<b@example.org>", "250 2.1.5 ok\r\n");
    close_world(&world);
}

static void test_endless_recipients_end_at_their_limits(void **state)
{
    (void)state;
    struct tally tally;
    open_session(&world, CONTACT_RCPT);
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    flood("RCPT TO:<somebody-with-a-long-name@a-long-domain.example.org>\r\n", 100000, &tally);
    assert_int_equal(tally.by_class[2], 1000);
    assert_int_equal(world.rcpts, 1000);
    assert_true(tally.by_class[4] > 1 && tally.by_class[4] <= 1000); /* 452, and 421 at last */
    assert_string_equal(world.client.text, "421 4.7.0 too many commands\r\n");
    assert_true(world.memory_max <= session_memory_max() + ENVELOPE_MEMORY_MAX);
    assert_ended(&world);
    close_world(&world);
}

static void test_data_without_a_recipient_is_no_success(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    expect(&world.client, "DATA", "503 5.5.1 ");
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    expect(&world.client, "DATA", "554 5.5.1 ");
    world.stage = STAGE_RCPT;
    world.answer = "450 4.2.1 later\r\n";
    say(&world.client, "RCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
    expect_reply(&world.client, "450 4.2.1 later\r\n");
    expect_reply(&world.client, "450 4.2.1 later\r\n");
    expect_reply(&world.client, "554 5.5.1 ");
    world.answer = NULL;
    expect(&world.client, "RCPT TO:<b@example.org>", "250 ");
    expect(&world.client, "DATA", "354 ");
    close_world(&world);
}

/* ---- size and loops ---- */

static void test_declared_size_gets_552_at_mail(void **state)
{
    (void)state;
    open_world(&world, CONTACT_RCPT);
    world.weir->config.message_size = 1000;
    say_hello(&world, &world.client);
    expect(&world.client, "MAIL FROM:<a@example.org> SIZE=1001", "552 5.3.4 ");
    expect(&world.client, "RCPT TO:<b@example.org>", "503 5.5.1 ");
    expect(&world.client, "MAIL FROM:<a@example.org> SIZE=99999999999999999999", "552 5.3.4 ");
    expect(&world.client, "MAIL FROM:<a@example.org> SIZE=1000", "250 ");
    close_world(&world);
}

/* A header, and lines up to `size` octets. */
static void send_message(uint32_t size)
{
    say(&world.client, "Subject: x\r\n\r\n");
    uint32_t rest = size - 14;
    while (rest > 0) {
        uint32_t line = rest >= 102 ? 100 : rest;
        char text[RECORD_TEXT_MAX];
        memset(text, 'x', line);
        memcpy(text + line - 2, "\r\n", 2);
        assert_true(client_send(&world.client, text, line));
        rest -= line;
        client_settle(&world.client);
    }
}

static void try_size(uint32_t size, const char *begins, uint32_t messages)
{
    uint32_t before = world.model.messages;
    say_envelope(&world.client);
    send_message(size);
    assert_int_equal(world.client.len, 0); /* no word before the end */
    expect(&world.client, ".", begins);
    assert_int_equal(world.model.messages, before + messages);
}

static void test_message_size_gets_552_behind_the_true_end(void **state)
{
    (void)state;
    open_world(&world, CONTACT_RCPT);
    world.weir->config.message_size = 1000;
    say_hello(&world, &world.client);
    try_size(1000, "250 2.0.0 taken\r\n", 1);
    try_size(1001, "552 5.3.4 ", 0);
    expect(&world.client, "RCPT TO:<b@example.org>", "503 5.5.1 ");
    try_size(60000, "552 5.3.4 ", 0);
    expect(&world.client, "DATA", "503 5.5.1 ");
    try_size(1000, "250 2.0.0 taken\r\n", 1);
    assert_true(world.memory_max <= session_memory_max());
    close_world(&world);
}

/* The end-of-data is looked for behind the limit as strictly as before it. */
static void test_bad_dot_behind_the_size_limit_is_no_end(void **state)
{
    (void)state;
    open_world(&world, CONTACT_RCPT);
    world.weir->config.message_size = 1000;
    say_hello(&world, &world.client);
    say_envelope(&world.client);
    send_message(2000);
    say(&world.client, "x\n.\r\nMAIL FROM:<evil@example.org>\r\nx\r\n.\nNOOP\r\n");
    client_settle(&world.client);
    assert_int_equal(world.client.len, 0);
    expect(&world.client, ".", "552 5.3.4 ");
    expect(&world.client, "NOOP", "250 ");
    assert_int_equal(world.model.messages, 0);
    close_world(&world);
}

static void try_hops(uint32_t hops, const char *begins)
{
    say_envelope(&world.client);
    for (uint32_t i = 0; i < hops; i++) {
        say(&world.client, i % 2 == 0 ? "Received: from a\r\n by b\r\n" : "rEcEiVeD: x\r\n");
    }
    say(&world.client, "Subject: x\r\n\r\nReceived: this is body\r\n");
    client_settle(&world.client);
    assert_int_equal(world.client.len, 0);
    expect(&world.client, ".", begins);
}

static void test_more_than_50_received_fields_are_a_loop(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    try_hops(50, "250 2.0.0 taken\r\n");
    try_hops(51, "554 5.4.6 ");
    expect(&world.client, "RCPT TO:<b@example.org>", "503 5.5.1 ");
    try_hops(300, "554 5.4.6 ");
    assert_int_equal(world.model.messages, 1);
    deliver(&world.client);
    close_world(&world);
}

/* A message of endless short lines, header or body. */
static void flood_message(const char *line, const char *begins)
{
    struct tally tally;
    world.stage = STAGE_BODY;
    flood(line, 1000000, &tally);
    assert_int_equal(tally.sent, 1000000);
    client_settle(&world.client);
    assert_int_equal(world.client.len, 0); /* no word before the end */
    (void)client_command(&world.client, ".");
    assert_int_equal(world.client.waited_ms, 0);
    assert_memory_equal(world.client.text, begins, strlen(begins));
    assert_true(world.memory_max <= session_memory_max());
}

/* What is checked has a header that fits in memory. */
static void test_million_header_fields_pass_in_bounded_memory(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    say_envelope(&world.client);
    if (weir_is_checking(world.weir)) {
        flood_message("A: b\r\n", "552 5.3.4 message header exceeds fixed limit\r\n");
        assert_int_equal(world.model.begun, 0);
    } else {
        flood_message("A: b\r\n", "250 2.0.0 sunk\r\n");
        assert_true(world.sunk > 6000000);
    }
    close_world(&world);
}

static void test_million_body_lines_pass_in_bounded_memory(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    say_envelope(&world.client);
    say(&world.client, "Subject: x\r\n\r\n");
    flood_message("..bcd\r\n", "250 2.0.0 sunk\r\n");
    assert_true(world.sunk > 7000000);
    close_world(&world);
}

/* ---- time ---- */

static void test_command_timeout(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    say(&world.client, "NOO"); /* half a command is none */
    expect_reply(&world.client, "421 4.4.2 ");
    assert_waited(300 * 1000);
    assert_ended(&world);
    close_world(&world);
}

static void test_command_timeout_inside_a_transaction(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    expect(&world.client, "RCPT TO:<b@example.org>", "250 ");
    expect_reply(&world.client, "421 4.4.2 ");
    assert_waited(300 * 1000);
    assert_ended(&world);
    close_world(&world);
}

static void try_data_timeout(const char *text)
{
    open_session(&world, CONTACT_RCPT);
    say_envelope(&world.client);
    say(&world.client, text);
    expect_reply(&world.client, "421 4.4.2 ");
    assert_waited(180 * 1000);
    assert_ended(&world);
    assert_int_equal(world.model.messages, 0);
    client_close(&world.client);
    say_hello(&world, &world.client); /* the next one does not get the connection in this state */
    deliver(&world.client);
    close_world(&world);
}

static void test_data_timeout(void **state)
{
    (void)state;
    try_data_timeout("Subject: x\r\n\r\nthis is not the e\r\n.\r");
    try_data_timeout("");
    try_data_timeout("refused, for a bare LF\n and still not at its end\r\n"); /* DISCARD */
}

static void test_session_timeout_between_commands(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    int64_t begun_ms = sim_now_ms(world.weir->sim);
    int code = 250;
    while (code == 250) {
        sim_advance(world.weir->sim, 200 * 1000);
        client_settle(&world.client);
        code = client_command(&world.client, "NOOP");
    }
    assert_memory_equal(world.client.text, "421 4.4.2 ", 10);
    int64_t lasted_ms = sim_now_ms(world.weir->sim) - begun_ms;
    assert_true(lasted_ms >= 3600 * 1000 && lasted_ms <= 3800 * 1000);
    assert_ended(&world);
    close_world(&world);
}

static void test_session_timeout_ends_a_message_in_drops(void **state)
{
    (void)state;
    open_session(&world, CONTACT_RCPT);
    say_envelope(&world.client);
    int64_t begun_ms = sim_now_ms(world.weir->sim);
    while (!world.client.ended && sim_now_ms(world.weir->sim) - begun_ms < 7200 * 1000) {
        (void)client_send(&world.client, "x", 1); /* may be ended by now */
        sim_advance(world.weir->sim, 100 * 1000);
        client_settle(&world.client);
    }
    int64_t lasted_ms = sim_now_ms(world.weir->sim) - begun_ms;
    assert_true(lasted_ms >= 3600 * 1000 && lasted_ms <= 3800 * 1000);
    expect_reply(&world.client, "421 4.4.2 ");
    assert_int_equal(world.model.messages, 0);
    close_world(&world);
}

static void test_greet_delay(void **state)
{
    (void)state;
    open_world(&world, CONTACT_RCPT);
    world.weir->config.listeners[0].greet_delay_ms = 5000;
    open_client(&world, &world.client);
    expect_reply(&world.client, "220 ");
    assert_waited(5000);
    client_close(&world.client);
    open_client(&world, &world.client);
    client_settle(&world.client);
    say(&world.client, "E");
    expect_reply(&world.client, "554 5.5.1 ");
    assert_true(world.client.waited_ms < 5000);
    assert_ended(&world);
    close_world(&world);
}

/* ---- clients that do not read ---- */

static void try_deaf_client(const char *text, const char *text_again)
{
    open_session(&world, CONTACT_RCPT);
    struct client *client = &world.client;
    say(client, text);
    client_settle(client);
    sim_set_queue(world.weir->sim, client->fd, 1);
    int fd = client->fd;
    client->fd = -1; /* from here on nobody reads */
    for (int i = 0; i < 100000; i++) {
        if (sim_room(world.weir->sim, fd) < strlen(text_again)) {
            break;
        }
        (void)sim_write(world.weir->sim, fd, text_again, (uint32_t)strlen(text_again));
        client_settle(client);
    }
    int64_t begun_ms = sim_now_ms(world.weir->sim);
    while (world.weir->worker->sessions.used > 0) {
        assert_true(sim_now_ms(world.weir->sim) - begun_ms < 400 * 1000);
        weir_wait(world.weir);
        client_settle(client);
    }
    assert_true(sim_now_ms(world.weir->sim) - begun_ms >= 300 * 1000);
    assert_true(world.memory_max <= session_memory_max());
    sim_close(world.weir->sim, fd);
    client->len = 0;
    close_world(&world);
}

static void test_client_that_does_not_read_is_ended(void **state)
{
    (void)state;
    try_deaf_client("NOOP\r\n", "NOOP\r\nNOOP\r\nNOOP\r\n");
    try_deaf_client("MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.org>\r\n");
}

/* ---- many at once ---- */

enum { CROWD = 8 };

/* Each client of a crowd has a command at an upstream that takes its time. */
static void test_waiting_for_the_upstream_costs_a_buffer_and_a_chunk(void **state)
{
    (void)state;
    static struct client crowd[CROWD];
    open_world(&world, CONTACT_RCPT);
    world.stage = STAGE_RCPT;
    world.answer = "";
    for (uint32_t i = 0; i < CROWD; i++) {
        say_hello(&world, &crowd[i]);
        expect(&crowd[i], "MAIL FROM:<a@example.org>", "250 ");
        say(&crowd[i], "RCPT TO:<b@example.org>\r\n");
        client_settle(&crowd[i]);
    }
    assert_int_equal(world.rcpts, CROWD);
    assert_true(weir_memory(world.weir) <= (uint64_t)CROWD * 2 * STREAM_CHUNK_SIZE);
    for (uint32_t i = 0; i < CROWD; i++) {
        client_close(&crowd[i]);
    }
    client_settle(&crowd[0]);
    client_open(&world.client, world.weir, &world.model);
    expect_reply(&world.client, "220 ");
    close_world(&world);
}

/* The reply to a message finds no chunk, the one to the next command would: a client must not take that
 * for the other. */
static void test_no_reply_is_given_behind_one_that_found_no_memory(void **state)
{
    (void)state;
    static void *taken[CHUNKS_MAX];
    uint32_t count = 0;
    struct weir_options options = usual_options(CONTACT_MAIL);
    options.pool_idle = 0;
    open_world_with(&world, &options);
    say_hello(&world, &world.client);
    expect(&world.client, "MAIL FROM:<a@example.org>", "250 ");
    for (uint32_t i = 0; i < 600; i++) { /* some chunks, which are free again behind the message */
        expect(&world.client,
               "RCPT TO:<a-long-name-that-takes-its-room-in-the-envelope@example.org>", "250 ");
    }
    expect(&world.client, "DATA", "354 ");
    world.stage = STAGE_EOM;
    world.answer = "";
    say(&world.client, "x: y\r\n\r\n.\r\nMAIL FROM:<c@example.org>\r\n");
    client_settle(&world.client);
    struct pool *chunks = &world.weir->worker->chunks;
    while (count < CHUNKS_MAX && (taken[count] = pool_get(chunks)) != NULL) {
        count++;
    }
    assert_true(count < CHUNKS_MAX);
    sim_set_connect(world.weir->sim, world.weir->listener, SIM_CONNECT_OK, 1000);
    assert_int_equal(sim_write(world.weir->sim, world.model.conns[0].fd, "451 4.3.0 no\r\n", 14),
                     14);
    client_settle(&world.client);
    while (count > 0) {
        pool_put(chunks, taken[--count]);
    }
    assert_ended(&world);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endless_line_gets_one_500),
        cmocka_unit_test(test_endless_line_of_nul_gets_one_500),
        cmocka_unit_test(test_pipelined_noops_end_at_commands),
        cmocka_unit_test(test_commands_count_from_the_last_delivered_message),
        cmocka_unit_test(test_recipient_is_one_command),
        cmocka_unit_test(test_errors_end_with_421),
        cmocka_unit_test(test_upstream_refusals_are_no_errors),
        cmocka_unit_test(test_http_request_is_dropped),
        cmocka_unit_test(test_nothing_is_heard_behind_quit),
        cmocka_unit_test(test_recipients_get_452),
        cmocka_unit_test(test_endless_recipients_end_at_their_limits),
        cmocka_unit_test(test_data_without_a_recipient_is_no_success),
        cmocka_unit_test(test_declared_size_gets_552_at_mail),
        cmocka_unit_test(test_message_size_gets_552_behind_the_true_end),
        cmocka_unit_test(test_bad_dot_behind_the_size_limit_is_no_end),
        cmocka_unit_test(test_more_than_50_received_fields_are_a_loop),
        cmocka_unit_test(test_million_header_fields_pass_in_bounded_memory),
        cmocka_unit_test(test_million_body_lines_pass_in_bounded_memory),
        cmocka_unit_test(test_command_timeout),
        cmocka_unit_test(test_command_timeout_inside_a_transaction),
        cmocka_unit_test(test_data_timeout),
        cmocka_unit_test(test_session_timeout_between_commands),
        cmocka_unit_test(test_session_timeout_ends_a_message_in_drops),
        cmocka_unit_test(test_greet_delay),
        cmocka_unit_test(test_client_that_does_not_read_is_ended),
        cmocka_unit_test(test_no_reply_is_given_behind_one_that_found_no_memory),
        cmocka_unit_test(test_waiting_for_the_upstream_costs_a_buffer_and_a_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
