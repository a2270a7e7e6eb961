/*
 * test_tls - sessions between our server and our client: handshakes in every segmentation, which
 * certificate is chosen, ALPN, resumption, records cut at each place, orderly ends and others.
 */
#include <errno.h>
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

enum {
    BULK = 100 * 1000,
    /* A client of wolfSSL 5.5 takes a whole handshake after a refused TLS 1.2 ticket for an error.
     */
    CLIENT_FALLS_BACK = 0x05006000,
};

static void expect_data(struct tls_pair *pair, struct tls *from, struct tls *to, const char *data,
                        uint32_t len)
{
    char *got = calloc(1, len + 1);
    uint32_t got_len = 0;
    assert_non_null(got);
    pair_send(pair, from, data, len);
    int result = pair_receive(pair, to, got, len + 1, &got_len);
    assert_int_equal(result, CIPHER_WANT_BYTES);
    assert_int_equal(got_len, len);
    assert_memory_equal(got, data, len);
    free(got);
}

static void expect_dialogue(struct tls_pair *pair)
{
    expect_data(pair, &pair->client, &pair->server, "EHLO client\r\n", 13);
    expect_data(pair, &pair->server, &pair->client, "250 server\r\n", 12);
}

/* ---- handshakes ---- */

static void handshake_with(bool is_1_2, const char *names, uint32_t step, uint32_t out_size,
                           const char *cipher)
{
    struct tls_ctx *server = make_server(names, TLS_VERSION_1_2, NULL);
    struct tls_ctx *client = make_client("ca", NULL);
    struct tls_pair *pair = pair_create(client, server, "mx.example.org");
    struct tls_info info;
    if (is_1_2) {
        pair_use_1_2(pair);
    }
    pair->step = step;
    pair->out_size = out_size;
    pair_connect(pair);
    tls_get_info(&pair->server, &info);
    assert_string_equal(info.version, is_1_2 ? "TLSv1.2" : "TLSv1.3");
    assert_string_equal(info.cipher, cipher);
    assert_false(info.resumed);
    expect_dialogue(pair);
    pair_destroy(pair);
    tls_ctx_retire(&client);
    tls_ctx_retire(&server);
    assert_null(client);
}

