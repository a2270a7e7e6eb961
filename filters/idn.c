/*
 * idn - see filters/idn.h.
 *
 *   octets --decode--> code points --fold--> labels --punycode--> "xn--..."
 */
#include "filters/idn.h"

#include <errno.h>
#include <string.h>

enum {
    LABEL_MAX = 63,
    BASE = 36, /* RFC 3492, 5 */
    T_MIN = 1,
    T_MAX = 26,
    SKEW = 38,
    DAMP = 700,
    INITIAL_BIAS = 72,
    INITIAL_N = 128,
};

struct label {
    uint32_t count;
    bool is_ascii;
    uint32_t points[LABEL_MAX];
};

/* One code point of well-formed UTF-8: no overlong form, no surrogate. The octets taken, or 0. */
static uint32_t decode(const uint8_t *at, uint32_t len, uint32_t *ret_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t size = at[0] < 0x80             ? 1
                    : (at[0] & 0xe0) == 0xc0 ? 2
                    : (at[0] & 0xf0) == 0xe0 ? 3
                    : (at[0] & 0xf8) == 0xf0 ? 4
                                             : 0;
    if (size == 0 || size > len) {
        return 0;
    }
    uint32_t point = size == 1 ? at[0] : at[0] & (0x7fu >> size);
    for (uint32_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (at[i] & 0x3f);
    }
    bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
    *ret_point = point;
    return point < least[size] || is_surrogate || point > 0x10ffff ? 0 : size;
}

static bool is_within(uint32_t point, uint32_t first, uint32_t last)
{
    return point >= first && point <= last;
}

/* Latin Extended-A pairs a capital with the letter behind it; where, changes three times. */
static uint32_t fold_latin(uint32_t point)
{
    bool is_even_first = is_within(point, 0x100, 0x12f) || is_within(point, 0x132, 0x137) ||
                         is_within(point, 0x14a, 0x177);
    bool is_odd_first = is_within(point, 0x139, 0x148) || is_within(point, 0x179, 0x17e);
    if ((is_even_first && point % 2 == 0) || (is_odd_first && point % 2 == 1)) {
        return point + 1;
    }
    return point == 0x178 ? 0xff : point;
}

/* To what a registered name is written in. */
static uint32_t fold(uint32_t point)
{
    if (is_within(point, 0xff01, 0xff5e)) {
        point -= 0xff01 - '!'; /* fullwidth */
    }
    if (point == 0x3002 || point == 0xff61) {
        return '.';
    }
    bool is_plus_32 =
        is_within(point, 'A', 'Z') || (is_within(point, 0xc0, 0xde) && point != 0xd7) ||
        (is_within(point, 0x391, 0x3ab) && point != 0x3a2) || is_within(point, 0x410, 0x42f);
    if (is_plus_32) {
        return point + 32;
    }
    return is_within(point, 0x400, 0x40f) ? point + 80 : fold_latin(point);
}

static char digit(uint32_t value)
{
    return (char)(value < 26 ? 'a' + value : '0' + value - 26);
}

static uint32_t adapt(uint32_t delta, uint32_t count, bool is_first)
{
    uint32_t k = 0;
    delta = is_first ? delta / DAMP : delta / 2;
    delta += delta / count;
    for (; delta > (BASE - T_MIN) * T_MAX / 2; k += BASE) {
        delta /= BASE - T_MIN;
    }
    return k + (BASE - T_MIN + 1) * delta / (delta + SKEW);
}

/* A number of variable length (3.3); the octets, or -EINVAL. */
static int put_number(uint32_t number, uint32_t bias, char *out, uint32_t room)
{
    uint32_t len = 0;
    for (uint32_t k = BASE;; k += BASE) {
        uint32_t t = k <= bias ? T_MIN : k >= bias + T_MAX ? T_MAX : k - bias;
        if (len == room) {
            return -EINVAL;
        }
        if (number < t) {
            out[len++] = digit(number);
            return (int)len;
        }
        out[len++] = digit(t + (number - t) % (BASE - t));
        number = (number - t) / (BASE - t);
    }
}

static uint32_t put_basic(const struct label *label, char *out)
{
    uint32_t len = 0;
    for (uint32_t i = 0; i < label->count; i++) {
        if (label->points[i] < INITIAL_N) {
            out[len++] = (char)label->points[i];
        }
    }
    return len;
}

static uint32_t least_from(const struct label *label, uint32_t n)
{
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; i < label->count; i++) {
        if (label->points[i] >= n && label->points[i] < least) {
            least = label->points[i];
        }
    }
    return least;
}

