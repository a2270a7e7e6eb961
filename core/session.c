/*
 * session - driver, life and records of a client connection. The dialogue itself is in
 * core/session_steps.c.
 *
 *    acceptor          accepts, counts                                     core/acceptor.c
 *      -> handoff      bounded ring, one per worker                        core/handoff.c
 *      -> worker       takes it, turn by turn                              core/worker.c
 *      -> session      session_advance(): state -> step -> MORE|WAIT|END   here
 *      -> stream/loop  bytes                                               net/
 *      -> smtp_*       line, command, path, body, reply: pure              core/smtp_*.c
 *      -> command row  check, then proceed                                 core/command.c
 *      -> lease        MAIL and RCPT in one write, replies in order        core/lease.c
 *      -> hold         received whole, checked while it comes              core/hold.c
 *      -> chain        DNSBL, SPF, DKIM, DMARC: verdict                    filters/
 *      -> deliver      the message that was held, below our fields         core/deliver.c
 *      -> gather       unchecked and short: scanned, one BDAT              core/gather.c
 *      -> relay        unchecked: client's buffer, scanned, sent as it is       core/relay.c
 *      -> reply        the upstream's own bytes; a record
 *
 * Who runs when: completions of the client's stream, of the lease, and the timer call
 * session_advance(), always from the loop's ready queue. Nothing else does. A session is freed by
 * the worker at the end of the turn in which its client stream has closed.
 */
#include "core/session.h"

#include <assert.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "core/hold.h"
#include "core/message.h"
#include "core/verification.h"
#include "core/writer.h"

enum {
    SESSION_MAGIC = 0x53455353,
    SESSION_STEPS_MAX = 64,                 /* steps of one session in one turn */
    SESSION_UPSTREAM_MS = 24 * 3600 * 1000, /* while the lease's deadline is the one that counts */
};

#define TO(state) (1u << (state))

/* Whose deadline a state runs under; those that wait for the upstream are under the lease's. */
enum deadline {
    DEADLINE_NONE,
    DEADLINE_IDENTIFY,
    DEADLINE_HANDSHAKE,
    DEADLINE_GREET,
    DEADLINE_COMMAND,
    DEADLINE_GATHER,
    DEADLINE_HOLD,
    DEADLINE_DATA,
    DEADLINE_LINGER
};

