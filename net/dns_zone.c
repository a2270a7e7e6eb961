/*
 * dns_zone - see net/dns_zone.h.
 *
 * Records are sorted by key, then type. The key of a name is its labels from the root's side, each
 * with its length in front: "www.example.org" is [3]org[7]example[3]www. So the key of a name is the
 * beginning of the keys of all names below it, which therefore follow it without a gap: whether
 * anything is at or below a name is a question about one place in the table.
 */
#include "net/dns_zone.h"

#include <assert.h>
#include <errno.h>
#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "net/dns_message.h"
#include "net/pool.h"

enum {
    DNS_ZONE_MAGIC = 0x444e535a,
    ZONE_FILE_MAX = 64 << 20,
    ZONE_TEXT_PER_RECORD = 4, /* octets of text a record needs, at the very least */
    ZONE_BYTES_PER_TEXT = 64, /* octets of names and data, per octet of text, at the very most */
    ZONE_LABELS_MAX = 128,
    ZONE_TTL_S = 3600, /* of records before the first $TTL */
};

struct zone_entry {
    const uint8_t *key;
    uint8_t key_len;
    uint16_t type;
    uint32_t ttl_s;
    uint32_t number; /* in the file */
    struct dns_record record;
};

struct dns_zone {
    uint32_t magic;
    uint32_t count;
    uint32_t count_max;
    struct zone_entry *entries;
    struct dns_record *records; /* those of the entries, in their order */
    uint8_t *bytes;
    size_t bytes_used;
    size_t bytes_max;
};

/* A key and where its labels end: the keys of the names above it are its beginnings. */
struct zone_key {
    uint32_t labels;
    uint8_t ends[ZONE_LABELS_MAX]; /* ends[0] is 0: the root */
    uint8_t bytes[DNS_NAME_MAX];
};

static void key_make(struct zone_key *key, const uint8_t *name)
{
    uint8_t starts[ZONE_LABELS_MAX];
    uint32_t labels = 0;
    for (uint32_t at = 0; name[at] != 0; at += name[at] + 1u) {
        assert(labels < ZONE_LABELS_MAX - 1);
        starts[labels++] = (uint8_t)at;
    }
    key->labels = labels;
    key->ends[0] = 0;
    uint32_t len = 0;
    for (uint32_t i = 0; i < labels; i++) {
        const uint8_t *label = name + starts[labels - 1 - i];
        memcpy(key->bytes + len, label, label[0] + 1u);
        len += label[0] + 1u;
        key->ends[i + 1] = (uint8_t)len;
    }
}

/* ---- reading the file ---- */

static void zone_release(struct dns_zone *zone)
{
    pages_release(zone->entries, zone->count_max * sizeof(*zone->entries));
    pages_release(zone->records, zone->count_max * sizeof(*zone->records));
    pages_release(zone->bytes, zone->bytes_max);
    zone->magic = 0;
    pages_release(zone, sizeof(*zone));
}

static struct dns_zone *zone_reserve(size_t text_len)
{
    struct dns_zone *zone = pages_reserve(sizeof(*zone));
    if (zone == NULL) {
        return NULL;
    }
    zone->magic = DNS_ZONE_MAGIC;
    zone->count_max = (uint32_t)(text_len / ZONE_TEXT_PER_RECORD + 1);
    zone->bytes_max = (text_len + 1) * ZONE_BYTES_PER_TEXT;
    zone->entries = pages_reserve(zone->count_max * sizeof(*zone->entries));
    zone->records = pages_reserve(zone->count_max * sizeof(*zone->records));
    zone->bytes = pages_reserve(zone->bytes_max);
    if (zone->entries == NULL || zone->records == NULL || zone->bytes == NULL) {
        zone_release(zone);
        return NULL;
    }
    return zone;
}

static uint8_t *zone_copy(struct dns_zone *zone, const void *bytes, size_t len)
{
    assert(len <= zone->bytes_max - zone->bytes_used);
    uint8_t *copy = zone->bytes + zone->bytes_used;
    zone->bytes_used += len;
    return len > 0 ? memcpy(copy, bytes, len) : copy;
}

