/*
 * record_checks - see core/record_checks.h.
 */
#include "core/record_checks.h"

#include "filters/dmarc_record.h"

enum { FIELD_NAME = 300 }; /* of one domain or selector; it has at most 255 octets */

uint32_t record_checks_room(const struct findings *findings)
{
    if (findings == NULL) {
        return RECORD_CHECKS_BASE;
    }
    uint32_t zones = findings->dnsbl.zone_count + findings->rhsbl.zone_count;
    return RECORD_CHECKS_BASE + zones * RECORD_CHECKS_ZONE +
           findings->dkim.count * RECORD_CHECKS_SIGNATURE;
}

/* ---- JSON ---- */

/* The key of a check, behind a comma unless it is the first. */
static void json_key(struct writer *w, bool *is_first, struct text key)
{
    writer_put(w, *is_first ? TEXT("\"") : TEXT(",\""));
    writer_put(w, key);
    writer_put(w, TEXT("\":"));
    *is_first = false;
}

static void json_result(struct writer *w, enum check_result result)
{
    writer_put(w, TEXT("{\"result\":\""));
    writer_put(w, text_of(check_result_name(result)));
    writer_put(w, TEXT("\""));
}

static void json_codes(struct writer *w, const struct found_zone *zone)
{
    writer_put(w, TEXT(",\"codes\":["));
    for (uint32_t i = 0; i < zone->code_count; i++) {
        writer_put(w, i == 0 ? TEXT("\"") : TEXT(",\""));
        for (uint32_t octet = 0; octet < 4; octet++) {
            writer_put(w, octet == 0 ? TEXT("") : TEXT("."));
            writer_number(w, zone->codes[i][octet]);
        }
        writer_put(w, TEXT("\""));
    }
    writer_put(w, TEXT("]"));
}

static void json_lists(struct writer *w, const struct found_dnsbl *found)
{
    writer_put(w, TEXT("{\"score\":"));
    writer_signed(w, found->score);
    writer_put(w, TEXT(",\"zones\":["));
    for (uint32_t i = 0; i < found->zone_count; i++) {
        const struct found_zone *zone = &found->zones[i];
        writer_put(w, i == 0 ? TEXT("{\"zone\":") : TEXT(",{\"zone\":"));
        writer_json(w, text_of(zone->zone), FIELD_NAME);
        json_codes(w, zone);
        writer_put(w, zone->is_listed ? TEXT(",\"result\":\"listed\"}")
                                      : TEXT(",\"result\":\"temperror\"}"));
    }
    writer_put(w, TEXT("]"));
    if (found->subject[0] != '\0') {
        writer_put(w, TEXT(",\"domain\":"));
        writer_json(w, text_of(found->subject), FIELD_NAME);
    }
    writer_put(w, TEXT("}"));
}

static void json_signatures(struct writer *w, const struct found_dkim *found)
{
    writer_put(w, TEXT("["));
    for (uint32_t i = 0; i < found->count; i++) {
        writer_put(w, i == 0 ? TEXT("") : TEXT(","));
        json_result(w, found->signatures[i].result);
        writer_put(w, TEXT(",\"domain\":"));
        writer_json_or_null(w, text_of(found->signatures[i].domain), FIELD_NAME);
        writer_put(w, TEXT(",\"selector\":"));
        writer_json_or_null(w, text_of(found->signatures[i].selector), FIELD_NAME);
        writer_put(w, TEXT("}"));
    }
    writer_put(w, TEXT("]"));
}

void record_checks_json(struct writer *w, const struct findings *findings)
{
    bool is_first = true;
    if (findings == NULL) {
        return;
    }
    if (findings->dnsbl.is_present) {
        json_key(w, &is_first, TEXT("dnsbl"));
        json_lists(w, &findings->dnsbl);
    }
    if (findings->rhsbl.is_present) {
        json_key(w, &is_first, TEXT("rhsbl"));
        json_lists(w, &findings->rhsbl);
    }
    if (findings->spf.is_present) {
        json_key(w, &is_first, TEXT("spf"));
        json_result(w, findings->spf.result);
        writer_put(w, TEXT(",\"domain\":"));
        writer_json_or_null(w, text_of(findings->spf.domain), FIELD_NAME);
        writer_put(w, TEXT("}"));
    }
    if (findings->dkim.is_present) {
        json_key(w, &is_first, TEXT("dkim"));
        json_signatures(w, &findings->dkim);
    }
    if (findings->dmarc.is_present) {
        json_key(w, &is_first, TEXT("dmarc"));
        json_result(w, findings->dmarc.result);
        writer_put(w, TEXT(",\"policy\":"));
        writer_json_or_null(
            w, text_of(findings->dmarc.has_record ? dmarc_policy_name(findings->dmarc.policy) : ""),
            FIELD_NAME);
        writer_put(w, TEXT("}"));
    }
}

/* ---- key=value ---- */

static void text_key(struct writer *w, bool *is_first, struct text key)
{
    writer_put(w, *is_first ? TEXT("") : TEXT(","));
    writer_put(w, key);
    writer_put(w, TEXT(":"));
    *is_first = false;
}

static void text_signatures(struct writer *w, const struct found_dkim *found)
{
    for (uint32_t i = 0; i < found->count; i++) {
        writer_put(w, i == 0 ? TEXT("") : TEXT("+"));
        writer_put(w, text_of(check_result_name(found->signatures[i].result)));
    }
    if (found->count == 0) {
        writer_put(w, TEXT("none"));
    }
}

void record_checks_text(struct writer *w, const struct findings *findings)
{
    bool is_first = true;
    if (findings != NULL && findings->dnsbl.is_present) {
        text_key(w, &is_first, TEXT("dnsbl"));
        writer_signed(w, findings->dnsbl.score);
    }
    if (findings != NULL && findings->rhsbl.is_present) {
        text_key(w, &is_first, TEXT("rhsbl"));
        writer_signed(w, findings->rhsbl.score);
    }
    if (findings != NULL && findings->spf.is_present) {
        text_key(w, &is_first, TEXT("spf"));
        writer_put(w, text_of(check_result_name(findings->spf.result)));
    }
    if (findings != NULL && findings->dkim.is_present) {
        text_key(w, &is_first, TEXT("dkim"));
        text_signatures(w, &findings->dkim);
    }
    if (findings != NULL && findings->dmarc.is_present) {
        text_key(w, &is_first, TEXT("dmarc"));
        writer_put(w, text_of(check_result_name(findings->dmarc.result)));
    }
    if (is_first) {
        writer_put(w, TEXT("-"));
    }
}
