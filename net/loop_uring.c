/*
 * loop_uring - the completion contract on io_uring; the one file that knows liburing.
 *
 *   submit --> SQE --+                                        +--> loop_ready()
 *   cancel --> SQE --+--> one io_uring_enter() a turn --> CQE +--> `again`: short sends, and receives
 *   again, starved --+                                        |    that shall wait in the kernel;
 *                                                             |    short reads and writes of files
 *                                                             +--> loop->starved: no buffer left
 *
 * The ring belongs to the thread that creates it (SINGLE_ISSUER), completions are made when that
 * thread waits and at no other time (DEFER_TASKRUN). A full submission queue is submitted and tried
 * again. user_data is the op's address; a cancel's own completion is tagged and ignored. An op may
 * be started again before a cancel of its former life was submitted: both go through one queue in
 * order, so the cancel finds the former or nothing.
 *
 * Receives take their buffer from a provided-buffer ring. Only a small window of the pool is lent
 * to the kernel: it takes buffers in turn, and with all of them lent each would be cold in the
 * cache and all would become resident. When the window proves too small it doubles.
 *
 * A receive may be told that there is no buffer although it has nothing to read. It is then sent to
 * wait for readability first; only one that fails after that is known to have bytes waiting and is
 * put on loop->starved, so that each buffer that comes back goes to a receive that needs it.
 *
 * Not used: IORING_OP_SHUTDOWN (runs late, in a kernel worker, on whatever has the number by then),
 * linked requests, timeouts as requests.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/loop_backend.h"
#include "net/pool.h"

enum {
    URING_SQ_ENTRIES = 256, /* 16 KiB that stay in the cache; a longer batch is two calls */
    URING_CQ_ENTRIES_MAX = 65536,
    URING_BUF_GROUP = 0,
    URING_WINDOW_MIN = 64, /* buffers lent to the kernel, at first */
};

/* Bits of op->flags. */
enum {
    URING_QUEUED = 1,     /* in `again` or loop->starved, not in the kernel */
    URING_CANCELLED = 2,  /* a cancel was submitted */
    URING_POLL_FIRST = 4, /* wait for readability before taking a buffer */
};

static const uint64_t URING_TAG_CANCEL = 1;

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buf_ring;
    size_t buf_ring_bytes;
    int buf_mask;
    uint32_t window;        /* buffers the kernel shall have */
    uint32_t lent;          /* buffers it has */
    struct list_node again; /* ops to submit once more */
    int wake_fd;
    uint64_t wake_count; /* the wake op reads into it */
};

static void uring_collect(struct loop *loop, struct uring *uring);

static struct uring *uring_of(const struct loop *loop)
{
    return loop->backend_data;
}

/* ---- buffers ---- */

static void window_fill(struct loop *loop, struct uring *uring)
{
    int added = 0;
    while (uring->lent < uring->window) {
        struct buf *buf = buf_get(&loop->bufs);
        if (buf == NULL) {
            break;
        }
        io_uring_buf_ring_add(uring->buf_ring, buf_bytes(buf), BUF_SIZE, (unsigned short)buf->id,
                              uring->buf_mask, added);
        added++;
        uring->lent++;
    }
    if (added > 0) {
        io_uring_buf_ring_advance(uring->buf_ring, added);
    }
}

static void window_grow(const struct loop *loop, struct uring *uring)
{
    uring->window *= 2;
    if (uring->window > loop->bufs.count) {
        uring->window = loop->bufs.count;
    }
}

/* Takes back what the kernel has; it no longer looks at the ring. */
static void window_empty(struct loop *loop, struct uring *uring)
{
    while (uring->lent > 0) {
        uint32_t index = (uint32_t)uring->buf_ring->tail - uring->lent;
        uint16_t id = uring->buf_ring->bufs[index & (uint32_t)uring->buf_mask].bid;
        buf_put(&loop->bufs, &loop->bufs.bufs[id]);
        uring->lent--;
    }
}

static void uring_buf_release(struct loop *loop, struct buf *buf)
{
    buf_put(&loop->bufs, buf); /* the next poll lends it to the kernel */
}

/* ---- submitting ---- */

/* Lets the kernel take what is queued. */
static void uring_make_room(struct loop *loop, struct uring *uring)
{
    window_fill(loop, uring);
    loop->stats.enters++;
    int result = io_uring_submit(&uring->ring);
    if (result < 0) {
        /* Short of memory or of room for completions: collecting them frees both. */
        assert(result == -EINTR || result == -EAGAIN || result == -EBUSY);
        (void)io_uring_get_events(&uring->ring); /* failing as above: tried again by the caller */
        uring_collect(loop, uring);
    }
}

