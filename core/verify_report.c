/*
 * verify_report - see core/verify_report.h.
 */
#include "core/verify_report.h"

#include <arpa/inet.h>
#include <errno.h>

#include "filters/authres.h"
#include "filters/dmarc_record.h"
#include "filters/verify_conf.h"

static void put_escaped(FILE *out, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at >= ' ' && *at <= '~' && *at != '\\') {
            (void)fputc(*at, out); /* what cannot be written is seen at the end */
        } else {
            (void)fprintf(out, "\\x%02X", (unsigned char)*at);
        }
    }
}

/* " NAME=VALUE", where there is a value: whether there is one. */
static bool put_named(FILE *out, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0') {
        return false;
    }
    (void)fprintf(out, " %s=", name);
    put_escaped(out, value);
    return true;
}

/* What stands before it in the line ends in a colon already, unless names came behind that. */
static void put_reason(FILE *out, bool has_names, const char *reason)
{
    if (reason != NULL && reason[0] != '\0') {
        (void)fputs(has_names ? ": " : " ", out);
        put_escaped(out, reason);
    }
}

/* ---- what went wrong ---- */

int verify_report_fault(const char *what, const char *name, const char *why, const char *remedy)
{
    (void)fprintf(stderr, "mailweir: %s", what);
    if (name != NULL) {
        (void)fputs(" '", stderr);
        put_escaped(stderr, name);
        (void)fputc('\'', stderr);
    }
    (void)fputs(": ", stderr);
    put_escaped(stderr, why);
    (void)fprintf(stderr, "; %s\n", remedy);
    return -EINVAL;
}

/* ---- the field ---- */

void verify_report_field(FILE *out, const struct facts *facts)
{
    char field[AUTHRES_SIZE];
    (void)authres_write(facts, field);
    for (const char *at = field; *at != '\0'; at++) {
        if (*at != '\r') {
            (void)fputc(*at, out);
        }
    }
}

/* ---- the reasons ---- */

static void put_zone(FILE *out, const struct found_zone *zone)
{
    (void)fputs("; ", out);
    put_escaped(out, zone->zone);
    (void)fputs(zone->is_listed ? " lists it" : " did not answer", out);
    for (uint32_t i = 0; i < zone->code_count; i++) {
        char code[INET_ADDRSTRLEN];
        (void)inet_ntop(AF_INET, zone->codes[i], code, sizeof(code));
        (void)fprintf(out, " %s", code);
    }
}

static void put_lists(FILE *out, const char *name, const struct found_dnsbl *found,
                      int32_t threshold)
{
    if (!found->is_present) {
        return;
    }
    (void)fprintf(out, "%s: %s: score %d, threshold %d", name, found->is_over ? "fail" : "pass",
                  found->score, threshold);
    (void)put_named(out, "domain", found->subject);
    for (uint32_t i = 0; i < found->zone_count; i++) {
        put_zone(out, &found->zones[i]);
    }
    put_reason(out, true, found->text);
    (void)fputc('\n', out);
}

static void put_spf(FILE *out, const struct found_spf *found)
{
    if (!found->is_present) {
        return;
    }
    (void)fprintf(out, "spf: %s:", check_result_name(found->result));
    bool has_name = put_named(out, found->is_helo ? "helo" : "mailfrom", found->domain);
    put_reason(out, has_name, found->reason);
    put_reason(out, has_name || found->reason != NULL, found->explanation);
    (void)fputc('\n', out);
}

static void put_signature(FILE *out, const struct found_signature *found)
{
    (void)fprintf(out, "dkim: %s:", check_result_name(found->result));
    bool has_names = put_named(out, "d", found->domain);
    has_names = put_named(out, "s", found->selector) || has_names;
    has_names = put_named(out, "a", found->algorithm) || has_names;
    (void)put_named(out, "key", found->is_testing ? "testing" : NULL);
    put_reason(out, has_names, found->reason);
    (void)fputc('\n', out);
}

static void put_dkim(FILE *out, const struct found_dkim *found)
{
    if (found->is_present && found->count == 0) {
        (void)fputs("dkim: none: there is no signature\n", out);
    }
    for (uint32_t i = 0; i < found->count; i++) {
        put_signature(out, &found->signatures[i]);
    }
}

static void put_dmarc(FILE *out, const struct found_dmarc *found)
{
    if (!found->is_present) {
        return;
    }
    (void)fprintf(out, "dmarc: %s:", check_result_name(found->result));
    bool has_names = put_named(out, "from", found->domain);
    if (found->has_record) {
        (void)put_named(out, "policy", dmarc_policy_name(found->policy));
        (void)put_named(out, "t", found->is_testing ? "y" : NULL);
        (void)put_named(out, "record", found->record_domain);
    }
    put_reason(out, has_names, found->reason);
    (void)fputc('\n', out);
}

/* Nothing is said of a message that the checks let through: what else a session may have against it is not
 * theirs to know. */
static void put_refusal(FILE *out, const struct verdict *verdict)
{
    if (verdict->action == ACTION_DEFER || verdict->action == ACTION_REJECT) {
        (void)fprintf(out, "refused by %s: ", verdict->decided_by);
        put_escaped(out, verdict->reply);
        (void)fputc('\n', out);
    }
}

void verify_report_reasons(FILE *out, const struct facts *facts, const struct verdict *verdict)
{
    const struct findings *findings = facts->findings;
    int32_t threshold = facts->conf->dnsbl.threshold;
    put_lists(out, "dnsbl", &findings->dnsbl, threshold);
    put_lists(out, "rhsbl", &findings->rhsbl, threshold);
    put_spf(out, &findings->spf);
    put_dkim(out, &findings->dkim);
    put_dmarc(out, &findings->dmarc);
    put_refusal(out, verdict);
}

/* ---- the status ---- */

static bool is_good(enum check_result result)
{
    return result == CHECK_PASS || result == CHECK_NONE;
}

static bool are_lists_good(const struct found_dnsbl *found)
{
    for (uint32_t i = 0; i < found->zone_count; i++) {
        if (found->zones[i].is_temperror) {
            return false;
        }
    }
    return !found->is_over;
}

/* A check that did not run has found nothing: its result is none. */
bool verify_report_is_good(const struct findings *findings)
{
    for (uint32_t i = 0; i < findings->dkim.count; i++) {
        if (!is_good(findings->dkim.signatures[i].result)) {
            return false;
        }
    }
    return are_lists_good(&findings->dnsbl) && are_lists_good(&findings->rhsbl) &&
           is_good(findings->spf.result) && is_good(findings->dmarc.result);
}
