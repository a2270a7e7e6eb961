/*
 * test_bad_upstream - every misdeed of test/misdeeds.c, at every place of the dialogue where it
 * makes sense, with PIPELINING offered or not, with each `contact`, once or again and again; and
 * with each way of a message: DATA, BDAT, or DATA when the client has been too slow for BDAT. Where
 * messages are checked, one more: the client has been too slow for its connection, the envelope is said
 * once more, and the misdeed waits for that.
 *
 * In each case a whole client session runs, as an adaptive client goes through it. What must hold:
 *
 *   no false 250       2xx behind the end-of-data only if the model said 2xx for that very message
 *   no injected line   each reply is one of ours, or the upstream's complete one to that command,
 *                      and there is one reply for a command
 *   passed on          a correct reply comes through as it is, unless the connection was lost first
 *   in time            a reply within 600 s of virtual time, and no clock needed when none is due
 *   in its time        `hold`: the upstream hears of a message when its client has said all of it;
 *                      `stream`: of its end
 *   goes on            NOOP and QUIT are answered, or the session has ended behind a 421
 *   nothing left       the next client's message arrives; no violation, no session, lease, buffer
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/lease.h"
#include "core/session.h"
#include "test/misdeeds.h"
#include "test/own_replies.h"
#include "test/weir_client.h"

enum {
    OWED_MAX = 32,
    REPLY_MAX = 16384,
    IN_TIME_MS = 600 * 1000,
    DRIP_MS = 10000,
    FLOOD_MAX = 256 * 1024, /* queue, window and one reply's maximum, with room */
    CASES_MIN = 60,
    SMALL_QUEUE = 60, /* holds a BDAT and some of its octets, and less than a message */
};

/* How the message goes to the upstream. */
enum way { WAY_DATA, WAY_BDAT, WAY_LATE_DATA, WAY_REPLAY, WAY_COUNT };

struct owed {
    enum model_stage stage;
    uint32_t len;
    char text[REPLY_MAX];
};

struct run {
    const struct misdeed *misdeed;
    enum place place;
    enum config_contact contact;
    bool pipelining;
    enum way way;
    bool again; /* every time, not once */
    bool armed;
    bool is_due;    /* with WAY_REPLAY: it will be armed */
    bool committed; /* since the last command */
    bool said_all;  /* the client has: its message, to the end */
    bool accepted;  /* the message of this session, whole, with a 2xx */
    struct weir *weir;
    struct model model;
    struct client client;
    struct model_conn *conn; /* that the misdeed goes on at, */
    uint32_t conn_number;    /* while it is this one */
    bool idle_due;
    uint64_t flooded;
    int64_t dripped_ms;
    uint32_t commands;                  /* of all clients */
    uint32_t said_421[MODEL_CONNS_MAX]; /* the command at which it did, by slot */
    uint32_t salt;
    uint32_t owed_count;
    struct owed owed[OWED_MAX];
    char body[256];
    char out[REPLY_MAX];
    char text[128];
    char bytes[REPLY_MAX];
};

static struct run run; /* 10 MB, used by one case after the other */
static uint32_t cases_total;
static uint32_t beyond_total; /* that nobody can tell from others */

/* ---- failure ---- */

static const char *const contact_names[] = {
    [CONTACT_RCPT] = "rcpt", [CONTACT_MAIL] = "mail", [CONTACT_CONNECT] = "connect"};

static const char *const way_names[WAY_COUNT] = {"DATA", "BDAT", "DATA in mid-message",
                                                 "the envelope once more"};

static void check(bool good, const char *what)
{
    if (!good) {
        fail_msg("%s: \"%s\" at %s%s, contact = %s, %s PIPELINING, %s; last reply: %s", what,
                 run.misdeed->name, place_name(run.place), run.again ? " (always)" : " (once)",
                 contact_names[run.contact], run.pipelining ? "with" : "without",
                 way_names[run.way], run.client.text);
    }
}

/* ---- the upstream ---- */

