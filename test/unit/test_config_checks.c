/*
 * test_config_checks - proxy.ini's sections for the verification: what each key means, its default, and
 * the exact line that a bad value gets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/check_files.h"
#include "core/config.h"
#include "core/config_dns.h"
#include "net/dns_zone.h"

static char errors[65536]; /* of the last load() */

#define MINIMUM                                                                                    \
    "[proxy]\nhostname=mx.example.org\n[listen:a]\nbind=127.0.0.1:25\n"                            \
    "[upstream:default]\nserver=127.0.0.1:26\n"

static int load(const char *text, struct config **ret_config)
{
    FILE *file = tmpfile();
    FILE *out = fmemopen(errors, sizeof(errors), "w");
    assert_non_null(file);
    assert_non_null(out);
    errors[0] = '\0';
    assert_int_equal(fputs(text, file) >= 0, 1);
    rewind(file);
    *ret_config = NULL;
    int result = config_load_stream(file, "t.ini", NAMES_REFUSE, out, ret_config);
    fclose(out);
    fclose(file);
    return result;
}

static struct config *load_good(const char *text)
{
    struct config *config;
    if (load(text, &config) < 0) {
        fail_msg("%s\nis refused: %s", text, errors);
    }
    return config;
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = load_good(MINIMUM);
    assert_int_equal(config->verify_mode, VERIFY_HOLD);
    assert_int_equal(config->verify_deadline_ms, 20000);
    assert_int_equal(config->hold_memory, 256 * 1024);
    assert_string_equal(config->spool_dir, "/var/tmp");
    assert_int_equal(config->spool_dir_line, 0);
    assert_string_equal(config->verify.authserv_id, "mx.example.org");
    assert_string_equal(config->trace_header, "X-Mailweir");
    assert_true(config->received_header);
    assert_int_equal(config->upstreams[0].lease_hold_ms, 2000);
    assert_int_equal(config->dns.server_count, 0); /* with names refused nothing else is read */
    assert_string_equal(config->dns.local_zone, "");
    assert_int_equal(config->dns.timeout_ms, 2000);
    assert_int_equal(config->dns.attempts, 2);
    assert_int_equal(config->dns.cache_entries, 65536);
    assert_int_equal(config->verify.dnsbl.zone_count, 0);
    assert_int_equal(config->verify.rhsbl.zone_count, 0);
    assert_int_equal(config->verify.dnsbl.threshold, 3);
    assert_int_equal(config->verify.dnsbl.action, ACTION_REJECT);
    assert_int_equal(config->verify.spf.action, ACTION_TAG);
    assert_int_equal(config->verify.dkim.action, ACTION_TAG);
    assert_int_equal(config->verify.dkim.signatures_max, 8);
    assert_int_equal(config->verify.dmarc.action, ACTION_TAG);
    config_destroy(&config);
}

static const char ALL_KEYS[] = MINIMUM "lease_hold = 5s\n"
                                       "[dns]\n"
                                       "server = 192.0.2.1\n"
                                       "server = 192.0.2.2:5353\n"
                                       "server = 2001:db8::1\n"
                                       "server = [2001:db8::2]:54\n"
                                       "server = [2001:db8::3]\n"
                                       "local_zone = /etc/mailweir/zone\n"
                                       "timeout = 1500ms\n"
                                       "attempts = 3\n"
                                       "cache_entries = 100\n"
                                       "[verify]\n"
                                       "mode = stream\n"
                                       "deadline = 5s\n"
                                       "hold_memory = 64k\n"
                                       "spool_dir = /var/spool/weir\n"
                                       "authserv_id = id.example.org\n"
                                       "trace_header = X-Lists\n"
                                       "[dnsbl]\n"
                                       "zone = zen.example.org weight=4 "
                                       "codes=127.0.0.2-127.0.0.11,127.0.1.2\n"
                                       "zone = allow.example.org weight=-10\n"
                                       "zone = plain.example.org\n"
                                       "rhsbl = dbl.example.org weight=2\n"
                                       "threshold = 5\n"
                                       "action = defer\n"
                                       "[spf]\n"
                                       "action = reject\n"
                                       "[dkim]\n"
                                       "action = report\n"
                                       "signatures_max = 3\n"
                                       "[dmarc]\n"
                                       "action = off\n";

