/*
 * weir-sink - an SMTP server that accepts, counts, keeps and misbehaves: the embedded upstream.
 *
 * One thread, one loop, io_uring or epoll. What it promises and how its parts fit together stands
 * at the heads of bench/sink_session.h (the dialogue), sink_journal.h (what is kept) and
 * sink_rules.h (the misbehaviour). Here: options, limits, signals, start and end.
 *
 * It speaks no TLS, has no idle timeout, and blocks on the disk with -d: it is made for tests and
 * benchmarks, not for mail.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/sink.h"
#include "bench/sink_listener.h"
#include "bench/sink_session.h"
#include "net/loop_backend.h"

enum {
    SESSIONS_MAX = 20000,
    MESSAGES_MAX = 4096, /* kept and in work at once */
    LISTENERS_MAX = 16,
    BUFFERS = 1024,
    DESCRIPTORS_OTHER = 64, /* listeners, ring, journal, the standard ones */
    STOP_TURNS_MAX = 200,
    STOP_TURN_MS = 20,
};

struct options {
    const char *listen[LISTENERS_MAX];
    uint32_t listen_count;
    const char *folder;
    const char *extensions;
    const char *io;
    const char *name;
    bool quiet;
};

struct program {
    struct options options;
    struct sink sink;
    struct sink_journal journal;
    struct sink_listener listeners[LISTENERS_MAX];
    uint32_t listener_count;
    uint32_t session_count;
    uint32_t message_count;
    struct op signal_op;
    int signal_fd;
    bool report; /* SIGUSR1 */
    bool stop;   /* SIGTERM, SIGINT */
};

/* The writing end of the pair through which signals reach the loop. */
static volatile sig_atomic_t signal_write_fd = -1;

static const char usage[] =
    "usage: weir-sink -l ADDR [-l ADDR ...] [options]\n"
    "  -l ADDR   127.0.0.1:2626, [::1]:2626 or unix:/path; repeatable\n"
    "  -d DIR    keep each message in DIR, with a journal\n"
    "  -e LIST   extensions to offer; '' for none of them, 'none' for no EHLO\n"
    "  -m RULE   misbehave: STAGE[/N]:ACTION; repeatable\n"
    "            stages: connect ehlo helo mail rcpt data body eom rset noop quit\n"
    "            actions: delay=MS reply=TEXT drop reset garbage hang drip=MS early close-after\n"
    "  -i IO     auto, io_uring or epoll (default auto)\n"
    "  -n NAME   host name (default weir-sink)\n"
    "  -a        name the address in each reply to MAIL, RCPT and a message that is kept;\n"
    "            refuse an address that begins with 'refuse' (550) or 'defer' (450)\n"
    "  -q        say nothing at the start\n"
    "SIGUSR1 prints counts; SIGTERM and SIGINT print them and end it.\n";

/* ---- options ---- */

static int complain(const char *what, const char *value, const char *why)
{
    (void)fprintf(stderr, "weir-sink: %s '%s': %s\n", what, value, why);
    return -EINVAL;
}

static int option_apply(struct program *program, int option, const char *value)
{
    struct options *options = &program->options;
    const char *why;
    switch (option) {
    case 'l':
        if (options->listen_count == LISTENERS_MAX) {
            return complain("-l", value, "too many addresses");
        }
        options->listen[options->listen_count++] = value;
        return 0;
    case 'd':
        options->folder = value;
        return 0;
    case 'e':
        options->extensions = value;
        return 0;
    case 'm':
        return sink_rules_add(&program->sink.rules, value, &why) < 0 ? complain("-m", value, why)
                                                                     : 0;
    case 'i':
        options->io = value;
        return 0;
    case 'n':
        options->name = value;
        return 0;
    case 'a':
        program->sink.names_addresses = true;
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    default:
        (void)fputs(usage, stderr);
        return -EINVAL;
    }
}

static int options_parse(struct program *program, int argc, char **argv)
{
    struct options *options = &program->options;
    const char *why;
    int option;
    *options = (struct options){
        .extensions = "PIPELINING,8BITMIME,SMTPUTF8,DSN,ENHANCEDSTATUSCODES,SIZE=52428800",
        .io = "auto",
        .name = "weir-sink",
    };
    while ((option = getopt(argc, argv, "l:d:e:m:i:n:aq")) != -1) {
        int result = option_apply(program, option, optarg);
        if (result < 0) {
            return result;
        }
    }
    if (options->listen_count == 0 || optind < argc) {
        (void)fputs(usage, stderr);
        return -EINVAL;
    }
    if (sink_offer_init(&program->sink.offer, options->name, options->extensions, &why) < 0) {
        return complain("-n or -e", options->extensions, why);
    }
    return 0;
}

