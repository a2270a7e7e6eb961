/*
 * escape - peer bytes into JSON strings and log lines (design P8; checklist: nothing unescaped
 * anywhere).
 *
 * Pure. Output never holds a control character, a quote or a backslash that was not put there by
 * the escape itself; valid UTF-8 passes, invalid bytes become \u00XX (JSON) or \xXX (text).
 */
#ifndef CORE_ESCAPE_H
#define CORE_ESCAPE_H

#include "core/text.h"

/* Writes at most `size` bytes, whole characters only, and returns the number written (cut silently
 * when full). */
uint32_t escape_json(char *out, uint32_t size, struct text text);

/* For plain lines: printable ASCII except quote and backslash as it is, UTF-8 as it is, the rest as
 * \xXX. Not terminated. */
uint32_t escape_text(char *out, uint32_t size, struct text text);

#endif
