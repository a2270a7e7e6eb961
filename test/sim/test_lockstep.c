/*
 * test_lockstep - random sessions, held beside a reference after every reply: 0 differences.
 *
 * Each session is a walk over good and bad commands, one at a time or several in one segment,
 * against an upstream that accepts, defers, refuses or says 421 at MAIL, RCPT, DATA and the
 * end-of-data. The world under it cuts reads and writes short and delays completions. Replies and
 * the session's state (transaction, recipients, errors, commands) must be what test/reference.c
 * says. The same seed gives the same trace.
 *
 * SIM_SESSIONS (default 100000) and SIM_SEED (default 1) choose the run; a failure prints seed and
 * session.
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
#include "test/reference.h"

enum {
    ACTIONS_MAX = 40,
    GROUP_MAX = 6,
    TEXT_MAX = 4096,
    LONG_LEN = 26000,
    ERRORS_MAX = 6,
    COMMANDS_MAX = 30,
    RECIPIENTS_MAX = 3,
    SESSIONS_PER_WORLD = 500,
};

static const char BARE_EHLO[] = "250 up.example\r\n";
static const char CHUNKING_EHLO[] = "250-up.example\r\n250-CHUNKING\r\n250-PIPELINING\r\n"
                                    "250-8BITMIME\r\n250-SIZE 1000000\r\n250 DSN\r\n";

struct run {
    struct weir *weir;
    struct model model;
    struct reference reference;
    struct plan plans[MODEL_CONNS_MAX]; /* of the transaction on each upstream connection */
    int client;
    uint64_t seed;
    uint64_t replies;
    uint64_t actions[ACT_COUNT];
};

/* ---- the script of the upstream: the addresses carry it ---- */

static int number_behind(const char *line, uint32_t len, const char *mark)
{
    const char *at = memmem(line, len, mark, strlen(mark));
    return at == NULL ? 0 : (int)strtol(at + strlen(mark), NULL, 10);
}

static const char *reply_text(int code)
{
    static char texts[8][64];
    static unsigned next;
    char *text = texts[next++ % 8];
    (void)snprintf(text, sizeof(texts[0]), "%d-%d.1.0 first line\r\n%d %d.1.0 last\r\n", code,
                   code / 100, code, code / 100);
    return text;
}

static const char *script(struct model *model, struct model_conn *conn, enum model_stage stage,
                          const char *line, uint32_t len)
{
    struct run *run = model->arg;
    struct plan *plan = &run->plans[conn - model->conns];
    switch ((int)stage) {
    case STAGE_MAIL:
        *plan = (struct plan){.mail = number_behind(line, len, "<m"),
                              .data = number_behind(line, len, "-d"),
                              .eom = number_behind(line, len, "-e")};
        return reply_text(plan->mail);
    case STAGE_RCPT:
        return reply_text(number_behind(line, len, "<r"));
    case STAGE_DATA:
        return plan->data == 354 ? "354 go on\r\n" : reply_text(plan->data);
    case STAGE_EOM:
        return reply_text(plan->eom);
    default:
        return NULL;
    }
}

/* ---- the script of the client ---- */

