/*
 * dmarc - see filters/dmarc.h.
 *
 * What is known is a set of nodes, one for each name that has been asked for a record. The result is a
 * function of the nodes and of the findings of SPF and DKIM: evaluate() runs whenever one of them has
 * changed, and asks for what it misses. So the questions of a walk go out together, and no order of
 * answers makes a difference.
 *
 *   HEADER: _dmarc.a.example.com, _dmarc.example.com, _dmarc.com ---> nodes --+
 *   EOM:    SPF and DKIM are done --------------------------------------------+-> evaluate -> done
 *
 * Walks of authenticated domains share the nodes, and begin only for a domain at or below the author's
 * organizational domain, since no other can be aligned. Names past NODES_MAX are not looked at.
 */
#include "filters/dmarc.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "filters/dkim.h"
#include "filters/dmarc_record.h"
#include "filters/from.h"
#include "filters/idn.h"
#include "filters/spf.h"
#include "filters/verify_conf.h"

enum {
    NODES_MAX = 24,
    AHEAD_MAX = 12,   /* of them for walks that may turn out not to be needed */
    SHORTCUT_AT = 8,  /* labels from which a walk goes on ... (RFC 9989, 4.10) */
    SHORTENED_TO = 7, /* ... at this many, so that there are at most eight questions */
};

_Static_assert((int)IDN_NAME_MAX == (int)FOUND_DOMAIN_MAX, "a domain fits where it is told");

struct dmarc;

enum node_kind { NODE_WAITING, NODE_EMPTY, NODE_RECORD, NODE_FAILED };

struct node {
    struct dmarc *check;
    enum node_kind kind;
    bool is_missing; /* there is no such name: nothing is said about the one above it */
    struct dmarc_record record;
    char name[FOUND_DOMAIN_MAX];
    struct dns_query query;
};

enum existence { EXISTENCE_OPEN, EXISTENCE_WAITING, EXISTENCE_YES, EXISTENCE_NO, EXISTENCE_FAILED };

struct dmarc {
    struct filter_run *run;
    bool has_results;         /* of SPF and DKIM */
    bool is_late;             /* nothing is asked any more */
    bool could_reject;        /* of a temperror: for all that is known */
    enum existence existence; /* of the author's domain */
    struct dns_query existence_query;
    uint32_t count;
    struct node nodes[NODES_MAX];
};

enum answer { ANSWER_NO, ANSWER_YES, ANSWER_FAILED, ANSWER_WAITING };

/* A walk from `start`; the names are slices at its end. */
struct walk {
    enum answer answer; /* YES when it is complete */
    const char *start;
    const char *organization;
    const struct node *record; /* at the shortest name that has one, below a public suffix */
    const struct node *suffix; /* psd=y, above the start */
};

static void advance(struct dmarc *check);

static struct found_dmarc *found_of(const struct dmarc *check)
{
    return &check->run->facts->findings->dmarc;
}

/* ---- questions ---- */

static void take_record(struct node *node, const struct dns_answer *answer)
{
    char text[DNS_ANSWER_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < answer->count; i++) {
        struct dmarc_record record;
        int len = dns_txt_join(&answer->records[i], text, sizeof(text));
        if (len > 0 && dmarc_record_parse((struct span){text, (uint32_t)len}, &record)) {
            node->record = record;
            count++;
        }
    }
    node->kind = count == 1 ? NODE_RECORD : NODE_EMPTY; /* several are as none (4.10) */
}

static void on_record(struct dns_query *query, const struct dns_answer *answer)
{
    struct node *node = list_entry(query, struct node, query);
    node->is_missing = answer->status == DNS_NO_NAME;
    if (answer->status == DNS_FAILED) {
        node->kind = NODE_FAILED;
    } else if (answer->status == DNS_OK) {
        take_record(node, answer);
    } else {
        node->kind = NODE_EMPTY;
    }
    advance(node->check);
}

