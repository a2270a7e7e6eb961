/*
 * test_endings - clients and upstreams that end at any moment, in any way, several at once.
 *
 * Each seed makes a world of its own: two to eight clients on one worker, pooled upstream
 * connections, short reads and writes, delays, cancels that lose, small queues, a handful of
 * receive buffers, connections that break by chance. Clients close, half-close, reset, fall silent
 * or stop reading at a random byte; so does the upstream, or it answers with a refusal, a 421 or
 * half a reply; and now and then the worker is told to drain or to stop. Where messages are checked,
 * the answers from DNS come late or never, long messages go to files that fill up or cannot be read, and
 * connections are given back in mid-message, so that the envelope is said once more.
 *
 * Every transaction has a salt: in its addresses, its message and the upstream's replies to it.
 *
 *   no false 250    a client's 2xx behind its message: the model has accepted that message, whole
 *   no truncation   every message that the model sees an end of is one of ours, whole
 *   no mix-up       no reply reaches a client that carries another transaction's salt
 *   no more         never more replies than commands, but for one 421 at the end
 *   in its time     `hold`: the upstream hears of a message when its client has said all of it;
 *                   `stream`: of its end
 *   nothing stuck   all is over within a bounded number of turns and of virtual time
 *   nothing left    no session, lease, buffer, descriptor; no violation at the model
 *   same seed       same trace
 *
 * SIM_ENDINGS (default 3000) is the number of seeds, SIM_SEED (default 1) the first one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/lease.h"
#include "core/session.h"
#include "test/model_upstream.h"
#include "test/own_replies.h"
#include "test/weir_client.h"

enum {
    PARTIES_MAX = 8,
    TRANSACTIONS_MAX = 3,
    KINDS_MAX = 16,
    OUT_MAX = 65536,
    IN_MAX = 32768,
    SALT_SIZE = 32,
    TURNS_MAX = 200000,
    TIME_MAX_MS = 3 * 3600 * 1000,
    REPEAT_EVERY = 8, /* seeds: each so many-th one is run twice */
};

enum kind { KIND_OTHER, KIND_MAIL, KIND_RCPT, KIND_DATA, KIND_EOM, KIND_QUIT };
enum phase { AT_GREETING, AT_HELLO, AT_ENVELOPE, AT_BODY, AT_RESET, AT_QUIT };
enum ending { END_CLOSE, END_EOF, END_RESET, END_SILENT, END_DEAF, END_COUNT };

struct party {
    uint32_t index;
    int fd;
    bool ended;     /* the proxy has closed */
    bool is_silent; /* sends no more */
    bool is_deaf;   /* reads no more */
    bool is_broken; /* the connection was reset: a reply may end anywhere */
    bool said_421;  /* the proxy did: nothing may follow */
    enum ending ending;
    uint64_t end_at; /* bytes sent when it happens */
    uint64_t sent;
    uint64_t eom_at[TRANSACTIONS_MAX]; /* bytes sent when all of that message is */
    int64_t deaf_until_ms;
    enum phase phase;
    uint32_t step; /* of the envelope: 0 MAIL, then the RCPTs, then DATA */
    uint32_t rcpts;
    uint32_t transactions; /* to come */
    uint32_t transaction;  /* number of this one */
    uint32_t kind_count;   /* replies that are owed, oldest first */
    uint8_t kinds[KINDS_MAX];
    int last_code;
    char salt[SALT_SIZE];
    uint32_t out_len;
    uint32_t in_len;
    char out[OUT_MAX];
    char in[IN_MAX];
};

struct run {
    uint64_t seed;
    uint64_t random;
    struct weir *weir;
    struct model model;
    uint32_t party_count;
    struct party parties[PARTIES_MAX];
    bool accepted[PARTIES_MAX][TRANSACTIONS_MAX];
    char salts[MODEL_CONNS_MAX][SALT_SIZE]; /* of the transaction on each upstream connection */
    uint32_t fuse[MODEL_CONNS_MAX];         /* answers until it misbehaves; 0: never */
    char text[256];
    /* over all seeds */
    uint64_t endings[END_COUNT];
    uint64_t messages;
    uint64_t acknowledged;
    uint64_t repeated;
    uint64_t whole;                       /* went with BDAT */
    uint64_t states[SESSION_STATE_COUNT]; /* turns that a session was in a state */
    uint64_t spooled;                     /* turns with a spool file */
};

