/*
 * loop_clause - what the tests of the loop's contract share: an op that writes down what happened
 * to it, and a runner that takes a table of clauses through all three backends.
 *
 * Each clause runs under the names clause[io_uring], clause[epoll] and clause[sim]. A row may say
 * on which backends it cannot run, and why; that is printed and counted as skipped. Included by
 * test/unit/test_loop*.c and by tests of what stands on the loop; needs cmocka, which the programs beside the unit tests do not have.
 */
#ifndef TEST_UNIT_LOOP_CLAUSE_H
#define TEST_UNIT_LOOP_CLAUSE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "test/loop_world.h"

enum { SEED = 20240607, PROBE_LOG = 64 };

static const struct loop_limits limits_default = {
    .fd_count = 1024,
    .op_count = 1024,
    .buf_count = 64,
};

/* An op that writes down what happened to it. */
struct probe {
    struct op op;
    struct world *world;
    int calls;
    int result;
    struct buf *buf; /* held until probe_release() */
    int restarts;    /* receives that `done` shall start again */
    int fd;
    int results[PROBE_LOG]; /* the first ones */
};

static inline void on_probe(struct op *op, int result)
{
    struct probe *probe = list_entry(op, struct probe, op);
    assert_false(probe->world->starting);
    assert_true(op_is_idle(op));
    if (probe->calls < PROBE_LOG) {
        probe->results[probe->calls] = result;
    }
    probe->calls++;
    probe->result = result;
    if (op->kind == OP_RECV) {
        assert_int_equal(result > 0, op->buf != NULL);
        probe->buf = op->buf;
        op->buf = NULL;
    }
}

static inline void probe_init(struct probe *probe, struct world *world, int fd)
{
    memset(probe, 0, sizeof(*probe));
    op_init(&probe->op);
    probe->world = world;
    probe->fd = fd;
}

static inline void probe_recv(struct probe *probe, enum recv_hint hint)
{
    probe->world->starting = true;
    loop_recv(probe->world->loop, &probe->op, probe->fd, hint, on_probe);
    probe->world->starting = false;
}

static inline void probe_send(struct probe *probe, const void *data, uint32_t len)
{
    probe->world->starting = true;
    loop_send(probe->world->loop, &probe->op, probe->fd, data, len, on_probe);
    probe->world->starting = false;
}

static inline void probe_connect(struct probe *probe, const struct sockaddr_in *addr)
{
    probe->world->starting = true;
    loop_connect(probe->world->loop, &probe->op, probe->fd, (const struct sockaddr *)addr,
                 sizeof(*addr), on_probe);
    probe->world->starting = false;
}

static inline void probe_release(struct probe *probe)
{
    assert_non_null(probe->buf);
    loop_buf_release(probe->world->loop, probe->buf);
    probe->buf = NULL;
}

/* Waits for the next completion and checks its result. */
static inline void probe_expect(struct probe *probe, int result)
{
    assert_true(world_until(probe->world, &probe->calls, probe->calls + 1));
    assert_int_equal(probe->result, result);
}

static inline void far_write_all(struct world *world, int far, const char *data, uint32_t len)
{
    assert_int_equal(far_write(world, far, data, len), len);
}

static inline int64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A turn with a little patience: the loopback device delivers within it. */
static inline void settle(struct world *world)
{
    world_turns(world, 5, world->sim != NULL ? 0 : 2);
}

/* ---- the table ---- */

enum backend_bit { ON_URING = 1, ON_EPOLL = 2, ON_SIM = 4 };

static const struct {
    const char *name;
    const struct loop_backend *backend;
    enum backend_bit bit;
} clause_backends[] = {
    {"io_uring", &loop_uring, ON_URING},
    {"epoll", &loop_epoll, ON_EPOLL},
    {"sim", &loop_sim, ON_SIM},
};

enum { BACKENDS = sizeof(clause_backends) / sizeof(clause_backends[0]) };

struct clause {
    const char *name;
    void (*run)(struct world *world);
    struct loop_limits limits; /* fields that are 0: limits_default */
    int skip;                  /* backends it cannot run on, */
    const char *reason;        /* and why */
};

#define CLAUSE(function, ...)                                                                      \
    {                                                                                              \
        .name = #function, .run = function, ##__VA_ARGS__                                          \
    }

struct row {
    const struct clause *clause;
    const struct loop_backend *backend;
    enum backend_bit bit;
    char name[64];
};

static inline void run_row(void **state)
{
    const struct row *row = *state;
    if ((row->clause->skip & (int)row->bit) != 0) {
        print_message("    skipped: %s\n", row->clause->reason);
        skip();
    }
    struct loop_limits limits = limits_default;
    if (row->clause->limits.fd_count > 0) {
        limits.fd_count = row->clause->limits.fd_count;
    }
    if (row->clause->limits.op_count > 0) {
        limits.op_count = row->clause->limits.op_count;
    }
    if (row->clause->limits.buf_count > 0) {
        limits.buf_count = row->clause->limits.buf_count;
    }
    struct sim_options options = {
        .seed = SEED,
        .short_write = 200,
        .delay = 200,
        .cancel_loses = 500,
    };
    struct world world;
    int result = world_open(&world, row->backend, &limits, &options);
    if (row->bit == ON_URING && (result == -EPERM || result == -ENOSYS || result == -ENOMEM)) {
        print_message("    skipped: io_uring is refused here: %s\n", strerror(-result));
        skip();
    }
    assert_int_equal(result, 0);
    row->clause->run(&world);
    world_close(&world);
}

/* Runs each clause on each backend. One argument: a pattern of the names that shall run. */
static inline int clauses_run(const char *group, const struct clause *clauses, size_t count,
                              int argc, char **argv)
{
    enum { ROWS_MAX = 128 };
    static struct row rows[ROWS_MAX];
    static struct CMUnitTest tests[ROWS_MAX];
    assert_true(count * BACKENDS <= ROWS_MAX);
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    for (size_t i = 0; i < count * BACKENDS; i++) {
        struct row *row = &rows[i];
        row->clause = &clauses[i / BACKENDS];
        row->backend = clause_backends[i % BACKENDS].backend;
        row->bit = clause_backends[i % BACKENDS].bit;
        snprintf(row->name, sizeof(row->name), "%s[%s]", row->clause->name,
                 clause_backends[i % BACKENDS].name);
        tests[i] = (struct CMUnitTest){
            .name = row->name,
            .test_func = run_row,
            .initial_state = row,
        };
    }
    print_message("seed of the simulation: %d\n", SEED);
    return _cmocka_run_group_tests(group, tests, count * BACKENDS, NULL, NULL);
}

#endif
