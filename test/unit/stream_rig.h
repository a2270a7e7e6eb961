/*
 * stream_rig - what the tests of a stream with a cipher share: an owner that writes down what it is
 * told, holds the stream to its contract, and a far end that speaks in records.
 *
 * The owner checks by itself: no event inside a call, one event for each ask, none behind a stop,
 * bytes in order (plaintext is counted up, byte by byte). Included by test/unit/test_stream*.c only.
 */
#ifndef TEST_UNIT_STREAM_RIG_H
#define TEST_UNIT_STREAM_RIG_H

#include <stdlib.h>

#include "net/stream.h"
#include "test/toy_cipher.h"
#include "test/unit/loop_clause.h"

enum {
    FAR_MAX = 1 << 19,
    STEP_WHOLE = FAR_MAX,
    CHUNKS = STREAM_CHUNKS,
    RIG_EVENTS = STREAM_STOPPED + 1
};

struct rig {
    struct world *world;
    struct pool chunks;
    struct stream stream;
    struct toy toy;
    int far;        /* -1: closed */
    uint32_t keep;  /* bytes that the owner leaves unread when it asks for more */
    bool reads;     /* asks again whenever something has come */
    bool inside;    /* a call is running */
    bool stopped;   /* stream_stop() has been called */
    int asked_read; /* events that are due */
    int asked_send;
    int asked_secure;
    int counts[RIG_EVENTS];
    int results[RIG_EVENTS]; /* the last of each */
    uint64_t got;            /* plaintext so far */
    uint64_t put;            /* plaintext handed to the stream so far */
    uint32_t far_out_at;     /* what the far end has still to write */
    uint32_t far_out_len;
    uint32_t far_in_len; /* what it has read */
    uint32_t closes;     /* records it has seen */
    uint32_t answers;
    uint32_t alerts;
    uint64_t far_put; /* plaintext of its records so far */
    uint64_t far_got;
    bool far_ended;
    char far_out[FAR_MAX];
    char far_in[FAR_MAX];
};

static struct rig rig; /* used by one test after the other */

static inline char pattern(uint64_t at)
{
    return (char)(at * 7 + at / 251);
}

static inline int rig_read(void)
{
    bool was_reading = stream_is_reading(&rig.stream);
    rig.inside = true;
    int result = stream_read(&rig.stream, RECV_LATER);
    rig.inside = false;
    rig.asked_read += result == 0 && !was_reading ? 1 : 0;
    return result;
}

/* Takes what is in the window, all but `keep` bytes. */
static inline void rig_take(void)
{
    uint32_t len = stream_len(&rig.stream);
    uint32_t taken = len > rig.keep ? len - rig.keep : 0;
    const char *bytes = stream_bytes(&rig.stream);
    for (uint32_t i = 0; i < taken; i++) {
        assert_int_equal(bytes[i], pattern(rig.got + i));
    }
    rig.got += taken;
    rig.inside = true;
    stream_consume(&rig.stream, taken);
    rig.inside = false;
}

static inline void rig_on_event(struct stream *stream, enum stream_event event, int result)
{
    assert_ptr_equal(stream, &rig.stream);
    assert_false(rig.inside);
    assert_true(!rig.stopped || event == STREAM_STOPPED);
    rig.counts[event]++;
    rig.results[event] = result;
    switch (event) {
    case STREAM_RECEIVED:
        assert_true(result > 0);
        rig.asked_read--;
        rig_take();
        if (rig.reads) {
            assert_int_equal(rig_read(), 0);
        }
        break;
    case STREAM_ENDED:
        assert_true(result <= 0);
        rig.asked_read--;
        break;
    case STREAM_SENT:
        assert_true(result <= 0);
        assert_false(stream_is_sending(stream));
        rig.asked_send--;
        break;
    case STREAM_SECURED:
        assert_true(result <= 0);
        rig.asked_secure--;
        if (result == 0) {
            rig_take(); /* what came in one piece with the end of the handshake */
        }
        break;
    case STREAM_CONNECTED:
    case STREAM_STOPPED:
        break;
    }
    assert_true(rig.asked_read >= 0);
    assert_true(rig.asked_send >= 0);
    assert_true(rig.asked_secure >= 0);
}

static inline void rig_secure(const struct toy_step *steps)
{
    toy_init(&rig.toy, steps);
    rig.asked_secure++;
    rig.inside = true;
    stream_secure(&rig.stream, &rig.toy.cipher);
    rig.inside = false;
}

static inline void rig_connect(void)
{
    int ours;
    world_pair(rig.world, &ours, &rig.far);
    rig.stopped = false;
    rig.far_ended = false;
    stream_open(&rig.stream, ours);
}

static inline void rig_open(struct world *world)
{
    memset(&rig, 0, offsetof(struct rig, far_out));
    rig.world = world;
    assert_int_equal(pool_init(&rig.chunks, STREAM_CHUNK_SIZE, CHUNKS), 0);
    stream_init(&rig.stream, world->loop, &rig.chunks, rig_on_event);
    rig_connect();
}

/* ---- the owner writes ---- */

static inline int rig_gather(uint32_t len)
{
    static char bytes[STREAM_CHUNK_SIZE];
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = pattern(rig.put + i);
    }
    rig.inside = true;
    int result = stream_put(&rig.stream, bytes, len);
    rig.inside = false;
    rig.put += result == 0 ? len : 0;
    return result;
}

static inline void rig_flush(void)
{
    bool due = stream_has_unsent(&rig.stream) && !stream_is_sending(&rig.stream);
    rig.inside = true;
    stream_flush(&rig.stream);
    rig.inside = false;
    rig.asked_send += due ? 1 : 0;
}

