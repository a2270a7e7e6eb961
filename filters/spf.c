/*
 * spf - see filters/spf.h.
 *
 * A stack of records (include pushes one, redirect replaces one) and one question at a time:
 *
 *   push(domain) -> TXT -> on_record -> walk: term by term -> match, or the record's end
 *                                         |  ^                        |
 *              a, mx, ptr, exists: ask ---+  +--- answer              v
 *                                                     pop: into the term that included it; or the end
 *
 * Errors and results go one way, through settle(), so no path leaves a question or a frame behind.
 */
#include "filters/spf.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "filters/address.h"
#include "filters/spf_macro.h"
#include "filters/spf_record.h"
#include "filters/verify_conf.h"

enum {
    TERMS_MAX = 10,
    VOIDS_MAX = 2,
    NAMES_MAX = 10,
    FRAMES_MAX = TERMS_MAX + 1,
    TEXT_MAX = 8 * 1024,  /* all records on the stack */
    READ_MAX = 16 * 1024, /* all that one check reads */
    LOCAL_MAX = 256,
};

struct frame {
    char domain[DNS_TEXT_MAX];
    bool is_redirected; /* it took the place of another one */
    uint32_t text_at;   /* of its record in check->text */
    uint32_t text_len;
    uint32_t at;          /* how far it has been read */
    struct spf_term term; /* the one in work */
    struct span redirect;
    struct span exp;
};

struct spf {
    struct filter_run *run;
    struct dns_query query;
    uint32_t depth; /* frames in use */
    uint32_t terms;
    uint32_t voids;
    uint32_t name_count; /* of `names`: MX hosts, or the client's own names */
    uint32_t name_at;
    bool is_exhausted;                    /* of `names`: there were more than may be looked at */
    bool has_validated;                   /* `validated` has been looked for */
    void (*with_name)(struct spf *check); /* what goes on when %{p} is known; NULL: a ptr term */
    bool is_redirecting;                  /* the next record takes another one's place */
    enum check_result late;               /* the result that waits for the explanation */
    uint8_t octets[16];                   /* of the client */
    uint32_t octet_count;
    uint32_t text_len; /* of the explanation in `text` */
    uint32_t read;     /* octets of records so far */
    char local[LOCAL_MAX];
    char sender[DNS_TEXT_MAX];
    char validated[DNS_TEXT_MAX];
    char target[SPF_EXPANDED_MAX]; /* of the term in work */
    char names[NAMES_MAX][DNS_TEXT_MAX];
    struct frame frames[FRAMES_MAX];
    char text[TEXT_MAX];
};

static void walk(struct spf *check);
static void settle(struct spf *check, enum check_result result, const char *reason);
static void push(struct spf *check, const char *domain);
static void look_for_name(struct spf *check, void (*with_name)(struct spf *check));
static void on_record(struct dns_query *query, const struct dns_answer *answer);

static struct spf *spf_of(struct dns_query *query)
{
    return list_entry(query, struct spf, query);
}

static struct frame *top(struct spf *check)
{
    assert(check->depth > 0);
    return &check->frames[check->depth - 1];
}

static struct found_spf *found_of(const struct spf *check)
{
    return &check->run->facts->findings->spf;
}

static struct spf_names names_of(const struct spf *check, const struct frame *frame)
{
    const struct facts *facts = check->run->facts;
    return (struct spf_names){
        .local = check->local,
        .sender = check->sender,
        .domain = frame->domain,
        .helo = facts->helo,
        .host = facts->hostname,
        .validated = check->validated[0] != '\0' ? check->validated : "unknown",
        .client = facts->client,
        .now_s = facts->now_s,
    };
}

/* ---- the end ---- */

static void finish(struct spf *check, enum check_result result)
{
    found_of(check)->result = result;
    check->depth = 0;
    filter_done(check->run);
}

