/*
 * smtp_line - finds one command line in a window of received bytes (RFC 5321, 2.3.8 and 4.1.1).
 *
 * Pure. Only CRLF ends a line. A line that holds a bare CR, a bare LF or a NUL is bad, and that is
 * known at the offending byte, before its CRLF has come: the caller answers once and skips to the
 * CRLF. Nothing is repaired and no other byte is ever taken for a line end.
 */
#ifndef CORE_SMTP_LINE_H
#define CORE_SMTP_LINE_H

#include "core/text.h"

enum {
    /* 512 of RFC 5321 and the extensions' additions (RFC 1870, 6152, 6531, 3461), with room. CRLF
       included. */
    SMTP_LINE_MAX = 2048,
};

enum smtp_line_result {
    LINE_MORE, /* no line end yet, and none of the cases below: ask for more bytes */
    LINE_OK,   /* *ret_line is the line without its CRLF, *ret_taken its length with it */
    LINE_BAD,  /* a bare CR, bare LF or NUL: call smtp_line_skip() from the window's first byte */
    LINE_LONG, /* no line end within the first SMTP_LINE_MAX bytes, and they are all there:
                  likewise. So a window of that size is never answered with LINE_MORE. */
};

/* Looks at the first line of the window. A CR as the last byte of the window is undecided, so
 * LINE_MORE. */
enum smtp_line_result smtp_line_scan(const char *data, uint32_t len, struct text *ret_line,
                                     uint32_t *ret_taken);

struct smtp_line_skip {
    bool after_cr; /* the last byte seen was CR */
};

/* Skips to behind the first CRLF. Returns the bytes consumed; *ret_found tells whether the CRLF was
 * among them. */
uint32_t smtp_line_skip(struct smtp_line_skip *skip, const char *data, uint32_t len,
                        bool *ret_found);

#endif
