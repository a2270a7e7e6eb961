/*
 * config_address - texts into socket addresses (contract: core/config_address.h).
 *
 * IPv4 is read strictly (inet_pton): "127.1" and "0x7f.1" look like slips of the pen here, not like
 * addresses.
 */
#include "core/config_address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

enum { PORT_MAX = 65535, HOST_MAX = 253, WEIGHT_MAX = 1000, CONNECTIONS_MAX = 1000000 };

/* HOST:PORT or [HOST]:PORT, taken apart. */
struct host_port {
    char host[CONFIG_TEXT_MAX];
    bool is_bracketed;
    uint16_t port;
};

static void set_host(struct config_server *server);
static int set_server_option(struct config_server *server, const char *word,
                             struct config_why *why);
static int parse_unix(const char *path, struct config_address *address, struct config_why *why);
static int split(const char *text, struct host_port *parts, struct config_why *why);
static int resolve(const struct host_port *parts, enum config_names names,
                   struct config_address *address, struct config_why *why);
static int resolve_literal(const struct host_port *parts, struct config_address *address);
static int look_up(const char *host, int family, int flags, struct addrinfo **ret_list);
static int look_up_first(const char *host, int family, int flags, struct config_address *address);
static void set_unresolved(struct config_why *why, const char *host, const char *reason);
static bool is_same(const struct config_address *a, const struct config_address *b);
static bool is_name(const char *host);
static void set_address(struct config_address *address, const struct addrinfo *info);
static bool is_any(const struct config_address *address);
static void finish(struct config_address *address, uint16_t port);

int config_address_parse(const char *text, enum config_address_use use, enum config_names names,
                         struct config_address *ret_address, struct config_why *why)
{
    struct config_address address = {0};
    int error;
    if (strncmp(text, "unix:", 5) == 0) {
        if (use == ADDRESS_BIND) {
            config_why_set(why, "'%s' is a unix socket; bind to ADDRESS:PORT or [IPV6]:PORT", text);
            return -EINVAL;
        }
        error = parse_unix(text + 5, &address, why);
    } else {
        struct host_port parts = {0};
        error = split(text, &parts, why);
        if (error == 0 && use == ADDRESS_BIND && strcmp(parts.host, "*") == 0) {
            memcpy(parts.host, "0.0.0.0", sizeof("0.0.0.0"));
        }
        if (error == 0) {
            error = resolve(&parts, names, &address, why);
        }
    }
    if (error < 0) {
        return error;
    }
    if (use == ADDRESS_SERVER && is_any(&address)) {
        config_why_set(why, "'%s' names no single machine; write the server's address", text);
        return -EINVAL;
    }
    *ret_address = address;
    return 0;
}

int config_add_bind(const struct config *config, struct config_listener *listener,
                    enum config_names names, const char *value, struct config_why *why)
{
    struct config_address address;
    if (config_address_parse(value, ADDRESS_BIND, names, &address, why) < 0) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *other = &config->listeners[i];
        for (uint32_t k = 0; k < other->bind_count; k++) {
            if (is_same(&other->binds[k], &address)) {
                config_why_set(why, "%s is bound in [listen:%s] already; keep one of them",
                               address.text, other->name);
                return -EINVAL;
            }
        }
    }
    if (listener->bind_count == CONFIG_BINDS_MAX) {
        config_why_set(why, "there are too many addresses; write at most %d for each listener",
                       CONFIG_BINDS_MAX);
        return -EINVAL;
    }
    listener->binds[listener->bind_count++] = address;
    return 0;
}

int config_add_server(struct config_upstream *upstream, enum config_names names, const char *value,
                      struct config_why *why)
{
    if (upstream->server_count == CONFIG_SERVERS_MAX) {
        config_why_set(why, "there are too many servers; write at most %d for each upstream",
                       CONFIG_SERVERS_MAX);
        return -EINVAL;
    }
    struct config_server *server = &upstream->servers[upstream->server_count];
    *server = (struct config_server){.weight = 1, .max = 200};
    char words[CONFIG_TEXT_MAX];
    (void)snprintf(words, sizeof(words), "%s", value);
    char *rest = words;
    const char *word = strsep(&rest, " \t");
    if (config_address_parse(word, ADDRESS_SERVER, names, &server->address, why) < 0) {
        return -EINVAL;
    }
    (void)snprintf(server->name, sizeof(server->name), "%s", word);
    set_host(server);
    while ((word = strsep(&rest, " \t")) != NULL) {
        if (word[0] != '\0' && set_server_option(server, word, why) < 0) {
            return -EINVAL;
        }
    }
    upstream->server_count++;
    return 0;
}

