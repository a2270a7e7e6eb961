/*
 * smtp_line - finds one command line in a window of received bytes. See the header.
 *
 * Only the first SMTP_LINE_MAX bytes of the window are ever looked at, so that the answer does not
 * depend on how much more the network happened to deliver.
 */
#include "core/smtp_line.h"

#include <assert.h>

/* The first CR, LF or NUL; `len` when there is none. */
static uint32_t find_special(const char *data, uint32_t len)
{
    uint32_t at = 0;
    while (at < len && data[at] != '\r' && data[at] != '\n' && data[at] != '\0') {
        at++;
    }
    return at;
}

enum smtp_line_result smtp_line_scan(const char *data, uint32_t len, struct text *ret_line,
                                     uint32_t *ret_taken)
{
    assert(data != NULL || len == 0);
    uint32_t window = len < SMTP_LINE_MAX ? len : SMTP_LINE_MAX;
    uint32_t at = find_special(data, window);
    bool at_last = at + 1 >= window; /* nothing found, or a byte whose successor is not there */
    if (at == window || (data[at] == '\r' && at_last)) {
        return window == SMTP_LINE_MAX ? LINE_LONG : LINE_MORE;
    }
    if (data[at] != '\r' || data[at + 1] != '\n') {
        return LINE_BAD;
    }
    *ret_line = (struct text){.at = data, .len = at};
    *ret_taken = at + 2;
    return LINE_OK;
}

uint32_t smtp_line_skip(struct smtp_line_skip *skip, const char *data, uint32_t len,
                        bool *ret_found)
{
    assert(data != NULL || len == 0);
    for (uint32_t i = 0; i < len; i++) {
        if (skip->after_cr && data[i] == '\n') {
            skip->after_cr = false;
            *ret_found = true;
            return i + 1;
        }
        skip->after_cr = data[i] == '\r';
    }
    *ret_found = false;
    return len;
}
