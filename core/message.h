/*
 * message - the body of one message while it is held back: octets in, octets out, in order.
 *
 *      append --> [ head: blocks of a pool ] ------------------------------------> read, consume
 *                     once memory_max is full:
 *             --> [ tail: 2 to 4 blocks ] --write--> file --read--> [ 1 or 2 blocks ] --^
 *
 * The first octets stay where they are, in memory; only what comes after them goes to a file without
 * a name, through the loop, a whole block at a time. So nothing is copied twice and a message that
 * fits in memory_max is never written. One block is written while the next is filled, and one is
 * read ahead. The blocks that did the writing do the reading: once a message has begun its file it
 * wants nothing of the pool any more.
 *
 * Memory of one message: memory_max rounded up to blocks, at least one, and one block more - what
 * does not fit must be somewhere before the file can be known to be needed. The file takes one
 * descriptor and each message one op of the loop (loop_limits).
 *
 * One thread, that of the store's loop. The owner holds a message until message_release(); the store
 * holds it until its op is joined. Descriptor, blocks and file are given back in every case. Nothing
 * is synced: a held message lives as long as the process.
 */
#ifndef CORE_MESSAGE_H
#define CORE_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/text.h"
#include "net/list.h"
#include "net/pool.h"

struct loop;
struct message;

enum { MESSAGE_BLOCK_SIZE = 16384 };

/* One per worker. */
struct message_store {
    struct loop *loop; /* borrowed */
    struct pool messages;
    struct pool blocks;
    struct list_node live;
    uint32_t count; /* in `live`: messages, with those that are released and not yet gone */
};

/* Room for so many messages, and so many blocks for all of them. 0, or -errno of mmap(2). */
int message_store_init(struct message_store *store, struct loop *loop, uint32_t message_max,
                       uint32_t block_max) __attribute__((warn_unused_result));
/* Every message must be gone (assert): release them and run the loop until message_store_is_idle(). */
void message_store_fini(struct message_store *store);
bool message_store_is_idle(const struct message_store *store);

/* Borrowed until the message is released. */
struct message_conf {
    uint64_t memory_max; /* octets; what is beyond 1 GiB does not count. 0 only with a spool_dir */
    const char *spool_dir; /* folder of the file; NULL: never a file */
};

/* Room, octets to read, or an error have come. From the loop, never inside a message_*() call and
 * never after the release. The message may be released inside. May come without need. */
typedef void message_poke(struct message *message, void *owner);

/* `owner` is passed to poke. NULL: the store is full. */
struct message *message_create(struct message_store *store, const struct message_conf *conf,
                               message_poke *poke, void *owner);

/*
 * Octets that message_append() takes now; 0 once sealed or after an error. Else 0 means
 *   with a spool_dir: a write is in flight and all blocks are full: a poke follows, as it does each
 *   write for owners that want more room than there is;
 *   without: memory_max octets wait to be read, and the owner's own message_consume() makes room.
 */
uint32_t message_room(const struct message *message);

/* Copies. len <= message_room() (assert) unless an error has come. 0, -ENOBUFS (the pool of blocks is
 * empty), or -errno of the file (open; a write that failed earlier). After an error the message is
 * only good for message_release(). */
int message_append(struct message *message, const char *bytes, uint32_t len)
    __attribute__((warn_unused_result));

/* 0, or the -errno that ended this message: what message_append() told, or a write or read that
 * failed later (-EIO when the file is shorter than what was written). */
int message_error(const struct message *message);

/* Nothing is appended any more. Once. */
void message_seal(struct message *message);

/* Octets appended so far. */
uint64_t message_len(const struct message *message);

/*
 * Reads in order. May begin before the seal, as far as the octets are in memory.
 *   1         *ret_run is a run of one or more unread octets. It stays where it is until
 *             message_consume(), and with a spool_dir until message_append() or message_seal().
 *   0         nothing yet. Sealed: the file is written or read, a poke follows. Not sealed: nothing
 *             is unread in memory; the owner's own append, or, once there is a file, its seal brings
 *             it.
 *   -ENODATA  sealed, and all is consumed.
 *   other     message_error().
 */
int message_read(struct message *message, struct text *ret_run) __attribute__((warn_unused_result));

/* The first `len` octets of the run are done with: at most the run (assert). Blocks that are used up
 * go back to the pool. */
void message_consume(struct message *message, uint32_t len);

/* An op is in flight. Between the seal and the first message_read() these are writes, and a poke
 * follows the last of them. */
bool message_is_busy(const struct message *message);

/* At any time, also with an op in flight: the message then goes once that is joined. Nulls the
 * pointer, accepts NULL in it. */
void message_release(struct message **message);

#endif