static enum place place_of(enum model_stage stage, const char *line, uint32_t len)
{
    switch (stage) {
    case STAGE_CONNECT:
        return PLACE_GREETING;
    case STAGE_EHLO:
        return PLACE_EHLO;
    case STAGE_HELO:
        return PLACE_HELO;
    case STAGE_RSET:
        return PLACE_RSET;
    case STAGE_MAIL:
        return PLACE_MAIL;
    case STAGE_RCPT:
        return memmem(line, len, "one@", 4) != NULL ? PLACE_RCPT_FIRST : PLACE_RCPT_SECOND;
    case STAGE_DATA:
        return PLACE_DATA;
    case STAGE_BODY:
        return PLACE_BODY;
    case STAGE_EOM:
        return PLACE_EOM;
    case STAGE_QUIT:
        return PLACE_QUIT;
    case STAGE_COUNT:
        break;
    }
    return PLACE_COUNT;
}

static bool offers_chunking(void)
{
    return run.way == WAY_REPLAY ? run.again : run.way != WAY_DATA;
}

/* The usual answers, each different from all others, so that none can be taken for another. */
static const char *usual(enum model_stage stage, const struct model_conn *conn)
{
    enum place place = place_of(stage, "", 0);
    if (stage == STAGE_BODY) {
        return "";
    }
    if (stage == STAGE_EHLO) {
        if (run.place == PLACE_HELO) {
            return "500 5.5.1 EHLO is not known\r\n";
        }
        (void)snprintf(run.text, sizeof(run.text), "250-up.example\r\n%s%s250 8BITMIME\r\n",
                       run.pipelining ? "250-PIPELINING\r\n" : "",
                       offers_chunking() ? "250-CHUNKING\r\n" : "");
        return run.text;
    }
    const char *code = place_code(place);
    (void)snprintf(run.text, sizeof(run.text), "%s %c.0.0 %s %u on %u\r\n", code, code[0],
                   place_name(place), ++run.salt, conn->number);
    return run.text;
}

/* The first complete reply of an answer may reach the client. */
static void owe(enum model_stage stage, const char *bytes, uint32_t len)
{
    int found = client_find_reply(bytes, len);
    if (found <= 0) {
        return;
    }
    assert_true(run.owed_count < OWED_MAX);
    struct owed *owed = &run.owed[run.owed_count++];
    owed->stage = stage;
    owed->len = (uint32_t)found;
    memcpy(owed->text, bytes, owed->len);
    if (stage == STAGE_EOM && bytes[0] == '2') {
        run.accepted = true;
    }
}

static void write_all(const struct model_conn *conn, const char *bytes, uint32_t len)
{
    (void)sim_write(run.weir->sim, conn->fd, bytes, len); /* the other side may be gone */
}

/* So many bytes more will reach it. */
static void stop_reading(struct model_conn *conn, uint32_t room)
{
    conn->is_deaf = true;
    sim_set_queue(run.weir->sim, conn->fd, sim_pending(run.weir->sim, conn->fd) + room);
}

/* The bytes, and what comes behind them. As a string when that can be one, so that the model knows
 * what it has said. */
static const char *answer_with(const struct model_conn *conn, enum model_stage stage, uint32_t len)
{
    owe(stage, run.out, len);
    if (run.misdeed->then == NULL && memchr(run.out, '\0', len) == NULL) {
        run.out[len] = '\0';
        return run.out;
    }
    write_all(conn, run.out, len);
    return run.misdeed->then == NULL ? "" : run.misdeed->then;
}

static const char *commit(struct model_conn *conn, enum model_stage stage, const char *answer)
{
    const struct misdeed *misdeed = run.misdeed;
    uint32_t len = misdeed_bytes(misdeed, run.place, run.out, sizeof(run.out) - 1);
    uint32_t usual_len = (uint32_t)strlen(answer);
    run.committed = true;
    run.conn = conn;
    run.conn_number = conn->number;
    run.dripped_ms = sim_now_ms(run.weir->sim);
    run.flooded = 0;
    switch (misdeed->deed) {
    case DEED_SEND:
    case DEED_LONG:
        return answer_with(conn, stage, len);
    case DEED_GLUE:
        memmove(run.out + usual_len, run.out, len);
        memcpy(run.out, answer, usual_len);
        return answer_with(conn, stage, len + usual_len);
    case DEED_IDLE:
        run.idle_due = true;
        owe(stage, answer, usual_len);
        return answer;
    case DEED_DRIP:
        run.model.drip = 1;
        owe(stage, answer, usual_len);
        return answer;
    case DEED_SLOW:
    case DEED_HALF:
        write_all(conn, run.out, len);
        return MODEL_SILENT;
    case DEED_EOF:
        sim_eof(run.weir->sim, conn->fd);
        return MODEL_SILENT;
    case DEED_DEAF:
        stop_reading(conn, 1);
        return MODEL_SILENT;
    case DEED_STALL:
        stop_reading(conn, (uint32_t)strlen(run.body) / 3 + 1); /* the second of three pieces */
        return MODEL_SILENT;
    case DEED_FLOOD:
    case DEED_CONNECT:
        break;
    }
    return MODEL_SILENT;
}

