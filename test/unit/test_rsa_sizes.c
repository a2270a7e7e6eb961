/*
 * test_rsa_sizes - which RSA keys the library that is linked takes for a PKCS #1 v1.5 signature with
 * SHA-256, the commonest of DKIM (RFC 6376 section 3.3, RFC 8301 section 3.2: at least 1024 bits).
 *
 * Keys and signatures are made at each run: openssl's with private keys of its own, and, for sizes
 * that nobody has a key of, those of test/rsa_vectors.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/rsa.h>

/* Debian's package can be told by the OpenSSL layer. */
#ifdef OPENSSL_EXTRA
static const bool is_lean = false;
#else
static const bool is_lean = true;
#endif

enum { FILE_MAX = 4096, PATH_SIZE = 128, COMMAND_SIZE = 1024, INFO_MAX = 128 };

static char directory[] = "/tmp/mailweir-rsa-XXXXXX";

struct bytes {
    unsigned char data[FILE_MAX];
    word32 len;
};

/* ---- fixture ---- */

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *format, ...)
{
    char command[COMMAND_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    if (system(command) != 0) {
        fail_msg("failed: %s", command);
    }
}

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int remove_directory(void **state)
{
    char command[PATH_SIZE];
    (void)state;
    (void)snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command);
}

static void load(const char *name, const char *kind, struct bytes *ret_bytes)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof(path), "%s/%s.%s", directory, name, kind);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    ret_bytes->len = (word32)fread(ret_bytes->data, 1, FILE_MAX, file);
    assert_true(ret_bytes->len > 0);
    assert_true(ret_bytes->len < FILE_MAX);
    (void)fclose(file);
}

/* ---- verification ---- */

/* 1 when `sig` is the key's signature of `text`, 0 when it is another's, else the library's error. The
 * DigestInfo is compared whole with the one that we make: what a library skips when it reads one is how
 * signatures have been forged. */
static int verify(const struct bytes *spki, const struct bytes *sig, const char *text)
{
    RsaKey key;
    word32 at = 0;
    unsigned char sum[WC_SHA256_DIGEST_SIZE];
    unsigned char wanted[INFO_MAX];
    unsigned char got[FILE_MAX];
    assert_int_equal(wc_Sha256Hash((const unsigned char *)text, (word32)strlen(text), sum), 0);
    word32 wanted_len = wc_EncodeSignature(wanted, sum, sizeof(sum), SHA256h);
    assert_int_equal(wc_InitRsaKey(&key, NULL), 0);
    int result = wc_RsaPublicKeyDecode(spki->data, &at, &key, spki->len);
    if (result == 0) {
        result = wc_RsaSSL_Verify(sig->data, sig->len, got, sizeof(got), &key);
    }
    if (result > 0) {
        result = (word32)result == wanted_len && memcmp(got, wanted, wanted_len) == 0;
    }
    (void)wc_FreeRsaKey(&key); /* cannot fail on a key that was initialised */
    return result;
}

/* The signature of "abc" is good, that of another text is not, and neither is it with a bit changed. */
static void expect_good(const char *name)
{
    struct bytes spki;
    struct bytes sig;
    load(name, "spki", &spki);
    load(name, "sig", &sig);
    int result = verify(&spki, &sig, "abc");
    if (result != 1) {
        fail_msg("%s: %d %s", name, result, wc_GetErrorString(result));
    }
    assert_int_equal(verify(&spki, &sig, "abd"), 0);
    sig.data[sig.len / 2] ^= 1;
    assert_true(verify(&spki, &sig, "abc") <= 0);
}

static void expect_refused(const char *name)
{
    struct bytes spki;
    struct bytes sig;
    load(name, "spki", &spki);
    load(name, "sig", &sig);
    int result = verify(&spki, &sig, "abc");
    print_message("  %s bits: %d %s\n", name, result, wc_GetErrorString(result));
    assert_true(result < 0);
}

static unsigned bits_of(const struct bytes *spki)
{
    RsaKey key;
    word32 at = 0;
    unsigned char modulus[FILE_MAX];
    unsigned char exponent[FILE_MAX];
    word32 modulus_len = sizeof(modulus);
    word32 exponent_len = sizeof(exponent);
    assert_int_equal(wc_InitRsaKey(&key, NULL), 0);
    assert_int_equal(wc_RsaPublicKeyDecode(spki->data, &at, &key, spki->len), 0);
    assert_int_equal(wc_RsaFlattenPublicKey(&key, exponent, &exponent_len, modulus, &modulus_len),
                     0);
    (void)wc_FreeRsaKey(&key); /* cannot fail on a key that was initialised */
    assert_true(modulus_len > 0);
    assert_true(modulus[0] != 0);
    return 8 * modulus_len - (unsigned)(__builtin_clz(modulus[0]) - 24);
}

/* ---- tests ---- */

static void keys_of_openssl_verify(void **state)
{
    static const char *const sizes[] = {"1024", "2048", "4096"};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        run("cd %s && openssl genrsa -out key %s 2>/dev/null &&"
            " openssl pkey -in key -pubout -outform DER -out %s.spki &&"
            " printf abc | openssl dgst -sha256 -sign key -out %s.sig",
            directory, sizes[i], sizes[i], sizes[i]);
        expect_good(sizes[i]);
    }
}

static void odd_sizes_verify(void **state)
{
    static const char *const sizes[] = {"1024", "1025", "1536", "2048", "3072", "4096"};
    (void)state;
    run("test/rsa_vectors.py %s 1024 1025 1536 2048 3072 4096", directory);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        expect_good(sizes[i]);
    }
}

/* Neither library looks at the size when it verifies (RSA_MIN_SIZE is for keys that it makes and for
 * TLS): who must refuse a small key has to do so itself. */
static void small_keys_are_the_callers_matter(void **state)
{
    static const char *const sizes[] = {"512", "768", "1016", "1023"};
    (void)state;
    run("test/rsa_vectors.py %s 512 768 1016 1023", directory);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        expect_good(sizes[i]);
    }
}

/* The lean library ends at RSA_MAX_SIZE, Debian's package with the numbers it can work with. */
static void large_keys_have_a_maximum(void **state)
{
    static const char *const sizes[] = {"6144", "8192"};
    (void)state;
    run("test/rsa_vectors.py %s 6144 8192 8193 8200 16384", directory);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (is_lean) {
            expect_good(sizes[i]);
        } else {
            expect_refused(sizes[i]);
        }
    }
    expect_refused("8193");
    expect_refused("8200");
    expect_refused("16384");
}

/* How a caller gets at the size: exact to the bit, where wc_RsaEncryptSize() rounds up. */
static void sizes_are_told_exactly(void **state)
{
    static const unsigned sizes[] = {512, 1016, 1023, 1024, 1025, 2048, 4096};
    (void)state;
    run("test/rsa_vectors.py %s 512 1016 1023 1024 1025 2048 4096", directory);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char name[16];
        struct bytes spki;
        (void)snprintf(name, sizeof(name), "%u", sizes[i]);
        load(name, "spki", &spki);
        assert_int_equal(bits_of(&spki), sizes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_openssl_verify),
        cmocka_unit_test(odd_sizes_verify),
        cmocka_unit_test(small_keys_are_the_callers_matter),
        cmocka_unit_test(large_keys_have_a_maximum),
        cmocka_unit_test(sizes_are_told_exactly),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
