/*
 * lease - see core/lease.h.
 *
 * Reading order: states and deadlines, opening (server after server), replies, the way back (pool,
 * QUIT, close). Only lease_enter() writes the state. The two callbacks, on_stream() and on_timer(),
 * record what happened and end in one poke of the owner.
 */
#include "core/lease.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "core/escape.h"
#include "core/lease_priv.h"
#include "core/log.h"
#include "core/worker.h"

enum {
    LEASE_MAGIC = 0x4c454153,
    QUIT_TIMEOUT_MS = 5000,
    RSET_TIMEOUT_MS = 300 * 1000,
    MAIL_TIMEOUT_MS = 300 * 1000, /* RFC 5321, 4.5.3.2.2 */
    RCPT_TIMEOUT_MS = 300 * 1000, /* 4.5.3.2.3 */
    DATA_TIMEOUT_MS = 120 * 1000, /* 4.5.3.2.4 */
    BODY_TIMEOUT_MS = 180 * 1000, /* 4.5.3.2.5 */
    EOM_TIMEOUT_MS = 590 * 1000,  /* 4.5.3.2.6 gives the client 600 s; we answer before that */
};

static const struct {
    const char *what;
    int32_t timeout_ms;
} expect_rows[] = {
    [EXPECT_RSET] = {"the reply to RSET", RSET_TIMEOUT_MS},
    [EXPECT_MAIL] = {"the reply to MAIL", MAIL_TIMEOUT_MS},
    [EXPECT_RCPT] = {"the reply to RCPT", RCPT_TIMEOUT_MS},
    [EXPECT_DATA] = {"the reply to DATA", DATA_TIMEOUT_MS},
    [EXPECT_EOM] = {"the reply to the end of data", EOM_TIMEOUT_MS},
    [EXPECT_BDAT] = {"the reply to BDAT", EOM_TIMEOUT_MS},
};

/* What each state waits for, in words for the reason; and the states it may go to, a bit each. */
#define TO(state) (1u << (state))
#define TO_FAIL   (TO(LEASE_NEXT) | TO(LEASE_CLOSING))
#define TO_LOSS   (TO(LEASE_LOST) | TO(LEASE_CLOSING))
static const struct {
    const char *waits_for;
    uint32_t next;
} state_rows[LEASE_STATE_COUNT] = {
    [LEASE_NEXT] = {"the next server", TO(LEASE_CONNECTING) | TO(LEASE_WAITING) | TO_LOSS},
    [LEASE_WAITING] = {"a free connection", TO(LEASE_NEXT) | TO_LOSS},
    [LEASE_CONNECTING] = {"the connection", TO(LEASE_GREETING) | TO(LEASE_TLS) | TO_FAIL},
    [LEASE_GREETING] = {"its greeting", TO(LEASE_EHLO) | TO_FAIL},
    [LEASE_EHLO] = {"its EHLO reply",
                    TO(LEASE_HELO) | TO(LEASE_STARTTLS) | TO(LEASE_READY) | TO_FAIL},
    [LEASE_HELO] = {"its HELO reply", TO(LEASE_READY) | TO_FAIL},
    [LEASE_STARTTLS] = {"its STARTTLS reply", TO(LEASE_TLS) | TO(LEASE_READY) | TO_FAIL},
    [LEASE_TLS] = {"its TLS handshake", TO(LEASE_GREETING) | TO(LEASE_EHLO) | TO_FAIL},
    [LEASE_READY] = {"it to take more of the message",
                     TO(LEASE_BUSY) | TO(LEASE_IDLE) | TO(LEASE_QUITTING) | TO_LOSS},
    [LEASE_BUSY] = {"a reply", TO(LEASE_READY) | TO_LOSS},
    [LEASE_LOST] = {"nothing", TO(LEASE_CLOSING)},
    [LEASE_IDLE] = {"an owner", TO(LEASE_READY) | TO(LEASE_QUITTING) | TO(LEASE_CLOSING)},
    [LEASE_QUITTING] = {"the reply to QUIT", TO(LEASE_CLOSING)},
    [LEASE_CLOSING] = {"its end", 0},
};

