/*
 * config_table - the one table of proxy.ini's sections and keys; used by core/config.c alone.
 */
#ifndef CORE_CONFIG_TABLE_H
#define CORE_CONFIG_TABLE_H

#include <stddef.h>

#include "core/config.h"
#include "core/config_value.h"

enum config_section {
    SECTION_PROXY,
    SECTION_LISTEN,
    SECTION_UPSTREAM,
    SECTION_TLS,
    SECTION_DNS,
    SECTION_VERIFY,
    SECTION_DNSBL,
    SECTION_SPF,
    SECTION_DKIM,
    SECTION_DMARC,
    SECTION_LIMITS,
    SECTION_LOG,
    SECTION_COUNT,
    SECTION_NONE = SECTION_COUNT, /* before the first, or in one that was refused */
};

enum config_type {
    TYPE_NUMBER,   /* uint32_t */
    TYPE_WORKERS,  /* uint32_t, or auto */
    TYPE_DURATION, /* int64_t, milliseconds */
    TYPE_SIZE,     /* uint64_t, bytes */
    TYPE_WORD,     /* enum of int's size; nothing is stored when the offset is CONFIG_NO_FIELD */
    TYPE_YES_NO,   /* bool */
    TYPE_HOSTNAME, /* char[max]; may be empty */
    TYPE_USER,     /* char[max]; may be empty */
    TYPE_TARGET,   /* char[max]: stderr, syslog or a path */
    TYPE_NETWORKS, /* struct network[CONFIG_NETWORKS_MAX] and a uint32_t behind it; repeatable; a
                      list */
    TYPE_PATH,     /* char[max]; may be empty */
    TYPE_FILES,    /* struct config_files; may be empty */
    TYPE_CERTIFICATES, /* struct config_certificates; repeatable */
    TYPE_PINS,         /* struct config_pins; repeatable */
    TYPE_DNS_SERVER,   /* struct config_dns; repeatable */
    TYPE_ZONES,        /* an array of struct verify_zone behind its count; repeatable */
    TYPE_FIELD,        /* char[CONFIG_FIELD_MAX]; may be empty */
    TYPE_BIND,         /* repeatable; these three belong to core/config.c */
    TYPE_SERVER,       /* repeatable */
    TYPE_UPSTREAM,     /* the name of a section that may come later */
};

enum { CONFIG_NO_FIELD = -1, CONFIG_KEYS_MAX = 64 };

/* One word of a key; `value` is WORD_LATER for words of the contract that this version lacks. */
enum { WORD_LATER = -1 };
struct config_word {
    const char *text;
    int value;
};

struct config_key {
    enum config_section section;
    enum config_type type;
    const char *key;
    const char *fallback; /* the default, or for a required key an example */
    int64_t min;
    int64_t max;
    const struct config_word *words; /* ends with a NULL text */
    int offset; /* in struct config, config_listener or config_upstream, by the section */
    bool is_required;
};

/* "proxy", or "listen" of "listen:NAME". */
const char *config_section_name(enum config_section section);
bool config_section_is_named(enum config_section section);

/* All keys in the order of proxy.ini; *ret_count is at most CONFIG_KEYS_MAX. */
const struct config_key *config_keys(uint32_t *ret_count);

bool config_key_is_repeatable(const struct config_key *key);

/* Checks `text` and stores it in the struct of its section. 0, or -EINVAL and *why. Not for
 * TYPE_BIND, TYPE_SERVER and TYPE_UPSTREAM. */
int config_key_set(const struct config_key *key, const char *text, void *section,
                   struct config_why *why) __attribute__((warn_unused_result));

#endif
