/*
 * config_dns - see core/config_dns.h.
 */
#include "core/config_dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

enum { DNS_PORT = 53, RESOLV_LINES_MAX = 1000 };

static bool parse_port(const char *text, uint16_t *ret_port)
{
    int64_t port;
    if (config_parse_number(text, (struct config_range){1, 65535}, &port) < 0) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

/* Host and port of "HOST", "HOST:PORT" or "[HOST]:PORT"; an IPv6 address without brackets has no port. */
static bool split(const char *text, char *host, size_t size, uint16_t *ret_port)
{
    const char *colon = strchr(text, ':');
    size_t len = strlen(text);
    const char *port = NULL;
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':')) {
            return false;
        }
        port = end[1] == ':' ? end + 2 : NULL;
        len = (size_t)(end - text) - 1;
        text++;
    } else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
        port = colon + 1;
        len = (size_t)(colon - text);
    }
    if (len >= size) {
        return false;
    }
    memcpy(host, text, len);
    host[len] = '\0';
    *ret_port = DNS_PORT;
    return port == NULL || parse_port(port, ret_port);
}

static bool parse_server(const char *text, struct sockaddr_storage *ret_server)
{
    char host[INET6_ADDRSTRLEN];
    uint16_t port;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (!split(text, host, sizeof(host), &port)) {
        return false;
    }
    memset(ret_server, 0, sizeof(*ret_server));
    if (inet_pton(AF_INET, host, &in.sin_addr) == 1) {
        in.sin_port = htons(port);
        memcpy(ret_server, &in, sizeof(in));
        return true;
    }
    in6.sin6_port = htons(port);
    memcpy(ret_server, &in6, sizeof(in6));
    return inet_pton(AF_INET6, host, &((struct sockaddr_in6 *)ret_server)->sin6_addr) == 1;
}

int config_add_dns_server(struct config_dns *dns, const char *text, struct config_why *why)
{
    if (text[0] == '\0') {
        return 0;
    }
    if (dns->server_count == DNS_SERVERS_MAX) {
        config_why_set(why, "there are too many servers; write at most %d", DNS_SERVERS_MAX);
        return -EINVAL;
    }
    if (!parse_server(text, &dns->servers[dns->server_count])) {
        config_why_set(why,
                       "'%s' is not the address of a server; write 192.0.2.1, 192.0.2.1:53 or "
                       "[2001:db8::1]:53",
                       text);
        return -EINVAL;
    }
    dns->server_count++;
    return 0;
}

void config_read_resolv_conf(struct config_dns *dns, FILE *stream)
{
    char line[512];
    for (int i = 0; i < RESOLV_LINES_MAX && dns->server_count < DNS_SERVERS_MAX &&
                    fgets(line, sizeof(line), stream) != NULL;
         i++) {
        char word[16];
        char host[64];
        if (sscanf(line, "%15s %63s", word, host) == 2 && strcmp(word, "nameserver") == 0 &&
            parse_server(host, &dns->servers[dns->server_count])) {
            dns->server_count++;
        }
    }
}
