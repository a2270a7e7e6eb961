/*
 * sink - what all sessions of one weir-sink share.
 *
 * Made by bench/weir_sink.c, used by one thread. The loop's turn ends with sink_turn_end(), which
 * commits the journal and releases the sessions that have ended.
 */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H

#include "bench/sink_journal.h"
#include "bench/sink_offer.h"
#include "bench/sink_rules.h"
#include "net/loop.h"
#include "net/pool.h"

struct sink_counts {
    uint64_t connections;
    uint64_t sessions_now;
    uint64_t messages; /* answered with 2xx */
    uint64_t bytes;    /* of their content */
    uint64_t commands;
    uint64_t refused; /* commands and messages that broke the protocol, whatever they were answered;
                         not what -m or -e made the sink refuse */
};

struct sink {
    struct loop *loop;
    struct sink_offer offer;
    struct sink_rules rules;
    struct sink_counts counts;
    struct sink_journal *journal; /* NULL: messages are only counted */
    bool names_addresses;         /* -a: replies repeat the address that they are about */
    struct pool sessions;
    struct pool chunks;
    struct list_node live; /* sessions */
    struct list_node gone; /* sessions to be released at the end of the turn */
    uint64_t random;       /* of garbage; the same in each run */
};

/* `session_count` sessions at once; the loop, the offer, the rules and the journal are the
 * caller's. 0 or -errno. */
int sink_init(struct sink *sink, uint32_t session_count) __attribute__((warn_unused_result));

/* No session may be left (assert). */
void sink_fini(struct sink *sink);

/* No room for another session. */
bool sink_is_full(const struct sink *sink);

/* Commits the journal and releases the sessions that have ended. */
void sink_turn_end(struct sink *sink);

/* Ends every session; the last ones are gone some turns later. */
void sink_stop_sessions(struct sink *sink);

#endif
