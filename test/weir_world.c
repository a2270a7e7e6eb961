/*
 * weir_world - see test/weir_world.h.
 */
#include "test/weir_world.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/session.h"
#include "net/loop_backend.h"
#include "test/sim_priv.h"

enum { SESSIONS_MAX = 64, UPSTREAM_PORT = 2626, CLIENT_PORT = 30000, DNS_PORT = 53 };

/* Without servers and without a zone all questions fail at once; a test may set a zone of its own. */
static void fill_checks(struct config *config, const struct weir_options *options)
{
    const char *mode = getenv("SIM_VERIFY"); /* the same tests with other ways of a message */
    config->verify_mode = options->verify;
    if (mode != NULL && strcmp(mode, "off") != 0 && options->verify == VERIFY_OFF &&
        !options->unchecked) {
        assert(strcmp(mode, "hold") == 0 || strcmp(mode, "stream") == 0);
        config->verify_mode = mode[0] == 'h' ? VERIFY_HOLD : VERIFY_STREAM;
    }
    config->verify_deadline_ms = options->deadline_ms > 0 ? options->deadline_ms : 20 * 1000;
    config->hold_memory = options->hold_memory > 0 ? options->hold_memory : 256 * 1024;
    (void)snprintf(config->spool_dir, sizeof(config->spool_dir), "/sim");
    (void)snprintf(config->trace_header, sizeof(config->trace_header), "X-Mailweir");
    config->dns.timeout_ms = 2000;
    config->dns.attempts = 2;
    config->dns.cache_entries = 64;
    struct verify_conf *verify = &config->verify;
    (void)snprintf(verify->authserv_id, sizeof(verify->authserv_id), "%s", config->hostname);
    verify->dnsbl.threshold = 3;
    verify->dnsbl.action = ACTION_REJECT;
    verify->spf.action = ACTION_TAG;
    verify->dkim.action = ACTION_TAG;
    verify->dkim.signatures_max = 8;
    verify->dmarc.action = ACTION_TAG;
}

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void fill_config(struct config *config, const struct weir_options *options)
{
    *config = (struct config){
        .hostname = "mx.example.org",
        .workers = 1,
        .max_sessions = SESSIONS_MAX,
        .drain_timeout_ms = 30000,
        .listener_count = 1,
        .upstream_count = 1,
        .received_header = !options->no_received,
        .message_size = 50 << 20,
        .recipients = 1000,
        .errors = 20,
        .commands = 1000,
        .command_timeout_ms = 300 * 1000,
        .data_timeout_ms = 180 * 1000,
        .session_timeout_ms = 3600 * 1000,
        .log_target = "/dev/null",
        .log_level = LEVEL_ERROR,
    };
    fill_checks(config, options);
    struct config_listener *listener = &config->listeners[0];
    (void)snprintf(listener->name, sizeof(listener->name), "mx");
    struct config_upstream *upstream = &config->upstreams[0];
    (void)snprintf(upstream->name, sizeof(upstream->name), "default");
    upstream->server_count = 1;
    upstream->contact = options->contact;
    upstream->chunking = CHUNKING_AUTO;
    upstream->connect_timeout_ms = 10 * 1000;
    upstream->check_interval_ms = 10 * 1000;
    upstream->pool_idle = options->pool_idle;
    upstream->pool_idle_timeout_ms = 60 * 1000;
    upstream->pool_max_age_ms = 600 * 1000;
    upstream->lease_hold_ms = options->lease_hold_ms > 0 ? options->lease_hold_ms : 2000;
    struct config_server *server = &upstream->servers[0];
    struct sockaddr_in address = loopback(UPSTREAM_PORT);
    memcpy(&server->address.addr, &address, sizeof(address));
    server->address.len = sizeof(address);
    (void)snprintf(server->address.text, sizeof(server->address.text), "127.0.0.1:%d",
                   UPSTREAM_PORT);
    (void)snprintf(server->name, sizeof(server->name), "127.0.0.1:%d", UPSTREAM_PORT);
    server->weight = 1;
    server->max = 200;
}

static void listen_for_questions(struct weir *weir)
{
    struct sockaddr_in address = loopback(DNS_PORT);
    struct config_dns *dns = &weir->config.dns;
    memcpy(&dns->servers[0], &address, sizeof(address));
    dns->server_count = 1;
    weir->dns = sim_listen(weir->sim, (const struct sockaddr *)&address, sizeof(address));
    assert(weir->dns >= 0);
}

