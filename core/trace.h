/*
 * trace - the Received field that goes on top of a message (RFC 5321, 4.4).
 */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include "core/session.h"

enum { TRACE_MAX = 1024 };

/* Writes the field with its CRLF to `out` (TRACE_MAX bytes) and returns its length. Peer bytes are
 * made harmless. */
uint32_t trace_received(const struct session *session, char *out);

#endif
