/*
 * dnsbl - lists of client addresses in DNS (RFC 5782): many zones at once, weighed (filters/listing.h).
 *
 * Asked from connect on, awaited at RCPT. Addresses that no public list can know are not asked about.
 */
#ifndef FILTERS_DNSBL_H
#define FILTERS_DNSBL_H

#include "filters/filter.h"

extern const struct filter filter_dnsbl;

#endif
