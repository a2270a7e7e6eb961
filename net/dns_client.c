/*
 * dns_client - see net/dns_client.h: what can be answered here, and who waits for what.
 *
 * A question is first put on `due` and taken from there in the next turn, so that `done` never runs
 * inside dns_ask(), wherever the answer comes from.
 */
#include "net/dns_client.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "net/dns_client_priv.h"

enum { DNS_CLIENT_MAGIC = 0x444e5343 };

static struct dns_client *client_of(struct dns *dns)
{
    struct dns_client *client = (struct dns_client *)dns;
    assert(client->magic == DNS_CLIENT_MAGIC);
    return client;
}

/* ---- randomness ---- */

static void kernel_random(void *arg, uint8_t *out, uint32_t len)
{
    (void)arg;
    ssize_t got = getrandom(out, len, 0);
    assert(got == (ssize_t)len); /* up to 256 octets always come whole */
}

void client_throw(struct dns_client *client, uint8_t *out, uint32_t len)
{
    assert(len <= DNS_DICE_POOL);
    if (len > DNS_DICE_POOL - client->dice_used) {
        client->conf.random(client->conf.random_arg, client->dice, DNS_DICE_POOL);
        client->dice_used = 0;
    }
    memcpy(out, client->dice + client->dice_used, len);
    memset(client->dice + client->dice_used, 0, len);
    client->dice_used += len;
}

/* ---- questions ---- */

static struct list_node *bucket_of(struct dns_client *client, const struct dns_name *name,
                                   uint16_t type)
{
    uint64_t hash = dns_cache_hash(&client->cache, name->octets, name->len, type);
    return &client->table[hash % DNS_TABLE_SIZE];
}

static struct dns_lookup *find_lookup(struct list_node *bucket, const struct dns_name *name,
                                      uint16_t type)
{
    for (struct list_node *node = bucket->next; node != bucket; node = node->next) {
        struct dns_lookup *lookup = list_entry(node, struct dns_lookup, table);
        if (lookup->type == type && lookup->question.len == name->len &&
            memcmp(lookup->question.octets, name->octets, name->len) == 0) {
            return lookup;
        }
    }
    return NULL;
}

static void answer_failed(struct dns_query *query, const char *reason)
{
    struct dns_answer answer = {.status = DNS_FAILED, .reason = reason};
    dns_answer(query, &answer);
}

/* Somebody has to be asked. */
static void client_look_up(struct dns_client *client, struct dns_query *query,
                           const struct dns_name *name)
{
    struct list_node *bucket = bucket_of(client, name, query->type);
    struct dns_lookup *lookup = find_lookup(bucket, name, query->type);
    if (lookup != NULL) {
        client->stats.joined++;
        list_push_back(&lookup->waiters, &query->node);
        return;
    }
    if (client->servers.count == 0) {
        answer_failed(query, "no server");
        return;
    }
    lookup = pool_get(&client->lookups);
    if (lookup == NULL) {
        answer_failed(query, "too many questions at once");
        return;
    }
    *lookup = (struct dns_lookup){.client = client, .type = query->type, .question = *name};
    list_init(&lookup->waiters);
    list_push_back(bucket, &lookup->table);
    list_push_back(&client->all, &lookup->all);
    list_push_back(&lookup->waiters, &query->node);
    lookup_start(lookup);
}

static void client_resolve(struct dns_client *client, struct dns_query *query)
{
    struct dns_answer answer;
    struct dns_name name = {.len = query->name_len};
    memcpy(name.octets, query->name, query->name_len);
    const struct dns_zone *zone = client->conf.zone;
    if (zone != NULL && dns_zone_find(zone, &name, query->type, &answer)) {
        dns_answer(query, &answer);
    } else if (dns_cache_find(&client->cache, name.octets, name.len, query->type,
                              loop_now_ms(client->loop), &answer)) {
        client->stats.hits++;
        dns_answer(query, &answer);
    } else {
        client_look_up(client, query, &name);
    }
}

static void on_due(struct op *op, int result)
{
    struct dns_client *client = list_entry(op, struct dns_client, post);
    (void)result; /* of a post: always 0 */
    struct list_node batch;
    list_init(&batch);
    list_splice_back(&batch, &client->due);
    struct list_node *node;
    while ((node = list_pop_front(&batch)) != NULL) {
        client_resolve(client, list_entry(node, struct dns_query, node));
    }
}

