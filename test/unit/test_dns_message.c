/*
 * test_dns_message - questions as bytes; answers of every shape, cut, bent and compressed.
 */
#include "net/dns_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/dns_liar.h"

static uint8_t ask[DNS_ASK_MAX];
static uint32_t ask_len;
static uint8_t name[DNS_NAME_MAX];
static uint8_t name_len;
static struct dns_message message;
static struct maker maker;

static void ask_for(const char *text, uint16_t type)
{
    static const uint8_t dice[DNS_DICE_LEN] = {0x12, 0x34, 0x55, 0xaa, 0x0f, 0xf0, 0x3c};
    name_len = (uint8_t)dns_name_parse(text, (uint32_t)strlen(text), name);
    ask_len = dns_message_ask(ask, name, name_len, type, true, dice);
}

static void begin(const char *text, uint16_t type, uint32_t rcode)
{
    ask_for(text, type);
    maker_begin(&maker, ask, ask_len, rcode);
}

static enum dns_message_kind read_type(uint16_t type)
{
    /* In memory of exactly this size, for the sanitizer. */
    uint8_t *bytes = malloc(maker.len);
    assert_non_null(bytes);
    memcpy(bytes, maker.bytes, maker.len);
    dns_message_read(&message, bytes, maker.len, false, name, name_len, type);
    free(bytes);
    return message.kind;
}

static void is_answer(enum dns_status status, uint32_t count, uint32_t ttl_s)
{
    assert_int_equal(message.kind, DNS_MESSAGE_ANSWER);
    assert_int_equal(message.answer.status, status);
    assert_int_equal(message.answer.count, count);
    assert_int_equal(message.answer.ttl_s, ttl_s);
}

static void is_malformed(void)
{
    assert_int_equal(message.kind, DNS_MESSAGE_TROUBLE);
    assert_int_equal(message.answer.status, DNS_FAILED);
    assert_string_equal(message.answer.reason, "malformed answer");
}

/* ---- the question ---- */

static void question_as_bytes(void **state)
{
    (void)state;
    static const char with_edns[] = "\x12\x34\x01\0\0\1\0\0\0\0\0\1"
                                    "\1A\2bC\3d-E\0\0\x10\0\1"
                                    "\0\0\x29\x04\xd0\0\0\0\0\0\0";
    static const uint8_t dice[DNS_DICE_LEN] = {0x12, 0x34, 0x92, 0xff};
    uint8_t out[DNS_ASK_MAX];
    uint8_t wire[DNS_NAME_MAX];
    int len = dns_name_parse("a.bc.d-e", 8, wire);
    /* Bits of the dice from the lowest on, one per octet of the name: octets 1, 4, 7 and 8... */
    uint32_t got = dns_message_ask(out, wire, (uint8_t)len, DNS_TXT, true, dice);
    assert_int_equal(got, sizeof(with_edns) - 1);
    assert_memory_equal(out, with_edns, got);
    got = dns_message_ask(out, wire, (uint8_t)len, DNS_TXT, false, dice);
    assert_int_equal(got, sizeof(with_edns) - 1 - 11);
    assert_int_equal(out[11], 0);
}

static void echo_is_to_the_letter(void **state)
{
    (void)state;
    begin("host.example.org", DNS_A, 0);
    assert_true(dns_message_echoes(maker.bytes, maker.len, ask, name_len));
    for (uint32_t i = 0; i < maker.len;
         i++) { /* every bit of it, but those that are not the echo */
        for (int bit = 0; bit < 8; bit++) {
            maker.bytes[i] ^= (uint8_t)(1 << bit);
            bool is_echo = (i == 2 && bit < 3) || i == 3 || (i >= 6 && i < 12);
            assert_int_equal(dns_message_echoes(maker.bytes, maker.len, ask, name_len), is_echo);
            maker.bytes[i] ^= (uint8_t)(1 << bit);
        }
    }
    for (uint32_t len = 0; len < maker.len; len++) {
        assert_false(dns_message_echoes(maker.bytes, len, ask, name_len));
    }
}

