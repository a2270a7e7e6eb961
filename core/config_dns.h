/*
 * config_dns - the values of proxy.ini's [dns] section, and the system's servers where it names none.
 */
#ifndef CORE_CONFIG_DNS_H
#define CORE_CONFIG_DNS_H

#include "core/config.h"
#include "core/config_value.h"

/* One more server: "192.0.2.1", "192.0.2.1:53", "2001:db8::1" or "[2001:db8::1]:53"; never a name, which
 * would have to be asked for. Empty text adds none. 0 or -EINVAL. */
int config_add_dns_server(struct config_dns *dns, const char *text, struct config_why *why)
    __attribute__((warn_unused_result));

/* The nameserver lines of a resolv.conf(5), at most DNS_SERVERS_MAX; what cannot be read adds none. */
void config_read_resolv_conf(struct config_dns *dns, FILE *stream);

#endif
