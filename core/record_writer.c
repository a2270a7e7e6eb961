/*
 * record_writer - see core/record_writer.h.
 */
#include "core/record_writer.h"

#include <assert.h>

#include "core/escape.h"

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
