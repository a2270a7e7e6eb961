/*
 * dispatch - see core/dispatch.h.
 *
 * Reading order: what the server may lack, the commands' lines, which of them go out together.
 */
#include "core/dispatch.h"

#include <assert.h>

#include "core/forward.h"
#include "core/writer.h"

/* ---- recipients ---- */

struct text dispatch_params(const struct smtp_rcpt *rcpt, char out[DISPATCH_PARAMS_MAX])
{
    struct writer w = {.at = out, .end = out + DISPATCH_PARAMS_MAX};
    if (rcpt->notify.len > 0) {
        writer_put(&w, TEXT(" NOTIFY="));
        writer_put(&w, rcpt->notify);
    }
    if (rcpt->orcpt.len > 0) {
        writer_put(&w, TEXT(" ORCPT="));
        writer_put(&w, rcpt->orcpt);
    }
    return (struct text){out, writer_len(&w, out)};
}

void dispatch_note_rcpt(struct transaction *transaction, const struct smtp_rcpt *rcpt,
                        uint16_t code)
{
    char params[DISPATCH_PARAMS_MAX];
    struct envelope *envelope = &transaction->envelope;
    int result = envelope_add_rcpt(envelope, rcpt->path.whole, dispatch_params(rcpt, params), code);
    if (result < 0 && code < 300) {
        envelope->accepted_count++;
        transaction->has_unnoted = true;
    }
}

/* ---- what the server may lack ---- */

/* What a server may lack that the transaction needs: the reply when nobody has it, and when those
 * that have it cannot be had now. */
static const struct {
    uint32_t extension;
    const char *nobody;
    const char *away;
} lack_rows[] = {
    {EXT_SMTPUTF8, "550 5.6.7 the next server does not support SMTPUTF8",
     "451 4.4.1 no server that supports SMTPUTF8 can be reached"},
    {EXT_8BITMIME, "550 5.6.3 the next server does not support 8BITMIME",
     "451 4.4.1 no server that supports 8BITMIME can be reached"},
};

bool dispatch_is_lacking(const struct session *session)
{
    return (session->transaction->needs & ~session->lease->extensions) != 0;
}

/* With contact = connect the client has its server for good. */
static bool may_pass_on(const struct session *session)
{
    return session_upstream(session)->config->contact != CONTACT_CONNECT &&
           !session->transaction->mail_done;
}

/* The server lacks what is needed, and there is no other. */
static enum step refuse_lacking(struct session *session)
{
    uint32_t needs = session->transaction->needs;
    uint32_t missing = needs & ~session->lease->extensions;
    bool is_away =
        may_pass_on(session) &&
        upstream_may_offer(session_upstream(session), &(struct upstream_ask){.needs = needs});
    uint32_t row = 0;
    while ((missing & lack_rows[row].extension) == 0) {
        row++;
        assert(row < sizeof(lack_rows) / sizeof(lack_rows[0]));
    }
    if (is_away) {
        lease_return(&session->lease); /* the next try begins anew */
    }
    return forward_refuse(session, is_away ? lack_rows[row].away : lack_rows[row].nobody);
}

/* "MAIL FROM:<path> SIZE=n BODY=8BITMIME SMTPUTF8 RET=.. ENVID=..", each parameter only where the
 * server has it. */
int dispatch_put_mail(struct session *session)
{
    const struct transaction *t = session->transaction;
    uint32_t has = session->lease->extensions;
    char line[SMTP_LINE_MAX];
    struct writer w = {.at = line, .end = line + sizeof(line)};
    writer_put(&w, TEXT("MAIL FROM:<"));
    writer_put(&w, t->envelope.from);
    writer_put(&w, TEXT(">"));
    if (t->has_size && (has & EXT_SIZE)) {
        writer_put(&w, TEXT(" SIZE="));
        writer_number(&w, t->declared_size);
    }
    if (t->body_type != BODY_TYPE_NONE && (has & EXT_8BITMIME)) {
        writer_put(&w,
                   t->body_type == BODY_TYPE_7BIT ? TEXT(" BODY=7BIT") : TEXT(" BODY=8BITMIME"));
    }
    if (t->smtputf8) {
        writer_put(&w, TEXT(" SMTPUTF8"));
    }
    if (t->params_len > 0 && (has & EXT_DSN)) {
        writer_put(&w, (struct text){t->params, t->params_len});
    }
    writer_put(&w, TEXT("\r\n"));
    return lease_put(session->lease, line, writer_len(&w, line));
}

int dispatch_put_rcpt(struct session *session, struct text path, struct text params)
{
    char line[SMTP_LINE_MAX + 16];
    if ((session->lease->extensions & EXT_DSN) == 0) {
        params.len = 0;
    }
    struct writer w = {.at = line, .end = line + sizeof(line)};
    writer_put(&w, TEXT("RCPT TO:<"));
    writer_put(&w, path);
    writer_put(&w, TEXT(">"));
    writer_put(&w, params);
    writer_put(&w, TEXT("\r\n"));
    return lease_put(session->lease, line, writer_len(&w, line));
}

/*
 * Puts what the upstream must hear before the recipient or, for contact = mail, MAIL alone: RSET
 * when it is still in a transaction that was given up, MAIL unless it has accepted it, RCPT. All in
 * one write where it offers PIPELINING; else only the first, and the command at the head of the
 * window is run again after the reply.
 */
static int put_envelope(struct session *session, const struct smtp_rcpt *rcpt)
{
    struct lease *lease = session->lease;
    bool pipelining = (lease->extensions & EXT_PIPELINING) != 0;
    int result = 0;
    if (lease->needs_rset && !session->transaction->mail_done) {
        result = lease_put(lease, "RSET\r\n", 6);
        lease_expect(lease, EXPECT_RSET);
        if (result < 0 || !pipelining) {
            return result;
        }
    }
    if (!session->transaction->mail_done) {
        result = dispatch_put_mail(session);
        lease_expect(lease, EXPECT_MAIL);
        if (result < 0 || !pipelining) {
            return result;
        }
    }
    if (rcpt != NULL) {
        char params[DISPATCH_PARAMS_MAX];
        result = dispatch_put_rcpt(session, rcpt->path.whole, dispatch_params(rcpt, params));
        lease_expect(lease, EXPECT_RCPT);
    }
    return result;
}

static enum step await_lease(struct session *session)
{
    if (session->lease == NULL) {
        return session_no_memory(session);
    }
    session_enter(session, SESSION_CONTACT);
    return STEP_MORE;
}

enum step dispatch_envelope(struct session *session, const struct smtp_rcpt *rcpt)
{
    struct transaction *t = session->transaction;
    if (session->lease == NULL && !session_take_lease(session, false)) {
        return await_lease(session);
    }
    if (lease_is_lost(session->lease)) {
        return forward_lost(session);
    }
    if (dispatch_is_lacking(session)) {
        bool other = may_pass_on(session) && lease_pass_on(&session->lease);
        return other ? await_lease(session) : refuse_lacking(session);
    }
    transaction_note_upstream(t, lease_address(session->lease));
    if (put_envelope(session, rcpt) < 0) {
        return session_no_memory(session);
    }
    lease_flush(session->lease);
    session_enter(session, SESSION_FORWARD);
    return STEP_MORE;
}
