/*
 * lease - one upstream connection, from connect(2) to the last reply; pooled between transactions.
 *
 *    NEXT --> CONNECTING --> GREETING --> EHLO (HELO) --> READY <--> BUSY (replies are owed)
 *     ^ ^         |             |            |              |          |
 *     | +---------+-------------+------------+ failed       |          | connection or protocol lost
 *     v     the next server is tried                        v          v
 *   WAITING (every server is at its max)                   IDLE       LOST (also: no server is left)
 *                                                  (in the pool) --> QUITTING --> CLOSING --> freed
 *
 * TLS comes between EHLO and a second EHLO, or in front of GREETING: see core/lease_tls.c.
 *
 * A lease is held by one owner (a session, the prober) or by the pool. The owner puts commands,
 * says which replies it expects, and takes the replies one by one in that order; a reply that
 * nobody expects loses the connection. The lease reads ahead of its owner at all times (a receive
 * in flight owns no buffer), so an idle connection that ends or speaks out of turn is noticed at
 * once.
 *
 * The owner's `poke` is called from the loop when there is something to look at: a state change, a
 * reply, drained output. It is never called inside a lease_* call, and never after lease_return()
 * or lease_drop().
 *
 * Deadlines: connect_timeout from connect to the EHLO reply, for each server; then RFC
 * 5321, 4.5.3.2 (with the hard budget of 590 s for the final reply).
 */
#ifndef CORE_LEASE_H
#define CORE_LEASE_H

#include "core/smtp_command.h"
#include "core/smtp_reply.h"
#include "core/upstream.h"
#include "net/stream.h"
#include "tls/tls.h"

struct worker;
struct lease;

enum lease_state {
    LEASE_NEXT,    /* between two servers */
    LEASE_WAITING, /* every server that could be used has its max connections */
    LEASE_CONNECTING,
    LEASE_GREETING,
    LEASE_EHLO,
    LEASE_HELO,
    LEASE_STARTTLS,
    LEASE_TLS, /* the handshake */
    LEASE_READY,
    LEASE_BUSY,
    LEASE_LOST,
    LEASE_IDLE,
    LEASE_QUITTING,
    LEASE_CLOSING,
    LEASE_STATE_COUNT
};

/* In this order: what acknowledges nothing, the recipients and all before them; the message. */
enum lease_expect { EXPECT_RSET, EXPECT_MAIL, EXPECT_RCPT, EXPECT_DATA, EXPECT_EOM, EXPECT_BDAT };

enum {
    LEASE_EXPECT_MAX = 16,
    LEASE_REASON_MAX = 200,
};

/* What an owner wants. */
struct lease_ask {
    struct upstream *upstream;
    uint32_t client_hash; /* for balance = hash */
    uint32_t needs;       /* enum smtp_ext that the message cannot do without */
    uint32_t tried;       /* servers not to be used, a bit each */
    bool fresh;           /* not from the pool */
};

typedef void lease_poke(struct lease *lease, void *owner);

struct lease {
    uint32_t magic;
    uint8_t state;   /* enum lease_state; written by lease_enter() alone */
    uint8_t server;  /* index into the group */
    bool is_spent;   /* it has said 421: it goes to nobody any more */
    bool is_held;    /* counted as active at its server */
    bool is_probe;   /* the prober's: counts for nothing and goes to its own server alone */
    bool is_full;    /* LOST because no connection became free in time */
    bool is_ejected; /* LOST because its server was found to be down */
    bool is_reused;  /* came from the pool: it may be dead without our knowing */
    bool needs_rset; /* the upstream is inside a transaction that we have given up */
    bool is_pooled;  /* may go back to the pool */
    bool falls_back; /* its handshake failed, and it will be tried without TLS */
    bool in_message; /* a message is under way: an early refusal may come */
    uint8_t expect_count;
    uint8_t expect[LEASE_EXPECT_MAX]; /* replies owed, oldest first */
    uint32_t extensions;              /* enum smtp_ext, of this server's EHLO reply */
    uint32_t tried;                   /* servers tried for this owner, a bit each */
    uint32_t plain; /* servers that have had their chance of TLS (opportunistic), a bit each */
    uint32_t transactions;
    uint32_t client_hash;
    uint32_t needs;
    uint32_t address_number; /* of upstream_address() */
    uint64_t size_max;
    int64_t opened_ms;
    int64_t ready_ms;
    struct worker *worker;
    struct upstream *upstream;
    void *owner;
    lease_poke *poke;
    struct list_node
        node; /* the pool's idle list, or the worker's list of leases that are held or quitting */
    struct list_node waiting; /* the worker's list of those who wait for a free connection */
    struct timer timer;
    struct tls tls;
    struct stream stream;
    char
        reason[LEASE_REASON_MAX]; /* why it is LOST: clean text without addresses, NUL-terminated */
    struct upstream_found found;  /* its address, unless that is the configured one */
};