static void check_server(const struct config_dns *dns, uint32_t i, const char *address, int port)
{
    char text[INET6_ADDRSTRLEN];
    if (dns->servers[i].ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&dns->servers[i];
        assert_non_null(inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)));
        assert_int_equal(ntohs(in->sin_port), port);
    } else {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&dns->servers[i];
        assert_int_equal(in->sin6_family, AF_INET6);
        assert_non_null(inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text)));
        assert_int_equal(ntohs(in->sin6_port), port);
    }
    assert_string_equal(text, address);
}

static void test_all_keys(void **state)
{
    (void)state;
    struct config *config = load_good(ALL_KEYS);
    assert_int_equal(config->upstreams[0].lease_hold_ms, 5000);
    assert_int_equal(config->dns.server_count, 5);
    check_server(&config->dns, 0, "192.0.2.1", 53);
    check_server(&config->dns, 1, "192.0.2.2", 5353);
    check_server(&config->dns, 2, "2001:db8::1", 53);
    check_server(&config->dns, 3, "2001:db8::2", 54);
    check_server(&config->dns, 4, "2001:db8::3", 53);
    assert_string_equal(config->dns.local_zone, "/etc/mailweir/zone");
    assert_int_equal(config->dns.local_zone_line, 14);
    assert_int_equal(config->dns.timeout_ms, 1500);
    assert_int_equal(config->dns.attempts, 3);
    assert_int_equal(config->dns.cache_entries, 100);
    assert_int_equal(config->verify_mode, VERIFY_STREAM);
    assert_int_equal(config->verify_deadline_ms, 5000);
    assert_int_equal(config->hold_memory, 65536);
    assert_string_equal(config->spool_dir, "/var/spool/weir");
    assert_int_equal(config->spool_dir_line, 22);
    assert_string_equal(config->verify.authserv_id, "id.example.org");
    assert_string_equal(config->trace_header, "X-Lists");
    config_destroy(&config);
}

static void test_all_keys_of_the_checks(void **state)
{
    (void)state;
    struct config *config = load_good(ALL_KEYS);
    const struct verify_conf *verify = &config->verify;
    assert_int_equal(verify->dnsbl.zone_count, 3);
    assert_string_equal(verify->dnsbl.zones[0].name, "zen.example.org");
    assert_int_equal(verify->dnsbl.zones[0].weight, 4);
    assert_int_equal(verify->dnsbl.zones[0].range_count, 2);
    assert_int_equal(verify->dnsbl.zones[0].ranges[0].first, 0x7f000002);
    assert_int_equal(verify->dnsbl.zones[0].ranges[0].last, 0x7f00000b);
    assert_int_equal(verify->dnsbl.zones[0].ranges[1].first, 0x7f000102);
    assert_int_equal(verify->dnsbl.zones[0].ranges[1].last, 0x7f000102);
    assert_int_equal(verify->dnsbl.zones[1].weight, -10);
    assert_int_equal(verify->dnsbl.zones[2].weight, 1);
    assert_int_equal(verify->dnsbl.zones[2].range_count, 0);
    assert_int_equal(verify->rhsbl.zone_count, 1);
    assert_string_equal(verify->rhsbl.zones[0].name, "dbl.example.org");
    assert_int_equal(verify->rhsbl.zones[0].weight, 2);
    assert_int_equal(verify->dnsbl.threshold, 5);
    assert_int_equal(verify->dnsbl.action, ACTION_DEFER);
    assert_int_equal(verify->spf.action, ACTION_REJECT);
    assert_int_equal(verify->dkim.action, ACTION_REPORT);
    assert_int_equal(verify->dkim.signatures_max, 3);
    assert_int_equal(verify->dmarc.action, ACTION_OFF);
    config_destroy(&config);
}

