/*
 * credentials - see core/credentials.h.
 */
#include "core/credentials.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static enum tls_version min_version(const struct config *config)
{
    return config->min_version == MIN_TLS_1_3 ? TLS_VERSION_1_3 : TLS_VERSION_1_2;
}

static struct tls_files tls_files_of(const struct config_files *files)
{
    return (struct tls_files){.chain_path = files->chain, .key_path = files->key};
}

static int create_servers(const struct config *config, const struct tls_tickets *tickets,
                          uint32_t count, struct credentials *all, struct tls_error *error)
{
    struct tls_files files[CONFIG_CERTIFICATES_MAX];
    struct tls_ctx *made[CONFIG_WORKERS_MAX];
    _Static_assert((int)CONFIG_CERTIFICATES_MAX <= (int)TLS_CERTIFICATES_MAX, "they all fit");
    if (config->certificates.count == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < config->certificates.count; i++) {
        files[i] = tls_files_of(&config->certificates.files[i]);
    }
    const struct tls_server_conf conf = {
        .files = files,
        .file_count = config->certificates.count,
        .min_version = min_version(config),
        .tickets = tickets,
    };
    int result = tls_server_ctx_create(&conf, count, made, error);
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        all[i].server = made[i];
    }
    return result;
}

static int create_clients(const struct config *config, uint32_t group, uint32_t count,
                          struct credentials *all, struct tls_error *error)
{
    const struct config_upstream *upstream = &config->upstreams[group];
    struct tls_ctx *made[CONFIG_WORKERS_MAX];
    _Static_assert((int)CONFIG_PINS_MAX <= (int)TLS_PINS_MAX, "they all fit");
    _Static_assert((int)CONFIG_PIN_SIZE == (int)TLS_PIN_SIZE, "the same sums");
    if (upstream->tls == UPSTREAM_TLS_OFF) {
        return 0;
    }
    bool verifies = upstream->tls != UPSTREAM_TLS_OPPORTUNISTIC && upstream->tls_verify;
    const struct tls_files files = tls_files_of(&upstream->tls_files);
    const struct tls_client_conf conf = {
        .verify = verifies ? TLS_VERIFY_PEER : TLS_VERIFY_NONE,
        .min_version = min_version(config),
        .ca_path = upstream->tls_ca,
        .pins = upstream->pins.sums,
        .pin_count = upstream->pins.count,
        .files = upstream->tls_files.chain[0] != '\0' ? &files : NULL,
    };
    int result = tls_client_ctx_create(&conf, count, made, error);
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        all[i].clients[group] = made[i];
    }
    return result;
}

/* An error begins with the path of the file that it is about. */
static bool is_about(const char *text, const char *path)
{
    size_t len = strlen(path);
    return len > 0 && strncmp(text, path, len) == 0 && text[len] == ':';
}

static bool is_about_either(const char *text, const struct config_files *files)
{
    return is_about(text, files->chain) || is_about(text, files->key);
}

static void tell_server_error(const struct config *config, const char *text,
                              struct credentials_error *error)
{
    error->line = 0;
    for (uint32_t i = 0; i < config->certificates.count && error->line == 0; i++) {
        const struct config_files *files = &config->certificates.files[i];
        error->line = is_about_either(text, files) ? files->line : 0;
    }
    (void)snprintf(error->text, sizeof(error->text), "[tls] certificate: %s", text);
}

static void tell_client_error(const struct config_upstream *upstream, const char *text,
                              struct credentials_error *error)
{
    bool is_ca = is_about(text, upstream->tls_ca);
    bool is_ours = is_about_either(text, &upstream->tls_files);
    error->line = is_ca ? upstream->tls_ca_line : is_ours ? upstream->tls_files.line : 0;
    (void)snprintf(error->text, sizeof(error->text), "[upstream:%s] %s: %s", upstream->name,
                   is_ca     ? "tls_ca"
                   : is_ours ? "tls_certificate"
                             : "tls",
                   text);
}

int credentials_create(const struct config *config, const struct tls_tickets *tickets,
                       uint32_t count, struct credentials *ret_all, struct credentials_error *error)
{
    struct tls_error why = {""};
    assert(count <= CONFIG_WORKERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        ret_all[i] = (struct credentials){0};
    }
    int result = create_servers(config, tickets, count, ret_all, &why);
    if (result < 0) {
        tell_server_error(config, why.text, error);
    }
    for (uint32_t i = 0; result == 0 && i < config->upstream_count; i++) {
        result = create_clients(config, i, count, ret_all, &why);
        if (result < 0) {
            tell_client_error(&config->upstreams[i], why.text, error);
        }
    }
    for (uint32_t i = 0; result < 0 && i < count; i++) {
        credentials_retire(&ret_all[i]);
    }
    return result;
}

void credentials_retire(struct credentials *credentials)
{
    tls_ctx_retire(&credentials->server);
    for (uint32_t i = 0; i < CONFIG_UPSTREAMS_MAX; i++) {
        tls_ctx_retire(&credentials->clients[i]);
    }
}