/* The model has a complete message: it must be the one of this session, with our field on top. */
static void check_message(const char *bytes, uint32_t len)
{
    uint32_t body_len = (uint32_t)strlen(run.body);
    check(len > body_len, "a message arrived that is too short");
    const char *body = bytes + len - body_len;
    check(memcmp(body, run.body, body_len) == 0, "a message arrived that is not the client's");
    check(memcmp(weir_behind_results(bytes), "Received: ", 10) == 0 &&
              memcmp(body - 2, "\r\n", 2) == 0,
          "our field is not on top of the message");
}

/* A message that is checked does not go on before it has been heard. */
static void check_time(enum model_stage stage)
{
    bool is_about_message = stage == STAGE_DATA || stage == STAGE_BODY || stage == STAGE_EOM;
    bool is_due = weir_is_streaming(run.weir) ? stage == STAGE_EOM : is_about_message;
    check(!is_due || run.said_all || !weir_is_checking(run.weir), "a message comes too early");
}

static const char *script(struct model *model, struct model_conn *conn, enum model_stage stage,
                          const char *line, uint32_t len)
{
    uint32_t *said_421 = &run.said_421[conn - model->conns];
    if (stage == STAGE_CONNECT) {
        *said_421 = 0;
    }
    check(*said_421 == 0 || *said_421 == run.commands || stage == STAGE_QUIT,
          "a connection is used again behind its 421");
    if (stage == STAGE_EOM) {
        check_message(line, len - 3);
    }
    check_time(stage);
    bool is_whole = run.way == WAY_BDAT || weir_is_checking(run.weir);
    if (is_whole && run.place == PLACE_BODY && stage == STAGE_RCPT) {
        sim_set_queue(run.weir->sim, conn->fd, SMALL_QUEUE); /* else all of it comes at once */
    }
    const char *answer = usual(stage, conn);
    if (run.armed && place_of(stage, line, len) == run.place) {
        run.armed = run.again;
        answer = commit(conn, stage, answer);
    } else {
        owe(stage, answer, (uint32_t)strlen(answer));
    }
    if (strncmp(answer, "421", 3) == 0) {
        *said_421 = run.commands;
    }
    return answer;
}

/* ---- misdeeds that go on ---- */

static bool conn_is_there(void)
{
    return run.conn != NULL && run.conn->fd >= 0 && run.conn->number == run.conn_number;
}

static bool flood_on(void)
{
    bool moved = false;
    uint32_t len = run.misdeed->len;
    while (conn_is_there() && sim_room(run.weir->sim, run.conn->fd) >= len &&
           run.flooded <= FLOOD_MAX) {
        if (sim_write(run.weir->sim, run.conn->fd, run.misdeed->bytes, len) < 0) {
            break;
        }
        run.flooded += len;
        moved = true;
    }
    check(run.flooded <= FLOOD_MAX, "a reply without end is read and read");
    return moved;
}

static bool drip_on(void)
{
    int64_t now_ms = sim_now_ms(run.weir->sim);
    if (!conn_is_there() || now_ms - run.dripped_ms < DRIP_MS) {
        return false;
    }
    run.dripped_ms = now_ms;
    return sim_write(run.weir->sim, run.conn->fd, "x", 1) > 0;
}

/* The second half, when all of the message has come and nobody will look at it. */
static bool half_on(void)
{
    if (!conn_is_there() || !model_has_all(run.conn)) {
        return false;
    }
    write_all(run.conn, "\r\n", 2);
    run.conn = NULL;
    return true;
}

