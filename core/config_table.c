/*
 * config_table - every section, key, type, range and default of proxy.ini (contract:
 * core/config_table.h).
 *
 * A new key is one row here, one field in core/config.h and one line in proxy.ini. Words that the
 * contract names for later versions are listed too: they are refused by name, not as unknown.
 */
#include "core/config_table.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/config_checks.h"
#include "core/config_dns.h"
#include "core/config_tls.h"

_Static_assert(sizeof(enum config_io) == sizeof(int), "words are stored as int");
_Static_assert(offsetof(struct config_listener, trust_proxy_count) ==
                   offsetof(struct config_listener, trust_proxy) +
                       sizeof(struct network) * CONFIG_NETWORKS_MAX,
               "a list of networks has its count behind it");
_Static_assert(offsetof(struct verify_conf, dnsbl.zones) ==
                       offsetof(struct verify_conf, dnsbl.zone_count) + sizeof(uint32_t) &&
                   offsetof(struct verify_conf, dnsbl.zone_count) ==
                       offsetof(struct verify_conf, dnsbl) &&
                   offsetof(struct verify_conf, rhsbl.zones) ==
                       offsetof(struct verify_conf, rhsbl) + sizeof(uint32_t),
               "lists of lists begin with their count");

enum {
    SECOND = 1000,
    MINUTE = 60 * SECOND,
    HOUR = 60 * MINUTE,
    DAY = 24 * HOUR,
    COUNT_MAX = 1000000000,
};

static const struct {
    const char *name;
    bool is_named;
} SECTIONS[SECTION_COUNT] = {
    [SECTION_PROXY] = {"proxy", false},      [SECTION_LISTEN] = {"listen", true},
    [SECTION_UPSTREAM] = {"upstream", true}, [SECTION_TLS] = {"tls", false},
    [SECTION_DNS] = {"dns", false},          [SECTION_VERIFY] = {"verify", false},
    [SECTION_DNSBL] = {"dnsbl", false},      [SECTION_SPF] = {"spf", false},
    [SECTION_DKIM] = {"dkim", false},        [SECTION_DMARC] = {"dmarc", false},
    [SECTION_LIMITS] = {"limits", false},    [SECTION_LOG] = {"log", false},
};

#define WORDS(name, ...) static const struct config_word name[] = {__VA_ARGS__, {NULL, 0}}

WORDS(IO_WORDS, {"auto", IO_AUTO}, {"io_uring", IO_URING}, {"epoll", IO_EPOLL});
WORDS(MODE_WORDS, {"gateway", LISTEN_GATEWAY}, {"transparent", WORD_LATER});
WORDS(LISTEN_TLS_WORDS, {"off", LISTEN_TLS_OFF}, {"starttls", LISTEN_TLS_STARTTLS},
      {"required", LISTEN_TLS_REQUIRED}, {"implicit", LISTEN_TLS_IMPLICIT});
WORDS(BALANCE_WORDS, {"least_conn", BALANCE_LEAST_CONN}, {"round_robin", BALANCE_ROUND_ROBIN},
      {"hash", BALANCE_HASH});
WORDS(CONTACT_WORDS, {"rcpt", CONTACT_RCPT}, {"mail", CONTACT_MAIL}, {"connect", CONTACT_CONNECT});
WORDS(CLIENT_INFO_WORDS, {"none", 0}, {"xforward", WORD_LATER}, {"xclient", WORD_LATER},
      {"proxy_v1", WORD_LATER}, {"proxy_v2", WORD_LATER});
WORDS(UPSTREAM_TLS_WORDS, {"off", UPSTREAM_TLS_OFF}, {"opportunistic", UPSTREAM_TLS_OPPORTUNISTIC},
      {"required", UPSTREAM_TLS_REQUIRED}, {"implicit", UPSTREAM_TLS_IMPLICIT});
