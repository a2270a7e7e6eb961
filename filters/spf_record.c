/*
 * spf_record - see filters/spf_record.h.
 */
#include "filters/spf_record.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "filters/spf_macro.h"

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool spf_is_record(const char *text, uint32_t len)
{
    return len >= 6 && strncasecmp(text, "v=spf1", 6) == 0 && (len == 6 || text[6] == ' ');
}

/* "/24": digits without a leading zero (but "0" alone), at most `max`. */
static bool parse_bits(const char *text, uint32_t len, uint32_t max, uint8_t *ret_bits)
{
    uint32_t number = 0;
    if (len == 0 || len > 3 || (len > 1 && text[0] == '0')) {
        return false;
    }
    for (uint32_t i = 0; i < len; i++) {
        if (!is_digit(text[i])) {
            return false;
        }
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    *ret_bits = (uint8_t)number;
    return number <= max;
}

/* Takes "/" or "//" and digits off the end. False: there they are, and too much. */
static bool take_prefix(struct span *rest, const char *slashes, uint32_t max, uint8_t *bits)
{
    uint32_t count = (uint32_t)strlen(slashes);
    uint32_t begin = rest->len;
    while (begin > 0 && is_digit(rest->at[begin - 1])) {
        begin--;
    }
    if (begin == rest->len || begin < count ||
        memcmp(rest->at + begin - count, slashes, count) != 0) {
        return true;
    }
    if (!parse_bits(rest->at + begin, rest->len - begin, max, bits)) {
        return false;
    }
    rest->len = begin - count;
    return true;
}

/* "/24", "//64" or both, behind a or mx. Other slashes belong to the name. */
static bool take_cidr(struct span *rest, struct spf_term *term)
{
    return take_prefix(rest, "//", 128, &term->bits6) && take_prefix(rest, "/", 32, &term->bits4);
}

static bool parse_network(struct span text, struct spf_term *term)
{
    char address[INET6_ADDRSTRLEN];
    bool is_v4 = term->kind == SPF_IP4;
    const char *slash = memchr(text.at, '/', text.len);
    uint32_t len = slash == NULL ? text.len : (uint32_t)(slash - text.at);
    uint8_t *bits = is_v4 ? &term->bits4 : &term->bits6;
    if (slash != NULL && !parse_bits(slash + 1, text.len - len - 1, is_v4 ? 32 : 128, bits)) {
        return false;
    }
    if (len == 0 || len >= sizeof(address)) {
        return false;
    }
    memcpy(address, text.at, len);
    address[len] = '\0';
    return inet_pton(is_v4 ? AF_INET : AF_INET6, address, term->address) == 1;
}

static const struct mechanism_row {
    const char *name;
    enum spf_kind kind;
    bool has_spec;
    bool needs_spec;
    bool has_cidr;
} mechanism_rows[] = {
    {"all", SPF_ALL, false, false, false}, {"include", SPF_INCLUDE, true, true, false},
    {"a", SPF_A, true, false, true},       {"mx", SPF_MX, true, false, true},
    {"ptr", SPF_PTR, true, false, false},  {"ip4", SPF_IP4, true, true, false},
    {"ip6", SPF_IP6, true, true, false},   {"exists", SPF_EXISTS, true, true, false},
};

static const struct mechanism_row *find_mechanism(struct span name)
{
    for (size_t i = 0; i < sizeof(mechanism_rows) / sizeof(mechanism_rows[0]); i++) {
        const struct mechanism_row *row = &mechanism_rows[i];
        if (strlen(row->name) == name.len && strncasecmp(row->name, name.at, name.len) == 0) {
            return row;
        }
    }
    return NULL;
}

static bool parse_mechanism(struct span text, struct spf_term *term)
{
    uint32_t name_len = 0;
    while (name_len < text.len && text.at[name_len] != ':' && text.at[name_len] != '/') {
        name_len++;
    }
    const struct mechanism_row *row = find_mechanism((struct span){text.at, name_len});
    if (row == NULL) {
        return false;
    }
    struct span rest = {text.at + name_len, text.len - name_len};
    term->kind = row->kind;
    term->bits4 = 32;
    term->bits6 = 128;
    bool has_colon = rest.len > 0 && rest.at[0] == ':';
    if (has_colon) {
        rest.at++;
        rest.len--;
    }
    if (row->kind == SPF_IP4 || row->kind == SPF_IP6) {
        return has_colon && parse_network(rest, term);
    }
    if (row->has_cidr && !take_cidr(&rest, term)) {
        return false;
    }
    if (has_colon != (rest.len > 0) || (has_colon && !row->has_spec) ||
        (row->needs_spec && !has_colon)) {
        return false;
    }
    term->spec = rest;
    return rest.len == 0 || spf_spec_is_valid(rest.at, rest.len);
}

/* ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ) "=". 0 when it is no modifier. */
static uint32_t modifier_len(struct span text)
{
    uint32_t at = 0;
    if (text.len == 0 || !is_alpha(text.at[0])) {
        return 0;
    }
    while (at < text.len && (is_alpha(text.at[at]) || is_digit(text.at[at]) || text.at[at] == '-' ||
                             text.at[at] == '_' || text.at[at] == '.')) {
        at++;
    }
    return at < text.len && text.at[at] == '=' ? at : 0;
}

static bool parse_modifier(struct span text, uint32_t name_len, struct spf_term *term)
{
    struct span value = {text.at + name_len + 1, text.len - name_len - 1};
    term->spec = value;
    term->kind = SPF_UNKNOWN;
    if (name_len == 8 && strncasecmp(text.at, "redirect", 8) == 0) {
        term->kind = SPF_REDIRECT;
    } else if (name_len == 3 && strncasecmp(text.at, "exp", 3) == 0) {
        term->kind = SPF_EXP;
    }
    if (term->kind == SPF_UNKNOWN) {
        return spf_macro_is_valid(value.at, value.len, false);
    }
    return value.len > 0 && spf_spec_is_valid(value.at, value.len);
}

static bool parse_term(struct span text, struct spf_term *term)
{
    uint32_t name_len = modifier_len(text);
    *term = (struct spf_term){.result = CHECK_PASS};
    if (name_len > 0) {
        return parse_modifier(text, name_len, term);
    }
    static const struct {
        char sign;
        enum check_result result;
    } qualifiers[] = {
        {'+', CHECK_PASS}, {'-', CHECK_FAIL}, {'~', CHECK_SOFTFAIL}, {'?', CHECK_NEUTRAL}};
    for (size_t i = 0; i < sizeof(qualifiers) / sizeof(qualifiers[0]); i++) {
        if (text.at[0] == qualifiers[i].sign) {
            term->result = qualifiers[i].result;
            text.at++;
            text.len--;
            break;
        }
    }
    return parse_mechanism(text, term);
}

int spf_next_term(const char *text, uint32_t len, uint32_t *at, struct spf_term *ret_term)
{
    if (*at == 0) {
        *at = 6; /* "v=spf1" */
    }
    while (*at < len && text[*at] == ' ') {
        (*at)++;
    }
    if (*at == len) {
        return 0;
    }
    const char *end = memchr(text + *at, ' ', len - *at);
    struct span term = {text + *at, end == NULL ? len - *at : (uint32_t)(end - text) - *at};
    *at += term.len;
    return parse_term(term, ret_term) ? 1 : -EINVAL;
}

int spf_check_record(const char *text, uint32_t len, struct span *ret_redirect,
                     struct span *ret_exp)
{
    struct spf_term term;
    uint32_t at = 0;
    int result;
    *ret_redirect = (struct span){NULL, 0};
    *ret_exp = (struct span){NULL, 0};
    while ((result = spf_next_term(text, len, &at, &term)) > 0) {
        struct span *once = term.kind == SPF_REDIRECT ? ret_redirect
                            : term.kind == SPF_EXP    ? ret_exp
                                                      : NULL;
        if (once != NULL && once->len > 0) {
            return -EINVAL;
        }
        if (once != NULL) {
            *once = term.spec;
        }
    }
    return result;
}
