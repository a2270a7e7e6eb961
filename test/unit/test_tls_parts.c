/*
 * test_tls_parts - the pure parts: ClientHello, certificate, ticket keys.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn_public.h>

#include "test/tls_pair.h"
#include "tls/tls_cert.h"
#include "tls/tls_hello.h"

/* ---- ClientHello ---- */

enum { HELLO_SIZE = 2 * TLS_HELLO_MAX };

struct hello {
    uint8_t bytes[HELLO_SIZE];
    uint32_t len;
};

static void put(struct hello *hello, const char *hex)
{
    for (; *hex != '\0'; hex++) {
        unsigned value;
        if (*hex == ' ') {
            continue;
        }
        assert_int_equal(sscanf(hex, "%2x", &value), 1);
        assert_true(hello->len < sizeof(hello->bytes));
        hello->bytes[hello->len++] = (uint8_t)value;
        hex++;
    }
}

static void set_length(struct hello *hello, uint32_t at, uint32_t octets)
{
    uint32_t len = hello->len - at - octets;
    for (uint32_t i = 0; i < octets; i++) {
        hello->bytes[at + i] = (uint8_t)(len >> 8 * (octets - 1 - i));
    }
}

/* A handshake message (no record) with these suites and extensions, given in hexadecimal. */
static struct hello make_hello(const char *suites, const char *extensions)
{
    struct hello hello = {.len = 0};
    put(&hello, "01 000000 0303");
    for (int i = 0; i < 32; i++) {
        put(&hello, "a5");
    }
    put(&hello, "00");
    uint32_t at = hello.len;
    put(&hello, "0000");
    put(&hello, suites);
    set_length(&hello, at, 2);
    put(&hello, "01 00");
    if (extensions != NULL) {
        at = hello.len;
        put(&hello, "0000");
        put(&hello, extensions);
        set_length(&hello, at, 2);
    }
    set_length(&hello, 1, 3);
    return hello;
}

/* In records of at most `part` bytes. */
static struct hello make_records(const struct hello *message, uint32_t part)
{
    struct hello wire = {.len = 0};
    for (uint32_t at = 0; at < message->len; at += part) {
        uint32_t len = message->len - at < part ? message->len - at : part;
        put(&wire, "16 0301 0000");
        assert_true(wire.len + len <= sizeof(wire.bytes));
        memcpy(wire.bytes + wire.len, message->bytes + at, len);
        wire.len += len;
        set_length(&wire, wire.len - len - 2, 2);
    }
    return wire;
}

static int parse(const char *suites, const char *extensions, struct tls_hello *ret)
{
    struct hello message = make_hello(suites, extensions);
    struct hello wire = make_records(&message, TLS_HELLO_MAX);
    memset(ret, 0, sizeof(*ret));
    return tls_hello_parse(wire.bytes, wire.len, ret);
}

#define NAME   "0000 0012 0010 00 000d 4d782e6578616d706c652e4f5247 " /* Mx.example.ORG */
#define ALPN   "0010 000a 0008 02 6832 04 736d7470 "                  /* h2, smtp */
#define SIGS   "000d 0008 0006 0403 0804 0807 "
#define TLS1_3 "002b 0005 04 0304 0303 "
#define ALL                                                                                        \
    (1u << TLS_KEY_P256 | 1u << TLS_KEY_P384 | 1u << TLS_KEY_P521 | 1u << TLS_KEY_ED25519 |        \
     1u << TLS_KEY_RSA)

