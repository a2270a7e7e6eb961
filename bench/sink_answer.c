/*
 * sink_answer - how weir-sink answers: as usual, or as the rules want it.
 *
 * Declared in bench/sink_session.h. Everything the sink says goes through sink_answer_begin() and
 * the step of SINK_ANSWER, so that each stage can be delayed, replaced, dripped or cut off.
 */
#include "bench/sink_session.h"

#include <assert.h>
#include <stdio.h>

enum { GARBAGE_LEN = 48 };
_Static_assert(GARBAGE_LEN + 2 <= SINK_ANSWER_SPACE, "garbage has room");
_Static_assert((int)SINK_EHLO_MAX <= (int)STREAM_CHUNK_SIZE,
               "the EHLO reply fits into an empty stream");
_Static_assert((int)SINK_RULE_TEXT_MAX <= (int)STREAM_CHUNK_SIZE, "so does a rule's");

/* Bytes that are no reply: not a digit first, and neither CR nor LF before the end (xorshift). */
static struct text garbage(struct sink_session *session)
{
    uint64_t x = session->sink->random;
    for (uint32_t i = 0; i < GARBAGE_LEN; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        char byte = (char)(x >> 32);
        bool bad = byte == '\r' || byte == '\n' || (i == 0 && byte >= '0' && byte <= '9');
        session->space[i] = bad ? '#' : byte;
    }
    session->sink->random = x;
    memcpy(session->space + GARBAGE_LEN, "\r\n", 2);
    return (struct text){.at = session->space, .len = GARBAGE_LEN + 2};
}

static bool plan_lets_succeed(const struct sink_plan *plan)
{
    bool silent = plan->end == END_DROP || plan->end == END_RESET || plan->end == END_HANG;
    return !silent && !plan->garbage && (!plan->has_reply || sink_is_positive(plan->reply));
}

bool sink_answer_begin(struct sink_session *session, enum sink_stage stage, struct text usual,
                       enum sink_state next)
{
    struct sink_plan *plan = &session->plan;
    sink_rules_reach(&session->sink->rules, stage, plan);
    session->next = (uint8_t)next;
    session->dripped = 0;
    session->answer = usual;
    if (plan->has_reply) {
        session->answer = plan->reply;
    } else if (plan->garbage) {
        session->answer = garbage(session);
    }
    return sink_is_positive(usual) && plan_lets_succeed(plan);
}

/* The answer is with the stream: how it goes on. */
static enum sink_step answer_done(struct sink_session *session)
{
    if (session->plan.end == END_CLOSE_AFTER) {
        return sink_session_close(session, STOP_LINGER);
    }
    if (session->next == SINK_CLOSING) {
        bool unread = stream_len(&session->stream) > 0;
        return sink_session_close(session, unread ? STOP_LINGER : STOP_DRAIN);
    }
    sink_session_enter(session, (enum sink_state)session->next);
    return STEP_MORE;
}

/* Closing with a linger time of zero sends a reset and drops what is unsent. */
static enum sink_step close_with_reset(struct sink_session *session)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    int result = setsockopt(session->stream.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    assert(result == 0);
    return sink_session_close(session, STOP_NOW);
}

enum sink_step sink_step_answer(struct sink_session *session)
{
    struct sink_plan *plan = &session->plan;
    struct text answer = session->answer;
    if (plan->delay_ms > 0) {
        sink_session_set_timer(session, plan->delay_ms);
        plan->delay_ms = 0;
        sink_session_enter(session, SINK_DELAY);
        stream_flush(&session->stream); /* earlier answers are not delayed */
        return sink_session_wait(session, CAUSE_TIMER);
    }
    if (plan->end == END_HANG) {
        sink_session_enter(session, SINK_HANG);
        return STEP_MORE;
    }
    if (plan->end == END_DROP) {
        return sink_session_close(session, STOP_DRAIN);
    }
    if (plan->end == END_RESET) {
        return close_with_reset(session);
    }
    if (answer.len == 0) {
        return answer_done(session);
    }
    if (plan->drip_ms > 0) {
        sink_session_enter(session, SINK_DRIP);
        return STEP_MORE;
    }
    if (stream_put(&session->stream, answer.at, answer.len) < 0) {
        return sink_session_flush(session);
    }
    return answer_done(session);
}

/* The time is over. */
enum sink_step sink_step_delay(struct sink_session *session)
{
    sink_session_enter(session, SINK_ANSWER);
    return STEP_MORE;
}

/* One byte, and the pause behind it. */
enum sink_step sink_step_drip(struct sink_session *session)
{
    if (session->dripped == session->answer.len) {
        session->answer.len = 0;
        sink_session_enter(session, SINK_ANSWER);
        return STEP_MORE;
    }
    if (stream_put(&session->stream, session->answer.at + session->dripped, 1) < 0) {
        return sink_session_flush(session);
    }
    session->dripped++;
    stream_flush(&session->stream);
    sink_session_set_timer(session, session->plan.drip_ms);
    return sink_session_wait(session, CAUSE_TIMER);
}

/*
 * Never answers again. Commands are still read and thrown away, so that the peer's end is seen; in
 * the middle of a message nothing is read, so that the peer meets a full window.
 */
enum sink_step sink_step_hang(struct sink_session *session)
{
    struct stream *stream = &session->stream;
    bool in_message = session->next == SINK_BODY || session->next == SINK_CHUNK;
    bool is_deaf = session->transaction.has_body && in_message;
    stream_flush(stream);
    stream_consume(stream, stream_len(stream));
    if (is_deaf) {
        return sink_session_wait(session, CAUSE_STOP);
    }
    return sink_session_read(session, RECV_LATER);
}
