/*
 * config_tls - the values of proxy.ini's TLS keys: files and pins. Parsers report the reason and the
 * remedy as those of core/config_value.h do.
 */
#ifndef CORE_CONFIG_TLS_H
#define CORE_CONFIG_TLS_H

#include "core/config.h"
#include "core/config_value.h"

/* "CHAIN.pem KEY.pem", or one file that holds both; empty text: none (both paths empty). 0 or
 * -EINVAL. */
int config_parse_files(const char *text, struct config_files *ret_files, struct config_why *why)
    __attribute__((warn_unused_result));

/* One more pair in the list; empty text adds none. */
int config_add_certificate(struct config_certificates *list, const char *text,
                           struct config_why *why) __attribute__((warn_unused_result));

/* "sha256/" and 44 characters of base64 (RFC 4648, 4; the form of RFC 7469): the SHA-256 of a
 * SubjectPublicKeyInfo. Empty text adds none. */
int config_add_pin(struct config_pins *list, const char *text, struct config_why *why)
    __attribute__((warn_unused_result));

/* What keys of one section, or of two, mean together; NULL when they agree, else what is wrong and
 * the remedy. */
const char *config_listener_tls_fault(const struct config *config,
                                      const struct config_listener *listener);
const char *config_upstream_tls_fault(const struct config_upstream *upstream, const char **ret_key);

#endif
