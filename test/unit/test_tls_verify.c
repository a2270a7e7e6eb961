/*
 * test_tls_verify - whom our client believes, and which certificate files our contexts accept.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "test/tls_pair.h"
#include "tls/tls_internal.h"

/* ---- the peer's certificate ---- */

struct meeting {
    const char *server; /* its certificate */
    const char *name;   /* what the client asks for */
    const char *ca;     /* what it trusts, NULL for anybody */
    const char *pin;
    int result; /* 0 or -errno */
};

static void expect_meeting(const struct meeting *meeting, bool is_1_2)
{
    struct tls_ctx *server = make_server(meeting->server, TLS_VERSION_1_2, NULL);
    struct tls_ctx *client = make_client(meeting->ca, meeting->pin);
    struct tls_pair *pair = pair_create(client, server, meeting->name);
    if (is_1_2) {
        pair_use_1_2(pair);
    }
    pair_run(pair);
    const char *reason = tls_reason(&pair->client);
    if (pair->client_result != meeting->result) {
        fail_msg("%s for %s under %s, pin %s: %d %s", meeting->server, meeting->name, meeting->ca,
                 meeting->pin, pair->client_result, reason);
    }
    if (meeting->result == 0) {
        assert_int_equal(pair->server_result, CIPHER_OK);
        assert_null(reason);
    } else {
        assert_non_null(reason);
        assert_true(strlen(reason) > 0);
        /* An alert told the server; with 1.3 it may have thought itself done before. */
        assert_true(is_1_2 ? pair->server_result == -EPROTO : pair->server_result != CIPHER_OK);
        print_message("  %-9s %-18s %s\n", meeting->server, meeting->name, reason);
    }
    pair_destroy(pair);
    tls_ctx_retire(&client);
    tls_ctx_retire(&server);
}

static void expect_meetings(const struct meeting *meetings, size_t count)
{
    for (size_t i = 0; i < 2 * count; i++) {
        expect_meeting(&meetings[i / 2], i % 2 == 1);
    }
}

static void chain_and_name_must_be_right(void **state)
{
    static const struct meeting meetings[] = {
        {"ec", "mx.example.org", "ca", NULL, 0},
        {"rsa", "mx.example.org", "ca", NULL, 0},
        {"ec", "MX.example.org.", "ca", NULL, 0},
        {"chained", "chained.example", "ca", NULL, 0},
        {"wild", "a.wild.example", "ca", NULL, 0},
        {"wild", "a.b.wild.example", "ca", NULL, -EKEYREJECTED},
        {"wild", "wild.example", "ca", NULL, -EKEYREJECTED},
        {"ec", "mx.example.com", "ca", NULL, -EKEYREJECTED},
        {"ec", "example.org", "ca", NULL, -EKEYREJECTED},
        {"local", "mailhost", "ca", NULL, 0}, /* a name of one label */
        {"local", "mailhosts", "ca", NULL, -EKEYREJECTED},
        {"ec", "ec", "ca", NULL, -EKEYREJECTED}, /* its common name; it has a subjectAltName */
        {"expired", "mx.example.org", "ca", NULL, -EKEYREJECTED},
        {"selfmade", "mx.example.org", "ca", NULL, -EKEYREJECTED},
        {"forged", "mx.example.org", "ca", NULL, -EKEYREJECTED}, /* by a clone of the CA */
        {"ec", "mx.example.org", "clone", NULL, -EKEYREJECTED},  /* the other way around */
        {"forged", "mx.example.org", "clone", NULL, 0},
        {"selfmade", "mx.example.org", "selfmade", NULL, 0},
        {"client", "client.example", "inter", NULL, -EKEYREJECTED}, /* not under that CA */
    };
    (void)state;
    expect_meetings(meetings, sizeof(meetings) / sizeof(meetings[0]));
}

