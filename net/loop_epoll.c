/*
 * loop_epoll - the completion contract on top of readiness.
 *
 *      submit --> try the system call --> done at once: loop_ready()
 *                        |  EAGAIN
 *                        v
 *      slot of the descriptor: one parked rx, one parked tx  <-- edge from epoll: try again
 *
 * A slot is indexed by descriptor and registered once, edge-triggered, the first time something is
 * parked on it; adding it reports the readiness it has by then, so no edge is lost. Interest in
 * output is added the first time a send meets a full socket: most never do, and would only wake the
 * loop once more for nothing. An edge that nobody waits for is remembered in may_read and
 * may_write.
 *
 * A receive borrows a buffer for the system call alone and keeps it only with bytes in it. A short
 * read tells that the socket is empty, which saves the call that would say EAGAIN; but not after
 * the peer's end has been seen, because that edge does not come again.
 *
 * A regular file is always ready and unknown to epoll: its reads and writes are made where they are
 * submitted, and only their completion waits for the turn.
 *
 * Each event carries the generation of its slot: when a descriptor lives on elsewhere after our
 * close, its events still arrive here and must not be taken for those of a new descriptor with the
 * same number.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/loop_backend.h"
#include "net/pool.h"

enum {
    EPOLL_BATCH = 256, /* events taken in one turn */
    EPOLL_INPUT = (int)(EPOLLIN | EPOLLRDHUP),
    EPOLL_ENDED = (int)(EPOLLRDHUP | EPOLLHUP | EPOLLERR),
};

static const uint64_t EPOLL_WAKE_DATA = UINT64_MAX;

struct slot {
    struct op *rx; /* parked receive, accept or connect */
    struct op *tx; /* parked send */
    uint32_t generation;
    uint32_t mask;  /* what it is registered for; 0: not registered */
    bool not_read;  /* a read would say EAGAIN, as far as we know */
    bool not_write; /* likewise a write */
    bool ended;     /* end or error of the peer seen: reading never says EAGAIN again */
    bool dgram;     /* a short read is one datagram, and the next may wait behind it */
};

struct epoll {
    int fd;
    int wake_fd;
    size_t slot_count;
    struct slot *slots;
    struct epoll_event events[EPOLL_BATCH];
};

static struct epoll *epoll_of(const struct loop *loop)
{
    return loop->backend_data;
}

static struct slot *slot_of(const struct loop *loop, int fd)
{
    assert(fd >= 0);
    assert((uint32_t)fd < loop->fd_count);
    return &epoll_of(loop)->slots[fd];
}

/* ---- parking ---- */

/* Registers the descriptor for `mask` beyond what it is registered for. 0 or -errno. */
static int slot_register(struct loop *loop, struct slot *slot, int fd, uint32_t mask)
{
    if ((slot->mask & mask) == mask) {
        return 0;
    }
    int how = slot->mask == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    uint32_t wanted = slot->mask | mask;
    struct epoll_event event = {
        .events = wanted | EPOLLET,
        .data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)fd,
    };
    if (epoll_ctl(epoll_of(loop)->fd, how, fd, &event) < 0) {
        return -errno;
    }
    slot->mask = wanted;
    return 0;
}

static void park(struct loop *loop, struct op *op)
{
    struct slot *slot = slot_of(loop, op->fd);
    uint32_t mask = EPOLL_INPUT;
    if (op->kind == OP_SEND || op->kind == OP_CONNECT) {
        mask |= EPOLLOUT;
    }
    int result = slot_register(loop, slot, op->fd, mask);
    if (result < 0) {
        loop_ready(loop, op, result);
    } else if (op->kind == OP_SEND) {
        assert(slot->tx == NULL);
        slot->tx = op;
    } else {
        assert(slot->rx == NULL);
        slot->rx = op;
    }
}

/* ---- trying ---- */

static void recv_try(struct loop *loop, struct op *op)
{
    struct slot *slot = slot_of(loop, op->fd);
    struct buf *buf = buf_get(&loop->bufs);
    if (buf == NULL) {
        loop->stats.starved++;
        list_push_back(&loop->starved, &op->node);
        return;
    }
    ssize_t len;
    do {
        len = recv(op->fd, buf_bytes(buf), BUF_SIZE, MSG_DONTWAIT);
    } while (len < 0 && errno == EINTR);
    if (len > 0) {
        slot->not_read = len < BUF_SIZE && !slot->ended && !slot->dgram;
        buf->end += (uint32_t)len;
        op->buf = buf;
        loop_ready(loop, op, (int)len);
        return;
    }
    int result = len < 0 ? -errno : 0;
    buf_put(&loop->bufs, buf);
    if (result == -EAGAIN) {
        slot->not_read = true;
        park(loop, op);
    } else {
        loop_ready(loop, op, result);
    }
}

