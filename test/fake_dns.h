/*
 * fake_dns - a table of records behind net/dns.h: what a check asks for is answered when the test
 * says so, in the order asked or shuffled, so that no test of a check needs a network or a clock.
 *
 * A name without records does not exist, unless something below it does (then it has no data), or a
 * wildcard ("*.example") stands for it: one does for names below it that do not exist, unless they are
 * below another one that does (RFC 4592).
 */
#ifndef TEST_FAKE_DNS_H
#define TEST_FAKE_DNS_H

#include "net/dns.h"

struct fake_record;

struct fake_dns {
    struct dns dns;
    struct fake_record *records;
    struct list_node waiting;
    uint32_t asked;      /* questions so far */
    uint64_t seed;       /* 0: answers come in the order of the questions */
    uint32_t forget_one; /* when not 0: the so-manieth question is never answered */
};

void fake_dns_init(struct fake_dns *fake);
void fake_dns_fini(struct fake_dns *fake); /* asserts that nothing waits */

/* Record data as text: "192.0.2.1", "2001:db8::1", "10 mx.example.", a name, or for TXT the string
 * itself (cut into strings of 255). The name is lower-cased; CNAMEs are followed. */
void fake_dns_add(struct fake_dns *fake, const char *name, enum dns_type type, const char *data);
void fake_dns_add_raw(struct fake_dns *fake, const char *name, enum dns_type type, const void *data,
                      uint32_t len);
/* Questions of this name and type (0: any) fail. */
void fake_dns_add_failure(struct fake_dns *fake, const char *name, enum dns_type type);

/* Answers what waits, and what is asked meanwhile, until nothing does. Returns how many. */
uint32_t fake_dns_run(struct fake_dns *fake);

#endif