/* The text, which is visible ASCII when it has been expanded, or it is not told (6.2). */
static void explain(struct spf *check)
{
    char expanded[SPF_EXPANDED_MAX];
    struct spf_names names = names_of(check, top(check));
    int len = spf_macro_expand(check->text, check->text_len, &names, expanded);
    bool is_clean = len >= 0 && len < FOUND_EXPLANATION_MAX;
    for (int i = 0; is_clean && i < len; i++) {
        is_clean = expanded[i] >= ' ' && expanded[i] <= '~';
    }
    if (is_clean) {
        memcpy(found_of(check)->explanation, expanded, (size_t)len + 1);
    }
    finish(check, check->late);
}

/* The records are done with: their room takes the text. */
static void on_explanation(struct dns_query *query, const struct dns_answer *answer)
{
    struct spf *check = spf_of(query);
    int len = -1;
    if (answer->status == DNS_OK && answer->count == 1) {
        len = dns_txt_join(&answer->records[0], check->text, sizeof(check->text));
    }
    if (len < 0 || !spf_macro_is_valid(check->text, (uint32_t)len, true)) {
        finish(check, check->late);
        return;
    }
    check->text_len = (uint32_t)len;
    if (!check->has_validated && spf_macro_needs_name(check->text, check->text_len)) {
        look_for_name(check, explain);
        return;
    }
    explain(check);
}

/* The owner of the domain may say why (6.2); without it nothing changes. */
static bool ask_explanation(struct spf *check, enum check_result result)
{
    const struct frame *frame = top(check);
    if (result != CHECK_FAIL || frame->exp.len == 0) {
        return false;
    }
    struct spf_names names = names_of(check, frame);
    int len = spf_spec_expand(frame->exp.at, frame->exp.len, &names, check->target);
    check->late = result;
    return len > 0 && dns_ask(check->run->facts->dns, &check->query, check->target, (uint32_t)len,
                              DNS_TXT, on_explanation) == 0;
}

/* What an included record came to, for the term that included it (5.2). */
static void settle_include(struct spf *check, enum check_result result, const char *reason)
{
    check->depth--;
    switch (result) {
    case CHECK_PASS:
        settle(check, top(check)->term.result, NULL);
        return;
    case CHECK_TEMPERROR:
        settle(check, CHECK_TEMPERROR, reason);
        return;
    case CHECK_NONE:
        settle(check, CHECK_PERMERROR, "an included domain has no record");
        return;
    case CHECK_PERMERROR:
        settle(check, CHECK_PERMERROR, reason);
        return;
    case CHECK_FAIL:
    case CHECK_SOFTFAIL:
    case CHECK_NEUTRAL:
    case CHECK_POLICY:
        walk(check);
        return;
    }
}

/* The record on top has come to a result. */
static void settle(struct spf *check, enum check_result result, const char *reason)
{
    const struct frame *frame = top(check);
    if (result == CHECK_NONE && frame->is_redirected) {
        result = CHECK_PERMERROR; /* 6.1 */
        reason = "the domain redirected to has no record";
    }
    if (check->depth > 1) {
        settle_include(check, result, reason);
        return;
    }
    found_of(check)->reason = reason;
    if (!ask_explanation(check, result)) {
        finish(check, result);
    }
}

/* ---- addresses ---- */

static bool shares_prefix(const struct spf *check, const uint8_t *octets, uint32_t count,
                          const struct spf_term *term)
{
    uint32_t bits = count == 4 ? term->bits4 : term->bits6;
    if (count != check->octet_count) {
        return false;
    }
    uint32_t whole = bits / 8;
    uint32_t rest = bits % 8;
    return memcmp(octets, check->octets, whole) == 0 &&
           (rest == 0 || (octets[whole] ^ check->octets[whole]) >> (8 - rest) == 0);
}

static enum dns_type address_type(const struct spf *check)
{
    return check->octet_count == 4 ? DNS_A : DNS_AAAA;
}

