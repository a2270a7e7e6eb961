/*
 * rhsbl - see filters/rhsbl.h.
 */
#include "filters/rhsbl.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "filters/idn.h"
#include "filters/listing.h"
#include "filters/verify_conf.h"

enum { NAMES_MAX = 2 };

struct rhsbl {
    struct listing listing;
    uint32_t name_count;
    char names[NAMES_MAX][IDN_NAME_MAX];
    struct listing_question questions[NAMES_MAX * VERIFY_ZONES_MAX];
};

/* ---- names ---- */

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* At least two labels of letters, digits, hyphens and underscores, and no address: the last one is not
 * all digits. In lower case; lengths have been looked at. */
static bool is_host_name(const char *name)
{
    const char *label = name;
    bool is_number = true;
    for (const char *at = name; *at != '\0'; at++) {
        if (*at == '.') {
            label = at + 1;
            is_number = true;
        } else if (!is_host_char(*at)) {
            return false;
        } else {
            is_number = is_number && *at >= '0' && *at <= '9';
        }
    }
    return label != name && !is_number;
}

/* One more to ask about, unless it is there already. */
static void add_name(struct rhsbl *check, const char *text, uint32_t len)
{
    char *name = check->names[check->name_count];
    const char *own = check->listing.run->facts->hostname;
    if (idn_to_ascii(text, len, name) < 0 || !is_host_name(name) || strcasecmp(name, own) == 0) {
        return;
    }
    if (check->name_count == 0 || strcmp(name, check->names[0]) != 0) {
        check->name_count++;
    }
}

static void add_names(struct rhsbl *check)
{
    const struct facts *facts = check->listing.run->facts;
    const char *at = facts->from_len > 0 ? memrchr(facts->from, '@', facts->from_len) : NULL;
    if (at != NULL) {
        add_name(check, at + 1, facts->from_len - (uint32_t)(at + 1 - facts->from));
    }
    add_name(check, facts->helo, (uint32_t)strlen(facts->helo));
}

/* ---- as a check ---- */

static enum filter_action rhsbl_action(const struct facts *facts)
{
    return facts->conf->rhsbl.zone_count == 0 ? ACTION_OFF : facts->conf->dnsbl.action;
}

static void rhsbl_start(struct filter_run *run)
{
    struct rhsbl *check = run->memory;
    const struct verify_conf *conf = run->facts->conf;
    struct found_dnsbl *found = &run->facts->findings->rhsbl;
    check->listing = (struct listing){
        .run = run, .found = found, .is_of_names = true, .questions = check->questions};
    check->name_count = 0;
    found->is_present = true;
    add_names(check);
    for (uint32_t i = 0; i < check->name_count * conf->rhsbl.zone_count; i++) {
        listing_ask(&check->listing, &conf->rhsbl.zones[i / check->name_count],
                    check->names[i % check->name_count]);
    }
    listing_conclude(&check->listing);
}

static void rhsbl_cancel(struct filter_run *run)
{
    struct rhsbl *check = run->memory;
    listing_cancel(&check->listing);
}

static void rhsbl_give_up(struct filter_run *run)
{
    struct rhsbl *check = run->memory;
    listing_give_up(&check->listing);
}

static void rhsbl_judge(const struct filter_run *run, struct verdict *ret_verdict)
{
    const struct found_dnsbl *found = &run->facts->findings->rhsbl;
    char subject[FOUND_DOMAIN_MAX + 16];
    if (found->is_over) {
        (void)snprintf(subject, sizeof(subject), "the domain %s", found->subject);
        listing_refuse(run->facts, found, subject, ret_verdict);
    }
}

const struct filter filter_rhsbl = {
    .name = "rhsbl",
    .begins = PHASE_MAIL,
    .due = PHASE_RCPT,
    .size = sizeof(struct rhsbl),
    .action = rhsbl_action,
    .start = rhsbl_start,
    .cancel = rhsbl_cancel,
    .give_up = rhsbl_give_up,
    .judge = rhsbl_judge,
};