static void both_versions_shake_hands_in_any_segmentation(void **state)
{
    static const uint32_t steps[] = {STEP_ALL, 1, 2, 5, 100, 1400};
    (void)state;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        handshake_with(false, "ec", steps[i], OUT_SIZE, "TLS_AES_128_GCM_SHA256");
        handshake_with(false, "rsa", steps[i], OUT_SIZE, "TLS_AES_128_GCM_SHA256");
        handshake_with(true, "ec", steps[i], OUT_SIZE, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        handshake_with(true, "rsa", steps[i], OUT_SIZE, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
    }
}

/* Far less room than CIPHER_OUT_MIN: each call moves what fits, and nothing is lost. */
static void little_room_only_slows_down(void **state)
{
    (void)state;
    handshake_with(false, "ec", STEP_ALL, 100, "TLS_AES_128_GCM_SHA256");
    handshake_with(true, "rsa", 7, 100, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
    handshake_with(false, "rsa", 1, 65, "TLS_AES_128_GCM_SHA256");
}

static void min_version_refuses_an_older_client(void **state)
{
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_3, NULL);
    struct tls_ctx *client = make_client("ca", NULL);
    struct tls_pair *pair = pair_create(client, server, "mx.example.org");
    pair_use_1_2(pair);
    pair_run(pair);
    assert_int_equal(pair->server_result, -EPROTO);
    assert_non_null(tls_reason(&pair->server));
    assert_int_equal(pair->client_result, -EPROTO);
    assert_string_equal(tls_reason(&pair->client), "peer's alert: protocol_version");
    pair_destroy(pair);
    tls_ctx_retire(&client);
    tls_ctx_retire(&server);
}

/* Static RSA, CBC and SHA-1 suites are not offered: a client that insists finds nothing in common.
 */
static void weak_suites_are_not_there(void **state)
{
    static const char *const weak[] = {"AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA",
                                       "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"};
    (void)state;
    struct tls_ctx *server = make_server("rsa", TLS_VERSION_1_2, NULL);
    for (size_t i = 0; i < sizeof(weak) / sizeof(weak[0]); i++) {
        struct tls_ctx *client = make_client("ca", NULL);
        struct tls_pair *pair = pair_create(client, server, "mx.example.org");
        pair_use_1_2(pair);
        /* A lean library does not know them at all, which is as good. */
        if (wolfSSL_set_cipher_list(pair->client.ssl, weak[i]) == WOLFSSL_SUCCESS) {
            pair_run(pair);
            assert_int_equal(pair->server_result, -EPROTO);
            assert_true(pair->client_result < 0);
        }
        pair_destroy(pair);
        tls_ctx_retire(&client);
    }
    tls_ctx_retire(&server);
}

/* ---- which certificate ---- */

static void expect_certificate(struct tls_ctx *server, const char *name, bool rsa_only,
                               const char *expected)
{
    struct tls_ctx *client = make_client(NULL, expected); /* the pin tells which one came */
    struct tls_pair *pair = pair_create(client, server, name);
    if (rsa_only) {
        pair_use_1_2(pair);
        assert_int_equal(wolfSSL_set_cipher_list(pair->client.ssl, "ECDHE-RSA-AES128-GCM-SHA256"),
                         WOLFSSL_SUCCESS);
    }
    pair_connect(pair);
    pair_destroy(pair);
    tls_ctx_retire(&client);
}

static void certificate_follows_name_and_key_type(void **state)
{
    (void)state;
    struct tls_ctx *server = make_server("rsa ec other wild chained", TLS_VERSION_1_2, NULL);
    expect_certificate(server, "mx.example.org", false, "ec");
    expect_certificate(server, "mx.example.org", true, "rsa");
    expect_certificate(server, "MX.Example.ORG.", false, "ec");
    expect_certificate(server, NULL, false, "ec");
    expect_certificate(server, NULL, true, "rsa");
    expect_certificate(server, "unknown.example", false, "ec");
    expect_certificate(server, "unknown.example", true, "rsa");
    expect_certificate(server, "127.0.0.1", false, "ec"); /* an address is no SNI */
    expect_certificate(server, "other.example.net", false, "other");
    expect_certificate(server, "upper.example.net", false, "other");
    expect_certificate(server, "a.wild.example", false, "wild");
    expect_certificate(server, "deep.wild.example", false, "other"); /* exact before wildcard */
    expect_certificate(server, "a.b.wild.example", false, "ec");
    expect_certificate(server, "wild.example", false, "ec");
    expect_certificate(server, "chained.example", false, "chained");
    tls_ctx_retire(&server);
}

static void a_key_type_that_the_client_lacks_fails_cleanly(void **state)
{
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
    struct tls_ctx *client = make_client(NULL, NULL);
    struct tls_pair *pair = pair_create(client, server, NULL);
    pair_use_1_2(pair);
    assert_int_equal(wolfSSL_set_cipher_list(pair->client.ssl, "ECDHE-RSA-AES128-GCM-SHA256"),
                     WOLFSSL_SUCCESS);
    pair_run(pair);
    assert_int_equal(pair->server_result, -EPROTO);
    assert_string_equal(tls_reason(&pair->client), "peer's alert: handshake_failure");
    pair_destroy(pair);
    tls_ctx_retire(&client);
    tls_ctx_retire(&server);
}

/* ---- ALPN ---- */

static void alpn_is_smtp_or_nothing(void **state)
{
    static const struct {
        char offered[32];
        bool fine;
    } cases[] = {{"smtp", true},
                 {"h2,smtp", true},
                 {"h2,http/1.1", false},
                 {"SMTP", false},
                 {"smtps", false}};
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
    struct tls_ctx *client = make_client("ca", NULL);
    for (size_t i = 0; i < 2 * (sizeof(cases) / sizeof(cases[0])); i++) {
        char offered[sizeof(cases[0].offered)];
        memcpy(offered, cases[i / 2].offered, sizeof(offered));
        struct tls_pair *pair = pair_create(client, server, "mx.example.org");
        if (i % 2 == 1) {
            pair_use_1_2(pair);
        }
        assert_int_equal(wolfSSL_UseALPN(pair->client.ssl, offered, (word32)strlen(offered),
                                         WOLFSSL_ALPN_FAILED_ON_MISMATCH),
                         WOLFSSL_SUCCESS);
        pair_run(pair);
        if (cases[i / 2].fine) {
            char *chosen = NULL;
            word16 len = 0;
            assert_int_equal(pair->server_result, CIPHER_OK);
            assert_int_equal(pair->client_result, CIPHER_OK);
            assert_int_equal(wolfSSL_ALPN_GetProtocol(pair->client.ssl, &chosen, &len),
                             WOLFSSL_SUCCESS);
            assert_int_equal(len, 4);
            assert_memory_equal(chosen, "smtp", 4);
        } else {
            assert_int_equal(pair->server_result, -EPROTO);
            assert_null(pair->server.ssl);
            assert_string_equal(tls_reason(&pair->client), "peer's alert: no_application_protocol");
        }
        pair_destroy(pair);
    }
    tls_ctx_retire(&client);
    tls_ctx_retire(&server);
}

/* ---- resumption ---- */

/* Connects, with `session` if there is one, and keeps the new session in its place. */
static bool connects_resumed(struct tls_ctx *client, struct tls_ctx *server, bool is_1_2,
                             WOLFSSL_SESSION **session)
{
    struct tls_pair *pair = pair_create(client, server, "mx.example.org");
    struct tls_info info;
    char byte;
    uint32_t len;
    if (is_1_2) {
        pair_use_1_2(pair);
    }
    assert_int_equal(wolfSSL_UseSessionTicket(pair->client.ssl), WOLFSSL_SUCCESS);
    if (*session != NULL) {
        assert_int_equal(wolfSSL_set_session(pair->client.ssl, *session), WOLFSSL_SUCCESS);
        wolfSSL_SESSION_free(*session);
    }
    pair_connect(pair);
    expect_dialogue(pair);
    assert_int_equal(pair_receive(pair, &pair->client, &byte, 1, &len), CIPHER_WANT_BYTES);
    tls_get_info(&pair->server, &info);
    *session = wolfSSL_get1_session(pair->client.ssl);
    assert_non_null(*session);
    pair_destroy(pair);
    return info.resumed;
}

static void sessions_resume_in_another_context(void **state)
{
    (void)state;
    struct tls_tickets tickets, foreign;
    struct tls_ctx *ctxs[2];
    struct tls_error error;
    const struct tls_files files = {pki_path("ec.pem"), pki_path("ec.key")};
    struct tls_server_conf conf = {.files = &files, .file_count = 1, .tickets = &tickets};
    assert_int_equal(tls_tickets_init(&tickets), 0);
    assert_int_equal(tls_tickets_init(&foreign), 0);
    assert_int_equal(tls_server_ctx_create(&conf, 2, ctxs, &error), 0);
    for (int is_1_2 = 0; is_1_2 < 2; is_1_2++) {
        struct tls_ctx *client = make_client("ca", NULL);
        WOLFSSL_SESSION *session = NULL;
        assert_false(connects_resumed(client, ctxs[0], is_1_2, &session));
        assert_true(connects_resumed(client, ctxs[1], is_1_2, &session));
        assert_true(connects_resumed(client, ctxs[0], is_1_2, &session));
        /* Two rotations later it still opens. */
        assert_int_equal(tls_tickets_rotate(&tickets), 0);
        assert_true(connects_resumed(client, ctxs[1], is_1_2, &session));
        assert_int_equal(tls_tickets_rotate(&tickets), 0);
        assert_true(connects_resumed(client, ctxs[0], is_1_2, &session));
        /* After three it does not, nor with keys that others own: the handshake is a whole one. */
        struct tls_ctx *stranger = make_server("ec", TLS_VERSION_1_2, &foreign);
        if (!is_1_2 || wolfSSL_lib_version_hex() >= CLIENT_FALLS_BACK) {
            for (int i = 0; i < 3; i++) {
                assert_int_equal(tls_tickets_rotate(&tickets), 0);
            }
            assert_false(connects_resumed(client, ctxs[1], is_1_2, &session));
            assert_false(connects_resumed(client, stranger, is_1_2, &session));
        }
        wolfSSL_SESSION_free(session);
        tls_ctx_retire(&stranger);
        tls_ctx_retire(&client);
    }
    tls_ctx_retire(&ctxs[0]);
    tls_ctx_retire(&ctxs[1]);
    tls_tickets_fini(&tickets);
    tls_tickets_fini(&foreign);
}

static void without_keys_nothing_resumes(void **state)
{
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
    for (int is_1_2 = 0; is_1_2 < 2; is_1_2++) {
        struct tls_ctx *client = make_client("ca", NULL);
        WOLFSSL_SESSION *session = NULL;
        assert_false(connects_resumed(client, server, is_1_2, &session));
        struct tls_pair *pair = pair_create(client, server, "mx.example.org");
        (void)wolfSSL_set_session(pair->client.ssl, session); /* may refuse: it holds no ticket */
        struct tls_info info;
        pair_connect(pair);
        tls_get_info(&pair->server, &info);
        assert_false(info.resumed);
        pair_destroy(pair);
        wolfSSL_SESSION_free(session);
        tls_ctx_retire(&client);
    }
    tls_ctx_retire(&server);
}

/* ---- records ---- */

struct fixture {
    struct tls_ctx *client;
    struct tls_ctx *server;
    struct tls_pair *pair;
};

static struct fixture fixture_open(bool is_1_2)
{
    struct fixture fixture = {.client = make_client("ca", NULL),
                              .server = make_server("ec", TLS_VERSION_1_2, NULL)};
    fixture.pair = pair_create(fixture.client, fixture.server, "mx.example.org");
    if (is_1_2) {
        pair_use_1_2(fixture.pair);
    }
    pair_connect(fixture.pair);
    return fixture;
}

static void fixture_close(struct fixture *fixture)
{
    pair_destroy(fixture->pair);
    tls_ctx_retire(&fixture->client);
    tls_ctx_retire(&fixture->server);
}

static void every_cut_of_a_record_waits_for_the_rest(void **state)
{
    static const char text[] = "MAIL FROM:<a@client.example>\r\n";
    (void)state;
    for (int is_1_2 = 0; is_1_2 < 2; is_1_2++) {
        struct fixture fixture = fixture_open(is_1_2);
        struct tls_pair *pair = fixture.pair;
        char out[2 * sizeof(text)];
        uint32_t len = 0;
        uint32_t size = 0;
        for (uint32_t cut = 0; size == 0 || cut < size; cut++) {
            pair_send(pair, &pair->client, text, sizeof(text));
            uint32_t begin = pair->to_server.begin;
            size = pair->to_server.end - begin;
            assert_int_equal(
                pair_decrypt_shown(pair, &pair->server, begin + cut, out, sizeof(out), &len),
                CIPHER_WANT_BYTES);
            assert_int_equal(pair->to_server.begin, begin + cut);
            assert_int_equal(
                pair_decrypt_shown(pair, &pair->server, begin + size, out, sizeof(out), &len),
                CIPHER_OK);
            assert_int_equal(len, sizeof(text));
            assert_memory_equal(out, text, sizeof(text));
        }
        assert_true(size > sizeof(text));
        fixture_close(&fixture);
    }
}

static void bulk_goes_both_ways(void **state)
{
    static const uint32_t outs[] = {OUT_SIZE, 1000, 16384 + 64, 65};
    (void)state;
    char *data = calloc(1, BULK);
    assert_non_null(data);
    for (uint32_t i = 0; i < BULK; i++) {
        data[i] = (char)(i * 31 + i / 251);
    }
    for (size_t i = 0; i < 2 * sizeof(outs) / sizeof(outs[0]); i++) {
        struct fixture fixture = fixture_open(i % 2 == 1);
        fixture.pair->out_size = outs[i / 2];
        fixture.pair->step = 1460;
        uint32_t len = outs[i / 2] == 65 ? 1000 : BULK;
        expect_data(fixture.pair, &fixture.pair->client, &fixture.pair->server, data, len);
        expect_data(fixture.pair, &fixture.pair->server, &fixture.pair->client, data, len);
        fixture_close(&fixture);
    }
    free(data);
}

/* Plaintext comes in pieces as small as the caller likes, without more ciphertext. */
static void small_reads_drain_the_engine(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(false);
    struct tls_pair *pair = fixture.pair;
    char out[3];
    uint32_t len;
    pair_send(pair, &pair->client, "0123456", 7);
    uint32_t end = pair->to_server.end;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pair_decrypt_shown(pair, &pair->server, end, out, sizeof(out), &len),
                         CIPHER_OK);
        assert_memory_equal(out, &"0123456"[3 * i], len);
        assert_int_equal(len, i == 2 ? 1 : 3);
    }
    assert_int_equal(pair_decrypt_shown(pair, &pair->server, end, out, sizeof(out), &len),
                     CIPHER_WANT_BYTES);
    fixture_close(&fixture);
}

