/*
 * dkim_signature - see filters/dkim_signature.h.
 */
#include "filters/dkim_signature.h"

#include <errno.h>
#include <strings.h>

#include "filters/base64.h"

enum { DOMAIN_MAX = 253, LABEL_MAX = 63, TIME_DIGITS_MAX = 12, LIMIT_DIGITS_MAX = 19 };

/* ---- names ---- */

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Labels of letters, digits, hyphens and underscores, with single dots between them. */
static bool is_domain(struct span name)
{
    uint32_t label = 0;
    if (name.len == 0 || name.len > DOMAIN_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (c == '.') {
            if (label == 0) {
                return false;
            }
            label = 0;
        } else if (++label > LABEL_MAX || (!is_alnum(c) && c != '-' && c != '_')) {
            return false;
        }
    }
    return label > 0;
}

/* ---- the field ---- */

static const char *take_algorithm(const struct dkim_tags *tags, struct dkim_signature *signature)
{
    struct span value = dkim_tag_value(tags, "a");
    if (span_is(value, "rsa-sha256")) {
        signature->algorithm = SIGNATURE_RSA;
        return NULL;
    }
    if (span_is(value, "ed25519-sha256")) {
        signature->algorithm = SIGNATURE_ED25519;
        return NULL;
    }
    if (span_is(value, "rsa-sha1")) {
        return "rsa-sha1 proves nothing any more"; /* RFC 8301, 3.1 */
    }
    return "unknown algorithm in a=";
}

static bool parse_canon(struct span word, bool *ret_relaxed)
{
    *ret_relaxed = span_is(word, "relaxed");
    return *ret_relaxed || span_is(word, "simple");
}

static const char *take_canon(const struct dkim_tags *tags, struct dkim_signature *signature)
{
    struct span value = dkim_tag_value(tags, "c");
    struct span word;
    uint32_t at = 0;
    if (value.at == NULL) {
        return NULL; /* simple/simple */
    }
    bool is_good =
        dkim_list_next(value, '/', &at, &word) && parse_canon(word, &signature->header_relaxed);
    if (is_good && dkim_list_next(value, '/', &at, &word)) {
        is_good = parse_canon(word, &signature->body_relaxed);
    }
    return is_good && at > value.len ? NULL : "unknown canonicalization in c=";
}

static const char *take_identity(const struct dkim_tags *tags, struct dkim_signature *signature)
{
    struct span value = dkim_tag_value(tags, "i");
    signature->identity_domain = signature->domain;
    if (value.at == NULL) {
        return NULL;
    }
    const char *at = value.len > 0 ? memrchr(value.at, '@', value.len) : NULL;
    if (at == NULL) {
        return "no @ in i=";
    }
    signature->identity_domain = (struct span){at + 1, value.len - (uint32_t)(at + 1 - value.at)};
    return span_is_at_or_below(signature->identity_domain, signature->domain)
               ? NULL
               : "i= is not below d=";
}

static const char *take_times(const struct dkim_tags *tags, struct dkim_signature *signature)
{
    struct span made = dkim_tag_value(tags, "t");
    struct span expiry = dkim_tag_value(tags, "x");
    uint64_t made_s = 0;
    if (made.at != NULL && !dkim_number_parse(made, TIME_DIGITS_MAX, &made_s)) {
        return "bad number in t=";
    }
    if (expiry.at == NULL) {
        return NULL;
    }
    signature->has_expiry = true;
    if (!dkim_number_parse(expiry, TIME_DIGITS_MAX, &signature->expiry_s)) {
        return "bad number in x=";
    }
    return made.at != NULL && signature->expiry_s <= made_s ? "x= is not after t=" : NULL;
}

static const char *take_limit(const struct dkim_tags *tags, struct dkim_signature *signature)
{
    struct span value = dkim_tag_value(tags, "l");
    if (value.at == NULL) {
        return NULL;
    }
    signature->has_limit = true;
    return dkim_number_parse(value, LIMIT_DIGITS_MAX, &signature->limit) ? NULL
                                                                         : "bad number in l=";
}

static bool is_field_name(struct span name)
{
    for (uint32_t i = 0; i < name.len; i++) {
        if (name.at[i] <= ' ' || name.at[i] > '~' || name.at[i] == ':' || name.at[i] == ';') {
            return false;
        }
    }
    return name.len > 0;
}

static const char *take_names(const struct dkim_tags *tags, struct dkim_signature *signature)
{
    bool has_from = false;
    uint32_t count = 0;
    struct span name;
    signature->names = dkim_tag_value(tags, "h");
    for (uint32_t at = 0; dkim_list_next(signature->names, ':', &at, &name);) {
        if (!is_field_name(name)) {
            return "bad field name in h=";
        }
        if (++count > DKIM_NAMES_MAX) {
            return "h= holds too many names";
        }
        has_from = has_from || (name.len == 4 && strncasecmp(name.at, "from", 4) == 0);
    }
    return has_from ? NULL : "h= does not hold From";
}

