/*
 * text - a borrowed slice of bytes: not terminated, not owned, never changed through it.
 */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct text {
    const char *at;
    uint32_t len;
};

/* A string literal as text. */
#define TEXT(literal) ((struct text){.at = (literal), .len = sizeof(literal) - 1})

static inline struct text text_of(const char *string)
{
    return (struct text){.at = string, .len = (uint32_t)strlen(string)};
}

static inline bool text_is(struct text text, const char *string)
{
    size_t len = strlen(string);
    return text.len == len && memcmp(text.at, string, len) == 0;
}

/* ASCII only and without the locale. */
static inline char text_lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

static inline bool text_is_nocase(struct text text, const char *string)
{
    if (text.len != strlen(string)) {
        return false;
    }
    for (uint32_t i = 0; i < text.len; i++) {
        if (text_lower(text.at[i]) != text_lower(string[i])) {
            return false;
        }
    }
    return true;
}

#endif
