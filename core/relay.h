/*
 * relay - what the two ways of a message have in common: core/relay.c passes it on as it comes,
 * core/gather.c in one piece.
 */
#ifndef CORE_RELAY_H
#define CORE_RELAY_H

#include "core/session.h"
#include "core/trace.h"

enum { RELAY_FIELD_MAX = TRACE_MAX + TRACE_PART_MAX }; /* our field and an empty line */

/* Answers the DATA at the head of the window with a 354 of ours, and enters `state`. Always STEP_MORE. */
enum step relay_begin(struct session *session, enum session_state state);

/* A fault or a limit in what has been scanned, as the reply that says so; NULL when the message is
 * fine so far. */
const char *relay_judge(const struct session *session, const char **ret_decided_by);

/* The first octet of a message as its reader will see it, behind a stuffed dot: of `held` and, when
 * that is used up, of `bytes`. */
char relay_first_octet(struct text held, const char *bytes);

/*
 * Our field on top, if there is to be one and it has not been put yet, apart from a message that begins
 * with `first`. Returns the length; `out` has RELAY_FIELD_MAX bytes.
 */
uint32_t relay_put_field(struct session *session, char first, char *out);

/* Each of these ends in DISCARD, where the rest of the message is read to its true end and the
 * refusal is the one reply. Always STEP_MORE. */

/* The upstream has had a part of it: its connection is cut off. `line` is static. */
enum step relay_refuse(struct session *session, const char *line, const char *decided_by);
/* The upstream has had nothing of it and is needed no more. */
enum step relay_refuse_unsent(struct session *session, const char *line, const char *decided_by);
/* Keeps the upstream's own words as the refusal, for a `line` of NULL. */
void relay_keep_words(struct session *session, const struct smtp_reply *reply);

/* Between the upstream's 354 and the end of the message: it has refused it, or is lost, and the session
 * is in DISCARD. */
bool relay_is_refused(struct session *session);

/* The client's next bytes are asked for, beside other causes of waiting. */
enum step relay_await_client(struct session *session, uint32_t causes);

/* No bytes in time. Always STEP_MORE. */
enum step relay_timeout(struct session *session);

#endif
