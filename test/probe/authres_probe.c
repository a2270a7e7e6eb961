/*
 * authres_probe - writes and recognises Authentication-Results fields for a test with a judge of its
 * own: commands on standard input, a line for each "write" and "claims" on standard output. TEXT is
 * hexadecimal ("-" for empty).
 *
 *    spf RESULT HELO DOMAIN               HELO is 1 when that was the identity
 *    dkim RESULT DOMAIN SELECTOR B        one more signature; with a reason when it is no pass
 *    dmarc RESULT POLICY TESTING DOMAIN   POLICY is "none", "quarantine", "reject", or "-": no record
 *    write ID                             the field in hexadecimal; then all is forgotten
 *    claims ID FIELD                      "1" or "0"
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/authres.h"
#include "filters/authres_claims.h"
#include "filters/dmarc_record.h"
#include "filters/verify_conf.h"

enum { LINE_SIZE = 400000, WORDS_MAX = 5 };

static struct findings findings;
static struct verify_conf conf;
static struct header header;

static void unhex(const char *text, char *out, size_t size)
{
    size_t len = 0;
    for (; text[0] != '-' && text[0] != '\0' && text[1] != '\0' && len + 1 < size; text += 2) {
        unsigned octet = 0;
        int read = sscanf(text, "%2x", &octet);
        assert(read == 1);
        out[len++] = (char)octet;
    }
    out[len] = '\0';
}

static enum check_result result_of(const char *word)
{
    for (int result = CHECK_NONE; result < CHECK_PERMERROR; result++) {
        if (strcmp(check_result_name((enum check_result)result), word) == 0) {
            return (enum check_result)result;
        }
    }
    return CHECK_PERMERROR;
}

static void set_dmarc(char *const *words)
{
    struct found_dmarc *found = &findings.dmarc;
    *found = (struct found_dmarc){.is_present = true, .result = result_of(words[1])};
    for (int policy = DMARC_POLICY_NONE; policy <= DMARC_POLICY_REJECT; policy++) {
        if (strcmp(dmarc_policy_name((enum dmarc_policy)policy), words[2]) == 0) {
            found->has_record = true;
            found->policy = (enum dmarc_policy)policy;
        }
    }
    found->is_testing = words[3][0] == '1';
    unhex(words[4], found->domain, sizeof(found->domain));
}

static void add_dkim(char *const *words)
{
    struct found_signature *found = &findings.dkim.signatures[findings.dkim.count++];
    assert(findings.dkim.count <= FOUND_SIGNATURES_MAX);
    findings.dkim.is_present = true;
    *found = (struct found_signature){.result = result_of(words[1]), .algorithm = "rsa-sha256"};
    found->reason = found->result == CHECK_PASS ? NULL : "as the test says";
    unhex(words[2], found->domain, sizeof(found->domain));
    unhex(words[3], found->selector, sizeof(found->selector));
    unhex(words[4], found->b8, sizeof(found->b8));
}

static void write_field(const char *id)
{
    char out[AUTHRES_SIZE];
    struct facts facts = {.conf = &conf, .findings = &findings};
    unhex(id, conf.authserv_id, sizeof(conf.authserv_id));
    uint32_t len = authres_write(&facts, out);
    for (uint32_t i = 0; i < len; i++) {
        printf("%02x", (unsigned char)out[i]);
    }
    printf("\n");
    memset(&findings, 0, sizeof(findings));
}

static void claims(const char *id_hex, const char *field_hex)
{
    static char field[LINE_SIZE];
    char id[VERIFY_NAME_MAX];
    unhex(id_hex, id, sizeof(id));
    unhex(field_hex, field, sizeof(field));
    header_init(&header);
    (void)header_feed(&header, field, (uint32_t)strlen(field));
    header_end(&header);
    assert(header.count == 1);
    printf("%d\n", authres_claims(&header, &header.fields[0], id));
}

static void run(char *line)
{
    static char none[] = "";
    char *words[WORDS_MAX] = {none, none, none, none, none};
    int count = 0;
    for (char *word; count < WORDS_MAX && (word = strsep(&line, " \n")) != NULL;) {
        words[count++] = word;
    }
    if (strcmp(words[0], "spf") == 0) {
        findings.spf = (struct found_spf){
            .is_present = true, .result = result_of(words[1]), .is_helo = words[2][0] == '1'};
        unhex(words[3], findings.spf.domain, sizeof(findings.spf.domain));
    } else if (strcmp(words[0], "dkim") == 0) {
        add_dkim(words);
    } else if (strcmp(words[0], "dmarc") == 0) {
        set_dmarc(words);
    } else if (strcmp(words[0], "write") == 0) {
        write_field(words[1]);
    } else if (strcmp(words[0], "claims") == 0) {
        claims(words[1], words[2]);
    }
}

int main(void)
{
    static char line[LINE_SIZE];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        run(line);
    }
    return 0;
}