#define NO_SERVER                                                                                  \
    "is not the address of a server; write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53\n"
#define NO_CODE                                                                                    \
    "is no code of a list; write codes=127.0.0.2-127.0.0.11,127.0.1.2, all of them in "            \
    "127.0.0.0/8\n"

#define NO_LIST "is not the name of a list; write one as zen.example.org\n"
#define NO_ID                                                                                      \
    "cannot stand in Authentication-Results fields; write [verify] authserv_id = NAME, a host "    \
    "name\n"

#define FIELD_63 "X-aaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"

/* 189 octets: the longest name that still leaves room for the 64 of an IPv6 address. */
#define LABEL_46  "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeee"
#define LONG_LIST LABEL_46 "." LABEL_46 "." LABEL_46 "." LABEL_46 ".x"

static const struct {
    const char *text; /* in front of MINIMUM */
    const char *want;
} BAD[] = {
    {"[dns]\nserver = ns.example.org\n", "t.ini:2: [dns] server: 'ns.example.org' " NO_SERVER},
    {"[dns]\nserver = 192.0.2.1:0\n", "t.ini:2: [dns] server: '192.0.2.1:0' " NO_SERVER},
    {"[dns]\nserver = 192.0.2.1:65536\n", "t.ini:2: [dns] server: '192.0.2.1:65536' " NO_SERVER},
    {"[dns]\nserver = [2001:db8::1\n", "t.ini:2: [dns] server: '[2001:db8::1' " NO_SERVER},
    {"[dns]\nserver = [2001:db8::1]53\n", "t.ini:2: [dns] server: '[2001:db8::1]53' " NO_SERVER},
    {"[dns]\nserver = 192.0.2.1:\n", "t.ini:2: [dns] server: '192.0.2.1:' " NO_SERVER},
    {"[dns]\nserver = fe80::1%lo\n", "t.ini:2: [dns] server: 'fe80::1%lo' " NO_SERVER},
    {"[dns]\ntimeout = 9ms\n",
     "t.ini:2: [dns] timeout: '9ms' is out of range; write a number with ms, s, m or h, from 10ms "
     "to 1m\n"},
    {"[dns]\nattempts = 0\n",
     "t.ini:2: [dns] attempts: '0' is out of range; write a whole number from 1 to 10\n"},
    {"[dns]\nattempts = 11\n",
     "t.ini:2: [dns] attempts: '11' is out of range; write a whole number from 1 to 10\n"},
    {"[dns]\ncache_entries = 15\n",
     "t.ini:2: [dns] cache_entries: '15' is out of range; write a whole number from 16 to "
     "16777216\n"},
    {"[dns]\nresolver = 192.0.2.1\n",
     "t.ini:2: [dns] resolver: is an unknown key; this section takes server, local_zone, timeout, "
     "attempts, cache_entries\n"},
    {"[verify]\nhold_memory = 1k\n",
     "t.ini:2: [verify] hold_memory: '1k' is out of range; write a number of bytes, or one with k, "
     "m or g, from 16k to 1g\n"},
    {"[verify]\ndeadline = 10m\n",
     "t.ini:2: [verify] deadline: '10m' is out of range; write a number with ms, s, m or h, from "
     "100ms to 5m\n"},
    {"[verify]\nauthserv_id = [192.0.2.1]\n", "t.ini:2: [verify] authserv_id: " NO_ID},
    {"[verify]\nauthserv_id = id..example.org\n", "t.ini:2: [verify] authserv_id: " NO_ID},
    {"[verify]\nmode = on\n",
     "t.ini:2: [verify] mode: 'on' is not known here; use one of hold, stream, off\n"},
    {"[verify]\ntrace_header = X:Weir\n",
     "t.ini:2: [verify] trace_header: 'X:Weir' is no name of a header field; write one as "
     "X-Mailweir, or off\n"},
    {"[verify]\ntrace_header = X-\xc3\xa9\n",
     "t.ini:2: [verify] trace_header: 'X-\xc3\xa9' is no name of a header field; write one as "
     "X-Mailweir, or off\n"},
    {"[verify]\ntrace_header = " FIELD_63 "x\n",
     "t.ini:2: [verify] trace_header: '" FIELD_63 "x' is too long; write a name of your own as "
     "X-Mailweir, or off\n"},
    {"[verify]\ntrace_header = Received-SPF\n",
     "t.ini:2: [verify] trace_header: 'Received-SPF' is a field that others write; write a name of "
     "your own as X-Mailweir, or off\n"},
    {"[verify]\ntrace_header = X Weir\n",
     "t.ini:2: [verify] trace_header: 'X Weir' is no name of a header field; write one as "
     "X-Mailweir, or off\n"},
    {"[verify]\ntrace_header = received\n",
     "t.ini:2: [verify] trace_header: 'received' is a field that others write; write a name of "
     "your own as X-Mailweir, or off\n"},
    {"[verify]\ntrace_header = DKIM-Signature\n",
     "t.ini:2: [verify] trace_header: 'DKIM-Signature' is a field that others write; write a name "
     "of your own as X-Mailweir, or off\n"},
    {"[dnsbl]\nzone = zen.example.org weight=1001\n",
     "t.ini:2: [dnsbl] zone: 'weight=1001' is no weight; write weight=N with N from -1000 to "
     "1000\n"},
    {"[dnsbl]\nzone = zen.example.org weight=\n",
     "t.ini:2: [dnsbl] zone: 'weight=' is no weight; write weight=N with N from -1000 to 1000\n"},
    {"[dnsbl]\nzone = zen.example.org weight=-99999999999999999999\n",
     "t.ini:2: [dnsbl] zone: 'weight=-99999999999999999999' is no weight; write weight=N with N "
     "from "
     "-1000 to 1000\n"},
    {"[dnsbl]\nzone = zen.example.org weight=-1001\n",
     "t.ini:2: [dnsbl] zone: 'weight=-1001' is no weight; write weight=N with N from -1000 to "
     "1000\n"},
    {"[dnsbl]\nzone = zen.example.org weight=+3\n",
     "t.ini:2: [dnsbl] zone: 'weight=+3' is no weight; write weight=N with N from -1000 to 1000\n"},
    {"[dnsbl]\nzone = zen.example.org weight=3x\n",
     "t.ini:2: [dnsbl] zone: 'weight=3x' is no weight; write weight=N with N from -1000 to 1000\n"},
    {"[dnsbl]\nzone = zen.example.org codes=\n", "t.ini:2: [dnsbl] zone: '' " NO_CODE},
    {"[dnsbl]\nzone = zen.example.org codes=127.0.0.2,\n", "t.ini:2: [dnsbl] zone: '' " NO_CODE},
    {"[dnsbl]\nzone = zen.example.org codes=127.0.0.2,,127.0.0.4\n",
     "t.ini:2: [dnsbl] zone: '' " NO_CODE},
    {"[dnsbl]\nzone = zen.example.org codes=127.0.0.2-\n",
     "t.ini:2: [dnsbl] zone: '127.0.0.2-' " NO_CODE},
    {"[dnsbl]\nzone = zen.example.org codes=127.0.0.2-128.0.0.1\n",
     "t.ini:2: [dnsbl] zone: '127.0.0.2-128.0.0.1' " NO_CODE},
    {"[dnsbl]\nzone = zen.example.org codes=127.1\n", "t.ini:2: [dnsbl] zone: '127.1' " NO_CODE},
    {"[dnsbl]\nzone = zen..example.org\n", "t.ini:2: [dnsbl] zone: 'zen..example.org' " NO_LIST},
    {"[dnsbl]\nzone = [192.0.2.1]\n", "t.ini:2: [dnsbl] zone: '[192.0.2.1]' " NO_LIST},
    {"[dnsbl]\nzone = b" LONG_LIST "\n", "t.ini:2: [dnsbl] zone: 'b" LONG_LIST "' " NO_LIST},
    {"[dnsbl]\nthreshold = 0\n",
     "t.ini:2: [dnsbl] threshold: '0' is out of range; write a whole number from 1 to 100000\n"},
    {"[dnsbl]\nzone = zen.example.org codes=10.0.0.1\n",
     "t.ini:2: [dnsbl] zone: '10.0.0.1' " NO_CODE},
    {"[dnsbl]\nzone = zen.example.org codes=127.0.0.9-127.0.0.2\n",
     "t.ini:2: [dnsbl] zone: '127.0.0.9-127.0.0.2' " NO_CODE},
    {"[dnsbl]\nzone = zen.example.org 3\n",
     "t.ini:2: [dnsbl] zone: '3' is not known here; write NAME weight=N "
     "codes=127.0.0.2-127.0.0.11\n"},
    {"[dnsbl]\nrhsbl = weight=3\n", "t.ini:2: [dnsbl] rhsbl: 'weight=3' " NO_LIST},
    {"[dnsbl]\naction = drop\n",
     "t.ini:2: [dnsbl] action: 'drop' is not known here; use one of off, report, tag, defer, "
     "reject\n"},
    {"[spf]\naction = yes\n", "t.ini:2: [spf] action: 'yes' is not known here; use one of off, "
                              "report, tag, defer, reject\n"},
    {"[dmarc]\naction = quarantine\n",
     "t.ini:2: [dmarc] action: 'quarantine' is not known here; use one of off, report, tag, defer, "
     "reject\n"},
    {"[dkim]\naction =\n",
     "t.ini:2: [dkim] action: '' is not known here; use one of off, report, tag, defer, reject\n"},
    {"[dkim]\nsignatures_max = 0\n",
     "t.ini:2: [dkim] signatures_max: '0' is out of range; write a whole number from 1 to 32\n"},
    {"[dkim]\nsignatures_max = 33\n",
     "t.ini:2: [dkim] signatures_max: '33' is out of range; write a whole number from 1 to 32\n"},
};

