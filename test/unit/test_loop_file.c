/*
 * test_loop_file - files of the loop, on all three backends: positioned reads and writes, whole or
 * an error, and a file that nobody else ever finds.
 *
 * The kernel's refusals are real ones: a limit on the size of files, and a seccomp filter in a child
 * process for a file system that cannot make a file without a name.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/aborts.h"
#include "test/unit/loop_clause.h"

enum { BLOCK = 16384, CHAIN = 40 };

/* For what runs in a child, where cmocka's asserts would go on in the wrong process. */
#define CHILD_CHECK(condition) child_check((condition), #condition)

static char folder[64];

static void child_check(bool passed, const char *condition)
{
    if (!passed) {
        fprintf(stderr, "in the child: %s is not so\n", condition);
        _exit(1);
    }
}

static void fill_pattern(char *data, uint32_t len, uint32_t salt)
{
    for (uint32_t i = 0; i < len; i++) {
        data[i] = (char)((i + salt) * 31 + (i >> 8) * 7);
    }
}

static int file_open(struct world *world)
{
    int fd = loop_file(world->loop, folder);
    assert_true(fd >= 0);
    return fd;
}

static void probe_write(struct probe *probe, const char *data, uint32_t len, uint64_t offset)
{
    probe->world->starting = true;
    loop_write_at(probe->world->loop, &probe->op, probe->fd, data, len, offset, on_probe);
    probe->world->starting = false;
}

static void probe_read(struct probe *probe, char *data, uint32_t len, uint64_t offset)
{
    probe->world->starting = true;
    loop_read_at(probe->world->loop, &probe->op, probe->fd, data, len, offset, on_probe);
    probe->world->starting = false;
}

static uint32_t entries(const char *dir)
{
    DIR *opened = opendir(dir);
    assert_non_null(opened);
    uint32_t count = 0;
    while (readdir(opened) != NULL) {
        count++;
    }
    closedir(opened);
    return count - 2; /* itself and its parent */
}

/* ---- bytes ---- */

static void bytes_come_back(struct world *world)
{
    static char data[3 * BLOCK], got[3 * BLOCK];
    struct probe probe;
    probe_init(&probe, world, file_open(world));
    fill_pattern(data, sizeof(data), 0);
    probe_write(&probe, data, BLOCK, 0);
    probe_expect(&probe, BLOCK);
    probe_write(&probe, data + 2 * BLOCK, BLOCK, 2 * BLOCK); /* with a hole before it */
    probe_expect(&probe, BLOCK);
    probe_write(&probe, data + BLOCK, BLOCK, BLOCK);
    probe_expect(&probe, BLOCK);
    probe_read(&probe, got, 3 * BLOCK, 0);
    probe_expect(&probe, 3 * BLOCK);
    assert_memory_equal(got, data, sizeof(data));
    probe_read(&probe, got, 100, 2 * BLOCK - 50);
    probe_expect(&probe, 100);
    assert_memory_equal(got, data + 2 * BLOCK - 50, 100);
    loop_close(world->loop, probe.fd);
}

static void a_read_is_short_at_the_end_only(struct world *world)
{
    static char data[BLOCK], got[BLOCK];
    struct probe probe;
    probe_init(&probe, world, file_open(world));
    probe_read(&probe, got, BLOCK, 0);
    probe_expect(&probe, 0);
    fill_pattern(data, sizeof(data), 0);
    probe_write(&probe, data, 5000, 0);
    probe_expect(&probe, 5000);
    probe_read(&probe, got, BLOCK, 4000);
    probe_expect(&probe, 1000);
    assert_memory_equal(got, data + 4000, 1000);
    probe_read(&probe, got, BLOCK, 5000);
    probe_expect(&probe, 0);
    probe_read(&probe, got, BLOCK, UINT64_C(1) << 40);
    probe_expect(&probe, 0);
    loop_close(world->loop, probe.fd);
}

static void a_long_one_is_whole(struct world *world)
{
    uint32_t len = 6 << 20;
    char *data = malloc(len);
    char *got = calloc(1, len);
    struct probe probe;
    probe_init(&probe, world, file_open(world));
    fill_pattern(data, len, 3);
    probe_write(&probe, data, len, 777);
    probe_expect(&probe, (int)len);
    probe_read(&probe, got, len, 777);
    probe_expect(&probe, (int)len);
    assert_memory_equal(got, data, len);
    loop_close(world->loop, probe.fd);
    free(data);
    free(got);
}