static void a_changed_byte_is_refused(void **state)
{
    (void)state;
    for (uint32_t at = 5; at < 5 + 20; at++) {
        struct fixture fixture = fixture_open(at % 2 == 0);
        struct tls_pair *pair = fixture.pair;
        char out[64];
        uint32_t len;
        pair_send(pair, &pair->client, "QUIT\r\n", 6);
        pair->to_server.bytes[pair->to_server.begin + at] ^= 1;
        assert_int_equal(pair_receive(pair, &pair->server, out, sizeof(out), &len), -EPROTO);
        assert_int_equal(len, 0);
        assert_non_null(tls_reason(&pair->server));
        /* Final: the same answer again, and the client is told by an alert. */
        assert_int_equal(pair_receive(pair, &pair->server, out, sizeof(out), &len), -EPROTO);
        assert_int_equal(pair_receive(pair, &pair->client, out, sizeof(out), &len), -EPROTO);
        assert_string_equal(tls_reason(&pair->client), "peer's alert: bad_record_mac");
        fixture_close(&fixture);
    }
}

static void plaintext_inside_a_session_is_refused(void **state)
{
    static const char text[] = "RCPT TO:<b@example.org>\r\n";
    (void)state;
    for (int is_1_2 = 0; is_1_2 < 2; is_1_2++) {
        struct fixture fixture = fixture_open(is_1_2);
        struct tls_pair *pair = fixture.pair;
        char out[64];
        uint32_t len;
        memcpy(pair->to_server.bytes + pair->to_server.end, text, sizeof(text));
        pair->to_server.end += sizeof(text);
        assert_int_equal(pair_receive(pair, &pair->server, out, sizeof(out), &len), -EPROTO);
        assert_int_equal(len, 0);
        fixture_close(&fixture);
    }
}

