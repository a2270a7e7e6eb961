/*
 * envelope - reverse-path and recipients of one transaction (contract: core/envelope.h).
 *
 *   first                          last
 *   +------+------+--------+----   +------+--------+--------
 *   | head | from | rcpt   | ..->  | head | rcpt   | rcpt ..
 *   +------+------+--------+----   +------+--------+--------
 *
 * A recipient never crosses a chunk; each begins at an even offset so that its two numbers are
 * aligned. Nothing moves once written, so borrowed texts stay good until envelope_reset().
 */
#include "core/envelope.h"

#include <assert.h>
#include <errno.h>

struct envelope_chunk {
    struct envelope_chunk *next;
    uint32_t used; /* of bytes */
    char bytes[];
};

enum { CHUNK_ROOM = ENVELOPE_CHUNK_SIZE - (int)sizeof(struct envelope_chunk) };

/* `len` bytes at an even offset of the last chunk, or of a new one. */
static int reserve(struct envelope *envelope, uint32_t len, char **ret_at);
static uint32_t even(uint32_t offset);

void envelope_init(struct envelope *envelope, struct pool *chunks)
{
    assert(chunks != NULL);
    assert(chunks->item_size >= ENVELOPE_CHUNK_SIZE);
    *envelope = (struct envelope){.chunks = chunks};
}

int envelope_set_from(struct envelope *envelope, struct text from)
{
    assert(envelope->first == NULL);
    char *at;
    int error = reserve(envelope, from.len, &at);
    if (error < 0) {
        return error;
    }
    if (from.len > 0) {
        memcpy(at, from.at, from.len);
    }
    envelope->from = (struct text){.at = at, .len = from.len};
    return 0;
}

int envelope_add_rcpt(struct envelope *envelope, struct text to, struct text params, uint16_t code)
{
    if (to.len > CHUNK_ROOM || params.len > CHUNK_ROOM) {
        return -EMSGSIZE;
    }
    char *at;
    int error =
        reserve(envelope, (uint32_t)sizeof(struct envelope_rcpt) + to.len + params.len, &at);
    if (error < 0) {
        return error;
    }
    struct envelope_rcpt *rcpt = (struct envelope_rcpt *)(void *)at;
    rcpt->code = code;
    rcpt->len = (uint16_t)to.len;
    rcpt->params_len = (uint16_t)params.len;
    if (to.len > 0) {
        memcpy(rcpt->to, to.at, to.len);
    }
    if (params.len > 0) {
        memcpy(rcpt->to + to.len, params.at, params.len);
    }
    envelope->rcpt_count++;
    if (code >= 200 && code <= 299) {
        envelope->accepted_count++;
    }
    assert(envelope->accepted_count <= envelope->rcpt_count);
    return 0;
}

void envelope_reset(struct envelope *envelope)
{
    struct envelope_chunk *chunk = envelope->first;
    while (chunk != NULL) {
        struct envelope_chunk *next = chunk->next;
        pool_put(envelope->chunks, chunk);
        chunk = next;
    }
    *envelope = (struct envelope){.chunks = envelope->chunks};
}

const struct envelope_rcpt *envelope_next_rcpt(const struct envelope *envelope,
                                               struct envelope_cursor *cursor)
{
    if (cursor->chunk == NULL) {
        cursor->chunk = envelope->first;
        cursor->offset = even(envelope->from.len);
    }
    while (cursor->chunk != NULL && cursor->offset >= cursor->chunk->used) {
        if (cursor->chunk->next == NULL) {
            return NULL;
        }
        cursor->chunk = cursor->chunk->next;
        cursor->offset = 0;
    }
    if (cursor->chunk == NULL) {
        return NULL;
    }
    const char *at = cursor->chunk->bytes + cursor->offset;
    const struct envelope_rcpt *rcpt = (const struct envelope_rcpt *)(const void *)at;
    cursor->offset += even((uint32_t)sizeof(*rcpt) + rcpt->len + rcpt->params_len);
    assert(cursor->offset <= even(cursor->chunk->used));
    return rcpt;
}

static int reserve(struct envelope *envelope, uint32_t len, char **ret_at)
{
    if (len > CHUNK_ROOM) {
        return -EMSGSIZE;
    }
    struct envelope_chunk *chunk = envelope->last;
    if (chunk == NULL || even(chunk->used) + len > CHUNK_ROOM) {
        chunk = pool_get(envelope->chunks);
        if (chunk == NULL) {
            return -ENOBUFS;
        }
        chunk->next = NULL;
        chunk->used = 0;
        if (envelope->last == NULL) {
            envelope->first = chunk;
        } else {
            envelope->last->next = chunk;
        }
        envelope->last = chunk;
    }
    uint32_t offset = even(chunk->used);
    assert(offset + len <= CHUNK_ROOM);
    chunk->used = offset + len;
    *ret_at = chunk->bytes + offset;
    return 0;
}

static uint32_t even(uint32_t offset)
{
    return (offset + 1) & ~1u;
}