/* 6.3, into LABEL_MAX octets with "xn--" in front. 63 code points below 0x110000 do not overflow. */
static int put_punycode(const struct label *label, char *out)
{
    memcpy(out, "xn--", 4);
    uint32_t done = put_basic(label, out + 4);
    uint32_t basic = done;
    uint32_t len = 4 + done;
    uint32_t n = INITIAL_N;
    uint32_t delta = 0;
    uint32_t bias = INITIAL_BIAS;
    if (len >= LABEL_MAX) {
        return -EINVAL;
    }
    if (basic > 0) {
        out[len++] = '-';
    }
    for (; done < label->count; delta++, n++) {
        uint32_t next = least_from(label, n);
        delta += (next - n) * (done + 1);
        n = next;
        for (uint32_t i = 0; i < label->count; i++) {
            delta += label->points[i] < n ? 1 : 0;
            if (label->points[i] != n) {
                continue;
            }
            int part = put_number(delta, bias, out + len, LABEL_MAX - len);
            if (part < 0) {
                return part;
            }
            len += (uint32_t)part;
            bias = adapt(delta, done + 1, done == basic);
            delta = 0;
            done++;
        }
    }
    return (int)len;
}

struct name {
    uint32_t len;
    char *out;
};

static bool put_label(struct name *name, const struct label *label)
{
    char text[LABEL_MAX + 4];
    int len = label->is_ascii ? (int)put_basic(label, text) : put_punycode(label, text);
    if (len < 0 || name->len + (uint32_t)len + 1 >= IDN_NAME_MAX) {
        return false;
    }
    memcpy(name->out + name->len, text, (size_t)len);
    name->len += (uint32_t)len;
    return true;
}

/* The next one, up to and with its dot. */
static bool take_label(const char *text, uint32_t len, uint32_t *at, struct label *label)
{
    *label = (struct label){.is_ascii = true};
    while (*at < len) {
        uint32_t point;
        uint32_t taken = decode((const uint8_t *)text + *at, len - *at, &point);
        *at += taken;
        point = taken > 0 ? fold(point) : 0;
        if (point == '.') {
            return true;
        }
        bool is_unknown = taken == 0 || point == 0 || is_within(point, 0x300, 0x36f);
        if (is_unknown || label->count == LABEL_MAX) {
            return false;
        }
        label->points[label->count++] = point;
        label->is_ascii = label->is_ascii && point < INITIAL_N;
    }
    return true;
}

int idn_to_ascii(const char *text, uint32_t len, char out[IDN_NAME_MAX])
{
    struct name name = {0, out};
    struct label label;
    for (uint32_t at = 0; at < len;) {
        if (!take_label(text, len, &at, &label) || !put_label(&name, &label)) {
            return -EINVAL;
        }
        if (at < len) {
            name.out[name.len++] = '.';
        }
    }
    out[name.len] = '\0';
    return (int)name.len;
}

/* A label of `len` octets that is not encoded is one that folds to it; read no further than it does. */
static bool plain_label_is(const char *text, uint32_t len, uint32_t *at, const char *ascii,
                           uint32_t ascii_len)
{
    for (uint32_t i = 0; *at < len; i++) {
        uint32_t point;
        uint32_t taken = decode((const uint8_t *)text + *at, len - *at, &point);
        point = taken > 0 ? fold(point) : 0;
        *at += taken;
        if (point == '.') {
            return i == ascii_len;
        }
        if (point == 0 || i == ascii_len || point != (uint8_t)ascii[i]) {
            return false;
        }
        if (*at == len) {
            return i + 1 == ascii_len;
        }
    }
    return ascii_len == 0;
}

static bool encoded_label_is(const char *text, uint32_t len, uint32_t *at, const char *ascii,
                             uint32_t ascii_len)
{
    struct label label;
    char encoded[LABEL_MAX + 4];
    if (!take_label(text, len, at, &label)) {
        return false;
    }
    int encoded_len =
        label.is_ascii ? (int)put_basic(&label, encoded) : put_punycode(&label, encoded);
    return encoded_len == (int)ascii_len && memcmp(encoded, ascii, ascii_len) == 0;
}

bool idn_is(const char *text, uint32_t len, const char *ascii)
{
    for (uint32_t at = 0; at < len;) {
        uint32_t wanted = (uint32_t)strcspn(ascii, ".");
        bool is_encoded = wanted > 4 && memcmp(ascii, "xn--", 4) == 0;
        if (is_encoded ? !encoded_label_is(text, len, &at, ascii, wanted)
                       : !plain_label_is(text, len, &at, ascii, wanted)) {
            return false;
        }
        ascii += wanted;
        if (at < len && *ascii++ != '.') {
            return false;
        }
    }
    return *ascii == '\0';
}