/* A read and a write are one op each on the same descriptor. */
static void both_directions_at_once(struct world *world)
{
    static char data[2 * BLOCK], got[BLOCK];
    struct probe rx, tx;
    probe_init(&tx, world, file_open(world));
    probe_init(&rx, world, tx.fd);
    fill_pattern(data, sizeof(data), 0);
    probe_write(&tx, data, BLOCK, 0);
    probe_expect(&tx, BLOCK);
    probe_write(&tx, data + BLOCK, BLOCK, BLOCK);
    probe_read(&rx, got, BLOCK, 0);
    assert_true(world_until(world, &tx.calls, 2));
    assert_true(world_until(world, &rx.calls, 1));
    assert_int_equal(tx.result, BLOCK);
    assert_int_equal(rx.result, BLOCK);
    assert_memory_equal(got, data, BLOCK);
    loop_close(world->loop, tx.fd);
}

struct chain {
    struct probe probe;
    char data[BLOCK];
    uint32_t written;
};

static void on_chain(struct op *op, int result)
{
    struct chain *chain = list_entry(op, struct chain, probe.op);
    assert_int_equal(result, BLOCK);
    chain->probe.calls++;
    chain->written++;
    if (chain->written < CHAIN) {
        fill_pattern(chain->data, BLOCK, chain->written);
        loop_write_at(chain->probe.world->loop, op, chain->probe.fd, chain->data, BLOCK,
                      (uint64_t)chain->written * BLOCK, on_chain);
    }
}

/* An op that starts itself again, as a long file is written; one turn each, so that others run. */
static void restarted_inside_done(struct world *world)
{
    static struct chain chain;
    static char want[BLOCK], got[BLOCK];
    memset(&chain, 0, sizeof(chain));
    probe_init(&chain.probe, world, file_open(world));
    fill_pattern(chain.data, BLOCK, 0);
    uint64_t turns = loop_stats(world->loop)->turns;
    loop_write_at(world->loop, &chain.probe.op, chain.probe.fd, chain.data, BLOCK, 0, on_chain);
    assert_true(world_until(world, &chain.probe.calls, CHAIN));
    assert_true(loop_stats(world->loop)->turns - turns >= CHAIN);
    for (uint32_t i = 0; i < CHAIN; i++) {
        probe_read(&chain.probe, got, BLOCK, (uint64_t)i * BLOCK);
        probe_expect(&chain.probe, BLOCK);
        fill_pattern(want, BLOCK, i);
        assert_memory_equal(got, want, BLOCK);
    }
    loop_close(world->loop, chain.probe.fd);
}

/* ---- cancel, misuse ---- */

static void a_cancel_is_a_wish(struct world *world)
{
    static char data[4 * BLOCK], got[4 * BLOCK];
    struct probe rx, tx;
    probe_init(&tx, world, file_open(world));
    probe_init(&rx, world, tx.fd);
    fill_pattern(data, sizeof(data), 0);
    probe_write(&tx, data, sizeof(data), 0);
    probe_expect(&tx, sizeof(data));
    for (int i = 0; i < 50; i++) {
        int calls = tx.calls;
        probe_write(&tx, data, sizeof(data), 0);
        probe_read(&rx, got, sizeof(got), 0);
        world_turns(world, i % 3, 0);
        loop_cancel(world->loop, &tx.op);
        loop_cancel(world->loop, &rx.op);
        assert_true(world_until(world, &tx.calls, calls + 1));
        assert_true(world_until(world, &rx.calls, i + 1));
        assert_true(tx.result == (int)sizeof(data) || tx.result == -ECANCELED);
        assert_true(rx.result == (int)sizeof(got) || rx.result == -ECANCELED);
        assert_true(rx.result == -ECANCELED || memcmp(got, data, sizeof(got)) == 0);
        settle(world);
        assert_int_equal(tx.calls, calls + 1); /* and once */
        assert_int_equal(rx.calls, i + 1);
    }
    loop_close(world->loop, tx.fd);
}

static void misuse_close_in_flight(struct world *world, struct probe probes[2])
{
    probe_write(&probes[0], "abc", 3, 0);
    loop_close(world->loop, probes[0].fd);
}

static void misuse_two_writes(struct world *world, struct probe probes[2])
{
    (void)world;
    probe_write(&probes[0], "abc", 3, 0);
    probe_write(&probes[1], "abc", 3, 0);
}

