/*
 * tls_ctx - see tls_ctx.h for the promises.
 *
 * The policy of all sessions stands here: TLS 1.2 and 1.3, ephemeral ECDH with an AEAD, SHA-2
 * alone. It is set explicitly, since the library's defaults differ between builds.
 *
 * Texts come from two steps: files are read (struct bytes), then each context is made from them.
 */
#include "tls/tls_internal.h"

#include <wolfssl/wolfcrypt/asn_public.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_SIZE_MAX = 4 * 1024 * 1024, /* a distribution's bundle of roots has a quarter of one */
    RSA_BITS_MIN = 2048,
    EC_BITS_MIN = 256,
};

static const char suites[] =
    "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

struct bytes {
    unsigned char *data; /* with a NUL behind it */
    uint32_t len;
};

/* One certificate's files, read. */
struct loaded_pair {
    const struct tls_files *from;
    struct bytes chain;
    struct bytes key;
};

static int __attribute__((format(printf, 3, 4)))
fail(struct tls_error *error, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return code;
}

static const char *library_reason(int code)
{
    return code < 0 ? wolfSSL_ERR_reason_error_string((unsigned long)-(long)code) : "not accepted";
}

/* ---- files ---- */

static void bytes_fini(struct bytes *bytes)
{
    if (bytes->data != NULL) {
        explicit_bzero(bytes->data, bytes->len);
        free(bytes->data);
    }
    *bytes = (struct bytes){0};
}

static int read_all(int fd, struct bytes *bytes, uint32_t size)
{
    while (bytes->len < size) {
        ssize_t got = read(fd, bytes->data + bytes->len, size - bytes->len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        if (got == 0) {
            break;
        }
        bytes->len += (uint32_t)got;
    }
    return 0;
}

static int read_file(const char *path, struct bytes *ret_bytes, struct tls_error *error)
{
    struct stat about;
    struct bytes bytes = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int code = -errno;
        return fail(error, code, "%s: %s", path, strerror(-code));
    }
    int result = fstat(fd, &about) == 0 ? 0 : -errno;
    if (result == 0 && !S_ISREG(about.st_mode)) {
        result = -EINVAL;
        (void)fail(error, result, "%s: not a regular file", path);
        goto out;
    }
    if (result == 0 && (about.st_size == 0 || about.st_size > FILE_SIZE_MAX)) {
        result = -EINVAL;
        (void)fail(error, result, "%s: %s", path, about.st_size == 0 ? "empty" : "too large");
        goto out;
    }
    if (result == 0) {
        bytes.data = calloc(1, (size_t)about.st_size + 1);
        result = bytes.data == NULL ? -ENOMEM : read_all(fd, &bytes, (uint32_t)about.st_size);
    }
    if (result != 0) {
        (void)fail(error, result, "%s: %s", path, strerror(-result));
    }
out:
    (void)close(fd); /* read only: nothing can be lost */
    if (result != 0) {
        bytes_fini(&bytes);
        return result;
    }
    *ret_bytes = bytes;
    return 0;
}

static void pair_fini(struct loaded_pair *pair)
{
    bytes_fini(&pair->chain);
    bytes_fini(&pair->key);
}

static int pair_read(const struct tls_files *from, struct loaded_pair *pair,
                     struct tls_error *error)
{
    pair->from = from;
    int result = read_file(from->chain_path, &pair->chain, error);
    if (result == 0) {
        result = read_file(from->key_path, &pair->key, error);
    }
    return result;
}

/* ---- one library context ---- */

static int set_policy(WOLFSSL_CTX *wolf, enum tls_version min_version)
{
    static const word16 groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1,
                                    WOLFSSL_ECC_SECP384R1};
    int lowest = min_version == TLS_VERSION_1_3 ? WOLFSSL_TLSV1_3 : WOLFSSL_TLSV1_2;
    bool done = wolfSSL_CTX_SetMinVersion(wolf, lowest) == WOLFSSL_SUCCESS &&
                wolfSSL_CTX_set_cipher_list(wolf, suites) == WOLFSSL_SUCCESS &&
                wolfSSL_CTX_SetMinRsaKey_Sz(wolf, RSA_BITS_MIN) == WOLFSSL_SUCCESS &&
                wolfSSL_CTX_SetMinEccKey_Sz(wolf, EC_BITS_MIN) == WOLFSSL_SUCCESS;
    for (size_t i = 0; done && i < sizeof(groups) / sizeof(groups[0]); i++) {
        done = wolfSSL_CTX_UseSupportedCurve(wolf, groups[i]) == WOLFSSL_SUCCESS;
    }
