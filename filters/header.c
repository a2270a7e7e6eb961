/*
 * header - see filters/header.h.
 */
#include "filters/header.h"

#include <string.h>
#include <strings.h>

void header_init(struct header *header)
{
    header->is_complete = false;
    header->is_malformed = false;
    header->is_too_large = false;
    header->len = 0;
    header->line_at = 0;
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

static bool has_bare_control(const char *line, uint32_t len)
{
    return memchr(line, '\r', len) != NULL || memchr(line, '\0', len) != NULL;
}

/* One complete line, which is not the empty one. */
static void take_line(struct header *header)
{
    const char *line = header->text + header->line_at;
    uint32_t len = header->len - header->line_at;
    struct header_field *above = header->count > 0 ? &header->fields[header->count - 1] : NULL;
    uint32_t name_len;
    uint32_t value_at;
    if (has_bare_control(line, len >= 2 ? len - 2 : 0) || len < 2 || line[len - 2] != '\r') {
        header->is_malformed = true;
    }
    bool is_folded = line[0] == ' ' || line[0] == '\t';
    if (!is_folded && scan_name(line, len, &name_len, &value_at)) {
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
        return;
    }
    header->is_malformed = header->is_malformed || !is_folded || above == NULL;
    if (above != NULL) {
        above->len += len;
    }
}

uint32_t header_feed(struct header *header, const char *bytes, uint32_t len)
{
    uint32_t taken = 0;
    while (taken < len && !header->is_complete) {
        const char *end = memchr(bytes + taken, '\n', len - taken);
        uint32_t part = end == NULL ? len - taken : (uint32_t)(end - bytes) + 1 - taken;
        if (part > HEADER_TEXT_MAX - header->len) {
            /* Only the empty line is still looked for, in a line of which nothing is kept. */
            header->is_too_large = true;
            header->len = header->line_at;
            if (part > HEADER_TEXT_MAX - header->len) {
                taken += part;
                continue;
            }
        }
        memcpy(header->text + header->len, bytes + taken, part);
        header->len += part;
        taken += part;
        if (end == NULL) {
            break;
        }
        if (header->len - header->line_at == 2 && header->text[header->line_at] == '\r') {
            header->len = header->line_at;
            header->is_complete = true;
            break;
        }
        if (header->is_too_large) {
            header->len = header->line_at;
        } else {
            take_line(header);
            header->line_at = header->len;
        }
    }
    return taken;
}

void header_end(struct header *header)
{
    if (!header->is_complete && header->len > header->line_at) {
        header->is_malformed = true; /* a line without an end */
        take_line(header);
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
