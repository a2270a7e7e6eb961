/*
 * test_dkim_limits - what the signatures of a message may cost together (filters/dkim.h), and the tricks
 * that made them cost more. What it comes to in instructions is measured by integration/test_work.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filters/dkim_signature.h"
#include "filters/header_index.h"
#include "test/dmarc_world.h"

enum { TEXT_SIZE = HEADER_TEXT_MAX + 1, COLLIDING_MAX = 200 };

static char text[TEXT_SIZE];
static uint32_t text_len;

/* ---- messages ---- */

static void add(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void add(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_len += (uint32_t)vsnprintf(text + text_len, sizeof(text) - text_len, format, args);
    va_end(args);
    assert_true(text_len < sizeof(text));
}

static void add_many(char c, uint32_t count)
{
    assert_true(text_len + count < sizeof(text));
    memset(text + text_len, c, count);
    text_len += count;
    text[text_len] = '\0';
}

/* A field with b= of so many octets, multiples of three, all zero. */
static void add_signature(const char *domain, const char *names, uint32_t octets)
{
    add("DKIM-Signature: v=1; a=rsa-sha256; d=%s; s=s; h=%s;\r\n bh=", domain, names);
    add_many('A', 43);
    add("=;\r\n b=");
    add_many('A', octets / 3 * 4);
    add("\r\n");
}

static struct dmarc_world *verify(void)
{
    add("From: x@example.com\r\n\r\n");
    struct dmarc_world *world = dmarc_world_create(text);
    text_len = 0;
    world->conf.dmarc.action = ACTION_OFF;
    world->conf.dkim.action = ACTION_TAG;
    world->conf.dkim.signatures_max = 8;
    (void)dmarc_run(world);
    return world;
}

static void expect(const struct dmarc_world *world, uint32_t signature, const char *reason)
{
    assert_true(signature < world->findings.dkim.count);
    assert_string_equal(world->findings.dkim.signatures[signature].reason, reason);
}

static const char asked[] = "no key record"; /* the table of records is empty */

/* ---- names that collide ---- */

static uint32_t slot_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    }
    return (hash ^ hash >> 15) % HEADER_SLOTS;
}

/* Fields of so many different names that belong into one slot of the table. */
static void add_colliding(uint32_t count)
{
    for (uint32_t number = 0; count > 0; number++) {
        char name[9];
        (void)snprintf(name, sizeof(name), "x%06x", number & 0xffffff);
        if (slot_of(name) == 7) {
            add("%s: %u\r\n", name, number);
            count--;
        }
    }
}

static void test_names_that_collide(void **state)
{
    static struct header_index index;
    static struct header_cursor cursor;
    static struct header header;
    (void)state;
    for (uint32_t count = HEADER_PROBES_MAX - 1; count <= HEADER_PROBES_MAX + 1; count++) {
        add_colliding(count);
        header_init(&header);
        assert_int_equal(header_feed(&header, text, text_len), text_len);
        text_len = 0;
        bool is_good = header_index_init(&index, &header);
        assert_int_equal(is_good, count <= HEADER_PROBES_MAX);
        if (!is_good) {
            continue;
        }
        header_cursor_init(&cursor, &index);
        for (uint32_t i = 0; i < count; i++) {
            struct span name = {header.text + header.fields[i].at, header.fields[i].name_len};
            assert_ptr_equal(header_cursor_take(&cursor, name), &header.fields[i]);
            assert_null(header_cursor_take(&cursor, name));
        }
    }
    add_signature("example.com", "From", 255);
    add_colliding(COLLIDING_MAX);
    struct dmarc_world *world = verify();
    expect(world, 0, "the names of the header fields collide");
    assert_int_equal(world->fake.asked, 0);
    dmarc_world_destroy(world);
}

/* Any header of an ordinary size has its names found: 500 different ones. */
static void test_many_names_do_not_collide(void **state)
{
    (void)state;
    add_signature("example.com", "From", 255);
    for (int i = 0; i < 500; i++) {
        add("X-Header-Field-%d: a\r\n", i);
    }
    struct dmarc_world *world = verify();
    expect(world, 0, asked);
    dmarc_world_destroy(world);
}

/* ---- names in h= ---- */

static void test_names_in_h(void **state)
{
    (void)state;
    for (int count = DKIM_NAMES_MAX; count <= DKIM_NAMES_MAX + 1; count++) {
        char names[4 * DKIM_NAMES_MAX] = "From";
        for (int i = 1; i < count; i++) {
            memcpy(names + 4 + 2 * (i - 1), ":x", 3);
        }
        add_signature("example.com", names, 255);
        struct dmarc_world *world = verify();
        expect(world, 0, count > DKIM_NAMES_MAX ? "h= holds too many names" : asked);
        dmarc_world_destroy(world);
    }
}

/* ---- octets of header ---- */

static void test_header_is_not_hashed_for_everybody(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        char domain[] = "a.example.com";
        domain[0] = (char)('a' + i);
        add_signature(domain, i == 2 ? "From" : "From:Subject", 255);
    }
    add("Subject: ");
    add_many('x', 80000);
    add("\r\n");
    struct dmarc_world *world = verify();
    expect(world, 0, asked);
    expect(world, 1, "the signatures cover too much header");
    expect(world, 2, asked);
    expect(world, 3, "the signatures cover too much header");
    assert_int_equal(world->findings.dkim.signatures[1].result, CHECK_NEUTRAL);
    assert_int_equal(world->fake.asked, 2);
    dmarc_world_destroy(world);
}

static void test_the_first_signature_may_cover_all(void **state)
{
    (void)state;
    add_signature("example.com", "From:Subject", 255);
    add("Subject: ");
    add_many('x', HEADER_TEXT_MAX - text_len - 100);
    add("\r\n");
    struct dmarc_world *world = verify();
    expect(world, 0, asked);
    dmarc_world_destroy(world);
}

/* ---- arithmetic ---- */

static void test_large_keys_are_few(void **state)
{
    static const struct {
        uint32_t octets;
        uint32_t asked;
    } rows[] = {{255, 8}, {510, 4}, {1023, 1}};
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (int i = 0; i < 8; i++) {
            char domain[] = "a.example.com";
            domain[0] = (char)('a' + i);
            add_signature(domain, "From", rows[row].octets);
        }
        struct dmarc_world *world = verify();
        assert_int_equal(world->fake.asked, rows[row].asked);
        for (uint32_t i = 0; i < 8; i++) {
            expect(world, i,
                   i < rows[row].asked ? asked : "the signatures need too much arithmetic");
        }
        dmarc_world_destroy(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_collide),
        cmocka_unit_test(test_many_names_do_not_collide),
        cmocka_unit_test(test_names_in_h),
        cmocka_unit_test(test_header_is_not_hashed_for_everybody),
        cmocka_unit_test(test_the_first_signature_may_cover_all),
        cmocka_unit_test(test_large_keys_are_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
