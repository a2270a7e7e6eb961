/*
 * command - one table row per verb: check (syntax and order, pure on the session), then proceed
 * (answer or forward).
 *
 * A check returns the reply that refuses the command, or NULL. A proceed answers, ends the session,
 * or puts the command into the lease and enters FORWARD. Both find the parsed line in `struct
 * command`; its slices point into the client's window, where the line stays until its reply is
 * given.
 */
#ifndef CORE_COMMAND_H
#define CORE_COMMAND_H

#include "core/session.h"

struct command {
    struct smtp_command parsed;
    union {
        struct smtp_mail mail;
        struct smtp_rcpt rcpt;
    };
};

/* Parses and runs the line at the head of the session's window. */
enum step command_run(struct session *session, struct text line);

#endif
