/*
 * fuzz_authres - the value of an Authentication-Results field from somebody, and ours with somebody's
 * words in it.
 *
 * A comment in front changes nothing; what is written is well formed and speaks for us, whatever stands
 * in it. A name's form for DNS is its own.
 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "filters/authres.h"
#include "filters/authres_claims.h"
#include "filters/idn.h"
#include "filters/verify_conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char id[] = "mx.example.org";

/* As one field with the value, whatever it is: claims() reads no further than that. */
static bool claims(const char *in_front, const uint8_t *value, size_t size)
{
    static struct header header;
    static const char name[] = "Authentication-Results:";
    header_init(&header);
    size_t len = (size_t)snprintf(header.text, sizeof(header.text), "%s%s", name, in_front);
    size = size < sizeof(header.text) - len ? size : sizeof(header.text) - len;
    memcpy(header.text + len, value, size);
    header.len = (uint32_t)(len + size);
    header.count = 1;
    header.fields[0] = (struct header_field){
        .name_len = sizeof(name) - 2, .value_at = sizeof(name) - 1, .len = header.len};
    return authres_claims(&header, &header.fields[0], id);
}

static void check_claims(const uint8_t *data, size_t size)
{
    bool is_ours = claims("", data, size);
    assert(claims(" (a (b) \\) c)", data, size) == is_ours);
    assert(claims("\r\n\t", data, size) == is_ours);
    assert(claims("mx.example.org;", data, size));
    assert(claims("MX.(c)example.\"org\" 1;", data, size));
    assert(!claims("mail.example.com;", data, size));
}

static void check_name(const uint8_t *data, size_t size)
{
    char once[IDN_NAME_MAX];
    char twice[IDN_NAME_MAX];
    int len = idn_to_ascii((const char *)data, (uint32_t)size, once);
    if (len >= 0) {
        assert(len < IDN_NAME_MAX && strlen(once) == (size_t)len);
        assert(idn_is((const char *)data, (uint32_t)size, once));
        for (int i = 0; i < len; i++) {
            assert((once[i] & 0x80) == 0);
        }
        if (len == 0 || once[len - 1] != '.') {
            assert(idn_to_ascii(once, (uint32_t)len, twice) == len && strcmp(once, twice) == 0);
        }
    }
}

static size_t take(const uint8_t **data, size_t *size, char *out, size_t out_size)
{
    size_t len = *size > 0 ? **data : 0;
    len = len < *size ? len : *size;
    size_t kept = len < out_size ? len : out_size - 1;
    memcpy(out, *data, kept);
    out[kept] = '\0';
    *data += len;
    *size -= len;
    return len;
}

static void check_form(const char *field, uint32_t len)
{
    assert(len < AUTHRES_SIZE && strlen(field) == len);
    for (uint32_t i = 0; i < len; i++) {
        if (field[i] == '\r') {
            assert(field[i + 1] == '\n' && (i + 2 == len || field[i + 2] == '\t'));
            i++;
        } else {
            assert(field[i] == '\t' || (field[i] >= ' ' && field[i] <= '~'));
        }
    }
    assert(claims("", (const uint8_t *)field + 23, len - 23));
}

static void check_written(const uint8_t *data, size_t size)
{
    static struct verify_conf conf;
    static struct findings findings;
    char out[AUTHRES_SIZE];
    struct facts facts = {.conf = &conf, .findings = &findings};
    memset(&findings, 0, sizeof(findings));
    memcpy(conf.authserv_id, id, sizeof(id));
    findings.spf.is_present = true;
    findings.dmarc.is_present = true;
    findings.dmarc.has_record = true;
    findings.dkim.is_present = true;
    (void)take(&data, &size, findings.spf.domain, sizeof(findings.spf.domain));
    (void)take(&data, &size, findings.dmarc.domain, sizeof(findings.dmarc.domain));
    while (size > 0 && findings.dkim.count < FOUND_SIGNATURES_MAX) {
        struct found_signature *found = &findings.dkim.signatures[findings.dkim.count++];
        found->result = (enum check_result)(*data % (CHECK_PERMERROR + 1));
        size_t used = take(&data, &size, found->domain, sizeof(found->domain));
        used += take(&data, &size, found->selector, sizeof(found->selector));
        used += take(&data, &size, found->b8, sizeof(found->b8));
        if (used == 0) {
            break;
        }
    }
    check_form(out, authres_write(&facts, out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_claims(data, size);
    check_name(data, size);
    check_written(data, size);
    return 0;
}
