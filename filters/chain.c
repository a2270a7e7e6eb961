/*
 * chain - see filters/chain.h.
 *
 *    IDLE --(phase `begins`)--> RUNNING --(filter_done)--> DONE
 *                                  |                         ^
 *                                  +------(deadline: give_up)-+
 */
#include "filters/chain.h"

#include <assert.h>
#include <string.h>

#include "filters/checks.h"

enum { CHAIN_MAGIC = 0x43484149, ALIGNMENT = 16 };

enum run_state { RUN_IDLE, RUN_RUNNING, RUN_DONE };

/* In the order of the record. */
static const struct {
    const struct filter *filter;
    enum chain_scope scope;
} rows[] = CHECK_ROWS;

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };
_Static_assert((int)ROW_COUNT <= (int)CHAIN_FILTERS_MAX, "a chain holds them all");

static void on_deadline(struct timer *timer);

static void run_enter(struct filter_run *run, enum run_state state)
{
    run->state = (uint8_t)state;
}

static size_t rounded(size_t size)
{
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t chain_size(enum chain_scope scope)
{
    size_t size = sizeof(struct chain);
    for (int i = 0; i < ROW_COUNT; i++) {
        size += rows[i].scope == scope ? rounded(rows[i].filter->size) : 0;
    }
    return size;
}

bool chain_is_needed(enum chain_scope scope, const struct facts *facts)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        if (rows[i].scope == scope && rows[i].filter->action(facts) != ACTION_OFF) {
            return true;
        }
    }
    return false;
}

void chain_init(struct chain *chain, enum chain_scope scope, struct loop *loop,
                const struct facts *facts, chain_done *done, void *owner)
{
    char *memory = chain->memory;
    *chain = (struct chain){
        .magic = CHAIN_MAGIC,
        .scope = (uint8_t)scope,
        .phase = PHASE_COUNT,
        .awaited = PHASE_COUNT,
        .facts = *facts,
        .loop = loop,
        .done = done,
        .owner = owner,
    };
    timer_init(&chain->timer);
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct filter *filter = rows[i].filter;
        if (rows[i].scope != scope || filter->action(facts) == ACTION_OFF) {
            continue;
        }
        chain->runs[chain->count++] = (struct filter_run){
            .filter = filter,
            .chain = chain,
            .facts = &chain->facts,
            .memory = memory,
        };
        memory += rounded(filter->size);
    }
}

/* ---- what is done, and what follows ---- */

/* True when no check of this chain that it needs is still at work. */
static bool has_needed(const struct chain *chain, const struct filter *filter)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct filter_run *run = &chain->runs[i];
        for (const struct filter *const *need = filter->after; need != NULL && *need; need++) {
            if (run->filter == *need && run->state != RUN_DONE) {
                return false;
            }
        }
    }
    return true;
}

static bool is_concludable(const struct chain *chain, const struct filter_run *run)
{
    return run->state == RUN_RUNNING && run->filter->conclude != NULL &&
           chain->phase == PHASE_EOM && has_needed(chain, run->filter);
}

/* Checks that were waiting for others; each may be what the next one waits for. */
static void conclude(struct chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        struct filter_run *run = &chain->runs[i];
        if (is_concludable(chain, run) && !run->is_concluded) {
            run->is_concluded = true;
            run->filter->conclude(run);
        }
    }
}

static bool is_complete(const struct chain *chain, enum filter_phase phase)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct filter_run *run = &chain->runs[i];
        if (run->filter->due <= phase && run->state != RUN_DONE) {
            return false;
        }
    }
    return true;
}

static void tell_owner(struct chain *chain)
{
    if (chain->awaited != PHASE_COUNT && is_complete(chain, (enum filter_phase)chain->awaited)) {
        chain->awaited = PHASE_COUNT;
        loop_timer_stop(chain->loop, &chain->timer);
        chain->done(chain);
    }
}

void filter_done(struct filter_run *run)
{
    struct chain *chain = run->chain;
    assert(chain->magic == CHAIN_MAGIC);
    assert(run->state == RUN_RUNNING);
    run_enter(run, RUN_DONE);
    if (chain->is_in_call) {
        return;
    }
    chain->is_in_call = true;
    conclude(chain);
    chain->is_in_call = false;
    tell_owner(chain);
}

/* ---- the deadline ---- */

static void give_up(struct filter_run *run)
{
    run->filter->cancel(run);
    run->filter->give_up(run);
    run_enter(run, RUN_DONE);
}