#ifdef OPENSSL_EXTRA
    /* A build with the OpenSSL layer still accepts SHA-1 signatures; ours does not have them. */
    done = done && wolfSSL_CTX_set1_sigalgs_list(
                       wolf, "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ED25519:RSA-PSS+SHA256:"
                             "RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512") ==
                       WOLFSSL_SUCCESS;
#endif
    (void)wolfSSL_CTX_set_session_cache_mode(wolf, WOLFSSL_SESS_CACHE_OFF); /* tickets only */
    wolfSSL_CTX_SetIORecv(wolf, tls_on_receive);
    wolfSSL_CTX_SetIOSend(wolf, tls_on_send);
    return done ? 0 : -ENOSYS;
}

static int make_wolf(WOLFSSL_METHOD *method, enum tls_version min_version, WOLFSSL_CTX **ret_wolf,
                     struct tls_error *error)
{
    WOLFSSL_CTX *wolf = method == NULL ? NULL : wolfSSL_CTX_new(method);
    if (wolf == NULL) {
        return fail(error, -ENOMEM, "out of memory");
    }
    *ret_wolf = wolf; /* its owner frees it, whatever comes */
    if (set_policy(wolf, min_version) != 0) {
        return fail(error, -ENOSYS, "this wolfSSL lacks an algorithm or a version that is needed");
    }
    return 0;
}

static int use_pair(WOLFSSL_CTX *wolf, const struct loaded_pair *pair, struct tls_error *error)
{
    const char *chain = pair->from->chain_path;
    const char *key = pair->from->key_path;
    int result = wolfSSL_CTX_use_certificate_chain_buffer(wolf, pair->chain.data, pair->chain.len);
    if (result != WOLFSSL_SUCCESS) {
        return fail(error, -EINVAL, "%s: bad certificate chain: %s", chain, library_reason(result));
    }
    result = wolfSSL_CTX_use_PrivateKey_buffer(wolf, pair->key.data, pair->key.len,
                                               WOLFSSL_FILETYPE_PEM);
    if (result != WOLFSSL_SUCCESS) {
        return fail(error, -EINVAL, "%s: no usable private key for %s: %s", key, chain,
                    library_reason(result));
    }
    return 0;
}

/* Names of a certificate as one block (struct tls_ctx_item), NULL when it has none. */
static int copy_names(const struct tls_cert *cert, char **ret_names)
{
    char name[TLS_NAME_MAX + 1];
    size_t size = 1;
    for (uint32_t at = 0; tls_cert_next_name(cert, &at, name, sizeof(name));) {
        size += strlen(name) + 1;
    }
    *ret_names = NULL;
    if (size == 1) {
        return 0;
    }
    char *to = calloc(1, size);
    if (to == NULL) {
        return -ENOMEM;
    }
    *ret_names = to;
    for (uint32_t at = 0; tls_cert_next_name(cert, &at, name, sizeof(name));) {
        size_t len = strlen(name) + 1;
        memcpy(to, name, len);
        to += len;
    }
    return 0;
}

static int learn_names(struct tls_ctx_item *item, const struct loaded_pair *pair,
                       struct tls_error *error)
{
    struct tls_cert cert;
    DerBuffer *der = NULL;
    int result = wc_PemToDer(pair->chain.data, pair->chain.len, CERT_TYPE, &der, NULL, NULL, NULL);
    if (result != 0 || tls_cert_parse(der->buffer, der->length, &cert) != 0) {
        result = fail(error, -EINVAL, "%s: holds no certificate in PEM", pair->from->chain_path);
    } else {
        item->key = cert.key;
        result = copy_names(&cert, &item->names);
        if (result != 0) {
            (void)fail(error, result, "out of memory");
        }
    }
    wc_FreeDer(&der);
    return result;
}

