/*
 * hold - see core/hold.h.
 *
 * The upstream knows the envelope and nothing else. Its connection waits for lease_hold at most; a
 * client that needs longer goes on without it, and the envelope is repeated when the message is there.
 * A connection that is lost meanwhile is no loss for the same reason. Framing and limits are judged as
 * bytes come, as in core/relay.c, and a refusal waits for the true end of the message.
 *
 * In `stream` the message stops here only until its header is complete and what needs no more has been
 * checked; then core/deliver.c and this file take turns, and the end-of-data waits for the verdict.
 */
#include "core/hold.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/deliver.h"
#include "core/log.h"
#include "core/message.h"
#include "core/relay.h"
#include "core/verification.h"

bool hold_is_on(const struct session *session)
{
    return session->worker->config->verify_mode != VERIFY_OFF;
}

static bool is_streaming(const struct session *session)
{
    return session->worker->config->verify_mode == VERIFY_STREAM;
}

static void on_message(struct message *message, void *owner)
{
    (void)message;
    session_poke(owner);
}

enum step hold_begin(struct session *session)
{
    struct transaction *t = session->transaction;
    struct worker *worker = session->worker;
    t->message = message_create(&worker->checker.messages, &worker->checker.message_conf,
                                on_message, session);
    if (t->message == NULL) {
        return session_no_memory(session);
    }
    t->heard_ms = session_now(session);
    t->at_line_start = true;
    return relay_begin(session, SESSION_HOLD);
}

/* ---- the upstream connection, while the client sends ---- */

int64_t hold_lease_left_ms(const struct session *session)
{
    const struct transaction *t = session->transaction;
    const struct config_upstream *upstream = session_upstream(session)->config;
    bool may_let_go = session->lease != NULL && !t->is_open && upstream->contact != CONTACT_CONNECT;
    return may_let_go ? t->data_ms + upstream->lease_hold_ms - session_now(session) : INT64_MAX;
}

static void look_at_lease(struct session *session)
{
    int64_t left_ms = hold_lease_left_ms(session);
    if (left_ms <= 0 || (left_ms < INT64_MAX && lease_is_lost(session->lease))) {
        session_return_lease(session);
        session->transaction->mail_done = false;
    }
}

/* ---- the message ---- */

enum step hold_refuse(struct session *session, const char *line, const char *decided_by)
{
    message_release(&session->transaction->message);
    if (session->transaction->is_open) {
        return relay_refuse(session, line, decided_by);
    }
    return relay_refuse_unsent(session, line, decided_by);
}

enum step hold_refuse_store(struct session *session, int error)
{
    const char *dir = session->worker->config->spool_dir;
    char id[SESSION_ID_SIZE];
    session_id_text(session->id, id);
    bool is_memory = error == -ENOBUFS;
    log_line(LEVEL_ERROR, "session %s: a message cannot be held: %s%s%s; its client is told 452",
             id, is_memory ? "no block of memory is free" : dir, is_memory ? "" : ": ",
             is_memory ? "" : strerrordesc_np(-error));
    return hold_refuse(session, "452 4.3.1 insufficient system storage",
                       is_memory ? "limits.memory" : "verify.spool_dir");
}

/* Content as its reader will see it: the header goes to the checks alone, the body to both. */
static int take_content(struct transaction *t, struct text rest)
{
    int result = 0;
    while (result == 0 && rest.len > 0) {
        struct text run = smtp_body_unstuff(&rest, &t->at_line_start);
        uint32_t taken = verification_feed(t->verification, run.at, run.len);
        if (taken < run.len) {
            result = message_append(t->message, run.at + taken, run.len - taken);
        }
    }
    return result;
}

static const char *judge(const struct session *session, const char **ret_decided_by)
{
    if (session->transaction->verification->header.is_too_large) {
        *ret_decided_by = "limits.header";
        return "552 5.3.4 message header exceeds fixed limit";
    }
    return relay_judge(session, ret_decided_by);
}

