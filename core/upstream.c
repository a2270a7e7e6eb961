/*
 * upstream - see core/upstream.h.
 *
 * The words are independent of each other: a reader that sees a new `extensions` with an old `size`
 * offers a limit that is one probe old, which the lease's own EHLO reply corrects before anything
 * is sent.
 *
 * An address is several words. Two places take turns: the writer fills the one that is not in use
 * (each word with release), then names it. A reader that sees a word of the next but one address
 * (acquire) also sees that the number has changed, and reads again; since names are looked up a
 * second apart or more, it never has to do so twice.
 */
#include "core/upstream.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Values of `health`: a server that was never tried is neither known to be up nor down. */
enum { SERVER_UNTRIED, SERVER_UP, SERVER_DOWN };

enum {
    WEIGHT_SCALE = 100, /* slow start works in hundredths of a weight */
    BACK_OFF_STEPS = 5, /* at most 2^5 check intervals */
    TIERS = 3,          /* regular, backup, down */
};

void upstream_init(struct upstream *upstream, const struct config_upstream *config)
{
    assert(config->server_count > 0);
    assert(config->server_count <= CONFIG_SERVERS_MAX);
    upstream->config = config;
    atomic_init(&upstream->turn, 0);
    atomic_init(&upstream->changes, 0);
    for (uint32_t i = 0; i < config->server_count; i++) {
        struct upstream_server *server = &upstream->servers[i];
        *server = (struct upstream_server){.config = &config->servers[i]};
        atomic_init(&server->health, SERVER_UNTRIED);
    }
}

bool upstream_is_down(const struct upstream_server *server)
{
    return atomic_load_explicit(&server->health, memory_order_relaxed) == SERVER_DOWN;
}

/* ---- choosing ---- */

static bool is_at_max(const struct upstream_server *server)
{
    uint32_t max = server->config->max;
    return max > 0 && atomic_load_explicit(&server->connections, memory_order_relaxed) >= max;
}

static int tier_of(const struct upstream_server *server)
{
    if (upstream_is_down(server)) {
        return 2;
    }
    return server->config->is_backup ? 1 : 0;
}

/* A server that was never asked may offer anything. */
static bool may_offer(const struct upstream_server *server, uint32_t needs)
{
    return atomic_load_explicit(&server->known, memory_order_acquire) == 0 ||
           (needs & ~atomic_load_explicit(&server->extensions, memory_order_relaxed)) == 0;
}

/* Those that may offer what is needed, tried or not. */
static uint32_t offering(const struct upstream *upstream, uint32_t needs)
{
    uint32_t set = 0;
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        set |= may_offer(&upstream->servers[i], needs) ? 1u << i : 0;
    }
    return set;
}

/* Those that the message may go to. When none offers what is needed, it is all the same: each will
 * say so by itself. */
static uint32_t untried(const struct upstream *upstream, const struct upstream_ask *ask)
{
    uint32_t set = ask->needs == 0 ? UINT32_MAX : offering(upstream, ask->needs);
    return (set == 0 ? UINT32_MAX : set) & ~ask->tried;
}

bool upstream_may_offer(const struct upstream *upstream, const struct upstream_ask *ask)
{
    return (offering(upstream, ask->needs) & ~ask->tried) != 0;
}

/* The servers of a tier that may be chosen, as a set. */
static uint32_t candidates(const struct upstream *upstream, const struct upstream_ask *ask,
                           uint32_t fresh, int tier)
{
    uint32_t set = 0;
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        const struct upstream_server *server = &upstream->servers[i];
        bool has_idle = ask->idle != NULL && ask->idle[i] > 0;
        bool is_fresh = (fresh & (1u << i)) != 0;
        if (is_fresh && tier_of(server) == tier && (has_idle || !is_at_max(server))) {
            set |= 1u << i;
        }
    }
    return set;
}

/* A server that has come back starts with a tenth of its weight. */
static uint64_t weight_of(const struct upstream_server *server, int64_t now_ms)
{
    uint64_t weight = (uint64_t)server->config->weight * WEIGHT_SCALE;
    int64_t up_ms = atomic_load_explicit(&server->up_ms, memory_order_relaxed);
    int64_t age_ms = now_ms - up_ms;
    if (up_ms == 0 || age_ms >= UPSTREAM_SLOW_START_MS) {
        return weight;
    }
    int64_t share_ms = age_ms < UPSTREAM_SLOW_START_MS / 10 ? UPSTREAM_SLOW_START_MS / 10 : age_ms;
    return weight * (uint64_t)share_ms / UPSTREAM_SLOW_START_MS;
}