static void on_stream(struct stream *stream, enum stream_event event, int result);
static void on_timer(struct timer *timer);

void lease_enter(struct lease *lease, enum lease_state state)
{
    assert(lease->magic == LEASE_MAGIC);
    assert((state_rows[lease->state].next & TO(state)) != 0);
    lease->state = (uint8_t)state;
}

static bool lease_is_alive(const struct lease *lease)
{
    return lease->state != LEASE_NEXT && lease->state != LEASE_WAITING &&
           lease->state != LEASE_LOST;
}

uint32_t lease_group(const struct lease *lease)
{
    return (uint32_t)(lease->upstream - lease->worker->shared->upstreams);
}

struct upstream_server *lease_server(const struct lease *lease)
{
    return &lease->upstream->servers[lease->server];
}

const char *lease_address(const struct lease *lease)
{
    return lease->address_number == 0 ? lease_server(lease)->config->address.text
                                      : lease->found.text;
}

bool lease_is_outdated(const struct lease *lease)
{
    return upstream_has_moved(lease_server(lease), lease->address_number);
}

void lease_set_deadline(struct lease *lease, int64_t timeout_ms)
{
    loop_timer_set(lease->worker->loop, &lease->timer,
                   loop_now_ms(lease->worker->loop) + timeout_ms, on_timer);
}

static void lease_poke_owner(struct lease *lease)
{
    if (lease->poke != NULL) {
        lease->poke(lease, lease->owner);
    }
}

/* ---- the end of a lease ---- */

void lease_forget_owner(struct lease *lease)
{
    lease->owner = NULL;
    lease->poke = NULL;
}

/* The stream is closed: the object is freed at the end of the turn, when no callback of it can be
 * on the stack. */
static void lease_gone(struct lease *lease)
{
    assert(stream_is_closed(&lease->stream));
    loop_timer_stop(lease->worker->loop, &lease->timer);
    tls_fini(&lease->tls);
    list_remove(&lease->node);
    list_push_back(&lease->worker->lease_gone, &lease->node);
}

/* A lease counts at its server while it has, or tries to have, a connection; a held one counts as
 * active as well. */
static void lease_release_slot(struct lease *lease)
{
    if (lease->is_probe) {
        return;
    }
    upstream_release(lease_server(lease));
    if (lease->is_held) {
        lease_count_held(lease, false);
    }
}

void lease_count_held(struct lease *lease, bool is_held)
{
    _Atomic uint32_t *active = &lease_server(lease)->active;
    assert(lease->is_held != is_held);
    lease->is_held = is_held;
    if (is_held) {
        atomic_fetch_add_explicit(active, 1, memory_order_relaxed);
    } else {
        atomic_fetch_sub_explicit(active, 1, memory_order_relaxed);
    }
}

static void lease_end(struct lease *lease, enum stream_stop_how how)
{
    bool had_slot = lease_is_alive(lease);
    lease_forget_owner(lease);
    list_remove(&lease->waiting);
    lease_enter(lease, LEASE_CLOSING);
    if (had_slot) {
        lease_release_slot(lease);
    }
    lease_set_deadline(lease, QUIT_TIMEOUT_MS);
    stream_stop(&lease->stream, how);
    if (stream_is_closed(&lease->stream)) {
        lease_gone(lease);
    }
}

void lease_close(struct lease *lease)
{
    lease_end(lease, STOP_NOW);
}

void lease_quit(struct lease *lease)
{
    lease_forget_owner(lease);
    lease_enter(lease, LEASE_QUITTING);
    lease_set_deadline(lease, QUIT_TIMEOUT_MS);
    if (stream_put(&lease->stream, "QUIT\r\n", 6) < 0 ||
        stream_read(&lease->stream, RECV_LATER) < 0) {
        lease_close(lease);
        return;
    }
    stream_flush(&lease->stream);
}

/* Connection or protocol lost. While opening there may be a next server; else the owner will find
 * the reason. */
