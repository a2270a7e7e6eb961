/*
 * test_config - proxy.ini texts, good and bad: what a good one means, and the exact line that a bad
 * one gets. Also pins the habits of the INI library that core/config.c relies on or guards against,
 * and holds the repository's proxy.ini to the table of keys.
 */
#include <errno.h>
#include <ini.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/config.h"

static char errors[65536]; /* of the last load() */

static int load_bytes(const char *bytes, size_t len, enum config_names names,
                      struct config **ret_config)
{
    FILE *file = tmpfile();
    FILE *out = fmemopen(errors, sizeof(errors), "w");
    assert_non_null(file);
    assert_non_null(out);
    errors[0] = '\0';
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    rewind(file);
    *ret_config = NULL;
    int result = config_load_stream(file, "t.ini", names, out, ret_config);
    fclose(out);
    fclose(file);
    assert_int_equal(result == 0, *ret_config != NULL);
    assert_int_equal(result == 0, errors[0] == '\0');
    return result;
}

static struct config *load_good(const char *text)
{
    struct config *config;
    int result = load_bytes(text, strlen(text), NAMES_RESOLVE, &config);
    if (result < 0) {
        fail_msg("%s\nis refused: %s", text, errors);
    }
    return config;
}

/* The end of what an unknown section is told. */
#define SECTIONS "[tls], [dns], [verify], [dnsbl], [spf], [dkim], [dmarc], [limits] or [log]"

/* The smallest text that is accepted; other sections go before it. */
#define MINIMUM "[listen:a]\nbind=127.0.0.1:25\n[upstream:default]\nserver=127.0.0.1:26\n"

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = load_good(MINIMUM);
    char own[256] = "";
    assert_int_equal(gethostname(own, sizeof(own) - 1), 0);
    assert_string_equal(config->file, "t.ini");
    assert_string_equal(config->hostname, own);
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    assert_int_equal(config->workers, CPU_COUNT(&set) > 64 ? 64 : CPU_COUNT(&set));
    assert_int_equal(config->io, IO_AUTO);
    assert_string_equal(config->user, "");
    assert_int_equal(config->max_sessions, 20000);
    assert_int_equal(config->drain_timeout_ms, 30000);
    assert_int_equal(config->listener_count, 1);
    const struct config_listener *listener = &config->listeners[0];
    assert_string_equal(listener->name, "a");
    assert_int_equal(listener->bind_count, 1);
    assert_string_equal(listener->binds[0].text, "127.0.0.1:25");
    assert_int_equal(listener->mode, LISTEN_GATEWAY);
    assert_int_equal(listener->upstream, 0);
    assert_int_equal(listener->greet_delay_ms, 0);
    assert_int_equal(config->upstream_count, 1);
    const struct config_upstream *upstream = &config->upstreams[0];
    assert_string_equal(upstream->name, "default");
    assert_int_equal(upstream->server_count, 1);
    assert_string_equal(upstream->servers[0].name, "127.0.0.1:26");
    assert_int_equal(upstream->servers[0].weight, 1);
    assert_int_equal(upstream->servers[0].max, 200);
    assert_int_equal(upstream->contact, CONTACT_RCPT);
    assert_int_equal(upstream->chunking, CHUNKING_AUTO);
    assert_int_equal(upstream->connect_timeout_ms, 10000);
    assert_int_equal(upstream->check_interval_ms, 10000);
    assert_int_equal(upstream->pool_idle, 64);
    assert_int_equal(upstream->pool_idle_timeout_ms, 60000);
    assert_int_equal(upstream->pool_max_age_ms, 600000);
    assert_int_equal(config->verify_mode, VERIFY_HOLD);
    assert_true(config->received_header);
    assert_int_equal(config->message_size, 50 * 1024 * 1024);
    assert_int_equal(config->recipients, 1000);
    assert_int_equal(config->errors, 20);
    assert_int_equal(config->commands, 1000);
    assert_int_equal(config->command_timeout_ms, 300000);
    assert_int_equal(config->data_timeout_ms, 180000);
    assert_int_equal(config->session_timeout_ms, 3600000);
    assert_string_equal(config->log_target, "stderr");
    assert_int_equal(config->log_format, LOG_FORMAT_JSON);
    assert_int_equal(config->log_level, LEVEL_INFO);
    config_destroy(&config);
    assert_null(config);
    config_destroy(&config);
}

