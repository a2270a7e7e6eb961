/*
 * lists_world - see test/lists_world.h.
 */
#include "test/lists_world.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop_backend.h"

enum { PATIENCE_MS = 50 };

static void on_done(struct chain *chain)
{
    struct lists_world *world = chain->owner;
    world->done++;
}

static void set_client(struct lists_world *world, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(&world->client, &in, sizeof(in));
        return;
    }
    int result = inet_pton(AF_INET6, text, &in6.sin6_addr);
    assert(result == 1);
    memcpy(&world->client, &in6, sizeof(in6));
}

struct lists_world *lists_world_create(const char *client)
{
    struct lists_world *world = calloc(1, sizeof(*world));
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    assert(world != NULL);
    int result = loop_create(&world->loop, &loop_epoll, &limits, NULL);
    assert(result == 0);
    fake_dns_init(&world->fake);
    world->conf.dnsbl.action = ACTION_REJECT;
    world->conf.dnsbl.threshold = 3;
    set_client(world, client);
    return world;
}

void lists_begin(struct lists_world *world, enum chain_scope scope, const char *helo,
                 const char *from)
{
    struct facts facts = {
        .conf = &world->conf,
        .dns = &world->fake.dns,
        .client = (const struct sockaddr *)&world->client,
        .hostname = "MX.example.org",
        .helo = helo,
        .from = from,
        .from_len = (uint32_t)strlen(from),
        .findings = &world->findings,
    };
    world->chain = calloc(1, chain_size(scope));
    assert(world->chain != NULL);
    chain_init(world->chain, scope, world->loop, &facts, on_done, world);
    chain_reach(world->chain, scope == SCOPE_SESSION ? PHASE_CONNECT : PHASE_MAIL);
}

bool lists_await(struct lists_world *world)
{
    return chain_await(world->chain, PHASE_RCPT, loop_now_ms(world->loop) + PATIENCE_MS);
}

struct verdict lists_finish(struct lists_world *world)
{
    struct verdict verdict;
    (void)fake_dns_run(&world->fake);
    bool is_done = lists_await(world);
    assert(is_done);
    chain_judge(world->chain, PHASE_EOM, &verdict);
    return verdict;
}

void lists_run_to_deadline(struct lists_world *world)
{
    for (int turn = 0; turn < 100 && world->done == 0; turn++) {
        int result = loop_run_once(world->loop, 20);
        assert(result == 0);
    }
}

void lists_world_free(struct lists_world *world)
{
    fake_dns_fini(&world->fake);
    loop_destroy(&world->loop);
    free(world->chain);
    free(world);
}

void lists_world_destroy(struct lists_world *world)
{
    chain_cancel(world->chain);
    lists_world_free(world);
}
