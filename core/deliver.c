/*
 * deliver - see core/deliver.h.
 *
 * The envelope is repeated when the connection that heard it is gone: those recipients that were
 * accepted before, and only if all of them are accepted again may the message go; a recipient that was
 * refused is not asked for a second time, since its client knows of the refusal. What goes out is
 * what came in, octet for octet, below the fields of ours and without those that somebody else wrote
 * in our name.
 */
#include "core/deliver.h"

#include <assert.h>
#include <errno.h>

#include "core/dispatch.h"
#include "core/gather.h"
#include "core/hold.h"
#include "core/message.h"
#include "core/relay.h"
#include "core/trace.h"
#include "core/verification.h"
#include "core/writer.h"
#include "filters/authres.h"

enum {
    FIELDS_MAX = 2 * AUTHRES_SIZE + TRACE_MAX + TRACE_PART_MAX,
    BDAT_MAX = 40, /* "BDAT 18446744073709551615 LAST" */
};
_Static_assert((int)FIELDS_MAX + (int)BDAT_MAX <= (int)STREAM_CHUNK_SIZE, "one write holds them");

enum delivery_part { PART_FIELDS, PART_HEADER, PART_EMPTY_LINE, PART_BODY };

static enum step open_message(struct session *session);

enum step deliver_begin(struct session *session)
{
    struct transaction *t = session->transaction;
    if (t->is_open) {
        session_enter(session, SESSION_DELIVER);
        return STEP_MORE;
    }
    verification_find_forged(session);
    t->delivery = (struct delivery){.at_line_start = true};
    if (session->lease != NULL && !lease_is_lost(session->lease)) {
        return open_message(session);
    }
    lease_drop(&session->lease);
    t->replay = (struct envelope_cursor){0};
    t->mail_done = false;
    session_enter(session, SESSION_REPLAY);
    return STEP_MORE;
}

/* ---- the envelope once more ---- */

static enum step refuse_unreachable(struct session *session)
{
    bool is_full = session->lease != NULL && session->lease->is_full;
    return hold_refuse(session,
                       is_full ? "451 4.3.2 all upstream connections are in use"
                               : "451 4.4.1 no upstream server can be reached",
                       "upstream");
}

static enum step refuse_changed(struct session *session)
{
    if (session->lease != NULL) {
        session->lease->needs_rset = true;
    }
    return hold_refuse(session, "451 4.4.2 the upstream has changed its mind, please try again",
                       "upstream");
}

/* As for a command of the client's: a pooled connection may have been dead, and is replaced once. */
static enum step replay_lost(struct session *session)
{
    struct transaction *t = session->transaction;
    bool was_dead = session->lease->is_reused || session->lease->is_ejected;
    if (!was_dead || t->mail_done || t->lease_replaced) {
        return refuse_unreachable(session);
    }
    t->lease_replaced = true;
    t->replay = (struct envelope_cursor){0};
    lease_drop(&session->lease);
    (void)session_take_lease(session, true); /* opening, or lost: the next step looks */
    return STEP_MORE;
}

/* The next recipient that was accepted; NULL behind the last. */
static const struct envelope_rcpt *next_accepted(const struct envelope *envelope,
                                                 struct envelope_cursor *cursor)
{
    const struct envelope_rcpt *rcpt = envelope_next_rcpt(envelope, cursor);
    while (rcpt != NULL && rcpt->code / 100 != 2) {
        rcpt = envelope_next_rcpt(envelope, cursor);
    }
    return rcpt;
}

static int put_recipients(struct session *session, bool pipelining)
{
    struct transaction *t = session->transaction;
    struct envelope_cursor cursor = t->replay;
    const struct envelope_rcpt *rcpt;
    while (session->lease->expect_count < LEASE_EXPECT_MAX &&
           (rcpt = next_accepted(&t->envelope, &cursor)) != NULL) {
        struct text params = {rcpt->to + rcpt->len, rcpt->params_len};
        int result = dispatch_put_rcpt(session, (struct text){rcpt->to, rcpt->len}, params);
        if (result < 0) {
            return session->lease->expect_count > 0 ? 0 : result; /* the next write has room */
        }
        lease_expect(session->lease, EXPECT_RCPT);
        t->replay = cursor;
        if (!pipelining) {
            break;
        }
    }
    return 0;
}

