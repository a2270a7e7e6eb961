/*
 * dkim - see filters/dkim.h.
 *
 *   header complete:  choose -> parse -> hash the fields that h= names -> ask for the key
 *   body:             one stream for each canonical form that is wanted
 *   the end, and the key, in either order:  body hash, then signature -> a word for it
 */
#include "filters/dkim.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "filters/base64.h"
#include "filters/dkim_canon.h"
#include "filters/dkim_signature.h"
#include "filters/from.h"
#include "filters/header_index.h"
#include "filters/verify_conf.h"

enum {
    FIELD_MAX = 16 * 1024, /* of a DKIM-Signature field */
    CANDIDATES_MAX = 256,  /* signatures among which those to look at are chosen */
    HASHED_MAX =
        HEADER_TEXT_MAX, /* octets of header hashed for all signatures; the first one may have more */
    KEY_UNIT = 256,      /* octets of a signature whose arithmetic counts as one: a 2048-bit key */
    KEY_UNITS_MAX = 16, /* for all signatures; the first one may have more */
};

_Static_assert((int)DKIM_LIMITS_MAX >= (int)FOUND_SIGNATURES_MAX, "each has a limit of its own");

static const char out_of_memory[] = "out of memory";

struct dkim;

struct work {
    struct dkim *check;
    struct found_signature *found;
    bool is_settled;
    bool has_key;
    bool is_body_relaxed; /* which of check->bodies */
    uint32_t limit;       /* of that body */
    struct dkim_signature signature;
    uint8_t header_sum[DIGEST_SIZE];
    struct dns_query query;
    struct dkim_key key;
};

struct dkim {
    struct filter_run *run;
    bool is_ended;      /* the message is complete */
    uint32_t count;     /* signatures that are looked at */
    uint32_t open;      /* of these, not settled */
    bool has_index;     /* names of fields can be found */
    uint32_t hashed;    /* octets of header, for all signatures so far */
    uint32_t key_units; /* arithmetic that they may need */
    bool has_body[2];
    struct dkim_body bodies[2]; /* simple and relaxed, where signatures want them */
    struct header_index index;
    struct header_cursor cursor;
    struct work works[FOUND_SIGNATURES_MAX];
};

/* ---- the end ---- */

static void drop_bodies(struct dkim *check)
{
    for (int i = 0; i < 2; i++) {
        if (check->has_body[i]) {
            dkim_body_drop(&check->bodies[i]);
        }
    }
}

static void settle(struct work *work, enum check_result result, const char *reason)
{
    assert(!work->is_settled);
    work->is_settled = true;
    work->found->result = result;
    work->found->reason = reason;
    work->check->open--;
}

/* The last thing that anything here does: the owner may take all away. */
static void conclude(struct dkim *check)
{
    if (check->open == 0) {
        drop_bodies(check);
        filter_done(check->run);
    }
}

static void settle_verified(struct work *work, int result)
{
    const struct dkim_signature *signature = &work->signature;
    const struct dkim_body *body = &work->check->bodies[work->is_body_relaxed];
    switch (result) {
    case 0:
        if (signature->has_limit && body->size > signature->limit) {
            settle(work, CHECK_POLICY, "a part of the body is not signed");
        } else {
            settle(work, CHECK_PASS, NULL);
        }
        return;
    case -EBADMSG:
        settle(work, CHECK_FAIL, "the signature does not match");
        return;
    case -ERANGE:
        settle(work, CHECK_PERMERROR, "the key is too short or too long");
        return;
    case -ENOMEM:
        settle(work, CHECK_TEMPERROR, out_of_memory);
        return;
    default:
        settle(work, CHECK_PERMERROR, "the key cannot be read");
        return;
    }
}

/* Key and body are there. What costs least comes first. */
static void verify(struct work *work)
{
    uint8_t octets[SIGNATURE_MAX];
    uint8_t sum[DIGEST_SIZE];
    const struct dkim_signature *signature = &work->signature;
    const struct dkim_body *body = &work->check->bodies[work->is_body_relaxed];
    const uint8_t *body_sum = dkim_body_sum(body, work->limit);
    int sum_len = base64_decode(signature->sum, sum, sizeof(sum));
    int len = base64_decode(signature->signature, octets, sizeof(octets));
    assert(sum_len == DIGEST_SIZE && len > 0); /* dkim_signature_parse() has seen to it */
    if (signature->has_limit && signature->limit > body->size) {
        settle(work, CHECK_FAIL, "l= is more than the body");
    } else if (body_sum == NULL) {
        settle(work, CHECK_TEMPERROR, out_of_memory);
    } else if (memcmp(sum, body_sum, DIGEST_SIZE) != 0) {
        settle(work, CHECK_FAIL, "the body has been changed");
    } else {
        settle_verified(work, signature_verify(work->key.algorithm, work->key.octets, work->key.len,
                                               octets, (uint32_t)len, work->header_sum));
    }
}

