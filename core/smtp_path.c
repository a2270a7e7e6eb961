/*
 * smtp_path - the grammar of paths. See the header.
 *
 * A cursor walks over the text once, forwards. Each parse_ function takes one element of the
 * grammar and leaves the cursor behind it. Limits are looked at when the syntax is known to be
 * right.
 */
#include "core/smtp_path.h"

#include <arpa/inet.h>

enum {
    LOCAL_LEN_MAX = 64,
    DOMAIN_LEN_MAX = 255,
    PATH_LEN_MAX = 256,
    LABEL_LEN_MAX = 63,
};

struct cursor {
    struct text text;
    uint32_t at;
    bool has_utf8;
};

/* The byte at the cursor; NUL, which no element holds, at the end. */
static char peek(const struct cursor *cursor)
{
    return cursor->at < cursor->text.len ? cursor->text.at[cursor->at] : '\0';
}

static bool take(struct cursor *cursor, char byte)
{
    bool is_there = peek(cursor) == byte;
    cursor->at += is_there;
    return is_there;
}

static struct text taken_since(const struct cursor *cursor, uint32_t start)
{
    return (struct text){.at = cursor->text.at + start, .len = cursor->at - start};
}

static bool is_letter_or_digit(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9');
}

bool smtp_is_atext(char byte)
{
    return is_letter_or_digit(byte) ||
           (byte != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", byte) != NULL);
}

static uint32_t utf8_sequence_length(uint8_t lead)
{
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        return 3;
    }
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/* The second byte's range is narrower behind some leads (RFC 3629, 4): no overlong forms, no
 * surrogates, nothing above U+10FFFF, and no C1 control. */
static bool utf8_second_is_valid(uint8_t lead, uint8_t second)
{
    uint8_t lowest = lead == 0xc2 || lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t highest = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return second >= lowest && second <= highest;
}

uint32_t smtp_utf8_length(struct text text)
{
    uint32_t len = text.len > 0 ? utf8_sequence_length((uint8_t)text.at[0]) : 0;
    if (len == 0 || text.len < len ||
        !utf8_second_is_valid((uint8_t)text.at[0], (uint8_t)text.at[1])) {
        return 0;
    }
    for (uint32_t i = 2; i < len; i++) {
        if (((uint8_t)text.at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

/* One character above ASCII. SYNTAX_PATH when there is none here. */
static enum smtp_syntax parse_utf8(struct cursor *cursor)
{
    if ((uint8_t)peek(cursor) < 0x80) {
        return SYNTAX_PATH;
    }
    struct text rest = {.at = cursor->text.at + cursor->at, .len = cursor->text.len - cursor->at};
    uint32_t len = smtp_utf8_length(rest);
    cursor->at += len;
    cursor->has_utf8 = true;
    return len > 0 ? SYNTAX_OK : SYNTAX_PATH_UTF8;
}

static enum smtp_syntax parse_atom(struct cursor *cursor)
{
    uint32_t start = cursor->at;
    enum smtp_syntax syntax = SYNTAX_OK;
    while (syntax == SYNTAX_OK) {
        if (smtp_is_atext(peek(cursor))) {
            cursor->at++;
        } else {
            syntax = parse_utf8(cursor);
        }
    }
    bool is_complete = syntax == SYNTAX_PATH && cursor->at > start;
    return is_complete ? SYNTAX_OK : syntax;
}

static enum smtp_syntax parse_dot_string(struct cursor *cursor)
{
    enum smtp_syntax syntax;
    do {
        syntax = parse_atom(cursor);
    } while (syntax == SYNTAX_OK && take(cursor, '.'));
    return syntax;
}

static enum smtp_syntax parse_quoted_character(struct cursor *cursor)
{
    bool is_pair = take(cursor, '\\'); /* then any printable character, '"' and '\' too */
    if (peek(cursor) >= ' ' && peek(cursor) <= '~') {
        cursor->at++;
        return SYNTAX_OK;
    }
    return is_pair ? SYNTAX_PATH : parse_utf8(cursor);
}

static enum smtp_syntax parse_quoted_string(struct cursor *cursor)
{
    cursor->at++;
    while (!take(cursor, '"')) {
        enum smtp_syntax syntax = parse_quoted_character(cursor);
        if (syntax != SYNTAX_OK) {
            return syntax;
        }
    }
    return SYNTAX_OK;
}

static enum smtp_syntax parse_local(struct cursor *cursor)
{
    return peek(cursor) == '"' ? parse_quoted_string(cursor) : parse_dot_string(cursor);
}

/* A label's limit is in characters: in the ASCII form, which is what DNS limits, every character
 * takes at least one octet. */
static enum smtp_syntax parse_label(struct cursor *cursor)
{
    uint32_t start = cursor->at;
    uint32_t characters = 0;
    enum smtp_syntax syntax = SYNTAX_OK;
    while (syntax == SYNTAX_OK) {
        char byte = peek(cursor);
        if (is_letter_or_digit(byte) || byte == '-' || byte == '_') {
            cursor->at++;
        } else {
            syntax = parse_utf8(cursor);
        }
        characters += syntax == SYNTAX_OK;
    }
    struct text label = taken_since(cursor, start);
    bool is_valid = characters > 0 && characters <= LABEL_LEN_MAX && label.at[0] != '-' &&
                    label.at[label.len - 1] != '-';
    return syntax == SYNTAX_PATH && is_valid ? SYNTAX_OK : syntax;
}

static enum smtp_syntax parse_domain_name(struct cursor *cursor)
{
    enum smtp_syntax syntax;
    do {
        syntax = parse_label(cursor);
    } while (syntax == SYNTAX_OK && take(cursor, '.'));
    return syntax;
}

/* Both forms of RFC 5321 are subsets of what inet_pton() reads (which wants no leading zeros, and
 * no zone). */
static bool literal_is_valid(struct text content)
{
    static const char tag[] = "IPv6:";
    const uint32_t tag_len = sizeof(tag) - 1;
    char string[INET6_ADDRSTRLEN];
    int family = AF_INET;
    struct text head = {.at = content.at, .len = tag_len};
    if (content.len > tag_len && text_is_nocase(head, tag)) {
        family = AF_INET6;
        content.at += tag_len;
        content.len -= tag_len;
    }
    if (content.len >= sizeof(string)) {
        return false;
    }
    memcpy(string, content.at, content.len);
    string[content.len] = '\0';
    struct in6_addr addr;
    return inet_pton(family, string, &addr) == 1;
}

static enum smtp_syntax parse_literal(struct cursor *cursor)
{
    uint32_t start = ++cursor->at;
    while (peek(cursor) > ' ' && peek(cursor) != ']') {
        cursor->at++;
    }
    struct text content = taken_since(cursor, start);
    return take(cursor, ']') && literal_is_valid(content) ? SYNTAX_OK : SYNTAX_PATH;
}

static enum smtp_syntax parse_domain(struct cursor *cursor)
{
    return peek(cursor) == '[' ? parse_literal(cursor) : parse_domain_name(cursor);
}

/* "@a,@b:" at the cursor. What begins like a route and is none, is no path either. */
static enum smtp_syntax parse_route(struct cursor *cursor)
{
    do {
        enum smtp_syntax syntax = take(cursor, '@') ? parse_domain(cursor) : SYNTAX_PATH;
        if (syntax != SYNTAX_OK) {
            return syntax;
        }
    } while (take(cursor, ','));
    return take(cursor, ':') ? SYNTAX_ROUTE : SYNTAX_PATH;
}

static enum smtp_syntax parse_mailbox(struct cursor *cursor, struct smtp_path *path)
{
    uint32_t start = cursor->at;
    enum smtp_syntax syntax = parse_local(cursor);
    if (syntax != SYNTAX_OK) {
        return syntax;
    }
    path->local = taken_since(cursor, start);
    if (!take(cursor, '@')) {
        return SYNTAX_OK;
    }
    start = cursor->at;
    path->is_literal = peek(cursor) == '[';
    syntax = parse_domain(cursor);
    path->domain = taken_since(cursor, start);
    return syntax;
}

static bool path_is_long(const struct smtp_path *path)
{
    return path->local.len > LOCAL_LEN_MAX || path->domain.len > DOMAIN_LEN_MAX ||
           path->whole.len > PATH_LEN_MAX;
}

enum smtp_syntax smtp_path_parse(struct text text, struct smtp_path *ret_path, uint32_t *ret_taken)
{
    struct cursor cursor = {.text = text};
    if (!take(&cursor, '<')) {
        return SYNTAX_PATH;
    }
    struct text empty = {.at = text.at + 1, .len = 0};
    struct smtp_path path = {.whole = empty, .local = empty, .domain = empty};
    enum smtp_syntax syntax = SYNTAX_OK;
    if (peek(&cursor) == '@') {
        syntax = parse_route(&cursor);
    } else if (peek(&cursor) != '>') {
        syntax = parse_mailbox(&cursor, &path);
    }
    path.whole = taken_since(&cursor, 1);
    path.has_utf8 = cursor.has_utf8;
    if (syntax == SYNTAX_OK && !take(&cursor, '>')) {
        return SYNTAX_PATH;
    }
    if (syntax == SYNTAX_OK && path_is_long(&path)) {
        return SYNTAX_PATH_LONG;
    }
    if (syntax == SYNTAX_OK) {
        *ret_path = path;
        *ret_taken = cursor.at;
    }
    return syntax;
}
