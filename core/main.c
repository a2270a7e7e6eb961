/*
 * main - process set-up and signals; everything else is elsewhere.
 *
 *    options, configuration, log, descriptors, signals
 *      -> listeners bound (as root) -> user dropped
 *      -> worker threads, each with its own loop -> the upstreams have been asked what they offer
 *      -> resolver thread, where a server is given by name -> acceptor thread
 *      -> wait for SIGTERM (drain, then exit 0) or SIGHUP (log file opened again, certificates read
 *         again); a new key for session tickets each hour
 *
 * --verify is another program in the same file: core/verify_tool.h.
 *
 * Exit status: 0 after a drain, 1 when the configuration is wrong or the start fails, 2 for bad
 * usage.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/acceptor.h"
#include "core/check_files.h"
#include "core/config.h"
#include "core/config_address.h"
#include "core/log.h"
#include "core/process.h"
#include "core/resolver.h"
#include "core/verify_tool.h"
#include "core/worker.h"
#include "net/dns_zone.h"
#include "net/loop_backend.h"
#include "tls/tls_tickets.h"

#ifndef VERSION
#define VERSION "0.1.0"
#endif

enum {
    PROBE_WAIT_MS = 2000, /* longest wait for the upstreams' first answers before we accept */
    PROBE_POLL_MS = 5,
    BUFS_PER_SESSION = 3, /* one being received, one being sent, one reply */
    BUFS_MIN = 512,
    BUFS_MAX = 32768,
};

struct proxy;

struct thread {
    struct proxy *proxy;
    uint32_t index;
    pthread_t id;
    struct worker *worker;
    struct handoff handoff;
    int result; /* of setting up */
};

struct proxy {
    struct config *config;
    const struct loop_backend *backend;
    struct shared shared;
    struct dns_zone *zone; /* owned; shared.zone is the same */
    struct tls_tickets tickets;
    struct credentials credentials[CONFIG_WORKERS_MAX]; /* until the workers have them */
    struct resolver resolver;
    struct acceptor *acceptor;
    pthread_t acceptor_id;
    uint32_t descriptors;
    uint32_t session_max;
    sem_t started;
    sem_t may_end;            /* posted for each worker once nobody will wake its loop any more */
    _Atomic uint32_t running; /* worker threads */
    struct thread *threads;
    struct worker *workers[CONFIG_WORKERS_MAX];
};

/* ---- worker threads ---- */

static struct loop_limits proxy_loop_limits(const struct proxy *proxy)
{
    uint32_t bufs = proxy->session_max * BUFS_PER_SESSION;
    return (struct loop_limits){
        .fd_count = proxy->descriptors,
        .op_count = worker_op_count(proxy->config, proxy->session_max),
        .buf_count = bufs < BUFS_MIN   ? BUFS_MIN
                     : bufs > BUFS_MAX ? BUFS_MAX
                                       : bufs,
    };
}

static int thread_set_up(struct thread *thread, struct loop **ret_loop)
{
    struct proxy *proxy = thread->proxy;
    struct loop_limits limits = proxy_loop_limits(proxy);
    int result = loop_create(ret_loop, proxy->backend, &limits, NULL);
    if (result == 0) {
        result = worker_create(&thread->worker, &proxy->shared, *ret_loop, &thread->handoff,
                               thread->index, proxy->session_max);
    }
    return result;
}

static void sem_await(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0) {
        assert(errno == EINTR);
    }
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    struct loop *loop = NULL;
    thread->result = thread_set_up(thread, &loop);
    if (thread->result < 0) {
        sem_post(&thread->proxy->started);
        return NULL;
    }
    worker_set_credentials(thread->worker, &thread->proxy->credentials[thread->index]);
    worker_start_sweeps(thread->worker);
    if (thread->index == 0) {
        worker_start_probes(thread->worker);
    }
    sem_post(&thread->proxy->started);
    worker_run(thread->worker);
    sem_await(&thread->proxy->may_end);
    worker_destroy(&thread->worker);
    loop_destroy(&loop);
    atomic_fetch_sub(&thread->proxy->running, 1);
    return NULL;
}

