/*
 * dns_server - see net/dns_server.h.
 */
#include "net/dns_server.h"

#include <assert.h>
#include <netinet/in.h>

void dns_servers_init(struct dns_servers *servers, const struct sockaddr_storage *addrs,
                      uint32_t count)
{
    assert(count <= DNS_SERVERS_MAX);
    *servers = (struct dns_servers){.count = count};
    for (uint32_t i = 0; i < count; i++) {
        bool is_v4 = addrs[i].ss_family == AF_INET;
        assert(is_v4 || addrs[i].ss_family == AF_INET6);
        servers->servers[i].addr = addrs[i];
        servers->servers[i].addr_len =
            is_v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    }
}

int dns_servers_pick(struct dns_servers *servers, uint32_t tried, int64_t now_ms)
{
    int best = -1;
    for (uint32_t i = 0; i < servers->count; i++) {
        struct dns_server *server = &servers->servers[i];
        if ((tried & 1u << i) != 0) {
            continue;
        }
        if (server->bad_until_ms <= now_ms) {
            best = (int)i;
            break;
        }
        if (best < 0 || server->bad_until_ms < servers->servers[best].bad_until_ms) {
            best = (int)i;
        }
    }
    if (best >= 0 && servers->servers[best].bad_until_ms > 0) {
        /* This question finds out; the others do not wait for that. */
        servers->servers[best].bad_until_ms = now_ms + DNS_SERVER_BAD_MS;
    }
    return best;
}

void dns_server_answered(struct dns_server *server)
{
    server->silences = 0;
    server->bad_until_ms = 0;
}

void dns_server_is_gone(struct dns_server *server, int64_t now_ms)
{
    server->bad_until_ms = now_ms + DNS_SERVER_BAD_MS;
}

void dns_server_was_silent(struct dns_server *server, int64_t now_ms)
{
    server->silences++;
    if (server->silences >= DNS_SERVER_SILENCES) {
        dns_server_is_gone(server, now_ms);
    }
}
