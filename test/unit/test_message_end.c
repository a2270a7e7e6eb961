/*
 * test_message_end - held messages that come to nothing, on all three backends: every error is told
 * and loses nothing but the message, and a release may come at any moment.
 *
 * The kernel's refusals are real ones: a limit on the size of files, a folder that is not there, a
 * file that was cut behind the message's back.
 */

#include "test/aborts.h"
#include "test/unit/message_rig.h"

/* ---- errors ---- */

static void expect_lost(struct job *job, int error)
{
    struct text run;
    assert_int_equal(job->error, error);
    assert_int_equal(message_error(job->message), error);
    assert_int_equal(message_read(job->message, &run), error);
    assert_int_equal(message_room(job->message), 0);
    if (!job->sealed) {
        assert_int_equal(message_append(job->message, "x", 1), error);
    }
    job_end(job);
}

static void no_block_is_told(struct world *world)
{
    struct message_store store;
    struct job job, other;
    uint32_t fds = open_count(world);
    place_open(world, &store, 4);
    job_start(&job, world, &store, 10 * BLOCK, 10 * BLOCK);
    job_start(&other, world, &store, 10 * BLOCK, 100);
    assert_int_equal(job_fill(&other), 0);
    assert_int_equal(job_fill(&job), -ENOBUFS);
    assert_int_equal(store.blocks.used, 4);
    expect_lost(&job, -ENOBUFS);
    job_seal(&other);
    assert_int_equal(job_drain(&other), -ENODATA);
    job_end(&other);
    assert_int_equal(store.blocks.used, 0);
    /* A message with a file wants nothing of the pool any more. */
    job_start(&job, world, &store, 3 * BLOCK, 30 * BLOCK);
    job_start(&other, world, &store, BLOCK, 1);
    assert_int_equal(job_fill(&job), 0);
    assert_int_equal(job_fill(&other), -ENOBUFS);
    expect_lost(&other, -ENOBUFS);
    job_seal(&job);
    assert_int_equal(job_drain(&job), -ENODATA);
    job_end(&job);
    place_close(world, &store, fds);
}

static void no_message_is_told(struct world *world)
{
    struct message_store store;
    struct message *messages[2];
    struct message_conf conf = {.memory_max = 1};
    assert_int_equal(message_store_init(&store, world->loop, 2, 1), 0);
    for (int i = 0; i < 2; i++) {
        messages[i] = message_create(&store, &conf, on_poke, NULL);
        assert_non_null(messages[i]);
    }
    assert_null(message_create(&store, &conf, on_poke, NULL));
    message_release(&messages[0]);
    messages[0] = message_create(&store, &conf, on_poke, NULL);
    assert_non_null(messages[0]);
    assert_false(message_store_is_idle(&store));
    message_release(&messages[0]);
    message_release(&messages[1]);
    assert_true(message_store_is_idle(&store));
    message_store_fini(&store);
}

static void no_file_is_told(struct world *world)
{
    static const int errors[] = {-EACCES, -EMFILE, -ENOENT};
    struct message_store store;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    for (size_t i = world->sim != NULL ? 0 : 2; i < 3; i++) {
        struct job job;
        if (world->sim != NULL) {
            sim_set_files(world->sim, &(struct sim_files){.open_error = errors[i]});
        }
        job_start(&job, world, &store, 2 * BLOCK, 2 * BLOCK);
        message_release(&job.message);
        job.conf.spool_dir = "/nonexistent/folder";
        job.message = message_create(&store, &job.conf, on_poke, &job);
        assert_int_equal(job_fill(&job), 0); /* that much needs no file */
        job.total++;
        assert_int_equal(job_fill(&job), errors[i]);
        assert_int_equal(job.pokes, 0);
        expect_lost(&job, errors[i]);
    }
    place_close(world, &store, fds);
}