static void hello_tells_what_is_asked(void **state)
{
    (void)state;
    struct tls_hello hello;
    assert_int_equal(parse("1301", NAME "" SIGS ALPN TLS1_3, &hello), -EPROTO); /* length 1 short */
    assert_int_equal(parse("1301",
                           "0000 0013 0011 00 000e 4d782e6578616d706c652e4f5247 " SIGS ALPN TLS1_3,
                           &hello),
                     1);
    assert_string_equal(hello.name, "mx.example.org");
    assert_true(hello.is_1_3);
    assert_true(hello.has_alpn);
    assert_true(hello.has_smtp);
    assert_int_equal(hello.keys, 1u << TLS_KEY_P256 | 1u << TLS_KEY_ED25519 | 1u << TLS_KEY_RSA);

    /* In 1.2 the suites decide as well. */
    assert_int_equal(parse("c02f 009c", SIGS, &hello), 1);
    assert_int_equal(hello.keys, 1u << TLS_KEY_RSA);
    assert_int_equal(parse("c02b", SIGS, &hello), 1);
    assert_int_equal(hello.keys, 1u << TLS_KEY_P256 | 1u << TLS_KEY_ED25519);
    assert_int_equal(parse("002f 009c", SIGS, &hello), 1);
    assert_int_equal(hello.keys, 0);
    assert_int_equal(parse("c02f", NULL, &hello), 1); /* no extensions at all */
    assert_int_equal(hello.keys, 0);
    assert_string_equal(hello.name, "");
    assert_false(hello.has_alpn);
    assert_int_equal(parse("c02f", "0010 0005 0003 02 6832", &hello), 1);
    assert_true(hello.has_alpn);
    assert_false(hello.has_smtp);
}

static void malformed_hellos_are_refused(void **state)
{
    static const char *const extensions[] = {
        "0000",                         /* half a header */
        "0000 0005 0003 00 0000",       /* an empty name */
        "0000 0006 0004 00 0001 00",    /* a NUL in it */
        "0000 0007 0004 00 0001 61 00", /* bytes behind the list */
        "0000 0006 0003 00 0001 61",    /* a list that is too short */
        "0000 0006 0009 00 0001 61",    /* and one too long */
        "0010 0003 0001 00",            /* an empty protocol */
        "0010 0004 0002 02 61",         /* a protocol that is cut */
        "000d 0003 0001 04",            /* half a scheme */
        "002b 0002 01 03",              /* half a version */
        "ffff 0010 00",                 /* longer than the message */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
        struct tls_hello hello;
        int result = parse("1301", extensions[i], &hello);
        if (result != -EPROTO) {
            fail_msg("%s: %d", extensions[i], result);
        }
    }
}

/* However it is cut, by records or by arrival, the answer is the same, and comes with the last
 * byte. */
static void hello_is_complete_with_its_last_byte(void **state)
{
    static const uint32_t parts[] = {TLS_HELLO_MAX, 1, 3, 4, 50};
    (void)state;
    struct hello message = make_hello("1301 c02f", ALPN SIGS TLS1_3);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct hello wire = make_records(&message, parts[i]);
        struct tls_hello hello;
        for (uint32_t len = 0; len < wire.len; len++) {
            uint8_t *exact = malloc(len + 1); /* so that a sanitizer sees a byte too many */
            assert_non_null(exact);
            memcpy(exact, wire.bytes, len);
            assert_int_equal(tls_hello_parse(exact, len, &hello), 0);
            free(exact);
        }
        assert_int_equal(tls_hello_parse(wire.bytes, wire.len, &hello), 1);
        assert_true(hello.has_smtp);
        /* What follows in the window is not its matter. */
        assert_int_equal(tls_hello_parse(wire.bytes, wire.len + 7, &hello), 1);
    }
}

static void hello_has_a_maximum(void **state)
{
    (void)state;
    struct tls_hello hello;
    static uint8_t endless[HELLO_SIZE];
    /* Declared too large. */
    assert_int_equal(tls_hello_parse("\x16\x03\x01\x20\x00\x01\x00\x20\x00", 9, &hello), -EMSGSIZE);
    /* In records of one byte: too much wire for what it says. */
    static const uint8_t header[] = {1, 0, 0x1f, 0};
    for (uint32_t at = 0; at + 6 <= sizeof(endless); at += 6) {
        const uint8_t record[6] = {22, 3, 1, 0, 1, at / 6 < 4 ? header[at / 6] : 0};
        memcpy(endless + at, record, sizeof(record));
    }
    assert_int_equal(tls_hello_parse(endless, TLS_HELLO_MAX - 1, &hello), 0);
    assert_int_equal(tls_hello_parse(endless, TLS_HELLO_MAX, &hello), -EMSGSIZE);
    assert_int_equal(tls_hello_parse(endless, sizeof(endless) / 6 * 6, &hello), -EMSGSIZE);
}

