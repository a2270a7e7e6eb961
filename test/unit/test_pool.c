/*
 * test_pool - pools of objects, pools of receive buffers, and the list that holds things together.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/buf.h"
#include "net/list.h"
#include "net/pool.h"
#include "test/aborts.h"

/* ---- pool ---- */

static void pool_gives_up_to_its_maximum(void **state)
{
    (void)state;
    enum { COUNT = 100, SIZE = 40 };
    struct pool pool;
    char *items[COUNT];
    assert_int_equal(pool_init(&pool, SIZE, COUNT), 0);
    assert_int_equal(pool.item_size, 48);
    for (int i = 0; i < COUNT; i++) {
        items[i] = pool_get(&pool);
        assert_non_null(items[i]);
        assert_int_equal((uintptr_t)items[i] % 16, 0);
        memset(items[i], i, SIZE);
    }
    assert_null(pool_get(&pool));
    assert_int_equal(pool.used, COUNT);
    for (int i = 0; i < COUNT; i++) {
        for (int k = 0; k < SIZE; k++) {
            assert_int_equal(items[i][k], i); /* nobody shares memory */
        }
        pool_put(&pool, items[i]);
    }
    assert_int_equal(pool.used, 0);
    pool_fini(&pool);
}

static void pool_gives_the_warm_one_first(void **state)
{
    (void)state;
    struct pool pool;
    assert_int_equal(pool_init(&pool, 64, 10), 0);
    void *a = pool_get(&pool);
    void *b = pool_get(&pool);
    pool_put(&pool, a);
    pool_put(&pool, b);
    assert_ptr_equal(pool_get(&pool), b);
    assert_ptr_equal(pool_get(&pool), a);
    assert_int_equal(pool.fresh, 2);
    pool_put(&pool, a);
    pool_put(&pool, b);
    pool_fini(&pool);
}

static long resident_pages(void)
{
    long size = 0;
    long resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &size, &resident), 2);
    fclose(file);
    return resident;
}

static void untouched_objects_cost_nothing(void **state)
{
    (void)state;
    struct pool pool;
    long before = resident_pages();
    assert_int_equal(pool_init(&pool, 65536, 16384), 0); /* 1 GiB */
    void *item = pool_get(&pool);
    memset(item, 1, 65536);
    assert_true(resident_pages() - before < 1024);
    pool_put(&pool, item);
    pool_fini(&pool);
}

static void get_and_keep(void *arg)
{
    struct pool *pool = arg;
    (void)pool_get(pool); /* never put back */
    pool_fini(pool);
}

static void put_a_stranger(void *arg)
{
    int stranger;
    pool_put(arg, &stranger);
}

static void put_a_part(void *arg)
{
    char *item = pool_get(arg);
    pool_put(arg, item + 8);
}

static void put_twice(void *arg)
{
    void *item = pool_get(arg);
    (void)pool_get(arg);
    pool_put(arg, item);
    pool_put(arg, item);
}

static void put_unborn(void *arg)
{
    struct pool *pool = arg;
    char *item = pool_get(pool);
    pool_put(pool, item + pool->item_size);
}

static void pool_misuse_is_an_assert(void **state)
{
    (void)state;
    struct pool pool;
    assert_int_equal(pool_init(&pool, 32, 4), 0);
    assert_true(aborts(get_and_keep, &pool));
    assert_true(aborts(put_a_stranger, &pool));
    assert_true(aborts(put_a_part, &pool));
    assert_true(aborts(put_twice, &pool));
    assert_true(aborts(put_unborn, &pool));
    pool_fini(&pool);
}

static void too_much_address_space_is_an_error(void **state)
{
    (void)state;
    struct pool pool;
    assert_int_equal(pool_init(&pool, UINT32_MAX - 64, UINT32_MAX), -ENOMEM);
}

/* ---- buf ---- */

