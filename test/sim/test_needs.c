/*
 * test_needs - a group whose servers differ: a message that needs an extension gets a server that
 * offers it, also when what is known of the servers is out of date. And servers that move.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/session.h"
#include "test/model_upstream.h"

enum { SERVERS = 3, PORT = 3000 };

#define EHLO_PLAIN "250-up.example\r\n250 PIPELINING\r\n"
#define EHLO_8BIT  "250-up.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n"
#define EHLO_UTF8  "250-up.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n"

enum { ALL = EXT_PIPELINING | EXT_8BITMIME | EXT_SMTPUTF8 };

struct run {
    struct weir *weir;
    struct model models[SERVERS];
    bool is_wrong; /* something was sent that the server does not offer */
    char replies[4096];
};

static const char *watch(struct model *model, struct model_conn *conn, enum model_stage stage,
                         const char *line, uint32_t len)
{
    bool *is_wrong = model->arg;
    (void)conn;
    if (stage == STAGE_MAIL) {
        bool utf8 = memmem(line, len, " SMTPUTF8", 9) != NULL;
        bool body = memmem(line, len, " BODY=", 6) != NULL;
        *is_wrong = *is_wrong || (utf8 && strstr(model->ehlo, "SMTPUTF8") == NULL) ||
                    (body && strstr(model->ehlo, "8BITMIME") == NULL);
    }
    return NULL;
}

static struct config_address address_of(uint32_t server)
{
    struct config_address address = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(PORT + server))};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(&address.addr, &in, sizeof(in));
    (void)snprintf(address.text, sizeof(address.text), "127.0.0.1:%u", PORT + server);
    return address;
}

static struct upstream *group(struct run *run)
{
    return &run->weir->shared.upstreams[0];
}

/* Three servers, of which the last probe says that they offer `known`; what they really offer is in
 * `ehlos`. The turn starts with the first. */
static struct run *open_world(enum config_contact contact, uint32_t known,
                              const char *const ehlos[SERVERS])
{
    struct run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    run->weir = weir_create(&(struct weir_options){
        .sim = {.seed = 1}, .contact = contact, .pool_idle = 8, .extensions = known});
    struct config_upstream *config = &run->weir->config.upstreams[0];
    config->server_count = SERVERS;
    config->balance = BALANCE_ROUND_ROBIN;
    for (uint32_t i = 0; i < SERVERS; i++) {
        config->servers[i] = config->servers[0];
        config->servers[i].address = address_of(i);
    }
    upstream_init(group(run), config);
    for (uint32_t i = 0; i < SERVERS; i++) {
        const struct config_address *address = &config->servers[i].address;
        (void)upstream_note_up(&group(run)->servers[i], known, 0, 1);
        model_init(&run->models[i], run->weir);
        run->models[i].ehlo = ehlos[i];
        run->models[i].script = watch;
        run->models[i].arg = &run->is_wrong;
        run->models[i].listener =
            sim_listen(run->weir->sim, (const struct sockaddr *)&address->addr, address->len);
        assert_true(run->models[i].listener >= 0);
    }
    worker_start_sweeps(run->weir->worker);
    return run;
}

static void close_world(struct run *run)
{
    assert_false(run->is_wrong);
    for (uint32_t i = 0; i < SERVERS; i++) {
        assert_int_equal(run->models[i].violations, 0);
        assert_int_equal(atomic_load(&group(run)->servers[i].active), 0);
    }
    weir_destroy(&run->weir);
    free(run);
}

/* Until all stand still, without time passing. */
static void still(struct run *run)
{
    bool moved = true;
    for (int turns = 0; moved; turns++) {
        assert_true(turns < 10000);
        moved = weir_turn(run->weir);
        for (uint32_t i = 0; i < SERVERS; i++) {
            moved |= model_act(&run->models[i]);
        }
    }
}

