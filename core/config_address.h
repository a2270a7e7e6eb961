/*
 * config_address - "127.0.0.1:25", "[::1]:25", "name:25", "*:25" and "unix:/path" into addresses.
 *
 * Names go through getaddrinfo(3), which may block: at start-up, and later in the resolver's own
 * thread. Of several addresses of a name the first counts at start-up (RFC 6724 order).
 */
#ifndef CORE_CONFIG_ADDRESS_H
#define CORE_CONFIG_ADDRESS_H

#include "core/config.h"
#include "core/config_value.h"

enum config_address_use {
    ADDRESS_BIND,   /* "*" is every IPv4 address; no unix socket */
    ADDRESS_SERVER, /* must name one server; unix sockets are fine */
};

/* 0 and *ret_address, or -EINVAL and *why. */
int config_address_parse(const char *text, enum config_address_use use, enum config_names names,
                         struct config_address *ret_address, struct config_why *why)
    __attribute__((warn_unused_result));

/* One more address of `listener`, which is one of `config`: no two listeners share one. 0, or
 * -EINVAL and *why. */
int config_add_bind(const struct config *config, struct config_listener *listener,
                    enum config_names names, const char *value, struct config_why *why)
    __attribute__((warn_unused_result));

/* One more server from "ADDRESS [weight=N] [max=N]". 0, or -EINVAL and *why. */
int config_add_server(struct config_upstream *upstream, enum config_names names, const char *value,
                      struct config_why *why) __attribute__((warn_unused_result));

/*
 * What a config_server's name, as "name:25", resolves to now, in RFC 6724 order: at most `max`
 * addresses with the port. How many (at least one), or -EINVAL and *why. Blocks; any thread.
 */
int config_server_look_up(const char *name, struct config_address *ret_addresses, uint32_t max,
                          struct config_why *why) __attribute__((warn_unused_result));

#endif
