/*
 * resolver - see core/resolver.h.
 *
 * The lock is free while a look-up waits. Behind it the thread may touch upstreams and log only
 * after it has seen, under the lock, that nobody wants it to stop: a look-up that returns after the
 * process has begun to take things down finds nothing to do.
 */
#include "core/resolver.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/log.h"

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what a look-up came to ---- */

static bool is_among(const struct sockaddr *addr, socklen_t len,
                     const struct config_address *answers, int count)
{
    for (int i = 0; i < count; i++) {
        if (answers[i].len == len && memcmp(&answers[i].addr, addr, len) == 0) {
            return true;
        }
    }
    return false;
}

static void judge_answers(struct resolver_name *name, const struct config_address *answers,
                          int count)
{
    struct upstream_server *server = name->server;
    const struct config_address *configured = &server->config->address;
    struct upstream_found found;
    const char *text = found.text;
    bool stays;
    if (upstream_address(server, &found) == 0) {
        text = configured->text;
        stays =
            is_among((const struct sockaddr *)&configured->addr, configured->len, answers, count);
    } else {
        stays = is_among((const struct sockaddr *)&found.addr, found.len, answers, count);
    }
    if (!stays) {
        log_line(LEVEL_INFO, "upstream %s: server %s has moved from %s to %s",
                 name->upstream->config->name, server->config->name, text, answers[0].text);
        upstream_move(name->upstream, server, &answers[0]);
    }
}

void resolver_judge(struct resolver_name *name, const struct config_address *answers, int count,
                    const struct config_why *why)
{
    const char *upstream = name->upstream->config->name;
    const char *server = name->server->config->name;
    assert(count != 0);
    if (count < 0) {
        if (!name->is_failing) {
            log_line(LEVEL_WARNING, "upstream %s: server %s keeps its last address: %s", upstream,
                     server, why->text);
        }
        name->is_failing = true;
        return;
    }
    if (name->is_failing) {
        log_line(LEVEL_INFO, "upstream %s: server %s can be resolved again", upstream, server);
    }
    name->is_failing = false;
    judge_answers(name, answers, count);
}

/* ---- the thread ---- */

static struct resolver_name *next_due(struct resolver *resolver)
{
    struct resolver_name *next = &resolver->names[0];
    for (uint32_t i = 1; i < resolver->count; i++) {
        if (resolver->names[i].due_ms < next->due_ms) {
            next = &resolver->names[i];
        }
    }
    return next;
}

static int64_t interval_ms(const struct resolver_name *name)
{
    int64_t check_ms = name->upstream->config->check_interval_ms;
    return check_ms < RESOLVER_INTERVAL_MIN_MS ? RESOLVER_INTERVAL_MIN_MS : check_ms;
}

/* With the lock held: sleeps until then, or until it is signalled. */
static void sleep_until(struct resolver *resolver, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    int result = pthread_cond_timedwait(&resolver->changed, &resolver->lock, &until);
    assert(result == 0 || result == ETIMEDOUT);
}

/* With the lock held, but for the time of the look-up. */
static void look_up(struct resolver *resolver, struct resolver_name *name)
{
    struct config_address answers[RESOLVER_ANSWERS_MAX];
    struct config_why why;
    char host[CONFIG_TEXT_MAX]; /* the configuration may go while we wait */
    (void)snprintf(host, sizeof(host), "%s", name->server->config->name);
    pthread_mutex_unlock(&resolver->lock);
    int count = resolver->look_up(host, answers, RESOLVER_ANSWERS_MAX, &why);
    pthread_mutex_lock(&resolver->lock);
    if (!resolver->is_stopping) {
        resolver_judge(name, answers, count, &why);
        name->due_ms = now_ms() + interval_ms(name);
    }
}

static void *resolver_main(void *arg)
{
    struct resolver *resolver = arg;
    pthread_mutex_lock(&resolver->lock);
    while (!resolver->is_stopping) {
        struct resolver_name *name = next_due(resolver);
        if (name->due_ms <= now_ms()) {
            look_up(resolver, name);
        } else {
            sleep_until(resolver, name->due_ms);
        }
    }
    resolver->has_ended = true;
    pthread_cond_signal(&resolver->changed);
    pthread_mutex_unlock(&resolver->lock);
    return NULL;
}

/* ---- start and stop ---- */

static void gather_names(struct resolver *resolver, struct upstream *upstreams,
                         uint32_t upstream_count)
{
    assert(upstream_count <= CONFIG_UPSTREAMS_MAX);
    for (uint32_t i = 0; i < upstream_count; i++) {
        for (uint32_t k = 0; k < upstreams[i].config->server_count; k++) {
            struct upstream_server *server = &upstreams[i].servers[k];
            if (server->config->is_name) {
                struct resolver_name *name = &resolver->names[resolver->count++];
                *name = (struct resolver_name){.upstream = &upstreams[i], .server = server};
                name->due_ms = now_ms() + interval_ms(name);
            }
        }
    }
}

int resolver_start(struct resolver *resolver, struct upstream *upstreams, uint32_t upstream_count,
                   resolver_look_up *look_up_name)
{
    pthread_condattr_t attributes;
    memset(resolver, 0, sizeof(*resolver));
    resolver->look_up = look_up_name;
    gather_names(resolver, upstreams, upstream_count);
    if (resolver->count == 0) {
        return 0;
    }
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&resolver->lock, NULL);
    pthread_cond_init(&resolver->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    int result = -pthread_create(&resolver->thread, NULL, resolver_main, resolver);
    resolver->is_started = result == 0;
    return result;
}

bool resolver_stop(struct resolver *resolver)
{
    if (!resolver->is_started) {
        return true;
    }
    resolver->is_started = false;
    int64_t until_ms = now_ms() + RESOLVER_STOP_MS;
    pthread_mutex_lock(&resolver->lock);
    resolver->is_stopping = true;
    pthread_cond_signal(&resolver->changed);
    while (!resolver->has_ended && now_ms() < until_ms) {
        sleep_until(resolver, until_ms);
    }
    bool has_ended = resolver->has_ended;
    pthread_mutex_unlock(&resolver->lock);
    if (has_ended) {
        pthread_join(resolver->thread, NULL);
    } else {
        pthread_detach(resolver->thread);
    }
    return has_ended;
}