static void ask_record(struct node *node)
{
    char name[FOUND_DOMAIN_MAX + sizeof("_dmarc.")];
    int len = snprintf(name, sizeof(name), "_dmarc.%s", node->name);
    if (dns_ask(node->check->run->facts->dns, &node->query, name, (uint32_t)len, DNS_TXT,
                on_record) < 0) {
        node->kind = NODE_EMPTY; /* too long to exist */
        node->is_missing = true;
    }
}

/* What is known of this name; asked for when it is new. NULL: there is no room. */
static const struct node *node_of(struct dmarc *check, const char *name)
{
    for (uint32_t i = 0; i < check->count; i++) {
        if (strcmp(check->nodes[i].name, name) == 0) {
            return &check->nodes[i];
        }
    }
    if (check->count == NODES_MAX) {
        return NULL;
    }
    struct node *node = &check->nodes[check->count++];
    node->check = check;
    node->kind = check->is_late ? NODE_FAILED : NODE_WAITING;
    node->is_missing = false;
    node->query.dns = NULL;
    (void)snprintf(node->name, sizeof(node->name), "%s", name);
    if (!check->is_late) {
        ask_record(node);
    }
    return node;
}

static void on_existence(struct dns_query *query, const struct dns_answer *answer)
{
    struct dmarc *check = list_entry(query, struct dmarc, existence_query);
    check->existence = answer->status == DNS_NO_NAME  ? EXISTENCE_NO
                       : answer->status == DNS_FAILED ? EXISTENCE_FAILED
                                                      : EXISTENCE_YES;
    advance(check);
}

/* Is there a name of the author's domain (3.2.13)? Something below it says so as well. */
static enum existence existence_of(struct dmarc *check, const struct node *own)
{
    const char *domain = found_of(check)->domain;
    if (!own->is_missing) {
        return EXISTENCE_YES;
    }
    if (check->existence == EXISTENCE_OPEN) {
        check->existence = EXISTENCE_WAITING;
        if (check->is_late) {
            check->existence = EXISTENCE_FAILED;
        } else if (dns_ask(check->run->facts->dns, &check->existence_query, domain,
                           (uint32_t)strlen(domain), DNS_A, on_existence) < 0) {
            check->existence = EXISTENCE_NO;
        }
    }
    return check->existence;
}

/* ---- the tree walk (4.10) ---- */

static uint32_t count_labels(const char *name)
{
    uint32_t count = 1;
    for (; *name != '\0'; name++) {
        count += *name == '.' ? 1 : 0;
    }
    return count;
}

static const char *without_label(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot == NULL ? NULL : dot + 1;
}

static const char *next_target(const char *start, const char *name)
{
    uint32_t labels = name == start ? count_labels(name) : 0;
    name = without_label(name);
    for (; labels > SHORTCUT_AT; labels--) {
        name = without_label(name);
    }
    return name;
}

static const char *one_label_below(const char *start, const char *name)
{
    assert(name > start);
    for (name--; name > start && name[-1] != '.'; name--) {
    }
    return name;
}

/* Takes what a name says about the organizational domain (4.10.2); true when it ends the walk. */
static bool take_node(struct walk *walk, const struct node *node, const char *name)
{
    if (node->kind == NODE_WAITING) {
        walk->answer = ANSWER_WAITING;
    } else if (node->kind == NODE_FAILED && walk->answer != ANSWER_WAITING) {
        walk->answer = ANSWER_FAILED;
    }
    if (node->kind != NODE_RECORD) {
        return false;
    }
    if (node->record.psd == DMARC_PSD_YES && name != walk->start) {
        walk->organization = one_label_below(walk->start, name);
        walk->suffix = node;
        return true;
    }
    walk->organization = name;
    walk->record = node;
    return node->record.psd != DMARC_PSD_UNKNOWN;
}

static void walk_tree(struct dmarc *check, const char *start, struct walk *walk)
{
    *walk = (struct walk){.answer = ANSWER_YES, .start = start, .organization = start};
    for (const char *name = start; name != NULL; name = next_target(start, name)) {
        const struct node *node = node_of(check, name);
        if (node == NULL) {
            walk->answer = ANSWER_NO;
            return;
        }
        if (take_node(walk, node, name)) {
            return;
        }
    }
}