/* ---- ends ---- */

static void close_notify_is_told_from_truncation(void **state)
{
    (void)state;
    for (int is_1_2 = 0; is_1_2 < 2; is_1_2++) {
        struct fixture fixture = fixture_open(is_1_2);
        struct tls_pair *pair = fixture.pair;
        char out[64];
        uint32_t len;
        pair_send(pair, &pair->client, "QUIT\r\n", 6);
        assert_int_equal(pair_receive(pair, &pair->server, out, sizeof(out), &len),
                         CIPHER_WANT_BYTES);
        assert_int_equal(tls_ended(&pair->server), -ECONNABORTED);

        struct pipe_end *pipe = &pair->to_server;
        struct cipher_io io = {.out = pipe->bytes + pipe->end, .out_size = OUT_SIZE};
        pair_send(pair, &pair->client, "bye", 3);
        io.out = pipe->bytes + pipe->end;
        assert_int_equal(tls_shutdown(&pair->client, &io), CIPHER_OK);
        assert_true(io.out_len > 0);
        pipe->end += io.out_len;
        io.out_len = 0;
        assert_int_equal(tls_shutdown(&pair->client, &io), CIPHER_OK); /* once */
        assert_int_equal(io.out_len, 0);

        /* One byte short of it, it is a truncation; the plaintext before it came all the same. */
        assert_int_equal(
            pair_decrypt_shown(pair, &pair->server, pipe->end - 1, out, sizeof(out), &len),
            CIPHER_OK);
        assert_int_equal(len, 3);
        assert_int_equal(
            pair_decrypt_shown(pair, &pair->server, pipe->end - 1, out, sizeof(out), &len),
            CIPHER_WANT_BYTES);
        assert_int_equal(tls_ended(&pair->server), -ECONNABORTED);
        assert_int_equal(pair_decrypt_shown(pair, &pair->server, pipe->end, out, sizeof(out), &len),
                         CIPHER_CLOSED);
        assert_int_equal(tls_ended(&pair->server), 0);
        /* The other direction stays open, and what follows the end is dropped. */
        pair_send(pair, &pair->server, "221 bye\r\n", 9);
        memcpy(pipe->bytes + pipe->end, "junk", 4);
        pipe->end += 4;
        assert_int_equal(pair_decrypt_shown(pair, &pair->server, pipe->end, out, sizeof(out), &len),
                         CIPHER_CLOSED);
        assert_int_equal(pipe->begin, pipe->end);
        fixture_close(&fixture);
    }
}