/* The proxy has the end-of-data and cannot get rid of it. */
static bool stall_on(void)
{
    const struct session *session = weir_session(run.weir);
    if (!conn_is_there() || session == NULL || session->state != SESSION_FORWARD) {
        return false;
    }
    owe(STAGE_BODY, run.misdeed->bytes, run.misdeed->len);
    write_all(run.conn, run.misdeed->bytes, run.misdeed->len);
    run.conn = NULL;
    return true;
}

static bool go_on(void *arg)
{
    (void)arg; /* there is one run */
    if (!run.committed) {
        return false;
    }
    switch (run.misdeed->deed) {
    case DEED_FLOOD:
        return flood_on();
    case DEED_SLOW:
        return drip_on();
    case DEED_HALF:
        return half_on();
    case DEED_STALL:
        return stall_on();
    case DEED_SEND:
    case DEED_GLUE:
    case DEED_DRIP:
    case DEED_LONG:
    case DEED_EOF:
    case DEED_DEAF:
    case DEED_IDLE:
    case DEED_CONNECT:
        break;
    }
    return false;
}

/* Nothing is owed, and the upstream speaks or goes. */
static void speak_out_of_turn(void)
{
    if (!run.idle_due) {
        return;
    }
    run.idle_due = false;
    if (conn_is_there()) {
        uint32_t len = misdeed_bytes(run.misdeed, run.place, run.out, sizeof(run.out));
        write_all(run.conn, run.out, len);
        if (run.conn->in_data) {
            owe(STAGE_BODY, run.out, len); /* an early refusal */
        }
        if (run.misdeed->then == MODEL_RESET) {
            sim_reset(run.weir->sim, run.conn->fd);
        }
        if (run.misdeed->then != NULL) {
            sim_close(run.weir->sim, run.conn->fd);
            run.conn->fd = -1;
        }
    }
    client_settle(&run.client);
}

/* ---- the client ---- */

static bool is_ours(enum ask ask)
{
    const char *text = run.client.text;
    bool is_checking = weir_is_checking(run.weir);
    if (run.way == WAY_DATA && strncmp(text, "354", 3) == 0 && !is_checking) {
        return false; /* only the upstream's */
    }
    return own_reply(ask, text) || (is_checking && ask == ASK_EOM && own_reply_to_held(text));
}

/* Which of the upstream's replies can answer this command of the client. */
static bool answers(const struct owed *owed, enum ask ask)
{
    bool refusal = owed->text[0] >= '4';
    switch (owed->stage) {
    case STAGE_MAIL:
        return owed->text[0] != '3' && (ask == ASK_MAIL || (ask == ASK_RCPT && refusal));
    case STAGE_RCPT:
        return owed->text[0] != '3' && ask == ASK_RCPT;
    case STAGE_DATA:
        return run.way == WAY_LATE_DATA || weir_is_checking(run.weir)
                   ? ask == ASK_EOM && refusal
                   : ask == ASK_DATA && (refusal || strncmp(owed->text, "354", 3) == 0);
    case STAGE_BODY:
        return ask == ASK_EOM && refusal;
    case STAGE_EOM:
        return ask == ASK_EOM && owed->text[0] != '3';
    case STAGE_CONNECT:
    case STAGE_EHLO:
    case STAGE_HELO:
    case STAGE_RSET:
    case STAGE_QUIT:
    case STAGE_COUNT:
        break;
    }
    return false;
}

/* With PIPELINING a reply too many is the next one's: nobody can tell. It ends the connection when
 * the last of the group has had one. */
static bool may_be_shifted(enum ask ask)
{
    bool behind = (run.place == PLACE_RSET && (ask == ASK_MAIL || ask == ASK_RCPT)) ||
                  (run.place == PLACE_MAIL && ask == ASK_RCPT);
    return run.committed && run.pipelining && run.misdeed->deed == DEED_GLUE && behind;
}

static bool is_owed(enum ask ask)
{
    bool found = false;
    for (uint32_t i = 0; i < run.owed_count; i++) {
        const struct owed *owed = &run.owed[i];
        found |= (answers(owed, ask) || may_be_shifted(ask)) && owed->len == run.client.text_len &&
                 memcmp(owed->text, run.client.text, owed->len) == 0;
    }
    if (!found && may_be_shifted(ask)) {
        const char *extra = run.misdeed->bytes;
        found = run.misdeed->len == run.client.text_len &&
                memcmp(extra, run.client.text, run.misdeed->len) == 0;
    }
    return found;
}

