/*
 * proxy_header - see net/proxy_header.h.
 *
 * Version 1 is a line of words, version 2 a signature, a fixed part, addresses and TLVs. Both
 * readers know the whole header before they believe any of it.
 */
#include "net/proxy_header.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stddef.h>
#include <string.h>

enum {
    V2_SIGNATURE = 12,
    V2_FIXED = 16, /* signature, version and command, family, length */
    V2_INET = 12,  /* two addresses and two ports */
    V2_INET6 = 36,
    V2_UNIX = 216,
    TLV_HEAD = 3,
    TLV_CRC32C = 0x03,
    FIELD_MAX = 46, /* the longest IPv6 address and a NUL */
};

static const char SIGNATURE[V2_SIGNATURE + 1] = "\r\n\r\n\0\r\nQUIT\n";
static const char V1_PREFIX[] = "PROXY ";

/* ---- version 1 ---- */

/* The next word and the byte behind it, which must be `behind`; copied with a NUL. */
static bool v1_word(const char **at, const char *end, char behind, char out[FIELD_MAX])
{
    const char *stop = memchr(*at, behind, (size_t)(end - *at));
    if (stop == NULL || stop == *at || stop - *at >= FIELD_MAX) {
        return false;
    }
    size_t len = (size_t)(stop - *at);
    memcpy(out, *at, len);
    out[len] = '\0';
    *at = stop + 1;
    return strlen(out) == len && strchr(out, ' ') == NULL;
}

/* Decimal, no sign, no leading zero, at most 65535. */
static bool v1_port(const char *word, uint16_t *ret_port)
{
    uint32_t port = 0;
    size_t len = strlen(word);
    if (len == 0 || len > 5 || (word[0] == '0' && len > 1)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (word[i] < '0' || word[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(word[i] - '0');
    }
    *ret_port = (uint16_t)port;
    return port <= UINT16_MAX;
}

static bool v1_addresses(int family, const char *at, const char *end, struct proxy_header *header)
{
    char source[FIELD_MAX];
    char target[FIELD_MAX];
    char source_port[FIELD_MAX];
    char target_port[FIELD_MAX];
    char parsed[sizeof(struct in6_addr)];
    uint16_t port = 0;
    uint16_t ignored = 0;
    if (!v1_word(&at, end, ' ', source) || !v1_word(&at, end, ' ', target) ||
        !v1_word(&at, end, ' ', source_port) || !v1_word(&at, end, '\r', target_port) ||
        at != end) {
        return false;
    }
    if (inet_pton(family, target, parsed) != 1 || inet_pton(family, source, parsed) != 1 ||
        !v1_port(source_port, &port) || !v1_port(target_port, &ignored)) {
        return false;
    }
    header->has_source = true;
    if (family == AF_INET) {
        header->source.in.sin_family = AF_INET;
        header->source.in.sin_port = htons(port);
        memcpy(&header->source.in.sin_addr, parsed, sizeof(header->source.in.sin_addr));
    } else {
        header->source.in6.sin6_family = AF_INET6;
        header->source.in6.sin6_port = htons(port);
        memcpy(&header->source.in6.sin6_addr, parsed, sizeof(header->source.in6.sin6_addr));
    }
    return true;
}

static bool starts_with(const char *line, const char *end, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(end - line) >= len && memcmp(line, word, len) == 0;
}

/* A complete line; `end` is behind the CR. */
static enum proxy_result v1_line(const char *line, const char *end, struct proxy_header *header)
{
    const char *at = line + strlen(V1_PREFIX);
    bool good = false;
    if (memchr(line, '\0', (size_t)(end - line)) != NULL) {
        return PROXY_BAD;
    }
    if (starts_with(at, end, "UNKNOWN ") || starts_with(at, end, "UNKNOWN\r")) {
        good = true; /* the rest of the line is to be ignored */
    } else if (starts_with(at, end, "TCP4 ")) {
        good = v1_addresses(AF_INET, at + 5, end, header);
    } else if (starts_with(at, end, "TCP6 ")) {
        good = v1_addresses(AF_INET6, at + 5, end, header);
    }
    return good ? PROXY_OK : PROXY_BAD;
}

static enum proxy_result v1_scan(const char *data, uint32_t len, struct proxy_header *ret_header)
{
    struct proxy_header header = {0};
    const char *lf = memchr(data, '\n', len < PROXY_V1_MAX ? len : PROXY_V1_MAX);
    if (lf == NULL) {
        return len < PROXY_V1_MAX ? PROXY_MORE : PROXY_BAD;
    }
    if (lf - data < (ptrdiff_t)sizeof(V1_PREFIX) || lf[-1] != '\r' ||
        memchr(data, '\r', (size_t)(lf - data)) != lf - 1) {
        return PROXY_BAD;
    }
    header.len = (uint32_t)(lf - data) + 1;
    enum proxy_result result = v1_line(data, lf, &header);
    if (result == PROXY_OK) {
        *ret_header = header;
    }
    return result;
}

/* ---- version 2 ---- */

static uint32_t crc32c_byte(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) {
        crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    }
    return crc;
}

/* CRC32c of the header with the four bytes of the checksum itself taken as zero. */
static bool crc_is_right(const uint8_t *header, uint32_t len, uint32_t crc_at)
{
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; i < len; i++) {
        crc = crc32c_byte(crc, i >= crc_at && i < crc_at + 4 ? 0 : header[i]);
    }
    uint32_t sent;
    memcpy(&sent, header + crc_at, sizeof(sent));
    return ntohl(sent) == (crc ^ UINT32_MAX);
}

