/*
 * config_address - "127.0.0.1:25", "[::1]:25", "name:25", "*:25" and "unix:/path" into addresses.
 *
 * Names go through getaddrinfo(3), which may block: at start-up only. Of several addresses of a
 * name the first counts (RFC 6724 order).
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

#endif
