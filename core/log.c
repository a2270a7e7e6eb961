/*
 * log - where lines and records go (contract: core/log.h).
 *
 * Kinds of target, and what keeps each from stopping mail:
 *
 *   file          O_APPEND, one write per line or per buffer; the kernel does not mix appends.
 *   pipe, tty     opened once more through /proc/self/fd, so that O_NONBLOCK is ours alone and not
 *                 the parent's as well. Whole lines of up to PIPE_BUF bytes go out together: such a
 *                 write is all or nothing. Only a longer line can be torn, when the reader stalls.
 *   socket        (systemd's journal) the same pieces, sent with MSG_DONTWAIT.
 *   syslog        syslog(3), one message per line.
 *
 * A reader that stalls is waited for once, STALL_MS; after that lines are lost and counted without
 * waiting until one gets through. The sink below is the program's only global state; descriptor,
 * kind and counters are atomic, so any thread may write while the main thread reopens.
 */
#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "core/record.h"

enum { LINE_MAX_SIZE = 2048, STALL_MS = 20 };
enum log_kind { KIND_FILE, KIND_STREAM, KIND_SOCKET, KIND_SYSLOG };

struct log_sink {
    _Atomic int fd;
    _Atomic int kind;
    _Atomic int level;
    _Atomic uint64_t lost; /* lines since the last one that got through */
    _Atomic bool is_torn;  /* the last line that went out has no end */
    bool owns_fd;
    char path[CONFIG_TEXT_MAX]; /* empty unless the target is a file */
};

static struct log_sink sink = {.fd = STDERR_FILENO, .kind = KIND_FILE, .level = LEVEL_INFO};

static int open_path(const char *path);
static void end_torn_line(int fd, const char *path);
static int open_stderr(bool *ret_owned);
static enum log_kind kind_of(int fd);
static uint32_t format_line(char *out, enum config_log_level level, const char *format,
                            va_list args);
static void sanitise(char *line, uint32_t len);
static void emit(const char *bytes, uint32_t len);
static uint32_t write_all(int fd, enum log_kind kind, const char *bytes, uint32_t len);
static uint32_t piece_len(enum log_kind kind, const char *bytes, uint32_t len);
static ssize_t write_once(int fd, enum log_kind kind, const char *bytes, uint32_t len);
static bool wait_writable(int fd);
static bool report_lost(int fd, enum log_kind kind);
static void count_lost(const char *bytes, uint32_t done, uint32_t len);
static void emit_syslog(const char *bytes, uint32_t len);
static int syslog_priority(enum config_log_level level);

int log_open(const struct config *config, FILE *errors)
{
    log_close();
    sink.level = (int)config->log_level;
    if (strcmp(config->log_target, "syslog") == 0) {
        openlog("mailweir", LOG_PID | LOG_NDELAY, LOG_MAIL);
        sink.kind = KIND_SYSLOG;
        return 0;
    }
    if (strcmp(config->log_target, "stderr") == 0) {
        sink.fd = open_stderr(&sink.owns_fd);
        sink.kind = kind_of(sink.fd);
        return 0;
    }
    int fd = open_path(config->log_target);
    if (fd < 0) {
        fprintf(errors,
                "%s: [log] target: cannot open %s: %s; name a file in a folder that mailweir may "
                "write, stderr or syslog\n",
                config->file, config->log_target, strerror(-fd));
        return fd;
    }
    snprintf(sink.path, sizeof(sink.path), "%s", config->log_target);
    sink.fd = fd;
    sink.owns_fd = true;
    sink.kind = kind_of(fd);
    end_torn_line(fd, sink.path);
    return 0;
}

void log_reopen(void)
{
    if (sink.path[0] == '\0') {
        return;
    }
    int fd = open_path(sink.path);
    if (fd < 0) {
        log_line(LEVEL_ERROR, "log: cannot reopen %s: %s; the old file stays in use", sink.path,
                 strerror(-fd));
        return;
    }
    enum log_kind kind = kind_of(fd);
    if (dup3(fd, sink.fd, O_CLOEXEC) < 0) {
        int error = errno;
        (void)close(fd); /* nothing was written through it */
        log_line(LEVEL_ERROR, "log: cannot reopen %s: %s; the old file stays in use", sink.path,
                 strerror(error));
        return;
    }
    sink.kind = kind;
    (void)close(fd); /* its twin stays open */
}

