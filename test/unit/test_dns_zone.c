/*
 * test_dns_zone - the zone file: wildcards and empty non-terminals with the example of RFC 4592,
 * several zones in one file, aliases, and files that are refused.
 */
#include "net/dns_zone.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct dns_zone *zone;
static char error[256];

/* The zone of RFC 4592, 2.2.1, then one below it, one beside it, and a lone name. */
static const char text[] = "$ORIGIN example.\n"
                           "$TTL 3600\n"
                           "@                 SOA ns hostmaster 1 2 3 4 900\n"
                           "@                 NS ns.example.com.\n"
                           "*                 TXT \"this is a wildcard\"\n"
                           "*                 MX 10 Host1.EXAMPLE.\n"
                           "sub.*             TXT \"this is not a wildcard\"\n"
                           "host1             A 192.0.2.1\n"
                           "_ssh._tcp.host1   SRV 0 0 22 host1\n"
                           "_ssh._tcp.host2   SRV 0 0 22 host2\n"
                           "subdel            NS ns.example.com.\n"
                           "; not of the RFC:\n"
                           "alias     60      CNAME Host1\n"
                           "twice             CNAME alias\n"
                           "loop              CNAME pool\n"
                           "pool              CNAME loop\n"
                           "gone              CNAME nothing.below.other.test.\n"
                           "away              CNAME Far.Away.Test.\n"
                           "MiXeD             AAAA 2001:db8::1 ; the case does not matter\n"
                           "many      10      A 192.0.2.2\n"
                           "many      20      A 192.0.2.3\n"
                           "                  A 192.0.2.4\n"
                           "key               TXT ( \"v=DKIM1; p=AAAA\"\n"
                           "                        \"BBBB\" )\n"
                           "dot\\.ted          A 192.0.2.5\n"
                           "below     300     SOA ns hostmaster 1 2 3 4 5000\n"
                           "*.wild.below      CNAME host1.example.\n"
                           "other.test. 30    SOA . . 1 2 3 4 5\n"
                           "www.other.test.   A 192.0.2.6\n"
                           "lone.test.        A 192.0.2.7\n";

static int read_text(const char *content)
{
    char path[] = "/tmp/test_dns_zone.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
    error[0] = '\0';
    int result = dns_zone_read(&zone, path, error, sizeof(error));
    unlink(path);
    return result;
}

static int open_zone(void **state)
{
    (void)state;
    int result = read_text(text);
    if (result < 0) {
        print_message("%s\n", error);
    }
    return result;
}

static int close_zone(void **state)
{
    (void)state;
    dns_zone_destroy(&zone);
    assert_null(zone);
    dns_zone_destroy(&zone);
    return 0;
}

enum { SRV = 33, NS = 2, ELSEWHERE = 99 };