/* Every key, with a value other than its default where there is one. */
static const char ALL_KEYS[] = "; a comment\r\n"
                               "# another\r\n"
                               "[proxy]  ; and one behind\r\n"
                               "hostname = mx.example.org ; ours\r\n"
                               "workers = 64\n"
                               "io=epoll\n"
                               "user =\n"
                               "max_sessions = 1000000\n"
                               "drain_timeout = 0\n"
                               "[listen:in]\n"
                               "bind = 127.0.0.1:1\n"
                               "bind = [::1]:1\n"
                               "bind = *:2\n"
                               "bind = [::]:3\n"
                               "bind = localhost:4\n"
                               "mode = gateway\n"
                               "tls = off\n"
                               "upstream = back\n"
                               "greet_delay = 1500ms\n"
                               "[listen:Other-1.x_2]\n"
                               "bind = 127.0.0.2:1\n"
                               "[upstream:default]\n"
                               "server = 192.0.2.1:25\n"
                               "[upstream:back]\n"
                               "server = 192.0.2.1:25 weight=1000 max=0\n"
                               "server = [2001:db8::1]:65535  max=1000000 \t weight=1\n"
                               "server = unix:/run/mta\n"
                               "balance = hash\n"
                               "contact = connect\n"
                               "client_info = none\n"
                               "tls = off\n"
                               "chunking = off\n"
                               "pool_idle = 0\n"
                               "pool_idle_timeout = 2m\n"
                               "pool_max_age = 24h\n"
                               "connect_timeout = 1ms\n"
                               "check_interval = 1h\n"
                               "[verify]\n"
                               "mode = off\n"
                               "received_header = no\n"
                               "[limits]\n"
                               "message_size = 0\n"
                               "recipients = 1\n"
                               "errors = 3\n"
                               "commands = 1000000000\n"
                               "command_timeout = 1s\n"
                               "data_timeout = 2s\n"
                               "session_timeout = 3h\n"
                               "[log]\n"
                               "target = /var/log/mail weir.log\n"
                               "format = text\n"
                               "level = debug";

static void test_all_keys_of_the_whole(void **state)
{
    (void)state;
    struct config *config = load_good(ALL_KEYS);
    assert_string_equal(config->hostname, "mx.example.org");
    assert_int_equal(config->workers, 64);
    assert_int_equal(config->io, IO_EPOLL);
    assert_int_equal(config->max_sessions, 1000000);
    assert_int_equal(config->drain_timeout_ms, 0);
    assert_false(config->received_header);
    assert_int_equal(config->message_size, 0);
    assert_int_equal(config->recipients, 1);
    assert_int_equal(config->errors, 3);
    assert_int_equal(config->commands, 1000000000);
    assert_int_equal(config->command_timeout_ms, 1000);
    assert_int_equal(config->data_timeout_ms, 2000);
    assert_int_equal(config->session_timeout_ms, 10800000);
    assert_string_equal(config->log_target, "/var/log/mail weir.log");
    assert_int_equal(config->log_format, LOG_FORMAT_TEXT);
    assert_int_equal(config->log_level, LEVEL_DEBUG);
    config_destroy(&config);
}

static void test_all_keys_of_a_listener(void **state)
{
    (void)state;
    struct config *config = load_good(ALL_KEYS);
    assert_int_equal(config->listener_count, 2);
    const struct config_listener *in = &config->listeners[0];
    assert_int_equal(in->bind_count, 5);
    assert_string_equal(in->binds[1].text, "[::1]:1");
    assert_int_equal(in->binds[1].addr.ss_family, AF_INET6);
    assert_int_equal(in->binds[1].len, sizeof(struct sockaddr_in6));
    assert_string_equal(in->binds[2].text, "0.0.0.0:2");
    assert_string_equal(in->binds[3].text, "[::]:3");
    assert_true(strcmp(in->binds[4].text, "127.0.0.1:4") == 0 ||
                strcmp(in->binds[4].text, "[::1]:4") == 0);
    assert_int_equal(in->upstream, 1);
    assert_int_equal(in->greet_delay_ms, 1500);
    assert_string_equal(config->listeners[1].name, "Other-1.x_2");
    assert_int_equal(config->listeners[1].upstream, 0);
    config_destroy(&config);
}

static void test_all_keys_of_an_upstream(void **state)
{
    (void)state;
    struct config *config = load_good(ALL_KEYS);
    const struct config_upstream *back = &config->upstreams[1];
    assert_int_equal(back->server_count, 3);
    assert_string_equal(back->servers[0].address.text, "192.0.2.1:25");
    assert_int_equal(back->servers[0].weight, 1000);
    assert_int_equal(back->servers[0].max, 0);
    assert_string_equal(back->servers[1].name, "[2001:db8::1]:65535");
    assert_int_equal(back->servers[1].max, 1000000);
    const struct sockaddr_in6 *ipv6 =
        (const struct sockaddr_in6 *)(const void *)&back->servers[1].address.addr;
    assert_int_equal(ntohs(ipv6->sin6_port), 65535);
    const struct sockaddr_un *local =
        (const struct sockaddr_un *)(const void *)&back->servers[2].address.addr;
    assert_int_equal(local->sun_family, AF_UNIX);
    assert_string_equal(local->sun_path, "/run/mta");
    assert_int_equal(back->servers[2].address.len, offsetof(struct sockaddr_un, sun_path) + 9);
    assert_string_equal(back->servers[2].address.text, "unix:/run/mta");
    assert_int_equal(back->contact, CONTACT_CONNECT);
    assert_int_equal(back->chunking, CHUNKING_OFF);
    assert_int_equal(back->pool_idle, 0);
    assert_int_equal(back->pool_idle_timeout_ms, 120000);
    assert_int_equal(back->pool_max_age_ms, 86400000);
    assert_int_equal(back->connect_timeout_ms, 1);
    assert_int_equal(back->check_interval_ms, 3600000);
    config_destroy(&config);
}

