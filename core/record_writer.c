/*
 * record_writer - see core/record_writer.h.
 */
#include "core/record_writer.h"

#include <assert.h>

#include "core/escape.h"

void writer_put(struct writer *w, struct text text)
{
    assert(text.len <= (size_t)(w->end - w->at));
    memcpy(w->at, text.at, text.len);
    w->at += text.len;
}

void writer_number(struct writer *w, uint64_t number)
{
    char digits[20];
    uint32_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    writer_put(w, (struct text){.at = digits + at, .len = (uint32_t)sizeof(digits) - at});
}

void writer_signed(struct writer *w, int64_t number)
{
    if (number < 0) {
        writer_put(w, TEXT("-"));
        writer_number(w, 0 - (uint64_t)number);
        return;
    }
    writer_number(w, (uint64_t)number);
}

/* A quoted string. */
void writer_json(struct writer *w, struct text text, uint32_t max)
{
    writer_put(w, TEXT("\""));
    assert(max <= (size_t)(w->end - w->at));
    w->at += escape_json(w->at, max, text);
    writer_put(w, TEXT("\""));
}

void writer_json_or_null(struct writer *w, struct text text, uint32_t max)
{
    if (text.len == 0) {
        writer_put(w, TEXT("null"));
        return;
    }
    writer_json(w, text, max);
}

void writer_value(struct writer *w, struct text text, uint32_t max)
{
    bool is_bare = text.len > 0 && !text_is(text, "-") && memchr(text.at, ' ', text.len) == NULL &&
                   memchr(text.at, '=', text.len) == NULL;
    if (!is_bare) {
        writer_put(w, TEXT("\""));
    }
    assert(max <= (size_t)(w->end - w->at));
    w->at += escape_text(w->at, max, text);
    if (!is_bare) {
        writer_put(w, TEXT("\""));
    }
}

void writer_value_or_dash(struct writer *w, struct text text, uint32_t max)
{
    if (text.len == 0) {
        writer_put(w, TEXT("-"));
        return;
    }
    writer_value(w, text, max);
}
