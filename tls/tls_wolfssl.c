/*
 * tls_wolfssl - the session over wolfSSL with memory in and out; see tls.h for the promises.
 *
 * The library asks for bytes through tls_on_receive(), exactly as many as the record in work needs,
 * and hands bytes out through tls_on_send(). Both look at `io`, which is set while a call runs. So
 * between records the library holds no ciphertext; a record that has come in part is kept by it, at
 * most one, and freed with its last byte.
 *
 *   NEW --(client: at once; server: whole ClientHello)--> HANDSHAKE --> OPEN --> ENDED
 * (close_notify) any --(error)--> FAILED
 */
#include "tls/tls_internal.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hash.h>

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <string.h>

enum { TLS_MAGIC = 0x746c7373, NAME_SIZE = TLS_NAME_MAX + 1 };

enum state { STATE_NEW, STATE_HANDSHAKE, STATE_OPEN, STATE_ENDED, STATE_FAILED };

/* Alerts that we send before the library has been asked. RFC 8446 section 6. */
enum {
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_NO_APPLICATION_PROTOCOL = 120,
    ALERT_SIZE = 7,
};

static void tls_enter(struct tls *tls, enum state next)
{
    static const uint8_t from[] = {
        [STATE_NEW] = 0,
        [STATE_HANDSHAKE] = 1 << STATE_NEW,
        [STATE_OPEN] = 1 << STATE_HANDSHAKE,
        [STATE_ENDED] = 1 << STATE_OPEN,
        [STATE_FAILED] = 1 << STATE_NEW | 1 << STATE_HANDSHAKE | 1 << STATE_OPEN | 1 << STATE_ENDED,
    };
    assert(from[next] & 1 << tls->state);
    tls->state = (uint8_t)next;
}

static int fail(struct tls *tls, int code, const char *reason)
{
    tls->reason = reason;
    tls->error = code;
    tls_enter(tls, STATE_FAILED);
    return code;
}

/* A fatal alert in plaintext; left out when there is no room. */
static void put_alert(struct cipher_io *io, uint8_t description)
{
    const uint8_t alert[ALERT_SIZE] = {21, 3, 3, 0, 2, 2, description};
    if (io->out_size - io->out_len >= sizeof(alert)) {
        memcpy(io->out + io->out_len, alert, sizeof(alert));
        io->out_len += (uint32_t)sizeof(alert);
    }
}

/* ---- callbacks of the library ---- */

int tls_on_receive(WOLFSSL *ssl, char *bytes, int size, void *user)
{
    (void)ssl;
    const struct tls *tls = user;
    struct cipher_io *io = tls->io;
    assert(tls->magic == TLS_MAGIC);
    assert(io != NULL);
    assert(io->in_used <= io->in_len);
    uint32_t len = io->in_len - io->in_used;
    if (len == 0) {
        return WOLFSSL_CBIO_ERR_WANT_READ;
    }
    len = (uint32_t)size < len ? (uint32_t)size : len;
    memcpy(bytes, io->in + io->in_used, len);
    io->in_used += len;
    return (int)len;
}

int tls_on_send(WOLFSSL *ssl, char *bytes, int len, void *user)
{
    (void)ssl;
    const struct tls *tls = user;
    struct cipher_io *io = tls->io;
    assert(tls->magic == TLS_MAGIC);
    assert(io != NULL);
    assert(io->out_len <= io->out_size);
    uint32_t room = io->out_size - io->out_len;
    if (room == 0) {
        return WOLFSSL_CBIO_ERR_WANT_WRITE;
    }
    room = (uint32_t)len < room ? (uint32_t)len : room;
    memcpy(io->out + io->out_len, bytes, room);
    io->out_len += room;
    return (int)room;
}

static bool pin_matches(const struct tls_ctx *ctx, const struct tls_cert *cert)
{
    uint8_t sum[WC_SHA256_DIGEST_SIZE];
    _Static_assert(sizeof(sum) == TLS_PIN_SIZE, "a pin is a SHA-256");
    if (wc_Sha256Hash(cert->spki, cert->spki_len, sum) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < ctx->pin_count; i++) {
        if (memcmp(ctx->pins[i], sum, sizeof(sum)) == 0) {
            return true;
        }
    }
    return false;
}