static void test_bad_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        char text[1024];
        struct config *config;
        snprintf(text, sizeof(text), "%s%s", BAD[i].text, MINIMUM);
        assert_int_equal(load(text, &config), -EINVAL);
        assert_string_equal(errors, BAD[i].want);
    }
}

static void test_host_name_that_is_no_authserv_id(void **state)
{
    (void)state;
    static const char text[] = "[proxy]\nhostname=[192.0.2.1]\n[listen:a]\nbind=127.0.0.1:25\n"
                               "[upstream:default]\nserver=127.0.0.1:26\n";
    struct config *config;
    assert_int_equal(load(text, &config), -EINVAL);
    assert_string_equal(errors, "t.ini:2: [proxy] hostname: " NO_ID);
    char good[512];
    snprintf(good, sizeof(good), "%s[verify]\nauthserv_id = mx\n", text);
    config = load_good(good);
    config_destroy(&config);
    snprintf(good, sizeof(good), "%s[verify]\nmode = off\n", text);
    config = load_good(good);
    config_destroy(&config);
}

static void test_authserv_id_in_the_form_of_dns(void **state)
{
    (void)state;
    struct config *config = load_good(MINIMUM "[verify]\nauthserv_id = ID.Example.ORG.\n");
    assert_string_equal(config->verify.authserv_id, "id.example.org");
    config_destroy(&config);
    config = load_good("[proxy]\nhostname=MX.Example.org\n[listen:a]\nbind=127.0.0.1:25\n"
                       "[upstream:default]\nserver=127.0.0.1:26\n");
    assert_string_equal(config->hostname, "MX.Example.org");
    assert_string_equal(config->verify.authserv_id, "mx.example.org");
    config_destroy(&config);
}

