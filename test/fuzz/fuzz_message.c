/*
 * fuzz_message - a whole message through the checks of its session and of its transaction, over a
 * domain name system that answers with bytes of the input.
 *
 *   octet 0: options; 1: seed; 2..3: octets of the pool; then the pool; then the message
 *   the pool: answers, each "KIND LEN data"; a question gets the one that its name and type lead to
 *
 * Options choose the actions, the reverse-path, and where the run with a cancel ends. What must hold:
 *
 *   `done` comes once where it was promised, and never elsewhere; after a cancel nothing is asked
 *   what is written on top is a field: visible ASCII, folded, of bounded length, ours
 *   what is found and decided is the same however the message is cut and whenever the answers come
 */
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/authres.h"
#include "filters/authres_claims.h"
#include "filters/checks.h"
#include "filters/verify_conf.h"
#include "net/dns_message.h"
#include "net/loop_backend.h"
#include "test/loop_sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    HEAD = 4,
    SIZE_MAX_ = 32768,
    RECORDS = 3,
    DEADLINE_MS = 5000,
    OPTION_REJECT = 1,
    OPTION_HELO = 2, /* the reverse-path is empty */
    OPTION_IPV6 = 4,
    OPTION_MANY = 8, /* signatures */
    OPTION_ODD_FROM = 16,
};

enum answer_kind { GIVE_ONE, GIVE_SOME, GIVE_NO_DATA, GIVE_NO_NAME, GIVE_FAILED, GIVE_NOTHING };

/* ---- answers ---- */

struct pool {
    struct dns dns;
    struct list_node waiting;
    struct list_node forgotten; /* questions that are never answered */
    const uint8_t *at;
    uint32_t len;
    uint32_t asked;
};

struct entry {
    uint8_t kind;
    struct dns_record record;
};

static void pool_ask(struct dns *dns, struct dns_query *query)
{
    struct pool *pool = (struct pool *)dns;
    pool->asked++;
    list_init(&query->node);
    list_push_back(&pool->waiting, &query->node);
}

static void pool_cancel(struct dns *dns, struct dns_query *query)
{
    (void)dns;
    list_remove(&query->node);
}

/* The entry of that number, counted around. False when there is none at all. */
static bool find_entry(const struct pool *pool, uint32_t number, struct entry *ret_entry)
{
    uint32_t count = 0;
    for (uint32_t at = 0; at + 2 <= pool->len; at += 2u + pool->at[at + 1]) {
        count++;
    }
    number = count > 0 ? number % count : 0;
    for (uint32_t at = 0; at + 2 <= pool->len; at += 2u + pool->at[at + 1]) {
        uint32_t len = pool->at[at + 1];
        len = len < pool->len - at - 2 ? len : pool->len - at - 2;
        if (number-- == 0) {
            *ret_entry = (struct entry){pool->at[at] % (GIVE_NOTHING + 1),
                                        {pool->at + at + 2, (uint16_t)len}};
            return true;
        }
    }
    return false;
}

static uint32_t hash(const struct dns_query *query)
{
    uint32_t hash = query->type;
    for (uint32_t i = 0; i < query->name_len; i++) {
        hash = hash * 31 + query->name[i];
    }
    return hash;
}

/* Bytes of the pool in the form that the type has; a text may go on in the next entries. */
static bool make_record(const struct pool *pool, uint32_t number, uint16_t type, uint8_t *out,
                        struct dns_record *ret_record)
{
    struct entry entry;
    uint32_t len = 0;
    if (type == DNS_TXT) {
        do {
            (void)find_entry(pool, number++, &entry);
            out[len++] = (uint8_t)entry.record.len;
            memcpy(out + len, entry.record.data, entry.record.len);
            len += entry.record.len;
        } while (entry.record.len == UINT8_MAX && len < 1024);
    } else {
        (void)find_entry(pool, number, &entry);
        len = type == DNS_A ? 4 : type == DNS_AAAA ? 16 : entry.record.len;
        memset(out, 0, 16);
        memcpy(out, entry.record.data, len < entry.record.len ? len : entry.record.len);
        dns_name_lower(out, out, type == DNS_PTR ? len : 0);
    }
    *ret_record = (struct dns_record){out, (uint16_t)len};
    return dns_data_is_valid(type, out, len);
}