static struct run run; /* 10 MB, used by one seed after the other */

static void check(bool good, const char *what)
{
    if (!good) {
        fail_msg("%s (SIM_SEED=%llu SIM_ENDINGS=1)", what, (unsigned long long)run.seed);
    }
}

/* The actors' own numbers: the world's must not depend on how often they ask. */
static uint32_t draw(uint32_t below)
{
    run.random = run.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(run.random >> 33) % below;
}

/* ---- messages ---- */

static uint32_t body_lines(const char *salt)
{
    uint32_t sum = 7;
    for (const char *at = salt; *at != '\0'; at++) {
        sum = sum * 31 + (uint8_t)*at;
    }
    if (sum % 8 != 0) {
        return sum / 8 % 6;
    }
    bool is_held = weir_is_checking(run.weir) && sum / 8 % 2 == 0;
    return sum / 16 % (is_held ? 1000 : 250);
}

/* The message of a transaction: everything in it follows from the salt. */
static uint32_t body_of(const char *salt, char *out, uint32_t size)
{
    uint32_t len = (uint32_t)snprintf(out, size, "Subject: salt=%s.\r\n\r\n", salt);
    for (uint32_t i = 0; i < body_lines(salt); i++) {
        len += (uint32_t)snprintf(out + len, size - len, "%sline %u of %s, and some more of it\r\n",
                                  i % 3 == 1 ? ".." : "", i, salt);
    }
    len += (uint32_t)snprintf(out + len, size - len, "end of %s\r\n", salt);
    check(len < size, "the test's message is too long");
    return len;
}

/* "salt=c3t1." in the text; false when there is none. */
static bool find_salt(const char *text, uint32_t len, char out[SALT_SIZE])
{
    const char *at = memmem(text, len, "salt=", 5);
    if (at == NULL) {
        return false;
    }
    uint32_t i = 0;
    for (at += 5; at < text + len && *at != '.' && *at != '@' && i < SALT_SIZE - 1; at++) {
        out[i++] = *at;
    }
    out[i] = '\0';
    return true;
}

/* ---- the upstream ---- */

/* The model has seen the end of a message. */
static void check_message(const char *bytes, uint32_t len, char salt[SALT_SIZE])
{
    static char expected[OUT_MAX];
    check(find_salt(bytes, len, salt), "a message without a salt arrived");
    uint32_t body = body_of(salt, expected, sizeof(expected));
    check(len >= body && memcmp(bytes + len - body, expected, body) == 0,
          "a message arrived that is not whole");
    check(memcmp(weir_behind_results(bytes), "Received: ", 10) == 0, "our field is not on top");
    check(memcmp(bytes + len - body - 2, "\r\n", 2) == 0, "our field runs into the message");
    check(memmem(bytes, len - body, "salt=", 5) == NULL, "two messages in one");
}

static void accept_message(const char *salt)
{
    uint32_t client = 0;
    uint32_t transaction = 0;
    check(sscanf(salt, "c%ut%u", &client, &transaction) == 2, "a strange salt");
    check(client < PARTIES_MAX && transaction < TRANSACTIONS_MAX, "a salt of nobody");
    run.accepted[client][transaction] = true;
    run.messages++;
}

static const char *good_answer(enum model_stage stage, const char *salt)
{
    static const struct {
        const char *code;
        const char *word;
    } words[STAGE_COUNT] = {
        [STAGE_CONNECT] = {"220", "greeting"}, [STAGE_EHLO] = {"250", "EHLO"},
        [STAGE_HELO] = {"250", "HELO"},        [STAGE_RSET] = {"250", "RSET"},
        [STAGE_MAIL] = {"250", "MAIL"},        [STAGE_RCPT] = {"250", "RCPT"},
        [STAGE_DATA] = {"354", "DATA"},        [STAGE_EOM] = {"250", "taken"},
        [STAGE_QUIT] = {"221", "QUIT"},
    };
    if (stage == STAGE_EHLO) {
        static const char *const offers[] = {
            "250 up.example\r\n", "250-up.example\r\n250 CHUNKING\r\n",
            "250-up.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n",
            "250-up.example\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 PIPELINING\r\n"};
        return offers[draw(4)];
    }
    if (stage == STAGE_BODY) {
        return "";
    }
    bool has_two = draw(4) == 0;
    int len = 0;
    if (has_two) {
        len = snprintf(run.text, sizeof(run.text), "%s-%s salt=%s.\r\n", words[stage].code,
                       words[stage].word, salt);
    }
    (void)snprintf(run.text + len, sizeof(run.text) - (size_t)len, "%s %s salt=%s.\r\n",
                   words[stage].code, words[stage].word, salt);
    return run.text;
}