static enum tls_peer look_at_peer(const struct tls *tls, const WOLFSSL_X509_STORE_CTX *store)
{
    struct tls_cert cert = {0};
    const struct tls_ctx *ctx = tls->ctx;
    bool readable = store->totalCerts > 0 &&
                    tls_cert_parse(store->certs[0].buffer, store->certs[0].length, &cert) == 0;
    if (ctx->pin_count > 0 && !(readable && pin_matches(ctx, &cert))) {
        return TLS_PEER_HAS_NO_PIN;
    }
    if (ctx->verify == TLS_VERIFY_PEER && !(readable && tls_cert_is_for(&cert, tls->name))) {
        return TLS_PEER_HAS_OTHER_NAME;
    }
    return TLS_PEER_OK;
}

/* Asked for the peer's own certificate (depth 0) always, for those above it when they have a fault.
 * The name is compared here, since the library's rules for it differ from one release to the next.
 */
int tls_on_certificate(int preverify, WOLFSSL_X509_STORE_CTX *store)
{
    struct tls *tls = store->userCtx;
    assert(tls->magic == TLS_MAGIC);
    int verdict = tls->ctx->verify == TLS_VERIFY_NONE ? 1 : preverify;
    if (store->error_depth == 0 && verdict != 0) {
        tls->peer = (uint8_t)look_at_peer(tls, store);
        return tls->peer == TLS_PEER_OK;
    }
    return verdict;
}

/* ---- errors ---- */

static const char *alert_reason(WOLFSSL *ssl)
{
    static const struct {
        int code;
        const char *text;
    } texts[] = {
        {10, "peer's alert: unexpected_message"},
        {20, "peer's alert: bad_record_mac"},
        {40, "peer's alert: handshake_failure"},
        {42, "peer's alert: bad_certificate"},
        {43, "peer's alert: unsupported_certificate"},
        {44, "peer's alert: certificate_revoked"},
        {45, "peer's alert: certificate_expired"},
        {46, "peer's alert: certificate_unknown"},
        {47, "peer's alert: illegal_parameter"},
        {48, "peer's alert: unknown_ca"},
        {50, "peer's alert: decode_error"},
        {51, "peer's alert: decrypt_error"},
        {70, "peer's alert: protocol_version"},
        {71, "peer's alert: insufficient_security"},
        {80, "peer's alert: internal_error"},
        {112, "peer's alert: unrecognized_name"},
        {116, "peer's alert: certificate_required"},
        {120, "peer's alert: no_application_protocol"},
    };
    WOLFSSL_ALERT_HISTORY history;
    if (wolfSSL_get_alert_history(ssl, &history) == WOLFSSL_SUCCESS) {
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            if (texts[i].code == history.last_rx.code) {
                return texts[i].text;
            }
        }
    }
    return "peer's alert";
}

/* True when the error is the verdict on a certificate. */
static bool is_about_certificate(int error)
{
    switch (error) {
    case ASN_BEFORE_DATE_E:
    case ASN_AFTER_DATE_E:
    case ASN_SIG_CONFIRM_E:
    case ASN_SIG_OID_E:
    case ASN_SIG_HASH_E:
    case ASN_SIG_KEY_E:
    case ASN_NO_SIGNER_E:
    case ASN_SELF_SIGNED_E:
    case ASN_PATHLEN_INV_E:
    case ASN_PATHLEN_SIZE_E:
    case ASN_NAME_INVALID_E:
    case ASN_CRIT_EXT_E:
    case ASN_PARSE_E:
    case BAD_PATH_ERROR:
    case VERIFY_CERT_ERROR:
    case EXTKEYUSAGE_E:
    case KEYUSAGE_E:
    case RSA_KEY_SIZE_E:
    case ECC_KEY_SIZE_E:
    case MAX_CHAIN_ERROR:
    case NO_PEER_CERT:
        return true;
    default:
        return false;
    }
}

