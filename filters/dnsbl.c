/*
 * dnsbl - see filters/dnsbl.h.
 *
 * One question for an A record to each zone; to the first zone that lists the client, one more for
 * the text that says why, whose absence changes nothing.
 */
#include "filters/dnsbl.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "filters/address.h"
#include "filters/verify_conf.h"

enum {
    CODE_FIRST = 0x7f000002,       /* 127.0.0.2 */
    CODE_LAST = 0x7fffffff,        /* 127.255.255.255 */
    CODE_ERROR_FIRST = 0x7ffffffc, /* 127.255.255.252: "you may not ask", "you ask too much" */
};

struct dnsbl;

struct question {
    struct dnsbl *check;
    uint32_t index; /* of the zone */
    bool is_owed;
    struct dns_query query;
};

struct dnsbl {
    struct filter_run *run;
    uint32_t asked; /* answers that are owed */
    bool is_text_asked;
    char reversed[ADDRESS_REVERSE_MAX];
    struct question questions[VERIFY_ZONES_MAX];
    struct question text;
};

static const struct verify_zone *zone_of(const struct question *question)
{
    return &question->check->run->facts->conf->dnsbl.zones[question->index];
}

static struct found_dnsbl *found_of(const struct dnsbl *check)
{
    return &check->run->facts->findings->dnsbl;
}

/* ---- answers ---- */

enum dnsbl_code dnsbl_judge_code(const struct verify_zone *zone, const struct dns_record *record)
{
    if (record->len != 4) {
        return DNSBL_ERROR;
    }
    const uint8_t *octets = record->data;
    uint32_t code = (uint32_t)octets[0] << 24 | (uint32_t)octets[1] << 16 |
                    (uint32_t)octets[2] << 8 | octets[3];
    if (code < CODE_FIRST || code >= CODE_ERROR_FIRST) {
        return DNSBL_ERROR;
    }
    for (uint32_t i = 0; i < zone->range_count; i++) {
        if (code >= zone->ranges[i].first && code <= zone->ranges[i].last) {
            return DNSBL_LISTED;
        }
    }
    return zone->range_count == 0 ? DNSBL_LISTED : DNSBL_UNLISTED;
}

static void note_code(struct found_zone *zone, const struct dns_record *record)
{
    if (zone->code_count < FOUND_CODES_MAX && record->len == 4) {
        memcpy(zone->codes[zone->code_count++], record->data, 4);
    }
}

/* What a zone said, into the findings when it is worth telling. */
static bool take_answer(const struct question *question, const struct dns_answer *answer)
{
    struct found_dnsbl *found = found_of(question->check);
    struct found_zone zone = {.zone = zone_of(question)->name};
    zone.is_temperror = answer->status == DNS_FAILED;
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->count; i++) {
        enum dnsbl_code code = dnsbl_judge_code(zone_of(question), &answer->records[i]);
        zone.is_listed = zone.is_listed || code == DNSBL_LISTED;
        zone.is_temperror = zone.is_temperror || code == DNSBL_ERROR;
        note_code(&zone, &answer->records[i]);
    }
    zone.is_listed = zone.is_listed && !zone.is_temperror; /* one bad code spoils the answer */
    if (zone.is_listed || zone.is_temperror) {
        assert(found->zone_count < FOUND_ZONES_MAX);
        found->zones[found->zone_count++] = zone;
    }
    if (zone.is_listed) {
        found->score += zone_of(question)->weight;
    }
    return zone.is_listed;
}

static void conclude(struct dnsbl *check)
{
    if (check->asked == 0) {
        struct found_dnsbl *found = found_of(check);
        found->is_over = found->score >= check->run->facts->conf->dnsbl.threshold;
        filter_done(check->run);
    }
}

/* Visible ASCII alone; anything else becomes "?". */
static void clean_text(const char *text, uint32_t len, char out[FOUND_TEXT_MAX])
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < len && at + 1 < FOUND_TEXT_MAX; i++) {
        out[at++] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    }
    out[at] = '\0';
}

static void on_text(struct dns_query *query, const struct dns_answer *answer)
{
    struct question *question = list_entry(query, struct question, query);
    char text[DNS_ANSWER_MAX];
    question->check->asked--;
    if (answer->status == DNS_OK) {
        int len = dns_txt_join(&answer->records[0], text, sizeof(text));
        clean_text(text, len < 0 ? 0 : (uint32_t)len, found_of(question->check)->text);
    }
    conclude(question->check);
}

