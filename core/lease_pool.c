/*
 * lease_pool - leases between owners: taken, returned, waited for, swept (contract: core/lease.h).
 *
 * List is state: an idle lease is in the worker's idle list of its group, newest first; one that
 * waits for a connection to become free is in the waiting list, by seniority; every other one is in
 * lease_list.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "core/lease_priv.h"
#include "core/worker.h"

enum { WAIT_RETRY_MS = 25 }; /* other workers' connections become free without a word to us */

static uint32_t *idle_count_of(const struct lease *lease)
{
    return &lease->worker->idle_count[lease_group(lease)][lease->server];
}

static uint32_t idle_total(const struct worker *worker, const struct upstream *upstream)
{
    const uint32_t *counts = worker->idle_count[upstream - worker->shared->upstreams];
    uint32_t total = 0;
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        total += counts[i];
    }
    return total;
}

/* ---- taking ---- */

void lease_leave_pool(struct lease *lease)
{
    assert(lease->state == LEASE_IDLE);
    (*idle_count_of(lease))--;
    list_remove(&lease->node);
    list_push_back(&lease->worker->lease_list, &lease->node);
}

/* The newest pooled lease of this server that offers what is needed, or NULL. Those that lead to
 * where the server no longer is are not used again. */
static struct lease *idle_find(struct worker *worker, const struct lease_ask *ask, uint32_t server)
{
    struct list_node *head = &worker->idle[ask->upstream - worker->shared->upstreams];
    struct list_node *node = head->next;
    while (node != head) {
        struct lease *lease = list_entry(node, struct lease, node);
        node = node->next;
        if (lease->server != server) {
            continue;
        }
        if (lease_is_outdated(lease)) {
            lease_leave_pool(lease);
            lease_quit(lease);
        } else if ((ask->needs & ~lease->extensions) == 0) {
            return lease;
        }
    }
    return NULL;
}

/* The server whose turn it is, pooled leases considered; -1: none. */
static int choose(struct worker *worker, const struct lease_ask *ask)
{
    uint32_t group = (uint32_t)(ask->upstream - worker->shared->upstreams);
    return upstream_choose(ask->upstream, &(struct upstream_ask){
                                              .tried = ask->tried,
                                              .needs = ask->needs,
                                              .client_hash = ask->client_hash,
                                              .now_ms = loop_now_ms(worker->loop),
                                              .idle = ask->fresh ? NULL : worker->idle_count[group],
                                          });
}

/* What the owner asked for stays with the lease: it may have to look for a server again. */
static void keep_ask(struct lease *lease, const struct lease_ask *ask)
{
    lease->client_hash = ask->client_hash;
    lease->needs = ask->needs;
    lease->tried = ask->tried;
}

/* A pooled lease of this server, or NULL. */
static struct lease *idle_take(struct worker *worker, const struct lease_ask *ask, int server)
{
    struct lease *lease = server >= 0 ? idle_find(worker, ask, (uint32_t)server) : NULL;
    if (lease != NULL) {
        lease_leave_pool(lease);
        lease_enter(lease, LEASE_READY);
        lease_count_held(lease, true);
        lease->is_reused = true;
        keep_ask(lease, ask);
        loop_timer_stop(worker->loop, &lease->timer);
    }
    return lease;
}

struct lease *lease_take(struct worker *worker, const struct lease_ask *ask, lease_poke *poke,
                         void *owner)
{
    int server = choose(worker, ask);
    struct lease *lease = ask->fresh ? NULL : idle_take(worker, ask, server);
    if (lease != NULL) {
        lease->owner = owner;
        lease->poke = poke;
        return lease;
    }
    lease = lease_create(worker, ask->upstream, poke, owner);
    if (lease != NULL) {
        lease->is_pooled = true;
        keep_ask(lease, ask);
        lease_connect(lease, server);
    }
    return lease;
}

/* The ask of a lease's owner, for another lease instead of it. */
static struct lease_ask ask_of(const struct lease *lease)
{
    return (struct lease_ask){
        .upstream = lease->upstream, .client_hash = lease->client_hash, .needs = lease->needs};
}

bool lease_pass_on(struct lease **ref)
{
    struct lease *lease = *ref;
    struct worker *worker = lease->worker;
    struct lease_ask ask = ask_of(lease);
    void *owner = lease->owner;
    lease_poke *poke = lease->poke;
    assert(lease->state == LEASE_READY);
    ask.tried = lease->tried | 1u << lease->server;
    if (!upstream_may_offer(ask.upstream,
                            &(struct upstream_ask){.tried = ask.tried, .needs = ask.needs})) {
        return false;
    }
    lease_return(ref);
    *ref = lease_take(worker, &ask, poke, owner);
    return true;
}

/* ---- waiting for a connection to become free ---- */

void lease_wait(struct lease *lease)
{
    lease_enter(lease, LEASE_WAITING);
    if (!list_is_linked(&lease->waiting)) {
        list_push_back(&lease->worker->waiting[lease_group(lease)], &lease->waiting);
    }
    lease_set_deadline(lease, WAIT_RETRY_MS);
}

