/*
 * from - see filters/from.h.
 *
 * A scan over tokens: comments, quoted strings and domain literals are stepped over whole, so that
 * nothing in them looks like an address. The domain is what follows an "@" outside of them: inside
 * angle brackets where there are some, else in the plain address. One linear pass, no repair.
 */
#include "filters/from.h"

#include <string.h>

#include "filters/span.h"

enum {
    COMMENT_DEPTH_MAX = 100,
    FROM_MAX = 16 * 1024, /* octets of the field: thousands of addresses are no author */
};

struct scan {
    struct span text;
    uint32_t at;
    bool is_bad;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Over a comment, which may hold others (3.2.2). */
static void skip_comment(struct scan *scan)
{
    uint32_t depth = 0;
    while (scan->at < scan->text.len) {
        char c = scan->text.at[scan->at++];
        if (c == '\\') {
            scan->at++;
        } else if (c == '(' && ++depth > COMMENT_DEPTH_MAX) {
            break;
        } else if (c == ')' && --depth == 0) {
            return;
        }
    }
    scan->is_bad = true;
}

/* Over a quoted string or a domain literal, up to and with `end`. */
static void skip_quoted(struct scan *scan, char end)
{
    scan->at++;
    while (scan->at < scan->text.len) {
        char c = scan->text.at[scan->at++];
        if (c == '\\') {
            scan->at++;
        } else if (c == end) {
            return;
        }
    }
    scan->is_bad = true;
}

/* White space and comments. */
static void skip_blank(struct scan *scan)
{
    while (scan->at < scan->text.len && !scan->is_bad) {
        char c = scan->text.at[scan->at];
        if (c == '(') {
            skip_comment(scan);
        } else if (is_space(c)) {
            scan->at++;
        } else {
            return;
        }
    }
}

static bool is_domain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || (c & 0x80) != 0;
}

/* Behind an "@": a domain, into `out` when it is the first one, or the same. */
static void take_domain(struct scan *scan, char out[FOUND_DOMAIN_MAX])
{
    char domain[FOUND_DOMAIN_MAX];
    uint32_t len = 0;
    skip_blank(scan);
    while (scan->at < scan->text.len && is_domain_char(scan->text.at[scan->at])) {
        char c = scan->text.at[scan->at++];
        if (len + 1 >= sizeof(domain)) {
            scan->is_bad = true;
            return;
        }
        domain[len++] = c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
    }
    domain[len] = '\0';
    bool is_other = out[0] != '\0' && strcmp(out, domain) != 0;
    if (len == 0 || is_other) {
        scan->is_bad = true; /* a literal, nothing, or a second domain */
        return;
    }
    memcpy(out, domain, len + 1);
}

/* A route, "@a,@b:" behind "<" (4.4): names nobody. */
static void skip_route(struct scan *scan)
{
    skip_blank(scan);
    if (scan->at < scan->text.len && scan->text.at[scan->at] == '@') {
        const char *colon = memchr(scan->text.at + scan->at, ':', scan->text.len - scan->at);
        if (colon == NULL) {
            scan->is_bad = true;
            return;
        }
        scan->at = (uint32_t)(colon - scan->text.at) + 1;
    }
}

uint32_t from_domain(const struct header *header, char out[FOUND_DOMAIN_MAX])
{
    const struct header_field *field;
    out[0] = '\0';
    if (header->is_malformed || header->is_too_large || header_count(header, "From", &field) != 1 ||
        field->len > FROM_MAX) {
        return 0;
    }
    struct scan scan = {
        .text = {header->text + field->value_at, field->len - (field->value_at - field->at)}};
    while (scan.at < scan.text.len && !scan.is_bad) {
        char c = scan.text.at[scan.at];
        if (c == '(') {
            skip_comment(&scan);
        } else if (c == '"') {
            skip_quoted(&scan, '"');
        } else if (c == '<') {
            scan.at++;
            skip_route(&scan);
        } else if (c == '@') {
            scan.at++;
            take_domain(&scan, out);
        } else {
            scan.at++;
        }
    }
    if (scan.is_bad) {
        out[0] = '\0';
    }
    return (uint32_t)strlen(out);
}
