/*
 * test_hold_message - what arrives of a message that was held: octet for octet what was sent, below our
 * results and without those that somebody else wrote in our name; of every shape, at every length, with
 * DATA and with BDAT; from memory and from a file, and what becomes of it when the file fails.
 */
#include <errno.h>

#include "core/message.h"
#include "filters/header.h"
#include "test/holding.h"

static struct holding world; /* 10 MB, used by one test after the other */
static struct client *const client = &world.talk.client;
static struct model *const model = &world.talk.model;

enum { LONG_MAX = 60000, CROWD = 8, MODES = 2 };

static const enum config_verify_mode modes[] = {VERIFY_HOLD, VERIFY_STREAM};

static char sent[LONG_MAX + 16];
static char expected[LONG_MAX + 16];

static void open_with_queues(enum config_verify_mode mode, bool chunking, uint64_t hold_memory,
                             uint32_t queue_bytes)
{
    struct weir_options options = usual_options(CONTACT_RCPT);
    options.hold_memory = hold_memory;
    options.sim.queue_bytes = queue_bytes;
    holding_open(&world, mode, options, false);
    holding_offer(&world, chunking);
    world.talk.weir->config.verify.spf.action = ACTION_REPORT;
}

static void open_with(enum config_verify_mode mode, bool chunking, uint64_t hold_memory)
{
    open_with_queues(mode, chunking, hold_memory, 0);
}

static void open_spooling(void)
{
    open_with(VERIFY_HOLD, false, 1);
    holding_hello(&world, client);
}

static void set_files(const struct sim_files *files)
{
    sim_set_files(world.talk.weir->sim, files);
}

/* ---- every shape ---- */

#define RESULTS "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=example.com\r\n"

static void test_every_shape_arrives_as_it_was_sent(void **state)
{
    (void)state;
    static const struct {
        const char *sent;    /* without the end-of-data */
        const char *arrived; /* NULL: the same */
    } rows[] = {
        {"", NULL},
        {"\r\n", NULL},
        {"x: y\r\n", NULL}, /* header only */
        {"x: y\r\n\r\n", NULL},
        {"\r\nbody\r\n", NULL}, /* no header */
        {"\r\n\r\n\r\n", NULL},
        {"body without a header\r\nand more\r\n", NULL},
        {"x: y\r\nno field\r\nz: y\r\n\r\nbody\r\n", NULL},
        {" x: y\r\n\r\nbody\r\n", "\r\n x: y\r\n\r\nbody\r\n"}, /* white space at the top */
        {"\tx\r\n", "\r\n\tx\r\n"},
        {"..\r\n", NULL},
        {"..x: y\r\n\r\n..\r\n", NULL},
        {".x: y\r\n\r\n.z\r\n", "x: y\r\n\r\nz\r\n"}, /* a dot that needs none */
        {". x\r\n", "\r\n x\r\n"},
        {"x:\r\n y\r\n\t z\r\n\r\n y\r\n", NULL},
        {"x: y \t\r\n\r\n \r\n\t\r\n", NULL},
    };
    for (uint32_t i = 0; i < 4 * sizeof(rows) / sizeof(rows[0]); i++) {
        open_with(modes[i % 2], i / 2 % 2 == 1, 0);
        holding_hello(&world, client);
        holding_envelope(client, "a@example.com");
        say(client, rows[i / 4].sent);
        expect(client, ".", "250 2.0.0 taken\r\n");
        const char *arrived = rows[i / 4].arrived;
        int len = snprintf(expected, sizeof(expected), "%s%s", RESULTS,
                           arrived != NULL ? arrived : rows[i / 4].sent);
        model->last[model->last_len] = '\0';
        if (strcmp(model->last, expected) != 0) {
            fail_msg("row %u, way %u: \"%s\", not \"%s\"", i / 4, i % 4, model->last, expected);
        }
        holding_expect_message(&world, expected, (uint32_t)len);
        holding_close(&world);
    }
}

