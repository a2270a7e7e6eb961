/*
 * test_proxy_header - good headers, every truncation of them, every single-byte mutation, and the
 * rules as a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "net/proxy_header.h"

#define V2             "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(literal) literal, sizeof(literal) - 1

static const struct row {
    const char *what;
    const char *bytes;
    uint32_t len;
    enum proxy_result result;
    const char *source; /* "address port", or "real" */
} rows[] = {
    {"v1 TCP4", BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"), PROXY_OK, "192.0.2.7 4711"},
    {"v1 TCP6", BYTES("PROXY TCP6 2001:db8::7 2001:db8::1 65535 25\r\n"), PROXY_OK,
     "2001:db8::7 65535"},
    {"v1 UNKNOWN", BYTES("PROXY UNKNOWN\r\n"), PROXY_OK, "real"},
    {"v1 UNKNOWN with a tail", BYTES("PROXY UNKNOWN ffff::1 x y z\r\n"), PROXY_OK, "real"},
    {"v1 UNKNOWNX", BYTES("PROXY UNKNOWNX\r\n"), PROXY_BAD, NULL},
    {"v1 lower case", BYTES("PROXY tcp4 192.0.2.7 198.51.100.1 4711 25\r\n"), PROXY_BAD, NULL},
    {"v1 two spaces", BYTES("PROXY TCP4  192.0.2.7 198.51.100.1 4711 25\r\n"), PROXY_BAD, NULL},
    {"v1 bare LF", BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\n"), PROXY_BAD, NULL},
    {"v1 CR inside", BYTES("PROXY UNKNOWN \r x\r\n"), PROXY_BAD, NULL},
    {"v1 NUL inside", BYTES("PROXY UNKNOWN \0\r\n"), PROXY_BAD, NULL},
    {"v1 port 65536", BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n"), PROXY_BAD, NULL},
    {"v1 port 025", BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 4711 025\r\n"), PROXY_BAD, NULL},
    {"v1 port -1", BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n"), PROXY_BAD, NULL},
    {"v1 family and address differ", BYTES("PROXY TCP4 2001:db8::7 2001:db8::1 1 25\r\n"),
     PROXY_BAD, NULL},
    {"v1 a word too many", BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 1 25 9\r\n"), PROXY_BAD, NULL},
    {"v1 a word too few", BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n"), PROXY_BAD, NULL},
    {"SMTP instead", BYTES("EHLO client.example\r\n"), PROXY_BAD, NULL},
    {"v2 TCP4", BYTES(V2 "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x00\x19"),
     PROXY_OK, "192.0.2.7 4711"},
    {"v2 TCP6",
     BYTES(V2 "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
              "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x67\x00\x19"),
     PROXY_OK, "2001:db8::7 4711"},
    {"v2 LOCAL", BYTES(V2 "\x20\x00\x00\x00"), PROXY_OK, "real"},
    {"v2 LOCAL with an unassigned family and bytes", BYTES(V2 "\x20\x77\x00\x03xyz"), PROXY_OK,
     "real"},
    {"v2 unspecified family", BYTES(V2 "\x21\x00\x00\x00"), PROXY_OK, "real"},
    {"v2 with an unknown TLV",
     BYTES(V2 "\x21\x11\x00\x11\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x00\x19\xe0\x00\x02hi"),
     PROXY_OK, "192.0.2.7 4711"},
    {"v2 TLV overruns",
     BYTES(V2 "\x21\x11\x00\x11\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x00\x19\xe0\x00\x03hi"),
     PROXY_BAD, NULL},
    {"v2 half a TLV head",
     BYTES(V2 "\x21\x11\x00\x0e\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x00\x19\xe0\x00"),
     PROXY_BAD, NULL},
    {"v2 checksum wrong",
     BYTES(V2
           "\x21\x11\x00\x13\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x00\x19\x03\x00\x04\1\2\3\4"),
     PROXY_BAD, NULL},
    {"v2 version 1", BYTES(V2 "\x11\x11\x00\x00"), PROXY_BAD, NULL},
    {"v2 version 3", BYTES(V2 "\x31\x11\x00\x00"), PROXY_BAD, NULL},
    {"v2 command 2", BYTES(V2 "\x22\x11\x00\x0c............"), PROXY_BAD, NULL},
    {"v2 datagram", BYTES(V2 "\x21\x12\x00\x0c............"), PROXY_BAD, NULL},
    {"v2 unassigned family", BYTES(V2 "\x21\x41\x00\x0c............"), PROXY_BAD, NULL},
    {"v2 too short for its family", BYTES(V2 "\x21\x11\x00\x0b..........."), PROXY_BAD, NULL},
    {"v2 longer than we take", BYTES(V2 "\x21\x11\xff\xff"), PROXY_BAD, NULL},
};

static void source_text(const struct proxy_header *header, char *out, size_t size)
{
    char address[INET6_ADDRSTRLEN];
    if (!header->has_source) {
        (void)snprintf(out, size, "real");
    } else if (header->source.sa.sa_family == AF_INET) {
        inet_ntop(AF_INET, &header->source.in.sin_addr, address, sizeof(address));
        (void)snprintf(out, size, "%s %u", address, ntohs(header->source.in.sin_port));
    } else {
        inet_ntop(AF_INET6, &header->source.in6.sin6_addr, address, sizeof(address));
        (void)snprintf(out, size, "%s %u", address, ntohs(header->source.in6.sin6_port));
    }
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct proxy_header header;
        char source[80];
        enum proxy_result result = proxy_header_scan(rows[i].bytes, rows[i].len, &header);
        if (result != rows[i].result) {
            fail_msg("%s: result %d", rows[i].what, result);
        }
        if (result == PROXY_OK) {
            source_text(&header, source, sizeof(source));
            assert_string_equal(source, rows[i].source);
            assert_int_equal(header.len, rows[i].len);
        }
    }
}

/* Never OK and never BAD before the last byte; what follows the header is not looked at. */
static void test_every_truncation(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct proxy_header header;
        char longer[512];
        for (uint32_t len = 0; rows[i].result == PROXY_OK && len < rows[i].len; len++) {
            assert_int_equal(proxy_header_scan(rows[i].bytes, len, &header), PROXY_MORE);
        }
        if (rows[i].result == PROXY_OK) {
            memcpy(longer, rows[i].bytes, rows[i].len);
            memcpy(longer + rows[i].len, rows[i].bytes, rows[i].len);
            assert_int_equal(proxy_header_scan(longer, 2 * rows[i].len, &header), PROXY_OK);
            assert_int_equal(header.len, rows[i].len);
        }
    }
}

/* A mutated byte may name another address, but only by the bytes of the source itself. */
static void test_every_mutation(void **state)
{
    (void)state;
    const struct row *row = &rows[0];
    uint32_t source_begin = 11;
    uint32_t source_end = 20;
    for (uint32_t at = 0; at < row->len; at++) {
        for (int byte = 0; byte < 256; byte++) {
            char copy[128];
            char source[80];
            struct proxy_header header;
            memcpy(copy, row->bytes, row->len);
            copy[at] = (char)byte;
            bool in_source = (at >= source_begin && at < source_end) || (at >= 34 && at < 38);
            if (proxy_header_scan(copy, row->len, &header) == PROXY_OK && !in_source) {
                source_text(&header, source, sizeof(source));
                assert_string_equal(source, row->source);
            }
        }
    }
}

static void test_checksum(void **state)
{
    (void)state;
    char header_bytes[] = V2 "\x21\x00\x00\x07\x03\x00\x04\0\0\0\0";
    struct proxy_header header;
    uint32_t good = 0;
    /* Exactly one of the 2^32 values fits; the one computed here bit by bit must be it. */
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < sizeof(header_bytes) - 1; i++) {
        crc ^= (uint8_t)header_bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
        }
    }
    good = htonl(~crc);
    memcpy(header_bytes + 19, &good, 4);
    assert_int_equal(proxy_header_scan(header_bytes, 23, &header), PROXY_OK);
    for (int bit = 0; bit < 32; bit++) {
        uint32_t bad = good ^ (1u << bit);
        memcpy(header_bytes + 19, &bad, 4);
        assert_int_equal(proxy_header_scan(header_bytes, 23, &header), PROXY_BAD);
    }
}

static void test_endless_line(void **state)
{
    (void)state;
    char line[200] = "PROXY UNKNOWN ";
    struct proxy_header header;
    memset(line + 14, 'x', sizeof(line) - 14);
    assert_int_equal(proxy_header_scan(line, PROXY_V1_MAX - 1, &header), PROXY_MORE);
    assert_int_equal(proxy_header_scan(line, PROXY_V1_MAX, &header), PROXY_BAD);
    memcpy(line + PROXY_V1_MAX - 2, "\r\n", 2);
    assert_int_equal(proxy_header_scan(line, PROXY_V1_MAX, &header), PROXY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),          cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_mutation), cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_endless_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
