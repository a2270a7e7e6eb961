/*
 * dns_cache - see net/dns_cache.h.
 *
 * An entry is a head, the name, and each record with its length in front. Entries of a bucket are
 * chained; entries of a kind are in one list by the time of their last use.
 */
#include "net/dns_cache.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { DNS_CACHE_MAGIC = 0x444e5343, DNS_ENTRY_MAGIC = 0x444e5345 };

struct dns_entry {
    uint32_t magic;
    uint16_t type;
    uint8_t name_len;
    uint8_t status; /* enum dns_status */
    uint8_t kind;   /* index of pool and list */
    uint8_t count;
    struct dns_entry *next; /* in its bucket */
    struct list_node used;
    int64_t expires_ms;
    const char *reason;
    uint8_t bytes[];
};

enum {
    DNS_ENTRY_BIG = sizeof(struct dns_entry) + DNS_NAME_MAX + 2 * DNS_RECORDS_MAX + DNS_ANSWER_MAX,
};

static const uint32_t kind_size[DNS_CACHE_KINDS] = {
    DNS_CACHE_SMALL,
    DNS_CACHE_MEDIUM,
    DNS_ENTRY_BIG,
};

/* How many small answers there are for one of the kind. */
static const uint32_t kind_share[DNS_CACHE_KINDS] = {1, 4, 64};

