/*
 * authres - see filters/authres.h.
 *
 * A field is made of words, each put on the line where it fits or on the next one:
 *
 *    Authentication-Results: mx.example.org;
 *            spf=pass smtp.mailfrom=example.com;
 *            dkim=pass header.d=example.com header.s=s1 header.a=rsa-sha256
 *            header.b="AbC/1234"; dmarc=pass header.from=example.com policy.dmarc=reject
 *
 * A result is written whole or not at all.
 */
#include "filters/authres.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "filters/dmarc_record.h"
#include "filters/verify_conf.h"

enum {
    LINE_MAX_COLUMNS = 78,
    TAB_COLUMNS = 8,
    WORD_MAX = 700,   /* a name of 256 octets, each escaped, and what names it */
    DMARC_MAX = 1200, /* room that is kept for its result */
    RHSBL_MAX = 900,  /* the same, its zones aside */
};

struct writer {
    char *out;
    uint32_t size; /* that may be used now */
    uint32_t len;
    uint32_t column;
    bool is_full;
};

/* ---- words ---- */

static void put_octets(struct writer *writer, const char *octets, uint32_t len)
{
    if (writer->is_full || len >= writer->size - writer->len) {
        writer->is_full = true;
        return;
    }
    memcpy(writer->out + writer->len, octets, len);
    writer->len += len;
    writer->column += len;
}

