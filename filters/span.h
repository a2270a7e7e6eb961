/*
 * span - a slice of somebody else's bytes; not terminated.
 */
#ifndef FILTERS_SPAN_H
#define FILTERS_SPAN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *at;
    uint32_t len; /* 0: none */
};

static inline bool span_is(struct span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.at, text, span.len) == 0;
}

/* True when the domain name is `domain` or below it; case does not matter. */
static inline bool span_is_at_or_below(struct span name, struct span domain)
{
    return name.len >= domain.len &&
           strncasecmp(name.at + name.len - domain.len, domain.at, domain.len) == 0 &&
           (name.len == domain.len || name.at[name.len - domain.len - 1] == '.');
}

#endif
