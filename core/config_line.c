/*
 * config_line - one line of proxy.ini (contract: core/config_line.h).
 */
#include "core/config_line.h"

#include <assert.h>
#include <string.h>

#define BYTE_ORDER_MARK "\xEF\xBB\xBF"

static bool read_bytes(FILE *stream, char *out, uint32_t room, uint64_t *ret_len);
static enum config_line_kind classify(const char *line, struct config_line *ret_line);
static enum config_line_kind classify_section(const char *text, struct config_line *ret_line);
static bool has_control(const char *line, struct config_why *why);
static const char *end_of_text(const char *text, char stop);
static bool is_only_comment(const char *rest);

void config_line_read(FILE *stream, bool is_first, char *out, uint32_t size,
                      struct config_line *ret_line)
{
    assert(size > 2 && size <= CONFIG_TEXT_MAX);
    uint32_t room = size - 2; /* for '\n' and NUL */
    uint64_t len;
    bool has_ended = read_bytes(stream, out, room, &len);
    if (has_ended && len == 0) {
        ret_line->kind = LINE_END;
        return;
    }
    if (len > room) {
        config_why_set(&ret_line->why, "the line has %llu bytes; write at most %u",
                       (unsigned long long)len, room);
        ret_line->kind = LINE_BAD;
    } else {
        out[len] = '\0';
        bool has_mark = is_first && strncmp(out, BYTE_ORDER_MARK, 3) == 0;
        ret_line->kind = classify(has_mark ? out + 3 : out, ret_line);
    }
    size_t end = ret_line->kind == LINE_BAD ? 0 : len;
    memcpy(out + end, "\n", 2);
}

/* Reads to the end of the line and keeps what fits; true when that was the end of the file. The
 * length is that of the whole line without its end. */
static bool read_bytes(FILE *stream, char *out, uint32_t room, uint64_t *ret_len)
{
    uint64_t len = 0;
    int c = getc_unlocked(stream);
    for (; c != EOF && c != '\n'; c = getc_unlocked(stream)) {
        if (len < room) {
            /* A NUL would hide the rest of the line; any other control character is refused. */
            out[len] = c == '\0' ? '\1' : (char)c;
        }
        len++;
    }
    if (len > 0 && len <= room && out[len - 1] == '\r') {
        len--;
        *ret_len = len;
        return false;
    }
    *ret_len = len;
    return c == EOF;
}

static enum config_line_kind classify(const char *line, struct config_line *ret_line)
{
    if (has_control(line, &ret_line->why)) {
        return LINE_BAD;
    }
    size_t indent = strspn(line, " \t");
    const char *text = line + indent;
    if (*text == '\0' || *text == ';' || *text == '#') {
        return LINE_BLANK;
    }
    if (indent > 0) {
        config_why_set(&ret_line->why,
                       "the line begins with white space and values cannot go on over lines; begin "
                       "keys and sections in the first column");
        return LINE_BAD;
    }
    if (*text == '[') {
        return classify_section(text, ret_line);
    }
    const char *sign = end_of_text(text, '=');
    if (*sign != '=' || sign == text || memchr(text, ':', (size_t)(sign - text)) != NULL) {
        config_why_set(&ret_line->why, "'%s' is not a key with a value; write KEY = VALUE", text);
        return LINE_BAD;
    }
    return LINE_PAIR;
}

static enum config_line_kind classify_section(const char *text, struct config_line *ret_line)
{
    const char *name = text + 1;
    const char *end = end_of_text(name, ']');
    if (*end != ']' || !is_only_comment(end + 1)) {
        config_why_set(&ret_line->why, "'%s' is not a section; write [SECTION] alone on its line",
                       text);
        return LINE_BAD;
    }
    size_t len = (size_t)(end - name);
    assert(len < sizeof(ret_line->section));
    memcpy(ret_line->section, name, len);
    ret_line->section[len] = '\0';
    return LINE_SECTION;
}

static bool has_control(const char *line, struct config_why *why)
{
    for (const char *at = line; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            config_why_set(why, "a control character stands at byte %zu of the line; take it out",
                           (size_t)(at - line) + 1);
            return true;
        }
    }
    return false;
}

/* The first `stop`, the white space before a comment, or the end: as inih looks for it. */
static const char *end_of_text(const char *text, char stop)
{
    bool is_comment = false;
    while (*text != '\0' && *text != stop && !is_comment) {
        text++;
        is_comment = *text == ';' && (text[-1] == ' ' || text[-1] == '\t');
    }
    return text;
}

static bool is_only_comment(const char *rest)
{
    const char *text = rest + strspn(rest, " \t");
    return *text == '\0' || (*text == ';' && text > rest);
}