WORDS(TLS_VERSION_WORDS, {"1.2", MIN_TLS_1_2}, {"1.3", MIN_TLS_1_3});
WORDS(CHUNKING_WORDS, {"off", CHUNKING_OFF}, {"auto", CHUNKING_AUTO});
WORDS(VERIFY_WORDS, {"hold", VERIFY_HOLD}, {"stream", VERIFY_STREAM}, {"off", VERIFY_OFF});
WORDS(ACTION_WORDS, {"off", ACTION_OFF}, {"report", ACTION_REPORT}, {"tag", ACTION_TAG},
      {"defer", ACTION_DEFER}, {"reject", ACTION_REJECT});
WORDS(YES_NO_WORDS, {"yes", 1}, {"no", 0});
WORDS(FORMAT_WORDS, {"json", LOG_FORMAT_JSON}, {"text", LOG_FORMAT_TEXT});
WORDS(LEVEL_WORDS, {"error", LEVEL_ERROR}, {"warning", LEVEL_WARNING}, {"info", LEVEL_INFO},
      {"debug", LEVEL_DEBUG});

/* clang-format off */
#define ROW(section_, key_, fallback_, ...) \
    {.section = SECTION_##section_, .key = (key_), .fallback = (fallback_), __VA_ARGS__}
#define AT(struct_, field_) .offset = (int)offsetof(struct struct_, field_)
#define RANGE(min_, max_) .min = (min_), .max = (max_)
#define WORD(words_) .type = TYPE_WORD, .words = (words_)

static const struct config_key KEYS[] = {
    ROW(PROXY, "hostname", "", .type = TYPE_HOSTNAME, .max = CONFIG_TEXT_MAX, AT(config, hostname)),
    ROW(PROXY, "workers", "auto", .type = TYPE_WORKERS, RANGE(1, CONFIG_WORKERS_MAX), AT(config, workers)),
    ROW(PROXY, "io", "auto", WORD(IO_WORDS), AT(config, io)),
    ROW(PROXY, "user", "", .type = TYPE_USER, .max = CONFIG_NAME_MAX, AT(config, user)),
    ROW(PROXY, "max_sessions", "20000", .type = TYPE_NUMBER, RANGE(1, 1000000), AT(config, max_sessions)),
    ROW(PROXY, "drain_timeout", "30s", .type = TYPE_DURATION, RANGE(0, HOUR), AT(config, drain_timeout_ms)),

    ROW(LISTEN, "bind", "127.0.0.1:2525", .type = TYPE_BIND, .is_required = true, .offset = CONFIG_NO_FIELD),
    ROW(LISTEN, "mode", "gateway", WORD(MODE_WORDS), AT(config_listener, mode)),
    ROW(LISTEN, "tls", "starttls", WORD(LISTEN_TLS_WORDS), AT(config_listener, tls)),
    ROW(LISTEN, "upstream", "default", .type = TYPE_UPSTREAM, .offset = CONFIG_NO_FIELD),
    ROW(LISTEN, "greet_delay", "0s", .type = TYPE_DURATION, RANGE(0, MINUTE), AT(config_listener, greet_delay_ms)),
    ROW(LISTEN, "trust_proxy", "", .type = TYPE_NETWORKS, AT(config_listener, trust_proxy)),

    ROW(UPSTREAM, "server", "127.0.0.1:2626 weight=1 max=200", .type = TYPE_SERVER, .is_required = true, .offset = CONFIG_NO_FIELD),
    ROW(UPSTREAM, "balance", "least_conn", WORD(BALANCE_WORDS), AT(config_upstream, balance)),
    ROW(UPSTREAM, "contact", "rcpt", WORD(CONTACT_WORDS), AT(config_upstream, contact)),
    ROW(UPSTREAM, "client_info", "none", WORD(CLIENT_INFO_WORDS), .offset = CONFIG_NO_FIELD),
    ROW(UPSTREAM, "tls", "off", WORD(UPSTREAM_TLS_WORDS), AT(config_upstream, tls)),
    ROW(UPSTREAM, "tls_verify", "yes", .type = TYPE_YES_NO, .words = YES_NO_WORDS, AT(config_upstream, tls_verify)),
    ROW(UPSTREAM, "tls_ca", "/etc/ssl/certs/ca-certificates.crt", .type = TYPE_PATH, .max = CONFIG_TEXT_MAX, AT(config_upstream, tls_ca)),
    ROW(UPSTREAM, "tls_name", "", .type = TYPE_HOSTNAME, .max = CONFIG_TEXT_MAX, AT(config_upstream, tls_name)),
    ROW(UPSTREAM, "tls_pin", "", .type = TYPE_PINS, AT(config_upstream, pins)),
    ROW(UPSTREAM, "tls_certificate", "", .type = TYPE_FILES, AT(config_upstream, tls_files)),
    ROW(UPSTREAM, "chunking", "auto", WORD(CHUNKING_WORDS), AT(config_upstream, chunking)),
    ROW(UPSTREAM, "lease_hold", "2s", .type = TYPE_DURATION, RANGE(0, HOUR), AT(config_upstream, lease_hold_ms)),
    ROW(UPSTREAM, "pool_idle", "64", .type = TYPE_NUMBER, RANGE(0, 100000), AT(config_upstream, pool_idle)),
    ROW(UPSTREAM, "pool_idle_timeout", "60s", .type = TYPE_DURATION, RANGE(1, DAY), AT(config_upstream, pool_idle_timeout_ms)),
    ROW(UPSTREAM, "pool_max_age", "10m", .type = TYPE_DURATION, RANGE(1, DAY), AT(config_upstream, pool_max_age_ms)),
    ROW(UPSTREAM, "connect_timeout", "10s", .type = TYPE_DURATION, RANGE(1, HOUR), AT(config_upstream, connect_timeout_ms)),
    ROW(UPSTREAM, "check_interval", "10s", .type = TYPE_DURATION, RANGE(1, HOUR), AT(config_upstream, check_interval_ms)),

    ROW(TLS, "certificate", "", .type = TYPE_CERTIFICATES, AT(config, certificates)),
    ROW(TLS, "min_version", "1.2", WORD(TLS_VERSION_WORDS), AT(config, min_version)),

    ROW(DNS, "server", "", .type = TYPE_DNS_SERVER, AT(config, dns)),
    ROW(DNS, "local_zone", "", .type = TYPE_PATH, .max = CONFIG_TEXT_MAX, AT(config, dns.local_zone)),
    ROW(DNS, "timeout", "2s", .type = TYPE_DURATION, RANGE(10, MINUTE), AT(config, dns.timeout_ms)),
    ROW(DNS, "attempts", "2", .type = TYPE_NUMBER, RANGE(1, 10), AT(config, dns.attempts)),
    ROW(DNS, "cache_entries", "65536", .type = TYPE_NUMBER, RANGE(16, 16 << 20), AT(config, dns.cache_entries)),

    ROW(VERIFY, "mode", "hold", WORD(VERIFY_WORDS), AT(config, verify_mode)),
    ROW(VERIFY, "deadline", "20s", .type = TYPE_DURATION, RANGE(100, 5 * MINUTE), AT(config, verify_deadline_ms)),
    ROW(VERIFY, "hold_memory", "256k", .type = TYPE_SIZE, RANGE(16 << 10, 1 << 30), AT(config, hold_memory)),
    ROW(VERIFY, "spool_dir", "/var/tmp", .type = TYPE_PATH, .max = CONFIG_TEXT_MAX, AT(config, spool_dir)),
    ROW(VERIFY, "authserv_id", "", .type = TYPE_HOSTNAME, .max = VERIFY_NAME_MAX, AT(config, verify.authserv_id)),
    ROW(VERIFY, "received_header", "yes", .type = TYPE_YES_NO, .words = YES_NO_WORDS, AT(config, received_header)),
    ROW(VERIFY, "trace_header", "X-Mailweir", .type = TYPE_FIELD, AT(config, trace_header)),

    ROW(DNSBL, "zone", "", .type = TYPE_ZONES, AT(config, verify.dnsbl)),
    ROW(DNSBL, "rhsbl", "", .type = TYPE_ZONES, AT(config, verify.rhsbl)),
    ROW(DNSBL, "threshold", "3", .type = TYPE_NUMBER, RANGE(1, 100000), AT(config, verify.dnsbl.threshold)),
    ROW(DNSBL, "action", "reject", WORD(ACTION_WORDS), AT(config, verify.dnsbl.action)),

    ROW(SPF, "action", "tag", WORD(ACTION_WORDS), AT(config, verify.spf.action)),

    ROW(DKIM, "action", "tag", WORD(ACTION_WORDS), AT(config, verify.dkim.action)),
    ROW(DKIM, "signatures_max", "8", .type = TYPE_NUMBER, RANGE(1, FOUND_SIGNATURES_MAX), AT(config, verify.dkim.signatures_max)),

    ROW(DMARC, "action", "tag", WORD(ACTION_WORDS), AT(config, verify.dmarc.action)),

    ROW(LIMITS, "message_size", "50m", .type = TYPE_SIZE, RANGE(0, 1LL << 40), AT(config, message_size)),
    ROW(LIMITS, "recipients", "1000", .type = TYPE_NUMBER, RANGE(1, 100000), AT(config, recipients)),
    ROW(LIMITS, "errors", "20", .type = TYPE_NUMBER, RANGE(1, COUNT_MAX), AT(config, errors)),
    ROW(LIMITS, "commands", "1000", .type = TYPE_NUMBER, RANGE(1, COUNT_MAX), AT(config, commands)),
    ROW(LIMITS, "command_timeout", "300s", .type = TYPE_DURATION, RANGE(1, DAY), AT(config, command_timeout_ms)),
    ROW(LIMITS, "data_timeout", "180s", .type = TYPE_DURATION, RANGE(1, DAY), AT(config, data_timeout_ms)),
    ROW(LIMITS, "session_timeout", "60m", .type = TYPE_DURATION, RANGE(1, 7LL * DAY), AT(config, session_timeout_ms)),

    ROW(LOG, "target", "stderr", .type = TYPE_TARGET, .max = CONFIG_TEXT_MAX, AT(config, log_target)),
    ROW(LOG, "format", "json", WORD(FORMAT_WORDS), AT(config, log_format)),
    ROW(LOG, "level", "info", WORD(LEVEL_WORDS), AT(config, log_level)),
};
/* clang-format on */

enum { KEY_COUNT = sizeof(KEYS) / sizeof(KEYS[0]) };
_Static_assert((int)KEY_COUNT <= (int)CONFIG_KEYS_MAX, "bound of core/config.c's book-keeping");

static int set_number(const struct config_key *key, const char *text, void *at,
                      struct config_why *why);
static int set_duration(const struct config_key *key, const char *text, void *at,
                        struct config_why *why);
static int set_size(const struct config_key *key, const char *text, void *at,
                    struct config_why *why);
static int set_word(const struct config_key *key, const char *text, void *at,
                    struct config_why *why);
static int find_word(const struct config_word *words, const char *text, int *ret_value,
                     struct config_why *why);
static int set_text(const struct config_key *key, const char *text, void *at,
                    struct config_why *why);
static int set_networks(const char *text, void *at, struct config_why *why);
static int set_zones(const char *text, void *at, struct config_why *why);
static const char *kind_of_trouble(int error, const char *kind);

const char *config_section_name(enum config_section section)
{
    assert(section < SECTION_COUNT);
    return SECTIONS[section].name;
}

bool config_section_is_named(enum config_section section)
{
    assert(section < SECTION_COUNT);
    return SECTIONS[section].is_named;
}

const struct config_key *config_keys(uint32_t *ret_count)
{
    *ret_count = KEY_COUNT;
    return KEYS;
}

bool config_key_is_repeatable(const struct config_key *key)
{
    return key->type == TYPE_BIND || key->type == TYPE_SERVER || key->type == TYPE_NETWORKS ||
           key->type == TYPE_CERTIFICATES || key->type == TYPE_PINS ||
           key->type == TYPE_DNS_SERVER || key->type == TYPE_ZONES;
}

void config_print_keys(FILE *out)
{
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        const struct config_key *key = &KEYS[i];
        fprintf(out, "[%s%s] %s = %s\n", SECTIONS[key->section].name,
                SECTIONS[key->section].is_named ? ":NAME" : "", key->key, key->fallback);
    }
}