static void no_question_only_with_not_understood(void **state)
{
    (void)state;
    for (uint32_t rcode = 0; rcode < 16; rcode++) {
        begin("host.example.org", DNS_A, rcode);
        maker.bytes[5] = 0;
        bool counts = rcode == 1 || rcode == 4;
        assert_int_equal(dns_message_echoes(maker.bytes, DNS_HEADER_LEN, ask, name_len), counts);
        maker.bytes[1] ^= 1;
        assert_false(dns_message_echoes(maker.bytes, DNS_HEADER_LEN, ask, name_len));
    }
}

/* ---- good answers ---- */

static void records_of_each_type(void **state)
{
    (void)state;
    static const struct {
        uint16_t type;
        const char *data;
        uint32_t len;
    } rows[] = {
        {DNS_A, "\1\2\3\4", 4},
        {DNS_AAAA, "0123456789abcdef", 16},
        {DNS_TXT, "\5hello\0\2ab", 10},
        {DNS_MX, "\0\12\4mail\2ex\0", 11},
        {DNS_PTR, "\4host\2ex\0", 9},
        {DNS_CNAME, "\1a\0", 3},
        {DNS_SOA, "\1a\0\1b\0aaaabbbbccccddddeeee", 26},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin("host.example.org", rows[i].type, 0);
        maker_add(&maker, MAKER_ANSWER, "hOST.example.org", rows[i].type, 77, rows[i].data,
                  rows[i].len);
        (void)read_type(rows[i].type);
        is_answer(DNS_OK, 1, 77);
        assert_int_equal(message.records[0].len, rows[i].len);
        assert_memory_equal(message.records[0].data, rows[i].data, rows[i].len);
    }
}

static void names_in_data_are_uncompressed_and_lower(void **state)
{
    (void)state;
    begin("example.org", DNS_MX, 0);
    static const char data[] = "\0\5\4Mail\300\14"; /* the question's name, in random case */
    maker_add(&maker, MAKER_ANSWER, "example.org", DNS_MX, 60, data, sizeof(data) - 1);
    (void)read_type(DNS_MX);
    is_answer(DNS_OK, 1, 60);
    char exchange[DNS_TEXT_MAX];
    uint16_t preference;
    assert_int_equal(dns_mx_parse(&message.records[0], &preference, exchange), 0);
    assert_string_equal(exchange, "mail.example.org");
}

static void aliases_are_followed(void **state)
{
    (void)state;
    begin("a.org", DNS_A, 0);
    /* In no order, among records of others and of other types. */
    maker_add(&maker, MAKER_ANSWER, "c.org", DNS_A, 50, "\1\2\3\4", 4);
    maker_add_name(&maker, MAKER_ANSWER, "b.org", DNS_CNAME, 40, "C.org");
    maker_add(&maker, MAKER_ANSWER, "evil.org", DNS_A, 1, "\6\6\6\6", 4);
    maker_add_name(&maker, MAKER_ANSWER, "a.org", DNS_CNAME, 90, "b.ORG");
    maker_add(&maker, MAKER_ANSWER, "c.org", DNS_AAAA, 1, "0123456789abcdef", 16);
    maker_add(&maker, MAKER_ANSWER, "c.org", DNS_A, 60, "\1\2\3\5", 4);
    maker_add(&maker, MAKER_ADDITIONAL, "c.org", DNS_A, 60, "\6\6\6\6", 4);
    (void)read_type(DNS_A);
    is_answer(DNS_OK, 2, 40);
    assert_memory_equal(message.records[0].data, "\1\2\3\4", 4);
    assert_memory_equal(message.records[1].data, "\1\2\3\5", 4);
    begin("a.org", DNS_CNAME, 0); /* asked for, it is an answer */
    maker_add_name(&maker, MAKER_ANSWER, "a.org", DNS_CNAME, 90, "b.org");
    (void)read_type(DNS_CNAME);
    is_answer(DNS_OK, 1, 90);
}

