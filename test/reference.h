/*
 * reference - what an SMTP session of mode gateway must answer, as small and as plain as it can be
 * said.
 *
 * Written from RFC 5321 and the contract, not from core/: it knows no buffers, no leases, no time.
 * The lockstep test holds it beside the real session after every reply. The upstream's answers are
 * part of the script (struct plan): the address in MAIL carries them to the model upstream, so that
 * both sides know them beforehand.
 */
#ifndef TEST_REFERENCE_H
#define TEST_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

enum action {
    ACT_EHLO,
    ACT_HELO,
    ACT_EHLO_EMPTY,
    ACT_MAIL,
    ACT_MAIL_SYNTAX,
    ACT_MAIL_PARAM,
    ACT_MAIL_SIZE,
    ACT_RCPT,
    ACT_RCPT_SYNTAX,
    ACT_DATA,
    ACT_DATA_ARGUMENT,
    ACT_BODY,
    ACT_BODY_LONG, /* too long to be gathered */
    ACT_BODY_BAD,
    ACT_RSET,
    ACT_NOOP,
    ACT_VRFY,
    ACT_HELP,
    ACT_UNKNOWN,
    ACT_STARTTLS,
    ACT_XCLIENT,
    ACT_BARE_LF,
    ACT_LONG,
    ACT_QUIT,
    ACT_COUNT
};

/* What the upstream will say in this transaction. */
struct plan {
    int mail;
    int rcpt; /* to the recipient of this action */
    int data;
    int eom;
};

struct reference {
    bool mail_at_once; /* contact = mail */
    bool chunking;     /* the upstream offers it: it hears DATA behind the client's, if at all */
    bool checking;     /* messages are held back: it hears DATA behind the message, if at all */
    bool has_size;     /* the upstream offers SIZE, so we do after EHLO */
    uint32_t errors_max;
    uint32_t commands_max;
    uint32_t recipients_max;
    /* state */
    bool helo;
    bool extended; /* EHLO */
    bool in_transaction;
    bool in_body;
    bool ended;
    uint32_t accepted;
    uint32_t errors;
    uint32_t commands;
    struct plan plan;
};

enum { REFERENCE_REPLIES_MAX = 2 };

/* Applies one action; writes the codes of the replies it must get (at most two: the second a 421)
 * and their number. */
int reference_apply(struct reference *reference, enum action action, const struct plan *plan,
                    int ret_codes[REFERENCE_REPLIES_MAX]);

#endif
