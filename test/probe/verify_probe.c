/*
 * verify_probe - runs the checks for a test that holds the tables: commands on standard input, result
 * lines for each "ask" and "verify" on standard output.
 *
 *    add NAME TYPE RDATA     a record; all three in hexadecimal ("-" for empty)
 *    fail NAME TYPE          no answer to this question (type 0: to any)
 *    ask CLIENT HELO FROM    "RESULT EXPLANATION"; HELO, FROM and the explanation in hexadecimal
 *    verify FILE NOW CUT     the DKIM check on a message with CRLF line ends, fed in pieces of CUT
 *                            octets: "COUNT", then a line "RESULT DOMAIN SELECTOR REASON" for each
 *    reset                   forget all records
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/checks.h"
#include "filters/verify_conf.h"
#include "net/loop_backend.h"
#include "test/fake_dns.h"

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
    conf.dkim.action = ACTION_OFF;
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
    chain_reach(chain, PHASE_MAIL);
    (void)fake_dns_run(&fake);
    bool is_done = chain_await(chain, PHASE_HEADER, loop_now_ms(loop) + 20000);
    printf("%s ", is_done ? check_result_name(findings.spf.result) : "unfinished");
    for (const char *at = findings.spf.explanation; *at != '\0'; at++) {
        printf("%02x", (unsigned char)*at);
    }
    printf("\n");
    fflush(stdout);
    chain_cancel(chain);
    free(chain);
}

static char *read_file(const char *path, uint32_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    assert(file != NULL);
    (void)fseek(file, 0, SEEK_END);
    long len = ftell(file);
    rewind(file);
    char *bytes = malloc((size_t)len + 1);
    assert(bytes != NULL);
    size_t got = fread(bytes, 1, (size_t)len, file);
    assert(got == (size_t)len);
    (void)fclose(file);
    *ret_len = (uint32_t)len;
    return bytes;
}

static void print_signatures(const struct found_dkim *found)
{
    printf("%u\n", found->count);
    for (uint32_t i = 0; i < found->count; i++) {
        const struct found_signature *signature = &found->signatures[i];
        printf("%s %s %s %s\n", check_result_name(signature->result),
               signature->domain[0] != '\0' ? signature->domain : "-",
               signature->selector[0] != '\0' ? signature->selector : "-",
               signature->reason != NULL ? signature->reason : "-");
    }
    fflush(stdout);
}

/* Answers come while the body does, where there is a body. */
static void feed(struct chain *chain, struct header *header, const char *bytes, uint32_t len,
                 uint32_t cut)
{
    uint32_t at = 0;
    while (at < len) {
        uint32_t piece = len - at < cut ? len - at : cut;
        if (chain_take(chain, header, bytes + at, piece) < piece) {
            (void)fake_dns_run(&fake);
        }
        at += piece;
    }
    chain_take_end(chain, header);
    (void)fake_dns_run(&fake);
}

static void verify(const char *path, int64_t now_s, uint32_t cut)
{
    static struct verify_conf conf;
    static struct findings findings;
    static struct header header;
    struct sockaddr_in client = {.sin_family = AF_INET};
    uint32_t len = 0;
    char *bytes = read_file(path, &len);
    memset(&findings, 0, sizeof(findings));
    header_init(&header);
    conf.spf.action = ACTION_OFF;
    conf.dkim.action = ACTION_TAG;
    conf.dkim.signatures_max = 8;
    struct facts facts = {
        .conf = &conf,
        .dns = &fake.dns,
        .client = (const struct sockaddr *)&client,
        .hostname = "receiver.example.net",
        .helo = "",
        .from = "",
        .header = &header,
        .now_s = now_s,
        .findings = &findings,
    };
    struct chain *chain = malloc(chain_size(SCOPE_TRANSACTION));
    assert(chain != NULL);
    chain_init(chain, SCOPE_TRANSACTION, loop, &facts, on_done, NULL);
    feed(chain, &header, bytes, len, cut);
    bool is_done = chain_await(chain, PHASE_EOM, loop_now_ms(loop) + 20000);
    assert(is_done);
    print_signatures(&findings.dkim);
    chain_cancel(chain);
    free(chain);
    free(bytes);
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
    } else if (count >= 4 && strcmp(words[0], "verify") == 0) {
        verify(words[1], strtoll(words[2], NULL, 10), (uint32_t)strtoul(words[3], NULL, 10));
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
