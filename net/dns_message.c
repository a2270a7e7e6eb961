/*
 * dns_message - see net/dns_message.h.
 *
 * The checks go from cheap to dear: header, echo and shape on the bytes as they came, then ldns, then
 * the walk along the chain.
 */
#include "net/dns_message.h"

#include <assert.h>
#include <errno.h>
#include <ldns/ldns.h>
#include <string.h>

#include "net/dns_shape.h"

enum {
    DNS_CLASS_IN = 1,
    DNS_TYPE_NS = 2,
    DNS_TYPE_OPT = 41,
    DNS_QUESTION_FIXED = 4, /* type and class */
    DNS_SOA_MINIMUM = 6,    /* the field of that number */
    DNS_RCODE_BADVERS = 16,
};

/* The name a chain of CNAMEs has come to. */
struct dns_chain {
    uint32_t count;
    uint32_t ttl_s;
    uint8_t len;
    uint8_t name[DNS_NAME_MAX];
};

static const char malformed[] = "malformed answer";

/* ---- names and data ---- */

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

/* Lengths of labels are below 'A': the whole name can be folded. */
void dns_name_lower(uint8_t *out, const uint8_t *name, uint32_t len)
{
    assert(len <= DNS_NAME_MAX);
    for (uint32_t i = 0; i < len; i++) {
        out[i] = lower(name[i]);
    }
}

static bool name_is(const uint8_t *a, const uint8_t *b, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (lower(a[i]) != lower(b[i])) {
            return false;
        }
    }
    return true;
}

bool dns_name_is_below(const uint8_t *name, uint32_t len, const uint8_t *above, uint32_t above_len)
{
    while (len > above_len) {
        uint32_t label = name[0] + 1u;
        name += label;
        len -= label;
    }
    return len == above_len && name_is(name, above, len);
}

uint32_t dns_name_len(const uint8_t *data, uint32_t len)
{
    uint32_t at = 0;
    while (at < len && at < DNS_NAME_MAX) {
        uint8_t label = data[at++];
        if (label == 0) {
            return at;
        }
        if (label > DNS_LABEL_MAX) {
            return 0;
        }
        at += label;
    }
    return 0;
}

static bool strings_are_valid(const uint8_t *data, uint32_t len)
{
    uint32_t at = 0;
    while (at < len) {
        at += data[at] + 1u;
    }
    return len > 0 && at == len;
}

static bool soa_is_valid(const uint8_t *data, uint32_t len)
{
    uint32_t server = dns_name_len(data, len);
    uint32_t mailbox = dns_name_len(data + server, len - server);
    return server > 0 && mailbox > 0 && len == server + mailbox + 20;
}

bool dns_data_is_valid(uint16_t type, const uint8_t *data, uint32_t len)
{
    switch (type) {
    case DNS_A:
        return len == 4;
    case DNS_AAAA:
        return len == 16;
    case DNS_CNAME:
    case DNS_PTR:
        return len > 0 && dns_name_len(data, len) == len;
    case DNS_MX:
        return len > 2 && dns_name_len(data + 2, len - 2) == len - 2;
    case DNS_TXT:
        return strings_are_valid(data, len);
    case DNS_SOA:
        return soa_is_valid(data, len);
    default:
        return true;
    }
}

/* ---- the question ---- */