/* Is there a reply that has to come through? Where RSET is answered in a strange way, nothing is.
 */
static bool must_be_passed(enum ask ask)
{
    bool owes = false;
    if (run.committed && run.place == PLACE_RSET) {
        return false;
    }
    for (uint32_t i = 0; i < run.owed_count; i++) {
        owes |= answers(&run.owed[i], ask);
    }
    return owes && (!run.committed || run.misdeed->is_good);
}

static void check_reply(enum ask ask, int code)
{
    check(code != CLIENT_STUCK, "no reply");
    check(code != CLIENT_NONSENSE, "what comes is no reply");
    check(code != CLIENT_ENDED, "the connection ended without a reply");
    check(run.client.waited_ms <= IN_TIME_MS, "the reply came too late");
    check(run.client.waited_ms == 0 || run.committed || run.misdeed->deed == DEED_CONNECT,
          "time passed and nothing was due");
    check(is_ours(ask) || is_owed(ask), "a reply that is neither ours nor owed");
    check(!must_be_passed(ask) || is_owed(ask), "a correct reply was not passed on");
    check(ask != ASK_EOM || code / 100 != 2 || run.accepted, "FALSE 250");
    check(ask != ASK_EOM || code / 100 == 2 || !run.accepted || !run.misdeed->is_good,
          "accepted, but the client was told otherwise");
}

/* Waits for the reply and looks whether something follows that nobody asked for. Its code, or 0
 * when the session is over. */
static int hear(enum ask ask)
{
    int code = client_reply(&run.client);
    check_reply(ask, code);
    client_settle(&run.client);
    speak_out_of_turn();
    check(run.client.len == 0, "more than one reply");
    if (run.client.ended || ask == ASK_QUIT) {
        check(code == 421 || ask == ASK_QUIT, "the session ended without a 421");
        check(client_sees_end(&run.client), "the session does not end");
        return 0;
    }
    return code;
}

static void new_command(void)
{
    run.commands++;
    run.owed_count = 0;
    run.committed = false;
}

static int command(enum ask ask, const char *line)
{
    new_command();
    check(client_send(&run.client, line, (uint32_t)strlen(line)), "the command is not taken");
    return hear(ask);
}

static void pass_time(int64_t ms)
{
    sim_advance(run.weir->sim, ms);
    client_settle(&run.client);
    speak_out_of_turn();
}

/* The connection has been waited with for too long; from here on the upstream misbehaves. */
static void await_release(void)
{
    pass_time(run.weir->config.upstreams[0].lease_hold_ms);
    run.armed = run.is_due;
    if (run.is_due && run.misdeed->deed == DEED_CONNECT) {
        sim_set_connect(run.weir->sim, run.weir->listener, run.misdeed->how, 1000);
    }
    run.is_due = false;
}

/* In three pieces, so that the upstream can interrupt; the end is in the last. In `stream` BDAT takes
 * what comes in one. */
static int send_body(void)
{
    uint32_t len = (uint32_t)strlen(run.body);
    uint32_t third = len / 3;
    uint32_t early = 0; /* a refusal that came while nothing was owed */
    for (uint32_t i = 0; i < run.owed_count; i++) {
        if (run.owed[i].stage == STAGE_BODY) {
            run.owed[early++] = run.owed[i];
        }
    }
    bool committed = run.committed && early > 0;
    new_command();
    run.owed_count = early;
    run.committed = committed;
    bool is_in_pieces = run.way != WAY_BDAT || !weir_is_streaming(run.weir);
    if (run.way == WAY_REPLAY) {
        await_release();
    }
    (void)client_send(&run.client, run.body, third);
    if (is_in_pieces) {
        client_settle(&run.client);
    }
    if (run.way == WAY_LATE_DATA) {
        pass_time(SESSION_GATHER_MS);
    }
    (void)client_send(&run.client, run.body + third, third);
    if (is_in_pieces) {
        client_settle(&run.client);
    }
    run.said_all = true;
    (void)client_send(&run.client, run.body + 2 * third, len - 2 * third);
    (void)client_send(&run.client, ".\r\n", 3);
    return hear(ASK_EOM);
}