static void an_address_is_a_name(void **state)
{
    static const struct meeting meetings[] = {
        {"other", "127.0.0.1", "ca", NULL, 0},
        {"other", "127.0.0.2", "ca", NULL, -EKEYREJECTED},
        {"ec", "127.0.0.1", "ca", NULL, -EKEYREJECTED},
        {"ec", "::1", "ca", NULL, -EKEYREJECTED},
    };
    (void)state;
    expect_meetings(meetings, sizeof(meetings) / sizeof(meetings[0]));
}

static void a_pin_must_match_as_well(void **state)
{
    static const struct meeting meetings[] = {
        {"ec", "mx.example.org", "ca", "ec", 0},
        {"rsa", "mx.example.org", "ca", "rsa", 0},
        {"ec", "mx.example.org", "ca", "rsa", -EKEYREJECTED},
        {"forged", "mx.example.org", "ca", "forged", -EKEYREJECTED}, /* no way around the chain */
        {"chained", "chained.example", "ca", "chained", 0},
        {"expired", "mx.example.org", "ca", "ec", -EKEYREJECTED},
    };
    (void)state;
    expect_meetings(meetings, sizeof(meetings) / sizeof(meetings[0]));
}

static void without_verification_only_the_pin_counts(void **state)
{
    static const struct meeting meetings[] = {
        {"ec", "anything.example", NULL, NULL, 0},
        {"selfmade", "anything.example", NULL, NULL, 0},
        {"expired", NULL, NULL, NULL, 0},
        {"forged", NULL, NULL, NULL, 0},
        {"selfmade", "mx.example.org", NULL, "selfmade", 0},
        {"selfmade", "mx.example.org", NULL, "ec", -EKEYREJECTED},
        {"forged", "mx.example.org", NULL, "forged", 0},
        {"forged", "mx.example.org", NULL, "ec", -EKEYREJECTED},
    };
    (void)state;
    expect_meetings(meetings, sizeof(meetings) / sizeof(meetings[0]));
}

static void verification_needs_a_name(void **state)
{
    (void)state;
    struct tls_ctx *client = make_client("ca", NULL);
    struct tls tls;
    char long_name[TLS_NAME_MAX + 3];
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(tls_init_client(&tls, client, NULL), -EINVAL);
    assert_int_equal(tls_init_client(&tls, client, ""), -EINVAL);
    assert_int_equal(tls_init_client(&tls, client, "."), -EINVAL);
    assert_int_equal(tls_init_client(&tls, client, long_name), -EINVAL);
    tls_ctx_retire(&client);
}

static int accept_any(int preverify, WOLFSSL_X509_STORE_CTX *store)
{
    (void)preverify;
    return store->totalCerts > 0;
}

/* A server may ask for a certificate; ours is sent then. */
static void the_client_shows_its_own_certificate(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        struct tls_ctx *server = make_server("ec", TLS_VERSION_1_2, NULL);
        struct tls_ctx *client = NULL;
        struct tls_error error;
        const struct tls_files files = {pki_path("client.pem"), pki_path("client.key")};
        const struct tls_client_conf conf = {.verify = TLS_VERIFY_NONE,
                                             .files = with ? &files : NULL};
        assert_int_equal(tls_client_ctx_create(&conf, 1, &client, &error), 0);
        /* Our own server never asks, so the library is told to. */
        wolfSSL_CTX_set_verify(server->items[0].wolf,
                               WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                               accept_any);
        struct tls_pair *pair = pair_create(client, server, NULL);
        pair_use_1_2(pair);
        pair_run(pair);
        assert_int_equal(pair->client_result == CIPHER_OK, with);
        assert_int_equal(pair->server_result == CIPHER_OK, with);
        pair_destroy(pair);
        tls_ctx_retire(&client);
        tls_ctx_retire(&server);
    }
}

/* ---- files ---- */

static void write_file(const char *name, const char *text, size_t len)
{
    FILE *to = fopen(pki_path(name), "we");
    assert_non_null(to);
    assert_int_equal(fwrite(text, 1, len, to), len);
    assert_int_equal(fclose(to), 0);
}

