/*
 * test_record - the records are one line of valid JSON (or key=value) whatever the peers sent, with
 * the keys of the contract in their order, and never longer than RECORD_MAX.
 *
 * The JSON is read by a strict parser (json_strict.h), which has its test here. What the checks found is in
 * test_record_checks.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/record.h"
#include "test/unit/json_strict.h"

enum { CHUNKS = 64 };

static struct pool chunks;
static char line[RECORD_MAX + 1];

static void test_the_parser_is_strict(void **state)
{
    (void)state;
    static const char *const good[] = {"{}", "{\"a\":[1,-2,{\"b\":null}],\"c\":\"\\u00e9\\n\"}",
                                       "\"\xc3\xa9\"", "0"};
    static const char *const bad[] = {
        "",           "{",        "{\"a\"}",      "{\"a\":1,}",          "[1,]",
        "{\"a\":01}", "\"a\nb\"", "\"\\x41\"",    "\"\\u00g0\"",         "\"\xc3\"",
        "\"\x80\"",   "\"a",      "\"\xc0\xaf\"", "\"\xed\xa0\x80\"",    "{} ",
        "nul",        "'a'",      "{a:1}",        "\"\xf4\x90\x80\x80\""};
    struct json json;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(json_parse(&json, good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(json_parse(&json, bad[i], strlen(bad[i])));
    }
}

/* helpers */

static int set_up(void **state)
{
    (void)state;
    return pool_init(&chunks, ENVELOPE_CHUNK_SIZE, CHUNKS);
}

static int tear_down(void **state)
{
    (void)state;
    pool_fini(&chunks);
    return 0;
}

static struct record sample(const struct envelope *envelope)
{
    return (struct record){
        .is_transaction = true,
        .ts_ms = 1769903999123,
        .session = TEXT("s7Qx"),
        .transaction = 2,
        .listener = TEXT("mx"),
        .client = TEXT("192.0.2.7:40000"),
        .helo = TEXT("client.example.org"),
        .from = TEXT("a@example.org"),
        .envelope = envelope,
        .size = 1234567890123,
        .upstream = TEXT("127.0.0.1:2626"),
        .reply_code = 250,
        .reply_text = TEXT("2.0.0 first\r\n2.0.0 second"),
        .decided_by = "upstream",
        .verdict = VERDICT_ACCEPT,
        .ms = {.total = 30, .wait_dns = 1, .connect = 4, .data = 5, .upstream_reply = 6},
    };
}

/* Writes with a canary behind the room, and checks what holds for every record. */
static uint32_t write_checked(const struct record *record, enum config_log_format format)
{
    line[RECORD_MAX] = '#';
    uint32_t len = record_write(record, format, line);
    assert_true(len > 0 && len <= RECORD_MAX);
    assert_int_equal(line[RECORD_MAX], '#');
    assert_int_equal(line[len - 1], '\n');
    for (uint32_t i = 0; i + 1 < len; i++) {
        assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
    }
    return len;
}

static void assert_keys(const struct json *json, bool has_omitted)
{
    static const char *const keys[] = {"event",  "ts",       "session", "transaction", "listener",
                                       "client", "helo",     "tls",     "from",        "rcpt",
                                       "size",   "upstream", "reply",   "decided_by",  "verdict",
                                       "checks", "ms"};
    int at = 0;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_true(at < json->key_count);
        assert_string_equal(json->keys[at++], keys[i]);
        if (has_omitted && strcmp(keys[i], "rcpt") == 0) {
            assert_string_equal(json->keys[at++], "rcpt_omitted");
        }
    }
    assert_int_equal(at, json->key_count);
}

static void assert_line(uint32_t len, const char *want)
{
    assert_int_equal(len, strlen(want));
    line[len] = '\0';
    assert_string_equal(line, want);
}

/* the records */

static void test_whole_transaction(void **state)
{
    (void)state;
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    assert_int_equal(envelope_set_from(&envelope, TEXT("a@example.org")), 0);
    assert_int_equal(envelope_add_rcpt(&envelope, TEXT("b@example.org"), TEXT(""), 250), 0);
    assert_int_equal(envelope_add_rcpt(&envelope, TEXT("\"c d\"@example.org"), TEXT(""), 550), 0);
    struct record record = sample(&envelope);
    assert_line(write_checked(&record, LOG_FORMAT_JSON),
                "{\"event\":\"transaction\",\"ts\":\"2026-01-31T23:59:59.123Z\",\"session\":"
                "\"s7Qx\",\"transaction\":2,\"listener\":\"mx\",\"client\":\"192.0.2.7:40000\","
                "\"helo\":\"client.example.org\",\"tls\":null,\"from\":\"a@example.org\",\"rcpt\":["
                "{\"to\":\"b@example.org\",\"code\":250},{\"to\":\"\\\"c d\\\"@example.org\","
                "\"code\":550}],\"size\":1234567890123,\"upstream\":\"127.0.0.1:2626\",\"reply\":{"
                "\"code\":250,\"text\":\"2.0.0 first\\r\\n2.0.0 second\"},\"decided_by\":"
                "\"upstream\",\"verdict\":\"accept\",\"checks\":{},\"ms\":{\"total\":30,"
                "\"wait_dns\":1,\"verify\":0,\"connect\":4,\"data\":5,\"upstream_reply\":6}}\n");
    assert_line(write_checked(&record, LOG_FORMAT_TEXT),
                "event=transaction ts=2026-01-31T23:59:59.123Z session=s7Qx transaction=2 "
                "listener=mx client=192.0.2.7:40000 helo=client.example.org tls=- "
                "from=a@example.org rcpt=b@example.org rcpt_code=250 "
                "rcpt=\"\\x22c d\\x22@example.org\" rcpt_code=550 size=1234567890123 "
                "upstream=127.0.0.1:2626 reply_code=250 "
                "reply_text=\"2.0.0 first\\x0D\\x0A2.0.0 second\" decided_by=upstream "
                "verdict=accept checks=- ms_total=30 ms_wait_dns=1 ms_verify=0 ms_connect=4 "
                "ms_data=5 ms_upstream_reply=6\n");
    envelope_reset(&envelope);
}

