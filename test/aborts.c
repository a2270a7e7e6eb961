/*
 * aborts - see test/aborts.h.
 */
#include "test/aborts.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void run_quietly(void (*run)(void *arg), void *arg)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert(null >= 0);
    int result = dup2(null, STDERR_FILENO);
    assert(result == STDERR_FILENO);
    /* The test program's own handlers would turn the abort into a failure of the test. */
    struct sigaction plain = {.sa_handler = SIG_DFL};
    result = sigaction(SIGABRT, &plain, NULL);
    assert(result == 0);
    run(arg);
    _exit(0);
}

bool aborts(void (*run)(void *arg), void *arg)
{
    (void)fflush(stdout); /* or the child prints it again */
    pid_t child = fork();
    assert(child >= 0);
    if (child == 0) {
        run_quietly(run, arg);
    }
    int status = 0;
    pid_t waited;
    do {
        waited = waitpid(child, &status, 0);
    } while (waited < 0 && errno == EINTR);
    assert(waited == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