struct bad {
    const char *text;
    const char *want; /* all of what is printed */
};

static const struct bad BAD[] = {
    /* lines */
    {"workers = 1\n" MINIMUM, "t.ini:1: workers: stands before the first section; write [proxy] or "
                              "another section above it\n"},
    {"[proxy]\nworkers\n" MINIMUM,
     "t.ini:2: [proxy] 'workers' is not a key with a value; write KEY = VALUE\n"},
    {"[proxy]\nworkers: 4\n" MINIMUM,
     "t.ini:2: [proxy] 'workers: 4' is not a key with a value; write KEY = VALUE\n"},
    {"[proxy]\n= 4\n" MINIMUM,
     "t.ini:2: [proxy] '= 4' is not a key with a value; write KEY = VALUE\n"},
    {"[proxy]\nworkers ; = 4\n" MINIMUM,
     "t.ini:2: [proxy] 'workers ; = 4' is not a key with a value; write KEY = VALUE\n"},
    {"[proxy]\nworkers = 4\n  5\n" MINIMUM,
     "t.ini:3: [proxy] the line begins with white space and values cannot go on over lines; begin "
     "keys and sections in the first column\n"},
    {"\t[proxy]\n" MINIMUM,
     "t.ini:1: the line begins with white space and values cannot go on over lines; begin keys and "
     "sections in the first column\n"},
    {"[proxy]\nuser = a\x01\x62\n" MINIMUM,
     "t.ini:2: [proxy] a control character stands at byte 9 of the line; take it out\n"},
    {"[proxy]\nuser = a\rb\n" MINIMUM,
     "t.ini:2: [proxy] a control character stands at byte 9 of the line; take it out\n"},
    /* sections */
    {"[proxi]\nworkers = x\n" MINIMUM, "t.ini:1: [proxi] is an unknown section; write [proxy], "
                                       "[listen:NAME], [upstream:NAME], " SECTIONS "\n"},
    {"[surbl]\n" MINIMUM, "t.ini:1: [surbl] is an unknown section; write [proxy], [listen:NAME], "
                          "[upstream:NAME], " SECTIONS "\n"},
    {"[proxy:a]\n" MINIMUM, "t.ini:1: [proxy:a] is an unknown section; write [proxy], "
                            "[listen:NAME], [upstream:NAME], " SECTIONS "\n"},
    {"[listen]\n" MINIMUM, "t.ini:1: [listen] is an unknown section; write [proxy], [listen:NAME], "
                           "[upstream:NAME], " SECTIONS "\n"},
    {"[\xff\x9b]\n" MINIMUM, "t.ini:1: [\\xFF\\x9B] is an unknown section; write [proxy], "
                             "[listen:NAME], [upstream:NAME], " SECTIONS "\n"},
    {"[proxy\n" MINIMUM, "t.ini:1: '[proxy' is not a section; write [SECTION] alone on its line\n"},
    {"[proxy] x\n" MINIMUM,
     "t.ini:1: '[proxy] x' is not a section; write [SECTION] alone on its line\n"},
    {"[listen:]\n" MINIMUM, "t.ini:1: [listen:] has a bad name after the colon; write 1 to 32 "
                            "letters, digits, '-', '_' or '.'\n"},
    {"[upstream:a b]\n" MINIMUM, "t.ini:1: [upstream:a b] has a bad name after the colon; write 1 "
                                 "to 32 letters, digits, '-', '_' or '.'\n"},
    {"[listen:a23456789012345678901234567890123]\n" MINIMUM,
     "t.ini:1: [listen:a23456789012345678901234567890123] has a bad name after the colon; write 1 "
     "to 32 letters, digits, '-', '_' or '.'\n"},
    {"[log]\n[proxy]\n[log]\nlevel = x\n" MINIMUM,
     "t.ini:3: [log] stands twice, first in line 1; put its keys together\n"},
    {MINIMUM "[listen:a]\n",
     "t.ini:5: [listen:a] stands twice; put its keys together or choose another name\n"},
    /* keys */
    {"[proxy]\nworker = 4\n" MINIMUM,
     "t.ini:2: [proxy] worker: is an unknown key; this section takes hostname, workers, io, user, "
     "max_sessions, drain_timeout\n"},
    {"[limits]\nworkers = 4\n" MINIMUM,
     "t.ini:2: [limits] workers: is an unknown key; this section takes message_size, recipients, "
     "errors, commands, command_timeout, data_timeout, session_timeout\n"},
    {"[proxy]\nio = auto\nworkers = 4\nio = auto\n" MINIMUM,
     "t.ini:4: [proxy] io: stands twice, first in line 2; keep one of them\n"},
    /* values */
    {"[proxy]\nworkers = 65\n" MINIMUM,
     "t.ini:2: [proxy] workers: '65' is out of range; write auto "
     "or a whole number from 1 to 64\n"},
    {"[proxy]\nworkers = 4 # four\n" MINIMUM,
     "t.ini:2: [proxy] workers: '4 # four' is not a number; write auto or a whole number from 1 to "
     "64\n"},
    {"[proxy]\nmax_sessions = -1\n" MINIMUM,
     "t.ini:2: [proxy] max_sessions: '-1' is not a number; write a whole number from 1 to "
     "1000000\n"},
    {"[proxy]\nmax_sessions = 99999999999999999999\n" MINIMUM,
     "t.ini:2: [proxy] max_sessions: '99999999999999999999' is out of range; write a whole number "
     "from 1 to 1000000\n"},
    {"[proxy]\nmax_sessions =\n" MINIMUM,
     "t.ini:2: [proxy] max_sessions: '' is not a number; write "
     "a whole number from 1 to 1000000\n"},
    {"[proxy]\ndrain_timeout = 30\n" MINIMUM,
     "t.ini:2: [proxy] drain_timeout: '30' is not a duration; write a number with ms, s, m or h, "
     "from 0ms to 1h\n"},
    {"[limits]\ndata_timeout = 25h\n" MINIMUM,
     "t.ini:2: [limits] data_timeout: '25h' is out of range; write a number with ms, s, m or h, "
     "from 1ms to 24h\n"},
    {"[limits]\ndata_timeout = 9223372036854775807h\n" MINIMUM,
     "t.ini:2: [limits] data_timeout: '9223372036854775807h' is out of range; write a number with "
     "ms, s, m or h, from 1ms to 24h\n"},
    {"[limits]\nmessage_size = 50mb\n" MINIMUM,
     "t.ini:2: [limits] message_size: '50mb' is not a size; write a number of bytes, or one with "
     "k, m or g, from 0 to 1024g\n"},
    {"[proxy]\nio = kqueue\n" MINIMUM,
     "t.ini:2: [proxy] io: 'kqueue' is not known here; use one of auto, io_uring, epoll\n"},
    {"[verify]\nmode = held\n" MINIMUM,
     "t.ini:2: [verify] mode: 'held' is not known here; use one of hold, stream, off\n"},
    {"[verify]\nreceived_header = true\n" MINIMUM,
     "t.ini:2: [verify] received_header: 'true' is not known here; use one of yes, no\n"},
    {"[proxy]\nhostname = mx example\n" MINIMUM,
     "t.ini:2: [proxy] hostname: 'mx example' cannot be used; write a name of letters, digits, "
     "hyphens and dots, or an address in brackets\n"},
    {"[proxy]\nuser = no-such-user-here\n" MINIMUM,
     "t.ini:2: [proxy] user: there is no user 'no-such-user-here'; write an existing user, or "
     "nothing to stay the one that started mailweir\n"},
    {"[log]\ntarget = sterr\n" MINIMUM, "t.ini:2: [log] target: 'sterr' cannot be used; write "
                                        "stderr, syslog or a path with a slash in it\n"},
    /* words of the contract that this version lacks */
    {MINIMUM "balance = fastest\n", "t.ini:5: [upstream:default] balance: 'fastest' is not known "
                                    "here; use one of least_conn, round_robin, hash\n"},
    {MINIMUM "client_info = proxy_v2\n",
     "t.ini:5: [upstream:default] client_info: 'proxy_v2' is not available in this version; use "
     "none\n"},
    {MINIMUM "chunking = on\n",
     "t.ini:5: [upstream:default] chunking: 'on' is not known here; use one of off, auto\n"},
    {MINIMUM "[listen:b]\nbind=127.0.0.1:27\nmode=transparent\n",
     "t.ini:7: [listen:b] mode: 'transparent' is not available in this version; use gateway\n"},
    /* TLS */
    {MINIMUM "tls = on\n",
     "t.ini:5: [upstream:default] tls: 'on' is not known here; use one of off, "
     "opportunistic, required, implicit\n"},
    {MINIMUM "[listen:b]\nbind=127.0.0.1:27\ntls=required\n",
     "t.ini:7: [listen:b] tls: needs a certificate; write [tls] certificate = CHAIN.pem KEY.pem\n"},
    {MINIMUM "tls = required\ntls_ca =\n", "t.ini:5: [upstream:default] tls_ca: is empty; write "
                                           "the file of the certificates to trust, or "
                                           "tls_verify = no\n"},
    {MINIMUM "server = unix:/run/x\ntls = implicit\n",
     "t.ini:6: [upstream:default] tls_name: is missing, and a unix: server has no name of its own; "
     "write the name that its certificate is for, or tls_verify = no\n"},
    {MINIMUM "tls_pin = sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
     "t.ini:3: [upstream:default] tls_pin: holds nobody to it as long as plaintext will do; write "
     "tls = required or implicit\n"},
    {MINIMUM "tls = implicit\ntls_pin = sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
     "t.ini:6: [upstream:default] tls_pin: 'sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=' "
     "is "
     "not a pin; write sha256/ and the base64 form of the SHA-256 of the certificate's public "
     "key\n"},
    {"[tls]\ncertificate = a b c\n" MINIMUM,
     "t.ini:2: [tls] certificate: 'a b c' is more than two files; write CHAIN.pem KEY.pem\n"},
    {"[tls]\nmin_version = 1.1\n" MINIMUM,
     "t.ini:2: [tls] min_version: '1.1' is not known here; use one of 1.2, 1.3\n"},
    /* addresses */
    {MINIMUM "server = 127.0.0.1\n",
     "t.ini:5: [upstream:default] server: '127.0.0.1' is not an address with a port; write "
     "ADDRESS:PORT, [IPV6]:PORT or NAME:PORT\n"},
    {MINIMUM "server =\n", "t.ini:5: [upstream:default] server: '' is not an address with a port; "
                           "write ADDRESS:PORT, [IPV6]:PORT or NAME:PORT\n"},
    {MINIMUM "server = 127.0.0.1:65536\n",
     "t.ini:5: [upstream:default] server: '65536' is not a "
     "port; write a number from 1 to 65535 after the colon\n"},
    {MINIMUM "server = 127.0.0.1:0\n", "t.ini:5: [upstream:default] server: '0' is not a port; "
                                       "write a number from 1 to 65535 after the colon\n"},
    {MINIMUM "server = 127.0.0.256:25\n",
     "t.ini:5: [upstream:default] server: '127.0.0.256' is neither an IPv4 address nor a host "
     "name; write ADDRESS:PORT, [IPV6]:PORT or NAME:PORT\n"},
    {MINIMUM "server = ::1:25\n", "t.ini:5: [upstream:default] server: '::1:25' holds too many "
                                  "colons; write IPv6 addresses as [IPV6]:PORT\n"},
    {MINIMUM "server = [127.0.0.1]:25\n",
     "t.ini:5: [upstream:default] server: '127.0.0.1' is not an IPv6 address; write one in the "
     "brackets, as [::1]:PORT\n"},
    {MINIMUM "server = [::1]25\n",
     "t.ini:5: [upstream:default] server: '[::1]25' is not an address with a port; write "
     "ADDRESS:PORT, [IPV6]:PORT or NAME:PORT\n"},
    {MINIMUM "server = *:25\n",
     "t.ini:5: [upstream:default] server: '*' is neither an IPv4 address nor a host name; write "
     "ADDRESS:PORT, [IPV6]:PORT or NAME:PORT\n"},
    {MINIMUM "server = 0.0.0.0:25\n", "t.ini:5: [upstream:default] server: '0.0.0.0:25' names no "
                                      "single machine; write the server's address\n"},
    {MINIMUM "server = [::]:25\n", "t.ini:5: [upstream:default] server: '[::]:25' names no single "
                                   "machine; write the server's address\n"},
    {MINIMUM "server = unix:run/x\n", "t.ini:5: [upstream:default] server: 'unix:run/x' is no "
                                      "usable path; write unix:/PATH, at most 107 bytes after the "
                                      "colon\n"},
    {MINIMUM "server = 127.0.0.1:27 weight=0\n",
     "t.ini:5: [upstream:default] server: 'weight=0' cannot follow the address; write "
     "weight=1..1000, max=0..1000000 or backup\n"},
    {MINIMUM "server = 127.0.0.1:27 spare\n",
     "t.ini:5: [upstream:default] server: 'spare' cannot follow the address; write "
     "weight=1..1000, max=0..1000000 or backup\n"},
    {"[listen:b]\nbind = unix:/run/x\n" MINIMUM,
     "t.ini:2: [listen:b] bind: 'unix:/run/x' is a unix socket; bind to ADDRESS:PORT or "
     "[IPV6]:PORT\n"},
    {"[listen:b]\nbind = 127.0.0.1:25\n" MINIMUM,
     "t.ini:4: [listen:a] bind: 127.0.0.1:25 is bound in [listen:b] already; keep one of them\n"},
    /* the whole */
    {"", "t.ini:0: [listen:NAME] bind: there is no listener; add a section [listen:mx] with bind = "
         "127.0.0.1:2525\n"},
    {"[upstream:default]\nserver=127.0.0.1:26\n",
     "t.ini:2: [listen:NAME] bind: there is no listener; add a section [listen:mx] with bind = "
     "127.0.0.1:2525\n"},
    {"[listen:b]\n" MINIMUM,
     "t.ini:1: [listen:b] bind: is missing; write at least one, as bind = 127.0.0.1:2525\n"},
    {MINIMUM "[upstream:b]\n",
     "t.ini:5: [upstream:b] server: is missing; write at least one, as server = 127.0.0.1:2626\n"},
    {"[listen:a]\nbind=127.0.0.1:25\n",
     "t.ini:1: [listen:a] upstream: there is no section [upstream:default]; add it, or name "
     "another\n"},
    {"[listen:b]\nbind=127.0.0.1:27\nupstream = other\n" MINIMUM,
     "t.ini:3: [listen:b] upstream: there is no section [upstream:other]; add it, or name "
     "another\n"},
    {"[listen:b]\nbind=127.0.0.1:27\nupstream = a b\n" MINIMUM,
     "t.ini:3: [listen:b] upstream: 'a b' is not a name; write the NAME of an [upstream:NAME] "
     "section\n"},
    /* all of them are named */
    {"[proxy]\nworkers = 0\nfoo\n[x]\nio = 1\n[listen:a]\nbind = 1\n",
     "t.ini:2: [proxy] workers: '0' is out of range; write auto or a whole number from 1 to 64\n"
     "t.ini:3: [proxy] 'foo' is not a key with a value; write KEY = VALUE\n"
     "t.ini:4: [x] is an unknown section; write [proxy], [listen:NAME], [upstream:NAME], " SECTIONS
     "\n"
     "t.ini:7: [listen:a] bind: '1' is not an address with a port; write ADDRESS:PORT, "
     "[IPV6]:PORT or NAME:PORT\n"
     "t.ini:6: [listen:a] upstream: there is no section [upstream:default]; add it, or name "
     "another\n"},
};