static struct io_uring_sqe *uring_sqe(struct loop *loop, struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    while (sqe == NULL) {
        uring_make_room(loop, uring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

static void prepare_recv(struct io_uring_sqe *sqe, const struct op *op)
{
    io_uring_prep_recv(sqe, op->fd, NULL, BUF_SIZE, 0);
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUF_GROUP;
    sqe->ioprio = (op->flags & URING_POLL_FIRST) != 0 ? IORING_RECVSEND_POLL_FIRST : 0;
}

static void uring_prepare(struct loop *loop, struct op *op)
{
    struct uring *uring = uring_of(loop);
    struct io_uring_sqe *sqe = uring_sqe(loop, uring);
    switch ((enum op_kind)op->kind) {
    case OP_RECV:
        prepare_recv(sqe, op);
        break;
    case OP_SEND:
        io_uring_prep_send(sqe, op->fd, (const char *)op->data + op->sent, op->len - op->sent,
                           MSG_NOSIGNAL | MSG_WAITALL);
        break;
    case OP_CONNECT:
        io_uring_prep_connect(sqe, op->fd, op->data, op->len);
        break;
    case OP_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        break;
    case OP_READ_AT:
        io_uring_prep_read(sqe, op->fd, (char *)op->into + op->sent, op->len - op->sent,
                           op->offset + op->sent);
        break;
    case OP_WRITE_AT:
        io_uring_prep_write(sqe, op->fd, (const char *)op->data + op->sent, op->len - op->sent,
                            op->offset + op->sent);
        break;
    case OP_WAKE:
        io_uring_prep_read(sqe, uring->wake_fd, &uring->wake_count, sizeof(uring->wake_count), 0);
        break;
    case OP_POST:
    case OP_NONE:
        assert(!"an op for the backend");
    }
    io_uring_sqe_set_data(sqe, op);
}

static void uring_submit(struct loop *loop, struct op *op)
{
    if (op->kind == OP_RECV && op->hint == RECV_LATER) {
        op->flags = URING_POLL_FIRST;
    }
    uring_prepare(loop, op);
}

static void uring_cancel(struct loop *loop, struct op *op)
{
    if ((op->flags & URING_QUEUED) != 0) {
        list_remove(&op->node);
        loop_ready(loop, op, -ECANCELED);
        return;
    }
    if ((op->flags & URING_CANCELLED) != 0) {
        return;
    }
    op->flags |= URING_CANCELLED;
    struct io_uring_sqe *sqe = uring_sqe(loop, uring_of(loop));
    io_uring_prep_cancel(sqe, op, 0);
    sqe->user_data = (uintptr_t)op | URING_TAG_CANCEL;
}

/* ---- completing ---- */

static void uring_queue(struct list_node *queue, struct op *op)
{
    op->flags |= URING_QUEUED;
    list_push_back(queue, &op->node);
}

/* Submits an op once more, unless it was cancelled meanwhile. */
static void uring_again(struct loop *loop, struct uring *uring, struct op *op)
{
    if ((op->flags & URING_CANCELLED) != 0) {
        loop_ready(loop, op, -ECANCELED);
    } else {
        uring_queue(&uring->again, op);
    }
}

static void recv_without_buffer(struct loop *loop, struct uring *uring, struct op *op)
{
    bool polled = (op->flags & URING_POLL_FIRST) != 0;
    if ((op->flags & URING_CANCELLED) != 0) {
        loop_ready(loop, op, -ECANCELED);
    } else if (loop->bufs.free_count > 0) {
        window_grow(loop, uring);
        uring_again(loop, uring, op);
    } else if (!polled) {
        op->flags |= URING_POLL_FIRST;
        uring_again(loop, uring, op);
    } else {
        op->flags &= (uint8_t)~URING_POLL_FIRST;
        loop->stats.starved++;
        uring_queue(&loop->starved, op);
    }
}

static void recv_complete(struct loop *loop, struct uring *uring, struct op *op,
                          const struct io_uring_cqe *cqe)
{
    struct buf *buf = NULL;
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        uint32_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        assert(id < loop->bufs.count);
        assert(uring->lent > 0);
        buf = &loop->bufs.bufs[id];
        uring->lent--;
    }
    if (cqe->res > 0) {
        assert(buf != NULL);
        buf->end += (uint32_t)cqe->res;
        op->buf = buf;
        loop_ready(loop, op, cqe->res);
        return;
    }
    if (buf != NULL) {
        buf_put(&loop->bufs, buf);
    }
    if (cqe->res == -ENOBUFS) {
        recv_without_buffer(loop, uring, op);
    } else if (cqe->res == -EINTR) {
        uring_again(loop, uring, op);
    } else {
        loop_ready(loop, op, cqe->res);
    }
}

static void send_complete(struct loop *loop, struct uring *uring, struct op *op, int result)
{
    if (result > 0) {
        op->sent += (uint32_t)result;
        assert(op->sent <= op->len);
    }
    if (op->sent == op->len) {
        loop_ready(loop, op, (int)op->len);
    } else if (result >= 0 || result == -EINTR) {
        uring_again(loop, uring, op);
    } else {
        loop_ready(loop, op, result);
    }
}

static void file_complete(struct loop *loop, struct uring *uring, struct op *op, int result)
{
    if (result > 0) {
        op->sent += (uint32_t)result;
        assert(op->sent <= op->len);
    }
    bool at_end = result == 0 && op->kind == OP_READ_AT;
    if (op->sent == op->len || at_end) {
        loop_ready(loop, op, (int)op->sent);
    } else if (result > 0 || result == -EINTR) {
        uring_again(loop, uring, op);
    } else {
        loop_ready(loop, op, result == 0 ? -EIO : result);
    }
}

static void uring_complete(struct loop *loop, struct uring *uring, const struct io_uring_cqe *cqe)
{
    if ((cqe->user_data & URING_TAG_CANCEL) != 0) {
        return; /* whether it won shows in the op's own completion */
    }
    struct op *op = (struct op *)(uintptr_t)cqe->user_data;
    assert(op->state == OP_STARTED);
    switch ((enum op_kind)op->kind) {
    case OP_RECV:
        recv_complete(loop, uring, op, cqe);
        break;
    case OP_SEND:
        send_complete(loop, uring, op, cqe->res);
        break;
    case OP_READ_AT:
    case OP_WRITE_AT:
        file_complete(loop, uring, op, cqe->res);
        break;
    case OP_CONNECT:
    case OP_ACCEPT:
        if (cqe->res == -EINTR) {
            uring_again(loop, uring, op);
        } else {
            loop_ready(loop, op, cqe->res);
        }
        break;
    case OP_WAKE:
        assert(cqe->res == sizeof(uring->wake_count) || cqe->res == -ECANCELED ||
               cqe->res == -EINTR);
        loop_ready(loop, op, 0);
        break;
    case OP_POST:
    case OP_NONE:
        assert(!"an op of the backend");
    }
}

static void uring_collect(struct loop *loop, struct uring *uring)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;
    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        uring_complete(loop, uring, cqe);
        count++;
    }
    io_uring_cq_advance(&uring->ring, count);
    assert(*uring->ring.cq.koverflow == 0); /* a completion lost would be an op lost */
}

