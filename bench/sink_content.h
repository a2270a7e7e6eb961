/*
 * sink_content - the octets of one message as they come: framing, size, dots unstuffed.
 *
 * Pure and incremental. DATA is framed by core/smtp_body; BDAT brings its length and is looked at
 * only for what a message must not hold. A bare CR, a bare LF or a NUL makes the content bad for
 * good; it is then followed to its true end and the sink refuses it.
 */
#ifndef BENCH_SINK_CONTENT_H
#define BENCH_SINK_CONTENT_H

#include "core/smtp_body.h"

enum {
    SINK_CONTENT_HELD_MAX = 2, /* octets that may come out in addition to those put in */
};

struct sink_content {
    struct smtp_body body;
    bool line_start;  /* of what came out of DATA: a dot here was stuffed */
    bool after_cr;    /* of BDAT */
    bool bad;         /* of BDAT */
    uint64_t chunked; /* octets of BDAT */
};

void sink_content_init(struct sink_content *content);

/*
 * Takes octets behind DATA. Returns how many it consumed; *ret_end tells that the message ended
 * with them. With `out` (room for len + SINK_CONTENT_HELD_MAX) the message's own octets are put
 * there and *ret_out_len is their number; without, it is 0.
 */
uint32_t sink_content_data(struct sink_content *content, const char *data, uint32_t len, char *out,
                           uint32_t *ret_out_len, bool *ret_end);

/* Takes octets of a BDAT chunk, all of them. */
void sink_content_chunk(struct sink_content *content, const char *data, uint32_t len);

/* Asked at the end of the message. */
bool sink_content_is_bad(const struct sink_content *content);

uint64_t sink_content_size(const struct sink_content *content);

#endif