/* Every byte changed to every value: any answer, but no access outside (sanitizers) and no hang. */
static void any_byte_may_be_wrong(void **state)
{
    (void)state;
    struct hello message = make_hello("1301 c02f", ALPN SIGS TLS1_3);
    struct hello wire = make_records(&message, TLS_HELLO_MAX);
    unsigned answers[3] = {0};
    for (uint32_t at = 0; at < wire.len; at++) {
        uint8_t *copy = malloc(wire.len);
        assert_non_null(copy);
        memcpy(copy, wire.bytes, wire.len);
        for (unsigned value = 0; value < 256; value++) {
            struct tls_hello hello;
            copy[at] = (uint8_t)value;
            int result = tls_hello_parse(copy, wire.len, &hello);
            assert_true(result == 0 || result == 1 || result == -EPROTO || result == -EMSGSIZE);
            answers[result < 0 ? 2 : result]++;
        }
        free(copy);
    }
    assert_true(answers[0] > 0);
    assert_true(answers[1] > 0);
    assert_true(answers[2] > 0);
}

/* ---- certificates ---- */

static DerBuffer *load(const char *file)
{
    static char pem[16384];
    DerBuffer *der = NULL;
    FILE *from = fopen(pki_path(file), "re");
    assert_non_null(from);
    size_t len = fread(pem, 1, sizeof(pem), from);
    (void)fclose(from);
    assert_int_equal(
        wc_PemToDer((unsigned char *)pem, (long)len, CERT_TYPE, &der, NULL, NULL, NULL), 0);
    return der;
}

static void certificate_facts(void **state)
{
    (void)state;
    struct tls_cert cert;
    char name[TLS_NAME_MAX + 1];
    uint32_t at = 0;
    DerBuffer *der = load("other.pem");
    assert_int_equal(tls_cert_parse(der->buffer, der->length, &cert), 0);
    assert_int_equal(cert.key, TLS_KEY_P256);
    assert_true(tls_cert_next_name(&cert, &at, name, sizeof(name)));
    assert_string_equal(name, "other.example.net");
    assert_true(tls_cert_next_name(&cert, &at, name, sizeof(name)));
    assert_string_equal(name, "upper.example.net");
    assert_true(tls_cert_next_name(&cert, &at, name, sizeof(name)));
    assert_string_equal(name, "deep.wild.example");
    assert_false(tls_cert_next_name(&cert, &at, name, sizeof(name)));
    at = 0;
    assert_true(tls_cert_next_name(&cert, &at, name, 18)); /* the longer ones are passed over */
    assert_true(tls_cert_next_name(&cert, &at, name, 18));
    assert_true(tls_cert_is_for(&cert, "OTHER.example.net"));
    assert_true(tls_cert_is_for(&cert, "127.0.0.1"));
    assert_false(tls_cert_is_for(&cert, "127.0.0.11"));
    assert_false(tls_cert_is_for(&cert, "other.example.ne"));
    assert_false(tls_cert_is_for(&cert, ""));
    wc_FreeDer(&der);
    der = load("rsa.pem");
    assert_int_equal(tls_cert_parse(der->buffer, der->length, &cert), 0);
    assert_int_equal(cert.key, TLS_KEY_RSA);
    wc_FreeDer(&der);
    der = load("wild.pem");
    assert_int_equal(tls_cert_parse(der->buffer, der->length, &cert), 0);
    assert_true(tls_cert_is_for(&cert, "x.wild.example."));
    assert_false(tls_cert_is_for(&cert, ".wild.example"));
    assert_false(tls_cert_is_for(&cert, "*wild.example"));
    wc_FreeDer(&der);
    der = load("ca.pem");
    assert_int_equal(tls_cert_parse(der->buffer, der->length, &cert), 0);
    assert_null(cert.names);
    assert_false(tls_cert_is_for(&cert, "Test CA"));
    wc_FreeDer(&der);
}