static int proxy_start_workers(struct proxy *proxy)
{
    uint32_t count = proxy->config->workers;
    proxy->threads = calloc(count, sizeof(*proxy->threads));
    if (proxy->threads == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct thread *thread = &proxy->threads[i];
        thread->proxy = proxy;
        thread->index = i;
        handoff_init(&thread->handoff);
        atomic_fetch_add(&proxy->running, 1);
        int result = pthread_create(&thread->id, NULL, thread_main, thread);
        if (result != 0) {
            return -result;
        }
        sem_await(&proxy->started);
        if (thread->result < 0) {
            return thread->result;
        }
        proxy->workers[i] = thread->worker;
    }
    return 0;
}

static void *acceptor_main(void *arg)
{
    struct proxy *proxy = arg;
    acceptor_run(proxy->acceptor, proxy->workers, proxy->config->workers, proxy->session_max);
    return NULL;
}

/* ---- start ---- */

static void nap_ms(int64_t ms)
{
    struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    (void)nanosleep(&nap, NULL);
}

/* The first EHLO reply should offer what the upstreams offer, so they are asked before anybody is
 * accepted. */
static void proxy_await_probes(const struct proxy *proxy)
{
    for (int waited = 0; waited < PROBE_WAIT_MS; waited += PROBE_POLL_MS) {
        bool done = true;
        for (uint32_t i = 0; i < proxy->config->upstream_count; i++) {
            done = done && upstream_is_probed(&proxy->shared.upstreams[i]);
        }
        if (done) {
            return;
        }
        nap_ms(PROBE_POLL_MS);
    }
}

static const char *uring_cause(int error)
{
    switch (error) {
    case -EPERM:
        return "refused by the system: kernel.io_uring_disabled or a seccomp filter";
    case -ENOSYS:
        return "this kernel has no io_uring, or a seccomp filter hides it";
    case -ENOMEM:
        return "not enough memory that may be locked, see RLIMIT_MEMLOCK";
    default:
        return "this kernel's io_uring lacks what is needed";
    }
}

/* Tries a small ring, so that a refusal is known here and not in the threads. */
static int proxy_choose_backend(struct proxy *proxy)
{
    proxy->backend = &loop_epoll;
    if (proxy->config->io == IO_EPOLL) {
        return 0;
    }
    struct loop *loop = NULL;
    struct loop_limits limits = {.fd_count = proxy->descriptors, .op_count = 64, .buf_count = 16};
    int result = loop_create(&loop, &loop_uring, &limits, NULL);
    if (result == 0) {
        loop_destroy(&loop);
        proxy->backend = &loop_uring;
        return 0;
    }
    if (proxy->config->io == IO_AUTO) {
        log_line(LEVEL_WARNING, "io_uring is not available (%s: %s); using epoll",
                 strerrorname_np(-result), uring_cause(result));
        return 0;
    }
    log_line(LEVEL_ERROR, "io_uring is not available (%s: %s); allow it, or set [proxy] io = auto",
             strerrorname_np(-result), uring_cause(result));
    return result;
}

static void proxy_size(struct proxy *proxy)
{
    proxy->descriptors = process_raise_descriptors();
    uint32_t room = process_session_room(proxy->descriptors, proxy->config);
    proxy->session_max = proxy->config->max_sessions;
    if (room < proxy->session_max) {
        proxy->session_max = room;
    }
    log_line(LEVEL_INFO,
             "%u descriptors allow %u sessions, %u of them with an upstream connection each%s",
             proxy->descriptors, proxy->session_max,
             room / 2 < proxy->session_max ? room / 2 : proxy->session_max,
             room < proxy->config->max_sessions ? "; raise the descriptor limit for max_sessions"
                                                : "");
}