/* What stands before the port, and whether it is a name. */
static void set_host(struct config_server *server)
{
    struct host_port parts = {0};
    struct config_why why;
    bool is_unix = strncmp(server->name, "unix:", 5) == 0;
    if (!is_unix && split(server->name, &parts, &why) == 0) {
        memcpy(server->host, parts.host, sizeof(server->host));
        server->is_name = !parts.is_bracketed && is_name(parts.host);
    }
}

int config_server_look_up(const char *name, struct config_address *ret_addresses, uint32_t max,
                          struct config_why *why)
{
    struct host_port parts = {0};
    struct addrinfo *list = NULL;
    uint32_t count = 0;
    if (split(name, &parts, why) < 0) {
        return -EINVAL;
    }
    int error = look_up(parts.host, AF_UNSPEC, AI_ADDRCONFIG, &list);
    if (error != 0) {
        set_unresolved(why, parts.host, gai_strerror(error));
        return -EINVAL;
    }
    for (struct addrinfo *info = list; info != NULL && count < max; info = info->ai_next) {
        struct config_address *address = &ret_addresses[count];
        set_address(address, info);
        if (!is_any(address)) {
            finish(address, parts.port);
            count++;
        }
    }
    freeaddrinfo(list);
    if (count == 0) {
        set_unresolved(why, parts.host, "its address names no single machine");
        return -EINVAL;
    }
    return (int)count;
}

static int set_server_option(struct config_server *server, const char *word, struct config_why *why)
{
    int64_t number;
    if (strcmp(word, "backup") == 0) {
        server->is_backup = true;
        return 0;
    }
    if (strncmp(word, "weight=", 7) == 0) {
        struct config_range range = {.min = 1, .max = WEIGHT_MAX};
        if (config_parse_number(word + 7, range, &number) == 0) {
            server->weight = (uint32_t)number;
            return 0;
        }
    } else if (strncmp(word, "max=", 4) == 0) {
        struct config_range range = {.min = 0, .max = CONNECTIONS_MAX};
        if (config_parse_number(word + 4, range, &number) == 0) {
            server->max = (uint32_t)number;
            return 0;
        }
    }
    config_why_set(why, "'%s' cannot follow the address; write weight=1..%d, max=0..%d or backup",
                   word, WEIGHT_MAX, CONNECTIONS_MAX);
    return -EINVAL;
}

static int parse_unix(const char *path, struct config_address *address, struct config_why *why)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (path[0] != '/' || len >= sizeof(local.sun_path)) {
        config_why_set(why,
                       "'unix:%s' is no usable path; write unix:/PATH, at most %zu bytes after "
                       "the colon",
                       path, sizeof(local.sun_path) - 1);
        return -EINVAL;
    }
    memcpy(local.sun_path, path, len + 1);
    memcpy(&address->addr, &local, sizeof(local));
    address->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    (void)snprintf(address->text, sizeof(address->text), "unix:%s", path);
    return 0;
}

static int split(const char *text, struct host_port *parts, struct config_why *why)
{
    const char *host = text;
    const char *end = strrchr(text, ':');
    const char *port = end == NULL ? NULL : end + 1;
    parts->is_bracketed = text[0] == '[';
    if (parts->is_bracketed) {
        host = text + 1;
        end = strchr(text, ']');
        port = end != NULL && end[1] == ':' ? end + 2 : NULL;
    }
    if (port == NULL || end == host || end - host > HOST_MAX) {
        config_why_set(why,
                       "'%s' is not an address with a port; write ADDRESS:PORT, [IPV6]:PORT or "
                       "NAME:PORT",
                       text);
        return -EINVAL;
    }
    memcpy(parts->host, host, (size_t)(end - host));
    parts->host[end - host] = '\0';
    if (!parts->is_bracketed && strchr(parts->host, ':') != NULL) {
        config_why_set(why, "'%s' holds too many colons; write IPv6 addresses as [IPV6]:PORT",
                       text);
        return -EINVAL;
    }
    int64_t number;
    struct config_range range = {.min = 1, .max = PORT_MAX};
    if (config_parse_number(port, range, &number) < 0) {
        config_why_set(why, "'%s' is not a port; write a number from 1 to %d after the colon", port,
                       PORT_MAX);
        return -EINVAL;
    }
    parts->port = (uint16_t)number;
    return 0;
}

