/*
 * fake_dns - see test/fake_dns.h.
 */
#include "test/fake_dns.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHAIN_MAX = 8, DATA_MAX = 65535 };

struct fake_record {
    struct fake_record *next;
    uint8_t name[DNS_NAME_MAX];
    uint32_t name_len;
    uint16_t type;
    bool is_failure;
    uint32_t len;
    uint8_t data[];
};

static void fake_ask(struct dns *dns, struct dns_query *query)
{
    struct fake_dns *fake = (struct fake_dns *)dns;
    fake->asked++;
    list_init(&query->node);
    if (fake->asked != fake->forget_one) {
        list_push_back(&fake->waiting, &query->node);
    }
}

static void fake_cancel(struct dns *dns, struct dns_query *query)
{
    (void)dns;
    list_remove(&query->node);
}

void fake_dns_init(struct fake_dns *fake)
{
    static const struct dns_ops ops = {.ask = fake_ask, .cancel = fake_cancel};
    *fake = (struct fake_dns){.dns = {&ops}};
    list_init(&fake->waiting);
}

void fake_dns_fini(struct fake_dns *fake)
{
    assert(list_is_empty(&fake->waiting));
    while (fake->records != NULL) {
        struct fake_record *record = fake->records;
        fake->records = record->next;
        free(record);
    }
}

static struct fake_record *add(struct fake_dns *fake, const char *name, enum dns_type type,
                               const void *data, uint32_t len)
{
    struct fake_record *record = calloc(1, sizeof(*record) + len);
    assert(record != NULL);
    int name_len = dns_name_parse(name, (uint32_t)strlen(name), record->name);
    assert(name_len > 0);
    record->name_len = (uint32_t)name_len;
    record->type = (uint16_t)type;
    record->len = len;
    if (len > 0) {
        memcpy(record->data, data, len);
    }
    struct fake_record **end = &fake->records;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = record;
    return record;
}

void fake_dns_add_raw(struct fake_dns *fake, const char *name, enum dns_type type, const void *data,
                      uint32_t len)
{
    (void)add(fake, name, type, data, len);
}

void fake_dns_add_failure(struct fake_dns *fake, const char *name, enum dns_type type)
{
    add(fake, name, type, NULL, 0)->is_failure = true;
}

static uint32_t encode_text(const char *text, uint8_t *out)
{
    size_t left = strlen(text);
    uint32_t at = 0;
    do {
        size_t part = left > 255 ? 255 : left;
        out[at++] = (uint8_t)part;
        memcpy(out + at, text, part);
        at += (uint32_t)part;
        text += part;
        left -= part;
    } while (left > 0);
    return at;
}

static uint32_t encode(enum dns_type type, const char *data, uint8_t *out)
{
    unsigned preference = 0;
    int skip = 0;
    int len = -1;
    switch (type) {
    case DNS_A:
        len = inet_pton(AF_INET, data, out) == 1 ? 4 : -1;
        break;
    case DNS_AAAA:
        len = inet_pton(AF_INET6, data, out) == 1 ? 16 : -1;
        break;
    case DNS_TXT:
        len = (int)encode_text(data, out);
        break;
    case DNS_MX:
        if (sscanf(data, "%u %n", &preference, &skip) == 1) {
            out[0] = (uint8_t)(preference >> 8);
            out[1] = (uint8_t)preference;
            len = dns_name_parse(data + skip, (uint32_t)strlen(data + skip), out + 2) + 2;
        }
        break;
    case DNS_CNAME:
    case DNS_PTR:
    case DNS_SOA:
        len = dns_name_parse(data, (uint32_t)strlen(data), out);
        break;
    }
    assert(len > 0);
    return (uint32_t)len;
}

void fake_dns_add(struct fake_dns *fake, const char *name, enum dns_type type, const char *data)
{
    static uint8_t wire[DATA_MAX + DATA_MAX / 255 + 2];
    assert(strlen(data) <= DATA_MAX);
    uint32_t len = encode(type, data, wire);
    (void)add(fake, name, type, wire, len);
}

/* ---- answers ---- */

