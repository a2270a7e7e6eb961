/*
 * dns_lookup - one question on its way: message after message, server after server, until there is
 * an answer or no time left. See net/dns_client.h.
 *
 * Each message has a socket of its own. It is closed when both ops on it are joined, and what
 * follows (lookup->next) begins then. The waiters are answered before that, as soon as it is known.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "net/dns_client_priv.h"

enum { DNS_LOOKUP_MAGIC = 0x444e534c };

static void on_connected(struct op *op, int result);
static void on_sent(struct op *op, int result);
static void on_received(struct op *op, int result);
static void on_silence(struct timer *timer);

static const char out_of_time[] = "no answer in time";
static const char too_many_aliases[] = "too many CNAMEs";

/* ---- states ---- */

static void lookup_enter(struct dns_lookup *lookup, enum dns_lookup_state state)
{
    static const uint8_t allowed[] = {
        [LOOKUP_NEW] = 1 << LOOKUP_CONNECT | 1 << LOOKUP_CLOSE,
        [LOOKUP_CONNECT] = 1 << LOOKUP_WAIT | 1 << LOOKUP_CLOSE,
        [LOOKUP_WAIT] = 1 << LOOKUP_CLOSE,
        [LOOKUP_CLOSE] = 1 << LOOKUP_CONNECT,
    };
    assert(lookup->magic == DNS_LOOKUP_MAGIC);
    assert(lookup->state < sizeof(allowed));
    assert((allowed[lookup->state] & 1 << state) != 0);
    lookup->state = (uint8_t)state;
}

static struct dns_server *server_of(struct dns_lookup *lookup)
{
    return &lookup->client->servers.servers[lookup->server];
}

static int64_t now_of(const struct dns_lookup *lookup)
{
    return loop_now_ms(lookup->client->loop);
}

static void lookup_free(struct dns_lookup *lookup)
{
    assert(lookup->is_over);
    assert(lookup->fd < 0);
    list_remove(&lookup->all);
    lookup->magic = 0;
    pool_put(&lookup->client->lookups, lookup);
}

/* ---- the end ---- */

static void lookup_close(struct dns_lookup *lookup, enum dns_lookup_next next);

static void lookup_end(struct dns_lookup *lookup, struct dns_answer *answer, bool may_keep)
{
    assert(!lookup->is_over);
    lookup->is_over = true;
    client_answered(lookup->client, lookup, answer, may_keep);
    lookup_close(lookup, NEXT_END);
}

/* Failures of our own are not remembered: the next moment may be better. */
static void lookup_fail(struct dns_lookup *lookup, const char *reason, bool may_keep)
{
    struct dns_answer answer = {.status = DNS_FAILED, .reason = reason};
    lookup_end(lookup, &answer, may_keep);
}

void lookup_abandon(struct dns_lookup *lookup)
{
    assert(list_is_empty(&lookup->waiters));
    if (!lookup->is_over) {
        lookup->is_over = true;
        list_remove(&lookup->table);
        if (lookup->state == LOOKUP_CLOSE) {
            lookup->next = NEXT_END;
        } else {
            lookup_close(lookup, NEXT_END);
        }
    }
}

/* ---- a message ---- */

static void lookup_write_ask(struct dns_lookup *lookup)
{
    uint8_t dice[DNS_DICE_LEN];
    client_throw(lookup->client, dice, sizeof(dice));
    uint32_t len = dns_message_ask(lookup->ask + DNS_PREFIX_LEN, lookup->name.octets,
                                   lookup->name.len, lookup->type, lookup->has_edns, dice);
    lookup->ask_len = (uint16_t)len;
    lookup->ask[0] = (uint8_t)(len >> 8);
    lookup->ask[1] = (uint8_t)len;
}

