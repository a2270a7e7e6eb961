/*
 * smtp_body - where a message ends, and which of its bytes are clean. See the header.
 *
 * One automaton of five states follows the pattern CRLF "." CRLF through everything a client sends,
 * good or bad; a second table says which byte is a fault in which state. A message that has no
 * fault yet goes through scan_clean(), which takes ordinary lines in one stride; after a fault
 * seek_end() only looks for the end.
 *
 *      START -- other --> TEXT -- CR --> CR -- LF --> START
 *      START -- CR -----> CR                                (an empty line)
 *      START -- "." ----> DOT -- CR --> DOT_CR -- LF --> the end
 *                         DOT -- other --> TEXT             (the dot was a stuffed one)
 *
 * What is held back at the end of a chunk follows from the state alone: nothing in START and TEXT,
 * "\r" in CR, "." in DOT, ".\r" in DOT_CR. So the bytes released by a scan are those that were held
 * before, plus those read, minus those held now. The same sum is right at a fault (the bytes held
 * before the offending one never get out) and at the end (".\r\n" never gets out).
 */
#include "core/smtp_body.h"

#include <assert.h>
#if defined(__SSE2__) && !defined(SMTP_BODY_PORTABLE)
#include <emmintrin.h>
#endif

enum body_state { STATE_START, STATE_TEXT, STATE_CR, STATE_DOT, STATE_DOT_CR, STATE_END };

enum byte_class { CLASS_OTHER, CLASS_CR, CLASS_LF, CLASS_DOT, CLASS_NUL, CLASS_COUNT };

static const uint8_t class_of[256] = {
    ['\r'] = CLASS_CR,
    ['\n'] = CLASS_LF,
    ['.'] = CLASS_DOT,
    ['\0'] = CLASS_NUL,
};

/* Columns: other, CR, LF, ".", NUL. */
static const uint8_t next_state[STATE_END][CLASS_COUNT] = {
    [STATE_START] = {STATE_TEXT, STATE_CR, STATE_TEXT, STATE_DOT, STATE_TEXT},
    [STATE_TEXT] = {STATE_TEXT, STATE_CR, STATE_TEXT, STATE_TEXT, STATE_TEXT},
    [STATE_CR] = {STATE_TEXT, STATE_CR, STATE_START, STATE_TEXT, STATE_TEXT},
    [STATE_DOT] = {STATE_TEXT, STATE_DOT_CR, STATE_TEXT, STATE_TEXT, STATE_TEXT},
    [STATE_DOT_CR] = {STATE_TEXT, STATE_CR, STATE_END, STATE_TEXT, STATE_TEXT},
};

static const uint8_t fault_of[STATE_END][CLASS_COUNT] = {
    [STATE_START] = {[CLASS_LF] = BODY_BARE_LF, [CLASS_NUL] = BODY_NUL},
    [STATE_TEXT] = {[CLASS_LF] = BODY_BARE_LF, [CLASS_NUL] = BODY_NUL},
    [STATE_CR] = {BODY_BARE_CR, BODY_BARE_CR, BODY_CLEAN, BODY_BARE_CR, BODY_BARE_CR},
    [STATE_DOT] = {[CLASS_LF] = BODY_BARE_LF, [CLASS_NUL] = BODY_NUL},
    [STATE_DOT_CR] = {BODY_BARE_CR, BODY_BARE_CR, BODY_CLEAN, BODY_BARE_CR, BODY_BARE_CR},
};

static const struct text held_in[STATE_END] = {
    [STATE_START] = {.at = "", .len = 0},     [STATE_TEXT] = {.at = "", .len = 0},
    [STATE_CR] = {.at = "\r", .len = 1},      [STATE_DOT] = {.at = ".", .len = 1},
    [STATE_DOT_CR] = {.at = ".\r", .len = 2},
};

static const char received[] = "received:";

enum {
    RECEIVED_LEN = sizeof(received) - 1,
    HEADER_OTHER = 255, /* header_state of a line that is no Received field, or is counted */
};

/* The distance to the first CR, LF or NUL; `len` when there is none. */
static uint32_t find_special_bytewise(const char *data, uint32_t at, uint32_t len)
{
    while (at < len && data[at] != '\r' && data[at] != '\n' && data[at] != '\0') {
        at++;
    }
    return at;
}

#if defined(__SSE2__) && !defined(SMTP_BODY_PORTABLE)

