/*
 * dkim_tags - see filters/dkim_tags.h.
 */
#include "filters/dkim_tags.h"

#include <errno.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_name_char(char c, bool is_first)
{
    bool is_alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return is_alpha || (!is_first && ((c >= '0' && c <= '9') || c == '_'));
}

static struct span trimmed(struct span span)
{
    while (span.len > 0 && is_space(span.at[0])) {
        span.at++;
        span.len--;
    }
    while (span.len > 0 && is_space(span.at[span.len - 1])) {
        span.len--;
    }
    return span;
}

/* CR and LF only as CRLF in front of white space (folding); the rest visible ASCII. */
static bool is_value(struct span text)
{
    for (uint32_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '\r') {
            bool is_fold = i + 2 < text.len && text.at[i + 1] == '\n' &&
                           (text.at[i + 2] == ' ' || text.at[i + 2] == '\t');
            if (!is_fold) {
                return false;
            }
            i++;
        } else if (c == '\n' || (c != '\t' && (c < ' ' || c > '~'))) {
            return false;
        }
    }
    return true;
}

static bool parse_tag(struct span text, struct dkim_tag *tag)
{
    const char *equals = memchr(text.at, '=', text.len);
    if (equals == NULL) {
        return false;
    }
    tag->name = trimmed((struct span){text.at, (uint32_t)(equals - text.at)});
    tag->whole = (struct span){equals + 1, text.len - (uint32_t)(equals + 1 - text.at)};
    tag->value = trimmed(tag->whole);
    for (uint32_t i = 0; i < tag->name.len; i++) {
        if (!is_name_char(tag->name.at[i], i == 0)) {
            return false;
        }
    }
    return tag->name.len > 0 && is_value(tag->value);
}

static bool has_name(const struct dkim_tags *tags, struct span name)
{
    for (uint32_t i = 0; i < tags->count; i++) {
        const struct span *other = &tags->tags[i].name;
        if (other->len == name.len && memcmp(other->at, name.at, name.len) == 0) {
            return true;
        }
    }
    return false;
}

int dkim_tags_parse(struct span text, struct dkim_tags *ret_tags)
{
    ret_tags->count = 0;
    while (text.len > 0) {
        const char *end = memchr(text.at, ';', text.len);
        struct span part = {text.at, end == NULL ? text.len : (uint32_t)(end - text.at)};
        uint32_t used = part.len + (end != NULL ? 1 : 0);
        text.at += used;
        text.len -= used;
        if (trimmed(part).len == 0 && end == NULL && ret_tags->count > 0) {
            return 0; /* a semicolon at the end */
        }
        struct dkim_tag tag;
        if (!parse_tag(part, &tag) || has_name(ret_tags, tag.name)) {
            return -EINVAL;
        }
        if (ret_tags->count == DKIM_TAGS_MAX) {
            return -E2BIG;
        }
        ret_tags->tags[ret_tags->count++] = tag;
    }
    return ret_tags->count > 0 ? 0 : -EINVAL;
}

const struct dkim_tag *dkim_tag_find(const struct dkim_tags *tags, const char *name)
{
    for (uint32_t i = 0; i < tags->count; i++) {
        if (span_is(tags->tags[i].name, name)) {
            return &tags->tags[i];
        }
    }
    return NULL;
}

struct span dkim_tag_value(const struct dkim_tags *tags, const char *name)
{
    const struct dkim_tag *tag = dkim_tag_find(tags, name);
    return tag == NULL ? (struct span){NULL, 0} : tag->value;
}

bool dkim_list_next(struct span list, char separator, uint32_t *at, struct span *ret_element)
{
    if (*at > list.len) {
        return false;
    }
    const char *begin = list.at + *at;
    uint32_t left = list.len - *at;
    const char *end = left > 0 ? memchr(begin, separator, left) : NULL;
    uint32_t len = end == NULL ? left : (uint32_t)(end - begin);
    *ret_element = trimmed((struct span){begin, len});
    *at += len + 1;
    return true;
}

bool dkim_list_has(struct span list, char separator, const char *word)
{
    struct span element;
    for (uint32_t at = 0; dkim_list_next(list, separator, &at, &element);) {
        if (span_is(element, word)) {
            return true;
        }
    }
    return false;
}

bool dkim_number_parse(struct span text, uint32_t digits_max, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text.len == 0 || text.len > digits_max) {
        return false;
    }
    for (uint32_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(text.at[i] - '0');
        number = number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : number * 10 + digit;
    }
    *ret_number = number;
    return true;
}
