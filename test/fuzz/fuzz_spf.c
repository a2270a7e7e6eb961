/*
 * fuzz_spf - an SPF record: what the check of the whole says holds for its terms one by one, and every
 * macro string in it that is called valid expands to a bounded text.
 */
#include "filters/spf_macro.h"
#include "filters/spf_record.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct span part, struct span text)
{
    if (part.len > 0) {
        assert(part.at >= text.at);
        assert(part.at + part.len <= text.at + text.len);
    }
}

static struct spf_names names_of(const struct sockaddr *client, const char *validated)
{
    return (struct spf_names){
        .local = "some+one-else_x",
        .sender = "mail.example.com",
        .domain = "a.b.example.org",
        .helo = "[192.0.2.1]",
        .host = "mx.example.net",
        .validated = validated,
        .client = client,
        .now_s = 1700000000,
    };
}

/* Into memory of exactly the promised size. */
static void check_expansion(struct span text, const struct sockaddr *client)
{
    struct spf_names names = names_of(client, "host.example.com");
    struct spf_names other = names_of(client, "unknown");
    char *out = malloc(SPF_EXPANDED_MAX);
    char *again = malloc(SPF_EXPANDED_MAX);
    assert(out != NULL && again != NULL);
    int len = spf_macro_expand(text.at, text.len, &names, out);
    assert(len == -EMSGSIZE || (len >= 0 && len < SPF_EXPANDED_MAX && strlen(out) == (size_t)len));
    int other_len = spf_macro_expand(text.at, text.len, &other, again);
    if (!spf_macro_needs_name(text.at, text.len)) {
        assert(other_len == len && (len < 0 || strcmp(out, again) == 0));
    }
    len = spf_spec_expand(text.at, text.len, &names, out);
    assert(len == -EMSGSIZE || (len >= 0 && len <= 253 && strlen(out) == (size_t)len));
    free(out);
    free(again);
}

static void check_macros(struct span text)
{
    const struct sockaddr_in client4 = {.sin_family = AF_INET, .sin_addr = {0x010200c0}};
    const struct sockaddr_in6 client6 = {.sin6_family = AF_INET6, .sin6_addr = {{{0x20, 1, 0xd}}}};
    bool is_spec = spf_spec_is_valid(text.at, text.len);
    bool is_macro = spf_macro_is_valid(text.at, text.len, false);
    bool is_exp = spf_macro_is_valid(text.at, text.len, true);
    assert(!is_spec || is_macro);
    assert(!is_macro || is_exp);
    if (is_exp) {
        check_expansion(text, (const struct sockaddr *)&client4);
        check_expansion(text, (const struct sockaddr *)&client6);
    }
}

static void check_term(const struct spf_term *term, struct span record)
{
    check_inside(term->spec, record);
    assert(term->kind <= SPF_UNKNOWN);
    assert(term->bits4 <= 32 && term->bits6 <= 128);
    if (term->spec.len > 0) {
        check_macros(term->spec);
        assert(term->kind == SPF_UNKNOWN || spf_spec_is_valid(term->spec.at, term->spec.len));
    }
}

static void check_record(struct span record)
{
    struct span redirect;
    struct span exp;
    struct spf_term term;
    uint32_t at = 0;
    uint32_t before = 0;
    int checked = spf_check_record(record.at, record.len, &redirect, &exp);
    int more;
    while ((more = spf_next_term(record.at, record.len, &at, &term)) > 0) {
        assert(at > before && at <= record.len);
        before = at;
        check_term(&term, record);
    }
    assert(checked == 0 || checked == -EINVAL);
    assert(checked < 0 || more == 0);
    if (checked == 0) {
        check_inside(redirect, record);
        check_inside(exp, record);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096) {
        return 0;
    }
    char *text = malloc(size > 0 ? size : 1); /* of that size, so that reading past it is seen */
    assert(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    struct span record = {text, (uint32_t)size};
    if (spf_is_record(text, record.len)) {
        check_record(record);
    }
    check_macros(record);
    free(text);
    return 0;
}
