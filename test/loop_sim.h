/*
 * loop_sim - the third backend of net/loop: no sockets, one thread, everything from a seed.
 *
 * A `struct sim` is a small world: descriptors, streams with bounded queues, listeners found by
 * address, and a clock that only moves when nobody has anything to do. A loop is created on it:
 *
 *      struct sim *sim = sim_create(&(struct sim_options){.seed = 7, .short_read = 200});
 *      loop_create(&loop, &loop_sim, &limits, sim);
 *
 * Both ends of a stream live in the same table of descriptors. One end is usually driven by the
 * code under test through the loop; the other by a scripted peer, the actor, through the direct
 * calls below, between turns. An end may be driven by either, not by both at once.
 *
 *      loop under test   <--ops-->   [ end | queue ] <----> [ queue | end ]   <--sim_*-->   actor
 *
 * What the seed decides: the order in which ops complete, which of them are put off to a later
 * pass, how much of a receive or a send is moved at once, whether a cancel or the result wins, and
 * (reset_ppm) which connections break. Two runs with the same seed and the same actors do the same
 * and end with the same sim_trace().
 *
 * Behaves as Linux TCP does, where it matters: bytes that arrived before a reset stay readable; an
 * error is told once, after it a receive gives 0 and a send -EPIPE; closing with unread bytes
 * resets the peer; what is sent to a closed peer is accepted, lost, and answered by a reset.
 *
 * A file is memory, too; short_read, short_write and delay count for it, and sim_set_files() says
 * what fails. The name of its folder is not looked at.
 *
 * Time: a turn that may wait and finds nothing to do moves the clock to the end of that wait, which
 * is the next timer, the next event of a slow connect, or the caller's bound. An actor that still
 * wants to act must therefore run with wait 0 first; sim_run() does it right.
 */
#ifndef TEST_LOOP_SIM_H
#define TEST_LOOP_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/loop.h"

struct sim;
struct loop_backend;

extern const struct loop_backend loop_sim; /* backend_arg of loop_create(): the struct sim */

/* Chances are in permille; 0 in any field means: never, or the default that is named. */
struct sim_options {
    uint64_t seed;
    uint32_t fd_count;     /* descriptors, both ends of everything; default 4096 */
    uint32_t queue_bytes;  /* what each direction of a stream holds; default 65536 */
    uint32_t short_read;   /* a receive gets only a part of what is there */
    uint32_t short_write;  /* a send moves only a part of what fits, and the rest later */
    uint32_t delay;        /* an op that could complete is put off to a later pass */
    uint32_t cancel_loses; /* a cancel loses against a result that is there */
    uint32_t reset_ppm;    /* a receive or send that is looked at finds its connection reset */
};

struct sim *sim_create(const struct sim_options *options);

/* The loop on it must be destroyed first. Nulls the pointer. */
void sim_destroy(struct sim **sim);

/* ---- making connections ---- */

/* Two connected ends. 0 or -EMFILE. */
int sim_pair(struct sim *sim, int ret_fds[2]);

/* A listener that is found by exactly these address bytes. Give it to loop_accept() or use
 * sim_accept(). fd, -EADDRINUSE or -EMFILE. Closed with sim_close() or loop_close(). */
int sim_listen(struct sim *sim, const struct sockaddr *addr, socklen_t len);

/* What a connect to this listener meets; with no listener at all it is refused. */
enum sim_connect {
    SIM_CONNECT_OK,      /* connected after delay_ms */
    SIM_CONNECT_REFUSED, /* -ECONNREFUSED after delay_ms */
    SIM_CONNECT_TIMEOUT, /* -ETIMEDOUT after delay_ms */
    SIM_CONNECT_SILENT,  /* nothing, until it is cancelled */
};
void sim_set_connect(struct sim *sim, int listener, enum sim_connect how, int64_t delay_ms);

/* The next connection nobody accepted yet: fd or -EAGAIN. */
int sim_accept(struct sim *sim, int listener);

/* An actor connects, at once: fd, -ECONNREFUSED, -EAGAIN (backlog full) or -EMFILE. */
int sim_dial(struct sim *sim, const struct sockaddr *addr, socklen_t len);

/* ---- an actor's end ---- */

