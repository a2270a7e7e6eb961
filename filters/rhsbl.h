/*
 * rhsbl - lists of domains in DNS (RFC 5782, 2.5): the domain of MAIL FROM and the name of HELO.
 *
 * Asked from MAIL on, awaited at RCPT; zones, codes and weights as in filters/listing.h, threshold and
 * action of dnsbl, a score of its own. A zone counts once, also when it lists both names, and names
 * that are the same are one question. Not asked about: the null sender, address literals, names
 * without a dot or that no host could have, and our own. Names beyond ASCII are asked as DNS knows
 * them.
 *
 * Both names are the client's word: a weight below 0 (an allow list) is given to whoever uses them.
 */
#ifndef FILTERS_RHSBL_H
#define FILTERS_RHSBL_H

#include "filters/filter.h"

extern const struct filter filter_rhsbl;

#endif