/* ---- the turn ---- */

static void uring_resubmit(struct loop *loop, struct uring *uring)
{
    struct list_node *node;
    while ((node = list_pop_front(&uring->again)) != NULL) {
        struct op *op = list_entry(node, struct op, node);
        op->flags &= (uint8_t)~URING_QUEUED;
        uring_prepare(loop, op);
    }
    for (uint32_t i = 0; i < uring->lent && !list_is_empty(&loop->starved); i++) {
        struct op *op = list_entry(list_pop_front(&loop->starved), struct op, node);
        op->flags &= (uint8_t)~URING_QUEUED;
        uring_prepare(loop, op);
    }
}

/* Submits, waits, and lets the kernel make completions, in one call. */
static int uring_enter(struct uring *uring, int64_t wait_ms)
{
    if (wait_ms == 0) {
        return io_uring_submit_and_get_events(&uring->ring);
    }
    struct io_uring_cqe *cqe;
    struct __kernel_timespec timeout = {
        .tv_sec = wait_ms / 1000,
        .tv_nsec = wait_ms % 1000 * 1000000,
    };
    return io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, wait_ms < 0 ? NULL : &timeout,
                                            NULL);
}

static int uring_poll(struct loop *loop, int64_t wait_ms)
{
    struct uring *uring = uring_of(loop);
    window_fill(loop, uring);
    uring_resubmit(loop, uring);
    loop->stats.enters++;
    int result = uring_enter(uring, wait_ms);
    uring_collect(loop, uring);
    /* Time over, a signal, short of memory or of room: the next turn goes on. */
    bool passes = result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
                  result == -EBUSY;
    return passes ? 0 : result;
}