/* Opens a socket to the server for one message in the form that is_tcp and has_edns say. */
static void lookup_open(struct dns_lookup *lookup)
{
    struct dns_client *client = lookup->client;
    const struct dns_server *server = server_of(lookup);
    if (lookup->is_tcp) {
        lookup->stream = pool_get(&client->streams);
        lookup->stream_len = 0;
        if (lookup->stream == NULL) {
            lookup_fail(lookup, "too many questions by TCP", false);
            return;
        }
    }
    int family = server->addr.ss_family;
    lookup->fd = lookup->is_tcp ? loop_socket(client->loop, family)
                                : loop_socket_dgram(client->loop, family);
    if (lookup->fd < 0) {
        lookup_fail(lookup, "no socket", false);
        return;
    }
    lookup_write_ask(lookup);
    lookup->strangers = 0;
    lookup_enter(lookup, LOOKUP_CONNECT);
    int64_t until_ms = now_of(lookup) + client->conf.timeout_ms;
    loop_timer_set(client->loop, &lookup->timer,
                   until_ms < lookup->deadline_ms ? until_ms : lookup->deadline_ms, on_silence);
    loop_connect(client->loop, &lookup->rx, lookup->fd, (const struct sockaddr *)&server->addr,
                 server->addr_len, on_connected);
}

/* The next server of this round, or of another round when one was only silent. */
static int lookup_pick(struct dns_lookup *lookup)
{
    struct dns_servers *servers = &lookup->client->servers;
    int server = dns_servers_pick(servers, lookup->tried, now_of(lookup));
    if (server < 0 && lookup->was_silent && ++lookup->rounds < lookup->client->conf.attempts) {
        lookup->tried = 0;
        lookup->was_silent = false;
        server = dns_servers_pick(servers, lookup->tried, now_of(lookup));
    }
    return server;
}

static void lookup_try(struct dns_lookup *lookup)
{
    int server = now_of(lookup) < lookup->deadline_ms ? lookup_pick(lookup) : -1;
    if (server < 0) {
        lookup_fail(lookup, lookup->reason, true);
        return;
    }
    lookup->server = (uint8_t)server;
    lookup->tried |= 1u << server;
    lookup->is_tcp = false;
    lookup->has_edns = server_of(lookup)->plain_until_ms <= now_of(lookup);
    lookup_open(lookup);
}

void lookup_start(struct dns_lookup *lookup)
{
    const struct dns_client_conf *conf = &lookup->client->conf;
    lookup->magic = DNS_LOOKUP_MAGIC;
    lookup->state = LOOKUP_NEW;
    lookup->fd = -1;
    lookup->ttl_s = UINT32_MAX;
    lookup->name = lookup->question;
    lookup->reason = out_of_time;
    lookup->deadline_ms =
        now_of(lookup) + (int64_t)conf->timeout_ms * conf->attempts * lookup->client->servers.count;
    op_init(&lookup->rx);
    op_init(&lookup->tx);
    timer_init(&lookup->timer);
    lookup_try(lookup);
}

/* ---- closing ---- */

static void lookup_joined(struct dns_lookup *lookup)
{
    if (!op_is_idle(&lookup->rx) || !op_is_idle(&lookup->tx)) {
        return;
    }
    if (lookup->fd >= 0) {
        loop_close(lookup->client->loop, lookup->fd);
        lookup->fd = -1;
    }
    if (lookup->stream != NULL) {
        pool_put(&lookup->client->streams, lookup->stream);
        lookup->stream = NULL;
    }
    switch ((enum dns_lookup_next)lookup->next) {
    case NEXT_SERVER:
        lookup_try(lookup);
        break;
    case NEXT_FORM:
        lookup_open(lookup);
        break;
    case NEXT_END:
        lookup_free(lookup);
        break;
    }
}

static void lookup_close(struct dns_lookup *lookup, enum dns_lookup_next next)
{
    struct loop *loop = lookup->client->loop;
    lookup->next = (uint8_t)next;
    if (lookup->state != LOOKUP_CLOSE) {
        lookup_enter(lookup, LOOKUP_CLOSE);
    }
    loop_timer_stop(loop, &lookup->timer);
    loop_cancel(loop, &lookup->rx);
    loop_cancel(loop, &lookup->tx);
    lookup_joined(lookup);
}

