/*
 * trace - the Received field that goes on top of a message (RFC 5321, 4.4).
 */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include "core/session.h"

enum { TRACE_MAX = 1024, TRACE_PART_MAX = 2 };

/* Writes the field with its CRLF to `out` (TRACE_MAX bytes) and returns its length. Peer bytes are
 * made harmless. */
uint32_t trace_received(const struct session *session, char *out);

/*
 * What keeps `len` octets of our fields apart from a message that begins with `first`, written behind them: a
 * message that begins with white space has no valid header, and its first line would continue our field.
 * Returns the length: an empty line, or nothing.
 */
uint32_t trace_part(char first, uint32_t len, char *out);

#endif