void lease_lose(struct lease *lease, const char *what, const char *why)
{
    (void)snprintf(lease->reason, sizeof(lease->reason), "%s%s", what, why);
    lease_enter(lease, lease_is_opening(lease) ? LEASE_NEXT : LEASE_LOST);
    lease_release_slot(lease);
    loop_timer_stop(lease->worker->loop, &lease->timer);
    stream_stop(&lease->stream, STOP_NOW);
}

static void lease_lose_errno(struct lease *lease, const char *what, int error)
{
    lease_lose(lease, what, error == 0 ? "connection closed" : strerrordesc_np(-error));
}

/* ---- opening ---- */

struct lease *lease_create(struct worker *worker, struct upstream *upstream, lease_poke *poke,
                           void *owner)
{
    struct lease *lease = pool_get(&worker->leases);
    if (lease == NULL) {
        return NULL;
    }
    memset(lease, 0, offsetof(struct lease, stream));
    lease->magic = LEASE_MAGIC;
    lease->state = LEASE_NEXT;
    lease->worker = worker;
    lease->upstream = upstream;
    lease->owner = owner;
    lease->poke = poke;
    lease->opened_ms = loop_now_ms(worker->loop);
    lease->reason[0] = '\0';
    timer_init(&lease->timer);
    stream_init(&lease->stream, worker->loop, &worker->chunks, on_stream);
    list_init(&lease->node);
    list_init(&lease->waiting);
    list_push_back(&worker->lease_list, &lease->node);
    return lease;
}

static void lease_log_down(const struct lease *lease, const char *why)
{
    log_line(LEVEL_WARNING, "upstream %s: server %s is down: %s", lease->upstream->config->name,
             lease_server(lease)->config->name, why);
}

static void lease_note_down(struct lease *lease)
{
    if (lease_is_outdated(lease)) {
        return;
    }
    if (upstream_note_down(lease->upstream, lease_server(lease))) {
        lease_log_down(lease, lease->reason);
    }
}

static void lease_eject(struct lease *lease)
{
    int64_t now_ms = loop_now_ms(lease->worker->loop);
    if (lease_is_outdated(lease)) {
        return;
    }
    if (upstream_eject(lease->upstream, lease_server(lease), now_ms)) {
        lease_log_down(lease, lease->reason);
    }
}

/* The server counts what it answers to commands: 421s in a row eject it. */
static void lease_note_reply(struct lease *lease, uint16_t code)
{
    int64_t now_ms = loop_now_ms(lease->worker->loop);
    if (lease_is_outdated(lease)) {
        return;
    }
    if (upstream_note_reply(lease->upstream, lease_server(lease), code == 421, now_ms)) {
        lease_log_down(lease, "it answers 421");
    }
}

/* The address must stay where it is until the connection is there, so the lease keeps it. */
static int lease_dial(struct lease *lease)
{
    const struct config_address *address = &lease_server(lease)->config->address;
    const struct upstream_found *found = &lease->found;
    lease->address_number = upstream_address(lease_server(lease), &lease->found);
    if (lease->address_number == 0) {
        return stream_connect(&lease->stream, (const struct sockaddr *)&address->addr,
                              address->len);
    }
    return stream_connect(&lease->stream, (const struct sockaddr *)&found->addr, found->len);
}

/* False when its last free connection has just gone to another worker. */
static bool lease_connect_to(struct lease *lease, uint32_t index)
{
    lease->server = (uint8_t)index;
    tls_fini(&lease->tls);
    if (!lease->is_probe && !upstream_reserve(lease_server(lease))) {
        return false;
    }
    lease->tried |= 1u << index;
    lease_enter(lease, LEASE_CONNECTING);
    if (!lease->is_probe) {
        lease_count_held(lease, true);
    }
    lease_set_deadline(lease, lease->upstream->config->connect_timeout_ms);
    int result = lease_dial(lease);
    if (result < 0) {
        lease_lose_errno(lease, "no socket: ", result);
        lease_note_down(lease);
    }
    return true;
}

