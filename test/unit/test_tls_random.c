/*
 * test_tls_random - what sessions draw at random is never drawn twice: by two threads with a context
 * each, as workers have them, and by two processes of which one is the other's fork.
 *
 * Looked at are a server's random and its key share (RFC 8446 sections 4.1.3 and 4.2.8), so both a
 * public value and one made from a secret.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include "test/tls_pair.h"

enum {
    SESSIONS = 1000,
    VALUE = 32,
    HELLO_MAX = 2048,
    RANDOM_AT = 5 + 4 + 2,
    SHARE_EXTENSION = 51,
};

/* Of one worker: sessions' randoms and shares. */
struct drawn {
    struct tls_ctx *ctx;
    uint8_t values[2 * SESSIONS][VALUE];
    uint32_t failures; /* cmocka's asserts are for the main thread */
};

struct fixture {
    struct drawn drawn[2];
};

static char hello[HELLO_MAX];
static uint32_t hello_len;

/* One client's, for all sessions: only the server draws. */
static void make_hello(void)
{
    struct tls_ctx *ctx = make_client("ca", NULL);
    struct tls client;
    struct cipher_io io = {.out = hello, .out_size = sizeof(hello)};
    assert_int_equal(tls_init_client(&client, ctx, "mx.example.org"), 0);
    assert_int_equal(tls_handshake(&client, &io), CIPHER_WANT_BYTES);
    hello_len = io.out_len;
    tls_fini(&client);
    tls_ctx_retire(&ctx);
}

static uint32_t two_octets(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* The end of the share in a record that holds a ServerHello, or NULL: of X25519 all of it, of P-256 one
 * coordinate. */
static const uint8_t *share_of(const uint8_t *record, uint32_t len)
{
    uint32_t at = RANDOM_AT + VALUE;
    at += 1 + record[at] + 2 + 1 + 2;
    while (at + 4 <= len) {
        uint32_t size = two_octets(record + at + 2);
        if (two_octets(record + at) == SHARE_EXTENSION && size >= 4 + VALUE &&
            at + 4 + size <= len) {
            return record + at + 4 + size - VALUE;
        }
        at += 4 + size;
    }
    return NULL;
}

static bool draw_one(struct tls_ctx *ctx, uint8_t random[VALUE], uint8_t share[VALUE])
{
    struct tls server;
    char flight[OUT_SIZE];
    const uint8_t *record = (const uint8_t *)flight;
    struct cipher_io io = {
        .in = hello, .in_len = hello_len, .out = flight, .out_size = sizeof(flight)};
    tls_init_server(&server, ctx);
    bool is_good = tls_handshake(&server, &io) == CIPHER_WANT_BYTES && io.out_len > 128 &&
                   record[0] == 22 && record[5] == 2;
    const uint8_t *at = is_good ? share_of(record, io.out_len) : NULL;
    if (at != NULL) {
        memcpy(random, record + RANDOM_AT, VALUE);
        memcpy(share, at, VALUE);
    }
    tls_fini(&server);
    return at != NULL;
}

static void *draw(void *arg)
{
    struct drawn *drawn = arg;
    for (int i = 0; i < SESSIONS; i++) {
        drawn->failures += !draw_one(drawn->ctx, drawn->values[i], drawn->values[SESSIONS + i]);
    }
    return NULL;
}

static int compare(const void *one, const void *other)
{
    return memcmp(one, other, VALUE);
}

static void expect_all_different(struct fixture *fixture)
{
    enum { COUNT = 4 * SESSIONS };
    static uint8_t all[COUNT][VALUE];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fixture->drawn[i].failures, 0);
        memcpy(all[2 * i * SESSIONS], fixture->drawn[i].values, sizeof(fixture->drawn[i].values));
    }
    qsort(all, COUNT, VALUE, compare);
    for (int i = 1; i < COUNT; i++) {
        assert_memory_not_equal(all[i - 1], all[i], VALUE);
    }
}

static struct fixture *fixture_create(void)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    make_hello();
    return fixture;
}

/* ---- tests ---- */

static void threads_never_draw_the_same(void **state)
{
    struct fixture *fixture = fixture_create();
    pthread_t threads[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture->drawn[i].ctx = make_server("ec", TLS_VERSION_1_2, NULL);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, draw, &fixture->drawn[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        tls_ctx_retire(&fixture->drawn[i].ctx);
    }
    expect_all_different(fixture);
    free(fixture);
}

/* In the child, which must not come back into cmocka. */
static void draw_and_tell(struct drawn *drawn, int fd)
{
    (void)draw(drawn);
    const char *bytes = (const char *)drawn;
    size_t sent = 0;
    while (sent < sizeof(*drawn)) {
        ssize_t put = write(fd, bytes + sent, sizeof(*drawn) - sent);
        if (put <= 0) {
            _exit(1);
        }
        sent += (size_t)put;
    }
    _exit(0);
}

static void hear(int fd, struct drawn *ret_drawn)
{
    char *bytes = (char *)ret_drawn;
    size_t got = 0;
    while (got < sizeof(*ret_drawn)) {
        ssize_t part = read(fd, bytes + got, sizeof(*ret_drawn) - got);
        assert_true(part > 0);
        got += (size_t)part;
    }
}

/* The context has been used before the fork, so whatever state it has is in both processes. */
static void a_fork_never_draws_the_same(void **state)
{
    struct fixture *fixture = fixture_create();
    struct tls_ctx *ctx = make_server("ec", TLS_VERSION_1_2, NULL);
    int fds[2];
    int status = -1;
    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture->drawn[i].ctx = ctx;
    }
    assert_true(draw_one(ctx, fixture->drawn[0].values[0], fixture->drawn[0].values[1]));
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        draw_and_tell(&fixture->drawn[1], fds[1]);
    }
    (void)close(fds[1]); /* the child's end */
    (void)draw(&fixture->drawn[0]);
    hear(fds[0], &fixture->drawn[1]);
    (void)close(fds[0]); /* read only */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    tls_ctx_retire(&ctx);
    expect_all_different(fixture);
    free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_never_draw_the_same),
        cmocka_unit_test(a_fork_never_draws_the_same),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
