/*
 * test_log - targets of core/log.c: a file that is reopened after a rename, targets that cannot be
 * opened or written, pipes that stall, and the buffers of records.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/log.h"
#include "core/record.h"

static char folder[64];
static struct log_buffer buffer;

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/test_log.XXXXXX");
    buffer.len = 0;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_close();
    static const char *const names[] = {"log", "log.1", "fifo"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path); /* not every test makes each */
    }
    return rmdir(folder);
}

/* log_open() to a target, or to a name in the folder. */
static int open_log(const char *target, const char *name, FILE *errors)
{
    static struct config config; /* large */
    config = (struct config){.log_level = LEVEL_INFO};
    snprintf(config.file, sizeof(config.file), "proxy.ini");
    snprintf(config.log_target, sizeof(config.log_target), "%s%s%s", target,
             name[0] == '\0' ? "" : "/", name);
    return log_open(&config, errors);
}

static const char *content(const char *name)
{
    static char bytes[4 * LOG_BUFFER_SIZE];
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t len = fread(bytes, 1, sizeof(bytes) - 1, file);
    fclose(file);
    bytes[len] = '\0';
    return bytes;
}

static unsigned count_lines(const char *text)
{
    unsigned count = 0;
    for (; *text != '\0'; text++) {
        count += *text == '\n' ? 1 : 0;
    }
    return count;
}

static void add_record(const char *text)
{
    char *room = log_buffer_room(&buffer, RECORD_MAX);
    uint32_t len = (uint32_t)strlen(text);
    memcpy(room, text, len);
    log_buffer_commit(&buffer, len);
}

static void test_line_has_time_pid_level_and_one_line(void **state)
{
    (void)state;
    assert_int_equal(open_log(folder, "log", stderr), 0);
    log_line(LEVEL_WARNING, "upstream %s is\r\n\"down\"\x7f", "a");
    log_line(LEVEL_DEBUG, "too fine");
    const char *text = content("log");
    char rest[64];
    snprintf(rest, sizeof(rest), " mailweir[%d] warning: upstream a is??\"down\"?\n", getpid());
    assert_int_equal(strlen(text), 24 + strlen(rest));
    assert_string_equal(text + 24, rest);
    assert_int_equal(text[10], 'T');
    assert_int_equal(text[23], 'Z');
}

static void test_long_line_is_cut(void **state)
{
    (void)state;
    static char big[5000];
    memset(big, 'x', sizeof(big) - 1);
    assert_int_equal(open_log(folder, "log", stderr), 0);
    log_line(LEVEL_INFO, "%s", big);
    log_line(LEVEL_INFO, "next");
    const char *text = content("log");
    assert_int_equal(count_lines(text), 2);
    assert_int_equal(strchr(text, '\n') - text, 2047);
}

static void test_file_is_appended_to(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_log(folder, "log", stderr), 0);
        log_line(LEVEL_INFO, "start %d", i);
        log_close();
    }
    assert_int_equal(count_lines(content("log")), 2);
}

/* Half a record of a process that was killed: it is ended, and the first line of the next process is whole. */
static void test_torn_line_is_ended(void **state)
{
    (void)state;
    assert_int_equal(open_log(folder, "log", stderr), 0);
    add_record("{\"event\":\"transac");
    log_buffer_flush(&buffer);
    log_close();
    for (int i = 0; i < 2; i++) { /* and a whole one is left alone */
        assert_int_equal(open_log(folder, "log", stderr), 0);
        add_record("{\"event\":\"session\"}\n");
        log_buffer_flush(&buffer);
        log_close();
    }
    assert_string_equal(content("log"), "{\"event\":\"transac\n{\"event\":\"session\"}\n"
                                        "{\"event\":\"session\"}\n");
}

