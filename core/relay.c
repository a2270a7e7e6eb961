/*
 * relay - a message on its way: the client's buffer is scanned in place and sent to the upstream as
 * it is.
 *
 *   client window                scan                         upstream
 *   [ ...... \r\n.\r\n ]   ->   clean | held back | end   ->   one send: Received field, held bytes,
 *                                                             clean bytes, end
 *
 * The field and the bytes held back from the chunk before are written into the buffer's headroom,
 * directly in front of the clean bytes, so a small message is one receive and one send. While a
 * buffer is being sent the next one is received; a third is not asked for. Nothing behind a fault,
 * a limit or a loop is forwarded, the upstream connection is cut off at once (it has not seen an
 * end-of-data, so it has no message), and the rest is read to its true end, where the refusal
 * stands as the one reply (design P1, P4; RFC 5321, 4.1.1.4).
 */
#include "core/relay.h"

#include <assert.h>
#include <string.h>

enum { PREFIX_MAX = RELAY_FIELD_MAX + 1 };

/* ---- for core/gather.c as well ---- */

enum step relay_refuse_unsent(struct session *session, const char *line, const char *decided_by)
{
    session->transaction->refusal = line;
    session->transaction->decided_by = decided_by;
    session_return_lease(session);
    session_enter(session, SESSION_DISCARD);
    return STEP_MORE;
}

enum step relay_refuse(struct session *session, const char *line, const char *decided_by)
{
    lease_drop(&session->lease);
    return relay_refuse_unsent(session, line, decided_by);
}

void relay_keep_words(struct session *session, const struct smtp_reply *reply)
{
    struct transaction *t = session->transaction;
    assert(reply->len <= sizeof(t->early_reply));
    memcpy(t->early_reply, lease_reply_bytes(session->lease), reply->len);
    t->refusal_len = reply->len;
}

const char *relay_judge(const struct session *session, const char **ret_decided_by)
{
    const struct transaction *t = session->transaction;
    uint64_t max = session->worker->config->message_size;
    if (t->body.fault != BODY_CLEAN) {
        *ret_decided_by = "framing";
        return "550 5.5.2 message holds a bare CR, a bare LF or a NUL";
    }
    if (max > 0 && t->body.size > max) {
        *ret_decided_by = "limits.message_size";
        return "552 5.3.4 message size exceeds fixed limit";
    }
    if (t->body.hops > TRANSACTION_HOPS_MAX) {
        *ret_decided_by = "loop";
        return "554 5.4.6 too many hops, this is a mail loop";
    }
    return NULL;
}

enum step relay_begin(struct session *session, enum session_state state)
{
    struct transaction *t = session->transaction;
    session_reply(session, "354 end data with <CR><LF>.<CR><LF>");
    t->data_ms = session_now(session);
    smtp_body_init(&t->body);
    session_enter(session, state);
    return session_command_done(session);
}

/* The client's next bytes are asked for, also while the last ones are still being sent. */
enum step relay_await_client(struct session *session, uint32_t causes)
{
    stream_flush(&session->client);
    if (stream_len(&session->client) == 0) {
        if (stream_read(&session->client, RECV_LATER) < 0) {
            return session_end(session, NULL, "client");
        }
        causes |= WAIT_CLIENT_BYTES;
    }
    return session_wait(session, causes);
}

bool relay_is_refused(struct session *session)
{
    struct smtp_reply reply;
    int early = lease_early_reply(session->lease, &reply);
    if (early > 0) {
        relay_keep_words(session, &reply);
        (void)relay_refuse(session, NULL, "upstream");
    } else if (early < 0) {
        (void)relay_refuse(session, "451 4.4.2 upstream connection lost", "upstream");
    }
    return early != 0;
}

char relay_first_octet(struct text held, const char *bytes)
{
    char first = held.len > 0 ? held.at[0] : bytes[0];
    if (first != '.') {
        return first;
    }
    return held.len > 0 ? bytes[0] : bytes[1]; /* a dot alone would still be held back */
}

uint32_t relay_put_field(struct session *session, char first, char *out)
{
    struct transaction *t = session->transaction;
    if (t->body_begun || !session->worker->config->received_header) {
        t->body_begun = true;
        return 0;
    }
    t->body_begun = true;
    uint32_t len = trace_received(session, out);
    return len + trace_part(first, len, out);
}

/* ---- as it comes ---- */

/* The whole buffer goes over, with the prefix in its headroom. False when the buffer cannot be
 * given away. */
static bool send_whole(struct session *session, const struct smtp_body_step *step,
                       const char *prefix, uint32_t prefix_len)
{
    struct stream *client = &session->client;
    struct buf *in = client->in;
    uint32_t tail = step->end ? step->taken - step->clean : 0;
    bool all = step->taken == stream_len(client) && (!step->end || tail == 3);
    if (in == NULL || !all || in->begin < prefix_len) {
        return false;
    }
    struct buf *buf = stream_take(client);
    buf->end = buf->begin + step->clean + tail;
    buf->begin -= prefix_len;
    memcpy(buf_bytes(buf), prefix, prefix_len);
    lease_send_body(session->lease, buf);
    return true;
}

