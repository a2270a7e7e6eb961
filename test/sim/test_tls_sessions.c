/*
 * test_tls_sessions - whole sessions with real TLS on both sides, on the simulated loop.
 *
 * Client and upstream are the actors of the other tests, each with a wire in front that speaks TLS
 * (test/tls_wire.h). Held against the same dialogue without TLS; cut at every byte of a short session,
 * on either side and in every way; with bytes in plaintext where none may be.
 *
 *   no false 250    a 2xx behind a message: the model has accepted it
 *   the same words  all replies as without TLS, all messages byte for byte
 *   nothing stuck   every session ends within the limits of its deadlines, in virtual time
 *   nothing left    no session, lease, chunk, buffer; no violation at the model
 *
 * The mistakes that were found so, or by reading, have tests of their own below.
 *
 * SIM_SEED (default 1) is the first seed, SIM_TLS_SESSIONS (default 6) the number of seeds for each
 * pair of modes; SIM_TLS_STEP (default 1) the distance of the cuts.
 */
#include <stdlib.h>

#include "core/session.h"
#include "test/sim/dialogue.h"
#include "test/tls_pair.h"
#include "test/tls_wire.h"

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

enum { UPSTREAM_WIRES = 8, TEXT_MAX = 1 << 14, MESSAGE_MAX = 1 << 16, TURNS_SETTLE = 20000 };

enum client_mode { CLIENT_OFF, CLIENT_STARTTLS, CLIENT_REQUIRED, CLIENT_IMPLICIT, CLIENT_MODES };

static const struct upstream_mode {
    const char *name;
    enum config_upstream_tls tls;
    bool offers;
    bool refuses; /* its handshake fails */
} upstream_modes[] = {
    {"off", UPSTREAM_TLS_OFF, true, false},
    {"opportunistic", UPSTREAM_TLS_OPPORTUNISTIC, true, false},
    {"opportunistic, not offered", UPSTREAM_TLS_OPPORTUNISTIC, false, false},
    {"opportunistic, broken", UPSTREAM_TLS_OPPORTUNISTIC, true, true},
    {"required", UPSTREAM_TLS_REQUIRED, true, false},
    {"implicit", UPSTREAM_TLS_IMPLICIT, false, false},
};

enum { UPSTREAM_OFF = 0, UPSTREAM_REQUIRED = 4, UPSTREAM_IMPLICIT = 5, UPSTREAM_MODES = 6 };

static struct {
    struct tls_ctx *server; /* shown to clients */
    struct tls_ctx *client; /* towards upstreams, verifying */
    struct tls_ctx *unverifying;
    struct tls_ctx *far_server; /* the model's */
    struct tls_ctx *far_client; /* the client's */
    const struct upstream_mode *upstream_mode;
    struct weir *weir;
    struct model model;
    struct client client_actor;
    struct tls_wire client_wire;
    struct tls_wire wires[UPSTREAM_WIRES];
    uint32_t wire_count;
    uint64_t end_at; /* of the first upstream connection */
    enum wire_end end;
    const char *starttls;
    bool speaks_1_2; /* the code under test, towards upstreams */
    uint32_t step;   /* bytes that an upstream's wire writes a turn; 0: all */
    uint64_t random;
    uint32_t secured_upstreams;
    uint64_t seed;
} world;