static size_t rr_data_len(const ldns_rr *rr)
{
    size_t len = 0;
    for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
        len += ldns_rdf_size(ldns_rr_rdf(rr, i));
    }
    return len;
}

/* NULL, or what is wrong with the record. */
static const char *zone_add(struct dns_zone *zone, const ldns_rr *rr)
{
    size_t len = rr_data_len(rr);
    if (ldns_rr_get_class(rr) != LDNS_RR_CLASS_IN) {
        return "the class is not IN";
    }
    if (len > UINT16_MAX) {
        return "too much data in one record";
    }
    if (zone->count == zone->count_max || DNS_NAME_MAX + len > zone->bytes_max - zone->bytes_used) {
        return "too many records for the size of the file";
    }
    uint8_t name[DNS_NAME_MAX];
    struct zone_key key;
    dns_name_lower(name, ldns_rdf_data(ldns_rr_owner(rr)),
                   (uint32_t)ldns_rdf_size(ldns_rr_owner(rr)));
    key_make(&key, name);
    const uint8_t *data = zone->bytes + zone->bytes_used;
    for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
        const ldns_rdf *field = ldns_rr_rdf(rr, i);
        uint8_t *copy = zone_copy(zone, ldns_rdf_data(field), ldns_rdf_size(field)); /* at `data` */
        if (ldns_rdf_get_type(field) == LDNS_RDF_TYPE_DNAME) {
            dns_name_lower(copy, copy, (uint32_t)ldns_rdf_size(field));
        }
    }
    if (!dns_data_is_valid((uint16_t)ldns_rr_get_type(rr), data, (uint32_t)len)) {
        return "the data does not have the form of its type";
    }
    uint8_t key_len = key.ends[key.labels];
    zone->entries[zone->count] = (struct zone_entry){
        .key = zone_copy(zone, key.bytes, key_len),
        .key_len = key_len,
        .type = (uint16_t)ldns_rr_get_type(rr),
        .ttl_s = ldns_rr_ttl(rr),
        .number = zone->count,
        .record = {.data = data, .len = (uint16_t)len},
    };
    zone->count++;
    return NULL;
}

/* NULL, or what is wrong in line *ret_line. */
static const char *zone_read_records(struct dns_zone *zone, FILE *file, int *ret_line)
{
    ldns_rdf *origin = ldns_dname_new_frm_str(".");
    ldns_rdf *previous = NULL;
    uint32_t ttl_s = ZONE_TTL_S;
    const char *error = origin == NULL ? "no memory" : NULL;
    while (error == NULL && !feof(file)) {
        ldns_rr *rr = NULL;
        ldns_status status = ldns_rr_new_frm_fp_l(&rr, file, &ttl_s, &origin, &previous, ret_line);
        if (status == LDNS_STATUS_OK) {
            error = zone_add(zone, rr);
            ldns_rr_free(rr);
        } else if (status != LDNS_STATUS_SYNTAX_EMPTY && status != LDNS_STATUS_SYNTAX_TTL &&
                   status != LDNS_STATUS_SYNTAX_ORIGIN) {
            error = ldns_get_errorstr_by_id(status);
        }
    }
    ldns_rdf_deep_free(origin);
    ldns_rdf_deep_free(previous);
    return error;
}

static int compare_keys(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (int)a_len - (int)b_len;
}

static int compare_entries(const void *left, const void *right)
{
    const struct zone_entry *a = left;
    const struct zone_entry *b = right;
    int order = compare_keys(a->key, a->key_len, b->key, b->key_len);
    if (order == 0) {
        order = (int)a->type - (int)b->type;
    }
    return order != 0 ? order : a->number < b->number ? -1 : 1;
}

static void zone_sort(struct dns_zone *zone)
{
    qsort(zone->entries, zone->count, sizeof(*zone->entries), compare_entries);
    for (uint32_t i = 0; i < zone->count; i++) {
        zone->records[i] = zone->entries[i].record;
    }
}