static int resolve(const struct host_port *parts, enum config_names names,
                   struct config_address *address, struct config_why *why)
{
    const char *host = parts->host;
    if (resolve_literal(parts, address) == 0) {
        finish(address, parts->port);
        return 0;
    }
    if (parts->is_bracketed) {
        config_why_set(why, "'%s' is not an IPv6 address; write one in the brackets, as [::1]:PORT",
                       host);
        return -EINVAL;
    }
    if (!is_name(host)) {
        config_why_set(why,
                       "'%s' is neither an IPv4 address nor a host name; write ADDRESS:PORT, "
                       "[IPV6]:PORT or NAME:PORT",
                       host);
        return -EINVAL;
    }
    if (names == NAMES_REFUSE) {
        config_why_set(why, "'%s' is a name and names are not looked up here; write an address",
                       host);
        return -EINVAL;
    }
    int error = look_up_first(host, AF_UNSPEC, AI_ADDRCONFIG, address);
    if (error != 0) {
        set_unresolved(why, host, gai_strerror(error));
        return -EINVAL;
    }
    finish(address, parts->port);
    return 0;
}

static int resolve_literal(const struct host_port *parts, struct config_address *address)
{
    struct in_addr ipv4;
    if (parts->is_bracketed) {
        /* Not inet_pton(): a link-local address may carry %INTERFACE. */
        return look_up_first(parts->host, AF_INET6, AI_NUMERICHOST, address) == 0 ? 0 : -EINVAL;
    }
    if (inet_pton(AF_INET, parts->host, &ipv4) != 1) {
        return -EINVAL;
    }
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = ipv4};
    memcpy(&address->addr, &addr, sizeof(addr));
    address->len = sizeof(addr);
    return 0;
}

/* 0 or getaddrinfo's error; the list is for freeaddrinfo(3). */
static int look_up(const char *host, int family, int flags, struct addrinfo **ret_list)
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    return getaddrinfo(host, NULL, &hints, ret_list);
}

static int look_up_first(const char *host, int family, int flags, struct config_address *address)
{
    struct addrinfo *list = NULL;
    int error = look_up(host, family, flags, &list);
    if (error != 0) {
        return error;
    }
    set_address(address, list);
    freeaddrinfo(list);
    return 0;
}

static void set_address(struct config_address *address, const struct addrinfo *info)
{
    assert(info->ai_addrlen <= sizeof(address->addr));
    memset(address, 0, sizeof(*address));
    memcpy(&address->addr, info->ai_addr, info->ai_addrlen);
    address->len = info->ai_addrlen;
}

static void set_unresolved(struct config_why *why, const char *host, const char *reason)
{
    config_why_set(why,
                   "the name '%s' cannot be resolved: %s; write an address, or a name that "
                   "this machine can resolve",
                   host, reason);
}

static bool is_same(const struct config_address *a, const struct config_address *b)
{
    return a->len == b->len && memcmp(&a->addr, &b->addr, a->len) == 0;
}

/* Letters, digits, "-", "_" and ".", and not all digits and dots (a broken address). */
static bool is_name(const char *host)
{
    return host[0] != '[' && config_is_hostname(host) &&
           strspn(host, "0123456789.") != strlen(host);
}

static bool is_any(const struct config_address *address)
{
    if (address->addr.ss_family == AF_INET) {
        struct sockaddr_in addr;
        memcpy(&addr, &address->addr, sizeof(addr));
        return addr.sin_addr.s_addr == htonl(INADDR_ANY);
    }
    if (address->addr.ss_family == AF_INET6) {
        struct sockaddr_in6 addr;
        memcpy(&addr, &address->addr, sizeof(addr));
        return IN6_IS_ADDR_UNSPECIFIED(&addr.sin6_addr);
    }
    return false;
}

/* Puts the port in and writes the text form. */
static void finish(struct config_address *address, uint16_t port)
{
    char host[NI_MAXHOST];
    const struct sockaddr *addr = (const struct sockaddr *)&address->addr;
    if (address->addr.ss_family == AF_INET) {
        ((struct sockaddr_in *)&address->addr)->sin_port = htons(port);
    } else {
        assert(address->addr.ss_family == AF_INET6);
        ((struct sockaddr_in6 *)&address->addr)->sin6_port = htons(port);
    }
    int error = getnameinfo(addr, address->len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
    assert(error == 0);
    bool is_v4 = address->addr.ss_family == AF_INET;
    (void)snprintf(address->text, sizeof(address->text), is_v4 ? "%.200s:%u" : "[%.200s]:%u", host,
                   (unsigned)port);
}
