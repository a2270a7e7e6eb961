/*
 * fuzz_dns - the bytes of an answer from the domain name system: first as they are, then behind the
 * echo of a question, so that the echo does not keep the fuzzer out.
 *
 * First octet of the input: type of the question and way of the message; the rest is the message.
 * Checked: bounds of what was read, the form of every record, and that ldns alone understands all
 * that we do.
 */
#include "net/dns_message.h"

#include <assert.h>
#include <ldns/ldns.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint16_t types[] = {DNS_A, DNS_AAAA, DNS_TXT, DNS_MX, DNS_PTR, DNS_CNAME, DNS_SOA, 99};

static const uint8_t name[] = "\4host\7example\3org";

static void check_records(const struct dns_message *message, uint16_t type)
{
    const struct dns_answer *answer = &message->answer;
    uint32_t len = 0;
    assert(answer->count <= DNS_RECORDS_MAX);
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct dns_record *record = &answer->records[i];
        char text[DNS_ANSWER_MAX];
        uint16_t preference;
        assert(record->data >= message->data);
        assert(record->data + record->len <= message->data + sizeof(message->data));
        assert(dns_data_is_valid(type, record->data, record->len));
        if (type == DNS_TXT) {
            assert(dns_txt_join(record, text, sizeof(text)) >= 0);
        } else if (type == DNS_MX) {
            (void)dns_mx_parse(record, &preference, text); /* octets may not be text */
        } else if (type == DNS_PTR) {
            (void)dns_name_text(record->data, record->len, text);
        }
        len += record->len;
    }
    assert(len <= DNS_ANSWER_MAX);
}

static void check_message(const uint8_t *bytes, uint32_t len, bool is_tcp, uint16_t type)
{
    static struct dns_message message;
    dns_message_read(&message, bytes, len, is_tcp, name, sizeof(name), type);
    switch (message.kind) {
    case DNS_MESSAGE_ANSWER:
        assert((message.answer.status == DNS_OK) == (message.answer.count > 0));
        assert((message.answer.status == DNS_FAILED) == (message.answer.reason != NULL));
        check_records(&message, type);
        break;
    case DNS_MESSAGE_ALIAS:
        assert(dns_name_len(message.alias, message.alias_len) == message.alias_len);
        break;
    case DNS_MESSAGE_TROUBLE:
        assert(message.answer.status == DNS_FAILED && message.answer.reason != NULL);
        assert(message.answer.count == 0);
        break;
    case DNS_MESSAGE_TRUNCATED:
        assert(!is_tcp);
        break;
    case DNS_MESSAGE_NO_EDNS:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t dice[DNS_DICE_LEN] = {1, 2, 0x5a, 0xa5, 0x3c, 0xc3, 0x0f};
    if (size < 1 + DNS_HEADER_LEN || size > 4096) {
        return 0;
    }
    uint16_t type = types[data[0] % 8];
    bool is_tcp = (data[0] & 8) != 0;
    uint8_t ask[DNS_ASK_MAX];
    uint32_t question = DNS_HEADER_LEN + sizeof(name) + 4;
    (void)dns_message_ask(ask, name, sizeof(name), type, true, dice);
    if (dns_message_echoes(data + 1, (uint32_t)size - 1, ask, sizeof(name))) {
        check_message(data + 1, (uint32_t)size - 1, is_tcp, type);
    }
    /* The header of the input, the question, the rest of the input. */
    uint32_t len = question + (uint32_t)size - 1 - DNS_HEADER_LEN;
    uint8_t *bytes = malloc(len);
    assert(bytes != NULL);
    memcpy(bytes, data + 1, DNS_HEADER_LEN);
    memcpy(bytes, ask, 2);
    bytes[2] = (uint8_t)((bytes[2] & 0x07) | 0x80);
    bytes[4] = 0;
    bytes[5] = 1;
    memcpy(bytes + DNS_HEADER_LEN, ask + DNS_HEADER_LEN, question - DNS_HEADER_LEN);
    memcpy(bytes + question, data + 1 + DNS_HEADER_LEN, size - 1 - DNS_HEADER_LEN);
    assert(dns_message_echoes(bytes, len, ask, sizeof(name)));
    check_message(bytes, len, is_tcp, type);
    free(bytes);
    return 0;
}