/* The length of the file, or -errno. */
static int64_t file_len(FILE *file)
{
    struct stat stat;
    if (fstat(fileno(file), &stat) < 0) {
        return -errno;
    }
    if (!S_ISREG(stat.st_mode)) {
        return -EINVAL;
    }
    return stat.st_size <= ZONE_FILE_MAX ? stat.st_size : -EFBIG;
}

int dns_zone_read(struct dns_zone **ret_zone, const char *path, char *error, uint32_t error_size)
{
    struct dns_zone *zone = NULL;
    FILE *file = fopen(path, "re");
    int64_t result = file == NULL ? -errno : file_len(file);
    if (result >= 0) {
        zone = zone_reserve((size_t)result);
        result = zone == NULL ? -ENOMEM : 0;
    }
    if (result < 0) {
        (void)snprintf(error, error_size, "%s", strerror((int)-result)); /* cut where it must be */
        goto out;
    }
    int line = 0;
    const char *wrong = zone_read_records(zone, file, &line);
    if (wrong != NULL) {
        (void)snprintf(error, error_size, "line %d: %s", line, wrong); /* likewise */
        zone_release(zone);
        result = -EINVAL;
        goto out;
    }
    zone_sort(zone);
    *ret_zone = zone;
out:
    if (file != NULL) {
        (void)fclose(file); /* it was only read */
    }
    return (int)result;
}

void dns_zone_destroy(struct dns_zone **zone)
{
    if (*zone != NULL) {
        assert((*zone)->magic == DNS_ZONE_MAGIC);
        zone_release(*zone);
        *zone = NULL;
    }
}

uint32_t dns_zone_count(const struct dns_zone *zone)
{
    return zone->count;
}

/* ---- finding ---- */