/* Nobody will have us now: wait for a connection to become free, if that can happen, or give up. */
static void lease_settle(struct lease *lease, const struct upstream_ask *ask)
{
    int64_t give_up_ms = lease->opened_ms + lease->upstream->config->connect_timeout_ms;
    bool is_full = !lease->is_probe && upstream_is_full(lease->upstream, ask);
    if (is_full && ask->now_ms < give_up_ms) {
        lease_wait(lease);
        return;
    }
    lease->is_full = is_full;
    if (lease->reason[0] == '\0') {
        (void)snprintf(lease->reason, sizeof(lease->reason), "all connections are in use");
    }
    lease_enter(lease, LEASE_LOST);
}

/* The stream is closed: the next server that will have us, or WAITING, or LOST. */
void lease_connect_next(struct lease *lease)
{
    struct upstream_ask ask = {
        .tried = lease->tried,
        .needs = lease->needs,
        .client_hash = lease->client_hash,
        .now_ms = loop_now_ms(lease->worker->loop),
    };
    assert(stream_is_closed(&lease->stream));
    while (lease->state == LEASE_NEXT && stream_is_closed(&lease->stream)) {
        int index = upstream_choose(lease->upstream, &ask);
        if (index < 0) {
            ask.tried = lease->tried;
            lease_settle(lease, &ask);
            return;
        }
        (void)lease_connect_to(lease, (uint32_t)index); /* full by now: as if it had been tried */
        ask.tried |= 1u << index;
    }
}

void lease_connect(struct lease *lease, int server)
{
    if (server >= 0) {
        (void)lease_connect_to(lease, (uint32_t)server); /* full by now: the next one */
    }
    if (lease->state == LEASE_NEXT && stream_is_closed(&lease->stream)) {
        lease_connect_next(lease);
    }
}

/* This server failed while opening. The next one is tried once the stream has closed. */
static void lease_fail(struct lease *lease)
{
    if (!lease->falls_back) {
        lease_note_down(lease);
    }
    lease->falls_back = false;
    if (lease_is_outdated(lease)) {
        lease->tried &= ~(1u << lease->server); /* it was not there any more: not tried yet */
        lease->plain &= ~(1u << lease->server);
    }
    if (stream_is_closed(&lease->stream)) {
        lease_connect_next(lease);
    }
    if (lease_is_lost(lease)) {
        lease_poke_owner(lease);
    }
}

struct lease *lease_probe(struct worker *worker, struct upstream *upstream, uint32_t server,
                          lease_poke *poke, void *owner)
{
    struct lease *lease = lease_create(worker, upstream, poke, owner);
    if (lease != NULL) {
        lease->is_probe = true;
        lease->tried = UINT32_MAX; /* this server or none */
        (void)lease_connect_to(lease,
                               server); /* a probe takes no slot, so it is never refused one */
        if (lease->state == LEASE_NEXT) {
            lease_connect_next(lease);
        }
    }
    return lease;
}

void lease_ready(struct lease *lease)
{
    lease_enter(lease, LEASE_READY);
    lease->ready_ms = loop_now_ms(lease->worker->loop);
    loop_timer_stop(lease->worker->loop, &lease->timer);
    if (lease_is_outdated(lease)) {
        return;
    }
    if (upstream_note_up(lease_server(lease), lease->extensions, lease->size_max,
                         lease->ready_ms)) {
        log_line(LEVEL_INFO, "upstream %s: server %s is up", lease->upstream->config->name,
                 lease_server(lease)->config->name);
    }
}

void lease_say(struct lease *lease, enum lease_state state, const char *line)
{
    lease_enter(lease, state);
    if (stream_put(&lease->stream, line, (uint32_t)strlen(line)) < 0) {
        lease_lose(lease, "no memory", "");
        return;
    }
    stream_flush(&lease->stream);
}

void lease_say_hello(struct lease *lease, enum lease_state state, const char *verb)
{
    char line[CONFIG_TEXT_MAX + 8];
    (void)snprintf(line, sizeof(line), "%s %s\r\n", verb, lease->worker->config->hostname);
    lease_say(lease, state, line);
}