void log_close(void)
{
    if (sink.kind == KIND_SYSLOG) {
        closelog();
    }
    int fd = sink.fd;
    sink.fd = STDERR_FILENO;
    sink.kind = KIND_FILE;
    if (sink.owns_fd) {
        (void)close(fd); /* every line was written or counted as lost */
    }
    sink.owns_fd = false;
    sink.path[0] = '\0';
    sink.lost = 0;
    sink.is_torn = false;
}

void log_line(enum config_log_level level, const char *format, ...)
{
    if ((int)level > sink.level) {
        return;
    }
    char line[LINE_MAX_SIZE];
    va_list args;
    va_start(args, format);
    if (sink.kind == KIND_SYSLOG) {
        int len = vsnprintf(line, sizeof(line), format, args);
        sanitise(line, len < 0 ? 0 : (uint32_t)strlen(line));
        syslog(syslog_priority(level), "%s", line);
    } else {
        uint32_t len = format_line(line, level, format, args);
        emit(line, len);
    }
    va_end(args);
}

char *log_buffer_room(struct log_buffer *buffer, uint32_t len)
{
    assert(len <= LOG_BUFFER_SIZE);
    assert(buffer->len <= LOG_BUFFER_SIZE);
    if (len > LOG_BUFFER_SIZE - buffer->len) {
        log_buffer_flush(buffer);
    }
    return buffer->bytes + buffer->len;
}

void log_buffer_commit(struct log_buffer *buffer, uint32_t len)
{
    assert(len <= LOG_BUFFER_SIZE - buffer->len);
    buffer->len += len;
}

void log_buffer_flush(struct log_buffer *buffer)
{
    if (buffer->len > 0) {
        emit(buffer->bytes, buffer->len);
    }
    buffer->len = 0;
}

/* O_NONBLOCK changes nothing for files; it keeps a FIFO without a reader from holding us. */
static int open_path(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
    return fd < 0 ? -errno : fd;
}

/* A process that was killed in the middle of a write leaves half a line: it shall not swallow our first one. */
static void end_torn_line(int fd, const char *path)
{
    struct stat status;
    char last = '\n';
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size == 0) {
        return;
    }
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    if (reader < 0) {
        return;
    }
    if (pread(reader, &last, 1, status.st_size - 1) == 1 && last != '\n') {
        emit("\n", 1);
    }
    (void)close(reader); /* nothing was written through it */
}

/* A descriptor of our own for the pipe or terminal behind stderr; descriptor 2 itself for files,
 * whose offset may be shared with stdout, and where a second opening is not possible. */
static int open_stderr(bool *ret_owned)
{
    *ret_owned = false;
    if (kind_of(STDERR_FILENO) != KIND_STREAM) {
        return STDERR_FILENO;
    }
    int fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return STDERR_FILENO;
    }
    *ret_owned = true;
    return fd;
}

static enum log_kind kind_of(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || S_ISREG(status.st_mode)) {
        return KIND_FILE;
    }
    return S_ISSOCK(status.st_mode) ? KIND_SOCKET : KIND_STREAM;
}

static uint32_t format_line(char *out, enum config_log_level level, const char *format,
                            va_list args)
{
    static const char *const names[] = {
        [LEVEL_ERROR] = "error",
        [LEVEL_WARNING] = "warning",
        [LEVEL_INFO] = "info",
        [LEVEL_DEBUG] = "debug",
    };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char time[25];
    record_time((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, time);
    int head =
        snprintf(out, LINE_MAX_SIZE, "%s mailweir[%d] %s: ", time, (int)getpid(), names[level]);
    assert(head > 0 && head < LINE_MAX_SIZE / 2);
    int body = vsnprintf(out + head, (size_t)(LINE_MAX_SIZE - head), format, args);
    uint32_t len = (uint32_t)head + (body < 0 ? 0 : (uint32_t)body);
    if (len > LINE_MAX_SIZE - 1) {
        len = LINE_MAX_SIZE - 1;
    }
    sanitise(out, len);
    out[len] = '\n';
    return len + 1;
}

/* The last line of defence: what is printed never breaks the line. */
static void sanitise(char *line, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c < 0x20 || c == 0x7f) {
            line[i] = '?';
        }
    }
}