/* TLVs fill the rest of the header exactly; a checksum among them must be right. */
static bool v2_tlvs(const uint8_t *header, uint32_t at, uint32_t len)
{
    while (at < len) {
        if (len - at < TLV_HEAD) {
            return false;
        }
        uint32_t value_len = (uint32_t)header[at + 1] << 8 | header[at + 2];
        if (value_len > len - at - TLV_HEAD) {
            return false;
        }
        bool is_crc = header[at] == TLV_CRC32C;
        if (is_crc && (value_len != 4 || !crc_is_right(header, len, at + TLV_HEAD))) {
            return false;
        }
        at += TLV_HEAD + value_len;
    }
    return true;
}

/* Bytes of the addresses of a family and protocol that a TCP connection can have; -1 for all
 * others. */
static int v2_address_len(uint8_t family)
{
    switch (family) {
    case 0x00:
        return 0;
    case 0x11:
        return V2_INET;
    case 0x21:
        return V2_INET6;
    case 0x31:
        return V2_UNIX;
    default:
        return -1;
    }
}

static void v2_source(const uint8_t *address, uint8_t family, struct proxy_header *header)
{
    if (family == 0x11) {
        header->has_source = true;
        header->source.in.sin_family = AF_INET;
        memcpy(&header->source.in.sin_addr, address, 4);
        memcpy(&header->source.in.sin_port, address + 8, 2);
    } else if (family == 0x21) {
        header->has_source = true;
        header->source.in6.sin6_family = AF_INET6;
        memcpy(&header->source.in6.sin6_addr, address, 16);
        memcpy(&header->source.in6.sin6_port, address + 32, 2);
    }
}

static enum proxy_result v2_scan(const uint8_t *data, uint32_t len, struct proxy_header *ret_header)
{
    if (len < V2_FIXED) {
        return PROXY_MORE;
    }
    uint8_t version = data[12] >> 4;
    uint8_t command = data[12] & 15;
    uint8_t family = data[13];
    int address_len = v2_address_len(family);
    struct proxy_header header = {.len = V2_FIXED + ((uint32_t)data[14] << 8 | data[15])};
    bool is_local = command == 0;
    if (version != 2 || command > 1 || header.len > PROXY_V2_MAX) {
        return PROXY_BAD;
    }
    /* LOCAL is the balancer itself: what stands behind is to be ignored, whatever its family. */
    if (!is_local && (address_len < 0 || header.len < V2_FIXED + (uint32_t)address_len)) {
        return PROXY_BAD;
    }
    if (len < header.len) {
        return PROXY_MORE;
    }
    if (!is_local) {
        if (!v2_tlvs(data, V2_FIXED + (uint32_t)address_len, header.len)) {
            return PROXY_BAD;
        }
        v2_source(data + V2_FIXED, family, &header);
    }
    *ret_header = header;
    return PROXY_OK;
}

enum proxy_result proxy_header_scan(const char *data, uint32_t len, struct proxy_header *ret_header)
{
    assert(ret_header != NULL);
    if (len == 0) {
        return PROXY_MORE;
    }
    uint32_t signature_len = len < V2_SIGNATURE ? len : V2_SIGNATURE;
    uint32_t prefix_len = (uint32_t)(len < strlen(V1_PREFIX) ? len : strlen(V1_PREFIX));
    if (memcmp(data, SIGNATURE, signature_len) == 0) {
        return v2_scan((const uint8_t *)data, len, ret_header);
    }
    if (memcmp(data, V1_PREFIX, prefix_len) == 0) {
        return v1_scan(data, len, ret_header);
    }
    return PROXY_BAD;
}
