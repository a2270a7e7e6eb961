/*
 * test_timer - the timing wheel: never early, at most a tick late, cheap to move.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/timer.h"
#include "test/aborts.h"

enum { SEED = 4711, START_MS = 1000000 };

static struct timer_wheel wheel;

struct alarm {
    struct timer timer;
    int fired;
    int64_t set_ms;    /* when it was set, and */
    int64_t wanted_ms; /* for when */
    int64_t again_ms;  /* `done` sets it again, this much later */
    struct alarm *stops;
};

static void on_alarm(struct timer *timer)
{
    struct alarm *alarm = list_entry(timer, struct alarm, timer);
    assert_false(timer_is_set(timer));
    assert_true(alarm->wanted_ms <= wheel.now_ms);
    alarm->fired++;
    if (alarm->stops != NULL) {
        timer_stop(&wheel, &alarm->stops->timer);
    }
    if (alarm->again_ms != 0) {
        alarm->set_ms = wheel.now_ms;
        alarm->wanted_ms += alarm->again_ms;
        timer_set(&wheel, timer, alarm->wanted_ms, on_alarm);
    }
}

static void alarm_init(struct alarm *alarm)
{
    memset(alarm, 0, sizeof(*alarm));
    timer_init(&alarm->timer);
}

static void alarm_set(struct alarm *alarm, int64_t wanted_ms)
{
    alarm->set_ms = wheel.now_ms;
    alarm->wanted_ms = wanted_ms;
    timer_set(&wheel, &alarm->timer, wanted_ms, on_alarm);
}

static uint64_t random_next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void fires_at_its_deadline(void **state)
{
    (void)state;
    for (int64_t after_ms = 1; after_ms < 100; after_ms++) {
        timer_wheel_init(&wheel, START_MS + after_ms % 8);
        struct alarm alarm;
        alarm_init(&alarm);
        alarm_set(&alarm, wheel.now_ms + after_ms);
        int64_t now_ms = wheel.now_ms;
        while (alarm.fired == 0) {
            now_ms++;
            timer_wheel_advance(&wheel, now_ms);
            assert_true(now_ms < alarm.wanted_ms || alarm.fired > 0 ||
                        now_ms < alarm.wanted_ms + TIMER_TICK_MS);
        }
        assert_true(now_ms >= alarm.wanted_ms);
        assert_int_equal(wheel.count, 0);
        assert_int_equal(timer_wheel_wait(&wheel, now_ms), -1);
    }
}

static void moving_later_is_a_store(void **state)
{
    (void)state;
    timer_wheel_init(&wheel, START_MS);
    struct alarm alarm;
    alarm_init(&alarm);
    alarm_set(&alarm, START_MS + 100);
    const struct list_node *before = alarm.timer.node.next;
    int64_t slot_ms = alarm.timer.slot_ms;
    alarm_set(&alarm, START_MS + 5000);
    assert_ptr_equal(alarm.timer.node.next, before);
    assert_int_equal(alarm.timer.slot_ms, slot_ms);
    timer_wheel_advance(&wheel, START_MS + 4999);
    assert_int_equal(alarm.fired, 0);
    timer_wheel_advance(&wheel, START_MS + 5000 + TIMER_TICK_MS);
    assert_int_equal(alarm.fired, 1);
}

static void moving_sooner_is_heard(void **state)
{
    (void)state;
    timer_wheel_init(&wheel, START_MS);
    struct alarm alarm;
    alarm_init(&alarm);
    alarm_set(&alarm, START_MS + 3600000);
    alarm_set(&alarm, START_MS + 16);
    assert_true(timer_wheel_wait(&wheel, START_MS) <= 16 + TIMER_TICK_MS);
    timer_wheel_advance(&wheel, START_MS + 16 + TIMER_TICK_MS);
    assert_int_equal(alarm.fired, 1);
    assert_int_equal(wheel.count, 0);
}

static void stop_is_final_and_harmless(void **state)
{
    (void)state;
    timer_wheel_init(&wheel, START_MS);
    struct alarm alarm;
    alarm_init(&alarm);
    timer_stop(&wheel, &alarm.timer);
    alarm_set(&alarm, START_MS + 10);
    timer_stop(&wheel, &alarm.timer);
    timer_stop(&wheel, &alarm.timer);
    assert_false(timer_is_set(&alarm.timer));
    assert_int_equal(timer_wheel_wait(&wheel, START_MS), -1);
    timer_wheel_advance(&wheel, START_MS + 100000);
    assert_int_equal(alarm.fired, 0);
}

/* Deadlines of more than one turn of the wheel, by small steps and in one jump. */
static void far_deadlines_go_round(void **state)
{
    (void)state;
    for (int jump = 0; jump < 2; jump++) {
        timer_wheel_init(&wheel, START_MS);
        struct alarm alarm;
        alarm_init(&alarm);
        int64_t after_ms = 3 * TIMER_SLOTS * TIMER_TICK_MS + 123;
        alarm_set(&alarm, START_MS + after_ms);
        int64_t now_ms = START_MS;
        while (jump == 0 && now_ms < START_MS + after_ms - 1) {
            int64_t wait_ms = timer_wheel_wait(&wheel, now_ms);
            assert_true(wait_ms > 0);
            now_ms += wait_ms;
            now_ms = now_ms < START_MS + after_ms - 1 ? now_ms : START_MS + after_ms - 1;
            timer_wheel_advance(&wheel, now_ms);
            assert_int_equal(alarm.fired, 0);
        }
        timer_wheel_advance(&wheel, START_MS + after_ms + TIMER_TICK_MS);
        assert_int_equal(alarm.fired, 1);
    }
}