static void misuse_two_reads(struct world *world, struct probe probes[2])
{
    static char got[2][3];
    (void)world;
    probe_read(&probes[0], got[0], 3, 0);
    probe_read(&probes[1], got[1], 3, 0);
}

static void misuse_write_nothing(struct world *world, struct probe probes[2])
{
    (void)world;
    probe_write(&probes[0], "", 0, 0);
}

static void use_well(struct world *world, struct probe probes[2])
{
    probe_write(&probes[0], "abc", 3, 0);
    (void)world_until(world, &probes[0].calls, 1);
    loop_close(world->loop, probes[0].fd);
}

struct misuse {
    const struct loop_backend *backend;
    void (*run)(struct world *world, struct probe probes[2]);
};

static void run_misuse(void *arg)
{
    const struct misuse *misuse = arg;
    struct world world;
    struct probe probes[2];
    if (world_open(&world, misuse->backend, &limits_default, NULL) == 0) {
        int fd = loop_file(world.loop, folder);
        probe_init(&probes[0], &world, fd);
        probe_init(&probes[1], &world, fd);
        misuse->run(&world, probes);
    }
}

static void misuse_is_an_assert(struct world *world)
{
    static void (*const runs[])(struct world *, struct probe[2]) = {
        misuse_close_in_flight,
        misuse_two_writes,
        misuse_two_reads,
        misuse_write_nothing,
    };
    struct misuse misuse = {.backend = world->loop->backend};
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        misuse.run = runs[i];
        assert_true(aborts(run_misuse, &misuse));
    }
    misuse.run = use_well;
    assert_false(aborts(run_misuse, &misuse));
}

/* ---- errors ---- */

/* The write that meets the bound is short first and an error then; earlier ones stay. */
static void no_space_is_told(struct world *world)
{
    static char data[BLOCK], got[2 * BLOCK];
    int want = world->sim != NULL ? -ENOSPC : -EFBIG;
    struct probe probe;
    probe_init(&probe, world, file_open(world));
    fill_pattern(data, sizeof(data), 0);
    world_set_space(world, BLOCK + 1000);
    probe_write(&probe, data, BLOCK, 0);
    probe_expect(&probe, BLOCK);
    probe_write(&probe, data, BLOCK, BLOCK);
    probe_expect(&probe, want);
    probe_write(&probe, data, BLOCK, BLOCK + 1000);
    probe_expect(&probe, want);
    world_set_space(world, 0);
    probe_read(&probe, got, sizeof(got), 0);
    probe_expect(&probe, BLOCK + 1000);
    assert_memory_equal(got, data, BLOCK);
    assert_memory_equal(got + BLOCK, data, 1000);
    probe_write(&probe, data, BLOCK, BLOCK);
    probe_expect(&probe, BLOCK);
    loop_close(world->loop, probe.fd);
}