static void test_bad_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct config *config;
        assert_int_equal(load_bytes(BAD[i].text, strlen(BAD[i].text), NAMES_RESOLVE, &config),
                         -EINVAL);
        assert_string_equal(errors, BAD[i].want);
    }
}

static void test_names_that_cannot_be_resolved(void **state)
{
    (void)state;
    struct config *config;
    const char *text = MINIMUM "server = no-such-host.invalid:25\n";
    assert_int_equal(load_bytes(text, strlen(text), NAMES_RESOLVE, &config), -EINVAL);
    const char *want = "t.ini:5: [upstream:default] server: the name 'no-such-host.invalid' cannot "
                       "be resolved: ";
    assert_memory_equal(errors, want, strlen(want));
    assert_non_null(
        strstr(errors, "; write an address, or a name that this machine can resolve\n"));
    assert_int_equal(load_bytes(text, strlen(text), NAMES_REFUSE, &config), -EINVAL);
    assert_string_equal(errors, "t.ini:5: [upstream:default] server: 'no-such-host.invalid' is a "
                                "name and names are not looked up here; write an address\n");
}

static void test_a_user_that_exists(void **state)
{
    (void)state;
    const struct passwd *me = getpwuid(getuid());
    assert_non_null(me);
    char text[512];
    snprintf(text, sizeof(text), "[proxy]\nuser = %s\n%s", me->pw_name, MINIMUM);
    struct config *config = load_good(text);
    assert_string_equal(config->user, me->pw_name);
    config_destroy(&config);
}

