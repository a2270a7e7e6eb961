/*
 * chain - the checks of one scope (a session's, or one transaction's) on their way from facts to a
 * verdict: started as phases are reached, fed, awaited, and given up when the owner can wait no longer.
 *
 * Owner: a session. It fills `facts`, tells the phases in order, and asks with chain_await() before a
 * reply that depends on the checks that are due by then. When they are not done, `done` follows
 * exactly once, never inside a call of the owner, when they are, or when the deadline has made the
 * missing ones temperror; after chain_cancel() it never comes. The deadline bounds what a client has to
 * wait for: the time that it takes itself, however long its message is in coming, is not counted.
 */
#ifndef FILTERS_CHAIN_H
#define FILTERS_CHAIN_H

#include "filters/filter.h"
#include "net/loop.h"

enum chain_scope { SCOPE_SESSION, SCOPE_TRANSACTION };

enum { CHAIN_FILTERS_MAX = 8 };

struct chain;
typedef void chain_done(struct chain *chain);

struct chain {
    uint32_t magic;
    uint8_t scope;
    uint8_t phase;   /* the latest that was reached, or PHASE_COUNT before the first */
    uint8_t awaited; /* the phase that the owner waits for, or PHASE_COUNT */
    bool is_in_call; /* the owner is in a call: filter_done() only notes */
    uint32_t count;
    struct filter_run runs[CHAIN_FILTERS_MAX];
    struct facts facts;
    struct loop *loop;
    chain_done *done;
    void *owner;
    struct timer timer;
    _Alignas(16) char memory[]; /* of the checks */
};

/* Bytes that a chain of this scope needs: the size of a pool's items. */
size_t chain_size(enum chain_scope scope);

/* False when every check of this scope is off: a chain would have nothing to do. */
bool chain_is_needed(enum chain_scope scope, const struct facts *facts);

/* In memory of chain_size(scope) octets. Checks whose action is off do not run. */
void chain_init(struct chain *chain, enum chain_scope scope, struct loop *loop,
                const struct facts *facts, chain_done *done, void *owner);

/* The facts of this phase are known. In order; phases may be left out. */
void chain_reach(struct chain *chain, enum filter_phase phase);

/* Bytes of the body (CRLF line ends, not dot-stuffed), between HEADER and EOM. */
void chain_feed(struct chain *chain, const char *bytes, uint32_t len);

/*
 * The same for a message whose header is not known yet: pieces of its content as they come, cut anywhere,
 * between MAIL and EOM. Its header goes to `header`, which is the one in the facts; what is behind goes to
 * the checks. How many of the bytes were header, with the empty line behind it.
 */
uint32_t chain_take(struct chain *chain, struct header *header, const char *bytes, uint32_t len);

/* All of it has come, an empty line or not. */
void chain_take_end(struct chain *chain, struct header *header);

/* True when all checks due at or before this phase are done; else `done` follows, at the deadline (of
 * the loop's clock) at the latest. */
bool chain_await(struct chain *chain, enum filter_phase phase, int64_t deadline_ms);

/* True from a chain_await() that was false to its `done`. */
static inline bool chain_is_awaited(const struct chain *chain)
{
    return chain->awaited != PHASE_COUNT;
}

/* The strongest verdict of the checks that are done and due by `phase`: what is known early does not
 * decide early, so that a reply never depends on who was faster. */
void chain_judge(const struct chain *chain, enum filter_phase phase, struct verdict *ret_verdict);

/* Forgets everything; `done` does not come any more. The memory may be given back then. */
void chain_cancel(struct chain *chain);

#endif