/* ---- alignment (4.4) ---- */

static bool is_at_or_below(const char *name, const char *above)
{
    size_t len = strlen(name);
    size_t above_len = strlen(above);
    if (len < above_len || strcmp(name + len - above_len, above) != 0) {
        return false;
    }
    return len == above_len || name[len - above_len - 1] == '.';
}

static enum answer is_aligned(struct dmarc *check, const struct walk *author, const char *domain,
                              bool is_strict)
{
    char name[IDN_NAME_MAX];
    struct walk walk;
    if (idn_to_ascii(domain, (uint32_t)strlen(domain), name) <= 0) {
        return ANSWER_NO;
    }
    if (strcmp(name, author->start) == 0) {
        return ANSWER_YES;
    }
    if (is_strict) {
        return ANSWER_NO;
    }
    if (author->answer != ANSWER_YES) {
        return author->answer;
    }
    if (!is_at_or_below(name, author->organization)) {
        return ANSWER_NO;
    }
    walk_tree(check, name, &walk);
    if (walk.answer == ANSWER_YES && strcmp(walk.organization, author->organization) != 0) {
        return ANSWER_NO;
    }
    return walk.answer;
}

static enum answer stronger(enum answer a, enum answer b)
{
    static const int rank[] = {
        [ANSWER_NO] = 0, [ANSWER_FAILED] = 1, [ANSWER_WAITING] = 2, [ANSWER_YES] = 3};
    return rank[a] > rank[b] ? a : b;
}

/* Is a domain aligned for which SPF or DKIM has come to this result? */
static enum answer has_aligned(struct dmarc *check, const struct walk *author,
                               const struct dmarc_record *record, enum check_result result)
{
    const struct findings *findings = check->run->facts->findings;
    const struct found_dkim *dkim = &findings->dkim;
    enum answer answer = ANSWER_NO;
    if (findings->spf.is_present && findings->spf.result == result) {
        answer = is_aligned(check, author, findings->spf.domain, record->is_spf_strict);
    }
    for (uint32_t i = 0; dkim->is_present && i < dkim->count && answer != ANSWER_YES; i++) {
        if (dkim->signatures[i].result == result) {
            answer = stronger(answer, is_aligned(check, author, dkim->signatures[i].domain,
                                                 record->is_dkim_strict));
        }
    }
    return answer;
}

/* ---- the result ---- */

static bool settle(struct dmarc *check, enum check_result result, const char *reason)
{
    found_of(check)->result = result;
    found_of(check)->reason = reason;
    return true;
}

static bool settle_unknown(struct dmarc *check, bool could_reject, const char *reason)
{
    check->could_reject = could_reject;
    return settle(check, CHECK_TEMPERROR, reason);
}

/* The record that applies (4.10.1): the author's domain's, its organizational domain's, or its public
 * suffix's. */
static const struct node *applicable(const struct walk *author, const struct node *own)
{
    if (own->kind == NODE_RECORD) {
        return own;
    }
    if (author->record != NULL && strcmp(author->record->name, author->organization) == 0) {
        return author->record;
    }
    return author->suffix;
}

/* False when the author's domain may turn out not to exist. */
static bool choose_policy(struct dmarc *check, const struct node *node, const struct node *own)
{
    const struct dmarc_record *record = &node->record;
    struct found_dmarc *found = found_of(check);
    enum existence existence = EXISTENCE_YES;
    if (node != own && record->below != record->missing) {
        existence = existence_of(check, own);
    }
    found->has_record = true;
    found->is_testing = record->is_testing;
    found->policy = node == own                 ? record->domain
                    : existence == EXISTENCE_NO ? record->missing
                                                : record->below;
    if (existence == EXISTENCE_FAILED && record->missing > record->below) {
        found->policy = record->missing; /* nothing but a fail makes use of it */
    }
    (void)snprintf(found->record_domain, sizeof(found->record_domain), "%s", node->name);
    return existence != EXISTENCE_WAITING;
}

