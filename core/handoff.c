/*
 * handoff - see core/handoff.h.
 *
 * The lost wake-up is the one thing to get wrong: the consumer says "I wait" and then looks again;
 * the producer puts and then looks whether somebody waits. Both pairs are sequentially consistent,
 * so one of the two sees the other.
 */
#include "core/handoff.h"

void handoff_init(struct handoff *handoff)
{
    atomic_init(&handoff->head, 0);
    atomic_init(&handoff->tail, 0);
    atomic_init(&handoff->is_waiting, 0);
    atomic_init(&handoff->held, 0);
}

bool handoff_put(struct handoff *handoff, const struct handoff_item *item, bool *ret_wake)
{
    uint32_t head = atomic_load_explicit(&handoff->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&handoff->tail, memory_order_acquire);
    *ret_wake = false;
    if (head - tail == HANDOFF_SIZE) {
        return false;
    }
    handoff->items[head % HANDOFF_SIZE] = *item;
    atomic_fetch_add_explicit(&handoff->held, 1, memory_order_relaxed);
    atomic_store(&handoff->head, head + 1);
    *ret_wake = atomic_exchange(&handoff->is_waiting, 0) != 0;
    return true;
}

bool handoff_get(struct handoff *handoff, struct handoff_item *ret_item)
{
    uint32_t tail = atomic_load_explicit(&handoff->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&handoff->head, memory_order_acquire);
    if (head == tail) {
        return false;
    }
    *ret_item = handoff->items[tail % HANDOFF_SIZE];
    atomic_store_explicit(&handoff->tail, tail + 1, memory_order_release);
    return true;
}

void handoff_done(struct handoff *handoff)
{
    atomic_fetch_sub_explicit(&handoff->held, 1, memory_order_relaxed);
}

uint32_t handoff_held(const struct handoff *handoff)
{
    return atomic_load_explicit(&handoff->held, memory_order_relaxed);
}

bool handoff_has(const struct handoff *handoff)
{
    return atomic_load_explicit(&handoff->head, memory_order_acquire) !=
           atomic_load_explicit(&handoff->tail, memory_order_relaxed);
}

bool handoff_may_wait(struct handoff *handoff)
{
    atomic_store(&handoff->is_waiting, 1);
    uint32_t tail = atomic_load_explicit(&handoff->tail, memory_order_relaxed);
    if (atomic_load(&handoff->head) == tail) {
        return true;
    }
    atomic_store(&handoff->is_waiting, 0);
    return false;
}

void handoff_awake(struct handoff *handoff)
{
    atomic_store(&handoff->is_waiting, 0);
}