/* Time to look again: a pooled lease is the owner's to take, a free slot is ours to use. */
void lease_wait_over(struct lease *lease)
{
    if (idle_total(lease->worker, lease->upstream) > 0) {
        lease_set_deadline(lease, WAIT_RETRY_MS);
        lease->poke(lease, lease->owner);
        if (lease->state != LEASE_WAITING) {
            return;
        }
    }
    lease_enter(lease, LEASE_NEXT);
    lease_connect_next(lease);
    if (lease->state != LEASE_WAITING) {
        list_remove(&lease->waiting);
    }
    if (lease_is_lost(lease)) {
        lease->poke(lease, lease->owner);
    }
}

bool lease_exchange(struct lease **ref)
{
    struct lease *waiting = *ref;
    assert(waiting->state == LEASE_WAITING);
    struct lease_ask ask = ask_of(waiting);
    struct lease *lease = idle_take(waiting->worker, &ask, choose(waiting->worker, &ask));
    if (lease == NULL) {
        return false;
    }
    lease->owner = waiting->owner;
    lease->poke = waiting->poke;
    *ref = lease;
    lease_close(waiting);
    return true;
}

/* A connection has become free here: the senior of those who wait looks in the next turn. */
static void wake_waiting(struct worker *worker, uint32_t group)
{
    if (!list_is_empty(&worker->waiting[group])) {
        struct lease *lease = list_entry(worker->waiting[group].next, struct lease, waiting);
        lease_set_deadline(lease, 1);
    }
}

/* ---- the way back ---- */

static bool lease_may_be_pooled(const struct lease *lease)
{
    const struct worker *worker = lease->worker;
    const struct config_upstream *config = lease->upstream->config;
    int64_t age_ms = loop_now_ms(worker->loop) - lease->opened_ms;
    return lease->is_pooled && worker->phase == WORKER_RUNNING &&
           age_ms < config->pool_max_age_ms && !upstream_is_down(lease_server(lease)) &&
           !lease_is_outdated(lease) && idle_total(worker, lease->upstream) < config->pool_idle;
}

void lease_return(struct lease **ref)
{
    struct lease *lease = *ref;
    *ref = NULL;
    if (lease == NULL) {
        return;
    }
    struct worker *worker = lease->worker;
    uint32_t group = lease_group(lease);
    bool usable = lease->state == LEASE_READY && !lease->is_spent &&
                  !stream_has_unsent(&lease->stream) && stream_is_reading(&lease->stream);
    if (!usable) {
        lease_close(lease);
    } else if (!lease_may_be_pooled(lease)) {
        lease_quit(lease);
    } else {
        lease_forget_owner(lease);
        lease_enter(lease, LEASE_IDLE);
        lease_count_held(lease, false);
        lease_set_deadline(lease, lease->upstream->config->pool_idle_timeout_ms);
        list_remove(&lease->node);
        list_push_front(&worker->idle[group], &lease->node);
        (*idle_count_of(lease))++;
    }
    wake_waiting(worker, group);
}

void lease_drop(struct lease **ref)
{
    struct lease *lease = *ref;
    *ref = NULL;
    if (lease != NULL) {
        struct worker *worker = lease->worker;
        uint32_t group = lease_group(lease);
        lease_close(lease);
        wake_waiting(worker, group);
    }
}

void lease_pool_close(struct worker *worker, struct upstream *upstream)
{
    struct list_node *idle = &worker->idle[upstream - worker->shared->upstreams];
    while (!list_is_empty(idle)) {
        struct lease *lease = list_entry(idle->next, struct lease, node);
        lease_leave_pool(lease);
        lease_quit(lease);
    }
}

/* ---- a server went down, or has moved ---- */

static void sweep_idle(struct worker *worker, struct upstream *upstream)
{
    struct list_node *head = &worker->idle[upstream - worker->shared->upstreams];
    struct list_node *node = head->next;
    while (node != head) {
        struct lease *lease = list_entry(node, struct lease, node);
        node = node->next;
        if (upstream_is_down(lease_server(lease))) {
            lease_leave_pool(lease);
            lease_close(lease);
        } else if (lease_is_outdated(lease)) {
            lease_leave_pool(lease);
            lease_quit(lease);
        }
    }
}

/* Owed a reply that acknowledges nothing yet: another server can do the same. */
static bool is_replaceable(const struct lease *lease)
{
    return lease->state == LEASE_BUSY && lease->poke != NULL && !lease->is_probe &&
           lease->expect[0] <= EXPECT_RCPT;
}

void lease_sweep(struct worker *worker, struct upstream *upstream)
{
    sweep_idle(worker, upstream);
    struct list_node *node = worker->lease_list.next;
    while (node != &worker->lease_list) {
        struct lease *lease = list_entry(node, struct lease, node);
        node = node->next; /* the owner may give it back, which moves it to another list */
        if (lease->upstream == upstream && is_replaceable(lease) &&
            upstream_is_down(lease_server(lease))) {
            lease->is_ejected = true;
            lease_lose(lease, "its server is down", "");
            lease->poke(lease, lease->owner);
        }
    }
}
