/*
 * sink_session - see bench/sink_session.h: states, events, the end.
 */
#include "bench/sink_session.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

enum { SINK_SESSION_MAGIC = 0x53494e4b };

#define EDGE(state) (1u << (state))

static const struct state_row {
    enum sink_step (*step)(struct sink_session *session);
    uint32_t next; /* set of states that may follow; CLOSING always may */
} state_rows[SINK_STATE_COUNT] = {
    [SINK_GREET] = {sink_step_greet, EDGE(SINK_ANSWER)},
    [SINK_COMMAND] = {sink_step_command, EDGE(SINK_ANSWER) | EDGE(SINK_CHUNK)},
    [SINK_SKIP] = {sink_step_skip, EDGE(SINK_COMMAND)},
    [SINK_EARLY] = {sink_step_early, EDGE(SINK_ANSWER) | EDGE(SINK_BODY)},
    [SINK_BODY] = {sink_step_body, EDGE(SINK_ANSWER) | EDGE(SINK_EOM)},
    [SINK_CHUNK] = {sink_step_chunk, EDGE(SINK_ANSWER) | EDGE(SINK_EOM)},
    [SINK_EOM] = {sink_step_eom, EDGE(SINK_ANSWER) | EDGE(SINK_COMMIT)},
    [SINK_COMMIT] = {sink_step_commit, EDGE(SINK_ANSWER)},
    [SINK_ANSWER] = {sink_step_answer, EDGE(SINK_COMMAND) | EDGE(SINK_SKIP) | EDGE(SINK_EARLY) |
                                           EDGE(SINK_BODY) | EDGE(SINK_CHUNK) | EDGE(SINK_DELAY) |
                                           EDGE(SINK_DRIP) | EDGE(SINK_HANG)},
    [SINK_DELAY] = {sink_step_delay, EDGE(SINK_ANSWER)},
    [SINK_DRIP] = {sink_step_drip, EDGE(SINK_ANSWER)},
    [SINK_HANG] = {sink_step_hang, 0},
    [SINK_CLOSING] = {NULL, 0},
};

static void on_stream_event(struct stream *stream, enum stream_event event, int result);

/* ---- states ---- */

void sink_session_enter(struct sink_session *session, enum sink_state state)
{
    assert(session->magic == SINK_SESSION_MAGIC);
    assert(session->state < SINK_STATE_COUNT);
    assert((state_rows[session->state].next & EDGE(state)) != 0 || state == SINK_CLOSING);
    session->state = (uint8_t)state;
}

/* The cause of a wait has something behind it that will end it. */
static bool cause_is_live(const struct sink_session *session)
{
    switch ((enum sink_cause)session->waiting) {
    case CAUSE_BYTES:
        return stream_is_reading(&session->stream);
    case CAUSE_SENT:
        return stream_is_sending(&session->stream);
    case CAUSE_TIMER:
        return timer_is_set(&session->timer);
    case CAUSE_COMMIT:
        return list_is_linked(&session->transaction.message->node);
    case CAUSE_STOP:
        return true;
    case CAUSE_NONE:
        break;
    }
    return false;
}

static void session_advance(struct sink_session *session)
{
    enum sink_step step;
    do {
        assert(session->magic == SINK_SESSION_MAGIC);
        assert(session->state != SINK_CLOSING);
        session->waiting = CAUSE_NONE;
        step = state_rows[session->state].step(session);
    } while (step == STEP_MORE);
    if (step == STEP_WAIT) {
        assert(cause_is_live(session));
    }
}

/* Something happened; it matters when the session waits for it. */
static void session_poke(struct sink_session *session, enum sink_cause cause)
{
    if (session->state != SINK_CLOSING && session->waiting == cause) {
        session_advance(session);
    }
}

enum sink_step sink_session_wait(struct sink_session *session, enum sink_cause cause)
{
    session->waiting = (uint8_t)cause;
    return STEP_WAIT;
}

enum sink_step sink_session_read(struct sink_session *session, enum recv_hint hint)
{
    if (stream_read(&session->stream, hint) < 0) {
        return sink_session_close(session, STOP_DRAIN); /* the peer has ended, or no memory */
    }
    return sink_session_wait(session, CAUSE_BYTES);
}

enum sink_step sink_session_flush(struct sink_session *session)
{
    stream_flush(&session->stream);
    if (!stream_is_sending(&session->stream)) {
        return sink_session_close(session, STOP_NOW); /* no memory to gather a reply in */
    }
    return sink_session_wait(session, CAUSE_SENT);
}

void sink_session_reset(struct sink_session *session)
{
    struct sink_message *message = session->transaction.message;
    if (message != NULL) {
        sink_journal_drop(session->sink->journal, message);
    }
    session->transaction = (struct sink_transaction){0};
}

/* ---- events ---- */

static struct sink_session *session_of(struct stream *stream)
{
    struct sink_session *session = list_entry(stream, struct sink_session, stream);
    assert(session->magic == SINK_SESSION_MAGIC);
    return session;
}

