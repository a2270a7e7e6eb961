/*
 * tls_choose - which certificate a client gets.
 *
 * Three circles are looked at, the first that holds any certificate decides: those with exactly the
 * name that was asked for, those with a wildcard for it, those like the first of the configuration
 * (itself, and any with its first name). Within the circle the cheapest key that the client can
 * verify is taken, and if it can verify none, the first; the library then says so to the client.
 */
#include "tls/tls_internal.h"

#include <assert.h>
#include <string.h>

enum circle { CIRCLE_EXACT, CIRCLE_WILDCARD, CIRCLE_DEFAULT, CIRCLES };

/* Cheapest signature first. */
static const enum tls_key keys_in_order[] = {TLS_KEY_P256, TLS_KEY_ED25519, TLS_KEY_P384,
                                             TLS_KEY_P521, TLS_KEY_RSA};

static bool has_name(const struct tls_ctx_item *item, const char *name)
{
    for (const char *at = item->names; at != NULL && *at != '\0'; at += strlen(at) + 1) {
        if (strcmp(at, name) == 0) {
            return true;
        }
    }
    return false;
}

/* "*.example.org" stands for one label, the leftmost (RFC 9525 section 6.3). */
static bool has_wildcard(const struct tls_ctx_item *item, const char *name)
{
    const char *rest = strchr(name, '.');
    if (rest == NULL || rest == name) {
        return false;
    }
    for (const char *at = item->names; at != NULL && *at != '\0'; at += strlen(at) + 1) {
        if (at[0] == '*' && strcmp(at + 1, rest) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_inside(const struct tls_ctx *ctx, uint32_t index, enum circle circle,
                      const char *name)
{
    const struct tls_ctx_item *item = &ctx->items[index];
    switch (circle) {
    case CIRCLE_EXACT:
        return name[0] != '\0' && has_name(item, name);
    case CIRCLE_WILDCARD:
        return has_wildcard(item, name);
    case CIRCLE_DEFAULT:
        return index == 0 || (ctx->items[0].names != NULL && has_name(item, ctx->items[0].names));
    case CIRCLES:
        break;
    }
    return false;
}

/* NULL when the circle is empty. */
static const struct tls_ctx_item *best_inside(const struct tls_ctx *ctx,
                                              const struct tls_hello *hello, enum circle circle)
{
    const struct tls_ctx_item *best = NULL;
    size_t best_rank = sizeof(keys_in_order) / sizeof(keys_in_order[0]) + 1;
    for (uint32_t i = 0; i < ctx->item_count; i++) {
        if (!is_inside(ctx, i, circle, hello->name)) {
            continue;
        }
        size_t rank = 0;
        while (rank < sizeof(keys_in_order) / sizeof(keys_in_order[0]) &&
               (keys_in_order[rank] != ctx->items[i].key ||
                (hello->keys & 1u << ctx->items[i].key) == 0)) {
            rank++;
        }
        if (rank < best_rank) {
            best = &ctx->items[i];
            best_rank = rank;
        }
    }
    return best;
}

WOLFSSL_CTX *tls_ctx_choose(const struct tls_ctx *ctx, const struct tls_hello *hello)
{
    assert(ctx->is_server);
    const struct tls_ctx_item *item = NULL;
    for (int circle = CIRCLE_EXACT; item == NULL && circle < CIRCLES; circle++) {
        item = best_inside(ctx, hello, (enum circle)circle);
    }
    assert(item != NULL); /* the default circle is never empty */
    return item->wolf;
}
