/*
 * dns_liar - see test/dns_liar.h.
 */
#include "test/dns_liar.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { HEADER = 12, TYPE_NS = 2 };

static const uint8_t truth[] = {192, 0, 2, 1};
static const uint8_t untruth[] = {6, 6, 6, 6};

static const char *const names[LIES] = {
    [LIE_NONE] = "truth",
    [LIE_SILENCE] = "silence",
    [LIE_ID] = "id",
    [LIE_NAME] = "name",
    [LIE_CASE] = "case",
    [LIE_TYPE] = "type",
    [LIE_NO_QUESTION] = "no_question",
    [LIE_NO_RESPONSE] = "no_response",
    [LIE_OPCODE] = "opcode",
    [LIE_EMPTY] = "empty",
    [LIE_SHORT] = "short",
    [LIE_GARBAGE] = "garbage",
    [LIE_PEER] = "peer",
    [LIE_FLOOD] = "flood",
    [LIE_THEN_TRUTH] = "lie_then_truth",
    [LIE_TWICE] = "twice",
    [LIE_OWNER] = "owner",
    [LIE_TRUNCATED] = "truncated",
    [LIE_TRUNCATED_TWICE] = "truncated_twice",
    [LIE_SERVFAIL] = "servfail",
    [LIE_REFUSED] = "refused",
    [LIE_FORMERR_TO_EDNS] = "formerr_to_edns",
    [LIE_FORMERR_BARE] = "formerr_bare",
    [LIE_FORMERR] = "formerr",
    [LIE_CNAME_LOOP] = "cname_loop",
    [LIE_CNAME_ENDLESS] = "cname_endless",
    [LIE_CNAME_ONLY] = "cname_only",
    [LIE_MALFORMED] = "malformed",
    [LIE_COUNTS] = "counts",
    [LIE_REFERRAL] = "referral",
    [LIE_NO_NAME] = "no_name",
    [LIE_NO_DATA] = "no_data",
};

const char *lie_name(enum lie lie)
{
    return names[lie];
}

bool lie_allows_truth(enum lie lie)
{
    static const enum lie honest[] = {
        LIE_NONE,      LIE_THEN_TRUTH,      LIE_TWICE,        LIE_FLOOD,
        LIE_TRUNCATED, LIE_FORMERR_TO_EDNS, LIE_FORMERR_BARE, LIE_CNAME_ONLY,
    };
    for (uint32_t i = 0; i < sizeof(honest) / sizeof(honest[0]); i++) {
        if (honest[i] == lie) {
            return true;
        }
    }
    return false;
}

/* ---- the maker ---- */

static void put(struct maker *maker, const void *data, uint32_t len)
{
    assert(len <= MAKER_MAX - maker->len);
    if (len > 0) {
        memcpy(maker->bytes + maker->len, data, len);
        maker->len += len;
    }
}

static void put_number(struct maker *maker, uint32_t value, int octets)
{
    while (octets-- > 0) {
        uint8_t octet = (uint8_t)(value >> 8 * octets);
        put(maker, &octet, 1);
    }
}

static void put_name(struct maker *maker, const char *name)
{
    uint8_t wire[DNS_NAME_MAX];
    int len = dns_name_parse(name, (uint32_t)strlen(name), wire);
    assert(len > 0);
    put(maker, wire, (uint32_t)len);
}

/* Octets of the question behind the header. */
static uint32_t question_len(const uint8_t *ask, uint32_t ask_len)
{
    uint32_t at = HEADER;
    while (at < ask_len && ask[at] != 0) {
        at += ask[at] + 1u;
    }
    assert(at + 5 <= ask_len);
    return at + 5 - HEADER;
}

void maker_begin(struct maker *maker, const uint8_t *ask, uint32_t ask_len, uint32_t rcode)
{
    static const uint8_t rest[] = {0, 1, 0, 0, 0, 0, 0, 0};
    maker->len = 0;
    put(maker, ask, 2);
    put_number(maker, 0x8180 | rcode, 2);
    put(maker, rest, sizeof(rest));
    put(maker, ask + HEADER, question_len(ask, ask_len));
}

void maker_add(struct maker *maker, enum maker_section section, const char *name, uint16_t type,
               uint32_t ttl_s, const void *data, uint32_t len)
{
    put_name(maker, name);
    put_number(maker, type, 2);
    put_number(maker, 1, 2);
    put_number(maker, ttl_s, 4);
    put_number(maker, len, 2);
    put(maker, data, len);
    uint8_t *count = maker->bytes + 6 + 2 * section;
    uint32_t records = (uint32_t)(count[0] << 8 | count[1]) + 1;
    count[0] = (uint8_t)(records >> 8);
    count[1] = (uint8_t)records;
}

