/*
 * record_writer - the pieces that a record's line is put together from; for core/record*.c.
 *
 * The caller has made sure of the room: running out of it is an assert. Strings are peers' bytes; they
 * are escaped, and cut behind `max` bytes of output.
 */
#ifndef CORE_RECORD_WRITER_H
#define CORE_RECORD_WRITER_H

#include "core/text.h"

struct writer {
    char *at;
    char *end;
};

/* As it is: text of ours. */
void writer_put(struct writer *w, struct text text);
void writer_number(struct writer *w, uint64_t number);
void writer_signed(struct writer *w, int64_t number);

/* A quoted string of JSON; null when it is empty. */
void writer_json(struct writer *w, struct text text, uint32_t max);
void writer_json_or_null(struct writer *w, struct text text, uint32_t max);

/* A value of key=value, in quotes where it needs them; "-" when it is empty. */
void writer_value(struct writer *w, struct text text, uint32_t max);
void writer_value_or_dash(struct writer *w, struct text text, uint32_t max);

#endif
