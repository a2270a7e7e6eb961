/*
 * config_checks - see core/config_checks.h.
 */
#include "core/config_checks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "filters/idn.h"
#include "net/dns.h"

#define SPACE " \t"

enum {
    WEIGHT_MAX = 1000,
    LOOPBACK_NET = 127,
    REVERSED_MAX = 64, /* octets of an IPv6 address in front of a list's name (RFC 5782, 2.4) */
};

/* ---- lists ---- */

static bool parse_code(const char *text, uint32_t *ret_code)
{
    struct in_addr address;
    if (inet_pton(AF_INET, text, &address) != 1) {
        return false;
    }
    *ret_code = ntohl(address.s_addr);
    return *ret_code >> 24 == LOOPBACK_NET;
}

/* "127.0.0.2" or "127.0.0.2-127.0.0.11" */
static bool parse_range(const char *text, struct verify_range *ret_range)
{
    char first[INET_ADDRSTRLEN];
    size_t len = strcspn(text, "-");
    if (len >= sizeof(first)) {
        return false;
    }
    memcpy(first, text, len);
    first[len] = '\0';
    return parse_code(first, &ret_range->first) &&
           parse_code(text[len] == '-' ? text + len + 1 : first, &ret_range->last) &&
           ret_range->first <= ret_range->last;
}

/* Nothing between two commas is refused: a list without codes means all of them. */
static int parse_codes(char *text, struct verify_zone *zone, struct config_why *why)
{
    for (char *word; (word = strsep(&text, ",")) != NULL;) {
        if (zone->range_count == VERIFY_RANGES_MAX) {
            config_why_set(why, "there are too many codes; write at most %d ranges",
                           VERIFY_RANGES_MAX);
            return -EINVAL;
        }
        if (!parse_range(word, &zone->ranges[zone->range_count])) {
            config_why_set(why,
                           "'%s' is no code of a list; write codes=127.0.0.2-127.0.0.11,127.0.1.2, "
                           "all of them in 127.0.0.0/8",
                           word);
            return -EINVAL;
        }
        zone->range_count++;
    }
    return 0;
}

static bool parse_weight(const char *text, int32_t *ret_weight)
{
    bool is_negative = text[0] == '-';
    int64_t weight;
    if (config_parse_number(text + is_negative, (struct config_range){0, WEIGHT_MAX}, &weight) <
        0) {
        return false;
    }
    *ret_weight = (int32_t)(is_negative ? -weight : weight);
    return true;
}

static int parse_option(char *word, struct verify_zone *zone, struct config_why *why)
{
    if (strncmp(word, "codes=", 6) == 0) {
        return parse_codes(word + 6, zone, why);
    }
    if (strncmp(word, "weight=", 7) == 0) {
        if (parse_weight(word + 7, &zone->weight)) {
            return 0;
        }
        config_why_set(why, "'%s' is no weight; write weight=N with N from -%d to %d", word,
                       WEIGHT_MAX, WEIGHT_MAX);
        return -EINVAL;
    }
    config_why_set(why, "'%s' is not known here; write NAME weight=N codes=127.0.0.2-127.0.0.11",
                   word);
    return -EINVAL;
}

/* A domain that leaves room for the longest of what is asked about. */
static bool is_list_name(const char *text)
{
    uint8_t wire[DNS_NAME_MAX];
    int len = dns_name_parse(text, (uint32_t)strlen(text), wire);
    return len > 1 && len + REVERSED_MAX <= DNS_NAME_MAX && config_is_hostname(text) &&
           text[0] != '[';
}

int config_add_zone(struct verify_zone *zones, uint32_t *count, const char *text,
                    struct config_why *why)
{
    char copy[CONFIG_TEXT_MAX];
    char *rest = NULL;
    (void)snprintf(copy, sizeof(copy), "%s", text); /* a line of the file is shorter */
    char *name = strtok_r(copy, SPACE, &rest);
    if (name == NULL) {
        return 0;
    }
    if (*count == VERIFY_ZONES_MAX) {
        config_why_set(why, "there are too many lists; write at most %d", VERIFY_ZONES_MAX);
        return -EINVAL;
    }
    if (!is_list_name(name)) {
        config_why_set(why, "'%s' is not the name of a list; write one as zen.example.org", name);
        return -EINVAL;
    }
    struct verify_zone *zone = &zones[*count];
    *zone = (struct verify_zone){.weight = 1};
    (void)snprintf(zone->name, sizeof(zone->name), "%s", name);
    for (char *word; (word = strtok_r(NULL, SPACE, &rest)) != NULL;) {
        if (parse_option(word, zone, why) < 0) {
            return -EINVAL;
        }
    }
    (*count)++;
    return 0;
}

/* ---- names in header fields ---- */

/* Names that readers of mail give a meaning. */
static bool is_standard_field(const char *name)
{
    static const char *const standard[] = {
        "Authentication-Results",
        "Auto-Submitted",
        "Bcc",
        "Cc",
        "Comments",
        "Date",
        "Delivered-To",
        "From",
        "In-Reply-To",
        "Keywords",
        "Message-ID",
        "MIME-Version",
        "Received",
        "Received-SPF",
        "References",
        "Reply-To",
        "Return-Path",
        "Sender",
        "Subject",
        "To",
    };
    static const char *const families[] = {"ARC-", "Content-", "DKIM-", "List-", "Resent-"};
    for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++) {
        if (strcasecmp(name, standard[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (strncasecmp(name, families[i], strlen(families[i])) == 0) {
            return true;
        }
    }
    return false;
}

int config_parse_field(const char *text, char *out, struct config_why *why)
{
    size_t len = strlen(text);
    out[0] = '\0';
    if (len == 0 || strcmp(text, "off") == 0) {
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~' || text[i] == ':') {
            config_why_set(
                why, "'%s' is no name of a header field; write one as X-Mailweir, or off", text);
            return -EINVAL;
        }
    }
    if (len >= CONFIG_FIELD_MAX || is_standard_field(text)) {
        config_why_set(why, "'%s' is %s; write a name of your own as X-Mailweir, or off", text,
                       len >= CONFIG_FIELD_MAX ? "too long" : "a field that others write");
        return -EINVAL;
    }
    memcpy(out, text, len + 1);
    return 0;
}

_Static_assert((int)IDN_NAME_MAX <= (int)VERIFY_NAME_MAX, "an authserv-id fits in either form");

const char *config_fold_authserv_id(char *id)
{
    char ascii[IDN_NAME_MAX];
    uint8_t wire[DNS_NAME_MAX];
    int len = idn_to_ascii(id, (uint32_t)strlen(id), ascii);
    if (id[0] == '[' || len <= 0 || dns_name_parse(ascii, (uint32_t)len, wire) < 0) {
        return "cannot stand in Authentication-Results fields; write [verify] authserv_id = NAME, "
               "a "
               "host name";
    }
    memcpy(id, ascii, (size_t)len + 1);
    return NULL;
}
