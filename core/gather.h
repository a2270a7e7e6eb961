/*
 * gather - the beginning of a message that may go over whole; the steps of the states GATHER and
 * OPEN are in core/session.h.
 */
#ifndef CORE_GATHER_H
#define CORE_GATHER_H

#include "core/session.h"

/* The lease's server offers CHUNKING, and the configuration wants it used. */
bool gather_is_possible(const struct session *session);

/* Answers the DATA at the head of the window with a 354 of ours. Always STEP_MORE. */
enum step gather_begin(struct session *session);

#endif
