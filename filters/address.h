/*
 * address - client addresses as the checks need them: which are never asked about, and their names in
 * reverse zones.
 */
#ifndef FILTERS_ADDRESS_H
#define FILTERS_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { ADDRESS_REVERSE_MAX = 64 }; /* 32 nibbles with their dots, and a NUL */

/* The octets in network order, an IPv4-mapped IPv6 address as IPv4: 4 or 16 of them; 0 for another
 * family. */
uint32_t address_octets(const struct sockaddr *address, uint8_t out[16]);

/* Loopback, private, link-local, unique-local and other addresses that no public list can know
 * (RFC 6890); and families other than IPv4 and IPv6. */
bool address_is_private(const struct sockaddr *address);

/* "2.0.0.127" or 32 nibbles "1.0.0...." (RFC 5782, 2.1 and 2.4), with NUL. The length; 0 for another
 * family. */
uint32_t address_reverse(const struct sockaddr *address, char out[ADDRESS_REVERSE_MAX]);

/* "192.0.2.1", "2001:db8::1", "unknown"; with NUL. */
void address_text(const struct sockaddr *address, char out[INET6_ADDRSTRLEN]);

#endif
