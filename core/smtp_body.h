/*
 * smtp_body - the one place that knows where a message ends (RFC 5321, 4.1.1.4 and 4.5.2; design
 * P4).
 *
 * Pure and incremental: bytes may be cut anywhere. Only CRLF "." CRLF ends a message; DATA's own
 * CRLF counts as the first. A bare CR, a bare LF or a NUL makes the message bad for good: from that
 * byte on nothing is clean, and scanning only goes on to find the true end. What is clean may be
 * forwarded as it is: the scanner holds back the bytes at the end of a chunk whose meaning is not
 * decided yet ("\r" anywhere, "." and ".\r" at the start of a line) and reports them as `held` in
 * front of the next clean bytes. So a receiver behind us never sees a bare CR, a bare LF, a NUL, or
 * any part of an end-of-data that is not one. Bytes that are held when a fault comes are dropped.
 *
 *      input     ab \r | \n . | \r \n | ...            chunks, cut by the network
 *      step 1    clean "ab"              (held back: "\r")
 *      step 2    held "\r" + clean "\n"  (held back: ".")
 *      step 3    held ""   + clean "",  end = true, taken = 2   (the caller sends ".\r\n" itself
 * when it wants to)
 *
 * It also counts what limits and loop detection need. The scan runs at memory speed: it looks at
 * CR, LF and NUL only, many bytes at a time.
 */
#ifndef CORE_SMTP_BODY_H
#define CORE_SMTP_BODY_H

#include "core/text.h"

enum { SMTP_BODY_HELD_MAX = 1 }; /* octets of `held` */

enum smtp_body_fault { BODY_CLEAN, BODY_BARE_CR, BODY_BARE_LF, BODY_NUL };

struct smtp_body {
    uint8_t eod_state;    /* of the end-of-data automaton */
    uint8_t header_state; /* of the header line matcher */
    uint8_t fault;        /* enum smtp_body_fault: the first one */
    bool in_header;       /* no empty line yet */
    uint32_t hops; /* "Received:" fields in the header, compared without case (RFC 5321, 6.3) */
    uint64_t size; /* clean octets of the message so far: stuffed dots, end-of-data and held bytes
                      not counted, and nothing from a fault on */
};

struct smtp_body_step {
    struct text
        held; /* due before the clean bytes; static memory, at most SMTP_BODY_HELD_MAX ("\r" or
                        ".": behind a held ".\r" comes the end or a fault) */
    uint32_t clean; /* data[0..clean) may be forwarded */
    uint32_t taken; /* bytes consumed: len, or less when the end was found inside */
    bool end;       /* end-of-data found; data[taken..] belongs to the next command */
};

void smtp_body_init(struct smtp_body *body);

/* Scans a chunk. Must not be called again after `end`. */
void smtp_body_scan(struct smtp_body *body, const char *data, uint32_t len,
                    struct smtp_body_step *ret_step);

/* Takes from the clean bytes `rest` the first run that its reader gets as it is; what separates two
 * runs is a stuffed dot. Call until `rest` is empty; a run may be empty. `at_line_start` is true in front
 * of the first byte of a message and carries over from piece to piece. */
struct text smtp_body_unstuff(struct text *rest, bool *at_line_start);

#endif