/* Bytes of the next command are behind, or the end-of-data was cut: the piece is copied. */
static int send_copy(struct session *session, const struct smtp_body_step *step, const char *prefix,
                     uint32_t prefix_len)
{
    struct stream *upstream = &session->lease->stream;
    int result = stream_put(upstream, prefix, prefix_len);
    if (result == 0) {
        result = stream_put(upstream, stream_bytes(&session->client), step->clean);
    }
    if (result == 0 && step->end) {
        result = stream_put(upstream, ".\r\n", 3);
    }
    stream_consume(&session->client, step->taken);
    return result;
}

/* Forwards what one scan found clean, and the end-of-data. */
static enum step forward_piece(struct session *session, const struct smtp_body_step *step)
{
    char prefix[PREFIX_MAX];
    struct transaction *t = session->transaction;
    if (step->clean + step->held.len == 0 && !step->end) {
        stream_consume(&session->client, step->taken); /* all of it is held back */
        return STEP_MORE;
    }
    uint32_t prefix_len = relay_put_field(
        session, relay_first_octet(step->held, stream_bytes(&session->client)), prefix);
    memcpy(prefix + prefix_len, step->held.at, step->held.len);
    prefix_len += step->held.len;
    if (step->end) {
        lease_expect(session->lease, EXPECT_EOM);
        t->eom_ms = session_now(session);
        t->size = t->body.size;
    }
    if (!send_whole(session, step, prefix, prefix_len) &&
        send_copy(session, step, prefix, prefix_len) < 0) {
        return relay_refuse(session, "452 4.3.1 insufficient system storage", "limits.memory");
    }
    if (step->end) {
        lease_flush(session->lease);
        session_enter(session, SESSION_FORWARD);
    } else {
        stream_flush(&session->lease->stream);
    }
    return STEP_MORE;
}

enum step relay_timeout(struct session *session)
{
    return session_end(session, "421 4.4.2 timeout while waiting for the message",
                       session->is_over ? "limits.session_timeout" : "limits.data_timeout");
}

enum step step_body(struct session *session)
{
    struct transaction *t = session->transaction;
    if (session->timed_out) {
        return relay_timeout(session);
    }
    if (relay_is_refused(session)) {
        return STEP_MORE;
    }
    if (stream_is_sending(&session->lease->stream)) {
        return relay_await_client(session, WAIT_UPSTREAM_DRAIN);
    }
    uint32_t len = stream_len(&session->client);
    if (len == 0) {
        return relay_await_client(session, 0);
    }
    struct smtp_body_step step;
    smtp_body_scan(&t->body, stream_bytes(&session->client), len < BUF_SIZE ? len : BUF_SIZE,
                   &step);
    const char *decided_by = NULL;
    const char *refusal = relay_judge(session, &decided_by);
    if (refusal == NULL) {
        return forward_piece(session, &step);
    }
    stream_consume(&session->client, step.taken);
    t->size = t->body.size;
    t->eom_ms = step.end ? session_now(session) : 0;
    return relay_refuse(session, refusal, decided_by);
}

/* The message has been read to its end: the one reply, and the transaction is over. */
static enum step discard_done(struct session *session)
{
    struct transaction *t = session->transaction;
    struct smtp_reply reply = {.len = t->refusal_len};
    const char *decided_by = t->decided_by;
    bool closing = false;
    if (t->refusal != NULL) {
        session_reply(session, t->refusal);
    } else {
        reply.code = (uint16_t)((t->early_reply[0] - '0') * 100 + (t->early_reply[1] - '0') * 10 +
                                t->early_reply[2] - '0');
        session_pass_reply(session, &reply, t->early_reply);
        closing = reply.code == 421;
    }
    session_end_transaction(session, session_reply_verdict(session), decided_by);
    if (closing) {
        return session_end(session, NULL, "upstream");
    }
    session_enter(session, SESSION_COMMAND);
    return STEP_MORE;
}

enum step step_discard(struct session *session)
{
    struct transaction *t = session->transaction;
    if (session->timed_out) {
        return relay_timeout(session);
    }
    if (stream_room(&session->client) < SESSION_REPLY_ROOM) {
        stream_flush(&session->client);
        return session_wait(session, WAIT_CLIENT_DRAIN);
    }
    if (t->eom_ms > 0) {
        return discard_done(session);
    }
    uint32_t len = stream_len(&session->client);
    if (len == 0) {
        return relay_await_client(session, 0);
    }
    struct smtp_body_step step;
    smtp_body_scan(&t->body, stream_bytes(&session->client), len, &step);
    stream_consume(&session->client, step.taken);
    t->size = t->body.size;
    t->eom_ms = step.end ? session_now(session) : 0;
    return STEP_MORE;
}
