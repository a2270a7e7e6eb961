/*
 * escape - peer bytes into JSON strings and log lines (contract: core/escape.h).
 *
 * Both walk the input in runs: bytes that need nothing are copied together, everything else is
 * looked at one character at a time. "Valid UTF-8" is RFC 3629's: no overlong forms, no
 * surrogates, nothing above U+10FFFF. Characters that a reader may take for the end of a line or
 * for a control (C0, DEL, C1, U+2028, U+2029) are always escaped. An escape is written whole or
 * not at all.
 */
#include "core/escape.h"

#include <assert.h>

enum { ESCAPE_BYTE_MAX = 6 };

static const char HEX[] = "0123456789ABCDEF";

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Whether the eight bytes at `at` all are plain: in each byte of the word, the highest bit of a term is
 * set by what is not. A borrow may set one too many, behind a byte that is not plain anyway. */
static bool are_plain(const char *at)
{
    static const uint64_t ones = 0x0101010101010101;
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    uint64_t quote = word ^ (ones * '"');
    uint64_t backslash = word ^ (ones * '\\');
    uint64_t del = word ^ (ones * 0x7f);
    uint64_t odd = (word - ones * 0x20) | (quote - ones) | (backslash - ones) | (del - ones) | word;
    return (odd & (ones * 0x80)) == 0;
}

/* Length of the run of bytes at `from` that stand for themselves. */
static uint32_t plain_run(struct text text, uint32_t from)
{
    uint32_t at = from;
    while (text.len - at >= sizeof(uint64_t) && are_plain(text.at + at)) {
        at += (uint32_t)sizeof(uint64_t);
    }
    while (at < text.len && is_plain((unsigned char)text.at[at])) {
        at++;
    }
    return at - from;
}

static bool is_tail(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Length of the printable multi-byte character at `at` (2..4), 0 when it is invalid or unwanted. */
static uint32_t utf8_len(const unsigned char *at, uint32_t left)
{
    if (at[0] >= 0xc2 && at[0] <= 0xdf && left >= 2 && is_tail(at[1])) {
        bool is_c1 = at[0] == 0xc2 && at[1] < 0xa0;
        return is_c1 ? 0 : 2;
    }
    if ((at[0] & 0xf0) == 0xe0 && left >= 3 && is_tail(at[1]) && is_tail(at[2])) {
        bool is_overlong = at[0] == 0xe0 && at[1] < 0xa0;
        bool is_surrogate = at[0] == 0xed && at[1] >= 0xa0;
        bool is_separator = at[0] == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9);
        return is_overlong || is_surrogate || is_separator ? 0 : 3;
    }
    if (at[0] >= 0xf0 && at[0] <= 0xf4 && left >= 4 && is_tail(at[1]) && is_tail(at[2]) &&
        is_tail(at[3])) {
        bool is_overlong = at[0] == 0xf0 && at[1] < 0x90;
        bool is_above = at[0] == 0xf4 && at[1] >= 0x90;
        return is_overlong || is_above ? 0 : 4;
    }
    return 0;
}

/* One byte as \", \\, \n, \r, \t or \u00XX; returns the length. */
static uint32_t json_byte(char out[ESCAPE_BYTE_MAX], unsigned char c)
{
    char letter = '\0';
    switch (c) {
    case '"':
    case '\\':
        letter = (char)c;
        break;
    case '\n':
        letter = 'n';
        break;
    case '\r':
        letter = 'r';
        break;
    case '\t':
        letter = 't';
        break;
    default:
        break;
    }
    out[0] = '\\';
    if (letter != '\0') {
        out[1] = letter;
        return 2;
    }
    memcpy(out + 1, "u00", 3);
    out[4] = HEX[c >> 4];
    out[5] = HEX[c & 15];
    return 6;
}

/* One byte as \xXX; returns the length. */
static uint32_t text_byte(char out[ESCAPE_BYTE_MAX], unsigned char c)
{
    out[0] = '\\';
    out[1] = 'x';
    out[2] = HEX[c >> 4];
    out[3] = HEX[c & 15];
    return 4;
}

typedef uint32_t escape_byte_fn(char out[ESCAPE_BYTE_MAX], unsigned char c);

static inline uint32_t escape(char *out, uint32_t size, struct text text, escape_byte_fn *byte)
{
    uint32_t written = 0;
    uint32_t at = 0;
    while (at < text.len) {
        uint32_t run = plain_run(text, at);
        if (run > size - written) {
            run = size - written;
        }
        if (run > 0) {
            memcpy(out + written, text.at + at, run);
        }
        written += run;
        at += run;
        if (at == text.len || written == size) {
            break;
        }
        unsigned char c = (unsigned char)text.at[at];
        char piece[ESCAPE_BYTE_MAX];
        const char *from = text.at + at;
        uint32_t taken = is_plain(c) ? 1 : utf8_len((const unsigned char *)from, text.len - at);
        uint32_t len = taken;
        if (taken == 0) {
            taken = 1;
            len = byte(piece, c);
            from = piece;
        }
        if (len > size - written) {
            break;
        }
        memcpy(out + written, from, len);
        written += len;
        at += taken;
    }
    assert(written <= size);
    return written;
}

uint32_t escape_json(char *out, uint32_t size, struct text text)
{
    return escape(out, size, text, json_byte);
}

uint32_t escape_text(char *out, uint32_t size, struct text text)
{
    return escape(out, size, text, text_byte);
}
