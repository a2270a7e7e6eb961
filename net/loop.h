/*
 * loop - one thread's completion loop: moves bytes and time, knows no SMTP.
 *
 * The user starts an op; its `done` runs exactly once, from the ready queue, never inside the call
 * that started it. io_uring implements this directly; epoll emulates it (the call is tried first
 * and parked on EAGAIN); the simulation in test/ has no sockets. The contract, each clause a test
 * on all three:
 *
 *   1. `done` runs exactly once per started op, from the ready queue.
 *   2. Op and buffer belong to the loop from the start until `done`, also after loop_cancel(). At
 * most one recv-like (recv, accept, connect, read_at) and one send-like (send, write_at) op per
 * descriptor.
 *   3. A receive names no buffer. The loop lends one with the bytes; the receiver gives it back
 * with loop_buf_release(), or sends from it first. A receive in flight owns no buffer. With no
 * buffer free the receive waits for one; it neither fails nor spins.
 *   4. loop_close() with an op in flight on that descriptor is an assert. To stop: loop_shutdown()
 * once the last send is done, both ops are joined, then loop_close().
 *   5. Results are the same numbers on each backend: bytes, 0 for end of stream, or -errno
 * (-ECANCELED after a cancel that won). A send reports its whole length or an error; short sends
 * continue inside. No signal.
 *   6. One timing wheel; no timeouts on ops.
 *   7. A turn runs only what was ready when it began: a `done` that starts or posts work is heard
 * next turn.
 *
 * Threads: a loop is created, used and destroyed on one thread; loop_wake() is the only call
 * allowed from another. Errors of peers and of the system are results; misuse is an assert. Nothing
 * here logs.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/buf.h"
#include "net/list.h"
#include "net/timer.h"

struct loop;
struct op;
struct loop_backend;

/* result: bytes moved, a descriptor (accept), 0, or -errno. The op may be started again inside
 * `done`. */
typedef void op_done(struct op *op, int result);
typedef void loop_wake_done(void *arg);

enum op_kind {
    OP_NONE,
    OP_RECV,
    OP_SEND,
    OP_CONNECT,
    OP_ACCEPT,
    OP_READ_AT,
    OP_WRITE_AT,
    OP_POST,
    OP_WAKE,
};
enum op_state { OP_IDLE, OP_STARTED, OP_READY };

/* Whether the receiver expects bytes to be there already; a hint for speed only. */
enum recv_hint { RECV_LIKELY, RECV_LATER };

struct op {
    uint32_t magic;
    uint8_t kind;  /* enum op_kind */
    uint8_t state; /* enum op_state; written by loop.c alone */
    uint8_t hint;  /* enum recv_hint */
    uint8_t flags; /* the backend's */
    int fd;
    int result;
    uint32_t len;  /* send, read_at, write_at: bytes; connect: length of the address */
    uint32_t sent; /* likewise: bytes the kernel has moved so far */
    union {
        const void *data; /* send, write_at: the bytes; connect: the address; borrowed until done */
        void *into;       /* read_at: where they go; borrowed until done */
    };
    uint64_t offset; /* read_at, write_at: position of the first byte in the file */
    struct buf *buf; /* recv: the lent buffer, set when result > 0 */
    op_done *done;
    struct list_node node; /* the loop's or the backend's queues */
};

struct loop_limits {
    uint32_t fd_count;  /* descriptors are below this number */
    uint32_t op_count;  /* ops in flight at once */
    uint32_t buf_count; /* receive buffers */
};

/* Counted for the meter: what costs is the number of these. */
struct loop_stats {
    uint64_t turns;   /* loop_run_once() */
    uint64_t enters;  /* system calls that wait or submit */
    uint64_t recvs;   /* completed, and */
    uint64_t sends;   /* so on */
    uint64_t starved; /* receives that had to wait for a buffer */
};

/*
 * Creates a loop on the calling thread. 0, or -errno of the backend: -EPERM, -ENOSYS or -ENOMEM
 * from io_uring_setup(2) tell that io_uring is refused here. *ret_loop is written on success only.
 */
int loop_create(struct loop **ret_loop, const struct loop_backend *backend,
                const struct loop_limits *limits, void *backend_arg)
    __attribute__((warn_unused_result));

