/*
 * forward - see core/forward.h.
 *
 * One row per expected reply. With contact = rcpt, MAIL and RCPT went out in one write and the
 * client knows of RCPT alone: a refusal of MAIL answers the RCPT, and the reply to the RCPT behind
 * it is taken off and not shown. What lease->needs_rset says is the upstream's view of the
 * transaction, kept here and nowhere else: true from its 2xx to MAIL until its reply to the end of
 * data or to RSET.
 */
#include "core/forward.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "core/dispatch.h"

static enum step on_rset_reply(struct session *session, const struct smtp_reply *reply);
static enum step on_mail_reply(struct session *session, const struct smtp_reply *reply);
static enum step on_rcpt_reply(struct session *session, const struct smtp_reply *reply);
static enum step on_data_reply(struct session *session, const struct smtp_reply *reply);
static enum step on_eom_reply(struct session *session, const struct smtp_reply *reply);
static enum step on_bdat_reply(struct session *session, const struct smtp_reply *reply);

static enum step (*const rows[])(struct session *session, const struct smtp_reply *reply) = {
    [EXPECT_RSET] = on_rset_reply, [EXPECT_MAIL] = on_mail_reply, [EXPECT_RCPT] = on_rcpt_reply,
    [EXPECT_DATA] = on_data_reply, [EXPECT_EOM] = on_eom_reply,   [EXPECT_BDAT] = on_bdat_reply,
};

enum step step_forward(struct session *session)
{
    if (stream_room(&session->client) < SESSION_REPLY_ROOM) {
        if (session->timed_out) {
            return session_end(session, NULL, "limits.command_timeout");
        }
        stream_flush(&session->client);
        return session_wait(session, WAIT_CLIENT_DRAIN);
    }
    struct smtp_reply reply;
    int found = session->timed_out ? -ETIMEDOUT : lease_reply(session->lease, &reply);
    if (found == 0) {
        return session_wait(session, WAIT_UPSTREAM_BYTES);
    }
    if (found < 0) {
        return forward_lost(session);
    }
    return rows[lease_expected(session->lease)](session, &reply);
}

/* The reply has been dealt with: it leaves the lease. */
static void reply_done(struct session *session, const struct smtp_reply *reply)
{
    lease_reply_done(session->lease, reply->len, reply->code);
}

/* Hands the upstream's reply on, all lines as they are. */
static void pass(struct session *session, const struct smtp_reply *reply)
{
    session_pass_reply(session, reply, lease_reply_bytes(session->lease));
    reply_done(session, reply);
}

/* The command's reply is given. 421 says that the channel closes, and so it does on our side as
 * well. */
static enum step answered(struct session *session, uint16_t code)
{
    (void)session_command_done(session);
    if (code == 421) {
        return session_end(session, NULL, "upstream");
    }
    session_enter(session, SESSION_COMMAND);
    return STEP_MORE;
}

/* More replies are owed, or the command at the head of the window goes on with its next part. */
static enum step carry_on(struct session *session)
{
    if (session->lease->expect_count > 0 || lease_is_lost(session->lease)) {
        return STEP_MORE;
    }
    session->is_resumed = true;
    session_enter(session, SESSION_COMMAND);
    return STEP_MORE;
}

/* The upstream's answer makes no sense here: it is of no more use. */
static enum step nonsense(struct session *session)
{
    session->lease->is_reused = false; /* alive, so not to be replaced */
    return forward_lost(session);
}

static enum step on_rset_reply(struct session *session, const struct smtp_reply *reply)
{
    if (reply->code / 100 != 2) {
        return forward_lost(session);
    }
    session->lease->needs_rset = false;
    reply_done(session, reply);
    return carry_on(session);
}

static void note_rcpt(struct session *session, uint16_t code)
{
    dispatch_note_rcpt(session->transaction, &session->transaction->rcpt, code);
}

static enum step on_mail_refused(struct session *session, const struct smtp_reply *reply)
{
    uint16_t code = reply->code;
    session->lease->needs_rset = false;
    pass(session, reply);
    if (session->verb == VERB_MAIL) {
        session_end_transaction(session, session_reply_verdict(session), "upstream");
        return answered(session, code);
    }
    note_rcpt(session, code);
    bool owed = !lease_is_lost(session->lease) && session->lease->expect_count > 0;
    if (owed && code != 421) {
        session->transaction->mail_refused = true;
        stream_flush(&session->client); /* the RCPT's own reply may be long in coming */
        return STEP_MORE;
    }
    return answered(session, code);
}

static enum step on_mail_reply(struct session *session, const struct smtp_reply *reply)
{
    if (reply->code >= 400) {
        return on_mail_refused(session, reply);
    }
    if (reply->code >= 300) {
        return nonsense(session);
    }
    session->transaction->mail_done = true;
    session->lease->needs_rset = true;
    if (session->verb == VERB_MAIL) {
        pass(session, reply);
        return answered(session, 250);
    }
    reply_done(session, reply);
    return carry_on(session);
}

