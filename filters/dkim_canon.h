/*
 * dkim_canon - the canonical forms of RFC 6376, 3.4, as streams into SHA-256. Linear in the bytes,
 * wherever they are cut, and a piece that is fed costs what its own length costs, whatever came before.
 *
 * One stream serves all signatures that want its form: each says how much of the body it has signed
 * (l=), and gets the sum of that much.
 */
#ifndef FILTERS_DKIM_CANON_H
#define FILTERS_DKIM_CANON_H

#include "filters/digest.h"
#include "filters/span.h"

enum {
    DKIM_LIMITS_MAX = 32,
    DKIM_PIECE = 1024, /* octets that go to the digest at once */
};

#define DKIM_ALL UINT64_MAX /* a limit: the whole body */

struct dkim_limit {
    uint64_t octets;
    bool has_sum;
    uint8_t sum[DIGEST_SIZE];
};

/* One body in one form. */
struct dkim_body {
    bool is_relaxed;
    bool has_space;       /* relaxed: white space that counts as one space if the line goes on */
    bool has_cr;          /* a CR whose LF may be in the next piece */
    bool has_mark;        /* empty lines have been hashed that count only when something follows */
    uint64_t empty_lines; /* line ends that are held back for the same reason */
    uint64_t size;        /* octets of the canonical body; final when the body is */
    uint64_t hashed;      /* of them: in the digest; the rest is in `piece` */
    uint64_t mark_size;
    uint64_t next; /* the smallest limit whose sum is not known */
    uint32_t limit_count;
    uint32_t piece_len;
    struct dkim_limit limits[DKIM_LIMITS_MAX];
    struct digest digest;
    struct digest mark; /* in front of the hashed empty lines */
    char piece[DKIM_PIECE];
};

/* 0 or -ENOMEM. */
int dkim_body_init(struct dkim_body *body, bool is_relaxed) __attribute__((warn_unused_result));
/* Wants the sum of the first `octets`, before anything is fed; at most DKIM_LIMITS_MAX different ones.
 * The number to ask for the sum with. */
uint32_t dkim_body_limit(struct dkim_body *body, uint64_t octets);
void dkim_body_feed(struct dkim_body *body, const char *bytes, uint32_t len);
void dkim_body_final(struct dkim_body *body);
/* NULL when the body is shorter than that, or memory did not suffice. */
const uint8_t *dkim_body_sum(const struct dkim_body *body, uint32_t limit);
/* Without a sum; harmless on one that has ended, or is zero. */
void dkim_body_drop(struct dkim_body *body);

/* One header field with its CRLF, which is left out when it is the last one hashed. */
void dkim_header_feed(struct digest *digest, bool is_relaxed, struct span name, struct span value,
                      struct span field, bool is_last);

#endif