int config_key_set(const struct config_key *key, const char *text, void *section,
                   struct config_why *why)
{
    void *at = key->offset == CONFIG_NO_FIELD ? NULL : (char *)section + key->offset;
    switch (key->type) {
    case TYPE_NUMBER:
    case TYPE_WORKERS:
        assert(at != NULL);
        return set_number(key, text, at, why);
    case TYPE_DURATION:
        assert(at != NULL);
        return set_duration(key, text, at, why);
    case TYPE_SIZE:
        assert(at != NULL);
        return set_size(key, text, at, why);
    case TYPE_WORD:
    case TYPE_YES_NO:
        return set_word(key, text, at, why);
    case TYPE_HOSTNAME:
    case TYPE_USER:
    case TYPE_TARGET:
    case TYPE_PATH:
        assert(at != NULL);
        return set_text(key, text, at, why);
    case TYPE_NETWORKS:
        assert(at != NULL);
        return set_networks(text, at, why);
    case TYPE_FILES:
        return config_parse_files(text, at, why);
    case TYPE_CERTIFICATES:
        return config_add_certificate(at, text, why);
    case TYPE_PINS:
        return config_add_pin(at, text, why);
    case TYPE_DNS_SERVER:
        return config_add_dns_server(at, text, why);
    case TYPE_ZONES:
        return set_zones(text, at, why);
    case TYPE_FIELD:
        return config_parse_field(text, at, why);
    case TYPE_BIND:
    case TYPE_SERVER:
    case TYPE_UPSTREAM:
        break;
    }
    assert(!"core/config.c keeps these keys");
    return -EINVAL;
}

