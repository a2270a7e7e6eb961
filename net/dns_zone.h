/*
 * dns_zone - a zone file that is asked before any server.
 *
 * The file is the operator's own; it is read once, on the main thread, and shared read-only by all
 * threads. It may hold several zones, each begun by its SOA. A name at or below a SOA that is not
 * there does not exist; a name with records outside of all SOAs is answered from them; for any other
 * name the servers are asked. Wildcards and empty non-terminals as in RFC 4592; CNAMEs are followed.
 * Not done: delegations (what is below an NS record is answered like the rest) and DNAME.
 */
#ifndef NET_DNS_ZONE_H
#define NET_DNS_ZONE_H

#include "net/dns.h"

struct dns_zone;

/* 0, or -errno with what is wrong (and in which line) in `error`. */
int dns_zone_read(struct dns_zone **ret_zone, const char *path, char *error, uint32_t error_size)
    __attribute__((warn_unused_result));

/* Nulls the pointer, accepts NULL in it. */
void dns_zone_destroy(struct dns_zone **zone);

uint32_t dns_zone_count(const struct dns_zone *zone); /* records */

/* A name on its way through CNAMEs, in wire form and lower case. */
struct dns_name {
    uint8_t len;
    uint8_t octets[DNS_NAME_MAX];
};

/* True: *ret_answer is the answer, its records the zone's own. False: the servers are to be asked,
 * for `name`, which is what the CNAMEs in the file lead to. */
bool dns_zone_find(const struct dns_zone *zone, struct dns_name *name, uint16_t type,
                   struct dns_answer *ret_answer);

#endif
