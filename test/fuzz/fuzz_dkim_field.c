/*
 * fuzz_dkim_field - the value of a DKIM-Signature field: slices stay inside the text, white space around
 * it and a tag that nobody knows change nothing, and lists come to an end.
 */
#include "filters/base64.h"
#include "filters/dkim_signature.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of exactly that size, so that reading past it is seen. */
static struct span joined(const char *before, struct span text, const char *behind)
{
    size_t begin = strlen(before);
    size_t more = strlen(behind);
    char *copy = malloc(begin + text.len + more + 1);
    assert(copy != NULL);
    char *at = realloc(copy, begin + text.len + more > 0 ? begin + text.len + more : 1);
    assert(at != NULL);
    memcpy(at, before, begin);
    if (text.len > 0) {
        memcpy(at + begin, text.at, text.len);
    }
    memcpy(at + begin + text.len, behind, more);
    return (struct span){at, (uint32_t)(begin + text.len + more)};
}

static void drop(struct span text)
{
    free((char *)(uintptr_t)text.at);
}

static bool is_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static void check_inside(struct span part, struct span text)
{
    if (part.at != NULL) {
        assert(part.at >= text.at);
        assert(part.at + part.len <= text.at + text.len);
    }
}

static void check_list(struct span list, char separator)
{
    struct span element;
    uint32_t elements = 0;
    uint32_t octets = 0;
    for (uint32_t at = 0; dkim_list_next(list, separator, &at, &element);) {
        elements++;
        octets += element.len;
        check_inside(element, list);
    }
    assert(elements >= 1 && elements <= list.len + 1);
    assert(octets <= list.len);
}

static uint32_t check_tags(struct span text)
{
    struct dkim_tags tags;
    if (dkim_tags_parse(text, &tags) < 0) {
        return 0;
    }
    assert(tags.count >= 1 && tags.count <= DKIM_TAGS_MAX);
    const char *at = text.at;
    for (uint32_t i = 0; i < tags.count; i++) {
        const struct dkim_tag *tag = &tags.tags[i];
        assert(tag->name.len > 0 && tag->name.at >= at);
        assert(tag->whole.at > tag->name.at);
        check_inside(tag->whole, text);
        check_inside(tag->value, tag->whole);
        for (uint32_t k = 0; k < i; k++) {
            assert(!is_equal(tags.tags[k].name, tag->name));
        }
        check_list(tag->value, ':');
        at = tag->whole.at + tag->whole.len;
    }
    return tags.count;
}

static void check_good(const struct dkim_signature *signature, struct span text)
{
    uint8_t octets[SIGNATURE_MAX];
    const struct span parts[] = {signature->domain, signature->selector, signature->identity_domain,
                                 signature->names,  signature->sum,      signature->signature};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        assert(parts[i].len > 0);
        check_inside(parts[i], text);
    }
    check_inside(signature->signature_whole, text);
    check_inside(signature->signature, signature->signature_whole);
    assert(signature->domain.len <= 253 && signature->selector.len <= 253);
    assert(span_is_at_or_below(signature->identity_domain, signature->domain));
    assert(base64_decode(signature->sum, octets, sizeof(octets)) == DIGEST_SIZE);
    assert(base64_decode(signature->signature, octets, sizeof(octets)) > 0);
}

/* Whether a further tag needs a semicolon of its own: white space may stand behind the last one. */
static bool is_open_ended(struct span text)
{
    uint32_t len = text.len;
    while (len > 0 && strchr(" \t\r\n", text.at[len - 1]) != NULL) {
        len--;
    }
    return len > 0 && text.at[len - 1] != ';';
}

/* The same signature, whatever else stands there. */
static void check_same(struct span text, const char *before, const char *behind,
                       const struct dkim_signature *wanted)
{
    struct dkim_signature signature;
    struct span longer = joined(before, text, behind);
    const char *fault = dkim_signature_parse(longer, &signature);
    assert(fault == NULL);
    assert(is_equal(signature.domain, wanted->domain));
    assert(is_equal(signature.selector, wanted->selector));
    assert(is_equal(signature.names, wanted->names));
    assert(is_equal(signature.signature, wanted->signature));
    assert(signature.limit == wanted->limit && signature.expiry_s == wanted->expiry_s);
    drop(longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dkim_signature signature;
    struct span text = joined("", (struct span){(const char *)data, (uint32_t)size}, "");
    uint32_t tags = check_tags(text);
    if (dkim_signature_parse(text, &signature) == NULL) {
        check_good(&signature, text);
        check_same(text, " \r\n\t", "\r\n ", &signature);
        if (tags < DKIM_TAGS_MAX && strncmp(text.at, "zz", 2) != 0) {
            struct dkim_tags parsed;
            int result = dkim_tags_parse(text, &parsed);
            assert(result == 0);
            if (dkim_tag_find(&parsed, "zz") == NULL) {
                check_same(text, "zz=(unknown);", "", &signature);
                check_same(text, "", is_open_ended(text) ? ";zz=" : "zz=", &signature);
            }
        }
    }
    drop(text);
    return 0;
}
