/*
 * test_loop - the contract of net/loop.h, each clause on each backend: that `done` comes once and
 * never inside a call, cancelling, lent buffers, and that misuse is an assert.
 *
 * Descriptors and results are in test_loop_result.c, time and turns in test_loop_turn.c.
 */
#include <stdlib.h>
#include <unistd.h>

#include "test/aborts.h"
#include "test/unit/loop_clause.h"

/* ---- clause 1: done, exactly once, never inside a call ---- */

static void done_never_inside_start(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    world_listen(world);
    int dialed = world_dial(world);
    far_write_all(world, far, "ready", 5);
    settle(world);
    struct probe rx, tx, accept, post, connect;
    probe_init(&rx, world, ours);
    probe_init(&tx, world, ours);
    probe_init(&accept, world, world->listener);
    probe_init(&post, world, -1);
    probe_init(&connect, world, loop_socket(world->loop, AF_INET));
    probe_recv(&rx, RECV_LIKELY);
    probe_send(&tx, "hello", 5);
    probe_connect(&connect, &world->addr);
    world->starting = true;
    loop_accept(world->loop, &accept.op, world->listener, on_probe);
    loop_post(world->loop, &post.op, on_probe);
    world->starting = false;
    assert_int_equal(rx.calls + tx.calls + accept.calls + post.calls + connect.calls, 0);
    assert_true(world_until(world, &rx.calls, 1));
    assert_true(world_until(world, &tx.calls, 1));
    assert_true(world_until(world, &accept.calls, 1));
    assert_true(world_until(world, &connect.calls, 1));
    assert_int_equal(post.calls, 1);
    assert_int_equal(rx.result, 5);
    assert_int_equal(tx.result, 5);
    assert_int_equal(connect.result, 0);
    assert_true(accept.result >= 0);
    probe_release(&rx);
    loop_close(world->loop, accept.result);
    loop_close(world->loop, connect.fd);
    loop_close(world->loop, ours);
    far_close(world, dialed);
    far_close(world, far);
}

static void done_runs_once(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx, tx;
    probe_init(&rx, world, ours);
    probe_init(&tx, world, ours);
    probe_recv(&rx, RECV_LATER);
    probe_send(&tx, "once", 4);
    far_write_all(world, far, "and once", 8);
    probe_expect(&rx, 8);
    far_write_all(world, far, "more", 4);
    settle(world);
    assert_int_equal(rx.calls, 1);
    assert_int_equal(tx.calls, 1);
    probe_release(&rx);
    loop_close(world->loop, ours);
    far_close(world, far);
}

/* ---- clause 2 and 5: cancel ---- */

static void cancel_of_idle_op_is_harmless(struct world *world)
{
    struct probe probe;
    probe_init(&probe, world, -1);
    loop_cancel(world->loop, &probe.op);
    loop_post(world->loop, &probe.op, on_probe);
    loop_cancel(world->loop, &probe.op); /* READY: the result came first */
    settle(world);
    assert_int_equal(probe.calls, 1);
    assert_int_equal(probe.result, 0);
    loop_cancel(world->loop, &probe.op);
    settle(world);
    assert_int_equal(probe.calls, 1);
}

static void cancel_ends_a_waiting_recv(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    for (int i = 0; i < 2; i++) {
        probe_recv(&rx, i == 0 ? RECV_LIKELY : RECV_LATER);
        settle(world);
        assert_int_equal(rx.calls, i);
        loop_cancel(world->loop, &rx.op);
        loop_cancel(world->loop, &rx.op);
        assert_int_equal(rx.calls, i);
        probe_expect(&rx, -ECANCELED);
        settle(world);
        assert_int_equal(rx.calls, i + 1);
    }
    far_write_all(world, far, "still works", 11);
    probe_recv(&rx, RECV_LIKELY);
    probe_expect(&rx, 11);
    probe_release(&rx);
    loop_close(world->loop, ours);
    far_close(world, far);
}