static void test_session_without_transaction(void **state)
{
    (void)state;
    struct record record = {
        .session = TEXT("x"),
        .listener = TEXT("mx"),
        .client = TEXT("[::1]:9"),
        .decided_by = "limits.errors",
        .verdict = VERDICT_ABORT,
    };
    assert_line(
        write_checked(&record, LOG_FORMAT_JSON),
        "{\"event\":\"session\",\"ts\":\"1970-01-01T00:00:00.000Z\",\"session\":\"x\","
        "\"transaction\":0,\"listener\":\"mx\",\"client\":\"[::1]:9\",\"helo\":null,\"tls\":"
        "null,\"from\":null,\"rcpt\":[],\"size\":0,\"upstream\":null,\"reply\":null,"
        "\"decided_by\":\"limits.errors\",\"verdict\":\"abort\",\"checks\":{},\"ms\":{"
        "\"total\":0,\"wait_dns\":0,\"verify\":0,\"connect\":0,\"data\":0,"
        "\"upstream_reply\":0}}\n");
    assert_line(write_checked(&record, LOG_FORMAT_TEXT),
                "event=session ts=1970-01-01T00:00:00.000Z session=x transaction=0 listener=mx "
                "client=[::1]:9 helo=- tls=- from=- size=0 upstream=- reply_code=- reply_text=- "
                "decided_by=limits.errors verdict=abort checks=- ms_total=0 ms_wait_dns=0 "
                "ms_verify=0 ms_connect=0 ms_data=0 ms_upstream_reply=0\n");
}

static void test_null_sender_and_dash_differ_from_null(void **state)
{
    (void)state;
    struct record record = sample(NULL);
    record.from = (struct text){.at = "", .len = 0};
    record.helo = TEXT("-");
    record.ms.total = INT64_MIN;
    uint32_t len = write_checked(&record, LOG_FORMAT_JSON);
    assert_non_null(memmem(line, len, ",\"from\":\"\",", 11));
    assert_non_null(memmem(line, len, ",\"helo\":\"-\",", 12));
    assert_non_null(memmem(line, len, "\"total\":-9223372036854775808,", 29));
    len = write_checked(&record, LOG_FORMAT_TEXT);
    assert_non_null(memmem(line, len, " from=\"\" ", 9));
    assert_non_null(memmem(line, len, " helo=\"-\" ", 10));
}

static struct text random_text(char *bytes, uint32_t size, unsigned *seed)
{
    static const char nasty[] = "\n\r\0\"\\{}[],: =\x7f\x80\xc2\x85\xe2\x80\xa8\xed\xa0\x80\xff";
    uint32_t len = (uint32_t)rand_r(seed) % size;
    for (uint32_t i = 0; i < len; i++) {
        unsigned pick = (unsigned)rand_r(seed) >> 4;
        bytes[i] = pick % 2 == 0 ? (char)(pick >> 8) : nasty[(pick >> 8) % (sizeof(nasty) - 1)];
    }
    return (struct text){.at = bytes, .len = len};
}

static void test_random_bytes_in_every_text(void **state)
{
    (void)state;
    unsigned seed = 7041926;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 3000; round++) {
        char bytes[7][96];
        struct envelope envelope;
        envelope_init(&envelope, &chunks);
        struct record record = sample(&envelope);
        record.session = random_text(bytes[0], 96, &seed);
        record.listener = random_text(bytes[1], 96, &seed);
        record.client = random_text(bytes[2], 96, &seed);
        record.helo = random_text(bytes[3], 96, &seed);
        record.from = random_text(bytes[4], 96, &seed);
        record.upstream = random_text(bytes[5], 96, &seed);
        record.reply_text = random_text(bytes[6], 96, &seed);
        record.is_transaction = round % 2 == 0;
        record.verdict = (enum record_verdict)(round % (VERDICT_ABORT + 1));
        for (int i = 0; i < round % 4; i++) {
            char to[96];
            assert_int_equal(
                envelope_add_rcpt(&envelope, random_text(to, 96, &seed), TEXT(""), 250), 0);
        }
        struct json json;
        uint32_t len = write_checked(&record, LOG_FORMAT_JSON);
        assert_true(json_parse(&json, line, len - 1));
        assert_keys(&json, false);
        assert_int_equal(json.object_count, 4 + round % 4);
        write_checked(&record, LOG_FORMAT_TEXT);
        envelope_reset(&envelope);
    }
}

