/*
 * dmarc_world - see test/dmarc_world.h.
 */
#include "test/dmarc_world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/dmarc_record.h"
#include "net/loop_backend.h"

static void on_done(struct chain *chain)
{
    struct dmarc_world *world = chain->owner;
    world->done++;
}

struct dmarc_world *dmarc_world_create(const char *header)
{
    struct dmarc_world *world = calloc(1, sizeof(*world));
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    assert(world != NULL);
    int result = loop_create(&world->loop, &loop_epoll, &limits, NULL);
    assert(result == 0);
    fake_dns_init(&world->fake);
    header_init(&world->header);
    uint32_t len = (uint32_t)strlen(header);
    uint32_t taken = header_feed(&world->header, header, len);
    assert(taken == len);
    header_end(&world->header);
    world->conf.dmarc.action = ACTION_REJECT;
    world->client = (struct sockaddr_in){.sin_family = AF_INET};
    world->facts = (struct facts){
        .conf = &world->conf,
        .dns = &world->fake.dns,
        .client = (const struct sockaddr *)&world->client,
        .hostname = "mx.example.net",
        .helo = "client.example.net",
        .from = "",
        .header = &world->header,
        .findings = &world->findings,
    };
    world->chain = calloc(1, chain_size(SCOPE_TRANSACTION));
    assert(world->chain != NULL);
    return world;
}

void dmarc_begin(struct dmarc_world *world)
{
    chain_init(world->chain, SCOPE_TRANSACTION, world->loop, &world->facts, on_done, world);
    chain_reach(world->chain, PHASE_MAIL);
    chain_reach(world->chain, PHASE_HEADER);
    chain_reach(world->chain, PHASE_EOM);
}

bool dmarc_await(struct dmarc_world *world, int64_t timeout_ms)
{
    return chain_await(world->chain, PHASE_EOM, loop_now_ms(world->loop) + timeout_ms);
}

struct verdict dmarc_run(struct dmarc_world *world)
{
    struct verdict verdict;
    dmarc_begin(world);
    bool is_done = dmarc_await(world, 20000);
    (void)fake_dns_run(&world->fake);
    assert(world->done == (is_done ? 0 : 1));
    is_done = dmarc_await(world, 20000);
    assert(is_done);
    chain_judge(world->chain, PHASE_EOM, &verdict);
    return verdict;
}

void dmarc_world_destroy(struct dmarc_world *world)
{
    chain_cancel(world->chain);
    fake_dns_fini(&world->fake);
    loop_destroy(&world->loop);
    free(world->chain);
    free(world);
}

void dmarc_set_spf(struct dmarc_world *world, enum check_result result, const char *domain)
{
    struct found_spf *found = &world->findings.spf;
    found->is_present = true;
    found->result = result;
    (void)snprintf(found->domain, sizeof(found->domain), "%s", domain);
}

void dmarc_add_dkim(struct dmarc_world *world, enum check_result result, const char *domain)
{
    struct found_dkim *found = &world->findings.dkim;
    struct found_signature *signature = &found->signatures[found->count++];
    found->is_present = true;
    signature->result = result;
    (void)snprintf(signature->domain, sizeof(signature->domain), "%s", domain);
}

void dmarc_add_record(struct dmarc_world *world, const char *record)
{
    char domain[100];
    char name[120];
    char text[300];
    const char *rest = strchr(record, ' ') + 1;
    (void)snprintf(domain, sizeof(domain), "%.*s", (int)(rest - record - 1), record);
    (void)snprintf(name, sizeof(name), "_dmarc.%s", domain);
    (void)snprintf(text, sizeof(text), "v=DMARC1; %s", rest);
    if (strcmp(rest, "!") == 0) {
        fake_dns_add_failure(&world->fake, name, DNS_TXT);
    } else if (strcmp(rest, "?") == 0) {
        fake_dns_add_failure(&world->fake, domain, DNS_A);
    } else if (strcmp(rest, "+") == 0) {
        fake_dns_add(&world->fake, domain, DNS_AAAA, "2001:db8::1");
    } else {
        fake_dns_add(&world->fake, name, DNS_TXT, strcmp(rest, "=") == 0 ? "hello" : text);
    }
}

enum check_result dmarc_result_of(const char *words, const char **ret_domain)
{
    for (int result = CHECK_NONE; result <= CHECK_PERMERROR; result++) {
        const char *name = check_result_name((enum check_result)result);
        size_t len = strlen(name);
        if (strncmp(words, name, len) == 0 && words[len] == ' ') {
            *ret_domain = words + len + 1;
            return (enum check_result)result;
        }
    }
    abort(); /* the table is wrong */
}

void dmarc_describe(const struct found_dmarc *found, char *out, uint32_t size)
{
    bool has = found->has_record;
    (void)snprintf(out, size, "%s %s %s", check_result_name(found->result),
                   has ? dmarc_policy_name(found->policy) : "-", has ? found->record_domain : "-");
}
