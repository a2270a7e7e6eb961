/*
 * timer - see net/timer.h.
 *
 * Slot k of tick t (t mod TIMER_SLOTS == k) comes up when the clock reaches t * TIMER_TICK_MS.
 * Deadlines are rounded up to a tick, so nothing fires early; those further away than one turn of
 * the wheel go into the furthest slot and are put back when it comes up. A bitmap of slots that
 * hold something makes both looking for the next one and a long jump of the clock cheap.
 */
#include "net/timer.h"

#include <assert.h>

_Static_assert((TIMER_SLOTS & (TIMER_SLOTS - 1)) == 0, "a slot is found by masking");

static uint32_t slot_of_tick(int64_t tick)
{
    return (uint32_t)((uint64_t)tick & (TIMER_SLOTS - 1));
}

static void busy_set(struct timer_wheel *wheel, uint32_t slot)
{
    wheel->busy[slot / 64] |= UINT64_C(1) << (slot % 64);
}

static void busy_clear(struct timer_wheel *wheel, uint32_t slot)
{
    wheel->busy[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

/* The first tick from `tick` to `tick_max` whose slot holds something; tick_max + 1 if none does.
 */
static int64_t next_busy_tick(const struct timer_wheel *wheel, int64_t tick, int64_t tick_max)
{
    while (tick <= tick_max) {
        uint32_t slot = slot_of_tick(tick);
        uint64_t bits = wheel->busy[slot / 64] >> (slot % 64);
        if (bits != 0) {
            tick += __builtin_ctzll(bits);
            return tick <= tick_max ? tick : tick_max + 1;
        }
        tick += 64 - slot % 64;
    }
    return tick_max + 1;
}

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ms)
{
    assert(now_ms >= 0);
    wheel->now_ms = now_ms;
    wheel->count = 0;
    for (uint32_t i = 0; i < TIMER_SLOTS / 64; i++) {
        wheel->busy[i] = 0;
    }
    for (uint32_t i = 0; i < TIMER_SLOTS; i++) {
        list_init(&wheel->slots[i]);
    }
}

void timer_init(struct timer *timer)
{
    *timer = (struct timer){0};
    list_init(&timer->node);
}

/* Puts an unlinked timer where its deadline, or the furthest slot before it, comes up. */
static void timer_link(struct timer_wheel *wheel, struct timer *timer)
{
    int64_t first = wheel->now_ms / TIMER_TICK_MS + 1;
    int64_t last = first + TIMER_SLOTS - 2;
    int64_t tick = timer->deadline_ms / TIMER_TICK_MS;
    if (tick * TIMER_TICK_MS < timer->deadline_ms) {
        tick++;
    }
    if (tick < first) {
        tick = first;
    } else if (tick > last) {
        tick = last;
    }
    timer->slot_ms = tick * TIMER_TICK_MS;
    list_push_back(&wheel->slots[slot_of_tick(tick)], &timer->node);
    busy_set(wheel, slot_of_tick(tick));
    wheel->count++;
}

static void timer_unlink(struct timer_wheel *wheel, struct timer *timer)
{
    if (!list_is_linked(&timer->node)) {
        return;
    }
    assert(wheel->count > 0);
    list_remove(&timer->node);
    wheel->count--;
    uint32_t slot = slot_of_tick(timer->slot_ms / TIMER_TICK_MS);
    if (list_is_empty(&wheel->slots[slot])) {
        busy_clear(wheel, slot);
    }
}

void timer_set(struct timer_wheel *wheel, struct timer *timer, int64_t deadline_ms,
               timer_done *done)
{
    assert(deadline_ms > 0);
    assert(done != NULL);
    timer->deadline_ms = deadline_ms;
    timer->done = done;
    if (list_is_linked(&timer->node) && timer->slot_ms <= deadline_ms) {
        return; /* found out when the slot comes up */
    }
    timer_unlink(wheel, timer);
    timer_link(wheel, timer);
}

void timer_stop(struct timer_wheel *wheel, struct timer *timer)
{
    timer->deadline_ms = 0;
    timer_unlink(wheel, timer);
}

/* Fires or puts back every timer of a slot that has come up. */
static void slot_advance(struct timer_wheel *wheel, uint32_t slot, int64_t now_ms)
{
    struct list_node due;
    list_init(&due);
    list_splice_back(&due, &wheel->slots[slot]);
    busy_clear(wheel, slot);
    while (!list_is_empty(&due)) {
        struct timer *timer = list_entry(list_pop_front(&due), struct timer, node);
        wheel->count--;
        if (timer->deadline_ms > now_ms) {
            timer_link(wheel, timer);
            continue;
        }
        timer->deadline_ms = 0;
        timer->done(timer);
    }
}

void timer_wheel_advance(struct timer_wheel *wheel, int64_t now_ms)
{
    assert(now_ms >= wheel->now_ms);
    int64_t tick = wheel->now_ms / TIMER_TICK_MS + 1;
    int64_t tick_max = now_ms / TIMER_TICK_MS;
    wheel->now_ms = now_ms; /* what a `done` sets goes behind all that is looked at here */
    if (tick_max - tick >= TIMER_SLOTS) {
        tick = tick_max - TIMER_SLOTS + 1; /* one turn sees every slot */
    }
    if (wheel->count == 0) {
        return;
    }
    for (tick = next_busy_tick(wheel, tick, tick_max); tick <= tick_max;
         tick = next_busy_tick(wheel, tick + 1, tick_max)) {
        slot_advance(wheel, slot_of_tick(tick), now_ms);
    }
}

int64_t timer_wheel_wait(const struct timer_wheel *wheel, int64_t now_ms)
{
    if (wheel->count == 0) {
        return -1;
    }
    int64_t first = wheel->now_ms / TIMER_TICK_MS + 1;
    int64_t tick = next_busy_tick(wheel, first, first + TIMER_SLOTS - 1);
    assert(tick < first + TIMER_SLOTS); /* a linked timer is in a busy slot */
    int64_t wait_ms = tick * TIMER_TICK_MS - now_ms;
    return wait_ms > 0 ? wait_ms : 0;
}