static uint32_t find_special(const char *data, uint32_t len)
{
    const __m128i cr = _mm_set1_epi8('\r');
    const __m128i lf = _mm_set1_epi8('\n');
    const __m128i nul = _mm_setzero_si128();
    uint32_t at = 0;
    for (; len - at >= 16; at += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(data + at));
        __m128i hits = _mm_or_si128(_mm_cmpeq_epi8(block, cr), _mm_cmpeq_epi8(block, lf));
        hits = _mm_or_si128(hits, _mm_cmpeq_epi8(block, nul));
        uint32_t mask = (uint32_t)_mm_movemask_epi8(hits);
        if (mask != 0) {
            return at + (uint32_t)__builtin_ctz(mask);
        }
    }
    return find_special_bytewise(data, at, len);
}

static inline uint64_t quarter_has(__m128i quarter, __m128i wanted)
{
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(quarter, wanted));
}

/* One bit for each of the 64 bytes that is `byte`. */
static inline uint64_t block_has(const __m128i *quarters, char byte)
{
    const __m128i wanted = _mm_set1_epi8(byte);
    return quarter_has(_mm_loadu_si128(quarters), wanted) |
           quarter_has(_mm_loadu_si128(quarters + 1), wanted) << 16 |
           quarter_has(_mm_loadu_si128(quarters + 2), wanted) << 32 |
           quarter_has(_mm_loadu_si128(quarters + 3), wanted) << 48;
}

/* In each byte the smallest of four, one from each quarter. */
static inline __m128i block_least(const __m128i *quarters)
{
    return _mm_min_epu8(_mm_min_epu8(_mm_loadu_si128(quarters), _mm_loadu_si128(quarters + 1)),
                        _mm_min_epu8(_mm_loadu_si128(quarters + 2), _mm_loadu_si128(quarters + 3)));
}

/*
 * From inside a line over whole blocks in which each CR has its LF, each LF its CR, no line begins with
 * a dot and there is no NUL: nothing in them needs a look at single bytes, or a branch for each line.
 * Returns where the first other block begins, or earlier, in front of a CRLF that ends there.
 */
static uint32_t skip_clean_blocks(const char *data, uint32_t len)
{
    const __m128i text = _mm_set1_epi8('\r' + 1); /* the special bytes are below */
    uint64_t after_cr = 0;                        /* the byte in front of the block was one */
    uint64_t after_lf = 0;
    uint32_t at = 0;
    for (; len - at >= 64; at += 64) {
        const __m128i *quarters = (const __m128i *)(const void *)(data + at);
        __m128i least = block_least(quarters);
        bool is_text =
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(least, text), least)) == 0xffff;
        if (is_text && (after_cr | after_lf) == 0) {
            continue;
        }
        uint64_t cr = block_has(quarters, '\r');
        uint64_t lf = block_has(quarters, '\n');
        uint64_t bad = ((cr << 1) | after_cr) ^ lf;
        bad |= ((lf << 1) | after_lf) & block_has(quarters, '.');
        bad |= quarter_has(least, _mm_setzero_si128());
        if (bad != 0) {
            break;
        }
        after_cr = cr >> 63;
        after_lf = lf >> 63;
    }
    return at - (uint32_t)after_cr - 2 * (uint32_t)after_lf;
}

#else

/* Not zero when one of the eight bytes is `byte`; which one, this does not tell reliably. */
static uint64_t word_has(uint64_t word, uint8_t byte)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t difference = word ^ (ones * byte);
    return (difference - ones) & ~difference & (ones << 7);
}

static uint32_t skip_clean_blocks(const char *data, uint32_t len)
{
    (void)data;
    (void)len;
    return 0; /* find_special() takes it line by line */
}

static uint32_t find_special(const char *data, uint32_t len)
{
    uint32_t at = 0;
    for (; len - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, data + at, sizeof(word));
        if ((word_has(word, '\r') | word_has(word, '\n') | word_has(word, '\0')) != 0) {
            break;
        }
    }
    return find_special_bytewise(data, at, len);
}

#endif

/* Feeds bytes of a header line, CRLF and a stuffed dot left out, to the matcher. */
static void match_header(struct smtp_body *body, const char *data, uint32_t len)
{
    for (uint32_t i = 0; i < len && body->header_state != HEADER_OTHER; i++) {
        if (text_lower(data[i]) != received[body->header_state]) {
            body->header_state = HEADER_OTHER;
        } else if (++body->header_state == RECEIVED_LEN) {
            body->hops++;
            body->header_state = HEADER_OTHER;
        }
    }
}

/* A CRLF has come: of an empty line, when the matcher has seen nothing since the last one. */
static void end_header_line(struct smtp_body *body)
{
    body->in_header = body->header_state != 0;
    body->header_state = 0;
}

