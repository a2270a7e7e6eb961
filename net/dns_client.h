/*
 * dns_client - questions to the domain name system over the loop: implements net/dns.h.
 *
 *      dns_ask() --> local zone --> cache --> the same question under way --> a server, by UDP
 *                                                                                 |        |
 *                                       no answer, or none that is one: the next server   cut:
 *                                                                                        by TCP
 *
 * Never believes an answer to something else (RFC 5452): each message goes out from a socket of its
 * own, connected, so that the kernel compares address and port of the answer; the kernel picks the
 * port at random from its range of ephemeral ports (28 000 unless the administrator says otherwise,
 * 14.8 bits); ID (16 bits) and the case of each letter in the name (0x20) are random and compared to
 * the letter. What does not match is dropped and the wait goes on; a number of such messages in a row
 * is an attack, and the question is asked over TCP. Equal questions wait for one answer, so that
 * asking often does not help to guess. A server that does not give the question back as it was asked
 * cannot be used: the reason of the failure says "only answers to something else".
 *
 * A question is over after timeout_ms x attempts x servers at the latest, CNAMEs and all. There is no
 * allocation but of lookups and cache entries from pools, and of what ldns takes while it reads one
 * answer. One thread owns a client. Nothing here blocks; nothing logs.
 */
#ifndef NET_DNS_CLIENT_H
#define NET_DNS_CLIENT_H

#include "net/dns.h"

struct dns_client;
struct dns_zone;
struct loop;
struct sockaddr_storage;

/* Fills `out` with unpredictable octets. */
typedef void dns_random(void *arg, uint8_t *out, uint32_t len);

struct dns_client_conf {
    const struct sockaddr_storage *servers; /* at most DNS_SERVERS_MAX; copied */
    uint32_t server_count;                  /* 0: nobody is asked, and all but the zone fails */
    uint32_t timeout_ms;                    /* of one message to one server */
    uint32_t attempts;                      /* rounds over all servers */
    uint32_t cache_entries;                 /* see net/dns_cache.h */
    uint32_t questions_max;                 /* under way at once; more fail at once */
    const struct dns_zone *zone;            /* NULL: none; borrowed until dns_client_destroy() */
    dns_random *random;                     /* NULL: the kernel's; a test gives its own */
    void *random_arg;
};

/* What the client needs of its loop: ops and descriptors. */
#define DNS_CLIENT_OPS(questions_max) (2 * (questions_max) + 1)
#define DNS_CLIENT_FDS(questions_max) (questions_max)

struct dns_client_stats {
    uint64_t messages;  /* sent */
    uint64_t strangers; /* answers that were to something else: dropped */
    uint64_t hits;      /* answered by the cache */
    uint64_t joined;    /* questions that waited for the answer to an equal one */
};

/* 0 or -errno. */
int dns_client_create(struct dns_client **ret_client, struct loop *loop,
                      const struct dns_client_conf *conf) __attribute__((warn_unused_result));

/* The interface of net/dns.h. */
struct dns *dns_client_dns(struct dns_client *client);

const struct dns_client_stats *dns_client_stats(const struct dns_client *client);

/*
 * The end: every question must be answered or cancelled (assert). Nothing is asked any more; turns of
 * the loop follow until the client is idle, then it can be destroyed. Nulls the pointer, accepts NULL
 * in it.
 */
void dns_client_stop(struct dns_client *client);
bool dns_client_is_idle(const struct dns_client *client);
void dns_client_destroy(struct dns_client **client);

#endif
