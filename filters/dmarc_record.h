/*
 * dmarc_record - what a domain's owner publishes at _dmarc.DOMAIN (RFC 9989, 4.7 and 4.8). Pure.
 *
 * What has no "v=DMARC1" in front is no record. Behind it a tag that is unknown (as the older pct, rf,
 * ri), malformed or given before counts for nothing, and its default stands.
 */
#ifndef FILTERS_DMARC_RECORD_H
#define FILTERS_DMARC_RECORD_H

#include "filters/findings.h"
#include "filters/span.h"

enum dmarc_psd { DMARC_PSD_UNKNOWN, DMARC_PSD_YES, DMARC_PSD_NO };

struct dmarc_record {
    bool is_usable; /* false: says nothing about messages (4.10.1), yet it marks its domain */
    bool is_spf_strict;
    bool is_dkim_strict;
    bool is_testing;
    enum dmarc_psd psd;
    enum dmarc_policy domain;  /* p: for the domain itself */
    enum dmarc_policy below;   /* sp, or p: for subdomains that exist */
    enum dmarc_policy missing; /* np, or sp, or p: for those that do not */
};

/* False when it is no DMARC record. */
bool dmarc_record_parse(struct span text, struct dmarc_record *ret_record);

/* "none", "quarantine", "reject" */
const char *dmarc_policy_name(enum dmarc_policy policy);

/* What t=y asks for: a step milder. */
enum dmarc_policy dmarc_policy_applied(enum dmarc_policy policy, bool is_testing);

#endif
