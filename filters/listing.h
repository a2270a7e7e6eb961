/*
 * listing - questions to lists in DNS (RFC 5782), whatever it is that they list: what the checks dnsbl
 * and rhsbl have in common.
 *
 * A check names its subjects, and each zone is asked for an A record at SUBJECT.ZONE. A zone adds its
 * weight, once however many subjects it lists, when it answers with an address of 127.0.0.0/8 inside
 * its code ranges (127.0.0.2 and up without any); the sum against the threshold is the result. What a
 * zone answers to say that it does not serve us (127.255.255.252 and up), anything outside
 * 127.0.0.0/8, and no answer count as temperror, never as listed. The first zone of a positive weight
 * that lists a subject is asked for the text that says why, whose absence changes nothing.
 *
 * A zone that the watch has taken out (filters/dnsbl_watch.h) is not asked, and an answer that comes when
 * it is out is not counted; what has been counted by then stays.
 */
#ifndef FILTERS_LISTING_H
#define FILTERS_LISTING_H

#include "filters/filter.h"

struct listing;
struct verify_zone;

/* What an answer, or one A record of it, means. */
enum listing_heard { HEARD_UNLISTED, HEARD_LISTED, HEARD_ERROR };

struct listing_question {
    struct listing *listing;
    const struct verify_zone *zone;
    const char *subject; /* in front of the zone's name */
    bool is_owed;
    struct dns_query query;
};

/* Part of a check's memory; the check's run is done when the last answer is there. */
struct listing {
    struct filter_run *run;
    struct found_dnsbl *found;
    bool is_of_names; /* subjects are told in found->subject */
    uint32_t owed;    /* answers */
    uint32_t count;
    struct listing_question *questions; /* the check's, as many as it may ask */
    struct listing_question text;
};

/* `zone` NULL: all codes of a list count. One bad code spoils the answer. */
enum listing_heard listing_judge_code(const struct verify_zone *zone,
                                      const struct dns_record *record);
enum listing_heard listing_judge(const struct verify_zone *zone, const struct dns_answer *answer);

/* Asks at SUBJECT.ZONE, when the zone is in use; names that are too long for DNS are not asked. `subject` is borrowed until the
 * check is done. Then, when all is asked, once: listing_conclude(). */
void listing_ask(struct listing *listing, const struct verify_zone *zone, const char *subject);
void listing_conclude(struct listing *listing);

/* As in struct filter. */
void listing_cancel(struct listing *listing);
void listing_give_up(struct listing *listing);

/* The verdict of what is over: "550 5.7.1 SUBJECT is listed by ZONE (text)". */
void listing_refuse(const struct facts *facts, const struct found_dnsbl *found, const char *subject,
                    struct verdict *ret_verdict);

#endif