/* The fewest held leases for its weight; among equals the turn decides. */
static int choose_least_conn(struct upstream *upstream, uint32_t set, int64_t now_ms)
{
    uint32_t count = upstream->config->server_count;
    uint32_t turn = atomic_fetch_add_explicit(&upstream->turn, 1, memory_order_relaxed);
    int best = -1;
    uint64_t best_load = 0;
    uint64_t best_weight = 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (turn + i) % count;
        if ((set & (1u << index)) == 0) {
            continue;
        }
        struct upstream_server *server = &upstream->servers[index];
        uint64_t load = atomic_load_explicit(&server->active, memory_order_relaxed) + UINT64_C(1);
        uint64_t weight = weight_of(server, now_ms);
        if (best < 0 || load * best_weight < best_load * weight) {
            best = (int)index;
            best_load = load;
            best_weight = weight;
        }
    }
    return best;
}

/* Weights as shares of a circle; each turn is a golden-ratio step on it, so that no server gets its
 * share in one go. */
static int choose_round_robin(struct upstream *upstream, uint32_t set, int64_t now_ms)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        total += (set & (1u << i)) != 0 ? weight_of(&upstream->servers[i], now_ms) : 0;
    }
    uint32_t turn = atomic_fetch_add_explicit(&upstream->turn, 1, memory_order_relaxed);
    uint32_t angle =
        turn * 2654435769u; /* 2^32 over the golden ratio: a low-discrepancy sequence */
    uint64_t at = (uint64_t)angle * total >> 32;
    int last = -1;
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        if ((set & (1u << i)) == 0) {
            continue;
        }
        uint64_t weight = weight_of(&upstream->servers[i], now_ms);
        last = (int)i;
        if (at < weight) {
            break;
        }
        at -= weight;
    }
    return last;
}

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

/* Rendezvous hashing: a server that leaves moves only its own clients. Slow start would move
 * clients: not used here. */
static int choose_hash(const struct upstream *upstream, uint32_t set, uint32_t client_hash)
{
    int best = -1;
    double best_score = 0;
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        if ((set & (1u << i)) == 0) {
            continue;
        }
        double unit = ((double)mix(client_hash ^ mix(i + 1)) + 0.5) / 4294967296.0;
        double score = -(double)upstream->servers[i].config->weight / log(unit);
        if (best < 0 || score > best_score) {
            best = (int)i;
            best_score = score;
        }
    }
    return best;
}

static int choose_from(struct upstream *upstream, uint32_t set, const struct upstream_ask *ask)
{
    if ((set & (set - 1)) == 0) {
        return __builtin_ctz(set); /* one candidate: nothing to balance, no shared word to touch */
    }
    switch (upstream->config->balance) {
    case BALANCE_LEAST_CONN:
        return choose_least_conn(upstream, set, ask->now_ms);
    case BALANCE_ROUND_ROBIN:
        return choose_round_robin(upstream, set, ask->now_ms);
    case BALANCE_HASH:
        return choose_hash(upstream, set, ask->client_hash);
    }
    return -1;
}

int upstream_choose(struct upstream *upstream, const struct upstream_ask *ask)
{
    uint32_t fresh = untried(upstream, ask);
    for (int tier = 0; tier < TIERS; tier++) {
        uint32_t set = candidates(upstream, ask, fresh, tier);
        if (set != 0) {
            return choose_from(upstream, set, ask);
        }
    }
    return -1;
}

bool upstream_is_full(const struct upstream *upstream, const struct upstream_ask *ask)
{
    uint32_t fresh = untried(upstream, ask);
    for (uint32_t i = 0; i < upstream->config->server_count; i++) {
        const struct upstream_server *server = &upstream->servers[i];
        if ((fresh & (1u << i)) != 0 && !upstream_is_down(server) && is_at_max(server)) {
            return true;
        }
    }
    return false;
}

bool upstream_reserve(struct upstream_server *server)
{
    uint32_t max = server->config->max;
    uint32_t before = atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
    if (max > 0 && before >= max) {
        upstream_release(server);
        return false;
    }
    return true;
}

void upstream_release(struct upstream_server *server)
{
    uint32_t before = atomic_fetch_sub_explicit(&server->connections, 1, memory_order_relaxed);
    assert(before > 0);
}

/* ---- the address ---- */

