/*
 * loop_world - one loop and the far ends of its connections, the same calls on all three backends.
 *
 * On io_uring and epoll a pair is a TCP connection over loopback whose far end the test drives with
 * plain system calls; on the simulation it is a pair of simulated ends. Every failure of the set-up
 * is a failed assert: a test never goes on without its world.
 */
#ifndef TEST_LOOP_WORLD_H
#define TEST_LOOP_WORLD_H

#include <netinet/in.h>

#include "net/loop_backend.h"
#include "test/loop_sim.h"

struct world {
    struct loop *loop;
    struct sim *sim;         /* NULL on a kernel backend */
    bool starting;           /* set by a test around calls in which no `done` may run */
    struct sockaddr_in addr; /* of the listener */
    int listener;            /* -1: none yet */
    int pair_listener;       /* pairs are made through it; -1: none yet */
    struct sockaddr_in pair_addr;
    int silent[2]; /* keep the address that never answers; -1: none yet */
};

/* 0, or -errno when the backend is refused here. The options count on the simulation only. */
int world_open(struct world *world, const struct loop_backend *backend,
               const struct loop_limits *limits, const struct sim_options *options);
void world_close(struct world *world);

/* `ours` for the loop, closed with loop_close(); `far` for the calls below. */
void world_pair(struct world *world, int *ours, int *far);

int64_t far_write(struct world *world, int far, const void *data, uint32_t len);
int64_t far_read(struct world *world, int far, void *data, uint32_t len);
void far_eof(struct world *world, int far);
void far_reset(struct world *world, int far); /* closes it, too */
void far_close(struct world *world, int far);

/* A listener at world->addr, for loop_accept(). */
void world_listen(struct world *world);
int world_dial(struct world *world); /* a far end connected to it */

/* An address where nobody listens. */
void world_addr_refused(struct world *world, struct sockaddr_in *addr);

/* An address that never answers: a connect to it hangs. Once per world. */
void world_addr_silent(struct world *world, struct sockaddr_in *addr);

/* Makes small: what a send at `ours` can put off before it waits for the far end to read. */
void world_shrink(struct world *world, int ours, int far);

/* From now on a file takes no more than that many bytes (-EFBIG; on the simulation all files together,
 * -ENOSPC); 0: as much as ever. */
void world_set_space(struct world *world, uint64_t bytes);

/* Runs turns until *count >= want; false after ten seconds or 10000 turns. */
bool world_until(struct world *world, const int *count, int want);
void world_turns(struct world *world, int count, int64_t wait_ms);

#endif