static void pool_answer(struct pool *pool, struct dns_query *query)
{
    uint8_t octets[RECORDS][2048];
    struct dns_record records[RECORDS];
    struct dns_answer answer = {.status = DNS_NO_NAME, .ttl_s = 300, .records = records};
    uint32_t number = hash(query);
    struct entry entry;
    bool has = find_entry(pool, number, &entry);
    if (has && entry.kind <= GIVE_SOME) {
        answer.status = DNS_OK;
        uint32_t count = entry.kind == GIVE_ONE ? 1 : RECORDS;
        for (uint32_t i = 0; i < count && answer.status == DNS_OK; i++) {
            if (!make_record(pool, number + i, query->type, octets[i], &records[i])) {
                answer.status = DNS_FAILED;
            }
        }
        answer.count = answer.status == DNS_OK ? count : 0;
    } else if (has) {
        answer.status = entry.kind == GIVE_NO_DATA  ? DNS_NO_DATA
                        : entry.kind == GIVE_FAILED ? DNS_FAILED
                                                    : DNS_NO_NAME;
    }
    answer.reason = answer.status == DNS_FAILED ? "malformed answer" : NULL;
    list_init(&query->node);
    if (has && entry.kind == GIVE_NOTHING) {
        list_push_back(&pool->forgotten, &query->node);
        return;
    }
    dns_answer(query, &answer);
}

/* Up to `max` of them, from either end. */
static void pool_run(struct pool *pool, uint32_t max, bool is_reversed)
{
    while (max-- > 0 && !list_is_empty(&pool->waiting)) {
        struct list_node *node = is_reversed ? pool->waiting.prev : pool->waiting.next;
        list_remove(node);
        pool_answer(pool, list_entry(node, struct dns_query, node));
    }
}

/* ---- one run ---- */

struct course {
    uint32_t cut;       /* octets of a piece */
    uint32_t answers;   /* that come with each */
    bool is_reversed;   /* their order */
    uint32_t cancel_at; /* octets before which all is given up; UINT32_MAX: not */
};

struct run {
    struct pool pool;
    struct header header;
    struct findings findings;
    struct facts facts;
    struct chain *chains[2]; /* by scope */
    int promised[2];
    int done[2];
};

struct outcome {
    char field[AUTHRES_SIZE];
    char trace[AUTHRES_SIZE];
    struct verdict verdicts[2];
    struct findings findings;
};

static struct sim *sim;
static struct loop *loop;
static struct verify_conf conf;
static struct run run;
static struct outcome first;
static struct outcome second;

static void set_up(void)
{
    struct loop_limits limits = {.fd_count = 16, .op_count = 16, .buf_count = 4};
    sim = sim_create(&(struct sim_options){.seed = 1, .fd_count = 16});
    assert(sim != NULL);
    int result = loop_create(&loop, &loop_sim, &limits, sim);
    assert(result == 0);
    for (int scope = SCOPE_SESSION; scope <= SCOPE_TRANSACTION; scope++) {
        run.chains[scope] = malloc(chain_size((enum chain_scope)scope));
        assert(run.chains[scope] != NULL);
    }
}

static void set_zone(struct verify_zone *zone, const char *name, int32_t weight)
{
    *zone = (struct verify_zone){
        .weight = weight, .range_count = 1, .ranges = {{0x7f000002, 0x7f0000ff}}};
    (void)snprintf(zone->name, sizeof(zone->name), "%s", name);
}

static void set_conf(uint8_t options)
{
    enum filter_action action = (options & OPTION_REJECT) != 0 ? ACTION_REJECT : ACTION_TAG;
    (void)snprintf(conf.authserv_id, sizeof(conf.authserv_id), "mx.example.org");
    conf.dnsbl.zone_count = 2;
    set_zone(&conf.dnsbl.zones[0], "bl.example", 3);
    set_zone(&conf.dnsbl.zones[1], "wl.example", -2);
    conf.dnsbl.threshold = 2;
    conf.rhsbl.zone_count = 1;
    set_zone(&conf.rhsbl.zones[0], "rhs.example", 3);
    conf.dnsbl.action = action;
    conf.spf.action = action;
    conf.dkim.action = action;
    conf.dkim.signatures_max = (options & OPTION_MANY) != 0 ? FOUND_SIGNATURES_MAX : 3;
    conf.dmarc.action = action;
}

static void on_done(struct chain *chain)
{
    int scope = chain == run.chains[SCOPE_SESSION] ? SCOPE_SESSION : SCOPE_TRANSACTION;
    assert(run.promised[scope] == run.done[scope] + 1);
    run.done[scope]++;
}