static inline void rig_send(uint32_t len)
{
    assert_int_equal(rig_gather(len), 0);
    rig_flush();
}

/* ---- the far end ---- */

static inline void far_put_raw(const char *bytes, uint32_t len)
{
    assert_true(rig.far_out_len + len <= FAR_MAX);
    memcpy(rig.far_out + rig.far_out_len, bytes, len);
    rig.far_out_len += len;
}

static inline void far_put(enum toy_type type, uint32_t len)
{
    static char bytes[TOY_RECORD_MAX];
    static char record[TOY_HEADER + TOY_RECORD_MAX];
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = pattern(rig.far_put + i);
    }
    rig.far_put += type == TOY_DATA ? len : 0;
    far_put_raw(record, toy_record(record, type, bytes, len));
}

/* Writes at most `step` bytes. True when it wrote any. */
static inline bool far_write_some(uint32_t step)
{
    uint32_t len = rig.far_out_len - rig.far_out_at;
    len = len < step ? len : step;
    if (rig.far < 0 || len == 0) {
        return false;
    }
    int64_t done = far_write(rig.world, rig.far, rig.far_out + rig.far_out_at, len);
    rig.far_out_at += done > 0 ? (uint32_t)done : 0;
    return done > 0;
}

/* The records that have come; nothing may come behind a close. */
static inline void far_digest(void)
{
    static char clear[TOY_RECORD_MAX];
    char type = 0;
    int len;
    while ((len = toy_parse(rig.far_in, rig.far_in_len, &type, clear)) != 0) {
        assert_true(len > 0);
        assert_int_equal(rig.closes, 0);
        rig.closes += type == TOY_CLOSE;
        rig.answers += type == TOY_ANSWER;
        rig.alerts += type == TOY_ALERT;
        for (int i = 0; type == TOY_DATA && i < len - TOY_HEADER; i++) {
            assert_int_equal(clear[i], pattern(rig.far_got++));
        }
        rig.far_in_len -= (uint32_t)len;
        memmove(rig.far_in, rig.far_in + len, rig.far_in_len);
    }
}

static inline bool far_read_some(void)
{
    if (rig.far < 0 || rig.far_ended) {
        return false;
    }
    int64_t got =
        far_read(rig.world, rig.far, rig.far_in + rig.far_in_len, FAR_MAX - rig.far_in_len);
    if (got <= 0) {
        rig.far_ended = got != -EAGAIN;
        return false;
    }
    rig.far_in_len += (uint32_t)got;
    far_digest();
    return true;
}

/* ---- turns ---- */

/* Everybody, until nothing has moved for a while. The far end writes in steps (0: not at all) and
 * may be deaf. */
static inline void rig_run(uint32_t step, bool deaf)
{
    int still_max = rig.world->sim != NULL ? 40 : 5;
    for (int turn = 0, still = 0; still < still_max; turn++) {
        assert_true(turn < 1000000);
        uint64_t ops = loop_stats(rig.world->loop)->recvs + loop_stats(rig.world->loop)->sends;
        bool moved = far_write_some(step);
        assert_int_equal(loop_run_once(rig.world->loop, rig.world->sim != NULL || moved ? 0 : 1),
                         0);
        moved |= !deaf && far_read_some();
        moved |= loop_stats(rig.world->loop)->recvs + loop_stats(rig.world->loop)->sends != ops;
        still = moved ? 0 : still + 1;
    }
}

static inline void rig_stop(enum stream_stop_how how)
{
    rig.stopped = true;
    rig.inside = true;
    stream_stop(&rig.stream, how);
    rig.inside = false;
}

/* All is given back. */
static inline void rig_check_closed(void)
{
    assert_true(stream_is_closed(&rig.stream));
    assert_true(rig.counts[STREAM_STOPPED] <= 1);
    assert_int_equal(rig.chunks.used, 0);
    const struct buf_pool *bufs = &rig.world->loop->bufs;
    if (rig.world->loop->backend != &loop_uring) { /* whose kernel keeps the free ones */
        assert_int_equal(bufs->free_count, bufs->count);
    }
}

static inline void rig_hang_up(void)
{
    if (rig.far >= 0) {
        far_close(rig.world, rig.far);
        rig.far = -1;
    }
}

static inline void rig_close(void)
{
    if (!stream_is_closed(&rig.stream)) {
        rig_stop(STOP_NOW);
        rig_run(0, false);
    }
    rig_check_closed();
    rig_hang_up();
    pool_fini(&rig.chunks);
}

/* ---- ready-made beginnings ---- */

/* A server: a flight of 40 in, one of 300 out, one of 20 in. A client: 40 out, 300 in, 20 out, so
 * that the handshake ends with a send. */
static const struct toy_step as_server[] = {{false, 40}, {true, 300}, {false, 20}, {false, 0}};
static const struct toy_step as_client[] = {{true, 40}, {false, 300}, {true, 20}, {false, 0}};

static inline void far_put_flights(const struct toy_step *steps)
{
    for (; steps->len > 0; steps++) {
        if (!steps->is_out) {
            far_put(TOY_HANDSHAKE, steps->len);
        }
    }
}

static inline void rig_open_secured(struct world *world, const struct toy_step *steps)
{
    rig_open(world);
    rig_secure(steps);
    far_put_flights(steps);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.counts[STREAM_SECURED], 1);
    assert_int_equal(rig.results[STREAM_SECURED], 0);
    assert_true(stream_is_secured(&rig.stream));
}

#endif