static void test_path_of_a_unix_socket_has_107_bytes(void **state)
{
    (void)state;
    char path[128];
    char text[512];
    memset(path, 'p', sizeof(path));
    path[0] = '/';
    path[107] = '\0';
    snprintf(text, sizeof(text), "%sserver = unix:%s\n", MINIMUM, path);
    struct config *config = load_good(text);
    assert_int_equal(config->upstreams[0].servers[1].address.len, sizeof(struct sockaddr_un));
    config_destroy(&config);
    path[107] = 'p';
    path[108] = '\0';
    snprintf(text, sizeof(text), "%sserver = unix:%s\n", MINIMUM, path);
    assert_int_equal(load_bytes(text, strlen(text), NAMES_RESOLVE, &config), -EINVAL);
    assert_non_null(strstr(errors, "at most 107 bytes"));
}

static void test_nul_byte_is_refused(void **state)
{
    (void)state;
    static const char text[] = "[log]\nlevel = info\0x\n" MINIMUM;
    struct config *config;
    assert_int_equal(load_bytes(text, sizeof(text) - 1, NAMES_RESOLVE, &config), -EINVAL);
    assert_string_equal(errors, "t.ini:2: [log] a control character stands at byte 13 of the line; "
                                "take it out\n");
}

static void test_tables_are_bounded(void **state)
{
    (void)state;
    static char text[65536];
    size_t len = 0;
    for (int i = 0; i < 33; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "[upstream:u%d]\n", i);
        for (int k = 0; k < (i == 0 ? 33 : 1); k++) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, "server = 127.0.0.1:26\n");
        }
    }
    for (int i = 0; i < 33; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "[listen:l%d]\nupstream = u1\n", i);
        for (int k = 0; k < (i == 0 ? 17 : 1); k++) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, "bind = 127.0.0.1:%d\n",
                                    100 * i + k + 1);
        }
    }
    struct config *config;
    assert_int_equal(load_bytes(text, len, NAMES_RESOLVE, &config), -EINVAL);
    assert_string_equal(
        errors,
        "t.ini:34: [upstream:u0] server: there are too many servers; write at most 32 for each "
        "upstream\n"
        "t.ini:97: [upstream:u32] is one section too many; write at most 32 of this kind\n"
        "t.ini:117: [listen:l0] bind: there are too many addresses; write at most 16 for each "
        "listener\n"
        "t.ini:211: [listen:l32] is one section too many; write at most 32 of this kind\n");

    len = 0;
    for (int i = 0; i < 200; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "x\n");
    }
    assert_int_equal(load_bytes(text, len, NAMES_RESOLVE, &config), -EINVAL);
    const char *last = "t.ini:100: 'x' is not a key with a value; write KEY = VALUE\n"
                       "t.ini:101: there are more errors; correct those above first\n";
    assert_true(strlen(errors) > strlen(last));
    assert_string_equal(errors + strlen(errors) - strlen(last), last);
}

