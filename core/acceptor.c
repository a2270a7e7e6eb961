/*
 * acceptor - see core/acceptor.h.
 *
 * Level-triggered epoll over all listeners and the stop eventfd. Readiness is enough here:
 * accept4() until EAGAIN, at most ACCEPT_BATCH for one listener before the others get their turn. The
 * worker with the fewest connections takes the next one; where its ring is full, the one behind it.
 * When all are full, or max_sessions is reached, the client reads 421 and may try its next MX. When
 * the system is out of descriptors or memory, accept() would fail at once again and again: the
 * listeners are left alone for PAUSE_MS, connections wait in the backlog meanwhile, and one line
 * says so.
 */
#include "core/acceptor.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"

enum {
    ACCEPT_BATCH = 64,
    PAUSE_MS = 100,
    LISTENERS_MAX = CONFIG_LISTENERS_MAX * CONFIG_BINDS_MAX,
    STOP_EVENT = LISTENERS_MAX, /* event data of the eventfd; listeners use their index */
    BACKLOG = 4096,
};

struct acceptor {
    struct shared *shared;
    int epoll_fd;
    int stop_fd;
    uint32_t count;
    uint32_t next_worker;
    uint32_t session_max;
    uint32_t worker_count;
    struct worker *const *workers;
    bool is_short; /* out of descriptors or memory: said once until it is over */
    bool is_full;  /* likewise for max_sessions */
    bool is_stopped;
    struct {
        int fd;
        uint32_t listener;
    } sockets[LISTENERS_MAX];
};

static int socket_listen(const struct config_address *address)
{
    int family = address->addr.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    int result = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (result == 0) {
        result = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
                            sizeof(on)); /* accepted sockets inherit it */
    }
    if (result == 0 && family == AF_INET6) {
        result = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (result == 0) {
        result = bind(fd, (const struct sockaddr *)&address->addr, address->len);
    }
    if (result == 0) {
        result = listen(fd, BACKLOG);
    }
    if (result < 0) {
        result = -errno;
        (void)close(fd); /* nothing was written to it */
        return result;
    }
    return fd;
}