static bool is_below(const struct fake_record *record, const uint8_t *name, uint32_t len)
{
    for (uint32_t at = 0; record->name_len - at > len; at += record->name[at] + 1u) {
        if (record->name_len - at - record->name[at] - 1u == len &&
            memcmp(record->name + at + record->name[at] + 1u, name, len) == 0) {
            return true;
        }
    }
    return false;
}

struct found {
    bool has_name;
    bool has_failure;
    const struct fake_record *alias;
    uint32_t count;
    struct dns_record records[DNS_RECORDS_MAX];
};

static bool is_at(const struct fake_record *record, const uint8_t *name, uint32_t len)
{
    return record->name_len == len && memcmp(record->name, name, len) == 0;
}

/* The name, or one below it, has a record. */
static bool exists(const struct fake_dns *fake, const uint8_t *name, uint32_t len)
{
    for (const struct fake_record *r = fake->records; r != NULL; r = r->next) {
        if ((is_at(r, name, len) && !r->is_failure) || is_below(r, name, len)) {
            return true;
        }
    }
    return false;
}

/* The record is a wildcard's, and the name has no closer encloser than the one it is below. */
static bool is_wildcard_of(const struct fake_dns *fake, const struct fake_record *record,
                           const uint8_t *name, uint32_t len)
{
    uint32_t child = 0; /* the label above the encloser */
    uint32_t above = record->name_len - 2;
    if (record->name[0] != 1 || record->name[1] != '*' || above >= len) {
        return false;
    }
    for (uint32_t at = 0; len - at > above; at += name[at] + 1u) {
        child = at;
    }
    uint32_t at = child + name[child] + 1u;
    return len - at == above && memcmp(name + at, record->name + 2, above) == 0 &&
           !exists(fake, name + child, len - child);
}

static void find(const struct fake_dns *fake, const uint8_t *name, uint32_t len, uint16_t type,
                 struct found *found)
{
    *found = (struct found){.has_name = exists(fake, name, len)};
    for (const struct fake_record *r = fake->records; r != NULL; r = r->next) {
        if (!is_at(r, name, len) && !is_wildcard_of(fake, r, name, len)) {
            continue;
        }
        found->has_name = found->has_name || !r->is_failure;
        if (r->is_failure) {
            found->has_failure = found->has_failure || r->type == 0 || r->type == type;
        } else if (r->type == type && found->count < DNS_RECORDS_MAX) {
            found->records[found->count++] =
                (struct dns_record){.data = r->data, .len = (uint16_t)r->len};
        } else if (r->type == DNS_CNAME) {
            found->alias = r;
        }
    }
}

static void answer_one(const struct fake_dns *fake, struct dns_query *query)
{
    static struct found found;
    const uint8_t *name = query->name;
    uint32_t len = query->name_len;
    int links = 0;
    find(fake, name, len, query->type, &found);
    while (found.alias != NULL && found.count == 0 && links++ < CHAIN_MAX) {
        name = found.alias->data;
        len = found.alias->len;
        find(fake, name, len, query->type, &found);
    }
    struct dns_answer answer = {.status = DNS_NO_NAME, .ttl_s = 300};
    if (found.has_failure || links > CHAIN_MAX) {
        answer.status = DNS_FAILED;
        answer.reason = "SERVFAIL";
    } else if (found.count > 0) {
        answer.status = DNS_OK;
        answer.count = found.count;
        answer.records = found.records;
    } else if (found.has_name) {
        answer.status = DNS_NO_DATA;
    }
    dns_answer(query, &answer);
}

static struct list_node *pick(struct fake_dns *fake)
{
    struct list_node *node = fake->waiting.next;
    if (fake->seed == 0) {
        return node;
    }
    uint32_t count = 0;
    for (struct list_node *n = node; n != &fake->waiting; n = n->next) {
        count++;
    }
    fake->seed = fake->seed * 6364136223846793005u + 1442695040888963407u;
    for (uint32_t skip = (uint32_t)(fake->seed >> 33) % count; skip > 0; skip--) {
        node = node->next;
    }
    return node;
}

uint32_t fake_dns_run(struct fake_dns *fake)
{
    uint32_t count = 0;
    while (!list_is_empty(&fake->waiting)) {
        struct list_node *node = pick(fake);
        list_remove(node);
        answer_one(fake, list_entry(node, struct dns_query, node));
        count++;
    }
    return count;
}
