/*
 * test_message - held messages on all three backends: every octet once and in order, however it is
 * appended and read, and the memory they may have and no more.
 */
#include "test/unit/message_rig.h"

enum { INTERLEAVED = 200, SEEDS = 60 };

/* ---- octets ---- */

static uint32_t blocks_allowed(uint64_t memory_max)
{
    uint32_t blocks = (uint32_t)((memory_max + BLOCK - 1) / BLOCK);
    return (blocks > 0 ? blocks : 1) + 1;
}

static void an_empty_message(struct world *world)
{
    struct message_store store;
    struct job job;
    struct text run;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    job_start(&job, world, &store, BLOCK, 0);
    assert_int_equal(message_read(job.message, &run), 0);
    assert_int_equal(job_append(&job, 0), 0);
    job_seal(&job);
    assert_int_equal(message_read(job.message, &run), -ENODATA);
    assert_int_equal(message_len(job.message), 0);
    assert_int_equal(store.blocks.used, 0);
    job_end(&job);
    assert_true(message_store_is_idle(&store));
    job_start(&job, world, &store, BLOCK, 0); /* one that is not even sealed */
    job_end(&job);
    place_close(world, &store, fds);
}

/* Up to memory_max nothing is opened and nothing written, however the octets come. */
static void what_fits_in_memory_is_not_written(struct world *world)
{
    static const uint64_t memory_maxes[] = {1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 100000};
    struct message_store store;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    for (size_t i = 0; i < sizeof(memory_maxes) / sizeof(memory_maxes[0]); i++) {
        struct job job;
        job_start(&job, world, &store, memory_maxes[i], memory_maxes[i]);
        assert_int_equal(job_fill(&job), 0);
        assert_false(message_is_busy(job.message));
        assert_int_equal(open_count(world), fds);
        job_seal(&job);
        assert_false(message_is_busy(job.message));
        assert_int_equal(open_count(world), fds);
        assert_int_equal(job_drain(&job), -ENODATA);
        assert_true(job.consumed == job.total);
        assert_int_equal(job.pokes, 0);
        assert_int_equal(store.blocks.used, 0);
        job_end(&job);
    }
    if (world->sim != NULL) {
        assert_true(sim_file_moves(world->sim) == 0);
    }
    place_close(world, &store, fds);
}

/* One octet more than whole blocks takes is written; and at every length around the edges. */
static void lengths_around_the_edges(struct world *world)
{
    struct message_store store;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    for (uint32_t blocks = 1; blocks <= 9; blocks++) {
        for (int offset = -1; offset <= 1; offset++) {
            struct job job;
            job_start(&job, world, &store, 3 * BLOCK, (uint64_t)((int)(blocks * BLOCK) + offset));
            assert_int_equal(job_fill(&job), 0);
            assert_int_equal(open_count(world), fds + (job.total > 3 * BLOCK));
            assert_true(store.blocks.used <= blocks_allowed(3 * BLOCK));
            if (offset == 0) {
                run_until_not_busy(&job); /* nothing is left to write */
            }
            job_seal(&job);
            run_until_not_busy(&job);
            if (job.total > 3 * BLOCK) {
                assert_int_equal(store.blocks.used, 2); /* for the way back, no more */
            }
            assert_int_equal(job_drain(&job), -ENODATA);
            assert_true(job.consumed == job.total);
            assert_int_equal(store.blocks.used, 0);
            job_end(&job);
        }
    }
    place_close(world, &store, fds);
}

static void job_start_random(struct job *job, struct world *world, struct message_store *store,
                             uint64_t seed)
{
    uint64_t random = seed;
    uint64_t memory_max = pick(&random, 0, 8) * (uint64_t)BLOCK + pick(&random, 0, 1) * 777;
    uint64_t total = pick(&random, 0, 20 * BLOCK);
    bool memory_only = pick(&random, 0, 3) == 0;
    if (pick(&random, 0, 4) == 0) {
        total = memory_max;
    }
    job_start(job, world, store, memory_max + (memory_only ? 1000 : 0), total);
    job->random = random;
    job->salt = (uint32_t)seed;
    job->reads_early = memory_only || pick(&random, 0, 1) == 0;
    if (memory_only) {
        message_release(&job->message);
        job->conf.spool_dir = NULL;
        job->message = message_create(store, &job->conf, on_poke, job);
        assert_non_null(job->message);
    }
}

