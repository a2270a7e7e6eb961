/*
 * dns_shape - see net/dns_shape.h.
 *
 * Offsets instead of pointers; 0, where no record and no name can be, says that the shape is bad.
 */
#include "net/dns_shape.h"

#include "net/dns_message.h"

enum {
    DNS_TYPE_NS = 2,
    DNS_RECORD_FIXED = 10, /* type, class, TTL, length */
    DNS_SOA_NUMBERS = 20,
    DNS_POINTER = 0xc0,
};

struct shape {
    const uint8_t *bytes;
    uint32_t len;
};

static uint32_t get_u16(const struct shape *shape, uint32_t at)
{
    return (uint32_t)(shape->bytes[at] << 8 | shape->bytes[at + 1]);
}

/* Behind the name at `at`. */
static uint32_t name_end(const struct shape *shape, uint32_t at)
{
    uint32_t end = 0;
    uint32_t octets = 0;
    uint32_t pointers = 0;
    uint32_t before = at; /* where the next pointer must lead: before this */
    while (at < shape->len) {
        uint32_t label = shape->bytes[at];
        if (label >= DNS_POINTER) {
            if (shape->len - at < 2 || ++pointers > DNS_POINTERS_MAX) {
                return 0;
            }
            end = end == 0 ? at + 2 : end;
            at = get_u16(shape, at) & 0x3fff;
            if (at >= before || at < DNS_HEADER_LEN) {
                return 0;
            }
            before = at;
            continue;
        }
        octets += label + 1;
        at += label + 1;
        if (label > DNS_LABEL_MAX || octets > DNS_NAME_MAX) {
            return 0;
        }
        if (label == 0) {
            return end == 0 ? at : end;
        }
    }
    return 0;
}

/* Behind two names. */
static uint32_t names_end(const struct shape *shape, uint32_t at)
{
    at = name_end(shape, at);
    return at == 0 ? 0 : name_end(shape, at);
}

static uint32_t strings_end(const struct shape *shape, uint32_t at, uint32_t end)
{
    if (at == end) {
        return 0; /* there must be one */
    }
    while (at < end) {
        at += shape->bytes[at] + 1u;
    }
    return at;
}

/* Where data of this type ends, going by what is in it; it must be at `end`. */
static bool data_fits(const struct shape *shape, uint32_t type, uint32_t at, uint32_t end)
{
    switch (type) {
    case DNS_A:
        return end - at == 4;
    case DNS_AAAA:
        return end - at == 16;
    case DNS_TYPE_NS:
    case DNS_CNAME:
    case DNS_PTR:
        return at < end && name_end(shape, at) == end;
    case DNS_MX:
        return end - at > 2 && name_end(shape, at + 2) == end;
    case DNS_SOA:
        return end - at > DNS_SOA_NUMBERS && names_end(shape, at) == end - DNS_SOA_NUMBERS;
    case DNS_TXT:
        return strings_end(shape, at, end) == end;
    default:
        return true;
    }
}

/* Behind the record at `at`. */
static uint32_t record_end(const struct shape *shape, uint32_t at)
{
    at = name_end(shape, at);
    if (at == 0 || shape->len - at < DNS_RECORD_FIXED) {
        return 0;
    }
    uint32_t type = get_u16(shape, at);
    uint32_t data_len = get_u16(shape, at + 8);
    at += DNS_RECORD_FIXED;
    if (data_len > shape->len - at || !data_fits(shape, type, at, at + data_len)) {
        return 0;
    }
    return at + data_len;
}

bool dns_shape_is_good(const uint8_t *bytes, uint32_t len)
{
    struct shape shape = {.bytes = bytes, .len = len};
    if (len < DNS_HEADER_LEN || get_u16(&shape, 4) != 1) {
        return false;
    }
    uint32_t at = name_end(&shape, DNS_HEADER_LEN);
    if (at == 0 || len - at < 4) {
        return false;
    }
    at += 4;
    uint32_t records = get_u16(&shape, 6) + get_u16(&shape, 8) + get_u16(&shape, 10);
    while (records > 0 && at != 0) {
        at = record_end(&shape, at);
        records--;
    }
    return at != 0;
}
