/*
 * network - an address block, and whether an address is in it (design P7: trust by address only).
 *
 * Pure. An IPv4 address that comes mapped into IPv6 (::ffff:192.0.2.1) is compared as the IPv4
 * address it is.
 */
#ifndef CORE_NETWORK_H
#define CORE_NETWORK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct network {
    uint8_t bytes[16]; /* IPv4 networks are kept mapped */
    uint8_t bits;      /* of the 128 */
};

/* "192.0.2.0/24", "2001:db8::/32", or an address alone. 0, or -EINVAL; also for bits set behind the
 * prefix. */
int network_parse(const char *text, struct network *ret_network)
    __attribute__((warn_unused_result));

bool network_has(const struct network *network, const struct sockaddr *addr);

/* True when any of them has it. */
bool networks_have(const struct network *networks, uint32_t count, const struct sockaddr *addr);

#endif