static void done_may_set_and_stop(void **state)
{
    (void)state;
    timer_wheel_init(&wheel, START_MS);
    struct alarm first, stopped, periodic;
    alarm_init(&first);
    alarm_init(&stopped);
    alarm_init(&periodic);
    first.stops = &stopped;
    periodic.again_ms = 1; /* for the past, whenever it fires late: once an advance all the same */
    alarm_set(&first, START_MS + 8);
    alarm_set(&stopped, START_MS + 8);
    alarm_set(&periodic, START_MS + 8);
    timer_wheel_advance(&wheel, START_MS + 50000);
    assert_int_equal(first.fired, 1);
    assert_int_equal(stopped.fired, 0);
    assert_int_equal(periodic.fired, 1);
    timer_wheel_advance(&wheel, START_MS + 50008);
    assert_int_equal(periodic.fired, 2);
    periodic.again_ms = 0;
    timer_wheel_advance(&wheel, START_MS + 50016);
    timer_wheel_advance(&wheel, START_MS + 50024);
    assert_int_equal(periodic.fired, 3);
    assert_int_equal(wheel.count, 0);
}

/* After an advance nothing is left that should have fired. */
static void check_none_overdue(const struct alarm *alarms, int count)
{
    for (int i = 0; i < count; i++) {
        const struct alarm *alarm = &alarms[i];
        if (timer_is_set(&alarm->timer)) {
            int64_t due_ms = alarm->wanted_ms > alarm->set_ms ? alarm->wanted_ms : alarm->set_ms;
            assert_true(due_ms + TIMER_TICK_MS > wheel.now_ms);
        }
    }
}

static void random_steps_hold_the_promise(void **state)
{
    (void)state;
    enum { COUNT = 200, STEPS = 30000 };
    static struct alarm alarms[COUNT];
    uint64_t random = SEED;
    print_message("seed: %d\n", SEED);
    timer_wheel_init(&wheel, START_MS);
    for (int i = 0; i < COUNT; i++) {
        alarm_init(&alarms[i]);
    }
    for (int step = 0; step < STEPS; step++) {
        struct alarm *alarm = &alarms[random_next(&random) % COUNT];
        int64_t range_ms = (int64_t[]){20, 500, 40000, 400000}[random_next(&random) % 4];
        uint64_t what = random_next(&random) % 10;
        if (what < 6) {
            int64_t after_ms = (int64_t)(random_next(&random) % (uint64_t)range_ms) - 5;
            alarm_set(alarm, wheel.now_ms + after_ms);
        } else if (what < 7) {
            timer_stop(&wheel, &alarm->timer);
        } else if (what < 9) {
            int64_t jump_ms = (int64_t)(random_next(&random) % (uint64_t)(range_ms / 10 + 1));
            timer_wheel_advance(&wheel, wheel.now_ms + jump_ms);
            check_none_overdue(alarms, COUNT);
        } else if (wheel.count > 0) {
            /* Nothing fires before the wait is over, and the wheel goes on at its end. */
            uint32_t before = wheel.count;
            int64_t wait_ms = timer_wheel_wait(&wheel, wheel.now_ms);
            assert_true(wait_ms > 0);
            timer_wheel_advance(&wheel, wheel.now_ms + wait_ms - 1);
            assert_int_equal(wheel.count, before);
            timer_wheel_advance(&wheel, wheel.now_ms + 1);
        }
    }
    int fired = 0;
    for (int i = 0; i < COUNT; i++) {
        fired += alarms[i].fired;
        timer_stop(&wheel, &alarms[i].timer);
    }
    assert_true(fired > STEPS / 10);
    assert_int_equal(wheel.count, 0);
    for (int i = 0; i < TIMER_SLOTS / 64; i++) {
        assert_true(wheel.busy[i] == 0);
    }
}

static void set_to_zero(void *arg)
{
    alarm_set(arg, 0);
}

static void go_back(void *arg)
{
    (void)arg;
    timer_wheel_advance(&wheel, START_MS - 1);
}

static void misuse_is_an_assert(void **state)
{
    (void)state;
    timer_wheel_init(&wheel, START_MS);
    struct alarm alarm;
    alarm_init(&alarm);
    assert_true(aborts(set_to_zero, &alarm));
    assert_true(aborts(go_back, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_at_its_deadline),
        cmocka_unit_test(moving_later_is_a_store),
        cmocka_unit_test(moving_sooner_is_heard),
        cmocka_unit_test(stop_is_final_and_harmless),
        cmocka_unit_test(far_deadlines_go_round),
        cmocka_unit_test(done_may_set_and_stop),
        cmocka_unit_test(random_steps_hold_the_promise),
        cmocka_unit_test(misuse_is_an_assert),
    };
    return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