static const struct state_row {
    const char *name;
    enum step (*step)(struct session *session);
    enum deadline deadline;
    uint32_t waits; /* causes it may wait for */
    uint32_t next;  /* states it may go to */
} rows[SESSION_STATE_COUNT] = {
    [SESSION_IDENTIFY] = {"identify", step_identify, DEADLINE_IDENTIFY, WAIT_CLIENT_BYTES,
                          TO(SESSION_SECURE) | TO(SESSION_GREET) | TO(SESSION_CLOSING)},
    [SESSION_SECURE] = {"secure", step_secure, DEADLINE_HANDSHAKE,
                        WAIT_HANDSHAKE | WAIT_CLIENT_DRAIN,
                        TO(SESSION_GREET) | TO(SESSION_COMMAND) | TO(SESSION_CLOSING)},
    [SESSION_GREET] = {"greet", step_greet, DEADLINE_GREET,
                       WAIT_TIMER | WAIT_CONNECT | WAIT_CLIENT_BYTES,
                       TO(SESSION_COMMAND) | TO(SESSION_CLOSING)},
    [SESSION_COMMAND] = {"command", step_command, DEADLINE_COMMAND,
                         WAIT_CLIENT_BYTES | WAIT_CLIENT_DRAIN,
                         TO(SESSION_SECURE) | TO(SESSION_CONTACT) | TO(SESSION_SCREEN) |
                             TO(SESSION_FORWARD) | TO(SESSION_GATHER) | TO(SESSION_HOLD) |
                             TO(SESSION_CLOSING)},
    [SESSION_CONTACT] = {"contact", step_contact, DEADLINE_NONE, WAIT_CONNECT,
                         TO(SESSION_COMMAND) | TO(SESSION_CLOSING)},
    [SESSION_SCREEN] = {"screen", step_screen, DEADLINE_NONE, WAIT_VERDICT,
                        TO(SESSION_COMMAND) | TO(SESSION_CLOSING)},
    [SESSION_FORWARD] = {"forward", step_forward, DEADLINE_NONE,
                         WAIT_UPSTREAM_BYTES | WAIT_CLIENT_DRAIN,
                         TO(SESSION_COMMAND) | TO(SESSION_CONTACT) | TO(SESSION_BODY) |
                             TO(SESSION_CLOSING)},
    [SESSION_GATHER] = {"gather", step_gather, DEADLINE_GATHER, WAIT_CLIENT_BYTES,
                        TO(SESSION_FORWARD) | TO(SESSION_OPEN) | TO(SESSION_DISCARD) |
                            TO(SESSION_CLOSING)},
    [SESSION_OPEN] = {"open", step_open, DEADLINE_NONE, WAIT_UPSTREAM_BYTES,
                      TO(SESSION_DELIVER) | TO(SESSION_BODY) | TO(SESSION_DISCARD) |
                          TO(SESSION_CLOSING)},
    [SESSION_HOLD] = {"hold", step_hold, DEADLINE_HOLD, WAIT_CLIENT_BYTES | WAIT_SPOOL,
                      TO(SESSION_VERDICT) | TO(SESSION_DELIVER) | TO(SESSION_DISCARD) |
                          TO(SESSION_CLOSING)},
    [SESSION_VERDICT] = {"verdict", step_verdict, DEADLINE_NONE, WAIT_VERDICT | WAIT_SPOOL,
                         TO(SESSION_REPLAY) | TO(SESSION_OPEN) | TO(SESSION_DELIVER) |
                             TO(SESSION_DISCARD) | TO(SESSION_CLOSING)},
    [SESSION_REPLAY] = {"replay", step_replay, DEADLINE_NONE, WAIT_CONNECT | WAIT_UPSTREAM_BYTES,
                        TO(SESSION_OPEN) | TO(SESSION_DELIVER) | TO(SESSION_DISCARD) |
                            TO(SESSION_CLOSING)},
    [SESSION_DELIVER] = {"deliver", step_deliver, DEADLINE_NONE, WAIT_UPSTREAM_DRAIN | WAIT_SPOOL,
                         TO(SESSION_FORWARD) | TO(SESSION_HOLD) | TO(SESSION_DISCARD) |
                             TO(SESSION_CLOSING)},
    [SESSION_BODY] = {"body", step_body, DEADLINE_DATA,
                      WAIT_CLIENT_BYTES | WAIT_CLIENT_DRAIN | WAIT_UPSTREAM_DRAIN,
                      TO(SESSION_FORWARD) | TO(SESSION_DISCARD) | TO(SESSION_CLOSING)},
    [SESSION_DISCARD] = {"discard", step_discard, DEADLINE_DATA,
                         WAIT_CLIENT_BYTES | WAIT_CLIENT_DRAIN,
                         TO(SESSION_COMMAND) | TO(SESSION_CLOSING)},
    [SESSION_CLOSING] = {"closing", step_closing, DEADLINE_LINGER, WAIT_CLOSED | WAIT_CLIENT_DRAIN,
                         TO(SESSION_GONE)},
    [SESSION_GONE] = {"gone", NULL, DEADLINE_NONE, 0, 0},
};

static void on_client(struct stream *stream, enum stream_event event, int result);
static void on_deadline(struct timer *timer);
static void on_again(struct op *op, int result);

/* ---- small questions ---- */

const struct config_listener *session_listener(const struct session *session)
{
    return &session->worker->config->listeners[session->listener];
}

bool session_may_secure(const struct session *session)
{
    enum config_listen_tls tls = session_listener(session)->tls;
    return (tls == LISTEN_TLS_STARTTLS || tls == LISTEN_TLS_REQUIRED) &&
           session->worker->credentials.server != NULL && !stream_is_secured(&session->client);
}

bool session_must_secure(const struct session *session)
{
    return session_listener(session)->tls == LISTEN_TLS_REQUIRED &&
           !stream_is_secured(&session->client);
}