/* The server refuses to talk: its own words, made clean, are the reason. */
void lease_refused(struct lease *lease, const char *what, const struct smtp_reply *reply)
{
    char text[LEASE_REASON_MAX / 2];
    uint32_t len = escape_text(text, sizeof(text) - 1, reply->last);
    text[len] = '\0';
    char why[LEASE_REASON_MAX];
    (void)snprintf(why, sizeof(why), "%u %s", reply->code, text);
    lease_lose(lease, what, why);
}

/* One complete reply while opening. */
static void lease_greet(struct lease *lease, const struct smtp_reply *reply)
{
    bool good = reply->code == 250; /* another 2xx answers something else: a second greeting */
    const char *bytes = stream_bytes(&lease->stream);
    if (lease->state == LEASE_GREETING) {
        if (reply->code != 220) {
            lease_refused(lease, "greeted with ", reply);
            return;
        }
        stream_consume(&lease->stream, reply->len);
        lease_say_hello(lease, LEASE_EHLO, "EHLO");
    } else if (lease->state == LEASE_STARTTLS) {
        lease_starttls_answered(lease, reply);
    } else if (good) {
        if (lease->state == LEASE_EHLO) {
            lease->extensions = smtp_reply_extensions(bytes, reply->len, &lease->size_max);
        }
        stream_consume(&lease->stream, reply->len);
        lease_hello_done(lease);
    } else if (lease->state == LEASE_EHLO && reply->code / 100 == 5) {
        stream_consume(&lease->stream, reply->len);
        lease_say_hello(lease, LEASE_HELO, "HELO");
    } else {
        lease_refused(lease, "answered the greeting with ", reply);
    }
}

/* ---- replies ---- */

/* What the window holds: 1 a reply, 0 not yet, negative and LOST when it can never become one. */
static int lease_scan(struct lease *lease, struct smtp_reply *ret_reply)
{
    uint32_t len = stream_len(&lease->stream);
    if (len == 0) {
        return 0;
    }
    switch (smtp_reply_scan(stream_bytes(&lease->stream), len, ret_reply)) {
    case REPLY_OK:
        return 1;
    case REPLY_MORE:
        return 0;
    case REPLY_BAD:
        lease_lose(lease, "sent what is no SMTP reply", "");
        return -EPROTO;
    case REPLY_LONG:
        lease_lose(lease, "sent a reply that is too long", "");
        return -EMSGSIZE;
    }
    return -EPROTO;
}

/* Reads ahead. The unread part of a reply is at most SMTP_REPLY_MAX bytes, which lease_scan() has
 * just seen to. */
void lease_read(struct lease *lease)
{
    _Static_assert((int)SMTP_REPLY_MAX <= (int)STREAM_UNREAD_MAX,
                   "a reply fits in front of the next receive");
    if (!lease_is_alive(lease)) {
        return;
    }
    int result = stream_read(&lease->stream, RECV_LATER);
    if (result < 0) {
        lease_lose_errno(lease, "", result == -EPIPE ? 0 : result);
    }
}

/* Bytes came while the connection is being opened. */
void lease_received(struct lease *lease)
{
    struct smtp_reply reply;
    int found = lease_scan(lease, &reply);
    bool too_much = found > 0 && stream_len(&lease->stream) > reply.len;
    if (too_much || (found >= 0 && stream_has_unsent(&lease->stream))) {
        lease_lose(lease, "spoke out of turn", ""); /* the second: before it can have read ours */
    } else if (found > 0) {
        lease_greet(lease, &reply);
    }
    lease_read(lease);
}

int lease_put(struct lease *lease, const char *data, uint32_t len)
{
    assert(lease->state == LEASE_READY || lease->state == LEASE_BUSY);
    return stream_put(&lease->stream, data, len);
}

void lease_expect(struct lease *lease, enum lease_expect expect)
{
    assert(lease->expect_count < LEASE_EXPECT_MAX);
    lease->expect[lease->expect_count++] = (uint8_t)expect;
    lease->in_message = false;
    if (lease->state == LEASE_READY) {
        lease_enter(lease, LEASE_BUSY);
    }
}

