/*
 * config_value - texts of proxy.ini into numbers, durations, sizes and names; pure.
 *
 * Each parser gets a terminated text without white space around it. 0, -EINVAL when the text is not
 * of that kind, -ERANGE when it is but the value lies outside the range. *ret is written only on
 * success. Durations are in milliseconds.
 */
#ifndef CORE_CONFIG_VALUE_H
#define CORE_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"

/* Why a value was refused: "reason; remedy". */
struct config_why {
    char text[1024];
};

struct config_range {
    int64_t min;
    int64_t max;
};

void config_why_set(struct config_why *why, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* 20000 */
int config_parse_number(const char *text, struct config_range range, int64_t *ret_number);

/* 500ms, 10s, 5m, 1h, or 0 */
int config_parse_duration(const char *text, struct config_range range, int64_t *ret_ms);

/* 10, 64k, 50m, 1g */
int config_parse_size(const char *text, struct config_range range, int64_t *ret_bytes);

/* The other way, in the largest unit that leaves no rest: for remedies. */
struct config_shown {
    char text[32];
};
struct config_shown config_show_duration(int64_t ms);
struct config_shown config_show_size(int64_t bytes);

/* What may follow "listen:" and "upstream:": 1 to 32 letters, digits, "-", "_" and ".". */
bool config_is_section_name(const char *text);

/* A host name, or an address literal in brackets, that can stand in a banner and after EHLO. */
bool config_is_hostname(const char *text);

/* CPUs that this process may run on, within 1..CONFIG_WORKERS_MAX. */
uint32_t config_cpu_count(void);

#endif