/* ---- keys ---- */

/* The first record that is a key for this signature; else why the last one is none. */
static const char *take_key(struct work *work, const struct dns_answer *answer)
{
    char text[DNS_ANSWER_MAX];
    const char *fault = "no key record";
    for (uint32_t i = 0; i < answer->count; i++) {
        int len = dns_txt_join(&answer->records[i], text, sizeof(text));
        if (len < 0) {
            fault = "the key record is malformed";
            continue;
        }
        fault = dkim_key_parse((struct span){text, (uint32_t)len}, &work->key);
        if (fault == NULL && work->key.algorithm != work->signature.algorithm) {
            fault = "the key is for another algorithm";
        }
        if (fault == NULL) {
            return NULL;
        }
    }
    return fault;
}

static bool is_identity_allowed(const struct work *work)
{
    return !work->key.is_strict ||
           work->signature.identity_domain.len == work->signature.domain.len;
}

static void on_key(struct dns_query *query, const struct dns_answer *answer)
{
    struct work *work = list_entry(query, struct work, query);
    struct dkim *check = work->check;
    const char *fault = NULL;
    if (answer->status == DNS_FAILED) {
        settle(work, CHECK_TEMPERROR, "the key could not be fetched");
    } else if ((fault = take_key(work, answer)) != NULL) {
        settle(work, CHECK_PERMERROR, fault);
    } else if (!is_identity_allowed(work)) {
        settle(work, CHECK_PERMERROR, "the key does not allow i= below d=");
    } else {
        work->found->is_testing = work->key.is_testing;
        work->has_key = true;
        if (check->is_ended) {
            verify(work);
        }
    }
    conclude(check);
}

static void ask_key(struct work *work)
{
    static const char middle[] = "._domainkey.";
    const struct dkim_signature *signature = &work->signature;
    char name[2 * FOUND_DOMAIN_MAX + sizeof(middle)];
    int len =
        snprintf(name, sizeof(name), "%.*s%s%.*s", (int)signature->selector.len,
                 signature->selector.at, middle, (int)signature->domain.len, signature->domain.at);
    if (dns_ask(work->check->run->facts->dns, &work->query, name, (uint32_t)len, DNS_TXT, on_key) <
        0) {
        settle(work, CHECK_PERMERROR, "the name of the key is too long");
    }
}

/* ---- the header ---- */

static void hash_field(const struct header *header, const struct header_field *field,
                       bool is_relaxed, struct digest *digest)
{
    struct span name = {header->text + field->at, field->name_len};
    struct span value = {header->text + field->value_at,
                         field->len - (field->value_at - field->at)};
    struct span whole = {header->text + field->at, field->len};
    dkim_header_feed(digest, is_relaxed, name, value, whole, false);
}

/* The signature's own field comes last, with an empty b= and without its line end (3.7). */
static void hash_own_field(const struct work *work, const struct header *header,
                           const struct header_field *field, struct digest *digest)
{
    char copy[FIELD_MAX];
    struct span gap = work->signature.signature_whole;
    const char *begin = header->text + field->at;
    uint32_t before = (uint32_t)(gap.at - begin);
    uint32_t len = field->len - gap.len;
    uint32_t value_at = field->value_at - field->at;
    memcpy(copy, begin, before);
    memcpy(copy + before, gap.at + gap.len, len - before);
    struct span name = {copy, field->name_len};
    struct span value = {copy + value_at, len - value_at};
    dkim_header_feed(digest, work->signature.header_relaxed, name, value, (struct span){copy, len},
                     true);
}

/* True when there is room for it in what the signatures of a message may cost. */
static bool take_room(struct work *work, uint32_t *used, uint32_t more, uint32_t most)
{
    bool is_first = work == work->check->works;
    bool has_room = is_first || more <= most - (*used < most ? *used : most);
    *used += has_room ? more : 0;
    return has_room;
}

/* Arithmetic grows with the square of the key's size, which is that of the signature. */
static bool take_key_room(struct work *work)
{
    uint32_t units = (work->signature.octets + KEY_UNIT - 1) / KEY_UNIT;
    return take_room(work, &work->check->key_units, units * units, KEY_UNITS_MAX);
}

