/*
 * dkim_canon - see filters/dkim_canon.h.
 */
#include "filters/dkim_canon.h"

#include <assert.h>
#include <stddef.h>

enum {
    PIECE = 512,
    HELD_MAX = 4096, /* empty lines that are held back before they are hashed on trial */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* ---- limits ---- */

/* Sums that are due where the digest is now. Without memory for a copy there is none. */
static void take_sums(struct dkim_body *body)
{
    body->next = DKIM_ALL;
    for (uint32_t i = 0; i < body->limit_count; i++) {
        struct dkim_limit *limit = &body->limits[i];
        struct digest copy;
        if (limit->octets == body->hashed && digest_copy(&body->digest, &copy) == 0) {
            digest_final(&copy, limit->sum);
            limit->has_sum = true;
        }
        if (limit->octets > body->hashed && limit->octets < body->next) {
            body->next = limit->octets;
        }
    }
}

static void hash(struct dkim_body *body, const char *bytes, uint32_t len)
{
    while (body->next - body->hashed <= len) {
        uint32_t part = (uint32_t)(body->next - body->hashed);
        digest_update(&body->digest, bytes, part);
        body->hashed += part;
        bytes += part;
        len -= part;
        take_sums(body);
    }
    digest_update(&body->digest, bytes, len);
    body->hashed += len;
}

static void flush(struct dkim_body *body)
{
    hash(body, body->piece, body->piece_len);
    body->piece_len = 0;
    assert(body->hashed == body->size);
}

/* ---- body ---- */

int dkim_body_init(struct dkim_body *body, bool is_relaxed)
{
    memset(body, 0, offsetof(struct dkim_body, piece));
    body->is_relaxed = is_relaxed;
    body->next = DKIM_ALL;
    return digest_init(&body->digest);
}

uint32_t dkim_body_limit(struct dkim_body *body, uint64_t octets)
{
    assert(body->size == 0);
    for (uint32_t i = 0; i < body->limit_count; i++) {
        if (body->limits[i].octets == octets) {
            return i;
        }
    }
    assert(body->limit_count < DKIM_LIMITS_MAX);
    body->limits[body->limit_count].octets = octets;
    body->next = octets < body->next ? octets : body->next;
    return body->limit_count++;
}

static void flush_if_full(struct dkim_body *body)
{
    if (body->piece_len == DKIM_PIECE) {
        flush(body);
    }
}

static void put_char(struct dkim_body *body, char c)
{
    body->piece[body->piece_len++] = c;
    body->size++;
    flush_if_full(body);
}

static void put_lines(struct dkim_body *body)
{
    for (; body->empty_lines > 0; body->empty_lines--) {
        if (body->piece_len + 2 >= DKIM_PIECE) {
            put_char(body, '\r');
            put_char(body, '\n');
            continue;
        }
        memcpy(body->piece + body->piece_len, "\r\n", 2);
        body->piece_len += 2;
        body->size += 2;
    }
}

/* Many line ends on end: hashed as they come, for whoever follows at last must not pay for all of them
 * at once. If nobody does, the mark is where the body has ended. Without memory for it they are held. */
static void put_lines_on_trial(struct dkim_body *body)
{
    if (!body->has_mark) {
        flush(body);
        if (digest_copy(&body->digest, &body->mark) < 0) {
            return;
        }
        body->has_mark = true;
        body->mark_size = body->size;
    }
    put_lines(body);
}

static void end_line(struct dkim_body *body)
{
    body->has_space = false;
    if (++body->empty_lines >= HELD_MAX) {
        put_lines_on_trial(body);
    }
}

/* What was held back: something follows. */
static void release(struct dkim_body *body)
{
    if (body->has_mark) {
        digest_drop(&body->mark);
        body->has_mark = false;
    }
    put_lines(body);
    if (body->has_space) {
        body->has_space = false;
        put_char(body, ' ');
    }
}

/* A CR alone is an octet like others; the framing lets none pass, but a file may hold one. */
static void settle_cr(struct dkim_body *body, bool is_line_end)
{
    body->has_cr = false;
    if (is_line_end) {
        end_line(body);
    } else {
        release(body);
        put_char(body, '\r');
    }
}

/* Octets on their way to the piece, which has room for all of them. */
struct copy {
    const char *at;
    const char *end;
    char *out;
};

/* At a line end behind which text goes on at once: no reason to hold it back. */
static inline bool is_inside(struct copy copy)
{
    return copy.end - copy.at > 2 && copy.at[0] == '\r' && copy.at[1] == '\n' &&
           (unsigned char)copy.at[2] > ' ';
}

static inline void copy_line_end(struct copy *copy)
{
    *copy->out++ = '\r';
    *copy->out++ = '\n';
    copy->at += 2;
}

/* At a CR that is known to be no part of a line end: an octet like others. */
static inline bool is_lone_cr(struct copy copy)
{
    return copy.end - copy.at > 1 && copy.at[0] == '\r' && copy.at[1] != '\n';
}

/* As they are. */
static inline struct copy copy_simple(struct copy copy)
{
    while (copy.at < copy.end) {
        if (*copy.at != '\r' || is_lone_cr(copy)) {
            *copy.out++ = *copy.at++;
        } else if (is_inside(copy)) {
            copy_line_end(&copy);
        } else {
            break;
        }
    }
    return copy;
}

/* The same with white space in lines as one space each; what stands in front of the CR, or of what has
 * not come yet, waits. */
static inline struct copy copy_relaxed(struct copy copy, bool *has_space)
{
    while (copy.at < copy.end) {
        char c = *copy.at;
        if ((unsigned char)c > ' ' || (c != '\r' && !is_space(c)) || is_lone_cr(copy)) {
            *copy.out++ = c;
            copy.at++;
        } else if (c == ' ' && copy.end - copy.at > 1 && (unsigned char)copy.at[1] > ' ') {
            *copy.out++ = ' ';
            copy.at++;
        } else if (is_inside(copy)) {
            copy_line_end(&copy);
        } else if (c == '\r') {
            break;
        } else {
            do {
                copy.at++;
            } while (copy.at < copy.end && is_space(*copy.at));
            if (copy.at == copy.end || (*copy.at == '\r' && !is_lone_cr(copy))) {
                *has_space = !is_inside(copy);
                continue;
            }
            *copy.out++ = ' ';
        }
    }
    return copy;
}

/* How many were taken: at least one. */
static uint32_t put_run(struct dkim_body *body, const char *bytes, uint32_t len)
{
    bool has_space = false;
    uint32_t room = DKIM_PIECE - body->piece_len;
    struct copy copy = {bytes, bytes + (len < room ? len : room), body->piece + body->piece_len};
    copy = body->is_relaxed ? copy_relaxed(copy, &has_space) : copy_simple(copy);
    uint32_t put = (uint32_t)(copy.out - body->piece) - body->piece_len;
    body->has_space = has_space;
    body->piece_len += put;
    body->size += put;
    flush_if_full(body);
    assert(copy.at >
           bytes); /* an octet that is no CR and no white space is first, and there is room */
    return (uint32_t)(copy.at - bytes);
}

void dkim_body_feed(struct dkim_body *body, const char *bytes, uint32_t len)
{
    uint32_t at = 0;
    while (at < len) {
        char c = bytes[at];
        if (body->has_cr) {
            settle_cr(body, c == '\n');
            at += c == '\n' ? 1 : 0;
        } else if (c == '\r' && len - at > 1 && bytes[at + 1] == '\n') {
            end_line(body);
            at += 2;
        } else if (c == '\r' && len - at == 1) {
            body->has_cr = true;
            at++;
        } else if (c == '\r') {
            release(body);
            put_char(body, c);
            at++;
        } else if (body->is_relaxed && is_space(c)) {
            body->has_space = true;
            at++;
        } else {
            release(body);
            at += put_run(body, bytes + at, len - at);
        }
    }
}

/* Back to where the body ended, if empty lines were hashed that nothing followed. */
static void return_to_mark(struct dkim_body *body)
{
    if (body->has_mark) {
        digest_drop(&body->digest);
        body->digest = body->mark;
        body->mark = (struct digest){0};
        body->has_mark = false;
        body->piece_len = 0;
        body->size = body->mark_size;
        body->hashed = body->mark_size;
        take_sums(body);
    }
}

/* One CRLF stands at the end of a body that holds anything; simple puts it into an empty one too. */
void dkim_body_final(struct dkim_body *body)
{
    if (body->has_cr) {
        settle_cr(body, false);
    }
    return_to_mark(body);
    if (body->size > 0 || !body->is_relaxed) {
        put_char(body, '\r');
        put_char(body, '\n');
    }
    flush(body);
    uint8_t sum[DIGEST_SIZE];
    digest_final(&body->digest, sum);
    for (uint32_t i = 0; i < body->limit_count; i++) {
        if (body->limits[i].octets == DKIM_ALL) {
            memcpy(body->limits[i].sum, sum, DIGEST_SIZE);
            body->limits[i].has_sum = true;
        }
    }
}

const uint8_t *dkim_body_sum(const struct dkim_body *body, uint32_t limit)
{
    assert(limit < body->limit_count);
    return body->limits[limit].has_sum ? body->limits[limit].sum : NULL;
}

void dkim_body_drop(struct dkim_body *body)
{
    digest_drop(&body->digest);
    if (body->has_mark) {
        digest_drop(&body->mark);
    }
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