static void a_read_error_is_told(struct world *world)
{
    char got[8];
    struct probe probe;
    if (world->sim != NULL) {
        probe_init(&probe, world, file_open(world));
        sim_set_files(world->sim, &(struct sim_files){.read_error = -EIO});
    } else {
        char path[128];
        snprintf(path, sizeof(path), "%s/write-only", folder);
        probe_init(&probe, world, open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
        assert_true(probe.fd >= 0);
        assert_int_equal(unlink(path), 0);
    }
    probe_write(&probe, "abc", 3, 0);
    probe_expect(&probe, 3);
    probe_read(&probe, got, sizeof(got), 0);
    probe_expect(&probe, world->sim != NULL ? -EIO : -EBADF);
    loop_close(world->loop, probe.fd);
}

static void no_file_is_told(struct world *world)
{
    if (world->sim != NULL) {
        sim_set_files(world->sim, &(struct sim_files){.open_error = -EACCES});
        assert_int_equal(loop_file(world->loop, folder), -EACCES);
        sim_set_files(world->sim, &(struct sim_files){.open_error = -EMFILE});
        assert_int_equal(loop_file(world->loop, folder), -EMFILE);
        return;
    }
    char path[128];
    snprintf(path, sizeof(path), "%s/nowhere", folder);
    assert_int_equal(loop_file(world->loop, path), -ENOENT);
    assert_int_equal(loop_file(world->loop, "/dev/null"), -ENOTDIR);
}

static void descriptors_are_bounded(struct world *world)
{
    int fds[64];
    uint32_t count = 0;
    int fd = loop_file(world->loop, folder);
    while (fd >= 0 && count < 64) {
        fds[count++] = fd;
        fd = loop_file(world->loop, folder);
    }
    assert_int_equal(fd, -EMFILE);
    assert_true(count > 0);
    while (count > 0) {
        loop_close(world->loop, fds[--count]);
    }
    fd = file_open(world);
    loop_close(world->loop, fd);
}

/* ---- the file itself ---- */

static void the_file_is_ours_alone(struct world *world)
{
    int fd = file_open(world);
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(status.st_nlink, 0);
    assert_int_equal(status.st_size, 0);
    assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(entries(folder), 0);
    loop_close(world->loop, fd);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* From now on the call fails with `error` (0: it returns that) when its third argument has a bit of
 * `mask`. */
static void refuse(long call, uint32_t mask, int error)
{
    uint32_t third = offsetof(struct seccomp_data, args[2]); /* its low word: little-endian */
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, third),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};
    CHILD_CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHILD_CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* `run` in a child, with a world of its own; it ends well or says why not. */
static void in_a_child(const struct loop_backend *backend, void (*run)(struct world *world))
{
    (void)fflush(stdout); /* or the child prints it again */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct world world;
        CHILD_CHECK(world_open(&world, backend, &limits_default, NULL) == 0);
        run(&world);
        world_close(&world);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void child_without_tmpfile(struct world *world)
{
    enum { TMPFILE_BIT = O_TMPFILE & ~O_DIRECTORY };
    refuse(SYS_openat, TMPFILE_BIT, EOPNOTSUPP);
    CHILD_CHECK(open(folder, O_TMPFILE | O_RDWR, 0600) < 0 && errno == EOPNOTSUPP);
    int fd = loop_file(world->loop, folder);
    CHILD_CHECK(fd >= 0);
    struct stat status;
    CHILD_CHECK(fstat(fd, &status) == 0);
    CHILD_CHECK((status.st_mode & 07777) == 0600);
    CHILD_CHECK(status.st_nlink == 0);
    CHILD_CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHILD_CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
    CHILD_CHECK(loop_file(world->loop, "/nonexistent") == -ENOENT);
    loop_close(world->loop, fd);
}

static void a_file_system_without_nameless_files(struct world *world)
{
    in_a_child(world->loop->backend, child_without_tmpfile);
    assert_int_equal(entries(folder), 0);
}

static int child_result;

static void on_child_done(struct op *op, int result)
{
    (void)op;
    child_result = result;
}

static void child_with_a_lazy_kernel(struct world *world)
{
    struct op op;
    op_init(&op);
    int fd = loop_file(world->loop, folder);
    CHILD_CHECK(fd >= 0);
    refuse(SYS_pwrite64, UINT32_MAX, 0);
    child_result = 1;
    loop_write_at(world->loop, &op, fd, "abc", 3, 0, on_child_done);
    world_turns(world, 3, 0);
    CHILD_CHECK(child_result == -EIO);
    loop_close(world->loop, fd);
}

static void a_write_of_nothing_is_an_error(struct world *world)
{
    in_a_child(world->loop->backend, child_with_a_lazy_kernel);
}

/* ---- the table ---- */

static const struct clause clauses[] = {
    CLAUSE(bytes_come_back),
    CLAUSE(a_read_is_short_at_the_end_only),
    CLAUSE(a_long_one_is_whole),
    CLAUSE(both_directions_at_once),
    CLAUSE(restarted_inside_done),
    CLAUSE(a_cancel_is_a_wish),
    CLAUSE(misuse_is_an_assert),
    CLAUSE(no_space_is_told),
    CLAUSE(a_read_error_is_told),
    CLAUSE(no_file_is_told),
    CLAUSE(descriptors_are_bounded, .limits.fd_count = 40),
    CLAUSE(the_file_is_ours_alone, .skip = ON_SIM, .reason = "a simulated file has no mode"),
    CLAUSE(a_file_system_without_nameless_files, .skip = ON_SIM, .reason = "it has no folders"),
    CLAUSE(a_write_of_nothing_is_an_error, .skip = ON_SIM | ON_URING,
           .reason = "no system call of ours to be made to do so"),
};

int main(int argc, char **argv)
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/weir-file-XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(folder));
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    assert_int_equal(sigaction(SIGXFSZ, &ignore, NULL), 0);
    int failed =
        clauses_run("loop_file", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
    assert_int_equal(rmdir(folder), 0);
    return failed;
}