/* Keys may be readable for root alone, so this comes before the user is dropped. */
static int proxy_load_credentials(struct proxy *proxy)
{
    struct credentials_error error;
    int result = tls_tickets_init(&proxy->tickets);
    if (result < 0) {
        log_line(LEVEL_ERROR, "no random numbers: %s", strerrordesc_np(-result));
        return result;
    }
    result = credentials_create(proxy->config, &proxy->tickets, proxy->config->workers,
                                proxy->credentials, &error);
    if (result < 0) {
        log_line(LEVEL_ERROR, "%s:%u: %s", proxy->config->file, error.line, error.text);
    }
    return result;
}

/* The zone is read before the user is dropped, and the folder is tried behind it. */
static int proxy_check_file(const struct proxy *proxy, int result,
                            const struct check_files_error *error)
{
    if (result < 0) {
        log_line(LEVEL_ERROR, "%s:%u: %s", proxy->config->file, error->line, error->text);
    }
    return result;
}

static int proxy_start(struct proxy *proxy)
{
    struct check_files_error error;
    for (uint32_t i = 0; i < proxy->config->upstream_count; i++) {
        upstream_init(&proxy->shared.upstreams[i], &proxy->config->upstreams[i]);
    }
    int result = proxy_load_credentials(proxy);
    if (result < 0) {
        return result;
    }
    result = check_files_read_zone(proxy->config, &proxy->zone, &error);
    if (proxy_check_file(proxy, result, &error) < 0) {
        return result;
    }
    proxy->shared.zone = proxy->zone;
    proxy_size(proxy);
    result = acceptor_create(&proxy->acceptor, &proxy->shared);
    if (result == 0) {
        result = process_drop_to(proxy->config->user);
    }
    if (result == 0) {
        result = proxy_check_file(proxy, check_files_try_spool(proxy->config, &error), &error);
    }
    if (result == 0) {
        result = proxy_choose_backend(proxy);
    }
    if (result < 0) {
        return result;
    }
    result = proxy_start_workers(proxy);
    if (result < 0) {
        log_line(LEVEL_ERROR, "cannot start the workers: %s", strerrordesc_np(-result));
        return result;
    }
    result = resolver_start(&proxy->resolver, proxy->shared.upstreams,
                            proxy->config->upstream_count, config_server_look_up);
    if (result < 0) {
        log_line(LEVEL_ERROR, "cannot start the resolver: %s", strerrordesc_np(-result));
        return result;
    }
    proxy_await_probes(proxy);
    result = -pthread_create(&proxy->acceptor_id, NULL, acceptor_main, proxy);
    if (result < 0) {
        log_line(LEVEL_ERROR, "cannot start the acceptor: %s", strerrordesc_np(-result));
    }
    return result;
}

static const char *listener_tls(const struct config *config, const struct config_listener *listener)
{
    if (listener->tls == LISTEN_TLS_STARTTLS && config->certificates.count == 0) {
        return "no certificate, so no TLS";
    }
    static const char *const words[] = {
        [LISTEN_TLS_OFF] = "no TLS",
        [LISTEN_TLS_STARTTLS] = "STARTTLS",
        [LISTEN_TLS_REQUIRED] = "STARTTLS required",
        [LISTEN_TLS_IMPLICIT] = "implicit TLS",
    };
    return words[listener->tls];
}

static void log_started(const struct proxy *proxy)
{
    const struct config *config = proxy->config;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        for (uint32_t j = 0; j < listener->bind_count; j++) {
            log_line(LEVEL_INFO, "listening on %s (%s, upstream %s, %s)", listener->binds[j].text,
                     listener->name, config->upstreams[listener->upstream].name,
                     listener_tls(config, listener));
        }
    }
    if (config->verify_mode != VERIFY_OFF && config->dns.server_count == 0) {
        log_line(LEVEL_WARNING,
                 "no DNS server: neither [dns] server nor /etc/resolv.conf names one; what "
                 "the local zone does not answer is a temperror");
    }
    log_line(LEVEL_INFO, "mailweir " VERSION " started: %u workers on %s", config->workers,
             proxy->backend->name);
}