struct upstream *session_upstream(const struct session *session)
{
    return &session->worker->shared->upstreams[session_listener(session)->upstream];
}

int64_t session_now(const struct session *session)
{
    return loop_now_ms(session->worker->loop);
}

/* 13 characters of base 32 (RFC 4648's hex alphabet, so that ids sort by time). */
void session_id_text(uint64_t id, char out[SESSION_ID_SIZE])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUV";
    for (int i = SESSION_ID_SIZE - 2; i >= 0; i--) {
        out[i] = digits[id & 31];
        id >>= 5;
    }
    out[SESSION_ID_SIZE - 1] = '\0';
}

/* ---- driver ---- */

void session_enter(struct session *session, enum session_state state)
{
    assert(session->magic == SESSION_MAGIC);
    assert((rows[session->state].next & TO(state)) != 0);
    session->state = (uint8_t)state;
    session->timed_out = false;
    session->command_ms = session_now(session);
}

/* What is left of the client's patience once it has said its message; before, the lease's deadlines
 * and those of the checks are the ones that count. */
static int64_t session_answer_ms(const struct session *session)
{
    const struct transaction *t = session->transaction;
    if (t == NULL || t->eom_ms == 0) {
        return SESSION_UPSTREAM_MS;
    }
    int64_t left_ms = t->eom_ms + SESSION_ANSWER_MS - session_now(session);
    return left_ms > 1 ? left_ms : 1;
}

/* Also wakes the session when it has had its lease for long enough. */
static int64_t session_hold_ms(const struct session *session)
{
    int64_t data_ms = session->transaction->heard_ms + session->worker->config->data_timeout_ms -
                      session_now(session);
    int64_t lease_ms = hold_lease_left_ms(session);
    return lease_ms < data_ms ? lease_ms : data_ms;
}

static int64_t session_span_ms(const struct session *session)
{
    const struct config *config = session->worker->config;
    if ((session->waiting & WAIT_CLIENT_DRAIN) != 0 && session->state != SESSION_CLOSING) {
        return config->command_timeout_ms; /* a client that does not read, in whatever state */
    }
    switch (rows[session->state].deadline) {
    case DEADLINE_NONE:
        return session_answer_ms(session);
    case DEADLINE_IDENTIFY:
        return SESSION_IDENTIFY_MS;
    case DEADLINE_HANDSHAKE:
        return SESSION_HANDSHAKE_MS;
    case DEADLINE_GREET:
        if (session->lease != NULL) {
            return SESSION_UPSTREAM_MS;
        }
        return session_listener(session)->greet_delay_ms;
    case DEADLINE_COMMAND:
        return config->command_timeout_ms;
    case DEADLINE_GATHER:
        return SESSION_GATHER_MS;
    case DEADLINE_HOLD:
        return session_hold_ms(session);
    case DEADLINE_DATA:
        return config->data_timeout_ms;
    case DEADLINE_LINGER:
        return session->worker->phase == WORKER_STOPPING ? SESSION_HURRY_MS : SESSION_LINGER_MS;
    }
    return SESSION_UPSTREAM_MS;
}

/* A step that waits for the client runs under its state's deadline and the session's; the lease
 * watches the rest. */
static void session_set_deadline(struct session *session)
{
    int64_t span_ms = session_span_ms(session);
    enum deadline deadline = rows[session->state].deadline;
    bool is_fixed = deadline == DEADLINE_COMMAND || deadline == DEADLINE_GATHER;
    int64_t deadline_ms = (is_fixed ? session->command_ms : session_now(session)) + span_ms;
    int64_t over_ms = session->begun_ms + session->worker->config->session_timeout_ms;
    bool upstreams_turn = deadline == DEADLINE_NONE;
    if (session->state != SESSION_CLOSING && !upstreams_turn && over_ms < deadline_ms) {
        deadline_ms = over_ms;
    }
    loop_timer_set(session->worker->loop, &session->timer, deadline_ms, on_deadline);
}

