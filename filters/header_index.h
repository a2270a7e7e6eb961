/*
 * header_index - finds the fields of a name from the bottom up, each in constant time: what DKIM's h=
 * asks for must not cost its names times the header's fields.
 *
 * The table is open and its hash is no secret, so a probe goes no further than HEADER_PROBES_MAX: names
 * that would need more than that in a table this empty have been made to collide.
 */
#ifndef FILTERS_HEADER_INDEX_H
#define FILTERS_HEADER_INDEX_H

#include "filters/header.h"
#include "filters/span.h"

enum {
    HEADER_SLOTS = 4096, /* a power of two, more than twice HEADER_FIELDS_MAX */
    HEADER_PROBES_MAX = 64,
};

/* Numbers are those of fields plus one; 0: none. */
struct header_index {
    const struct header *header;
    uint16_t slots[HEADER_SLOTS];      /* the lowest field of each name */
    uint32_t hashes[HEADER_SLOTS];     /* of that name; where there is one */
    uint16_t above[HEADER_FIELDS_MAX]; /* the next one up of the same name */
};

/* Where the next field of each name is taken from; as many as are wanted over one index. */
struct header_cursor {
    const struct header_index *index;
    uint16_t slots[HEADER_SLOTS];
};

/* False when the names of its fields collide; it must not be used then. */
bool header_index_init(struct header_index *index, const struct header *header)
    __attribute__((warn_unused_result));
void header_cursor_init(struct header_cursor *cursor, const struct header_index *index);

/* The lowest field of that name that was not taken yet, or NULL. */
const struct header_field *header_cursor_take(struct header_cursor *cursor, struct span name);

#endif