static void a_close_without_room_waits(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(false);
    char out[CIPHER_OUT_MIN];
    struct cipher_io io = {.out = out, .out_size = 10};
    assert_int_equal(tls_shutdown(&fixture.pair->server, &io), CIPHER_WANT_FLUSH);
    assert_int_equal(io.out_len, 0);
    io.out_size = sizeof(out);
    assert_int_equal(tls_shutdown(&fixture.pair->server, &io), CIPHER_OK);
    assert_true(io.out_len > 0);
    fixture_close(&fixture);
}

/* ---- what is no handshake ---- */

static void garbage_instead_of_a_handshake(void **state)
{
    static const struct {
        const char *bytes;
        uint32_t len;
    } cases[] = {
        {"EHLO client.example\r\n", 21},
        {"GET / HTTP/1.1\r\nHost: mx\r\n\r\n", 28},
        {"\x16\x02\x00\x00\x10", 5},                          /* SSL 2 */
        {"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", 11}, /* SSL 2 hello */
        {"\x16\x03\x01\x00\x04\x02\x00\x00\x00", 9},          /* a ServerHello */
        {"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9},          /* an empty ClientHello */
        {"\x16\x03\x01\x00\x00", 5},                          /* an empty record */
        {"\x15\x03\x01\x00\x02\x01\x00", 7},                  /* an alert */
        {"\x17\x03\x03\x00\x01\x00", 6},                      /* data */
        {"\x16\x03\x01\x40\x00\x01\x00\xff\xff", 9},          /* 64 KiB are announced */
    };
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[CIPHER_OUT_MIN];
        struct tls tls;
        struct cipher_io io = {.out = out, .out_size = sizeof(out)};
        tls_init_server(&tls, server);
        int result = CIPHER_WANT_BYTES;
        for (uint32_t shown = 0; shown <= cases[i].len && result == CIPHER_WANT_BYTES; shown++) {
            io.in = cases[i].bytes;
            io.in_len = shown;
            result = tls_handshake(&tls, &io);
            assert_int_equal(io.in_used, 0);
        }
        assert_int_equal(result, -EPROTO);
        assert_non_null(tls_reason(&tls));
        assert_null(tls.ssl); /* nothing was spent on it */
        assert_int_equal(io.out_len, 7);
        assert_int_equal(tls_handshake(&tls, &io), -EPROTO);
        assert_int_equal(io.out_len, 7);
        tls_fini(&tls);
        tls_fini(&tls);
    }
    tls_ctx_retire(&server);
}