/* A lost wake-up shows here and nowhere else: each cause must be able to poke us. */
static void session_check_wait(const struct session *session)
{
    uint32_t waiting = session->waiting;
    assert(waiting != 0);
    assert((waiting & ~rows[session->state].waits) == 0);
    assert(!(waiting & WAIT_CLIENT_BYTES) || stream_is_reading(&session->client));
    assert(!(waiting & WAIT_CLIENT_DRAIN) || stream_is_sending(&session->client));
    assert(!(waiting & WAIT_UPSTREAM_BYTES) || session->lease->state == LEASE_BUSY);
    assert(!(waiting & WAIT_UPSTREAM_DRAIN) || stream_is_sending(&session->lease->stream));
    assert(!(waiting & WAIT_CONNECT) || lease_is_opening(session->lease));
    assert(!(waiting & WAIT_TIMER) || session_span_ms(session) > 0);
    assert(!(waiting & WAIT_HANDSHAKE) || stream_is_shaking(&session->client));
    assert(!(waiting & WAIT_VERDICT) || verification_is_awaited(session));
    assert(!(waiting & WAIT_SPOOL) || message_is_busy(session->transaction->message));
    assert(!(waiting & WAIT_CLOSED) || !stream_is_closed(&session->client));
}

enum step session_wait(struct session *session, uint32_t causes)
{
    session->waiting = (uint16_t)causes;
    return STEP_WAIT;
}

static void session_gone(struct session *session)
{
    assert(stream_is_closed(&session->client));
    assert(session->lease == NULL);
    assert(session->transaction == NULL);
    session_enter(session, SESSION_GONE);
    tls_fini(&session->tls);
    screening_end(session);
    loop_timer_stop(session->worker->loop, &session->timer);
    list_remove(&session->node);
    list_push_back(&session->worker->gone, &session->node);
}

void session_advance(struct session *session)
{
    assert(session->magic == SESSION_MAGIC);
    session->waiting = 0;
    for (int steps = 0; steps < SESSION_STEPS_MAX; steps++) {
        switch (rows[session->state].step(session)) {
        case STEP_MORE:
            break;
        case STEP_WAIT:
            session_check_wait(session);
            session_set_deadline(session);
            return;
        case STEP_END:
            session_gone(session);
            return;
        }
    }
    if (op_is_idle(&session->again)) {
        loop_post(session->worker->loop, &session->again, on_again);
    }
}

void session_poke(struct session *session)
{
    if (session->state != SESSION_GONE && op_is_idle(&session->again)) {
        session_advance(session);
    }
}

void session_on_checks(struct chain *chain)
{
    session_poke(chain->owner);
}

static void on_again(struct op *op, int result)
{
    struct session *session = list_entry(op, struct session, again);
    (void)result; /* a posted op has no outcome */
    session_poke(session);
}

static void on_client(struct stream *stream, enum stream_event event, int result)
{
    struct session *session = list_entry(stream, struct session, client);
    (void)result; /* the steps look at the stream itself */
    if ((event == STREAM_SENT || event == STREAM_SECURED) && result < 0) {
        stream->ended = true;
    }
    session_poke(session);
}

static void on_lease(struct lease *lease, void *owner)
{
    struct session *session = owner;
    assert(session->lease == lease);
    session_poke(session);
}

static void on_deadline(struct timer *timer)
{
    struct session *session = list_entry(timer, struct session, timer);
    session->timed_out = true;
    session->is_over =
        session_now(session) >= session->begun_ms + session->worker->config->session_timeout_ms;
    session_poke(session);
}

/* ---- life ---- */

static bool session_owes_identity(const struct session *session)
{
    const struct config_listener *listener = session_listener(session);
    return networks_have(listener->trust_proxy, listener->trust_proxy_count, &session->peer.sa);
}

static enum session_state session_first_state(const struct session *session)
{
    if (session_owes_identity(session)) {
        return SESSION_IDENTIFY;
    }
    return session_listener(session)->tls == LISTEN_TLS_IMPLICIT ? SESSION_SECURE : SESSION_GREET;
}