struct weir *weir_create(const struct weir_options *options)
{
    /* Some tests make thousands of worlds: what one frees, the next shall find mapped. */
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 128 << 20);
    struct weir *weir = calloc(1, sizeof(*weir));
    assert(weir != NULL);
    fill_config(&weir->config, options);
    int result = log_open(&weir->config, stderr);
    assert(result == 0);
    weir->sim = sim_create(&options->sim);
    struct loop_limits limits = {
        .fd_count = options->sim.fd_count > 0 ? options->sim.fd_count : 4096,
        .op_count = worker_op_count(&weir->config, SESSIONS_MAX),
        .buf_count = options->buf_count > 0 ? options->buf_count : 256,
    };
    result = loop_create(&weir->loop, &loop_sim, &limits, weir->sim);
    assert(result == 0);
    weir->shared.config = &weir->config;
    weir->shared.zone = options->zone;
    weir->dns = -1;
    if (options->has_dns) {
        listen_for_questions(weir);
    }
    upstream_init(&weir->shared.upstreams[0], &weir->config.upstreams[0]);
    (void)upstream_note_up(&weir->shared.upstreams[0].servers[0], options->extensions, 0, 0);
    handoff_init(&weir->handoff);
    result =
        worker_create(&weir->worker, &weir->shared, weir->loop, &weir->handoff, 0, SESSIONS_MAX);
    assert(result == 0);
    const struct config_address *address = &weir->config.upstreams[0].servers[0].address;
    weir->listener = sim_listen(weir->sim, (const struct sockaddr *)&address->addr, address->len);
    assert(weir->listener >= 0);
    return weir;
}

void weir_destroy(struct weir **ref)
{
    struct weir *weir = *ref;
    worker_ask(weir->worker, WORKER_DRAINING);
    for (int turns = 0; !worker_is_done(weir->worker); turns++) {
        assert(turns < 100000);
        if (!weir_turn(weir)) {
            weir_wait(weir);
        }
    }
    assert(weir_leftover(weir) == NULL);
    worker_destroy(&weir->worker);
    loop_destroy(&weir->loop);
    sim_destroy(&weir->sim);
    log_close();
    free(weir);
    *ref = NULL;
}

const char *weir_leftover(const struct weir *weir)
{
    const struct worker *worker = weir->worker;
    const struct upstream_server *server = &weir->shared.upstreams[0].servers[0];
    const struct {
        const char *what;
        uint64_t count;
    } counts[] = {
        {"a session", worker->sessions.used},
        {"a transaction", worker->transactions.used},
        {"a lease", worker->leases.used},
        {"a screening", worker->checker.screenings.used},
        {"a verification", worker->checker.verifications.used},
        {"a held message", worker->checker.messages.count},
        {"a chunk", worker->chunks.used},
        {"a buffer", weir->loop->bufs.count - weir->loop->bufs.free_count},
        {"a counted session", atomic_load(&weir->shared.sessions)},
        {"a counted connection", atomic_load(&server->connections)},
    };
    for (uint32_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i].count != 0) {
            return counts[i].what;
        }
    }
    return NULL;
}

bool weir_is_checking(const struct weir *weir)
{
    return weir->config.verify_mode != VERIFY_OFF;
}

bool weir_is_streaming(const struct weir *weir)
{
    return weir->config.verify_mode == VERIFY_STREAM;
}

const char *weir_behind_results(const char *message)
{
    static const char name[] = "Authentication-Results: mx.example.org;";
    if (strncmp(message, name, sizeof(name) - 1) != 0) {
        return message;
    }
    do {
        message = strstr(message, "\r\n") + 2;
    } while (*message == '\t' || *message == ' ');
    return message;
}

uint64_t weir_memory(const struct weir *weir)
{
    uint64_t bufs = weir->loop->bufs.count - weir->loop->bufs.free_count;
    const struct pool *chunks = &weir->worker->chunks;
    const struct pool *blocks = &weir->worker->checker.messages.blocks;
    return bufs * (BUF_HEADROOM + BUF_SIZE) + (uint64_t)chunks->used * chunks->item_size +
           (uint64_t)blocks->used * blocks->item_size;
}

int weir_dial(struct weir *weir)
{
    int fds[2];
    int result = sim_pair(weir->sim, fds);
    assert(result == 0);
    struct handoff_item item = {.fd = fds[0]};
    item.peer.in.sin_family = AF_INET;
    item.peer.in.sin_port = htons((uint16_t)(CLIENT_PORT + weir->dialled++ % 10000));
    item.peer.in.sin_addr.s_addr = htonl(0xc0000202); /* 192.0.2.2 */
    bool wake = false;
    atomic_fetch_add(&weir->shared.sessions, 1);
    bool taken = handoff_put(&weir->handoff, &item, &wake);
    assert(taken);
    if (wake) {
        loop_wake(weir->loop);
    }
    return fds[1];
}

bool weir_turn(struct weir *weir)
{
    uint64_t before = sim_activity(weir->sim);
    bool new_sessions = handoff_has(&weir->handoff);
    worker_turn(weir->worker, 0);
    return sim_activity(weir->sim) != before || new_sessions ||
           !list_is_empty(&weir->loop->ready) || weir->sim->runnable_count > 0;
}

void weir_wait(struct weir *weir)
{
    worker_turn(weir->worker, 60 * 1000);
}

struct session *weir_session(const struct weir *weir)
{
    if (list_is_empty(&weir->worker->session_list)) {
        return NULL;
    }
    return list_entry(weir->worker->session_list.prev, struct session, node);
}
