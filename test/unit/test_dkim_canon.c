/*
 * test_dkim_canon - the canonical forms of a body (RFC 6376, 3.4.3 and 3.4.4), cut anywhere, against a
 * plain reference that sees it whole; and with limits (l=), each of which gets the sum of its prefix.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filters/dkim_canon.h"

enum { LINES = 5000, BODY_MAX = 2 * LINES + 64 };

/* ---- the reference ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* Runs of white space in a line become a space, none stays in front of the line end. */
static uint32_t relax(const char *body, uint32_t len, char *out)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < len; i++) {
        if (!is_space(body[i])) {
            out[at++] = body[i];
            continue;
        }
        uint32_t next = i + 1;
        while (next < len && is_space(body[next])) {
            next++;
        }
        bool is_last =
            next == len || (next + 1 < len && body[next] == '\r' && body[next + 1] == '\n');
        if (!is_last) {
            out[at++] = ' ';
        }
        i = next - 1;
    }
    return at;
}

static uint32_t canonical(const char *body, uint32_t len, bool is_relaxed, char *out)
{
    uint32_t size = len;
    if (is_relaxed) {
        size = relax(body, len, out);
    } else {
        memcpy(out, body, len);
    }
    while (size >= 2 && memcmp(out + size - 2, "\r\n", 2) == 0) {
        size -= 2;
    }
    if (size > 0 || !is_relaxed) {
        memcpy(out + size, "\r\n", 2);
        size += 2;
    }
    return size;
}

static void sum_of(const char *text, uint32_t len, uint8_t sum[DIGEST_SIZE])
{
    struct digest digest;
    assert_int_equal(digest_init(&digest), 0);
    digest_update(&digest, text, len);
    digest_final(&digest, sum);
}

/* ---- the comparison ---- */

static void check_sum(const struct dkim_body *body, uint32_t limit, const char *text, uint32_t len)
{
    uint8_t wanted[DIGEST_SIZE];
    const uint8_t *sum = dkim_body_sum(body, limit);
    sum_of(text, len, wanted);
    assert_non_null(sum);
    assert_memory_equal(sum, wanted, DIGEST_SIZE);
}

/* With limits at the end, in front of it, behind it, and at 0. */
static void check(const char *text, uint32_t len, bool is_relaxed, uint32_t cut)
{
    static struct dkim_body body;
    static char out[BODY_MAX];
    uint32_t size = canonical(text, len, is_relaxed, out);
    assert_int_equal(dkim_body_init(&body, is_relaxed), 0);
    uint32_t all = dkim_body_limit(&body, DKIM_ALL);
    uint32_t none = dkim_body_limit(&body, 0);
    uint32_t whole = dkim_body_limit(&body, size);
    uint32_t half = dkim_body_limit(&body, size / 2);
    uint32_t less = dkim_body_limit(&body, size > 0 ? size - 1 : 0);
    uint32_t more = dkim_body_limit(&body, size + len + 3);
    assert_int_equal(dkim_body_limit(&body, DKIM_ALL), all);
    for (uint32_t at = 0; at < len; at += cut) {
        dkim_body_feed(&body, text + at, len - at < cut ? len - at : cut);
    }
    dkim_body_final(&body);
    assert_int_equal(body.size, size);
    check_sum(&body, all, out, size);
    check_sum(&body, whole, out, size);
    check_sum(&body, half, out, size / 2);
    check_sum(&body, less, out, size > 0 ? size - 1 : 0);
    check_sum(&body, none, out, 0);
    assert_null(dkim_body_sum(&body, more));
    dkim_body_drop(&body);
}

/* ---- tests ---- */

static void test_every_short_body_every_cut(void **state)
{
    static const char *const pieces[] = {"a", " ", "\t", "\r\n", "\r"};
    (void)state;
    for (uint32_t number = 0; number < 15625; number++) {
        char text[16] = "";
        uint32_t rest = number;
        for (uint32_t i = 0; i < 6; i++, rest /= 5) {
            (void)strncat(text, pieces[rest % 5], sizeof(text) - strlen(text) - 1);
        }
        for (uint32_t cut = 1; cut < 4; cut++) {
            check(text, (uint32_t)strlen(text), false, cut);
            check(text, (uint32_t)strlen(text), true, cut);
        }
    }
    check("", 0, false, 1);
    check("", 0, true, 1);
}

/* The piece that goes to the digest at once, and the lines that are held, around their ends. */
static void test_lengths_around_the_buffer(void **state)
{
    static char text[BODY_MAX];
    (void)state;
    for (uint32_t len = DKIM_PIECE - 4; len < DKIM_PIECE + 4; len++) {
        memset(text, 'a', len);
        memcpy(text + len, "\r\n", 2);
        check(text, len + 2, false, 4096);
        check(text, len + 2, true, 7);
        text[len - 3] = ' ';
        check(text, len + 2, true, 4096);
    }
}

/* A CR where the room ends, that is no part of a line end. */
static void test_nothing_but_cr(void **state)
{
    static char text[BODY_MAX];
    (void)state;
    memset(text, '\r', 3 * DKIM_PIECE);
    for (uint32_t cut = 1; cut <= 4096; cut *= 8) {
        check(text, 3 * DKIM_PIECE, false, cut);
        check(text, 3 * DKIM_PIECE, true, cut);
    }
}

/* Empty lines are hashed on trial from 4096 on; with and without text in front and behind. */
static void test_empty_lines_cost_nobody_later(void **state)
{
    static const char *const ends[] = {"", "x\r\n", " \r\n", "x", "\r", " x\r\n\r\n"};
    static char text[BODY_MAX];
    static const uint32_t counts[] = {4094, 4095, 4096, 4097, LINES};
    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (size_t j = 0; j < 2 * sizeof(ends) / sizeof(ends[0]); j++) {
            uint32_t len =
                (uint32_t)snprintf(text, sizeof(text), "%s", j % 2 == 0 ? "" : "begin\r\n");
            for (uint32_t line = 0; line < counts[i]; line++) {
                memcpy(text + len, "\r\n", 2);
                len += 2;
            }
            len += (uint32_t)snprintf(text + len, sizeof(text) - len, "%s", ends[j / 2]);
            check(text, len, false, 999);
            check(text, len, true, 16384);
        }
    }
}

/* What is put late is bounded: the piece in which text follows hashes no more than what was held. */
static void test_no_piece_pays_for_those_before(void **state)
{
    static struct dkim_body body;
    (void)state;
    assert_int_equal(dkim_body_init(&body, true), 0);
    (void)dkim_body_limit(&body, DKIM_ALL);
    for (int i = 0; i < 100000; i++) {
        dkim_body_feed(&body, "\r\n", 2);
        assert_true(body.empty_lines <= 4096);
    }
    uint64_t before = body.size;
    dkim_body_feed(&body, "x", 1);
    assert_true(body.size - before <= 2 * 4096 + 1);
    assert_int_equal(body.size, 200001);
    dkim_body_drop(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_short_body_every_cut),
        cmocka_unit_test(test_lengths_around_the_buffer),
        cmocka_unit_test(test_nothing_but_cr),
        cmocka_unit_test(test_empty_lines_cost_nobody_later),
        cmocka_unit_test(test_no_piece_pays_for_those_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
