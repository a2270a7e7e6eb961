/*
 * own_replies - what the proxy itself may answer, and to what; all else a client reads must be an
 * upstream's.
 */
#ifndef TEST_OWN_REPLIES_H
#define TEST_OWN_REPLIES_H

#include <stdbool.h>

/* What a client waits for a reply to. */
enum ask {
    ASK_GREETING,
    ASK_EHLO,
    ASK_MAIL,
    ASK_RCPT,
    ASK_DATA,
    ASK_EOM,
    ASK_RSET,
    ASK_NOOP,
    ASK_QUIT
};

/* The whole reply, lines with their CRLF and a NUL behind, is one of ours to this. */
bool own_reply(enum ask ask, const char *text);

/* The same at the end of a message that was held back until its verdict. */
bool own_reply_to_held(const char *text);

#endif