static void begin_run(uint8_t options, const uint8_t *pool, uint32_t pool_len)
{
    static const struct dns_ops ops = {.ask = pool_ask, .cancel = pool_cancel};
    static const struct sockaddr_in client4 = {.sin_family = AF_INET, .sin_addr = {0x010200c0}};
    static const struct sockaddr_in6 client6 = {.sin6_family = AF_INET6,
                                                .sin6_addr = {{{0x20, 1, 0xd, 0xb8}}}};
    const char *from = (options & OPTION_HELO) != 0       ? ""
                       : (options & OPTION_ODD_FROM) != 0 ? "\"a@b\\\" c\"@m\xc3\xbcller.example"
                                                          : "a.b@example.com";
    run.pool = (struct pool){.dns = {&ops}, .at = pool, .len = pool_len};
    list_init(&run.pool.waiting);
    list_init(&run.pool.forgotten);
    header_init(&run.header);
    memset(&run.findings, 0, sizeof(run.findings));
    memset(run.promised, 0, sizeof(run.promised));
    memset(run.done, 0, sizeof(run.done));
    run.facts = (struct facts){
        .conf = &conf,
        .dns = &run.pool.dns,
        .client = (options & OPTION_IPV6) != 0 ? (const struct sockaddr *)&client6
                                               : (const struct sockaddr *)&client4,
        .hostname = "mx.example.org",
        .helo = "mail.example.com",
        .from = from,
        .from_len = (uint32_t)strlen(from),
        .header = &run.header,
        .now_s = 1700000000,
        .findings = &run.findings,
    };
    for (int scope = SCOPE_SESSION; scope <= SCOPE_TRANSACTION; scope++) {
        chain_init(run.chains[scope], (enum chain_scope)scope, loop, &run.facts, on_done, NULL);
    }
}

/* What is not answered is given up at the deadline, and `done` has come by then. */
static void await(enum chain_scope scope, enum filter_phase phase, bool is_reversed)
{
    struct chain *chain = run.chains[scope];
    int64_t deadline_ms = loop_now_ms(loop) + DEADLINE_MS;
    if (chain_await(chain, phase, deadline_ms)) {
        return;
    }
    assert(chain_is_awaited(chain));
    run.promised[scope]++;
    pool_run(&run.pool, UINT32_MAX, is_reversed);
    for (int turn = 0; run.done[scope] < run.promised[scope]; turn++) {
        assert(turn < 100);
        int result = loop_run_once(loop, DEADLINE_MS);
        assert(result == 0);
    }
    assert(!chain_is_awaited(chain));
    assert(loop_now_ms(loop) <= deadline_ms + 1000);
    bool is_done = chain_await(chain, phase, deadline_ms);
    assert(is_done);
}

static void begin_phases(bool is_reversed)
{
    chain_reach(run.chains[SCOPE_SESSION], PHASE_CONNECT);
    await(SCOPE_SESSION, PHASE_RCPT, is_reversed);
    chain_reach(run.chains[SCOPE_TRANSACTION], PHASE_MAIL);
    chain_reach(run.chains[SCOPE_TRANSACTION], PHASE_RCPT);
}

static void end_header(bool is_reversed)
{
    chain_reach(run.chains[SCOPE_TRANSACTION], PHASE_HEADER);
    await(SCOPE_TRANSACTION, PHASE_HEADER, is_reversed);
}

/* False when it was given up on the way. */
static bool feed(const struct course *course, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t at = 0; at < len;) {
        uint32_t piece = course->cut < len - at ? course->cut : len - at;
        /* Of exactly that size, so that reading past it is seen. */
        char *copy = malloc(piece);
        assert(copy != NULL);
        memcpy(copy, bytes + at, piece);
        uint32_t used = 0;
        if (!run.header.is_complete) {
            used = header_feed(&run.header, copy, piece);
            if (run.header.is_complete) {
                end_header(course->is_reversed);
            }
        }
        if (used < piece) {
            chain_feed(run.chains[SCOPE_TRANSACTION], copy + used, piece - used);
        }
        free(copy);
        at += piece;
        pool_run(&run.pool, course->answers, course->is_reversed);
        if (at > course->cancel_at) {
            return false;
        }
    }
    return true;
}

static void end_message(bool is_reversed)
{
    if (!run.header.is_complete) {
        header_end(&run.header);
        end_header(is_reversed);
    }
    chain_reach(run.chains[SCOPE_TRANSACTION], PHASE_EOM);
    await(SCOPE_TRANSACTION, PHASE_EOM, is_reversed);
}

/* Nothing is left of it: no question, no timer, no word. */
static void end_run(void)
{
    int done[2];
    memcpy(done, run.done, sizeof(done));
    chain_cancel(run.chains[SCOPE_TRANSACTION]);
    chain_cancel(run.chains[SCOPE_SESSION]);
    assert(list_is_empty(&run.pool.waiting));
    assert(list_is_empty(&run.pool.forgotten));
    sim_advance(sim, 2 * DEADLINE_MS);
    int result = loop_run_once(loop, 0);
    assert(result == 0);
    assert(memcmp(done, run.done, sizeof(done)) == 0);
}

/* ---- what must hold ---- */

static void check_field(const char *field, uint32_t len)
{
    uint32_t line = 0;
    assert(len < AUTHRES_SIZE && strlen(field) == len);
    for (uint32_t i = 0; i < len; i++, line++) {
        if (field[i] == '\r') {
            assert(line > 0 && line <= 998); /* RFC 5322, 2.1.1 */
            assert(field[i + 1] == '\n' && (i + 2 == len || field[i + 2] == '\t'));
            line = 0;
            i++;
        } else {
            assert(field[i] == '\t' || (field[i] >= ' ' && field[i] <= '~'));
        }
    }
    assert(len > 2 && field[len - 1] == '\n');
}

