/*
 * config_checks - the values of proxy.ini's keys for the checks: lists, and names that stand in header
 * fields.
 */
#ifndef CORE_CONFIG_CHECKS_H
#define CORE_CONFIG_CHECKS_H

#include "core/config.h"
#include "core/config_value.h"

/* One more list from "NAME [weight=N] [codes=127.0.0.2-127.0.0.11,...]" into `zones` (VERIFY_ZONES_MAX)
 * and `count`. Empty text adds none. 0 or -EINVAL. */
int config_add_zone(struct verify_zone *zones, uint32_t *count, const char *text,
                    struct config_why *why) __attribute__((warn_unused_result));

/* The name of a header field of ours into `out` (CONFIG_FIELD_MAX bytes): one that no standard has.
 * "off" and nothing: an empty name. 0 or -EINVAL. */
int config_parse_field(const char *text, char *out, struct config_why *why)
    __attribute__((warn_unused_result));

/* Brings an authserv-id (RFC 8601, 2.2; VERIFY_NAME_MAX bytes), which is a domain name, into the form of
 * DNS: lower case, without a dot at its end. NULL; or what is wrong and the remedy, and `id` is as it was. */
const char *config_fold_authserv_id(char *id) __attribute__((warn_unused_result));

#endif