/* ---- stop ---- */

/* The last that the workers hear of us: a loop must not be woken while its thread takes it down. */
static void proxy_drain_workers(struct proxy *proxy)
{
    for (uint32_t i = 0; i < proxy->config->workers; i++) {
        worker_ask(proxy->workers[i], WORKER_DRAINING);
    }
    for (uint32_t i = 0; i < proxy->config->workers; i++) {
        sem_post(&proxy->may_end); /* any worker may take it, so not before all have been asked */
    }
}

static void proxy_stop(struct proxy *proxy, const sigset_t *signals)
{
    (void)resolver_stop(&proxy->resolver); /* one that hangs touches nothing of ours any more */
    log_line(LEVEL_INFO, "draining: %u sessions, at most %lld s",
             atomic_load(&proxy->shared.sessions),
             (long long)proxy->config->drain_timeout_ms / 1000);
    acceptor_stop(proxy->acceptor);
    pthread_join(proxy->acceptor_id, NULL);
    acceptor_destroy(&proxy->acceptor);
    proxy_drain_workers(proxy);
    while (atomic_load(&proxy->running) > 0) {
        struct timespec wait = {.tv_nsec = 20 * 1000000};
        int signal_number = sigtimedwait(signals, NULL, &wait);
        if (signal_number == SIGTERM || signal_number == SIGINT) {
            log_line(LEVEL_INFO, "told again: stopping at once");
            exit(0); /* nothing is stored here that could be lost: clients see a closed connection
                        and keep their mail */
        }
    }
    for (uint32_t i = 0; i < proxy->config->workers; i++) {
        pthread_join(proxy->threads[i].id, NULL);
    }
    log_line(LEVEL_INFO, "stopped");
}

/* ---- while it serves ---- */

static void credentials_discard(struct credentials *credentials)
{
    if (credentials != NULL) {
        credentials_retire(credentials);
        free(credentials);
    }
}

/* Each worker gets its own; those that it has not come to take over yet are taken back. */
static void proxy_hand_out(struct proxy *proxy, const struct credentials *all)
{
    for (uint32_t i = 0; i < proxy->config->workers; i++) {
        struct credentials *mine = malloc(sizeof(*mine));
        if (mine == NULL) {
            log_line(LEVEL_ERROR, "no memory for certificates: worker %u keeps the old ones", i);
            struct credentials unused = all[i];
            credentials_retire(&unused);
            continue;
        }
        *mine = all[i];
        credentials_discard(worker_renew_credentials(proxy->workers[i], mine));
    }
}

static void proxy_reload_credentials(struct proxy *proxy)
{
    struct credentials all[CONFIG_WORKERS_MAX];
    struct credentials_error error;
    int result =
        credentials_create(proxy->config, &proxy->tickets, proxy->config->workers, all, &error);
    if (result < 0) {
        log_line(LEVEL_ERROR, "%s:%u: %s; the certificates in use stay as they are",
                 proxy->config->file, error.line, error.text);
        return;
    }
    proxy_hand_out(proxy, all);
    if (proxy->config->certificates.count > 0) {
        log_line(LEVEL_INFO, "certificates loaded again: %u", proxy->config->certificates.count);
    }
}

static void proxy_rotate_tickets(struct proxy *proxy)
{
    int result = tls_tickets_rotate(&proxy->tickets);
    if (result < 0) {
        log_line(LEVEL_ERROR, "no new key for session tickets: %s", strerrordesc_np(-result));
    }
}