/* A part of the answer, or all of it, and then the end. */
static const char *break_off(struct model_conn *conn, const char *answer, const char *how)
{
    uint32_t len = (uint32_t)strlen(answer);
    uint32_t part = len == 0 ? 0 : draw(len);
    /* The other side may be gone. */
    (void)sim_write(run.weir->sim, conn->fd, conn->queue, conn->queued);
    (void)sim_write(run.weir->sim, conn->fd, answer, part);
    conn->queued = 0;
    return how;
}

static const char *bad_answer(struct model_conn *conn, enum model_stage stage, const char *answer,
                              const char *salt)
{
    static const char *const codes[] = {"451", "550", "421", "150", "334"};
    switch (draw(8)) {
    case 0:
        return MODEL_DROP;
    case 1:
        return MODEL_RESET;
    case 2:
        return MODEL_SILENT;
    case 3:
        return break_off(conn, answer, MODEL_DROP);
    case 4:
        return break_off(conn, answer, MODEL_RESET);
    case 5:
        sim_eof(run.weir->sim, conn->fd);
        return MODEL_SILENT;
    case 6:
        return break_off(conn, answer, MODEL_SILENT);
    default:
        break;
    }
    (void)snprintf(run.text, sizeof(run.text), "%s no salt=%s.\r\n", codes[draw(5)], salt);
    if (stage != STAGE_BODY) {
        return run.text;
    }
    if (run.text[0] < '4') {
        return "";
    }
    /* Its last word: two answers to one message would be the next command's, and no proxy can tell.
     */
    (void)sim_write(run.weir->sim, conn->fd, run.text, (uint32_t)strlen(run.text));
    return draw(2) == 0 ? MODEL_DROP : MODEL_SILENT;
}

/* A message that is checked does not go on before it has been heard. */
static void check_time(enum model_stage stage, const char *salt)
{
    bool is_about_message = stage == STAGE_DATA || stage == STAGE_BODY;
    uint32_t client = 0;
    uint32_t transaction = 0;
    if (!weir_is_checking(run.weir) ||
        (stage != STAGE_EOM && (weir_is_streaming(run.weir) || !is_about_message))) {
        return;
    }
    check(sscanf(salt, "c%ut%u", &client, &transaction) == 2, "a strange salt");
    check(client < PARTIES_MAX && transaction < TRANSACTIONS_MAX, "a salt of nobody");
    const struct party *party = &run.parties[client];
    check(party->sent >= party->eom_at[transaction], "before all of it has been said");
}

static const char *script(struct model *model, struct model_conn *conn, enum model_stage stage,
                          const char *line, uint32_t len)
{
    size_t slot = (size_t)(conn - model->conns);
    if (stage == STAGE_CONNECT) {
        run.salts[slot][0] = '\0';
        run.fuse[slot] = draw(3) == 0 ? 1 + draw(14) : 0;
    }
    if (stage == STAGE_MAIL) {
        check(find_salt(line, len, run.salts[slot]), "MAIL without a salt");
    }
    if (stage == STAGE_EOM) {
        char salt[SALT_SIZE];
        check_message(line, len - 3, salt);
        check(strcmp(salt, run.salts[slot]) == 0, "a message in another's envelope");
    }
    check_time(stage, run.salts[slot]);
    const char *answer = good_answer(stage, run.salts[slot]);
    if (run.fuse[slot] > 0 && --run.fuse[slot] == 0) {
        answer = bad_answer(conn, stage, answer, run.salts[slot]);
    }
    if (stage == STAGE_EOM && answer[0] == '2') {
        accept_message(run.salts[slot]);
    }
    return answer;
}

/* ---- what the clients say ---- */

