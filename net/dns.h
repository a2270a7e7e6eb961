/*
 * dns - questions to the domain name system and their answers, as the verifiers see them.
 *
 * An interface: the client over the loop (net/dns_client.h) implements it, and so does a table in
 * the tests. One thread owns a `struct dns` and all questions put to it.
 *
 * The owner embeds a `struct dns_query`. dns_ask() starts it and `done` follows exactly once, never
 * inside the call; after dns_cancel() it never comes. An answer is only valid inside `done`: what is
 * needed later is copied there. All bytes in it are the peer's: they may be anything that fits their
 * form, and are escaped before they reach a log, a reply or a header.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <stdbool.h>
#include <stdint.h>

#include "net/list.h"

enum dns_type {
    DNS_A = 1,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
};

enum {
    DNS_NAME_MAX = 255, /* octets of a name in wire form, the root's included (RFC 1035, 2.3.4) */
    DNS_LABEL_MAX = 63,
    DNS_TEXT_MAX = 256,    /* a name as text, with its NUL */
    DNS_RECORDS_MAX = 64,  /* of one answer; more are left out */
    DNS_ANSWER_MAX = 8192, /* octets of record data in one answer; a larger one is DNS_FAILED */
};

enum dns_status {
    DNS_OK,      /* at least one record */
    DNS_NO_DATA, /* the name exists, records of this type do not */
    DNS_NO_NAME, /* the name does not exist (RFC 8020: nor anything below it) */
    DNS_FAILED,  /* no answer in time, SERVFAIL, malformed, ...: nothing is known */
};

/* Record data in wire form, names in it uncompressed and in lower case. */
struct dns_record {
    const uint8_t *data;
    uint16_t len;
};

struct dns_answer {
    enum dns_status status;
    const char *reason; /* of DNS_FAILED; static text */
    uint32_t ttl_s;     /* how much longer it may be kept */
    uint32_t count;
    const struct dns_record *records; /* of the type asked for, CNAMEs followed */
};

struct dns;
struct dns_query;
typedef void dns_done(struct dns_query *query, const struct dns_answer *answer);

struct dns_query {
    struct list_node node; /* the implementation's */
    struct dns *dns;       /* NULL when nothing is asked */
    dns_done *done;
    uint16_t type;
    uint8_t name_len;
    uint8_t name[DNS_NAME_MAX]; /* wire form, lower case */
};

struct dns_ops {
    void (*ask)(struct dns *dns, struct dns_query *query);
    void (*cancel)(struct dns *dns, struct dns_query *query);
};

/* The first member of what implements it. */
struct dns {
    const struct dns_ops *ops;
};

/*
 * Asks for records of `type` at `name` (text, `len` octets: labels with dots between them, one dot at
 * the end tolerated; every other octet stands for itself). 0 and `done` follows; -EINVAL when it is
 * no name (empty label, label over 63 or name over 255 octets): `done` does not come.
 */
int dns_ask(struct dns *dns, struct dns_query *query, const char *name, uint32_t len,
            enum dns_type type, dns_done *done) __attribute__((warn_unused_result));

/* Harmless when nothing is asked. */
void dns_cancel(struct dns_query *query);

static inline bool dns_is_asking(const struct dns_query *query)
{
    return query->dns != NULL;
}

/* For implementations: the question is answered. Clears query->dns, then calls `done`. */
void dns_answer(struct dns_query *query, const struct dns_answer *answer);

/* ---- reading records; every function checks the form and refuses what does not have it ---- */

/* Text to wire form, in lower case. The length, or -EINVAL. */
int dns_name_parse(const char *name, uint32_t len, uint8_t out[DNS_NAME_MAX]);

/* Wire form to text without a dot at the end (the root is "."), with NUL. The length, or -EINVAL:
 * not a name, or one with an octet in it that is no visible ASCII, or a dot in a label. */
int dns_name_text(const uint8_t *wire, uint32_t len, char out[DNS_TEXT_MAX]);

/* The strings of a TXT record, joined without anything between. The length, or -EINVAL (bad form)
 * or -EMSGSIZE. */
int dns_txt_join(const struct dns_record *record, char *out, uint32_t size);

/* The exchange of an MX record as text, and its preference. 0 or -EINVAL. */
int dns_mx_parse(const struct dns_record *record, uint16_t *ret_preference, char out[DNS_TEXT_MAX]);

#endif
