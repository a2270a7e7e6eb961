/*
 * test_proxy - whom a session takes for its client when a balancer stands in front: every cut of a
 * header, mutations, a second header, an untrusted peer, silence. 0 addresses taken wrongly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "core/session.h"
#include "test/model_upstream.h"

static const char V1[] = "PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\r\n";
static const char V1_LOCAL[] = "PROXY UNKNOWN\r\n";
static const char V2[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11\xc6\x33\x64\x07\xcb\x00\x71\x01"
                         "\x12\x67\x00\x19\xe0\x00\x02hi";
static const char V2_LOCAL[] = "\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
static const char REAL[] = "192.0.2.2"; /* test/weir_world.c dials from here */
static const char NAMED[] = "198.51.100.7";

struct run {
    struct weir *weir;
    struct model model;
    int client;
    char replies[4096];
};

static struct run *open_world(const char *trusted)
{
    struct run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    run->weir = weir_create(&(struct weir_options){.sim = {.seed = 1}});
    struct config_listener *listener = &run->weir->config.listeners[0];
    assert_int_equal(network_parse(trusted, &listener->trust_proxy[0]), 0);
    listener->trust_proxy_count = 1;
    model_init(&run->model, run->weir);
    return run;
}

static void close_world(struct run *run)
{
    weir_destroy(&run->weir);
    free(run);
}

static void settle(struct run *run)
{
    assert_true(model_settle(&run->model, 10000));
    int64_t got = sim_read(run->weir->sim, run->client, run->replies, sizeof(run->replies) - 1);
    run->replies[got > 0 ? got : 0] = '\0';
}

static void send_bytes(struct run *run, const char *bytes, uint32_t len)
{
    assert_int_equal(sim_write(run->weir->sim, run->client, bytes, len), len);
    settle(run);
}

static void dial(struct run *run)
{
    run->client = weir_dial(run->weir);
    settle(run);
}

static void hang_up(struct run *run)
{
    sim_close(run->weir->sim, run->client);
    assert_true(model_settle(&run->model, 10000));
}

static const char *peer_of(const struct run *run)
{
    static char text[INET6_ADDRSTRLEN];
    const struct session *session = weir_session(run->weir);
    assert_non_null(session);
    assert_int_equal(session->peer.sa.sa_family, AF_INET);
    inet_ntop(AF_INET, &session->peer.in.sin_addr, text, sizeof(text));
    return text;
}

static void check_every_cut(const char *header, uint32_t len, const char *expected)
{
    struct run *run = open_world("192.0.2.0/24");
    for (uint32_t cut = 1; cut <= len; cut++) {
        dial(run);
        assert_string_equal(run->replies, ""); /* nothing is said before the header */
        send_bytes(run, header, cut);
        if (cut < len) {
            assert_string_equal(run->replies, "");
            assert_string_equal(peer_of(run), REAL);
            send_bytes(run, header + cut, len - cut);
        }
        assert_memory_equal(run->replies, "220 ", 4);
        assert_string_equal(peer_of(run), expected);
        hang_up(run);
    }
    close_world(run);
}

static void test_every_cut(void **state)
{
    (void)state;
    check_every_cut(V1, sizeof(V1) - 1, NAMED);
    check_every_cut(V2, sizeof(V2) - 1, NAMED);
    check_every_cut(V1_LOCAL, sizeof(V1_LOCAL) - 1, REAL);
    check_every_cut(V2_LOCAL, sizeof(V2_LOCAL) - 1, REAL);
}

/* A header that ends early: the session ends and the address was never taken. */
static void test_truncated(void **state)
{
    (void)state;
    struct run *run = open_world("192.0.2.0/24");
    for (uint32_t len = 0; len < sizeof(V2) - 1; len++) {
        dial(run);
        if (len > 0) {
            send_bytes(run, V2, len);
        }
        sim_eof(run->weir->sim, run->client);
        settle(run);
        assert_string_equal(run->replies, "");
        assert_null(weir_session(run->weir));
        hang_up(run);
    }
    close_world(run);
}

static void test_silence(void **state)
{
    (void)state;
    struct run *run = open_world("192.0.2.0/24");
    dial(run);
    int64_t begun_ms = sim_now_ms(run->weir->sim);
    while (weir_session(run->weir) != NULL) {
        weir_wait(run->weir);
    }
    assert_in_range(sim_now_ms(run->weir->sim) - begun_ms, 5000, 6000);
    hang_up(run);
    close_world(run);
}

static void test_smtp_instead(void **state)
{
    (void)state;
    struct run *run = open_world("192.0.2.2");
    dial(run);
    send_bytes(run, "EHLO a.example\r\n", 16);
    assert_memory_equal(run->replies, "554 5.5.1 a PROXY header", 24);
    hang_up(run);
    close_world(run);
}

static void test_second_header(void **state)
{
    (void)state;
    struct run *run = open_world("192.0.2.2");
    dial(run);
    send_bytes(run, V1, sizeof(V1) - 1);
    send_bytes(run, "PROXY TCP4 192.0.2.99 203.0.113.1 1 25\r\n", 40);
    assert_memory_equal(run->replies, "500 5.5.1", 9);
    assert_string_equal(peer_of(run), NAMED);
    hang_up(run);
    close_world(run);
}

/* The header and a command in one segment: both count, in order. */
static void test_command_behind(void **state)
{
    (void)state;
    char bytes[128];
    struct run *run = open_world("192.0.2.2");
    dial(run);
    int len = snprintf(bytes, sizeof(bytes), "%sNOOP\r\n", V1);
    send_bytes(run, bytes, (uint32_t)len);
    assert_memory_equal(run->replies, "220 ", 4);
    assert_non_null(strstr(run->replies, "250 2.0.0 ok\r\n"));
    assert_string_equal(peer_of(run), NAMED);
    hang_up(run);
    close_world(run);
}

static void test_untrusted_peer(void **state)
{
    (void)state;
    struct run *run = open_world("192.0.2.3");
    dial(run);
    assert_memory_equal(run->replies, "220 ", 4);
    send_bytes(run, V1, sizeof(V1) - 1);
    assert_memory_equal(run->replies, "500 5.5.1", 9);
    assert_string_equal(peer_of(run), REAL);
    hang_up(run);
    close_world(run);
}

/* Every byte of a version 2 header, every value: another address only where the source's own bytes
 * differ. */
static void test_mutations(void **state)
{
    (void)state;
    struct run *run = open_world("192.0.2.2");
    for (uint32_t at = 0; at < sizeof(V2) - 1; at++) {
        for (int byte = 0; byte < 256; byte += at >= 12 ? 1 : 17) {
            char header[sizeof(V2)];
            memcpy(header, V2, sizeof(V2));
            header[at] = (char)byte;
            dial(run);
            send_bytes(run, header, sizeof(V2) - 1);
            bool in_source = at >= 16 && at < 20;
            if (weir_session(run->weir) != NULL && !in_source) {
                const char *peer = peer_of(run);
                assert_true(strcmp(peer, NAMED) == 0 || strcmp(peer, REAL) == 0);
            }
            hang_up(run);
        }
    }
    close_world(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut),      cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_silence),        cmocka_unit_test(test_smtp_instead),
        cmocka_unit_test(test_second_header),  cmocka_unit_test(test_command_behind),
        cmocka_unit_test(test_untrusted_peer), cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
