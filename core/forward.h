/*
 * forward - what becomes of a command that went to the upstream: its reply, its loss, its refusal
 * on the way.
 */
#ifndef CORE_FORWARD_H
#define CORE_FORWARD_H

#include "core/session.h"

/*
 * The lease is lost. A pooled connection that was dead before anything of this transaction was
 * acknowledged is replaced once (CONTACT); else the command gets 451 4.4.2 and the transaction is
 * broken or over. Always STEP_MORE.
 */
enum step forward_lost(struct session *session);

/* No server could be reached: `lease->reason` says why. Answers the command at the head of the
 * window. */
enum step forward_unreachable(struct session *session);

/* A reply of ours to MAIL or RCPT, instead of forwarding it: a refused MAIL ends its transaction.
 */
enum step forward_refuse(struct session *session, const char *line);

#endif