/* 0 when the session is over, 2 for a delivered message, else 4 or 5. */
static int transaction(void)
{
    int code = command(ASK_MAIL, "MAIL FROM:<sender@example.org>\r\n");
    if (code / 100 != 2) {
        return code / 100;
    }
    int first = command(ASK_RCPT, "RCPT TO:<one@example.org>\r\n");
    int second = first == 0 ? 0 : command(ASK_RCPT, "RCPT TO:<two@example.org>\r\n");
    if (second == 0) {
        return 0;
    }
    code = command(ASK_DATA, "DATA\r\n");
    check(code != 354 || first / 100 == 2 || second / 100 == 2, "354 without a recipient");
    return code == 354 ? send_body() / 100 : code / 100;
}

/* A transaction that is given up, so that the next one on its connection needs RSET. */
static bool give_one_up(void)
{
    return command(ASK_MAIL, "MAIL FROM:<sender@example.org>\r\n") == 250 &&
           command(ASK_RCPT, "RCPT TO:<zero@example.org>\r\n") == 250 &&
           command(ASK_RSET, "RSET\r\n") == 250;
}

/* A whole session; what transaction() says of its message. */
static int session(bool prelude)
{
    bool armed = run.armed;
    run.armed = armed && !prelude;
    run.accepted = false;
    run.said_all = false;
    run.salt++;
    (void)snprintf(run.body, sizeof(run.body),
                   "Subject: %u\r\n\r\nFirst line of %u.\r\n..stuffed\r\n.. \r\nlast line\r\n",
                   run.salt, run.salt);
    new_command();
    client_open(&run.client, run.weir, &run.model);
    run.client.act = go_on;
    if (hear(ASK_GREETING) == 0 || command(ASK_EHLO, "EHLO client.example\r\n") == 0) {
        return 0;
    }
    if (prelude) {
        check(give_one_up(), "the transaction before");
        run.armed = armed;
    }
    int result = transaction();
    if (result == 0) {
        return 0;
    }
    (void)command(ASK_NOOP, "NOOP\r\n");
    check(run.client.text[0] == '2', "NOOP is not answered");
    (void)command(ASK_RSET, "RSET\r\n");
    if (command(ASK_MAIL, "MAIL FROM:<sender@example.org>\r\n") == 0) {
        return result;
    }
    (void)command(ASK_QUIT, "QUIT\r\n");
    return result;
}

/* ---- the cases ---- */

/* One world serves all cases of a misdeed; each begins with nothing open and an empty pool. */
static void prepare(void)
{
    struct config_upstream *config = &run.weir->config.upstreams[0];
    uint32_t extensions = EXT_8BITMIME | (run.pipelining ? EXT_PIPELINING : 0);
    config->contact = run.contact;
    bool is_opening = run.place == PLACE_CONNECT || run.place == PLACE_GREETING ||
                      run.place == PLACE_EHLO || run.place == PLACE_HELO;
    bool is_new = run.place == PLACE_QUIT || (run.way == WAY_REPLAY && is_opening);
    config->pool_idle = is_new ? 0 : 4;
    (void)upstream_note_up(&run.weir->shared.upstreams[0].servers[0], extensions, 0, 0);
    model_init(&run.model, run.weir);
    run.model.script = script;
    run.armed = run.way != WAY_REPLAY;
    run.is_due = !run.armed;
    run.conn = NULL;
    run.idle_due = false;
    run.salt = 0;
    run.commands = 0;
    memset(run.said_421, 0, sizeof(run.said_421));
    if (run.armed && run.misdeed->deed == DEED_CONNECT) {
        sim_set_connect(run.weir->sim, run.weir->listener, run.misdeed->how, 1000);
    }
}

/* The upstream behaves from now on; what is left of the bad session must not be felt. */
static void check_recovery(void)
{
    run.armed = false;
    run.is_due = false;
    run.model.drip = 0;
    sim_set_connect(run.weir->sim, run.weir->listener, SIM_CONNECT_OK, 0);
    check(session(false) == 2, "no mail goes through afterwards");
}

