/*
 * header - see filters/header.h.
 */
#include "filters/header.h"

#include <string.h>
#include <strings.h>

enum { SHORT_LINE = 16 };

void header_init(struct header *header)
{
    header->is_complete = false;
    header->is_malformed = false;
    header->is_too_large = false;
    header->len = 0;
    header->line_at = 0;
    header->lost = 0;
    header->count = 0;
}

/* Printable ASCII except the colon (RFC 5322, 3.6.8), then, tolerated, white space (4.5.8). */
static bool scan_name(const char *line, uint32_t len, uint32_t *ret_name_len,
                      uint32_t *ret_value_at)
{
    uint32_t at = 0;
    while (at < len && line[at] > ' ' && line[at] <= '~' && line[at] != ':') {
        at++;
    }
    *ret_name_len = at;
    while (at < len && (line[at] == ' ' || line[at] == '\t')) {
        at++;
    }
    *ret_value_at = at + 1;
    return *ret_name_len > 0 && at < len && line[at] == ':';
}

/* The line's length with its LF, or 0 when that has not come; whether it ends in CRLF and holds no other
 * CR. Short lines are read here: there may be tens of thousands of them. */
static uint32_t line_len(const char *line, uint32_t len, bool *ret_is_clean)
{
    uint32_t near = len < SHORT_LINE ? len : SHORT_LINE;
    const char *cr = NULL;
    for (uint32_t i = 0; i < near; i++) {
        if ((unsigned char)line[i] > '\r') {
            continue;
        }
        if (line[i] == '\n') {
            *ret_is_clean = cr != NULL && cr + 1 == line + i;
            return i + 1;
        }
        cr = line[i] == '\r' && cr == NULL ? line + i : cr;
    }
    const char *end = len > near ? memchr(line + near, '\n', len - near) : NULL;
    if (end == NULL) {
        return 0;
    }
    cr = cr == NULL ? memchr(line + near, '\r', (size_t)(end - line) - near) : cr;
    *ret_is_clean = cr != NULL && cr + 1 == end;
    return (uint32_t)(end - line) + 1;
}

/* A complete line that begins no field: it belongs to the one above. */
static void take_rest(struct header *header, uint32_t len, bool is_folded)
{
    if (header->count == 0) {
        header->is_malformed = true;
        return;
    }
    header->is_malformed = header->is_malformed || !is_folded;
    header->fields[header->count - 1].len += len;
}

/* One complete line, which is not the empty one. */
static void take_line(struct header *header, uint32_t len, bool is_clean)
{
    const char *line = header->text + header->line_at;
    uint32_t name_len;
    uint32_t value_at;
    bool is_folded = line[0] == ' ' || line[0] == '\t';
    header->is_malformed = header->is_malformed || !is_clean;
    if (is_folded || !scan_name(line, len, &name_len, &value_at)) {
        take_rest(header, len, is_folded);
        return;
    }
    if (header->count == HEADER_FIELDS_MAX) {
        header->is_too_large = true;
        return;
    }
    header->fields[header->count++] = (struct header_field){
        .at = header->line_at,
        .name_len = name_len,
        .value_at = header->line_at + value_at,
        .len = len,
    };
}

/* Lines that are complete in the text, up to the empty one; false when that was among them, or there are
 * too many fields. The text ends behind the last line that was taken then. */
static bool take_lines(struct header *header)
{
    uint32_t len;
    bool is_clean = false;
    while ((len = line_len(header->text + header->line_at, header->len - header->line_at,
                           &is_clean)) > 0) {
        if (len == 2 && is_clean) {
            header->is_complete = true;
        } else {
            take_line(header, len, is_clean);
            header->line_at += len;
        }
        if (header->is_complete || header->is_too_large) {
            return false;
        }
    }
    return true;
}

/* All of the bytes have room. How many of them were taken. */
static uint32_t feed_kept(struct header *header, const char *bytes, uint32_t len)
{
    uint32_t before = header->len;
    memcpy(header->text + before, bytes, len);
    header->len += len;
    uint32_t taken = len;
    if (!take_lines(header)) {
        taken = header->line_at + (header->is_complete ? 2 : 0) - before;
        header->len = header->line_at;
    }
    if (memchr(bytes, '\0', taken) != NULL) {
        header->is_malformed = true;
    }
    return taken;
}

/* Nothing is kept from here on; of the line that is passing some may have been. */
static void begin_loss(struct header *header)
{
    header->is_too_large = true;
    header->lost = header->len - header->line_at;
    header->has_lost_cr = header->lost > 0 && header->text[header->line_at] == '\r';
    header->len = header->line_at;
}

/* Only the empty line is still looked for. */
static uint32_t feed_lost(struct header *header, const char *bytes, uint32_t len)
{
    const char *end = memchr(bytes, '\n', len);
    uint32_t part = end == NULL ? len : (uint32_t)(end - bytes) + 1;
    if (header->lost == 0) {
        header->has_lost_cr = bytes[0] == '\r';
    }
    header->lost += part;
    if (end != NULL) {
        header->is_complete = header->lost == 2 && header->has_lost_cr;
        header->lost = 0;
    }
    return part;
}

uint32_t header_feed(struct header *header, const char *bytes, uint32_t len)
{
    uint32_t taken = 0;
    while (taken < len && !header->is_complete) {
        uint32_t left = len - taken;
        uint32_t room = HEADER_TEXT_MAX - header->len;
        if (header->is_too_large) {
            taken += feed_lost(header, bytes + taken, left);
        } else if (room > 0) {
            taken += feed_kept(header, bytes + taken, left < room ? left : room);
        } else {
            begin_loss(header);
        }
    }
    return taken;
}

void header_end(struct header *header)
{
    if (!header->is_complete && header->len > header->line_at) {
        header->is_malformed = true; /* a line without an end */
        take_line(header, header->len - header->line_at, false);
    }
    header->is_complete = true;
}

struct span header_value(const struct header *header, const struct header_field *field)
{
    struct span value = {header->text + field->value_at,
                         field->len - (field->value_at - field->at)};
    value.len -= value.len > 0 && value.at[value.len - 1] == '\n' ? 1 : 0;
    value.len -= value.len > 0 && value.at[value.len - 1] == '\r' ? 1 : 0;
    return value;
}

bool header_is(const struct header *header, const struct header_field *field, const char *name)
{
    return strlen(name) == field->name_len &&
           strncasecmp(header->text + field->at, name, field->name_len) == 0;
}

uint32_t header_count(const struct header *header, const char *name,
                      const struct header_field **ret_field)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < header->count; i++) {
        if (header_is(header, &header->fields[i], name)) {
            if (count == 0) {
                *ret_field = &header->fields[i];
            }
            count++;
        }
    }
    return count;
}