static bool answer_has_client(const struct spf *check, const struct dns_answer *answer,
                              const struct spf_term *term)
{
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->count; i++) {
        const struct dns_record *record = &answer->records[i];
        if (record->len == check->octet_count &&
            shares_prefix(check, record->data, record->len, term)) {
            return true;
        }
    }
    return false;
}

/* True when the answer ends the check: no answer, or one void answer too many. */
static bool is_over(struct spf *check, const struct dns_answer *answer)
{
    if (answer->status == DNS_FAILED) {
        settle(check, CHECK_TEMPERROR, answer->reason);
        return true;
    }
    if (answer->status != DNS_OK && ++check->voids > VOIDS_MAX) {
        settle(check, CHECK_PERMERROR, "too many names without records");
        return true;
    }
    return false;
}

static void match(struct spf *check)
{
    settle(check, top(check)->term.result, NULL);
}

/* Asks for `name`; what is no name at all has no records. */
static void ask(struct spf *check, const char *name, enum dns_type type, dns_done *done)
{
    uint32_t len = (uint32_t)strlen(name);
    if (len == 0 || dns_ask(check->run->facts->dns, &check->query, name, len, type, done) < 0) {
        walk(check);
    }
}

/* The answer matches, ends the check, or the check goes on with `otherwise`. */
static void decide(struct spf *check, const struct dns_answer *answer, bool is_match,
                   void (*otherwise)(struct spf *check))
{
    if (is_over(check, answer)) {
        return;
    }
    if (is_match) {
        match(check);
    } else {
        otherwise(check);
    }
}

static void on_address(struct dns_query *query, const struct dns_answer *answer)
{
    struct spf *check = spf_of(query);
    decide(check, answer, answer_has_client(check, answer, &top(check)->term), walk);
}

static void on_exists(struct dns_query *query, const struct dns_answer *answer)
{
    decide(spf_of(query), answer, answer->status == DNS_OK, walk);
}