/* This server did not help. With nobody waiting, that is the end. */
static void lookup_try_next(struct dns_lookup *lookup, const char *reason)
{
    lookup->reason = reason;
    if (list_is_empty(&lookup->waiters)) {
        lookup_abandon(lookup);
    } else if (now_of(lookup) >= lookup->deadline_ms) {
        lookup_fail(lookup, reason, true);
    } else {
        lookup_close(lookup, NEXT_SERVER);
    }
}

/* That a server has no TCP, or not enough of it, says nothing about its other answers. */
static void lookup_gone(struct dns_lookup *lookup)
{
    if (!lookup->is_tcp) {
        dns_server_is_gone(server_of(lookup), now_of(lookup));
    }
    lookup_try_next(lookup, "no contact with the server");
}

static void on_silence(struct timer *timer)
{
    struct dns_lookup *lookup = list_entry(timer, struct dns_lookup, timer);
    assert(lookup->state == LOOKUP_CONNECT || lookup->state == LOOKUP_WAIT);
    bool was_answered = lookup->strangers > 0;
    lookup->was_silent = true;
    if (!lookup->is_tcp) {
        dns_server_was_silent(server_of(lookup), now_of(lookup));
    }
    lookup_try_next(lookup, was_answered ? "only answers to something else" : out_of_time);
}

/* ---- an answer ---- */

/* The answer only says that the name is an alias. */
static void lookup_follow(struct dns_lookup *lookup, const struct dns_message *message)
{
    struct dns_answer answer;
    const struct dns_zone *zone = lookup->client->conf.zone;
    if (message->answer.ttl_s < lookup->ttl_s) {
        lookup->ttl_s = message->answer.ttl_s;
    }
    if (++lookup->aliases > DNS_ALIASES_MAX) {
        lookup_fail(lookup, too_many_aliases, true);
        return;
    }
    lookup->name.len = message->alias_len;
    memcpy(lookup->name.octets, message->alias, message->alias_len);
    if (zone != NULL && dns_zone_find(zone, &lookup->name, lookup->type, &answer)) {
        lookup_end(lookup, &answer, true);
        return;
    }
    lookup->tried = 0;
    lookup->rounds = 0;
    lookup->was_silent = false;
    lookup_close(lookup, NEXT_SERVER);
}

/* Asks the same server in another form. */
static void lookup_change_form(struct dns_lookup *lookup, bool is_tcp, bool has_edns)
{
    lookup->is_tcp = is_tcp;
    lookup->has_edns = has_edns;
    lookup_close(lookup, NEXT_FORM);
}

static void lookup_without_edns(struct dns_lookup *lookup)
{
    if (!lookup->has_edns) {
        lookup_try_next(lookup, "not understood by the server");
        return;
    }
    server_of(lookup)->plain_until_ms = now_of(lookup) + DNS_SERVER_PLAIN_MS;
    lookup_change_form(lookup, lookup->is_tcp, false);
}

static void lookup_read(struct dns_lookup *lookup, const uint8_t *bytes, uint32_t len)
{
    struct dns_message *message = &lookup->client->message;
    dns_message_read(message, bytes, len, lookup->is_tcp, lookup->name.octets, lookup->name.len,
                     lookup->type);
    dns_server_answered(server_of(lookup));
    switch (message->kind) {
    case DNS_MESSAGE_ANSWER:
        lookup_end(lookup, &message->answer, true);
        break;
    case DNS_MESSAGE_ALIAS:
        lookup_follow(lookup, message);
        break;
    case DNS_MESSAGE_TRUNCATED:
        lookup_change_form(lookup, true, lookup->has_edns);
        break;
    case DNS_MESSAGE_NO_EDNS:
        lookup_without_edns(lookup);
        break;
    case DNS_MESSAGE_TROUBLE:
        lookup_try_next(lookup, message->answer.reason);
        break;
    }
}

static bool lookup_echoes(const struct dns_lookup *lookup, const uint8_t *bytes, uint32_t len)
{
    return len <= DNS_MESSAGE_MAX &&
           dns_message_echoes(bytes, len, lookup->ask + DNS_PREFIX_LEN, lookup->name.len);
}

static void lookup_recv(struct dns_lookup *lookup)
{
    loop_recv(lookup->client->loop, &lookup->rx, lookup->fd, RECV_LATER, on_received);
}

