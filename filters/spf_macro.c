/*
 * spf_macro - see filters/spf_macro.h.
 */
#include "filters/spf_macro.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "filters/address.h"

enum { PARTS_MAX = 128, DOMAIN_MAX = 253 };

/* "%{d2r.-}", taken apart. */
struct macro {
    char letter; /* lower case */
    bool is_escaped;
    bool is_reversed;
    uint32_t digits; /* 0: all */
    char delimiters[8];
    uint32_t len; /* of its text */
};

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* ---- syntax ---- */

static bool parse_braces(const char *text, uint32_t len, struct macro *macro)
{
    static const char letters[] = "slodiphcrtv";
    uint32_t at = 2;
    *macro = (struct macro){0};
    if (len < 4) {
        return false;
    }
    char letter = text[at];
    macro->is_escaped = letter >= 'A' && letter <= 'Z';
    macro->letter = macro->is_escaped ? (char)(letter + 'a' - 'A') : letter;
    if (letter == '\0' || strchr(letters, macro->letter) == NULL) {
        return false;
    }
    at++;
    bool has_digits = false;
    while (at < len && text[at] >= '0' && text[at] <= '9') {
        has_digits = true;
        macro->digits = macro->digits * 10 + (uint32_t)(text[at++] - '0');
        macro->digits = macro->digits > PARTS_MAX ? PARTS_MAX : macro->digits;
    }
    if (has_digits && macro->digits == 0) {
        return false;
    }
    if (at < len && (text[at] == 'r' || text[at] == 'R')) {
        macro->is_reversed = true;
        at++;
    }
    uint32_t count = 0;
    while (at < len && text[at] != '\0' && strchr(".-+,/_=", text[at]) != NULL) {
        if (count < sizeof(macro->delimiters) - 1) {
            macro->delimiters[count++] = text[at];
        }
        at++;
    }
    macro->len = at + 1;
    return at < len && text[at] == '}';
}

/* A macro or an escape at the head of the text, which begins with "%". False: bad. */
static bool parse_percent(const char *text, uint32_t len, struct macro *macro)
{
    if (len >= 2 && text[1] == '{') {
        return parse_braces(text, len, macro);
    }
    *macro = (struct macro){.letter = len >= 2 ? text[1] : '\0', .len = 2};
    return len >= 2 && (text[1] == '%' || text[1] == '_' || text[1] == '-');
}

/* *ret_tail is the offset behind the last macro. */
static bool scan(const char *text, uint32_t len, bool is_exp, uint32_t *ret_tail)
{
    uint32_t at = 0;
    *ret_tail = 0;
    while (at < len) {
        struct macro macro;
        if (text[at] != '%') {
            bool is_literal = text[at] > ' ' && text[at] <= '~';
            if (!is_literal && !(is_exp && text[at] == ' ')) {
                return false;
            }
            at++;
            continue;
        }
        if (!parse_percent(text + at, len - at, &macro)) {
            return false;
        }
        if (!is_exp && (macro.letter == 'c' || macro.letter == 'r' || macro.letter == 't')) {
            return false;
        }
        at += macro.len;
        *ret_tail = macro.len > 2 ? at : *ret_tail;
    }
    return true;
}

bool spf_macro_is_valid(const char *text, uint32_t len, bool is_exp)
{
    uint32_t tail;
    return scan(text, len, is_exp, &tail);
}

/* Letters, digits and hyphens, not all digits, no hyphen at either end. */
static bool is_top_label(const char *text, uint32_t len)
{
    bool all_digits = true;
    for (uint32_t i = 0; i < len; i++) {
        if (!is_alnum(text[i]) && text[i] != '-') {
            return false;
        }
        all_digits = all_digits && text[i] >= '0' && text[i] <= '9';
    }
    return len > 0 && !all_digits && text[0] != '-' && text[len - 1] != '-';
}

bool spf_spec_is_valid(const char *text, uint32_t len)
{
    uint32_t tail;
    if (!scan(text, len, false, &tail)) {
        return false;
    }
    if (tail == len) {
        return len > 0; /* it ends in a macro */
    }
    uint32_t end = text[len - 1] == '.' ? len - 1 : len;
    uint32_t begin = end;
    while (begin > tail && text[begin - 1] != '.') {
        begin--;
    }
    return begin > tail && is_top_label(text + begin, end - begin);
}

bool spf_macro_needs_name(const char *text, uint32_t len)
{
    for (uint32_t i = 0; i + 2 < len; i++) {
        if (text[i] == '%' && text[i + 1] == '{' && (text[i + 2] == 'p' || text[i + 2] == 'P')) {
            return true;
        }
        i += text[i] == '%' ? 1 : 0;
    }
    return false;
}

/* ---- values ---- */