static void alias_alone_is_to_be_asked_for(void **state)
{
    (void)state;
    begin("a.org", DNS_A, 0);
    maker_add_name(&maker, MAKER_ANSWER, "a.org", DNS_CNAME, 90, "B.org");
    maker_add_name(&maker, MAKER_ANSWER, "b.org", DNS_CNAME, 30, "C.org");
    assert_int_equal(read_type(DNS_A), DNS_MESSAGE_ALIAS);
    assert_int_equal(message.alias_len, 7);
    assert_memory_equal(message.alias, "\1c\3org\0", 7);
    assert_int_equal(message.answer.ttl_s, 30);
}

static void chains_end(void **state)
{
    (void)state;
    for (int links = DNS_CHAIN_MAX - 1; links <= DNS_CHAIN_MAX + 1; links++) {
        char from[32] = "n0.org";
        begin(from, DNS_A, 0);
        for (int i = 1; i <= links; i++) {
            char to[32];
            snprintf(to, sizeof(to), "n%d.org", i);
            maker_add_name(&maker, MAKER_ANSWER, from, DNS_CNAME, 90, to);
            memcpy(from, to, sizeof(to));
        }
        maker_add(&maker, MAKER_ANSWER, from, DNS_A, 90, "\1\2\3\4", 4);
        (void)read_type(DNS_A);
        is_answer(links <= DNS_CHAIN_MAX ? DNS_OK : DNS_FAILED, links <= DNS_CHAIN_MAX ? 1 : 0,
                  links <= DNS_CHAIN_MAX ? 90 : 0);
    }
    begin("a.org", DNS_A, 0);
    maker_add_name(&maker, MAKER_ANSWER, "a.org", DNS_CNAME, 90, "a.org");
    (void)read_type(DNS_A);
    is_answer(DNS_FAILED, 0, 0);
    assert_string_equal(message.answer.reason, "too many CNAMEs");
}

static void ttls(void **state)
{
    (void)state;
    begin("a.org", DNS_A, 0);
    maker_add(&maker, MAKER_ANSWER, "a.org", DNS_A, 0x7fffffff, "\1\2\3\4", 4);
    (void)read_type(DNS_A);
    is_answer(DNS_OK, 1, 0x7fffffff);
    maker_add(&maker, MAKER_ANSWER, "a.org", DNS_A, 0x80000000, "\1\2\3\4", 4);
    (void)read_type(DNS_A);
    is_answer(DNS_OK, 2, 0);
}

/* ---- no records ---- */

static void negative_answers(void **state)
{
    (void)state;
    for (uint32_t rcode = 0; rcode <= 3; rcode += 3) {
        enum dns_status status = rcode == 3 ? DNS_NO_NAME : DNS_NO_DATA;
        begin("a.b.org", DNS_A, rcode);
        (void)read_type(DNS_A);
        is_answer(status, 0, 0); /* without a SOA, not to be kept */
        maker_add_soa(&maker, "B.org", 300, 60);
        (void)read_type(DNS_A);
        is_answer(status, 0, 60);
        begin("a.b.org", DNS_A, rcode);
        maker_add_soa(&maker, "org", 50, 60);
        (void)read_type(DNS_A);
        is_answer(status, 0, 50);
        begin("a.b.org", DNS_A, rcode);
        maker_add_soa(&maker, "c.org", 50, 60); /* of another zone */
        (void)read_type(DNS_A);
        is_answer(status, 0, 0);
        begin("a.b.org", DNS_A, rcode);
        maker_add_name(&maker, MAKER_ANSWER, "a.b.org", DNS_CNAME, 20, "x.net");
        maker_add_soa(&maker, "net", 50, 60);
        (void)read_type(DNS_A);
        is_answer(status, 0, 20);
    }
    begin("a.b.org", DNS_A, 3); /* both cannot be */
    maker_add(&maker, MAKER_ANSWER, "a.b.org", DNS_A, 60, "\1\2\3\4", 4);
    (void)read_type(DNS_A);
    is_malformed();
}

