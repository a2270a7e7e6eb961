/*
 * dkim - are the message's signatures good? RFC 6376, with RFC 8301 (no SHA-1, no short keys) and RFC
 * 8463 (Ed25519).
 *
 * Of all signatures at most `signatures_max` are looked at, those of the From field's domain first.
 * Keys are asked for as soon as the header is complete; the body is hashed once as it comes, for all of
 * them. A signature whose key could not be fetched is temperror, not absent; one that is good but
 * leaves a part of the body unsigned (l=), or has expired, is policy.
 *
 * What all signatures of a message may cost together is bounded as well: octets of header that are
 * hashed (128 KiB), and arithmetic (16 keys of 2048 bits, 4 of 4096). The first one that is looked at has
 * what it needs; those behind it that would go beyond are neutral, and their keys are not asked for.
 */
#ifndef FILTERS_DKIM_H
#define FILTERS_DKIM_H

#include "filters/filter.h"

extern const struct filter filter_dkim;

#endif