static const char *settle(struct run *run, int client)
{
    still(run);
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

static void says(struct run *run, int client, const char *text, const char *reply)
{
    (void)say(run, client, text);
    if (strncmp(run->replies, reply, strlen(reply)) != 0) {
        fail_msg("%s: %s, not %s", text, run->replies, reply);
    }
}

/* A client that was offered everything, when the servers still had it. */
static int greet(struct run *run)
{
    int client = weir_dial(run->weir);
    assert_memory_equal(settle(run, client), "220", 3);
    assert_non_null(strstr(say(run, client, "EHLO c.example\r\n"), "SMTPUTF8"));
    return client;
}

static void finish(struct run *run, int client)
{
    says(run, client, "DATA\r\n", "354");
    says(run, client, "Subject: x\r\n\r\nx\r\n.\r\n", "250");
}

static void hang_up(struct run *run, int client)
{
    sim_close(run->weir->sim, client);
    still(run);
}

#define MAIL_UTF8  "MAIL FROM:<a@b.example> SMTPUTF8\r\n"
#define MAIL_PLAIN "MAIL FROM:<a@b.example>\r\n"
#define RCPT       "RCPT TO:<d@e.example>\r\n"

/* A whole message in a session that has greeted. */
static void send_mail(struct run *run, int client, const char *mail)
{
    says(run, client, mail, "250");
    says(run, client, RCPT, "250");
    finish(run, client);
}

/* Only the last one still offers it: found within one transaction, whoever's turn it is. */
static void check_the_one_that_has_it(enum config_contact contact)
{
    static const char *const ehlos[] = {EHLO_PLAIN, EHLO_8BIT, EHLO_UTF8};
    struct run *run = open_world(contact, ALL, ehlos);
    int client = greet(run);
    for (uint32_t i = 1; i <= 4; i++) {
        send_mail(run, client, MAIL_UTF8);
        assert_int_equal(run->models[2].messages, i);
    }
    /* Each of the others was asked at most once; what it answered is known to all from then on. */
    assert_in_range(run->models[0].connections, 0, 1);
    assert_in_range(run->models[1].connections, 0, 1);
    assert_true(run->models[0].connections + run->models[1].connections > 0);
    hang_up(run, client);
    close_world(run);
}

static void test_the_one_that_has_it(void **state)
{
    (void)state;
    check_the_one_that_has_it(CONTACT_RCPT);
    check_the_one_that_has_it(CONTACT_MAIL);
}

/* A connection that was no use for one message is there for the next. */
static void test_what_is_passed_on_is_kept(void **state)
{
    (void)state;
    static const char *const ehlos[] = {EHLO_PLAIN, EHLO_PLAIN, EHLO_UTF8};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    int client = greet(run);
    while (run->models[0].connections + run->models[1].connections < 2) {
        send_mail(run, client, MAIL_UTF8);
    }
    assert_int_equal(run->models[0].messages + run->models[1].messages, 0);
    for (int i = 0; i < 9; i++) {
        send_mail(run, client, MAIL_PLAIN);
    }
    assert_in_range(run->models[0].messages, 2, 4);
    assert_in_range(run->models[1].messages, 2, 4);
    assert_int_equal(run->models[0].connections, 1);
    assert_int_equal(run->models[1].connections, 1);
    hang_up(run, client);
    close_world(run);
}

/* Connections from the pool are older than the knowledge: each is judged by its own EHLO reply. */
static void test_pooled_connections_without_it(void **state)
{
    (void)state;
    static const char *const ehlos[] = {EHLO_PLAIN, EHLO_PLAIN, EHLO_PLAIN};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    int client = greet(run);
    for (int i = 0; i < 9; i++) {
        send_mail(run, client, MAIL_PLAIN);
    }
    for (uint32_t i = 0; i < SERVERS; i++) {
        assert_int_equal(run->models[i].connections, 1);
        run->models[i].ehlo = EHLO_UTF8; /* and a probe has seen it */
        (void)upstream_note_up(&group(run)->servers[i], ALL, 0, 1);
    }
    send_mail(run, client, MAIL_UTF8);
    hang_up(run, client);
    close_world(run);
}

/* Nobody offers it any more: each was asked once, then the client hears so. */
static void check_nobody_has_it(const char *ehlo, const char *mail, const char *reply)
{
    const char *const ehlos[] = {ehlo, ehlo, ehlo};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    int client = greet(run);
    says(run, client, mail, "250");
    says(run, client, RCPT, reply);
    for (uint32_t i = 0; i < SERVERS; i++) {
        assert_int_equal(run->models[i].connections, 1);
    }
    says(run, client, "RSET\r\n", "250");
    says(run, client, mail, "250");
    says(run, client, RCPT, reply);
    hang_up(run, client);
    close_world(run);
}

static void test_nobody_has_it(void **state)
{
    (void)state;
    check_nobody_has_it(EHLO_8BIT, MAIL_UTF8, "550 5.6.7");
    check_nobody_has_it(EHLO_PLAIN, "MAIL FROM:<a@b.example> BODY=8BITMIME\r\n", "550 5.6.3");
}

/* The one that has it cannot be reached now: that is no reason to bounce. */
static void test_the_one_that_has_it_is_away(void **state)
{
    (void)state;
    static const char *const ehlos[] = {EHLO_PLAIN, EHLO_PLAIN, EHLO_UTF8};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    sim_set_connect(run->weir->sim, run->models[2].listener, SIM_CONNECT_REFUSED, 0);
    int client = greet(run);
    says(run, client, MAIL_UTF8, "250");
    says(run, client, RCPT, "451 4.4.1");
    sim_set_connect(run->weir->sim, run->models[2].listener, SIM_CONNECT_OK, 0);
    says(run, client, RCPT, "250");
    finish(run, client);
    assert_int_equal(run->models[2].messages, 1);
    hang_up(run, client);
    close_world(run);
}

/* It is at its max: the client waits, although the others are free, and gets what becomes free: a
 * connection from the pool, or the slot of one that was cut off. */
static void check_the_one_that_has_it_is_full(bool is_cut)
{
    static const char *const ehlos[] = {EHLO_PLAIN, EHLO_PLAIN, EHLO_UTF8};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    run->weir->config.upstreams[0].servers[2].max = 1;
    int holder = greet(run);
    int waiter = greet(run);
    for (int i = 0; i < 9; i++) { /* the pool has one of each */
        send_mail(run, holder, MAIL_PLAIN);
    }
    says(run, holder, MAIL_UTF8, "250");
    says(run, holder, RCPT, "250");
    says(run, waiter, MAIL_UTF8, "250");
    assert_string_equal(say(run, waiter, RCPT), "");
    if (is_cut) {
        says(run, holder, "DATA\r\n", "354");
        hang_up(run, holder);
    } else {
        finish(run, holder);
    }
    for (int turns = 0; settle(run, waiter)[0] == '\0'; turns++) {
        assert_true(turns < 1000);
        weir_wait(run->weir);
    }
    assert_memory_equal(run->replies, "250", 3);
    finish(run, waiter);
    assert_int_equal(atomic_load(&group(run)->servers[2].connections), 1);
    if (!is_cut) {
        hang_up(run, holder);
    }
    hang_up(run, waiter);
    close_world(run);
}

static void test_the_one_that_has_it_is_full(void **state)
{
    (void)state;
    check_the_one_that_has_it_is_full(false);
    check_the_one_that_has_it_is_full(true);
}

/* The client was offered what its own server has, when it came: 1:1 until the end. */
static void test_contact_connect_stays_where_it_is(void **state)
{
    (void)state;
    static const char *const ehlos[] = {EHLO_PLAIN, EHLO_PLAIN, EHLO_PLAIN};
    struct run *run = open_world(CONTACT_CONNECT, ALL, ehlos);
    int client = weir_dial(run->weir);
    assert_memory_equal(settle(run, client), "220", 3);
    assert_null(strstr(say(run, client, "EHLO c.example\r\n"), "SMTPUTF8"));
    weir_session(run->weir)->offered |= EXT_SMTPUTF8; /* as if it had said so */
    says(run, client, MAIL_UTF8, "550 5.6.7");
    assert_int_equal(
        run->models[0].connections + run->models[1].connections + run->models[2].connections, 1);
    hang_up(run, client);
    close_world(run);
}

/* The EHLO changes back and forth in a session's life; no message fails that a server could take. */
static void test_ehlo_changes_all_the_time(void **state)
{
    (void)state;
    static const char *const ehlos[] = {EHLO_UTF8, EHLO_PLAIN, EHLO_8BIT};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    int client = greet(run);
    for (uint32_t i = 0; i < 60; i++) {
        for (uint32_t k = 0; k < SERVERS; k++) {
            struct model *model = &run->models[k];
            model->ehlo = ehlos[(i + k) % SERVERS];
            for (uint32_t c = 0; c < MODEL_CONNS_MAX; c++) { /* the server was started anew */
                if (model->conns[c].fd >= 0) {
                    sim_close(run->weir->sim, model->conns[c].fd);
                    model->conns[c].fd = -1;
                }
            }
            (void)upstream_note_up(&group(run)->servers[k], ALL, 0, 1);
        }
        still(run);
        send_mail(run, client, i % 2 == 0 ? MAIL_UTF8 : MAIL_PLAIN);
    }
    hang_up(run, client);
    close_world(run);
}

/* ---- servers that move ---- */

static uint32_t open_connections(const struct model *model)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
        count += model->conns[i].fd >= 0;
    }
    return count;
}

