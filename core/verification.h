/*
 * verification - what the checks know of a connection, and of the message that comes over it.
 *
 *      screening      of a session, from its greeting on: where it comes from
 *      verification   of a transaction, from MAIL on: header, findings and the chain of checks
 *
 * Both live in pools of the worker and belong to their session: taken here, given back by the
 * functions that end them, at whatever time that is. The checks poke the session when something that it
 * waits for is known.
 */
#ifndef CORE_VERIFICATION_H
#define CORE_VERIFICATION_H

#include "core/session.h"
#include "filters/chain.h"

struct screening {
    struct findings findings;
    struct chain chain; /* last: the checks' memory is behind it */
};

struct verification {
    struct verdict verdict; /* once it is known */
    bool has_empty_line;    /* between header and body */
    struct findings findings;
    uint8_t removed[HEADER_FIELDS_MAX / 8]; /* fields that speak in our name, a bit each */
    struct header header;
    struct chain chain; /* last: the checks' memory is behind it */
};

/* Of one item of the worker's pools. */
size_t screening_size(void);
size_t verification_size(void);

/* The client's address is known. Without a check for it there is no screening. */
void screening_begin(struct session *session);
void screening_end(struct session *session);

/* MAIL was accepted. False when there is no room. */
bool verification_begin(struct session *session) __attribute__((warn_unused_result));
void verification_end(struct transaction *transaction, struct worker *worker);

/* Content of the message, its dots unstuffed, in pieces as they come. How many of the bytes were header:
 * the rest is to be kept by the caller. */
uint32_t verification_feed(struct verification *verification, const char *bytes, uint32_t len);
/* All of it has come. */
void verification_finish(struct verification *verification);

/*
 * True when all checks that are due by `phase` are done, or have had the transaction's time. Else the
 * session is poked; until then the answer is owed (verification_is_awaited()). The time runs while the
 * session is in the state that asks.
 */
bool verification_await(struct session *session, enum filter_phase phase);
bool verification_is_awaited(const struct session *session);

/* What the checks that are due by `phase` say, the strongest of them; kept in the transaction, and
 * counted. */
const struct verdict *verification_judge(struct session *session, enum filter_phase phase);

/* Finds the fields that have to go: forged Authentication-Results, and those named as our own trace
 * field. */
void verification_find_forged(const struct session *session);
static inline bool verification_is_removed(const struct verification *verification, uint32_t field)
{
    return (verification->removed[field / 8] & (1u << (field % 8))) != 0;
}

#endif
