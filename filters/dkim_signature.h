/*
 * dkim_signature - one DKIM-Signature field, and one key record, taken apart and checked as far as they
 * can be alone (RFC 6376, 3.5 and 3.6; RFC 8301; RFC 8463). Pure; slices of the given texts.
 *
 * What is wrong is said in static text; each fault means that the signature never passes.
 */
#ifndef FILTERS_DKIM_SIGNATURE_H
#define FILTERS_DKIM_SIGNATURE_H

#include "filters/digest.h"
#include "filters/dkim_tags.h"

enum { DKIM_NAMES_MAX = 200 }; /* in h=; more are a fault */

struct dkim_signature {
    enum signature_key algorithm;
    bool header_relaxed;
    bool body_relaxed;
    bool has_limit;    /* l= */
    bool has_expiry;   /* x= */
    uint32_t octets;   /* of b=, decoded */
    uint64_t limit;    /* octets of the canonical body that are signed */
    uint64_t expiry_s; /* since 1970 */
    struct span domain;
    struct span selector;
    struct span identity_domain; /* of i=; d= without it */
    struct span names;           /* h= */
    struct span sum;             /* bh=, base64 */
    struct span signature;       /* b=, base64 */
    struct span signature_whole; /* with the white space that goes with it when it is left out */
};

/* `value` is what follows the field's colon, without the CRLF at its end. NULL, or what is wrong;
 * domain and selector are set as far as they could be read. */
const char *dkim_signature_parse(struct span value, struct dkim_signature *ret_signature);

struct dkim_key {
    enum signature_key algorithm;
    bool is_testing; /* t=y */
    bool is_strict;  /* t=s: i= must be d= itself */
    uint32_t len;
    uint8_t octets[SIGNATURE_KEY_MAX];
};

/* The text of a key record. NULL, or what is wrong with it. */
const char *dkim_key_parse(struct span text, struct dkim_key *ret_key);

#endif
