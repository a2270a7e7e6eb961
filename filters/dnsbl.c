/*
 * dnsbl - see filters/dnsbl.h.
 */
#include "filters/dnsbl.h"

#include <stdio.h>

#include "filters/address.h"
#include "filters/listing.h"
#include "filters/verify_conf.h"

struct dnsbl {
    struct listing listing;
    char reversed[ADDRESS_REVERSE_MAX];
    struct listing_question questions[VERIFY_ZONES_MAX];
};

static enum filter_action dnsbl_action(const struct facts *facts)
{
    return facts->conf->dnsbl.zone_count == 0 ? ACTION_OFF : facts->conf->dnsbl.action;
}

static void dnsbl_start(struct filter_run *run)
{
    struct dnsbl *check = run->memory;
    const struct facts *facts = run->facts;
    struct found_dnsbl *found = &facts->findings->dnsbl;
    check->listing = (struct listing){.run = run, .found = found, .questions = check->questions};
    found->is_present = true;
    if (!address_is_private(facts->client)) {
        (void)address_reverse(facts->client, check->reversed);
        for (uint32_t i = 0; i < facts->conf->dnsbl.zone_count; i++) {
            listing_ask(&check->listing, &facts->conf->dnsbl.zones[i], check->reversed);
        }
    }
    listing_conclude(&check->listing);
}

static void dnsbl_cancel(struct filter_run *run)
{
    struct dnsbl *check = run->memory;
    listing_cancel(&check->listing);
}

static void dnsbl_give_up(struct filter_run *run)
{
    struct dnsbl *check = run->memory;
    listing_give_up(&check->listing);
}

static void dnsbl_judge(const struct filter_run *run, struct verdict *ret_verdict)
{
    const struct found_dnsbl *found = &run->facts->findings->dnsbl;
    char address[INET6_ADDRSTRLEN];
    char subject[INET6_ADDRSTRLEN + 2];
    if (found->is_over) {
        address_text(run->facts->client, address);
        (void)snprintf(subject, sizeof(subject), "[%s]", address);
        listing_refuse(run->facts, found, subject, ret_verdict);
    }
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
