/*
 * config_value - texts of proxy.ini into values (contract: core/config_value.h).
 *
 * Digits are read by hand: strtoll() would take signs, white space and hexadecimal.
 */
#include "core/config_value.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>

struct config_unit {
    const char *name;
    int64_t factor;
};

enum { SECTION_NAME_MAX = 32, HOSTNAME_MAX = 253 };

static const struct config_unit NUMBER_UNITS[] = {{"", 1}, {NULL, 0}};

/* The largest first: the printers take the first that leaves no rest. */
static const struct config_unit DURATION_UNITS[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};
static const struct config_unit SIZE_UNITS[] = {
    {"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"", 1}, {NULL, 0},
};

static int parse(const char *text, const struct config_unit *units, struct config_range range,
                 int64_t *ret_value);
static struct config_shown show(int64_t value, const struct config_unit *units);
static bool is_alnum(char c);

void config_why_set(struct config_why *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why->text, sizeof(why->text), format, args); /* cut is good enough */
    va_end(args);
}

int config_parse_number(const char *text, struct config_range range, int64_t *ret_number)
{
    return parse(text, NUMBER_UNITS, range, ret_number);
}

int config_parse_duration(const char *text, struct config_range range, int64_t *ret_ms)
{
    return parse(strcmp(text, "0") == 0 ? "0s" : text, DURATION_UNITS, range, ret_ms);
}

int config_parse_size(const char *text, struct config_range range, int64_t *ret_bytes)
{
    return parse(text, SIZE_UNITS, range, ret_bytes);
}

struct config_shown config_show_duration(int64_t ms)
{
    return show(ms, DURATION_UNITS);
}

struct config_shown config_show_size(int64_t bytes)
{
    return show(bytes, SIZE_UNITS);
}

bool config_is_section_name(const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len > SECTION_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_alnum(text[i]) && strchr("-_.", text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

bool config_is_hostname(const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len > HOSTNAME_MAX || text[0] == '.' || text[0] == '-') {
        return false;
    }
    bool is_literal = len > 2 && text[0] == '[' && text[len - 1] == ']';
    size_t first = is_literal ? 1 : 0;
    size_t end = is_literal ? len - 1 : len;
    for (size_t i = first; i < end; i++) {
        if (!is_alnum(text[i]) && strchr("-_.", text[i]) == NULL &&
            !(is_literal && text[i] == ':')) {
            return false;
        }
    }
    return true;
}

uint32_t config_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0) {
        return 1; /* more CPUs than the set holds: the operator can write a number */
    }
    int count = CPU_COUNT(&set);
    assert(count >= 1);
    return count > CONFIG_WORKERS_MAX ? CONFIG_WORKERS_MAX : (uint32_t)count;
}

static int parse(const char *text, const struct config_unit *units, struct config_range range,
                 int64_t *ret_value)
{
    assert(range.min >= 0 && range.min <= range.max);
    int64_t value = 0;
    bool is_over = false;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        is_over = is_over || value > (INT64_MAX - 9) / 10;
        value = is_over ? value : value * 10 + (*at - '0');
    }
    while (units->name != NULL && strcmp(units->name, at) != 0) {
        units++;
    }
    if (at == text || units->name == NULL) {
        return -EINVAL;
    }
    if (is_over || value > INT64_MAX / units->factor) {
        return -ERANGE;
    }
    value *= units->factor;
    if (value < range.min || value > range.max) {
        return -ERANGE;
    }
    *ret_value = value;
    return 0;
}

static struct config_shown show(int64_t value, const struct config_unit *units)
{
    while (units->factor > 1 && (value == 0 || value % units->factor != 0)) {
        units++;
    }
    struct config_shown shown;
    (void)snprintf(shown.text, sizeof(shown.text), "%lld%s", (long long)(value / units->factor),
                   units->name);
    return shown;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