/* As much of the envelope as goes into one write. Nothing is put when all of it is out. */
static int put_batch(struct session *session)
{
    struct lease *lease = session->lease;
    bool pipelining = (lease->extensions & EXT_PIPELINING) != 0;
    int result = 0;
    if (!session->transaction->mail_done) {
        if (lease->needs_rset) {
            result = lease_put(lease, "RSET\r\n", 6);
            lease_expect(lease, EXPECT_RSET);
        }
        if (result == 0 && (lease->expect_count == 0 || pipelining)) {
            result = dispatch_put_mail(session);
            lease_expect(lease, EXPECT_MAIL);
        }
        if (result < 0 || !pipelining) {
            return result;
        }
    }
    return put_recipients(session, pipelining);
}

static enum step replay_batch(struct session *session)
{
    struct transaction *t = session->transaction;
    const struct lease *lease = session->lease;
    transaction_note_upstream(t, lease_address(lease));
    t->connect_ms = lease->is_reused ? 0 : lease->ready_ms - lease->opened_ms;
    if (put_batch(session) < 0) {
        return hold_refuse_store(session, -ENOBUFS);
    }
    if (session->lease->expect_count == 0) {
        return open_message(session);
    }
    lease_flush(session->lease);
    return STEP_MORE;
}

static enum step replay_reply(struct session *session)
{
    struct smtp_reply reply;
    int found = lease_reply(session->lease, &reply);
    if (found == 0) {
        return session_wait(session, WAIT_UPSTREAM_BYTES);
    }
    if (found < 0) {
        return replay_lost(session);
    }
    enum lease_expect expected = lease_expected(session->lease);
    bool is_same = reply.code / 100 == 2;
    if (expected == EXPECT_RSET) {
        session->lease->needs_rset = false;
    } else if (expected == EXPECT_MAIL) {
        session->lease->needs_rset = is_same;
        session->transaction->mail_done = is_same;
    }
    lease_reply_done(session->lease, reply.len, reply.code);
    return is_same ? STEP_MORE : refuse_changed(session);
}

/* It lacks what the message needs: another server may have it. */
static enum step replay_elsewhere(struct session *session)
{
    if (lease_pass_on(&session->lease) && session->lease != NULL) {
        return STEP_MORE;
    }
    return refuse_unreachable(session);
}

enum step step_replay(struct session *session)
{
    struct transaction *t = session->transaction;
    bool is_bound = session_upstream(session)->config->contact == CONTACT_CONNECT;
    if (session->timed_out || is_bound || t->has_unnoted) {
        return refuse_unreachable(session);
    }
    if (session->lease == NULL && !session_take_lease(session, false) && session->lease == NULL) {
        return hold_refuse_store(session, -ENOBUFS);
    }
    if (session_awaits_lease(session)) {
        stream_flush(&session->client);
        return session_wait(session, WAIT_CONNECT);
    }
    if (lease_is_lost(session->lease)) {
        return replay_lost(session);
    }
    if (session->lease->expect_count > 0) {
        return replay_reply(session);
    }
    if (dispatch_is_lacking(session)) {
        return replay_elsewhere(session);
    }
    return replay_batch(session);
}

/* ---- what goes on top ---- */

static bool is_complete(const struct session *session)
{
    return session->transaction->eom_ms > 0;
}

/* In `stream` the header leaves before the body was seen: only what needs no body is said of it. */
static uint32_t put_results(const struct session *session, char *out)
{
    struct verification *v = session->transaction->verification;
    const char *name = session->worker->config->trace_header;
    bool had_dkim = v->findings.dkim.is_present;
    bool had_dmarc = v->findings.dmarc.is_present;
    uint32_t len = 0;
    v->findings.dkim.is_present = had_dkim && is_complete(session);
    v->findings.dmarc.is_present = had_dmarc && is_complete(session);
    if (v->chain.count > 0) {
        len += authres_write(&v->chain.facts, out);
    }
    if (name[0] != '\0') {
        len += authres_write_trace(&v->chain.facts, name, out + len);
    }
    v->findings.dkim.is_present = had_dkim;
    v->findings.dmarc.is_present = had_dmarc;
    return len;
}