static const struct {
    const char *name;
    int type;
    int status;
    uint32_t count;
    uint32_t ttl_s;
} questions[] = {
    /* RFC 4592, 2.2.1: the answers are synthesized ... */
    {"host3.example", DNS_MX, DNS_OK, 1, 3600},
    {"host3.example", DNS_A, DNS_NO_DATA, 0, 900},
    {"foo.bar.example", DNS_TXT, DNS_OK, 1, 3600},
    /* ... and are not: it exists, or its closest encloser is another */
    {"host1.example", DNS_MX, DNS_NO_DATA, 0, 900},
    {"sub.*.example", DNS_MX, DNS_NO_DATA, 0, 900},
    {"_telnet._tcp.host1.example", SRV, DNS_NO_NAME, 0, 900},
    {"ghost.*.example", DNS_MX, DNS_NO_NAME, 0, 900},
    /* empty non-terminals */
    {"_tcp.host1.example", SRV, DNS_NO_DATA, 0, 900},
    {"host2.example", DNS_TXT, DNS_NO_DATA, 0, 900},
    {"_tcp.host2.example", DNS_TXT, DNS_NO_DATA, 0, 900},
    {"a._tcp.host2.example", DNS_TXT, DNS_NO_NAME, 0, 900},
    /* the wildcard itself is a name like others */
    {"*.example", DNS_TXT, DNS_OK, 1, 3600},
    {"example", DNS_SOA, DNS_OK, 1, 3600},
    {"example", NS, DNS_OK, 1, 3600},
    {"example", DNS_TXT, DNS_NO_DATA, 0, 900},
    {"host1.example", DNS_A, DNS_OK, 1, 3600},
    {"mixed.example", DNS_AAAA, DNS_OK, 1, 3600},
    {"many.example", DNS_A, DNS_OK, 3, 10},
    /* aliases */
    {"alias.example", DNS_A, DNS_OK, 1, 60},
    {"alias.example", DNS_CNAME, DNS_OK, 1, 60},
    {"twice.example", DNS_A, DNS_OK, 1, 60},
    {"alias.example", DNS_TXT, DNS_NO_DATA, 0, 60},
    {"loop.example", DNS_A, DNS_FAILED, 0, 0},
    {"gone.example", DNS_A, DNS_NO_NAME, 0, 5},
    {"away.example", DNS_A, ELSEWHERE, 0, 0},
    {"a.wild.below.example", DNS_A, DNS_OK, 1, 3600},
    {"b.a.wild.below.example", DNS_A, DNS_OK, 1, 3600},
    {"wild.below.example", DNS_A, DNS_NO_DATA, 0, 300},
    /* the nearest zone above counts: no wildcard of the upper one reaches into it */
    {"none.below.example", DNS_TXT, DNS_NO_NAME, 0, 300},
    {"none.other.test", DNS_A, DNS_NO_NAME, 0, 5},
    {"www.other.test", DNS_A, DNS_OK, 1, 3600},
    /* outside */
    {"lone.test", DNS_A, DNS_OK, 1, 3600},
    {"lone.test", DNS_MX, DNS_NO_DATA, 0, 0},
    {"x.lone.test", DNS_A, ELSEWHERE, 0, 0},
    {"test", DNS_A, ELSEWHERE, 0, 0},
    {"another.test", DNS_A, ELSEWHERE, 0, 0},
    {"example.com", DNS_A, ELSEWHERE, 0, 0},
    {"xexample", DNS_A, ELSEWHERE, 0, 0},
    {".", DNS_A, ELSEWHERE, 0, 0},
};

static bool find(const char *name, int type, struct dns_name *ret_name,
                 struct dns_answer *ret_answer)
{
    int len = dns_name_parse(name, (uint32_t)strlen(name), ret_name->octets);
    assert_true(len > 0);
    ret_name->len = (uint8_t)len;
    return dns_zone_find(zone, ret_name, (uint16_t)type, ret_answer);
}

static void answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        struct dns_name name;
        struct dns_answer answer;
        bool is_found = find(questions[i].name, questions[i].type, &name, &answer);
        if (is_found != (questions[i].status != ELSEWHERE) ||
            (is_found &&
             ((int)answer.status != questions[i].status || answer.count != questions[i].count ||
              (answer.ttl_s != questions[i].ttl_s)))) {
            print_message("%s, type %d: status %d, %u records, ttl %u\n", questions[i].name,
                          questions[i].type, is_found ? (int)answer.status : ELSEWHERE,
                          answer.count, answer.ttl_s);
            fail();
        }
    }
}

static void data_is_the_file_s(void **state)
{
    (void)state;
    struct dns_name name;
    struct dns_answer answer;
    char out[256];
    assert_true(find("key.example", DNS_TXT, &name, &answer));
    assert_int_equal(dns_txt_join(&answer.records[0], out, sizeof(out)), 19);
    assert_memory_equal(out, "v=DKIM1; p=AAAABBBB", 19);
    uint16_t preference;
    assert_true(find("x.example", DNS_MX, &name, &answer));
    assert_int_equal(dns_mx_parse(&answer.records[0], &preference, out), 0);
    assert_string_equal(out, "host1.example");
    assert_true(find("many.example", DNS_A, &name, &answer));
    assert_memory_equal(answer.records[0].data, "\300\0\2\2", 4); /* in the file's order */
    assert_memory_equal(answer.records[2].data, "\300\0\2\4", 4);
    assert_false(find("away.example", DNS_A, &name, &answer));
    assert_int_equal(name.len, 15);
    assert_memory_equal(name.octets, "\3far\4away\4test\0", 15);
    assert_int_equal(dns_zone_count(zone), 26);
}