/* What SPF and DKIM make of it (5.3.5); true when that is known. */
static bool weigh(struct dmarc *check, const struct walk *author, const struct node *node)
{
    const struct found_dmarc *found = found_of(check);
    bool could_reject =
        dmarc_policy_applied(found->policy, found->is_testing) == DMARC_POLICY_REJECT;
    enum answer passed = has_aligned(check, author, &node->record, CHECK_PASS);
    enum answer failed = ANSWER_NO;
    if (passed == ANSWER_YES) {
        return settle(check, CHECK_PASS, NULL);
    }
    if (passed == ANSWER_NO) {
        failed = has_aligned(check, author, &node->record, CHECK_TEMPERROR);
    }
    if (passed == ANSWER_WAITING || failed == ANSWER_WAITING) {
        return false;
    }
    if (passed == ANSWER_FAILED || failed == ANSWER_FAILED) {
        return settle_unknown(check, could_reject, "alignment could not be looked up");
    }
    if (failed == ANSWER_YES) {
        return settle_unknown(check, could_reject, "SPF or DKIM could not be checked");
    }
    if (check->existence == EXISTENCE_FAILED) {
        return settle_unknown(check, could_reject, "the author's domain could not be looked up");
    }
    return settle(check, CHECK_FAIL, NULL);
}

/* True when the findings are complete. */
static bool evaluate(struct dmarc *check)
{
    struct walk author;
    walk_tree(check, found_of(check)->domain, &author);
    const struct node *own = node_of(check, author.start);
    assert(own != NULL);
    if (own->kind == NODE_WAITING) {
        return false;
    }
    if (own->kind != NODE_RECORD && author.answer == ANSWER_WAITING) {
        return false;
    }
    if (own->kind == NODE_FAILED || (own->kind != NODE_RECORD && author.answer == ANSWER_FAILED)) {
        return settle_unknown(check, true, "the policy could not be looked up");
    }
    const struct node *node = applicable(&author, own);
    if (node == NULL) {
        return settle(check, CHECK_NONE, NULL);
    }
    if (!node->record.is_usable) {
        return settle(check, CHECK_NONE, "the record states no policy");
    }
    bool has_policy = choose_policy(check, node, own);
    return has_policy && check->has_results && weigh(check, &author, node);
}

static void drop_questions(struct dmarc *check)
{
    for (uint32_t i = 0; i < check->count; i++) {
        dns_cancel(&check->nodes[i].query);
    }
    dns_cancel(&check->existence_query);
}

static void advance(struct dmarc *check)
{
    if (evaluate(check)) {
        drop_questions(check);
        filter_done(check->run);
    }
}

/* ---- as a check ---- */

static enum filter_action dmarc_action(const struct facts *facts)
{
    return facts->conf->dmarc.action;
}

/* The names that are likely to be needed between a sender's domain and the author's above it. */
static void look_ahead(struct dmarc *check)
{
    const struct findings *findings = check->run->facts->findings;
    const char *author = found_of(check)->domain;
    const struct found_dkim *dkim = &findings->dkim;
    char name[IDN_NAME_MAX];
    struct walk walk;
    uint32_t count = dkim->is_present ? dkim->count : 0;
    for (uint32_t i = 0; i <= count && check->count < AHEAD_MAX; i++) {
        const char *domain = i == 0 ? findings->spf.domain : dkim->signatures[i - 1].domain;
        if (idn_to_ascii(domain, (uint32_t)strlen(domain), name) > 0 &&
            is_at_or_below(name, author)) {
            walk_tree(check, name, &walk);
        }
    }
}

static void dmarc_start(struct filter_run *run)
{
    struct dmarc *check = run->memory;
    char domain[FOUND_DOMAIN_MAX];
    struct walk walk;
    memset(check, 0, offsetof(struct dmarc, nodes));
    check->run = run;
    struct found_dmarc *found = found_of(check);
    found->is_present = true;
    uint32_t len = from_domain(run->facts->header, domain);
    if (len == 0 || idn_to_ascii(domain, len, found->domain) <= 0) {
        found->domain[0] = '\0';
        (void)settle(check, CHECK_PERMERROR, "there is not one domain of an author");
        filter_done(run);
        return;
    }
    walk_tree(check, found->domain, &walk);
    look_ahead(check);
    advance(check);
}