/* NULL, or why it is not done. */
static const char *hash_header(struct work *work, const struct header_field *field)
{
    struct dkim *check = work->check;
    const struct header *header = check->run->facts->header;
    struct digest digest = {0};
    struct span name;
    if (digest_init(&digest) < 0) {
        return out_of_memory;
    }
    bool has_room = take_room(work, &check->hashed, field->len, HASHED_MAX);
    header_cursor_init(&check->cursor, &check->index);
    for (uint32_t at = 0; has_room && dkim_list_next(work->signature.names, ':', &at, &name);) {
        const struct header_field *taken = header_cursor_take(&check->cursor, name);
        has_room = taken == NULL || take_room(work, &check->hashed, taken->len, HASHED_MAX);
        if (taken != NULL && has_room) {
            hash_field(header, taken, work->signature.header_relaxed, &digest);
        }
    }
    if (!has_room) {
        digest_drop(&digest);
        return "the signatures cover too much header";
    }
    hash_own_field(work, header, field, &digest);
    digest_final(&digest, work->header_sum);
    return NULL;
}

/* The body in the form that this signature wants, shared with others that want the same. */
static const char *choose_body(struct work *work)
{
    struct dkim *check = work->check;
    uint64_t limit = work->signature.has_limit ? work->signature.limit : DKIM_ALL;
    work->is_body_relaxed = work->signature.body_relaxed;
    struct dkim_body *body = &check->bodies[work->is_body_relaxed];
    if (!check->has_body[work->is_body_relaxed]) {
        if (dkim_body_init(body, work->is_body_relaxed) < 0) {
            return out_of_memory;
        }
        check->has_body[work->is_body_relaxed] = true;
    }
    work->limit = dkim_body_limit(body, limit);
    return NULL;
}

/* What is no domain may hold anything, folded lines among it: each octet that is not visible is a "?". */
static void copy_name(struct span name, char *out, uint32_t size)
{
    uint32_t len = name.len < size ? name.len : size - 1;
    for (uint32_t i = 0; i < len; i++) {
        char c = name.at[i];
        out[i] = c > ' ' && c <= '~' ? c : '?';
    }
    out[len] = '\0';
}

static void describe(struct work *work)
{
    struct found_signature *found = work->found;
    const struct dkim_signature *signature = &work->signature;
    uint32_t len = 0;
    copy_name(signature->domain, found->domain, sizeof(found->domain));
    copy_name(signature->selector, found->selector, sizeof(found->selector));
    found->algorithm = signature->algorithm == SIGNATURE_RSA ? "rsa-sha256" : "ed25519-sha256";
    for (uint32_t i = 0; i < signature->signature.len && len < 8; i++) {
        char c = signature->signature.at[i];
        if (c > ' ' && c <= '~') {
            found->b8[len++] = c;
        }
    }
}

/* What is wrong with the whole message, for each of its signatures. */
static const char *message_fault(const struct dkim *check)
{
    const struct header *header = check->run->facts->header;
    const struct header_field *from;
    if (header->is_too_large) {
        return "the header is too large";
    }
    if (header->is_malformed) {
        return "the header is malformed";
    }
    if (!check->has_index) {
        return "the names of the header fields collide";
    }
    return header_count(header, "From", &from) == 1 ? NULL : "there is not one From field";
}

/* Hashes the header, sees to it that the body is, and asks for the key. */
static void begin_hashes(struct work *work, const struct header_field *field)
{
    const char *fault = "the signatures need too much arithmetic";
    if (take_key_room(work)) {
        fault = hash_header(work, field);
    }
    if (fault == NULL) {
        fault = choose_body(work);
    }
    if (fault == NULL) {
        ask_key(work);
    } else {
        settle(work, fault == out_of_memory ? CHECK_TEMPERROR : CHECK_NEUTRAL, fault);
    }
}

static void begin_work(struct work *work, const struct header_field *field)
{
    const struct facts *facts = work->check->run->facts;
    struct span value = header_value(facts->header, field);
    const char *fault = field->len > FIELD_MAX ? "the signature field is too long" : NULL;
    if (fault == NULL) {
        fault = dkim_signature_parse(value, &work->signature);
    }
    describe(work);
    if (fault == NULL) {
        fault = message_fault(work->check);
    }
    if (fault != NULL) {
        settle(work, CHECK_PERMERROR, fault);
    } else if (work->signature.has_expiry && (int64_t)work->signature.expiry_s < facts->now_s) {
        settle(work, CHECK_POLICY, "the signature has expired");
    } else {
        begin_hashes(work, field);
    }
}

/* ---- which signatures ---- */

/* A signature for the From field's domain, or one above it. */
static bool is_aligned(const struct header *header, const struct header_field *field,
                       struct span from_domain)
{
    struct dkim_tags tags;
    struct span value = header_value(header, field);
    if (field->len > FIELD_MAX || dkim_tags_parse(value, &tags) < 0) {
        return false;
    }
    struct span domain = dkim_tag_value(&tags, "d");
    return domain.len > 0 && from_domain.len > 0 && span_is_at_or_below(from_domain, domain);
}