/* ---- contexts ---- */

static void ctx_free(struct tls_ctx *ctx)
{
    assert(ctx->users == 0);
    for (uint32_t i = 0; i < ctx->item_count; i++) {
        wolfSSL_CTX_free(ctx->items[i].wolf);
        free(ctx->items[i].names);
    }
    ctx->magic = 0;
    free(ctx);
    (void)wolfSSL_Cleanup(); /* counted, as wolfSSL_Init() is */
}

static struct tls_ctx *ctx_alloc(uint32_t item_count)
{
    struct tls_ctx *ctx = calloc(1, sizeof(*ctx) + item_count * sizeof(ctx->items[0]));
    if (ctx == NULL || wolfSSL_Init() != WOLFSSL_SUCCESS) {
        free(ctx);
        return NULL;
    }
    ctx->magic = TLS_CTX_MAGIC;
    ctx->item_count = item_count;
    return ctx;
}

static int fill_server(struct tls_ctx *ctx, const struct tls_server_conf *conf,
                       const struct loaded_pair *pairs, struct tls_error *error)
{
    ctx->is_server = true;
    ctx->tickets = conf->tickets;
    const uint32_t count = ctx->item_count;
    for (uint32_t i = 0; i < count; i++) {
        struct tls_ctx_item *item = &ctx->items[i];
        int result = make_wolf(wolfSSLv23_server_method(), conf->min_version, &item->wolf, error);
        if (result == 0) {
            result = learn_names(item, &pairs[i], error);
        }
        if (result == 0) {
            result = use_pair(item->wolf, &pairs[i], error);
        }
        if (result != 0) {
            return result;
        }
        if (conf->tickets != NULL) {
            (void)wolfSSL_CTX_set_TicketEncCb(item->wolf, tls_on_ticket);
            (void)wolfSSL_CTX_set_TicketEncCtx(item->wolf, ctx);
            (void)wolfSSL_CTX_set_TicketHint(item->wolf, TLS_TICKET_LIFETIME_S);
        } else {
            (void)wolfSSL_CTX_no_ticket_TLSv13(item->wolf);
            (void)wolfSSL_CTX_NoTicketTLSv12(item->wolf);
        }
    }
    return 0;
}

static int fill_client(struct tls_ctx *ctx, const struct tls_client_conf *conf,
                       const struct loaded_pair *pair, const struct bytes *ca,
                       struct tls_error *error)
{
    WOLFSSL_CTX **wolf = &ctx->items[0].wolf;
    int result = make_wolf(wolfSSLv23_client_method(), conf->min_version, wolf, error);
    if (result != 0) {
        return result;
    }
    ctx->verify = conf->verify;
    ctx->pin_count = conf->pin_count;
    for (uint32_t i = 0; i < conf->pin_count; i++) {
        memcpy(ctx->pins[i], conf->pins[i], TLS_PIN_SIZE);
    }
    /* The library must ask in either case: a pin is looked at in tls_on_certificate(). */
    wolfSSL_CTX_set_verify(*wolf, WOLFSSL_VERIFY_PEER, tls_on_certificate);
    if (conf->verify == TLS_VERIFY_PEER) {
        int loaded = wolfSSL_CTX_load_verify_buffer(*wolf, ca->data, ca->len, WOLFSSL_FILETYPE_PEM);
        if (loaded != WOLFSSL_SUCCESS) {
            return fail(error, -EINVAL, "%s: no usable CA certificate: %s", conf->ca_path,
                        library_reason(loaded));
        }
    }
    return conf->files == NULL ? 0 : use_pair(*wolf, pair, error);
}

/* Holds certificate and key together by a handshake with ourselves: the only check that is the same
 * in all releases of the library. */
