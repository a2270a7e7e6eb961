/*
 * test_writer - the pieces of a line: numbers at their ends, digits with zeros, addresses as inet_ntop
 * writes them.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/writer.h"

static void assert_written(const struct writer *w, const char *begin, const char *wanted)
{
    assert_int_equal(writer_len(w, begin), strlen(wanted));
    assert_memory_equal(begin, wanted, strlen(wanted));
}

static void test_numbers(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 9, 10, 99, 100, 4294967295, 4294967296, UINT64_MAX};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char out[20];
        char wanted[32];
        struct writer w = {.at = out, .end = out + sizeof(out)};
        (void)snprintf(wanted, sizeof(wanted), "%" PRIu64, numbers[i]);
        writer_number(&w, numbers[i]);
        assert_written(&w, out, wanted);
    }
}

static void test_signed_numbers(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0, -1, 1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char out[20];
        char wanted[32];
        struct writer w = {.at = out, .end = out + sizeof(out)};
        (void)snprintf(wanted, sizeof(wanted), "%" PRId64, numbers[i]);
        writer_signed(&w, numbers[i]);
        assert_written(&w, out, wanted);
    }
}

static void test_digits_have_zeros_in_front(void **state)
{
    (void)state;
    char out[10];
    struct writer w = {.at = out, .end = out + sizeof(out)};
    writer_digits(&w, 2, 7);
    writer_digits(&w, 4, 31);
    writer_digits(&w, 3, 1234); /* the last three */
    writer_digits(&w, 1, 0);
    assert_written(&w, out, "0700312340");
}

static void test_pieces_fill_the_room_exactly(void **state)
{
    (void)state;
    char out[6];
    struct writer w = {.at = out, .end = out + sizeof(out)};
    writer_put(&w, TEXT("abc"));
    writer_put(&w, (struct text){NULL, 0});
    writer_string(&w, "def");
    writer_string(&w, "");
    assert_written(&w, out, "abcdef");
}

static void check_address(int family, const char *text)
{
    char out[INET6_ADDRSTRLEN];
    struct sockaddr_storage addr = {.ss_family = (sa_family_t)family};
    void *octets = family == AF_INET ? (void *)&((struct sockaddr_in *)&addr)->sin_addr
                                     : (void *)&((struct sockaddr_in6 *)&addr)->sin6_addr;
    assert_int_equal(inet_pton(family, text, octets), 1);
    struct writer w = {.at = out, .end = out + sizeof(out) - 1};
    writer_address(&w, (const struct sockaddr *)&addr);
    assert_written(&w, out, text);
}

static void test_addresses(void **state)
{
    (void)state;
    check_address(AF_INET, "0.0.0.0");
    check_address(AF_INET, "192.0.2.1");
    check_address(AF_INET, "255.255.255.255");
    check_address(AF_INET6, "::");
    check_address(AF_INET6, "2001:db8::1");
    check_address(AF_INET6, "::ffff:192.0.2.1");
    check_address(AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

static void test_an_address_of_another_family_is_unknown(void **state)
{
    (void)state;
    char out[16];
    struct writer w = {.at = out, .end = out + sizeof(out)};
    writer_address(&w, &(struct sockaddr){.sa_family = AF_UNIX});
    assert_written(&w, out, "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_signed_numbers),
        cmocka_unit_test(test_digits_have_zeros_in_front),
        cmocka_unit_test(test_pieces_fill_the_room_exactly),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_an_address_of_another_family_is_unknown),
    };
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
