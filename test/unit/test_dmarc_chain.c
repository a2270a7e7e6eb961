/*
 * test_dmarc_chain - how much the DMARC check asks, what it waits for, its end at the deadline, and what
 * becomes of the message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/dmarc_world.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the walk's limits ---- */

static void test_long_name_asks_eight_questions(void **state)
{
    (void)state;
    struct dmarc_world *world =
        dmarc_world_create("From: x@a.b.c.d.e.f.g.h.i.j.mail.example.com\r\n\r\n");
    (void)dmarc_run(world);
    assert_int_equal(world->fake.asked, 8);
    assert_int_equal(world->findings.dmarc.result, CHECK_NONE);
    dmarc_world_destroy(world);

    /* 4.10's example: the names asked, seen by what answers */
    static const struct {
        const char *name;
        bool is_asked;
    } names[] = {
        {"a.b.c.d.e.f.g.h.i.j.mail.example.com", true},
        {"b.c.d.e.f.g.h.i.j.mail.example.com", false},
        {"h.i.j.mail.example.com", true},
        {"g.h.i.j.mail.example.com", true},
        {"f.g.h.i.j.mail.example.com", false},
        {"mail.example.com", true},
        {"com", true},
    };
    for (size_t i = 0; i < COUNT(names); i++) {
        char name[100];
        (void)snprintf(name, sizeof(name), "_dmarc.%s", names[i].name);
        world = dmarc_world_create("From: x@a.b.c.d.e.f.g.h.i.j.mail.example.com\r\n\r\n");
        fake_dns_add(&world->fake, name, DNS_TXT, "v=DMARC1; p=reject; psd=n");
        (void)dmarc_run(world);
        assert_int_equal(world->findings.dmarc.has_record, names[i].is_asked);
        dmarc_world_destroy(world);
    }
}

static void test_label_counts_around_the_shortcut(void **state)
{
    static const uint32_t wanted[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8};
    (void)state;
    for (uint32_t labels = 1; labels < COUNT(wanted); labels++) {
        char header[100];
        (void)snprintf(header, sizeof(header), "From: x@%s\r\n\r\n",
                       "a.a.a.a.a.a.a.a.a.a.a" + 2 * (COUNT(wanted) - 1 - labels));
        struct dmarc_world *world = dmarc_world_create(header);
        (void)dmarc_run(world);
        assert_int_equal(world->fake.asked, wanted[labels]);
        dmarc_world_destroy(world);
    }
}

static void test_psd_far_above_a_long_name(void **state)
{
    (void)state;
    struct dmarc_world *world = dmarc_world_create("From: x@1.2.3.4.5.6.7.8.9.example.com\r\n\r\n");
    fake_dns_add(&world->fake, "_dmarc.5.6.7.8.9.example.com", DNS_TXT,
                 "v=DMARC1; p=reject; psd=y");
    dmarc_add_dkim(world, CHECK_PASS, "other.5.6.7.8.9.example.com");
    (void)dmarc_run(world);
    assert_int_equal(world->findings.dmarc.result, CHECK_FAIL);
    dmarc_world_destroy(world);

    world = dmarc_world_create("From: x@1.2.3.4.5.6.7.8.9.example.com\r\n\r\n");
    fake_dns_add(&world->fake, "_dmarc.5.6.7.8.9.example.com", DNS_TXT,
                 "v=DMARC1; p=reject; psd=y");
    dmarc_add_dkim(world, CHECK_PASS, "x.4.5.6.7.8.9.example.com");
    (void)dmarc_run(world);
    assert_int_equal(world->findings.dmarc.result, CHECK_PASS);
    dmarc_world_destroy(world);
}

/* Something at _dmarc.DOMAIN shows that DOMAIN exists. */
static void test_existence_is_asked_only_when_open(void **state)
{
    static const struct {
        const char *record;
        uint32_t asked;
    } cases[] = {
        {"mail.example.com =", 3},
        {"a.mail.example.com =", 4},
        {"example.net +", 4},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct dmarc_world *world = dmarc_world_create("From: x@mail.example.com\r\n\r\n");
        dmarc_add_record(world, "example.com p=none; np=reject");
        dmarc_add_record(world, cases[i].record);
        (void)dmarc_run(world);
        assert_int_equal(world->fake.asked, cases[i].asked);
        dmarc_world_destroy(world);
    }
}

/* Strangers are not looked up, however many there are. */
static void test_strangers_cost_no_questions(void **state)
{
    (void)state;
    struct dmarc_world *world = dmarc_world_create("From: x@example.com\r\n\r\n");
    dmarc_add_record(world, "example.com p=reject");
    dmarc_set_spf(world, CHECK_PASS, "badexample.com");
    for (uint32_t i = 0; i < FOUND_SIGNATURES_MAX; i++) {
        char name[100];
        (void)snprintf(name, sizeof(name), "a.b.c.d.s%u.example.net", i);
        dmarc_add_dkim(world, CHECK_PASS, name);
    }
    (void)dmarc_run(world);
    assert_int_equal(world->findings.dmarc.result, CHECK_FAIL);
    assert_int_equal(world->fake.asked, 2);
    dmarc_world_destroy(world);
}

