/*
 * record - the one line that explains a transaction, or a session without one (design, section 10;
 * P8).
 *
 * Pure: facts in, one line of JSON or text out, without a newline inside whatever the peers sent.
 * Keys and their order are binding. A line is at most RECORD_MAX bytes: long strings are cut, and
 * recipients that do not fit are counted in "rcpt_omitted".
 */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include "core/config.h"
#include "core/envelope.h"
#include "core/text.h"
#include "filters/findings.h"

enum { RECORD_MAX = 96 * 1024 };

enum record_verdict { VERDICT_ACCEPT, VERDICT_REJECT, VERDICT_DEFER, VERDICT_TAG, VERDICT_ABORT };

struct record_ms {
    int64_t total;
    int64_t wait_dns;
    int64_t verify;
    int64_t connect;
    int64_t data;
    int64_t upstream_reply;
};

struct record {
    bool is_transaction;  /* "event": "transaction" or "session" */
    int64_t ts_ms;        /* end of the transaction, realtime clock, milliseconds since 1970 */
    struct text session;  /* id, [A-Za-z0-9] */
    uint32_t transaction; /* from 1 within the session; 0 for a session record */
    struct text listener;
    struct text client;      /* address:port */
    struct text helo;        /* null in JSON when empty */
    const char *tls_version; /* of the client's connection; static text; NULL: plain */
    const char *tls_cipher;
    struct text from; /* null when there was no MAIL (at == NULL); empty is the null sender */
    const struct envelope *envelope; /* for rcpt; may be NULL */
    uint64_t size;                   /* octets of the message */
    struct text upstream;            /* address; null when empty */
    uint16_t reply_code;    /* the last reply that the client got for it; 0: none, "reply":null */
    struct text reply_text; /* without the code, lines joined by their CRLF (escaped as \r\n) */
    const char *decided_by; /* "upstream", or the rule that decided; null when NULL */
    enum record_verdict verdict;
    const struct findings *findings; /* of the checks; NULL: nothing was checked */
    struct record_ms ms;
};

/* Writes the line with its '\n' to `out` (RECORD_MAX bytes of room) and returns its length. */
uint32_t record_write(const struct record *record, enum config_log_format format, char *out);

/* "accept", "reject", ... */
const char *record_verdict_name(enum record_verdict verdict);

/* RFC 3339 with milliseconds, UTC, 24 characters and a NUL. */
void record_time(int64_t ts_ms, char out[25]);

#endif