/* The addresses of the next of `names`. False when there is none left. */
static bool ask_next_name(struct spf *check, dns_done *done)
{
    while (check->name_at < check->name_count) {
        const char *name = check->names[check->name_at++];
        if (dns_ask(check->run->facts->dns, &check->query, name, (uint32_t)strlen(name),
                    address_type(check), done) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- mx ---- */

static void on_mx_address(struct dns_query *query, const struct dns_answer *answer);

static void next_mx(struct spf *check)
{
    if (ask_next_name(check, on_mx_address)) {
        return;
    }
    if (check->is_exhausted) {
        settle(check, CHECK_PERMERROR, "too many MX names");
    } else {
        walk(check);
    }
}

static void on_mx_address(struct dns_query *query, const struct dns_answer *answer)
{
    struct spf *check = spf_of(query);
    decide(check, answer, answer_has_client(check, answer, &top(check)->term), next_mx);
}

static void on_mx(struct dns_query *query, const struct dns_answer *answer)
{
    struct spf *check = spf_of(query);
    if (is_over(check, answer)) {
        return;
    }
    check->name_count = 0;
    check->name_at = 0;
    check->is_exhausted = answer->status == DNS_OK && answer->count > NAMES_MAX;
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->count; i++) {
        uint16_t preference;
        if (check->name_count < NAMES_MAX &&
            dns_mx_parse(&answer->records[i], &preference, check->names[check->name_count]) == 0) {
            check->name_count++;
        }
    }
    next_mx(check);
}

/* ---- ptr, and %{p} ---- */

static void on_ptr_address(struct dns_query *query, const struct dns_answer *answer);

static bool is_at_or_below(const char *name, const char *domain)
{
    struct span above = {domain, (uint32_t)strlen(domain)};
    above.len -= above.len > 0 && domain[above.len - 1] == '.' ? 1 : 0;
    return span_is_at_or_below((struct span){name, (uint32_t)strlen(name)}, above);
}

static void ptr_done(struct spf *check)
{
    void (*with_name)(struct spf * check) = check->with_name;
    check->with_name = NULL;
    if (with_name != NULL) {
        with_name(check);
    } else {
        walk(check);
    }
}

static void next_ptr(struct spf *check)
{
    if (!ask_next_name(check, on_ptr_address)) {
        ptr_done(check);
    }
}

/* For %{p} the domain itself is the best name, one below it the next, any other the last (7.3). */
static uint32_t rank(const char *name, const char *domain)
{
    if (name[0] == '\0') {
        return 0;
    }
    return strcasecmp(name, domain) == 0 ? 3 : is_at_or_below(name, domain) ? 2 : 1;
}

static void on_ptr_address(struct dns_query *query, const struct dns_answer *answer)
{
    static const struct spf_term whole = {.bits4 = 32, .bits6 = 128};
    struct spf *check = spf_of(query);
    const char *name = check->names[check->name_at - 1];
    const char *domain = top(check)->domain;
    if (!answer_has_client(check, answer, &whole)) {
        next_ptr(check);
        return;
    }
    if (check->with_name == NULL && is_at_or_below(name, check->target)) {
        match(check);
        return;
    }
    if (check->with_name != NULL && rank(name, domain) > rank(check->validated, domain)) {
        memcpy(check->validated, name, sizeof(check->validated));
    }
    next_ptr(check);
}

/* The client's own names. An error here is no error: there is then nothing to match (5.5). */
static void on_ptr(struct dns_query *query, const struct dns_answer *answer)
{
    struct spf *check = spf_of(query);
    check->name_count = 0;
    check->name_at = 0;
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->count; i++) {
        const struct dns_record *record = &answer->records[i];
        if (check->name_count < NAMES_MAX &&
            dns_name_text(record->data, record->len, check->names[check->name_count]) > 0) {
            check->name_count++;
        }
    }
    next_ptr(check);
}

static void ask_ptr(struct spf *check)
{
    char name[ADDRESS_REVERSE_MAX + 16];
    char reversed[ADDRESS_REVERSE_MAX];
    (void)address_reverse(check->run->facts->client, reversed);
    int len = snprintf(name, sizeof(name), "%s.%s.arpa", reversed,
                       check->octet_count == 4 ? "in-addr" : "ip6");
    int result =
        dns_ask(check->run->facts->dns, &check->query, name, (uint32_t)len, DNS_PTR, on_ptr);
    assert(result == 0); /* a name of our own */
}

/* Once in a check: a name of the client's own that leads back to it, for %{p}. */
static void look_for_name(struct spf *check, void (*with_name)(struct spf *check))
{
    check->has_validated = true;
    check->with_name = with_name;
    ask_ptr(check);
}

/* ---- terms ---- */

static void expand_target(struct spf *check, struct span spec)
{
    struct spf_names names = names_of(check, top(check));
    int len = spf_spec_expand(spec.at, spec.len, &names, check->target);
    if (len < 0) {
        check->target[0] = '\0'; /* no name: matches nothing */
    }
}

/* The term in work, its macros' needs met. */
static void evaluate(struct spf *check)
{
    struct frame *frame = top(check);
    const struct spf_term *term = &frame->term;
    if (term->spec.len > 0) {
        expand_target(check, term->spec);
    } else {
        (void)snprintf(check->target, sizeof(check->target), "%s", frame->domain);
    }
    switch (term->kind) {
    case SPF_INCLUDE:
        push(check, check->target);
        return;
    case SPF_A:
        ask(check, check->target, address_type(check), on_address);
        return;
    case SPF_MX:
        ask(check, check->target, DNS_MX, on_mx);
        return;
    case SPF_PTR:
        ask_ptr(check);
        return;
    case SPF_EXISTS:
        ask(check, check->target, DNS_A, on_exists);
        return;
    case SPF_REDIRECT: {
        char domain[SPF_EXPANDED_MAX];
        memcpy(domain, check->target, sizeof(domain));
        check->depth--;
        check->is_redirecting = true;
        push(check, domain);
        return;
    }
    case SPF_ALL:
    case SPF_IP4:
    case SPF_IP6:
    case SPF_EXP:
    case SPF_UNKNOWN:
        break;
    }
    assert(!"terms that ask nothing end in walk()");
}

/* A term that asks: counted, and %{p} looked for once before it. */
static void begin_term(struct spf *check)
{
    const struct spf_term *term = &top(check)->term;
    if (++check->terms > TERMS_MAX) {
        settle(check, CHECK_PERMERROR, "too many terms that ask DNS");
        return;
    }
    if (!check->has_validated && spf_macro_needs_name(term->spec.at, term->spec.len)) {
        look_for_name(check, evaluate);
        return;
    }
    evaluate(check);
}

static void end_of_record(struct spf *check)
{
    struct frame *frame = top(check);
    if (frame->redirect.len == 0) {
        settle(check, CHECK_NEUTRAL, NULL); /* 4.7 */
        return;
    }
    frame->term = (struct spf_term){.kind = SPF_REDIRECT, .spec = frame->redirect};
    begin_term(check);
}

/* Goes through the record on top until something has to be asked, or it comes to a result. */
static void walk(struct spf *check)
{
    for (;;) {
        struct frame *frame = top(check);
        int more =
            spf_next_term(check->text + frame->text_at, frame->text_len, &frame->at, &frame->term);
        assert(more >= 0); /* the whole record was checked */
        if (more == 0) {
            end_of_record(check);
            return;
        }
        const struct spf_term *term = &frame->term;
        bool is_v4 = term->kind == SPF_IP4;
        if (term->kind == SPF_ALL) {
            match(check);
            return;
        }
        if (is_v4 || term->kind == SPF_IP6) {
            if (shares_prefix(check, term->address, is_v4 ? 4 : 16, term)) {
                match(check);
                return;
            }
        } else if (term->kind < SPF_REDIRECT) {
            begin_term(check);
            return;
        }
    }
}

/* ---- records ---- */

/* Two labels or more, each of 1 to 63 octets (4.3). */
static bool is_domain(const char *domain)
{
    uint8_t wire[DNS_NAME_MAX];
    int len = dns_name_parse(domain, (uint32_t)strlen(domain), wire);
    return len > 2 && wire[0] + 2 < len;
}

static void push(struct spf *check, const char *domain)
{
    bool is_redirected = check->is_redirecting;
    check->is_redirecting = false;
    assert(check->depth < FRAMES_MAX); /* each took one of TERMS_MAX */
    struct frame *frame = &check->frames[check->depth];
    uint32_t text_at = 0;
    if (check->depth > 0) {
        text_at =
            check->frames[check->depth - 1].text_at + check->frames[check->depth - 1].text_len;
    }
    *frame = (struct frame){.is_redirected = is_redirected, .text_at = text_at};
    (void)snprintf(frame->domain, sizeof(frame->domain), "%s", domain);
    check->depth++;
    if (!is_domain(domain) || dns_ask(check->run->facts->dns, &check->query, domain,
                                      (uint32_t)strlen(domain), DNS_TXT, on_record) < 0) {
        settle(check, CHECK_NONE, "not a domain name");
    }
}

/* The one SPF record among the answers, into the stack's text. */
static const char *take_record(struct spf *check, const struct dns_answer *answer,
                               enum check_result *ret_result)
{
    struct frame *frame = top(check);
    char text[DNS_ANSWER_MAX];
    uint32_t count = 0;
    *ret_result = CHECK_PERMERROR;
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->count; i++) {
        int len = dns_txt_join(&answer->records[i], text, sizeof(text));
        if (len < 0 || !spf_is_record(text, (uint32_t)len)) {
            continue;
        }
        if (++count > 1) {
            return "more than one SPF record";
        }
        check->read += (uint32_t)len;
        if (check->read > READ_MAX || (uint32_t)len > TEXT_MAX - frame->text_at) {
            return "SPF records are too long";
        }
        memcpy(check->text + frame->text_at, text, (size_t)len);
        frame->text_len = (uint32_t)len;
    }
    if (count == 0) {
        *ret_result = CHECK_NONE;
        return "no SPF record";
    }
    if (spf_check_record(check->text + frame->text_at, frame->text_len, &frame->redirect,
                         &frame->exp) < 0) {
        return "bad syntax of the SPF record";
    }
    return NULL;
}

