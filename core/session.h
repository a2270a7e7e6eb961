/*
 * session - one client connection: where its dialogue is, what it waits for, what it owns.
 *
 * Three separate things: the dialogue (enum session_state), what is in flight (the ops in the
 * streams), whether the socket is plain or secured (inside the stream). A const table maps a state
 * to its step, its deadline and what it may wait for; session_advance() is the only driver and
 * session_enter() the only writer of the state. Callbacks record and poke; SMTP is in the steps
 * (core/session_steps.c, core/command.c, core/gather.c, core/relay.c).
 */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H

#include "core/handoff.h"
#include "core/lease.h"
#include "core/smtp_line.h"
#include "core/transaction.h"
#include "core/worker.h"
#include "net/stream.h"
#include "tls/tls.h"

enum session_state {
    SESSION_IDENTIFY, /* a trusted balancer owes the PROXY header */
    SESSION_SECURE,   /* a TLS handshake is under way */
    SESSION_GREET,    /* before the banner: greet_delay, contact = connect */
    SESSION_COMMAND,  /* a command line is due */
    SESSION_CONTACT,  /* an upstream connection is being opened for the command at the head of the
                         window */
    SESSION_SCREEN,   /* the checks that a recipient depends on are not done */
    SESSION_FORWARD,  /* the upstream owes replies to what was forwarded */
    SESSION_GATHER,   /* a message has begun that may go to the upstream whole */
    SESSION_OPEN,     /* it is too long for that: the upstream's 354 is due */
    SESSION_HOLD,     /* a message is received, to be checked */
    SESSION_VERDICT,  /* the checks are not done */
    SESSION_REPLAY,   /* the envelope is said once more, on a new upstream connection */
    SESSION_DELIVER,  /* a message that was held goes to the upstream */
    SESSION_BODY,     /* a message passes from client to upstream */
    SESSION_DISCARD,  /* the rest of a refused message is read to its true end */
    SESSION_CLOSING,  /* the last reply is on its way out */
    SESSION_GONE,     /* to be freed at the end of the turn */
    SESSION_STATE_COUNT
};

/* What a step returns: call the next step, something outside will poke us, or the session is over.
 */
enum step { STEP_MORE, STEP_WAIT, STEP_END };

/* Causes of a wait, a set; each must have something live behind it (asserted at each WAIT). */
enum wait_cause {
    WAIT_CLIENT_BYTES = 1 << 0,
    WAIT_CLIENT_DRAIN = 1 << 1,
    WAIT_UPSTREAM_BYTES = 1 << 2,
    WAIT_UPSTREAM_DRAIN = 1 << 3,
    WAIT_CONNECT = 1 << 4,
    WAIT_TIMER = 1 << 5,
    WAIT_CLOSED = 1 << 6,
    WAIT_HANDSHAKE = 1 << 7,
    WAIT_VERDICT = 1 << 8,
    WAIT_SPOOL = 1 << 9,
};

enum {
    SESSION_ID_SIZE = 14, /* 13 characters and a NUL */
    /* Room in the client's output that a step may count on: one upstream reply and some of ours. */
    SESSION_REPLY_ROOM = SMTP_REPLY_MAX + 1024,
    SESSION_LINGER_MS = 3000,
    SESSION_HURRY_MS = 200,     /* the same when drain_timeout is over */
    SESSION_IDENTIFY_MS = 5000, /* a balancer sends its header at once */
    SESSION_HANDSHAKE_MS = 30 * 1000,
    SESSION_ANSWER_MS = 590 * 1000, /* a client waits 600 s for the word on its message (RFC 5321,
                                       4.5.3.2.6) */
    SESSION_GATHER_MS = 1000,       /* longer, and the message goes over as it comes */
};

struct screening;
struct chain;

