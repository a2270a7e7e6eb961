/*
 * work_probe - one message through all checks, so that what each call of them costs can be counted from
 * outside: everything that is to be counted happens inside work_call().
 *
 *    work_probe MESSAGE RECORDS FROM PIECE
 *
 * MESSAGE is a file, CRLF line ends, fed in pieces of PIECE octets. RECORDS is a file of lines "NAME TYPE
 * HEX" of record data in wire form; NAME "*" stands for every name; a question without a line has no
 * name to it. On standard output, a line for each call, "CALL NAME" in their order; then what was found:
 * "FOUND dkim=pass ... spf=none dmarc=fail" and "ASKED TOTAL KEYS", KEYS at _domainkey.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/authres.h"
#include "filters/authres_claims.h"
#include "filters/checks.h"
#include "filters/verify_conf.h"
#include "net/loop_backend.h"

enum { RECORDS_MAX = 256, WAIT_MS = 20000 };

struct record {
    char name[DNS_TEXT_MAX];
    uint16_t type;
    uint32_t len;
    uint8_t *data;
};

struct probe {
    struct dns dns; /* first: see on_ask() */
    struct list_node waiting;
    uint32_t asked;
    uint32_t asked_keys;
    uint32_t record_count;
    struct record records[RECORDS_MAX];
    struct loop *loop;
    struct verify_conf conf;
    struct findings findings;
    struct facts facts;
    struct header header;
    struct chain *chain;
    /* Arguments of the call that is counted. */
    const char *bytes;
    uint32_t len;
    enum filter_phase phase;
    struct dns_query *query;
    const struct dns_answer *answer;
    uint32_t taken;
    char field[AUTHRES_SIZE];
};

typedef void call(struct probe *probe);

void work_call(call *what, struct probe *probe);

/* Nothing else is counted. */
__attribute__((noinline)) void work_call(call *what, struct probe *probe)
{
    what(probe);
}

static void count(struct probe *probe, const char *name, call *what)
{
    printf("CALL %s\n", name);
    work_call(what, probe);
}

/* ---- the calls ---- */

static void call_header_feed(struct probe *probe)
{
    probe->taken = header_feed(&probe->header, probe->bytes, probe->len);
}

static void call_header_end(struct probe *probe)
{
    header_end(&probe->header);
}

static void call_reach(struct probe *probe)
{
    chain_reach(probe->chain, probe->phase);
}

static void call_feed(struct probe *probe)
{
    chain_feed(probe->chain, probe->bytes, probe->len);
}

static void call_answer(struct probe *probe)
{
    dns_answer(probe->query, probe->answer);
}

static void call_judge(struct probe *probe)
{
    struct verdict verdict;
    chain_judge(probe->chain, probe->phase, &verdict);
}

static void call_claims(struct probe *probe)
{
    uint32_t claims = 0;
    for (uint32_t i = 0; i < probe->header.count; i++) {
        claims += authres_claims(&probe->header, &probe->header.fields[i], probe->conf.authserv_id);
    }
    probe->taken = claims;
}

static void call_write(struct probe *probe)
{
    (void)authres_write(&probe->facts, probe->field);
}

/* ---- DNS ---- */

static bool is_key(const struct dns_query *query)
{
    return memmem(query->name, query->name_len, "\12_domainkey", 11) != NULL;
}

static void on_ask(struct dns *dns, struct dns_query *query)
{
    struct probe *probe = (struct probe *)dns;
    probe->asked++;
    probe->asked_keys += is_key(query) ? 1 : 0;
    list_init(&query->node);
    list_push_back(&probe->waiting, &query->node);
}

static void on_cancel(struct dns *dns, struct dns_query *query)
{
    (void)dns;
    list_remove(&query->node);
}

static void answer(struct probe *probe, struct dns_query *query)
{
    static struct dns_record records[DNS_RECORDS_MAX];
    struct dns_answer answer = {.status = DNS_NO_NAME, .records = records};
    char name[DNS_TEXT_MAX] = "";
    uint32_t size = 0;
    (void)dns_name_text(query->name, query->name_len, name);
    for (uint32_t i = 0; i < probe->record_count; i++) {
        const struct record *record = &probe->records[i];
        bool is_it = strcmp(record->name, "*") == 0 || strcmp(record->name, name) == 0;
        if (is_it && record->type == query->type && answer.count < DNS_RECORDS_MAX) {
            records[answer.count++] =
                (struct dns_record){.data = record->data, .len = (uint16_t)record->len};
            size += record->len;
        }
    }
    answer.status = answer.count > 0 ? DNS_OK : DNS_NO_NAME;
    if (size > DNS_ANSWER_MAX) { /* as the client has it */
        answer = (struct dns_answer){.status = DNS_FAILED, .reason = "too large"};
    }
    list_remove(&query->node);
    probe->query = query;
    probe->answer = &answer;
    count(probe, is_key(query) ? "answer-key" : "answer", call_answer);
}

static void answer_all(struct probe *probe)
{
    while (!list_is_empty(&probe->waiting)) {
        answer(probe, list_entry(probe->waiting.next, struct dns_query, node));
    }
}

/* ---- files ---- */

