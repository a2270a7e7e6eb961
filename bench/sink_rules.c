/*
 * sink_rules - see bench/sink_rules.h.
 */
#include "bench/sink_rules.h"

#include <assert.h>
#include <errno.h>

static const char *const stage_names[STAGE_COUNT] = {
    [STAGE_CONNECT] = "connect", [STAGE_EHLO] = "ehlo", [STAGE_HELO] = "helo",
    [STAGE_MAIL] = "mail",       [STAGE_RCPT] = "rcpt", [STAGE_DATA] = "data",
    [STAGE_BODY] = "body",       [STAGE_EOM] = "eom",   [STAGE_RSET] = "rset",
    [STAGE_NOOP] = "noop",       [STAGE_QUIT] = "quit",
};

enum value_kind { VALUE_NONE, VALUE_MS, VALUE_TEXT };

static const struct action_row {
    const char *name;
    enum value_kind value;
} action_rows[] = {
    [ACTION_DELAY] = {"delay", VALUE_MS},
    [ACTION_REPLY] = {"reply", VALUE_TEXT},
    [ACTION_DROP] = {"drop", VALUE_NONE},
    [ACTION_RESET] = {"reset", VALUE_NONE},
    [ACTION_GARBAGE] = {"garbage", VALUE_NONE},
    [ACTION_HANG] = {"hang", VALUE_NONE},
    [ACTION_DRIP] = {"drip", VALUE_MS},
    [ACTION_EARLY] = {"early", VALUE_NONE},
    [ACTION_CLOSE_AFTER] = {"close-after", VALUE_NONE},
};

enum { ACTION_COUNT = sizeof(action_rows) / sizeof(action_rows[0]) };

/* ---- parsing ---- */

/* Cuts the text in front of `mark` off *rest; false (and nothing cut) when the mark is not there.
 */
static bool text_cut(struct text *rest, char mark, struct text *ret_front)
{
    const char *at = rest->len == 0 ? NULL : memchr(rest->at, mark, rest->len);
    if (at == NULL) {
        return false;
    }
    uint32_t len = (uint32_t)(at - rest->at);
    *ret_front = (struct text){.at = rest->at, .len = len};
    rest->at += len + 1;
    rest->len -= len + 1;
    return true;
}

static bool number_parse(struct text text, uint32_t min, uint32_t max, uint32_t *ret_number)
{
    uint64_t number = 0;
    if (text.len == 0 || text.len > 10) {
        return false;
    }
    for (uint32_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(text.at[i] - '0');
    }
    if (number < min || number > max) {
        return false;
    }
    *ret_number = (uint32_t)number;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/* One escape behind its backslash. Returns the characters used, 0 when it is none. */
static uint32_t escape_parse(struct text text, char *ret_byte)
{
    static const char names[] = "rnt\\";
    static const char bytes[] = "\r\n\t\\";
    if (text.len == 0 || text.at[0] == '\0') {
        return 0;
    }
    const char *name = strchr(names, text.at[0]);
    if (name != NULL) {
        *ret_byte = bytes[name - names];
        return 1;
    }
    if (text.at[0] == 'x' && text.len >= 3 && hex_digit(text.at[1]) >= 0 &&
        hex_digit(text.at[2]) >= 0) {
        *ret_byte = (char)(hex_digit(text.at[1]) * 16 + hex_digit(text.at[2]));
        return 3;
    }
    return 0;
}

static int reply_parse(struct sink_rule *rule, struct text text, const char **ret_why)
{
    uint32_t len = 0;
    for (uint32_t i = 0; i < text.len; i++) {
        char byte = text.at[i];
        if (byte == '\\') {
            struct text rest = {.at = text.at + i + 1, .len = text.len - i - 1};
            uint32_t used = escape_parse(rest, &byte);
            if (used == 0) {
                *ret_why = "unknown escape (known: \\r \\n \\t \\\\ \\xHH)";
                return -EINVAL;
            }
            i += used;
        }
        if (len + 3 > SINK_RULE_TEXT_MAX) {
            *ret_why = "reply too long";
            return -EINVAL;
        }
        rule->text[len++] = byte;
    }
    memcpy(rule->text + len, "\r\n", 2);
    rule->text_len = len + 2;
    return 0;
}

static int stage_parse(struct sink_rule *rule, struct text text, const char **ret_why)
{
    struct text name;
    if (!text_cut(&text, '/', &name)) {
        name = text;
        rule->nth = 0;
    } else if (!number_parse(text, 1, UINT32_MAX, &rule->nth)) {
        *ret_why = "the number behind '/' is not one from 1 to 4294967295";
        return -EINVAL;
    }
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        if (text_is(name, stage_names[stage])) {
            rule->stage = (enum sink_stage)stage;
            return 0;
        }
    }
    *ret_why = "unknown stage";
    return -EINVAL;
}

