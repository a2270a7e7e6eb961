/*
 * weir_world - a whole worker on the simulated loop, with a configuration made in memory.
 *
 * The code under test is the real one from the hand-off ring to the lease; only sockets and time
 * are simulated. Clients and upstreams are actors: they read and write their ends of the
 * connections between turns (test/loop_sim.h).
 */
#ifndef TEST_WEIR_WORLD_H
#define TEST_WEIR_WORLD_H

#include "core/worker.h"
#include "test/loop_sim.h"

struct session;

struct weir {
    struct sim *sim;
    struct loop *loop;
    struct worker *worker;
    struct config config;
    struct shared shared;
    struct handoff handoff;
    int listener; /* where upstream connections arrive */
    int dns;      /* where questions arrive; -1: there is no server */
    uint32_t dialled;
};

struct weir_options {
    struct sim_options sim;
    enum config_contact contact;
    uint32_t extensions; /* what the upstream is known to offer; enum smtp_ext */
    uint32_t buf_count;  /* default 256 */
    uint32_t pool_idle;  /* default 0: a new upstream connection for each transaction */
    bool no_received;    /* received_header = no */
    bool unchecked;      /* VERIFY_OFF, whatever SIM_VERIFY says */
    enum config_verify_mode verify;
    const struct dns_zone *zone; /* answers questions at once; borrowed */
    bool has_dns;                /* what the zone does not know is asked at weir->dns */
    int64_t deadline_ms;         /* of the checks; default 20000 */
    uint64_t hold_memory;        /* default 256k */
    int64_t lease_hold_ms;       /* default 2000 */
};

/* The configuration may be changed until the first weir_dial(). Limits have the defaults of
 * proxy.ini. */
struct weir *weir_create(const struct weir_options *options);

/* Drains the worker (time passes as it must) and asserts that nothing is left: session, lease,
 * descriptor, buffer. */
void weir_destroy(struct weir **weir);

/* With every client gone and the pool of upstream connections closed: the name of what is left
 * behind, or NULL. */
const char *weir_leftover(const struct weir *weir);

/* Bytes of receive buffers, chunks and blocks of held messages that are in use: what clients and
 * upstreams can make grow. */
uint64_t weir_memory(const struct weir *weir);

/* A client connects; the actor's end. */
int weir_dial(struct weir *weir);

/* One turn that does not wait; true when anything moved. */
bool weir_turn(struct weir *weir);

/* One turn that may wait: the clock goes to the next deadline. */
void weir_wait(struct weir *weir);

/* Messages are held, or streamed, since the test or SIM_VERIFY asks for it. */
bool weir_is_checking(const struct weir *weir);
bool weir_is_streaming(const struct weir *weir);

/* A message that arrived: what stands behind our results on top of it, if there are any. */
const char *weir_behind_results(const char *message);

/* The newest session that is not gone, or NULL. */
struct session *weir_session(const struct weir *weir);

#endif