static void send_try(struct loop *loop, struct op *op)
{
    const char *data = op->data;
    while (op->sent < op->len) {
        ssize_t len =
            send(op->fd, data + op->sent, op->len - op->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (len >= 0) {
            op->sent += (uint32_t)len;
        } else if (errno == EAGAIN) {
            slot_of(loop, op->fd)->not_write = true;
            park(loop, op);
            return;
        } else if (errno != EINTR) {
            loop_ready(loop, op, -errno);
            return;
        }
    }
    loop_ready(loop, op, (int)op->len);
}

/* How much one call moved, tried again after a signal; or -errno. */
static ssize_t file_move(const struct op *op)
{
    uint32_t rest = op->len - op->sent;
    off_t offset = (off_t)(op->offset + op->sent);
    ssize_t len;
    do {
        len = op->kind == OP_WRITE_AT
                  ? pwrite(op->fd, (const char *)op->data + op->sent, rest, offset)
                  : pread(op->fd, (char *)op->into + op->sent, rest, offset);
    } while (len < 0 && errno == EINTR);
    return len < 0 ? -errno : len;
}

static void file_run(struct loop *loop, struct op *op)
{
    ssize_t len = 1;
    while (op->sent < op->len && len > 0) {
        len = file_move(op);
        if (len > 0) {
            op->sent += (uint32_t)len;
        }
    }
    if (len == 0 && op->kind == OP_WRITE_AT) {
        len = -EIO;
    }
    loop_ready(loop, op, len < 0 ? (int)len : (int)op->sent);
}

static void accept_try(struct loop *loop, struct op *op)
{
    int fd;
    do {
        fd = accept4(op->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == EAGAIN) {
        slot_of(loop, op->fd)->not_read = true;
        park(loop, op);
    } else {
        loop_ready(loop, op, fd < 0 ? -errno : fd);
    }
}

static void connect_start(struct loop *loop, struct op *op)
{
    if (connect(op->fd, op->data, op->len) == 0) {
        loop_ready(loop, op, 0);
    } else if (errno == EINPROGRESS || errno == EINTR) {
        park(loop, op);
    } else {
        loop_ready(loop, op, -errno);
    }
}

static void connect_finish(struct loop *loop, struct op *op)
{
    int error = 0;
    socklen_t len = sizeof(error);
    int result = getsockopt(op->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    loop_ready(loop, op, result < 0 ? -errno : -error);
}

/* A receive that need not come soon is not tried against a socket that may well be empty. */
static bool recv_should_park(const struct slot *slot, const struct op *op)
{
    return slot->not_read || (op->hint == RECV_LATER && slot->mask == 0);
}

static void epoll_submit(struct loop *loop, struct op *op)
{
    switch ((enum op_kind)op->kind) {
    case OP_RECV:
        if (recv_should_park(slot_of(loop, op->fd), op)) {
            park(loop, op);
        } else {
            recv_try(loop, op);
        }
        break;
    case OP_SEND:
        if (slot_of(loop, op->fd)->not_write) {
            park(loop, op);
        } else {
            send_try(loop, op);
        }
        break;
    case OP_ACCEPT:
        accept_try(loop, op);
        break;
    case OP_CONNECT:
        connect_start(loop, op);
        break;
    case OP_READ_AT:
    case OP_WRITE_AT:
        file_run(loop, op);
        break;
    case OP_WAKE: /* wake_event() finds it in the loop */
        break;
    case OP_POST:
    case OP_NONE:
        assert(!"an op for the backend");
    }
}

static void epoll_cancel(struct loop *loop, struct op *op)
{
    struct slot *slot = slot_of(loop, op->fd);
    if (slot->tx == op) {
        slot->tx = NULL;
    } else if (slot->rx == op) {
        slot->rx = NULL;
    } else {
        assert(list_is_linked(&op->node)); /* starved: the only other place */
        list_remove(&op->node);
    }
    loop_ready(loop, op, -ECANCELED);
}

/* ---- the turn ---- */

static void rx_retry(struct loop *loop, struct slot *slot, uint32_t events)
{
    struct op *op = slot->rx;
    if (op->kind == OP_CONNECT) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
            slot->rx = NULL;
            connect_finish(loop, op);
        }
    } else if (!slot->not_read) {
        slot->rx = NULL;
        if (op->kind == OP_ACCEPT) {
            accept_try(loop, op);
        } else {
            recv_try(loop, op);
        }
    }
}

static void slot_event(struct loop *loop, int fd, uint32_t generation, uint32_t events)
{
    struct slot *slot = slot_of(loop, fd);
    if (slot->generation != generation) {
        return; /* of a descriptor that is closed here but open elsewhere */
    }
    if ((events & EPOLL_ENDED) != 0) {
        slot->ended = true;
    }
    if ((events & (EPOLLIN | EPOLL_ENDED)) != 0) {
        slot->not_read = false;
    }
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        slot->not_write = false;
    }
    if (slot->rx != NULL) {
        rx_retry(loop, slot, events);
    }
    if (slot->tx != NULL && !slot->not_write) {
        struct op *op = slot->tx;
        slot->tx = NULL;
        send_try(loop, op);
    }
}

