/*
 * envelope - reverse-path and recipients of one transaction, with the code each recipient got.
 *
 * The bytes live in chunks of the worker's chunk pool, taken as recipients come and given back by
 * envelope_reset(); an envelope without a transaction owns nothing. Bounded by [limits] recipients
 * and by the pool.
 */
#ifndef CORE_ENVELOPE_H
#define CORE_ENVELOPE_H

#include "core/text.h"
#include "net/pool.h"

enum { ENVELOPE_CHUNK_SIZE = 16384 }; /* item size of the chunk pool */

struct envelope_chunk;

struct envelope_rcpt {
    uint16_t code; /* of the reply the client got */
    uint16_t len;
    uint16_t params_len;
    char to[]; /* the path between the angle brackets, and its parameters behind it, as
                  " NOTIFY=NEVER"; not terminated */
};

struct envelope {
    struct pool *chunks; /* borrowed */
    struct envelope_chunk *first;
    struct envelope_chunk *last;
    struct text from; /* in the first chunk */
    uint32_t rcpt_count;
    uint32_t accepted_count; /* recipients with a 2xx */
};

void envelope_init(struct envelope *envelope, struct pool *chunks);

/* 0, -ENOBUFS when the pool is empty, -EMSGSIZE when one path does not fit into a chunk. The bytes
 * are copied. The reverse-path is set once per transaction, before the first recipient. */
int envelope_set_from(struct envelope *envelope, struct text from)
    __attribute__((warn_unused_result));
int envelope_add_rcpt(struct envelope *envelope, struct text to, struct text params, uint16_t code)
    __attribute__((warn_unused_result));

/* Gives every chunk back and forgets the rest. */
void envelope_reset(struct envelope *envelope);

/* The recipients in order: start with a zeroed cursor; NULL after the last. */
struct envelope_cursor {
    const struct envelope_chunk *chunk;
    uint32_t offset;
};
const struct envelope_rcpt *envelope_next_rcpt(const struct envelope *envelope,
                                               struct envelope_cursor *cursor);

#endif
