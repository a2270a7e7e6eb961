/*
 * test_resolver - names that are looked up again: what an answer comes to, what is told, and an end
 * that waits for nobody.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/config_address.h"
#include "core/log.h"
#include "core/resolver.h"

/* One group: "here:25" by name, "127.0.0.9:25" by address. */
struct world {
    struct config config;
    struct upstream upstreams[1];
    char log[64];
};

static struct config_address address_of(const char *host)
{
    struct config_address address = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(25)};
    assert_int_equal(inet_pton(AF_INET, host, &in.sin_addr), 1);
    memcpy(&address.addr, &in, sizeof(in));
    (void)snprintf(address.text, sizeof(address.text), "%s:25", host);
    return address;
}

static struct world *make(void)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    (void)snprintf(world->log, sizeof(world->log), "/tmp/test_resolver.XXXXXX");
    int fd = mkstemp(world->log);
    assert_true(fd >= 0);
    close(fd);
    struct config_upstream *config = &world->config.upstreams[0];
    (void)snprintf(world->config.log_target, sizeof(world->config.log_target), "%s", world->log);
    world->config.log_level = LEVEL_INFO;
    world->config.upstream_count = 1;
    (void)snprintf(config->name, sizeof(config->name), "default");
    config->server_count = 2;
    config->check_interval_ms = 10;
    (void)snprintf(config->servers[0].name, sizeof(config->servers[0].name), "here:25");
    config->servers[0].address = address_of("127.0.0.1");
    config->servers[0].is_name = true;
    (void)snprintf(config->servers[1].name, sizeof(config->servers[1].name), "127.0.0.9:25");
    config->servers[1].address = address_of("127.0.0.9");
    upstream_init(&world->upstreams[0], config);
    assert_int_equal(log_open(&world->config, stderr), 0);
    return world;
}

static void end(struct world *world)
{
    log_close();
    unlink(world->log);
    free(world);
}

/* How many lines of the log hold this. */
static int told(const struct world *world, const char *text)
{
    char line[2048];
    int count = 0;
    FILE *file = fopen(world->log, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        count += strstr(line, text) != NULL;
    }
    (void)fclose(file);
    return count;
}

/* ---- what an answer comes to ---- */

static const struct judge_row {
    const char *answers[4]; /* none: the look-up failed */
    const char *present;    /* afterwards */
    const char *told;
} judge_rows[] = {
    {{"127.0.0.1"}, "127.0.0.1", NULL},
    {{"127.0.0.2", "127.0.0.1"}, "127.0.0.1", NULL}, /* another order is no change */
    {{"127.0.0.2", "127.0.0.3"},
     "127.0.0.2",
     "server here:25 has moved from 127.0.0.1:25 to "
     "127.0.0.2:25"},
    {{"127.0.0.3", "127.0.0.2"}, "127.0.0.2", NULL},
    {{NULL}, "127.0.0.2", "server here:25 keeps its last address: because"},
    {{NULL}, "127.0.0.2", NULL}, /* told once */
    {{NULL}, "127.0.0.2", NULL},
    {{"127.0.0.2"}, "127.0.0.2", "server here:25 can be resolved again"},
    {{NULL}, "127.0.0.2", "server here:25 keeps its last address: because"},
    {{"127.0.0.1"}, "127.0.0.1", "server here:25 has moved from 127.0.0.2:25 to 127.0.0.1:25"},
};

static void test_answers(void **state)
{
    (void)state;
    struct world *world = make();
    struct upstream_server *server = &world->upstreams[0].servers[0];
    struct resolver_name name = {.upstream = &world->upstreams[0], .server = server};
    struct config_why why = {.text = "because"};
    int moves = 0;
    for (uint32_t row = 0; row < sizeof(judge_rows) / sizeof(judge_rows[0]); row++) {
        const struct judge_row *r = &judge_rows[row];
        struct config_address answers[4];
        struct upstream_found found;
        int count = 0;
        for (; r->answers[count] != NULL; count++) {
            answers[count] = address_of(r->answers[count]);
        }
        int lines = told(world, "");
        bool was_failing = name.is_failing;
        int before = r->told != NULL ? told(world, r->told) : 0;
        resolver_judge(&name, answers, count > 0 ? count : -EINVAL, &why);
        uint32_t number = upstream_address(server, &found);
        moves += r->told != NULL && strstr(r->told, "moved") != NULL;
        assert_int_equal(number, moves);
        struct config_address want = address_of(r->present);
        assert_string_equal(number == 0 ? server->config->address.text : found.text, want.text);
        if (r->told != NULL) {
            assert_int_equal(told(world, r->told), before + 1);
        } else {
            assert_int_equal(told(world, ""), lines + (was_failing && count > 0));
        }
    }
    end(world);
}

/* ---- the thread ---- */

static _Atomic int look_ups;
static _Atomic int strange_names;
static _Atomic int64_t last_ms;
static _Atomic int64_t shortest_ms;
static sem_t looked_up;
static sem_t may_return;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void await(sem_t *semaphore)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    assert_int_equal(sem_timedwait(semaphore, &until), 0);
}

/* The name has another address at each look-up. */
static int answers_anew(const char *name, struct config_address *ret_addresses, uint32_t max,
                        struct config_why *why)
{
    (void)why;
    (void)max;
    char host[32];
    int64_t at_ms = now_ms();
    if (look_ups > 0 && at_ms - last_ms < shortest_ms) {
        shortest_ms = at_ms - last_ms;
    }
    last_ms = at_ms;
    strange_names += strcmp(name, "here:25") != 0;
    look_ups++;
    (void)snprintf(host, sizeof(host), "127.0.1.%d", look_ups);
    ret_addresses[0] = address_of(host);
    sem_post(&looked_up);
    return 1;
}