static void garbage_instead_of_a_server(void **state)
{
    static const char text[] = "250 mail.example.net\r\n";
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
    struct tls_ctx *client = make_client("ca", NULL);
    struct tls_pair *pair = pair_create(client, server, "mx.example.org");
    memcpy(pair->to_client.bytes, text, sizeof(text));
    pair->to_client.end = sizeof(text);
    pair_run(pair);
    assert_int_equal(pair->client_result, -EPROTO);
    assert_non_null(tls_reason(&pair->client));
    pair_destroy(pair);
    tls_ctx_retire(&client);
    tls_ctx_retire(&server);
}

/* Any byte of the client's first flight changed: an error or a handshake, never a crash or a hang,
 * and never two ends that disagree on success. */
static void a_changed_hello_never_succeeds_on_one_side(void **state)
{
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
    struct tls_ctx *client = make_client("ca", NULL);
    uint32_t size = 1;
    for (uint32_t at = 0; at < size; at++) {
        struct tls_pair *pair = pair_create(client, server, "mx.example.org");
        char out[OUT_SIZE];
        struct cipher_io io = {.out = out, .out_size = sizeof(out)};
        assert_int_equal(tls_handshake(&pair->client, &io), CIPHER_WANT_BYTES);
        size = io.out_len;
        memcpy(pair->to_server.bytes, out, size);
        pair->to_server.bytes[at] ^= 0x20;
        pair->to_server.end = size;
        pair_run(pair);
        assert_false(pair->client_result == CIPHER_OK && pair->server_result == CIPHER_OK &&
                     at > 5);
        pair_destroy(pair);
    }
    tls_ctx_retire(&client);
    tls_ctx_retire(&server);
}

