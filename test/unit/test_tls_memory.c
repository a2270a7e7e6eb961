/*
 * test_tls_memory - what an idle session takes from the heap, on either side, and that all of it
 * comes back. The figures are printed; the bounds are what the design promises for a library with
 * and without the OpenSSL layer.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "test/tls_pair.h"

#ifdef OPENSSL_EXTRA
enum { SESSION_BYTES_MAX = 96 * 1024 };
#else
enum { SESSION_BYTES_MAX = 5 * 1024 };
#endif
enum {
    SESSIONS = 1000,
    WARM_UPS = 40, /* fill what the library keeps for all sessions (tables of curve points) */
    MAIL_SIZE = 20000,
    SLACK = 64 * 1024, /* what the allocator keeps at hand counts as used */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool is_measurable =
    false; /* the sanitizer's allocator does not count for mallinfo2() */
#else
static const bool is_measurable = true;
#endif

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Connects and exchanges some data, so that buffers had a reason to grow; then everybody is idle.
 */
static void use(struct tls_pair *pair)
{
    static char mail[MAIL_SIZE];
    static char got[MAIL_SIZE];
    uint32_t len;
    pair->step = 1460;
    pair_connect(pair);
    pair_send(pair, &pair->client, mail, sizeof(mail));
    assert_int_equal(pair_receive(pair, &pair->server, got, sizeof(got), &len), CIPHER_OK);
    assert_int_equal(len, sizeof(got));
    pair_send(pair, &pair->server, "250 OK\r\n", 8);
    assert_int_equal(pair_receive(pair, &pair->client, got, sizeof(got), &len), CIPHER_WANT_BYTES);
    assert_int_equal(len, 8);
}

/* Moves a session to where it stays; the pipes of a pair are too large to be kept a thousand times.
 */
static void keep(struct tls *from, struct tls *to)
{
    *to = *from;
    *from = (struct tls){0};
    wolfSSL_SetIOReadCtx(to->ssl, to);
    wolfSSL_SetIOWriteCtx(to->ssl, to);
    wolfSSL_SetCertCbCtx(to->ssl, to);
}

static void measure(const char *what, const char *certificate, bool is_1_2, bool is_client)
{
    static struct tls kept[SESSIONS];
    struct tls_tickets tickets;
    assert_int_equal(tls_tickets_init(&tickets), 0);
    struct tls_ctx *server = make_server(certificate, TLS_VERSION_1_2, &tickets);
    struct tls_ctx *client = make_client("ca", NULL);
    size_t start = 0;
    for (int i = -WARM_UPS; i < SESSIONS; i++) {
        struct tls_pair *pair = pair_create(client, server, "mx.example.org");
        if (is_1_2) {
            pair_use_1_2(pair);
        }
        use(pair);
        if (i >= 0) {
            keep(is_client ? &pair->client : &pair->server, &kept[i]);
        }
        pair_destroy(pair);
        start = i < 0 ? heap_bytes() : start;
    }
    size_t each = (heap_bytes() - start) / SESSIONS;
    print_message("  %-36s %6zu bytes of heap each (wolfSSL %s)\n", what, each,
                  wolfSSL_lib_version());
    for (int i = 0; i < SESSIONS; i++) {
        tls_fini(&kept[i]);
    }
    if (is_measurable) {
        assert_true(each > 0);
        assert_true(each <= SESSION_BYTES_MAX);
        assert_true(heap_bytes() <= start + SLACK); /* all came back */
    }
    tls_ctx_retire(&client);
    tls_ctx_retire(&server);
    tls_tickets_fini(&tickets);
}

static void idle_sessions_are_small(void **state)
{
    (void)state;
    measure("server, TLS 1.3, P-256", "ec", false, false);
    measure("server, TLS 1.2, P-256", "ec", true, false);
    measure("server, TLS 1.3, RSA 2048", "rsa", false, false);
    measure("client, TLS 1.3, P-256", "ec", false, true);
    measure("client, TLS 1.2, P-256", "ec", true, true);
}

/* A peer that connects and says nothing, or half a ClientHello, costs nothing but the struct. */
static void a_server_before_the_hello_allocates_nothing(void **state)
{
    static const char half[] = "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03";
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
    size_t start = heap_bytes();
    struct tls tls;
    struct cipher_io io = {.in = half, .in_len = sizeof(half) - 1};
    tls_init_server(&tls, server);
    assert_int_equal(tls_handshake(&tls, &io), CIPHER_WANT_BYTES);
    assert_int_equal(io.in_used, 0);
    assert_int_equal(heap_bytes(), start);
    assert_null(tls.ssl);
    tls_fini(&tls);
    tls_ctx_retire(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_sessions_are_small),
        cmocka_unit_test(a_server_before_the_hello_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
