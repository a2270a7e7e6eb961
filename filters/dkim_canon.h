/*
 * dkim_canon - the canonical forms of RFC 6376, 3.4, as streams into SHA-256. Linear in the bytes,
 * wherever they are cut.
 */
#ifndef FILTERS_DKIM_CANON_H
#define FILTERS_DKIM_CANON_H

#include "filters/digest.h"
#include "filters/span.h"

/* One body in one form, up to a limit. */
struct dkim_body {
    bool is_relaxed;
    bool has_space;       /* relaxed: white space that counts as one space if the line goes on */
    bool has_cr;          /* a CR whose LF may be in the next piece */
    uint64_t empty_lines; /* line ends that count only when something follows */
    uint64_t limit;       /* octets that are hashed; UINT64_MAX: all */
    uint64_t size;        /* octets of the canonical body, hashed or not */
    struct digest digest;
};

/* 0 or -ENOMEM. */
int dkim_body_init(struct dkim_body *body, bool is_relaxed, uint64_t limit)
    __attribute__((warn_unused_result));
void dkim_body_feed(struct dkim_body *body, const char *bytes, uint32_t len);
void dkim_body_final(struct dkim_body *body, uint8_t ret_sum[DIGEST_SIZE]);
/* Without a sum; harmless on one that has ended, or is zero. */
void dkim_body_drop(struct dkim_body *body);

/* One header field with its CRLF, which is left out when it is the last one hashed. */
void dkim_header_feed(struct digest *digest, bool is_relaxed, struct span name, struct span value,
                      struct span field, bool is_last);

#endif