/*
 * A lease for `owner`: from the pool (READY at once, unless `fresh`; it offers what is needed), else
 * a new connection (CONNECTING; poke follows). NULL when the worker has no room for another one.
 */
struct lease *lease_take(struct worker *worker, const struct lease_ask *ask, lease_poke *poke,
                         void *owner);

/*
 * For an owner whose lease is READY but lacks what is needed (the server's EHLO has changed): gives
 * it back and takes one of another server that may offer it, each server at most once. False, and
 * the lease stays, when there is none. True with NULL: no room.
 */
bool lease_pass_on(struct lease **lease);

/* For an owner whose lease is WAITING: exchanges it for a pooled one that has become free. False
 * when there is none. */
bool lease_exchange(struct lease **lease);

/* A server went down: leases that have had nothing acknowledged by it are LOST, so that another
 * server can do the work; pooled ones are closed. A server has moved: pooled ones say QUIT. */
void lease_sweep(struct worker *worker, struct upstream *upstream);

/* To one certain server, for the prober. */
struct lease *lease_probe(struct worker *worker, struct upstream *upstream, uint32_t server,
                          lease_poke *poke, void *owner);

static inline bool lease_is_opening(const struct lease *lease)
{
    return lease->state < LEASE_READY;
}

static inline bool lease_is_lost(const struct lease *lease)
{
    return lease->state == LEASE_LOST;
}

/* Adds bytes of a command to the next write; `expect` is the reply they will get. 0, or -ENOBUFS:
 * drop the lease. */
int lease_put(struct lease *lease, const char *data, uint32_t len)
    __attribute__((warn_unused_result));
void lease_expect(struct lease *lease, enum lease_expect expect);
/* Sends what was put, and starts the deadline of the oldest expected reply. */
void lease_flush(struct lease *lease);
/* Sends what was put of a message; its piece has the time of RFC 5321, 4.5.3.2.5. */
void lease_flush_message(struct lease *lease);
/* Sends a buffer of message body behind what was put; takes the buffer over. */
void lease_send_body(struct lease *lease, struct buf *buf);

/*
 * The next expected reply. 1: *ret_reply is it, its bytes are at lease_reply_bytes(), until
 * lease_reply_done(). 0: not complete yet, poke follows. Negative: the lease is LOST.
 */
int lease_reply(struct lease *lease, struct smtp_reply *ret_reply);
const char *lease_reply_bytes(const struct lease *lease);
static inline enum lease_expect lease_expected(const struct lease *lease)
{
    return (enum lease_expect)lease->expect[0];
}
/* `code` is the reply's: behind a 421 the connection is not used again. */
void lease_reply_done(struct lease *lease, uint32_t len, uint16_t code);

/* The 354 has come: from here to the next lease_expect() the upstream may interrupt with a refusal.
 */
void lease_begin_message(struct lease *lease);

/*
 * A reply in the middle of a message, when none is due: 1 with the reply when it is a complete 4xx
 * or 5xx, 0 when nothing has come, negative (and LOST) for anything else.
 */
int lease_early_reply(struct lease *lease, struct smtp_reply *ret_reply);

/* Gives the lease back after a transaction: to the pool, or it says QUIT. A lease that is LOST or
 * owes replies is dropped. Nulls the pointer, accepts NULL in it. */
void lease_return(struct lease **lease);

/* Cuts the connection off: what was sent so far must not become a message. Nulls the pointer,
 * accepts NULL in it. */
void lease_drop(struct lease **lease);

/* The address it was connected to, for records; lives as long as the lease. */
const char *lease_address(const struct lease *lease);

/* Closes every idle lease (shutdown), politely. */
void lease_pool_close(struct worker *worker, struct upstream *upstream);

#endif
