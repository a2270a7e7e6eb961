/*
 * message_rig - what the tests of held messages share: a job, which is one message and its owner, and
 * the place where jobs are done.
 *
 * A job appends and reads what a seed decides, compares each octet with what its position says, and
 * stands still where the message promises a poke. A poke that never comes is therefore a test that
 * does not end in time. The place checks what is left in the end: not a message, not a block, not a
 * descriptor. Included by test/unit/test_message*.c only.
 */
#ifndef TEST_UNIT_MESSAGE_RIG_H
#define TEST_UNIT_MESSAGE_RIG_H

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/message.h"
#include "test/unit/loop_clause.h"

enum {
    BLOCK = MESSAGE_BLOCK_SIZE,
    MESSAGES = 600,
    BLOCKS = 8192,
    PART_MAX = 40000,
    TURNS_MAX = 200000,
};

static char folder[64]; /* where the files are */

/* ---- the job ---- */

struct job {
    struct world *world;
    struct message_store *store;
    struct message *message;
    struct message_conf conf;
    uint64_t random;
    uint64_t total;    /* octets that it will be */
    uint64_t appended; /* so far */
    uint64_t consumed;
    uint32_t salt;
    uint32_t file_max; /* blocks it may hold */
    bool reads_early;  /* before the seal */
    bool holds;        /* does not read before it is told to */
    bool sealed;
    bool waits; /* for a poke */
    bool in_call;
    bool is_over;
    bool releases_in_poke;
    int pokes;
    int error; /* the first that a call or a poke told */
};

static inline uint64_t next_random(uint64_t *random)
{
    *random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *random;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint32_t pick(uint64_t *random, uint32_t from, uint32_t to)
{
    return from + (uint32_t)(next_random(random) % (to - from + 1));
}

/* The octet at this position: no two messages and no two blocks are alike. */
static char octet_at(uint64_t position, uint32_t salt)
{
    return (char)((position * 131 + (position >> 9) * 17 + (position >> 14) * 7) ^ salt);
}

static inline void on_poke(struct message *message, void *owner)
{
    struct job *job = owner;
    assert_false(job->in_call);
    assert_ptr_equal(message, job->message);
    job->pokes++;
    job->waits = false;
    if (message_error(message) != 0) {
        job->error = message_error(message);
    }
    if (job->releases_in_poke) {
        message_release(&job->message);
    }
}

static inline void job_start(struct job *job, struct world *world, struct message_store *store,
                             uint64_t memory_max, uint64_t total)
{
    *job = (struct job){
        .world = world,
        .store = store,
        .total = total,
        .conf = {.memory_max = memory_max, .spool_dir = folder},
        .random = total + memory_max,
        .salt = (uint32_t)(total % 251),
    };
    job->message = message_create(store, &job->conf, on_poke, job);
    assert_non_null(job->message);
}

/* Appends `len` octets of the pattern. What message_append() said. */
static inline int job_append(struct job *job, uint32_t len)
{
    static char bytes[PART_MAX];
    assert_true(len <= PART_MAX);
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = octet_at(job->appended + i, job->salt);
    }
    job->in_call = true;
    int result = message_append(job->message, bytes, len);
    job->in_call = false;
    if (result == 0) {
        job->appended += len;
        assert_int_equal(message_len(job->message), job->appended);
    } else {
        job->error = result;
        assert_int_equal(message_error(job->message), result);
    }
    return result;
}

static inline void job_seal(struct job *job)
{
    job->in_call = true;
    message_seal(job->message);
    job->in_call = false;
    job->sealed = true;
    assert_int_equal(message_room(job->message), 0);
}

/* Appends what fits, as much as the seed says; seals behind the last octet. True when it did. */
static inline bool job_write(struct job *job)
{
    if (job->sealed || job->error != 0) {
        return false;
    }
    uint64_t left = job->total - job->appended;
    uint32_t room = message_room(job->message);
    if (left == 0) {
        job_seal(job);
        return true;
    }
    if (room == 0) {
        if (message_error(job->message) == 0 && job->conf.spool_dir == NULL) {
            assert_true(job->appended - job->consumed == job->conf.memory_max);
        }
        return false;
    }
    uint32_t most = room < left ? room : (uint32_t)left;
    most = most < PART_MAX ? most : PART_MAX;
    bool all = pick(&job->random, 0, 3) == 0;
    (void)job_append(job, all ? most : pick(&job->random, 1, most)); /* in job->error */
    return true;
}

static inline void job_compare(struct job *job, struct text run)
{
    assert_true(run.len > 0);
    assert_true(job->consumed + run.len <= job->appended);
    for (uint32_t i = 0; i < run.len; i++) {
        if (run.at[i] != octet_at(job->consumed + i, job->salt)) {
            fail_msg("octet %llu is another", (unsigned long long)(job->consumed + i));
        }
    }
}