static void test_longest_names(void **state)
{
    (void)state;
    struct config *config = load_good(MINIMUM "[dnsbl]\nzone = " LONG_LIST "\n[verify]\n"
                                              "trace_header = " FIELD_63 "\n");
    assert_string_equal(config->verify.dnsbl.zones[0].name, LONG_LIST);
    assert_string_equal(config->trace_header, FIELD_63);
    config_destroy(&config);
}

static void test_trace_header_off(void **state)
{
    (void)state;
    struct config *config = load_good(MINIMUM "[verify]\ntrace_header = off\n");
    assert_string_equal(config->trace_header, "");
    config_destroy(&config);
    config = load_good(MINIMUM "[verify]\ntrace_header =\n");
    assert_string_equal(config->trace_header, "");
    config_destroy(&config);
}

static void test_bad_lease_hold(void **state)
{
    (void)state;
    struct config *config;
    assert_int_equal(load(MINIMUM "lease_hold = 2h\n", &config), -EINVAL);
    assert_string_equal(errors, "t.ini:7: [upstream:default] lease_hold: '2h' is out of range; "
                                "write a number with ms, s, m or h, from 0ms to 1h\n");
}

static void test_weights_at_their_ends(void **state)
{
    (void)state;
    struct config *config = load_good(MINIMUM "[dnsbl]\nzone = a.example.org weight=-1000\n"
                                              "zone = b.example.org weight=1000\n"
                                              "zone = c.example.org weight=0\n");
    assert_int_equal(config->verify.dnsbl.zones[0].weight, -1000);
    assert_int_equal(config->verify.dnsbl.zones[1].weight, 1000);
    assert_int_equal(config->verify.dnsbl.zones[2].weight, 0);
    config_destroy(&config);
}

