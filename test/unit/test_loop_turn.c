/*
 * test_loop_turn - the contract of net/loop.h, each clause on each backend: time, what a turn runs,
 * waking from other threads, and a thousand connections at once.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>

#include "test/unit/loop_clause.h"

/* ---- clause 6: time ---- */

struct alarm {
    struct timer timer;
    struct world *world;
    int64_t deadline_ms;
    int fired;
};

static void on_alarm(struct timer *timer)
{
    struct alarm *alarm = list_entry(timer, struct alarm, timer);
    assert_true(loop_now_ms(alarm->world->loop) >= alarm->deadline_ms);
    if (alarm->world->sim == NULL) {
        assert_true(clock_ms() >= alarm->deadline_ms);
    }
    alarm->fired++;
}

static void alarm_set(struct alarm *alarm, struct world *world, int64_t after_ms)
{
    alarm->world = world;
    alarm->deadline_ms = loop_now_ms(world->loop) + after_ms;
    loop_timer_set(world->loop, &alarm->timer, alarm->deadline_ms, on_alarm);
}

static void timers_are_never_early(struct world *world)
{
    enum { COUNT = 20 };
    struct alarm alarms[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) {
        timer_init(&alarms[i].timer);
        alarm_set(&alarms[i], world, 1 + (i * 7) % 60);
    }
    loop_timer_stop(world->loop, &alarms[3].timer);
    alarm_set(&alarms[5], world, 90); /* later */
    alarm_set(&alarms[8], world, 2);  /* sooner */
    uint64_t turns = loop_stats(world->loop)->turns;
    while (alarms[5].fired == 0) {
        assert_int_equal(loop_run_once(world->loop, -1), 0);
    }
    assert_true(loop_stats(world->loop)->turns - turns <= 2 * COUNT); /* it slept in between */
    int64_t late_ms = loop_now_ms(world->loop) - alarms[5].deadline_ms;
    assert_true(late_ms <= TIMER_TICK_MS + (world->sim == NULL ? 500 : 0));
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(alarms[i].fired, i == 3 ? 0 : 1);
    }
}

static void wait_is_bounded_by_the_caller(struct world *world)
{
    struct alarm alarm = {0};
    timer_init(&alarm.timer);
    alarm_set(&alarm, world, 100000);
    int64_t begin_ms = loop_now_ms(world->loop);
    int64_t waited_ms = 0;
    int turns = 0;
    while (waited_ms < 30) {
        world_turns(world, 1, 30 - waited_ms);
        waited_ms = loop_now_ms(world->loop) - begin_ms;
        turns++;
    }
    assert_true(turns <= 3); /* a signal may cut one short */
    assert_true(waited_ms < 5000);
    assert_int_equal(alarm.fired, 0);
    loop_timer_stop(world->loop, &alarm.timer);
}

/* A signal ends the wait of a turn and nothing else. */
static void on_signal(int number)
{
    (void)number;
}

static void signals_do_no_harm(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    probe_recv(&rx, RECV_LATER);
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before;
    sigaction(SIGALRM, &action, &before);
    struct itimerval often = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &often, NULL);
    world_turns(world, 20, 20);
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(rx.calls, 0);
    far_write_all(world, far, "x", 1);
    probe_expect(&rx, 1);
    probe_release(&rx);
    loop_close(world->loop, ours);
    far_close(world, far);
}

/* ---- clause 7: a turn ---- */

static void on_again(struct op *op, int result)
{
    struct probe *probe = list_entry(op, struct probe, op);
    on_probe(op, result);
    if (probe->restarts-- == 0) {
        return;
    }
    if (probe->fd < 0) {
        loop_post(probe->world->loop, op, on_again);
    } else {
        probe_release(probe);
        loop_recv(probe->world->loop, op, probe->fd, RECV_LIKELY, on_again);
    }
}

static void post_runs_next_turn(struct world *world)
{
    struct probe post;
    probe_init(&post, world, -1);
    post.restarts = 5;
    loop_post(world->loop, &post.op, on_again);
    for (int i = 1; i <= 6; i++) {
        world_turns(world, 1, -1); /* does not sleep with work at hand */
        assert_int_equal(post.calls, i);
    }
    world_turns(world, 3, 0);
    assert_int_equal(post.calls, 6);
}

/* Bytes are always there, and yet each turn hears of the op at most once. */
static void started_work_is_heard_next_turn(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    static char data[60000];
    far_write_all(world, far, data, sizeof(data));
    settle(world);
    struct probe rx;
    probe_init(&rx, world, ours);
    rx.restarts = 3;
    loop_recv(world->loop, &rx.op, ours, RECV_LIKELY, on_again);
    for (int turn = 0; turn < 100 && rx.calls < 4; turn++) {
        int calls = rx.calls;
        world_turns(world, 1, 20);
        assert_true(rx.calls <= calls + 1);
    }
    assert_int_equal(rx.calls, 4);
    probe_release(&rx);
    loop_close(world->loop, ours);
    far_close(world, far);
}