static int acceptor_watch(struct acceptor *acceptor, int fd, uint32_t data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = data};
    return epoll_ctl(acceptor->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static const char *bind_remedy(int error)
{
    switch (error) {
    case -EADDRINUSE:
        return "another program has this port; stop it, or change bind";
    case -EACCES:
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE";
    case -EADDRNOTAVAIL:
        return "this machine does not have that address";
    default:
        return "check bind";
    }
}

static int acceptor_add(struct acceptor *acceptor, uint32_t listener,
                        const struct config_address *address)
{
    int fd = socket_listen(address);
    if (fd < 0) {
        log_line(LEVEL_ERROR, "cannot listen on %s: %s; %s", address->text, strerrordesc_np(-fd),
                 bind_remedy(fd));
        return fd;
    }
    acceptor->sockets[acceptor->count].fd = fd;
    acceptor->sockets[acceptor->count].listener = listener;
    return acceptor_watch(acceptor, fd, acceptor->count++);
}

int acceptor_create(struct acceptor **ret_acceptor, struct shared *shared)
{
    struct acceptor *acceptor = calloc(1, sizeof(*acceptor));
    if (acceptor == NULL) {
        return -ENOMEM;
    }
    acceptor->shared = shared;
    acceptor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    acceptor->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int result = acceptor->epoll_fd < 0 || acceptor->stop_fd < 0 ? -errno : 0;
    if (result == 0) {
        result = acceptor_watch(acceptor, acceptor->stop_fd, STOP_EVENT);
    }
    const struct config *config = shared->config;
    for (uint32_t i = 0; result == 0 && i < config->listener_count; i++) {
        for (uint32_t j = 0; result == 0 && j < config->listeners[i].bind_count; j++) {
            result = acceptor_add(acceptor, i, &config->listeners[i].binds[j]);
        }
    }
    if (result < 0) {
        acceptor_destroy(&acceptor);
        return result;
    }
    *ret_acceptor = acceptor;
    return 0;
}

/* A client that nobody can take: one line, then the end. Whether it arrives is the client's luck.
 */
static void refuse(int fd, const char *line)
{
    (void)send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(fd);
}

/* The worker with the fewest connections, so that the pools of all of them together stay small;
 * among equals it goes round. */
static uint32_t lightest(const struct acceptor *acceptor)
{
    uint32_t best = acceptor->next_worker;
    for (uint32_t i = 1; i < acceptor->worker_count; i++) {
        uint32_t index = (acceptor->next_worker + i) % acceptor->worker_count;
        if (handoff_held(acceptor->workers[index]->handoff) <
            handoff_held(acceptor->workers[best]->handoff)) {
            best = index;
        }
    }
    return best;
}

static bool offer(struct acceptor *acceptor, const struct handoff_item *item)
{
    acceptor->next_worker = lightest(acceptor);
    for (uint32_t i = 0; i < acceptor->worker_count; i++) {
        struct worker *worker = acceptor->workers[acceptor->next_worker];
        acceptor->next_worker = (acceptor->next_worker + 1) % acceptor->worker_count;
        bool wake = false;
        if (handoff_put(worker->handoff, item, &wake)) {
            if (wake) {
                loop_wake(worker->loop);
            }
            return true;
        }
    }
    return false;
}

static void hand_over(struct acceptor *acceptor, const struct handoff_item *item)
{
    struct shared *shared = acceptor->shared;
    uint32_t sessions = atomic_fetch_add_explicit(&shared->sessions, 1, memory_order_relaxed);
    bool full = sessions >= acceptor->session_max;
    if (full != acceptor->is_full) {
        acceptor->is_full = full;
        log_line(LEVEL_WARNING,
                 full ? "max_sessions reached: %u; new clients get 421"
                      : "below max_sessions again: %u",
                 sessions);
    }
    if (full || !offer(acceptor, item)) {
        atomic_fetch_sub_explicit(&shared->sessions, 1, memory_order_relaxed);
        refuse(item->fd, "421 4.3.2 too many sessions, please try again later\r\n");
    }
}

/* 0, or -errno when accepting must pause. */
static int accept_some(struct acceptor *acceptor, uint32_t index)
{
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct handoff_item item = {.listener = acceptor->sockets[index].listener};
        socklen_t len = sizeof(item.peer);
        item.fd =
            accept4(acceptor->sockets[index].fd, &item.peer.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (item.fd >= 0) {
            hand_over(acceptor, &item);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            return -errno;
        }
        if (errno == EAGAIN) {
            return 0;
        }
        /* The connection was gone before we took it (accept(2) lists these): the next one. */
    }
    return 0;
}

static void pause_for(struct acceptor *acceptor, int error)
{
    if (!acceptor->is_short) {
        acceptor->is_short = true;
        log_line(LEVEL_WARNING,
                 "cannot accept: %s; clients wait in the backlog, trying again every %d ms",
                 strerrordesc_np(-error), PAUSE_MS);
    }
    uint64_t stop = 0;
    struct timespec nap = {.tv_nsec = PAUSE_MS * 1000000L};
    (void)nanosleep(&nap, NULL);
    acceptor->is_stopped = read(acceptor->stop_fd, &stop, sizeof(stop)) == sizeof(stop);
}

static void accept_ready(struct acceptor *acceptor, const struct epoll_event *events, int count)
{
    int result = 0;
    for (int i = 0; i < count && !acceptor->is_stopped; i++) {
        if (events[i].data.u32 == STOP_EVENT) {
            acceptor->is_stopped = true;
            return;
        }
        result = accept_some(acceptor, events[i].data.u32);
        if (result < 0) {
            pause_for(acceptor, result);
            return;
        }
    }
    if (acceptor->is_short && result == 0) {
        acceptor->is_short = false;
        log_line(LEVEL_INFO, "accepting again");
    }
}

void acceptor_run(struct acceptor *acceptor, struct worker *const *workers, uint32_t worker_count,
                  uint32_t session_max)
{
    struct epoll_event events[64];
    assert(worker_count > 0);
    acceptor->workers = workers;
    acceptor->worker_count = worker_count;
    acceptor->session_max = session_max;
    while (!acceptor->is_stopped) {
        int count = epoll_wait(acceptor->epoll_fd, events, 64, -1);
        assert(count >= 0 || errno == EINTR);
        accept_ready(acceptor, events, count);
    }
}

void acceptor_stop(struct acceptor *acceptor)
{
    uint64_t one = 1;
    ssize_t written = write(acceptor->stop_fd, &one, sizeof(one));
    assert(written == sizeof(one));
}

void acceptor_destroy(struct acceptor **ref)
{
    struct acceptor *acceptor = *ref;
    if (acceptor == NULL) {
        return;
    }
    for (uint32_t i = 0; i < acceptor->count; i++) {
        (void)close(acceptor->sockets[i].fd); /* a listening socket has nothing to lose */
    }
    (void)close(acceptor->epoll_fd);
    (void)close(acceptor->stop_fd);
    free(acceptor);
    *ref = NULL;
}
