/*
 * spf_probe - runs the SPF check for a test that holds the tables: commands on standard input, one
 * result line for each "ask" on standard output.
 *
 *    add NAME TYPE RDATA     a record; all three in hexadecimal ("-" for empty)
 *    fail NAME TYPE          no answer to this question (type 0: to any)
 *    ask CLIENT HELO FROM    "RESULT EXPLANATION"; HELO, FROM and the explanation in hexadecimal
 *    reset                   forget all records
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/spf.h"
#include "filters/verify_conf.h"
#include "test/fake_dns.h"

#include "filters/chain.h"
#include "net/loop_backend.h"

enum { LINE_MAX_ = 400000, WORDS_MAX = 4 };

static struct fake_dns fake;
static struct loop *loop;

static uint32_t unhex(const char *text, char *out)
{
    uint32_t len = 0;
    if (strcmp(text, "-") == 0) {
        out[0] = '\0';
        return 0;
    }
    for (; text[0] != '\0' && text[1] != '\0'; text += 2) {
        unsigned octet = 0;
        int read = sscanf(text, "%2x", &octet);
        assert(read == 1);
        out[len++] = (char)octet;
    }
    out[len] = '\0';
    return len;
}

static void set_client(const char *text, struct sockaddr_storage *client)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(client, &in, sizeof(in));
        return;
    }
    int result = inet_pton(AF_INET6, text, &in6.sin6_addr);
    assert(result == 1);
    memcpy(client, &in6, sizeof(in6));
}

static void on_done(struct chain *chain)
{
    (void)chain; /* the records answer before anybody waits */
}

static void ask(const char *client_text, const char *helo_hex, const char *from_hex)
{
    static struct verify_conf conf;
    static struct findings findings;
    static char helo[LINE_MAX_];
    static char from[LINE_MAX_];
    struct sockaddr_storage client;
    memset(&findings, 0, sizeof(findings));
    set_client(client_text, &client);
    (void)unhex(helo_hex, helo);
    conf.spf.action = ACTION_TAG;
    struct facts facts = {
        .conf = &conf,
        .dns = &fake.dns,
        .client = (const struct sockaddr *)&client,
        .hostname = "receiver.example.net",
        .helo = helo,
        .from = from,
        .from_len = unhex(from_hex, from),
        .now_s = 1700000000,
        .findings = &findings,
    };
    struct chain *chain = malloc(chain_size(SCOPE_TRANSACTION));
    assert(chain != NULL);
    chain_init(chain, SCOPE_TRANSACTION, loop, &facts, on_done, NULL);
    chain_reach(chain, PHASE_MAIL, loop_now_ms(loop) + 20000);
    (void)fake_dns_run(&fake);
    bool is_done = chain_await(chain, PHASE_MAIL) && findings.spf.is_present;
    printf("%s ", is_done ? check_result_name(findings.spf.result) : "unfinished");
    for (const char *at = findings.spf.explanation; *at != '\0'; at++) {
        printf("%02x", (unsigned char)*at);
    }
    printf("\n");
    fflush(stdout);
    chain_cancel(chain);
    free(chain);
}

static void run(char *line)
{
    static char name[LINE_MAX_];
    static char data[LINE_MAX_];
    char *words[WORDS_MAX] = {0};
    int count = 0;
    for (char *word; count < WORDS_MAX && (word = strsep(&line, " \n")) != NULL;) {
        words[count++] = word;
    }
    if (count >= 4 && strcmp(words[0], "add") == 0) {
        (void)unhex(words[1], name);
        uint32_t len = unhex(words[3], data);
        fake_dns_add_raw(&fake, name, (enum dns_type)strtol(words[2], NULL, 10), data, len);
    } else if (count >= 3 && strcmp(words[0], "fail") == 0) {
        (void)unhex(words[1], name);
        fake_dns_add_failure(&fake, name, (enum dns_type)strtol(words[2], NULL, 10));
    } else if (count >= 4 && strcmp(words[0], "ask") == 0) {
        ask(words[1], words[2], words[3]);
    } else if (strcmp(words[0], "reset") == 0) {
        fake_dns_fini(&fake);
        fake_dns_init(&fake);
    }
}

int main(void)
{
    static char line[LINE_MAX_];
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    int result = loop_create(&loop, &loop_epoll, &limits, NULL);
    assert(result == 0);
    fake_dns_init(&fake);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        run(line);
    }
    fake_dns_fini(&fake);
    loop_destroy(&loop);
    return 0;
}
