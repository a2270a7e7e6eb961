/*
 * gather - a short message goes over whole, with BDAT (RFC 3030) instead of DATA.
 *
 *   client window                                            upstream
 *   [ ...... \r\n.\r\n ]   whole and clean   ->  FORWARD     one write: BDAT n LAST, our field, the
 *                                                            content without its stuffed dots
 *                          fault, limit      ->  DISCARD     nothing
 *   [ ...... .......   ]   too long, slow    ->  OPEN        DATA; at its 354 core/relay.c takes over
 *
 * The 354 is ours, so the client sends while the upstream knows of nothing: a round trip less, no
 * dot to smuggle, an end that is a number, and for a message that is refused or cut no connection
 * lost. What can be whole is what one window holds: at most STREAM_UNREAD_MAX bytes wait there for the
 * next receive, and nothing is kept anywhere else. Behind BDAT the
 * upstream's reply is the client's, as behind the end-of-data (core/forward.c, design P1).
 *
 * Where the upstream fails before that, or refuses DATA when it comes to that, the client is in the
 * middle of its message and hears of it behind the true end-of-data.
 */
#include <assert.h>

#include "core/gather.h"
#include "core/relay.h"
#include "core/writer.h"

enum {
    COMMAND_MAX = 32, /* "BDAT 4294967295 LAST" */
    EOD_LEN = 3,      /* ".\r\n": the CRLF in front of it belongs to the content */
    /* What fits into one write behind what stands in front of it. */
    WHOLE_MAX = STREAM_CHUNK_SIZE - COMMAND_MAX - RELAY_FIELD_MAX,
};

bool gather_is_possible(const struct session *session)
{
    return session_upstream(session)->config->chunking == CHUNKING_AUTO &&
           (session->lease->extensions & EXT_CHUNKING) != 0;
}

enum step gather_begin(struct session *session)
{
    session->transaction->gathered = 0;
    return relay_begin(session, SESSION_GATHER);
}

/* What has been scanned is dealt with, to the true end or not. */
static void consume(struct session *session, bool end)
{
    struct transaction *t = session->transaction;
    stream_consume(&session->client, t->gathered);
    t->size = t->body.size;
    t->eom_ms = end ? session_now(session) : 0;
}

/* The command, our field and the content, whose length is the one that was announced. */
static int put_message(struct session *session)
{
    struct transaction *t = session->transaction;
    struct text rest = {stream_bytes(&session->client), t->gathered - EOD_LEN};
    char field[RELAY_FIELD_MAX];
    char command[COMMAND_MAX];
    char first = relay_first_octet((struct text){"", 0}, rest.at);
    uint32_t field_len = relay_put_field(session, first, field);
    struct writer w = {.at = command, .end = command + sizeof(command)};
    writer_put(&w, TEXT("BDAT "));
    writer_number(&w, field_len + t->body.size);
    writer_put(&w, TEXT(" LAST\r\n"));
    uint64_t put = 0;
    bool at_line_start = true;
    int result = lease_put(session->lease, command, writer_len(&w, command));
    if (result == 0) {
        result = lease_put(session->lease, field, field_len);
    }
    while (result == 0 && rest.len > 0) {
        struct text run = smtp_body_unstuff(&rest, &at_line_start);
        put += run.len;
        result = lease_put(session->lease, run.at, run.len);
    }
    assert(result < 0 || put == t->body.size);
    return result;
}

static enum step send_message(struct session *session)
{
    int result = put_message(session);
    consume(session, true);
    if (result < 0) {
        return relay_refuse(session, "452 4.3.1 insufficient system storage", "limits.memory");
    }
    lease_expect(session->lease, EXPECT_BDAT);
    lease_flush(session->lease);
    session_enter(session, SESSION_FORWARD);
    return STEP_MORE;
}

/* What has come stays in the window: the relay begins at its first byte. */
static enum step send_data(struct session *session)
{
    smtp_body_init(&session->transaction->body);
    if (lease_put(session->lease, "DATA\r\n", 6) < 0) {
        return relay_refuse(session, "452 4.3.1 insufficient system storage", "limits.memory");
    }
    lease_expect(session->lease, EXPECT_DATA);
    lease_flush(session->lease);
    session_enter(session, SESSION_OPEN);
    return STEP_MORE;
}

static enum step wait_for_more(struct session *session)
{
    stream_flush(&session->client);
    if (stream_read(&session->client, RECV_LATER) < 0) {
        return session_end(session, NULL, "client");
    }
    return session_wait(session, WAIT_CLIENT_BYTES);
}

/* Scans what is new in the window. True at the true end of the message. */
static bool scan(struct session *session)
{
    struct transaction *t = session->transaction;
    struct smtp_body_step step = {.end = false};
    uint32_t len = stream_len(&session->client) - t->gathered;
    if (len > 0) {
        smtp_body_scan(&t->body, stream_bytes(&session->client) + t->gathered, len, &step);
        t->gathered += step.taken;
    }
    return step.end;
}

enum step step_gather(struct session *session)
{
    if (session->is_over) {
        return relay_timeout(session);
    }
    bool end = scan(session);
    const char *decided_by = NULL;
    const char *refusal = relay_judge(session, &decided_by);
    if (refusal != NULL) {
        consume(session, end);
        return relay_refuse_unsent(session, refusal, decided_by);
    }
    if (lease_is_lost(session->lease)) {
        consume(session, end);
        return relay_refuse(session, "451 4.4.2 upstream connection lost", "upstream");
    }
    if (end && session->transaction->gathered <= WHOLE_MAX) {
        return send_message(session);
    }
    bool too_long = end || stream_len(&session->client) > STREAM_UNREAD_MAX;
    if (too_long || session->timed_out) {
        return send_data(session);
    }
    return wait_for_more(session);
}

/* The refusal keeps for the end-of-data; the connection is as good as before. */
static enum step refused(struct session *session, const struct smtp_reply *reply)
{
    relay_keep_words(session, reply);
    lease_reply_done(session->lease, reply->len, reply->code);
    return relay_refuse_unsent(session, NULL, "upstream");
}

enum step step_open(struct session *session)
{
    struct smtp_reply reply;
    if (session->timed_out) {
        return relay_refuse(session, "451 4.4.2 the upstream is too slow", "upstream");
    }
    int found = lease_reply(session->lease, &reply);
    if (found == 0) {
        return session_wait(session, WAIT_UPSTREAM_BYTES);
    }
    if (found > 0 && reply.code >= 400) {
        return refused(session, &reply);
    }
    if (found < 0 || reply.code != 354) {
        return relay_refuse(session, "451 4.4.2 upstream connection lost", "upstream");
    }
    lease_reply_done(session->lease, reply.len, reply.code);
    if (!lease_is_lost(session->lease)) {
        lease_begin_message(session->lease);
    }
    bool is_held = session->transaction->message != NULL;
    session_enter(session, is_held ? SESSION_DELIVER : SESSION_BODY);
    return STEP_MORE;
}
