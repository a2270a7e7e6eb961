/*
 * test_smtp_body - end-of-data: every string over {CR, LF, ".", NUL} up to eight bytes, and over
 * the same with a letter up to seven, at every cut, against the reference of test/body_reference.h;
 * the sequences that have split messages elsewhere; header counting; and the fast search against
 * the portable one.
 */
#include "core/smtp_body.h"
#include "test/body_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The same source once more, with the portable search. */
void portable_body_init(struct smtp_body *body);
void portable_body_scan(struct smtp_body *body, const char *data, uint32_t len,
                        struct smtp_body_step *ret_step);
struct text portable_body_unstuff(struct text *rest, bool *at_line_start);
#define SMTP_BODY_PORTABLE
#define smtp_body_init    portable_body_init
#define smtp_body_scan    portable_body_scan
#define smtp_body_unstuff portable_body_unstuff
#include "core/smtp_body.c"
#undef smtp_body_init
#undef smtp_body_scan
#undef smtp_body_unstuff

struct scanner {
    const char *name;
    void (*init)(struct smtp_body *body);
    void (*scan)(struct smtp_body *body, const char *data, uint32_t len,
                 struct smtp_body_step *ret_step);
};

static const struct scanner scanners[] = {
    {"built in", smtp_body_init, smtp_body_scan},
    {"portable", portable_body_init, portable_body_scan},
};

enum { STREAM_MAX = 4096 };

/* One stream going through one scanner in pieces. */
struct passage {
    const struct scanner *scanner;
    struct smtp_body body;
    char out[STREAM_MAX];
    size_t out_len;
    size_t taken;
    bool end;
    bool is_safe; /* the output was so after each step */
};

static void passage_begin(struct passage *passage, const struct scanner *scanner)
{
    passage->scanner = scanner;
    passage->out_len = 0;
    passage->taken = 0;
    passage->end = false;
    passage->is_safe = true;
    scanner->init(&passage->body);
}

static void passage_put(struct passage *passage, const char *bytes, size_t len)
{
    assert_true(passage->out_len + len <= sizeof(passage->out));
    memcpy(passage->out + passage->out_len, bytes, len);
    passage->out_len += len;
}

static void passage_feed(struct passage *passage, const char *data, size_t len)
{
    if (passage->end) {
        return;
    }
    struct smtp_body_step step;
    passage->scanner->scan(&passage->body, data, (uint32_t)len, &step);
    assert_true(step.held.len <= 1);
    assert_true(step.clean <= step.taken);
    assert_true(step.taken == len || step.end);
    passage_put(passage, step.held.at, step.held.len);
    passage_put(passage, data, step.clean);
    passage->taken += step.taken;
    passage->end = step.end;
}

static void print_stream(const char *stream, size_t len, const struct passage *passage)
{
    print_error("%s scanner, out %zu, taken %zu, end %d, fault %d, stream", passage->scanner->name,
                passage->out_len, passage->taken, passage->end, passage->body.fault);
    for (size_t i = 0; i < len; i++) {
        print_error(" %02x", (unsigned char)stream[i]);
    }
    print_error("\n");
}

/* What is clean, run by run, is the same as without the dots that begin a line. */
static bool unstuffs(const struct passage *passage, uint32_t piece)
{
    struct text rest = {passage->out, 0};
    struct text run = {NULL, 0};
    const char *end = passage->out + passage->out_len;
    bool at_line_start = true;
    uint32_t at = 0;
    uint64_t size = 0;
    for (uint32_t i = 0; i < passage->out_len; i++) {
        if (passage->out[i] == '.' && (i == 0 || passage->out[i - 1] == '\n')) {
            continue;
        }
        while (at == run.len && rest.at < end) {
            if (rest.len == 0) {
                rest.len = (uint32_t)(end - rest.at) < piece ? (uint32_t)(end - rest.at) : piece;
            }
            run = smtp_body_unstuff(&rest, &at_line_start);
            at = 0;
        }
        if (at == run.len || run.at[at++] != passage->out[i]) {
            return false;
        }
        size++;
    }
    if (rest.at + rest.len < end) {
        rest.len = (uint32_t)(end - rest.at); /* a dot that its reader does not get */
    }
    while (at == run.len && rest.len > 0) {
        run = smtp_body_unstuff(&rest, &at_line_start);
        at = 0;
    }
    return rest.len == 0 && at == run.len && size == passage->body.size;
}