/* Bytes taken (0 when the other side's queue is full), -EPIPE or -ECONNRESET. */
int64_t sim_write(struct sim *sim, int fd, const void *data, uint32_t len);

/* Bytes copied, 0 at the end of the stream, -EAGAIN, or -ECONNRESET. */
int64_t sim_read(struct sim *sim, int fd, void *data, uint32_t len);

/* The bytes waiting at this end, without a copy: valid until the next turn or sim_* call. */
const char *sim_peek(const struct sim *sim, int fd, uint32_t *ret_len);
void sim_skip(struct sim *sim, int fd, uint32_t len);

uint32_t sim_pending(const struct sim *sim, int fd); /* bytes waiting at this end */
uint32_t sim_room(const struct sim *sim, int fd);    /* bytes sim_write() would take */
bool sim_at_end(const struct sim *sim, int fd);      /* nothing waits and nothing will come */

void sim_eof(struct sim *sim, int fd);   /* this end sends no more; it can still read */
void sim_reset(struct sim *sim, int fd); /* the other end finds -ECONNRESET; close this one too */
void sim_close(struct sim *sim, int fd);

/* Datagrams: an end that the loop connected with a datagram socket, to the same listeners. sim_write()
 * and sim_read() move one whole message (lost without room, 0 octets are one, too); the far end never
 * learns of a close. sim_refuse(): the other end finds -ECONNREFUSED, once. */
bool sim_is_dgram(const struct sim *sim, int fd);
void sim_refuse(struct sim *sim, int fd);

/* ---- files: what loop_file() gives lives in memory ---- */

/* What goes wrong from now on, with files that are open already as well. Errors are negative. */
struct sim_files {
    int open_error;     /* of loop_file(); 0: none */
    int read_error;     /* of every read; 0: none */
    uint64_t space_max; /* bytes of all files together, then -ENOSPC; 0: no bound */
    bool is_stuck;      /* reads and writes do not end, until it is taken back */
};
void sim_set_files(struct sim *sim, const struct sim_files *files);

uint64_t sim_file_bytes(const struct sim *sim); /* of all files that are open */

/* Reads and writes of files that moved bytes so far, or failed. */
uint64_t sim_file_moves(const struct sim *sim);

/* ---- exact control, per end; lasts until the descriptor is closed ---- */

/* A receive at this end gets at most `len` bytes; 0: no bound. */
void sim_set_read_max(struct sim *sim, int fd, uint32_t len);

/* A send at this end moves at most `len` bytes a pass; 0: no bound. */
void sim_set_write_max(struct sim *sim, int fd, uint32_t len);

/* No receive at this end crosses one of these positions of its stream (rising, first byte is 0).
 * `cuts` is borrowed until the descriptor is closed. */
void sim_set_cuts(struct sim *sim, int fd, const uint64_t *cuts, uint32_t count);

/* Bytes that may wait at this end, at least what waits now and at most queue_bytes. */
void sim_set_queue(struct sim *sim, int fd, uint32_t len);

/* ---- the world ---- */

int64_t sim_now_ms(const struct sim *sim);
void sim_advance(struct sim *sim, int64_t ms);
uint64_t sim_random(struct sim *sim); /* the same stream of numbers that decides the rest */
uint32_t sim_open_count(const struct sim *sim); /* descriptors in use: 0 when nothing leaked */

/* True when no op is ready or about to be looked at: what is left to happen is up to the actors and
 * to time. */
bool sim_is_quiet(const struct sim *sim);

/* FNV-1a over descriptor, kind and result of every completion, and the clock. */
uint64_t sim_trace(const struct sim *sim);

/* Grows with everything that happens: an op completes or moves bytes, an actor changes anything. */
uint64_t sim_activity(const struct sim *sim);

/*
 * Turns and actors by turns, time only when both stand still. `step` is called after every turn and
 * lets the actors act; it returns true when the test is over.
 * 0: it returned true. -ETIMEDOUT: it did not within turns_max. -EDEADLK: nothing moves and no
 * timer runs, so nothing will ever happen. Otherwise -errno of loop_run_once().
 */
typedef bool sim_step(void *arg);
int sim_run(struct sim *sim, struct loop *loop, sim_step *step, void *arg, uint64_t turns_max);

#endif
