/*
 * spf - may this client send for this domain? RFC 7208: check_host(), asynchronous.
 *
 * The identity is the reverse-path, or the HELO name where that is empty (2.4). Limits of 4.6.4: ten
 * terms that ask, two answers without records, ten MX or PTR names; past them permerror. How
 * long is waited for it, the chain's owner says.
 */
#ifndef FILTERS_SPF_H
#define FILTERS_SPF_H

#include "filters/filter.h"

extern const struct filter filter_spf;

#endif
