/*
 * tls_pair - see tls_pair.h for what it gives.
 */
#include "test/tls_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

enum { PATHS = 4, PATH_SIZE = 256, NAMES_MAX = 16, ROUNDS_MAX = 4 * PIPE_SIZE };

static char directory[64];

/* ---- certificates ---- */

int pki_setup(void **state)
{
    char command[PATH_SIZE];
    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/mailweir-tls-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    (void)snprintf(command, sizeof(command), "test/tls_pki.sh %s", directory);
    return system(command);
}

int pki_teardown(void **state)
{
    char command[PATH_SIZE];
    (void)state;
    (void)snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command);
}

const char *pki_path(const char *file)
{
    static char paths[PATHS][PATH_SIZE];
    static unsigned next;
    char *path = paths[next++ % PATHS];
    (void)snprintf(path, PATH_SIZE, "%s/%.100s", directory, file);
    return path;
}

void pki_pin(const char *name, uint8_t ret_pin[TLS_PIN_SIZE])
{
    char file[PATH_SIZE];
    (void)snprintf(file, sizeof(file), "%s.pin", name);
    FILE *from = fopen(pki_path(file), "re");
    assert_non_null(from);
    assert_int_equal(fread(ret_pin, 1, TLS_PIN_SIZE, from), TLS_PIN_SIZE);
    (void)fclose(from);
}

struct tls_ctx *make_server(const char *names, enum tls_version min_version,
                            const struct tls_tickets *tickets)
{
    static char paths[NAMES_MAX][2][PATH_SIZE];
    struct tls_files files[NAMES_MAX];
    struct tls_server_conf conf = {.files = files, .min_version = min_version, .tickets = tickets};
    struct tls_ctx *ctx = NULL;
    struct tls_error error = {{0}};
    for (const char *at = names; *at != '\0'; conf.file_count++) {
        int len = (int)strcspn(at, " ");
        assert_true(conf.file_count < NAMES_MAX);
        char(*path)[PATH_SIZE] = paths[conf.file_count];
        (void)snprintf(path[0], PATH_SIZE, "%s/%.*s.pem", directory, len, at);
        (void)snprintf(path[1], PATH_SIZE, "%s/%.*s.key", directory, len, at);
        files[conf.file_count] = (struct tls_files){path[0], path[1]};
        at += len;
        at += strspn(at, " ");
    }
    if (tls_server_ctx_create(&conf, 1, &ctx, &error) != 0) {
        fail_msg("%s", error.text);
    }
    return ctx;
}

struct tls_ctx *make_client(const char *ca, const char *pin)
{
    uint8_t pins[1][TLS_PIN_SIZE];
    char file[PATH_SIZE];
    struct tls_client_conf conf = {.verify = ca == NULL ? TLS_VERIFY_NONE : TLS_VERIFY_PEER};
    struct tls_ctx *ctx = NULL;
    struct tls_error error = {{0}};
    if (ca != NULL) {
        (void)snprintf(file, sizeof(file), "%s.pem", ca);
        conf.ca_path = pki_path(file);
    }
    if (pin != NULL) {
        pki_pin(pin, pins[0]);
        conf.pins = pins;
        conf.pin_count = 1;
    }
    if (tls_client_ctx_create(&conf, 1, &ctx, &error) != 0) {
        fail_msg("%s", error.text);
    }
    return ctx;
}

/* ---- pairs ---- */

struct tls_pair *pair_create(struct tls_ctx *client, struct tls_ctx *server, const char *name)
{
    struct tls_pair *pair = calloc(1, sizeof(*pair));
    assert_non_null(pair);
    pair->step = STEP_ALL;
    pair->out_size = OUT_SIZE;
    tls_init_server(&pair->server, server);
    assert_int_equal(tls_init_client(&pair->client, client, name), 0);
    return pair;
}

void pair_destroy(struct tls_pair *pair)
{
    tls_fini(&pair->client);
    tls_fini(&pair->server);
    free(pair);
}

void pair_use_1_2(struct tls_pair *pair)
{
    (void)wolfSSL_set_options(pair->client.ssl, WOLFSSL_OP_NO_TLSv1_3); /* returns all options */
}

static void show_more(struct pipe_end *pipe, uint32_t step)
{
    uint32_t left = pipe->end - pipe->shown;
    pipe->shown += left < step ? left : step;
}

static struct cipher_io io_of(struct tls_pair *pair, const struct tls *tls)
{
    struct pipe_end *in = tls == &pair->client ? &pair->to_client : &pair->to_server;
    struct pipe_end *out = tls == &pair->client ? &pair->to_server : &pair->to_client;
    assert_true(PIPE_SIZE - out->end >= pair->out_size);
    return (struct cipher_io){.in = in->bytes + in->begin,
                              .in_len = in->shown - in->begin,
                              .out = out->bytes + out->end,
                              .out_size = pair->out_size};
}

