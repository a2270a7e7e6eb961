/*
 * sink_message - one message in work, when messages are kept (-d): envelope, file, digest.
 *
 *      MAIL -> RCPT ... -> file "incoming-N" grows -> journal: fsync, rename to msg-NNNNNN.eml
 *
 * The envelope is kept as it was given, in one bounded area, and put into JSON only when the
 * journal line is written. The object comes from the journal's pool and belongs to its session
 * until it is handed to sink_journal_queue() or dropped; dropping removes the file.
 */
#ifndef BENCH_SINK_MESSAGE_H
#define BENCH_SINK_MESSAGE_H

#include "core/text.h"
#include "filters/digest.h"
#include "net/list.h"

enum {
    SINK_RCPT_MAX = 1000,
    SINK_ENVELOPE_MAX = 128 * 1024, /* octets of all addresses and parameters */
    SINK_LINE_MAX = 1024 * 1024,    /* of the journal: each octet may take 6, and some more */
};

struct sink_message {
    uint32_t magic;
    int folder;        /* borrowed from the journal */
    int fd;            /* -1: no file yet */
    int error;         /* 0 or the first -errno of keeping it */
    uint32_t number;   /* in the journal, once it has one */
    uint32_t incoming; /* in the name of the file while it grows */
    uint64_t connection;
    uint64_t size;
    void *owner;           /* the session's, for the journal's answer */
    struct list_node node; /* the journal's queue */
    struct digest digest;
    bool has_sender;
    uint32_t rcpt_count;
    uint32_t envelope_len;
    uint32_t ends[2 * (1 + SINK_RCPT_MAX)]; /* where each address and each parameter list ends */
    char envelope[SINK_ENVELOPE_MAX];
};

/* Begins one without an envelope. `message` is raw memory. */
void sink_message_init(struct sink_message *message, int folder, uint32_t incoming,
                       uint64_t connection);

bool sink_message_has_room(const struct sink_message *message, struct text path,
                           struct text params);

/* The sender first, then each recipient. Asserts that there is room. */
void sink_message_add_path(struct sink_message *message, struct text path, struct text params);

/* The sender's address as it was given; borrowed from the message. Asserts that there is one. */
struct text sink_message_sender(const struct sink_message *message);

/* Creates the file; harmless when it is there and still empty. 0 or -errno. */
int sink_message_open(struct sink_message *message) __attribute__((warn_unused_result));

/* Appends content. A failure is kept in message->error and makes the rest be ignored. */
void sink_message_write(struct sink_message *message, const char *data, uint32_t len);

/* Makes the file's content durable, closes it, and gives it its name. 0 or -errno. */
int sink_message_seal(struct sink_message *message, uint32_t number)
    __attribute__((warn_unused_result));

/* Writes the journal line of a sealed message, LF included, to `out` (SINK_LINE_MAX octets).
 * Returns its length. */
uint32_t sink_message_line(struct sink_message *message, char *out);

/* Frees what it holds; a file that was not sealed is removed. The memory is the caller's. */
void sink_message_fini(struct sink_message *message);

#endif