static void nothing_in_the_file(void **state)
{
    (void)state;
    struct dns_name name;
    struct dns_answer answer;
    assert_int_equal(read_text(""), 0);
    assert_int_equal(dns_zone_count(zone), 0);
    assert_false(find("example", DNS_A, &name, &answer));
    dns_zone_destroy(&zone);
}

/* With a SOA at the root nobody else is asked for anything. */
static void zone_of_the_root(void **state)
{
    (void)state;
    struct dns_name name;
    struct dns_answer answer;
    assert_int_equal(read_text(". SOA . . 1 2 3 4 5\n* A 192.0.2.1\n"), 0);
    assert_true(find("some.where", DNS_A, &name, &answer));
    assert_int_equal(answer.status, DNS_OK);
    assert_true(find("some.where", DNS_MX, &name, &answer));
    assert_int_equal(answer.status, DNS_NO_DATA);
    dns_zone_destroy(&zone);
}

static void longest_names(void **state)
{
    (void)state;
    char name_text[DNS_TEXT_MAX];
    char content[600];
    struct dns_name name;
    struct dns_answer answer;
    for (int i = 0; i < 126; i++) {
        memcpy(name_text + 2 * i, "a.", 2);
    }
    memcpy(name_text + 252, "a", 2); /* 127 labels */
    snprintf(content, sizeof(content), "a. SOA . . 1 2 3 4 5\n%s. A 192.0.2.1\n", name_text);
    assert_int_equal(read_text(content), 0);
    assert_true(find(name_text, DNS_A, &name, &answer));
    assert_int_equal(answer.status, DNS_OK);
    name_text[0] = 'b';
    assert_true(find(name_text, DNS_A, &name, &answer));
    assert_int_equal(answer.status, DNS_NO_NAME);
    assert_true(find(name_text + 2, DNS_A, &name, &answer));
    assert_int_equal(answer.status, DNS_NO_DATA);
    dns_zone_destroy(&zone);
}

static void refused_files(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        const char *begins;
    } rows[] = {
        {"a. A 192.0.2.1\nb. A 192.0.2\n", "line 2: "},
        {"a. NOTYPE x\n", "line 1: "},
        {"\n\na. CH TXT x\n", "line 3: the class is not IN"},
        {"$INCLUDE other\n", "line 1: "},
        {"a. MX ten mail.\n", "line 1: "},
        {"a..b. A 192.0.2.1\n", "line 1: "},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        zone = NULL;
        assert_int_equal(read_text(rows[i].content), -EINVAL);
        assert_null(zone);
        print_message("    %s\n", error);
        assert_memory_equal(error, rows[i].begins, strlen(rows[i].begins));
    }
    assert_int_equal(dns_zone_read(&zone, "/nowhere/zone", error, sizeof(error)), -ENOENT);
    assert_string_equal(error, "No such file or directory");
    assert_int_equal(dns_zone_read(&zone, "/dev/null", error, sizeof(error)), -EINVAL);
    assert_int_equal(dns_zone_read(&zone, "/", error, sizeof(error)), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers, open_zone, close_zone),
        cmocka_unit_test_setup_teardown(data_is_the_file_s, open_zone, close_zone),
        cmocka_unit_test(nothing_in_the_file),
        cmocka_unit_test(zone_of_the_root),
        cmocka_unit_test(longest_names),
        cmocka_unit_test(refused_files),
    };
    return cmocka_run_group_tests_name("dns_zone", tests, NULL, NULL);
}