static void on_record(struct dns_query *query, const struct dns_answer *answer)
{
    struct spf *check = spf_of(query);
    enum check_result result;
    if (answer->status == DNS_FAILED) {
        settle(check, CHECK_TEMPERROR, answer->reason);
        return;
    }
    const char *fault = take_record(check, answer, &result);
    if (fault != NULL) {
        settle(check, result, fault);
        return;
    }
    walk(check);
}

/* ---- as a check ---- */

static enum filter_action spf_action(const struct facts *facts)
{
    return facts->conf->spf.action;
}

/* The identity: local part and domain of the reverse-path, or of the HELO name (2.4, 4.3). */
static bool take_identity(struct spf *check)
{
    const struct facts *facts = check->run->facts;
    const char *at = facts->from_len > 0 ? memrchr(facts->from, '@', facts->from_len) : NULL;
    const char *domain = facts->helo;
    uint32_t len = (uint32_t)strlen(facts->helo);
    uint32_t local = 0;
    if (facts->from_len > 0) {
        local = at == NULL ? 0 : (uint32_t)(at - facts->from);
        domain = at == NULL ? facts->from : at + 1;
        len = facts->from_len - (uint32_t)(domain - facts->from);
    }
    if (len >= sizeof(check->sender) || local >= sizeof(check->local)) {
        return false;
    }
    memcpy(check->sender, domain, len);
    check->sender[len] = '\0';
    (void)snprintf(check->local, sizeof(check->local), "%.*s", local > 0 ? (int)local : 10,
                   local > 0 ? facts->from : "postmaster");
    found_of(check)->is_helo = facts->from_len == 0;
    return true;
}

