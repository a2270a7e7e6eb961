/*
 * header - the header section of one message, collected as it arrives and taken apart into fields
 * (RFC 5322, 2.2).
 *
 *      text:   | name ":" value CRLF [WSP value CRLF]... | name ":" ... |        the empty line and
 *      fields:   0                                          1                    the body follow
 *
 * The section ends with the first empty line, wherever the bytes are cut. What in it has not the form
 * of a field is kept as part of the field above (or, in front of the first, of none) and makes the
 * section malformed: receivers disagree about such a message, so no signature over it counts.
 * Nothing is changed or unfolded here.
 */
#ifndef FILTERS_HEADER_H
#define FILTERS_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "filters/span.h"

enum {
    HEADER_TEXT_MAX = 128 * 1024, /* octets kept; a longer section is too_large */
    HEADER_FIELDS_MAX = 2000,
    HEADER_NAME_MAX = 77, /* octets of a name that is looked for; longer ones match nothing */
};

struct header_field {
    uint32_t at;       /* offset of its name in the text */
    uint32_t name_len; /* up to the colon or the white space in front of it */
    uint32_t value_at; /* offset of what follows the colon */
    uint32_t len;      /* from `at`, with the CRLF of its last line */
};

struct header {
    bool is_complete;  /* the empty line, or the end of the message, has been seen */
    bool is_malformed; /* a line that is no field, or a bare CR, LF or NUL */
    bool is_too_large; /* text or fields are missing from what stands here */
    bool has_lost_cr;  /* too_large: the line that is passing begins with CR */
    uint32_t lost;     /* too_large: octets of that line so far */
    uint32_t len;
    uint32_t line_at; /* offset where the line that is being collected began */
    uint32_t count;
    struct header_field fields[HEADER_FIELDS_MAX];
    char text[HEADER_TEXT_MAX];
};

/* Before the first byte. Touches only the head of the struct. */
void header_init(struct header *header);

/* Takes bytes of the message (CRLF line ends, not dot-stuffed) up to and including the empty line;
 * returns how many. */
uint32_t header_feed(struct header *header, const char *bytes, uint32_t len);

/* The message ended, with or without an empty line. */
void header_end(struct header *header);

/* What follows the colon, without the line end behind it; a line of a malformed section may have none. */
struct span header_value(const struct header *header, const struct header_field *field);

/* True when the field has that name; case does not matter. */
bool header_is(const struct header *header, const struct header_field *field, const char *name);

/* The number of fields of that name; *ret_field is the topmost one, if any. */
uint32_t header_count(const struct header *header, const char *name,
                      const struct header_field **ret_field);

#endif