/* ---- the table ---- */

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3 of the name with the type in place of the length. */
uint64_t dns_cache_hash(const struct dns_cache *cache, const uint8_t *name, uint8_t name_len,
                        uint16_t type)
{
    uint64_t v[4] = {
        cache->key[0] ^ UINT64_C(0x736f6d6570736575),
        cache->key[1] ^ UINT64_C(0x646f72616e646f6d),
        cache->key[0] ^ UINT64_C(0x6c7967656e657261),
        cache->key[1] ^ UINT64_C(0x7465646279746573),
    };
    for (uint32_t at = 0; at < name_len; at += 8) {
        uint64_t word = 0;
        memcpy(&word, name + at, name_len - at < 8 ? name_len - at : 8u);
        sip_word(v, word);
    }
    sip_word(v, (uint64_t)type << 8 | name_len);
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Where the pointer to the entry is, or where it would be appended. */
static struct dns_entry **find_place(const struct dns_cache *cache, const uint8_t *name,
                                     uint8_t name_len, uint16_t type)
{
    uint64_t hash = dns_cache_hash(cache, name, name_len, type);
    struct dns_entry **place = &cache->buckets[hash & (cache->bucket_count - 1)];
    while (*place != NULL) {
        const struct dns_entry *entry = *place;
        assert(entry->magic == DNS_ENTRY_MAGIC);
        if (entry->type == type && entry->name_len == name_len &&
            memcmp(entry->bytes, name, name_len) == 0) {
            break;
        }
        place = &(*place)->next;
    }
    return place;
}

static void entry_remove(struct dns_cache *cache, struct dns_entry *entry)
{
    struct dns_entry **place = find_place(cache, entry->bytes, entry->name_len, entry->type);
    assert(*place == entry);
    *place = entry->next;
    list_remove(&entry->used);
    entry->magic = 0;
    pool_put(&cache->pools[entry->kind], entry);
}

/* ---- making it ---- */

static size_t buckets_size(const struct dns_cache *cache)
{
    return cache->bucket_count * sizeof(struct dns_entry *);
}

static void release_memory(struct dns_cache *cache, int kinds)
{
    for (int i = 0; i < kinds; i++) {
        pool_fini(&cache->pools[i]);
    }
    pages_release(cache->buckets, buckets_size(cache));
    cache->magic = 0;
}

int dns_cache_init(struct dns_cache *cache, uint32_t entries, const uint8_t key[DNS_CACHE_KEY_LEN])
{
    assert(entries > 0);
    assert(entries <= 1u << 30);
    *cache = (struct dns_cache){.magic = DNS_CACHE_MAGIC, .bucket_count = 1};
    memcpy(cache->key, key, DNS_CACHE_KEY_LEN);
    while (cache->bucket_count < entries) {
        cache->bucket_count *= 2;
    }
    cache->buckets = pages_reserve(buckets_size(cache));
    if (cache->buckets == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < DNS_CACHE_KINDS; i++) {
        list_init(&cache->used[i]);
        int result = pool_init(&cache->pools[i], kind_size[i], 1 + (entries - 1) / kind_share[i]);
        if (result < 0) {
            release_memory(cache, i);
            return result;
        }
    }
    return 0;
}

void dns_cache_fini(struct dns_cache *cache)
{
    assert(cache->magic == DNS_CACHE_MAGIC);
    for (int i = 0; i < DNS_CACHE_KINDS; i++) {
        while (!list_is_empty(&cache->used[i])) {
            entry_remove(cache, list_entry(cache->used[i].next, struct dns_entry, used));
        }
    }
    release_memory(cache, DNS_CACHE_KINDS);
}

/* ---- using it ---- */

static uint32_t clamp(uint32_t value, uint32_t min, uint32_t max)
{
    return value < min ? min : value > max ? max : value;
}

uint32_t dns_cache_ttl_s(const struct dns_answer *answer)
{
    if (answer->status == DNS_OK) {
        return clamp(answer->ttl_s, DNS_TTL_MIN_S, DNS_TTL_MAX_S);
    }
    if (answer->status == DNS_FAILED) {
        return DNS_TTL_FAILED_S;
    }
    return answer->ttl_s == 0 ? 0 : clamp(answer->ttl_s, DNS_TTL_MIN_S, DNS_TTL_NEGATIVE_MAX_S);
}

static void entry_read(struct dns_cache *cache, const struct dns_entry *entry, int64_t now_ms,
                       struct dns_answer *ret_answer)
{
    const uint8_t *at = entry->bytes + entry->name_len;
    for (uint32_t i = 0; i < entry->count; i++) {
        struct dns_record *record = &cache->records[i];
        memcpy(&record->len, at, sizeof(record->len));
        record->data = at + sizeof(record->len);
        at = record->data + record->len;
    }
    *ret_answer = (struct dns_answer){
        .status = (enum dns_status)entry->status,
        .reason = entry->reason,
        .ttl_s = (uint32_t)((entry->expires_ms - now_ms + 999) / 1000),
        .count = entry->count,
        .records = cache->records,
    };
}

bool dns_cache_find(struct dns_cache *cache, const uint8_t *name, uint8_t name_len, uint16_t type,
                    int64_t now_ms, struct dns_answer *ret_answer)
{
    assert(cache->magic == DNS_CACHE_MAGIC);
    struct dns_entry *entry = *find_place(cache, name, name_len, type);
    if (entry != NULL && entry->expires_ms <= now_ms) {
        entry_remove(cache, entry);
        entry = NULL;
    }
    if (entry == NULL) {
        cache->misses++;
        return false;
    }
    cache->hits++;
    list_remove(&entry->used);
    list_push_back(&cache->used[entry->kind], &entry->used);
    entry_read(cache, entry, now_ms, ret_answer);
    return true;
}

static uint8_t kind_for(uint32_t size)
{
    uint8_t kind = 0;
    while (size > kind_size[kind]) {
        kind++;
        assert(kind < DNS_CACHE_KINDS);
    }
    return kind;
}

/* An entry of the kind, if need be that of the answer not used for longest. */
static struct dns_entry *entry_get(struct dns_cache *cache, uint8_t kind)
{
    struct dns_entry *entry = pool_get(&cache->pools[kind]);
    if (entry == NULL) {
        entry_remove(cache, list_entry(cache->used[kind].next, struct dns_entry, used));
        entry = pool_get(&cache->pools[kind]);
    }
    assert(entry != NULL);
    return entry;
}

void dns_cache_store(struct dns_cache *cache, const uint8_t *name, uint8_t name_len, uint16_t type,
                     int64_t now_ms, const struct dns_answer *answer)
{
    assert(cache->magic == DNS_CACHE_MAGIC);
    assert(answer->count <= DNS_RECORDS_MAX);
    struct dns_entry *old = *find_place(cache, name, name_len, type);
    if (old != NULL) {
        entry_remove(cache, old);
    }
    if (answer->ttl_s == 0) {
        return;
    }
    uint32_t size = (uint32_t)sizeof(struct dns_entry) + name_len;
    for (uint32_t i = 0; i < answer->count; i++) {
        size += 2u + answer->records[i].len;
    }
    uint8_t kind = kind_for(size);
    struct dns_entry *entry = entry_get(cache, kind);
    *entry = (struct dns_entry){
        .magic = DNS_ENTRY_MAGIC,
        .type = type,
        .name_len = name_len,
        .status = (uint8_t)answer->status,
        .kind = kind,
        .count = (uint8_t)answer->count,
        .expires_ms = now_ms + (int64_t)answer->ttl_s * 1000,
        .reason = answer->reason,
    };
    memcpy(entry->bytes, name, name_len);
    uint8_t *at = entry->bytes + name_len;
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct dns_record *record = &answer->records[i];
        memcpy(at, &record->len, sizeof(record->len));
        memcpy(at + sizeof(record->len), record->data, record->len);
        at += sizeof(record->len) + record->len;
    }
    *find_place(cache, name, name_len, type) = entry; /* the end of the chain */
    list_push_back(&cache->used[kind], &entry->used);
}