static void test_files_that_cannot_be_read(void **state)
{
    (void)state;
    struct config *config = NULL;
    FILE *out = fmemopen(errors, sizeof(errors), "w");
    assert_int_equal(config_load("/nowhere/proxy.ini", out, &config), -ENOENT);
    fclose(out);
    assert_string_equal(errors, "/nowhere/proxy.ini:0: cannot be opened: No such file or "
                                "directory; name a file that mailweir may read\n");
    out = fmemopen(errors, sizeof(errors), "w");
    assert_int_equal(config_load("/tmp", out, &config), -EINVAL);
    fclose(out);
    assert_string_equal(errors, "/tmp:0: cannot be read: Is a directory; name a file that mailweir "
                                "may read\n");
    assert_null(config);
}

/* Habits of inih 55 as Debian builds it. Where one of these changes, core/config.c must be looked
 * at. */

static char pairs[4096];

static int note_pair(void *user, const char *section, const char *name, const char *value)
{
    (void)user;
    size_t len = strlen(pairs);
    snprintf(pairs + len, sizeof(pairs) - len, "%s|%s|%s\n", section, name, value);
    return strcmp(value, "refuse") != 0;
}

static int parse_with_inih(const char *text)
{
    pairs[0] = '\0';
    return ini_parse_string(text, note_pair, NULL);
}

