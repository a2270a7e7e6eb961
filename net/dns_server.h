/*
 * dns_server - the configured name servers, and what was learnt about each.
 *
 * The first in the configured order that works is asked. A server that refuses contact, or did not
 * answer several questions in a row, is bad for a while: it is asked only when no other is left, and
 * after that while one single question finds out whether it is back.
 */
#ifndef NET_DNS_SERVER_H
#define NET_DNS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    DNS_SERVERS_MAX = 8,
    DNS_SERVER_SILENCES = 3, /* unanswered questions in a row that make it bad */
    DNS_SERVER_BAD_MS = 5000,
    DNS_SERVER_PLAIN_MS = 600000, /* how long we remember that it does not know EDNS */
};

struct dns_server {
    struct sockaddr_storage addr;
    socklen_t addr_len;
    uint32_t silences;
    int64_t bad_until_ms; /* 0: it is good */
    int64_t plain_until_ms;
};

struct dns_servers {
    uint32_t count;
    struct dns_server servers[DNS_SERVERS_MAX];
};

/* AF_INET and AF_INET6 addresses; copied. */
void dns_servers_init(struct dns_servers *servers, const struct sockaddr_storage *addrs,
                      uint32_t count);

/* The server to ask next, or -1. `tried`: bits of those not to take. */
int dns_servers_pick(struct dns_servers *servers, uint32_t tried, int64_t now_ms);

void dns_server_answered(struct dns_server *server);
/* Nothing came in time. */
void dns_server_was_silent(struct dns_server *server, int64_t now_ms);
/* It is certain that nobody is there. */
void dns_server_is_gone(struct dns_server *server, int64_t now_ms);

#endif
