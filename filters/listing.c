/*
 * listing - see filters/listing.h.
 */
#include "filters/listing.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "filters/dnsbl_watch.h"
#include "filters/verify_conf.h"

enum {
    CODE_FIRST = 0x7f000002,       /* 127.0.0.2 */
    CODE_ERROR_FIRST = 0x7ffffffc, /* 127.255.255.252: "you may not ask", "you ask too much" */
};

/* ---- answers ---- */

enum listing_heard listing_judge_code(const struct verify_zone *zone,
                                      const struct dns_record *record)
{
    if (record->len != 4) {
        return HEARD_ERROR;
    }
    const uint8_t *octets = record->data;
    uint32_t code = (uint32_t)octets[0] << 24 | (uint32_t)octets[1] << 16 |
                    (uint32_t)octets[2] << 8 | octets[3];
    if (code < CODE_FIRST || code >= CODE_ERROR_FIRST) {
        return HEARD_ERROR;
    }
    if (zone == NULL || zone->range_count == 0) {
        return HEARD_LISTED;
    }
    for (uint32_t i = 0; i < zone->range_count; i++) {
        if (code >= zone->ranges[i].first && code <= zone->ranges[i].last) {
            return HEARD_LISTED;
        }
    }
    return HEARD_UNLISTED;
}

enum listing_heard listing_judge(const struct verify_zone *zone, const struct dns_answer *answer)
{
    enum listing_heard heard = answer->status == DNS_FAILED ? HEARD_ERROR : HEARD_UNLISTED;
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->count; i++) {
        enum listing_heard code = listing_judge_code(zone, &answer->records[i]);
        heard = code > heard ? code : heard;
    }
    return heard;
}

/* The zone's row in the findings, new or there already; there is room for one of each zone. */
static struct found_zone *row_of(struct found_dnsbl *found, const struct verify_zone *zone)
{
    for (uint32_t i = 0; i < found->zone_count; i++) {
        if (found->zones[i].zone == zone->name) {
            return &found->zones[i];
        }
    }
    assert(found->zone_count < FOUND_ZONES_MAX);
    found->zones[found->zone_count] = (struct found_zone){.zone = zone->name};
    return &found->zones[found->zone_count++];
}

static void note_codes(struct found_zone *row, const struct dns_answer *answer)
{
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->count; i++) {
        if (row->code_count < FOUND_CODES_MAX && answer->records[i].len == 4) {
            memcpy(row->codes[row->code_count++], answer->records[i].data, 4);
        }
    }
}

/* What a zone said, `answer` NULL for nothing, into the findings when it is worth telling. Listed once
 * is listed, whatever is said of another subject. True when it counts as listed. */
static bool note(const struct listing_question *question, const struct dns_answer *answer)
{
    struct listing *listing = question->listing;
    struct dnsbl_watch *watch = listing->run->facts->watch;
    const struct verify_zone *zone = question->zone;
    enum listing_heard heard = answer == NULL ? HEARD_ERROR : listing_judge(zone, answer);
    dnsbl_watch_note(watch, zone, question->subject, heard);
    if (heard == HEARD_UNLISTED || !dnsbl_watch_is_in(watch, zone)) {
        return false;
    }
    struct found_zone *row = row_of(listing->found, zone);
    if (heard == HEARD_LISTED && !row->is_listed) {
        row->is_listed = true;
        listing->found->score += zone->weight;
    }
    row->is_temperror = !row->is_listed;
    if (answer != NULL) {
        note_codes(row, answer);
    }
    return heard == HEARD_LISTED;
}

static void weigh(struct listing *listing)
{
    struct found_dnsbl *found = listing->found;
    found->is_over =
        found->by != NULL && found->score >= listing->run->facts->conf->dnsbl.threshold;
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
    struct listing_question *question = list_entry(query, struct listing_question, query);
    char text[DNS_ANSWER_MAX];
    question->listing->owed--;
    if (answer->status == DNS_OK) {
        int len = dns_txt_join(&answer->records[0], text, sizeof(text));
        clean_text(text, len < 0 ? 0 : (uint32_t)len, question->listing->found->text);
    }
    listing_conclude(question->listing);
}

/* ---- questions ---- */

static bool ask(struct listing_question *question, enum dns_type type, dns_done *done)
{
    char name[2 * VERIFY_NAME_MAX];
    struct dns *dns = question->listing->run->facts->dns;
    int len = snprintf(name, sizeof(name), "%s.%s", question->subject, question->zone->name);
    if (len >= (int)sizeof(name) ||
        dns_ask(dns, &question->query, name, (uint32_t)len, type, done) < 0) {
        return false;
    }
    question->listing->owed++;
    question->is_owed = true;
    return true;
}

/* The zone that the reply names, and its reason. */
static void ask_why(struct listing *listing, const struct listing_question *question)
{
    listing->found->by = question->zone->name;
    if (listing->is_of_names) {
        (void)snprintf(listing->found->subject, sizeof(listing->found->subject), "%s",
                       question->subject);
    }
    listing->text = *question;
    listing->text.query = (struct dns_query){0};
    (void)ask(&listing->text, DNS_TXT, on_text); /* without it there is no text */
}

static void on_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct listing_question *question = list_entry(query, struct listing_question, query);
    struct listing *listing = question->listing;
    listing->owed--;
    question->is_owed = false;
    bool is_listed = note(question, answer);
    if (is_listed && question->zone->weight > 0 && listing->found->by == NULL) {
        ask_why(listing, question);
    }
    listing_conclude(listing);
}

void listing_ask(struct listing *listing, const struct verify_zone *zone, const char *subject)
{
    struct listing_question *question = &listing->questions[listing->count];
    if (!dnsbl_watch_is_in(listing->run->facts->watch, zone)) {
        return;
    }
    *question = (struct listing_question){.listing = listing, .zone = zone, .subject = subject};
    if (ask(question, DNS_A, on_answer)) {
        listing->count++;
    }
}

/* ---- the end ---- */

void listing_conclude(struct listing *listing)
{
    if (listing->owed == 0) {
        weigh(listing);
        filter_done(listing->run);
    }
}

void listing_cancel(struct listing *listing)
{
    for (uint32_t i = 0; i < listing->count; i++) {
        dns_cancel(&listing->questions[i].query);
    }
    dns_cancel(&listing->text.query);
}

void listing_give_up(struct listing *listing)
{
    for (uint32_t i = 0; i < listing->count; i++) {
        if (listing->questions[i].is_owed) {
            (void)note(&listing->questions[i], NULL);
        }
    }
    weigh(listing);
}

void listing_refuse(const struct facts *facts, const struct found_dnsbl *found, const char *subject,
                    struct verdict *ret_verdict)
{
    bool has_text = found->text[0] != '\0';
    assert(found->is_over && found->by != NULL);
    ret_verdict->action = facts->conf->dnsbl.action;
    (void)snprintf(ret_verdict->reply, sizeof(ret_verdict->reply), "%s %s is listed by %s%s%s%s",
                   ret_verdict->action == ACTION_REJECT ? "550 5.7.1" : "450 4.7.1", subject,
                   found->by, has_text ? " (" : "", found->text, has_text ? ")" : "");
}