/* Field `i` of the header, counted from 1; 0 is what stands in front of the first. */
static struct text header_part(const struct verification *v, uint32_t i)
{
    const struct header *header = &v->header;
    if (i == 0) {
        uint32_t len = header->count > 0 ? header->fields[0].at : header->len;
        return (struct text){header->text, len};
    }
    const struct header_field *field = &header->fields[i - 1];
    uint32_t len = verification_is_removed(v, i - 1) ? 0 : field->len;
    return (struct text){header->text + field->at, len};
}

/* The first octet of the header that stays, or of what is behind it. */
static char first_octet(const struct verification *v)
{
    for (uint32_t i = 0; i <= v->header.count; i++) {
        struct text part = header_part(v, i);
        if (part.len > 0) {
            return part.at[0];
        }
    }
    return '\r';
}

/* Results, then Received. */
static uint32_t format_fields(const struct session *session, char *out)
{
    uint32_t len = put_results(session, out);
    if (session->worker->config->received_header) {
        len += trace_received(session, out + len);
    }
    len += trace_part(first_octet(session->transaction->verification), len, out);
    assert(len <= FIELDS_MAX);
    return len;
}

/* ---- the content, part by part ---- */

static uint64_t content_len(const struct transaction *t, uint32_t fields_len)
{
    uint64_t len = fields_len + message_len(t->message);
    for (uint32_t i = 0; i <= t->verification->header.count; i++) {
        len += header_part(t->verification, i).len;
    }
    return len + (t->verification->has_empty_line ? 2 : 0);
}

/* Up to the next place where a dot has to be doubled, and as much as fits. */
static uint32_t plain_run(const char *at, uint32_t len)
{
    uint32_t taken = 0;
    do {
        const char *lf = memchr(at + taken, '\n', len - taken);
        taken = lf == NULL ? len : (uint32_t)(lf - at) + 1;
    } while (taken < len && at[taken] != '.');
    return taken;
}

/* Puts what fits into the next write; how much of the content that was, or -ENOBUFS: there is no chunk
 * for it. */
static int put_content(struct session *session, struct text content)
{
    struct delivery *delivery = &session->transaction->delivery;
    struct stream *upstream = &session->lease->stream;
    uint32_t taken = 0;
    while (taken < content.len) {
        const char *at = content.at + taken;
        uint32_t room = stream_room(upstream);
        bool is_stuffed = !delivery->is_bdat && delivery->at_line_start && at[0] == '.';
        if (room < 2) {
            break;
        }
        room -= is_stuffed ? 1 : 0;
        uint32_t len = content.len - taken < room ? content.len - taken : room;
        len = delivery->is_bdat ? len : plain_run(at, len);
        if ((is_stuffed && stream_put(upstream, ".", 1) < 0) || stream_put(upstream, at, len) < 0) {
            return -ENOBUFS;
        }
        delivery->at_line_start = at[len - 1] == '\n';
        taken += len;
    }
    delivery->put += taken;
    return (int)taken;
}

/* 1: all of the header is out. 0: not yet. */
static int put_header(struct session *session)
{
    struct transaction *t = session->transaction;
    struct delivery *delivery = &t->delivery;
    while (delivery->field <= t->verification->header.count) {
        struct text part = header_part(t->verification, delivery->field);
        part = (struct text){part.at + delivery->at, part.len - delivery->at};
        int taken = put_content(session, part);
        if (taken < 0) {
            return taken;
        }
        if ((uint32_t)taken < part.len) {
            delivery->at += (uint32_t)taken;
            return 0;
        }
        delivery->at = 0;
        delivery->field++;
    }
    return 1;
}

/* 1: it is out, if there is one. 0: not yet. */
static int put_empty_line(struct session *session)
{
    if (!session->transaction->verification->has_empty_line) {
        return 1;
    }
    if (stream_room(&session->lease->stream) < 2) {
        return 0;
    }
    int taken = put_content(session, (struct text){"\r\n", 2});
    return taken < 0 ? taken : 1; /* a line end in front of it: no dot to double, two are enough */
}

/* 1: all of the body that is there is out. 0: more of it, but no room or not read yet. */
static int put_body(struct session *session)
{
    struct message *message = session->transaction->message;
    struct text run;
    int result;
    while ((result = message_read(message, &run)) > 0) {
        int taken = put_content(session, run);
        if (taken < 0) {
            return taken;
        }
        message_consume(message, (uint32_t)taken);
        if ((uint32_t)taken < run.len) {
            return 0;
        }
    }
    bool is_dry = result == -ENODATA || (result == 0 && !message_is_busy(message));
    return is_dry ? 1 : result;
}