bool session_start(struct worker *worker, const struct handoff_item *item)
{
    struct session *session = pool_get(&worker->sessions);
    if (session == NULL) {
        loop_close(worker->loop, item->fd);
        return false;
    }
    memset(session, 0, offsetof(struct session, helo) + 1);
    session->magic = SESSION_MAGIC;
    session->listener = (uint8_t)item->listener;
    session->worker = worker;
    session->peer = item->peer;
    session->state = (uint8_t)session_first_state(session);
    session->id = worker_new_id(worker);
    session->begun_ms = loop_now_ms(worker->loop);
    timer_init(&session->timer);
    op_init(&session->again);
    list_init(&session->node);
    list_push_back(&worker->session_list, &session->node);
    stream_init(&session->client, worker->loop, &worker->chunks, on_client);
    stream_open(&session->client, item->fd);
    session_advance(session);
    return true;
}

void session_free(struct session *session)
{
    assert(session->state == SESSION_GONE);
    assert(op_is_idle(&session->again));
    list_remove(&session->node);
    struct worker *worker = session->worker;
    session->magic = 0;
    pool_put(&worker->sessions, session);
    atomic_fetch_sub_explicit(&worker->shared->sessions, 1, memory_order_relaxed);
    handoff_done(worker->handoff);
}

void session_shut_down(struct session *session)
{
    bool stop = session->worker->phase == WORKER_STOPPING;
    if (session->state == SESSION_GONE) {
        return;
    }
    if (session->state == SESSION_CLOSING) {
        session->timed_out = stop;
    } else if (stop) {
        (void)session_end(session, "421 4.3.2 shutting down", "shutdown"); /* always MORE */
    }
    session_poke(session);
}

/* ---- replies ---- */

static void session_note_reply(struct session *session, uint16_t code, const char *text,
                               uint32_t len)
{
    struct transaction *transaction = session->transaction;
    if (transaction == NULL) {
        return;
    }
    if (len > TRANSACTION_REPLY_MAX) {
        len = TRANSACTION_REPLY_MAX;
    }
    transaction->reply_code = code;
    transaction->reply_len = (uint16_t)len;
    memcpy(transaction->reply_text, text, len);
}

/* The steps made sure of the room, so a failure means that the pool is empty: the client cannot be
 * told any more. Nor may it be told what comes behind: it would take that for the reply that is
 * missing. */
static void session_put(struct session *session, const char *bytes, uint32_t len)
{
    if (session->is_mute || stream_put(&session->client, bytes, len) < 0) {
        session->is_mute = true;
        session->client.ended = true;
    }
}

static uint16_t line_code(const char *line)
{
    return (uint16_t)((line[0] - '0') * 100 + (line[1] - '0') * 10 + line[2] - '0');
}

/* A reply to NOOP or to nonsense is no part of a transaction's record. */
static bool session_is_about_mail(const struct session *session)
{
    return session->state != SESSION_COMMAND || session->verb == VERB_MAIL ||
           session->verb == VERB_RCPT || session->verb == VERB_DATA;
}

static void session_put_line(struct session *session, const char *line)
{
    session_put(session, line, (uint32_t)strlen(line));
    session_put(session, "\r\n", 2);
}

void session_reply(struct session *session, const char *line)
{
    size_t len = strlen(line);
    assert(len > 4);
    session_put_line(session, line);
    if (session_is_about_mail(session)) {
        session_note_reply(session, line_code(line), line + 4, (uint32_t)len - 4);
    }
    if (line[0] == '5') {
        session->errors++;
    }
}

void session_pass_reply(struct session *session, const struct smtp_reply *reply, const char *bytes)
{
    session_put(session, bytes, reply->len);
    session_note_reply(session, reply->code, bytes + 4, reply->len > 6 ? reply->len - 6 : 0);
}

enum step session_command_done(struct session *session)
{
    stream_consume(&session->client, session->line_len);
    session->line_len = 0;
    session->is_resumed = false;
    session->command_ms = session_now(session);
    return STEP_MORE;
}

/* ---- records ---- */

enum { SESSION_PEER_MAX = INET6_ADDRSTRLEN + 8 }; /* "[", "]:" and a port */