static void take(struct dkim *check, const struct header_field *field)
{
    struct found_dkim *found = &check->run->facts->findings->dkim;
    struct work *work = &check->works[check->count];
    memset(work, 0, offsetof(struct work, key));
    work->check = check;
    work->found = &found->signatures[check->count];
    *work->found = (struct found_signature){0};
    check->count++;
    check->open++;
    begin_work(work, field);
}

static void choose(struct dkim *check)
{
    const struct facts *facts = check->run->facts;
    const struct header *header = facts->header;
    const struct header_field *fields[CANDIDATES_MAX];
    bool is_first[CANDIDATES_MAX];
    uint32_t count = 0;
    char domain[FOUND_DOMAIN_MAX];
    struct span from = {domain, from_domain(header, domain)};
    for (uint32_t i = 0; i < header->count && count < CANDIDATES_MAX; i++) {
        if (header_is(header, &header->fields[i], "DKIM-Signature")) {
            fields[count] = &header->fields[i];
            is_first[count++] = is_aligned(header, &header->fields[i], from);
        }
    }
    for (int aligned = 1; aligned >= 0; aligned--) {
        for (uint32_t i = 0; i < count && check->count < facts->conf->dkim.signatures_max; i++) {
            if (is_first[i] == (aligned == 1)) {
                take(check, fields[i]);
            }
        }
    }
    facts->findings->dkim.count = check->count;
}

/* ---- as a check ---- */

static enum filter_action dkim_action(const struct facts *facts)
{
    return facts->conf->dkim.action;
}

static void dkim_start(struct filter_run *run)
{
    struct dkim *check = run->memory;
    check->run = run;
    check->is_ended = false;
    check->count = 0;
    check->open = 0;
    check->hashed = 0;
    check->key_units = 0;
    check->has_body[0] = false;
    check->has_body[1] = false;
    run->facts->findings->dkim.is_present = true;
    check->has_index = header_index_init(&check->index, run->facts->header);
    choose(check);
    conclude(check);
}

static void dkim_feed(struct filter_run *run, const char *bytes, uint32_t len)
{
    struct dkim *check = run->memory;
    for (int i = 0; i < 2; i++) {
        if (check->has_body[i]) {
            dkim_body_feed(&check->bodies[i], bytes, len);
        }
    }
}

static void dkim_end(struct filter_run *run)
{
    struct dkim *check = run->memory;
    check->is_ended = true;
    for (int i = 0; i < 2; i++) {
        if (check->has_body[i]) {
            dkim_body_final(&check->bodies[i]);
        }
    }
    for (uint32_t i = 0; i < check->count; i++) {
        if (check->works[i].has_key && !check->works[i].is_settled) {
            verify(&check->works[i]);
        }
    }
    conclude(check);
}

static void dkim_cancel(struct filter_run *run)
{
    struct dkim *check = run->memory;
    for (uint32_t i = 0; i < check->count; i++) {
        dns_cancel(&check->works[i].query);
    }
    drop_bodies(check);
}

static void dkim_give_up(struct filter_run *run)
{
    struct dkim *check = run->memory;
    for (uint32_t i = 0; i < check->count; i++) {
        if (!check->works[i].is_settled) {
            settle(&check->works[i], CHECK_TEMPERROR, "no key in time");
        }
    }
}

static void dkim_judge(const struct filter_run *run, struct verdict *ret_verdict)
{
    const struct found_dkim *found = &run->facts->findings->dkim;
    enum filter_action action = run->facts->conf->dkim.action;
    bool is_unknown = false;
    for (uint32_t i = 0; i < found->count; i++) {
        if (found->signatures[i].result == CHECK_PASS) {
            return;
        }
        is_unknown = is_unknown || found->signatures[i].result == CHECK_TEMPERROR;
    }
    if (found->count == 0) {
        return; /* an unsigned message is not a bad one */
    }
    if (is_unknown && action == ACTION_REJECT) {
        action = ACTION_DEFER;
    }
    ret_verdict->action = action;
    (void)snprintf(ret_verdict->reply, sizeof(ret_verdict->reply), "%s",
                   is_unknown                ? "451 4.7.5 DKIM: a key could not be fetched"
                   : action == ACTION_REJECT ? "550 5.7.20 DKIM: no signature is good"
                                             : "450 4.7.20 DKIM: no signature is good");
}

const struct filter filter_dkim = {
    .name = "dkim",
    .begins = PHASE_HEADER,
    .due = PHASE_EOM,
    .size = sizeof(struct dkim),
    .action = dkim_action,
    .start = dkim_start,
    .feed = dkim_feed,
    .end = dkim_end,
    .cancel = dkim_cancel,
    .give_up = dkim_give_up,
    .judge = dkim_judge,
};