/* At the first write, at a later one, and at the last, behind the seal: always with a poke. */
static void no_space_is_told(struct world *world)
{
    static const uint64_t spaces[] = {100, BLOCK, 4 * BLOCK + 100, 19 * BLOCK + 50};
    struct message_store store;
    uint32_t fds = open_count(world);
    int want = world->sim != NULL ? -ENOSPC : -EFBIG;
    place_open(world, &store, BLOCKS);
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        struct job job;
        job_start(&job, world, &store, BLOCK, 19 * BLOCK + 100);
        world_set_space(world, spaces[i]);
        bool last = spaces[i] > 19 * BLOCK;
        assert_int_equal(job_fill(&job), last ? 0 : want);
        if (last) {
            run_until_not_busy(&job);
            assert_int_equal(job.error, 0);
            job_seal(&job);
            run_until_not_busy(&job);
        }
        assert_true(job.pokes > 0);
        world_set_space(world, 0);
        expect_lost(&job, want);
    }
    place_close(world, &store, fds);
}

/* Makes the only file of the folder that is open here so long. */
static void cut_the_file(uint64_t len)
{
    DIR *opened = opendir("/proc/self/fd");
    assert_non_null(opened);
    int found = 0;
    for (struct dirent *entry = readdir(opened); entry != NULL; entry = readdir(opened)) {
        char target[256];
        ssize_t size = readlinkat(dirfd(opened), entry->d_name, target, sizeof(target) - 1);
        target[size > 0 ? size : 0] = 0;
        if (strncmp(target, folder, strlen(folder)) == 0) {
            found++;
            assert_int_equal(ftruncate((int)strtol(entry->d_name, NULL, 10), (off_t)len), 0);
        }
    }
    closedir(opened);
    assert_int_equal(found, 1);
}

static void a_read_that_fails_is_told(struct world *world)
{
    struct message_store store;
    struct job job;
    struct text run;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    for (uint32_t kept = 0; kept <= 3; kept++) {
        job_start(&job, world, &store, 2 * BLOCK, 20 * BLOCK);
        assert_int_equal(job_fill(&job), 0);
        job_seal(&job);
        run_until_not_busy(&job);
        if (world->sim == NULL) {
            cut_the_file(kept * (uint64_t)BLOCK + 100);
        } else if (kept == 0) {
            sim_set_files(world->sim, &(struct sim_files){.read_error = -EIO});
        }
        for (uint32_t i = 0; i < kept; i++) { /* so much is there */
            while (message_read(job.message, &run) == 0) {
                one_turn(world);
            }
            job_compare(&job, run);
            message_consume(job.message, run.len);
            job.consumed += run.len;
        }
        if (world->sim != NULL) {
            sim_set_files(world->sim, &(struct sim_files){.read_error = -EIO});
        }
        int pokes = job.pokes;
        assert_int_equal(job_drain(&job), -EIO);
        assert_true(job.pokes > pokes);
        expect_lost(&job, -EIO);
        if (world->sim != NULL) {
            sim_set_files(world->sim, &(struct sim_files){0});
        }
    }
    place_close(world, &store, fds);
}

/* ---- release ---- */

static void release_now(struct job *job, bool busy)
{
    assert_int_equal(message_is_busy(job->message), busy);
    int pokes = job->pokes;
    struct message_store *store = job->store;
    job_end(job);
    assert_int_equal(message_store_is_idle(store), !busy);
    until_idle(job->world, store);
    for (int i = 0; i < 5; i++) {
        one_turn(job->world);
    }
    assert_int_equal(job->pokes, pokes); /* never after the release */
    assert_int_equal(store->blocks.used, 0);
}

/* Half-way in memory; with a write in flight; with the last one; complete; with a read in flight;
 * with a read ahead and another one in flight. */
static void release_at_every_stage(struct world *world)
{
    struct message_store store;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    for (int stage = 0; stage <= 5; stage++) {
        struct job job;
        struct text run;
        job_start(&job, world, &store, 2 * BLOCK, stage == 0 ? BLOCK + 1 : 9 * BLOCK + 77);
        assert_int_equal(job_fill(&job), 0);
        if (stage >= 2) {
            run_until_not_busy(&job);
            job_seal(&job);
        }
        if (stage >= 3) {
            run_until_not_busy(&job);
        }
        if (stage >= 4) {
            assert_int_equal(message_read(job.message, &run), 0);
        }
        for (int i = 0; stage == 5 && message_read(job.message, &run) == 0; i++) {
            assert_true(i < TURNS_MAX);
            one_turn(world);
        }
        release_now(&job, stage != 0 && stage != 3);
        assert_int_equal(open_count(world), fds);
    }
    place_close(world, &store, fds);
}

