/*
 * resolver - looks the names of upstream servers up again, in a thread of its own.
 *
 * getaddrinfo(3) may wait for long, so no worker calls it. Each server that the configuration gives
 * by name is looked up every check_interval, at least RESOLVER_INTERVAL_MIN_MS after the last answer;
 * one name at a time. What a look-up comes to:
 *
 *    the present address is among the answers   nothing changes (their order may, without effect)
 *    it is not                                  the first one is published (upstream_move), and told
 *    the look-up fails                          the present address stays; told once, not each time
 *
 * The configuration's own look-up, at start-up, is the first one and must succeed.
 */
#ifndef CORE_RESOLVER_H
#define CORE_RESOLVER_H

#include <pthread.h>

#include "core/config_value.h"
#include "core/upstream.h"

enum {
    RESOLVER_INTERVAL_MIN_MS = 1000,
    RESOLVER_STOP_MS = 100, /* how long resolver_stop() waits for a look-up */
    RESOLVER_ANSWERS_MAX = 32,
    RESOLVER_NAMES_MAX = CONFIG_UPSTREAMS_MAX * CONFIG_SERVERS_MAX,
};

/* config_server_look_up() (core/config_address.h) or a test's: how many addresses, or negative and
 * *why. `name` is the caller's copy. */
typedef int resolver_look_up(const char *name, struct config_address *ret_addresses, uint32_t max,
                             struct config_why *why);

struct resolver_name {
    struct upstream *upstream;
    struct upstream_server *server;
    int64_t due_ms;
    bool is_failing; /* the last look-up failed, and this has been told */
};

struct resolver {
    resolver_look_up *look_up;
    pthread_t thread;
    pthread_mutex_t lock; /* over what follows and the right to touch the upstreams */
    pthread_cond_t changed;
    bool is_started;
    bool is_stopping;
    bool has_ended;
    uint32_t count;
    struct resolver_name names[RESOLVER_NAMES_MAX];
};

/*
 * Starts the thread, unless no server has a name. `upstreams` (initialised) and their configuration
 * are borrowed until resolver_stop(), *resolver until the thread has ended: give it static memory.
 * 0, or -errno.
 */
int resolver_start(struct resolver *resolver, struct upstream *upstreams, uint32_t upstream_count,
                   resolver_look_up *look_up) __attribute__((warn_unused_result));

/*
 * Nothing of the upstreams is touched and nothing logged from here on. True when the thread has
 * ended; false when it hangs in a look-up: then it is left alone and ends when that returns. Accepts
 * a resolver that was never started.
 */
bool resolver_stop(struct resolver *resolver);

/* What a look-up of `name` came to; `count` and `why` are its results. The thread's, and tests'. */
void resolver_judge(struct resolver_name *name, const struct config_address *answers, int count,
                    const struct config_why *why);

#endif