static void test_lists_and_servers_are_bounded(void **state)
{
    (void)state;
    static char text[32768];
    struct config *config;
    size_t len = (size_t)snprintf(text, sizeof(text), "%s[dnsbl]\n", MINIMUM);
    for (int i = 0; i < VERIFY_ZONES_MAX + 1; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "zone = z%d.example.org\n", i);
    }
    assert_int_equal(load(text, &config), -EINVAL);
    assert_string_equal(errors,
                        "t.ini:40: [dnsbl] zone: there are too many lists; write at most 32\n");
    assert_int_equal(load(MINIMUM "[dnsbl]\nzone = z.example.org codes=127.0.0.1,127.0.0.2,"
                                  "127.0.0.3,127.0.0.4,127.0.0.5,127.0.0.6,127.0.0.7,127.0.0.8,"
                                  "127.0.0.9\n",
                          &config),
                     -EINVAL);
    assert_string_equal(errors, "t.ini:8: [dnsbl] zone: there are too many codes; write at most 8 "
                                "ranges\n");
    len = (size_t)snprintf(text, sizeof(text), "%s[dns]\n", MINIMUM);
    for (int i = 0; i < DNS_SERVERS_MAX + 1; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "server = 192.0.2.%d\n", i + 1);
    }
    assert_int_equal(load(text, &config), -EINVAL);
    assert_string_equal(errors,
                        "t.ini:16: [dns] server: there are too many servers; write at most 8\n");
}

static void test_resolv_conf(void **state)
{
    (void)state;
    static const char text[] = "# a comment\nsearch example.org\nnameserver 192.0.2.7\n"
                               "nameserver fe80::1%eth0\nnameserver\nnameserver 2001:db8::7 \n"
                               "options ndots:1\n";
    struct config_dns dns = {.server_count = 0};
    FILE *file = fmemopen((void *)(uintptr_t)text, sizeof(text) - 1, "r");
    assert_non_null(file);
    config_read_resolv_conf(&dns, file);
    fclose(file);
    assert_int_equal(dns.server_count, 2);
    check_server(&dns, 0, "192.0.2.7", 53);
    check_server(&dns, 1, "2001:db8::7", 53);
}