static void take(struct tls_pair *pair, const struct tls *tls, const struct cipher_io *io)
{
    struct pipe_end *in = tls == &pair->client ? &pair->to_client : &pair->to_server;
    struct pipe_end *out = tls == &pair->client ? &pair->to_server : &pair->to_client;
    assert_true(io->in_used <= io->in_len);
    assert_true(io->out_len <= io->out_size);
    in->begin += io->in_used;
    out->end += io->out_len;
}

static int shake(struct tls_pair *pair, struct tls *tls)
{
    struct cipher_io io = io_of(pair, tls);
    int result = tls_handshake(tls, &io);
    take(pair, tls, &io);
    if (result == CIPHER_WANT_BYTES && tls->ssl != NULL) {
        assert_int_equal(io.in_used, io.in_len);
    }
    return result;
}

static bool is_running(int result)
{
    return result == CIPHER_WANT_BYTES || result == CIPHER_WANT_FLUSH;
}

static uint64_t progress_of(const struct tls_pair *pair)
{
    return (uint64_t)pair->to_client.begin + pair->to_client.shown + pair->to_client.end +
           pair->to_server.begin + pair->to_server.shown + pair->to_server.end;
}

void pair_run(struct tls_pair *pair)
{
    pair->client_result = CIPHER_WANT_BYTES;
    pair->server_result = CIPHER_WANT_BYTES;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        uint64_t before = progress_of(pair);
        bool waits = false;
        if (is_running(pair->client_result)) {
            show_more(&pair->to_client, pair->step);
            pair->client_result = shake(pair, &pair->client);
            waits |= pair->client_result == CIPHER_WANT_FLUSH;
        }
        if (is_running(pair->server_result)) {
            show_more(&pair->to_server, pair->step);
            pair->server_result = shake(pair, &pair->server);
            waits |= pair->server_result == CIPHER_WANT_FLUSH;
        }
        if (progress_of(pair) == before && !waits) {
            return;
        }
    }
    fail_msg("the handshake does not end");
}

void pair_connect(struct tls_pair *pair)
{
    pair_run(pair);
    if (pair->client_result != CIPHER_OK || pair->server_result != CIPHER_OK) {
        fail_msg("client: %d %s, server: %d %s", pair->client_result, tls_reason(&pair->client),
                 pair->server_result, tls_reason(&pair->server));
    }
}

void pair_send(struct tls_pair *pair, struct tls *from, const char *data, uint32_t len)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        uint32_t taken = 0;
        struct cipher_io io = io_of(pair, from);
        int result = tls_encrypt(from, &io, data, len, &taken);
        take(pair, from, &io);
        assert_true(result == CIPHER_OK || result == CIPHER_WANT_FLUSH);
        assert_true(taken <= len);
        data += taken;
        len -= taken;
        if (result == CIPHER_OK) {
            assert_int_equal(len, 0);
            return;
        }
        assert_true(taken > 0 || io.out_len > 0);
    }
    fail_msg("encryption does not end");
}

int pair_decrypt_shown(struct tls_pair *pair, struct tls *to, uint32_t shown, char *out,
                       uint32_t size, uint32_t *ret_len)
{
    struct pipe_end *in = to == &pair->client ? &pair->to_client : &pair->to_server;
    assert_true(shown <= in->end);
    assert_true(shown >= in->begin);
    in->shown = shown;
    struct cipher_io io = io_of(pair, to);
    int result = tls_decrypt(to, &io, out, size, ret_len);
    take(pair, to, &io);
    if (result == CIPHER_OK) {
        assert_true(*ret_len > 0);
    } else {
        assert_int_equal(*ret_len, 0);
    }
    return result;
}

int pair_receive(struct tls_pair *pair, struct tls *to, char *out, uint32_t size, uint32_t *ret_len)
{
    struct pipe_end *in = to == &pair->client ? &pair->to_client : &pair->to_server;
    int result = CIPHER_OK;
    *ret_len = 0;
    while (*ret_len < size) {
        uint32_t len = 0;
        if (result == CIPHER_WANT_BYTES && in->shown == in->end) {
            break;
        }
        if (result == CIPHER_WANT_BYTES) {
            show_more(in, pair->step);
        }
        result = pair_decrypt_shown(pair, to, in->shown, out + *ret_len, size - *ret_len, &len);
        *ret_len += len;
        if (result < 0 || result == CIPHER_CLOSED) {
            break;
        }
    }
    return result;
}
