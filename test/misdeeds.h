/*
 * misdeeds - what a bad upstream can do, as a table of rows: bytes instead of a reply, replies
 * without end, silence, and the ends of connections.
 *
 * A row says what happens at one place of the dialogue; doing it is the test's part
 * (test/sim/test_bad_upstream.c). In `bytes` an "@" stands for the code that would be right there.
 */
#ifndef TEST_MISDEEDS_H
#define TEST_MISDEEDS_H

#include "test/model_upstream.h"

/* Where it happens. */
enum place {
    PLACE_CONNECT,
    PLACE_GREETING,
    PLACE_EHLO,
    PLACE_HELO, /* after EHLO was refused */
    PLACE_RSET, /* of a connection that is used again after a transaction that was given up */
    PLACE_MAIL,
    PLACE_RCPT_FIRST,
    PLACE_RCPT_SECOND,
    PLACE_DATA,
    PLACE_BODY, /* while the message is on its way */
    PLACE_EOM,
    PLACE_QUIT,
    PLACE_COUNT
};

enum deed {
    DEED_SEND,    /* `bytes` instead of the answer, then `then` */
    DEED_GLUE,    /* the usual answer and `bytes` behind it in one segment, then `then` */
    DEED_DRIP,    /* the usual answer, a byte a turn */
    DEED_SLOW,    /* `bytes`, then one byte now and then, without end */
    DEED_HALF,    /* `bytes`; behind the true end-of-data, which it does not look at, "\r\n" */
    DEED_STALL,   /* reads no more; `bytes` when the proxy has all of the message */
    DEED_FLOOD,   /* `bytes` over and over without end */
    DEED_LONG,    /* a correct reply of `len` bytes in many lines */
    DEED_EOF,     /* half-close instead of an answer */
    DEED_DEAF,    /* reads no more, and says nothing */
    DEED_IDLE,    /* the usual answer; later, when nothing is owed, `bytes`, then `then` */
    DEED_CONNECT, /* what connect(2) meets */
};

struct misdeed {
    const char *name;
    enum deed deed;
    const char *bytes;
    uint32_t len;
    const char *then;     /* NULL: the connection goes on */
    uint32_t places;      /* a bit for each place where it makes sense */
    bool is_good;         /* the reply is correct and complete: it must be passed on as it is */
    enum sim_connect how; /* DEED_CONNECT */
};

extern const struct misdeed misdeeds[];
extern const uint32_t misdeed_count;

const char *place_name(enum place place);

/* The code that would be right there, as text. */
const char *place_code(enum place place);

/* The row's bytes with each "@" replaced; also builds DEED_LONG. Length; at most `size`. */
uint32_t misdeed_bytes(const struct misdeed *misdeed, enum place place, char *out, uint32_t size);

#endif
