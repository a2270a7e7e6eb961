/*
 * model_upstream - a strict SMTP server as an actor on the simulated loop, with a script for its
 * answers.
 *
 * Strict in what it watches: a bare CR, a bare LF or a NUL in anything it receives, a command in a
 * wrong order, bytes behind the end-of-data or the octets of a BDAT before its reply, octets that do
 * not end in CRLF, is counted as a violation of the proxy's promises. A message that came with BDAT
 * is shown as DATA would have brought it, with stuffed dots and the end-of-data. What it answers, a hook decides; without one it says yes to everything.
 */
#ifndef TEST_MODEL_UPSTREAM_H
#define TEST_MODEL_UPSTREAM_H

#include "test/weir_world.h"

enum model_stage {
    STAGE_CONNECT,
    STAGE_EHLO,
    STAGE_HELO,
    STAGE_RSET,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_BODY, /* the first bytes of a message have come, and of a BDAT's not all */
    STAGE_EOM,  /* the end-of-data, or the last octet of a BDAT */
    STAGE_QUIT,
    STAGE_COUNT
};

enum { MODEL_CONNS_MAX = 64, MODEL_MESSAGE_MAX = 1 << 17, MODEL_QUEUE_MAX = 1 << 14 };

struct model_conn {
    int fd; /* -1: free */
    bool greeted;
    bool in_data;
    bool offers_chunking;
    bool in_chunk;  /* the octets of a BDAT are due; */
    bool is_failed; /* its answer was no 2xx: only RSET is in order */
    bool body_told;
    bool has_mail;
    bool is_silent; /* the script let it fall silent: it reads and says nothing more */
    bool is_deaf;   /* it does not even read; set by the script */
    uint32_t rcpts;
    uint32_t chunk_len; /* so many of them */
    uint32_t number;    /* of this connection, from 1 */
    uint32_t len;
    uint32_t queued;             /* bytes in `queue` */
    char queue[MODEL_QUEUE_MAX]; /* for drip */
    char bytes[MODEL_MESSAGE_MAX];
};

struct model;

/* The answer at a stage: bytes to send as they are (with CRLF; "" for none), NULL for the usual
 * one, or one of these. A script may also write to conn->fd by itself before it returns. */
extern const char MODEL_DROP[];   /* close */
extern const char MODEL_RESET[];  /* reset */
extern const char MODEL_SILENT[]; /* say nothing, now and later */
typedef const char *model_script(struct model *model, struct model_conn *conn,
                                 enum model_stage stage, const char *line, uint32_t len);

struct model {
    struct weir *weir;
    int listener;         /* default: the world's; of several models each has its own */
    model_script *script; /* NULL: the usual answers */
    void *arg;
    const char *ehlo; /* the reply to EHLO; default has PIPELINING 8BITMIME SMTPUTF8 DSN */
    uint32_t drip;    /* > 0: answers go out in pieces of so many bytes, one a turn */
    uint32_t connections;
    uint32_t begun;    /* messages: a 354, or a BDAT */
    uint32_t chunks;   /* BDATs whose octets came */
    uint32_t messages; /* accepted with a 2xx of ours after a complete message */
    uint32_t violations;
    uint32_t last_len; /* the last complete message, as it was received, without the end-of-data */
    const char *violation; /* the first one */
    char last[MODEL_MESSAGE_MAX];
    struct model_conn conns[MODEL_CONNS_MAX];
};

void model_init(struct model *model, struct weir *weir);

/* The whole message has come that the connection is about, whether it looks at it or not. */
bool model_has_all(const struct model_conn *conn);

/* A message in DATA's form with a stuffed dot where one is needed, and only there: what BDAT keeps
 * of it. Returns the length; `out` has room for `len` bytes. */
uint32_t model_canonical(const char *bytes, uint32_t len, char *out);

/* Accepts, reads, answers. True when it did anything. */
bool model_act(struct model *model);

/* Closes all connections, without a word. */
void model_hang_up(struct model *model);

/* Turns of worker and model until both stand still (time does not pass). False when that takes more
 * than turns_max. */
bool model_settle(struct model *model, uint32_t turns_max);

#endif
