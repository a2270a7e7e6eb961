/*
 * base64 - see filters/base64.h.
 */
#include "filters/base64.h"

#include <errno.h>

static bool is_folding(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct span text, uint8_t *out, uint32_t size)
{
    uint32_t bits = 0;
    uint32_t digits = 0;
    uint32_t padding = 0;
    uint32_t len = 0;
    for (uint32_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (is_folding(c)) {
            continue;
        }
        if (c == '=') {
            padding++;
            continue;
        }
        int digit = digit_of(c);
        if (digit < 0 || padding > 0) {
            return -EINVAL;
        }
        bits = bits << 6 | (uint32_t)digit;
        digits++;
        if (digits % 4 != 1) {
            if (len == size) {
                return -EMSGSIZE;
            }
            uint32_t rest = 6 - 2 * ((digits - 1) % 4);
            out[len++] = (uint8_t)(bits >> rest);
        }
    }
    bool is_whole = (digits + padding) % 4 == 0 && padding <= 2 && digits > 0;
    return is_whole ? (int)len : -EINVAL;
}