static bool jobs_are_over(const struct job *jobs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!jobs[i].is_over) {
            return false;
        }
    }
    return true;
}

static void jobs_run(struct world *world, struct job *jobs, uint32_t count, uint32_t blocks_max)
{
    for (int turn = 0; turn < TURNS_MAX && !jobs_are_over(jobs, count); turn++) {
        for (uint32_t i = 0; i < count; i++) {
            job_step(&jobs[i]);
            assert_int_equal(jobs[i].error, 0);
        }
        assert_true(jobs[0].store->blocks.used <= blocks_max);
        one_turn(world);
    }
    assert_true(jobs_are_over(jobs, count));
}

/* One after the other, and each within its memory at every moment. */
static void random_appends_and_reads(struct world *world)
{
    struct message_store store;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    for (uint64_t seed = SEED; seed < SEED + SEEDS; seed++) {
        struct job job;
        job_start_random(&job, world, &store, seed);
        jobs_run(world, &job, 1, blocks_allowed(job.conf.memory_max));
        assert_int_equal(store.blocks.used, 0);
        job_end(&job);
    }
    place_close(world, &store, fds);
}

static void two_hundred_at_a_time(struct world *world)
{
    static struct job jobs[INTERLEAVED];
    struct message_store store;
    uint32_t blocks_max = 0;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    for (uint32_t i = 0; i < INTERLEAVED; i++) {
        job_start_random(&jobs[i], world, &store, SEED + 1000 + i);
        blocks_max += blocks_allowed(jobs[i].conf.memory_max);
    }
    jobs_run(world, jobs, INTERLEAVED, blocks_max);
    assert_int_equal(store.blocks.used, 0);
    for (uint32_t i = 0; i < INTERLEAVED; i++) {
        job_end(&jobs[i]);
    }
    place_close(world, &store, fds);
}

/* The same seeds in worlds whose reads and writes of files are short and late more often. */
static void worlds_that_are_slow(struct world *world)
{
    for (uint64_t seed = SEED; seed < SEED + SEEDS; seed++) {
        struct sim_options options = {
            .seed = seed,
            .short_read = seed % 3 * 450,
            .short_write = seed % 4 * 300,
            .delay = seed % 5 * 220,
            .cancel_loses = 500,
        };
        struct world slow;
        struct message_store store;
        struct job jobs[8];
        assert_int_equal(world_open(&slow, world->loop->backend, &limits_default, &options), 0);
        place_open(&slow, &store, BLOCKS);
        for (uint32_t i = 0; i < 8; i++) {
            job_start_random(&jobs[i], &slow, &store, seed * 8 + i);
        }
        jobs_run(&slow, jobs, 8, BLOCKS);
        for (uint32_t i = 0; i < 8; i++) {
            job_end(&jobs[i]);
        }
        place_close(&slow, &store, 0);
        world_close(&slow);
    }
}

/* 500 at once, all held to their ends: the memory of each, however long it is. */
static void many_held_at_once(struct world *world)
{
    enum { HELD = 500 };
    static struct job jobs[HELD];
    struct message_store store;
    uint64_t memory_max = 4 * BLOCK;
    uint32_t fds = open_count(world);
    place_open(world, &store, HELD * 5);
    for (uint32_t i = 0; i < HELD; i++) {
        job_start(&jobs[i], world, &store, memory_max, 15 * BLOCK + i);
        jobs[i].holds = true;
    }
    bool all_held = false;
    for (int turn = 0; turn < TURNS_MAX && !all_held; turn++) {
        all_held = true;
        for (uint32_t i = 0; i < HELD; i++) {
            job_step(&jobs[i]);
            assert_int_equal(jobs[i].error, 0);
            all_held = all_held && jobs[i].sealed && !message_is_busy(jobs[i].message);
        }
        assert_true(store.blocks.used <= HELD * 5);
        one_turn(world);
    }
    assert_true(all_held);
    assert_true(store.blocks.used <= HELD * 4); /* and what filled them is back */
    for (uint32_t i = 0; i < HELD; i++) {
        assert_int_equal(job_drain(&jobs[i]), -ENODATA);
        job_end(&jobs[i]);
    }
    place_close(world, &store, fds);
}

