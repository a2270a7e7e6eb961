/*
 * smtp_reply - finds one complete reply of an upstream. See the header.
 *
 * The scan starts at the reply's first byte each time: a reply is short, nearly always arrives in
 * one piece, and no state has to be kept. What is wrong is said at the first wrong byte.
 */
#include "core/smtp_reply.h"

#include "core/smtp_command.h"

#include <assert.h>

struct reply_line {
    uint16_t code;
    bool is_last;
    struct text text; /* behind the separator */
    uint32_t len;     /* with the CRLF */
};

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* 200 to 559; looks at as many of the three digits as there are. */
static bool code_is_possible(const char *data, uint32_t len)
{
    static const char highest[3] = {'5', '5', '9'};
    static const char lowest[3] = {'2', '0', '0'};
    for (uint32_t i = 0; i < len && i < 3; i++) {
        if (data[i] < lowest[i] || data[i] > highest[i]) {
            return false;
        }
    }
    return true;
}

static bool text_byte_is_valid(char byte)
{
    return byte == '\t' || (uint8_t)byte >= 0x80 || (byte >= ' ' && byte != 0x7f);
}

/* From `at` (behind the code) to the line's CRLF. */
static enum smtp_reply_result find_line_end(const char *data, uint32_t at, uint32_t len,
                                            uint32_t *ret_end)
{
    while (at < len && text_byte_is_valid(data[at])) {
        at++;
    }
    if (at == len) {
        return REPLY_MORE;
    }
    if (data[at] != '\r') {
        return REPLY_BAD;
    }
    if (at + 1 == len) {
        return REPLY_MORE;
    }
    *ret_end = at;
    return data[at + 1] == '\n' ? REPLY_OK : REPLY_BAD;
}

static enum smtp_reply_result parse_line(const char *data, uint32_t len,
                                         struct reply_line *ret_line)
{
    if (!code_is_possible(data, len)) {
        return REPLY_BAD;
    }
    if (len < 4) {
        return REPLY_MORE;
    }
    bool has_separator = data[3] == ' ' || data[3] == '-';
    if (!has_separator && data[3] != '\r') {
        return REPLY_BAD;
    }
    uint32_t start = has_separator ? 4 : 3;
    uint32_t end;
    enum smtp_reply_result result = find_line_end(data, start, len, &end);
    if (result == REPLY_OK) {
        *ret_line = (struct reply_line){
            .code = (uint16_t)((data[0] - '0') * 100 + (data[1] - '0') * 10 + (data[2] - '0')),
            .is_last = data[3] != '-',
            .text = {.at = data + start, .len = end - start},
            .len = end + 2,
        };
    }
    return result;
}

/* One to three digits at `at`; 0 when there are none or too many. */
static uint32_t count_digits(struct text text, uint32_t at)
{
    uint32_t count = 0;
    while (at + count < text.len && is_digit(text.at[at + count])) {
        count++;
    }
    return count <= 3 ? count : 0;
}

/* class "." subject "." detail, and a space or nothing behind it. */
static struct text find_enhanced(struct text text, uint16_t code)
{
    const struct text none = {.at = text.at, .len = 0};
    bool has_class = code / 100 != 3; /* there are no enhanced codes of class 3 */
    if (!has_class || text.len < 5 || text.at[0] != '0' + code / 100 || text.at[1] != '.') {
        return none;
    }
    uint32_t subject = count_digits(text, 2);
    uint32_t dot = 2 + subject;
    if (subject == 0 || dot >= text.len || text.at[dot] != '.') {
        return none;
    }
    uint32_t detail = count_digits(text, dot + 1);
    uint32_t end = dot + 1 + detail;
    if (detail == 0 || (end < text.len && text.at[end] != ' ' && text.at[end] != '\t')) {
        return none;
    }
    return (struct text){.at = text.at, .len = end};
}

enum smtp_reply_result smtp_reply_scan(const char *data, uint32_t len, struct smtp_reply *ret_reply)
{
    assert(data != NULL || len == 0);
    uint32_t window = len < SMTP_REPLY_MAX ? len : SMTP_REPLY_MAX;
    uint32_t at = 0;
    uint16_t lines = 0;
    struct reply_line line = {.is_last = false};
    while (!line.is_last) {
        /* The code is held against the first line's before the rest of the line is there. */
        uint32_t seen = window - at < 3 ? window - at : 3;
        if (at > 0 && memcmp(data, data + at, seen) != 0) {
            return REPLY_BAD;
        }
        enum smtp_reply_result result = parse_line(data + at, window - at, &line);
        if (result == REPLY_MORE && window == SMTP_REPLY_MAX) {
            return REPLY_LONG;
        }
        if (result != REPLY_OK) {
            return result;
        }
        at += line.len;
        lines++;
    }
    *ret_reply = (struct smtp_reply){
        .code = line.code,
        .lines = lines,
        .len = at,
        .enhanced = find_enhanced(line.text, line.code),
        .last = line.text,
    };
    return REPLY_OK;
}

static const struct {
    const char *keyword;
    enum smtp_ext ext;
} extensions[] = {
    {"SIZE", EXT_SIZE},
    {"8BITMIME", EXT_8BITMIME},
    {"SMTPUTF8", EXT_SMTPUTF8},
    {"DSN", EXT_DSN},
    {"ENHANCEDSTATUSCODES", EXT_ENHANCEDSTATUSCODES},
    {"PIPELINING", EXT_PIPELINING},
    {"STARTTLS", EXT_STARTTLS},
    {"CHUNKING", EXT_CHUNKING},
    {"XCLIENT", EXT_XCLIENT},
    {"XFORWARD", EXT_XFORWARD},
};

static uint32_t find_extension(struct text keyword)
{
    for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
        if (text_is_nocase(keyword, extensions[i].keyword)) {
            return extensions[i].ext;
        }
    }
    return 0;
}

/* What is behind "SIZE": spaces and digits. Saturates; what is no number is 0, "no limit known". */
static uint64_t parse_size(struct text text)
{
    uint32_t at = 0;
    while (at < text.len && text.at[at] == ' ') {
        at++;
    }
    uint64_t size = 0;
    for (; at < text.len && text.at[at] != ' '; at++) {
        uint64_t digit = (uint64_t)(text.at[at] - '0');
        if (!is_digit(text.at[at])) {
            return 0;
        }
        size = size > (UINT64_MAX - digit) / 10 ? UINT64_MAX : size * 10 + digit;
    }
    return size;
}

uint32_t smtp_reply_extensions(const char *data, uint32_t len, uint64_t *ret_size)
{
    uint32_t offered = 0;
    uint64_t size = 0;
    struct reply_line line;
    uint32_t at = 0;
    while (at < len && parse_line(data + at, len - at, &line) == REPLY_OK) {
        uint32_t keyword_len = 0;
        while (keyword_len < line.text.len && line.text.at[keyword_len] != ' ') {
            keyword_len++;
        }
        struct text keyword = {.at = line.text.at, .len = keyword_len};
        uint32_t ext = at == 0 ? 0 : find_extension(keyword); /* the first line is a greeting */
        offered |= ext;
        if (ext == EXT_SIZE) {
            struct text value = {.at = keyword.at + keyword.len,
                                 .len = line.text.len - keyword.len};
            size = parse_size(value);
        }
        at += line.len;
    }
    *ret_size = size;
    return offered;
}
