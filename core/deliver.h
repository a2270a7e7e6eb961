/*
 * deliver - a message with its verdict on the way to the upstream; the steps of the states REPLAY and
 * DELIVER are in core/session.h.
 *
 *   VERDICT -> [REPLAY: the envelope once more] -> [OPEN: DATA, 354] -> DELIVER -> FORWARD: the reply
 *
 *   on the wire:  [BDAT n LAST]  fields of ours | header without forged fields | empty line | body  [.]
 */
#ifndef CORE_DELIVER_H
#define CORE_DELIVER_H

#include <stdbool.h>
#include <stdint.h>

struct session;

/* How far a message has gone. */
struct delivery {
    uint8_t part;       /* enum delivery_part */
    bool is_bdat;       /* as it is, after its length; else with its dots stuffed, after a 354 */
    bool at_line_start; /* of what was put so far */
    uint32_t field;     /* of the header: the next one */
    uint32_t at;        /* how much of that field is out */
    uint64_t put;       /* content octets */
    uint64_t announced; /* those of BDAT */
};

/* The verdict lets the message pass, or its header (`stream`). Always STEP_MORE. */
enum step deliver_begin(struct session *session);

#endif
