/*
 * test_dkim_tags - the form of tag lists (RFC 6376, 3.2), where it ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filters/dkim_tags.h"

/* One semicolon may stand at the end, and white space behind it; a second one is an empty tag. */
static void test_two_semicolons_at_the_end(void **state)
{
    static const struct {
        const char *text;
        bool is_good;
    } rows[] = {
        {"a=b", true},     {"a=b;", true},    {"a=b; \t", true},   {"a=b;c=", true},
        {"a=b;;", false},  {"a=b; ;", false}, {"a=b;;c=d", false}, {";a=b", false},
        {"a=b;;;", false}, {";", false},      {"", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dkim_tags tags;
        struct span text = {rows[i].text, (uint32_t)strlen(rows[i].text)};
        print_message("\"%s\"\n", rows[i].text);
        assert_int_equal(dkim_tags_parse(text, &tags) == 0, rows[i].is_good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_semicolons_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
