/*
 * dkim_tags - tag lists, the form of DKIM-Signature fields and of key records (RFC 6376, 3.2). Pure;
 * slices of the text.
 */
#ifndef FILTERS_DKIM_TAGS_H
#define FILTERS_DKIM_TAGS_H

#include "filters/span.h"

enum { DKIM_TAGS_MAX = 32 };

struct dkim_tag {
    struct span name;
    struct span value; /* without the white space around it; folding may stand inside */
    struct span whole; /* all between "=" and ";" */
};

struct dkim_tags {
    uint32_t count;
    struct dkim_tag tags[DKIM_TAGS_MAX];
};

/* 0; -EINVAL for bad syntax or a name given twice; -E2BIG for more tags than that. */
int dkim_tags_parse(struct span text, struct dkim_tags *ret_tags);

/* The value, or a span with at == NULL. Names are compared with case. */
struct span dkim_tag_value(const struct dkim_tags *tags, const char *name);
const struct dkim_tag *dkim_tag_find(const struct dkim_tags *tags, const char *name);

/* The next element of a list with `separator`, without white space around it; false at the end.
 * *at starts at 0. An empty element is one of length 0. */
bool dkim_list_next(struct span list, char separator, uint32_t *at, struct span *ret_element);

/* True when the list holds the word. */
bool dkim_list_has(struct span list, char separator, const char *word);

/* Digits alone, at most `digits_max` of them. */
bool dkim_number_parse(struct span text, uint32_t digits_max, uint64_t *ret_number);

#endif
