/*
 * sink_steps - weir-sink's dialogue, one step per state.
 *
 * Declared in bench/sink_session.h, where the states are drawn.
 */
#include "bench/sink_session.h"

#include <assert.h>

static enum sink_step answer(struct sink_session *session, enum sink_stage stage, struct text usual,
                             enum sink_state next)
{
    (void)sink_answer_begin(session, stage, usual, next); /* nothing takes effect */
    sink_session_enter(session, SINK_ANSWER);
    return STEP_MORE;
}

enum sink_step sink_step_greet(struct sink_session *session)
{
    const struct sink_offer *offer = &session->sink->offer;
    struct text banner = {.at = offer->banner, .len = offer->banner_len};
    return answer(session, STAGE_CONNECT, banner, SINK_COMMAND);
}

/* ---- commands ---- */

static enum sink_step refuse_line(struct sink_session *session, struct text reply)
{
    session->sink->counts.commands++;
    session->sink->counts.refused++;
    session->skip = (struct smtp_line_skip){0};
    return answer(session, STAGE_NONE, reply, SINK_SKIP);
}

enum sink_step sink_step_command(struct sink_session *session)
{
    struct stream *stream = &session->stream;
    struct text line;
    uint32_t taken;
    enum smtp_line_result result = LINE_MORE;
    if (stream_len(stream) > 0) {
        result = smtp_line_scan(stream_bytes(stream), stream_len(stream), &line, &taken);
    }
    switch (result) {
    case LINE_MORE:
        stream_flush(stream);
        return sink_session_read(session, RECV_LATER);
    case LINE_OK:
        sink_command_run(session, line);
        stream_consume(stream, taken);
        return STEP_MORE;
    case LINE_BAD:
        return refuse_line(session, TEXT("550 5.5.2 Bare CR, bare LF or NUL\r\n"));
    case LINE_LONG:
        return refuse_line(session, TEXT("500 5.5.2 Line too long\r\n"));
    }
    assert(!"result of a line scan");
    return STEP_END;
}

enum sink_step sink_step_skip(struct sink_session *session)
{
    struct stream *stream = &session->stream;
    bool found = false;
    uint32_t len = stream_len(stream);
    if (len > 0) {
        len = smtp_line_skip(&session->skip, stream_bytes(stream), len, &found);
        stream_consume(stream, len);
    }
    if (!found) {
        stream_flush(stream);
        return sink_session_read(session, RECV_LATER);
    }
    sink_session_enter(session, SINK_COMMAND);
    return STEP_MORE;
}

/* ---- messages ---- */

/* The rules want the answer to the message before the message. */
enum sink_step sink_step_early(struct sink_session *session)
{
    struct sink_transaction *transaction = &session->transaction;
    if (!sink_rules_answer_early(&session->sink->rules)) {
        sink_session_enter(session, SINK_BODY); /* another session was quicker */
        return STEP_MORE;
    }
    transaction->answered = true;
    transaction->doomed =
        !sink_answer_begin(session, STAGE_EOM, TEXT("250 2.0.0 Ok\r\n"), SINK_BODY);
    sink_session_enter(session, SINK_ANSWER);
    return STEP_MORE;
}

/*
 * The first octets of a message are there. What the rules say now goes out in the middle of the
 * message, instead of the answer at its end.
 */
static enum sink_step reach_body(struct sink_session *session, enum sink_state state)
{
    struct sink_transaction *transaction = &session->transaction;
    transaction->has_body = true;
    (void)sink_answer_begin(session, STAGE_BODY, TEXT(""), state); /* usually there is no answer */
    if (session->answer.len > 0) {
        transaction->answered = true;
        transaction->doomed = session->plan.garbage || !sink_is_positive(session->answer);
    }
    sink_session_enter(session, SINK_ANSWER);
    return STEP_MORE;
}

/* Octets of a message that is kept; one that has become too big is kept no further. */
static void keep(struct sink_session *session, const char *data, uint32_t len)
{
    struct sink_message *message = session->transaction.message;
    uint64_t size_max = session->sink->offer.size_max;
    if (size_max == 0 || message->size <= size_max) {
        sink_message_write(message, data, len);
    }
}

/* Takes octets out of the window and into the file. */
static bool take_data(struct sink_session *session)
{
    struct stream *stream = &session->stream;
    struct sink_transaction *transaction = &session->transaction;
    char *staging = transaction->message == NULL ? NULL : session->sink->journal->staging;
    uint32_t out_len;
    bool end;
    uint32_t taken = sink_content_data(&transaction->content, stream_bytes(stream),
                                       stream_len(stream), staging, &out_len, &end);
    if (out_len > 0) {
        keep(session, staging, out_len);
    }
    stream_consume(stream, taken);
    return end;
}

