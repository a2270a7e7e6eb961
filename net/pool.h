/*
 * pool - objects of one size, a written maximum of them, no allocation after start-up.
 *
 * The address space for all objects is reserved at once and touched only as objects are first used,
 * so a pool sized for the worst case costs resident memory for the busiest moment only. The object
 * given back last is handed out first (it is warm in the cache). One thread owns a pool.
 */
#ifndef NET_POOL_H
#define NET_POOL_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed address space, page-aligned, that costs nothing until it is touched. NULL when refused. */
void *pages_reserve(size_t bytes);
void pages_release(void *pages, size_t bytes);

struct pool {
    uint32_t magic;
    uint32_t item_size; /* bytes, rounded up to 16 */
    uint32_t count_max;
    uint32_t used;  /* objects that are out */
    uint32_t fresh; /* objects from this index on have never been touched */
    char *base;
    void *free; /* chain through the first word of each free object */
};

/* Reserves room for `count_max` objects of `item_size` bytes. 0, or -errno of mmap(2). */
int pool_init(struct pool *pool, size_t item_size, uint32_t count_max)
    __attribute__((warn_unused_result));

/* Gives the address space back. Every object must have been put back (assert). */
void pool_fini(struct pool *pool);

/* One object, contents undefined; NULL when `count_max` are out. The caller owns it until
 * pool_put(). */
void *pool_get(struct pool *pool);

/* Takes an object of this pool back. Asserts that the address belongs to the pool. */
void pool_put(struct pool *pool, void *item);

#endif
