/*
 * worker - see core/worker.h.
 *
 * A turn: what the acceptor handed over, one round of the loop, then the end of the turn, where
 * sessions and leases that are gone are freed (nobody on the stack can know them any more) and the
 * records go out in one write.
 */
#include "core/worker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "core/lease.h"
#include "core/session.h"
#include "core/transaction.h"

enum {
    WORKER_MAGIC = 0x574f524b,
    LEASES_SPARE = 64,                      /* for probes, and for leases that are still closing */
    HANDOFF_PER_TURN = 64,                  /* new connections in one turn (P6) */
    CHUNKS_PER_SESSION = 2 * STREAM_CHUNKS, /* client and upstream */
    CHUNKS_FOR_ENVELOPES = 4096,
    SWEEP_MS = 500,       /* how soon a worker takes notice of a server that went down */
    ID_COUNTER_BITS = 14, /* sessions a millisecond that a worker may start, on average */
    ID_WORKER_BITS = 6,
};

static void on_probe_timer(struct timer *timer);

static void on_wake(void *arg)
{
    (void)arg; /* the turn looks at the hand-off ring and the wanted phase by itself */
}

/* Milliseconds in front, so that the ids of a later process never repeat these; then a counter and
 * the worker. */
static uint64_t first_id(uint32_t index)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return (now_ms << (ID_COUNTER_BITS + ID_WORKER_BITS)) | index;
}

uint64_t worker_new_id(struct worker *worker)
{
    uint64_t id = worker->next_id;
    worker->next_id += 1u << ID_WORKER_BITS;
    return id;
}

uint32_t worker_op_count(const struct config *config, uint32_t session_max)
{
    return (session_max + LEASES_SPARE) * 5 + checker_op_count(config, session_max);
}

static int worker_init_pools(struct worker *worker, uint32_t session_max)
{
    uint32_t lease_max = session_max + LEASES_SPARE + CONFIG_UPSTREAMS_MAX;
    for (uint32_t i = 0; i < worker->config->upstream_count; i++) {
        lease_max += worker->config->upstreams[i].pool_idle;
    }
    int result = pool_init(&worker->sessions, sizeof(struct session), session_max);
    if (result == 0) {
        result = pool_init(&worker->transactions, sizeof(struct transaction), session_max);
    }
    if (result == 0) {
        result = pool_init(&worker->leases, sizeof(struct lease), lease_max);
    }
    if (result == 0) {
        uint32_t chunks = session_max * CHUNKS_PER_SESSION + lease_max + CHUNKS_FOR_ENVELOPES;
        result = pool_init(&worker->chunks, STREAM_CHUNK_SIZE, chunks);
    }
    return result;
}

int worker_create(struct worker **ret_worker, struct shared *shared, struct loop *loop,
                  struct handoff *handoff, uint32_t index, uint32_t session_max)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        return -ENOMEM;
    }
    worker->magic = WORKER_MAGIC;
    worker->index = index;
    worker->shared = shared;
    worker->config = shared->config;
    worker->loop = loop;
    worker->handoff = handoff;
    worker->next_id = first_id(index);
    list_init(&worker->session_list);
    list_init(&worker->gone);
    list_init(&worker->lease_list);
    list_init(&worker->lease_gone);
    for (uint32_t i = 0; i < CONFIG_UPSTREAMS_MAX; i++) {
        list_init(&worker->idle[i]);
        list_init(&worker->waiting[i]);
    }
    atomic_init(&worker->phase_wanted, WORKER_RUNNING);
    atomic_init(&worker->renewed, NULL);
    timer_init(&worker->probe_timer);
    timer_init(&worker->sweep_timer);
    loop_on_wake(loop, on_wake, worker);
    int result = worker_init_pools(worker, session_max);
    if (result == 0) {
        result = checker_create(&worker->checker, worker->config, loop, shared->zone, session_max);
    }
    if (result < 0) {
        free(worker); /* the process ends: the pools that exist end with it */
        return result;
    }
    *ret_worker = worker;
    return 0;
}

/* ---- credentials ---- */

void worker_set_credentials(struct worker *worker, const struct credentials *credentials)
{
    worker->credentials = *credentials;
}

