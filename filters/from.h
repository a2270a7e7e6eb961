/*
 * from - the domain of the message's author: of the From field (RFC 5322, 3.4 and 3.6.2).
 */
#ifndef FILTERS_FROM_H
#define FILTERS_FROM_H

#include "filters/findings.h"
#include "filters/header.h"

/* The domain in lower case with its NUL, and its length. 0 when there is not exactly one From field, of at
 * most 16 KiB, with addresses of exactly one domain. Comments, quoted strings, groups and routes are understood;
 * what is no address list is not guessed at. */
uint32_t from_domain(const struct header *header, char out[FOUND_DOMAIN_MAX]);

#endif
