/*
 * worker - one thread: a loop, the pools, the sessions and the leases that live on it.
 *
 * Everything hangs off this struct; two workers share only what design section 4 lists: the
 * immutable configuration, the hand-off rings, the upstream groups' atomic words and the counters.
 * worker_create() needs no thread: tests run a worker on the simulated loop.
 */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H

#include <stdatomic.h>

#include "core/checker.h"
#include "core/config.h"
#include "core/credentials.h"
#include "core/handoff.h"
#include "core/log.h"
#include "core/upstream.h"
#include "net/loop.h"
#include "net/pool.h"

struct session;

/* What all workers and the acceptor share. */
struct shared {
    const struct config *config;
    struct upstream upstreams[CONFIG_UPSTREAMS_MAX];
    const struct dns_zone *zone; /* answered first, or NULL */
    _Atomic uint32_t sessions;   /* handed over and not yet gone */
};

enum worker_phase { WORKER_RUNNING, WORKER_DRAINING, WORKER_STOPPING };

struct worker {
    uint32_t magic;
    uint32_t index;
    const struct config *config;
    struct shared *shared;
    struct loop *loop;
    struct handoff *handoff;
    struct pool sessions;
    struct pool transactions;
    struct pool leases;
    struct pool chunks;
    struct checker checker;
    struct list_node session_list;
    struct list_node gone;       /* sessions to be freed at the end of the turn */
    struct list_node lease_list; /* leases that are held, quitting or closing */
    struct list_node lease_gone;
    struct list_node idle[CONFIG_UPSTREAMS_MAX]; /* pooled leases, the newest first */
    uint32_t idle_count[CONFIG_UPSTREAMS_MAX][CONFIG_SERVERS_MAX];
    struct list_node
        waiting[CONFIG_UPSTREAMS_MAX]; /* leases that wait for a free connection, by seniority */
    uint32_t changes_seen[CONFIG_UPSTREAMS_MAX]; /* upstream.changes at the last sweep */
    struct timer sweep_timer;
    enum worker_phase phase;
    _Atomic uint32_t phase_wanted; /* set from the main thread, then loop_wake() */
    uint64_t next_id;
    int64_t drain_deadline_ms;
    struct timer probe_timer;
    uint32_t probes;                       /* probes in flight */
    struct credentials credentials;        /* owned */
    _Atomic(struct credentials *) renewed; /* made by the main thread, to be taken over; or NULL */
    struct log_buffer log;
};

/*
 * Builds a worker on `loop` (borrowed; created with at least worker_op_count() ops). `session_max`
 * bounds the sessions on this worker. 0, or -errno.
 */
int worker_create(struct worker **ret_worker, struct shared *shared, struct loop *loop,
                  struct handoff *handoff, uint32_t index, uint32_t session_max)
    __attribute__((warn_unused_result));

/* Every session and lease must be gone (assert). */
void worker_destroy(struct worker **worker);

/* Ops in flight that `session_max` sessions, their leases and their checks can need. */
uint32_t worker_op_count(const struct config *config, uint32_t session_max);

/* One turn: new connections, loop, ends of turn. */
void worker_turn(struct worker *worker, int64_t wait_ms_max);

/* True once a worker that drains has nothing left. */
bool worker_is_done(const struct worker *worker);

/* Runs turns until the worker is done. The thread's main function. */
void worker_run(struct worker *worker);

/* Before the first turn: the worker owns the contexts from now on. */
void worker_set_credentials(struct worker *worker, const struct credentials *credentials);

/* From another thread: the worker takes them over (heap memory and contexts) in its next turn, and
 * lets go of those it has. Those that came between and were never used are given back, or NULL. */
struct credentials *worker_renew_credentials(struct worker *worker,
                                             struct credentials *credentials);

/* From another thread. */
void worker_ask(struct worker *worker, enum worker_phase phase);

/* Starts asking the upstream groups what they offer, now and every check_interval. One worker does
 * this. */
void worker_start_probes(struct worker *worker);

/* Starts looking, twice a second, whether a server went down or moved. Each worker does this. */
void worker_start_sweeps(struct worker *worker);

/* A unique id for a session of this process and of later ones. */
uint64_t worker_new_id(struct worker *worker);

#endif