/* One datagram; also an empty one. */
static void lookup_datagram(struct dns_lookup *lookup, const uint8_t *bytes, uint32_t len)
{
    if (lookup_echoes(lookup, bytes, len)) {
        lookup_read(lookup, bytes, len);
        return;
    }
    lookup->client->stats.strangers++;
    lookup->strangers++;
    if (lookup->strangers > DNS_STRANGERS_MAX) {
        lookup_change_form(lookup, true, lookup->has_edns);
    } else {
        lookup_recv(lookup);
    }
}

/* The length of the message that comes by TCP, or 0 as long as that is unknown. */
static uint32_t stream_message_len(const struct dns_lookup *lookup)
{
    const uint8_t *prefix = lookup->stream;
    return lookup->stream_len < DNS_PREFIX_LEN ? 0 : (uint32_t)(prefix[0] << 8 | prefix[1]);
}

static void lookup_stream(struct dns_lookup *lookup, const uint8_t *bytes, uint32_t len)
{
    uint32_t room = DNS_PREFIX_LEN + DNS_MESSAGE_MAX - lookup->stream_len;
    uint32_t moved = len < room ? len : room;
    if (moved > 0) {
        memcpy(lookup->stream + lookup->stream_len, bytes, moved);
        lookup->stream_len += moved;
    }
    uint32_t want = stream_message_len(lookup);
    if (want > DNS_MESSAGE_MAX) {
        lookup_fail(lookup, "answer too large", true);
    } else if (lookup->stream_len < DNS_PREFIX_LEN || lookup->stream_len < DNS_PREFIX_LEN + want) {
        lookup_recv(lookup);
    } else if (lookup_echoes(lookup, lookup->stream + DNS_PREFIX_LEN, want)) {
        lookup_read(lookup, lookup->stream + DNS_PREFIX_LEN, want);
    } else {
        lookup->client->stats.strangers++;
        lookup_try_next(lookup, "only answers to something else");
    }
}

/* ---- ops ---- */

static void on_connected(struct op *op, int result)
{
    struct dns_lookup *lookup = list_entry(op, struct dns_lookup, rx);
    assert(lookup->magic == DNS_LOOKUP_MAGIC);
    if (lookup->state == LOOKUP_CLOSE) {
        lookup_joined(lookup);
        return;
    }
    if (result < 0) {
        lookup_gone(lookup);
        return;
    }
    lookup_enter(lookup, LOOKUP_WAIT);
    uint32_t prefix = lookup->is_tcp ? 0 : DNS_PREFIX_LEN;
    lookup->client->stats.messages++;
    loop_send(lookup->client->loop, &lookup->tx, lookup->fd, lookup->ask + prefix,
              DNS_PREFIX_LEN + lookup->ask_len - prefix, on_sent);
    lookup_recv(lookup);
}

static void on_sent(struct op *op, int result)
{
    struct dns_lookup *lookup = list_entry(op, struct dns_lookup, tx);
    assert(lookup->magic == DNS_LOOKUP_MAGIC);
    if (lookup->state == LOOKUP_CLOSE) {
        lookup_joined(lookup);
    } else if (result < 0) {
        lookup_gone(lookup);
    }
}

static void on_received(struct op *op, int result)
{
    struct dns_lookup *lookup = list_entry(op, struct dns_lookup, rx);
    struct loop *loop = lookup->client->loop;
    struct buf *buf = op->buf;
    assert(lookup->magic == DNS_LOOKUP_MAGIC);
    if (lookup->state == LOOKUP_CLOSE) {
        lookup_joined(lookup);
    } else if (result < 0 || (result == 0 && lookup->is_tcp)) {
        lookup_gone(lookup);
    } else {
        const uint8_t *bytes = result > 0 ? (const uint8_t *)buf_bytes(buf) : lookup->ask;
        if (lookup->is_tcp) {
            lookup_stream(lookup, bytes, (uint32_t)result);
        } else {
            lookup_datagram(lookup, bytes, (uint32_t)result);
        }
    }
    if (result > 0) {
        loop_buf_release(loop, buf);
    }
}