/* What a call of the library that did not succeed means. */
static int judge(struct tls *tls, int returned)
{
    int error = wolfSSL_get_error(tls->ssl, returned);
    if (error == 0 && tls->io->out_len == tls->io->out_size) {
        return CIPHER_WANT_FLUSH; /* how wolfSSL 5.5 says it in the middle of a flight */
    }
    switch (error) {
    case WOLFSSL_ERROR_WANT_READ:
        return CIPHER_WANT_BYTES;
    case WOLFSSL_ERROR_WANT_WRITE:
        return CIPHER_WANT_FLUSH;
    case WOLFSSL_ERROR_ZERO_RETURN:
        if (tls->state == STATE_OPEN) {
            tls_enter(tls, STATE_ENDED);
            return CIPHER_CLOSED;
        }
        return fail(tls, -EPROTO, "peer closed during the handshake");
    case MEMORY_E:
    case MEMORY_ERROR:
        return fail(tls, -ENOMEM, "out of memory");
    case FATAL_ERROR:
        return fail(tls, -EPROTO, alert_reason(tls->ssl));
    default:
        break;
    }
    if (tls->peer == TLS_PEER_HAS_NO_PIN) {
        return fail(tls, -EKEYREJECTED, "certificate matches no pin");
    }
    if (tls->peer == TLS_PEER_HAS_OTHER_NAME) {
        return fail(tls, -EKEYREJECTED, "certificate is for another name");
    }
    return fail(tls, is_about_certificate(error) ? -EKEYREJECTED : -EPROTO,
                wolfSSL_ERR_reason_error_string((unsigned long)-(long)error));
}

/* ---- as a cipher of a stream ---- */

static struct tls *tls_of(struct cipher *cipher)
{
    return (struct tls *)cipher; /* its first member */
}

static int op_handshake(struct cipher *cipher, struct cipher_io *io)
{
    return tls_handshake(tls_of(cipher), io);
}

static int op_decrypt(struct cipher *cipher, struct cipher_io *io, char *out, uint32_t size,
                      uint32_t *ret_len)
{
    return tls_decrypt(tls_of(cipher), io, out, size, ret_len);
}

static int op_encrypt(struct cipher *cipher, struct cipher_io *io, const char *data, uint32_t len,
                      uint32_t *ret_taken)
{
    return tls_encrypt(tls_of(cipher), io, data, len, ret_taken);
}

static int op_shutdown(struct cipher *cipher, struct cipher_io *io)
{
    return tls_shutdown(tls_of(cipher), io);
}

static int op_ended(const struct cipher *cipher)
{
    return tls_ended((const struct tls *)cipher);
}

static const struct cipher_ops tls_ops = {
    .handshake = op_handshake,
    .decrypt = op_decrypt,
    .encrypt = op_encrypt,
    .shutdown = op_shutdown,
    .ended = op_ended,
};

/* ---- beginning and end ---- */

void tls_init_server(struct tls *tls, struct tls_ctx *ctx)
{
    assert(ctx->is_server);
    tls_ctx_acquire(ctx);
    *tls = (struct tls){
        .cipher = {&tls_ops},
        .magic = TLS_MAGIC,
        .state = STATE_NEW,
        .ctx = ctx,
    };
}

static int make_ssl(struct tls *tls, WOLFSSL_CTX *wolf)
{
    assert(tls->ssl == NULL);
    tls->ssl = wolfSSL_new(wolf);
    if (tls->ssl == NULL) {
        return -ENOMEM;
    }
    wolfSSL_SetIOReadCtx(tls->ssl, tls);
    wolfSSL_SetIOWriteCtx(tls->ssl, tls);
    wolfSSL_SetCertCbCtx(tls->ssl, tls);
    return 0;
}

/* Without the root's dot, which a certificate never has. */
static bool copy_name(const char *name, char ret_name[NAME_SIZE])
{
    size_t len = strlen(name);
    if (len > 0 && name[len - 1] == '.') {
        len--;
    }
    if (len == 0 || len >= NAME_SIZE) {
        return false;
    }
    memcpy(ret_name, name, len);
    ret_name[len] = '\0';
    return true;
}

/* An address is not announced (RFC 6066 section 3). */
static int announce(struct tls *tls, const char *name)
{
    uint8_t address[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) {
        return 0;
    }
    int result = wolfSSL_UseSNI(tls->ssl, WOLFSSL_SNI_HOST_NAME, name, (word16)strlen(name));
    return result == WOLFSSL_SUCCESS ? 0 : -ENOMEM;
}

int tls_init_client(struct tls *tls, struct tls_ctx *ctx, const char *name)
{
    char plain[NAME_SIZE];
    assert(!ctx->is_server);
    if (name != NULL ? !copy_name(name, plain) : ctx->verify != TLS_VERIFY_NONE) {
        return -EINVAL;
    }
    tls_ctx_acquire(ctx);
    *tls = (struct tls){
        .cipher = {&tls_ops},
        .magic = TLS_MAGIC,
        .state = STATE_NEW,
        .ctx = ctx,
        .name = name,
    };
    int result = make_ssl(tls, ctx->items[0].wolf);
    if (result == 0 && name != NULL) {
        result = announce(tls, plain);
    }
    if (result != 0) {
        tls_fini(tls);
        return result;
    }
    tls_enter(tls, STATE_HANDSHAKE);
    return 0;
}