/* "192.0.2.1:4711" or "[2001:db8::1]:4711". */
static struct text session_peer_text(const struct session *session, char out[SESSION_PEER_MAX])
{
    struct writer w = {.at = out, .end = out + SESSION_PEER_MAX};
    bool is_v6 = session->peer.sa.sa_family == AF_INET6;
    writer_put(&w, is_v6 ? TEXT("[") : TEXT(""));
    writer_address(&w, &session->peer.sa);
    writer_put(&w, is_v6 ? TEXT("]:") : TEXT(":"));
    writer_number(&w, ntohs(is_v6 ? session->peer.in6.sin6_port : session->peer.in.sin_port));
    return (struct text){out, writer_len(&w, out)};
}

static int64_t realtime_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Writes the record of `facts`, completed by what is the same for every record of the session. */
static void session_write_record(struct session *session, const struct record *facts)
{
    char id[SESSION_ID_SIZE];
    char peer[SESSION_PEER_MAX];
    struct record record = *facts;
    session_id_text(session->id, id);
    record.ts_ms = realtime_ms();
    record.session = text_of(id);
    record.listener = text_of(session_listener(session)->name);
    record.client = session_peer_text(session, peer);
    record.helo = text_of(session->helo);
    record.tls_version = session->tls_info.version;
    record.tls_cipher = session->tls_info.cipher;
    char *room = log_buffer_room(&session->worker->log, RECORD_MAX);
    log_buffer_commit(&session->worker->log,
                      record_write(&record, session->worker->config->log_format, room));
}

static void session_record_transaction(struct session *session, enum record_verdict verdict,
                                       const char *decided_by)
{
    struct transaction *t = session->transaction;
    int64_t now_ms = session_now(session);
    struct record record = {
        .is_transaction = true,
        .transaction = session->transactions,
        .from = t->envelope.from,
        .envelope = &t->envelope,
        .size = t->size,
        .upstream = text_of(t->upstream),
        .reply_code = t->reply_code,
        .reply_text = {t->reply_text, t->reply_len},
        .decided_by = decided_by,
        .verdict = verdict,
        .findings = t->verification != NULL ? &t->verification->findings : NULL,
        .ms = {.total = now_ms - t->begun_ms,
               .wait_dns = t->waited_ms,
               .verify = t->verify_ms,
               .connect = t->connect_ms,
               .data = t->data_ms > 0 ? (t->eom_ms > 0 ? t->eom_ms : now_ms) - t->data_ms : 0,
               .upstream_reply = t->eom_ms > 0 ? now_ms - t->eom_ms : 0},
    };
    session_write_record(session, &record);
}

static void session_record_session(struct session *session, const char *line,
                                   const char *decided_by)
{
    struct record record = {
        .findings = session->screening != NULL ? &session->screening->findings : NULL,
        .decided_by = decided_by,
        .verdict = line == NULL || line[0] == '2' ? VERDICT_ABORT
                   : line[0] == '4'               ? VERDICT_DEFER
                                                  : VERDICT_REJECT,
        .ms = {.total = session_now(session) - session->begun_ms},
    };
    if (line != NULL) {
        record.reply_code = line_code(line);
        record.reply_text = text_of(line + 4);
    }
    session_write_record(session, &record);
}

/* ---- transactions ---- */

bool session_begin_transaction(struct session *session)
{
    assert(session->transaction == NULL);
    struct transaction *transaction = pool_get(&session->worker->transactions);
    if (transaction == NULL) {
        return false;
    }
    memset(transaction, 0, offsetof(struct transaction, params));
    envelope_init(&transaction->envelope, &session->worker->chunks);
    transaction->begun_ms = session_now(session);
    session->transaction = transaction;
    session->transactions++;
    return true;
}

void session_end_transaction(struct session *session, enum record_verdict verdict,
                             const char *decided_by)
{
    struct transaction *transaction = session->transaction;
    assert(transaction != NULL);
    session_record_transaction(session, verdict, decided_by);
    verification_end(transaction, session->worker);
    message_release(&transaction->message);
    envelope_reset(&transaction->envelope);
    session->transaction = NULL;
    pool_put(&session->worker->transactions, transaction);
    session_return_lease(session);
}

void session_return_lease(struct session *session)
{
    if (session_upstream(session)->config->contact != CONTACT_CONNECT) {
        lease_return(&session->lease);
    }
}

