/*
 * dns_client_priv - what the two halves of the client share: dns_client.c (questions, zone, cache,
 * coalescing) and dns_lookup.c (one question on its way to the servers). Nobody else includes it.
 */
#ifndef NET_DNS_CLIENT_PRIV_H
#define NET_DNS_CLIENT_PRIV_H

#include "net/dns_cache.h"
#include "net/dns_client.h"
#include "net/dns_message.h"
#include "net/dns_server.h"
#include "net/dns_zone.h"
#include "net/loop.h"
#include "net/pool.h"

enum {
    DNS_TABLE_SIZE = 256,   /* buckets of lookups under way */
    DNS_ALIASES_MAX = 8,    /* further questions that CNAMEs lead to */
    DNS_STRANGERS_MAX = 16, /* answers to something else, in one wait: an attack */
    DNS_STREAMS_MAX = 64,   /* lookups by TCP at once */
    DNS_PREFIX_LEN = 2,     /* the length in front of a message by TCP */
    DNS_DICE_POOL = 256,    /* what one getrandom(2) gives without exception */
};

/*
 *      CONNECT --> WAIT --> CLOSE --+--> (socket closed) another message, or the end
 *         |                  ^      |
 *         +------------------+      |
 *         ^-------------------------+
 */
enum dns_lookup_state { LOOKUP_NEW, LOOKUP_CONNECT, LOOKUP_WAIT, LOOKUP_CLOSE };

/* What follows once the socket is closed. */
enum dns_lookup_next {
    NEXT_SERVER, /* the next server that was not tried */
    NEXT_FORM,   /* the same server, by TCP or without EDNS */
    NEXT_END,    /* all is said */
};

struct dns_lookup {
    uint32_t magic;
    uint8_t state; /* enum dns_lookup_state; written by lookup_enter() */
    uint8_t next;  /* enum dns_lookup_next */
    uint8_t server;
    bool is_tcp;
    bool has_edns;
    bool was_silent; /* a server of this round did not answer in time */
    bool is_over;    /* answered or given up: not in the table any more */
    uint16_t type;
    uint16_t ask_len; /* without the prefix */
    uint32_t tried;   /* bits of servers, in this round */
    uint32_t rounds;  /* done */
    uint32_t aliases; /* followed by asking again */
    uint32_t strangers;
    uint32_t ttl_s; /* of the CNAMEs followed by asking again */
    uint32_t stream_len;
    int fd;
    const char *reason; /* of the last trouble */
    int64_t deadline_ms;
    struct dns_client *client;
    struct list_node table;
    struct list_node all;
    struct list_node waiters; /* dns_query.node */
    struct dns_name question; /* what the waiters asked for */
    struct dns_name name;     /* where CNAMEs have led */
    struct op rx;             /* connect, then receive */
    struct op tx;
    struct timer timer;
    uint8_t *stream; /* what came by TCP */
    uint8_t ask[DNS_PREFIX_LEN + DNS_ASK_MAX];
};

struct dns_client {
    struct dns dns; /* first: a struct dns is a struct dns_client */
    uint32_t magic;
    bool is_stopping;
    struct loop *loop;
    struct dns_client_conf conf;
    struct dns_servers servers;
    struct dns_client_stats stats;
    struct list_node due; /* questions just asked */
    struct op post;
    struct list_node table[DNS_TABLE_SIZE];
    struct list_node all; /* every lookup, those about to end included */
    struct pool lookups;
    struct pool streams;
    struct dns_cache cache;
    struct dns_message message; /* the answer that is being read or given */
    uint32_t dice_used;
    uint8_t dice[DNS_DICE_POOL];
};

/* Unpredictable octets, at most DNS_DICE_POOL. */
void client_throw(struct dns_client *client, uint8_t *out, uint32_t len);

/* Starts asking the servers; its waiters may be answered at once. `lookup` is in the table and in the
 * list of all. */
void lookup_start(struct dns_lookup *lookup);

/* Nobody waits any more and nobody will: closes what is open and gives the lookup back. */
void lookup_abandon(struct dns_lookup *lookup);

/* From dns_lookup.c: the answer, once per lookup; takes it out of the table. */
void client_answered(struct dns_client *client, struct dns_lookup *lookup,
                     struct dns_answer *answer, bool may_keep);

#endif
