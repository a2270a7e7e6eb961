/*
 * dkim_canon - see filters/dkim_canon.h.
 */
#include "filters/dkim_canon.h"

enum { PIECE = 512 };

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* ---- body ---- */

int dkim_body_init(struct dkim_body *body, bool is_relaxed, uint64_t limit)
{
    *body = (struct dkim_body){.is_relaxed = is_relaxed, .limit = limit};
    return digest_init(&body->digest);
}

static void put(struct dkim_body *body, const char *bytes, uint64_t len)
{
    uint64_t room = body->size < body->limit ? body->limit - body->size : 0;
    digest_update(&body->digest, bytes, len < room ? len : room);
    body->size += len;
}

/* The line ends that were held back: something follows. */
static void put_lines(struct dkim_body *body)
{
    static const char crlf[] = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";
    while (body->empty_lines > 0) {
        uint64_t lines = body->empty_lines < 8 ? body->empty_lines : 8;
        put(body, crlf, 2 * lines);
        body->empty_lines -= lines;
    }
}

static void end_line(struct dkim_body *body)
{
    body->empty_lines++;
    body->has_space = false;
}

/* Something that is neither white space nor a line end begins or goes on. */
static void put_text(struct dkim_body *body, const char *bytes, uint64_t len)
{
    put_lines(body);
    if (body->has_space) {
        put(body, " ", 1);
        body->has_space = false;
    }
    put(body, bytes, len);
}

/* A run of octets without CR or LF. */
static void feed_simple(struct dkim_body *body, const char *bytes, uint32_t len)
{
    put_text(body, bytes, len);
}

static void feed_relaxed(struct dkim_body *body, const char *bytes, uint32_t len)
{
    uint32_t at = 0;
    while (at < len) {
        uint32_t begin = at;
        while (at < len && !is_space(bytes[at])) {
            at++;
        }
        if (at > begin) {
            put_text(body, bytes + begin, at - begin);
        }
        while (at < len && is_space(bytes[at])) {
            body->has_space = true;
            at++;
        }
    }
}

/* A CR alone is an octet like others; the framing lets none pass, but a file may hold one. */
static void settle_cr(struct dkim_body *body, bool is_line_end)
{
    if (body->has_cr) {
        body->has_cr = false;
        if (is_line_end) {
            end_line(body);
        } else {
            put_text(body, "\r", 1);
        }
    }
}

void dkim_body_feed(struct dkim_body *body, const char *bytes, uint32_t len)
{
    uint32_t at = 0;
    while (at < len) {
        char c = bytes[at];
        if (body->has_cr) {
            settle_cr(body, c == '\n');
            at += c == '\n' ? 1 : 0;
            continue;
        }
        if (c == '\r') {
            body->has_cr = true;
            at++;
            continue;
        }
        const char *end = memchr(bytes + at, '\r', len - at);
        uint32_t run = end == NULL ? len - at : (uint32_t)(end - bytes) - at;
        if (body->is_relaxed) {
            feed_relaxed(body, bytes + at, run);
        } else {
            feed_simple(body, bytes + at, run);
        }
        at += run;
    }
}

/* One CRLF stands at the end of a body that holds anything; simple puts it into an empty one too. */
void dkim_body_final(struct dkim_body *body, uint8_t ret_sum[DIGEST_SIZE])
{
    settle_cr(body, false);
    if (body->size > 0 || !body->is_relaxed) {
        put(body, "\r\n", 2);
    }
    digest_final(&body->digest, ret_sum);
}

void dkim_body_drop(struct dkim_body *body)
{
    digest_drop(&body->digest);
}

/* ---- header ---- */

struct writer {
    struct digest *digest;
    uint32_t len;
    char piece[PIECE];
};

static void write_flush(struct writer *w)
{
    digest_update(w->digest, w->piece, w->len);
    w->len = 0;
}

static void write_char(struct writer *w, char c)
{
    w->piece[w->len++] = c;
    if (w->len == sizeof(w->piece)) {
        write_flush(w);
    }
}

/* Unfolded, white space one space each, none at the ends (3.4.2). */
static void feed_relaxed_value(struct writer *w, struct span value)
{
    bool has_space = false;
    bool has_text = false;
    for (uint32_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (c == '\r' || c == '\n') {
            continue;
        }
        if (is_space(c)) {
            has_space = true;
            continue;
        }
        if (has_space && has_text) {
            write_char(w, ' ');
        }
        has_space = false;
        has_text = true;
        write_char(w, c);
    }
}

void dkim_header_feed(struct digest *digest, bool is_relaxed, struct span name, struct span value,
                      struct span field, bool is_last)
{
    if (!is_relaxed) {
        uint32_t len = field.len;
        while (is_last && len > 0 && (field.at[len - 1] == '\r' || field.at[len - 1] == '\n')) {
            len--;
        }
        digest_update(digest, field.at, len);
        return;
    }
    struct writer w = {.digest = digest};
    for (uint32_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        write_char(&w, c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c);
    }
    write_char(&w, ':');
    feed_relaxed_value(&w, value);
    if (!is_last) {
        write_char(&w, '\r');
        write_char(&w, '\n');
    }
    write_flush(&w);
}
