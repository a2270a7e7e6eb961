/*
 * network - see core/network.h.
 */
#include "core/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAPPED_BITS = 96 };

static void map_v4(const void *v4, uint8_t out[16])
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memcpy(out, prefix, sizeof(prefix));
    memcpy(out + sizeof(prefix), v4, 4);
}

/* Decimal digits only, at most `max`; -1 for anything else. */
static int parse_bits(const char *text, int max)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') {
        return -1;
    }
    unsigned long bits = strtoul(text, &end, 10);
    return *end == '\0' && bits <= (unsigned long)max ? (int)bits : -1;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, uint32_t bits)
{
    uint32_t whole = bits / 8;
    uint32_t rest = bits % 8;
    uint8_t mask = (uint8_t)(0xff00u >> rest);
    return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

/* No bit may be set behind the prefix: "10.1.2.3/8" is more likely a slip than a network. */
static bool is_clean(const struct network *network)
{
    for (uint32_t bit = network->bits; bit < 128; bit++) {
        if ((network->bytes[bit / 8] & (0x80u >> (bit % 8))) != 0) {
            return false;
        }
    }
    return true;
}

int network_parse(const char *text, struct network *ret_network)
{
    struct network network;
    char address[INET6_ADDRSTRLEN];
    uint8_t v4[4];
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    if (len >= sizeof(address)) {
        return -EINVAL;
    }
    memcpy(address, text, len);
    address[len] = '\0';
    int offset = 0;
    if (inet_pton(AF_INET, address, v4) == 1) {
        map_v4(v4, network.bytes);
        offset = MAPPED_BITS;
    } else if (inet_pton(AF_INET6, address, network.bytes) != 1) {
        return -EINVAL;
    }
    int bits = slash != NULL ? parse_bits(slash + 1, 128 - offset) : 128 - offset;
    if (bits < 0) {
        return -EINVAL;
    }
    network.bits = (uint8_t)(bits + offset);
    if (!is_clean(&network)) {
        return -EINVAL;
    }
    *ret_network = network;
    return 0;
}

bool network_has(const struct network *network, const struct sockaddr *addr)
{
    uint8_t bytes[16];
    if (addr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof(in));
        map_v4(&in.sin_addr, bytes);
    } else if (addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr, sizeof(in6));
        memcpy(bytes, &in6.sin6_addr, sizeof(bytes));
    } else {
        return false;
    }
    return same_prefix(network->bytes, bytes, network->bits);
}

bool networks_have(const struct network *networks, uint32_t count, const struct sockaddr *addr)
{
    for (uint32_t i = 0; i < count; i++) {
        if (network_has(&networks[i], addr)) {
            return true;
        }
    }
    return false;
}
