/*
 * buf - the loop's receive buffers.
 *
 * A buffer has room for one receive (BUF_SIZE) and, in front of it, headroom that the kernel never
 * writes: a stream puts the unread rest of the previous buffer there, so that its reader always
 * sees one contiguous window, and a relay puts bytes it had to hold back there. `begin` and `end`
 * are offsets from `base` of the bytes that are still of interest.
 *
 *      base                BUF_HEADROOM            begin        end        BUF_HEADROOM + BUF_SIZE
 *      | headroom (carried or held-back bytes)  |  |  received  |          |
 *
 * Owner: the pool; the loop or kernel while a receive is in flight; the receiver from `done` until
 * loop_buf_release(), or until the send it was given to completes. One thread owns a pool.
 */
#ifndef NET_BUF_H
#define NET_BUF_H

#include <stdint.h>

#include "net/list.h"

enum {
    BUF_HEADROOM = 8192,
    BUF_SIZE = 16384,
};

struct buf {
    uint32_t magic;
    uint32_t id;    /* index in the pool; the buffer id of a provided-buffer ring */
    uint32_t begin; /* offset of the first byte of interest */
    uint32_t end;   /* offset behind the last */
    char *base;
    struct list_node node; /* free list of the pool */
};

struct buf_pool {
    uint32_t magic;
    uint32_t count;
    uint32_t free_count; /* buffers that are not out, the untouched ones included */
    uint32_t fresh;      /* buffers from this index on have never been touched */
    struct buf *bufs;
    char *memory;
    struct list_node free;
};

static inline char *buf_bytes(const struct buf *buf)
{
    return buf->base + buf->begin;
}

static inline uint32_t buf_len(const struct buf *buf)
{
    return buf->end - buf->begin;
}

/* Reserves `count` buffers (1 to 32768). 0 or -errno. */
int buf_pool_init(struct buf_pool *pool, uint32_t count) __attribute__((warn_unused_result));

/* All buffers must be back (assert). */
void buf_pool_fini(struct buf_pool *pool);

/* A free buffer with begin = end = BUF_HEADROOM, or NULL. */
struct buf *buf_get(struct buf_pool *pool);

void buf_put(struct buf_pool *pool, struct buf *buf);

#endif
