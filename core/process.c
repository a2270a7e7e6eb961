/*
 * process - see core/process.h.
 */
#include "core/process.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/checker.h"
#include "core/log.h"

enum {
    DESCRIPTORS_SPARE = 64, /* log, rings, listeners, name service */
    DESCRIPTORS_MAX = 1 << 20,
};

uint32_t process_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return 1024;
    }
    rlim_t had = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        limit.rlim_cur = had;
    }
    return limit.rlim_cur > DESCRIPTORS_MAX ? DESCRIPTORS_MAX : (uint32_t)limit.rlim_cur;
}

uint32_t process_session_room(uint32_t descriptors, const struct config *config)
{
    uint32_t spare = DESCRIPTORS_SPARE + (4 + checker_fd_count(config)) * config->workers +
                     config->listener_count;
    return descriptors > spare + 1 ? descriptors - spare : 1;
}

int process_drop_to(const char *user)
{
    if (user[0] == '\0') {
        return 0;
    }
    errno = 0;
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL) {
        log_line(LEVEL_ERROR, "[proxy] user = %s: no such user", user);
        return errno != 0 ? -errno : -ENOENT;
    }
    if (geteuid() == entry->pw_uid) {
        return 0;
    }
    if (initgroups(user, entry->pw_gid) < 0 || setgid(entry->pw_gid) < 0 ||
        setuid(entry->pw_uid) < 0) {
        int error = -errno;
        log_line(LEVEL_ERROR, "[proxy] user = %s: %s; start as root, or leave the key out", user,
                 strerrordesc_np(-error));
        return error;
    }
    assert(entry->pw_uid == 0 || setuid(0) < 0);
    return 0;
}

void process_block_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGINT);
    sigaddset(ret_set, SIGHUP);
    int result = pthread_sigmask(SIG_BLOCK, ret_set, NULL);
    assert(result == 0);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    result = sigaction(SIGPIPE, &ignore, NULL);
    assert(result == 0);
    result =
        sigaction(SIGXFSZ, &ignore, NULL); /* a log that meets a file size limit is a lost line */
    assert(result == 0);
}