static void client_ask(struct dns *dns, struct dns_query *query)
{
    struct dns_client *client = client_of(dns);
    assert(!client->is_stopping);
    list_push_back(&client->due, &query->node);
    if (op_is_idle(&client->post)) {
        loop_post(client->loop, &client->post, on_due);
    }
}

/* A lookup that nobody waits for goes on to the end of its current message: the answer is wanted for
 * the cache, and mostly on its way. */
static void client_cancel(struct dns *dns, struct dns_query *query)
{
    assert(client_of(dns)->magic == DNS_CLIENT_MAGIC);
    list_remove(&query->node);
}

void client_answered(struct dns_client *client, struct dns_lookup *lookup,
                     struct dns_answer *answer, bool may_keep)
{
    list_remove(&lookup->table);
    if (lookup->ttl_s < answer->ttl_s) {
        answer->ttl_s = lookup->ttl_s;
    }
    answer->ttl_s = may_keep ? dns_cache_ttl_s(answer) : 0;
    if (may_keep) {
        dns_cache_store(&client->cache, lookup->question.octets, lookup->question.len, lookup->type,
                        loop_now_ms(client->loop), answer);
    }
    struct list_node *node;
    while ((node = list_pop_front(&lookup->waiters)) != NULL) {
        dns_answer(list_entry(node, struct dns_query, node), answer);
    }
}

/* ---- life ---- */

static const struct dns_ops client_ops = {.ask = client_ask, .cancel = client_cancel};

static int client_init_memory(struct dns_client *client)
{
    uint8_t key[DNS_CACHE_KEY_LEN];
    client_throw(client, key, sizeof(key));
    int result = pool_init(&client->lookups, sizeof(struct dns_lookup), client->conf.questions_max);
    if (result < 0) {
        return result;
    }
    result = pool_init(&client->streams, DNS_PREFIX_LEN + DNS_MESSAGE_MAX, DNS_STREAMS_MAX);
    if (result < 0) {
        goto fail_streams;
    }
    result = dns_cache_init(&client->cache, client->conf.cache_entries, key);
    if (result < 0) {
        goto fail_cache;
    }
    return 0;
fail_cache:
    pool_fini(&client->streams);
fail_streams:
    pool_fini(&client->lookups);
    return result;
}

int dns_client_create(struct dns_client **ret_client, struct loop *loop,
                      const struct dns_client_conf *conf)
{
    assert(conf->timeout_ms > 0);
    assert(conf->attempts > 0);
    assert(conf->questions_max > 0);
    struct dns_client *client = pages_reserve(sizeof(*client));
    if (client == NULL) {
        return -ENOMEM;
    }
    client->dns.ops = &client_ops;
    client->magic = DNS_CLIENT_MAGIC;
    client->loop = loop;
    client->conf = *conf;
    client->conf.servers = NULL; /* they are copied */
    client->conf.random = conf->random != NULL ? conf->random : kernel_random;
    client->dice_used = DNS_DICE_POOL;
    dns_servers_init(&client->servers, conf->servers, conf->server_count);
    list_init(&client->due);
    list_init(&client->all);
    op_init(&client->post);
    for (int i = 0; i < DNS_TABLE_SIZE; i++) {
        list_init(&client->table[i]);
    }
    int result = client_init_memory(client);
    if (result < 0) {
        pages_release(client, sizeof(*client));
        return result;
    }
    *ret_client = client;
    return 0;
}

struct dns *dns_client_dns(struct dns_client *client)
{
    return &client->dns;
}

const struct dns_client_stats *dns_client_stats(const struct dns_client *client)
{
    return &client->stats;
}

void dns_client_stop(struct dns_client *client)
{
    assert(client->magic == DNS_CLIENT_MAGIC);
    assert(list_is_empty(&client->due)); /* every question answered or cancelled */
    client->is_stopping = true;
    struct list_node *node = client->all.next;
    while (node != &client->all) {
        struct dns_lookup *lookup = list_entry(node, struct dns_lookup, all);
        node = node->next;
        lookup_abandon(lookup);
    }
}

bool dns_client_is_idle(const struct dns_client *client)
{
    return client->lookups.used == 0 && op_is_idle(&client->post);
}

void dns_client_destroy(struct dns_client **ret_client)
{
    struct dns_client *client = *ret_client;
    if (client == NULL) {
        return;
    }
    assert(client->magic == DNS_CLIENT_MAGIC);
    assert(dns_client_is_idle(client));
    dns_cache_fini(&client->cache);
    pool_fini(&client->streams);
    pool_fini(&client->lookups);
    client->magic = 0;
    pages_release(client, sizeof(*client));
    *ret_client = NULL;
}