static void say(struct party *party, enum kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void say(struct party *party, enum kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(party->out + party->out_len, OUT_MAX - party->out_len, format, args);
    va_end(args);
    party->out_len += (uint32_t)len;
    check(party->out_len < OUT_MAX, "the test's output is too long");
    check(party->kind_count < KINDS_MAX, "the test's group is too long");
    party->kinds[party->kind_count++] = (uint8_t)kind;
}

static void say_envelope_step(struct party *party)
{
    if (party->step == 0) {
        (void)snprintf(party->salt, SALT_SIZE, "c%ut%u", party->index, party->transaction);
        party->rcpts = 1 + draw(3);
        say(party, KIND_MAIL, "MAIL FROM:<salt=%s@example.org>\r\n", party->salt);
    } else if (party->step <= party->rcpts) {
        say(party, KIND_RCPT, "RCPT TO:<r%u@example.org>\r\n", party->step);
    } else {
        say(party, KIND_DATA, "DATA\r\n");
    }
    party->step++;
}

static void say_body(struct party *party)
{
    party->out_len += body_of(party->salt, party->out + party->out_len, OUT_MAX - party->out_len);
    say(party, KIND_EOM, ".\r\n");
    party->eom_at[party->transaction] = party->sent + party->out_len;
    if (draw(4) == 0) {
        say(party, KIND_OTHER, "NOOP\r\n"); /* in the same segment as the end-of-data */
    }
}

/* Where the dialogue goes from here: all that was said has been answered. */
static void choose_phase(struct party *party)
{
    bool data_answered = party->phase == AT_ENVELOPE && party->step == party->rcpts + 2;
    if (data_answered && party->last_code == 354) {
        party->phase = AT_BODY;
    } else if (data_answered) {
        party->phase = AT_RESET;
    } else if (party->phase == AT_GREETING) {
        party->phase = AT_HELLO;
    } else if (party->phase != AT_ENVELOPE) {
        party->phase = party->transactions > 0 ? AT_ENVELOPE : AT_QUIT;
        party->step = 0;
    }
}

static void say_next(struct party *party)
{
    choose_phase(party);
    switch (party->phase) {
    case AT_GREETING:
        break;
    case AT_HELLO:
        say(party, KIND_OTHER, "EHLO client%u.example\r\n", party->index);
        break;
    case AT_ENVELOPE:
        if (party->step == 0) {
            party->transactions--;
            party->transaction++;
        }
        do {
            say_envelope_step(party);
        } while (party->step < party->rcpts + 2 && draw(4) != 0);
        break;
    case AT_BODY:
        say_body(party);
        break;
    case AT_RESET:
        say(party, KIND_OTHER, "RSET\r\n");
        break;
    case AT_QUIT:
        say(party, KIND_QUIT, "QUIT\r\n");
        break;
    }
}

/* ---- what the clients hear ---- */

static bool is_ours(const char *text)
{
    static const char *const ours[] = {
        "220 mx.example.org ESMTP mailweir\r\n",
        "250-mx.example.org\r\n",
        "250 2.0.0 ok\r\n",
        "250 2.1.0 sender ok\r\n",
        "221 2.0.0 bye\r\n",
        "354 end data with <CR><LF>.<CR><LF>\r\n",
        "421 4.3.2 shutting down\r\n",
        "421 4.3.1 insufficient system storage\r\n",
        "421 4.4.1 no upstream server can be reached (",
        "421 4.4.2 timeout",
        "421 4.7.0 too many errors\r\n",
        "451 4.4.1 no upstream server can be reached (",
        "451 4.3.2 all upstream connections are in use\r\n",
        "451 4.4.2 upstream connection lost",
        "452 4.3.1 insufficient system storage\r\n",
        "503 5.5.1 need MAIL command\r\n",
        "503 5.5.1 nested MAIL command\r\n",
        "554 5.5.1 no valid recipients\r\n",
    };
    for (uint32_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (strncmp(text, ours[i], strlen(ours[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void hear(struct party *party, const char *text, uint32_t len)
{
    static char line[IN_MAX];
    char salt[SALT_SIZE];
    memcpy(line, text, len);
    line[len] = '\0';
    int code = (int)strtol(line, NULL, 10);
    check(!party->said_421, "a reply behind a 421");
    check(party->kind_count > 0 || party->phase == AT_GREETING || code == 421,
          "a reply that nobody waits for");
    enum kind kind = party->kind_count > 0 ? (enum kind)party->kinds[0] : KIND_OTHER;
    bool is_held = weir_is_checking(run.weir);
    if (!is_ours(line) && !(kind == KIND_EOM && is_held && own_reply_to_held(line))) {
        check(find_salt(line, len, salt), "a reply that is neither ours nor the upstream's");
        check(strcmp(salt, party->salt) == 0, "another's reply");
        check(kind != KIND_OTHER && kind != KIND_QUIT, "an upstream's reply to a command of ours");
    }
    if (kind == KIND_EOM && code / 100 == 2) {
        check(run.accepted[party->index][party->transaction], "FALSE 250");
        run.acknowledged++;
    }
    if (kind == KIND_RCPT || kind == KIND_DATA || kind == KIND_EOM) {
        check(code / 100 != 2 || !is_ours(line), "a success of our own where the upstream decides");
    }
    party->said_421 = code == 421 && is_ours(line);
    party->last_code = code;
    if (party->kind_count > 0) {
        party->kind_count--;
        memmove(party->kinds, party->kinds + 1, party->kind_count);
    }
    if (party->phase == AT_GREETING && party->kind_count == 0) {
        say_next(party);
    }
}

static void hear_all(struct party *party)
{
    int len;
    uint32_t at = 0;
    while ((len = client_find_reply(party->in + at, party->in_len - at)) > 0) {
        hear(party, party->in + at, (uint32_t)len);
        at += (uint32_t)len;
    }
    check(len == 0, "what comes is no reply");
    party->in_len -= at;
    memmove(party->in, party->in + at, party->in_len);
}

static bool party_read(struct party *party)
{
    if (party->ended || party->is_deaf || draw(8) == 0) {
        return false;
    }
    uint32_t want = draw(2) == 0 ? 1 + draw(80) : IN_MAX;
    want = want < IN_MAX - party->in_len ? want : IN_MAX - party->in_len;
    int64_t got = sim_read(run.weir->sim, party->fd, party->in + party->in_len, want);
    if (got > 0) {
        party->in_len += (uint32_t)got;
        hear_all(party);
    } else if (got == 0 || sim_at_end(run.weir->sim, party->fd)) {
        party->ended = true;
        bool may_cut = party->is_broken || run.weir->worker->phase == WORKER_STOPPING;
        check(got < 0 || may_cut || party->in_len == 0, "half a reply at the end");
    }
    return got != -EAGAIN;
}

/* ---- how the clients end ---- */

static void party_close(struct party *party)
{
    if (party->fd >= 0) {
        sim_close(run.weir->sim, party->fd);
        party->fd = -1;
    }
    party->ended = true;
}

static void party_end(struct party *party)
{
    run.endings[party->ending]++;
    party->end_at = UINT64_MAX;
    switch (party->ending) {
    case END_CLOSE:
        party_close(party);
        break;
    case END_EOF:
        sim_eof(run.weir->sim, party->fd);
        party->is_silent = true;
        break;
    case END_RESET:
        sim_reset(run.weir->sim, party->fd);
        party_close(party);
        break;
    case END_DEAF:
        party->is_deaf = true;
        party->deaf_until_ms = sim_now_ms(run.weir->sim) + 1000 * draw(1200);
        break;
    case END_SILENT:
    case END_COUNT:
        party->is_silent = true;
        break;
    }
}

static bool party_write(struct party *party)
{
    if (party->out_len == 0 || party->is_silent || party->ended || draw(8) == 0) {
        return false;
    }
    uint64_t len = draw(3) == 0 ? 1 + draw(party->out_len) : party->out_len;
    if (len > party->end_at - party->sent) {
        len = party->end_at - party->sent;
    }
    int64_t done = sim_write(run.weir->sim, party->fd, party->out, (uint32_t)len);
    if (done > 0) {
        party->sent += (uint64_t)done;
        party->out_len -= (uint32_t)done;
        memmove(party->out, party->out + done, party->out_len);
    }
    party->is_broken = done < 0; /* and what was told first, the read will not tell again */
    party->is_silent = done < 0;
    if (party->sent >= party->end_at) {
        party_end(party);
        return true;
    }
    return done > 0;
}

static bool party_act(struct party *party)
{
    if (party->fd < 0) {
        return false;
    }
    bool moved = party_read(party);
    bool leaves = party->is_deaf && sim_now_ms(run.weir->sim) >= party->deaf_until_ms;
    if (party->ended || leaves) {
        party_close(party);
        return true;
    }
    if (party->out_len == 0 && party->kind_count == 0 && party->phase != AT_GREETING &&
        party->phase != AT_QUIT && !party->is_silent) {
        say_next(party);
    }
    return party_write(party) || moved;
}

/* ---- a seed ---- */

static void party_init(uint32_t index)
{
    static const uint32_t end_max[] = {60, 200, 600, 2500};
    struct party *party = &run.parties[index];
    memset(party, 0, offsetof(struct party, out));
    party->index = index;
    party->transaction = UINT32_MAX; /* the first one is number 0 */
    for (uint32_t i = 0; i < TRANSACTIONS_MAX; i++) {
        party->eom_at[i] = UINT64_MAX; /* not said yet */
    }
    party->transactions = 1 + draw(TRANSACTIONS_MAX);
    party->ending = (enum ending)draw(END_COUNT);
    party->end_at = draw(3) == 0 ? 1 + draw(end_max[draw(4)]) : UINT64_MAX;
    party->fd = weir_dial(run.weir);
    if (draw(4) == 0) {
        sim_set_queue(run.weir->sim, party->fd, 16 + draw(48));
    }
}

static struct weir_options world_options(void)
{
    static const uint32_t queues[] = {64, 700, 5000, 65536};
    static const enum config_contact contacts[] = {CONTACT_RCPT, CONTACT_RCPT, CONTACT_MAIL,
                                                   CONTACT_CONNECT};
    return (struct weir_options){
        .sim = {.seed = run.seed,
                .fd_count = 128,
                .queue_bytes = queues[draw(4)],
                .short_read = draw(2) * 300,
                .short_write = draw(2) * 300,
                .delay = draw(3) * 150,
                .cancel_loses = draw(3) * 500,
                .reset_ppm = draw(3) == 0 ? 4000 : 0},
        .contact = contacts[draw(4)],
        .extensions = EXT_8BITMIME,
        .buf_count = draw(3) == 0 ? 4 : 32,
        .pool_idle = draw(4),
        .has_dns = draw(2) == 0, /* it never answers */
        .hold_memory = draw(2) == 0 ? 1 : 0,
        .deadline_ms = 1 + draw(8000),
    };
}

static void prepare_holding(void)
{
    struct sim_files files = {0};
    if (draw(4) == 0) {
        files.space_max = draw(60000);
    } else if (draw(8) == 0) {
        files.read_error = -EIO;
    } else if (draw(8) == 0) {
        files.open_error = -EROFS;
    }
    sim_set_files(run.weir->sim, &files);
    if (draw(3) == 0) {
        run.weir->config.upstreams[0].lease_hold_ms = draw(2); /* at once */
    }
}

static void prepare(uint64_t seed)
{
    run.seed = seed;
    run.random = seed * UINT64_C(0x9e3779b97f4a7c15);
    memset(run.accepted, 0, sizeof(run.accepted));
    struct weir_options options = world_options();
    run.weir = weir_create(&options);
    run.weir->config.errors = 6;
    run.weir->config.session_timeout_ms = draw(8) == 0 ? 1000000 : 3600 * 1000;
    run.weir->config.listeners[0].greet_delay_ms = draw(6) == 0 ? 3000 : 0;
    if (draw(4) == 0) {
        run.weir->config.upstreams[0].servers[0].max = 1 + draw(2); /* the others have to wait */
    }
    prepare_holding();
    model_init(&run.model, run.weir);
    run.model.script = script;
    run.model.drip = draw(4) == 0 ? 1 + draw(9) : 0;
    run.party_count = 2 + draw(PARTIES_MAX - 1);
    for (uint32_t i = 0; i < run.party_count; i++) {
        party_init(i);
    }
}

/* A connection that was given back in the middle of a message would show here. */
static void check_bodies(void)
{
    for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
        const struct model_conn *conn = &run.model.conns[i];
        if (conn->fd >= 0 && conn->in_data && !conn->is_silent) {
            check(memmem(conn->bytes, conn->len, "MAIL FROM:", 10) == NULL,
                  "a command in the middle of a message");
        }
    }
}

/* Where sessions are, in turns. */
static void note_states(void)
{
    struct list_node *head = &run.weir->worker->session_list;
    for (struct list_node *node = head->next; node != head; node = node->next) {
        const struct session *session = list_entry(node, struct session, node);
        run.states[session->state]++;
    }
    run.spooled += sim_file_bytes(run.weir->sim) > 0;
}

/* One turn of everybody; true when anything moved. */
static bool everybody(bool *ret_over)
{
    bool moved = weir_turn(run.weir);
    moved |= model_act(&run.model);
    check_bodies();
    note_states();
    *ret_over = true;
    uint32_t first = draw(run.party_count);
    for (uint32_t i = 0; i < run.party_count; i++) {
        struct party *party = &run.parties[(first + i) % run.party_count];
        moved |= party_act(party);
        *ret_over &= party->fd < 0;
    }
    return moved;
}

static void run_to_the_end(void)
{
    int64_t begun_ms = sim_now_ms(run.weir->sim);
    uint32_t phase_at = draw(8) == 0 ? draw(400) : UINT32_MAX;
    bool over = false;
    uint32_t still = 0; /* turns without a move: the actors hesitate now and then */
    for (uint32_t turn = 0; !over; turn++) {
        check(turn < TURNS_MAX, "stuck: too many turns");
        check(sim_now_ms(run.weir->sim) - begun_ms < TIME_MAX_MS, "stuck: too much time");
        if (turn == phase_at) {
            worker_ask(run.weir->worker, draw(2) == 0 ? WORKER_DRAINING : WORKER_STOPPING);
        }
        still = everybody(&over) ? 0 : still + 1;
        if (still > 20) {
            weir_wait(run.weir);
        }
    }
}

static uint64_t finish(void)
{
    model_hang_up(&run.model);
    check(run.model.violations == 0, run.model.violations == 0 ? "" : run.model.violation);
    run.whole += run.model.chunks;
    uint64_t trace = sim_trace(run.weir->sim);
    weir_destroy(&run.weir);
    return trace;
}

static uint64_t run_seed(uint64_t seed)
{
    prepare(seed);
    run_to_the_end();
    return finish();
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

/* Every way of a message has been gone. */
static void assert_ways(uint64_t count)
{
    const char *mode = getenv("SIM_VERIFY");
    bool is_off = mode == NULL || strcmp(mode, "off") == 0;
    if (is_off) {
        assert_true(run.states[SESSION_GATHER] > count);
        assert_true(run.states[SESSION_BODY] > count);
        return;
    }
    assert_true(run.states[SESSION_HOLD] > count);
    assert_true(run.states[SESSION_VERDICT] > count);
    assert_true(run.states[SESSION_DELIVER] > count / 20);
    assert_true(run.states[SESSION_REPLAY] > count / 20);
    assert_true(strcmp(mode, "stream") == 0 || run.spooled > count);
}

static void test_endings(void **state)
{
    (void)state; /* none */
    uint64_t count = number_from("SIM_ENDINGS", 3000);
    uint64_t first = number_from("SIM_SEED", 1);
    for (uint64_t seed = first; seed < first + count; seed++) {
        uint64_t trace = run_seed(seed);
        if (seed % REPEAT_EVERY == 0) {
            check(run_seed(seed) == trace, "the same seed, another trace");
            run.repeated++;
        }
    }
    print_message(
        "endings: seeds %llu to %llu, %llu messages accepted, %llu acknowledged, %llu with "
        "BDAT, %llu seeds twice with the same trace\n",
        (unsigned long long)first, (unsigned long long)(first + count - 1),
        (unsigned long long)run.messages, (unsigned long long)run.acknowledged,
        (unsigned long long)run.whole, (unsigned long long)run.repeated);
    assert_true(run.acknowledged <= run.messages);
    if (count >= 1000) {
        assert_true(run.acknowledged > count);        /* most of it is mail that goes through */
        assert_true(run.messages > run.acknowledged); /* and some replies are lost */
        assert_true(run.whole > run.messages / 4);
        assert_true(run.states[SESSION_OPEN] > count / 20); /* a 354 is waited for */
        for (uint32_t i = 0; i < END_COUNT; i++) {
            assert_true(run.endings[i] > count / 20);
        }
        assert_ways(count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_endings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
