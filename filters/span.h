/*
 * span - a slice of somebody else's bytes; not terminated.
 */
#ifndef FILTERS_SPAN_H
#define FILTERS_SPAN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *at;
    uint32_t len; /* 0: none */
};

static inline bool span_is(struct span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.at, text, span.len) == 0;
}

#endif