static enum step on_rcpt_reply(struct session *session, const struct smtp_reply *reply)
{
    struct transaction *t = session->transaction;
    uint16_t code = reply->code;
    if (t->mail_refused) {
        /* Its client has had the reply to MAIL. A 2xx here would leave a recipient behind. */
        t->mail_refused = false;
        session->lease->needs_rset = code < 300;
        reply_done(session, reply);
        return answered(session, t->reply_code);
    }
    if (code / 100 == 3) {
        return nonsense(session);
    }
    pass(session, reply);
    note_rcpt(session, code);
    if (code < 300 && session->commands > 0) {
        session->commands--; /* a recipient that is accepted is work, not noise */
    }
    return answered(session, code);
}

static enum step on_data_reply(struct session *session, const struct smtp_reply *reply)
{
    uint16_t code = reply->code;
    if (code != 354 && code < 400) {
        return nonsense(session);
    }
    pass(session, reply);
    if (code == 354) {
        (void)session_command_done(session);
        session->transaction->data_ms = session_now(session);
        smtp_body_init(&session->transaction->body);
        if (!lease_is_lost(session->lease)) {
            lease_begin_message(session->lease);
        }
        session_enter(session, SESSION_BODY);
        return STEP_MORE;
    }
    session_end_transaction(session, session_reply_verdict(session), "upstream");
    return answered(session, code);
}

/* The upstream's word on the message. The only place where a client gets its 2xx. */
static enum step on_message_reply(struct session *session, const struct smtp_reply *reply,
                                  bool needs_rset)
{
    uint16_t code = reply->code;
    if (code / 100 == 3) {
        return nonsense(session);
    }
    session->lease->needs_rset = needs_rset;
    session->lease->transactions++;
    if (code >= 400) {
        /* It may have refused before it had read everything, and say so once more at the end:
         * nobody shall get that second reply for his own. */
        session->lease->is_pooled = false;
    }
    pass(session, reply);
    session_end_transaction(session, session_reply_verdict(session), "upstream");
    if (code < 300) {
        session->commands = 0;
    }
    return answered(session, code);
}

static enum step on_eom_reply(struct session *session, const struct smtp_reply *reply)
{
    return on_message_reply(session, reply, false);
}

/* Behind a BDAT that failed the upstream is in no certain state until RSET (RFC 3030, 2). */
static enum step on_bdat_reply(struct session *session, const struct smtp_reply *reply)
{
    return on_message_reply(session, reply, reply->code >= 400);
}

/* ---- without a reply ---- */

/* Nothing of the transaction was acknowledged, and the connection was dead before this command or
 * came from the pool. */
static bool may_replace(const struct session *session)
{
    const struct transaction *t = session->transaction;
    bool mail_acknowledged =
        t->mail_done && session_upstream(session)->config->contact != CONTACT_RCPT;
    bool was_dead = session->lease->is_reused || session->lease->is_ejected ||
                    session->state == SESSION_COMMAND;
    return (session->verb == VERB_MAIL || session->verb == VERB_RCPT) && was_dead &&
           t->envelope.accepted_count == 0 && !t->lease_replaced && !t->mail_refused &&
           !mail_acknowledged;
}

static enum step replace_lease(struct session *session)
{
    session->transaction->lease_replaced = true;
    session->transaction->mail_done = false;
    lease_drop(&session->lease);
    (void)session_take_lease(session, true); /* opening, or lost: CONTACT looks */
    session_enter(session, SESSION_CONTACT);
    return STEP_MORE;
}

enum step forward_lost(struct session *session)
{
    struct transaction *t = session->transaction;
    bool eom = session->verb == VERB_DATA && t->eom_ms > 0;
    bool in_command = session->state == SESSION_COMMAND;
    if (may_replace(session)) {
        return replace_lease(session);
    }
    bool answer_given = t->mail_refused; /* the RCPT has had the reply to MAIL */
    uint16_t code = answer_given ? t->reply_code : 451;
    lease_drop(&session->lease);
    t->mail_done = false;
    t->mail_refused = false;
    if (!answer_given) {
        session_reply(session,
                      eom ? "451 4.4.2 upstream connection lost before its reply, please try again"
                          : "451 4.4.2 upstream connection lost");
        if (session->verb == VERB_RCPT) {
            note_rcpt(session, 451);
        }
    }
    t->is_broken = t->envelope.accepted_count > 0;
    if (session->verb != VERB_RCPT) {
        session_end_transaction(session, VERDICT_DEFER, "upstream");
    }
    return in_command ? session_command_done(session) : answered(session, code);
}

enum step forward_refuse(struct session *session, const char *line)
{
    bool in_command = session->state == SESSION_COMMAND;
    session_reply(session, line);
    if (session->verb == VERB_MAIL) {
        session_end_transaction(session, session_reply_verdict(session), "upstream");
    } else {
        note_rcpt(session, session->transaction->reply_code);
    }
    return in_command ? session_command_done(session) : answered(session, 451);
}

enum step forward_unreachable(struct session *session)
{
    char line[LEASE_REASON_MAX + 64];
    if (session->lease == NULL || session->lease->is_full) {
        (void)snprintf(line, sizeof(line), "451 4.3.2 all upstream connections are in use");
    } else {
        (void)snprintf(line, sizeof(line), "451 4.4.1 no upstream server can be reached (%s)",
                       session->lease->reason);
    }
    lease_drop(&session->lease);
    return forward_refuse(session, line);
}
