/*
 * test_stream_stop - a stream with a cipher is stopped in every state and in every way, hurried up,
 * used again; and its pool of chunks is empty at every step of an exchange.
 *
 * In each case: no event behind the stop but one STREAM_STOPPED, all chunks and buffers are back, and
 * the close record, where one is due, comes once and behind the last byte of data.
 */
#include "test/unit/stream_rig.h"

/* ---- states to be stopped in ---- */

static void state_posted_handshake(void)
{
    rig_open(rig.world);
    rig_secure(as_server);
}

static void state_waits_for_a_flight(void)
{
    state_posted_handshake();
    far_put_flights(as_server);
    rig.far_out_len = 44 + 3;
    rig_run(STEP_WHOLE, false);
}

static void state_failed_handshake(void)
{
    state_posted_handshake();
    far_put(TOY_DATA, 1);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.results[STREAM_SECURED], TOY_ERROR);
}

static void state_quiet(void)
{
    rig_open_secured(rig.world, as_server);
}

static void state_reads(void)
{
    state_quiet();
    assert_int_equal(rig_read(), 0);
    rig_run(0, false);
}

static void state_has_raw_bytes(void)
{
    rig_open(rig.world);
    rig_secure(as_server);
    far_put_flights(as_server);
    far_put(TOY_DATA, 50);
    rig_run(STEP_WHOLE, false);
    assert_true(stream_is_secured(&rig.stream));
}

static void state_posted_decrypting(void)
{
    state_has_raw_bytes();
    assert_int_equal(rig_read(), 0);
}

static void state_has_a_window(void)
{
    state_reads();
    rig.keep = 1 << 20;
    far_put(TOY_DATA, 300);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(stream_len(&rig.stream), 300);
}

static void state_has_gathered(void)
{
    state_reads();
    assert_int_equal(rig_gather(777), 0);
}

static void state_has_flushed(void)
{
    state_reads();
    rig_send(777);
}

static void state_send_is_blocked(void)
{
    state_reads();
    world_shrink(rig.world, rig.stream.fd, rig.far);
    for (int i = 0; i < 400 && !stream_is_sending(&rig.stream); i++) {
        rig_send(STREAM_CHUNK_SIZE);
        rig_run(0, true);
    }
    assert_true(stream_is_sending(&rig.stream));
}

static void state_decrypting_awaits_a_send(void)
{
    state_send_is_blocked();
    far_put(TOY_UPDATE, 0);
    far_put(TOY_DATA, 5);
    rig_run(STEP_WHOLE, true);
    assert_true(rig.stream.awaits_flush);
}

static void state_peer_has_closed(void)
{
    state_reads();
    far_put(TOY_CLOSE, 0);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.counts[STREAM_ENDED], 1);
}

static void state_peer_has_ended(void)
{
    state_reads();
    far_eof(rig.world, rig.far);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.results[STREAM_ENDED], -ECONNABORTED);
}

static void state_bad_record(void)
{
    state_reads();
    far_put(TOY_ALERT, 0);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.results[STREAM_ENDED], TOY_ERROR);
}

static void state_peer_is_gone(void)
{
    state_reads();
    far_reset(rig.world, rig.far);
    rig.far = -1;
    rig_run(0, false);
    assert_int_equal(rig.counts[STREAM_ENDED], 1);
}

static const struct {
    void (*enter)(void);
    bool says_close; /* at an orderly stop */
} states[] = {
    {state_posted_handshake, false},
    {state_waits_for_a_flight, false},
    {state_failed_handshake, false},
    {state_quiet, true},
    {state_reads, true},
    {state_has_raw_bytes, true},
    {state_posted_decrypting, true},
    {state_has_a_window, true},
    {state_has_gathered, true},
    {state_has_flushed, true},
    {state_send_is_blocked, true},
    {state_decrypting_awaits_a_send, true},
    {state_peer_has_closed, true},
    {state_peer_has_ended, true},
    {state_bad_record, false},
    {state_peer_is_gone, false},
};

enum { STATES = sizeof(states) / sizeof(states[0]) };

/* The far end ends as soon as it has seen ours, so that lingering comes to its end. */
static void run_to_the_end(void)
{
    for (int i = 0; i < 100 && !stream_is_closed(&rig.stream); i++) {
        rig_run(0, false);
        if (rig.far >= 0 && rig.far_ended) {
            rig_hang_up();
        }
    }
}

static void check_stopped(bool was_closed, size_t state, enum stream_stop_how how)
{
    rig_check_closed();
    assert_int_equal(rig.counts[STREAM_STOPPED], was_closed ? 0 : 1);
    if (how != STOP_NOW) {
        assert_int_equal(rig.closes, states[state].says_close);
        assert_int_equal(rig.far_got, states[state].says_close ? rig.put : rig.far_got);
    }
    rig_hang_up();
    pool_fini(&rig.chunks);
}

static void stopped_in_every_state(struct world *world)
{
    for (size_t i = 0; i < STATES; i++) {
        for (int how = STOP_DRAIN; how <= STOP_NOW; how++) {
            rig.world = world;
            states[i].enter();
            rig_stop((enum stream_stop_how)how);
            bool was_closed = stream_is_closed(&rig.stream);
            run_to_the_end();
            check_stopped(was_closed, i, (enum stream_stop_how)how);
        }
    }
}