/* 1: they are out. */
static int put_fields(struct session *session)
{
    struct transaction *t = session->transaction;
    struct delivery *delivery = &t->delivery;
    char fields[FIELDS_MAX];
    char command[BDAT_MAX];
    uint32_t len = format_fields(session, fields);
    delivery->announced = content_len(t, len);
    int result = 0;
    if (delivery->is_bdat) {
        struct writer w = {.at = command, .end = command + sizeof(command)};
        writer_put(&w, TEXT("BDAT "));
        writer_number(&w, delivery->announced);
        writer_put(&w, TEXT(" LAST\r\n"));
        result = lease_put(session->lease, command, writer_len(&w, command));
    }
    if (result == 0) {
        result = lease_put(session->lease, fields, len); /* no line in it begins with a dot */
    }
    delivery->put = len;
    return result < 0 ? result : 1;
}

static int (*const part_rows[])(struct session *session) = {
    [PART_FIELDS] = put_fields, [PART_HEADER] = put_header, [PART_EMPTY_LINE] = put_empty_line};

/* 1: all that is there is out. 0: not yet. */
static int put_parts(struct session *session)
{
    struct delivery *delivery = &session->transaction->delivery;
    while (delivery->part != PART_BODY) {
        int result = part_rows[delivery->part](session);
        if (result <= 0) {
            return result;
        }
        delivery->part++;
    }
    return put_body(session);
}

/* ---- the message ---- */

static enum step open_message(struct session *session)
{
    struct transaction *t = session->transaction;
    t->is_open = true;
    t->delivery.is_bdat = is_complete(session) && gather_is_possible(session);
    if (t->delivery.is_bdat) {
        lease_begin_message(session->lease);
        session_enter(session, SESSION_DELIVER);
        return STEP_MORE;
    }
    if (lease_put(session->lease, "DATA\r\n", 6) < 0) {
        return hold_refuse_store(session, -ENOBUFS);
    }
    lease_expect(session->lease, EXPECT_DATA);
    lease_flush(session->lease);
    session_enter(session, SESSION_OPEN);
    return STEP_MORE;
}

static enum step deliver_wait(struct session *session)
{
    uint32_t causes = stream_is_sending(&session->lease->stream) ? WAIT_UPSTREAM_DRAIN : 0;
    causes |= message_is_busy(session->transaction->message) ? WAIT_SPOOL : 0;
    stream_flush(&session->client);
    return session_wait(session, causes);
}

/* The last byte of it. What comes next is the upstream's word on the message. */
static enum step end_message(struct session *session)
{
    struct delivery *delivery = &session->transaction->delivery;
    if (!delivery->is_bdat) {
        if (stream_room(&session->lease->stream) < 3) {
            lease_flush_message(session->lease);
            return deliver_wait(session);
        }
        if (lease_put(session->lease, ".\r\n", 3) < 0) {
            return hold_refuse_store(session, -ENOBUFS);
        }
    }
    assert(!delivery->is_bdat || delivery->put == delivery->announced);
    lease_expect(session->lease, delivery->is_bdat ? EXPECT_BDAT : EXPECT_EOM);
    lease_flush(session->lease);
    session_enter(session, SESSION_FORWARD);
    return STEP_MORE;
}

enum step step_deliver(struct session *session)
{
    const struct transaction *t = session->transaction;
    if (session->timed_out) {
        return hold_refuse(session, "451 4.4.2 the upstream is too slow", "upstream");
    }
    if (relay_is_refused(session)) {
        return STEP_MORE;
    }
    if (stream_is_sending(&session->lease->stream)) {
        return deliver_wait(session);
    }
    int result = put_parts(session);
    if (result < 0) {
        return hold_refuse_store(session, result);
    }
    if (result > 0 && is_complete(session)) {
        return end_message(session);
    }
    lease_flush_message(session->lease);
    if (result > 0) {
        session_enter(session, SESSION_HOLD); /* the client's turn again */
        return STEP_MORE;
    }
    bool is_moving = stream_is_sending(&session->lease->stream) || message_is_busy(t->message);
    return is_moving ? deliver_wait(session) : hold_refuse_store(session, -ENOBUFS);
}