/* No op may be in flight and every buffer must be back (assert). Nulls the pointer, accepts NULL in
 * it. */
void loop_destroy(struct loop **loop);

const char *loop_name(const struct loop *loop);
const struct loop_stats *loop_stats(const struct loop *loop);

/* Milliseconds of a monotonic clock, read once per turn. */
int64_t loop_now_ms(const struct loop *loop);

/* Waits at most wait_ms_max (-1: no bound of the caller's) for something to be ready, then runs it.
 * 0 or -errno. */
int loop_run_once(struct loop *loop, int64_t wait_ms_max);

/* From any thread: `done` of loop_on_wake() runs soon, on the loop's thread. Many wakes may become
 * one. */
void loop_wake(struct loop *loop);
void loop_on_wake(struct loop *loop, loop_wake_done *done, void *arg);

/* Ops. `op` must be idle and was op_init()ed once. */
void op_init(struct op *op);
static inline bool op_is_idle(const struct op *op)
{
    return op->state == OP_IDLE;
}
void loop_recv(struct loop *loop, struct op *op, int fd, enum recv_hint hint, op_done *done);
void loop_send(struct loop *loop, struct op *op, int fd, const void *data, uint32_t len,
               op_done *done);
void loop_connect(struct loop *loop, struct op *op, int fd, const struct sockaddr *addr,
                  socklen_t len, op_done *done);
/* result: a connected descriptor, non-blocking and close-on-exec, owned by the caller; or -errno.
 * It has TCP_NODELAY when its listener has. */
void loop_accept(struct loop *loop, struct op *op, int fd, op_done *done);

/*
 * Files: of loop_file(), below. A regular file has no readiness: io_uring moves the bytes behind our
 * back, but epoll makes the call at once, inside the start, and every session of the loop waits for
 * the disk with it; only `done` comes later, as ever. So keep `len` to some tens of kilobytes. A
 * process whose files are limited (RLIMIT_FSIZE) must ignore SIGXFSZ. len > 0.
 *
 * loop_write_at: the result is `len` or -errno; short writes continue inside, and one that moves
 * nothing is -EIO. After an error, or a cancel, any part of the bytes may be in the file.
 * loop_read_at: the result is bytes, fewer than `len` at the end of the file only; or -errno.
 */
void loop_write_at(struct loop *loop, struct op *op, int fd, const void *data, uint32_t len,
                   uint64_t offset, op_done *done);
void loop_read_at(struct loop *loop, struct op *op, int fd, void *data, uint32_t len,
                  uint64_t offset, op_done *done);

/* Runs `done` with result 0 in the next turn: how work that exceeds its budget goes to the back of
 * the queue. */
void loop_post(struct loop *loop, struct op *op, op_done *done);
/* A wish: `done` still runs once, with -ECANCELED or with the result that came first. Harmless on
 * an idle op. */
void loop_cancel(struct loop *loop, struct op *op);

/* Gives a lent buffer back. */
void loop_buf_release(struct loop *loop, struct buf *buf);

/* Timers: see net/timer.h. `done` runs once at or after the deadline. */
void loop_timer_set(struct loop *loop, struct timer *timer, int64_t deadline_ms, timer_done *done);
void loop_timer_stop(struct loop *loop, struct timer *timer);

/* Descriptors. These calls cannot block, those on files aside: they take what the file system takes
 * for its names and lists. loop_socket: TCP_NODELAY is set where the family has it.
 * fd or -errno. */
int loop_socket(struct loop *loop, int family);
/* A datagram socket: connect it, then a receive is one datagram (cut to BUF_SIZE; 0: an empty one, no
 * end) and a send is one. What ICMP tells of the peer is the result of either. fd or -errno. */
int loop_socket_dgram(struct loop *loop, int family);
/* A file in the folder `dir` for this process alone, empty and without a name: it is gone once
 * closed. Mode 0600, close-on-exec, read and write. fd or -errno: of the folder, or -EMFILE. */
int loop_file(struct loop *loop, const char *dir);
/* shutdown(2), called directly: no queue can overtake it and no number can be reused before it. 0
 * or -errno. */
int loop_shutdown(struct loop *loop, int fd, int how);
void loop_close(struct loop *loop, int fd);

#endif