/* Reads and consumes a part of what is there. What message_read() said. */
static inline int job_read(struct job *job)
{
    struct text run;
    job->in_call = true;
    int result = message_read(job->message, &run);
    if (result == 1) {
        job_compare(job, run);
        uint32_t len = pick(&job->random, 0, 1) == 0 ? run.len : pick(&job->random, 1, run.len);
        message_consume(job->message, len);
        job->consumed += len;
    } else if (result == -ENODATA) {
        assert_true(job->sealed);
        assert_true(job->consumed == job->total);
        job->is_over = true;
    } else if (result != 0) {
        job->error = result;
    }
    job->in_call = false;
    return result;
}

/* One or two things that the job can do; it waits for a poke when there are none. */
static inline void job_step(struct job *job)
{
    if (job->waits || job->is_over || job->error != 0) {
        return;
    }
    bool wrote = job_write(job);
    bool reads = !job->holds && (job->sealed || (job->reads_early && pick(&job->random, 0, 1)));
    bool memory_only = job->conf.spool_dir == NULL;
    if (job->error != 0 || wrote) {
        reads = reads && job->error == 0 && pick(&job->random, 0, 1);
    } else {
        reads = !job->holds && (reads || memory_only);
    }
    int result = reads ? job_read(job) : 0;
    bool moved = wrote || result != 0 || (job->holds && job->sealed);
    if (!moved && (job->sealed || message_room(job->message) == 0)) {
        assert_true(message_is_busy(job->message)); /* whence the poke comes */
        job->waits = true;
    }
}

static inline void job_end(struct job *job)
{
    message_release(&job->message);
    assert_null(job->message);
    message_release(&job->message); /* harmless */
}

/* ---- the place ---- */

static inline void place_open(struct world *world, struct message_store *store, uint32_t block_max)
{
    assert_int_equal(message_store_init(store, world->loop, MESSAGES, block_max), 0);
    assert_true(message_store_is_idle(store));
}

/* Open descriptors, those of the test itself included. */
static inline uint32_t open_count(const struct world *world)
{
    if (world->sim != NULL) {
        return sim_open_count(world->sim);
    }
    DIR *opened = opendir("/proc/self/fd");
    assert_non_null(opened);
    uint32_t count = 0;
    while (readdir(opened) != NULL) {
        count++;
    }
    closedir(opened);
    return count;
}

static inline void one_turn(struct world *world)
{
    assert_int_equal(loop_run_once(world->loop, 0), 0);
}

static inline void until_idle(struct world *world, const struct message_store *store)
{
    for (int i = 0; i < TURNS_MAX && !message_store_is_idle(store); i++) {
        one_turn(world);
    }
    assert_true(message_store_is_idle(store));
}

/* Nothing is left: not a message, not a block, not a descriptor. */
static inline void place_close(struct world *world, struct message_store *store, uint32_t fds)
{
    until_idle(world, store);
    assert_int_equal(store->blocks.used, 0);
    assert_int_equal(open_count(world), fds);
    message_store_fini(store);
}

static inline void run_until_not_busy(struct job *job)
{
    for (int i = 0; i < TURNS_MAX && message_is_busy(job->message); i++) {
        one_turn(job->world);
    }
    assert_false(message_is_busy(job->message));
}

/* Appends until `total` octets, an error, or forbidden room. */
static inline int job_fill(struct job *job)
{
    int result = 0;
    for (int i = 0; i < TURNS_MAX && result == 0 && job->appended < job->total; i++) {
        uint64_t left = job->total - job->appended;
        uint32_t room = message_room(job->message);
        uint32_t len = room < left ? room : (uint32_t)left;
        len = len < PART_MAX ? len : PART_MAX;
        if (len == 0 && message_error(job->message) == 0) {
            one_turn(job->world);
        } else {
            result = job_append(job, len > 0 ? len : 1);
        }
    }
    assert_true(result != 0 || job->appended == job->total);
    return result;
}

static inline int job_drain(struct job *job)
{
    int result = 1;
    for (int i = 0; i < TURNS_MAX && result >= 0; i++) {
        result = job_read(job);
        if (result == 0) {
            one_turn(job->world);
        }
    }
    return result;
}

/* ---- the program ---- */

/* clauses_run() with a folder, which must be empty in the end. */
static inline int messages_run(const char *group, const struct clause *clauses, size_t count,
                               int argc, char **argv)
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/weir-held-XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(folder));
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    assert_int_equal(sigaction(SIGXFSZ, &ignore, NULL), 0);
    int failed = clauses_run(group, clauses, count, argc, argv);
    assert_int_equal(rmdir(folder), 0);
    return failed;
}

#endif