bool session_awaits_lease(struct session *session)
{
    if (session->lease != NULL && session->lease->state == LEASE_WAITING) {
        (void)lease_exchange(&session->lease); /* or it goes on waiting */
    }
    return session->lease != NULL && lease_is_opening(session->lease);
}

/* Of the address alone, so that a client's sessions meet the same server. */
static uint32_t session_client_hash(const struct session *session)
{
    const uint8_t *bytes = (const uint8_t *)&session->peer.in.sin_addr;
    uint32_t len = sizeof(session->peer.in.sin_addr);
    uint32_t hash = 2166136261u; /* FNV-1a */
    if (session->peer.sa.sa_family == AF_INET6) {
        bytes = (const uint8_t *)&session->peer.in6.sin6_addr;
        len = sizeof(session->peer.in6.sin6_addr);
    }
    for (uint32_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * 16777619u;
    }
    return hash;
}

bool session_take_lease(struct session *session, bool fresh)
{
    assert(session->lease == NULL);
    struct lease_ask ask = {
        .upstream = session_upstream(session),
        .client_hash = session_client_hash(session),
        .needs = session->transaction != NULL ? session->transaction->needs : 0,
        .fresh = fresh,
    };
    session->lease = lease_take(session->worker, &ask, on_lease, session);
    return session->lease != NULL && session->lease->state == LEASE_READY;
}

enum record_verdict session_reply_verdict(const struct session *session)
{
    uint16_t code = session->transaction->reply_code;
    if (code < 400) {
        bool is_tagged = session->transaction->is_tagged;
        return code < 200 ? VERDICT_ABORT : is_tagged ? VERDICT_TAG : VERDICT_ACCEPT;
    }
    return code < 500 ? VERDICT_DEFER : VERDICT_REJECT;
}

void session_abort_transaction(struct session *session, const char *decided_by)
{
    struct transaction *transaction = session->transaction;
    if (transaction == NULL) {
        return;
    }
    bool refused =
        transaction->envelope.rcpt_count > 0 && transaction->envelope.accepted_count == 0;
    if (!refused) {
        session_end_transaction(session, VERDICT_ABORT, decided_by);
        return;
    }
    const char *rule = transaction->decided_by != NULL ? transaction->decided_by : "upstream";
    session_end_transaction(session, session_reply_verdict(session), rule);
}

/* The last line, if any, is gathered: it goes out, and the connection ends. */
static void session_stop_client(struct session *session, bool polite)
{
    bool nothing_to_say = stream_is_drained(&session->client);
    stream_stop(&session->client, polite || nothing_to_say ? STOP_DRAIN : STOP_LINGER);
}

enum step session_no_memory(struct session *session)
{
    return session_end(session, "421 4.3.1 insufficient system storage", "limits.memory");
}

void session_say_farewell(struct session *session)
{
    if (session->farewell != NULL && stream_room(&session->client) > 0) {
        session_put_line(session, session->farewell);
    }
    session->farewell = NULL;
    session_stop_client(session, false);
}

enum step session_end(struct session *session, const char *line, const char *decided_by)
{
    bool unread = stream_len(&session->client) > session->line_len;
    bool wait = line != NULL && stream_is_sending(&session->client);
    if (wait) {
        session->farewell = line;
        session_note_reply(session, line_code(line), line + 4, (uint32_t)strlen(line) - 4);
    } else if (line != NULL) {
        session_reply(session, line);
        session_note_reply(session, line_code(line), line + 4, (uint32_t)strlen(line) - 4);
    }
    bool is_open = session->transaction != NULL && session->transaction->is_open;
    if (session->state == SESSION_BODY || session->state == SESSION_FORWARD || is_open) {
        lease_drop(&session->lease);
    }
    session_abort_transaction(session, decided_by);
    lease_return(&session->lease);
    if (session->transactions == 0) {
        session_record_session(session, line, decided_by);
    }
    session_enter(session, SESSION_CLOSING);
    if (!wait) {
        session_stop_client(session, line != NULL && line[0] == '2' && !unread);
    }
    return STEP_MORE;
}
