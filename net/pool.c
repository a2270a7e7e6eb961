/*
 * pool - see net/pool.h.
 *
 * Free objects are chained through their first word; objects from `fresh` on have never been out
 * and are in no chain. Under AddressSanitizer an object that is not out is poisoned, so that using
 * it is reported like a use after free.
 */
#include "net/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "net/poison.h"

enum { POOL_MAGIC = 0x504f4f4c, POOL_ALIGN = 16 };

void *pages_reserve(size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void pages_release(void *pages, size_t bytes)
{
    if (pages != NULL) {
        int result = munmap(pages, bytes);
        assert(result == 0);
    }
}

int pool_init(struct pool *pool, size_t item_size, uint32_t count_max)
{
    assert(item_size > 0);
    assert(item_size <= UINT32_MAX - POOL_ALIGN);
    assert(count_max > 0);
    size_t size = (item_size + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
    char *base = pages_reserve(size * count_max);
    if (base == NULL) {
        return -ENOMEM;
    }
    *pool = (struct pool){
        .magic = POOL_MAGIC,
        .item_size = (uint32_t)size,
        .count_max = count_max,
        .base = base,
    };
    return 0;
}

void pool_fini(struct pool *pool)
{
    assert(pool->magic == POOL_MAGIC);
    assert(pool->used == 0);
    memory_unpoison(pool->base, (size_t)pool->item_size * pool->fresh);
    pages_release(pool->base, (size_t)pool->item_size * pool->count_max);
    *pool = (struct pool){0};
}

void *pool_get(struct pool *pool)
{
    assert(pool->magic == POOL_MAGIC);
    void *item = pool->free;
    if (item != NULL) {
        memory_unpoison(item, pool->item_size);
        memcpy(&pool->free, item, sizeof(pool->free));
    } else if (pool->fresh < pool->count_max) {
        item = pool->base + (size_t)pool->fresh * pool->item_size;
        pool->fresh++;
    } else {
        return NULL;
    }
    pool->used++;
    assert(pool->used <= pool->fresh);
    return item;
}

/* The address is one of an object that has been out before. */
static bool pool_owns(const struct pool *pool, const void *item)
{
    uintptr_t base = (uintptr_t)pool->base;
    uintptr_t address = (uintptr_t)item;
    if (address < base) {
        return false;
    }
    uintptr_t offset = address - base;
    return offset < (uintptr_t)pool->fresh * pool->item_size && offset % pool->item_size == 0;
}

void pool_put(struct pool *pool, void *item)
{
    assert(pool->magic == POOL_MAGIC);
    assert(pool->used > 0);
    assert(pool_owns(pool, item));
    assert(item != pool->free);
    memcpy(item, &pool->free, sizeof(pool->free));
    memory_poison(item, pool->item_size);
    pool->free = item;
    pool->used--;
}
