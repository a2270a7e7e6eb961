/*
 * smtp_reply - finds one complete reply of an upstream in a window of received bytes (RFC
 * 5321, 4.2).
 *
 * Pure. A reply is good only when its last line is there, so that no part of a reply that breaks
 * off, changes its code or grows without end can reach a client. A bad one is bad at its first
 * wrong byte.
 */
#ifndef CORE_SMTP_REPLY_H
#define CORE_SMTP_REPLY_H

#include "core/text.h"

enum {
    SMTP_REPLY_MAX = 8192, /* bytes of one reply, all its lines with their CRLF */
};

enum smtp_reply_result {
    REPLY_MORE, /* incomplete so far */
    REPLY_OK,
    REPLY_BAD,  /* no digit where one must be, code below 200 or above 599, second digit above 5,
                   code changes between lines, a byte other than SP, "-" or CRLF behind the code, a
                   bare CR or LF, NUL or another control character (HT allowed; bytes above 127 are
                   left alone) */
    REPLY_LONG, /* not complete within the first SMTP_REPLY_MAX bytes, and they are all there. So a
                   window of that size is never answered with REPLY_MORE. */
};

struct smtp_reply {
    uint16_t code;
    uint16_t lines;
    uint32_t len;         /* bytes with the last CRLF */
    struct text enhanced; /* "2.1.5" of the last line when its class equals the code's; else empty
                             (RFC 2034) */
    struct text
        last; /* text of the last line behind the code and its separator, with the enhanced code */
};

/* Looks at the first reply of the window. Output is written on REPLY_OK only; the slices point into
 * `data`. */
enum smtp_reply_result smtp_reply_scan(const char *data, uint32_t len,
                                       struct smtp_reply *ret_reply);

/* What an EHLO reply (complete, as found above) offers: a set of enum smtp_ext; *ret_size is the
 * SIZE value, 0 when none was given. Keywords compare without case; what is not known is left out.
 */
uint32_t smtp_reply_extensions(const char *data, uint32_t len, uint64_t *ret_size);

#endif