static const char *const TEXTS[ACT_COUNT] = {
    [ACT_EHLO] = "EHLO client.example\r\n",
    [ACT_HELO] = "HELO client.example\r\n",
    [ACT_EHLO_EMPTY] = "EHLO\r\n",
    [ACT_MAIL] = "MAIL FROM:<m%d-d%d-e%d@a.example>\r\n",
    [ACT_MAIL_SYNTAX] = "MAIL FROM:<@@>\r\n",
    [ACT_MAIL_PARAM] = "MAIL FROM:<a@b.example> FOO=bar\r\n",
    [ACT_MAIL_SIZE] = "MAIL FROM:<a@b.example> SIZE=99999999999\r\n",
    [ACT_RCPT] = "RCPT TO:<r%d@c.example>\r\n",
    [ACT_RCPT_SYNTAX] = "RCPT TO:<a b@c.example>\r\n",
    [ACT_DATA] = "DATA\r\n",
    [ACT_DATA_ARGUMENT] = "DATA now\r\n",
    [ACT_BODY] = "Subject: x\r\n\r\n..dot\r\nbody\r\n.\r\n",
    [ACT_BODY_BAD] = "Subject: x\r\n\r\nbare\n.\r\nx\r\n.\r\n",
    [ACT_RSET] = "RSET\r\n",
    [ACT_NOOP] = "NOOP\r\n",
    [ACT_VRFY] = "VRFY somebody\r\n",
    [ACT_HELP] = "HELP\r\n",
    [ACT_UNKNOWN] = "FOO bar\r\n",
    [ACT_STARTTLS] = "STARTTLS\r\n",
    [ACT_XCLIENT] = "XCLIENT ADDR=192.0.2.9\r\n",
    [ACT_BARE_LF] = "NOOP\nNOOP\r\n",
    [ACT_BODY_LONG] = NULL, /* these two are made up below */
    [ACT_LONG] = NULL,
    [ACT_QUIT] = "QUIT\r\n",
};

static uint32_t pick(struct run *run, uint32_t count)
{
    return (uint32_t)(sim_random(run->weir->sim) >> 33) % count;
}

static int pick_code(struct run *run, int good)
{
    static const int codes[] = {450, 451, 550, 554, 421};
    uint32_t at = pick(run, 40);
    return at < sizeof(codes) / sizeof(codes[0]) ? codes[at] : good;
}

/* In `stream` it is a matter of how the message is cut whether BDAT takes it: the reference cannot know
 * if what the upstream has against DATA is heard. */
static bool is_in_pieces(const struct run *run)
{
    return run->reference.chunking && weir_is_streaming(run->weir);
}

/* Mostly what a client would do next; now and then anything. */
static enum action pick_action(struct run *run, const struct reference *r)
{
    if (r->in_body) {
        static const enum action bodies[] = {ACT_BODY, ACT_BODY, ACT_BODY, ACT_BODY_LONG,
                                             ACT_BODY_BAD};
        bool is_race = weir_is_streaming(run->weir) && r->plan.data != 354;
        return bodies[pick(run,
                           is_race ? 4 : 5)]; /* which fault is found first, that of the message
                                                      or the upstream's, is a matter of cuts, too */
    }
    if (pick(run, 3) == 0) {
        enum action action = (enum action)pick(run, ACT_COUNT);
        bool is_body = action == ACT_BODY || action == ACT_BODY_LONG || action == ACT_BODY_BAD;
        return is_body || (action == ACT_QUIT && pick(run, 4) > 0) ? ACT_NOOP : action;
    }
    if (!r->helo) {
        return pick(run, 2) == 0 ? ACT_HELO : ACT_EHLO;
    }
    if (!r->in_transaction) {
        return ACT_MAIL;
    }
    return r->accepted == 0 || pick(run, 2) == 0 ? ACT_RCPT : ACT_DATA;
}

static uint32_t write_action(char *out, enum action action, const struct plan *plan)
{
    if (action == ACT_BODY_LONG) {
        for (uint32_t at = 0; at < LONG_LEN; at += 10) {
            memcpy(out + at, at % 30 == 0 ? "..345678\r\n" : "12345678\r\n", 10);
        }
        memcpy(out + LONG_LEN, ".\r\n", 3);
        return LONG_LEN + 3;
    }
    if (action == ACT_LONG) {
        memset(out, 'x', SMTP_LINE_MAX + 10);
        memcpy(out + SMTP_LINE_MAX + 10, "\r\n", 2);
        return SMTP_LINE_MAX + 12;
    }
    if (action == ACT_MAIL) {
        return (uint32_t)snprintf(out, TEXT_MAX, "MAIL FROM:<m%d-d%d-e%d@a.example>\r\n",
                                  plan->mail, plan->data, plan->eom);
    }
    if (action == ACT_RCPT) {
        return (uint32_t)snprintf(out, TEXT_MAX, "RCPT TO:<r%d@c.example>\r\n", plan->rcpt);
    }
    uint32_t len = (uint32_t)strlen(TEXTS[action]);
    memcpy(out, TEXTS[action], len);
    return len;
}