static void passage_check(const struct passage *passage, const char *stream, size_t len,
                          const struct body_reference *expected)
{
    bool is_right = passage->end == expected->end && passage->taken == expected->taken &&
                    passage->body.fault == expected->fault && passage->is_safe &&
                    passage->out_len == expected->clean && passage->body.size == expected->size &&
                    memcmp(passage->out, stream, passage->out_len) == 0 && unstuffs(passage, 1) &&
                    unstuffs(passage, 2) && unstuffs(passage, UINT32_MAX);
    if (!is_right) {
        print_stream(stream, len, passage);
        fail();
    }
}

/* In one piece, byte by byte, and with each single cut. */
static void check_all_cuts(const struct scanner *scanner, const char *stream, size_t len)
{
    static struct passage passage;
    struct body_reference expected = body_reference(stream, len);
    for (size_t cut = 0; cut <= len; cut++) {
        passage_begin(&passage, scanner);
        passage_feed(&passage, stream, cut);
        passage.is_safe = bytes_are_safe(passage.out, passage.out_len);
        passage_feed(&passage, stream + cut, len - cut);
        passage_check(&passage, stream, len, &expected);
    }
    passage_begin(&passage, scanner);
    for (size_t i = 0; i < len; i++) {
        passage_feed(&passage, stream + i, 1);
    }
    passage_check(&passage, stream, len, &expected);
    assert_true(bytes_are_safe(passage.out, passage.out_len));
}

/* Every string over the alphabet, up to `len_max` bytes, behind the prefix. Returns their number.
 */
static size_t check_all_strings(const struct scanner *scanner, const char *prefix,
                                const char *alphabet, size_t alphabet_len, size_t len_max)
{
    char stream[32];
    size_t prefix_len = strlen(prefix);
    size_t checked = 0;
    memcpy(stream, prefix, prefix_len);
    for (size_t len = 0, count = 1; len <= len_max; len++, count *= alphabet_len) {
        for (size_t number = 0; number < count; number++) {
            size_t rest = number;
            for (size_t i = 0; i < len; i++, rest /= alphabet_len) {
                stream[prefix_len + i] = alphabet[rest % alphabet_len];
            }
            check_all_cuts(scanner, stream, prefix_len + len);
            checked++;
        }
    }
    return checked;
}

static void test_every_string(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"", "a", "\r\n"};
    for (size_t i = 0; i < 3; i++) {
        size_t checked = check_all_strings(&scanners[0], prefixes[i], "\r\n.\0", 4, 8);
        assert_int_equal(checked, 87381); /* 4^0 + ... + 4^8 */
        checked = check_all_strings(&scanners[1], prefixes[i], "\r\n.\0", 4, 6);
        assert_int_equal(checked, 5461);
    }
}

static void test_every_string_with_a_letter(void **state)
{
    (void)state;
    assert_int_equal(check_all_strings(&scanners[0], "", "\r\n.\0a", 5, 7), 97656);
    assert_int_equal(check_all_strings(&scanners[1], "", "\r\n.\0a", 5, 5), 3906);
}

struct sequence {
    const char *bytes;
    uint32_t len;
    enum smtp_body_fault fault;
    bool ends; /* holds a true end-of-data itself */
};

#define BYTES(literal) .bytes = (literal), .len = sizeof(literal) - 1

static const struct sequence sequences[] = {
    {BYTES("\n.\n"), BODY_BARE_LF, false},       {BYTES("\n.\r"), BODY_BARE_LF, false},
    {BYTES("\r.\n"), BODY_BARE_CR, false},       {BYTES("\r.\r"), BODY_BARE_CR, false},
    {BYTES("\n.\r\n"), BODY_BARE_LF, false},     {BYTES("\r.\r\n"), BODY_BARE_CR, false},
    {BYTES("\r\n.\n"), BODY_BARE_LF, false},     {BYTES("\r\n.\r"), BODY_BARE_CR, false},
    {BYTES("\r\n.\r\r\n"), BODY_BARE_CR, false}, {BYTES("\r\r\n.\r\r\n"), BODY_BARE_CR, false},
    {BYTES("\r\n\0.\r\n"), BODY_NUL, false},     {BYTES("\r\n.\0\r\n"), BODY_NUL, false},
    {BYTES("\r\0\n.\r\n"), BODY_BARE_CR, false}, {BYTES("\r\n.\r\0\n"), BODY_BARE_CR, false},
    {BYTES("\0\r\n.\r\n"), BODY_NUL, true},      {BYTES("\r\n.\r\n\0"), BODY_CLEAN, true},
    {BYTES("\r..\r\n"), BODY_BARE_CR, false},   /* a dot behind a bare CR is not unstuffed */
    {BYTES("\r\r\n.\r\n"), BODY_BARE_CR, true}, /* the CRLF that begins the end is whole */
    {BYTES("\n\r\n.\r\n"), BODY_BARE_LF, true},  {BYTES("\r\n.\r\n.\r\n"), BODY_CLEAN, true},
};

