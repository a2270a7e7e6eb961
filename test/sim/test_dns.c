/*
 * test_dns - the DNS client among servers that lie, lose, delay, repeat and reset, in virtual time.
 *
 * Each world has one to three servers; every question a server gets is answered by a behaviour of
 * test/dns_liar.h that the seed picks, late, twice or never. Names are few, so that questions meet
 * and the cache is used; some are cancelled. What must hold in each world: an address that is
 * believed is the true one; every question that was not cancelled is answered once, and within
 * timeout x attempts x servers; nothing is left open at the end; the same seed does the same.
 *
 *      SIM_SEED (printed), SIM_WORLDS (300)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/dns_client.h"
#include "net/loop.h"
#include "net/timer.h"
#include "test/dns_liar.h"
#include "test/loop_sim.h"

enum {
    SERVERS_MAX = 3,
    QUERIES = 120,
    AT_ONCE = 12,
    NAMES = 30,
    LINES_MAX = 256,
    POST_MAX = 512,
    TIMEOUT_MS = 300,
    ATTEMPTS = 2,
    TURNS_MAX = 200000,
};

/* A far end of a socket of the client. */
struct line {
    int fd; /* -1: free */
    uint32_t len;
    uint8_t ask[512]; /* by TCP, as it comes */
};

/* A message on its way to the client. */
struct parcel {
    int64_t due_ms; /* 0: free */
    int fd;
    uint32_t len;
    uint8_t bytes[600];
};

struct asked {
    struct dns_query query;
    struct world *world;
    bool is_open;
    int64_t asked_ms;
};

struct world {
    struct sim *sim;
    struct loop *loop;
    struct dns_client *client;
    uint32_t server_count;
    int listeners[SERVERS_MAX];
    struct line lines[LINES_MAX];
    struct parcel parcels[POST_MAX];
    struct asked asked[AT_ONCE];
    uint32_t begun;
    uint32_t cancelled;
    uint32_t answered;
    uint32_t statuses[DNS_FAILED + 1];
    int64_t worst_ms;
    uint64_t dice;
};

static struct world world;
static struct liar liar;

static uint32_t pick(uint32_t below)
{
    return (uint32_t)(sim_random(world.sim) % below);
}

static void seeded(void *arg, uint8_t *out, uint32_t len)
{
    struct world *of = arg;
    for (uint32_t i = 0; i < len; i++) {
        of->dice = of->dice * UINT64_C(6364136223846793005) + 1442695040888963407;
        out[i] = (uint8_t)(of->dice >> 56);
    }
}

/* ---- the servers ---- */

static void post_later(int fd, const uint8_t *bytes, uint32_t len)
{
    for (int i = 0; i < POST_MAX; i++) {
        struct parcel *parcel = &world.parcels[i];
        if (parcel->due_ms == 0) {
            parcel->due_ms = sim_now_ms(world.sim) + (pick(4) == 0 ? pick(900) : pick(30));
            parcel->fd = fd;
            parcel->len = len;
            assert_true(len <= sizeof(parcel->bytes));
            memcpy(parcel->bytes, bytes, len);
            return;
        }
    }
}

static void serve(const struct line *line, bool is_tcp, const uint8_t *ask, uint32_t len)
{
    enum lie lie = pick(3) == 0 ? LIE_NONE : (enum lie)pick(LIES);
    uint32_t times = pick(8) == 0 ? 2 : 1;
    if (lie == LIE_TWICE) { /* messages overtake each other: the perfect forgery might come first */
        lie = LIE_NONE;
    }
    if (!is_tcp && pick(20) == 0) {
        sim_refuse(world.sim, line->fd);
        return;
    }
    liar_answer(&liar, lie, is_tcp, ask, len);
    for (uint32_t i = 0; i < liar.count; i++) {
        const struct liar_message *message = &liar.messages[i];
        uint8_t framed[600] = {(uint8_t)(message->len >> 8), (uint8_t)message->len};
        memcpy(framed + 2, message->bytes, message->len);
        for (uint32_t n = 0; n < times && !message->from_other; n++) {
            post_later(line->fd, framed + (is_tcp ? 0 : 2), message->len + (is_tcp ? 2 : 0));
        }
    }
}

static void line_close(struct line *line)
{
    for (int i = 0; i < POST_MAX; i++) {
        if (world.parcels[i].fd == line->fd) {
            world.parcels[i].due_ms = 0;
        }
    }
    sim_close(world.sim, line->fd);
    line->fd = -1;
}

