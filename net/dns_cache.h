/*
 * dns_cache - what the domain name system said a while ago, for as long as it may be believed.
 *
 * One thread's. The memory is reserved at once and touched as it is used: there are as many small
 * answers (DNS_CACHE_SMALL octets with everything, which is nearly all of them) as the owner says, a
 * quarter of that number of medium ones and a 64th of big ones. When one kind is full, its answer
 * that was not used for longest goes. Names are strangers' choice, so the table's hash is keyed.
 */
#ifndef NET_DNS_CACHE_H
#define NET_DNS_CACHE_H

#include "net/dns.h"
#include "net/pool.h"

enum {
    DNS_CACHE_KEY_LEN = 16,
    DNS_CACHE_KINDS = 3,
    DNS_CACHE_SMALL = 256,
    DNS_CACHE_MEDIUM = 1024,

    /* Bounds of what records and servers wish. */
    DNS_TTL_MIN_S = 5, /* one message asks the same thing twice */
    DNS_TTL_MAX_S = 86400,
    DNS_TTL_NEGATIVE_MAX_S = 3600, /* RFC 2308, 5 */
    DNS_TTL_FAILED_S = 2,          /* RFC 9520: failures are remembered, but not for long */
};

struct dns_entry;

struct dns_cache {
    uint32_t magic;
    uint32_t bucket_count; /* a power of two */
    struct dns_entry **buckets;
    uint64_t key[2];
    struct pool pools[DNS_CACHE_KINDS];
    struct list_node used[DNS_CACHE_KINDS]; /* the one used last is the last */
    struct dns_record records[DNS_RECORDS_MAX];
    uint64_t hits;
    uint64_t misses;
};

/* `entries`: at least 1. `key`: unpredictable. 0 or -errno. */
int dns_cache_init(struct dns_cache *cache, uint32_t entries, const uint8_t key[DNS_CACHE_KEY_LEN])
    __attribute__((warn_unused_result));
void dns_cache_fini(struct dns_cache *cache);

uint64_t dns_cache_hash(const struct dns_cache *cache, const uint8_t *name, uint8_t name_len,
                        uint16_t type);

/* For how long the answer may be kept, within the bounds above; 0: not at all. */
uint32_t dns_cache_ttl_s(const struct dns_answer *answer);

/* The answer to this question, valid until the next call; ttl_s is what is left of it. `name` in
 * lower case. */
bool dns_cache_find(struct dns_cache *cache, const uint8_t *name, uint8_t name_len, uint16_t type,
                    int64_t now_ms, struct dns_answer *ret_answer);

/* Keeps a copy for answer->ttl_s seconds in place of an older one; none when that is 0. */
void dns_cache_store(struct dns_cache *cache, const uint8_t *name, uint8_t name_len, uint16_t type,
                     int64_t now_ms, const struct dns_answer *answer);

#endif
