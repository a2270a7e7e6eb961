/*
 * spf_record - the terms of one SPF record (RFC 7208, 4.6 and 12). Pure; slices of the record's text.
 */
#ifndef FILTERS_SPF_RECORD_H
#define FILTERS_SPF_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "filters/result.h"
#include "filters/span.h"

enum spf_kind {
    SPF_ALL,
    SPF_INCLUDE,
    SPF_A,
    SPF_MX,
    SPF_PTR,
    SPF_IP4,
    SPF_IP6,
    SPF_EXISTS,
    SPF_REDIRECT, /* modifiers from here on */
    SPF_EXP,
    SPF_UNKNOWN,
};

struct spf_term {
    enum spf_kind kind;
    enum check_result result; /* of a mechanism that matches: its qualifier */
    struct span spec;         /* domain-spec, macros unexpanded */
    uint8_t bits4;            /* prefix lengths */
    uint8_t bits6;
    uint8_t address[16]; /* of ip4 and ip6 */
};

/* True when the text is an SPF record at all: "v=spf1", then a space or the end. */
bool spf_is_record(const char *text, uint32_t len);

/* The term that begins at or behind *at (start with 0). 1 and *ret_term; 0 at the end; -EINVAL. */
int spf_next_term(const char *text, uint32_t len, uint32_t *at, struct spf_term *ret_term);

/* The whole record: 0, or -EINVAL for any syntax error, or redirect or exp given twice. */
int spf_check_record(const char *text, uint32_t len, struct span *ret_redirect,
                     struct span *ret_exp);

#endif
