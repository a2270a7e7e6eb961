/*
 * hold - a message is received whole, checked while it arrives, and goes on only with a verdict; the
 * steps of the states HOLD and VERDICT are in core/session.h.
 *
 *   DATA -> HOLD: client window -> scanned -> dots taken off -> header | body -> the checks
 *                                                               |        |
 *                                                     verification    message (core/message.h)
 *        -> VERDICT: what is due is awaited -> core/deliver.c, or DISCARD with the rule's reply
 */
#ifndef CORE_HOLD_H
#define CORE_HOLD_H

#include "core/session.h"

/* The client's messages are checked. */
bool hold_is_on(const struct session *session);

/* Answers the DATA at the head of the window with a 354 of ours. Always STEP_MORE. */
enum step hold_begin(struct session *session);

/* How much longer a client that sends may keep its lease; INT64_MAX: there is none that it could give
 * back. */
int64_t hold_lease_left_ms(const struct session *session);

/* The message will not be forwarded: `line` (kept until its reply is given) answers its true end. An
 * upstream that has begun to read it is cut off. Always STEP_MORE. */
enum step hold_refuse(struct session *session, const char *line, const char *decided_by);

/* The store of a held message has failed: 452 at its end, and a line in the log. Always STEP_MORE. */
enum step hold_refuse_store(struct session *session, int error);

#endif