static void error_codes(void **state)
{
    (void)state;
    for (uint32_t rcode = 1; rcode < 16; rcode++) {
        begin("a.org", DNS_A, rcode);
        enum dns_message_kind kind = read_type(DNS_A);
        if (rcode != 3) {
            assert_int_equal(kind,
                             rcode == 1 || rcode == 4 ? DNS_MESSAGE_NO_EDNS : DNS_MESSAGE_TROUBLE);
        }
    }
    begin("a.org", DNS_A, 0); /* the upper bits are in the OPT record: 16 is BADVERS */
    maker_add(&maker, MAKER_ADDITIONAL, "", 41, 0x01000000, "", 0);
    assert_int_equal(read_type(DNS_A), DNS_MESSAGE_NO_EDNS);
    begin("a.org", DNS_A, 7);
    maker_add(&maker, MAKER_ADDITIONAL, "", 41, 0x01000000, "", 0);
    assert_int_equal(read_type(DNS_A), DNS_MESSAGE_TROUBLE);
    begin("a.org", DNS_A, 0);
    maker.bytes[2] |= 2;
    assert_int_equal(read_type(DNS_A), DNS_MESSAGE_TRUNCATED);
    dns_message_read(&message, maker.bytes, maker.len, true, name, name_len, DNS_A);
    is_malformed();
}

/* ---- bad answers ---- */

static void data_of_every_length(void **state)
{
    (void)state;
    static const uint16_t types[] = {DNS_A, DNS_AAAA, DNS_TXT, DNS_MX, DNS_PTR, DNS_CNAME, DNS_SOA};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        for (uint32_t len = 0; len < 40; len++) {
            static const uint8_t zeros[40];
            uint16_t type = types[i];
            bool is_good = (type == DNS_A && len == 4) || (type == DNS_AAAA && len == 16) ||
                           (type == DNS_TXT && len > 0) || (type == DNS_MX && len == 3) ||
                           ((type == DNS_PTR || type == DNS_CNAME) && len == 1) ||
                           (type == DNS_SOA && len == 22);
            begin("a.org", type, 0);
            maker_add(&maker, MAKER_ANSWER, "a.org", type, 60, zeros, len);
            (void)read_type(type);
            if (is_good) {
                is_answer(DNS_OK, 1, 60);
            } else {
                is_malformed();
            }
        }
    }
}

/* Every length of the message: the records are all there, or it is malformed. */
static void cut_anywhere(void **state)
{
    (void)state;
    begin("a.org", DNS_MX, 0);
    maker_add_name(&maker, MAKER_ANSWER, "a.org", DNS_CNAME, 60, "b.org");
    maker_add(&maker, MAKER_ANSWER, "b.org", DNS_MX, 60, "\0\5\4mail\300\14", 9);
    maker_add_soa(&maker, "org", 60, 60);
    uint32_t whole = maker.len;
    for (maker.len = DNS_HEADER_LEN; maker.len < whole; maker.len++) {
        (void)read_type(DNS_MX);
        is_malformed();
    }
    (void)read_type(DNS_MX);
    is_answer(DNS_OK, 1, 60);
}

