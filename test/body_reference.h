/*
 * body_reference - the end-of-data rules once more, written from their definition and for nothing
 * but to be plainly right: the judge of core/smtp_body.c and of whole sessions.
 *
 * The stream is looked at behind DATA's own CRLF. Its end is the first CRLF "." CRLF. It is bad if,
 * before the end, a CR has no LF behind it, an LF no CR before it, or there is a NUL.
 */
#ifndef TEST_BODY_REFERENCE_H
#define TEST_BODY_REFERENCE_H

#include "core/smtp_body.h"

#include <assert.h>

struct body_reference {
    bool end;
    size_t taken;               /* the stream's bytes up to and with the end-of-data, or all */
    enum smtp_body_fault fault; /* of the first offending byte */
    size_t clean;               /* the stream's bytes that may have been forwarded by now */
    size_t size;                /* those without stuffed dots */
};

enum { BODY_REFERENCE_MAX = 1 << 16 };

static inline bool bytes_are(const char *data, size_t len, size_t at, const char *string)
{
    return len - at >= strlen(string) && memcmp(data + at, string, strlen(string)) == 0;
}

/* The fault of the byte at `at`, its neighbours known. */
static inline enum smtp_body_fault fault_at(const char *data, size_t len, size_t at)
{
    if (data[at] == '\r' && at + 1 < len && data[at + 1] != '\n') {
        return BODY_BARE_CR;
    }
    if (data[at] == '\n' && data[at - 1] != '\r') {
        return BODY_BARE_LF;
    }
    return data[at] == '\0' ? BODY_NUL : BODY_CLEAN;
}

static inline struct body_reference body_reference(const char *stream, size_t stream_len)
{
    char data[2 + BODY_REFERENCE_MAX];
    struct body_reference result = {.taken = stream_len};
    assert(stream_len <= BODY_REFERENCE_MAX);
    memcpy(data, "\r\n", 2);
    memcpy(data + 2, stream, stream_len);
    size_t len = stream_len + 2;

    size_t stop = 0; /* where the message stops: at the end-of-data's dot, or with the stream */
    while (stop < len && !bytes_are(data, len, stop, "\r\n.\r\n")) {
        stop++;
    }
    result.end = stop < len;
    if (result.end) {
        result.taken = stop + 5 - 2;
        stop += 2;
    }
    size_t good = 2;
    while (good < stop && fault_at(data, len, good) == BODY_CLEAN) {
        good++;
    }
    result.fault = good < stop ? fault_at(data, len, good) : BODY_CLEAN;
    /* What nobody can judge yet is not forwarded: a last CR, and a dot that begins the last line.
     */
    good -= good == len && good > 2 && data[good - 1] == '\r';
    good -= good > 2 && bytes_are(data, good, good - 3, "\r\n.");
    result.clean = good - 2;
    for (size_t i = 2; i < good; i++) {
        result.size += !(data[i] == '.' && data[i - 1] == '\n');
    }
    return result;
}

/* What a receiver must be able to rely on: no bare CR or LF, no NUL, no end-of-data, and nothing at
 * its end that could become part of one. */
static inline bool bytes_are_safe(const char *bytes, size_t bytes_len)
{
    struct body_reference result = body_reference(bytes, bytes_len);
    return !result.end && result.fault == BODY_CLEAN && result.clean == bytes_len;
}

#endif
