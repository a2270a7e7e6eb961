/*
 * loop - see net/loop.h: the part that all backends share.
 *
 *      start -> STARTED -> backend -> loop_ready() -> READY, in the ready queue -> turn -> IDLE,
 * done
 *
 * Only op_enter() writes an op's state. A turn lets the backend wait and collect, takes what is
 * ready, runs it, and then the timers: bytes that came in time win over a deadline that passed
 * while we slept.
 */
#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "net/loop_backend.h"
#include "net/pool.h"

enum { LOOP_MAGIC = 0x4c4f4f50, OP_MAGIC = 0x4f504f50 };

/* Bits of loop->fd_ops[fd]. */
enum { FD_RECV = 1, FD_SEND = 2 };

static void on_wake(struct op *op, int result);

/* ---- the life of an op ---- */

static void op_enter(struct op *op, enum op_state state)
{
    static const uint8_t next[] = {
        [OP_IDLE] = OP_STARTED,
        [OP_STARTED] = OP_READY,
        [OP_READY] = OP_IDLE,
    };
    assert(op->magic == OP_MAGIC);
    assert(op->state < sizeof(next));
    assert(next[op->state] == state);
    op->state = (uint8_t)state;
}

void op_init(struct op *op)
{
    *op = (struct op){.magic = OP_MAGIC, .fd = -1};
    list_init(&op->node);
}

static uint8_t fd_bit(enum op_kind kind)
{
    return kind == OP_SEND || kind == OP_WRITE_AT ? FD_SEND : FD_RECV;
}

/* From IDLE to STARTED; what the kind needs beyond that the caller has written. */
static void loop_start(struct loop *loop, struct op *op, enum op_kind kind, int fd, op_done *done)
{
    assert(loop->magic == LOOP_MAGIC);
    assert(done != NULL);
    assert(loop->op_count < loop->op_count_max);
    op_enter(op, OP_STARTED);
    op->kind = (uint8_t)kind;
    op->flags = 0;
    op->fd = fd;
    op->done = done;
    loop->op_count++;
    if (kind != OP_POST) {
        uint8_t bit = fd_bit(kind);
        assert(fd >= 0);
        assert((uint32_t)fd < loop->fd_count);
        assert((loop->fd_ops[fd] & bit) == 0); /* one op per direction */
        loop->fd_ops[fd] |= bit;
    }
}

void loop_ready(struct loop *loop, struct op *op, int result)
{
    op_enter(op, OP_READY);
    if (op->kind == OP_RECV) {
        loop->stats.recvs++;
    } else if (op->kind == OP_SEND) {
        loop->stats.sends++;
    } else if (op->kind == OP_ACCEPT && result >= (int)loop->fd_count) {
        loop->backend->close(loop, result); /* no room in our tables */
        result = -EMFILE;
    }
    op->result = result;
    list_push_back(&loop->ready, &op->node);
}

static void op_run(struct loop *loop, struct op *op)
{
    op_enter(op, OP_IDLE);
    if (op->kind != OP_WAKE) {
        assert(loop->op_count > 0);
        loop->op_count--;
        if (op->kind != OP_POST) {
            loop->fd_ops[op->fd] &= (uint8_t)~fd_bit((enum op_kind)op->kind);
        }
    }
    op->done(op, op->result);
}

void loop_recv(struct loop *loop, struct op *op, int fd, enum recv_hint hint, op_done *done)
{
    loop_start(loop, op, OP_RECV, fd, done);
    op->hint = (uint8_t)hint;
    op->buf = NULL;
    loop->backend->submit(loop, op);
}

void loop_send(struct loop *loop, struct op *op, int fd, const void *data, uint32_t len,
               op_done *done)
{
    assert(data != NULL);
    assert(len > 0);
    assert(len <= INT32_MAX);
    loop_start(loop, op, OP_SEND, fd, done);
    op->data = data;
    op->len = len;
    op->sent = 0;
    loop->backend->submit(loop, op);
}

void loop_connect(struct loop *loop, struct op *op, int fd, const struct sockaddr *addr,
                  socklen_t len, op_done *done)
{
    assert(addr != NULL);
    loop_start(loop, op, OP_CONNECT, fd, done);
    op->data = addr;
    op->len = len;
    loop->backend->submit(loop, op);
}

