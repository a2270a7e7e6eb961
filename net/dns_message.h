/*
 * dns_message - one question as bytes, and the bytes of an answer as records.
 *
 * Pure: no sockets, no clock. The wire format of answers is read by ldns (ldns_wire2pkt and nothing
 * of its text functions), after size, counts, header, echo of the question and shape were checked on
 * the bare bytes; the packet ldns builds lives for the length of one call.
 *
 * An answer is believed in one way only: from the name asked for, along CNAMEs, to records of the
 * type asked for. Whatever else a message holds is not looked at, a negative answer's SOA aside.
 */
#ifndef NET_DNS_MESSAGE_H
#define NET_DNS_MESSAGE_H

#include "net/dns.h"

enum {
    DNS_HEADER_LEN = 12,
    DNS_EDNS_SIZE = 1232,          /* what we say we can take in one datagram */
    DNS_MESSAGE_MAX = 16384,       /* of an answer, by UDP or TCP */
    DNS_MESSAGE_RECORDS_MAX = 256, /* in all sections; a message with more is malformed */
    DNS_CHAIN_MAX = 16,            /* CNAMEs in a row */
    DNS_ASK_MAX = DNS_HEADER_LEN + DNS_NAME_MAX + 4 + 11, /* with the OPT record */
    DNS_DICE_LEN = 2 + DNS_NAME_MAX / 8 + 1,              /* random octets a question takes */
};

enum dns_message_kind {
    DNS_MESSAGE_ANSWER,    /* `answer` is it; DNS_FAILED: another server would say the same */
    DNS_MESSAGE_ALIAS,     /* a chain of CNAMEs and not what is at its end: ask for `alias` */
    DNS_MESSAGE_TRUNCATED, /* ask again over TCP */
    DNS_MESSAGE_NO_EDNS,   /* the server does not understand: ask again without EDNS */
    DNS_MESSAGE_TROUBLE,   /* of this server: answer.reason */
};

struct dns_message {
    enum dns_message_kind kind;
    struct dns_answer answer; /* ttl_s as the message has it; 0: not to be kept */
    uint8_t alias_len;
    uint8_t alias[DNS_NAME_MAX]; /* lower case */
    struct dns_record records[DNS_RECORDS_MAX];
    uint32_t data_len;
    uint8_t data[DNS_ANSWER_MAX];
};

/* Writes the question; `dice` are unpredictable octets: they choose the ID and the case of every
 * letter in the name (0x20). The length. */
uint32_t dns_message_ask(uint8_t out[DNS_ASK_MAX], const uint8_t *name, uint8_t name_len,
                         uint16_t type, bool edns, const uint8_t dice[DNS_DICE_LEN]);

/*
 * Whether these bytes answer exactly this question: ID, QR, opcode and the question to the letter.
 * A server that does not understand our message may leave the question out; that counts as well, for
 * it can only make us ask again in another form.
 */
bool dns_message_echoes(const uint8_t *bytes, uint32_t len, const uint8_t *ask, uint8_t name_len);

/* Reads an answer that echoes a question for `name` (lower case) and `type`. */
void dns_message_read(struct dns_message *message, const uint8_t *bytes, uint32_t len, bool is_tcp,
                      const uint8_t *name, uint8_t name_len, uint16_t type);

/* ---- shared with the cache and the zone ---- */

/* Names in wire form, at most DNS_NAME_MAX octets. */
void dns_name_lower(uint8_t *out, const uint8_t *name, uint32_t len);
bool dns_name_is_below(const uint8_t *name, uint32_t len, const uint8_t *above, uint32_t above_len);

/* The octets of the name at the beginning of `data`, uncompressed; 0 when there is none. */
uint32_t dns_name_len(const uint8_t *data, uint32_t len);

/* Whether record data of the types of net/dns.h has their form; any other type has. */
bool dns_data_is_valid(uint16_t type, const uint8_t *data, uint32_t len);

#endif