/* In the header, directly behind the fields, as first body line, in mid-body. */
static const char *const places[] = {
    "", "Subject: a", "Subject: a\r\n", "Subject: a\r\n\r\n", "Subject: a\r\n\r\nb\r\nc",
};

static void check_sequence(const struct scanner *scanner, const char *place,
                           const struct sequence *sequence)
{
    static const char evil[] = "MAIL FROM:<evil@example.com>\r\n.\r\nQUIT\r\n";
    char stream[256];
    size_t len = strlen(place);
    memcpy(stream, place, len);
    memcpy(stream + len, sequence->bytes, sequence->len);
    size_t sequence_end = len + sequence->len;
    memcpy(stream + sequence_end, evil, sizeof(evil) - 1);
    len = sequence_end + sizeof(evil) - 1;
    check_all_cuts(scanner, stream, len);

    static struct passage passage;
    passage_begin(&passage, scanner);
    passage_feed(&passage, stream, len);
    assert_true(passage.end);
    assert_int_equal(passage.body.fault, sequence->fault);
    assert_true(sequence->ends ? passage.taken <= sequence_end : passage.taken == len - 6);
    if (sequence->fault != BODY_CLEAN) {
        assert_true(passage.out_len <= sequence_end);
    }
}

static void test_named_sequences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
        for (size_t place = 0; place < sizeof(places) / sizeof(places[0]); place++) {
            check_sequence(&scanners[0], places[place], &sequences[i]);
            check_sequence(&scanners[1], places[place], &sequences[i]);
        }
    }
}

static void test_steps_of_the_picture(void **state)
{
    (void)state;
    struct smtp_body body;
    struct smtp_body_step step;
    smtp_body_init(&body);
    smtp_body_scan(&body, "ab\r", 3, &step);
    assert_true(step.held.len == 0 && step.clean == 2 && step.taken == 3 && !step.end);
    smtp_body_scan(&body, "\n.", 2, &step);
    assert_true(text_is(step.held, "\r") && step.clean == 1 && step.taken == 2 && !step.end);
    smtp_body_scan(&body, "\r\nQUIT", 6, &step);
    assert_true(step.held.len == 0 && step.clean == 0 && step.taken == 2 && step.end);
    assert_int_equal(body.size, 4);
    assert_int_equal(body.fault, BODY_CLEAN);
}

struct header_row {
    const char *stream;
    uint32_t hops;
    bool in_header;
    uint64_t size;
};

static const struct header_row header_rows[] = {
    {"", 0, true, 0},
    {"Received: a\r\n", 1, true, 13},
    {"received:\r\nRECEIVED:x\r\n", 2, true, 23},
    {"Received", 0, true, 8},
    {"Received:", 1, true, 9},
    {"Received-SPF: pass\r\nX-Received: a\r\n Received: folded\r\n", 0, true, 54},
    {"Subject: a\r\nReceived: b\r\n\r\nReceived: c\r\n", 1, false, 40},
    {"\r\nReceived: a\r\n", 0, false, 15},
    {".Received: a\r\n..Received: b\r\n", 1, true, 27}, /* as the receiver will unstuff it */
    {"..\r\nReceived: a\r\n", 1, true, 16},             /* a line "." is not empty */
    {"a\r\n.b\r\n..c\r\n...d\r\n.\r\n", 0, true, 15},
    {"a\r\n\r\n.\r\n", 0, false, 5},
    {".\r\n", 0, true, 0},
    {"Received: a\r\n.\r\nReceived: b\r\n", 1, true, 13},
    {"Received: a\r\n\nReceived: b\r\n", 1, true, 13}, /* nothing counts behind a fault */
};

static void check_header_row(const struct header_row *row, size_t cut)
{
    static struct passage passage;
    size_t len = strlen(row->stream);
    passage_begin(&passage, &scanners[0]);
    for (size_t at = 0; at < len; at += cut) {
        passage_feed(&passage, row->stream + at, len - at < cut ? len - at : cut);
    }
    assert_int_equal(passage.body.hops, row->hops);
    assert_int_equal(passage.body.in_header, row->in_header);
    assert_int_equal(passage.body.size, row->size);
}

