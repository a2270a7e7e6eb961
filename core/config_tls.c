/*
 * config_tls - see core/config_tls.h.
 */
#include "core/config_tls.h"

#include <errno.h>
#include <string.h>

#include "filters/base64.h"

static const char SPACE[] = " \t";

/* The next word of the text, into a path. */
static bool take_path(const char **text, char path[CONFIG_TEXT_MAX])
{
    *text += strspn(*text, SPACE);
    size_t len = strcspn(*text, SPACE);
    if (len == 0 || len >= CONFIG_TEXT_MAX) {
        return false;
    }
    memcpy(path, *text, len);
    path[len] = '\0';
    *text += len;
    return true;
}

int config_parse_files(const char *text, struct config_files *ret_files, struct config_why *why)
{
    struct config_files files = {0};
    const char *rest = text;
    if (take_path(&rest, files.chain)) {
        if (!take_path(&rest, files.key)) {
            memcpy(files.key, files.chain, sizeof(files.key));
        }
    }
    rest += strspn(rest, SPACE);
    if (*rest != '\0') {
        config_why_set(why, "'%s' is more than two files; write CHAIN.pem KEY.pem", text);
        return -EINVAL;
    }
    *ret_files = files;
    return 0;
}

int config_add_certificate(struct config_certificates *list, const char *text,
                           struct config_why *why)
{
    struct config_files files;
    if (config_parse_files(text, &files, why) < 0) {
        return -EINVAL;
    }
    if (files.chain[0] == '\0') {
        return 0;
    }
    if (list->count == CONFIG_CERTIFICATES_MAX) {
        config_why_set(why, "there are too many certificates; write at most %d",
                       CONFIG_CERTIFICATES_MAX);
        return -EINVAL;
    }
    list->files[list->count++] = files;
    return 0;
}

/* 43 digits and one "=": 32 octets, and in the last digit no bits beyond them. */
static bool parse_sum(const char *text, uint8_t sum[CONFIG_PIN_SIZE])
{
    struct span span = {text, (uint32_t)strlen(text)};
    return span.len == 44 && strcspn(text, SPACE) == 44 && text[43] == '=' &&
           strchr("AEIMQUYcgkosw048", text[42]) != NULL &&
           base64_decode(span, sum, CONFIG_PIN_SIZE) == CONFIG_PIN_SIZE;
}

int config_add_pin(struct config_pins *list, const char *text, struct config_why *why)
{
    static const char prefix[] = "sha256/";
    if (text[0] == '\0') {
        return 0;
    }
    if (list->count == CONFIG_PINS_MAX) {
        config_why_set(why, "there are too many pins; write at most %d", CONFIG_PINS_MAX);
        return -EINVAL;
    }
    if (strncmp(text, prefix, sizeof(prefix) - 1) != 0 ||
        !parse_sum(text + sizeof(prefix) - 1, list->sums[list->count])) {
        config_why_set(why,
                       "'%s' is not a pin; write sha256/ and the base64 form of the SHA-256 of the "
                       "certificate's public key",
                       text);
        return -EINVAL;
    }
    list->count++;
    return 0;
}

const char *config_listener_tls_fault(const struct config *config,
                                      const struct config_listener *listener)
{
    bool needs = listener->tls == LISTEN_TLS_REQUIRED || listener->tls == LISTEN_TLS_IMPLICIT;
    if (needs && config->certificates.count == 0) {
        return "needs a certificate; write [tls] certificate = CHAIN.pem KEY.pem";
    }
    return NULL;
}

const char *config_upstream_tls_fault(const struct config_upstream *upstream, const char **ret_key)
{
    bool insists = upstream->tls == UPSTREAM_TLS_REQUIRED || upstream->tls == UPSTREAM_TLS_IMPLICIT;
    *ret_key = "tls_pin";
    if (upstream->pins.count > 0 && !insists) {
        return "holds nobody to it as long as plaintext will do; write tls = required or implicit";
    }
    *ret_key = "tls_name";
    for (uint32_t i = 0; insists && i < upstream->server_count; i++) {
        bool has_name = upstream->tls_name[0] != '\0' || upstream->servers[i].host[0] != '\0';
        if (upstream->tls_verify && !has_name) {
            return "is missing, and a unix: server has no name of its own; write the name that its "
                   "certificate is for, or tls_verify = no";
        }
    }
    *ret_key = "tls_ca";
    if (insists && upstream->tls_verify && upstream->tls_ca[0] == '\0') {
        return "is empty; write the file of the certificates to trust, or tls_verify = no";
    }
    return NULL;
}