enum sink_step sink_step_body(struct sink_session *session)
{
    struct stream *stream = &session->stream;
    if (stream_len(stream) == 0) {
        stream_flush(stream);
        return sink_session_read(session, RECV_LATER);
    }
    if (!session->transaction.has_body) {
        return reach_body(session, SINK_BODY);
    }
    if (!take_data(session)) {
        stream_flush(stream); /* our go-ahead, to a client that did not wait for it */
        return sink_session_read(session, RECV_LIKELY);
    }
    sink_session_enter(session, SINK_EOM);
    return STEP_MORE;
}

static void take_chunk(struct sink_session *session)
{
    struct stream *stream = &session->stream;
    struct sink_transaction *transaction = &session->transaction;
    const char *data = stream_bytes(stream);
    uint32_t len = stream_len(stream);
    if (len > session->chunk_left) {
        len = (uint32_t)session->chunk_left;
    }
    if (sink_is_positive(session->chunk_answer)) {
        sink_content_chunk(&transaction->content, data, len);
        if (transaction->message != NULL) {
            keep(session, data, len);
        }
    }
    session->chunk_left -= len;
    stream_consume(stream, len);
}

enum sink_step sink_step_chunk(struct sink_session *session)
{
    bool is_wanted = sink_is_positive(session->chunk_answer);
    if (session->chunk_left > 0 && stream_len(&session->stream) == 0) {
        stream_flush(&session->stream);
        return sink_session_read(session, RECV_LIKELY);
    }
    if (session->chunk_left > 0 && is_wanted && !session->transaction.has_body) {
        return reach_body(session, SINK_CHUNK);
    }
    if (session->chunk_left > 0) {
        take_chunk(session);
        return STEP_MORE;
    }
    if (session->chunk_last && is_wanted) {
        sink_session_enter(session, SINK_EOM);
        return STEP_MORE;
    }
    if (!sink_answer_begin(session, STAGE_DATA, session->chunk_answer, SINK_COMMAND)) {
        sink_session_reset(session); /* the rest of the message finds no transaction */
    }
    sink_session_enter(session, SINK_ANSWER);
    return STEP_MORE;
}

/* What a complete message deserves. */
static struct text judge_message(struct sink_session *session)
{
    struct sink_transaction *transaction = &session->transaction;
    uint64_t size_max = session->sink->offer.size_max;
    if (sink_content_is_bad(&transaction->content)) {
        session->sink->counts.refused++;
        return TEXT("550 5.5.2 Bare CR, bare LF or NUL\r\n");
    }
    if (size_max > 0 && sink_content_size(&transaction->content) > size_max) {
        session->sink->counts.refused++;
        return TEXT("552 5.3.4 Message too big\r\n");
    }
    if (transaction->message != NULL && transaction->message->error < 0) {
        return TEXT("452 4.3.1 No room for the message\r\n");
    }
    return TEXT("250 2.0.0 Ok\r\n");
}

static void count_message(struct sink_session *session)
{
    struct sink_counts *counts = &session->sink->counts;
    counts->messages++;
    counts->bytes += sink_content_size(&session->transaction.content);
}

enum sink_step sink_step_eom(struct sink_session *session)
{
    struct sink_transaction *transaction = &session->transaction;
    struct text usual = judge_message(session);
    bool good = sink_is_positive(usual) && !transaction->doomed;
    if (transaction->answered) {
        (void)sink_answer_begin(session, STAGE_NONE, TEXT(""), SINK_COMMAND); /* said before */
    } else {
        good = sink_answer_begin(session, STAGE_EOM, usual, SINK_COMMAND);
        good = good && session->answer.at[0] == '2';
    }
    if (good && transaction->message != NULL) {
        sink_journal_queue(session->sink->journal, transaction->message);
        sink_session_enter(session, SINK_COMMIT);
        return sink_session_wait(session, CAUSE_COMMIT);
    }
    if (good) {
        count_message(session);
    }
    sink_session_reset(session);
    sink_session_enter(session, SINK_ANSWER);
    return STEP_MORE;
}

/* The journal has answered. */
enum sink_step sink_step_commit(struct sink_session *session)
{
    sink_session_reset(session);
    sink_session_enter(session, SINK_ANSWER);
    return STEP_MORE;
}
