/*
 * buf - see net/buf.h.
 *
 * The free list is a stack: the buffer that came back last is the one whose lines are still in the
 * cache. The memory of the buffers is reserved and only touched when one is first filled.
 */
#include "net/buf.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "net/poison.h"
#include "net/pool.h"

enum {
    BUF_MAGIC = 0x42554646,
    BUF_POOL_MAGIC = 0x42504f4c,
    BUF_STRIDE = BUF_HEADROOM + BUF_SIZE,
    BUF_COUNT_MAX = 32768,
};

int buf_pool_init(struct buf_pool *pool, uint32_t count)
{
    assert(count > 0);
    assert(count <= BUF_COUNT_MAX);
    struct buf *bufs = pages_reserve(count * sizeof(*bufs));
    char *memory = pages_reserve((size_t)count * BUF_STRIDE);
    if (bufs == NULL || memory == NULL) {
        pages_release(bufs, count * sizeof(*bufs));
        pages_release(memory, (size_t)count * BUF_STRIDE);
        return -ENOMEM;
    }
    *pool = (struct buf_pool){
        .magic = BUF_POOL_MAGIC,
        .count = count,
        .free_count = count,
        .bufs = bufs,
        .memory = memory,
    };
    list_init(&pool->free);
    return 0;
}

void buf_pool_fini(struct buf_pool *pool)
{
    assert(pool->magic == BUF_POOL_MAGIC);
    assert(pool->free_count == pool->count);
    pages_release(pool->bufs, pool->count * sizeof(*pool->bufs));
    memory_unpoison(pool->memory, (size_t)pool->fresh * BUF_STRIDE);
    pages_release(pool->memory, (size_t)pool->count * BUF_STRIDE);
    *pool = (struct buf_pool){0};
}

/* A buffer that has been out before, or one that has never been touched, or NULL. */
static struct buf *buf_find(struct buf_pool *pool)
{
    struct list_node *node = list_pop_front(&pool->free);
    if (node != NULL) {
        return list_entry(node, struct buf, node);
    }
    if (pool->fresh == pool->count) {
        return NULL;
    }
    struct buf *buf = &pool->bufs[pool->fresh];
    buf->magic = BUF_MAGIC;
    buf->id = pool->fresh;
    buf->base = pool->memory + (size_t)pool->fresh * BUF_STRIDE;
    list_init(&buf->node);
    pool->fresh++;
    return buf;
}

struct buf *buf_get(struct buf_pool *pool)
{
    assert(pool->magic == BUF_POOL_MAGIC);
    struct buf *buf = buf_find(pool);
    if (buf == NULL) {
        return NULL;
    }
    assert(buf->magic == BUF_MAGIC);
    assert(pool->free_count > 0);
    pool->free_count--;
    buf->begin = BUF_HEADROOM;
    buf->end = BUF_HEADROOM;
    memory_unpoison(buf->base, BUF_STRIDE);
    return buf;
}

void buf_put(struct buf_pool *pool, struct buf *buf)
{
    assert(pool->magic == BUF_POOL_MAGIC);
    assert(buf->magic == BUF_MAGIC);
    assert(buf->id < pool->count);
    assert(buf == &pool->bufs[buf->id]);
    assert(!list_is_linked(&buf->node)); /* given back twice */
    list_push_front(&pool->free, &buf->node);
    pool->free_count++;
    memory_poison(buf->base, BUF_STRIDE);
}
