/*
 * record_writer - what a record's line is put together from beside core/writer.h; for core/record*.c.
 *
 * Strings are peers' bytes; they are escaped, and cut behind `max` bytes of output.
 */
#ifndef CORE_RECORD_WRITER_H
#define CORE_RECORD_WRITER_H

#include "core/writer.h"

/* A quoted string of JSON; null when it is empty. */
void writer_json(struct writer *w, struct text text, uint32_t max);
void writer_json_or_null(struct writer *w, struct text text, uint32_t max);

/* A value of key=value, in quotes where it needs them; "-" when it is empty. */
void writer_value(struct writer *w, struct text text, uint32_t max);
void writer_value_or_dash(struct writer *w, struct text text, uint32_t max);

#endif