struct credentials *worker_renew_credentials(struct worker *worker, struct credentials *credentials)
{
    struct credentials *unused = atomic_exchange(&worker->renewed, credentials);
    loop_wake(worker->loop);
    return unused;
}

static void worker_take_credentials(struct worker *worker)
{
    if (atomic_load_explicit(&worker->renewed, memory_order_relaxed) == NULL) {
        return;
    }
    struct credentials *renewed = atomic_exchange(&worker->renewed, NULL);
    if (renewed != NULL) {
        credentials_retire(&worker->credentials);
        worker->credentials = *renewed;
        free(renewed);
    }
}

void worker_destroy(struct worker **ref)
{
    struct worker *worker = *ref;
    if (worker == NULL) {
        return;
    }
    assert(list_is_empty(&worker->session_list));
    assert(list_is_empty(&worker->lease_list));
    worker_take_credentials(worker);
    credentials_retire(&worker->credentials);
    log_buffer_flush(&worker->log);
    checker_destroy(&worker->checker);
    pool_fini(&worker->sessions);
    pool_fini(&worker->transactions);
    pool_fini(&worker->leases);
    pool_fini(&worker->chunks);
    free(worker);
    *ref = NULL;
}

/* ---- probes: what the servers offer, and whether they are there ---- */

static void on_probe(struct lease *lease, void *owner)
{
    struct worker *worker = owner;
    if (lease_is_opening(lease)) {
        return;
    }
    worker->probes--;
    lease_return(&lease); /* READY: it says QUIT; LOST: it is dropped */
}

static void probe_upstream(struct worker *worker, struct upstream *upstream)
{
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        struct lease *lease = lease_probe(worker, upstream, i, on_probe, worker);
        if (lease == NULL) {
            continue; /* no room at the moment: the next round asks again */
        }
        worker->probes++;
        if (lease_is_lost(lease)) {
            on_probe(lease, worker);
        }
    }
}

void worker_start_probes(struct worker *worker)
{
    int64_t interval_ms = INT64_MAX;
    bool due = worker->probes == 0; /* else the last round is still waiting for a slow server */
    for (uint32_t i = 0; i < worker->config->upstream_count; i++) {
        struct upstream *upstream = &worker->shared->upstreams[i];
        if (upstream->config->check_interval_ms < interval_ms) {
            interval_ms = upstream->config->check_interval_ms;
        }
        if (due) {
            probe_upstream(worker, upstream);
        }
    }
    loop_timer_set(worker->loop, &worker->probe_timer, loop_now_ms(worker->loop) + interval_ms,
                   on_probe_timer);
}

static void on_probe_timer(struct timer *timer)
{
    struct worker *worker = list_entry(timer, struct worker, probe_timer);
    assert(worker->magic == WORKER_MAGIC);
    if (worker->phase == WORKER_RUNNING) {
        worker_start_probes(worker);
    }
}

/* ---- servers that went down or moved, as any thread may have found out ---- */

static void on_sweep_timer(struct timer *timer)
{
    struct worker *worker = list_entry(timer, struct worker, sweep_timer);
    assert(worker->magic == WORKER_MAGIC);
    for (uint32_t i = 0; i < worker->config->upstream_count; i++) {
        struct upstream *upstream = &worker->shared->upstreams[i];
        uint32_t changes = atomic_load(&upstream->changes);
        if (changes != worker->changes_seen[i]) {
            worker->changes_seen[i] = changes;
            lease_sweep(worker, upstream);
        }
    }
    loop_timer_set(worker->loop, timer, loop_now_ms(worker->loop) + SWEEP_MS, on_sweep_timer);
}

/* ---- phases ---- */

void worker_ask(struct worker *worker, enum worker_phase phase)
{
    atomic_store(&worker->phase_wanted, (uint32_t)phase);
    loop_wake(worker->loop);
}

static void worker_shut_sessions_down(struct worker *worker)
{
    struct list_node *node = worker->session_list.next;
    while (node != &worker->session_list) {
        struct session *session = list_entry(node, struct session, node);
        node = node->next; /* the session may leave the list */
        session_shut_down(session);
    }
}