/* A certificate that is cut anywhere, or has a byte changed, is walked within its bounds. */
static void certificates_may_be_wrong(void **state)
{
    (void)state;
    DerBuffer *der = load("other.pem");
    unsigned refused = 0;
    for (uint32_t i = 0; i < 2 * der->length; i++) {
        struct tls_cert cert;
        char name[TLS_NAME_MAX + 1];
        uint32_t at = 0;
        uint32_t len = i < der->length ? i : der->length;
        uint8_t *copy = malloc(len + (len == 0));
        assert_non_null(copy);
        memcpy(copy, der->buffer, len);
        if (i >= der->length) {
            copy[i - der->length] ^= 0x81;
        }
        if (tls_cert_parse(copy, len, &cert) != 0) {
            refused++;
        } else {
            while (tls_cert_next_name(&cert, &at, name, sizeof(name))) {
                assert_true(strlen(name) > 0);
            }
            (void)tls_cert_is_for(&cert, "127.0.0.1"); /* only its accesses matter */
        }
        free(copy);
    }
    assert_true(refused >= der->length); /* each cut */
    assert_true(refused < 2 * der->length);
    wc_FreeDer(&der);
}

/* ---- ticket keys ---- */

static void keys_open_for_two_rotations(void **state)
{
    (void)state;
    static const uint8_t no_name[TLS_TICKET_NAME_SIZE];
    struct tls_tickets tickets;
    struct tls_ticket_key keys[10], found;
    assert_int_equal(tls_tickets_init(&tickets), 0);
    for (int i = 0; i < 10; i++) {
        assert_true(tls_tickets_newest(&tickets, &keys[i]));
        for (int k = 0; k <= i; k++) {
            bool opens = tls_tickets_find(&tickets, keys[k].name, &found);
            assert_int_equal(opens, i - k <= 2);
            if (opens) {
                assert_memory_equal(&found, &keys[k], sizeof(found));
            }
            assert_true(k == i || memcmp(&keys[k], &keys[i], sizeof(found)) != 0);
        }
        assert_false(tls_tickets_find(&tickets, no_name, &found));
        assert_int_equal(tls_tickets_rotate(&tickets), 0);
    }
    tls_tickets_fini(&tickets);
    assert_false(tls_tickets_find(&tickets, keys[9].name, &found));
}

struct readers {
    struct tls_tickets tickets;
    atomic_bool stop;
    atomic_uint torn;
    atomic_uint reads;
};

/* A key that was found by its name is whole: it equals what stood there when it was newest. */
static void *read_keys(void *arg)
{
    struct readers *readers = arg;
    while (!atomic_load(&readers->stop)) {
        struct tls_ticket_key newest, found;
        if (!tls_tickets_newest(&readers->tickets, &newest)) {
            continue;
        }
        if (tls_tickets_find(&readers->tickets, newest.name, &found) &&
            memcmp(&newest, &found, sizeof(found)) != 0) {
            atomic_fetch_add(&readers->torn, 1);
        }
        atomic_fetch_add(&readers->reads, 1);
    }
    return NULL;
}

static void keys_are_never_torn(void **state)
{
    (void)state;
    static struct readers readers;
    pthread_t threads[2];
    assert_int_equal(tls_tickets_init(&readers.tickets), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_keys, &readers), 0);
    }
    for (int i = 0; i < 20000 || atomic_load(&readers.reads) < 1000; i++) {
        assert_int_equal(tls_tickets_rotate(&readers.tickets), 0);
    }
    atomic_store(&readers.stop, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&readers.torn), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_tells_what_is_asked),
        cmocka_unit_test(malformed_hellos_are_refused),
        cmocka_unit_test(hello_is_complete_with_its_last_byte),
        cmocka_unit_test(hello_has_a_maximum),
        cmocka_unit_test(any_byte_may_be_wrong),
        cmocka_unit_test(certificate_facts),
        cmocka_unit_test(certificates_may_be_wrong),
        cmocka_unit_test(keys_open_for_two_rotations),
        cmocka_unit_test(keys_are_never_torn),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
