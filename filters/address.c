/*
 * address - see filters/address.h.
 */
#include "filters/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

uint32_t address_octets(const struct sockaddr *address, uint8_t out[16])
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        memcpy(out, &in.sin_addr, 4);
        return 4;
    }
    if (address->sa_family != AF_INET6) {
        return 0;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof(in6));
    if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
        memcpy(out, in6.sin6_addr.s6_addr + 12, 4);
        return 4;
    }
    memcpy(out, &in6.sin6_addr, 16);
    return 16;
}

/* The first `bits` of the prefix, against octets of the same length. */
static bool has_prefix(const uint8_t *octets, const uint8_t *prefix, uint32_t bits)
{
    uint32_t whole = bits / 8;
    uint32_t rest = bits % 8;
    if (memcmp(octets, prefix, whole) != 0) {
        return false;
    }
    return rest == 0 || (octets[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

static bool is_private_v4(const uint8_t octets[4])
{
    static const struct {
        uint8_t prefix[4];
        uint8_t bits;
    } blocks[] = {
        {{0}, 8},         {{10}, 8},       {{100, 64}, 10},   {{127}, 8},
        {{169, 254}, 16}, {{172, 16}, 12}, {{192, 0, 0}, 24}, {{192, 168}, 16},
        {{198, 18}, 15},  {{224}, 4},      {{240}, 4},
    };
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        if (has_prefix(octets, blocks[i].prefix, blocks[i].bits)) {
            return true;
        }
    }
    return false;
}

static bool is_private_v6(const uint8_t octets[16])
{
    static const uint8_t zero[16] = {0};
    bool is_low = memcmp(octets, zero, 15) == 0 && octets[15] <= 1; /* ::, ::1 */
    bool is_local = (octets[0] & 0xfe) == 0xfc;                     /* fc00::/7 */
    bool is_link = octets[0] == 0xfe && (octets[1] & 0xc0) == 0x80; /* fe80::/10 */
    return is_low || is_local || is_link || octets[0] == 0xff;
}

bool address_is_private(const struct sockaddr *address)
{
    uint8_t octets[16];
    uint32_t len = address_octets(address, octets);
    return len == 4 ? is_private_v4(octets) : len != 16 || is_private_v6(octets);
}

uint32_t address_reverse(const struct sockaddr *address, char out[ADDRESS_REVERSE_MAX])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t octets[16];
    uint32_t len = address_octets(address, octets);
    if (len == 4) {
        return (uint32_t)snprintf(out, ADDRESS_REVERSE_MAX, "%u.%u.%u.%u", octets[3], octets[2],
                                  octets[1], octets[0]);
    }
    uint32_t at = 0;
    for (uint32_t i = len; i > 0; i--) {
        out[at++] = digits[octets[i - 1] & 15];
        out[at++] = '.';
        out[at++] = digits[octets[i - 1] >> 4];
        out[at++] = '.';
    }
    at -= at > 0 ? 1 : 0;
    out[at] = '\0';
    return at;
}

void address_text(const struct sockaddr *address, char out[INET6_ADDRSTRLEN])
{
    uint8_t octets[16];
    uint32_t len = address_octets(address, octets);
    if (len == 0 ||
        inet_ntop(len == 4 ? AF_INET : AF_INET6, octets, out, INET6_ADDRSTRLEN) == NULL) {
        memcpy(out, "unknown", 8);
    }
}