static void dmarc_conclude(struct filter_run *run)
{
    struct dmarc *check = run->memory;
    check->has_results = true;
    advance(check);
}

static void dmarc_cancel(struct filter_run *run)
{
    drop_questions(run->memory);
}

/* From what has been answered in time. */
static void dmarc_give_up(struct filter_run *run)
{
    struct dmarc *check = run->memory;
    for (uint32_t i = 0; i < check->count; i++) {
        if (check->nodes[i].kind == NODE_WAITING) {
            check->nodes[i].kind = NODE_FAILED;
        }
    }
    if (check->existence == EXISTENCE_WAITING) {
        check->existence = EXISTENCE_FAILED;
    }
    check->has_results = true;
    check->is_late = true;
    bool is_done = evaluate(check);
    assert(is_done);
}

static enum filter_action milder(enum filter_action a, enum filter_action b)
{
    return a < b ? a : b;
}

static void judge_fail(const struct found_dmarc *found, enum filter_action action,
                       struct verdict *ret_verdict)
{
    switch (dmarc_policy_applied(found->policy, found->is_testing)) {
    case DMARC_POLICY_NONE:
        return; /* changes nothing (RFC 9989, 5.4) */
    case DMARC_POLICY_QUARANTINE:
        ret_verdict->action = milder(action, ACTION_TAG);
        return;
    case DMARC_POLICY_REJECT:
        ret_verdict->action = action;
        (void)snprintf(
            ret_verdict->reply, sizeof(ret_verdict->reply), "%s by the DMARC policy of %s",
            action == ACTION_REJECT ? "550 5.7.1 Rejected" : "450 4.7.1 Deferred", found->domain);
        return;
    }
}

/* Nobody, or more than one, signs as its author: whose policy it would have to follow cannot be said, and
 * letting it pass would be the way around every policy. */
static void judge_no_author(enum filter_action action, struct verdict *ret_verdict)
{
    ret_verdict->action = action;
    (void)snprintf(ret_verdict->reply, sizeof(ret_verdict->reply),
                   "%s: the header does not name one domain of an author",
                   action == ACTION_REJECT ? "550 5.7.1 Rejected" : "450 4.7.1 Deferred");
}

static void dmarc_judge(const struct filter_run *run, struct verdict *ret_verdict)
{
    const struct dmarc *check = run->memory;
    const struct found_dmarc *found = found_of(check);
    enum filter_action action = run->facts->conf->dmarc.action;
    if (found->result == CHECK_FAIL) {
        judge_fail(found, action, ret_verdict);
    } else if (found->result == CHECK_TEMPERROR && check->could_reject) {
        ret_verdict->action = milder(action, ACTION_DEFER);
        (void)snprintf(ret_verdict->reply, sizeof(ret_verdict->reply),
                       "451 4.7.1 The DMARC policy of %s could not be checked", found->domain);
    } else if (found->result == CHECK_PERMERROR && found->domain[0] == '\0') {
        judge_no_author(action, ret_verdict);
    } else if (found->result == CHECK_TEMPERROR || found->result == CHECK_PERMERROR) {
        ret_verdict->action = milder(action, ACTION_TAG);
    }
}

static const struct filter *const needed[] = {&filter_spf, &filter_dkim, NULL};

const struct filter filter_dmarc = {
    .name = "dmarc",
    .begins = PHASE_HEADER,
    .due = PHASE_EOM,
    .after = needed,
    .size = sizeof(struct dmarc),
    .action = dmarc_action,
    .start = dmarc_start,
    .conclude = dmarc_conclude,
    .cancel = dmarc_cancel,
    .give_up = dmarc_give_up,
    .judge = dmarc_judge,
};