/* The value of the number behind `key`. */
static unsigned number_after(uint32_t len, const char *key)
{
    const char *at = memmem(line, len, key, strlen(key));
    assert_non_null(at);
    return (unsigned)strtoul(at + strlen(key), NULL, 10);
}

static unsigned count_of(uint32_t len, const char *what)
{
    unsigned count = 0;
    const char *at = line;
    while ((at = memmem(at, (size_t)(line + len - at), what, strlen(what))) != NULL) {
        at += strlen(what);
        count++;
    }
    return count;
}

static void test_1000_long_recipients_fit(void **state)
{
    (void)state;
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    char to[256];
    memset(to, 'x', sizeof(to));
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(
            envelope_add_rcpt(&envelope, (struct text){.at = to, .len = sizeof(to)}, TEXT(""), 250),
            0);
    }
    struct record record = sample(&envelope);
    struct json json;
    uint32_t len = write_checked(&record, LOG_FORMAT_JSON);
    assert_true(json_parse(&json, line, len - 1));
    assert_keys(&json, true);
    unsigned shown = count_of(len, "{\"to\":");
    assert_true(shown > 200);
    assert_int_equal(number_after(len, "\"rcpt_omitted\":") + shown, 1000);
    len = write_checked(&record, LOG_FORMAT_TEXT);
    shown = count_of(len, " rcpt=");
    assert_true(shown > 200);
    assert_int_equal(number_after(len, " rcpt_omitted=") + shown, 1000);
    envelope_reset(&envelope);
}

/* Every string as long as it can be, of bytes that escape to six each. */
static void test_everything_too_long_is_cut(void **state)
{
    (void)state;
    static char big[RECORD_MAX];
    memset(big, '\x01', sizeof(big));
    struct text text = {.at = big, .len = sizeof(big)};
    struct envelope envelope;
    envelope_init(&envelope, &chunks);
    for (int i = 0; i < 40; i++) {
        struct text to = {.at = big, .len = ENVELOPE_CHUNK_SIZE - 64};
        assert_int_equal(envelope_add_rcpt(&envelope, to, TEXT(""), 250), 0);
    }
    struct record record = sample(&envelope);
    record.session = record.listener = record.client = record.helo = text;
    record.from = record.upstream = record.reply_text = text;
    record.size = UINT64_MAX;
    record.transaction = UINT32_MAX;
    record.reply_code = UINT16_MAX;
    struct json json;
    uint32_t len = write_checked(&record, LOG_FORMAT_JSON);
    assert_true(json_parse(&json, line, len - 1));
    assert_keys(&json, true);
    assert_true(count_of(len, "{\"to\":") > 0);
    write_checked(&record, LOG_FORMAT_TEXT);
    envelope_reset(&envelope);
}

static void test_time_is_that_of_the_library(void **state)
{
    (void)state;
    static const int64_t named[] = {0,
                                    951782399999,    /* 2000-02-28, the day before the leap day */
                                    951868800000,    /* 2000-03-01 */
                                    1709164800000,   /* 2024-02-29 */
                                    4107542400000,   /* 2100-03-01, no leap year */
                                    253402300799999, /* the last that fits */
                                    1795000000007};
    unsigned seed = 99;
    print_message("seed %u\n", seed);
    for (int i = 0; i < 5000; i++) {
        int64_t ms =
            i < 7 ? named[i] : ((int64_t)rand_r(&seed) << 31 | rand_r(&seed)) % 253402300799999;
        time_t seconds = ms / 1000;
        struct tm tm;
        char want[40];
        char got[25];
        assert_non_null(gmtime_r(&seconds, &tm));
        size_t len = strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(want + len, sizeof(want) - len, ".%03dZ", (int)(ms % 1000));
        record_time(ms, got);
        assert_string_equal(got, want);
    }
    char got[25];
    record_time(-1, got);
    assert_string_equal(got, "1970-01-01T00:00:00.000Z");
    record_time(INT64_MAX, got);
    assert_string_equal(got, "9999-12-31T23:59:59.999Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_parser_is_strict),
        cmocka_unit_test_setup_teardown(test_whole_transaction, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_session_without_transaction, set_up, tear_down),
        cmocka_unit_test(test_null_sender_and_dash_differ_from_null),
        cmocka_unit_test_setup_teardown(test_random_bytes_in_every_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_1000_long_recipients_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_everything_too_long_is_cut, set_up, tear_down),
        cmocka_unit_test(test_time_is_that_of_the_library),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