struct session {
    uint32_t magic;
    uint8_t state;    /* enum session_state */
    uint8_t listener; /* index */
    uint16_t waiting; /* set of enum wait_cause */
    bool is_extended; /* EHLO rather than HELO */
    bool is_skipping; /* a bad or overlong line is being skipped to its CRLF */
    bool timed_out;   /* the deadline of the state has passed: the next step deals with it */
    bool is_over;     /* the session's time is up */
    bool is_mute;     /* a reply found no memory: nothing is said any more */
    bool is_resumed;  /* the command at the head of the window is run again, now that a lease is
                         there */
    uint8_t verb;     /* enum smtp_verb of the command at the head of the window */
    struct smtp_line_skip skip;
    uint32_t line_len; /* of the command being worked on, with its CRLF; it leaves the window with
                          its reply */
    uint32_t offered;  /* enum smtp_ext of our EHLO reply */
    uint32_t commands; /* since the last message that was delivered */
    uint32_t errors;   /* 5xx of our own */
    uint32_t transactions;
    uint64_t id;
    uint64_t size_max;    /* of our EHLO reply; 0: none */
    int64_t begun_ms;     /* the loop's clock */
    int64_t command_ms;   /* since when a command is due, or a message gathered: that deadline does
                           not move with each byte */
    const char *farewell; /* last line, kept until an earlier reply is out; static */
    struct worker *worker;
    struct lease *lease; /* held from the first forwarded command to the end of the transaction */
    struct screening *screening;     /* the checks of where it comes from, or NULL */
    struct transaction *transaction; /* from MAIL on; NULL outside of one */
    struct list_node node;           /* the worker's list of sessions, then its list of gone ones */
    struct timer timer;
    struct tls tls;           /* of the client's connection, from its handshake to the end */
    struct tls_info tls_info; /* zero before the handshake is complete */
    struct op again;          /* posted when a turn's budget is used up */
    struct stream client;
    union client_addr peer;
    char helo[CONFIG_TEXT_MAX]; /* NUL-terminated; empty before HELO or EHLO */
};

/* Takes the descriptor over and starts the dialogue. False when there is no room (the descriptor is
 * closed then). */
bool session_start(struct worker *worker, const struct handoff_item *item);

/* Something that it waits for may have come. From the loop's ready queue only. */
void session_poke(struct session *session);

/* The same for its checks. */
void session_on_checks(struct chain *chain);

/* Frees a session that is GONE. */
void session_free(struct session *session);

/* Runs steps until one waits. The one entry from outside. */
void session_advance(struct session *session);

/* The worker drains or stops: sessions that are between transactions end now. */
void session_shut_down(struct session *session);

/* ---- for the steps ---- */

/* The only writer of the state; asserts that the edge is in the table of allowed ones. */
void session_enter(struct session *session, enum session_state state);

enum step session_wait(struct session *session, uint32_t causes);

const struct config_listener *session_listener(const struct session *session);
/* STARTTLS may be offered, now. */
bool session_may_secure(const struct session *session);
/* No mail before STARTTLS. */
bool session_must_secure(const struct session *session);
struct upstream *session_upstream(const struct session *session);
int64_t session_now(const struct session *session);
void session_id_text(uint64_t id, char out[SESSION_ID_SIZE]);

/* A reply of our own: `line` is "250 2.0.0 OK", without CRLF. A 5xx counts as an error of the
 * client. */
void session_reply(struct session *session, const char *line);
/* An upstream's reply, all lines as they came. */
void session_pass_reply(struct session *session, const struct smtp_reply *reply, const char *bytes);
/* The command at the head of the window has had its reply: it leaves the window. Always STEP_MORE.
 */
enum step session_command_done(struct session *session);

/* Starts and ends a transaction. Ending writes the record and gives the lease back. */
bool session_begin_transaction(struct session *session);
void session_end_transaction(struct session *session, enum record_verdict verdict,
                             const char *decided_by);
/* Verdict by the class of the last reply. */
enum record_verdict session_reply_verdict(const struct session *session);
/* RSET, EHLO, QUIT, a lost client: what there is of a transaction is over. */
void session_abort_transaction(struct session *session, const char *decided_by);

/* Says `line` (NULL: nothing), then CLOSING. Always STEP_MORE. */
enum step session_end(struct session *session, const char *line, const char *decided_by);

/* 421: a pool of the worker's is empty. Always STEP_MORE. */
enum step session_no_memory(struct session *session);

/* CLOSING: the reply that was in the way is out, or its time is up. */
void session_say_farewell(struct session *session);

/* Leases the upstream. True when the lease is ready at once (a pooled one); else enter CONTACT and
 * return. False with session->lease NULL when the worker has no room. */
bool session_take_lease(struct session *session, bool fresh);

/* It is not READY yet, nor lost; one that waits for a free connection takes one that there is by now. */
bool session_awaits_lease(struct session *session);

/* The transaction needs its lease no more; with contact = connect the session keeps it. */
void session_return_lease(struct session *session);

/* The steps. */
enum step step_identify(struct session *session);
enum step step_secure(struct session *session);
enum step step_greet(struct session *session);
enum step step_command(struct session *session);
enum step step_contact(struct session *session);
enum step step_screen(struct session *session);
enum step step_forward(struct session *session);
enum step step_gather(struct session *session);
enum step step_open(struct session *session);
enum step step_hold(struct session *session);
enum step step_verdict(struct session *session);
enum step step_replay(struct session *session);
enum step step_deliver(struct session *session);
enum step step_body(struct session *session);
enum step step_discard(struct session *session);
enum step step_closing(struct session *session);

#endif