static void uring_wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t len = write(uring_of(loop)->wake_fd, &one, sizeof(one));
    assert(len == sizeof(one));
}

/* ---- the ring ---- */

/* The best set of flags that this kernel has. 0 or -errno. */
static int ring_create(struct io_uring *ring, uint32_t cq_entries)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
            IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN,
        0,
    };
    int result = -EINVAL;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && result == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = cq_entries,
        };
        result = io_uring_queue_init_params(URING_SQ_ENTRIES, ring, &params);
    }
    if (result == 0) {
        (void)io_uring_register_ring_fd(ring); /* saves a look-up per call where it exists */
    }
    return result;
}

static int window_init(struct loop *loop, struct uring *uring)
{
    uint32_t entries = 1;
    while (entries < loop->bufs.count) {
        entries *= 2;
    }
    uring->buf_mask = io_uring_buf_ring_mask(entries);
    uring->window = loop->bufs.count < URING_WINDOW_MIN ? loop->bufs.count : URING_WINDOW_MIN;
    uring->buf_ring_bytes = entries * sizeof(struct io_uring_buf);
    uring->buf_ring = pages_reserve(uring->buf_ring_bytes);
    if (uring->buf_ring == NULL) {
        return -ENOMEM;
    }
    io_uring_buf_ring_init(uring->buf_ring);
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)uring->buf_ring,
        .ring_entries = entries,
        .bgid = URING_BUF_GROUP,
    };
    int result = io_uring_register_buf_ring(&uring->ring, &reg, 0);
    if (result != 0) {
        pages_release(uring->buf_ring, uring->buf_ring_bytes);
    }
    return result;
}

/* Room for every op's completion and for that of a cancel of it. */
static uint32_t cq_entries_for(uint32_t op_count)
{
    uint32_t entries = op_count < URING_CQ_ENTRIES_MAX / 2 ? 2 * op_count + 2 : op_count;
    if (entries < 2 * URING_SQ_ENTRIES) {
        return 2 * URING_SQ_ENTRIES;
    }
    return entries < URING_CQ_ENTRIES_MAX ? entries : URING_CQ_ENTRIES_MAX;
}

static int uring_init(struct loop *loop, const struct loop_limits *limits, void *arg)
{
    (void)arg;
    struct uring *uring = pages_reserve(sizeof(*uring));
    if (uring == NULL) {
        return -ENOMEM;
    }
    list_init(&uring->again);
    /* Blocking: a non-blocking one would fail the read instead of waiting. */
    uring->wake_fd = eventfd(0, EFD_CLOEXEC);
    int result = uring->wake_fd < 0 ? -errno : 0;
    if (result < 0) {
        goto fail;
    }
    result = ring_create(&uring->ring, cq_entries_for(limits->op_count));
    if (result < 0) {
        goto fail_ring;
    }
    result = window_init(loop, uring);
    if (result < 0) {
        goto fail_window;
    }
    loop->backend_data = uring;
    return 0;
fail_window:
    io_uring_queue_exit(&uring->ring);
fail_ring:
    (void)close(uring->wake_fd); /* nothing to lose in it */
fail:
    pages_release(uring, sizeof(*uring));
    return result;
}

/* The kernel may write to the wake op's counter until it is done. */
static void wake_join(struct loop *loop)
{
    if (loop->wake_op.state == OP_STARTED) {
        uring_cancel(loop, &loop->wake_op);
    }
    while (loop->wake_op.state == OP_STARTED) {
        int result = uring_poll(loop, -1);
        assert(result == 0);
    }
}

static void uring_fini(struct loop *loop)
{
    struct uring *uring = uring_of(loop);
    wake_join(loop);
    (void)io_uring_unregister_buf_ring(&uring->ring, URING_BUF_GROUP); /* or the exit does it */
    io_uring_queue_exit(&uring->ring);
    window_empty(loop, uring);
    pages_release(uring->buf_ring, uring->buf_ring_bytes);
    (void)close(uring->wake_fd); /* nothing to lose in it */
    pages_release(uring, sizeof(*uring));
    loop->backend_data = NULL;
}

const struct loop_backend loop_uring = {
    .name = "io_uring",
    .init = uring_init,
    .fini = uring_fini,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .poll = uring_poll,
    .buf_release = uring_buf_release,
    .clock_ms = loop_os_clock_ms,
    .socket = loop_os_socket,
    .file = loop_os_file,
    .shutdown = loop_os_shutdown,
    .close = loop_os_close,
    .wake = uring_wake,
};