/* A space and a word, on the next line when it does not fit here; one column is left for a ";". */
static void put_word(struct writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put_word(struct writer *writer, const char *format, ...)
{
    char word[WORD_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(word, sizeof(word), format, args);
    va_end(args);
    assert(len >= 0 && len < (int)sizeof(word));
    if (writer->column + 1 + (uint32_t)len + 1 > LINE_MAX_COLUMNS && writer->column > TAB_COLUMNS) {
        put_octets(writer, "\r\n\t", 3);
        writer->column = TAB_COLUMNS;
    } else {
        put_octets(writer, " ", 1);
    }
    put_octets(writer, word, (uint32_t)len);
}

static bool is_token_char(char c)
{
    return c > ' ' && c <= '~' && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

/* A value (RFC 2045, 5.1): as it is where it is a token, else a quoted string; nothing but visible
 * ASCII and spaces. */
static const char *as_value(const char *text, char out[2 * FOUND_DOMAIN_MAX + 4])
{
    uint32_t len = 0;
    bool is_token = text[0] != '\0';
    for (const char *at = text; *at != '\0' && is_token; at++) {
        is_token = is_token_char(*at);
    }
    if (!is_token) {
        out[len++] = '"';
    }
    for (uint32_t i = 0; text[i] != '\0' && i < FOUND_DOMAIN_MAX; i++) {
        char c = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
        if (c == '"' || c == '\\') {
            out[len++] = '\\';
        }
        out[len++] = c;
    }
    if (!is_token) {
        out[len++] = '"';
    }
    out[len] = '\0';
    return out;
}

static void put_property(struct writer *writer, const char *name, const char *text)
{
    char value[2 * FOUND_DOMAIN_MAX + 4];
    if (text != NULL && text[0] != '\0') {
        put_word(writer, "%s=%s", name, as_value(text, value));
    }
}

/* ---- results ---- */

/* "; method=result reason="..."" */
static void put_result(struct writer *writer, const char *method, enum check_result result,
                       const char *reason)
{
    put_octets(writer, ";", 1);
    put_word(writer, "%s=%s", method, check_result_name(result));
    put_property(writer, "reason", reason);
}

/* RFC 8601, 2.7.2: the domain alone, since SPF says nothing of the local part. */
static void put_spf(struct writer *writer, const struct found_spf *found)
{
    put_result(writer, "spf", found->result, found->reason);
    put_property(writer, found->is_helo ? "smtp.helo" : "smtp.mailfrom", found->domain);
}

static void put_signature(struct writer *writer, const struct found_signature *found)
{
    put_result(writer, "dkim", found->result, found->reason);
    put_property(writer, "header.d", found->domain);
    put_property(writer, "header.s", found->selector);
    put_property(writer, "header.a", found->algorithm);
    put_property(writer, "header.b", found->b8); /* RFC 6008 */
}

/* All of one kind that fit. */
static void put_signatures(struct writer *writer, const struct found_dkim *found, bool is_pass)
{
    for (uint32_t i = 0; i < found->count; i++) {
        if ((found->signatures[i].result == CHECK_PASS) != is_pass) {
            continue;
        }
        struct writer before = *writer;
        put_signature(writer, &found->signatures[i]);
        if (writer->is_full) {
            *writer = before;
        }
    }
}

static void put_dkim(struct writer *writer, const struct found_dkim *found)
{
    if (found->count == 0) {
        put_result(writer, "dkim", CHECK_NONE, NULL);
        return;
    }
    writer->size -= DMARC_MAX;
    put_signatures(writer, found, true);
    put_signatures(writer, found, false);
    writer->size += DMARC_MAX;
}

/* policy.dmarc is what the owner asks for in the end, behind t=y; the comment is what is published. */
static void put_dmarc(struct writer *writer, const struct found_dmarc *found)
{
    put_result(writer, "dmarc", found->result, found->reason);
    put_property(writer, "header.from", found->domain);
    if (found->has_record) {
        put_property(writer, "policy.dmarc",
                     dmarc_policy_name(dmarc_policy_applied(found->policy, found->is_testing)));
    }
    if (found->has_record && found->is_testing) {
        put_word(writer, "(%s, t=y)", dmarc_policy_name(found->policy));
    }
}

/* ---- fields ---- */

static void begin(struct writer *writer, char *out, const char *name, const char *id)
{
    char value[2 * FOUND_DOMAIN_MAX + 4];
    *writer = (struct writer){.out = out, .size = AUTHRES_SIZE};
    put_octets(writer, name, (uint32_t)strlen(name));
    put_octets(writer, ":", 1);
    put_word(writer, "%s", as_value(id, value));
}

static uint32_t end(struct writer *writer)
{
    put_octets(writer, "\r\n", 2);
    assert(!writer->is_full);
    writer->out[writer->len] = '\0';
    return writer->len;
}

uint32_t authres_write(const struct facts *facts, char out[AUTHRES_SIZE])
{
    struct writer writer;
    const struct findings *findings = facts->findings;
    begin(&writer, out, "Authentication-Results", facts->conf->authserv_id);
    if (findings->spf.is_present) {
        put_spf(&writer, &findings->spf);
    }
    if (findings->dkim.is_present) {
        put_dkim(&writer, &findings->dkim);
    }
    if (findings->dmarc.is_present) {
        put_dmarc(&writer, &findings->dmarc);
    }
    if (!findings->spf.is_present && !findings->dkim.is_present && !findings->dmarc.is_present) {
        put_octets(&writer, ";", 1);
        put_word(&writer, "none");
    }
    return end(&writer);
}

static void put_zone(struct writer *writer, const struct found_zone *zone)
{
    char code[INET_ADDRSTRLEN];
    put_octets(writer, ";", 1);
    put_word(writer, "zone=%s", zone->is_listed ? "listed" : "temperror");
    put_property(writer, "zone.name", zone->zone);
    for (uint32_t i = 0; i < zone->code_count; i++) {
        (void)inet_ntop(AF_INET, zone->codes[i], code, sizeof(code));
        put_property(writer, "zone.code", code);
    }
}

/* The result, and of its zones those that fit. */
static void put_lists(struct writer *writer, const char *method, const struct found_dnsbl *found)
{
    put_octets(writer, ";", 1);
    put_word(writer, "%s=%s", method, found->is_over ? "fail" : "pass");
    put_word(writer, "score=%d", found->score);
    put_property(writer, "domain", found->subject);
    put_property(writer, "text", found->text);
    for (uint32_t i = 0; i < found->zone_count; i++) {
        struct writer before = *writer;
        put_zone(writer, &found->zones[i]);
        if (writer->is_full || writer->len + 3 > writer->size) {
            *writer = before;
        }
    }
}

uint32_t authres_write_trace(const struct facts *facts, const char *name, char out[AUTHRES_SIZE])
{
    struct writer writer;
    const struct findings *findings = facts->findings;
    if (!findings->dnsbl.is_present && !findings->rhsbl.is_present) {
        return 0;
    }
    begin(&writer, out, name, facts->conf->authserv_id);
    if (findings->dnsbl.is_present) {
        uint32_t kept = findings->rhsbl.is_present ? RHSBL_MAX : 0;
        writer.size -= kept;
        put_lists(&writer, "dnsbl", &findings->dnsbl);
        writer.size += kept;
    }
    if (findings->rhsbl.is_present) {
        put_lists(&writer, "rhsbl", &findings->rhsbl);
    }
    return end(&writer);
}