/* First gently, then now: after 0 to 3 turns. */
static void hurried_up_in_every_state(struct world *world)
{
    for (size_t i = 0; i < STATES; i++) {
        for (int turns = 0; turns < 4; turns++) {
            rig.world = world;
            states[i].enter();
            rig_stop(turns % 2 == 0 ? STOP_DRAIN : STOP_LINGER);
            bool was_closed = stream_is_closed(&rig.stream);
            world_turns(world, turns, 0);
            rig_stop(STOP_NOW);
            rig_stop(STOP_LINGER); /* weaker: changes nothing */
            was_closed =
                was_closed || (stream_is_closed(&rig.stream) && rig.counts[STREAM_STOPPED] == 0);
            run_to_the_end();
            check_stopped(was_closed, i, STOP_NOW);
        }
    }
}

/* ---- again ---- */

static void used_again_after_every_state(struct world *world)
{
    for (size_t i = 0; i < STATES; i++) {
        rig.world = world;
        states[i].enter();
        rig_stop(STOP_NOW);
        run_to_the_end();
        rig_check_closed();
        rig_hang_up();
        struct stream stream = rig.stream; /* as the last use has left it */
        struct pool chunks = rig.chunks;
        memset(&rig, 0, offsetof(struct rig, far_out));
        rig.world = world;
        rig.stream = stream;
        rig.chunks = chunks;
        op_init(&rig.stream.rx);
        op_init(&rig.stream.tx);
        rig_connect();
        far_put_raw("plain", 5); /* without a cipher at first */
        rig.keep = 1 << 20;
        assert_int_equal(rig_read(), 0);
        rig_run(STEP_WHOLE, false);
        assert_memory_equal(stream_bytes(&rig.stream), "plain", 5);
        stream_consume(&rig.stream, 5);
        rig.keep = 0;
        rig_secure(as_client);
        far_put_flights(as_client);
        far_put(TOY_DATA, 10);
        rig_run(STEP_WHOLE, false);
        assert_int_equal(rig.results[STREAM_SECURED], 0);
        assert_int_equal(rig_read(), 0);
        rig_send(10);
        rig_run(0, false);
        assert_int_equal(rig.got, 10);
        assert_int_equal(rig.far_got, 10);
        rig_close();
    }
}

/* ---- no chunk is free ---- */

static uint32_t starve_at; /* the step at which all free chunks are taken away */
static uint32_t starve_step;
static void *stolen[CHUNKS];
static uint32_t stolen_count;

static void starve(void)
{
    while (starve_step == starve_at && stolen_count < CHUNKS &&
           (stolen[stolen_count] = pool_get(&rig.chunks)) != NULL) {
        stolen_count++;
    }
    starve_step++;
}

static void feed(void)
{
    while (stolen_count > 0) {
        pool_put(&rig.chunks, stolen[--stolen_count]);
    }
}

/* One turn of everybody at a time, and before each of them the pool may become empty. */
static void starved_run(void)
{
    for (int turn = 0; turn < 12; turn++) {
        starve();
        assert_int_equal(loop_run_once(rig.world->loop, rig.world->sim != NULL ? 0 : 1), 0);
        (void)far_write_some(STEP_WHOLE);
        (void)far_read_some();
    }
}

static int error_so_far(void)
{
    for (int event = 0; event < RIG_EVENTS; event++) {
        if (rig.results[event] < 0) {
            return rig.results[event];
        }
    }
    return 0;
}

/* 0 when the whole exchange went well, else the error that was met. */
static int starved_exchange(struct world *world)
{
    rig_open(world);
    rig_secure(as_client);
    far_put_flights(as_client);
    starved_run();
    if (error_so_far() < 0) {
        return error_so_far();
    }
    rig.keep = 30;
    far_put(TOY_DATA, 100);
    far_put(TOY_UPDATE, 0);
    starve();
    int result = rig_read();
    starved_run();
    far_put(TOY_DATA, 100);
    starve();
    result = result == 0 ? rig_read() : result;
    starved_run();
    starve();
    result = result == 0 && error_so_far() == 0 ? rig_gather(20) : result;
    if (result < 0 || error_so_far() < 0) {
        return error_so_far() < 0 ? error_so_far() : result; /* a read behind the end: -EPIPE */
    }
    starve();
    rig_flush();
    starved_run();
    assert_int_equal(rig.counts[STREAM_SENT], 1);
    return error_so_far();
}

static void empty_pool_at_every_step(struct world *world)
{
    uint32_t failed = 0;
    uint32_t events[RIG_EVENTS] = {0};
    starve_at = 0;
    starve_step = UINT32_MAX;
    for (starve_at = 0; starve_step >= starve_at; starve_at++) {
        starve_step = 0;
        int result = starved_exchange(world);
        assert_true(result == 0 || result == -ENOBUFS);
        failed += result < 0;
        for (int event = 0; event < RIG_EVENTS; event++) {
            events[event] += rig.results[event] == -ENOBUFS;
        }
        starve();
        rig_stop(STOP_DRAIN); /* without a chunk there is no close record, but an end */
        run_to_the_end();
        assert_true(stream_is_closed(&rig.stream));
        if (result == 0 && stolen_count == 0) {
            assert_int_equal(rig.closes, 1);
        }
        feed();
        rig_close();
    }
    assert_true(failed > 5);
    assert_true(events[STREAM_SECURED] > 0);
    assert_true(events[STREAM_ENDED] > 0);
    assert_true(events[STREAM_SENT] > 0);
}

int main(int argc, char **argv)
{
    static const struct clause clauses[] = {
        CLAUSE(stopped_in_every_state),
        CLAUSE(hurried_up_in_every_state),
        CLAUSE(used_again_after_every_state),
        CLAUSE(empty_pool_at_every_step),
    };
    return clauses_run("stream_stop", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
}