void lease_flush(struct lease *lease)
{
    if (lease->expect_count > 0) {
        lease_set_deadline(lease, expect_rows[lease->expect[0]].timeout_ms);
    }
    stream_flush(&lease->stream);
}

void lease_flush_message(struct lease *lease)
{
    if (stream_has_unsent(&lease->stream)) {
        lease_set_deadline(lease, BODY_TIMEOUT_MS);
        stream_flush(&lease->stream);
    }
}

void lease_send_body(struct lease *lease, struct buf *buf)
{
    lease_set_deadline(lease, BODY_TIMEOUT_MS);
    stream_send_buf(&lease->stream, buf);
}

/* Only a refusal can come early. Anything else, also the first byte of it, is an answer to what was
 * not sent yet. */
static bool lease_speaks_too_soon(const struct lease *lease)
{
    if (stream_len(&lease->stream) == 0) {
        return false;
    }
    char first = stream_bytes(&lease->stream)[0];
    return first != '4' && first != '5';
}

/* The rest of a message is still with us. */
static bool lease_is_sending_message(const struct lease *lease)
{
    return lease->expect[0] >= EXPECT_EOM && stream_is_sending(&lease->stream);
}

int lease_reply(struct lease *lease, struct smtp_reply *ret_reply)
{
    if (lease_is_lost(lease)) {
        return -EPIPE;
    }
    assert(lease->state == LEASE_BUSY);
    assert(lease->expect_count > 0);
    if (lease_is_sending_message(lease) && lease_speaks_too_soon(lease)) {
        lease_lose(lease, "answered before the end of the message", "");
        return -EPROTO;
    }
    int found = lease_scan(lease, ret_reply);
    if (found == 0) {
        lease_read(lease);
    }
    return lease_is_lost(lease) ? -EPIPE : found;
}

const char *lease_reply_bytes(const struct lease *lease)
{
    return stream_bytes(&lease->stream);
}

void lease_reply_done(struct lease *lease, uint32_t len, uint16_t code)
{
    assert(lease->expect_count > 0);
    lease->is_spent = lease->is_spent || code == 421;
    lease_note_reply(lease, code);
    lease->expect_count--;
    memmove(lease->expect, lease->expect + 1, lease->expect_count);
    stream_consume(&lease->stream, len);
    if (lease->expect_count > 0) {
        lease_set_deadline(lease, expect_rows[lease->expect[0]].timeout_ms);
    } else {
        loop_timer_stop(lease->worker->loop, &lease->timer);
        lease_enter(lease, LEASE_READY);
        if (stream_len(&lease->stream) > 0) {
            lease_lose(lease, "sent a reply that nobody asked for", "");
            return;
        }
        if (stream_has_unsent(&lease->stream)) {
            lease_lose(lease, "answered what it has not read", "");
            return;
        }
    }
    if (stream_len(&lease->stream) == 0) {
        lease_read(lease);
    }
}

void lease_begin_message(struct lease *lease)
{
    assert(lease->state == LEASE_READY);
    lease->in_message = true;
}

int lease_early_reply(struct lease *lease, struct smtp_reply *ret_reply)
{
    if (lease_is_lost(lease)) {
        return -EPIPE;
    }
    if (lease_speaks_too_soon(lease)) {
        lease_lose(lease, "answered before the end of the message", "");
        return -EPROTO;
    }
    int found = lease_scan(lease, ret_reply);
    if (found == 0) {
        lease_read(lease);
    }
    return lease_is_lost(lease) ? -EPIPE : found;
}

/* ---- callbacks ---- */

/* An idle or quitting connection has spoken or ended: in both cases it is of no more use. */
static void lease_unowned_event(struct lease *lease)
{
    if (lease->state == LEASE_IDLE) {
        lease_leave_pool(lease);
    }
    if (lease->state == LEASE_QUITTING) {
        lease_end(lease, STOP_DRAIN); /* answered: TLS says goodbye as well */
    } else if (lease->state != LEASE_CLOSING) {
        lease_close(lease);
    }
}