static int set_number(const struct config_key *key, const char *text, void *at,
                      struct config_why *why)
{
    bool may_be_auto = key->type == TYPE_WORKERS;
    struct config_range range = {.min = key->min, .max = key->max};
    int64_t number = 0;
    int error = 0;
    if (may_be_auto && strcmp(text, "auto") == 0) {
        number = config_cpu_count();
    } else {
        error = config_parse_number(text, range, &number);
    }
    if (error < 0) {
        config_why_set(why, "'%s' is %s; write %sa whole number from %lld to %lld", text,
                       kind_of_trouble(error, "not a number"), may_be_auto ? "auto or " : "",
                       (long long)key->min, (long long)key->max);
        return -EINVAL;
    }
    uint32_t value = (uint32_t)number;
    memcpy(at, &value, sizeof(value));
    return 0;
}

static int set_duration(const struct config_key *key, const char *text, void *at,
                        struct config_why *why)
{
    struct config_range range = {.min = key->min, .max = key->max};
    int64_t ms;
    int error = config_parse_duration(text, range, &ms);
    if (error < 0) {
        config_why_set(why, "'%s' is %s; write a number with ms, s, m or h, from %s to %s", text,
                       kind_of_trouble(error, "not a duration"),
                       config_show_duration(key->min).text, config_show_duration(key->max).text);
        return -EINVAL;
    }
    memcpy(at, &ms, sizeof(ms));
    return 0;
}