static int hangs(const char *name, struct config_address *ret_addresses, uint32_t max,
                 struct config_why *why)
{
    (void)name;
    (void)max;
    (void)why;
    sem_post(&looked_up);
    while (sem_wait(&may_return) < 0) {
        continue;
    }
    ret_addresses[0] = address_of("127.0.0.7");
    return 1;
}

static void reset(void)
{
    look_ups = 0;
    strange_names = 0;
    shortest_ms = INT64_MAX;
    sem_init(&looked_up, 0, 0);
    sem_init(&may_return, 0, 0);
}

static void test_names_are_looked_up_again(void **state)
{
    (void)state;
    static struct resolver resolver;
    struct world *world = make();
    struct upstream_server *servers = world->upstreams[0].servers;
    struct upstream_found found;
    reset();
    int64_t begun_ms = now_ms();
    assert_int_equal(resolver_start(&resolver, world->upstreams, 1, answers_anew), 0);
    assert_int_equal(resolver.count, 1);
    for (int i = 0; i < 3; i++) {
        await(&looked_up);
    }
    assert_true(now_ms() - begun_ms >= 3 * RESOLVER_INTERVAL_MIN_MS);
    assert_true(resolver_stop(&resolver));
    assert_int_equal(strange_names, 0);
    assert_true(shortest_ms >=
                RESOLVER_INTERVAL_MIN_MS); /* in spite of a check_interval of 10 ms */
    assert_in_range(upstream_address(&servers[0], &found), 2, 3); /* the last may be overtaken */
    assert_memory_equal(found.text, "127.0.1.", 8);
    assert_int_equal(upstream_address(&servers[1], &found), 0); /* an address is what it is */
    end(world);
}

static void test_without_names_there_is_no_thread(void **state)
{
    (void)state;
    static struct resolver resolver;
    struct world *world = make();
    world->config.upstreams[0].servers[0].is_name = false;
    assert_true(resolver_stop(&resolver)); /* never started */
    assert_int_equal(resolver_start(&resolver, world->upstreams, 1, hangs), 0);
    assert_false(resolver.is_started);
    assert_true(resolver_stop(&resolver));
    end(world);
}

/* The thread sleeps until the next look-up is due: it is woken. */
static void test_stop_does_not_wait_for_the_interval(void **state)
{
    (void)state;
    static struct resolver resolver;
    struct world *world = make();
    world->config.upstreams[0].check_interval_ms = 3600 * 1000;
    assert_int_equal(resolver_start(&resolver, world->upstreams, 1, hangs), 0);
    int64_t begun_ms = now_ms();
    assert_true(resolver_stop(&resolver));
    assert_true(now_ms() - begun_ms < 30 * 1000);
    end(world);
}

/* A look-up that hangs is left alone, and what it brings after all is thrown away. */
static void test_stop_does_not_wait_for_a_look_up(void **state)
{
    (void)state;
    static struct resolver resolver;
    struct world *world = make();
    struct upstream_found found;
    reset();
    assert_int_equal(resolver_start(&resolver, world->upstreams, 1, hangs), 0);
    await(&looked_up);
    int64_t begun_ms = now_ms();
    assert_false(resolver_stop(&resolver));
    assert_in_range(now_ms() - begun_ms, RESOLVER_STOP_MS, 30 * 1000);
    sem_post(&may_return);
    pthread_mutex_lock(&resolver.lock);
    while (!resolver.has_ended) {
        pthread_cond_wait(&resolver.changed, &resolver.lock);
    }
    pthread_mutex_unlock(&resolver.lock);
    assert_int_equal(upstream_address(&world->upstreams[0].servers[0], &found), 0);
    assert_int_equal(told(world, ""), 0);
    end(world);
}

/* ---- the system's look-up ---- */

static void test_the_system_is_asked(void **state)
{
    (void)state;
    struct config_address answers[4];
    struct config_why why = {.text = ""};
    int count = config_server_look_up("localhost:2525", answers, 4, &why);
    assert_in_range(count, 1, 4);
    for (int i = 0; i < count; i++) {
        const char *text = answers[i].text;
        assert_true(strcmp(text, "127.0.0.1:2525") == 0 || strcmp(text, "[::1]:2525") == 0);
    }
    assert_int_equal(config_server_look_up("localhost:2525", answers, 1, &why), 1);
    assert_int_equal(config_server_look_up("0.0.0.0:25", answers, 4, &why), -EINVAL);
    assert_string_equal(why.text, "the name '0.0.0.0' cannot be resolved: its address names no "
                                  "single machine; write an address, or a name that this machine "
                                  "can resolve");
    assert_int_equal(config_server_look_up("no port", answers, 4, &why), -EINVAL);
}

static void test_which_servers_have_a_name(void **state)
{
    (void)state;
    static const struct {
        const char *server;
        bool is_name;
    } rows[] = {
        {"127.0.0.1:25", false}, {"[::1]:25", false},          {"unix:/run/mta", false},
        {"localhost:25", true},  {"localhost:25 max=3", true},
    };
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        static struct config_upstream upstream;
        struct config_why why;
        upstream.server_count = 0;
        assert_int_equal(config_add_server(&upstream, NAMES_RESOLVE, rows[i].server, &why), 0);
        assert_int_equal(upstream.servers[0].is_name, rows[i].is_name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_names_are_looked_up_again),
        cmocka_unit_test(test_without_names_there_is_no_thread),
        cmocka_unit_test(test_stop_does_not_wait_for_the_interval),
        cmocka_unit_test(test_stop_does_not_wait_for_a_look_up),
        cmocka_unit_test(test_the_system_is_asked),
        cmocka_unit_test(test_which_servers_have_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