/* It is not read for ever: what is far behind is not looked at. */
static void test_endless_resolv_conf(void **state)
{
    (void)state;
    struct config_dns dns = {.server_count = 0};
    FILE *file = tmpfile();
    assert_non_null(file);
    for (int i = 0; i < 5000; i++) {
        assert_int_not_equal(fputs("# nothing\n", file), EOF);
    }
    assert_int_not_equal(fputs("nameserver 192.0.2.7\n", file), EOF);
    rewind(file);
    config_read_resolv_conf(&dns, file);
    fclose(file);
    assert_int_equal(dns.server_count, 0);
}

/* ---- what the keys name on the disk ---- */

static void test_local_zone_is_read(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-zone-XXXXXX";
    char text[1024];
    char want[1024];
    struct check_files_error error;
    struct dns_zone *zone;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "$ORIGIN example.org.\n@ 60 IN SOA ns h 1 2 3 4 5\na 60 IN A 192.0.2.1\n");
    close(fd);
    snprintf(text, sizeof(text), MINIMUM "[dns]\nlocal_zone = %s\n", path);
    struct config *config = load_good(text);
    assert_int_equal(check_files_read_zone(config, &zone, &error), 0);
    assert_int_equal(dns_zone_count(zone), 2);
    dns_zone_destroy(&zone);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(check_files_read_zone(config, &zone, &error), -ENOENT);
    assert_null(zone);
    assert_int_equal(error.line, 8);
    snprintf(want, sizeof(want),
             "[dns] local_zone: %s: No such file or directory; write the path of a zone file "
             "(RFC 1035)",
             path);
    assert_string_equal(error.text, want);
    config->verify_mode = VERIFY_OFF; /* nobody asks */
    assert_int_equal(check_files_read_zone(config, &zone, &error), 0);
    config_destroy(&config);
}

static void test_spool_dir_is_tried(void **state)
{
    (void)state;
    static const struct {
        const char *dir;
        int result;
        const char *why;
    } rows[] = {
        {"/tmp", 0, ""},
        {"/dev/null", -ENOTDIR, "Not a directory"},
        {"/nonexistent/spool", -ENOENT, "No such file or directory"},
        {"tmp", -ENOENT, "No such file or directory"},
        {"", -ENOENT, "No such file or directory"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];
        char want[512];
        struct check_files_error error = {.line = 0};
        snprintf(text, sizeof(text), MINIMUM "[verify]\nspool_dir = %s\n", rows[i].dir);
        struct config *config = load_good(text);
        assert_int_equal(check_files_try_spool(config, &error), rows[i].result);
        snprintf(want, sizeof(want),
                 "[verify] spool_dir: '%s': %s; write the path of a folder that mailweir may write "
                 "to",
                 rows[i].dir, rows[i].why);
        assert_true(rows[i].result == 0 || error.line == 8);
        assert_string_equal(rows[i].result == 0 ? want : error.text, want);
        config->verify_mode = VERIFY_STREAM; /* holds nothing */
        assert_int_equal(check_files_try_spool(config, &error), 0);
        config_destroy(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_all_keys_of_the_checks),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_host_name_that_is_no_authserv_id),
        cmocka_unit_test(test_authserv_id_in_the_form_of_dns),
        cmocka_unit_test(test_longest_names),
        cmocka_unit_test(test_trace_header_off),
        cmocka_unit_test(test_bad_lease_hold),
        cmocka_unit_test(test_weights_at_their_ends),
        cmocka_unit_test(test_lists_and_servers_are_bounded),
        cmocka_unit_test(test_resolv_conf),
        cmocka_unit_test(test_endless_resolv_conf),
        cmocka_unit_test(test_local_zone_is_read),
        cmocka_unit_test(test_spool_dir_is_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
