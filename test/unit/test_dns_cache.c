/*
 * test_dns_cache - answers come back as they were put in, for as long as they may, within bounds.
 */
#include "net/dns_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t key[DNS_CACHE_KEY_LEN] = "0123456789abcdef";
static struct dns_cache cache;
static struct dns_answer found;

static int open_cache(void **state)
{
    (void)state;
    return dns_cache_init(&cache, 64, key);
}

static int close_cache(void **state)
{
    (void)state;
    dns_cache_fini(&cache); /* asserts that every entry went back */
    return 0;
}

static uint8_t wire_of(const char *text, uint8_t wire[DNS_NAME_MAX])
{
    int len = dns_name_parse(text, (uint32_t)strlen(text), wire);
    assert_true(len > 0);
    return (uint8_t)len;
}

static void store(const char *text, uint16_t type, int64_t now_ms, const struct dns_answer *answer)
{
    uint8_t wire[DNS_NAME_MAX];
    uint8_t len = wire_of(text, wire);
    dns_cache_store(&cache, wire, len, type, now_ms, answer);
}

static bool find(const char *text, uint16_t type, int64_t now_ms)
{
    uint8_t wire[DNS_NAME_MAX];
    uint8_t len = wire_of(text, wire);
    return dns_cache_find(&cache, wire, len, type, now_ms, &found);
}

static void store_number(int number, int64_t now_ms)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "n%d.org", number);
    struct dns_record record = {.data = (const uint8_t *)&number, .len = sizeof(number)};
    struct dns_answer answer = {.ttl_s = 60, .count = 1, .records = &record};
    store(name, DNS_A, now_ms, &answer);
}

static bool find_number(int number, int64_t now_ms)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "n%d.org", number);
    if (!find(name, DNS_A, now_ms)) {
        return false;
    }
    assert_int_equal(found.count, 1);
    assert_memory_equal(found.records[0].data, &number, sizeof(number));
    return true;
}

static void every_shape_comes_back(void **state)
{
    (void)state;
    static uint8_t data[DNS_ANSWER_MAX];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 7);
    }
    for (uint32_t count = 0; count <= DNS_RECORDS_MAX; count++) {
        for (uint32_t each = 0; each * count <= DNS_ANSWER_MAX && each < 9000;
             each = each * 3 + 1) {
            struct dns_record records[DNS_RECORDS_MAX];
            for (uint32_t i = 0; i < count; i++) {
                records[i] = (struct dns_record){.data = data + i * each, .len = (uint16_t)each};
            }
            struct dns_answer answer = {
                .status = count == 0 ? DNS_NO_DATA : DNS_OK,
                .ttl_s = 60,
                .count = count,
                .records = records,
            };
            store("a.org", DNS_TXT, 1000, &answer);
            assert_true(find("A.org", DNS_TXT, 1000));
            assert_int_equal(found.status, answer.status);
            assert_int_equal(found.count, count);
            for (uint32_t i = 0; i < count; i++) {
                assert_int_equal(found.records[i].len, each);
                assert_memory_equal(found.records[i].data, data + i * each, each);
            }
        }
    }
}

static void time_passes(void **state)
{
    (void)state;
    struct dns_answer answer = {.status = DNS_NO_NAME, .ttl_s = 10};
    store("a.org", DNS_A, 5000, &answer);
    assert_true(find("a.org", DNS_A, 5000));
    assert_int_equal(found.ttl_s, 10);
    assert_true(find("a.org", DNS_A, 14001));
    assert_int_equal(found.ttl_s, 1);
    assert_true(find("a.org", DNS_A, 14999));
    assert_int_equal(found.status, DNS_NO_NAME);
    assert_false(find("a.org", DNS_A, 15000));
    assert_false(find("a.org", DNS_A, 5000)); /* gone, not hidden */
    assert_int_equal(cache.hits, 3);
    assert_int_equal(cache.misses, 2);
}

static void a_new_answer_takes_the_old_one_s_place(void **state)
{
    (void)state;
    struct dns_answer failed = {.status = DNS_FAILED, .reason = "why", .ttl_s = 9};
    struct dns_answer not_kept = {.status = DNS_NO_DATA};
    store("a.org", DNS_A, 0, &failed);
    store("a.org", DNS_AAAA, 0, &failed);
    store("b.a.org", DNS_A, 0, &failed);
    assert_true(find("a.org", DNS_A, 1));
    assert_string_equal(found.reason, "why");
    store("a.org", DNS_A, 0, &not_kept);
    assert_false(find("a.org", DNS_A, 1));
    assert_true(find("a.org", DNS_AAAA, 1));
    assert_true(find("b.a.org", DNS_A, 1));
    assert_false(find("org", DNS_A, 1));
}