/* The first entry whose key is not before this one. */
static uint32_t zone_seek(const struct dns_zone *zone, const uint8_t *key, uint32_t len)
{
    uint32_t low = 0;
    uint32_t high = zone->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct zone_entry *entry = &zone->entries[middle];
        if (compare_keys(entry->key, entry->key_len, key, len) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Whether the name exists: there are records at it or below it. */
static bool zone_has_name(const struct dns_zone *zone, const uint8_t *key, uint32_t len)
{
    uint32_t i = zone_seek(zone, key, len);
    return i < zone->count && zone->entries[i].key_len >= len &&
           memcmp(zone->entries[i].key, key, len) == 0;
}

/* Whether there are records at the name itself. */
static bool zone_has_records(const struct dns_zone *zone, const uint8_t *key, uint32_t len)
{
    uint32_t i = zone_seek(zone, key, len);
    return i < zone->count && zone->entries[i].key_len == len &&
           memcmp(zone->entries[i].key, key, len) == 0;
}

/* The records of one type: the first, and how many; 0: none. */
static uint32_t zone_records(const struct dns_zone *zone, const uint8_t *key, uint32_t len,
                             uint16_t type, uint32_t *ret_first)
{
    uint32_t count = 0;
    for (uint32_t i = zone_seek(zone, key, len); i < zone->count; i++) {
        const struct zone_entry *entry = &zone->entries[i];
        if (entry->key_len != len || memcmp(entry->key, key, len) != 0 || entry->type > type) {
            break;
        }
        if (entry->type == type) {
            *ret_first = count == 0 ? i : *ret_first;
            count++;
        }
    }
    return count;
}

/* The SOA at the name or nearest above it; NULL: the name is in no zone of the file. */
static const struct zone_entry *zone_find_soa(const struct dns_zone *zone,
                                              const struct zone_key *key)
{
    uint32_t first;
    for (uint32_t i = key->labels + 1; i > 0; i--) {
        if (zone_records(zone, key->bytes, key->ends[i - 1], DNS_SOA, &first) > 0) {
            return &zone->entries[first];
        }
    }
    return NULL;
}

static uint32_t soa_negative_ttl_s(const struct zone_entry *soa)
{
    const uint8_t *last = soa->record.data + soa->record.len - 4;
    uint32_t minimum_s = ldns_read_uint32(last);
    return minimum_s < soa->ttl_s ? minimum_s : soa->ttl_s;
}

/* Turns the key of a name that does not exist into that of the wildcard it could come from: below
 * its closest encloser, the nearest name above it that exists. */
static void key_to_wildcard(const struct dns_zone *zone, struct zone_key *key)
{
    assert(key->labels > 0);
    key->labels--;
    while (key->labels > 0 && !zone_has_name(zone, key->bytes, key->ends[key->labels])) {
        key->labels--;
    }
    uint32_t len = key->ends[key->labels];
    key->bytes[len] = 1;
    key->bytes[len + 1] = '*';
    key->labels++;
    key->ends[key->labels] = (uint8_t)(len + 2);
}

static void answer_records(const struct dns_zone *zone, uint32_t first, uint32_t count,
                           struct dns_answer *answer)
{
    uint32_t len = 0;
    answer->count = count < DNS_RECORDS_MAX ? count : DNS_RECORDS_MAX;
    answer->records = &zone->records[first];
    answer->status = DNS_OK;
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct zone_entry *entry = &zone->entries[first + i];
        len += entry->record.len;
        if (entry->ttl_s < answer->ttl_s) {
            answer->ttl_s = entry->ttl_s;
        }
    }
    if (len > DNS_ANSWER_MAX) {
        *answer = (struct dns_answer){.status = DNS_FAILED, .reason = "answer too large"};
    }
}

enum zone_step { ZONE_ANSWERED, ZONE_ALIAS, ZONE_ELSEWHERE };

/* One name, no CNAME followed yet. */
static enum zone_step zone_step(const struct dns_zone *zone, struct dns_name *name, uint16_t type,
                                struct dns_answer *answer)
{
    struct zone_key key;
    key_make(&key, name->octets);
    const struct zone_entry *soa = zone_find_soa(zone, &key);
    bool is_there = zone_has_name(zone, key.bytes, key.ends[key.labels]);
    if (soa == NULL && !zone_has_records(zone, key.bytes, key.ends[key.labels])) {
        return ZONE_ELSEWHERE;
    }
    if (!is_there) {
        key_to_wildcard(zone, &key);
        is_there = zone_has_name(zone, key.bytes, key.ends[key.labels]);
    }
    uint32_t len = key.ends[key.labels];
    uint32_t first;
    uint32_t count = zone_records(zone, key.bytes, len, type, &first);
    if (count > 0) {
        answer_records(zone, first, count, answer);
        return ZONE_ANSWERED;
    }
    if (zone_records(zone, key.bytes, len, DNS_CNAME, &first) > 0) {
        const struct zone_entry *entry = &zone->entries[first];
        name->len = (uint8_t)entry->record.len;
        dns_name_lower(name->octets, entry->record.data, entry->record.len);
        answer->ttl_s = entry->ttl_s < answer->ttl_s ? entry->ttl_s : answer->ttl_s;
        return ZONE_ALIAS;
    }
    uint32_t ttl_s = soa == NULL ? 0 : soa_negative_ttl_s(soa);
    answer->status = is_there ? DNS_NO_DATA : DNS_NO_NAME;
    answer->ttl_s = ttl_s < answer->ttl_s ? ttl_s : answer->ttl_s;
    return ZONE_ANSWERED;
}

bool dns_zone_find(const struct dns_zone *zone, struct dns_name *name, uint16_t type,
                   struct dns_answer *ret_answer)
{
    assert(zone->magic == DNS_ZONE_MAGIC);
    assert(zone->entries != NULL);
    *ret_answer = (struct dns_answer){.ttl_s = UINT32_MAX};
    for (int i = 0; i <= DNS_CHAIN_MAX; i++) {
        enum zone_step step = zone_step(zone, name, type, ret_answer);
        if (step != ZONE_ALIAS) {
            return step == ZONE_ANSWERED;
        }
    }
    *ret_answer = (struct dns_answer){.status = DNS_FAILED, .reason = "too many CNAMEs"};
    return true;
}
