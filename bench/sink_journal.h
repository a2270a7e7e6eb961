/*
 * sink_journal - the folder of kept messages and its journal: what a 250 of weir-sink promises.
 *
 *      session: message complete -> sink_journal_queue()
 *      end of the loop's turn    -> sink_journal_commit():
 *          each message   fsync, rename to its number
 *          once           fsync of the folder; journal lines written; fsync of the journal
 *          each message   `done`: the session may say 250 (or 451)
 *
 * So a message whose 250 was sent is there after any crash, and a journal line never names a file
 * that is not complete. A crash can leave: files "incoming-N" (removed at the next start), a file
 * with a number but without a line (its number is given again), half a line (cut off at the next
 * start). A second process on the same folder is refused. One thread; the calls block on the disk.
 */
#ifndef BENCH_SINK_JOURNAL_H
#define BENCH_SINK_JOURNAL_H

#include "bench/sink_message.h"
#include "net/pool.h"
#include "net/stream.h"

/* The message is in the journal (result 0) or could not be kept (-errno). It is released after
 * this returns. */
typedef void sink_journal_done(struct sink_message *message, int result);

struct sink_journal {
    uint32_t magic;
    int folder;
    int fd;
    uint32_t next;     /* number of the next message */
    uint32_t incoming; /* files begun */
    int64_t len;       /* of the journal: whole lines */
    bool broken;       /* lines that failed could not be cut off: nothing is kept any more */
    sink_journal_done *done;
    struct pool messages;
    struct list_node queue;
    char staging[STREAM_CHUNK_SIZE + 16]; /* content on its way from a window to a file */
    char line[SINK_LINE_MAX];
};

/*
 * Opens (or makes) the folder and its journal and mends what a crash has left; numbering goes on
 * behind the last line. `message_count` messages can be in work at once. 0 or -errno: -EBUSY when
 * another process has it, -EBADMSG when the last line is not one of ours.
 */
int sink_journal_open(struct sink_journal *journal, const char *folder, uint32_t message_count,
                      sink_journal_done *done) __attribute__((warn_unused_result));

/* No message may be queued or in work (assert). */
void sink_journal_close(struct sink_journal *journal);

/* No message can be begun now. */
bool sink_journal_is_full(const struct sink_journal *journal);

/* A message to work on, or NULL when too many are. */
struct sink_message *sink_journal_begin(struct sink_journal *journal, uint64_t connection);

void sink_journal_drop(struct sink_journal *journal, struct sink_message *message);

/* Takes a complete message over; `done` follows, from sink_journal_commit(). */
void sink_journal_queue(struct sink_journal *journal, struct sink_message *message);

/* Commits until nothing is queued. A `done` may queue again. */
void sink_journal_commit(struct sink_journal *journal);

#endif
