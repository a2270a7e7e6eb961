/*
 * dns - see net/dns.h.
 */
#include "net/dns.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int dns_name_parse(const char *name, uint32_t len, uint8_t out[DNS_NAME_MAX])
{
    uint32_t at = 0;
    if (len > 0 && name[len - 1] == '.') {
        len--;
    }
    while (len > 0) {
        const char *dot = memchr(name, '.', len);
        uint32_t label = dot == NULL ? len : (uint32_t)(dot - name);
        if (label == 0 || label > DNS_LABEL_MAX || at + 1 + label + 1 > DNS_NAME_MAX) {
            return -EINVAL;
        }
        out[at++] = (uint8_t)label;
        for (uint32_t i = 0; i < label; i++) {
            uint8_t c = (uint8_t)name[i];
            out[at++] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
        }
        uint32_t used = label + (dot != NULL ? 1 : 0);
        name += used;
        len -= used;
        if (dot != NULL && len == 0) {
            return -EINVAL; /* two dots at the end */
        }
    }
    out[at++] = 0;
    return (int)at;
}

int dns_name_text(const uint8_t *wire, uint32_t len, char out[DNS_TEXT_MAX])
{
    uint32_t at = 0;
    uint32_t text = 0;
    if (len > DNS_NAME_MAX) {
        return -EINVAL;
    }
    while (at < len && wire[at] != 0) {
        uint32_t label = wire[at++];
        if (label > DNS_LABEL_MAX || label >= len - at || text + label + 1 >= DNS_TEXT_MAX) {
            return -EINVAL;
        }
        if (text > 0) {
            out[text++] = '.';
        }
        for (uint32_t i = 0; i < label; i++) {
            uint8_t c = wire[at++];
            if (c <= ' ' || c > '~' || c == '.') {
                return -EINVAL;
            }
            out[text++] = (char)c;
        }
    }
    if (at + 1 != len) {
        return -EINVAL; /* no root, or something behind it */
    }
    if (text == 0) {
        out[text++] = '.';
    }
    out[text] = '\0';
    return (int)text;
}

int dns_txt_join(const struct dns_record *record, char *out, uint32_t size)
{
    uint32_t at = 0;
    uint32_t len = 0;
    while (at < record->len) {
        uint32_t part = record->data[at++];
        if (part > record->len - at) {
            return -EINVAL;
        }
        if (part > size - len) {
            return -EMSGSIZE;
        }
        memcpy(out + len, record->data + at, part);
        at += part;
        len += part;
    }
    return record->len == 0 ? -EINVAL : (int)len;
}

int dns_mx_parse(const struct dns_record *record, uint16_t *ret_preference, char out[DNS_TEXT_MAX])
{
    if (record->len < 3) {
        return -EINVAL;
    }
    *ret_preference = (uint16_t)(record->data[0] << 8 | record->data[1]);
    int len = dns_name_text(record->data + 2, record->len - 2u, out);
    return len < 0 ? len : 0;
}

int dns_ask(struct dns *dns, struct dns_query *query, const char *name, uint32_t len,
            enum dns_type type, dns_done *done)
{
    assert(query->dns == NULL);
    int result = dns_name_parse(name, len, query->name);
    if (result < 0) {
        return result;
    }
    query->name_len = (uint8_t)result;
    query->type = (uint16_t)type;
    query->done = done;
    query->dns = dns;
    dns->ops->ask(dns, query);
    return 0;
}

void dns_cancel(struct dns_query *query)
{
    struct dns *dns = query->dns;
    if (dns != NULL) {
        query->dns = NULL;
        dns->ops->cancel(dns, query);
    }
}

void dns_answer(struct dns_query *query, const struct dns_answer *answer)
{
    assert(query->dns != NULL);
    query->dns = NULL;
    query->done(query, answer);
}