/* Signers below the author's domain, each of an organization of its own: the questions have an end. */
static void test_many_signers_have_an_end(void **state)
{
    (void)state;
    struct dmarc_world *world = dmarc_world_create("From: x@example.com\r\n\r\n");
    dmarc_add_record(world, "example.com p=reject");
    for (uint32_t i = 0; i < FOUND_SIGNATURES_MAX; i++) {
        char name[100];
        (void)snprintf(name, sizeof(name), "s%u.example.com p=none; psd=n", i);
        dmarc_add_record(world, name);
        (void)snprintf(name, sizeof(name), "a.b.c.d.s%u.example.com", i);
        dmarc_add_dkim(world, CHECK_PASS, name);
    }
    (void)dmarc_run(world);
    assert_int_equal(world->findings.dmarc.result, CHECK_FAIL);
    assert_int_equal(world->fake.asked, 24);
    dmarc_world_destroy(world);
}

/* ---- the chain: what it waits for, deadline, cancel ---- */

static void test_waits_for_spf(void **state)
{
    (void)state;
    struct dmarc_world *world = dmarc_world_create("From: x@example.com\r\n\r\n");
    world->conf.spf.action = ACTION_TAG;
    world->facts.from = "x@example.com";
    world->facts.from_len = 13;
    fake_dns_add(&world->fake, "_dmarc.example.com", DNS_TXT, "v=DMARC1; p=reject");
    fake_dns_add(&world->fake, "example.com", DNS_TXT, "v=spf1 a -all");
    fake_dns_add(&world->fake, "example.com", DNS_A, "0.0.0.0");
    (void)dmarc_run(world);
    assert_int_equal(world->findings.spf.result, CHECK_PASS);
    assert_int_equal(world->findings.dmarc.result, CHECK_PASS);
    dmarc_world_destroy(world);
}

/* Bounces: the identity is postmaster at the HELO name (3.2.4). */
static void test_helo_counts_for_an_empty_sender(void **state)
{
    (void)state;
    struct dmarc_world *world = dmarc_world_create("From: x@example.com\r\n\r\n");
    world->conf.spf.action = ACTION_TAG;
    world->facts.helo = "mail.example.com";
    fake_dns_add(&world->fake, "_dmarc.example.com", DNS_TXT, "v=DMARC1; p=reject");
    fake_dns_add(&world->fake, "mail.example.com", DNS_TXT, "v=spf1 ip4:0.0.0.0 -all");
    (void)dmarc_run(world);
    assert_true(world->findings.spf.is_helo);
    assert_int_equal(world->findings.dmarc.result, CHECK_PASS);
    dmarc_world_destroy(world);
}

static struct verdict run_to_deadline(struct dmarc_world *world)
{
    struct verdict verdict;
    dmarc_begin(world);
    (void)fake_dns_run(&world->fake);
    assert_false(dmarc_await(world, 30));
    for (int turn = 0; turn < 100 && world->done == 0; turn++) {
        assert_int_equal(loop_run_once(world->loop, 20), 0);
    }
    assert_int_equal(world->done, 1);
    chain_judge(world->chain, PHASE_EOM, &verdict);
    return verdict;
}

static void test_deadline(void **state)
{
    (void)state;
    /* the author's record does not come */
    struct dmarc_world *world = dmarc_world_create("From: x@example.com\r\n\r\n");
    world->fake.forget_one = 1;
    dmarc_set_spf(world, CHECK_PASS, "example.com");
    struct verdict verdict = run_to_deadline(world);
    assert_int_equal(world->findings.dmarc.result, CHECK_TEMPERROR);
    assert_int_equal(verdict.action, ACTION_DEFER);
    assert_string_equal(verdict.reply,
                        "451 4.7.1 The DMARC policy of example.com could not be checked");
    dmarc_world_destroy(world);

    /* SPF does not end: it is temperror then, and might have passed */
    world = dmarc_world_create("From: x@example.com\r\n\r\n");
    world->conf.spf.action = ACTION_TAG;
    world->facts.from = "x@example.com";
    world->facts.from_len = 13;
    world->fake.forget_one = 1;
    fake_dns_add(&world->fake, "_dmarc.example.com", DNS_TXT, "v=DMARC1; p=reject");
    verdict = run_to_deadline(world);
    assert_int_equal(world->findings.spf.result, CHECK_TEMPERROR);
    assert_int_equal(world->findings.dmarc.result, CHECK_TEMPERROR);
    assert_int_equal(verdict.action, ACTION_DEFER);
    dmarc_world_destroy(world);

    /* whether the name exists does not come, and nothing stricter hangs on it */
    world = dmarc_world_create("From: x@mail.example.com\r\n\r\n");
    fake_dns_add(&world->fake, "_dmarc.example.com", DNS_TXT, "v=DMARC1; p=none; np=quarantine");
    world->fake.forget_one = 4;
    verdict = run_to_deadline(world);
    assert_int_equal(world->findings.dmarc.result, CHECK_TEMPERROR);
    assert_int_equal(verdict.action, ACTION_TAG);
    dmarc_world_destroy(world);
}