void tls_fini(struct tls *tls)
{
    if (tls->magic == 0) {
        return;
    }
    assert(tls->magic == TLS_MAGIC);
    assert(tls->io == NULL);
    wolfSSL_free(tls->ssl);
    tls_ctx_release(tls->ctx);
    *tls = (struct tls){0};
}

/* ---- handshake ---- */

/* Waits for the whole ClientHello and sets the library up for what it asks. */
static int start_server(struct tls *tls, struct cipher_io *io)
{
    struct tls_hello hello;
    int result = tls_hello_parse(io->in + io->in_used, io->in_len - io->in_used, &hello);
    if (result == 0) {
        return CIPHER_WANT_BYTES;
    }
    if (result < 0) {
        put_alert(io, ALERT_UNEXPECTED_MESSAGE);
        return fail(tls, -EPROTO,
                    result == -EMSGSIZE ? "ClientHello is too large" : "not a TLS ClientHello");
    }
    if (hello.has_alpn && !hello.has_smtp) {
        put_alert(io, ALERT_NO_APPLICATION_PROTOCOL);
        return fail(tls, -EPROTO, "peer wants another protocol than smtp (ALPN)");
    }
    if (make_ssl(tls, tls_ctx_choose(tls->ctx, &hello)) != 0) {
        return fail(tls, -ENOMEM, "out of memory");
    }
    char protocol[] = "smtp";
    if (hello.has_alpn && wolfSSL_UseALPN(tls->ssl, protocol, sizeof(protocol) - 1,
                                          WOLFSSL_ALPN_FAILED_ON_MISMATCH) != WOLFSSL_SUCCESS) {
        return fail(tls, -ENOMEM, "out of memory");
    }
    tls_enter(tls, STATE_HANDSHAKE);
    return CIPHER_OK;
}

static int advance(struct tls *tls)
{
    int returned = tls->ctx->is_server ? wolfSSL_accept(tls->ssl) : wolfSSL_connect(tls->ssl);
    if (returned != WOLFSSL_SUCCESS) {
        return judge(tls, returned);
    }
    /* Nothing is believed of a peer whose certificate the library has not shown. */
    if (!tls->ctx->is_server && tls->peer != TLS_PEER_OK && !wolfSSL_session_reused(tls->ssl)) {
        return fail(tls, -EKEYREJECTED, "no certificate was seen");
    }
    tls->name = NULL;
    tls->is_complete = true;
    tls_enter(tls, STATE_OPEN);
    return CIPHER_OK;
}

int tls_handshake(struct tls *tls, struct cipher_io *io)
{
    assert(tls->magic == TLS_MAGIC);
    if (tls->state == STATE_FAILED) {
        return tls->error;
    }
    if (tls->state == STATE_NEW) {
        int result = start_server(tls, io);
        if (result != CIPHER_OK) {
            return result;
        }
    }
    assert(tls->state == STATE_HANDSHAKE);
    tls->io = io;
    int result = advance(tls);
    tls->io = NULL;
    return result;
}

/* ---- data ---- */

/* Libraries limit the records without content only lately, and by their number alone. */
static int count_silence(struct tls *tls, uint32_t used)
{
    assert(used <= INT32_MAX);
    tls->silent += used;
    return tls->silent <= TLS_SILENT_MAX ? CIPHER_WANT_BYTES
                                         : fail(tls, -EPROTO, "too many records without data");
}