static void spf_start(struct filter_run *run)
{
    struct spf *check = run->memory;
    memset(check, 0, offsetof(struct spf, names)); /* the rest is written before it is read */
    check->run = run;
    check->octet_count = address_octets(run->facts->client, check->octets);
    struct found_spf *found = found_of(check);
    found->is_present = true;
    if (!take_identity(check) || check->octet_count == 0) {
        finish(check, CHECK_NONE);
        return;
    }
    memcpy(found->domain, check->sender, sizeof(found->domain));
    push(check, check->sender);
}

static void spf_cancel(struct filter_run *run)
{
    struct spf *check = run->memory;
    dns_cancel(&check->query);
}

static void spf_give_up(struct filter_run *run)
{
    struct found_spf *found = &run->facts->findings->spf;
    found->result = CHECK_TEMPERROR;
    found->reason = "no answer in time";
}

static void spf_judge(const struct filter_run *run, struct verdict *ret_verdict)
{
    const struct found_spf *found = &run->facts->findings->spf;
    if (found->result != CHECK_FAIL) {
        return;
    }
    ret_verdict->action = run->facts->conf->spf.action;
    (void)snprintf(ret_verdict->reply, sizeof(ret_verdict->reply),
                   "%s SPF: the domain of the sender "
                   "does not let this client send for it%s%s",
                   ret_verdict->action == ACTION_REJECT ? "550 5.7.23" : "450 4.7.23",
                   found->explanation[0] != '\0' ? ": " : "", found->explanation);
}

const struct filter filter_spf = {
    .name = "spf",
    .begins = PHASE_MAIL,
    .due = PHASE_HEADER,
    .size = sizeof(struct spf),
    .action = spf_action,
    .start = spf_start,
    .cancel = spf_cancel,
    .give_up = spf_give_up,
    .judge = spf_judge,
};