static const char *take_places(const struct dkim_tags *tags, struct dkim_signature *signature)
{
    signature->domain = dkim_tag_value(tags, "d");
    signature->selector = dkim_tag_value(tags, "s");
    if (!is_domain(signature->domain)) {
        return "d= is not a domain";
    }
    if (!is_domain(signature->selector)) {
        return "s= is not a selector";
    }
    struct span query = dkim_tag_value(tags, "q");
    bool is_known = query.at == NULL || dkim_list_has(query, ':', "dns/txt");
    return is_known ? NULL : "unknown query method in q=";
}

static const char *take_sums(const struct dkim_tags *tags, struct dkim_signature *signature)
{
    uint8_t octets[SIGNATURE_MAX];
    const struct dkim_tag *b = dkim_tag_find(tags, "b");
    signature->sum = dkim_tag_value(tags, "bh");
    signature->signature = b->value;
    signature->signature_whole = b->whole;
    if (base64_decode(signature->sum, octets, sizeof(octets)) != DIGEST_SIZE) {
        return "bh= is not the base64 of a SHA-256";
    }
    int len = base64_decode(signature->signature, octets, sizeof(octets));
    signature->octets = len > 0 ? (uint32_t)len : 0;
    return len > 0 ? NULL : "b= is not base64, or too long";
}

const char *dkim_signature_parse(struct span value, struct dkim_signature *ret_signature)
{
    static const char *const required[] = {"v", "a", "b", "bh", "d", "h", "s"};
    static const char *(*const takers[])(const struct dkim_tags *, struct dkim_signature *) = {
        take_places, take_algorithm, take_canon, take_identity,
        take_times,  take_limit,     take_names, take_sums,
    };
    struct dkim_tags tags;
    *ret_signature = (struct dkim_signature){0};
    int parsed = dkim_tags_parse(value, &tags);
    if (parsed < 0) {
        return parsed == -E2BIG ? "too many tags" : "bad tag syntax, or a tag given twice";
    }
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        if (dkim_tag_find(&tags, required[i]) == NULL) {
            return "a required tag is missing";
        }
    }
    const char *fault = span_is(dkim_tag_value(&tags, "v"), "1") ? NULL : "unknown version in v=";
    for (size_t i = 0; i < sizeof(takers) / sizeof(takers[0]); i++) {
        const char *found = takers[i](&tags, ret_signature);
        fault = fault == NULL ? found : fault;
    }
    return fault;
}

/* ---- the key record ---- */

static const char *take_key_algorithm(const struct dkim_tags *tags, struct dkim_key *key)
{
    struct span value = dkim_tag_value(tags, "k");
    key->algorithm = SIGNATURE_RSA;
    if (value.at == NULL || span_is(value, "rsa")) {
        return NULL;
    }
    key->algorithm = SIGNATURE_ED25519;
    return span_is(value, "ed25519") ? NULL : "unknown key type in k=";
}

static const char *take_key_limits(const struct dkim_tags *tags, struct dkim_key *key)
{
    struct span hashes = dkim_tag_value(tags, "h");
    struct span services = dkim_tag_value(tags, "s");
    struct span flags = dkim_tag_value(tags, "t");
    if (hashes.at != NULL && !dkim_list_has(hashes, ':', "sha256")) {
        return "the key is not for sha256";
    }
    if (services.at != NULL && !dkim_list_has(services, ':', "email") &&
        !dkim_list_has(services, ':', "*")) {
        return "the key is not for email";
    }
    key->is_testing = flags.at != NULL && dkim_list_has(flags, ':', "y");
    key->is_strict = flags.at != NULL && dkim_list_has(flags, ':', "s");
    return NULL;
}

const char *dkim_key_parse(struct span text, struct dkim_key *ret_key)
{
    struct dkim_tags tags;
    *ret_key = (struct dkim_key){0};
    if (dkim_tags_parse(text, &tags) < 0) {
        return "the key record has bad syntax";
    }
    const struct dkim_tag *version = dkim_tag_find(&tags, "v");
    if (version != NULL && (version != &tags.tags[0] || !span_is(version->value, "DKIM1"))) {
        return "the key record has an unknown version";
    }
    const char *fault = take_key_algorithm(&tags, ret_key);
    if (fault == NULL) {
        fault = take_key_limits(&tags, ret_key);
    }
    struct span octets = dkim_tag_value(&tags, "p");
    if (fault != NULL || octets.at == NULL) {
        return fault != NULL ? fault : "the key record holds no key";
    }
    if (octets.len == 0) {
        return "the key has been revoked";
    }
    int len = base64_decode(octets, ret_key->octets, sizeof(ret_key->octets));
    if (len < 0) {
        return len == -EMSGSIZE ? "the key is too long" : "the key is not base64";
    }
    ret_key->len = (uint32_t)len;
    return NULL;
}