static void put_u16(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

uint32_t dns_message_ask(uint8_t out[DNS_ASK_MAX], const uint8_t *name, uint8_t name_len,
                         uint16_t type, bool edns, const uint8_t dice[DNS_DICE_LEN])
{
    assert(name_len > 0);
    memset(out, 0, DNS_ASK_MAX);
    memcpy(out, dice, 2);
    out[2] = 1; /* recursion desired */
    put_u16(out + 4, 1);
    uint32_t at = DNS_HEADER_LEN;
    for (uint32_t i = 0; i < name_len; i++) {
        bool is_letter = name[i] >= 'a' && name[i] <= 'z';
        bool is_upper = is_letter && (dice[2 + i / 8] >> i % 8 & 1) != 0;
        out[at++] = is_upper ? (uint8_t)(name[i] + 'A' - 'a') : name[i];
    }
    put_u16(out + at, type);
    put_u16(out + at + 2, DNS_CLASS_IN);
    at += DNS_QUESTION_FIXED;
    if (edns) { /* RFC 6891: root, OPT, our size, no extended code, version or flags, no options */
        put_u16(out + 10, 1);
        put_u16(out + at + 1, DNS_TYPE_OPT);
        put_u16(out + at + 3, DNS_EDNS_SIZE);
        at += 11;
    }
    assert(at <= DNS_ASK_MAX);
    return at;
}

/* ---- the header of an answer ---- */

static uint32_t records_claimed(const uint8_t *bytes)
{
    return (uint32_t)LDNS_ANCOUNT(bytes) + LDNS_NSCOUNT(bytes) + LDNS_ARCOUNT(bytes);
}

static bool is_not_understood(uint32_t rcode)
{
    return rcode == LDNS_RCODE_FORMERR || rcode == LDNS_RCODE_NOTIMPL;
}

bool dns_message_echoes(const uint8_t *bytes, uint32_t len, const uint8_t *ask, uint8_t name_len)
{
    uint32_t question = DNS_HEADER_LEN + name_len + DNS_QUESTION_FIXED;
    if (len < DNS_HEADER_LEN || memcmp(bytes, ask, 2) != 0 || !LDNS_QR_WIRE(bytes) ||
        LDNS_OPCODE_WIRE(bytes) != LDNS_PACKET_QUERY) {
        return false;
    }
    if (LDNS_QDCOUNT(bytes) == 0) {
        return is_not_understood(LDNS_RCODE_WIRE(bytes)) && records_claimed(bytes) <= 1;
    }
    return LDNS_QDCOUNT(bytes) == 1 && len >= question &&
           memcmp(bytes + DNS_HEADER_LEN, ask + DNS_HEADER_LEN, question - DNS_HEADER_LEN) == 0;
}

static void say_trouble(struct dns_message *message, const char *reason)
{
    message->kind = DNS_MESSAGE_TROUBLE;
    message->answer = (struct dns_answer){.status = DNS_FAILED, .reason = reason};
}

static void say_failed(struct dns_message *message, const char *reason)
{
    say_trouble(message, reason);
    message->kind = DNS_MESSAGE_ANSWER;
}

/* What the code says, beyond "no error" and "no such name". False: nothing, read on. */
static bool read_rcode(struct dns_message *message, uint32_t rcode)
{
    if (rcode == LDNS_RCODE_NOERROR || rcode == LDNS_RCODE_NXDOMAIN) {
        return false;
    }
    if (is_not_understood(rcode) || rcode == DNS_RCODE_BADVERS) {
        message->kind = DNS_MESSAGE_NO_EDNS;
    } else if (rcode == LDNS_RCODE_SERVFAIL) {
        say_trouble(message, "server failure");
    } else if (rcode == LDNS_RCODE_REFUSED) {
        say_trouble(message, "refused by the server");
    } else {
        say_trouble(message, "error code of the server");
    }
    return true;
}

/* ---- the sections ---- */

static bool rr_is(const ldns_rr *rr, uint16_t type)
{
    return ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN && (uint16_t)ldns_rr_get_type(rr) == type;
}

static bool rr_is_at(const ldns_rr *rr, uint16_t type, const struct dns_chain *chain)
{
    const ldns_rdf *owner = ldns_rr_owner(rr);
    return rr_is(rr, type) && ldns_rdf_size(owner) == chain->len &&
           name_is(ldns_rdf_data(owner), chain->name, chain->len);
}

/* RFC 2181, 8: with the highest bit set it means 0. */
static uint32_t rr_ttl_s(const ldns_rr *rr)
{
    uint32_t ttl_s = ldns_rr_ttl(rr);
    return ttl_s > INT32_MAX ? 0 : ttl_s;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Copies the fields one behind the other, which is the wire form with names uncompressed. They are
 * put in lower case: where they were compressed, they show the random case of our question.
 * 0, -EMSGSIZE or -EBADMSG. */
static int add_record(struct dns_message *message, const ldns_rr *rr, uint16_t type)
{
    if (message->answer.count == DNS_RECORDS_MAX) {
        return 0;
    }
    uint8_t *data = message->data + message->data_len;
    uint32_t len = 0;
    for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
        const ldns_rdf *field = ldns_rr_rdf(rr, i);
        size_t size = ldns_rdf_size(field);
        if (size > DNS_ANSWER_MAX - message->data_len - len) {
            return -EMSGSIZE;
        }
        if (ldns_rdf_get_type(field) == LDNS_RDF_TYPE_DNAME) {
            dns_name_lower(data + len, ldns_rdf_data(field), (uint32_t)size);
        } else if (size > 0) {
            memcpy(data + len, ldns_rdf_data(field), size);
        }
        len += (uint32_t)size;
    }
    if (!dns_data_is_valid(type, data, len)) {
        return -EBADMSG;
    }
    message->data_len += len;
    message->records[message->answer.count++] =
        (struct dns_record){.data = data, .len = (uint16_t)len};
    return 0;
}

/* All records of the type at the end of the chain. 0 or as add_record(). */
static int add_records(struct dns_message *message, const ldns_rr_list *answers, uint16_t type,
                       struct dns_chain *chain)
{
    for (size_t i = 0; i < ldns_rr_list_rr_count(answers); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(answers, i);
        if (rr_is_at(rr, type, chain)) {
            int result = add_record(message, rr, type);
            if (result < 0) {
                return result;
            }
            chain->ttl_s = min_u32(chain->ttl_s, rr_ttl_s(rr));
        }
    }
    return 0;
}

/* One CNAME further. False: there is none here. */
static bool chain_follow(struct dns_chain *chain, const ldns_rr_list *answers)
{
    for (size_t i = 0; i < ldns_rr_list_rr_count(answers); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(answers, i);
        if (rr_is_at(rr, DNS_CNAME, chain) && ldns_rr_rd_count(rr) == 1) {
            const ldns_rdf *target = ldns_rr_rdf(rr, 0);
            chain->len = (uint8_t)ldns_rdf_size(target);
            dns_name_lower(chain->name, ldns_rdf_data(target), chain->len);
            chain->ttl_s = min_u32(chain->ttl_s, rr_ttl_s(rr));
            chain->count++;
            return true;
        }
    }
    return false;
}

/* The first record of this type in the authority section whose owner is the name or above it. */
static const ldns_rr *find_authority(const ldns_pkt *packet, uint16_t type,
                                     const struct dns_chain *chain)
{
    const ldns_rr_list *list = ldns_pkt_authority(packet);
    for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(list, i);
        const ldns_rdf *owner = ldns_rr_owner(rr);
        if (rr_is(rr, type) && dns_name_is_below(chain->name, chain->len, ldns_rdf_data(owner),
                                                 (uint32_t)ldns_rdf_size(owner))) {
            return rr;
        }
    }
    return NULL;
}