/* The eventfd is never read: edge-triggered, each write is an event of its own. An op that is READY
 * already has yet to run and will see what this wake is about. */
static void wake_event(struct loop *loop)
{
    if (loop->wake_op.state == OP_STARTED) {
        loop_ready(loop, &loop->wake_op, 0);
    }
}

/* Receives that wait for a buffer, while there are both. */
static void starved_retry(struct loop *loop)
{
    while (loop->bufs.free_count > 0 && !list_is_empty(&loop->starved)) {
        recv_try(loop, list_entry(list_pop_front(&loop->starved), struct op, node));
    }
}

static int epoll_poll(struct loop *loop, int64_t wait_ms)
{
    struct epoll *epoll = epoll_of(loop);
    starved_retry(loop);
    if (!list_is_empty(&loop->ready)) {
        wait_ms = 0;
    }
    int timeout = wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
    loop->stats.enters++;
    int count = epoll_wait(epoll->fd, epoll->events, EPOLL_BATCH, timeout);
    if (count < 0) {
        return errno == EINTR ? 0 : -errno; /* a signal ends the wait, not the loop */
    }
    for (int i = 0; i < count; i++) {
        const struct epoll_event *event = &epoll->events[i];
        if (event->data.u64 == EPOLL_WAKE_DATA) {
            wake_event(loop);
        } else {
            slot_event(loop, (int)(uint32_t)event->data.u64, (uint32_t)(event->data.u64 >> 32),
                       event->events);
        }
    }
    return 0;
}

/* ---- the rest ---- */

static void epoll_buf_release(struct loop *loop, struct buf *buf)
{
    buf_put(&loop->bufs, buf); /* a starved receive gets it at the next poll */
}

static int epoll_socket(struct loop *loop, int family, int type)
{
    int fd = loop_os_socket(loop, family, type);
    if (fd >= 0 && (uint32_t)fd < loop->fd_count) {
        slot_of(loop, fd)->dgram = type == SOCK_DGRAM;
    }
    return fd;
}

static void epoll_close(struct loop *loop, int fd)
{
    if ((uint32_t)fd < loop->fd_count) {
        struct slot *slot = slot_of(loop, fd);
        assert(slot->rx == NULL);
        assert(slot->tx == NULL);
        *slot = (struct slot){.generation = (slot->generation + 1) & INT32_MAX};
    }
    loop_os_close(loop, fd);
}

static void epoll_wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t len = write(epoll_of(loop)->wake_fd, &one, sizeof(one));
    assert(len == sizeof(one) || errno == EAGAIN); /* full: it is being woken already */
}

static void epoll_release(struct epoll *epoll)
{
    if (epoll->fd >= 0) {
        (void)close(epoll->fd); /* nothing to lose in it */
    }
    if (epoll->wake_fd >= 0) {
        (void)close(epoll->wake_fd); /* likewise */
    }
    pages_release(epoll->slots, epoll->slot_count * sizeof(struct slot));
    pages_release(epoll, sizeof(*epoll));
}

static int epoll_init(struct loop *loop, const struct loop_limits *limits, void *arg)
{
    (void)arg;
    struct epoll *epoll = pages_reserve(sizeof(*epoll));
    if (epoll == NULL) {
        return -ENOMEM;
    }
    epoll->slot_count = limits->fd_count;
    epoll->slots = pages_reserve(epoll->slot_count * sizeof(struct slot));
    epoll->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll->fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = EPOLL_WAKE_DATA};
    int result = -ENOMEM;
    if (epoll->slots == NULL) {
        goto fail;
    }
    if (epoll->fd < 0 || epoll->wake_fd < 0 ||
        epoll_ctl(epoll->fd, EPOLL_CTL_ADD, epoll->wake_fd, &event) < 0) {
        result = -errno;
        goto fail;
    }
    loop->backend_data = epoll;
    return 0;
fail:
    epoll_release(epoll);
    return result;
}

static void epoll_fini(struct loop *loop)
{
    epoll_release(epoll_of(loop));
    loop->backend_data = NULL;
}

const struct loop_backend loop_epoll = {
    .name = "epoll",
    .init = epoll_init,
    .fini = epoll_fini,
    .submit = epoll_submit,
    .cancel = epoll_cancel,
    .poll = epoll_poll,
    .buf_release = epoll_buf_release,
    .clock_ms = loop_os_clock_ms,
    .socket = epoll_socket,
    .file = loop_os_file,
    .shutdown = loop_os_shutdown,
    .close = epoll_close,
    .wake = epoll_wake,
};