/* ---- questions ---- */

static bool ask(struct question *question, enum dns_type type, dns_done *done)
{
    char name[ADDRESS_REVERSE_MAX + VERIFY_NAME_MAX];
    struct dnsbl *check = question->check;
    int len = snprintf(name, sizeof(name), "%s.%s", check->reversed, zone_of(question)->name);
    if (dns_ask(check->run->facts->dns, &question->query, name, (uint32_t)len, type, done) < 0) {
        return false; /* the zone's name is too long for an address in front of it */
    }
    check->asked++;
    question->is_owed = true;
    return true;
}

static void on_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct question *question = list_entry(query, struct question, query);
    struct dnsbl *check = question->check;
    check->asked--;
    question->is_owed = false;
    if (take_answer(question, answer) && zone_of(question)->weight > 0 && !check->is_text_asked) {
        check->is_text_asked = true;
        check->text = (struct question){.check = check, .index = question->index};
        (void)ask(&check->text, DNS_TXT, on_text); /* without it there is no text */
    }
    conclude(check);
}

/* ---- as a check ---- */

static enum filter_action dnsbl_action(const struct facts *facts)
{
    return facts->conf->dnsbl.zone_count == 0 ? ACTION_OFF : facts->conf->dnsbl.action;
}

static void dnsbl_start(struct filter_run *run)
{
    struct dnsbl *check = run->memory;
    *check = (struct dnsbl){.run = run};
    found_of(check)->is_present = true;
    if (!address_is_private(run->facts->client)) {
        (void)address_reverse(run->facts->client, check->reversed);
        for (uint32_t i = 0; i < run->facts->conf->dnsbl.zone_count; i++) {
            check->questions[i] = (struct question){.check = check, .index = i};
            (void)ask(&check->questions[i], DNS_A, on_answer); /* asked, or left out */
        }
    }
    conclude(check);
}

static void dnsbl_cancel(struct filter_run *run)
{
    struct dnsbl *check = run->memory;
    for (uint32_t i = 0; i < VERIFY_ZONES_MAX; i++) {
        dns_cancel(&check->questions[i].query);
    }
    dns_cancel(&check->text.query);
}

/* The zones that have not answered in time. */
static void dnsbl_give_up(struct filter_run *run)
{
    const struct dnsbl *check = run->memory;
    struct found_dnsbl *found = found_of(check);
    for (uint32_t i = 0; i < run->facts->conf->dnsbl.zone_count; i++) {
        if (check->questions[i].is_owed && found->zone_count < FOUND_ZONES_MAX) {
            found->zones[found->zone_count++] = (struct found_zone){
                .zone = zone_of(&check->questions[i])->name, .is_temperror = true};
        }
    }
    found->is_over = found->score >= run->facts->conf->dnsbl.threshold;
}

static void dnsbl_judge(const struct filter_run *run, struct verdict *ret_verdict)
{
    const struct facts *facts = run->facts;
    const struct found_dnsbl *found = &facts->findings->dnsbl;
    char client[INET6_ADDRSTRLEN];
    const char *zone = "";
    if (!found->is_over) {
        return;
    }
    for (uint32_t i = 0; i < found->zone_count && zone[0] == '\0'; i++) {
        zone = found->zones[i].is_listed ? found->zones[i].zone : "";
    }
    address_text(facts->client, client);
    ret_verdict->action = facts->conf->dnsbl.action;
    (void)snprintf(ret_verdict->reply, sizeof(ret_verdict->reply), "%s [%s] is listed by %s%s%s%s",
                   ret_verdict->action == ACTION_REJECT ? "550 5.7.1" : "450 4.7.1", client, zone,
                   found->text[0] != '\0' ? " (" : "", found->text,
                   found->text[0] != '\0' ? ")" : "");
}

const struct filter filter_dnsbl = {
    .name = "dnsbl",
    .begins = PHASE_CONNECT,
    .due = PHASE_RCPT,
    .size = sizeof(struct dnsbl),
    .action = dnsbl_action,
    .start = dnsbl_start,
    .cancel = dnsbl_cancel,
    .give_up = dnsbl_give_up,
    .judge = dnsbl_judge,
};
