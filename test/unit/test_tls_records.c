/*
 * test_tls_records - TLS 1.3 records with nothing in them, or with padding alone, as an attacker would
 * send them in large numbers: none of them spins, none brings plaintext, and their number has an end.
 *
 * The peer is test/tls_raw.c: it seals what no library would send (RFC 8446 section 5.4).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include "test/tls_pair.h"
#include "test/tls_raw.h"

enum {
    PADDING_FULL = 16384,
    WINDOW = 40 * 1024,
};

struct victim {
    struct tls_ctx *ctx;
    struct tls server;
    struct tls_raw raw;
    char in[WINDOW];
    char out[OUT_SIZE];
    char got[RAW_RECORD_MAX];
    uint32_t got_len;
};

static struct victim *victim_create(void)
{
    struct victim *victim = calloc(1, sizeof(*victim));
    assert_non_null(victim);
    victim->ctx = make_server("ec", TLS_VERSION_1_2, NULL);
    tls_init_server(&victim->server, victim->ctx);
    raw_connect(&victim->raw, &victim->server);
    return victim;
}

static void victim_destroy(struct victim *victim)
{
    tls_fini(&victim->server);
    tls_ctx_retire(&victim->ctx);
    free(victim);
}

/* Shows `len` bytes of victim->in; all of them must be used unless it fails. */
static int decrypt(struct victim *victim, uint32_t len)
{
    struct cipher_io io = {
        .in = victim->in, .in_len = len, .out = victim->out, .out_size = sizeof(victim->out)};
    int result =
        tls_decrypt(&victim->server, &io, victim->got, sizeof(victim->got), &victim->got_len);
    if (result >= 0) {
        assert_int_equal(io.in_used, len);
    }
    return result;
}

static int receive_record(struct victim *victim, const char *content, uint8_t type,
                          uint32_t padding)
{
    uint32_t len = raw_seal(&victim->raw, content, (uint32_t)strlen(content), type, padding,
                            (uint8_t *)victim->in);
    return decrypt(victim, len);
}

static void expect_line(struct victim *victim, uint32_t padding)
{
    int result = receive_record(victim, "NOOP\r\n", RAW_DATA, padding);
    if (result != CIPHER_OK) {
        fail_msg("padding %u: %d %s", padding, result, tls_reason(&victim->server));
    }
    assert_int_equal(victim->got_len, 6);
    assert_memory_equal(victim->got, "NOOP\r\n", 6);
}

/* ---- tests ---- */

static void padding_is_taken_off(void **state)
{
    static const uint32_t paddings[] = {0, 1, 255, 256, 4096, PADDING_FULL - 6};
    struct victim *victim = victim_create();
    (void)state;
    for (int round = 0; round < 100; round++) {
        expect_line(victim, paddings[(size_t)round % (sizeof(paddings) / sizeof(paddings[0]))]);
    }
    victim_destroy(victim);
}

/* RFC 8446 section 5.4: no octet that is not zero: unexpected_message. */
static void padding_alone_is_refused(void **state)
{
    static const uint32_t paddings[] = {1, 2, 255, 256, 4096, PADDING_FULL};
    (void)state;
    for (size_t i = 0; i < sizeof(paddings) / sizeof(paddings[0]); i++) {
        struct victim *victim = victim_create();
        expect_line(victim, 0);
        assert_int_equal(receive_record(victim, "", RAW_NO_TYPE, paddings[i]), -EPROTO);
        assert_int_equal(victim->got_len, 0);
        assert_int_equal(receive_record(victim, "NOOP\r\n", RAW_DATA, 0), -EPROTO);
        victim_destroy(victim);
    }
}

/* RFC 8446 section 5.4: a record of data may be empty. A few of them change nothing. */
static void a_few_empty_records_are_harmless(void **state)
{
    struct victim *victim = victim_create();
    (void)state;
    for (int round = 0; round < 500; round++) {
        for (int i = 0; i < round % 8; i++) {
            assert_int_equal(receive_record(victim, "", RAW_DATA, 0), CIPHER_WANT_BYTES);
            assert_int_equal(victim->got_len, 0);
        }
        expect_line(victim, 0);
    }
    victim_destroy(victim);
}

/* Sends empty records, windows full of them, until the session ends; the bytes it took. */
static uint32_t flood(struct victim *victim, uint32_t padding)
{
    uint32_t total = 0;
    while (total <= 8 * TLS_SILENT_MAX) {
        uint32_t len = 0;
        while (len + RAW_RECORD_MAX <= WINDOW) {
            len += raw_seal(&victim->raw, "", 0, RAW_DATA, padding, (uint8_t *)victim->in + len);
        }
        int result = decrypt(victim, len);
        assert_int_equal(victim->got_len, 0);
        total += len;
        if (result != CIPHER_WANT_BYTES) {
            assert_int_equal(result, -EPROTO);
            return total;
        }
    }
    return total;
}

static void a_flood_of_empty_records_ends(void **state)
{
    static const uint32_t paddings[] = {0, 1, 1000, PADDING_FULL};
    (void)state;
    for (size_t i = 0; i < sizeof(paddings) / sizeof(paddings[0]); i++) {
        struct victim *victim = victim_create();
        expect_line(victim, 0);
        uint32_t bytes = flood(victim, paddings[i]);
        print_message("  padding %u: ended after %u bytes: %s\n", paddings[i], bytes,
                      tls_reason(&victim->server));
        assert_true(bytes <= TLS_SILENT_MAX + WINDOW);
        victim_destroy(victim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_is_taken_off),
        cmocka_unit_test(padding_alone_is_refused),
        cmocka_unit_test(a_few_empty_records_are_harmless),
        cmocka_unit_test(a_flood_of_empty_records_ends),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
