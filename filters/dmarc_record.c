/*
 * dmarc_record - see filters/dmarc_record.h.
 *
 * A table of the tags that are read here; each has a setter that takes its value, or refuses it. Three
 * of them are policies, for which refused is not the same as absent (4.10.1): such a record asks for
 * nothing but reports.
 */
#include "filters/dmarc_record.h"

#include <strings.h>

enum policy_tag { TAG_P, TAG_SP, TAG_NP, POLICY_TAG_COUNT };

struct parse {
    struct dmarc_record *record;
    uint32_t seen; /* bits of `tags` */
    bool has_policy[POLICY_TAG_COUNT];
    bool has_bad_policy;
    bool has_report_address;
    enum dmarc_policy policies[POLICY_TAG_COUNT];
};

struct tag {
    const char *name;
    void (*set)(struct parse *parse, struct span value);
};

static bool is_word(struct span span, const char *word)
{
    return span.len == strlen(word) && strncasecmp(span.at, word, span.len) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trimmed(struct span span)
{
    while (span.len > 0 && is_blank(span.at[0])) {
        span.at++;
        span.len--;
    }
    while (span.len > 0 && is_blank(span.at[span.len - 1])) {
        span.len--;
    }
    return span;
}

/* ---- values ---- */

static void set_policy(struct parse *parse, enum policy_tag tag, struct span value)
{
    for (enum dmarc_policy policy = DMARC_POLICY_NONE; policy <= DMARC_POLICY_REJECT; policy++) {
        if (is_word(value, dmarc_policy_name(policy))) {
            parse->policies[tag] = policy;
            parse->has_policy[tag] = true;
            return;
        }
    }
    parse->has_bad_policy = true;
}

static void set_p(struct parse *parse, struct span value)
{
    set_policy(parse, TAG_P, value);
}

static void set_sp(struct parse *parse, struct span value)
{
    set_policy(parse, TAG_SP, value);
}

static void set_np(struct parse *parse, struct span value)
{
    set_policy(parse, TAG_NP, value);
}

static void set_adkim(struct parse *parse, struct span value)
{
    parse->record->is_dkim_strict = is_word(value, "s");
}

static void set_aspf(struct parse *parse, struct span value)
{
    parse->record->is_spf_strict = is_word(value, "s");
}

static void set_t(struct parse *parse, struct span value)
{
    parse->record->is_testing = is_word(value, "y");
}

static void set_psd(struct parse *parse, struct span value)
{
    parse->record->psd = is_word(value, "y")   ? DMARC_PSD_YES
                         : is_word(value, "n") ? DMARC_PSD_NO
                                               : DMARC_PSD_UNKNOWN;
}

/* "scheme:rest" without white space (RFC 3986); a size behind "!" belongs to older records. */
static bool is_uri(struct span uri)
{
    uint32_t at = 0;
    for (; at < uri.len && uri.at[at] != ':'; at++) {
        char c = uri.at[at];
        bool is_alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool is_other = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
        if (!is_alpha && (at == 0 || !is_other)) {
            return false;
        }
    }
    return at > 0 && at + 1 < uri.len && memchr(uri.at, ' ', uri.len) == NULL &&
           memchr(uri.at, '\t', uri.len) == NULL;
}

static void set_rua(struct parse *parse, struct span value)
{
    while (value.len > 0) {
        const char *end = memchr(value.at, ',', value.len);
        uint32_t len = end == NULL ? value.len : (uint32_t)(end - value.at);
        uint32_t used = end == NULL ? len : len + 1;
        if (is_uri(trimmed((struct span){value.at, len}))) {
            parse->has_report_address = true;
        }
        value.at += used;
        value.len -= used;
    }
}

static const struct tag tags[] = {
    {"p", set_p},       {"sp", set_sp}, {"np", set_np},   {"adkim", set_adkim},
    {"aspf", set_aspf}, {"t", set_t},   {"psd", set_psd}, {"rua", set_rua},
};

enum { TAG_COUNT = sizeof(tags) / sizeof(tags[0]) };

/* ---- the record ---- */

static bool is_printable(struct span span)
{
    for (uint32_t i = 0; i < span.len; i++) {
        if (span.at[i] < ' ' || span.at[i] > '~') {
            return false;
        }
    }
    return true;
}

static bool split_tag(struct span part, struct span *ret_name, struct span *ret_value)
{
    const char *equals = part.len > 0 ? memchr(part.at, '=', part.len) : NULL;
    if (equals == NULL) {
        return false;
    }
    *ret_name = trimmed((struct span){part.at, (uint32_t)(equals - part.at)});
    *ret_value = trimmed((struct span){equals + 1, part.len - (uint32_t)(equals + 1 - part.at)});
    return true;
}

static struct span take_part(struct span *text)
{
    const char *end = memchr(text->at, ';', text->len);
    struct span part = {text->at, end == NULL ? text->len : (uint32_t)(end - text->at)};
    uint32_t used = end == NULL ? part.len : part.len + 1;
    text->at += used;
    text->len -= used;
    return part;
}

/* A value that is empty or not printable is a syntax error as much as an unknown word is. */
static void take_tag(struct parse *parse, struct span part)
{
    struct span name;
    struct span value;
    if (!split_tag(part, &name, &value)) {
        return;
    }
    for (uint32_t i = 0; i < TAG_COUNT; i++) {
        if (is_word(name, tags[i].name) && (parse->seen & 1u << i) == 0) {
            parse->seen |= 1u << i;
            tags[i].set(parse, is_printable(value) ? value : (struct span){"", 0});
        }
    }
}

static bool is_version(struct span part)
{
    struct span name;
    struct span value;
    bool is_first = part.len > 0 && !is_blank(part.at[0]);
    return is_first && split_tag(part, &name, &value) && is_word(name, "v") &&
           span_is(value, "DMARC1");
}

bool dmarc_record_parse(struct span text, struct dmarc_record *ret_record)
{
    struct parse parse = {.record = ret_record};
    *ret_record = (struct dmarc_record){0};
    if (text.len == 0 || !is_version(take_part(&text))) {
        return false;
    }
    while (text.len > 0) {
        take_tag(&parse, take_part(&text));
    }
    bool is_good = parse.has_policy[TAG_P] && !parse.has_bad_policy;
    ret_record->is_usable = is_good || parse.has_report_address;
    if (is_good) {
        const enum dmarc_policy *policies = parse.policies;
        ret_record->domain = policies[TAG_P];
        ret_record->below = policies[parse.has_policy[TAG_SP] ? TAG_SP : TAG_P];
        ret_record->missing = parse.has_policy[TAG_NP] ? policies[TAG_NP] : ret_record->below;
    }
    return true;
}

const char *dmarc_policy_name(enum dmarc_policy policy)
{
    switch (policy) {
    case DMARC_POLICY_NONE:
        return "none";
    case DMARC_POLICY_QUARANTINE:
        return "quarantine";
    case DMARC_POLICY_REJECT:
        return "reject";
    }
    return "none";
}

enum dmarc_policy dmarc_policy_applied(enum dmarc_policy policy, bool is_testing)
{
    if (!is_testing) {
        return policy;
    }
    return policy == DMARC_POLICY_REJECT ? DMARC_POLICY_QUARANTINE : DMARC_POLICY_NONE;
}
