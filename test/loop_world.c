/*
 * loop_world - see test/loop_world.h.
 */
#include "test/loop_world.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int world_open(struct world *world, const struct loop_backend *backend,
               const struct loop_limits *limits, const struct sim_options *options)
{
    *world = (struct world){.listener = -1, .pair_listener = -1, .silent = {-1, -1}};
    world->addr.sin_family = AF_INET;
    world->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (backend == &loop_sim) {
        struct sim_options ours = options != NULL ? *options : (struct sim_options){.seed = 1};
        if (ours.fd_count == 0) {
            ours.fd_count = limits->fd_count;
        }
        world->sim = sim_create(&ours);
    }
    int result = loop_create(&world->loop, backend, limits, world->sim);
    if (result < 0) {
        sim_destroy(&world->sim);
    }
    return result;
}

void world_close(struct world *world)
{
    if (world->listener >= 0) {
        loop_close(world->loop, world->listener);
    }
    for (int i = 0; i < 2; i++) {
        if (world->silent[i] >= 0) {
            far_close(world, world->silent[i]);
        }
    }
    if (world->pair_listener >= 0) {
        (void)close(world->pair_listener); /* it has done its work */
    }
    loop_destroy(&world->loop);
    sim_destroy(&world->sim);
}

static void set_nodelay(int fd)
{
    int on = 1;
    int result = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    assert(result == 0);
}

static int listen_anywhere(struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(fd >= 0);
    /* The ports of many earlier connections may linger in TIME_WAIT. */
    int on = 1;
    int result = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert(result == 0);
    addr->sin_port = 0;
    socklen_t len = sizeof(*addr);
    result = bind(fd, (const struct sockaddr *)addr, len);
    assert(result == 0);
    result = listen(fd, 1024);
    assert(result == 0);
    result = getsockname(fd, (struct sockaddr *)addr, &len);
    assert(result == 0);
    return fd;
}

void world_listen(struct world *world)
{
    if (world->sim != NULL) {
        world->addr.sin_port = htons(2525);
        world->listener =
            sim_listen(world->sim, (struct sockaddr *)&world->addr, sizeof(world->addr));
        assert(world->listener >= 0);
        return;
    }
    world->listener = loop_socket(world->loop, AF_INET);
    assert(world->listener >= 0);
    int on = 1;
    int result = setsockopt(world->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert(result == 0);
    socklen_t len = sizeof(world->addr);
    result = bind(world->listener, (struct sockaddr *)&world->addr, len);
    assert(result == 0);
    result = listen(world->listener, 1024);
    assert(result == 0);
    result = getsockname(world->listener, (struct sockaddr *)&world->addr, &len);
    assert(result == 0);
}

static int dial(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(fd >= 0);
    int result = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
    assert(result == 0);
    set_nodelay(fd);
    return fd;
}

int world_dial(struct world *world)
{
    if (world->sim != NULL) {
        int fd = sim_dial(world->sim, (struct sockaddr *)&world->addr, sizeof(world->addr));
        assert(fd >= 0);
        return fd;
    }
    return dial(&world->addr);
}

void world_pair(struct world *world, int *ours, int *far)
{
    if (world->sim != NULL) {
        int fds[2];
        int result = sim_pair(world->sim, fds);
        assert(result == 0);
        *ours = fds[0];
        *far = fds[1];
        return;
    }
    if (world->pair_listener < 0) {
        world->pair_addr = (struct sockaddr_in){
            .sin_family = AF_INET,
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        world->pair_listener = listen_anywhere(&world->pair_addr);
    }
    *far = dial(&world->pair_addr);
    *ours = accept4(world->pair_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert(*ours >= 0);
    set_nodelay(*ours);
}

int64_t far_write(struct world *world, int far, const void *data, uint32_t len)
{
    if (world->sim != NULL) {
        return sim_write(world->sim, far, data, len);
    }
    ssize_t result = send(far, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return result >= 0 ? result : errno == EAGAIN ? 0 : -errno;
}

int64_t far_read(struct world *world, int far, void *data, uint32_t len)
{
    if (world->sim != NULL) {
        return sim_read(world->sim, far, data, len);
    }
    ssize_t result = recv(far, data, len, MSG_DONTWAIT);
    return result >= 0 ? result : -errno;
}

void far_eof(struct world *world, int far)
{
    if (world->sim != NULL) {
        sim_eof(world->sim, far);
    } else {
        int result = shutdown(far, SHUT_WR);
        assert(result == 0);
    }
}

void far_close(struct world *world, int far)
{
    if (world->sim != NULL) {
        sim_close(world->sim, far);
    } else {
        int result = close(far);
        assert(result == 0);
    }
}

void far_reset(struct world *world, int far)
{
    if (world->sim != NULL) {
        sim_reset(world->sim, far);
    } else {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        int result = setsockopt(far, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        assert(result == 0);
    }
    far_close(world, far);
}

void world_addr_refused(struct world *world, struct sockaddr_in *addr)
{
    *addr = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(9),
    };
    if (world->sim == NULL) {
        int fd = listen_anywhere(addr); /* a port that was free a moment ago */
        (void)close(fd);                /* and is again */
    }
}

void world_addr_silent(struct world *world, struct sockaddr_in *addr)
{
    *addr = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(10),
    };
    if (world->sim != NULL) {
        world->silent[0] = sim_listen(world->sim, (struct sockaddr *)addr, sizeof(*addr));
        assert(world->silent[0] >= 0);
        sim_set_connect(world->sim, world->silent[0], SIM_CONNECT_SILENT, 0);
        return;
    }
    /* A backlog of 0 holds one connection; the kernel drops what knocks after it. */
    world->silent[0] = listen_anywhere(addr);
    int result = listen(world->silent[0], 0);
    assert(result == 0);
    world->silent[1] = dial(addr);
}

void world_shrink(struct world *world, int ours, int far)
{
    if (world->sim != NULL) {
        sim_set_queue(world->sim, far, 4096);
        return;
    }
    int size = 65536;
    int result = setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    assert(result == 0);
    result = setsockopt(far, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    assert(result == 0);
}

bool world_until(struct world *world, const int *count, int want)
{
    int64_t end_ms = loop_now_ms(world->loop) + 10000;
    for (int turn = 0; *count < want; turn++) {
        bool over = world->sim != NULL ? turn >= 10000 : loop_now_ms(world->loop) >= end_ms;
        if (over) {
            return false;
        }
        int result = loop_run_once(world->loop, world->sim != NULL ? 0 : 50);
        assert(result == 0);
    }
    return true;
}

void world_turns(struct world *world, int count, int64_t wait_ms)
{
    for (int i = 0; i < count; i++) {
        int result = loop_run_once(world->loop, wait_ms);
        assert(result == 0);
    }
}

void world_set_space(struct world *world, uint64_t bytes)
{
    if (world->sim != NULL) {
        sim_set_files(world->sim, &(struct sim_files){.space_max = bytes});
        return;
    }
    struct rlimit limit;
    int result = getrlimit(RLIMIT_FSIZE, &limit);
    assert(result == 0);
    limit.rlim_cur = bytes > 0 ? bytes : limit.rlim_max;
    result = setrlimit(RLIMIT_FSIZE, &limit);
    assert(result == 0);
}