/* ---- the comparison ---- */

/* The codes of the complete replies in `text`; 0 behind the last. */
static void read_codes(struct run *run, int *codes, int max)
{
    char text[16384];
    int64_t got = sim_read(run->weir->sim, run->client, text, sizeof(text) - 1);
    int count = 0;
    text[got > 0 ? got : 0] = '\0';
    for (char *line = text; *line != '\0' && count < max - 1;) {
        char *end = strstr(line, "\r\n");
        assert_non_null(end);
        if (line[3] == ' ') {
            codes[count++] = (int)strtol(line, NULL, 10);
        }
        line = end + 2;
    }
    codes[count] = 0;
    run->replies += (uint64_t)count;
}

static void compare_state(struct run *run)
{
    const struct reference *r = &run->reference;
    const struct session *session = weir_session(run->weir);
    if (r->ended) {
        assert_true(session == NULL || session->state == SESSION_CLOSING);
        return;
    }
    assert_non_null(session);
    enum session_state body = r->checking   ? SESSION_HOLD
                              : r->chunking ? SESSION_GATHER
                                            : SESSION_BODY;
    assert_int_equal(session->state, r->in_body ? body : SESSION_COMMAND);
    assert_int_equal(session->transaction != NULL, r->in_transaction);
    assert_int_equal(session->helo[0] != '\0', r->helo);
    assert_int_equal(session->errors, r->errors);
    assert_int_equal(session->commands, r->commands);
    if (session->transaction != NULL) {
        assert_int_equal(session->transaction->envelope.accepted_count, r->accepted);
    } else {
        assert_null(session->lease);
    }
}

/* Shows what was sent and what came of it, before the assertion that it breaks. */
static void explain(const struct run *run, const char *text, uint32_t len, const int *expected,
                    const int *codes)
{
    print_error("SIM_SEED=%llu: sent:\n%.*s", (unsigned long long)run->seed, (int)len, text);
    for (int i = 0; expected[i] != 0 || codes[i] != 0; i++) {
        print_error("expected %d, got %d\n", expected[i], codes[i]);
        if (expected[i] == 0 || codes[i] == 0) {
            break;
        }
    }
}

/* Some actions in one segment. A message's body is a segment of its own, as its client has to see
 * the 354 first. */
static void run_group(struct run *run, int *actions_left)
{
    static char text[(GROUP_MAX + 1) * TEXT_MAX + LONG_LEN];
    uint32_t len = 0;
    int expected[GROUP_MAX * REFERENCE_REPLIES_MAX + 1];
    int count = 0;
    uint32_t size = pick(run, 4) > 0 ? 1 : 1 + pick(run, GROUP_MAX);
    for (uint32_t i = 0; i < size && !run->reference.ended; i++) {
        struct plan plan = {pick_code(run, 250), pick_code(run, 250), pick_code(run, 354),
                            pick_code(run, 250)};
        if (is_in_pieces(run)) {
            plan.data = 354;
        }
        enum action action = pick_action(run, &run->reference);
        bool was_body = run->reference.in_body;
        len += write_action(text + len, action, &plan);
        count += reference_apply(&run->reference, action, &plan, expected + count);
        run->actions[action]++;
        (*actions_left)--;
        if (run->reference.in_body || was_body) {
            break;
        }
    }
    expected[count] = 0;
    int64_t sent = sim_write(run->weir->sim, run->client, text, len);
    assert_int_equal(sent, len);
    assert_true(model_settle(&run->model, 100000));
    int codes[64];
    read_codes(run, codes, 64);
    if (memcmp(codes, expected, (size_t)(count + 1) * sizeof(int)) != 0) {
        explain(run, text, len, expected, codes);
    }
    assert_memory_equal(codes, expected, (size_t)(count + 1) * sizeof(int));
    compare_state(run);
}

