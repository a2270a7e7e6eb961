/*
 * sink_listener - one address weir-sink listens on.
 *
 * Accepts while there is room for a session; otherwise, and when the system is out of descriptors
 * or memory, connections wait in the kernel's queue. Used on the loop's thread.
 */
#ifndef BENCH_SINK_LISTENER_H
#define BENCH_SINK_LISTENER_H

#include "bench/sink.h"

enum { SINK_LISTENER_NAME_MAX = 128 };

struct sink_listener {
    uint32_t magic;
    int fd;
    bool stopped;
    struct sink *sink; /* borrowed */
    struct op op;
    struct timer timer;                /* after an error */
    char name[SINK_LISTENER_NAME_MAX]; /* the address as it is, its port included */
};

/* Binds "127.0.0.1:2626", "[::1]:2626" or "unix:/path" and listens. Port 0 takes a free one. 0 or
 * -errno; -EINVAL for text that is no address. */
int sink_listener_open(struct sink_listener *listener, const char *address)
    __attribute__((warn_unused_result));

void sink_listener_start(struct sink_listener *listener, struct sink *sink);

/* Accepts again if there was no room and there is now. Harmless otherwise. */
void sink_listener_resume(struct sink_listener *listener);

/* Stops accepting; the operation ends some turns later. */
void sink_listener_stop(struct sink_listener *listener);

static inline bool sink_listener_is_idle(const struct sink_listener *listener)
{
    return op_is_idle(&listener->op);
}

/* Closes; the listener must be idle, or never started. */
void sink_listener_close(struct sink_listener *listener);

#endif
