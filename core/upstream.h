/*
 * upstream - a group of servers: which one is next, what they offer, which are down.
 *
 * One struct per [upstream:NAME], shared by all workers. The configuration in it is immutable;
 * everything else is an atomic word, written by whichever worker learns something and read by all
 * (design, section 4). Nothing here owns connections: those are leases (core/lease.h), one worker's
 * each.
 *
 *      untried --(EHLO answered)--> up <--(probe or lease answered, back-off over)-- down
 *                                    |                                                ^
 *                                    +--(connect, greeting, reply lost; 421s)---------+
 */
#ifndef CORE_UPSTREAM_H
#define CORE_UPSTREAM_H

#include <netinet/in.h>
#include <stdatomic.h>

#include "core/config.h"
#include "core/smtp_command.h"

enum {
    UPSTREAM_SLOW_START_MS = 10 * 1000, /* a server that comes back gets its share step by step */
    UPSTREAM_REFUSALS_MAX = 3,          /* 421s in a row that eject a server */
};

/* An address that a name was found to have. */
struct upstream_found {
    struct sockaddr_in6 addr; /* or a sockaddr_in */
    uint32_t len;
    char text[72]; /* "[IPv6%interface]:port" fits */
};
enum { UPSTREAM_FOUND_WORDS = (sizeof(struct upstream_found) + 7) / 8 };

struct upstream_server {
    const struct config_server *config;
    _Atomic uint32_t moves; /* how often the address has changed; 0: it is the configured one */
    _Atomic uint64_t found[2][UPSTREAM_FOUND_WORDS]; /* [moves % 2] is the present address */
    _Atomic uint32_t known;                          /* 1 once an EHLO reply has been seen */
    _Atomic uint32_t extensions;                     /* enum smtp_ext, of the newest EHLO reply */
    _Atomic uint64_t size;                           /* its SIZE value; 0: none given */
    _Atomic uint32_t health;                         /* untried, up or down */
    _Atomic uint32_t connections; /* open or opening, all workers; probes aside */
    _Atomic uint32_t active;      /* leases that are held, all workers */
    _Atomic uint32_t refusals;    /* 421s in a row */
    _Atomic uint32_t ejections;   /* in a row, for the back-off */
    _Atomic int64_t retry_ms;     /* an ejected server stays down until then */
    _Atomic int64_t up_ms;        /* when it came back; 0: it was never down */
};

struct upstream {
    const struct config_upstream *config;
    _Atomic uint32_t turn;    /* round-robin, and the order among equals */
    _Atomic uint32_t changes; /* grows with each server that goes down or moves */
    struct upstream_server servers[CONFIG_SERVERS_MAX];
};

void upstream_init(struct upstream *upstream, const struct config_upstream *config);

struct upstream_ask {
    uint32_t tried;       /* servers not to be chosen again, a bit each */
    uint32_t needs;       /* enum smtp_ext that the message cannot do without */
    uint32_t client_hash; /* for balance = hash */
    int64_t now_ms;
    const uint32_t
        *idle; /* pooled leases of this worker, per server: those need no new connection */
};

/*
 * The next server to try, by `balance` and weights: among the regular servers that are not down,
 * then among those marked `backup`, then among those that are down. A server at its `max` counts
 * only with a pooled lease. What is needed comes first: servers that are known to lack it are chosen
 * only when the whole group lacks it. -1: none.
 */
int upstream_choose(struct upstream *upstream, const struct upstream_ask *ask);

/* True when a server was passed over only because it is at its `max`: waiting may help. */
bool upstream_is_full(const struct upstream *upstream, const struct upstream_ask *ask);

/* True when a server that was not tried offers what is needed, or may do so: it was never asked. */
bool upstream_may_offer(const struct upstream *upstream, const struct upstream_ask *ask);

/*
 * The number of the server's present address; a connection to one of another number leads to where
 * the server was (upstream_has_moved). 0: the configured address; else *ret_found is it. Any thread,
 * never waits.
 */
uint32_t upstream_address(const struct upstream_server *server, struct upstream_found *ret_found);
bool upstream_has_moved(const struct upstream_server *server, uint32_t number);

/* Publishes another address (IPv4 or IPv6) of a server, from one thread at a time. What the old one
 * was punished for is forgotten; whether the new one is up, the next probe will tell. */
void upstream_move(struct upstream *upstream, struct upstream_server *server,
                   const struct config_address *address);

/* Takes a slot for one more connection; false at `max`. */
bool upstream_reserve(struct upstream_server *server);
void upstream_release(struct upstream_server *server);

/* What can be offered to clients: the intersection over the servers that are up and known (over the
 * known ones when all are down); *ret_size is the smallest SIZE, 0 for none. 0 extensions when
 * nothing is known yet. */
uint32_t upstream_extensions(struct upstream *upstream, uint64_t *ret_size);

/* True when each server has answered EHLO or has failed at least once. */
bool upstream_is_probed(const struct upstream *upstream);

bool upstream_is_down(const struct upstream_server *server);

/* Notes an attempt's outcome. True when this changed the server between up and down (the caller
 * logs it). */
bool upstream_note_up(struct upstream_server *server, uint32_t extensions, uint64_t size,
                      int64_t now_ms);
bool upstream_note_down(struct upstream *upstream, struct upstream_server *server);

/* A 421 where a command was answered, or (is_refusal false) any other reply: too many in a row
 * eject the server. */
bool upstream_note_reply(struct upstream *upstream, struct upstream_server *server, bool is_refusal,
                         int64_t now_ms);

/* Took too long: down, and for a while (check_interval, doubled with each time in a row) a probe
 * alone does not bring it back. */
bool upstream_eject(struct upstream *upstream, struct upstream_server *server, int64_t now_ms);

#endif