static int set_size(const struct config_key *key, const char *text, void *at,
                    struct config_why *why)
{
    struct config_range range = {.min = key->min, .max = key->max};
    int64_t bytes;
    int error = config_parse_size(text, range, &bytes);
    if (error < 0) {
        config_why_set(why,
                       "'%s' is %s; write a number of bytes, or one with k, m or g, from %s "
                       "to %s",
                       text, kind_of_trouble(error, "not a size"), config_show_size(key->min).text,
                       config_show_size(key->max).text);
        return -EINVAL;
    }
    uint64_t value = (uint64_t)bytes;
    memcpy(at, &value, sizeof(value));
    return 0;
}

static int set_word(const struct config_key *key, const char *text, void *at,
                    struct config_why *why)
{
    int value;
    int error = find_word(key->words, text, &value, why);
    if (error < 0 || at == NULL) {
        return error;
    }
    if (key->type == TYPE_YES_NO) {
        *(bool *)at = value != 0;
    } else {
        memcpy(at, &value, sizeof(value));
    }
    return 0;
}

static int find_word(const struct config_word *words, const char *text, int *ret_value,
                     struct config_why *why)
{
    char list[128] = "";
    bool is_later = false;
    for (; words->text != NULL; words++) {
        bool is_it = strcmp(words->text, text) == 0;
        if (words->value == WORD_LATER) {
            is_later = is_later || is_it;
            continue;
        }
        if (is_it) {
            *ret_value = words->value;
            return 0;
        }
        size_t len = strlen(list);
        (void)snprintf(list + len, sizeof(list) - len, "%s%s", len > 0 ? ", " : "", words->text);
    }
    bool is_one = strchr(list, ',') == NULL;
    if (is_later) {
        config_why_set(why, "'%s' is not available in this version; use %s", text, list);
    } else {
        config_why_set(why, "'%s' is not known here; %s %s", text, is_one ? "use" : "use one of",
                       list);
    }
    return -EINVAL;
}

