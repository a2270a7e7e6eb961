/*
 * loop_os - what the two kernel backends share: the clock and the calls on descriptors that cannot
 * block, and how a file without a name is made.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
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

/* Where the file system cannot make a file without a name: one with a name, which it loses at once. */
static int file_named(const char *dir)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/mailweir-XXXXXX", dir);
    if (len < 0 || len >= (int)sizeof(path)) {
        return -ENAMETOOLONG;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (unlink(path) < 0) {
        int result = -errno;
        (void)close(fd); /* there is nothing in it */
        return result;
    }
    return fd;
}

int loop_os_file(struct loop *loop, const char *dir)
{
    (void)loop;
    /* O_EXCL: nobody gives it a name later. */
    int fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd >= 0) {
        return fd;
    }
    return errno == EOPNOTSUPP || errno == EISDIR ? file_named(dir) : -errno;
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