/* What is under way ends where it began; what comes next goes to the new address. */
static void test_a_server_moves(void **state)
{
    (void)state;
    static const char *const ehlos[] = {EHLO_UTF8, EHLO_UTF8, EHLO_UTF8};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    run->weir->config.upstreams[0].server_count = 1;
    int first = greet(run);
    int second = greet(run);
    send_mail(run, first, MAIL_PLAIN);
    says(run, first, MAIL_PLAIN, "250");
    says(run, second, MAIL_PLAIN, "250");
    says(run, first, RCPT, "250");
    says(run, second, RCPT, "250");
    finish(run, first); /* now one connection is held, another one in the pool */
    struct config_address address = address_of(1);
    upstream_move(group(run), &group(run)->servers[0], &address);
    send_mail(run, first, MAIL_PLAIN); /* before any sweep */
    assert_int_equal(run->models[1].messages, 1);
    finish(run, second);
    assert_int_equal(run->models[0].messages, 3);
    still(run);
    assert_int_equal(open_connections(&run->models[0]), 0); /* it was not pooled again */
    send_mail(run, second, MAIL_PLAIN);
    assert_int_equal(run->models[1].messages, 2);
    hang_up(run, first);
    hang_up(run, second);
    close_world(run);
}

/* Idle connections to the old address go with the next sweep, though nobody asks for one. */
static void test_idle_connections_leave_with_it(void **state)
{
    (void)state;
    static const char *const ehlos[] = {EHLO_UTF8, EHLO_UTF8, EHLO_UTF8};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    run->weir->config.upstreams[0].server_count = 1;
    int client = greet(run);
    send_mail(run, client, MAIL_PLAIN);
    assert_int_equal(open_connections(&run->models[0]), 1);
    struct config_address address = address_of(1);
    upstream_move(group(run), &group(run)->servers[0], &address);
    int64_t begun_ms = sim_now_ms(run->weir->sim);
    while (open_connections(&run->models[0]) > 0) {
        weir_wait(run->weir);
        still(run);
    }
    assert_in_range(sim_now_ms(run->weir->sim) - begun_ms, 0, 1000);
    hang_up(run, client);
    close_world(run);
}