static void buffers_come_empty_and_distinct(void **state)
{
    (void)state;
    enum { COUNT = 50 };
    struct buf_pool pool;
    struct buf *bufs[COUNT];
    assert_int_equal(buf_pool_init(&pool, COUNT), 0);
    for (int i = 0; i < COUNT; i++) {
        bufs[i] = buf_get(&pool);
        assert_non_null(bufs[i]);
        assert_int_equal(bufs[i]->begin, BUF_HEADROOM);
        assert_int_equal(buf_len(bufs[i]), 0);
        assert_ptr_equal(&pool.bufs[bufs[i]->id], bufs[i]);
        memset(bufs[i]->base, i, BUF_HEADROOM + BUF_SIZE);
        bufs[i]->begin = 7;
        bufs[i]->end = 99;
    }
    assert_null(buf_get(&pool));
    assert_int_equal(pool.free_count, 0);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(bufs[i]->base[0], i);
        assert_int_equal(bufs[i]->base[BUF_HEADROOM + BUF_SIZE - 1], i);
        assert_int_equal(buf_len(bufs[i]), 92);
        assert_ptr_equal(buf_bytes(bufs[i]), bufs[i]->base + 7);
        buf_put(&pool, bufs[i]);
    }
    struct buf *warm = buf_get(&pool);
    assert_ptr_equal(warm, bufs[COUNT - 1]);
    assert_int_equal(buf_len(warm), 0);
    buf_put(&pool, warm);
    buf_pool_fini(&pool);
}

static void buf_put_twice(void *arg)
{
    struct buf *buf = buf_get(arg);
    buf_put(arg, buf);
    buf_put(arg, buf);
}

static void buf_get_and_keep(void *arg)
{
    (void)buf_get(arg); /* never put back */
    buf_pool_fini(arg);
}

static void buf_put_stranger(void *arg)
{
    struct buf copy = *buf_get(arg);
    list_init(&copy.node);
    buf_put(arg, &copy);
}

static void buf_misuse_is_an_assert(void **state)
{
    (void)state;
    struct buf_pool pool;
    assert_int_equal(buf_pool_init(&pool, 4), 0);
    assert_true(aborts(buf_put_twice, &pool));
    assert_true(aborts(buf_get_and_keep, &pool));
    assert_true(aborts(buf_put_stranger, &pool));
    buf_pool_fini(&pool);
}

static void most_buffers_cost_little(void **state)
{
    (void)state;
    struct buf_pool pool;
    long before = resident_pages();
    assert_int_equal(buf_pool_init(&pool, 32768), 0);
    assert_true((resident_pages() - before) * sysconf(_SC_PAGESIZE) < 256L << 20);
    buf_pool_fini(&pool);
}

/* ---- list ---- */

struct item {
    int value;
    struct list_node node;
};

static int list_digits(struct list_node *head)
{
    int digits = 0;
    for (struct list_node *node = head->next; node != head; node = node->next) {
        assert_ptr_equal(node->next->prev, node);
        digits = digits * 10 + list_entry(node, struct item, node)->value;
    }
    return digits;
}

static void list_keeps_order(void **state)
{
    (void)state;
    struct list_node head, other;
    struct item items[6];
    list_init(&head);
    list_init(&other);
    assert_true(list_is_empty(&head));
    assert_null(list_pop_front(&head));
    for (int i = 0; i < 6; i++) {
        items[i].value = i + 1;
        list_init(&items[i].node);
        assert_false(list_is_linked(&items[i].node));
    }
    list_push_back(&head, &items[1].node);
    list_push_back(&head, &items[2].node);
    list_push_front(&head, &items[0].node);
    assert_int_equal(list_digits(&head), 123);
    list_splice_back(&head, &other); /* nothing to move */
    assert_int_equal(list_digits(&head), 123);
    list_push_back(&other, &items[3].node);
    list_push_back(&other, &items[4].node);
    list_splice_back(&head, &other);
    assert_int_equal(list_digits(&head), 12345);
    assert_true(list_is_empty(&other));
    list_splice_back(&other, &head);
    assert_int_equal(list_digits(&other), 12345);
    assert_true(list_is_empty(&head));
    list_remove(&items[2].node);
    list_remove(&items[2].node); /* harmless */
    assert_false(list_is_linked(&items[2].node));
    assert_int_equal(list_digits(&other), 1245);
    assert_ptr_equal(list_pop_front(&other), &items[0].node);
    assert_int_equal(list_digits(&other), 245);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_gives_up_to_its_maximum),
        cmocka_unit_test(pool_gives_the_warm_one_first),
        cmocka_unit_test(untouched_objects_cost_nothing),
        cmocka_unit_test(pool_misuse_is_an_assert),
        cmocka_unit_test(too_much_address_space_is_an_error),
        cmocka_unit_test(buffers_come_empty_and_distinct),
        cmocka_unit_test(buf_misuse_is_an_assert),
        cmocka_unit_test(most_buffers_cost_little),
        cmocka_unit_test(list_keeps_order),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
