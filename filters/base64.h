/*
 * base64 - RFC 4648, 4, as it stands in header fields and records: white space may be anywhere in it.
 */
#ifndef FILTERS_BASE64_H
#define FILTERS_BASE64_H

#include "filters/span.h"

/* The length, -EINVAL, or -EMSGSIZE when it is more than `size`. Padding must be whole. */
int base64_decode(struct span text, uint8_t *out, uint32_t size);

#endif