/* ---- waking ---- */

struct waking {
    struct loop *loop;
    int calls;
    int count; /* wakes each thread sends */
    atomic_int sent;
    atomic_int seen;
    bool slow;
};

static void nap_us(long us)
{
    struct timespec nap = {.tv_nsec = us * 1000};
    nanosleep(&nap, NULL);
}

static void on_waking(void *arg)
{
    struct waking *waking = arg;
    waking->calls++;
    atomic_store(&waking->seen, atomic_load(&waking->sent));
    if (waking->slow) {
        nap_us(100); /* a wake that comes now must be heard, too */
    }
}

/* Sends the next wake when the last one was heard. */
static void *wake_often(void *arg)
{
    struct waking *waking = arg;
    for (int i = 0; i < waking->count; i++) {
        int number = atomic_fetch_add(&waking->sent, 1) + 1;
        loop_wake(waking->loop);
        while (atomic_load(&waking->seen) < number) {
            nap_us(10);
        }
    }
    return NULL;
}

static void wake_from_this_thread(struct world *world)
{
    struct waking waking = {.loop = world->loop};
    loop_on_wake(world->loop, on_waking, &waking);
    for (int i = 1; i <= 3; i++) {
        loop_wake(world->loop);
        loop_wake(world->loop);
        assert_int_equal(waking.calls, i - 1);
        assert_true(world_until(world, &waking.calls, i));
        settle(world);
        assert_int_equal(waking.calls, i);
    }
}

static void wake_from_other_threads(struct world *world)
{
    enum { THREADS = 3, COUNT = 300 };
    struct waking waking = {.loop = world->loop, .count = COUNT, .slow = true};
    loop_on_wake(world->loop, on_waking, &waking);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, wake_often, &waking), 0);
    }
    int lost = 0;
    while (atomic_load(&waking.seen) < THREADS * COUNT && lost < 3) {
        int64_t begin_ms = clock_ms();
        assert_int_equal(loop_run_once(world->loop, 2000), 0);
        lost += clock_ms() - begin_ms >= 1900;
    }
    atomic_store(&waking.seen, THREADS * COUNT);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(lost, 0);
    assert_int_equal(atomic_load(&waking.sent), THREADS * COUNT);
    assert_true(waking.calls <= THREADS * COUNT);
    world_turns(world, 2, 0);
}

/* ---- load ---- */

static void thousand_connections(struct world *world)
{
    enum { COUNT = 1000, ROUNDS = 3 };
    static struct probe rx[COUNT], tx[COUNT];
    static int far[COUNT];
    for (int i = 0; i < COUNT; i++) {
        int ours;
        world_pair(world, &ours, &far[i]);
        probe_init(&rx[i], world, ours);
        probe_init(&tx[i], world, ours);
        probe_recv(&rx[i], RECV_LATER);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++) {
            char line[16] = {0};
            snprintf(line, sizeof(line), "%d", i);
            far_write_all(world, far[i], line, sizeof(line));
        }
        for (int i = 0; i < COUNT; i++) {
            assert_true(world_until(world, &rx[i].calls, round + 1));
            assert_int_equal(rx[i].result, 16);
            assert_int_equal(strtol(buf_bytes(rx[i].buf), NULL, 10), i);
            probe_send(&tx[i], buf_bytes(rx[i].buf), 16); /* sent as it is */
        }
        for (int i = 0; i < COUNT; i++) {
            assert_true(world_until(world, &tx[i].calls, round + 1));
            assert_int_equal(tx[i].result, 16);
            probe_release(&rx[i]);
            probe_recv(&rx[i], RECV_LIKELY);
            char got[16];
            assert_int_equal(far_read(world, far[i], got, sizeof(got)), 16);
            assert_int_equal(strtol(got, NULL, 10), i);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        loop_cancel(world->loop, &rx[i].op);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_true(world_until(world, &rx[i].calls, ROUNDS + 1));
        assert_int_equal(rx[i].result, -ECANCELED);
        loop_close(world->loop, rx[i].fd);
        far_close(world, far[i]);
    }
}

/* ---- the table ---- */

static const struct clause clauses[] = {
    CLAUSE(timers_are_never_early),
    CLAUSE(wait_is_bounded_by_the_caller),
    CLAUSE(signals_do_no_harm, .skip = ON_SIM, .reason = "the simulation makes no system call"),
    CLAUSE(post_runs_next_turn),
    CLAUSE(started_work_is_heard_next_turn),
    CLAUSE(wake_from_this_thread),
    CLAUSE(wake_from_other_threads, .skip = ON_SIM, .reason = "the simulation has one thread"),
    CLAUSE(thousand_connections, .limits = {.fd_count = 4096, .op_count = 4096, .buf_count = 1024}),
};

int main(int argc, char **argv)
{
    return clauses_run("loop_turn", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
}