static void test_forged_results_are_taken_out(void **state)
{
    (void)state;
    static const char forged[] = "Authentication-Results: mx.example.org; spf=pass\r\n"
                                 "From: a@example.net\r\n"
                                 "authentication-RESULTS : (hi) MX.example.ORG.;\r\n dkim=pass\r\n"
                                 "X-Mailweir: mx.example.org; dnsbl=pass\r\n"
                                 "Authentication-Results: other.example.org; spf=pass\r\n"
                                 "..dot: z\r\n"
                                 "Authentication-Results:\r\n\tmx.example.org\r\n"
                                 "\r\n"
                                 "Authentication-Results: mx.example.org; this is body\r\n";
    static const char left[] = "From: a@example.net\r\n"
                               "Authentication-Results: other.example.org; spf=pass\r\n"
                               "..dot: z\r\n"
                               "\r\n"
                               "Authentication-Results: mx.example.org; this is body\r\n";
    for (uint32_t i = 0; i < 4; i++) {
        open_with(modes[i % 2], i / 2 == 1, 0);
        (void)snprintf(world.talk.weir->config.trace_header, 64, "X-Mailweir");
        holding_hello(&world, client);
        holding_envelope(client, "a@example.com");
        say(client, forged);
        expect(client, ".", "250 2.0.0 taken\r\n");
        int len = snprintf(expected, sizeof(expected), "%s%s", RESULTS, left);
        holding_expect_message(&world, expected, (uint32_t)len);
        holding_close(&world);
    }
}

/* ---- every length ---- */

/* A body whose lines begin with a dot as often as can be, `shift` octets off. */
static uint32_t make_dots(uint32_t len, uint32_t shift, char *out)
{
    uint32_t at = (uint32_t)snprintf(out, len, "x: y\r\n\r\n%.*s\r\n", (int)shift, "abcdefgh");
    for (uint32_t i = 0; at < len; i++) {
        const char *line = i % 3 == 0 ? "..\r\n" : i % 3 == 1 ? "...a\r\n" : "..b\r\n";
        uint32_t line_len = (uint32_t)strlen(line);
        memcpy(out + at, line, line_len); /* the last one may end a little behind `len` */
        at += line_len;
    }
    return at;
}

/* In pieces of `piece` octets; the end-of-data with the last. */
static void send_pieces(struct client *from, const char *text, uint32_t len, uint32_t piece)
{
    for (uint32_t at = 0; at < len; at += piece) {
        assert_true(client_send(from, text + at, piece < len - at ? piece : len - at));
        client_settle(from);
    }
    assert_true(client_send(from, ".\r\n", 3));
}

static void expect_whole(uint32_t len)
{
    uint32_t results = (uint32_t)strlen(RESULTS);
    assert_int_equal(model->last_len, results + len);
    assert_memory_equal(model->last, RESULTS, results);
    assert_memory_equal(model->last + results, sent, len);
}

/* Doubled dots on both sides of every border of a block, a window and a write. */
static void test_dots_over_all_borders(void **state)
{
    (void)state;
    static const uint32_t lens[] = {8190, 16384, 16500, 33000, 50000};
    uint32_t files = 0;
    for (uint32_t i = 0; i < 8 * 5 * 4; i++) {
        uint32_t shift = i % 8;
        open_with(modes[i / 40 % 2], i / 80 == 1, i % 3 == 0 ? 1 : 0);
        holding_hello(&world, client);
        holding_envelope(client, "a@example.com");
        uint32_t len = make_dots(lens[i / 8 % 5], shift, sent);
        send_pieces(client, sent, len, shift % 2 == 0 ? 16384 : 3001);
        expect_reply(client, "250 2.0.0 taken\r\n");
        assert_int_equal(client->waited_ms, 0);
        expect_whole(len);
        assert_int_equal(model->chunks, i / 80 == 1 && i / 40 % 2 == 0); /* BDAT, of any length */
        files += sim_file_moves(world.talk.weir->sim) > 0;
        assert_int_equal(sim_file_bytes(world.talk.weir->sim), 0);
        holding_close(&world);
    }
    assert_true(files > 10);
}

/* Pieces of several messages in turns, each behind the others' ones. */
static void test_messages_side_by_side(void **state)
{
    (void)state;
    static struct client crowd[CROWD];
    for (uint32_t way = 0; way < 4; way++) {
        open_with(modes[way % 2], way / 2 == 1, 1);
        for (uint32_t i = 0; i < CROWD; i++) {
            holding_hello(&world, &crowd[i]);
            holding_envelope(&crowd[i], "a@example.com");
        }
        uint32_t len = make_dots(45000, 3, sent);
        for (uint32_t at = 0; at < len; at += 1000) {
            for (uint32_t i = 0; i < CROWD; i++) {
                sent[8] = (char)('A' + i); /* the body's first octet */
                uint32_t piece = len - at < 1000 ? len - at : 1000;
                assert_true(client_send(&crowd[i], sent + at, piece));
                client_settle(&crowd[i]);
            }
        }
        for (uint32_t i = 0; i < CROWD; i++) {
            expect(&crowd[i], ".", "250 2.0.0 taken\r\n");
            sent[8] = (char)('A' + i);
            expect_whole(len);
            client_close(&crowd[i]);
        }
        assert_int_equal(model->messages, CROWD);
        client_settle(&crowd[0]);
        holding_hello(&world, client);
        holding_close(&world);
    }
}

