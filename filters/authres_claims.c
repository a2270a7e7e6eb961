/*
 * authres_claims - see filters/authres_claims.h.
 *
 *    [CFWS] authserv-id [CFWS version] [CFWS] ";" ...          (RFC 8601, 2.2)
 *
 * The name is read as strict and as lenient readers would: pieces that nothing but comments, or a dot
 * beside white space, hold apart are one name, and so are quoted and plain ones side by side; and each
 * of them ends one. It is over where white space or a ";" ends it; what follows is not looked at.
 *
 * Where a name may end it is compared: by its length first, as long as it is ASCII. A name beyond ASCII has
 * to be read anew each time, so there are few such times, more than any honest field has.
 */
#include "filters/authres_claims.h"

#include <stddef.h>
#include <string.h>

#include "filters/idn.h"
#include "filters/span.h"

enum {
    NAME_SIZE = 4 * IDN_NAME_MAX, /* escapes and UTF-8 are longer than what they stand for */
    READINGS_MAX = 3,
    EXCESS_MAX = 32, /* octets that a name is read past the length of ours */
};

struct reader {
    struct span text;
    uint32_t at;
    uint32_t len;       /* of `name` */
    bool is_open;       /* a comment or string without an end */
    bool is_long;       /* longer than any name of ours */
    bool is_split;      /* into more pieces than are read */
    bool has_non_ascii; /* in `name` */
    bool is_ours;
    uint32_t readings;
    uint32_t ascii;    /* octets of `name` that any form of it keeps */
    uint32_t compared; /* octets of the name that was compared last */
    const char *ours;  /* in the form of DNS */
    uint32_t ours_len;
    char name[NAME_SIZE];
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void add(struct reader *reader, char c)
{
    if ((unsigned char)c <= ' ' || c == 0x7f) {
        return; /* no part of any name */
    }
    reader->ascii += (c & 0x80) == 0 ? 1 : 0;
    if (reader->len == sizeof(reader->name) || reader->ascii > reader->ours_len + EXCESS_MAX) {
        reader->is_long = true;
        return;
    }
    reader->has_non_ascii = reader->has_non_ascii || (c & 0x80) != 0;
    reader->name[reader->len++] = c;
}

static void skip_comment(struct reader *reader)
{
    uint32_t depth = 0;
    while (reader->at < reader->text.len) {
        char c = reader->text.at[reader->at++];
        if (c == '\\') {
            reader->at++;
        } else if (c == '(') {
            depth++;
        } else if (c == ')' && --depth == 0) {
            return;
        }
    }
    reader->is_open = true;
}

static void read_quoted(struct reader *reader)
{
    reader->at++;
    while (reader->at < reader->text.len) {
        char c = reader->text.at[reader->at++];
        if (c == '"') {
            return;
        }
        if (c == '\\' && reader->at < reader->text.len) {
            c = reader->text.at[reader->at++];
        }
        add(reader, c);
    }
    reader->is_open = true;
}

/* White space and comments; true when there was white space. */
static bool skip_between(struct reader *reader)
{
    bool has_blank = false;
    while (reader->at < reader->text.len && !reader->is_open) {
        char c = reader->text.at[reader->at];
        if (c == '(') {
            skip_comment(reader);
        } else if (is_blank(c)) {
            has_blank = true;
            reader->at++;
        } else {
            break;
        }
    }
    return has_blank;
}

/* True when the name goes on behind white space: a dot is on one side of it. */
static bool is_joined(const struct reader *reader)
{
    bool is_dotted = reader->len > 0 && reader->name[reader->len - 1] == '.';
    return is_dotted || (reader->at < reader->text.len && reader->text.at[reader->at] == '.');
}

/* A name may end here. */
static void compare(struct reader *reader)
{
    uint32_t dots = reader->len > 0 && reader->name[reader->len - 1] == '.' ? 1 : 0;
    if (reader->len == reader->compared || reader->is_long || reader->is_open) {
        return;
    }
    reader->compared = reader->len;
    if (!reader->has_non_ascii && reader->len - dots != reader->ours_len) {
        return;
    }
    if (reader->has_non_ascii && ++reader->readings > READINGS_MAX) {
        reader->is_split = true;
        return;
    }
    reader->is_ours = idn_is(reader->name, reader->len, reader->ours);
}

static void read_name(struct reader *reader)
{
    (void)skip_between(reader);
    while (reader->at < reader->text.len && !reader->is_open && !reader->is_long &&
           !reader->is_split) {
        char c = reader->text.at[reader->at];
        bool is_between = c == '(' || is_blank(c);
        if (c != ';' && c != '"' && !is_between) {
            reader->at++;
            add(reader, c == '\\' ? ' ' : c);
            continue;
        }
        compare(reader);
        if (c == '"' && !reader->is_ours) {
            read_quoted(reader);
            compare(reader);
        }
        bool is_over = c == ';' || (is_between && skip_between(reader) && !is_joined(reader));
        if (is_over || reader->is_ours) {
            return;
        }
    }
    compare(reader);
}

bool authres_claims(const struct header *header, const struct header_field *field, const char *id)
{
    char ours[IDN_NAME_MAX];
    struct reader reader;
    if (!header_is(header, field, "Authentication-Results") ||
        idn_to_ascii(id, (uint32_t)strlen(id), ours) <= 0) {
        return false;
    }
    memset(&reader, 0, offsetof(struct reader, name));
    reader.ours = ours;
    reader.ours_len = (uint32_t)strlen(ours);
    reader.text =
        (struct span){header->text + field->value_at, field->len - (field->value_at - field->at)};
    read_name(&reader);
    bool is_nobodys = reader.is_open || reader.is_split || (reader.len == 0 && !reader.is_long);
    return reader.is_ours || is_nobodys;
}