/* Dotted: "192.0.2.1", or 32 nibbles in order. */
static void dotted_address(const struct sockaddr *client, char *out, uint32_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t octets[16];
    uint32_t len = address_octets(client, octets);
    uint32_t at = 0;
    if (len == 4) {
        (void)snprintf(out, size, "%u.%u.%u.%u", octets[0], octets[1], octets[2], octets[3]);
        return;
    }
    for (uint32_t i = 0; i < len; i++) {
        out[at++] = digits[octets[i] >> 4];
        out[at++] = '.';
        out[at++] = digits[octets[i] & 15];
        out[at++] = '.';
    }
    out[at > 0 ? at - 1 : 0] = '\0';
}

static void value_of(char letter, const struct spf_names *names, char *out, uint32_t size)
{
    uint8_t octets[16];
    switch (letter) {
    case 's':
        (void)snprintf(out, size, "%s@%s", names->local, names->sender);
        return;
    case 'l':
        (void)snprintf(out, size, "%s", names->local);
        return;
    case 'o':
        (void)snprintf(out, size, "%s", names->sender);
        return;
    case 'd':
        (void)snprintf(out, size, "%s", names->domain);
        return;
    case 'i':
        dotted_address(names->client, out, size);
        return;
    case 'p':
        (void)snprintf(out, size, "%s", names->validated);
        return;
    case 'h':
        (void)snprintf(out, size, "%s", names->helo);
        return;
    case 'c':
        address_text(names->client, out);
        return;
    case 'r':
        (void)snprintf(out, size, "%s", names->host);
        return;
    case 't':
        (void)snprintf(out, size, "%lld", (long long)names->now_s);
        return;
    default:
        (void)snprintf(out, size, "%s",
                       address_octets(names->client, octets) == 4 ? "in-addr" : "ip6");
        return;
    }
}

struct writer {
    char *out;
    uint32_t len;
    bool is_full;
};

static void put(struct writer *w, char c)
{
    if (w->len + 1 >= SPF_EXPANDED_MAX) {
        w->is_full = true;
        return;
    }
    w->out[w->len++] = c;
}

static void put_escaped(struct writer *w, char c)
{
    static const char digits[] = "0123456789ABCDEF";
    bool is_plain = is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
    if (is_plain) {
        put(w, c);
        return;
    }
    put(w, '%');
    put(w, digits[(uint8_t)c >> 4]);
    put(w, digits[(uint8_t)c & 15]);
}

static void put_macro(struct writer *w, const struct macro *macro, const struct spf_names *names)
{
    char value[SPF_EXPANDED_MAX];
    char *parts[PARTS_MAX];
    uint32_t count = 0;
    const char *delimiters = macro->delimiters[0] != '\0' ? macro->delimiters : ".";
    value_of(macro->letter, names, value, sizeof(value));
    char *rest = value;
    while (rest != NULL && count < PARTS_MAX) {
        parts[count++] = strsep(&rest, delimiters);
    }
    uint32_t take = macro->digits == 0 || macro->digits > count ? count : macro->digits;
    for (uint32_t i = count - take; i < count; i++) {
        const char *part = parts[macro->is_reversed ? count - 1 - i : i];
        if (i > count - take) {
            put(w, '.');
        }
        for (; *part != '\0'; part++) {
            if (macro->is_escaped) {
                put_escaped(w, *part);
            } else {
                put(w, *part);
            }
        }
    }
}

int spf_macro_expand(const char *text, uint32_t len, const struct spf_names *names, char *out)
{
    struct writer w = {.out = out};
    uint32_t at = 0;
    while (at < len && !w.is_full) {
        struct macro macro;
        if (text[at] != '%' || !parse_percent(text + at, len - at, &macro)) {
            put(&w, text[at++]);
            continue;
        }
        at += macro.len;
        if (macro.len > 2) {
            put_macro(&w, &macro, names);
        } else if (macro.letter == '%') {
            put(&w, '%');
        } else if (macro.letter == '_') {
            put(&w, ' ');
        } else {
            put(&w, '%');
            put(&w, '2');
            put(&w, '0');
        }
    }
    w.out[w.len] = '\0';
    return w.is_full ? -EMSGSIZE : (int)w.len;
}

int spf_spec_expand(const char *text, uint32_t len, const struct spf_names *names, char *out)
{
    int result = spf_macro_expand(text, len, names, out);
    if (result < 0) {
        return result;
    }
    uint32_t left = (uint32_t)result;
    left -= left > 0 && out[left - 1] == '.' ? 1 : 0;
    const char *begin = out;
    while (left > DOMAIN_MAX) {
        const char *dot = memchr(begin, '.', left);
        if (dot == NULL) {
            return -EMSGSIZE;
        }
        left -= (uint32_t)(dot + 1 - begin);
        begin = dot + 1;
    }
    memmove(out, begin, left);
    out[left] = '\0';
    return (int)left;
}