/* Whole lines to wherever they go. */
static void emit(const char *bytes, uint32_t len)
{
    enum log_kind kind = (enum log_kind)sink.kind;
    if (kind == KIND_SYSLOG) {
        emit_syslog(bytes, len);
        return;
    }
    int fd = sink.fd;
    bool may_write = sink.lost == 0 || report_lost(fd, kind);
    uint32_t done = may_write ? write_all(fd, kind, bytes, len) : 0;
    if (done < len) {
        count_lost(bytes, done, len);
    }
}

/* Number of bytes that went out. */
static uint32_t write_all(int fd, enum log_kind kind, const char *bytes, uint32_t len)
{
    uint32_t done = 0;
    bool may_wait = true;
    while (done < len) {
        uint32_t piece = piece_len(kind, bytes + done, len - done);
        ssize_t written = write_once(fd, kind, bytes + done, piece);
        if (written > 0) {
            done += (uint32_t)written;
            continue;
        }
        if (written == 0 || errno != EAGAIN || !may_wait || !wait_writable(fd)) {
            break;
        }
        may_wait = false;
    }
    return done;
}

/* Everything for a file; for the rest as many whole lines as PIPE_BUF holds, or one long line. */
static uint32_t piece_len(enum log_kind kind, const char *bytes, uint32_t len)
{
    if (kind == KIND_FILE || len <= PIPE_BUF) {
        return len;
    }
    const char *end = memrchr(bytes, '\n', PIPE_BUF);
    if (end == NULL) {
        end = memchr(bytes, '\n', len);
    }
    return end == NULL ? len : (uint32_t)(end - bytes) + 1;
}

static ssize_t write_once(int fd, enum log_kind kind, const char *bytes, uint32_t len)
{
    for (;;) {
        ssize_t written = kind == KIND_SOCKET ? send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                                              : write(fd, bytes, len);
        if (written >= 0 || errno != EINTR) {
            return written;
        }
    }
}

/* Not while lines are being lost already: that would cost STALL_MS each. */
static bool wait_writable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return sink.lost == 0 && poll(&poll_fd, 1, STALL_MS) == 1;
}

/* Says what was lost; the count goes on when that line does not get through either. */
static bool report_lost(int fd, enum log_kind kind)
{
    uint64_t lost = atomic_exchange(&sink.lost, 0);
    if (lost == 0) {
        return true; /* another thread has said it */
    }
    char time[25];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    record_time((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, time);
    char line[256];
    int len =
        snprintf(line, sizeof(line),
                 "%s%s mailweir[%d] warning: log: the target could not be written, lines lost: "
                 "%llu\n",
                 sink.is_torn ? "\n" : "", time, (int)getpid(), (unsigned long long)lost);
    assert(len > 0 && (size_t)len < sizeof(line));
    ssize_t written = write_once(fd, kind, line, (uint32_t)len);
    if (written == len) {
        sink.is_torn = false;
        return true;
    }
    if (written > 0) {
        sink.is_torn = true;
    }
    sink.lost += lost;
    return false;
}

static void count_lost(const char *bytes, uint32_t done, uint32_t len)
{
    uint64_t lines = 0;
    for (uint32_t i = done; i < len; i++) {
        lines += bytes[i] == '\n' ? 1 : 0;
    }
    if (done > 0 && bytes[done - 1] != '\n') {
        sink.is_torn = true;
    }
    sink.lost += lines;
}

static void emit_syslog(const char *bytes, uint32_t len)
{
    uint32_t at = 0;
    while (at < len) {
        const char *end = memchr(bytes + at, '\n', len - at);
        uint32_t line = end == NULL ? len - at : (uint32_t)(end - (bytes + at));
        syslog(LOG_INFO, "%.*s", (int)line, bytes + at);
        at += line + 1;
    }
}

static int syslog_priority(enum config_log_level level)
{
    static const int priorities[] = {
        [LEVEL_ERROR] = LOG_ERR,
        [LEVEL_WARNING] = LOG_WARNING,
        [LEVEL_INFO] = LOG_INFO,
        [LEVEL_DEBUG] = LOG_DEBUG,
    };
    return priorities[level];
}