/* One piece of the client's window. */
static enum step take_piece(struct session *session, uint32_t len)
{
    struct transaction *t = session->transaction;
    struct smtp_body_step step;
    struct text piece = {stream_bytes(&session->client), 0};
    const char *decided_by = NULL;
    smtp_body_scan(&t->body, piece.at, len, &step);
    t->heard_ms = session_now(session);
    const char *refusal = judge(session, &decided_by);
    int result = 0;
    if (refusal == NULL) {
        piece.len = step.clean;
        result = take_content(t, step.held);
        result = result == 0 ? take_content(t, piece) : result;
        refusal = judge(session, &decided_by);
    }
    stream_consume(&session->client, step.taken);
    t->size = t->body.size;
    t->eom_ms = step.end ? session_now(session) : 0;
    if (refusal != NULL) {
        return hold_refuse(session, refusal, decided_by);
    }
    if (result < 0) {
        return hold_refuse_store(session, result);
    }
    if (step.end) {
        verification_finish(t->verification);
        message_seal(t->message);
    }
    if (step.end || (is_streaming(session) && !t->is_open && t->verification->header.is_complete)) {
        session_enter(session, SESSION_VERDICT);
    } else if (t->is_open) {
        session_enter(session, SESSION_DELIVER);
    }
    return STEP_MORE;
}

/* The timer also runs for the lease. */
static bool is_late(struct session *session)
{
    int64_t quiet_ms = session_now(session) - session->transaction->heard_ms;
    bool late = session->is_over || quiet_ms >= session->worker->config->data_timeout_ms;
    bool result = session->timed_out && late;
    session->timed_out = false;
    return result;
}

enum step step_hold(struct session *session)
{
    struct transaction *t = session->transaction;
    if (is_late(session)) {
        return relay_timeout(session);
    }
    look_at_lease(session);
    if (t->is_open && relay_is_refused(session)) {
        return STEP_MORE;
    }
    if (message_error(t->message) < 0) {
        return hold_refuse_store(session, message_error(t->message));
    }
    uint32_t len = stream_len(&session->client);
    uint32_t room = message_room(t->message);
    if (len == 0) {
        return relay_await_client(session, 0);
    }
    if (room <= SMTP_BODY_HELD_MAX) {
        stream_flush(&session->client);
        return session_wait(session, WAIT_SPOOL);
    }
    room -= SMTP_BODY_HELD_MAX; /* of the piece before, which may come on top */
    len = len < room ? len : room;
    return take_piece(session, len < BUF_SIZE ? len : BUF_SIZE);
}

/* ---- the verdict ---- */

/* A disk that is full may say so at the last write: not before that does anything go to the upstream. */
static enum step await_file(struct session *session)
{
    if (session->timed_out) {
        return hold_refuse_store(session, -ETIMEDOUT);
    }
    stream_flush(&session->client);
    return session_wait(session, WAIT_SPOOL);
}

enum step step_verdict(struct session *session)
{
    struct transaction *t = session->transaction;
    enum filter_phase phase = t->eom_ms > 0 ? PHASE_EOM : PHASE_HEADER;
    if (!verification_await(session, phase)) {
        stream_flush(&session->client);
        return session_wait(session, WAIT_VERDICT);
    }
    if (message_error(t->message) < 0) {
        return hold_refuse_store(session, message_error(t->message));
    }
    if (t->eom_ms > 0 && message_is_busy(t->message)) {
        return await_file(session);
    }
    t->waited_ms += session_now(session) - session->command_ms;
    t->verify_ms = t->eom_ms > 0 ? session_now(session) - t->eom_ms : 0;
    const struct verdict *verdict = verification_judge(session, phase);
    if (verdict->action >= ACTION_DEFER) {
        return hold_refuse(session, verdict->reply, verdict->decided_by);
    }
    t->is_tagged = verdict->action == ACTION_TAG;
    return deliver_begin(session);
}