static int value_parse(struct sink_rule *rule, bool has_value, struct text value,
                       const char **ret_why)
{
    switch (action_rows[rule->action].value) {
    case VALUE_NONE:
        if (has_value) {
            *ret_why = "this action takes no value";
            return -EINVAL;
        }
        return 0;
    case VALUE_MS:
        if (!has_value || !number_parse(value, 1, SINK_RULE_MS_MAX, &rule->ms)) {
            *ret_why = "this action needs '=MS', 1 to 3600000";
            return -EINVAL;
        }
        return 0;
    case VALUE_TEXT:
        if (!has_value) {
            *ret_why = "this action needs '=TEXT'";
            return -EINVAL;
        }
        return reply_parse(rule, value, ret_why);
    }
    assert(!"kind of value");
    return -EINVAL;
}

static int action_parse(struct sink_rule *rule, struct text text, const char **ret_why)
{
    struct text name;
    bool has_value = text_cut(&text, '=', &name);
    if (!has_value) {
        name = text;
    }
    for (int action = 0; action < ACTION_COUNT; action++) {
        if (text_is(name, action_rows[action].name)) {
            rule->action = (enum sink_action)action;
            return value_parse(rule, has_value, text, ret_why);
        }
    }
    *ret_why = "unknown action";
    return -EINVAL;
}

int sink_rule_parse(struct sink_rule *ret_rule, const char *option, const char **ret_why)
{
    struct text rest = text_of(option);
    struct text stage;
    struct sink_rule rule = {0};
    if (!text_cut(&rest, ':', &stage)) {
        *ret_why = "no ':' between stage and action";
        return -EINVAL;
    }
    int result = stage_parse(&rule, stage, ret_why);
    if (result == 0) {
        result = action_parse(&rule, rest, ret_why);
    }
    if (result == 0 && rule.action == ACTION_EARLY && rule.stage != STAGE_EOM) {
        *ret_why = "only eom can be early";
        result = -EINVAL;
    }
    if (result == 0) {
        *ret_rule = rule;
    }
    return result;
}

int sink_rules_add(struct sink_rules *rules, const char *option, const char **ret_why)
{
    if (rules->count == SINK_RULES_MAX) {
        *ret_why = "too many rules";
        return -ENOSPC;
    }
    struct sink_rule *rule = &rules->rules[rules->count];
    int result = sink_rule_parse(rule, option, ret_why);
    if (result < 0) {
        return result;
    }
    rules->stages |= 1u << rule->stage;
    rules->count++;
    return 0;
}

/* ---- use ---- */

static bool rule_matches(const struct sink_rule *rule, enum sink_stage stage, uint32_t nth)
{
    return rule->stage == stage && (rule->nth == 0 || rule->nth == nth);
}

static void plan_add(struct sink_plan *plan, const struct sink_rule *rule)
{
    switch (rule->action) {
    case ACTION_DELAY:
        plan->delay_ms = rule->ms;
        break;
    case ACTION_REPLY:
        plan->has_reply = true;
        plan->garbage = false;
        plan->reply = (struct text){.at = rule->text, .len = rule->text_len};
        break;
    case ACTION_DROP:
        plan->end = END_DROP;
        break;
    case ACTION_RESET:
        plan->end = END_RESET;
        break;
    case ACTION_GARBAGE:
        plan->garbage = true;
        plan->has_reply = false;
        break;
    case ACTION_HANG:
        plan->end = END_HANG;
        break;
    case ACTION_DRIP:
        plan->drip_ms = rule->ms;
        break;
    case ACTION_EARLY:
        break; /* sink_rules_answer_early() tells of it, before the stage is reached */
    case ACTION_CLOSE_AFTER:
        plan->end = END_CLOSE_AFTER;
        break;
    }
}

void sink_rules_reach(struct sink_rules *rules, enum sink_stage stage, struct sink_plan *ret_plan)
{
    *ret_plan = (struct sink_plan){.end = END_NORMAL};
    if (stage == STAGE_NONE || (rules->stages & 1u << stage) == 0) {
        return;
    }
    uint32_t nth = ++rules->reached[stage];
    for (uint32_t i = 0; i < rules->count; i++) {
        if (rule_matches(&rules->rules[i], stage, nth)) {
            plan_add(ret_plan, &rules->rules[i]);
        }
    }
}

bool sink_rules_answer_early(const struct sink_rules *rules)
{
    uint32_t nth = rules->reached[STAGE_EOM] + 1;
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct sink_rule *rule = &rules->rules[i];
        if (rule->action == ACTION_EARLY && rule_matches(rule, STAGE_EOM, nth)) {
            return true;
        }
    }
    return false;
}
