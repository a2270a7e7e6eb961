/*
 * dmarc_world - a message's header, results of SPF and DKIM, and a table of records, for the DMARC check
 * in its chain.
 */
#ifndef TEST_DMARC_WORLD_H
#define TEST_DMARC_WORLD_H

#include <netinet/in.h>

#include "filters/chain.h"
#include "filters/verify_conf.h"
#include "test/fake_dns.h"

struct dmarc_world {
    struct loop *loop;
    struct fake_dns fake;
    struct verify_conf conf; /* DMARC rejects, SPF and DKIM are off */
    struct findings findings;
    struct header header;
    struct facts facts;
    struct sockaddr_in client; /* 0.0.0.0 */
    struct chain *chain;
    int done; /* calls of the chain's */
};

struct dmarc_world *dmarc_world_create(const char *header);
void dmarc_world_destroy(struct dmarc_world *world);

/* What SPF and DKIM have found, as if they had run. */
void dmarc_set_spf(struct dmarc_world *world, enum check_result result, const char *domain);
void dmarc_add_dkim(struct dmarc_world *world, enum check_result result, const char *domain);

/* "DOMAIN TAGS" puts "v=DMARC1; TAGS" at _dmarc.DOMAIN. For TAGS "=": some other text there; "!": no
 * answer; "+": DOMAIN exists; "?": no answer whether it does. */
void dmarc_add_record(struct dmarc_world *world, const char *record);

/* The whole message is there; nothing has been answered. */
void dmarc_begin(struct dmarc_world *world);
bool dmarc_await(struct dmarc_world *world, int64_t timeout_ms);

/* From the beginning to the verdict. */
struct verdict dmarc_run(struct dmarc_world *world);

/* "pass example.com": the result, and where the domain stands. */
enum check_result dmarc_result_of(const char *words, const char **ret_domain);

/* "RESULT POLICY DOMAIN" with the domain where the record was found; "RESULT - -" without one. */
void dmarc_describe(const struct found_dmarc *found, char *out, uint32_t size);

#endif