static void worker_enter_phase(struct worker *worker, enum worker_phase phase)
{
    worker->phase = phase;
    loop_timer_stop(worker->loop, &worker->probe_timer);
    loop_timer_stop(worker->loop, &worker->sweep_timer);
    for (uint32_t i = 0; i < worker->config->upstream_count; i++) {
        lease_pool_close(worker, &worker->shared->upstreams[i]);
    }
    worker->drain_deadline_ms = loop_now_ms(worker->loop) + worker->config->drain_timeout_ms;
    worker_shut_sessions_down(worker);
}

static void worker_check_phase(struct worker *worker)
{
    enum worker_phase wanted =
        (enum worker_phase)atomic_load_explicit(&worker->phase_wanted, memory_order_acquire);
    if (worker->phase == WORKER_DRAINING &&
        loop_now_ms(worker->loop) >= worker->drain_deadline_ms) {
        wanted = WORKER_STOPPING;
    }
    if (wanted > worker->phase) {
        worker_enter_phase(worker, wanted);
    }
}

bool worker_is_done(const struct worker *worker)
{
    return checker_is_idle(&worker->checker) && worker->phase != WORKER_RUNNING &&
           list_is_empty(&worker->session_list) && list_is_empty(&worker->gone) &&
           list_is_empty(&worker->lease_list) && list_is_empty(&worker->lease_gone) &&
           !handoff_has(worker->handoff);
}

/* ---- turns ---- */

static bool worker_take_new(struct worker *worker)
{
    struct handoff_item item;
    for (int i = 0; i < HANDOFF_PER_TURN; i++) {
        if (!handoff_get(worker->handoff, &item)) {
            return false;
        }
        if (!session_start(worker, &item)) {
            atomic_fetch_sub_explicit(&worker->shared->sessions, 1, memory_order_relaxed);
            handoff_done(worker->handoff);
        }
    }
    return true;
}

static void worker_free_gone(struct worker *worker)
{
    struct list_node *node;
    while ((node = list_pop_front(&worker->gone)) != NULL) {
        session_free(list_entry(node, struct session, node));
    }
    while ((node = list_pop_front(&worker->lease_gone)) != NULL) {
        pool_put(&worker->leases, list_entry(node, struct lease, node));
    }
}

void worker_turn(struct worker *worker, int64_t wait_ms_max)
{
    assert(worker->magic == WORKER_MAGIC);
    worker_take_credentials(worker);
    bool more = worker_take_new(worker);
    worker_free_gone(worker);
    log_buffer_flush(&worker->log);
    if (more || !handoff_may_wait(worker->handoff)) {
        wait_ms_max = 0;
    }
    int result = loop_run_once(worker->loop, wait_ms_max);
    assert(result == 0 || result == -EINTR);
    handoff_awake(worker->handoff);
    worker_check_phase(worker);
    worker_free_gone(worker);
    if (worker->phase != WORKER_RUNNING && list_is_empty(&worker->session_list)) {
        checker_stop(&worker->checker);
    }
}

/* What costs is how often the kernel is entered and how many pieces it moves. */
static void worker_log_stats(const struct worker *worker)
{
    const struct loop_stats *stats = loop_stats(worker->loop);
    log_line(LEVEL_DEBUG,
             "worker %u: %llu turns, %llu enters, %llu receives, %llu sends, %llu starved",
             worker->index, (unsigned long long)stats->turns, (unsigned long long)stats->enters,
             (unsigned long long)stats->recvs, (unsigned long long)stats->sends,
             (unsigned long long)stats->starved);
}

void worker_start_sweeps(struct worker *worker)
{
    on_sweep_timer(&worker->sweep_timer);
}

void worker_run(struct worker *worker)
{
    while (!worker_is_done(worker)) {
        /* While draining the deadline must be seen even when nothing happens. */
        worker_turn(worker, worker->phase == WORKER_RUNNING ? -1 : 100);
    }
    log_buffer_flush(&worker->log);
    worker_log_stats(worker);
    checker_log_stats(&worker->checker, worker->index);
}