void loop_accept(struct loop *loop, struct op *op, int fd, op_done *done)
{
    loop_start(loop, op, OP_ACCEPT, fd, done);
    loop->backend->submit(loop, op);
}

static void loop_start_file(struct loop *loop, struct op *op, uint32_t len, uint64_t offset)
{
    assert(len > 0);
    assert(len <= INT32_MAX);
    assert(offset <= (uint64_t)INT64_MAX - len);
    op->len = len;
    op->sent = 0;
    op->offset = offset;
    loop->backend->submit(loop, op);
}

void loop_write_at(struct loop *loop, struct op *op, int fd, const void *data, uint32_t len,
                   uint64_t offset, op_done *done)
{
    assert(data != NULL);
    loop_start(loop, op, OP_WRITE_AT, fd, done);
    op->data = data;
    loop_start_file(loop, op, len, offset);
}

void loop_read_at(struct loop *loop, struct op *op, int fd, void *data, uint32_t len,
                  uint64_t offset, op_done *done)
{
    assert(data != NULL);
    loop_start(loop, op, OP_READ_AT, fd, done);
    op->into = data;
    loop_start_file(loop, op, len, offset);
}

void loop_post(struct loop *loop, struct op *op, op_done *done)
{
    loop_start(loop, op, OP_POST, -1, done);
    loop_ready(loop, op, 0);
}

void loop_cancel(struct loop *loop, struct op *op)
{
    assert(loop->magic == LOOP_MAGIC);
    assert(op->magic == OP_MAGIC);
    if (op->state == OP_STARTED) {
        loop->backend->cancel(loop, op);
    }
}

void loop_buf_release(struct loop *loop, struct buf *buf)
{
    assert(loop->magic == LOOP_MAGIC);
    loop->backend->buf_release(loop, buf);
}

/* ---- the loop itself ---- */

static void loop_start_wake(struct loop *loop)
{
    op_enter(&loop->wake_op, OP_STARTED);
    loop->wake_op.kind = OP_WAKE;
    loop->wake_op.flags = 0;
    loop->wake_op.done = on_wake;
    loop->backend->submit(loop, &loop->wake_op);
}

static void loop_fini_memory(struct loop *loop)
{
    if (loop->bufs.count > 0) {
        buf_pool_fini(&loop->bufs);
    }
    pages_release(loop->fd_ops, loop->fd_count);
    loop->magic = 0;
    pages_release(loop, sizeof(*loop));
}

int loop_create(struct loop **ret_loop, const struct loop_backend *backend,
                const struct loop_limits *limits, void *backend_arg)
{
    assert(limits->fd_count > 0);
    assert(limits->op_count > 0);
    struct loop *loop = pages_reserve(sizeof(*loop));
    if (loop == NULL) {
        return -ENOMEM;
    }
    loop->magic = LOOP_MAGIC;
    loop->backend = backend;
    loop->fd_count = limits->fd_count;
    loop->op_count_max = limits->op_count;
    list_init(&loop->ready);
    list_init(&loop->starved);
    op_init(&loop->wake_op);
    atomic_init(&loop->wake_pending, false);
    int result = -ENOMEM;
    loop->fd_ops = pages_reserve(loop->fd_count);
    if (loop->fd_ops == NULL) {
        goto fail;
    }
    result = buf_pool_init(&loop->bufs, limits->buf_count);
    if (result < 0) {
        goto fail;
    }
    result = backend->init(loop, limits, backend_arg);
    if (result < 0) {
        goto fail;
    }
    loop->now_ms = backend->clock_ms(loop);
    timer_wheel_init(&loop->wheel, loop->now_ms);
    loop_start_wake(loop);
    *ret_loop = loop;
    return 0;
fail:
    loop_fini_memory(loop);
    return result;
}

void loop_destroy(struct loop **ret_loop)
{
    struct loop *loop = *ret_loop;
    if (loop == NULL) {
        return;
    }
    assert(loop->magic == LOOP_MAGIC);
    assert(!loop->running);
    assert(loop->op_count == 0);
    loop->backend->fini(loop);
    loop_fini_memory(loop);
    *ret_loop = NULL;
}

