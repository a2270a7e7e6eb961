/*
 * dnsbl - lists of client addresses in DNS (RFC 5782): many zones at once, weighed.
 *
 * Asked from connect on, awaited at RCPT. A zone adds its weight when it answers with an address of
 * 127.0.0.0/8 inside its code ranges (127.0.0.2 and up without any); the client is over when the sum
 * reaches the threshold. What a zone answers to say that it does not serve us (127.255.255.252 and
 * up), anything outside 127.0.0.0/8, and no answer count as temperror, never as listed. Addresses
 * that no public list can know are not asked about.
 */
#ifndef FILTERS_DNSBL_H
#define FILTERS_DNSBL_H

#include "filters/filter.h"

extern const struct filter filter_dnsbl;

/* What one A record of a zone means. */
enum dnsbl_code { DNSBL_LISTED, DNSBL_UNLISTED, DNSBL_ERROR };

struct verify_zone;

enum dnsbl_code dnsbl_judge_code(const struct verify_zone *zone, const struct dns_record *record);

#endif
