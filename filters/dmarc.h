/*
 * dmarc - does the message come from the domain of its author? RFC 9989, with its DNS tree walk, not a
 * list of public suffixes.
 *
 * A pass of SPF or DKIM counts when its domain is aligned with the From field's. Where nothing passes, a
 * temporary trouble counts (temperror) only of what could have been aligned: a signature of a stranger
 * whose key does not answer saves no forgery. Without exactly one author domain: permerror. Without a
 * record, or with one that asks for nothing: none.
 *
 * action = reject follows the owner: 550 5.7.1 for p=reject, nothing but the mark for quarantine, and
 * 451 4.7.1 for a temperror behind which a reject may stand; 550 5.7.1 also where no author can be told, or
 * more than one. A milder action bounds what is done.
 */
#ifndef FILTERS_DMARC_H
#define FILTERS_DMARC_H

#include "filters/filter.h"

extern const struct filter filter_dmarc;

#endif
