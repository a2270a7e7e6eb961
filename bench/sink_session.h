/*
 * sink_session - one client of weir-sink: the state machine and what it knows.
 *
 *   GREET -> ANSWER -> COMMAND -> ANSWER -> COMMAND ...          one verb after the other
 *                        |   ANSWER -> SKIP -> COMMAND           behind a line that is none
 *                        |   ANSWER -> (EARLY -> ANSWER) -> BODY -> EOM    DATA
 *                        +-> CHUNK -> ANSWER or EOM              BDAT
 *   EOM -> (COMMIT) -> ANSWER -> COMMAND
 *   ANSWER -> DELAY -> ANSWER, ANSWER -> DRIP, ANSWER -> HANG    by the rules
 *   any -> CLOSING
 *
 * A step (sink_steps.c, sink_answer.c) looks at what is there and returns MORE (the state has
 * changed, go on), WAIT (for the one cause it named, which has a live operation behind it) or END.
 * sink_session.c drives them, and is the only place where events come in. This header is shared by
 * those files and by sink_command.c, the table of verbs.
 *
 * Replies gather in the stream and are flushed when no whole command is left to read, so a
 * pipelined group is answered in one write. A session owns buffers only while bytes are on their
 * way; with a window of pipelined commands unread it keeps one. There is no idle timeout: the
 * number of sessions is what is bounded.
 */
#ifndef BENCH_SINK_SESSION_H
#define BENCH_SINK_SESSION_H

#include "bench/sink.h"
#include "bench/sink_content.h"
#include "core/smtp_line.h"
#include "net/stream.h"

enum {
    SINK_ANSWER_SPACE = 320,
    SINK_ANSWER_PATH_MAX = 256, /* octets of an address that a reply repeats */
    SINK_LINGER_MS = 1000,      /* to take a peer's last bytes, so that our last reply reaches it */
};

enum sink_state {
    SINK_GREET,
    SINK_COMMAND,
    SINK_SKIP,
    SINK_EARLY,
    SINK_BODY,
    SINK_CHUNK,
    SINK_EOM,
    SINK_COMMIT,
    SINK_ANSWER,
    SINK_DELAY,
    SINK_DRIP,
    SINK_HANG,
    SINK_CLOSING,
    SINK_STATE_COUNT,
};

enum sink_step { STEP_MORE, STEP_WAIT, STEP_END };

/* What a waiting session waits for. */
enum sink_cause {
    CAUSE_NONE,
    CAUSE_BYTES,  /* the stream is reading */
    CAUSE_SENT,   /* the stream is sending */
    CAUSE_TIMER,  /* the timer is set */
    CAUSE_COMMIT, /* the message is in the journal's queue */
    CAUSE_STOP,   /* nothing but the end of the process */
};

enum sink_greeted { GREETED_NO, GREETED_HELO, GREETED_EHLO };

struct sink_transaction {
    bool has_mail;
    bool smtputf8;
    bool is_chunked; /* BDAT has been used */
    bool has_body;   /* the first octets have come */
    bool answered;   /* the reply to the message has been sent, before its end */
    bool doomed;     /* and it was no 2xx */
    uint32_t rcpt_count;
    struct sink_message *message; /* with a journal, from MAIL on */
    struct sink_content content;
};

struct sink_session {
    uint32_t magic;
    uint8_t state;   /* enum sink_state; written by sink_session_enter() alone */
    uint8_t next;    /* enum sink_state, behind the answer */
    uint8_t waiting; /* enum sink_cause */
    uint8_t greeted; /* enum sink_greeted */
    struct sink *sink;
    uint64_t number; /* of the connection, from 1 */
    struct list_node node;
    struct stream stream;
    struct timer timer;
    struct smtp_line_skip skip;
    struct sink_transaction transaction;
    /* The BDAT chunk in work. */
    uint64_t chunk_left;
    bool chunk_last;
    struct text chunk_answer; /* what its command deserves */
    /* The answer in work. */
    struct sink_plan plan;
    struct text answer; /* static, the rules' or `space` */
    uint32_t dripped;
    char space[SINK_ANSWER_SPACE];
};

static inline bool sink_is_positive(struct text reply)
{
    return reply.len > 0 && (reply.at[0] == '2' || reply.at[0] == '3');
}

/* sink_session.c */

/* Takes a connected descriptor over. A session must be free (assert). */
void sink_session_open(struct sink *sink, int fd);

/* Ends it at once, or hurries up its end. Not while the journal has its message (assert). */
void sink_session_stop(struct sink_session *session);

/* Gives a session of sink->gone, unlinked, back to its pool. */
void sink_session_release(struct sink_session *session);

/* The journal's answer to a message: see sink_journal_done. */
void sink_session_committed(struct sink_message *message, int result);

/* The only writer of session->state. */
void sink_session_enter(struct sink_session *session, enum sink_state state);

/* WAIT, with its cause. */
enum sink_step sink_session_wait(struct sink_session *session, enum sink_cause cause);

/* Asks for more bytes and waits for them. */
enum sink_step sink_session_read(struct sink_session *session, enum recv_hint hint);

/* Sends what has gathered and waits until it is out. Something must be there to send. */
enum sink_step sink_session_flush(struct sink_session *session);

void sink_session_set_timer(struct sink_session *session, uint32_t delay_ms);

/* END. */
enum sink_step sink_session_close(struct sink_session *session, enum stream_stop_how how);

/* Forgets the transaction; a message that is not the journal's is dropped. */
void sink_session_reset(struct sink_session *session);

/* sink_answer.c */

/*
 * A stage is reached: applies the rules to `usual` and notes what to answer and which state comes
 * behind; the caller enters SINK_ANSWER. True when the sink itself and the rules both let it
 * succeed, so that the command takes effect.
 */
bool sink_answer_begin(struct sink_session *session, enum sink_stage stage, struct text usual,
                       enum sink_state next);

enum sink_step sink_step_answer(struct sink_session *session);
enum sink_step sink_step_delay(struct sink_session *session);
enum sink_step sink_step_drip(struct sink_session *session);
enum sink_step sink_step_hang(struct sink_session *session);

/* sink_command.c */

/* Judges one command line (without CRLF), gives it effect, and leaves its answer or the next state.
 */
void sink_command_run(struct sink_session *session, struct text line);

/* sink_steps.c */
enum sink_step sink_step_greet(struct sink_session *session);
enum sink_step sink_step_command(struct sink_session *session);
enum sink_step sink_step_skip(struct sink_session *session);
enum sink_step sink_step_early(struct sink_session *session);
enum sink_step sink_step_body(struct sink_session *session);
enum sink_step sink_step_chunk(struct sink_session *session);
enum sink_step sink_step_eom(struct sink_session *session);
enum sink_step sink_step_commit(struct sink_session *session);

#endif