void maker_add_name(struct maker *maker, enum maker_section section, const char *name,
                    uint16_t type, uint32_t ttl_s, const char *target)
{
    uint8_t wire[DNS_NAME_MAX];
    int len = dns_name_parse(target, (uint32_t)strlen(target), wire);
    assert(len > 0);
    maker_add(maker, section, name, type, ttl_s, wire, (uint32_t)len);
}

void maker_add_soa(struct maker *maker, const char *zone, uint32_t ttl_s, uint32_t minimum_s)
{
    struct maker data = {.len = 0};
    put_name(&data, "ns.invalid");
    put_name(&data, "root.invalid");
    put_number(&data, 1, 4);
    put_number(&data, 2, 4);
    put_number(&data, 3, 4);
    put_number(&data, 4, 4);
    put_number(&data, minimum_s, 4);
    maker_add(maker, MAKER_AUTHORITY, zone, DNS_SOA, ttl_s, data.bytes, data.len);
}

void ask_name(const uint8_t *ask, uint32_t ask_len, char out[DNS_TEXT_MAX])
{
    int len = dns_name_text(ask + HEADER, question_len(ask, ask_len) - 4, out);
    assert(len > 0);
    for (char *at = out; *at != '\0'; at++) {
        *at = *at >= 'A' && *at <= 'Z' ? (char)(*at + 'a' - 'A') : *at;
    }
}

/* ---- the liar ---- */

struct question {
    const uint8_t *ask;
    uint32_t len;
    bool has_edns;
    bool is_tcp;
    char name[DNS_TEXT_MAX];
};

static struct maker *new_message(struct liar *liar, const struct question *question, uint32_t rcode)
{
    assert(liar->count < LIAR_MESSAGES_MAX);
    struct maker *maker = &liar->makers[liar->count++];
    maker_begin(maker, question->ask, question->len, rcode);
    return maker;
}

static struct maker *new_address(struct liar *liar, const struct question *question,
                                 const uint8_t *address)
{
    struct maker *maker = new_message(liar, question, 0);
    maker_add(maker, MAKER_ANSWER, question->name, DNS_A, 300, address, 4);
    return maker;
}

/* A lie that has everything right but one thing. */
static void forge(struct liar *liar, const struct question *question, enum lie lie)
{
    struct maker *maker = new_address(liar, question, untruth);
    uint8_t *bytes = maker->bytes;
    if (lie == LIE_ID || lie == LIE_FLOOD || lie == LIE_THEN_TRUTH) {
        bytes[1] ^= (uint8_t)(1 + liar->count);
    } else if (lie == LIE_NAME) {
        bytes[HEADER + 1] = bytes[HEADER + 1] == 'q' ? 'r' : 'q';
    } else if (lie == LIE_CASE) {
        bytes[HEADER + 1] ^= 0x20; /* names in the tests begin with a letter */
    } else if (lie == LIE_TYPE) {
        bytes[HEADER + question_len(question->ask, question->len) - 3] ^= 1;
    } else if (lie == LIE_NO_RESPONSE) {
        bytes[2] &= 0x7f;
    } else if (lie == LIE_OPCODE) {
        bytes[2] |= 0x10;
    } else if (lie == LIE_EMPTY) {
        maker->len = 0;
    } else if (lie == LIE_SHORT) {
        maker->len = 11;
    } else if (lie == LIE_GARBAGE) {
        memset(bytes, 0xc0, maker->len);
    } else {
        assert(lie == LIE_PEER || lie == LIE_TWICE);
    }
}

/* The header says that there is no question, and the records follow it. */
static void forge_without_question(struct liar *liar, const struct question *question,
                                   uint32_t rcode, bool with_record)
{
    struct maker *maker = new_message(liar, question, rcode);
    maker->len = HEADER;
    maker->bytes[5] = 0;
    if (with_record) {
        maker_add(maker, MAKER_ANSWER, question->name, DNS_A, 300, untruth, 4);
    }
}

static void cname_lie(struct liar *liar, const struct question *question, enum lie lie)
{
    struct maker *maker = new_message(liar, question, 0);
    char target[DNS_TEXT_MAX + 8];
    if (lie == LIE_CNAME_LOOP) {
        maker_add_name(maker, MAKER_ANSWER, question->name, DNS_CNAME, 300, "b.loop.invalid");
        maker_add_name(maker, MAKER_ANSWER, "b.loop.invalid", DNS_CNAME, 300, question->name);
    } else if (lie == LIE_CNAME_ONLY && strncmp(question->name, "to-", 3) == 0) {
        maker_add(maker, MAKER_ANSWER, question->name, DNS_A, 300, truth, 4);
    } else {
        const char *prefix = lie == LIE_CNAME_ONLY ? "to-" : "x";
        (void)snprintf(target, sizeof(target), "%s%s", prefix, question->name);
        maker_add_name(maker, MAKER_ANSWER, question->name, DNS_CNAME, 100, target);
    }
}

