/*
 * upstream - see core/upstream.h.
 *
 * The words are independent of each other: a reader that sees a new `extensions` with an old `size`
 * offers a limit that is one probe old, which the lease's own EHLO reply corrects before anything
 * is sent.
 */
#include "core/upstream.h"

#include <assert.h>

/* Values of `down`: a server that was never tried is neither known to be up nor down. */
enum { SERVER_UNTRIED, SERVER_UP, SERVER_DOWN };

void upstream_init(struct upstream *upstream, const struct config_upstream *config)
{
    assert(config->server_count > 0);
    assert(config->server_count <= CONFIG_SERVERS_MAX);
    upstream->config = config;
    atomic_init(&upstream->turn, 0);
    for (uint32_t i = 0; i < config->server_count; i++) {
        struct upstream_server *server = &upstream->servers[i];
        server->config = &config->servers[i];
        atomic_init(&server->known, 0);
        atomic_init(&server->extensions, 0);
        atomic_init(&server->size, 0);
        atomic_init(&server->health, SERVER_UNTRIED);
        atomic_init(&server->connections, 0);
    }
}

static bool server_is_usable(const struct upstream_server *server, bool want_up)
{
    uint32_t max = server->config->max;
    bool down = atomic_load_explicit(&server->health, memory_order_relaxed) == SERVER_DOWN;
    bool full = max > 0 && atomic_load_explicit(&server->connections, memory_order_relaxed) >= max;
    return !full && down != want_up;
}

int upstream_choose(struct upstream *upstream, uint32_t tried)
{
    uint32_t count = upstream->config->server_count;
    uint32_t turn =
        count == 1 ? 0 : atomic_fetch_add_explicit(&upstream->turn, 1, memory_order_relaxed);
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < count; i++) {
            uint32_t index = (turn + i) % count;
            bool fresh = (tried & (1u << index)) == 0;
            if (fresh && server_is_usable(&upstream->servers[index], pass == 0)) {
                return (int)index;
            }
        }
    }
    return -1;
}

/* One pass over the known servers; false when none qualifies. */
static bool intersect(struct upstream *upstream, bool only_up, uint32_t *ret_extensions,
                      uint64_t *ret_size)
{
    uint32_t extensions = UINT32_MAX;
    uint64_t size = 0;
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        struct upstream_server *server = &upstream->servers[i];
        bool up = atomic_load_explicit(&server->health, memory_order_relaxed) == SERVER_UP;
        if (atomic_load_explicit(&server->known, memory_order_acquire) == 0 || (only_up && !up)) {
            continue;
        }
        extensions &= atomic_load_explicit(&server->extensions, memory_order_relaxed);
        uint64_t server_size = atomic_load_explicit(&server->size, memory_order_relaxed);
        if (server_size > 0 && (size == 0 || server_size < size)) {
            size = server_size;
        }
    }
    if (extensions == UINT32_MAX) {
        return false;
    }
    *ret_extensions = extensions;
    *ret_size = size;
    return true;
}

uint32_t upstream_extensions(struct upstream *upstream, uint64_t *ret_size)
{
    uint32_t extensions = 0;
    *ret_size = 0;
    if (!intersect(upstream, true, &extensions, ret_size)) {
        (void)intersect(upstream, false, &extensions,
                        ret_size); /* nothing known: nothing offered */
    }
    return extensions;
}

bool upstream_is_probed(const struct upstream *upstream)
{
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        const struct upstream_server *server = &upstream->servers[i];
        if (atomic_load_explicit(&server->health, memory_order_relaxed) == SERVER_UNTRIED) {
            return false;
        }
    }
    return true;
}

bool upstream_note_up(struct upstream_server *server, uint32_t extensions, uint64_t size)
{
    atomic_store_explicit(&server->size, size, memory_order_relaxed);
    atomic_store_explicit(&server->extensions, extensions, memory_order_relaxed);
    atomic_store_explicit(&server->known, 1, memory_order_release);
    return atomic_exchange(&server->health, SERVER_UP) != SERVER_UP;
}

bool upstream_note_down(struct upstream_server *server)
{
    return atomic_exchange(&server->health, SERVER_DOWN) != SERVER_DOWN;
}