static void test_what_stands_behind_is_the_next_command(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        open_with(modes[i % 2], i / 2 == 1, 0);
        holding_hello(&world, client);
        say(client, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
                    "x: y\r\n\r\n..b\r\n.\r\nNOOP\r\nVRFY x\r\n");
        expect_reply(client, "250 2.1.0 ");
        expect_reply(client, "250 2.1.5 ");
        expect_reply(client, "354 ");
        expect_reply(client, "250 2.0.0 taken\r\n");
        expect_reply(client, "250 2.0.0 ok\r\n");
        expect_reply(client, "252 ");
        holding_expect_message(&world, RESULTS "x: y\r\n\r\n..b\r\n", sizeof(RESULTS) - 1 + 13);
        holding_close(&world);
    }
}

/* ---- refused by us ---- */

/* In `hold` the upstream has had nothing of it, and keeps its connection. */
static void test_refused_message_costs_no_connection(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *reply;
    } rows[] = {
        {"x: y\r\n\r\na\rb\r\n.", "550 5.5.2 "},
        {"x: y\r\n\r\na\nb\r\n.", "550 5.5.2 "},
        {"x: y\nz: y\r\n\r\n.", "550 5.5.2 "},
        {"x: y\r\n\r\n0123456789012345678901234567890123456789\r\n.", "552 5.3.4 "},
    };
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        open_with(VERIFY_HOLD, false, 0);
        world.talk.weir->config.message_size = 40;
        holding_hello(&world, client);
        holding_envelope(client, "a@example.com");
        expect(client, rows[i].body, rows[i].reply);
        assert_int_equal(model->begun, 0);
        holding_envelope(client, "a@example.com");
        expect(client, "x: y\r\n\r\n.", "250 2.0.0 taken\r\n");
        assert_int_equal(model->connections, 1);
        assert_int_equal(world.talk.resets, 1);
        holding_close(&world);
    }
}

/* In `stream` it is cut off where it stands. */
static void test_fault_behind_the_header_cuts_the_stream_off(void **state)
{
    (void)state;
    open_with(VERIFY_STREAM, false, 0);
    holding_hello(&world, client);
    holding_envelope(client, "a@example.com");
    say(client, "x: y\r\n\r\nbody\r\n");
    client_settle(client);
    assert_int_equal(model->begun, 1);
    say(client, "a\rb\r\nmore\r\n");
    client_settle(client);
    assert_int_equal(model->conns[0].fd, -1);
    assert_int_equal(client->len, 0);
    expect(client, ".", "550 5.5.2 ");
    assert_int_equal(model->messages, 0);
    holding_close(&world);
}

static void test_header_that_is_too_large_is_552(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MODES; i++) {
        open_with(modes[i], false, 0);
        holding_hello(&world, client);
        holding_envelope(client, "a@example.com");
        for (uint32_t len = 0; len <= HEADER_TEXT_MAX; len += 16) {
            assert_true(client_send(client, "X: 90123456789\r\n", 16));
            client_settle(client);
        }
        expect(client, "\r\nbody\r\n.", "552 5.3.4 message header exceeds fixed limit\r\n");
        assert_int_equal(model->begun, 0);
        holding_close(&world);
    }
}

/* ---- the file ---- */

static uint32_t begin_long(uint32_t len)
{
    holding_envelope(client, "a@example.com");
    return make_dots(len, 1, sent);
}

/* The next message is as good as any. */
static void expect_recovery(void)
{
    struct sim_files good = {0};
    set_files(&good);
    world.talk.answer = NULL;
    uint32_t len = begin_long(50000);
    send_pieces(client, sent, len, 5000);
    expect_reply(client, "250 2.0.0 taken\r\n");
    expect_whole(len);
    holding_close(&world);
}

/* At the beginning of the file, at its first write, at a later one. */
static void test_file_that_cannot_be_written_is_452(void **state)
{
    (void)state;
    static const struct sim_files rows[] = {
        {.open_error = -EROFS}, {.open_error = -EMFILE}, {.space_max = 1}, {.space_max = 17000}};
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        open_spooling();
        uint32_t len = begin_long(59000);
        set_files(&rows[i]);
        send_pieces(client, sent, len, 4096);
        expect_reply(client, "452 4.3.1 insufficient system storage\r\n");
        assert_int_equal(client->waited_ms, 0);
        assert_int_equal(model->begun, 0);
        assert_int_equal(sim_file_bytes(world.talk.weir->sim), 0);
        expect_recovery();
    }
}