/* The byte is received exactly once, whoever wins; and a cancel never hits the op's next life. */
static void cancel_race_loses_nothing(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    int cancelled = 0;
    for (int i = 0; i < 300; i++) {
        probe_recv(&rx, i % 2 == 0 ? RECV_LIKELY : RECV_LATER);
        if (i % 3 == 0) {
            world_turns(world, 1, 0);
        }
        far_write_all(world, far, "x", 1);
        if (i % 5 == 0) {
            world_turns(world, 1, 0);
        }
        loop_cancel(world->loop, &rx.op);
        int calls = rx.calls;
        if (!op_is_idle(&rx.op)) {
            assert_true(world_until(world, &rx.calls, calls + 1));
            assert_int_equal(rx.calls, calls + 1);
        }
        if (rx.result == -ECANCELED) {
            cancelled++;
            probe_recv(&rx, RECV_LIKELY);
            probe_expect(&rx, 1);
        }
        assert_int_equal(rx.result, 1);
        probe_release(&rx);
        probe_recv(&rx, RECV_LATER); /* the next life */
        calls = rx.calls;
        world_turns(world, 2, 0);
        assert_int_equal(rx.calls, calls);
        far_write_all(world, far, "y", 1);
        probe_expect(&rx, 1);
        probe_release(&rx);
    }
    print_message("    %d of 300 cancels won\n", cancelled);
    loop_close(world->loop, ours);
    far_close(world, far);
}

static void cancel_ends_a_partial_send(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    world_shrink(world, ours, far);
    uint32_t len = 8 << 20;
    char *data = calloc(1, len);
    struct probe tx;
    probe_init(&tx, world, ours);
    probe_send(&tx, data, len);
    settle(world);
    assert_int_equal(tx.calls, 0);
    loop_cancel(world->loop, &tx.op);
    probe_expect(&tx, -ECANCELED);
    settle(world);
    assert_int_equal(tx.calls, 1);
    loop_close(world->loop, ours);
    far_close(world, far);
    free(data);
}

static void cancel_ends_a_waiting_accept(struct world *world)
{
    world_listen(world);
    struct probe accept;
    probe_init(&accept, world, world->listener);
    loop_accept(world->loop, &accept.op, world->listener, on_probe);
    settle(world);
    loop_cancel(world->loop, &accept.op);
    probe_expect(&accept, -ECANCELED);
    int far = world_dial(world);
    loop_accept(world->loop, &accept.op, world->listener, on_probe);
    assert_true(world_until(world, &accept.calls, 2));
    assert_true(accept.result >= 0);
    loop_close(world->loop, accept.result);
    far_close(world, far);
}

static void cancel_ends_a_hanging_connect(struct world *world)
{
    struct sockaddr_in addr;
    world_addr_silent(world, &addr);
    struct probe connect;
    probe_init(&connect, world, loop_socket(world->loop, AF_INET));
    probe_connect(&connect, &addr);
    settle(world);
    assert_int_equal(connect.calls, 0);
    loop_cancel(world->loop, &connect.op);
    probe_expect(&connect, -ECANCELED);
    loop_close(world->loop, connect.fd);
}

/* ---- clause 3: lent buffers ---- */

static void recv_lends_a_buffer(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    far_write_all(world, far, "220 ready\r\n", 11);
    probe_recv(&rx, RECV_LIKELY);
    probe_expect(&rx, 11);
    assert_non_null(rx.buf);
    assert_int_equal(rx.buf->begin, BUF_HEADROOM);
    assert_int_equal(buf_len(rx.buf), 11);
    assert_memory_equal(buf_bytes(rx.buf), "220 ready\r\n", 11);
    struct buf *buf = rx.buf;
    rx.buf = NULL;
    far_write_all(world, far, "other", 5);
    probe_recv(&rx, RECV_LIKELY);
    probe_expect(&rx, 5);
    assert_ptr_not_equal(rx.buf, buf); /* ours until we give it back */
    assert_memory_equal(buf_bytes(buf), "220 ready\r\n", 11);
    loop_buf_release(world->loop, buf);
    probe_release(&rx);
    loop_close(world->loop, ours);
    far_close(world, far);
}

