/*
 * test_sink_rules - the -m options of weir-sink: what parses into what, what is refused, what a
 * stage is told to do.
 */
#include "bench/sink_rules.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct good_row {
    const char *option;
    enum sink_stage stage;
    uint32_t nth;
    enum sink_action action;
    uint32_t ms;
    struct text text;
};

static const struct good_row good_rows[] = {
    {"connect:drop", STAGE_CONNECT, 0, ACTION_DROP, 0, {"", 0}},
    {"ehlo:reset", STAGE_EHLO, 0, ACTION_RESET, 0, {"", 0}},
    {"helo/1:garbage", STAGE_HELO, 1, ACTION_GARBAGE, 0, {"", 0}},
    {"mail/4294967295:hang", STAGE_MAIL, UINT32_MAX, ACTION_HANG, 0, {"", 0}},
    {"rcpt:delay=1", STAGE_RCPT, 0, ACTION_DELAY, 1, {"", 0}},
    {"data:drip=3600000", STAGE_DATA, 0, ACTION_DRIP, 3600000, {"", 0}},
    {"body/02:close-after", STAGE_BODY, 2, ACTION_CLOSE_AFTER, 0, {"", 0}},
    {"eom:early", STAGE_EOM, 0, ACTION_EARLY, 0, {"", 0}},
    {"rset:reply=", STAGE_RSET, 0, ACTION_REPLY, 0, {"\r\n", 2}},
    {"noop:reply=250 a=b:c/d", STAGE_NOOP, 0, ACTION_REPLY, 0, {"250 a=b:c/d\r\n", 13}},
    {"quit:reply=250-a\\r\\n250 b", STAGE_QUIT, 0, ACTION_REPLY, 0, {"250-a\r\n250 b\r\n", 14}},
    {"eom:reply=\\\\\\t\\x00\\xfF", STAGE_EOM, 0, ACTION_REPLY, 0, {"\\\t\0\377\r\n", 6}},
    {"eom:reply=\\\\n", STAGE_EOM, 0, ACTION_REPLY, 0, {"\\n\r\n", 4}},
};

static const char *const bad_rows[] = {
    "",
    "mail",
    ":drop",
    "mail:",
    "Mail:drop",
    "mail :drop",
    "mails:drop",
    "mail:dro",
    "mail:drop=",
    "mail:hang=1",
    "mail:early", /* eom alone can be early */
    "mail/:drop",
    "mail/0:drop",
    "mail/-1:drop",
    "mail/1x:drop",
    "mail/4294967296:drop",
    "mail/99999999999999999999:drop",
    "mail:delay",
    "mail:delay=",
    "mail:delay=0",
    "mail:delay=-1",
    "mail:delay=1s",
    "mail:delay=3600001",
    "mail:drip=x",
    "mail:reply",
    "mail:reply=\\",
    "mail:reply=\\q",
    "mail:reply=\\x1",
    "mail:reply=\\x1g",
    "mail:reply=\\xg1",
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good_rows) / sizeof(good_rows[0]); i++) {
        const struct good_row *row = &good_rows[i];
        struct sink_rule rule;
        const char *why = "";
        int result = sink_rule_parse(&rule, row->option, &why);
        if (result != 0) {
            fail_msg("'%s': %s", row->option, why);
        }
        assert_int_equal(rule.stage, row->stage);
        assert_int_equal(rule.nth, row->nth);
        assert_int_equal(rule.action, row->action);
        assert_int_equal(rule.ms, row->ms);
        assert_int_equal(rule.text_len, row->text.len);
        assert_memory_equal(rule.text, row->text.at, row->text.len);
    }
}

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_rows) / sizeof(bad_rows[0]); i++) {
        struct sink_rule rule = {.nth = 7};
        const char *why = NULL;
        if (sink_rule_parse(&rule, bad_rows[i], &why) != -EINVAL) {
            fail_msg("'%s' was taken", bad_rows[i]);
        }
        assert_non_null(why);
        assert_int_equal(rule.nth, 7); /* written on success only */
    }
}

static void test_longest_reply(void **state)
{
    (void)state;
    static char option[SINK_RULE_TEXT_MAX + 16] = "eom:reply=";
    size_t head = strlen(option);
    struct sink_rule rule;
    const char *why;
    memset(option + head, 'x', SINK_RULE_TEXT_MAX - 2);
    assert_int_equal(sink_rule_parse(&rule, option, &why), 0);
    assert_int_equal(rule.text_len, SINK_RULE_TEXT_MAX);
    option[head + SINK_RULE_TEXT_MAX - 2] = 'x';
    assert_int_equal(sink_rule_parse(&rule, option, &why), -EINVAL);
}

static void test_too_many(void **state)
{
    (void)state;
    static struct sink_rules rules;
    const char *why;
    for (uint32_t i = 0; i < SINK_RULES_MAX; i++) {
        assert_int_equal(sink_rules_add(&rules, "noop:drop", &why), 0);
    }
    assert_int_equal(sink_rules_add(&rules, "noop:drop", &why), -ENOSPC);
    assert_int_equal(rules.count, SINK_RULES_MAX);
}

static void add(struct sink_rules *rules, const char *option)
{
    const char *why;
    assert_int_equal(sink_rules_add(rules, option, &why), 0);
}

static void test_nth(void **state)
{
    (void)state;
    static struct sink_rules rules;
    struct sink_plan plan;
    add(&rules, "rcpt/2:reply=450 later");
    add(&rules, "rcpt:delay=5");
    for (int i = 1; i <= 3; i++) {
        sink_rules_reach(&rules, STAGE_MAIL, &plan); /* another stage: no plan, no count */
        assert_int_equal(plan.delay_ms, 0);
        sink_rules_reach(&rules, STAGE_RCPT, &plan);
        assert_int_equal(plan.delay_ms, 5);
        assert_int_equal(plan.has_reply, i == 2);
    }
    sink_rules_reach(&rules, STAGE_NONE, &plan);
    assert_int_equal(plan.delay_ms, 0);
}

static void test_together(void **state)
{
    (void)state;
    static struct sink_rules rules;
    struct sink_plan plan;
    add(&rules, "eom:delay=20");
    add(&rules, "eom:garbage");
    add(&rules, "eom:reply=250 a");
    add(&rules, "eom:reply=250 b");
    add(&rules, "eom:drop");
    add(&rules, "eom:close-after");
    add(&rules, "eom:drip=3");
    sink_rules_reach(&rules, STAGE_EOM, &plan);
    assert_int_equal(plan.delay_ms, 20);
    assert_int_equal(plan.drip_ms, 3);
    assert_true(plan.has_reply);
    assert_false(plan.garbage); /* the later one holds */
    assert_true(text_is(plan.reply, "250 b\r\n"));
    assert_int_equal(plan.end, END_CLOSE_AFTER);
}

static void test_early(void **state)
{
    (void)state;
    static struct sink_rules rules;
    struct sink_plan plan;
    assert_false(sink_rules_answer_early(&rules));
    add(&rules, "eom/2:early");
    assert_false(sink_rules_answer_early(&rules));
    sink_rules_reach(&rules, STAGE_EOM, &plan);
    assert_true(sink_rules_answer_early(&rules));
    sink_rules_reach(&rules, STAGE_EOM, &plan);
    assert_false(sink_rules_answer_early(&rules));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),          cmocka_unit_test(test_bad),
        cmocka_unit_test(test_longest_reply), cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_nth),           cmocka_unit_test(test_together),
        cmocka_unit_test(test_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
