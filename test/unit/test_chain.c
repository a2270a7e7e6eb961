/*
 * test_chain - what the chain does with checks that are late: those under way when the deadline
 * comes, and those that begin behind it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "filters/checks.h"
#include "filters/verify_conf.h"
#include "net/loop_backend.h"
#include "test/fake_dns.h"

static const char MESSAGE[] = "From: a@example.com\r\n"
                              "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=key; h=from;\r\n"
                              " bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
                              "\r\n";

static int done;

static void on_done(struct chain *chain)
{
    (void)chain;
    done++;
}

static void run_past_the_deadline(struct loop *loop, int64_t deadline_ms)
{
    while (loop_now_ms(loop) <= deadline_ms + 20) {
        assert_int_equal(loop_run_once(loop, 20), 0);
    }
}

static void test_check_that_begins_late_is_temperror(void **state)
{
    static struct header header;
    static struct findings findings;
    static struct verify_conf conf;
    struct loop *loop;
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    struct fake_dns fake;
    struct sockaddr_in client = {.sin_family = AF_INET, .sin_addr = {htonl(0xcb007109)}};
    (void)state;
    assert_int_equal(loop_create(&loop, &loop_epoll, &limits, NULL), 0);
    fake_dns_init(&fake);
    conf.spf.action = ACTION_TAG;
    conf.dkim.action = ACTION_TAG;
    conf.dkim.signatures_max = 8;
    header_init(&header);
    struct facts facts = {
        .conf = &conf,
        .dns = &fake.dns,
        .client = (const struct sockaddr *)&client,
        .hostname = "mx.example",
        .helo = "client.example",
        .from = "a@example.com",
        .from_len = 13,
        .header = &header,
        .findings = &findings,
    };
    struct chain *chain = malloc(chain_size(SCOPE_TRANSACTION));
    assert_non_null(chain);
    chain_init(chain, SCOPE_TRANSACTION, loop, &facts, on_done, NULL);
    int64_t deadline_ms = loop_now_ms(loop) + 20;
    chain_reach(chain, PHASE_MAIL, deadline_ms); /* nobody answers */
    run_past_the_deadline(loop, deadline_ms);
    assert_int_equal(findings.spf.result, CHECK_TEMPERROR);

    assert_int_equal(header_feed(&header, MESSAGE, sizeof(MESSAGE) - 1), sizeof(MESSAGE) - 1);
    chain_reach(chain, PHASE_HEADER, deadline_ms);
    chain_reach(chain, PHASE_EOM, deadline_ms);
    assert_true(chain_await(chain, PHASE_EOM));
    assert_int_equal(findings.dkim.count, 1);
    assert_int_equal(findings.dkim.signatures[0].result, CHECK_TEMPERROR);
    assert_int_equal(done, 0); /* nothing was awaited when it became known */
    chain_cancel(chain);
    free(chain);
    fake_dns_fini(&fake);
    loop_destroy(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_that_begins_late_is_temperror),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