static void test_reopen_after_rename(void **state)
{
    (void)state;
    char path[128];
    char old[128];
    snprintf(path, sizeof(path), "%s/log", folder);
    snprintf(old, sizeof(old), "%s/log.1", folder);
    assert_int_equal(open_log(folder, "log", stderr), 0);
    log_line(LEVEL_INFO, "one");
    assert_int_equal(rename(path, old), 0);
    log_line(LEVEL_INFO, "two");
    log_reopen();
    log_line(LEVEL_INFO, "three");
    assert_int_equal(count_lines(content("log.1")), 2);
    assert_int_equal(count_lines(content("log")), 1);
    assert_non_null(strstr(content("log"), "info: three\n"));
}

static void test_failed_reopen_keeps_the_old_file(void **state)
{
    (void)state;
    char path[128];
    char old[128];
    snprintf(path, sizeof(path), "%s/log", folder);
    snprintf(old, sizeof(old), "%s/log.1", folder);
    assert_int_equal(open_log(folder, "log", stderr), 0);
    assert_int_equal(rename(path, old), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    log_reopen();
    log_line(LEVEL_INFO, "still here");
    assert_int_equal(rmdir(path), 0);
    const char *text = content("log.1");
    assert_int_equal(count_lines(text), 2);
    assert_non_null(strstr(text, "error: log: cannot reopen "));
    assert_non_null(strstr(text, "Is a directory; the old file stays in use\n"));
    assert_non_null(strstr(text, "info: still here\n"));
}

static void test_target_that_cannot_be_opened(void **state)
{
    (void)state;
    char text[512] = "";
    FILE *errors = fmemopen(text, sizeof(text), "w");
    assert_int_equal(open_log("/nowhere/at/all", "", errors), -ENOENT);
    fclose(errors);
    assert_string_equal(text, "proxy.ini: [log] target: cannot open /nowhere/at/all: No such file "
                              "or directory; name a file in a folder that mailweir may write, "
                              "stderr or syslog\n");
}

static void test_fifo_without_reader_does_not_hang(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    FILE *errors = fopen("/dev/null", "w");
    assert_int_equal(open_log(folder, "fifo", errors), -ENXIO);
    fclose(errors);
}

static void test_buffer_goes_out_at_flush_and_when_full(void **state)
{
    (void)state;
    assert_int_equal(open_log(folder, "log", stderr), 0);
    add_record("{\"a\":1}\n");
    add_record("{\"b\":2}\n");
    assert_string_equal(content("log"), "");
    log_buffer_flush(&buffer);
    assert_string_equal(content("log"), "{\"a\":1}\n{\"b\":2}\n");
    log_buffer_flush(&buffer);
    assert_int_equal(strlen(content("log")), 16);

    /* Room for the largest record makes the buffer flush once 32 KiB are in it. */
    static char big[20001];
    memset(big, 'x', sizeof(big) - 2);
    big[sizeof(big) - 2] = '\n';
    add_record(big);
    add_record(big);
    assert_int_equal(strlen(content("log")), 16);
    add_record(big);
    assert_int_equal(strlen(content("log")), 16 + 40000);
    log_buffer_flush(&buffer);
    assert_int_equal(strlen(content("log")), 16 + 60000);
}

/* The file may not grow (as on a full disk): the line is torn, the loss counted, and both mended
 * when it may grow again. */
static void test_full_disk_is_counted_and_said(void **state)
{
    (void)state;
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    assert_int_equal(sigaction(SIGXFSZ, &ignore, NULL), 0);
    assert_int_equal(open_log(folder, "log", stderr), 0);
    struct rlimit small = {.rlim_cur = 12, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    add_record("first\nsecond\nthird\n");
    log_buffer_flush(&buffer);
    add_record("fourth\n");
    log_buffer_flush(&buffer);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_string_equal(content("log"), "first\nsecond");
    log_line(LEVEL_INFO, "fifth");
    const char *text = content("log");
    assert_int_equal(count_lines(text), 4);
    assert_memory_equal(text, "first\nsecond\n", 13);
    assert_non_null(strstr(text, "warning: log: the target could not be written, lines lost: 3\n"));
    assert_non_null(strstr(text, "info: fifth\n"));
}

/* The reader of a FIFO stops: lines are lost, never waited for; when it goes on, the loss is said,
 * and every line that it gets is whole. */
static void test_stalled_reader_stops_nothing(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    char path[128];
    snprintf(path, sizeof(path), "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(open_log(folder, "fifo", stderr), 0);
    for (int i = 0; i < COUNT; i++) {
        log_line(LEVEL_INFO, "line %d", i);
    }
    static char got[1 << 20];
    ssize_t len = read(reader, got, sizeof(got) - 1);
    assert_true(len > 0);
    got[len] = '\0';
    unsigned arrived = count_lines(got);
    assert_true(arrived > 0 && arrived < COUNT);
    log_line(LEVEL_INFO, "after");
    ssize_t more = read(reader, got + len, sizeof(got) - 1 - (size_t)len);
    assert_true(more > 0);
    got[len + more] = '\0';
    char want[128];
    snprintf(want, sizeof(want), "warning: log: the target could not be written, lines lost: %u\n",
             COUNT - arrived);
    assert_non_null(strstr(got + len, want));
    assert_non_null(strstr(got + len, "info: after\n"));
    assert_int_equal(count_lines(got), arrived + 2);
    const char *at = got;
    while (*at != '\0') {
        assert_memory_equal(at + 24, " mailweir[", 10);
        at = strchr(at, '\n') + 1;
    }
    close(reader);
}

/* Runs `write` with stderr on another descriptor, as systemd would set it up. */
static void with_stderr_on(int fd, void (*write_some)(void))
{
    int old = dup(STDERR_FILENO);
    assert_true(old >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    int error = open_log("stderr", "", stdout);
    if (error == 0) {
        write_some();
    }
    log_close();
    assert_true(dup2(old, STDERR_FILENO) >= 0);
    close(old);
    assert_int_equal(error, 0);
}

static void write_many(void)
{
    static char big[8001];
    memset(big, 'x', sizeof(big) - 2);
    big[sizeof(big) - 2] = '\n';
    for (int i = 0; i < 200; i++) {
        log_line(LEVEL_INFO, "line");
        add_record(big);
        log_buffer_flush(&buffer);
    }
}

static void test_stderr_pipe_and_socket_never_block(void **state)
{
    (void)state;
    int pipe_fds[2];
    int socket_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, socket_fds), 0);
    (void)alarm(20); /* a write that blocks ends the test */
    with_stderr_on(pipe_fds[1], write_many);
    with_stderr_on(socket_fds[1], write_many);
    (void)alarm(0);
    /* The descriptors that we were given are as blocking as before. */
    assert_int_equal(fcntl(pipe_fds[1], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(fcntl(socket_fds[1], F_GETFL) & O_NONBLOCK, 0);
    char got[64];
    assert_int_equal(read(pipe_fds[0], got, sizeof(got)), sizeof(got));
    assert_memory_equal(got + 24, " mailweir[", 10);
    assert_int_equal(read(socket_fds[0], got, sizeof(got)), sizeof(got));
    assert_memory_equal(got + 24, " mailweir[", 10);
    for (int i = 0; i < 2; i++) {
        close(pipe_fds[i]);
        close(socket_fds[i]);
    }
}

static void test_syslog_takes_lines(void **state)
{
    (void)state;
    assert_int_equal(open_log("syslog", "", stderr), 0);
    log_line(LEVEL_DEBUG, "not said at level info");
    log_reopen();
    log_close();
    assert_int_equal(open_log(folder, "log", stderr), 0);
    log_line(LEVEL_INFO, "back to a file");
    assert_int_equal(count_lines(content("log")), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line_has_time_pid_level_and_one_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_long_line_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file_is_appended_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_torn_line_is_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reopen_after_rename, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_reopen_keeps_the_old_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_target_that_cannot_be_opened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fifo_without_reader_does_not_hang, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_buffer_goes_out_at_flush_and_when_full, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk_is_counted_and_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stalled_reader_stops_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stderr_pipe_and_socket_never_block, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_syslog_takes_lines, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