/* How long "no" may be kept: RFC 2308, 5. Without a SOA, not at all. */
static uint32_t negative_ttl_s(const ldns_rr *soa, const struct dns_chain *chain)
{
    if (soa == NULL || ldns_rr_rd_count(soa) <= DNS_SOA_MINIMUM) {
        return 0;
    }
    uint32_t minimum_s = ldns_rdf2native_int32(ldns_rr_rdf(soa, DNS_SOA_MINIMUM));
    return min_u32(min_u32(rr_ttl_s(soa), minimum_s), chain->ttl_s);
}

/* No records of the type at the end of the chain: what does that mean? */
static void read_negative(struct dns_message *message, const ldns_pkt *packet,
                          const struct dns_chain *chain)
{
    const ldns_rr *soa = find_authority(packet, DNS_SOA, chain);
    struct dns_answer *answer = &message->answer;
    answer->ttl_s = negative_ttl_s(soa, chain);
    if (ldns_pkt_get_rcode(packet) == LDNS_RCODE_NXDOMAIN) {
        answer->status = DNS_NO_NAME; /* RFC 6604: it speaks of the end of the chain */
    } else if (soa == NULL && chain->count > 0) {
        message->kind = DNS_MESSAGE_ALIAS;
        message->alias_len = chain->len;
        memcpy(message->alias, chain->name, chain->len);
        answer->ttl_s = chain->ttl_s;
    } else if (soa == NULL && !ldns_pkt_aa(packet) &&
               find_authority(packet, DNS_TYPE_NS, chain) != NULL) {
        say_trouble(message, "the server only refers to others");
    } else {
        answer->status = DNS_NO_DATA;
    }
}

static void read_sections(struct dns_message *message, const ldns_pkt *packet,
                          struct dns_chain *chain, uint16_t type)
{
    const ldns_rr_list *answers = ldns_pkt_answer(packet);
    int result = add_records(message, answers, type, chain);
    while (result == 0 && message->answer.count == 0 && chain_follow(chain, answers)) {
        if (chain->count > DNS_CHAIN_MAX) {
            say_failed(message, "too many CNAMEs");
            return;
        }
        result = add_records(message, answers, type, chain);
    }
    bool is_contradiction =
        message->answer.count > 0 && ldns_pkt_get_rcode(packet) != LDNS_RCODE_NOERROR;
    if (result == -EMSGSIZE) {
        say_failed(message, "answer too large");
    } else if (result < 0 || is_contradiction) {
        say_trouble(message, malformed);
    } else if (message->answer.count == 0) {
        read_negative(message, packet, chain);
    } else {
        message->answer.ttl_s = chain->ttl_s;
    }
}

void dns_message_read(struct dns_message *message, const uint8_t *bytes, uint32_t len, bool is_tcp,
                      const uint8_t *name, uint8_t name_len, uint16_t type)
{
    assert(len >= DNS_HEADER_LEN);
    assert(len <= DNS_MESSAGE_MAX);
    struct dns_chain chain = {.ttl_s = UINT32_MAX, .len = name_len};
    memcpy(chain.name, name, name_len);
    message->kind = DNS_MESSAGE_ANSWER;
    message->answer = (struct dns_answer){.status = DNS_OK, .records = message->records};
    message->data_len = 0;
    if (LDNS_TC_WIRE(bytes) && !is_tcp) {
        message->kind = DNS_MESSAGE_TRUNCATED;
        return;
    }
    if (read_rcode(message, LDNS_RCODE_WIRE(bytes))) {
        return;
    }
    ldns_pkt *packet = NULL;
    if (LDNS_TC_WIRE(bytes) || records_claimed(bytes) > DNS_MESSAGE_RECORDS_MAX ||
        !dns_shape_is_good(bytes, len) || ldns_wire2pkt(&packet, bytes, len) != LDNS_STATUS_OK) {
        say_trouble(message, malformed);
        return;
    }
    uint32_t extended = (uint32_t)ldns_pkt_edns_extended_rcode(packet) << 4;
    if (!read_rcode(message, extended | ldns_pkt_get_rcode(packet))) {
        read_sections(message, packet, &chain, type);
    }
    ldns_pkt_free(packet);
}