/* The file is slow, and all blocks are full where the message is cut between CR and LF. */
static void test_line_end_on_the_border_of_a_full_store(void **state)
{
    (void)state;
    for (uint32_t shift = 0; shift < 4; shift++) {
        open_spooling();
        holding_envelope(client, "a@example.com");
        uint32_t len = (uint32_t)snprintf(sent, LONG_MAX, "x: y\r\n\r\n%.*s", (int)shift, "abcd");
        for (; len + 2 <= LONG_MAX; len += 2) {
            memcpy(sent + len, "\r\n", 2);
        }
        set_files(&(struct sim_files){.is_stuck = true});
        assert_true(client_send(client, sent, len));
        assert_true(client_send(client, ".\r\n", 3));
        client_settle(client);
        assert_int_equal(holding_state(&world), SESSION_HOLD);
        assert_true(weir_session(world.talk.weir)->waiting == WAIT_SPOOL);
        set_files(&(struct sim_files){0});
        expect_reply(client, "250 2.0.0 taken\r\n");
        expect_whole(len);
        holding_close(&world);
    }
}

/* The last octets are written behind the end-of-data, and nothing goes over before they are. */
static void test_last_write_that_fails_is_452(void **state)
{
    (void)state;
    for (uint32_t chunking = 0; chunking < 2; chunking++) {
        open_with(VERIFY_HOLD, chunking == 1, 1);
        holding_hello(&world, client);
        uint32_t len = begin_long(40000);
        uint32_t octets = len - 8; /* without the header, and without stuffed dots */
        for (uint32_t i = 8; i < len; i++) {
            octets -= sent[i] == '.' && sent[i - 1] == '\n';
        }
        set_files(&(struct sim_files){.space_max = octets - 1});
        send_pieces(client, sent, len, 4096);
        expect_reply(client, "452 4.3.1 insufficient system storage\r\n");
        assert_int_equal(model->begun, 0);
        assert_int_equal(model->messages, 0);
        holding_offer(&world, false);
        expect_recovery();
    }
}

static void test_file_that_cannot_be_read_is_452(void **state)
{
    (void)state;
    for (uint32_t chunking = 0; chunking < 2; chunking++) {
        open_with(VERIFY_HOLD, chunking == 1, 1);
        holding_hello(&world, client);
        uint32_t len = begin_long(50000);
        set_files(&(struct sim_files){.read_error = -EIO});
        send_pieces(client, sent, len, 4096);
        expect_reply(client, "452 4.3.1 insufficient system storage\r\n");
        assert_int_equal(model->messages, 0);
        assert_int_equal(model->conns[0].fd, -1); /* cut off in mid-message */
        holding_offer(&world, false);
        expect_recovery();
    }
}

/* ---- refused while it is delivered ---- */

static void test_data_refused_at_delivery(void **state)
{
    (void)state;
    static const char *const answers[] = {"451 4.3.0 later\r\n", "554-5.7.1 no\r\n554 5.7.1 no\r\n",
                                          "421 4.3.2 bye\r\n"};
    for (uint32_t i = 0; i < 3 * MODES; i++) {
        open_with(modes[i % MODES], false, 1);
        holding_hello(&world, client);
        uint32_t len = begin_long(50000);
        world.talk.stage = STAGE_DATA;
        world.talk.answer = answers[i / MODES];
        send_pieces(client, sent, len, 4096);
        expect_reply(client, world.talk.answer);
        assert_int_equal(client->waited_ms, 0);
        if (i / MODES == 2) {
            assert_ended(&world.talk);
            holding_close(&world);
        } else {
            expect_recovery();
        }
    }
}

static void test_refusal_in_the_middle_of_delivery(void **state)
{
    (void)state;
    static const char *const answers[] = {"451 4.3.0 no more\r\n", "550 5.7.1 stop\r\n",
                                          "250 2.0.0 taken\r\n"};
    for (uint32_t i = 0; i < 3 * MODES * 2; i++) {
        /* It does not fit into one write. */
        open_with_queues(modes[i % MODES], i / 6 == 1, 1, 8192);
        holding_hello(&world, client);
        uint32_t len = begin_long(50000);
        world.talk.stage = STAGE_BODY;
        world.talk.answer = answers[i / MODES % 3];
        send_pieces(client, sent, len, 4096);
        const char *reply =
            world.talk.answer[0] == '2' ? "451 4.4.2 upstream connection lost" : world.talk.answer;
        expect_reply(client, reply);
        assert_int_equal(model->messages, 0);
        world.talk.stage = STAGE_COUNT;
        holding_offer(&world, false);
        expect_recovery();
    }
}

