/*
 * record_checks - what the checks found, as the record tells it (design, section 10). A check that did not
 * run is left out.
 */
#ifndef CORE_RECORD_CHECKS_H
#define CORE_RECORD_CHECKS_H

#include "core/record_writer.h"
#include "filters/findings.h"

enum {
    RECORD_CHECKS_ZONE = 480,      /* longest output for one list */
    RECORD_CHECKS_SIGNATURE = 700, /* and for one signature */
    RECORD_CHECKS_BASE = 2048,     /* and for all the rest */
    RECORD_CHECKS_MAX = RECORD_CHECKS_BASE + 2 * FOUND_ZONES_MAX * RECORD_CHECKS_ZONE +
                        FOUND_SIGNATURES_MAX * RECORD_CHECKS_SIGNATURE,
};

/* Bytes that the two below write at most. NULL is fine in all three. */
uint32_t record_checks_room(const struct findings *findings);

/* What stands between the braces of "checks":{...}. */
void record_checks_json(struct writer *w, const struct findings *findings);

/* "dnsbl:6,spf:pass,dkim:pass+fail,dmarc:pass"; "-" without any. */
void record_checks_text(struct writer *w, const struct findings *findings);

#endif