/* After each number of turns, and then from inside the poke. */
static void release_at_any_turn(struct world *world)
{
    struct message_store store;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    for (int turns = 0; turns < 120; turns++) {
        struct job job;
        job_start(&job, world, &store, 2 * BLOCK, 12 * BLOCK + 9);
        for (int i = 0; i < turns; i++) {
            job_step(&job);
            one_turn(world);
        }
        job.releases_in_poke = turns % 2 == 1;
        for (int i = 0; i < TURNS_MAX && job.releases_in_poke && job.message != NULL; i++) {
            if (job.is_over) {
                break;
            }
            job_step(&job);
            one_turn(world);
        }
        message_release(&job.message);
        until_idle(world, &store);
        assert_int_equal(store.blocks.used, 0);
        assert_int_equal(open_count(world), fds);
    }
    place_close(world, &store, fds);
}

/* ---- misuse ---- */

static void misuse_too_much(struct message *message)
{
    static char bytes[4 * BLOCK];
    assert_int_equal(message_append(message, bytes, message_room(message) + 1), 0);
}

static void misuse_append_after_seal(struct message *message)
{
    message_seal(message);
    assert_int_equal(message_append(message, "x", 1), 0);
}

static void misuse_seal_twice(struct message *message)
{
    message_seal(message);
    message_seal(message);
}

static void misuse_consume_too_much(struct message *message)
{
    if (message_append(message, "xyz", 3) == 0) {
        message_consume(message, 4);
    }
}

static void misuse_consume_nothing_there(struct message *message)
{
    message_consume(message, 1);
}

struct misuse {
    const struct loop_backend *backend;
    void (*run)(struct message *message);
    const char *spool_dir;
    bool leaves_it; /* alive, in the end */
};

static void run_misuse(void *arg)
{
    const struct misuse *misuse = arg;
    struct message_conf conf = {.memory_max = BLOCK, .spool_dir = misuse->spool_dir};
    struct message_store store;
    struct world world;
    if (world_open(&world, misuse->backend, &limits_default, NULL) != 0 ||
        message_store_init(&store, world.loop, 2, 4) != 0) {
        return;
    }
    struct message *message = message_create(&store, &conf, on_poke, NULL);
    if (misuse->run != NULL) {
        misuse->run(message);
    }
    if (!misuse->leaves_it) {
        message_release(&message);
    }
    message_store_fini(&store);
    loop_destroy(&world.loop);
}

static void misuse_is_an_assert(struct world *world)
{
    static void (*const runs[])(struct message *) = {
        misuse_too_much,         misuse_append_after_seal,     misuse_seal_twice,
        misuse_consume_too_much, misuse_consume_nothing_there,
    };
    struct misuse misuse = {.backend = world->loop->backend};
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        misuse.run = runs[i];
        misuse.spool_dir = folder;
        assert_true(aborts(run_misuse, &misuse));
        misuse.spool_dir = NULL;
        assert_true(aborts(run_misuse, &misuse));
    }
    misuse.run = NULL;
    assert_false(aborts(run_misuse, &misuse));
    misuse.leaves_it = true;
    assert_true(aborts(run_misuse, &misuse));
}

/* ---- the table ---- */

static const struct clause clauses[] = {
    CLAUSE(no_block_is_told),    CLAUSE(no_message_is_told),        CLAUSE(no_file_is_told),
    CLAUSE(no_space_is_told),    CLAUSE(a_read_that_fails_is_told), CLAUSE(release_at_every_stage),
    CLAUSE(release_at_any_turn), CLAUSE(misuse_is_an_assert),
};

int main(int argc, char **argv)
{
    return messages_run("message_end", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
}