/* The owner of a record, at offset 23, is nothing but a pointer. */
static void pointers(void **state)
{
    (void)state;
    static const struct {
        uint16_t to;
        bool is_good;
    } rows[] = {
        {12, true},      {23, false}, {24, false}, {18, true}, /* the root */
        {0x3fff, false}, {35, false}, {0, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin("a.org", DNS_A, 0);
        maker_add(&maker, MAKER_ANSWER, "x", DNS_A, 60, "\1\2\3\4", 4);
        assert_memory_equal(maker.bytes + 23, "\1x\0", 3);
        maker.bytes[23] = (uint8_t)(0xc0 | rows[i].to >> 8);
        maker.bytes[24] = (uint8_t)rows[i].to;
        memmove(maker.bytes + 25, maker.bytes + 26, maker.len - 26);
        maker.len--;
        (void)read_type(DNS_A);
        if (rows[i].is_good) {
            is_answer(rows[i].to == 12 ? DNS_OK : DNS_NO_DATA, rows[i].to == 12 ? 1 : 0,
                      rows[i].to == 12 ? 60 : 0);
        } else {
            is_malformed();
        }
    }
}

static void counts_that_lie(void **state)
{
    (void)state;
    for (int section = 0; section < 3; section++) {
        for (uint32_t count = 0; count < 70000; count = count * 2 + 1) {
            begin("a.org", DNS_A, 0);
            maker_add(&maker, MAKER_ANSWER, "a.org", DNS_A, 60, "\1\2\3\4", 4);
            maker.bytes[6 + 2 * section] = (uint8_t)(count >> 8);
            maker.bytes[7 + 2 * section] = (uint8_t)count;
            bool is_good = section == 0 ? count == 1 : count == 0;
            if (section == 0 && count == 0) {
                (void)read_type(DNS_A); /* a record behind the last is not looked at */
                is_answer(DNS_NO_DATA, 0, 0);
                continue;
            }
            (void)read_type(DNS_A);
            if (is_good) {
                is_answer(DNS_OK, 1, 60);
            } else {
                is_malformed();
            }
        }
    }
}

static void too_many_and_too_large(void **state)
{
    (void)state;
    static char text[256] = "\377";
    memset(text + 1, 'x', 255);
    begin("a.org", DNS_TXT, 0);
    for (int i = 0; i < 32; i++) {
        maker_add(&maker, MAKER_ANSWER, "a.org", DNS_TXT, 60, text, 256);
    }
    (void)read_type(DNS_TXT);
    is_answer(DNS_OK, 32, 60); /* 8192 octets */
    maker_add(&maker, MAKER_ANSWER, "a.org", DNS_TXT, 60, "\0", 1);
    (void)read_type(DNS_TXT);
    is_answer(DNS_FAILED, 0, 0);
    assert_string_equal(message.answer.reason, "answer too large");
    begin("a.org", DNS_A, 0);
    for (uint32_t i = 1; i <= DNS_MESSAGE_RECORDS_MAX; i++) {
        maker_add(&maker, MAKER_ANSWER, "a.org", DNS_A, 60, "\1\2\3\4", 4);
        if (i == DNS_RECORDS_MAX - 1 || i == DNS_RECORDS_MAX + 1) {
            (void)read_type(DNS_A);
            is_answer(DNS_OK, i < DNS_RECORDS_MAX ? i : DNS_RECORDS_MAX, 60);
        }
    }
    (void)read_type(DNS_A);
    is_answer(DNS_OK, DNS_RECORDS_MAX, 60);
    maker_add(&maker, MAKER_ANSWER, "a.org", DNS_A, 60, "\1\2\3\4", 4);
    (void)read_type(DNS_A);
    is_malformed();
}

/* What a refusal leaves in `answer` is a failure without records. */
static void failures_have_no_records(void **state)
{
    (void)state;
    begin("a.org", DNS_A, 0);
    maker_add(&maker, MAKER_ANSWER, "a.org", DNS_A, 60, "\1\2\3\4", 4);
    maker_add(&maker, MAKER_ANSWER, "a.org", DNS_A, 60, "\1\2\3\4\5", 5);
    (void)read_type(DNS_A);
    is_malformed();
    assert_int_equal(message.answer.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(question_as_bytes),
        cmocka_unit_test(echo_is_to_the_letter),
        cmocka_unit_test(no_question_only_with_not_understood),
        cmocka_unit_test(records_of_each_type),
        cmocka_unit_test(names_in_data_are_uncompressed_and_lower),
        cmocka_unit_test(aliases_are_followed),
        cmocka_unit_test(alias_alone_is_to_be_asked_for),
        cmocka_unit_test(chains_end),
        cmocka_unit_test(ttls),
        cmocka_unit_test(negative_answers),
        cmocka_unit_test(error_codes),
        cmocka_unit_test(data_of_every_length),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(pointers),
        cmocka_unit_test(counts_that_lie),
        cmocka_unit_test(too_many_and_too_large),
        cmocka_unit_test(failures_have_no_records),
    };
    return cmocka_run_group_tests_name("dns_message", tests, NULL, NULL);
}