/* ---- limits ---- */

/* As many descriptors as we may have, and as many sessions as these allow. */
static void limits_set(struct program *program)
{
    struct rlimit limit;
    int result = getrlimit(RLIMIT_NOFILE, &limit);
    assert(result == 0);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        result = getrlimit(RLIMIT_NOFILE, &limit); /* it stays as it was */
        assert(result == 0);
    }
    uint32_t room = 4 * SESSIONS_MAX;
    if (limit.rlim_cur < room) {
        room = (uint32_t)limit.rlim_cur;
    }
    room = room > DESCRIPTORS_OTHER + 8 ? room - DESCRIPTORS_OTHER : 8;
    if (program->options.folder != NULL) {
        program->message_count = room / 4 < MESSAGES_MAX ? room / 4 : MESSAGES_MAX;
    }
    room -= program->message_count;
    program->session_count = room < SESSIONS_MAX ? room : SESSIONS_MAX;
}

/* ---- the loop ---- */

static const char *refusal_text(int error)
{
    switch (error) {
    case -EPERM:
        return "not permitted: seccomp or kernel.io_uring_disabled";
    case -ENOSYS:
        return "not in this kernel, or hidden by seccomp";
    case -ENOMEM:
        return "no memory: RLIMIT_MEMLOCK";
    default:
        return strerror(-error);
    }
}

static int loop_open(struct program *program)
{
    const char *io = program->options.io;
    struct loop **ret_loop = &program->sink.loop;
    struct loop_limits limits = {
        .fd_count = program->session_count + program->message_count + 2 * DESCRIPTORS_OTHER,
        .op_count = 2 * program->session_count + LISTENERS_MAX + 8,
        .buf_count = BUFFERS,
    };
    bool is_auto = strcmp(io, "auto") == 0;
    if (!is_auto && strcmp(io, "io_uring") != 0 && strcmp(io, "epoll") != 0) {
        return complain("-i", io, "not auto, io_uring or epoll");
    }
    if (strcmp(io, "epoll") != 0) {
        int result = loop_create(ret_loop, &loop_uring, &limits, NULL);
        if (result == 0 || !is_auto) {
            return result < 0 ? complain("-i", io, refusal_text(result)) : 0;
        }
        (void)fprintf(stderr, "weir-sink: no io_uring (%s), using epoll\n", refusal_text(result));
    }
    int result = loop_create(ret_loop, &loop_epoll, &limits, NULL);
    return result < 0 ? complain("-i", io, strerror(-result)) : 0;
}

/* ---- signals: each is a byte that the loop receives ---- */

static void on_signal(int number)
{
    int saved = errno;
    char byte = (char)number;
    (void)send(signal_write_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL); /* full: enough are there */
    errno = saved;
}

static void on_signal_received(struct op *op, int result)
{
    struct program *program = list_entry(op, struct program, signal_op);
    struct loop *loop = program->sink.loop;
    if (result <= 0) {
        return; /* cancelled at the end */
    }
    for (int i = 0; i < result; i++) {
        if (buf_bytes(op->buf)[i] == SIGUSR1) {
            program->report = true;
        } else {
            program->stop = true;
        }
    }
    loop_buf_release(loop, op->buf);
    op->buf = NULL;
    loop_recv(loop, op, program->signal_fd, RECV_LATER, on_signal_received);
}

static int signals_open(struct program *program)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    program->signal_fd = pair[0];
    signal_write_fd = pair[1];
    op_init(&program->signal_op);
    loop_recv(program->sink.loop, &program->signal_op, pair[0], RECV_LATER, on_signal_received);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        int result = sigaction(numbers[i], &action, NULL);
        assert(result == 0);
    }
    return 0;
}

/* ---- start ---- */

static int listeners_open(struct program *program)
{
    const struct options *options = &program->options;
    for (uint32_t i = 0; i < options->listen_count; i++) {
        int result = sink_listener_open(&program->listeners[i], options->listen[i]);
        if (result < 0) {
            return complain("-l", options->listen[i],
                            result == -EINVAL ? "not an address" : strerror(-result));
        }
        program->listener_count++;
    }
    return 0;
}