static void test_inih_comments(void **state)
{
    (void)state;
    assert_int_equal(parse_with_inih("; c\n# c\n[s] ; c\na = 1 ; c\nb = 1;2\nc = ; c\nd =; c\n"
                                     "e = 1 # c\n"),
                     0);
    assert_string_equal(pairs, "s|a|1\ns|b|1;2\ns|c|\ns|d|; c\ns|e|1 # c\n");
}

static void test_inih_goes_on_after_errors(void **state)
{
    (void)state;
    assert_int_equal(parse_with_inih("[s]\na = refuse\nno sign\nb = 2\n[broken\nc = 3\n"), 2);
    assert_string_equal(pairs, "s|a|refuse\ns|b|2\ns|c|3\n");
}

static void test_inih_joins_indented_lines_and_takes_colons(void **state)
{
    (void)state;
    assert_int_equal(parse_with_inih("[s] rest\na = 1\n  2\nb: 3\n"), 0);
    assert_string_equal(pairs, "s|a|1\ns|a|2\ns|b|3\n");
}

static void test_inih_takes_a_byte_order_mark(void **state)
{
    (void)state;
    assert_int_equal(parse_with_inih("\xEF\xBB\xBF[s]\na = 1\n"), 0);
    assert_string_equal(pairs, "s|a|1\n");
    struct config *config = load_good("\xEF\xBB\xBF[proxy]\nworkers = 3\n" MINIMUM);
    assert_int_equal(config->workers, 3);
    config_destroy(&config);
}

