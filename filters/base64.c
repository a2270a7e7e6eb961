/*
 * base64 - see filters/base64.h.
 */
#include "filters/base64.h"

#include <errno.h>

/* What each octet is: a digit's value plus one, or one of these. */
enum { OTHER = 0, DIGIT_MAX = 64, PADDING, FOLDING };

static const uint8_t kinds[256] = {
    ['='] = PADDING, [' '] = FOLDING, ['\t'] = FOLDING, ['\r'] = FOLDING, ['\n'] = FOLDING,
    ['A'] = 1,       ['B'] = 2,       ['C'] = 3,        ['D'] = 4,        ['E'] = 5,
    ['F'] = 6,       ['G'] = 7,       ['H'] = 8,        ['I'] = 9,        ['J'] = 10,
    ['K'] = 11,      ['L'] = 12,      ['M'] = 13,       ['N'] = 14,       ['O'] = 15,
    ['P'] = 16,      ['Q'] = 17,      ['R'] = 18,       ['S'] = 19,       ['T'] = 20,
    ['U'] = 21,      ['V'] = 22,      ['W'] = 23,       ['X'] = 24,       ['Y'] = 25,
    ['Z'] = 26,      ['a'] = 27,      ['b'] = 28,       ['c'] = 29,       ['d'] = 30,
    ['e'] = 31,      ['f'] = 32,      ['g'] = 33,       ['h'] = 34,       ['i'] = 35,
    ['j'] = 36,      ['k'] = 37,      ['l'] = 38,       ['m'] = 39,       ['n'] = 40,
    ['o'] = 41,      ['p'] = 42,      ['q'] = 43,       ['r'] = 44,       ['s'] = 45,
    ['t'] = 46,      ['u'] = 47,      ['v'] = 48,       ['w'] = 49,       ['x'] = 50,
    ['y'] = 51,      ['z'] = 52,      ['0'] = 53,       ['1'] = 54,       ['2'] = 55,
    ['3'] = 56,      ['4'] = 57,      ['5'] = 58,       ['6'] = 59,       ['7'] = 60,
    ['8'] = 61,      ['9'] = 62,      ['+'] = 63,       ['/'] = 64,
};

/* Digits in fours, as long as nothing stands between them; how much of the text that was. */
static uint32_t decode_fours(struct span text, uint8_t *out, uint32_t size)
{
    const uint8_t *at = (const uint8_t *)text.at;
    uint32_t len = 0;
    uint32_t i = 0;
    for (; text.len - i >= 4 && size - len >= 3; i += 4) {
        uint8_t a = (uint8_t)(kinds[at[i]] - 1);
        uint8_t b = (uint8_t)(kinds[at[i + 1]] - 1);
        uint8_t c = (uint8_t)(kinds[at[i + 2]] - 1);
        uint8_t d = (uint8_t)(kinds[at[i + 3]] - 1);
        if ((a | b | c | d) >= DIGIT_MAX) {
            break;
        }
        out[len++] = (uint8_t)(a << 2 | b >> 4);
        out[len++] = (uint8_t)(b << 4 | c >> 2);
        out[len++] = (uint8_t)(c << 6 | d);
    }
    return i;
}

int base64_decode(struct span text, uint8_t *out, uint32_t size)
{
    uint32_t digits = decode_fours(text, out, size);
    uint32_t len = digits / 4 * 3;
    uint32_t padding = 0;
    uint32_t bits = 0;
    for (uint32_t i = digits; i < text.len; i++) {
        uint8_t kind = kinds[(uint8_t)text.at[i]];
        if (kind == FOLDING) {
            continue;
        }
        if (kind == PADDING) {
            padding++;
            continue;
        }
        if (kind == OTHER || padding > 0) {
            return -EINVAL;
        }
        bits = bits << 6 | (kind - 1u);
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
