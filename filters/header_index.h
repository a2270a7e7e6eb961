/*
 * header_index - finds the fields of a name from the bottom up, each in constant time: what DKIM's h=
 * asks for must not cost its names times the header's fields.
 */
#ifndef FILTERS_HEADER_INDEX_H
#define FILTERS_HEADER_INDEX_H

#include "filters/header.h"
#include "filters/span.h"

enum { HEADER_SLOTS = 4096 }; /* a power of two, more than twice HEADER_FIELDS_MAX */

/* Numbers are those of fields plus one; 0: none. */
struct header_index {
    const struct header *header;
    uint16_t slots[HEADER_SLOTS];      /* the lowest field of each name */
    uint16_t above[HEADER_FIELDS_MAX]; /* the next one up of the same name */
};

/* Where the next field of each name is taken from; as many as are wanted over one index. */
struct header_cursor {
    const struct header_index *index;
    uint16_t slots[HEADER_SLOTS];
};

void header_index_init(struct header_index *index, const struct header *header);
void header_cursor_init(struct header_cursor *cursor, const struct header_index *index);

/* The lowest field of that name that was not taken yet, or NULL. */
const struct header_field *header_cursor_take(struct header_cursor *cursor, struct span name);

#endif