int tls_decrypt(struct tls *tls, struct cipher_io *io, char *out, uint32_t size, uint32_t *ret_len)
{
    assert(tls->magic == TLS_MAGIC);
    assert(size > 0);
    assert(size <= INT32_MAX);
    *ret_len = 0;
    if (tls->state == STATE_FAILED) {
        return tls->error;
    }
    if (tls->state == STATE_ENDED) {
        io->in_used = io->in_len; /* what follows a close_notify is nobody's */
        return CIPHER_CLOSED;
    }
    assert(tls->state == STATE_OPEN);
    tls->io = io;
    uint32_t before = io->in_used;
    int got = 1;
    while (got > 0 && *ret_len < size) {
        got = wolfSSL_read(tls->ssl, out + *ret_len, (int)(size - *ret_len));
        *ret_len += got > 0 ? (uint32_t)got : 0;
    }
    int result = CIPHER_OK;
    if (got <= 0) {
        result = judge(tls, got);
    }
    tls->io = NULL;
    if (*ret_len > 0) {
        tls->silent = 0;
    } else if (result == CIPHER_WANT_BYTES) {
        result = count_silence(tls, io->in_used - before);
    }
    /* What stopped it after some plaintext comes again with the next call: state and library keep
     * it. */
    return *ret_len > 0 ? CIPHER_OK : result;
}

/* Plaintext for one record that certainly fits. */
static uint32_t record_len(const struct tls *tls, const struct cipher_io *io, uint32_t len)
{
    uint32_t room = io->out_size - io->out_len;
    int most = wolfSSL_GetMaxOutputSize(tls->ssl); /* less when a maximum fragment was agreed */
    if (room <= TLS_RECORD_OVERHEAD || most <= 0) {
        return 0;
    }
    room -= TLS_RECORD_OVERHEAD;
    len = len < room ? len : room;
    return len < (uint32_t)most ? len : (uint32_t)most;
}

int tls_encrypt(struct tls *tls, struct cipher_io *io, const char *data, uint32_t len,
                uint32_t *ret_taken)
{
    assert(tls->magic == TLS_MAGIC);
    assert(!tls->close_sent);
    *ret_taken = 0;
    if (tls->state == STATE_FAILED) {
        return tls->error;
    }
    assert(tls->state == STATE_OPEN || tls->state == STATE_ENDED);
    int result = CIPHER_OK;
    tls->io = io;
    while (result == CIPHER_OK && *ret_taken < len) {
        /* A record that the library could not hand out whole must be offered again as it was. */
        uint32_t part = tls->held > 0 ? tls->held : record_len(tls, io, len - *ret_taken);
        assert(part <= len - *ret_taken);
        if (part == 0) {
            result = CIPHER_WANT_FLUSH;
            break;
        }
        int taken = wolfSSL_write(tls->ssl, data + *ret_taken, (int)part);
        if (taken > 0) {
            assert((uint32_t)taken == part);
            tls->held = 0;
            *ret_taken += part;
        } else {
            result = judge(tls, taken);
            tls->held = part;
        }
    }
    tls->io = NULL;
    return result == CIPHER_WANT_BYTES || result == CIPHER_CLOSED
               ? fail(tls, -EPROTO, "the engine wants input to write")
               : result;
}

int tls_shutdown(struct tls *tls, struct cipher_io *io)
{
    assert(tls->magic == TLS_MAGIC);
    if (tls->close_sent || tls->state == STATE_NEW || tls->state == STATE_HANDSHAKE ||
        tls->state == STATE_FAILED) {
        return CIPHER_OK; /* nothing that the peer could be told in encrypted form */
    }
    if (io->out_size - io->out_len < TLS_RECORD_OVERHEAD) {
        return CIPHER_WANT_FLUSH;
    }
    tls->io = io;
    int returned = wolfSSL_shutdown(tls->ssl);
    int error = returned < 0 ? wolfSSL_get_error(tls->ssl, returned) : 0;
    tls->io = NULL;
    if (error == WOLFSSL_ERROR_WANT_WRITE) {
        return CIPHER_WANT_FLUSH;
    }
    tls->close_sent = true;
    return CIPHER_OK;
}

int tls_ended(const struct tls *tls)
{
    assert(tls->magic == TLS_MAGIC);
    return tls->state == STATE_ENDED ? 0 : -ECONNABORTED;
}

const char *tls_reason(const struct tls *tls)
{
    return tls->reason;
}

void tls_get_info(const struct tls *tls, struct tls_info *ret_info)
{
    assert(tls->magic == TLS_MAGIC);
    assert(tls->is_complete);
    int suite = wolfSSL_get_current_cipher_suite(tls->ssl);
    *ret_info = (struct tls_info){
        .version = wolfSSL_get_version(tls->ssl),
        .cipher = wolfSSL_get_cipher_name_iana_from_suite((unsigned char)(suite >> 8),
                                                          (unsigned char)suite),
        .resumed = wolfSSL_session_reused(tls->ssl) != 0,
    };
}