static int set_text(const struct config_key *key, const char *text, void *at,
                    struct config_why *why)
{
    size_t len = strlen(text);
    const char *remedy = NULL;
    if (key->type == TYPE_HOSTNAME && len > 0 && !config_is_hostname(text)) {
        remedy = "write a name of letters, digits, hyphens and dots, or an address in brackets";
    } else if (key->type == TYPE_USER && strpbrk(text, " \t:/;") != NULL) {
        remedy = "write one user name";
    } else if (key->type == TYPE_TARGET && strcmp(text, "stderr") != 0 &&
               strcmp(text, "syslog") != 0 && strchr(text, '/') == NULL) {
        remedy = "write stderr, syslog or a path with a slash in it";
    } else if (len >= (size_t)key->max) {
        remedy = "write a shorter one";
    }
    if (remedy != NULL) {
        config_why_set(why, "'%s' cannot be used; %s", text, remedy);
        return -EINVAL;
    }
    memcpy(at, text, len + 1);
    return 0;
}

/* Networks with spaces or commas between them; each line of a repeated key adds to the list. */
static int set_networks(const char *text, void *at, struct config_why *why)
{
    struct network *networks = at;
    uint32_t count;
    void *count_at = (char *)at + sizeof(struct network) * CONFIG_NETWORKS_MAX;
    memcpy(&count, count_at, sizeof(count));
    for (text += strspn(text, " \t,"); *text != '\0'; text += strspn(text, " \t,")) {
        char word[64];
        size_t len = strcspn(text, " \t,");
        (void)snprintf(word, sizeof(word), "%.*s", (int)len, text);
        text += len;
        if (count == CONFIG_NETWORKS_MAX) {
            config_why_set(why, "more than %d networks; join some of them", CONFIG_NETWORKS_MAX);
            return -EINVAL;
        }
        if (len >= sizeof(word) || network_parse(word, &networks[count]) < 0) {
            config_why_set(why,
                           "'%s' is not a network; write 192.0.2.0/24, 2001:db8::/32 or an address",
                           word);
            return -EINVAL;
        }
        count++;
    }
    memcpy(count_at, &count, sizeof(count));
    return 0;
}

/* [dnsbl] and its sister for names begin alike: the count, then the lists. */
static int set_zones(const char *text, void *at, struct config_why *why)
{
    uint32_t *count = at;
    return config_add_zone((struct verify_zone *)(void *)(count + 1), count, text, why);
}

static const char *kind_of_trouble(int error, const char *kind)
{
    return error == -ERANGE ? "out of range" : kind;
}