uint32_t upstream_address(const struct upstream_server *server, struct upstream_found *ret_found)
{
    uint64_t words[UPSTREAM_FOUND_WORDS];
    uint32_t number = atomic_load_explicit(&server->moves, memory_order_acquire);
    while (number > 0) {
        for (uint32_t i = 0; i < UPSTREAM_FOUND_WORDS; i++) {
            words[i] = atomic_load_explicit(&server->found[number % 2][i], memory_order_acquire);
        }
        uint32_t again = atomic_load_explicit(&server->moves, memory_order_acquire);
        if (again == number) {
            memcpy(ret_found, words, sizeof(*ret_found));
            return number;
        }
        number = again;
    }
    return 0;
}

bool upstream_has_moved(const struct upstream_server *server, uint32_t number)
{
    return atomic_load_explicit(&server->moves, memory_order_relaxed) != number;
}

void upstream_move(struct upstream *upstream, struct upstream_server *server,
                   const struct config_address *address)
{
    uint64_t words[UPSTREAM_FOUND_WORDS] = {0};
    struct upstream_found found = {.len = address->len};
    uint32_t number = atomic_load_explicit(&server->moves, memory_order_relaxed) + 1;
    size_t text_len = strlen(address->text);
    assert(address->len <= sizeof(found.addr));
    assert(text_len < sizeof(found.text));
    memcpy(&found.addr, &address->addr, address->len);
    memcpy(found.text, address->text, text_len);
    memcpy(words, &found, sizeof(found));
    for (uint32_t i = 0; i < UPSTREAM_FOUND_WORDS; i++) {
        atomic_store_explicit(&server->found[number % 2][i], words[i], memory_order_release);
    }
    atomic_store_explicit(&server->moves, number, memory_order_release);
    atomic_store_explicit(&server->retry_ms, 0, memory_order_relaxed);
    atomic_store_explicit(&server->ejections, 0, memory_order_relaxed);
    atomic_store_explicit(&server->refusals, 0, memory_order_relaxed);
    atomic_fetch_add(&upstream->changes, 1);
}

/* ---- what can be offered ---- */

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

/* ---- health ---- */

bool upstream_note_up(struct upstream_server *server, uint32_t extensions, uint64_t size,
                      int64_t now_ms)
{
    atomic_store_explicit(&server->size, size, memory_order_relaxed);
    atomic_store_explicit(&server->extensions, extensions, memory_order_relaxed);
    atomic_store_explicit(&server->known, 1, memory_order_release);
    if (now_ms < atomic_load_explicit(&server->retry_ms, memory_order_relaxed)) {
        return false; /* it talks, but it was ejected for what it said or took */
    }
    uint32_t before = atomic_load_explicit(&server->health, memory_order_relaxed);
    if (before == SERVER_UP) {
        return false;
    }
    if (before == SERVER_DOWN) {
        atomic_store_explicit(&server->up_ms, now_ms, memory_order_relaxed);
        atomic_store_explicit(&server->refusals, 0, memory_order_relaxed);
    }
    return atomic_exchange(&server->health, SERVER_UP) != SERVER_UP;
}

bool upstream_note_down(struct upstream *upstream, struct upstream_server *server)
{
    if (atomic_exchange(&server->health, SERVER_DOWN) == SERVER_DOWN) {
        return false;
    }
    atomic_fetch_add(&upstream->changes, 1);
    return true;
}

bool upstream_eject(struct upstream *upstream, struct upstream_server *server, int64_t now_ms)
{
    uint32_t times = atomic_fetch_add_explicit(&server->ejections, 1, memory_order_relaxed);
    uint32_t step = times < BACK_OFF_STEPS ? times : BACK_OFF_STEPS;
    int64_t pause_ms = upstream->config->check_interval_ms << step;
    atomic_store_explicit(&server->retry_ms, now_ms + pause_ms, memory_order_relaxed);
    return upstream_note_down(upstream, server);
}

bool upstream_note_reply(struct upstream *upstream, struct upstream_server *server, bool is_refusal,
                         int64_t now_ms)
{
    if (!is_refusal) {
        /* Read before written: the words stay shared between the workers' caches while all is well.
         */
        if (atomic_load_explicit(&server->refusals, memory_order_relaxed) != 0) {
            atomic_store_explicit(&server->refusals, 0, memory_order_relaxed);
        }
        if (atomic_load_explicit(&server->ejections, memory_order_relaxed) != 0) {
            atomic_store_explicit(&server->ejections, 0, memory_order_relaxed);
        }
        return false;
    }
    uint32_t before = atomic_fetch_add_explicit(&server->refusals, 1, memory_order_relaxed);
    return before + 1 >= UPSTREAM_REFUSALS_MAX && upstream_eject(upstream, server, now_ms);
}