/* ---- pools that are empty ---- */

enum { TAKEN_MAX = 8192 };

struct taken {
    struct pool *pool;
    uint32_t count;
    void *items[TAKEN_MAX];
};

static void take_all(struct taken *taken, struct pool *pool)
{
    void *item;
    *taken = (struct taken){.pool = pool};
    while ((item = pool_get(pool)) != NULL) {
        assert_true(taken->count < TAKEN_MAX);
        taken->items[taken->count++] = item;
    }
}

static void give_back(struct taken *taken)
{
    while (taken->count > 0) {
        pool_put(taken->pool, taken->items[--taken->count]);
    }
}

static void test_no_block_for_a_message_is_452(void **state)
{
    (void)state;
    static struct taken taken;
    open_spooling();
    uint32_t len = begin_long(50000);
    take_all(&taken, &world.talk.weir->worker->checker.messages.blocks);
    send_pieces(client, sent, len, 4096);
    expect_reply(client, "452 4.3.1 insufficient system storage\r\n");
    assert_int_equal(model->begun, 0);
    give_back(&taken);
    expect_recovery();
}

/* Other sessions have all chunks when the upstream's 354 comes. */
static void test_no_chunk_for_the_first_write_ends_the_session(void **state)
{
    (void)state;
    static struct taken taken;
    open_spooling();
    uint32_t len = begin_long(50000);
    world.talk.stage = STAGE_DATA;
    world.talk.answer = "";
    send_pieces(client, sent, len, 4096);
    client_settle(client);
    assert_int_equal(holding_state(&world), SESSION_OPEN);
    take_all(&taken, &world.talk.weir->worker->chunks);
    (void)sim_write(world.talk.weir->sim, model->conns[0].fd, "354 go on\r\n", 11);
    client_settle(client);
    give_back(&taken);
    assert_ended(&world.talk); /* there was none for a reply either */
    assert_int_equal(model->conns[0].fd, -1);
    assert_int_equal(model->messages, 0);
    client_close(client);
    world.talk.stage = STAGE_COUNT;
    holding_hello(&world, client);
    expect_recovery();
}

/* The same when a part of the message is over, and the next has come. */
static void test_no_chunk_in_the_middle_of_delivery_is_452(void **state)
{
    (void)state;
    static struct taken taken;
    open_with(VERIFY_STREAM, false, 0);
    holding_hello(&world, client);
    uint32_t len = begin_long(50000);
    assert_true(client_send(client, sent, 20000));
    client_settle(client);
    assert_int_equal(holding_state(&world), SESSION_HOLD);
    assert_true(model->conns[0].in_data);
    take_all(&taken, &world.talk.weir->worker->chunks);
    assert_true(client_send(client, sent + 20000, len - 20000));
    client_settle(client);
    give_back(&taken);
    assert_int_equal(model->conns[0].fd, -1);
    assert_true(client_send(client, ".\r\n", 3));
    expect_reply(client, "452 4.3.1 insufficient system storage\r\n");
    assert_int_equal(model->messages, 0);
    expect_recovery();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape_arrives_as_it_was_sent),
        cmocka_unit_test(test_forged_results_are_taken_out),
        cmocka_unit_test(test_dots_over_all_borders),
        cmocka_unit_test(test_messages_side_by_side),
        cmocka_unit_test(test_what_stands_behind_is_the_next_command),
        cmocka_unit_test(test_refused_message_costs_no_connection),
        cmocka_unit_test(test_fault_behind_the_header_cuts_the_stream_off),
        cmocka_unit_test(test_header_that_is_too_large_is_552),
        cmocka_unit_test(test_file_that_cannot_be_written_is_452),
        cmocka_unit_test(test_line_end_on_the_border_of_a_full_store),
        cmocka_unit_test(test_last_write_that_fails_is_452),
        cmocka_unit_test(test_file_that_cannot_be_read_is_452),
        cmocka_unit_test(test_data_refused_at_delivery),
        cmocka_unit_test(test_refusal_in_the_middle_of_delivery),
        cmocka_unit_test(test_no_block_for_a_message_is_452),
        cmocka_unit_test(test_no_chunk_for_the_first_write_ends_the_session),
        cmocka_unit_test(test_no_chunk_in_the_middle_of_delivery_is_452),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
