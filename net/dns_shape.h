/*
 * dns_shape - whether a message is put together as it says, before anything is read from it.
 *
 * One walk over the bare bytes: every record ends inside the message, every name is one (pointers
 * only go backwards, few in a row, 255 octets in all), and the data of the types we use fills exactly
 * the length it claims. ldns, which reads the message afterwards, looks away where data has too many
 * octets, and follows pointers tens of thousands of times.
 */
#ifndef NET_DNS_SHAPE_H
#define NET_DNS_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

enum { DNS_POINTERS_MAX = 32 }; /* in one name */

bool dns_shape_is_good(const uint8_t *bytes, uint32_t len);

#endif