static int journal_open(struct program *program)
{
    const char *folder = program->options.folder;
    if (folder == NULL) {
        return 0;
    }
    int result = sink_journal_open(&program->journal, folder, program->message_count,
                                   sink_session_committed);
    if (result == -EBUSY) {
        return complain("-d", folder, "another process keeps messages there");
    }
    if (result == -EBADMSG) {
        return complain("-d", folder, "its journal is not one of weir-sink");
    }
    if (result < 0) {
        return complain("-d", folder, strerror(-result));
    }
    program->sink.journal = &program->journal;
    return 0;
}

static int program_start(struct program *program)
{
    limits_set(program);
    int result = journal_open(program);
    if (result == 0) {
        result = listeners_open(program);
    }
    if (result == 0) {
        result = loop_open(program);
    }
    if (result < 0) {
        return result;
    }
    result = sink_init(&program->sink, program->session_count);
    if (result == 0) {
        result = signals_open(program);
    }
    if (result < 0) {
        return complain("start", "sessions and signals", strerror(-result));
    }
    for (uint32_t i = 0; i < program->listener_count; i++) {
        sink_listener_start(&program->listeners[i], &program->sink);
        if (!program->options.quiet) {
            (void)fprintf(stderr, "weir-sink: listening on %s (%s)\n", program->listeners[i].name,
                          loop_name(program->sink.loop));
        }
    }
    return 0;
}

/* ---- work ---- */

static void counts_print(const struct sink_counts *counts)
{
    (void)printf("{\"connections\":%" PRIu64 ",\"sessions_now\":%" PRIu64 ",\"messages\":%" PRIu64
                 ",\"bytes\":%" PRIu64 ",\"commands\":%" PRIu64 ",\"refused\":%" PRIu64 "}\n",
                 counts->connections, counts->sessions_now, counts->messages, counts->bytes,
                 counts->commands, counts->refused);
    (void)fflush(stdout); /* who reads it has gone, then */
}

static int turn(struct program *program, int64_t wait_ms_max)
{
    bool was_full = sink_is_full(&program->sink);
    int result = loop_run_once(program->sink.loop, wait_ms_max);
    sink_turn_end(&program->sink);
    if (was_full) {
        for (uint32_t i = 0; i < program->listener_count; i++) {
            sink_listener_resume(&program->listeners[i]);
        }
    }
    return result;
}

static int program_run(struct program *program)
{
    int result = 0;
    while (result == 0 && !program->stop) {
        result = turn(program, -1);
        if (program->report || program->stop) {
            program->report = false;
            counts_print(&program->sink.counts);
        }
    }
    return result;
}

/* ---- end ---- */

static bool program_is_idle(const struct program *program)
{
    for (uint32_t i = 0; i < program->listener_count; i++) {
        if (!sink_listener_is_idle(&program->listeners[i])) {
            return false;
        }
    }
    return list_is_empty(&program->sink.live) && op_is_idle(&program->signal_op);
}

/* Ends everything in order. -ETIMEDOUT when something does not end. */
static int program_stop(struct program *program)
{
    struct sink *sink = &program->sink;
    for (uint32_t i = 0; i < program->listener_count; i++) {
        sink_listener_stop(&program->listeners[i]);
    }
    loop_cancel(sink->loop, &program->signal_op);
    sink_stop_sessions(sink);
    for (int i = 0; !program_is_idle(program); i++) {
        if (i == STOP_TURNS_MAX || turn(program, STOP_TURN_MS) < 0) {
            return -ETIMEDOUT;
        }
    }
    sink_turn_end(sink);
    for (uint32_t i = 0; i < program->listener_count; i++) {
        sink_listener_close(&program->listeners[i]);
    }
    loop_close(sink->loop, program->signal_fd);
    sink_fini(sink);
    if (sink->journal != NULL) {
        sink_journal_close(sink->journal);
    }
    loop_destroy(&sink->loop);
    return 0;
}

int main(int argc, char **argv)
{
    static struct program program; /* too big for the stack, and all zero */
    if (options_parse(&program, argc, argv) < 0) {
        return 2;
    }
    if (program_start(&program) < 0) {
        return 1;
    }
    int result = program_run(&program);
    if (result == 0) {
        result = program_stop(&program);
    }
    if (result < 0) {
        (void)fprintf(stderr, "weir-sink: %s\n", strerror(-result));
        return 1;
    }
    return 0;
}