static void run_session(struct run *run)
{
    int codes[4];
    int actions_left = ACTIONS_MAX;
    run->reference = (struct reference){
        .mail_at_once = run->weir->config.upstreams[0].contact == CONTACT_MAIL,
        .chunking = run->model.ehlo == CHUNKING_EHLO,
        .checking = weir_is_checking(run->weir),
        .has_size = run->model.ehlo != BARE_EHLO,
        .errors_max = ERRORS_MAX,
        .commands_max = COMMANDS_MAX,
        .recipients_max = RECIPIENTS_MAX,
    };
    run->client = weir_dial(run->weir);
    assert_true(model_settle(&run->model, 100000));
    read_codes(run, codes, 4);
    assert_int_equal(codes[0], 220);
    while (!run->reference.ended && actions_left > 0) {
        run_group(run, &actions_left);
    }
    sim_close(run->weir->sim, run->client);
    assert_true(model_settle(&run->model, 100000));
    assert_int_equal(run->model.violations, 0);
}

/* Sessions `first` to `first + count - 1` in a world of their own. Returns its trace. */
static uint64_t run_world(uint64_t seed, uint32_t count, struct run *run)
{
    run->weir = weir_create(&(struct weir_options){
        .sim =
            {.seed = seed, .short_read = 100, .short_write = 100, .delay = 50, .cancel_loses = 300},
        .extensions = seed % 5 == 0 ? 0 : EXT_PIPELINING | EXT_8BITMIME | EXT_SIZE | EXT_DSN,
        .contact = seed % 3 == 0 ? CONTACT_MAIL : CONTACT_RCPT,
        .pool_idle = seed % 2 == 0 ? 4 : 0,
    });
    run->seed = seed;
    run->weir->config.errors = ERRORS_MAX;
    run->weir->config.commands = COMMANDS_MAX;
    run->weir->config.recipients = RECIPIENTS_MAX;
    model_init(&run->model, run->weir);
    run->model.script = script;
    run->model.arg = run;
    if (seed % 5 == 0) {
        run->model.ehlo = BARE_EHLO; /* no PIPELINING: one command at a time to the upstream */
    } else if (seed / 2 % 2 == 0) {
        run->model.ehlo = CHUNKING_EHLO;
    }
    for (uint32_t i = 0; i < count; i++) {
        run_session(run);
    }
    uint64_t trace = sim_trace(run->weir->sim);
    weir_destroy(&run->weir);
    return trace;
}

static uint64_t number_of(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

static void test_no_difference(void **state)
{
    (void)state;
    uint64_t sessions = number_of("SIM_SESSIONS", 100000);
    uint64_t seed = number_of("SIM_SEED", 1);
    struct run *run = calloc(1, sizeof(*run));
    print_message("seed %llu, %llu sessions\n", (unsigned long long)seed,
                  (unsigned long long)sessions);
    for (uint64_t done = 0; done < sessions; done += SESSIONS_PER_WORLD, seed++) {
        uint64_t left = sessions - done;
        (void)run_world(seed, left < SESSIONS_PER_WORLD ? (uint32_t)left : SESSIONS_PER_WORLD, run);
    }
    print_message("%llu replies compared, 0 differences\n", (unsigned long long)run->replies);
    for (int i = 0; i < ACT_COUNT; i++) {
        assert_true(sessions < 1000 ||
                    run->actions[i] > 0); /* a walk that never comes by proves nothing */
    }
    free(run);
}

static void test_same_seed_same_trace(void **state)
{
    (void)state;
    struct run *run = calloc(1, sizeof(*run));
    for (uint64_t seed = 1; seed <= 6; seed++) {
        assert_true(run_world(seed, 50, run) == run_world(seed, 50, run));
    }
    assert_true(run_world(1, 50, run) != run_world(2, 50, run));
    free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_difference),
        cmocka_unit_test(test_same_seed_same_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