static void test_header(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(header_rows) / sizeof(header_rows[0]); i++) {
        check_all_cuts(&scanners[0], header_rows[i].stream, strlen(header_rows[i].stream));
        for (size_t cut = 1; cut <= strlen(header_rows[i].stream) + 1; cut++) {
            check_header_row(&header_rows[i], cut);
        }
    }
}

/* Each byte value at each place of a buffer without room behind it: the stride must stop at three
 * values, at the right place, and read nothing outside. */
static void test_search_finds_every_place(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 50; len++) {
        char *stream = malloc(len);
        assert_non_null(stream);
        for (size_t at = 0; at < len; at++) {
            for (unsigned value = 0; value < 256; value++) {
                memset(stream, 'x', len);
                stream[at] = (char)value;
                bool is_special = value == '\r' || value == '\n' || value == '\0';
                size_t expected = is_special ? at : len;
                assert_int_equal(find_special(stream, (uint32_t)len), expected);
                struct smtp_body body;
                struct smtp_body_step step;
                smtp_body_init(&body);
                smtp_body_scan(&body, stream, (uint32_t)len, &step);
                expected -= value == '.' && len == 1; /* held: a line's first dot */
                assert_int_equal(step.clean, expected);
            }
        }
        free(stream);
    }
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

/* Mostly whole lines, some with stuffed dots, now and then a single special byte. */
static size_t make_stream(char *stream, size_t len_max, uint32_t *seed)
{
    static const char specials[] = {'\r', '\n', '.', '\0'};
    size_t len = 0;
    bool with_faults = next_random(seed) % 2 == 0;
    while (len + 100 < len_max) {
        size_t run = next_random(seed) % 90;
        memset(stream + len, 'x', run);
        len += run;
        if (with_faults && next_random(seed) % 20 == 0) {
            stream[len++] = specials[next_random(seed) % 4];
        }
        memcpy(stream + len, "\r\n.", 3);
        len += next_random(seed) % 3 == 0 ? 3 : 2;
    }
    return len;
}

static void test_random_streams(void **state)
{
    (void)state;
    uint32_t seed = 20240601;
    print_message("seed %u\n", (unsigned)seed);
    static struct passage passage;
    static char stream[STREAM_MAX];
    for (unsigned round = 0; round < 600; round++) {
        size_t len = make_stream(stream, 200 + next_random(&seed) % 3000, &seed);
        struct body_reference expected = body_reference(stream, len);
        uint32_t cuts = seed;
        for (size_t i = 0; i < 2; i++) {
            seed = cuts;
            passage_begin(&passage, &scanners[i]);
            for (size_t at = 0, piece; at < len; at += piece) {
                piece = 1 + next_random(&seed) % 300;
                piece = piece < len - at ? piece : len - at;
                passage_feed(&passage, stream + at, piece);
            }
            passage_check(&passage, stream, len, &expected);
        }
    }
}

/* Every string of five of these at every place around the ends of the blocks that are skipped whole,
 * between letters, in the body, in one piece. */
static void test_blocks_are_skipped_only_when_clean(void **state)
{
    (void)state;
    static const char alphabet[] = {'\r', '\n', '.', '\0', 'x'};
    enum { BODY_AT = 2, STRING_LEN = 5, STRINGS = 5 * 5 * 5 * 5 * 5, LEN = 200 };
    static struct passage passage;
    char stream[BODY_AT + LEN];
    for (unsigned at = 0; at < 140; at += at % 64 == 4 ? 54 : 1) {
        for (unsigned string = 0; string < STRINGS; string++) {
            memset(stream, 'x', sizeof(stream));
            memcpy(stream, "\r\n", BODY_AT); /* no header: the body begins */
            for (unsigned i = 0, digits = string; i < STRING_LEN; i++, digits /= 5) {
                stream[BODY_AT + at + i] = alphabet[digits % 5];
            }
            struct body_reference expected = body_reference(stream, sizeof(stream));
            for (size_t i = 0; i < 2; i++) {
                passage_begin(&passage, &scanners[i]);
                passage_feed(&passage, stream, sizeof(stream));
                passage_check(&passage, stream, sizeof(stream), &expected);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_skipped_only_when_clean),
        cmocka_unit_test(test_every_string),
        cmocka_unit_test(test_every_string_with_a_letter),
        cmocka_unit_test(test_named_sequences),
        cmocka_unit_test(test_steps_of_the_picture),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_search_finds_every_place),
        cmocka_unit_test(test_random_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
