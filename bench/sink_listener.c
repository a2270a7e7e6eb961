/*
 * sink_listener - see bench/sink_listener.h.
 */
#include "bench/sink_listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/sink_session.h"

enum { SINK_LISTENER_MAGIC = 0x534c5352, SINK_BACKLOG = 4096, SINK_RETRY_MS = 50 };

struct address {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
        struct sockaddr_un local;
    };
};

static void on_accepted(struct op *op, int result);

/* ---- the address ---- */

static bool port_parse(const char *text, in_port_t *ret_port)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || port > 65535) {
        return false;
    }
    *ret_port = htons((uint16_t)port);
    return true;
}

static int unix_parse(const char *path, struct address *ret_address)
{
    struct sockaddr_un *local = &ret_address->local;
    if (path[0] == '\0' || strlen(path) >= sizeof(local->sun_path)) {
        return -EINVAL;
    }
    local->sun_family = AF_UNIX;
    memcpy(local->sun_path, path, strlen(path) + 1);
    ret_address->len = sizeof(*local);
    return 0;
}

static int ip_parse(const char *host, const char *port, struct address *ret_address)
{
    in_port_t number;
    if (!port_parse(port, &number)) {
        return -EINVAL;
    }
    if (inet_pton(AF_INET, host, &ret_address->ip4.sin_addr) == 1) {
        ret_address->ip4.sin_family = AF_INET;
        ret_address->ip4.sin_port = number;
        ret_address->len = sizeof(ret_address->ip4);
        return 0;
    }
    size_t len = strlen(host);
    char inner[INET6_ADDRSTRLEN];
    if (len < 3 || len >= sizeof(inner) + 2 || host[0] != '[' || host[len - 1] != ']') {
        return -EINVAL;
    }
    memcpy(inner, host + 1, len - 2);
    inner[len - 2] = '\0';
    if (inet_pton(AF_INET6, inner, &ret_address->ip6.sin6_addr) != 1) {
        return -EINVAL;
    }
    ret_address->ip6.sin6_family = AF_INET6;
    ret_address->ip6.sin6_port = number;
    ret_address->len = sizeof(ret_address->ip6);
    return 0;
}

static int address_parse(const char *text, struct address *ret_address)
{
    char host[SINK_LISTENER_NAME_MAX];
    *ret_address = (struct address){0};
    if (strncmp(text, "unix:", 5) == 0) {
        return unix_parse(text + 5, ret_address);
    }
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) {
        return -EINVAL;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    return ip_parse(host, colon + 1, ret_address);
}

/* The address that was bound, in words. */
static void address_name(int fd, char name[SINK_LISTENER_NAME_MAX])
{
    struct address address = {.len = sizeof(struct sockaddr_un)};
    char host[INET6_ADDRSTRLEN];
    int result = getsockname(fd, &address.any, &address.len);
    assert(result == 0);
    if (address.any.sa_family == AF_UNIX) {
        (void)snprintf(name, SINK_LISTENER_NAME_MAX, "unix:%s", address.local.sun_path);
    } else if (address.any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &address.ip4.sin_addr, host, sizeof(host)); /* has room */
        (void)snprintf(name, SINK_LISTENER_NAME_MAX, "%s:%d", host, ntohs(address.ip4.sin_port));
    } else {
        (void)inet_ntop(AF_INET6, &address.ip6.sin6_addr, host, sizeof(host)); /* has room */
        (void)snprintf(name, SINK_LISTENER_NAME_MAX, "[%s]:%d", host, ntohs(address.ip6.sin6_port));
    }
}

/* ---- the socket ---- */

/* A socket that nobody listens on any more is in the way of a new one. */
static void remove_stale_socket(const char *path)
{
    struct stat status;
    if (stat(path, &status) == 0 && S_ISSOCK(status.st_mode)) {
        (void)unlink(path); /* bind(2) tells what is left of the trouble */
    }
}

/* Accepted sockets inherit TCP_NODELAY. */
static int socket_set_up(int fd, const struct address *address)
{
    int on = 1;
    if (address->any.sa_family == AF_UNIX) {
        remove_stale_socket(address->local.sun_path);
    } else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
               setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        return -errno;
    }
    if (address->any.sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) {
        return -errno;
    }
    if (bind(fd, &address->any, address->len) < 0 || listen(fd, SINK_BACKLOG) < 0) {
        return -errno;
    }
    return 0;
}

int sink_listener_open(struct sink_listener *listener, const char *text)
{
    struct address address;
    int result = address_parse(text, &address);
    if (result < 0) {
        return result;
    }
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    result = socket_set_up(fd, &address);
    if (result < 0) {
        (void)close(fd); /* never used */
        return result;
    }
    *listener = (struct sink_listener){.magic = SINK_LISTENER_MAGIC, .fd = fd};
    address_name(fd, listener->name);
    op_init(&listener->op);
    timer_init(&listener->timer);
    return 0;
}

/* ---- accepting ---- */

void sink_listener_start(struct sink_listener *listener, struct sink *sink)
{
    listener->sink = sink;
    sink_listener_resume(listener);
}

void sink_listener_resume(struct sink_listener *listener)
{
    assert(listener->magic == SINK_LISTENER_MAGIC);
    struct sink *sink = listener->sink;
    if (!listener->stopped && sink_listener_is_idle(listener) && !timer_is_set(&listener->timer) &&
        !sink_is_full(sink)) {
        loop_accept(sink->loop, &listener->op, listener->fd, on_accepted);
    }
}

static void on_retry(struct timer *timer)
{
    sink_listener_resume(list_entry(timer, struct sink_listener, timer));
}

static void on_accepted(struct op *op, int result)
{
    struct sink_listener *listener = list_entry(op, struct sink_listener, op);
    assert(listener->magic == SINK_LISTENER_MAGIC);
    struct sink *sink = listener->sink;
    if (result >= 0 && (listener->stopped || sink_is_full(sink))) {
        loop_close(sink->loop, result); /* another listener took the last place */
    } else if (result >= 0) {
        sink_session_open(sink, result);
    } else if (!listener->stopped) {
        loop_timer_set(sink->loop, &listener->timer, loop_now_ms(sink->loop) + SINK_RETRY_MS,
                       on_retry);
    }
    sink_listener_resume(listener);
}

void sink_listener_stop(struct sink_listener *listener)
{
    listener->stopped = true;
    loop_timer_stop(listener->sink->loop, &listener->timer);
    loop_cancel(listener->sink->loop, &listener->op);
}

void sink_listener_close(struct sink_listener *listener)
{
    assert(listener->magic == SINK_LISTENER_MAGIC);
    assert(sink_listener_is_idle(listener));
    if (strncmp(listener->name, "unix:", 5) == 0) {
        (void)unlink(listener->name + 5); /* or the next start does it */
    }
    if (listener->sink != NULL) {
        loop_close(listener->sink->loop, listener->fd);
    } else {
        (void)close(listener->fd); /* never used */
    }
    listener->magic = 0;
}