static int pair_prove(const struct loaded_pair *pair, struct tls_error *error)
{
    const struct tls_server_conf conf = {.files = pair->from, .file_count = 1};
    struct tls_ctx *ctx = ctx_alloc(1);
    if (ctx == NULL) {
        return fail(error, -ENOMEM, "out of memory");
    }
    int result = fill_server(ctx, &conf, pair, error);
    const char *reason = result == 0 ? tls_prove(ctx) : NULL;
    if (reason != NULL) {
        result = fail(error, -EINVAL, "%s: not the key of the certificate in %s (%s)",
                      pair->from->key_path, pair->from->chain_path, reason);
    }
    ctx_free(ctx);
    return result;
}

/* Takes over what was made when all of it was; frees it otherwise. */
static int finish(int result, struct tls_ctx **made, uint32_t count, struct tls_ctx **ret_ctxs)
{
    for (uint32_t i = 0; i < count; i++) {
        if (result == 0) {
            ret_ctxs[i] = made[i];
        } else if (made[i] != NULL) {
            ctx_free(made[i]);
        }
    }
    free(made);
    return result;
}

int tls_server_ctx_create(const struct tls_server_conf *conf, uint32_t count,
                          struct tls_ctx **ret_ctxs, struct tls_error *error)
{
    assert(conf->file_count >= 1);
    assert(conf->file_count <= TLS_CERTIFICATES_MAX);
    struct loaded_pair pairs[TLS_CERTIFICATES_MAX] = {0};
    struct tls_ctx **made = calloc(count, sizeof(struct tls_ctx *));
    if (made == NULL) {
        return fail(error, -ENOMEM, "out of memory");
    }
    int result = 0;
    for (uint32_t i = 0; result == 0 && i < conf->file_count; i++) {
        result = pair_read(&conf->files[i], &pairs[i], error);
        if (result == 0) {
            result = pair_prove(&pairs[i], error);
        }
    }
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        made[i] = ctx_alloc(conf->file_count);
        result = made[i] == NULL ? fail(error, -ENOMEM, "out of memory")
                                 : fill_server(made[i], conf, pairs, error);
    }
    for (uint32_t i = 0; i < conf->file_count; i++) {
        pair_fini(&pairs[i]);
    }
    return finish(result, made, count, ret_ctxs);
}

int tls_client_ctx_create(const struct tls_client_conf *conf, uint32_t count,
                          struct tls_ctx **ret_ctxs, struct tls_error *error)
{
    assert(conf->pin_count <= TLS_PINS_MAX);
    assert(conf->verify == TLS_VERIFY_NONE || conf->ca_path != NULL);
    struct loaded_pair pair = {0};
    struct bytes ca = {0};
    struct tls_ctx **made = calloc(count, sizeof(struct tls_ctx *));
    if (made == NULL) {
        return fail(error, -ENOMEM, "out of memory");
    }
    int result = conf->files == NULL ? 0 : pair_read(conf->files, &pair, error);
    if (result == 0 && conf->files != NULL) {
        result = pair_prove(&pair, error);
    }
    if (result == 0 && conf->verify == TLS_VERIFY_PEER) {
        result = read_file(conf->ca_path, &ca, error);
    }
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        made[i] = ctx_alloc(1);
        result = made[i] == NULL ? fail(error, -ENOMEM, "out of memory")
                                 : fill_client(made[i], conf, &pair, &ca, error);
    }
    pair_fini(&pair);
    bytes_fini(&ca);
    return finish(result, made, count, ret_ctxs);
}

void tls_ctx_retire(struct tls_ctx **ctx)
{
    struct tls_ctx *gone = *ctx;
    *ctx = NULL;
    if (gone == NULL) {
        return;
    }
    assert(gone->magic == TLS_CTX_MAGIC);
    assert(!gone->is_retired);
    gone->is_retired = true;
    if (gone->users == 0) {
        ctx_free(gone);
    }
}

void tls_ctx_acquire(struct tls_ctx *ctx)
{
    assert(ctx->magic == TLS_CTX_MAGIC);
    assert(!ctx->is_retired);
    ctx->users++;
}

void tls_ctx_release(struct tls_ctx *ctx)
{
    assert(ctx->magic == TLS_CTX_MAGIC);
    assert(ctx->users > 0);
    ctx->users--;
    if (ctx->users == 0 && ctx->is_retired) {
        ctx_free(ctx);
    }
}