static void on_timer(struct timer *timer)
{
    struct sink_session *session = list_entry(timer, struct sink_session, timer);
    assert(session->magic == SINK_SESSION_MAGIC);
    if (session->state == SINK_CLOSING) {
        sink_session_stop(session); /* it has lingered long enough */
    } else {
        session_poke(session, CAUSE_TIMER);
    }
}

void sink_session_set_timer(struct sink_session *session, uint32_t delay_ms)
{
    struct loop *loop = session->sink->loop;
    loop_timer_set(loop, &session->timer, loop_now_ms(loop) + delay_ms, on_timer);
}

/* The descriptor is closed: off to the list that the end of the turn releases. */
static void session_gone(struct sink_session *session)
{
    assert(session->state == SINK_CLOSING);
    assert(stream_is_closed(&session->stream));
    loop_timer_stop(session->sink->loop, &session->timer);
    sink_session_reset(session);
    list_remove(&session->node);
    list_push_back(&session->sink->gone, &session->node);
    session->sink->counts.sessions_now--;
}

enum sink_step sink_session_close(struct sink_session *session, enum stream_stop_how how)
{
    sink_session_enter(session, SINK_CLOSING);
    session->waiting = CAUSE_NONE;
    stream_stop(&session->stream, how);
    if (stream_is_closed(&session->stream)) {
        session_gone(session);
    } else if (how == STOP_LINGER) {
        sink_session_set_timer(session, SINK_LINGER_MS);
    }
    return STEP_END;
}

/* A session whose message is with the journal stays until the journal has answered; it will then
 * meet the same error again. */
static void on_send_failed(struct sink_session *session)
{
    if (session->state != SINK_COMMIT) {
        (void)sink_session_close(session, STOP_NOW); /* called from an event: no step to tell */
    }
}

static void on_stream_event(struct stream *stream, enum stream_event event, int result)
{
    struct sink_session *session = session_of(stream);
    switch (event) {
    case STREAM_RECEIVED:
        session_poke(session, CAUSE_BYTES);
        return;
    case STREAM_SENT:
        if (result < 0) {
            on_send_failed(session);
        } else {
            session_poke(session, CAUSE_SENT);
        }
        return;
    case STREAM_ENDED:
        (void)sink_session_close(session, STOP_DRAIN); /* as above */
        return;
    case STREAM_STOPPED:
        session_gone(session);
        return;
    case STREAM_CONNECTED:
    case STREAM_SECURED:
        break;
    }
    assert(!"event of a stream that was accepted");
}

static void answer_kept(struct sink_session *session, const struct sink_message *message,
                        int result)
{
    if (result < 0) {
        session->answer = TEXT("451 4.3.0 Message not kept\r\n");
        return;
    }
    if (session->plan.has_reply) {
        return;
    }
    struct text about = TEXT("Ok:");
    if (session->sink->names_addresses) {
        about = sink_message_sender(message);
    }
    int about_len = about.len < SINK_ANSWER_PATH_MAX ? (int)about.len : SINK_ANSWER_PATH_MAX;
    int len =
        snprintf(session->space, sizeof(session->space), "250 2.0.0 %.*s kept as %" PRIu32 "\r\n",
                 about_len, about.at, message->number);
    session->answer = (struct text){.at = session->space, .len = (uint32_t)len};
}

void sink_session_committed(struct sink_message *message, int result)
{
    struct sink_session *session = message->owner;
    assert(session->magic == SINK_SESSION_MAGIC);
    assert(session->state == SINK_COMMIT);
    struct sink *sink = session->sink;
    session->transaction.message = NULL;
    if (result == 0) {
        sink->counts.messages++;
        sink->counts.bytes += message->size;
    } else {
        (void)fprintf(stderr, "weir-sink: message not kept: %s\n", strerror(-result));
    }
    if (!session->transaction.answered) {
        answer_kept(session, message, result);
    }
    session_poke(session, CAUSE_COMMIT);
}

/* ---- beginning and end ---- */

void sink_session_open(struct sink *sink, int fd)
{
    struct sink_session *session = pool_get(&sink->sessions);
    assert(session != NULL);
    *session = (struct sink_session){
        .magic = SINK_SESSION_MAGIC,
        .state = SINK_GREET,
        .sink = sink,
        .number = ++sink->counts.connections,
    };
    sink->counts.sessions_now++;
    timer_init(&session->timer);
    list_push_back(&sink->live, &session->node);
    stream_init(&session->stream, sink->loop, &sink->chunks, on_stream_event);
    stream_open(&session->stream, fd);
    session_advance(session);
}

void sink_session_stop(struct sink_session *session)
{
    assert(session->state != SINK_COMMIT);
    if (session->state != SINK_CLOSING) {
        (void)sink_session_close(session, STOP_NOW); /* no step to tell */
    } else {
        stream_stop(&session->stream, STOP_NOW);
        if (stream_is_closed(&session->stream)) {
            session_gone(session);
        }
    }
}

void sink_session_release(struct sink_session *session)
{
    assert(session->state == SINK_CLOSING);
    struct sink *sink = session->sink;
    session->magic = 0;
    pool_put(&sink->sessions, session);
}