static void broken_lie(struct liar *liar, const struct question *question, enum lie lie)
{
    struct maker *maker = new_address(liar, question, untruth);
    if (lie == LIE_MALFORMED) {
        maker->len -= 2; /* in the middle of the address */
    } else {
        maker->bytes[7] = 200;
    }
}

static void refusal(struct liar *liar, const struct question *question, enum lie lie)
{
    if (lie == LIE_SERVFAIL || lie == LIE_REFUSED) {
        (void)new_message(liar, question, lie == LIE_SERVFAIL ? 2 : 5);
    } else if (lie == LIE_FORMERR || question->has_edns) {
        if (lie == LIE_FORMERR_BARE) {
            forge_without_question(liar, question, 1, false);
        } else {
            (void)new_message(liar, question, 1);
        }
    } else {
        (void)new_address(liar, question, truth);
    }
}

static void negative(struct liar *liar, const struct question *question, enum lie lie)
{
    struct maker *maker = new_message(liar, question, lie == LIE_NO_NAME ? 3 : 0);
    if (lie == LIE_REFERRAL) {
        maker_add_name(maker, MAKER_AUTHORITY, "", TYPE_NS, 300, "ns.invalid");
    } else {
        maker_add_soa(maker, "", 600, 60);
    }
}

static void honest(struct liar *liar, const struct question *question, enum lie lie)
{
    (void)lie;
    (void)new_address(liar, question, truth);
}

static void silent(struct liar *liar, const struct question *question, enum lie lie)
{
    (void)liar;
    (void)question;
    (void)lie;
}

static void no_question(struct liar *liar, const struct question *question, enum lie lie)
{
    (void)lie;
    forge_without_question(liar, question, 0, true);
}

static void several(struct liar *liar, const struct question *question, enum lie lie)
{
    if (lie == LIE_TWICE || (lie == LIE_FLOOD && question->is_tcp)) {
        (void)new_address(liar, question, truth);
    }
    int forged = lie != LIE_FLOOD ? 1 : question->is_tcp ? 0 : LIAR_MESSAGES_MAX;
    while (forged-- > 0) {
        forge(liar, question, lie);
    }
    if (lie == LIE_THEN_TRUTH) {
        (void)new_address(liar, question, truth);
    }
}

static void other_owner(struct liar *liar, const struct question *question, enum lie lie)
{
    (void)lie;
    maker_add(new_message(liar, question, 0), MAKER_ANSWER, "other.invalid", DNS_A, 300, untruth,
              4);
}

static void truncated(struct liar *liar, const struct question *question, enum lie lie)
{
    struct maker *maker = new_address(liar, question, question->is_tcp ? truth : untruth);
    if (!question->is_tcp || lie == LIE_TRUNCATED_TWICE) {
        maker->bytes[2] |= 2;
    }
}

void liar_answer(struct liar *liar, enum lie lie, bool is_tcp, const uint8_t *ask, uint32_t ask_len)
{
    static void (*const ways[LIES])(struct liar *, const struct question *, enum lie) = {
        [LIE_NONE] = honest,
        [LIE_SILENCE] = silent,
        [LIE_NO_QUESTION] = no_question,
        [LIE_FLOOD] = several,
        [LIE_THEN_TRUTH] = several,
        [LIE_TWICE] = several,
        [LIE_OWNER] = other_owner,
        [LIE_TRUNCATED] = truncated,
        [LIE_TRUNCATED_TWICE] = truncated,
        [LIE_SERVFAIL] = refusal,
        [LIE_REFUSED] = refusal,
        [LIE_FORMERR_TO_EDNS] = refusal,
        [LIE_FORMERR_BARE] = refusal,
        [LIE_FORMERR] = refusal,
        [LIE_CNAME_LOOP] = cname_lie,
        [LIE_CNAME_ENDLESS] = cname_lie,
        [LIE_CNAME_ONLY] = cname_lie,
        [LIE_MALFORMED] = broken_lie,
        [LIE_COUNTS] = broken_lie,
        [LIE_REFERRAL] = negative,
        [LIE_NO_NAME] = negative,
        [LIE_NO_DATA] = negative,
    };
    struct question question = {
        .ask = ask,
        .len = ask_len,
        .has_edns = ask[11] == 1,
        .is_tcp = is_tcp,
    };
    assert(lie < LIES);
    ask_name(ask, ask_len, question.name);
    liar->count = 0;
    (ways[lie] != NULL ? ways[lie] : forge)(liar, &question, lie);
    for (uint32_t i = 0; i < liar->count; i++) {
        liar->messages[i] = (struct liar_message){
            .from_other = lie == LIE_PEER,
            .len = liar->makers[i].len,
            .bytes = liar->makers[i].bytes,
        };
    }
}