/* What is due and not known by now counts as temperror; those that wait for others conclude from what
 * there is. */
static void end_late(struct chain *chain, enum filter_phase phase)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        struct filter_run *run = &chain->runs[i];
        bool is_due = run->state == RUN_RUNNING && run->filter->due <= phase;
        if (is_due && run->filter->conclude == NULL) {
            give_up(run);
        }
    }
    conclude(chain);
    for (uint32_t i = 0; i < chain->count; i++) {
        struct filter_run *run = &chain->runs[i];
        if (run->state == RUN_RUNNING && run->filter->due <= phase) {
            give_up(run);
        }
    }
}

/* ---- the owner's calls ---- */

static void run_start(struct filter_run *run)
{
    run_enter(run, RUN_RUNNING);
    run->filter->start(run);
}

void chain_reach(struct chain *chain, enum filter_phase phase)
{
    assert(chain->magic == CHAIN_MAGIC);
    assert(chain->phase == PHASE_COUNT || phase > chain->phase);
    chain->phase = (uint8_t)phase;
    chain->is_in_call = true;
    for (uint32_t i = 0; i < chain->count; i++) {
        struct filter_run *run = &chain->runs[i];
        if (run->state == RUN_IDLE && run->filter->begins <= phase) {
            run_start(run);
        }
        if (phase == PHASE_EOM && run->state == RUN_RUNNING && run->filter->end != NULL) {
            run->filter->end(run);
        }
    }
    conclude(chain);
    chain->is_in_call = false;
}

void chain_feed(struct chain *chain, const char *bytes, uint32_t len)
{
    assert(chain->magic == CHAIN_MAGIC);
    chain->is_in_call = true;
    for (uint32_t i = 0; i < chain->count; i++) {
        struct filter_run *run = &chain->runs[i];
        if (run->state == RUN_RUNNING && run->filter->feed != NULL) {
            run->filter->feed(run, bytes, len);
        }
    }
    chain->is_in_call = false;
}

uint32_t chain_take(struct chain *chain, struct header *header, const char *bytes, uint32_t len)
{
    uint32_t taken = 0;
    if (!header->is_complete) {
        taken = header_feed(header, bytes, len);
        if (header->is_complete) {
            chain_reach(chain, PHASE_HEADER);
        }
    }
    if (taken < len) {
        chain_feed(chain, bytes + taken, len - taken);
    }
    return taken;
}

void chain_take_end(struct chain *chain, struct header *header)
{
    if (!header->is_complete) {
        header_end(header);
        chain_reach(chain, PHASE_HEADER);
    }
    chain_reach(chain, PHASE_EOM);
}

bool chain_await(struct chain *chain, enum filter_phase phase, int64_t deadline_ms)
{
    assert(chain->magic == CHAIN_MAGIC);
    if (is_complete(chain, phase)) {
        chain->awaited = PHASE_COUNT;
        loop_timer_stop(chain->loop, &chain->timer);
        return true;
    }
    chain->awaited = (uint8_t)phase;
    loop_timer_set(chain->loop, &chain->timer, deadline_ms, on_deadline);
    return false;
}

void chain_judge(const struct chain *chain, enum filter_phase phase, struct verdict *ret_verdict)
{
    *ret_verdict = (struct verdict){.action = ACTION_REPORT};
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct filter_run *run = &chain->runs[i];
        struct verdict verdict = {.action = ACTION_REPORT};
        if (run->state != RUN_DONE || run->filter->due > phase) {
            continue;
        }
        run->filter->judge(run, &verdict);
        if (verdict.action > ret_verdict->action) {
            verdict.decided_by = run->filter->name;
            *ret_verdict = verdict;
        }
    }
}

void chain_cancel(struct chain *chain)
{
    assert(chain->magic == CHAIN_MAGIC);
    loop_timer_stop(chain->loop, &chain->timer);
    for (uint32_t i = 0; i < chain->count; i++) {
        struct filter_run *run = &chain->runs[i];
        if (run->state == RUN_RUNNING) {
            run->filter->cancel(run);
            run_enter(run, RUN_DONE);
        }
    }
    chain->awaited = PHASE_COUNT;
    chain->magic = 0;
}

static void on_deadline(struct timer *timer)
{
    struct chain *chain = list_entry(timer, struct chain, timer);
    assert(chain->magic == CHAIN_MAGIC);
    chain->is_in_call = true;
    end_late(chain, (enum filter_phase)chain->awaited);
    chain->is_in_call = false;
    tell_owner(chain);
}