/* ---- reading before the seal ---- */

static void without_a_folder_the_reader_makes_room(struct world *world)
{
    struct message_store store;
    struct message_conf conf = {.memory_max = 20000};
    struct job job;
    struct text run, longer;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    job_start(&job, world, &store, 1, 100000);
    message_release(&job.message);
    job.message = message_create(&store, &conf, on_poke, &job);
    assert_int_equal(message_room(job.message), 20000);
    assert_int_equal(job_append(&job, 100), 0);
    assert_int_equal(message_read(job.message, &run), 1);
    assert_int_equal(run.len, 100);
    assert_int_equal(job_append(&job, 19900), 0);
    assert_int_equal(message_room(job.message), 0);
    assert_false(message_is_busy(job.message));
    job_compare(&job, run); /* it stays where it is */
    assert_int_equal(message_read(job.message, &longer), 1);
    assert_ptr_equal(run.at, longer.at);
    assert_int_equal(longer.len, BLOCK);
    for (uint32_t i = 0; i < 80000; i += 1000) {
        assert_int_equal(message_read(job.message, &run), 1);
        uint32_t len = run.len < 1000 ? run.len : 1000;
        job_compare(&job, run);
        message_consume(job.message, len);
        job.consumed += len;
        assert_int_equal(message_room(job.message), len); /* octet by octet */
        assert_int_equal(job_append(&job, len), 0);
        assert_true(store.blocks.used <= 3);
    }
    job_seal(&job);
    job.total = job.appended;
    assert_int_equal(job_drain(&job), -ENODATA);
    assert_int_equal(open_count(world), fds);
    assert_int_equal(job.pokes, 0);
    job_end(&job);
    place_close(world, &store, fds);
}

/* What was read of a block that then goes to the file does not come again. */
static void with_a_folder_the_file_waits_for_the_seal(struct world *world)
{
    struct message_store store;
    struct job job;
    struct text run;
    uint32_t fds = open_count(world);
    place_open(world, &store, BLOCKS);
    job_start(&job, world, &store, BLOCK, 4 * BLOCK + 5);
    assert_int_equal(job_append(&job, BLOCK), 0);
    assert_int_equal(message_read(job.message, &run), 1);
    message_consume(job.message, 5000);
    job.consumed = 5000;
    assert_int_equal(job_fill(&job), 0);
    for (int i = 0; i < 20; i++) {
        one_turn(world);
        assert_int_equal(message_read(job.message, &run), 0);
    }
    job_seal(&job);
    assert_int_equal(job_drain(&job), -ENODATA);
    assert_true(job.consumed == job.total);
    job_end(&job);
    /* With more memory, what stays in it can be read while the rest is written. */
    job_start(&job, world, &store, 8 * BLOCK, 12 * BLOCK);
    assert_int_equal(job_fill(&job), 0);
    for (int i = 0; i < 20; i++) {
        one_turn(world);
    }
    int result = 1;
    while (result == 1) {
        result = job_read(&job);
    }
    assert_int_equal(result, 0);
    assert_true(job.consumed == 5 * BLOCK); /* 8 less the 3 that went */
    job_seal(&job);
    assert_int_equal(job_drain(&job), -ENODATA);
    assert_true(job.consumed == job.total);
    job_end(&job);
    place_close(world, &store, fds);
}

/* ---- the table ---- */

static const struct clause clauses[] = {
    CLAUSE(an_empty_message),
    CLAUSE(what_fits_in_memory_is_not_written),
    CLAUSE(lengths_around_the_edges),
    CLAUSE(random_appends_and_reads),
    CLAUSE(two_hundred_at_a_time),
    CLAUSE(worlds_that_are_slow, .skip = ON_URING | ON_EPOLL,
           .reason = "only the simulation is slow when told to"),
    CLAUSE(many_held_at_once),
    CLAUSE(without_a_folder_the_reader_makes_room),
    CLAUSE(with_a_folder_the_file_waits_for_the_seal),
};

int main(int argc, char **argv)
{
    return messages_run("message", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
}
