/*
 * spf_macro - macro strings of SPF (RFC 7208, 7). Pure.
 */
#ifndef FILTERS_SPF_MACRO_H
#define FILTERS_SPF_MACRO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { SPF_EXPANDED_MAX = 1024 };

struct spf_names {
    const char *local;  /* of the sender */
    const char *sender; /* domain of the sender */
    const char *domain; /* whose record this is */
    const char *helo;
    const char *host; /* ours, for %{r} */
    const char
        *validated; /* for %{p}: a name of the client's that leads back to it, or "unknown" */
    const struct sockaddr *client;
    int64_t now_s;
};

/* Syntax of a macro-string; `is_exp` allows the letters c, r and t. */
bool spf_macro_is_valid(const char *text, uint32_t len, bool is_exp);

/* Syntax of a domain-spec: a macro-string that ends in a top label or a macro. */
bool spf_spec_is_valid(const char *text, uint32_t len);

/* True when it holds %{p}. */
bool spf_macro_needs_name(const char *text, uint32_t len);

/* Expands valid text into `out` (SPF_EXPANDED_MAX octets, with NUL). The length, or -EMSGSIZE. */
int spf_macro_expand(const char *text, uint32_t len, const struct spf_names *names, char *out);

/* The same to a domain name: cut from the left, label by label, to 253 octets. */
int spf_spec_expand(const char *text, uint32_t len, const struct spf_names *names, char *out);

#endif