static void line_turn_udp(struct line *line)
{
    int64_t len = sim_read(world.sim, line->fd, line->ask, sizeof(line->ask));
    if (len > 0) {
        serve(line, false, line->ask, (uint32_t)len);
    } else if (sim_room(world.sim, line->fd) == 0) {
        line_close(line); /* the client's end is closed */
    }
}

static void line_turn_tcp(struct line *line)
{
    int64_t len = sim_read(world.sim, line->fd, line->ask + line->len,
                           (uint32_t)sizeof(line->ask) - line->len);
    if (len == 0 || len == -ECONNRESET) {
        line_close(line);
    } else if (len > 0) {
        line->len += (uint32_t)len;
        uint32_t want = line->len < 2 ? 512 : 2u + (uint32_t)(line->ask[0] << 8 | line->ask[1]);
        assert_true(line->len <= want);
        if (line->len == want && pick(10) == 0) {
            line_close(line);
        } else if (line->len == want) {
            serve(line, true, line->ask + 2, want - 2);
        }
    }
}

static void accept_lines(void)
{
    for (uint32_t i = 0; i < world.server_count; i++) {
        for (int j = 0; j < LINES_MAX; j++) {
            if (world.lines[j].fd < 0) {
                int fd = sim_accept(world.sim, world.listeners[i]);
                if (fd < 0) {
                    break;
                }
                world.lines[j] = (struct line){.fd = fd};
            }
        }
    }
}

/* True when something is still on its way. */
static bool deliver(void)
{
    bool is_waiting = false;
    for (int i = 0; i < POST_MAX; i++) {
        struct parcel *parcel = &world.parcels[i];
        if (parcel->due_ms != 0 && parcel->due_ms <= sim_now_ms(world.sim)) {
            parcel->due_ms = 0;
            (void)sim_write(world.sim, parcel->fd, parcel->bytes, parcel->len); /* or it is lost */
        }
        is_waiting = is_waiting || parcel->due_ms != 0;
    }
    return is_waiting;
}

static bool servers_turn(void)
{
    accept_lines();
    for (int i = 0; i < LINES_MAX; i++) {
        struct line *line = &world.lines[i];
        if (line->fd >= 0 && sim_is_dgram(world.sim, line->fd)) {
            line_turn_udp(line);
        } else if (line->fd >= 0) {
            line_turn_tcp(line);
        }
    }
    return deliver();
}

/* ---- who asks ---- */

static int64_t bound_ms(void)
{
    /* The last timer may fire a tick late, and the clock moves by up to 20 ms a turn: one to begin,
     * one to end, and a few to close a socket when the deadline finds one closing. */
    return (int64_t)ATTEMPTS * world.server_count * TIMEOUT_MS + TIMER_TICK_MS + 20 * 6;
}

static void on_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct asked *asked = (struct asked *)query;
    int64_t took_ms = sim_now_ms(world.sim) - asked->asked_ms;
    assert_true(asked->is_open);
    asked->is_open = false;
    world.answered++;
    world.statuses[answer->status]++;
    world.worst_ms = took_ms > world.worst_ms ? took_ms : world.worst_ms;
    assert_true(took_ms <= bound_ms());
    for (uint32_t i = 0; i < answer->count; i++) {
        assert_int_equal(answer->records[i].len, 4);
        assert_memory_equal(answer->records[i].data, "\300\0\2\1", 4);
    }
}

static void ask_one(struct asked *asked)
{
    char name[32];
    int len = snprintf(name, sizeof(name), "n%u.example.org", pick(NAMES));
    asked->is_open = true;
    asked->asked_ms = sim_now_ms(world.sim);
    assert_int_equal(
        dns_ask(dns_client_dns(world.client), &asked->query, name, (uint32_t)len, DNS_A, on_answer),
        0);
    world.begun++;
}

/* True when all is over. */
static bool askers_turn(void)
{
    bool is_open = false;
    for (int i = 0; i < AT_ONCE; i++) {
        struct asked *asked = &world.asked[i];
        if (!asked->is_open && world.begun < QUERIES && pick(4) == 0) {
            ask_one(asked);
        } else if (asked->is_open && pick(400) == 0) {
            dns_cancel(&asked->query);
            asked->is_open = false;
            world.cancelled++;
        }
        is_open = is_open || asked->is_open;
    }
    return !is_open && world.begun == QUERIES;
}

static bool on_step(void *arg)
{
    (void)arg;
    if (askers_turn()) {
        return true;
    }
    bool is_waiting = servers_turn();
    if (is_waiting || world.begun < QUERIES) {
        sim_advance(world.sim, pick(20));
    }
    return false;
}

static bool on_last_steps(void *arg)
{
    (void)arg;
    (void)servers_turn();
    return dns_client_is_idle(world.client);
}