static void lease_connected(struct lease *lease, int result)
{
    if (result < 0) {
        lease_lose_errno(lease, "", result);
        return;
    }
    if (lease_is_implicit(lease)) {
        lease_secure(lease);
        return;
    }
    lease_enter(lease, LEASE_GREETING);
    lease_read(lease);
}

/* Bytes while no reply is owed: in a message an early refusal, which the owner looks at; else
 * nonsense. */
static void lease_unasked(struct lease *lease)
{
    struct smtp_reply reply;
    if (lease->in_message) {
        return;
    }
    int found = lease_scan(lease, &reply);
    if (found > 0) {
        lease_refused(lease, "spoke out of turn: ", &reply);
    } else if (found == 0) {
        lease_lose(lease, "spoke out of turn", "");
    }
}

static void lease_owned_event(struct lease *lease, enum stream_event event, int result)
{
    bool opening = lease_is_opening(lease);
    switch (event) {
    case STREAM_CONNECTED:
        lease_connected(lease, result);
        break;
    case STREAM_SECURED:
        lease_secured(lease, result);
        break;
    case STREAM_RECEIVED:
        if (lease->state == LEASE_READY) {
            lease_unasked(lease);
        } else if (opening) {
            lease_received(lease);
        }
        break;
    case STREAM_ENDED:
        lease_lose_errno(lease, "", result);
        break;
    case STREAM_SENT:
        if (result < 0) {
            lease_lose_errno(lease, "", result);
        } else if (lease->state == LEASE_READY) {
            loop_timer_stop(lease->worker->loop, &lease->timer); /* it took the piece of body */
        }
        break;
    case STREAM_STOPPED:
        break;
    }
    if (lease->state == LEASE_NEXT) {
        lease_fail(lease);
    } else if (!opening || lease->state == LEASE_READY) {
        lease_poke_owner(lease);
    }
}

static void lease_stopped(struct lease *lease)
{
    if (lease->state == LEASE_CLOSING) {
        lease_gone(lease);
    } else if (lease->state == LEASE_NEXT) {
        lease_connect_next(lease);
        if (lease_is_lost(lease)) {
            lease_poke_owner(lease);
        }
    }
}

static void on_stream(struct stream *stream, enum stream_event event, int result)
{
    struct lease *lease = list_entry(stream, struct lease, stream);
    assert(lease->magic == LEASE_MAGIC);
    if (event == STREAM_STOPPED) {
        lease_stopped(lease);
        return;
    }
    if (lease->state == LEASE_QUITTING && event == STREAM_SENT && result == 0) {
        return;
    }
    if (lease->poke == NULL) {
        lease_unowned_event(lease);
        return;
    }
    lease_owned_event(lease, event, result);
}

static void on_timer(struct timer *timer)
{
    struct lease *lease = list_entry(timer, struct lease, timer);
    assert(lease->magic == LEASE_MAGIC);
    if (lease->state == LEASE_IDLE) {
        lease_leave_pool(lease);
        lease_quit(lease);
        return;
    }
    if (lease->state == LEASE_WAITING) {
        lease_wait_over(lease);
        return;
    }
    if (lease->state == LEASE_CLOSING) {
        stream_stop(&lease->stream, STOP_NOW);
        return; /* its last completion frees it */
    }
    if (lease->state == LEASE_QUITTING) {
        lease_close(lease);
        return;
    }
    const char *what = state_rows[lease->state].waits_for;
    if (lease->expect_count > 0) {
        what = expect_rows[lease->expect[0]].what;
    }
    bool opening = lease_is_opening(lease);
    if (lease->state == LEASE_TLS) {
        lease_lose_tls(lease, "timed out waiting for the handshake");
    } else {
        lease_lose(lease, "timed out waiting for ", what);
    }
    if (opening) {
        lease_fail(lease);
    } else {
        lease_eject(lease);
        lease_poke_owner(lease);
    }
}