/* An attempt at the old address that fails after the move says nothing of the new one, which is
 * tried next. */
static void test_the_old_address_is_no_evidence(void **state)
{
    (void)state;
    static const char *const ehlos[] = {EHLO_UTF8, EHLO_UTF8, EHLO_UTF8};
    struct run *run = open_world(CONTACT_RCPT, ALL, ehlos);
    struct config_address address = address_of(1);
    run->weir->config.upstreams[0].server_count = 1;
    sim_set_connect(run->weir->sim, run->models[0].listener, SIM_CONNECT_TIMEOUT, 1000);
    int client = greet(run);
    says(run, client, MAIL_PLAIN, "250");
    assert_string_equal(say(run, client, RCPT), "");
    upstream_move(group(run), &group(run)->servers[0], &address);
    for (int turns = 0; settle(run, client)[0] == '\0'; turns++) {
        assert_true(turns < 1000);
        weir_wait(run->weir);
    }
    assert_memory_equal(run->replies, "250", 3);
    assert_int_equal(atomic_load(&group(run)->changes), 1); /* the move; it was never down */
    assert_int_equal(run->models[1].connections, 1);
    finish(run, client);
    hang_up(run, client);
    close_world(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_one_that_has_it),
        cmocka_unit_test(test_what_is_passed_on_is_kept),
        cmocka_unit_test(test_pooled_connections_without_it),
        cmocka_unit_test(test_nobody_has_it),
        cmocka_unit_test(test_the_one_that_has_it_is_away),
        cmocka_unit_test(test_the_one_that_has_it_is_full),
        cmocka_unit_test(test_contact_connect_stays_where_it_is),
        cmocka_unit_test(test_ehlo_changes_all_the_time),
        cmocka_unit_test(test_a_server_moves),
        cmocka_unit_test(test_idle_connections_leave_with_it),
        cmocka_unit_test(test_the_old_address_is_no_evidence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