/* ---- a world ---- */

static void world_open(uint64_t seed)
{
    memset(&world, 0, sizeof(world));
    world.dice = seed;
    world.sim = sim_create(&(struct sim_options){
        .seed = seed,
        .fd_count = 1024,
        .short_read = 300,
        .short_write = 300,
        .delay = 200,
        .cancel_loses = 500,
        .reset_ppm = 20000,
    });
    struct loop_limits limits = {.fd_count = 1024, .op_count = 256, .buf_count = 1 + pick(4)};
    assert_int_equal(loop_create(&world.loop, &loop_sim, &limits, world.sim), 0);
    world.server_count = 1 + pick(SERVERS_MAX);
    struct sockaddr_storage addrs[SERVERS_MAX];
    memset(addrs, 0, sizeof(addrs));
    for (uint32_t i = 0; i < world.server_count; i++) {
        struct sockaddr_in *addr = (struct sockaddr_in *)&addrs[i];
        addr->sin_family = AF_INET;
        addr->sin_port = htons((uint16_t)(1000 + i));
        world.listeners[i] = sim_listen(world.sim, (struct sockaddr *)addr, sizeof(*addr));
        assert_true(world.listeners[i] >= 0);
    }
    for (int i = 0; i < LINES_MAX; i++) {
        world.lines[i].fd = -1;
    }
    struct dns_client_conf conf = {
        .servers = addrs,
        .server_count = world.server_count,
        .timeout_ms = TIMEOUT_MS,
        .attempts = ATTEMPTS,
        .cache_entries = 8,
        .questions_max = AT_ONCE * 2,
        .random = seeded,
        .random_arg = &world,
    };
    assert_int_equal(dns_client_create(&world.client, world.loop, &conf), 0);
}

static void world_close(void)
{
    dns_client_stop(world.client);
    int result = dns_client_is_idle(world.client)
                     ? 0
                     : sim_run(world.sim, world.loop, on_last_steps, NULL, TURNS_MAX);
    assert_int_equal(result, 0);
    dns_client_destroy(&world.client);
    (void)servers_turn();
    for (uint32_t i = 0; i < world.server_count; i++) {
        sim_close(world.sim, world.listeners[i]);
    }
    for (int i = 0; i < LINES_MAX; i++) {
        if (world.lines[i].fd >= 0) {
            sim_close(world.sim, world.lines[i].fd);
        }
    }
    assert_int_equal(sim_open_count(world.sim), 0);
    loop_destroy(&world.loop);
    sim_destroy(&world.sim);
}

static uint64_t run_world(uint64_t seed)
{
    world_open(seed);
    int result = sim_run(world.sim, world.loop, on_step, NULL, TURNS_MAX);
    if (result != 0) {
        print_message("seed %llu: %d\n", (unsigned long long)seed, result);
    }
    assert_int_equal(result, 0);
    assert_int_equal(world.answered + world.cancelled, QUERIES);
    uint64_t trace = sim_trace(world.sim);
    world_close();
    return trace;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

static void many_worlds(void **state)
{
    (void)state;
    uint64_t seed = setting("SIM_SEED", 20240607);
    uint64_t count = setting("SIM_WORLDS", 300);
    uint64_t statuses[DNS_FAILED + 1] = {0};
    int64_t worst_ms = 0;
    for (uint64_t i = 0; i < count; i++) {
        (void)run_world(seed + i);
        for (int j = 0; j <= DNS_FAILED; j++) {
            statuses[j] += world.statuses[j];
        }
        worst_ms = world.worst_ms > worst_ms ? world.worst_ms : worst_ms;
    }
    print_message("    seed %llu, %llu worlds: %llu true, %llu no data, %llu no name, %llu failed; "
                  "worst %lld ms\n",
                  (unsigned long long)seed, (unsigned long long)count,
                  (unsigned long long)statuses[DNS_OK], (unsigned long long)statuses[DNS_NO_DATA],
                  (unsigned long long)statuses[DNS_NO_NAME],
                  (unsigned long long)statuses[DNS_FAILED], (long long)worst_ms);
    assert_true(statuses[DNS_OK] > count * QUERIES / 3); /* the truth is found, too */
    assert_true(statuses[DNS_FAILED] > 0);
}

static void same_seed_same_trace(void **state)
{
    (void)state;
    uint64_t seed = setting("SIM_SEED", 20240607);
    assert_true(run_world(seed) == run_world(seed));
    assert_true(run_world(seed) != run_world(seed + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_worlds),
        cmocka_unit_test(same_seed_same_trace),
    };
    return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