/* "[log]\ntarget = /xxx...\n" with a second line of `len` bytes. */
static void with_line_of(char text[512], int len)
{
    char filler[256];
    memset(filler, 'x', sizeof(filler));
    snprintf(text, 512, "[log]\ntarget = /%.*s\n%s", len - 10, filler, MINIMUM);
}

static void test_lines_of_198_bytes_and_no_more(void **state)
{
    (void)state;
    char text[512];
    with_line_of(text, 198);
    assert_int_equal(parse_with_inih(text), 0);
    struct config *config = load_good(text);
    assert_int_equal(strlen(config->log_target), 189);
    config_destroy(&config);

    /* inih on its own would split the line in silence: the second half has no sign. */
    with_line_of(text, 205);
    assert_int_equal(parse_with_inih(text), 3);
    with_line_of(text, 199);
    assert_int_equal(load_bytes(text, strlen(text), NAMES_RESOLVE, &config), -EINVAL);
    assert_string_equal(errors, "t.ini:2: [log] the line has 199 bytes; write at most 198\n");
}

/* proxy.ini of the repository */

static const char *const INI_PATH = "proxy.ini";

static void test_proxy_ini_is_accepted(void **state)
{
    (void)state;
    struct config *config = NULL;
    FILE *out = fmemopen(errors, sizeof(errors), "w");
    errors[0] = '\0';
    int result = config_load(INI_PATH, out, &config);
    fclose(out);
    assert_string_equal(errors, "");
    assert_int_equal(result, 0);
    config_destroy(&config);
}

/* "[section] key = value" per line of the file, names of sections as NAME. */
static void list_keys(FILE *file, char *out, size_t size)
{
    char line[256];
    char section[64] = "";
    size_t len = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        char *comment = line[0] == ';' ? line : strstr(line, " ;");
        line[comment == NULL ? strcspn(line, "\n") : (size_t)(comment - line)] = '\0';
        while (strlen(line) > 1 && line[strlen(line) - 1] == ' ' && line[strlen(line) - 2] != '=') {
            line[strlen(line) - 1] = '\0';
        }
        if (line[0] == '[') {
            char *colon = strchr(line, ':');
            snprintf(section, sizeof(section), "%.*s%s",
                     (int)(colon == NULL ? strlen(line) : (size_t)(colon - line)), line,
                     colon == NULL ? "" : ":NAME]");
        } else if (line[0] != '\0') {
            len += (size_t)snprintf(out + len, size - len, "%s %s\n", section, line);
        }
    }
}

static void test_proxy_ini_holds_every_key_with_its_default(void **state)
{
    (void)state;
    static char from_file[8192];
    static char from_table[8192];
    FILE *file = fopen(INI_PATH, "r");
    assert_non_null(file);
    list_keys(file, from_file, sizeof(from_file));
    fclose(file);
    FILE *out = fmemopen(from_table, sizeof(from_table), "w");
    config_print_keys(out);
    fclose(out);
    assert_true(strlen(from_table) > 500);
    assert_string_equal(from_file, from_table);
}

static void test_proxy_ini_says_what_each_key_is_for(void **state)
{
    (void)state;
    FILE *file = fopen(INI_PATH, "r");
    assert_non_null(file);
    char line[256];
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strchr("[;\n", line[0]) == NULL) {
            assert_non_null(strstr(line, " ; "));
        }
    }
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_keys_of_the_whole),
        cmocka_unit_test(test_all_keys_of_a_listener),
        cmocka_unit_test(test_all_keys_of_an_upstream),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_names_that_cannot_be_resolved),
        cmocka_unit_test(test_a_user_that_exists),
        cmocka_unit_test(test_path_of_a_unix_socket_has_107_bytes),
        cmocka_unit_test(test_nul_byte_is_refused),
        cmocka_unit_test(test_tables_are_bounded),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_inih_comments),
        cmocka_unit_test(test_inih_goes_on_after_errors),
        cmocka_unit_test(test_inih_joins_indented_lines_and_takes_colons),
        cmocka_unit_test(test_inih_takes_a_byte_order_mark),
        cmocka_unit_test(test_lines_of_198_bytes_and_no_more),
        cmocka_unit_test(test_proxy_ini_is_accepted),
        cmocka_unit_test(test_proxy_ini_holds_every_key_with_its_default),
        cmocka_unit_test(test_proxy_ini_says_what_each_key_is_for),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
