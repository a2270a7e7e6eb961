/*
 * timer - one hashed timing wheel per loop.
 *
 * Deadlines are absolute milliseconds of the loop's clock. Most deadlines move further away long
 * before they are reached (every command of a session sets a new one), so setting a timer to a
 * later time only writes the deadline; the wheel finds out when the old slot comes up. A timer
 * fires at its deadline or up to TIMER_TICK_MS later, never earlier. Timers are embedded in their
 * owners; the wheel allocates nothing.
 */
#ifndef NET_TIMER_H
#define NET_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "net/list.h"

enum {
    TIMER_TICK_MS = 8,
    TIMER_SLOTS = 4096, /* power of two; 32.8 s a turn, later deadlines go round again */
};

struct timer;
typedef void timer_done(struct timer *timer);

struct timer {
    struct list_node node;
    int64_t deadline_ms; /* 0: not set */
    int64_t slot_ms;     /* the time its slot comes up; only the wheel uses it */
    timer_done *done;
};

struct timer_wheel {
    int64_t now_ms; /* everything up to here has fired */
    uint32_t count; /* timers that are linked */
    uint64_t busy[TIMER_SLOTS / 64];
    struct list_node slots[TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ms);

/* Must be called once before the first use of a timer. */
void timer_init(struct timer *timer);

static inline bool timer_is_set(const struct timer *timer)
{
    return timer->deadline_ms != 0;
}

/* Sets or moves the timer; `done` runs once, from timer_wheel_advance(). Moving it later is a
 * store. */
void timer_set(struct timer_wheel *wheel, struct timer *timer, int64_t deadline_ms,
               timer_done *done);

/* Harmless on a timer that is not set. */
void timer_stop(struct timer_wheel *wheel, struct timer *timer);

/* Runs the `done` of every timer whose deadline is <= now_ms. A `done` may set or stop any timer.
 */
void timer_wheel_advance(struct timer_wheel *wheel, int64_t now_ms);

/* A lower bound of the next deadline, in milliseconds from now_ms; -1 when no timer is set. */
int64_t timer_wheel_wait(const struct timer_wheel *wheel, int64_t now_ms);

#endif