static time_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* The next signal, or 0 when it is time for a new ticket key. */
static int proxy_await(const sigset_t *signals, time_t rotate_s)
{
    for (;;) {
        time_t left_s = rotate_s - now_s();
        if (left_s <= 0) {
            return 0;
        }
        struct timespec wait = {.tv_sec = left_s};
        int signal_number = sigtimedwait(signals, NULL, &wait);
        if (signal_number > 0) {
            return signal_number;
        }
    }
}

static void proxy_serve(struct proxy *proxy, const sigset_t *signals)
{
    time_t rotate_s = now_s() + TLS_TICKET_ROTATE_S;
    for (;;) {
        int signal_number = proxy_await(signals, rotate_s);
        if (signal_number == 0) {
            proxy_rotate_tickets(proxy);
            rotate_s += TLS_TICKET_ROTATE_S;
        } else if (signal_number == SIGHUP) {
            log_reopen();
            proxy_reload_credentials(proxy);
        } else {
            proxy_stop(proxy, signals);
            return;
        }
    }
}

/* ---- options ---- */

static int usage(FILE *out)
{
    (void)fprintf(
        out, "usage: mailweir [-t] -c FILE   serve, or with -t check the configuration and exit\n"
             "       mailweir -V             print the version\n"
             "       mailweir -h             print this and the manual of --verify\n"
             "       mailweir --verify FILE  check one message\n");
    return 2;
}

static int help(void)
{
    (void)usage(stdout);
    (void)fputc('\n', stdout);
    verify_tool_usage(stdout);
    return 0;
}

static int run(struct proxy *proxy)
{
    sigset_t signals;
    if (log_open(proxy->config, stderr) < 0) {
        return 1;
    }
    process_block_signals(&signals);
    sem_init(&proxy->started, 0, 0);
    sem_init(&proxy->may_end, 0, 0);
    proxy->shared.config = proxy->config;
    if (proxy_start(proxy) < 0) {
        (void)resolver_stop(&proxy->resolver);
        return 1;
    }
    log_started(proxy);
    proxy_serve(proxy, &signals);
    log_close();
    dns_zone_destroy(&proxy->zone);
    free(proxy->threads);
    return 0;
}

/* -t: what the configuration names must be there as well, for root or for the user as at the start. */
static int check(const char *path, const struct config *config)
{
    struct credentials credentials;
    struct credentials_error error;
    if (credentials_create(config, NULL, 1, &credentials, &error) < 0) {
        (void)fprintf(stderr, "%s:%u: %s\n", path, error.line, error.text);
        return 1;
    }
    credentials_retire(&credentials);
    struct dns_zone *zone;
    struct check_files_error missing;
    if (check_files_read_zone(config, &zone, &missing) < 0) {
        (void)fprintf(stderr, "%s:%u: %s\n", path, missing.line, missing.text);
        return 1;
    }
    dns_zone_destroy(&zone);
    if (geteuid() == 0 && process_drop_to(config->user) < 0) {
        return 1; /* it has said why */
    }
    if (check_files_try_spool(config, &missing) < 0) {
        (void)fprintf(stderr, "%s:%u: %s\n", path, missing.line, missing.text);
        return 1;
    }
    printf("%s: ok\n", path);
    return 0;
}

int main(int argc, char **argv)
{
    static struct proxy proxy;
    const char *path = NULL;
    bool check_only = false;
    int option;
    if (verify_tool_is_asked(argc, argv)) {
        return verify_tool_run(argc, argv);
    }
    while ((option = getopt(argc, argv, "c:htV")) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'h':
            return help();
        case 't':
            check_only = true;
            break;
        case 'V':
            printf("mailweir " VERSION "\n");
            return 0;
        default:
            return usage(stderr);
        }
    }
    if (path == NULL || optind != argc) {
        return usage(stderr);
    }
    if (config_load(path, stderr, &proxy.config) < 0) {
        return 1;
    }
    if (check_only) {
        int status = check(path, proxy.config);
        config_destroy(&proxy.config);
        return status;
    }
    int status = run(&proxy);
    config_destroy(&proxy.config);
    return status;
}
