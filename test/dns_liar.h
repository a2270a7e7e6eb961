/*
 * dns_liar - answers to DNS questions, honest and otherwise, as bytes; no sockets.
 *
 * The maker writes a message record by record, without compression. The liar makes what a server of
 * some behaviour sends for a question. The truth about every name is the address 192.0.2.1; whatever
 * a lie carries is 6.6.6.6, so that a test needs to look for nothing else.
 */
#ifndef TEST_DNS_LIAR_H
#define TEST_DNS_LIAR_H

#include <stdbool.h>
#include <stdint.h>

#include "net/dns.h"

enum { MAKER_MAX = 20000, LIAR_MESSAGES_MAX = 20 };

struct maker {
    uint32_t len;
    uint8_t bytes[MAKER_MAX];
};

enum maker_section { MAKER_ANSWER, MAKER_AUTHORITY, MAKER_ADDITIONAL };

/* Header and question of the answer to `ask` (without the OPT record). */
void maker_begin(struct maker *maker, const uint8_t *ask, uint32_t ask_len, uint32_t rcode);
/* The records of a section must be added in the order of the sections. */
void maker_add(struct maker *maker, enum maker_section section, const char *name, uint16_t type,
               uint32_t ttl_s, const void *data, uint32_t len);
void maker_add_name(struct maker *maker, enum maker_section section, const char *name,
                    uint16_t type, uint32_t ttl_s, const char *target);
void maker_add_soa(struct maker *maker, const char *zone, uint32_t ttl_s, uint32_t minimum_s);

/* The name in a question, as text in lower case. */
void ask_name(const uint8_t *ask, uint32_t ask_len, char out[DNS_TEXT_MAX]);

enum lie {
    LIE_NONE,
    LIE_SILENCE,
    LIE_ID,
    LIE_NAME,
    LIE_CASE,
    LIE_TYPE,
    LIE_NO_QUESTION,
    LIE_NO_RESPONSE,
    LIE_OPCODE,
    LIE_EMPTY,
    LIE_SHORT,
    LIE_GARBAGE,
    LIE_PEER,  /* forged, and from another socket */
    LIE_FLOOD, /* many forged, then silence; honest by TCP */
    LIE_THEN_TRUTH,
    LIE_TWICE, /* the truth, then a forged one with all that is right */
    LIE_OWNER, /* records of another name */
    LIE_TRUNCATED,
    LIE_TRUNCATED_TWICE, /* by TCP, too */
    LIE_SERVFAIL,
    LIE_REFUSED,
    LIE_FORMERR_TO_EDNS,
    LIE_FORMERR_BARE, /* without the question, unless asked without EDNS */
    LIE_FORMERR,
    LIE_CNAME_LOOP,
    LIE_CNAME_ENDLESS, /* each answer only an alias to one more name */
    LIE_CNAME_ONLY,    /* "x" is an alias of "to-x", the answer does not tell more */
    LIE_MALFORMED,
    LIE_COUNTS, /* claims records that are not there */
    LIE_REFERRAL,
    LIE_NO_NAME,
    LIE_NO_DATA,
    LIES,
};

const char *lie_name(enum lie lie);

/* True when a client may find out the truth from this server alone. */
bool lie_allows_truth(enum lie lie);

struct liar_message {
    bool from_other; /* to be sent from another address */
    uint32_t len;
    const uint8_t *bytes;
};

struct liar {
    uint32_t count;
    struct liar_message messages[LIAR_MESSAGES_MAX];
    struct maker makers[LIAR_MESSAGES_MAX];
};

/* What a server of this behaviour sends. */
void liar_answer(struct liar *liar, enum lie lie, bool is_tcp, const uint8_t *ask,
                 uint32_t ask_len);

#endif
