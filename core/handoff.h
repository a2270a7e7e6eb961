/*
 * handoff - how the acceptor gives connections to a worker: a bounded ring, one producer, one
 * consumer.
 *
 * No lock: the producer alone moves `head`, the consumer alone moves `tail`; each sits on a cache
 * line of its own. The consumer says when it is about to wait; only then does the producer need to
 * wake it (a wake is a system call, and at load most of them would find the worker awake).
 */
#ifndef CORE_HANDOFF_H
#define CORE_HANDOFF_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { HANDOFF_SIZE = 1024 }; /* connections waiting for one worker; a power of two */

/* An address of a client, without the room sockaddr_storage takes. */
union client_addr {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

struct handoff_item {
    int fd;
    uint32_t listener;
    union client_addr peer;
};

struct handoff {
    _Alignas(64) _Atomic uint32_t head;
    _Alignas(64) _Atomic uint32_t tail;
    _Alignas(64) _Atomic uint32_t is_waiting; /* the consumer is, or is about to be, asleep */
    _Alignas(64) _Atomic uint32_t held;       /* handed over and not yet ended */
    struct handoff_item items[HANDOFF_SIZE];
};

void handoff_init(struct handoff *handoff);

/* Producer. False when the ring is full. *ret_wake tells whether the consumer must be woken. */
bool handoff_put(struct handoff *handoff, const struct handoff_item *item, bool *ret_wake);

/* Consumer. False when the ring is empty. */
bool handoff_get(struct handoff *handoff, struct handoff_item *ret_item);

/* Consumer: a connection that it took has ended. */
void handoff_done(struct handoff *handoff);

/* Anybody. Connections in the ring and in the consumer's hands; a moment old. */
uint32_t handoff_held(const struct handoff *handoff);

/* Consumer. True when something waits in the ring. */
bool handoff_has(const struct handoff *handoff);

/* Consumer, before it waits: true when it may wait (the ring is empty and the producer will wake
 * it). */
bool handoff_may_wait(struct handoff *handoff);

/* Consumer, after it waited. */
void handoff_awake(struct handoff *handoff);

#endif
