/*
 * dispatch - the envelope on its way to the upstream: MAIL and RCPT as it may hear them, in as few
 * writes as it allows (RFC 5321, 4.1.1.2 and 4.1.1.3; RFC 2920).
 */
#ifndef CORE_DISPATCH_H
#define CORE_DISPATCH_H

#include "core/session.h"

enum { DISPATCH_PARAMS_MAX = SMTP_LINE_MAX };

/*
 * Leases a connection if there is none and forwards what the command at the head of the window asks
 * for: MAIL alone (`rcpt` NULL), or the recipient and all that has to go before it. Enters FORWARD, or
 * CONTACT, or answers. Always STEP_MORE.
 */
enum step dispatch_envelope(struct session *session, const struct smtp_rcpt *rcpt);

/* The lease's server does not offer what the message needs. */
bool dispatch_is_lacking(const struct session *session);

/* One line each into the lease's next write, parameters only where the server has them. 0 or -ENOBUFS.
 */
int dispatch_put_mail(struct session *session) __attribute__((warn_unused_result));
int dispatch_put_rcpt(struct session *session, struct text path, struct text params)
    __attribute__((warn_unused_result));

/* " NOTIFY=.. ORCPT=.." as given; a slice of `out`. */
struct text dispatch_params(const struct smtp_rcpt *rcpt, char out[DISPATCH_PARAMS_MAX]);

/* Keeps the recipient and the code it got. Where there is no room the record omits it; when the
 * upstream has it all the same, it is counted, and the envelope cannot be repeated. */
void dispatch_note_rcpt(struct transaction *transaction, const struct smtp_rcpt *rcpt,
                        uint16_t code);

#endif