/* The field that we put on top is ours to anybody who looks for forged ones. */
static void check_ours(const char *field, uint32_t len)
{
    static struct header header;
    header_init(&header);
    uint32_t taken = header_feed(&header, field, len);
    assert(taken == len);
    header_end(&header);
    assert(header.count == 1 && !header.is_malformed);
    assert(authres_claims(&header, &header.fields[0], conf.authserv_id));
}

static void write_fields(struct outcome *outcome)
{
    uint32_t len = authres_write(&run.facts, outcome->field);
    check_field(outcome->field, len);
    check_ours(outcome->field, len);
    len = authres_write_trace(&run.facts, "X-Trace", outcome->trace);
    check_field(outcome->trace, len);
}

static void check_claims(void)
{
    for (uint32_t i = 0; i < run.header.count; i++) {
        bool is_ours = authres_claims(&run.header, &run.header.fields[i], conf.authserv_id);
        assert(!is_ours || header_is(&run.header, &run.header.fields[i], "Authentication-Results"));
    }
}

static void check_verdict(const struct verdict *verdict)
{
    bool has_reply = verdict->action >= ACTION_DEFER;
    assert(verdict->action != ACTION_OFF);
    assert((verdict->decided_by == NULL) == (verdict->action == ACTION_REPORT));
    if (has_reply) {
        assert(verdict->reply[0] == (verdict->action == ACTION_REJECT ? '5' : '4'));
        for (const char *at = verdict->reply; *at != '\0'; at++) {
            assert(*at != '\r' && *at != '\n');
        }
    }
}

static void take_outcome(struct outcome *outcome)
{
    memset(outcome, 0, sizeof(*outcome));
    write_fields(outcome);
    for (int scope = SCOPE_SESSION; scope <= SCOPE_TRANSACTION; scope++) {
        chain_judge(run.chains[scope], PHASE_EOM, &outcome->verdicts[scope]);
        check_verdict(&outcome->verdicts[scope]);
    }
    outcome->findings = run.findings;
}

/* Of several lists the one that answered first is named: that may differ when answers change places. */
static void check_lists(void)
{
    assert(strcmp(first.trace, second.trace) == 0);
    for (int scope = SCOPE_SESSION; scope <= SCOPE_TRANSACTION; scope++) {
        assert(strcmp(first.verdicts[scope].reply, second.verdicts[scope].reply) == 0);
    }
}

static void check_same(bool is_in_order)
{
    assert(strcmp(first.field, second.field) == 0);
    assert(strcmp(first.findings.spf.explanation, second.findings.spf.explanation) == 0);
    for (int scope = SCOPE_SESSION; scope <= SCOPE_TRANSACTION; scope++) {
        assert(first.verdicts[scope].action == second.verdicts[scope].action);
        assert(first.verdicts[scope].decided_by == second.verdicts[scope].decided_by);
    }
    if (is_in_order) {
        check_lists();
    }
}

static void whole_run(const uint8_t *data, uint32_t pool_len, const uint8_t *message, uint32_t len,
                      const struct course *course, struct outcome *outcome)
{
    begin_run(data[0], data + HEAD, pool_len);
    begin_phases(course->is_reversed);
    if (feed(course, message, len)) {
        end_message(course->is_reversed);
        check_claims();
        if (outcome != NULL) {
            take_outcome(outcome);
        }
    }
    assert(run.pool.asked < 200);
    end_run();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD || size > SIZE_MAX_) {
        return 0;
    }
    if (sim == NULL) {
        set_up();
    }
    set_conf(data[0]);
    uint32_t left = (uint32_t)size - HEAD;
    uint32_t pool_len = ((uint32_t)data[2] << 8 | data[3]) % (left + 1);
    const uint8_t *message = data + HEAD + pool_len;
    uint32_t len = left - pool_len;
    uint32_t seed = data[1];
    struct course whole = {.cut = UINT32_MAX, .cancel_at = UINT32_MAX};
    struct course cut = {.cut = 1 + seed % 61,
                         .answers = seed % 3,
                         .is_reversed = (seed & 1) != 0,
                         .cancel_at = UINT32_MAX};
    struct course given_up = cut;
    given_up.cancel_at = len > 0 ? seed * 131 % len : 0;
    whole_run(data, pool_len, message, len, &whole, &first);
    whole_run(data, pool_len, message, len, &cut, &second);
    check_same(!cut.is_reversed);
    whole_run(data, pool_len, message, len, &given_up, NULL);
    return 0;
}