static uint32_t draw(uint32_t below)
{
    world.random = world.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(world.random >> 33) % below;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

/* ---- the world ---- */

static int setup(void **state)
{
    int result = pki_setup(state);
    if (result == 0) {
        world.server = make_server("ec", TLS_VERSION_1_2, NULL);
        world.client = make_client("ca", NULL);
        world.unverifying = make_client(NULL, NULL);
        world.far_server = make_server("ec", TLS_VERSION_1_2, NULL);
        world.far_client = make_client("ca", NULL);
    }
    return result;
}

static int teardown(void **state)
{
    tls_ctx_retire(&world.server);
    tls_ctx_retire(&world.client);
    tls_ctx_retire(&world.unverifying);
    tls_ctx_retire(&world.far_server);
    tls_ctx_retire(&world.far_client);
    return pki_teardown(state);
}

/* An upstream connection has come: a wire goes in between. */
static void wire_upstream(struct model_conn *conn)
{
    const struct upstream_mode *mode = world.upstream_mode;
    assert_true(world.wire_count < UPSTREAM_WIRES);
    struct tls_wire *wire = &world.wires[world.wire_count];
    conn->fd = wire_open(wire, world.weir->sim, conn->fd, world.far_server, true);
    wire->starttls = mode->offers ? world.starttls : NULL;
    wire->refuses = mode->refuses;
    if (world.wire_count == 0) {
        wire->end_at = world.end_at;
        wire->end = world.end;
    }
    world.wire_count++;
    if (mode->tls == UPSTREAM_TLS_IMPLICIT) {
        wire_secure(wire);
    }
}

static bool is_secured(const struct model_conn *conn)
{
    uint32_t index = conn->number - 1;
    return world.wires[index].mode == WIRE_ON;
}

static const char *script(struct model *model, struct model_conn *conn, enum model_stage stage,
                          const char *line, uint32_t len)
{
    (void)model;
    (void)line;
    (void)len;
    if (stage == STAGE_CONNECT) {
        wire_upstream(conn);
    }
    if (stage == STAGE_MAIL) {
        world.secured_upstreams += is_secured(conn);
    }
    if (stage != STAGE_EHLO) {
        return NULL;
    }
    bool offers = world.upstream_mode->offers && !is_secured(conn);
    return offers ? "250-up.example\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
                  : "250-up.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
}

static bool act(void *arg)
{
    (void)arg;
    bool moved = false;
    if (world.client_wire.sim != NULL) {
        world.client_wire.step = world.random != 0 ? 1 + draw(2000) : 0;
        moved |= wire_act(&world.client_wire);
    }
    for (uint32_t i = 0; i < world.wire_count; i++) {
        world.wires[i].step = world.random != 0 ? 1 + draw(2000) : world.step;
        moved |= wire_act(&world.wires[i]);
    }
    const struct list_node *leases = &world.weir->worker->lease_list;
    for (struct list_node *node = leases->next; world.speaks_1_2 && node != leases;
         node = node->next) {
        struct lease *lease = list_entry(node, struct lease, node);
        if (lease->state == LEASE_TLS && lease->tls.ssl != NULL) {
            (void)wolfSSL_set_options(lease->tls.ssl, WOLFSSL_OP_NO_TLSv1_3); /* returns all */
        }
    }
    return moved;
}

static void configure(enum client_mode client)
{
    static const enum config_listen_tls tls[CLIENT_MODES] = {
        LISTEN_TLS_OFF, LISTEN_TLS_STARTTLS, LISTEN_TLS_REQUIRED, LISTEN_TLS_IMPLICIT};
    struct config *config = &world.weir->config;
    struct config_upstream *upstream = &config->upstreams[0];
    config->listeners[0].tls = tls[client];
    upstream->tls = world.upstream_mode->tls;
    upstream->tls_verify = upstream->tls >= UPSTREAM_TLS_REQUIRED;
    (void)snprintf(upstream->tls_name, sizeof(upstream->tls_name), "mx.example.org");
    struct credentials credentials = {
        .server = client == CLIENT_OFF ? NULL : world.server,
        .clients[0] = upstream->tls == UPSTREAM_TLS_OFF ? NULL
                      : upstream->tls_verify            ? world.client
                                                        : world.unverifying,
    };
    worker_set_credentials(world.weir->worker, &credentials);
}

/* `seed` 0: no chance in anything. */
static void open_tls_world(enum client_mode client, uint32_t upstream, uint64_t seed)
{
    world.seed = seed;
    world.random = seed * UINT64_C(0x9e3779b97f4a7c15);
    world.upstream_mode = &upstream_modes[upstream];
    world.wire_count = 0;
    world.end_at = UINT64_MAX;
    world.starttls = "220 2.0.0 go on\r\n";
    world.secured_upstreams = 0;
    world.speaks_1_2 = false;
    world.step = 0;
    world.client_wire.sim = NULL;
    world.weir = weir_create(&(struct weir_options){
        .sim = {.seed = seed + 1,
                .fd_count = 128,
                .short_read = seed == 0 ? 0 : draw(2) * 300,
                .short_write = seed == 0 ? 0 : draw(2) * 300,
                .delay = seed == 0 ? 0 : draw(3) * 150,
                .cancel_loses = seed == 0 ? 0 : draw(3) * 500},
        .contact = CONTACT_RCPT,
        .extensions = EXT_PIPELINING | EXT_8BITMIME,
        .buf_count = seed % 3 == 1 ? 6 : 32,
        .pool_idle = seed == 0 ? 0 : draw(3),
        .no_received = true,
    });
    configure(client);
    model_init(&world.model, world.weir);
    world.model.script = script;
}

/* The client's connection; with `ctx` its wire may speak TLS. */
static void open_tls_client(struct tls_ctx *ctx)
{
    struct client *client = &world.client_actor;
    client_open(client, world.weir, &world.model);
    client->act = act;
    client->fd = wire_open(&world.client_wire, world.weir->sim, client->fd, ctx, false);
}

static void close_tls_world(void)
{
    client_close(&world.client_actor);
    for (int i = 0; i < 4; i++) { /* time passes: idle connections, deadlines */
        client_settle(&world.client_actor);
        weir_wait(world.weir);
    }
    worker_ask(world.weir->worker, WORKER_DRAINING);
    for (int turn = 0; !worker_is_done(world.weir->worker); turn++) {
        assert_true(turn < TURNS_SETTLE);
        bool moved = weir_turn(world.weir);
        moved |= model_act(&world.model);
        if (!act(NULL) && !moved) {
            weir_wait(world.weir);
        }
    }
    assert_string_equal(world.model.violations > 0 ? world.model.violation : "none", "none");
    wire_close(&world.client_wire);
    for (uint32_t i = 0; i < world.wire_count; i++) {
        wire_close(&world.wires[i]);
    }
    worker_set_credentials(world.weir->worker, &(struct credentials){0}); /* they are ours */
    weir_destroy(&world.weir);
}

/* ---- the same words ---- */

struct heard {
    uint32_t len;
    uint32_t messages;
    uint32_t message_len;
    char text[TEXT_MAX];
    char message[MESSAGE_MAX];
};

static void note_reply(struct heard *heard)
{
    struct client *client = &world.client_actor;
    int code = client_reply(client);
    if (code <= 0) {
        fail_msg("no reply: %d, behind \"%s\" (SIM_SEED=%llu)", code, heard->text,
                 (unsigned long long)world.seed);
    }
    assert_true(heard->len + client->text_len < TEXT_MAX);
    memcpy(heard->text + heard->len, client->text, client->text_len + 1);
    heard->len += client->text_len;
}

static void note(struct heard *heard, const char *line)
{
    assert_true(client_send(&world.client_actor, line, (uint32_t)strlen(line)));
    note_reply(heard);
}

/* A message that follows from the seed: up to 50 KB, with dots. */
static void say_message(struct heard *heard, uint64_t seed)
{
    static char text[MESSAGE_MAX];
    uint32_t lines = seed % 4 == 0 ? 600 : (uint32_t)(seed * 7 % 40);
    uint32_t len = (uint32_t)snprintf(text, sizeof(text), "Subject: %u\r\n\r\n", lines);
    for (uint32_t i = 0; i < lines; i++) {
        len +=
            (uint32_t)snprintf(text + len, sizeof(text) - len, "%sline %u of a message, %.*s\r\n",
                               i % 5 == 0 ? ".." : "", i, (int)(i * seed % 50),
                               "and more of it, so that lines differ in length....");
    }
    len += (uint32_t)snprintf(text + len, sizeof(text) - len, ".\r\n");
    for (uint32_t at = 0; at < len;) {
        uint32_t part = len - at < 4000 ? len - at : 4000;
        assert_true(client_send(&world.client_actor, text + at, part));
        client_settle(&world.client_actor);
        at += part;
    }
    note_reply(heard);
}

static void say_transaction(struct heard *heard, uint64_t seed)
{
    if (seed % 2 == 0) {
        note(heard, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
        note_reply(heard);
        note_reply(heard);
    } else {
        note(heard, "MAIL FROM:<a@example.org>\r\n");
        note(heard, "RCPT TO:<b@example.org>\r\n");
        note(heard, "RCPT TO:<c@example.org>\r\n");
        note(heard, "DATA\r\n");
    }
    say_message(heard, seed);
}

/* Greeting, STARTTLS where it is offered; what is heard begins behind the EHLO in force. */
static void say_beginning(struct heard *heard, enum client_mode client)
{
    if (client == CLIENT_IMPLICIT) {
        wire_secure(&world.client_wire);
    }
    note_reply(heard);
    if (client == CLIENT_STARTTLS || client == CLIENT_REQUIRED) {
        note(heard, "EHLO before.example\r\n");
        assert_non_null(strstr(heard->text, "250-STARTTLS\r\n"));
        if (client == CLIENT_REQUIRED) {
            note(heard, "MAIL FROM:<early@example.org>\r\n");
            assert_non_null(strstr(heard->text, "530 5.7.0 "));
        }
        note(heard, "STARTTLS\r\n");
        wire_secure(&world.client_wire);
        note(heard, "MAIL FROM:<early@example.org>\r\n");
        assert_non_null(strstr(heard->text, "503 5.5.1 ")); /* EHLO is forgotten */
    }
    heard->len = 0;
    note(heard, "EHLO client.example\r\n");
    assert_null(strstr(heard->text, "STARTTLS"));
}

static void run_dialogue(enum client_mode client, uint32_t upstream, uint64_t seed,
                         struct heard *heard)
{
    heard->len = 0;
    open_tls_world(client, upstream, seed);
    open_tls_client(client == CLIENT_OFF ? NULL : world.far_client);
    say_beginning(heard, client);
    say_transaction(heard, seed);
    note(heard, "NOOP\r\n");
    note(heard, "STARTTLX\r\n");
    note(heard, "RSET\r\n");
    say_transaction(heard, seed + 1);
    note(heard, "QUIT\r\n");
    assert_true(client_sees_end(&world.client_actor));
    assert_int_equal(world.client_wire.saw_close, client != CLIENT_OFF);
    heard->messages = world.model.messages;
    /* In `stream` the results on top tell of what was known when the header went. */
    const char *message = weir_behind_results(world.model.last);
    heard->message_len = world.model.last_len - (uint32_t)(message - world.model.last);
    memcpy(heard->message, message, heard->message_len);
    close_tls_world();
}

static void test_same_words_as_without_tls(void **state)
{
    static struct heard plain, tls;
    (void)state;
    uint64_t first = number_from("SIM_SEED", 1);
    uint64_t count = number_from("SIM_TLS_SESSIONS", 6);
    for (uint64_t seed = first; seed < first + count; seed++) {
        run_dialogue(CLIENT_OFF, UPSTREAM_OFF, seed, &plain);
        assert_int_equal(plain.messages, 2);
        for (uint32_t i = 1; i < CLIENT_MODES * UPSTREAM_MODES; i++) {
            run_dialogue((enum client_mode)(i / UPSTREAM_MODES), i % UPSTREAM_MODES, seed, &tls);
            assert_string_equal(tls.text, plain.text);
            assert_int_equal(tls.messages, plain.messages);
            assert_int_equal(tls.message_len, plain.message_len);
            assert_memory_equal(tls.message, plain.message, plain.message_len);
            bool secured = i % UPSTREAM_MODES == 1 || i % UPSTREAM_MODES >= UPSTREAM_REQUIRED;
            assert_int_equal(world.secured_upstreams, secured ? 2 : 0);
        }
    }
    print_message("seeds %llu to %llu, %d pairs of modes each\n", (unsigned long long)first,
                  (unsigned long long)(first + count - 1), CLIENT_MODES * UPSTREAM_MODES);
}

/* ---- ends at every byte ---- */

/* A short session as far as it goes. The code of the reply to the message, or 0. */
static int short_session(enum client_mode client)
{
    static const char *const lines[] = {"EHLO a", "MAIL FROM:<>",       "RCPT TO:<b@c.example>",
                                        "DATA",   "x: y\r\n\r\nz\r\n.", "QUIT"};
    struct client *actor = &world.client_actor;
    int code = 0;
    int eom = 0;
    if (client == CLIENT_IMPLICIT) {
        wire_secure(&world.client_wire);
    }
    code = client_reply(actor);
    if (client == CLIENT_STARTTLS && code == 220) {
        code = client_command(actor, "EHLO a");
        code = code == 250 ? client_command(actor, "STARTTLS") : code;
        if (code == 220) {
            wire_secure(&world.client_wire);
        }
    }
    for (uint32_t i = 0; code > 0 && code < 400 && i < sizeof(lines) / sizeof(lines[0]); i++) {
        code = client_command(actor, lines[i]);
        eom = i == 4 && code > 0 ? code : eom;
    }
    assert_int_not_equal(code, CLIENT_NONSENSE * (actor->len == 0));
    return eom;
}

/* The client reads until nothing comes any more: within the deadlines the connection must end. */
static void check_end(const char *what, uint64_t at, int eom)
{
    struct client *actor = &world.client_actor;
    if (eom >= 200 && eom < 300 && world.model.messages == 0) {
        fail_msg("FALSE 250: %s at byte %llu", what, (unsigned long long)at);
    }
    for (int replies = 0;; replies++) {
        int code = client_reply(actor);
        if (code == CLIENT_ENDED || code == CLIENT_NONSENSE) {
            break; /* a reply may end anywhere when our own side has ended */
        }
        if (code == CLIENT_STUCK || replies > 3) {
            fail_msg("stuck: %s at byte %llu", what, (unsigned long long)at);
        }
    }
    client_close(actor);
    for (int turn = 0; weir_session(world.weir) != NULL; turn++) {
        if (turn > 60) {
            fail_msg("a session stays: %s at byte %llu", what, (unsigned long long)at);
        }
        client_settle(actor);
        weir_wait(world.weir);
    }
}

static const char *const end_names[WIRE_ENDS] = {"EOF", "reset", "garbage", "silence",
                                                 "close_notify"};

/* One session with an end in it, on the client's side or the upstream's. True when the end came. */
static bool cut_session(bool at_client, bool implicit, enum wire_end end, uint64_t at)
{
    enum client_mode client = implicit ? CLIENT_IMPLICIT : CLIENT_STARTTLS;
    open_tls_world(at_client ? client : CLIENT_OFF,
                   at_client  ? UPSTREAM_OFF
                   : implicit ? UPSTREAM_IMPLICIT
                              : UPSTREAM_REQUIRED,
                   0);
    world.end_at = at_client ? UINT64_MAX : at;
    world.end = end;
    open_tls_client(at_client ? world.far_client : NULL);
    if (at_client) {
        world.client_wire.end_at = at;
        world.client_wire.end = end;
    }
    int eom = short_session(at_client ? client : CLIENT_OFF);
    check_end(end_names[end], at, eom);
    bool came =
        at_client ? world.client_wire.is_mute : world.wire_count > 0 && world.wires[0].count >= at;
    if (end == WIRE_NOTIFY) {
        came = at_client ? world.client_wire.text == at : world.wires[0].text == at;
    }
    close_tls_world();
    return came;
}

/* At every byte that the side sends: one way to end after the other. */
static void cut_everywhere(bool at_client, bool implicit)
{
    static const enum wire_end ends[] = {WIRE_EOF, WIRE_RESET, WIRE_GARBAGE,
                                         WIRE_EOF, WIRE_RESET, WIRE_SILENT};
    uint64_t step = number_from("SIM_TLS_STEP", 1);
    uint64_t at = 1;
    while (cut_session(at_client, implicit, ends[at % 6], at)) {
        at += step;
    }
    assert_true(at > 300);
    uint64_t text = 0;
    while (cut_session(at_client, implicit, WIRE_NOTIFY, text)) {
        text += step;
    }
    assert_true(text > 40);
    print_message("%s, %s: %llu cuts, %llu close_notifies\n", at_client ? "client" : "upstream",
                  implicit ? "implicit" : "STARTTLS", (unsigned long long)at,
                  (unsigned long long)text);
}

static void test_client_ends_at_every_byte(void **state)
{
    (void)state;
    cut_everywhere(true, false);
    cut_everywhere(true, true);
}

static void test_upstream_ends_at_every_byte(void **state)
{
    (void)state;
    cut_everywhere(false, false);
    cut_everywhere(false, true);
}

/* ---- plaintext where none may be ---- */

/* STARTTLS with something behind it, cut at each byte: in one piece with the command it ends the
 * session; later it is no ClientHello. Never is it answered. */
static void test_injection_behind_the_clients_starttls(void **state)
{
    static const char *const behind[] = {
        "\n",           "\r\n",     "E",
        "NOOP\r\n",     "QUIT\r\n", "EHLO evil\r\n",
        "\x16\x03\x01", "\x80",     "MAIL FROM:<evil@example.org>\r\nRCPT TO:<e@example.org>\r\n"};
    (void)state;
    for (uint32_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
        char bytes[128];
        int len = snprintf(bytes, sizeof(bytes), "STARTTLS\r\n%s", behind[i]);
        for (uint64_t cut = 1; cut <= (uint64_t)len; cut++) {
            open_tls_world(CLIENT_STARTTLS, UPSTREAM_OFF, 0);
            open_tls_client(world.far_client);
            struct client *client = &world.client_actor;
            assert_int_equal(client_reply(client), 220);
            assert_int_equal(client_command(client, "EHLO a"), 250);
            uint64_t cuts[] = {8 + cut}; /* behind "EHLO a\r\n" */
            sim_set_cuts(world.weir->sim, weir_session(world.weir)->client.fd, cuts, 1);
            assert_true(client_send(client, bytes, (uint32_t)len));
            int code = client_reply(client);
            assert_int_equal(code, cut == 10 ? 220 : 554);
            check_end("injection", cut, 0);
            assert_int_equal(client->replies, 3);
            assert_int_equal(world.model.connections, 0);
            close_tls_world();
        }
    }
}

/* RCPT, up to which the upstream is not asked. */
static void say_rcpt(void)
{
    struct client *client = &world.client_actor;
    open_tls_client(NULL);
    assert_int_equal(client_reply(client), 220);
    assert_int_equal(client_command(client, "EHLO a"), 250);
    assert_int_equal(client_command(client, "MAIL FROM:<a@example.org>"), 250);
    say(client, "RCPT TO:<b@example.org>\r\n");
}

/* The same at the upstream: what stands before or behind its 220 is never believed. */
static void test_injection_around_the_upstreams_starttls(void **state)
{
    static const char *const answers[] = {
        "220 go\r\n250 evil\r\n",
        "220 go\r\n2",
        "220 go\r\n250-evil\r\n250 SIZE 1\r\n",
        "220 go\r\n\x16\x03\x03",
        "220-go\r\n220 on\r\n220 again\r\n",
        "250 go\r\n",
        "220 go\n",
        "454 4.7.0 not now\r\n220 go\r\n",
    };
    (void)state;
    for (uint32_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        for (uint32_t step = 0; step < 12; step++) {
            open_tls_world(CLIENT_OFF, UPSTREAM_REQUIRED, 0);
            world.starttls = answers[i];
            world.step = step;
            say_rcpt();
            assert_int_equal(client_reply(&world.client_actor), 451);
            if (step == 0 && strncmp(answers[i], "220 go\r\n", 8) == 0) {
                assert_non_null(strstr(world.client_actor.text, "(spoke out of turn)"));
            }
            assert_int_equal(world.secured_upstreams, 0);
            close_tls_world();
        }
    }
}

/* ---- named after what they show ---- */

/* A server of TLS 1.2 says its greeting in one piece with the end of the handshake. */
static void test_greeting_in_one_piece_with_the_handshake(void **state)
{
    (void)state;
    open_tls_world(CLIENT_OFF, UPSTREAM_IMPLICIT, 0);
    world.speaks_1_2 = true;
    say_rcpt();
    assert_int_equal(client_reply(&world.client_actor), 250);
    assert_int_equal(world.client_actor.waited_ms, 0);
    assert_string_equal(wolfSSL_get_version(world.wires[0].tls.ssl), "TLSv1.2");
    close_tls_world();
}

/* The session has failed before anybody hears that the handshake is complete. */
static void test_garbage_in_one_piece_with_the_handshake(void **state)
{
    static const char record[] = "\x17\x03\x03\x00\x05wrong";
    (void)state;
    for (int implicit = 0; implicit < 2; implicit++) {
        open_tls_world(implicit ? CLIENT_IMPLICIT : CLIENT_STARTTLS, UPSTREAM_OFF, 0);
        open_tls_client(world.far_client);
        struct client *client = &world.client_actor;
        struct tls_wire *wire = &world.client_wire;
        if (!implicit) {
            assert_int_equal(client_reply(client), 220);
            assert_int_equal(client_command(client, "STARTTLS"), 220);
        }
        uint64_t before = wire->count;
        wire_secure(wire);
        for (int turn = 0; wire->mode != WIRE_ON; turn++) {
            assert_true(turn < 1000);
            (void)act(NULL);
            wire->is_mute = wire->count > before; /* the ClientHello is out */
            (void)weir_turn(world.weir);
        }
        wire_put(wire, record, sizeof(record) - 1);
        wire->is_mute = false;
        check_end("garbage with the handshake", 0, 0);
        close_tls_world();
    }
}

/* The pool of chunks runs out when EHLO is to be said again. */
static void test_no_memory_behind_the_handshake(void **state)
{
    static void *stolen[1 << 13];
    uint32_t count = 0;
    (void)state;
    open_tls_world(CLIENT_OFF, UPSTREAM_REQUIRED, 0);
    say_rcpt();
    struct pool *chunks = &world.weir->worker->chunks;
    const struct list_node *leases = &world.weir->worker->lease_list;
    const struct lease *lease = NULL;
    for (int turn = 0; lease == NULL || !lease->stream.owes_secured; turn++) {
        assert_true(turn < 1000);
        (void)model_act(&world.model);
        (void)act(NULL);
        (void)weir_turn(world.weir);
        lease = list_is_empty(leases) ? NULL : list_entry(leases->next, struct lease, node);
    }
    while (count < sizeof(stolen) / sizeof(stolen[0]) &&
           (stolen[count] = pool_get(chunks)) != NULL) {
        count++;
    }
    for (int turn = 0; lease->state == LEASE_TLS || lease->state == LEASE_EHLO; turn++) {
        assert_true(turn < 1000);
        (void)weir_turn(world.weir);
    }
    assert_true(count > 0);
    while (count > 0) {
        pool_put(chunks, stolen[--count]);
    }
    assert_int_equal(client_reply(&world.client_actor), 451);
    close_tls_world();
}

/* An upstream that changes its key in one piece with its reply has read all the same. */
static void test_reply_in_one_piece_with_a_new_key(void **state)
{
    (void)state;
    open_tls_world(CLIENT_OFF, UPSTREAM_REQUIRED, 0);
    world.weir->config.upstreams[0].pool_idle = 1;
    struct client *client = &world.client_actor;
    say_rcpt();
    assert_int_equal(client_reply(client), 250);
    assert_int_equal(client_command(client, "DATA"), 354);
    struct tls_wire *wire = &world.wires[0];
    struct cipher_io io = {.out = wire->out, .out_size = WIRE_OUT_MAX};
    wire->tls.io = &io;
    assert_int_equal(wolfSSL_update_keys(wire->tls.ssl), WOLFSSL_SUCCESS);
    wire->tls.io = NULL;
    char record[512];
    uint32_t record_len = io.out_len;
    assert_true(record_len > 0);
    memcpy(record, wire->out, record_len);
    wire_put(wire, record, record_len); /* goes out in front of what comes next */
    wire->is_mute = true;
    sim_set_queue(world.weir->sim, wire->outer, 4096);
    assert_true(client_send(client, "x: y\r\n\r\nz\r\n.\r\n", 14));
    client_settle(client);
    wire->is_mute = false;
    assert_int_equal(client_reply(client), 250);
    assert_int_equal(world.model.messages, 1);
    assert_int_equal(client_command(client, "NOOP"), 250);
    say(client, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n");
    assert_int_equal(client_reply(client), 250);
    assert_int_equal(client_reply(client), 250);
    assert_int_equal(world.wire_count, 1); /* the same connection */
    close_tls_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_words_as_without_tls),
        cmocka_unit_test(test_client_ends_at_every_byte),
        cmocka_unit_test(test_upstream_ends_at_every_byte),
        cmocka_unit_test(test_injection_behind_the_clients_starttls),
        cmocka_unit_test(test_injection_around_the_upstreams_starttls),
        cmocka_unit_test(test_greeting_in_one_piece_with_the_handshake),
        cmocka_unit_test(test_garbage_in_one_piece_with_the_handshake),
        cmocka_unit_test(test_no_memory_behind_the_handshake),
        cmocka_unit_test(test_reply_in_one_piece_with_a_new_key),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