static void test_cancel(void **state)
{
    (void)state;
    struct dmarc_world *world = dmarc_world_create("From: x@mail.example.com\r\n\r\n");
    fake_dns_add(&world->fake, "_dmarc.example.com", DNS_TXT, "v=DMARC1; p=reject");
    dmarc_begin(world);
    assert_false(dmarc_await(world, 30));
    assert_int_equal(world->fake.asked, 3);
    chain_cancel(world->chain);
    assert_int_equal(fake_dns_run(&world->fake), 0);
    assert_int_equal(world->done, 0);
    free(world->chain);
    fake_dns_fini(&world->fake);
    loop_destroy(&world->loop);
    free(world);
}

static void test_off_is_no_check(void **state)
{
    (void)state;
    struct dmarc_world *world = dmarc_world_create("From: x@example.com\r\n\r\n");
    world->conf.dmarc.action = ACTION_OFF;
    (void)dmarc_run(world);
    assert_int_equal(world->fake.asked, 0);
    assert_false(world->findings.dmarc.is_present);
    dmarc_world_destroy(world);
}

/* ---- verdicts ---- */

static void test_verdicts(void **state)
{
    static const struct {
        const char *record; /* "!": no answer */
        const char *spf;
        enum filter_action wanted[5]; /* with OFF, REPORT, TAG, DEFER, REJECT */
        const char *reply;            /* of REJECT */
    } cases[] = {
        {"p=reject", "pass", {1, 1, 1, 1, 1}, ""},
        {"p=reject",
         "fail",
         {1, 1, 2, 3, 4},
         "550 5.7.1 Rejected by the DMARC policy of example.com"},
        {"p=reject; t=y", "fail", {1, 1, 2, 2, 2}, ""},
        {"p=quarantine", "fail", {1, 1, 2, 2, 2}, ""},
        {"p=quarantine; t=y", "fail", {1, 1, 1, 1, 1}, ""},
        {"p=none", "fail", {1, 1, 1, 1, 1}, ""},
        {"x=y", "fail", {1, 1, 1, 1, 1}, ""},
        {"p=reject",
         "temperror",
         {1, 1, 2, 3, 3},
         "451 4.7.1 The DMARC policy of example.com could not be checked"},
        {"p=reject; t=y", "temperror", {1, 1, 2, 2, 2}, ""},
        {"p=quarantine", "temperror", {1, 1, 2, 2, 2}, ""},
        {"p=none", "temperror", {1, 1, 2, 2, 2}, ""},
        {"!",
         "pass",
         {1, 1, 2, 3, 3},
         "451 4.7.1 The DMARC policy of example.com could not be checked"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int action = ACTION_REPORT; action <= ACTION_REJECT; action++) {
            char words[50];
            char record[50];
            const char *domain;
            struct dmarc_world *world = dmarc_world_create("From: x@example.com\r\n\r\n");
            (void)snprintf(record, sizeof(record), "example.com %s", cases[i].record);
            (void)snprintf(words, sizeof(words), "%s example.com", cases[i].spf);
            world->conf.dmarc.action = (enum filter_action)action;
            enum check_result result = dmarc_result_of(words, &domain);
            dmarc_set_spf(world, result, domain);
            dmarc_add_record(world, record);
            struct verdict verdict = dmarc_run(world);
            print_message("%s, SPF %s, action %d\n", cases[i].record, cases[i].spf, action);
            assert_int_equal(verdict.action, cases[i].wanted[action]);
            if (action == ACTION_REJECT && verdict.action >= ACTION_DEFER) {
                assert_string_equal(verdict.reply, cases[i].reply);
                assert_string_equal(verdict.decided_by, "dmarc");
            }
            dmarc_world_destroy(world);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_name_asks_eight_questions),
        cmocka_unit_test(test_label_counts_around_the_shortcut),
        cmocka_unit_test(test_psd_far_above_a_long_name),
        cmocka_unit_test(test_existence_is_asked_only_when_open),
        cmocka_unit_test(test_strangers_cost_no_questions),
        cmocka_unit_test(test_many_signers_have_an_end),
        cmocka_unit_test(test_waits_for_spf),
        cmocka_unit_test(test_helo_counts_for_an_empty_sender),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_off_is_no_check),
        cmocka_unit_test(test_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