static void expect_refused(const char *chain, const char *key, int code, const char *file,
                           const char *words)
{
    struct tls_ctx *kept = (struct tls_ctx *)&kept; /* must stay as it is */
    struct tls_ctx *ctxs[2] = {kept, kept};
    struct tls_error error = {{0}};
    const struct tls_files files[2] = {{pki_path("ec.pem"), pki_path("ec.key")},
                                       {pki_path(chain), pki_path(key)}};
    const struct tls_server_conf conf = {.files = files, .file_count = 2};
    assert_int_equal(tls_server_ctx_create(&conf, 2, ctxs, &error), code);
    print_message("  %s\n", error.text);
    assert_non_null(strstr(error.text, file));
    assert_non_null(strstr(error.text, words));
    assert_ptr_equal(ctxs[0], kept);
    assert_ptr_equal(ctxs[1], kept);
}

static void broken_files_are_named_and_change_nothing(void **state)
{
    static const char broken[] =
        "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n";
    static const char nonsense[] = "this is not a certificate\n";
    (void)state;
    write_file("broken.pem", broken, sizeof(broken) - 1);
    write_file("nonsense.pem", nonsense, sizeof(nonsense) - 1);
    write_file("empty.pem", "", 0);
    expect_refused("absent.pem", "ec.key", -ENOENT, "absent.pem", "No such file");
    expect_refused("ec.pem", "absent.key", -ENOENT, "absent.key", "No such file");
    expect_refused("empty.pem", "ec.key", -EINVAL, "empty.pem", "empty");
    expect_refused("nonsense.pem", "ec.key", -EINVAL, "nonsense.pem", "no certificate");
    expect_refused("broken.pem", "ec.key", -EINVAL, "broken.pem", "certificate");
    expect_refused("ec.key", "ec.key", -EINVAL, "ec.key", "certificate");
    expect_refused("rsa.pem", "nonsense.pem", -EINVAL, "nonsense.pem", "private key");
    expect_refused("rsa.pem", "rsa.pem", -EINVAL, "rsa.pem", "private key");
    expect_refused("rsa.pem", "ec.key", -EINVAL, "ec.key", "key");
    expect_refused("ec.pem", "other.key", -EINVAL, "other.key", "not the key");
    expect_refused("small.pem", "small.key", -EINVAL, "small.", "too small");
    expect_refused(".", "ec.key", -EINVAL, "/.", "not a regular file");
}

static void a_client_names_its_broken_files(void **state)
{
    static const char nonsense[] = "this is not a certificate\n";
    (void)state;
    write_file("nonsense.pem", nonsense, sizeof(nonsense) - 1);
    struct tls_ctx *ctx = NULL;
    struct tls_error error = {{0}};
    struct tls_client_conf conf = {.verify = TLS_VERIFY_PEER, .ca_path = pki_path("absent.pem")};
    assert_int_equal(tls_client_ctx_create(&conf, 1, &ctx, &error), -ENOENT);
    assert_non_null(strstr(error.text, "absent.pem"));
    conf.ca_path = pki_path("nonsense.pem");
    assert_int_equal(tls_client_ctx_create(&conf, 1, &ctx, &error), -EINVAL);
    assert_non_null(strstr(error.text, "nonsense.pem"));
    const struct tls_files files = {pki_path("ec.pem"), pki_path("rsa.key")};
    conf.ca_path = pki_path("ca.pem");
    conf.files = &files;
    assert_int_equal(tls_client_ctx_create(&conf, 1, &ctx, &error), -EINVAL);
    assert_non_null(strstr(error.text, "rsa.key"));
    assert_null(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain_and_name_must_be_right),
        cmocka_unit_test(an_address_is_a_name),
        cmocka_unit_test(a_pin_must_match_as_well),
        cmocka_unit_test(without_verification_only_the_pin_counts),
        cmocka_unit_test(verification_needs_a_name),
        cmocka_unit_test(the_client_shows_its_own_certificate),
        cmocka_unit_test(broken_files_are_named_and_change_nothing),
        cmocka_unit_test(a_client_names_its_broken_files),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
