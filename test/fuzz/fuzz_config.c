/*
 * fuzz_config - any bytes as proxy.ini, without look-ups of names.
 *
 * Either the text is accepted in silence and every value is inside its range, or it is refused and
 * each line on the error stream has a place, a reason and a remedy, in characters that a terminal
 * can take.
 */
#include "core/config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_errors(const char *text, size_t len)
{
    const char *end = text + len;
    assert(len > 0 && end[-1] == '\n');
    while (text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        assert(line_end != NULL);
        size_t line_len = (size_t)(line_end - text);
        assert(line_len > 9 && memcmp(text, "fuzz.ini:", 9) == 0);
        assert(memmem(text, line_len, "; ", 2) != NULL);
        for (const char *at = text; at < line_end; at++) {
            assert((unsigned char)*at >= 0x20 && *at != 0x7f);
        }
        text = line_end + 1;
    }
}

static void check_upstream(const struct config_upstream *upstream)
{
    assert(strlen(upstream->name) >= 1 && strlen(upstream->name) <= 32);
    assert(upstream->server_count >= 1 && upstream->server_count <= CONFIG_SERVERS_MAX);
    for (uint32_t i = 0; i < upstream->server_count; i++) {
        const struct config_server *server = &upstream->servers[i];
        assert(server->weight >= 1 && server->weight <= 1000);
        assert(server->max <= 1000000);
        assert(server->address.len > sizeof(sa_family_t));
        assert(server->address.len <= sizeof(server->address.addr));
        assert(strlen(server->address.text) >= 6);
    }
    assert((unsigned)upstream->contact <= CONTACT_CONNECT);
    assert(upstream->connect_timeout_ms >= 1 && upstream->connect_timeout_ms <= 3600000);
    assert(upstream->pool_max_age_ms >= 1 && upstream->pool_max_age_ms <= 86400000);
}

static void check_zones(const struct verify_zone *zones, uint32_t count)
{
    assert(count <= VERIFY_ZONES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        assert(zones[i].name[0] != '\0' && strpbrk(zones[i].name, " \t=,") == NULL);
        assert(zones[i].weight >= -1000 && zones[i].weight <= 1000);
        assert(zones[i].range_count <= VERIFY_RANGES_MAX);
        for (uint32_t j = 0; j < zones[i].range_count; j++) {
            const struct verify_range *range = &zones[i].ranges[j];
            assert(range->first <= range->last);
            assert(range->first >> 24 == 127 && range->last >> 24 == 127);
        }
    }
}

static void check_checks(const struct config *config)
{
    const struct verify_conf *verify = &config->verify;
    assert(config->dns.server_count <= DNS_SERVERS_MAX);
    assert(config->verify_deadline_ms >= 100 && config->verify_deadline_ms <= 300000);
    assert(config->hold_memory >= 16 << 10);
    assert(strpbrk(config->trace_header, ": \t\r\n") == NULL);
    assert((unsigned)config->verify_mode <= VERIFY_STREAM);
    assert(config->verify_mode == VERIFY_OFF || verify->authserv_id[0] != '\0');
    assert((unsigned)verify->dnsbl.action <= ACTION_REJECT);
    assert((unsigned)verify->dmarc.action <= ACTION_REJECT);
    assert(verify->dkim.signatures_max >= 1);
    assert(verify->dkim.signatures_max <= FOUND_SIGNATURES_MAX);
    check_zones(verify->dnsbl.zones, verify->dnsbl.zone_count);
    check_zones(verify->rhsbl.zones, verify->rhsbl.zone_count);
}

static void check_config(const struct config *config)
{
    check_checks(config);
    assert(config->hostname[0] != '\0');
    assert(config->workers >= 1 && config->workers <= CONFIG_WORKERS_MAX);
    assert(config->max_sessions >= 1 && config->max_sessions <= 1000000);
    assert(config->recipients >= 1 && config->recipients <= 100000);
    assert(config->message_size <= 1ull << 40);
    assert(config->session_timeout_ms >= 1);
    assert((unsigned)config->io <= IO_EPOLL);
    assert((unsigned)config->log_level <= LEVEL_DEBUG);
    assert(config->log_target[0] != '\0');
    assert(config->listener_count >= 1 && config->listener_count <= CONFIG_LISTENERS_MAX);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        assert(listener->bind_count >= 1 && listener->bind_count <= CONFIG_BINDS_MAX);
        assert(listener->upstream < config->upstream_count);
        assert(listener->greet_delay_ms >= 0 && listener->greet_delay_ms <= 60000);
    }
    assert(config->upstream_count <= CONFIG_UPSTREAMS_MAX);
    for (uint32_t i = 0; i < config->upstream_count; i++) {
        check_upstream(&config->upstreams[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *errors = NULL;
    size_t errors_len = 0;
    /* fmemopen() takes no empty buffer; a last newline changes nothing but for empty inputs. */
    char *text = malloc(size + 1);
    assert(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\n';
    FILE *in = fmemopen(text, size + 1, "r");
    FILE *out = open_memstream(&errors, &errors_len);
    assert(in != NULL && out != NULL);
    struct config *config = NULL;
    int result = config_load_stream(in, "fuzz.ini", NAMES_REFUSE, out, &config);
    (void)fclose(in);  /* memory */
    (void)fclose(out); /* memory */
    if (result == 0) {
        assert(errors_len == 0);
        check_config(config);
        config_destroy(&config);
    } else {
        assert(config == NULL);
        check_errors(errors, errors_len);
    }
    free(errors);
    free(text);
    return 0;
}