/* ---- contexts ---- */

static void a_retired_context_lives_as_long_as_its_sessions(void **state)
{
    (void)state;
    struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
    struct tls_ctx *client = make_client("ca", NULL);
    struct tls_pair *open = pair_create(client, server, "mx.example.org");
    struct tls_pair *halfway = pair_create(client, server, "mx.example.org");
    pair_connect(open);
    tls_ctx_retire(&server); /* a reload */
    tls_ctx_retire(&client);
    tls_ctx_retire(&client); /* harmless */
    expect_dialogue(open);
    pair_connect(halfway);
    expect_dialogue(halfway);
    pair_destroy(open);
    pair_destroy(halfway);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions_shake_hands_in_any_segmentation),
        cmocka_unit_test(little_room_only_slows_down),
        cmocka_unit_test(min_version_refuses_an_older_client),
        cmocka_unit_test(weak_suites_are_not_there),
        cmocka_unit_test(certificate_follows_name_and_key_type),
        cmocka_unit_test(a_key_type_that_the_client_lacks_fails_cleanly),
        cmocka_unit_test(alpn_is_smtp_or_nothing),
        cmocka_unit_test(sessions_resume_in_another_context),
        cmocka_unit_test(without_keys_nothing_resumes),
        cmocka_unit_test(every_cut_of_a_record_waits_for_the_rest),
        cmocka_unit_test(bulk_goes_both_ways),
        cmocka_unit_test(small_reads_drain_the_engine),
        cmocka_unit_test(a_changed_byte_is_refused),
        cmocka_unit_test(plaintext_inside_a_session_is_refused),
        cmocka_unit_test(close_notify_is_told_from_truncation),
        cmocka_unit_test(a_close_without_room_waits),
        cmocka_unit_test(garbage_instead_of_a_handshake),
        cmocka_unit_test(garbage_instead_of_a_server),
        cmocka_unit_test(a_changed_hello_never_succeeds_on_one_side),
        cmocka_unit_test(a_retired_context_lives_as_long_as_its_sessions),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
