/*
 * test_envelope - recipients in order across chunks, copies, counts, and pools that run dry.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/envelope.h"

enum { CHUNKS = 8 };

static struct pool chunks;

static int set_up(void **state)
{
    (void)state;
    return pool_init(&chunks, ENVELOPE_CHUNK_SIZE, CHUNKS);
}

static int tear_down(void **state)
{
    (void)state;
    pool_fini(&chunks); /* asserts that every chunk came back */
    return 0;
}

static struct text numbered(char *out, size_t size, unsigned number)
{
    /* Lengths differ, odd and even, so that every alignment occurs. */
    int len = snprintf(out, size, "%.*suser%u@example.org", (int)(number % 61),
                       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", number);
    return (struct text){.at = out, .len = (uint32_t)len};
}

static struct text params_of(unsigned i)
{
    return i % 3 == 0 ? TEXT(" NOTIFY=NEVER") : TEXT("");
}

static void test_empty_owns_nothing(void **state)
{
    (void)state;
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    struct envelope_cursor cursor = {0};
    assert_null(envelope_next_rcpt(&envelope, &cursor));
    assert_null(envelope_next_rcpt(&envelope, &cursor));
    assert_int_equal(chunks.used, 0);
    envelope_reset(&envelope);
    envelope_reset(&envelope);
    assert_int_equal(chunks.used, 0);
}

static void test_from_is_copied(void **state)
{
    (void)state;
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    char from[] = "sender@example.org";
    assert_int_equal(envelope_set_from(&envelope, text_of(from)), 0);
    memset(from, '#', sizeof(from) - 1);
    assert_true(text_is(envelope.from, "sender@example.org"));
    struct envelope_cursor cursor = {0};
    assert_null(envelope_next_rcpt(&envelope, &cursor));
    envelope_reset(&envelope);
    assert_int_equal(envelope.from.len, 0);
    assert_null(envelope.from.at);
}

static void test_null_sender_is_not_nothing(void **state)
{
    (void)state;
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    assert_null(envelope.from.at);
    assert_int_equal(envelope_set_from(&envelope, (struct text){.at = "", .len = 0}), 0);
    assert_non_null(envelope.from.at);
    assert_int_equal(envelope.from.len, 0);
    assert_int_equal(envelope_add_rcpt(&envelope, TEXT("a@b"), TEXT(""), 250), 0);
    struct envelope_cursor cursor = {0};
    const struct envelope_rcpt *rcpt = envelope_next_rcpt(&envelope, &cursor);
    assert_non_null(rcpt);
    assert_memory_equal(rcpt->to, "a@b", 3);
    envelope_reset(&envelope);
}

static void test_order_and_counts_across_chunks(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    char text[128];
    assert_int_equal(envelope_set_from(&envelope, TEXT("odd")), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        uint16_t code = i % 3 == 0 ? 550 : i % 3 == 1 ? 250 : 251;
        struct text to = numbered(text, sizeof(text), i);
        assert_int_equal(envelope_add_rcpt(&envelope, to, params_of(i), code), 0);
    }
    memset(text, '#', sizeof(text));
    assert_true(chunks.used > 2);
    assert_int_equal(envelope.rcpt_count, COUNT);
    assert_int_equal(envelope.accepted_count, 666);
    struct envelope_cursor cursor = {0};
    for (unsigned i = 0; i < COUNT; i++) {
        struct text want = numbered(text, sizeof(text), i);
        const struct envelope_rcpt *rcpt = envelope_next_rcpt(&envelope, &cursor);
        assert_non_null(rcpt);
        assert_int_equal((uintptr_t)rcpt % _Alignof(struct envelope_rcpt), 0);
        assert_int_equal(rcpt->len, want.len);
        assert_memory_equal(rcpt->to, want.at, want.len);
        assert_int_equal(rcpt->params_len, params_of(i).len);
        assert_memory_equal(rcpt->to + rcpt->len, params_of(i).at, rcpt->params_len);
        assert_int_equal(rcpt->code, i % 3 == 0 ? 550 : i % 3 == 1 ? 250 : 251);
    }
    assert_null(envelope_next_rcpt(&envelope, &cursor));
    assert_true(text_is(envelope.from, "odd"));
    envelope_reset(&envelope);
    assert_int_equal(chunks.used, 0);
    assert_int_equal(envelope.rcpt_count, 0);
}

static void test_dry_pool_loses_nothing(void **state)
{
    (void)state;
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    char text[128];
    unsigned count = 0;
    int error = 0;
    for (; error == 0 && count < 100000; count++) {
        error = envelope_add_rcpt(&envelope, numbered(text, sizeof(text), count), params_of(count),
                                  250);
    }
    count--;
    assert_int_equal(error, -ENOBUFS);
    assert_int_equal(chunks.used, CHUNKS);
    assert_int_equal(envelope.rcpt_count, count);
    struct envelope_cursor cursor = {0};
    unsigned seen = 0;
    while (envelope_next_rcpt(&envelope, &cursor) != NULL) {
        seen++;
    }
    assert_int_equal(seen, count);
    envelope_reset(&envelope);

    struct envelope other;
    envelope_init(&other, &chunks);
    assert_int_equal(envelope_set_from(&other, TEXT("a@b")), 0);
    envelope_reset(&other);
}

static void test_paths_of_a_chunk_and_more(void **state)
{
    (void)state;
    static char big[2 * ENVELOPE_CHUNK_SIZE];
    memset(big, 'x', sizeof(big));
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    assert_int_equal(envelope_set_from(&envelope, (struct text){.at = big, .len = sizeof(big)}),
                     -EMSGSIZE);
    assert_int_equal(envelope_set_from(&envelope, TEXT("a@b")), 0);
    for (uint32_t len = ENVELOPE_CHUNK_SIZE - 32; len < ENVELOPE_CHUNK_SIZE; len++) {
        int error =
            envelope_add_rcpt(&envelope, (struct text){.at = big, .len = len}, TEXT(""), 250);
        assert_true(error == 0 || error == -EMSGSIZE || error == -ENOBUFS);
        assert_true(error == 0 || len > ENVELOPE_CHUNK_SIZE - 32);
    }
    assert_int_equal(
        envelope_add_rcpt(&envelope, (struct text){.at = big, .len = sizeof(big)}, TEXT(""), 250),
        -EMSGSIZE);
    envelope_reset(&envelope);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty_owns_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_from_is_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_null_sender_is_not_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order_and_counts_across_chunks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dry_pool_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paths_of_a_chunk_and_more, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("envelope", tests, NULL, NULL);
}