static char *read_file(const char *path, uint32_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    assert(file != NULL);
    (void)fseek(file, 0, SEEK_END);
    long len = ftell(file);
    rewind(file);
    char *bytes = calloc(1, (size_t)len + 1);
    assert(bytes != NULL);
    size_t got = fread(bytes, 1, (size_t)len, file);
    assert(got == (size_t)len);
    (void)fclose(file);
    *ret_len = (uint32_t)len;
    return bytes;
}

static void add_record(struct probe *probe, char *line)
{
    struct record *record = &probe->records[probe->record_count++];
    assert(probe->record_count <= RECORDS_MAX);
    (void)snprintf(record->name, sizeof(record->name), "%s", strsep(&line, " "));
    record->type = (uint16_t)strtoul(strsep(&line, " "), NULL, 10);
    record->len = (uint32_t)strlen(line) / 2;
    assert(record->len <= UINT16_MAX);
    record->data = malloc(record->len + 1);
    assert(record->data != NULL);
    for (uint32_t i = 0; i < record->len; i++) {
        char pair[3] = {line[2 * i], line[2 * i + 1], '\0'};
        record->data[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

static void read_records(struct probe *probe, const char *path)
{
    uint32_t len;
    char *text = read_file(path, &len);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] != '\0') {
            add_record(probe, line);
        }
    }
    free(text);
}

/* ---- the run ---- */

static void reach(struct probe *probe, enum filter_phase phase, const char *name)
{
    probe->phase = phase;
    count(probe, name, call_reach);
    answer_all(probe);
}

static void feed(struct probe *probe, const char *bytes, uint32_t len, uint32_t piece)
{
    for (uint32_t at = 0; at < len;) {
        probe->bytes = bytes + at;
        probe->len = len - at < piece ? len - at : piece;
        if (probe->header.is_complete) {
            count(probe, "body", call_feed);
            at += probe->len;
            continue;
        }
        count(probe, "header", call_header_feed);
        at += probe->taken;
        if (probe->header.is_complete) {
            count(probe, "claims", call_claims);
            reach(probe, PHASE_HEADER, "start");
        }
    }
    if (!probe->header.is_complete) {
        count(probe, "header", call_header_end);
        count(probe, "claims", call_claims);
        reach(probe, PHASE_HEADER, "start");
    }
}

static void on_done(struct chain *chain)
{
    (void)chain; /* all is answered before anybody waits */
}

static void set_up(struct probe *probe, const char *from)
{
    static const struct dns_ops ops = {.ask = on_ask, .cancel = on_cancel};
    static const struct sockaddr_in client = {.sin_family = AF_INET, .sin_addr = {0x07005fc0}};
    struct loop_limits limits = {.fd_count = 64, .op_count = 64, .buf_count = 4};
    int result = loop_create(&probe->loop, &loop_epoll, &limits, NULL);
    assert(result == 0);
    probe->dns = (struct dns){&ops};
    list_init(&probe->waiting);
    probe->conf = (struct verify_conf){.authserv_id = "mx.example.net"};
    probe->conf.spf.action = ACTION_REJECT;
    probe->conf.dkim.action = ACTION_REJECT;
    probe->conf.dkim.signatures_max = 8; /* the default */
    probe->conf.dmarc.action = ACTION_REJECT;
    probe->facts = (struct facts){
        .conf = &probe->conf,
        .dns = &probe->dns,
        .client = (const struct sockaddr *)&client,
        .hostname = "mx.example.net",
        .helo = "mail.example.com",
        .from = from,
        .from_len = (uint32_t)strlen(from),
        .header = &probe->header,
        .now_s = 1700000000,
        .findings = &probe->findings,
    };
    probe->chain = malloc(chain_size(SCOPE_TRANSACTION));
    assert(probe->chain != NULL);
    chain_init(probe->chain, SCOPE_TRANSACTION, probe->loop, &probe->facts, on_done, NULL);
    header_init(&probe->header);
}

static void tell(const struct probe *probe)
{
    const struct findings *findings = &probe->findings;
    printf("FOUND");
    for (uint32_t i = 0; i < findings->dkim.count; i++) {
        printf(" dkim=%s", check_result_name(findings->dkim.signatures[i].result));
    }
    printf(" spf=%s dmarc=%s\n", check_result_name(findings->spf.result),
           check_result_name(findings->dmarc.result));
    printf("ASKED %u %u\n", probe->asked, probe->asked_keys);
}

int main(int argc, char **argv)
{
    static struct probe probe;
    uint32_t len;
    if (argc != 5) {
        (void)fprintf(stderr, "usage: work_probe MESSAGE RECORDS FROM PIECE\n");
        return 2;
    }
    char *message = read_file(argv[1], &len);
    read_records(&probe, argv[2]);
    set_up(&probe, argv[3]);
    reach(&probe, PHASE_MAIL, "mail");
    feed(&probe, message, len, (uint32_t)strtoul(argv[4], NULL, 10));
    reach(&probe, PHASE_EOM, "end");
    bool is_done = chain_await(probe.chain, PHASE_EOM, loop_now_ms(probe.loop) + WAIT_MS);
    assert(is_done);
    count(&probe, "judge", call_judge);
    count(&probe, "write", call_write);
    tell(&probe);
    chain_cancel(probe.chain);
    free(probe.chain);
    loop_destroy(&probe.loop);
    for (uint32_t i = 0; i < probe.record_count; i++) {
        free(probe.records[i].data);
    }
    free(message);
    return 0;
}
