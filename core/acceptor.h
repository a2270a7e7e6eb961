/*
 * acceptor - the one thread that accepts: all listeners, to the worker with the fewest connections,
 * round-robin among equals.
 */
#ifndef CORE_ACCEPTOR_H
#define CORE_ACCEPTOR_H

#include "core/worker.h"

struct acceptor;

/*
 * Binds and listens on every [listen:NAME] bind (before privileges are dropped). 0, or -errno after
 * a line in the log that names the address and the remedy.
 */
int acceptor_create(struct acceptor **ret_acceptor, struct shared *shared)
    __attribute__((warn_unused_result));

/* Accepts until acceptor_stop(). The thread's main function. `workers` is borrowed until it
 * returns. */
void acceptor_run(struct acceptor *acceptor, struct worker *const *workers, uint32_t worker_count,
                  uint32_t session_max);

/* From any thread: acceptor_run() returns soon. */
void acceptor_stop(struct acceptor *acceptor);

/* Closes the listeners. Nulls the pointer, accepts NULL in it. */
void acceptor_destroy(struct acceptor **acceptor);

#endif