/* From inside a line to the next byte that needs the automaton: whole lines in one stride, as long
 * as an ordinary byte begins the next one. The state stays STATE_TEXT. */
static uint32_t take_lines(struct smtp_body *body, const char *data, uint32_t at, uint32_t len)
{
    if (!body->in_header) {
        at += skip_clean_blocks(data + at, len - at);
    }
    for (;;) {
        uint32_t run = find_special(data + at, len - at);
        if (body->in_header) {
            match_header(body, data + at, run);
        }
        at += run;
        if (len - at < 3 || data[at] != '\r' || data[at + 1] != '\n' ||
            class_of[(uint8_t)data[at + 2]] != CLASS_OTHER) {
            return at;
        }
        if (body->in_header) {
            end_header_line(body);
        }
        at += 2;
    }
}

/* Reads up to the end of the chunk, the end-of-data or the first fault. Returns the bytes read:
 * without the offending byte, and without the LF of the end-of-data. */
static uint32_t scan_clean(struct smtp_body *body, const char *data, uint32_t len,
                           uint32_t *ret_stuffed)
{
    uint32_t stuffed = 0;
    uint32_t at = 0;
    uint8_t state = body->eod_state;
    while (at < len) {
        if (state == STATE_TEXT) {
            at = take_lines(body, data, at, len);
            if (at == len) {
                break;
            }
        }
        uint8_t class = class_of[(uint8_t)data[at]];
        body->fault = fault_of[state][class];
        uint8_t next = next_state[state][class];
        if (body->fault != BODY_CLEAN || next == STATE_END) {
            break;
        }
        stuffed += state == STATE_DOT && next == STATE_TEXT;
        if (next == STATE_START && body->in_header) {
            end_header_line(body);
        }
        state = next;
        at += next != STATE_TEXT; /* a line's first byte is left to take_lines() */
    }
    body->eod_state = state;
    *ret_stuffed = stuffed;
    return at;
}

/* Reads on to the end-of-data. Returns the bytes read, its LF included. */
static uint32_t seek_end(struct smtp_body *body, const char *data, uint32_t len, bool *ret_end)
{
    *ret_end = false;
    uint32_t at = 0;
    while (at < len) {
        if (body->eod_state == STATE_TEXT) {
            const char *cr = memchr(data + at, '\r', len - at);
            if (cr == NULL) {
                return len;
            }
            at = (uint32_t)(cr - data);
        }
        uint8_t next = next_state[body->eod_state][class_of[(uint8_t)data[at]]];
        at++;
        if (next == STATE_END) {
            *ret_end = true;
            break;
        }
        body->eod_state = next;
    }
    return at;
}

void smtp_body_init(struct smtp_body *body)
{
    *body = (struct smtp_body){.eod_state = STATE_START, .fault = BODY_CLEAN, .in_header = true};
}

void smtp_body_scan(struct smtp_body *body, const char *data, uint32_t len,
                    struct smtp_body_step *ret_step)
{
    assert(data != NULL || len == 0);
    assert(body->eod_state < STATE_END);
    struct text held = {.at = "", .len = 0};
    uint64_t released = 0;
    uint32_t stuffed = 0;
    uint32_t at = 0;
    if (body->fault == BODY_CLEAN) {
        held = held_in[body->eod_state];
        at = scan_clean(body, data, len, &stuffed);
        released = (uint64_t)held.len + at - held_in[body->eod_state].len;
        held.len = released < held.len ? (uint32_t)released : held.len;
        body->size += released - stuffed;
    }
    /* Here the chunk is used up, or the next byte is the end-of-data's last, or it is the fault. */
    bool end;
    at += seek_end(body, data + at, len - at, &end);
    assert(at == len || end);
    *ret_step = (struct smtp_body_step){
        .held = held, .clean = (uint32_t)(released - held.len), .taken = at, .end = end};
}

struct text smtp_body_unstuff(struct text *rest, bool *at_line_start)
{
    if (rest->len == 0) {
        return *rest;
    }
    const char *end = rest->at + rest->len;
    const char *from = rest->at + (*at_line_start && rest->at[0] == '.');
    const char *to = from;
    do {
        const char *lf = memchr(to, '\n', (size_t)(end - to));
        to = lf == NULL ? end : lf + 1;
    } while (to < end && *to != '.');
    *at_line_start = to[-1] == '\n';
    *rest = (struct text){to, (uint32_t)(end - to)};
    return (struct text){from, (uint32_t)(to - from)};
}
