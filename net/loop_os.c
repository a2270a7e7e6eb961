/*
 * loop_os - what the two kernel backends share: the clock and the calls on descriptors that cannot
 * block.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#include "net/loop_backend.h"

int64_t loop_os_clock_ms(struct loop *loop)
{
    (void)loop;
    struct timespec now;
    int result = clock_gettime(CLOCK_MONOTONIC, &now);
    assert(result == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int loop_os_socket(struct loop *loop, int family, int type)
{
    (void)loop;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (type == SOCK_STREAM && (family == AF_INET || family == AF_INET6)) {
        int on = 1;
        int result = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        assert(result == 0); /* a new TCP socket has this option */
    }
    return fd;
}

int loop_os_shutdown(struct loop *loop, int fd, int how)
{
    (void)loop;
    return shutdown(fd, how) == 0 ? 0 : -errno;
}

void loop_os_close(struct loop *loop, int fd)
{
    (void)loop;
    int result = close(fd);
    /* EINTR and EIO close the descriptor all the same; EBADF would be ours, twice closed. */
    assert(result == 0 || errno != EBADF);
}