const char *loop_name(const struct loop *loop)
{
    return loop->backend->name;
}

const struct loop_stats *loop_stats(const struct loop *loop)
{
    return &loop->stats;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

/* How long this turn may sleep: not at all with something ready, else up to the next deadline. */
static int64_t loop_wait_ms(struct loop *loop, int64_t wait_ms_max)
{
    if (!list_is_empty(&loop->ready) || wait_ms_max == 0) {
        return 0;
    }
    int64_t wait_ms = timer_wheel_wait(&loop->wheel, loop->backend->clock_ms(loop));
    if (wait_ms < 0) {
        return wait_ms_max;
    }
    return wait_ms_max >= 0 && wait_ms_max < wait_ms ? wait_ms_max : wait_ms;
}

int loop_run_once(struct loop *loop, int64_t wait_ms_max)
{
    assert(loop->magic == LOOP_MAGIC);
    assert(!loop->running);
    loop->stats.turns++;
    int result = loop->backend->poll(loop, loop_wait_ms(loop, wait_ms_max));
    if (result < 0) {
        return result;
    }
    loop->running = true;
    loop->now_ms = loop->backend->clock_ms(loop);
    struct list_node batch;
    list_init(&batch);
    list_splice_back(&batch, &loop->ready);
    while (!list_is_empty(&batch)) {
        op_run(loop, list_entry(list_pop_front(&batch), struct op, node));
    }
    timer_wheel_advance(&loop->wheel, loop->now_ms);
    loop->running = false;
    return 0;
}

/* ---- waking ---- */

void loop_wake(struct loop *loop)
{
    if (!atomic_exchange_explicit(&loop->wake_pending, true, memory_order_acq_rel)) {
        loop->backend->wake(loop);
    }
}

void loop_on_wake(struct loop *loop, loop_wake_done *done, void *arg)
{
    assert(loop->magic == LOOP_MAGIC);
    loop->wake_done = done;
    loop->wake_arg = arg;
}

static void on_wake(struct op *op, int result)
{
    struct loop *loop = list_entry(op, struct loop, wake_op);
    (void)result; /* there is nothing to know */
    loop_start_wake(loop);
    /* What the waker wrote before its loop_wake() is visible from here; a later wake comes again.
     */
    (void)atomic_exchange_explicit(&loop->wake_pending, false, memory_order_acq_rel);
    if (loop->wake_done != NULL) {
        loop->wake_done(loop->wake_arg);
    }
}

/* ---- timers and descriptors ---- */

void loop_timer_set(struct loop *loop, struct timer *timer, int64_t deadline_ms, timer_done *done)
{
    assert(loop->magic == LOOP_MAGIC);
    timer_set(&loop->wheel, timer, deadline_ms, done);
}

void loop_timer_stop(struct loop *loop, struct timer *timer)
{
    assert(loop->magic == LOOP_MAGIC);
    timer_stop(&loop->wheel, timer);
}

/* A new descriptor, or -errno: closed again when it has no room in our tables. */
static int fd_in_bounds(struct loop *loop, int fd)
{
    if (fd >= (int)loop->fd_count) {
        loop->backend->close(loop, fd);
        return -EMFILE;
    }
    return fd;
}

int loop_socket(struct loop *loop, int family)
{
    return fd_in_bounds(loop, loop->backend->socket(loop, family, SOCK_STREAM));
}

int loop_socket_dgram(struct loop *loop, int family)
{
    return fd_in_bounds(loop, loop->backend->socket(loop, family, SOCK_DGRAM));
}

int loop_file(struct loop *loop, const char *dir)
{
    assert(loop->magic == LOOP_MAGIC);
    assert(dir != NULL);
    return fd_in_bounds(loop, loop->backend->file(loop, dir));
}

int loop_shutdown(struct loop *loop, int fd, int how)
{
    assert(fd >= 0);
    return loop->backend->shutdown(loop, fd, how);
}

void loop_close(struct loop *loop, int fd)
{
    assert(loop->magic == LOOP_MAGIC);
    assert(fd >= 0);
    assert((uint32_t)fd < loop->fd_count);
    assert(loop->fd_ops[fd] == 0); /* an op is in flight on it */
    loop->backend->close(loop, fd);
}