static void idle_receives_own_no_buffer(struct world *world)
{
    enum { COUNT = 100 };
    static struct probe rx[COUNT];
    static int far[COUNT];
    for (int i = 0; i < COUNT; i++) {
        int ours;
        world_pair(world, &ours, &far[i]);
        probe_init(&rx[i], world, ours);
        probe_recv(&rx[i], i % 2 == 0 ? RECV_LIKELY : RECV_LATER);
    }
    settle(world);
    for (int i = COUNT - 1; i >= 0; i--) {
        far_write_all(world, far[i], "x", 1);
        probe_expect(&rx[i], 1);
        probe_release(&rx[i]);
        loop_close(world->loop, rx[i].fd);
        far_close(world, far[i]);
    }
    assert_int_equal(loop_stats(world->loop)->starved, 0);
}

/* With the only buffer held, receives wait: idle ones do not stand in the way of a readable one,
 * nobody spins, a cancel works, and the end of the stream is heard as well. */
static void starved_receives_wait(struct world *world)
{
    enum { HOLDER, IDLE, READABLE = IDLE + 3, CANCELLED, ENDED, COUNT };
    struct probe rx[COUNT];
    int far[COUNT];
    for (int i = 0; i < COUNT; i++) {
        int ours;
        world_pair(world, &ours, &far[i]);
        probe_init(&rx[i], world, ours);
    }
    far_write_all(world, far[HOLDER], "held", 4);
    probe_recv(&rx[HOLDER], RECV_LIKELY);
    probe_expect(&rx[HOLDER], 4);
    far_write_all(world, far[READABLE], "waiting", 7);
    far_write_all(world, far[CANCELLED], "unheard", 7);
    far_eof(world, far[ENDED]);
    for (int i = IDLE; i < COUNT; i++) {
        probe_recv(&rx[i], i == CANCELLED ? RECV_LATER : RECV_LIKELY);
    }
    settle(world);
    uint64_t enters = loop_stats(world->loop)->enters;
    int64_t begin_ms = clock_ms();
    world_turns(world, 10, 10);
    assert_true(loop_stats(world->loop)->enters - enters <= 10);
    if (world->sim == NULL) {
        assert_true(clock_ms() - begin_ms >= 70); /* it slept */
    }
    assert_int_equal(rx[READABLE].calls + rx[CANCELLED].calls, 0);
    assert_true(loop_stats(world->loop)->starved >= 2);
    loop_cancel(world->loop, &rx[CANCELLED].op);
    probe_expect(&rx[CANCELLED], -ECANCELED);
    assert_int_equal(rx[READABLE].calls, 0);
    probe_release(&rx[HOLDER]);
    begin_ms = clock_ms();
    while (rx[READABLE].calls == 0) {
        world_turns(world, 1, 5000);
        assert_true(clock_ms() - begin_ms < 4000); /* it did not sleep on a free buffer */
    }
    probe_release(&rx[READABLE]);
    if (rx[ENDED].calls == 0) {
        probe_expect(&rx[ENDED], 0);
    }
    assert_int_equal(rx[ENDED].result, 0);
    for (int i = IDLE; i < READABLE; i++) {
        assert_int_equal(rx[i].calls, 0);
        far_write_all(world, far[i], "late", 4);
        probe_expect(&rx[i], 4);
        probe_release(&rx[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(rx[i].calls, 1);
        loop_close(world->loop, rx[i].fd);
        far_close(world, far[i]);
    }
}

/* More receives at once than buffers: all are served in the end. */
static void few_buffers_serve_many(struct world *world)
{
    enum { COUNT = 200 };
    static struct probe rx[COUNT];
    static int far[COUNT];
    for (int i = 0; i < COUNT; i++) {
        int ours;
        world_pair(world, &ours, &far[i]);
        probe_init(&rx[i], world, ours);
        far_write_all(world, far[i], "x", 1);
        probe_recv(&rx[i], RECV_LIKELY);
    }
    int served = 0;
    for (int turn = 0; turn < 2000 && served < COUNT; turn++) {
        world_turns(world, 1, 20);
        for (int i = 0; i < COUNT; i++) {
            if (rx[i].buf != NULL) {
                assert_int_equal(rx[i].result, 1);
                probe_release(&rx[i]);
                served++;
            }
        }
    }
    assert_int_equal(served, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(rx[i].calls, 1);
        loop_close(world->loop, rx[i].fd);
        far_close(world, far[i]);
    }
}

/* ---- misuse: asserts, looked at in a child process ---- */

static void misuse_close_in_flight(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    probe_recv(&rx, RECV_LATER);
    world_turns(world, 1, 0);
    loop_close(world->loop, ours);
}

/* Ready, but not yet told: still in flight. */
static void misuse_close_when_ready(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    far_write(world, far, "x", 1);
    probe_recv(&rx, RECV_LIKELY);
    loop_close(world->loop, ours);
}

static void misuse_two_receives(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx, second;
    probe_init(&rx, world, ours);
    probe_init(&second, world, ours);
    probe_recv(&rx, RECV_LATER);
    probe_recv(&second, RECV_LATER);
}

static void misuse_start_twice(struct world *world)
{
    struct probe post;
    probe_init(&post, world, -1);
    loop_post(world->loop, &post.op, on_probe);
    loop_post(world->loop, &post.op, on_probe);
}

static void misuse_destroy_in_flight(struct world *world)
{
    struct probe post;
    probe_init(&post, world, -1);
    loop_post(world->loop, &post.op, on_probe);
    loop_destroy(&world->loop);
}

static void misuse_destroy_with_lent_buffer(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    far_write(world, far, "x", 1);
    probe_recv(&rx, RECV_LIKELY);
    if (!world_until(world, &rx.calls, 1)) {
        _exit(1);
    }
    loop_destroy(&world->loop);
}

static void misuse_release_twice(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    far_write(world, far, "x", 1);
    probe_recv(&rx, RECV_LIKELY);
    if (!world_until(world, &rx.calls, 1)) {
        _exit(1);
    }
    loop_buf_release(world->loop, rx.buf);
    loop_buf_release(world->loop, rx.buf);
}

/* The same, the other way round: the child gets to its end. */
static void misuse_nothing(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    far_close(world, far);
    loop_close(world->loop, ours);
    loop_destroy(&world->loop);
}

struct misuse {
    const struct loop_backend *backend;
    void (*run)(struct world *world);
};

static void run_misuse(void *arg)
{
    const struct misuse *misuse = arg;
    struct world world;
    if (world_open(&world, misuse->backend, &limits_default, NULL) == 0) {
        misuse->run(&world);
    }
}

static void misuse_is_an_assert(struct world *world)
{
    static void (*const runs[])(struct world *) = {
        misuse_close_in_flight,
        misuse_close_when_ready,
        misuse_two_receives,
        misuse_start_twice,
        misuse_destroy_in_flight,
        misuse_release_twice,
        misuse_destroy_with_lent_buffer,
    };
    struct misuse misuse = {.backend = world->loop->backend};
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        misuse.run = runs[i];
        assert_true(aborts(run_misuse, &misuse));
    }
    misuse.run = misuse_nothing;
    assert_false(aborts(run_misuse, &misuse));
}

/* ---- the table ---- */

static const struct clause clauses[] = {
    CLAUSE(done_never_inside_start),
    CLAUSE(done_runs_once),
    CLAUSE(cancel_of_idle_op_is_harmless),
    CLAUSE(cancel_ends_a_waiting_recv),
    CLAUSE(cancel_race_loses_nothing),
    CLAUSE(cancel_ends_a_partial_send),
    CLAUSE(cancel_ends_a_waiting_accept),
    CLAUSE(cancel_ends_a_hanging_connect),
    CLAUSE(recv_lends_a_buffer),
    CLAUSE(idle_receives_own_no_buffer, .limits.buf_count = 2),
    CLAUSE(starved_receives_wait, .limits.buf_count = 1),
    CLAUSE(few_buffers_serve_many, .limits.buf_count = 3),
    CLAUSE(misuse_is_an_assert),
};

int main(int argc, char **argv)
{
    return clauses_run("loop", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
}
