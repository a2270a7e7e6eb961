/*
 * loop_backend - what a backend implements; included by loop.c, the backends and nobody else.
 *
 * A backend moves ops from `submit` to loop_ready(). It never calls `done`. The loop guarantees
 * that an op handed to `submit` is STARTED and that fd, kind and arguments are valid; the backend
 * guarantees exactly one loop_ready() for it, also after `cancel`.
 */
#ifndef NET_LOOP_BACKEND_H
#define NET_LOOP_BACKEND_H

#include "net/loop.h"

struct loop_backend {
    const char *name;
    /* Sets loop->backend_data. 0 or -errno; after an error nothing is left behind. */
    int (*init)(struct loop *loop, const struct loop_limits *limits, void *arg);
    void (*fini)(struct loop *loop);
    void (*submit)(struct loop *loop, struct op *op);
    void (*cancel)(struct loop *loop, struct op *op);
    /* Waits at most wait_ms (-1: for ever, 0: not at all) and calls loop_ready() for all that is
     * finished. */
    int (*poll)(struct loop *loop, int64_t wait_ms);
    /* A buffer came back: keep it (provided-buffer ring) or put it into loop->bufs, and wake a
     * starved receive. */
    void (*buf_release)(struct loop *loop, struct buf *buf);
    int64_t (*clock_ms)(struct loop *loop);
    int (*socket)(struct loop *loop, int family, int type); /* SOCK_STREAM or SOCK_DGRAM */
    int (*file)(struct loop *loop, const char *dir);
    int (*shutdown)(struct loop *loop, int fd, int how);
    void (*close)(struct loop *loop, int fd);
    /* Thread-safe: makes a waiting poll return and the wake op ready. */
    void (*wake)(struct loop *loop);
};

struct loop {
    uint32_t magic;
    bool running; /* inside loop_run_once: destroying it now is an assert */
    const struct loop_backend *backend;
    void *backend_data;
    int64_t now_ms;
    struct list_node ready;   /* finished ops whose `done` is due */
    struct list_node starved; /* receives that wait for a buffer */
    uint32_t op_count;        /* ops that are STARTED or READY, the wake op aside */
    uint32_t fd_count;
    uint32_t op_count_max;
    uint8_t *fd_ops; /* per descriptor: which of its two ops are in flight */
    struct buf_pool bufs;
    struct timer_wheel wheel;
    struct loop_stats stats;
    struct op
        wake_op; /* always in flight: OP_WAKE has no descriptor, the backend knows what to do */
    _Atomic bool wake_pending; /* a wake is under way: more of them need no system call */
    loop_wake_done *wake_done;
    void *wake_arg;
};

/* The op is finished; `result` is what `done` will get. Called by backends only. */
void loop_ready(struct loop *loop, struct op *op, int result);

/* What both kernel backends share: monotonic clock, socket(2), files, shutdown(2), close(2). */
int64_t loop_os_clock_ms(struct loop *loop);
int loop_os_socket(struct loop *loop, int family, int type);
int loop_os_file(struct loop *loop, const char *dir);
int loop_os_shutdown(struct loop *loop, int fd, int how);
void loop_os_close(struct loop *loop, int fd);

extern const struct loop_backend loop_uring;
extern const struct loop_backend loop_epoll;

#endif