static void check_nothing_left(void)
{
    const struct worker *worker = run.weir->worker;
    lease_pool_close(run.weir->worker, &run.weir->shared.upstreams[0]);
    client_settle(&run.client); /* QUIT is answered */
    for (int i = 0; i < 10 && worker->sessions.used + worker->leases.used > 0; i++) {
        weir_wait(run.weir);
        client_settle(&run.client);
    }
    model_hang_up(&run.model); /* also what the other side has closed, or does not read */
    const char *leftover = weir_leftover(run.weir);
    check(leftover == NULL, leftover);
    check(sim_open_count(run.weir->sim) == 1, "a descriptor is left"); /* the listener's is there */
    check(run.model.violations == 0, run.model.violations == 0 ? "" : run.model.violation);
}

static void run_case(void)
{
    prepare();
    (void)session(run.place == PLACE_RSET && run.way != WAY_REPLAY);
    client_close(&run.client);
    check_recovery();
    client_close(&run.client);
    check_nothing_left();
    cases_total++;
}

/* An early 250 and the end behind it, for a message that goes in one write: a socket takes the rest of
 * the octets for a peer that is gone, and to us they are sent. Nobody can tell it from a 250 in time. */
static bool is_beyond_knowing(void)
{
    bool is_held = weir_is_checking(run.weir) && !weir_is_streaming(run.weir);
    return (run.way == WAY_BDAT || is_held) && run.place == PLACE_BODY &&
           run.misdeed->then == MODEL_DROP && run.misdeed->bytes[0] == '2';
}

/* Does anything happen there that is not the same in another case? */
static bool case_makes_sense(void)
{
    switch (run.way) {
    case WAY_DATA:
        return run.place != PLACE_HELO || !run.pipelining; /* HELO has no list of extensions */
    case WAY_BDAT:
        return run.place != PLACE_HELO && run.place != PLACE_DATA;
    case WAY_REPLAY:
        return weir_is_checking(run.weir);
    case WAY_LATE_DATA:
        return !weir_is_checking(run.weir) &&
               (run.place == PLACE_DATA || run.place == PLACE_BODY || run.place == PLACE_EOM);
    case WAY_COUNT:
        break;
    }
    return false;
}

static void run_place(void)
{
    static const enum config_contact contacts[] = {CONTACT_RCPT, CONTACT_MAIL, CONTACT_CONNECT};
    for (uint32_t i = 0; i < 12 * WAY_COUNT; i++) {
        run.contact = contacts[i % 3];
        run.pipelining = (i / 3) % 2 == 0;
        run.again = (i / 6) % 2 == 1;
        run.way = (enum way)(i / 12);
        if (is_beyond_knowing()) {
            beyond_total++;
        } else if (case_makes_sense()) {
            run_case();
        }
    }
}

static void test_misdeed(void **state)
{
    uint32_t before = cases_total + beyond_total;
    run.misdeed = *state;
    run.weir =
        weir_create(&(struct weir_options){.sim = {.seed = 1, .fd_count = 256}, .buf_count = 16});
    run.weir->config.session_timeout_ms = INT64_MAX / 4;
    for (uint32_t place = 0; place < PLACE_COUNT; place++) {
        if ((run.misdeed->places & (1u << place)) != 0) {
            run.place = (enum place)place;
            run_place();
        }
    }
    assert_true(cases_total + beyond_total > before);
    weir_destroy(&run.weir);
}

static int count_cases(void **state)
{
    (void)state; /* none */
    print_message("bad upstream: %u misdeeds, %u cases (and %u beyond knowing), 0 false 250, "
                  "0 injected lines\n",
                  misdeed_count, cases_total, beyond_total);
    return cases_total >= CASES_MIN ? 0 : -1;
}

int main(void)
{
    struct CMUnitTest *tests = calloc(misdeed_count, sizeof(*tests));
    if (tests == NULL) {
        return 1;
    }
    for (uint32_t i = 0; i < misdeed_count; i++) {
        tests[i] = (struct CMUnitTest){.name = misdeeds[i].name,
                                       .test_func = test_misdeed,
                                       .initial_state = (void *)(uintptr_t)&misdeeds[i]};
    }
    int failed = _cmocka_run_group_tests("bad upstream", tests, misdeed_count, NULL, count_cases);
    free(tests);
    return failed;
}