static void full_means_the_least_used_goes(void **state)
{
    (void)state;
    for (int i = 0; i < 64; i++) {
        store_number(i, 0);
    }
    assert_true(find_number(0, 0));
    for (int i = 64; i < 100; i++) {
        store_number(i, 0);
        assert_true(find_number(0, 0)); /* in use all the time */
    }
    for (int i = 1; i < 100; i++) {
        assert_int_equal(find_number(i, 0), i >= 37);
    }
    assert_int_equal(cache.pools[0].used, 64);
}

static void big_answers_have_room_of_their_own(void **state)
{
    (void)state;
    static uint8_t data[DNS_ANSWER_MAX];
    struct dns_record record = {.data = data, .len = sizeof(data)};
    struct dns_answer answer = {.ttl_s = 60, .count = 1, .records = &record};
    for (int i = 0; i < 64; i++) {
        store_number(i, 0);
    }
    store("one.org", DNS_TXT, 0, &answer);
    store("two.org", DNS_TXT, 0, &answer);
    assert_false(find("one.org", DNS_TXT, 0));
    assert_true(find("two.org", DNS_TXT, 0));
    record.len = 600;
    for (int i = 0; i < 17; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "m%d.org", i);
        store(name, DNS_TXT, 0, &answer);
    }
    assert_false(find("m0.org", DNS_TXT, 0));
    assert_true(find("m1.org", DNS_TXT, 0));
    for (int i = 0; i < 64; i++) {
        assert_true(find_number(i, 0));
    }
}

static void bounds_of_time(void **state)
{
    (void)state;
    static const struct {
        enum dns_status status;
        uint32_t ttl_s;
        uint32_t kept_s;
    } rows[] = {
        {DNS_OK, 0, 5},         {DNS_OK, 300, 300},           {DNS_OK, UINT32_MAX, 86400},
        {DNS_NO_DATA, 0, 0},    {DNS_NO_DATA, 1, 5},          {DNS_NO_DATA, 60, 60},
        {DNS_NO_NAME, 0, 0},    {DNS_NO_NAME, 1000000, 3600}, {DNS_FAILED, 0, 2},
        {DNS_FAILED, 99999, 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dns_answer answer = {.status = rows[i].status, .ttl_s = rows[i].ttl_s};
        assert_int_equal(dns_cache_ttl_s(&answer), rows[i].kept_s);
    }
}

/* The published value for a 15-octet message does not apply (the type stands for the length); what
 * matters is that key, every octet and the type decide. */
static void everything_decides_the_hash(void **state)
{
    (void)state;
    uint8_t name[32] = "\5abcdefghijklmnopqrstuvwxyz";
    uint64_t hash = dns_cache_hash(&cache, name, 27, DNS_A);
    assert_int_equal(hash, dns_cache_hash(&cache, name, 27, DNS_A));
    assert_true(hash != dns_cache_hash(&cache, name, 27, DNS_MX));
    assert_true(hash != dns_cache_hash(&cache, name, 26, DNS_A));
    for (int i = 0; i < 27; i++) {
        name[i] ^= 1;
        assert_true(hash != dns_cache_hash(&cache, name, 27, DNS_A));
        name[i] ^= 1;
    }
    cache.key[1]++;
    assert_true(hash != dns_cache_hash(&cache, name, 27, DNS_A));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_shape_comes_back, open_cache, close_cache),
        cmocka_unit_test_setup_teardown(time_passes, open_cache, close_cache),
        cmocka_unit_test_setup_teardown(a_new_answer_takes_the_old_one_s_place, open_cache,
                                        close_cache),
        cmocka_unit_test_setup_teardown(full_means_the_least_used_goes, open_cache, close_cache),
        cmocka_unit_test_setup_teardown(big_answers_have_room_of_their_own, open_cache,
                                        close_cache),
        cmocka_unit_test_setup_teardown(everything_decides_the_hash, open_cache, close_cache),
        cmocka_unit_test(bounds_of_time),
    };
    return cmocka_run_group_tests_name("dns_cache", tests, NULL, NULL);
}
