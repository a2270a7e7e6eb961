/*
 * findings - what the checks of one transaction found, in the words of the record and of
 * Authentication-Results. Each check writes its own part; core records it, the field on top names it.
 *
 * Domains, selectors and reasons are the peers' bytes: visible ASCII of bounded length, to be escaped
 * where they are shown.
 */
#ifndef FILTERS_FINDINGS_H
#define FILTERS_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "filters/result.h"

enum {
    FOUND_DOMAIN_MAX = 256, /* with its NUL */
    FOUND_SELECTOR_MAX = 256,
    FOUND_ZONES_MAX = 32,
    FOUND_CODES_MAX = 4, /* addresses that one zone answered; more are left out */
    FOUND_SIGNATURES_MAX = 32,
    FOUND_EXPLANATION_MAX = 256,
    FOUND_TEXT_MAX = 128, /* a zone's own explanation, cleaned and cut */
};

struct found_zone {
    const char *zone; /* as configured; static */
    bool is_listed;
    bool is_temperror;
    uint8_t code_count;
    uint8_t codes[FOUND_CODES_MAX][4];
};

struct found_dnsbl {
    bool is_present;
    bool is_over; /* score >= threshold */
    int32_t score;
    uint32_t zone_count; /* zones that listed what was asked about, or could not answer */
    struct found_zone zones[FOUND_ZONES_MAX];
    const char *by;            /* the first zone with a weight above 0 that listed it, or NULL */
    char text[FOUND_TEXT_MAX]; /* of that zone; may be empty */
    char
        subject[FOUND_DOMAIN_MAX]; /* the domain that it listed; empty where addresses are listed */
};

struct found_spf {
    bool is_present;
    bool is_helo; /* the identity checked was HELO: the reverse-path is empty */
    enum check_result result;
    char domain[FOUND_DOMAIN_MAX];
    const char *reason;                      /* static; NULL: none */
    char explanation[FOUND_EXPLANATION_MAX]; /* of a fail, in the owner's words; visible ASCII */
};

struct found_signature {
    enum check_result result;
    const char *reason;    /* static; NULL: none */
    const char *algorithm; /* "rsa-sha256", "ed25519-sha256"; static; NULL: not known */
    bool is_testing;       /* the key says t=y */
    char domain[FOUND_DOMAIN_MAX];
    char selector[FOUND_SELECTOR_MAX];
    char b8[9]; /* the first characters of b=, to tell signatures apart (RFC 6008) */
};

struct found_dkim {
    bool is_present;
    uint32_t count;
    struct found_signature signatures[FOUND_SIGNATURES_MAX];
};

enum dmarc_policy { DMARC_POLICY_NONE, DMARC_POLICY_QUARANTINE, DMARC_POLICY_REJECT };

struct found_dmarc {
    bool is_present;
    bool has_record;
    bool is_testing; /* t=y: the owner asks to be a step milder than `policy` */
    enum check_result result;
    enum dmarc_policy policy;             /* published for this name, before t=y */
    char domain[FOUND_DOMAIN_MAX];        /* of the From field */
    char record_domain[FOUND_DOMAIN_MAX]; /* where the record was found */
    const char *reason;
};

struct findings {
    struct found_dnsbl dnsbl;
    struct found_dnsbl rhsbl;
    struct found_spf spf;
    struct found_dmarc dmarc;
    struct found_dkim dkim;
};

/* Nothing was checked. Signatures beyond `count` mean nothing. */
static inline void findings_init(struct findings *findings)
{
    memset(findings, 0, offsetof(struct findings, dkim.signatures));
}

#endif
