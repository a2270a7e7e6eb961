/*
 * dnsbl_watch - see filters/dnsbl_watch.h.
 */
#include "filters/dnsbl_watch.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/address.h"
#include "filters/verify_conf.h"
#include "net/loop.h"

enum {
    WATCH_MAGIC = 0x57415443,
    REASON_MAX = 160,
    POINT_MAX = 32, /* a test point's name */
    POINT_COUNT = 4,
    NIBBLES_LEN = 63,     /* of an IPv6 address with its dots */
    NIBBLES_OUTSIDE = 40, /* of these, what is below its /48 */
};

struct watched;

/* One question of a test. */
struct point {
    struct watched *watched;
    bool must_be_listed;
    char name[POINT_MAX];
    struct dns_query query;
};

/* The last answers, each with its network, and the share of listings among those before. */
struct history {
    uint32_t count; /* of the window */
    uint32_t at;    /* the oldest one, when the window is full */
    uint32_t listed_count;
    uint32_t networks[DNSBL_WATCH_WINDOW];
    bool is_listed[DNSBL_WATCH_WINDOW];
    uint32_t older_count;
    double older_share;
};

struct watched {
    struct dnsbl_watch *watch;
    const struct verify_zone *zone;
    bool is_of_names;
    bool is_in;
    bool has_listed_point;   /* a name list that has shown its TEST */
    bool is_silent;          /* a point of this test was not answered */
    uint32_t owed;           /* answers of this test */
    uint32_t silent_count;   /* tests in a row */
    uint32_t error_count;    /* real answers in a row */
    char reason[REASON_MAX]; /* what was wrong with this test */
    struct history history;
    struct timer timer;
    struct point points[POINT_COUNT];
};

struct dnsbl_watch {
    uint32_t magic;
    bool is_stopped;
    struct loop *loop;
    struct dns *dns;
    const struct verify_conf *conf;
    dnsbl_watch_changed *changed;
    void *owner;
    uint32_t count;
    struct watched zones[];
};

static void on_timer(struct timer *timer);

/* ---- in and out ---- */

static void cancel_test(struct watched *watched)
{
    for (uint32_t i = 0; i < POINT_COUNT; i++) {
        dns_cancel(&watched->points[i].query);
    }
    watched->owed = 0;
}

static void test_in(struct watched *watched, int64_t wait_ms)
{
    struct loop *loop = watched->watch->loop;
    loop_timer_set(loop, &watched->timer, loop_now_ms(loop) + wait_ms, on_timer);
}

/* A test that is under way was begun in better times: it does not count any more. */
static void take_out(struct watched *watched, const char *reason)
{
    const struct dnsbl_watch *watch = watched->watch;
    assert(watched->is_in);
    watched->is_in = false;
    watched->error_count = 0;
    cancel_test(watched);
    test_in(watched, DNSBL_WATCH_RETRY_MS);
    watch->changed(watch->owner, watched->zone, false, reason);
}

static void put_back(struct watched *watched)
{
    const struct dnsbl_watch *watch = watched->watch;
    assert(!watched->is_in);
    watched->is_in = true;
    test_in(watched, DNSBL_WATCH_INTERVAL_MS);
    watch->changed(watch->owner, watched->zone, true, "its test points are right");
}

/* ---- tests ---- */

static void end_silent(struct watched *watched)
{
    watched->silent_count++;
    if (watched->is_in && watched->silent_count >= DNSBL_WATCH_SILENT_MAX) {
        take_out(watched, "its test points are not answered");
    } else {
        test_in(watched, DNSBL_WATCH_RETRY_MS);
    }
}

static void end_wrong(struct watched *watched)
{
    watched->silent_count = 0;
    if (watched->is_in) {
        take_out(watched, watched->reason);
    } else {
        test_in(watched, DNSBL_WATCH_RETRY_MS);
    }
}

static void end_right(struct watched *watched)
{
    watched->silent_count = 0;
    if (watched->is_in) {
        test_in(watched, DNSBL_WATCH_INTERVAL_MS);
    } else {
        put_back(watched);
    }
}

static void end_test(struct watched *watched)
{
    if (watched->reason[0] != '\0') {
        end_wrong(watched);
    } else if (watched->is_silent) {
        end_silent(watched);
    } else {
        end_right(watched);
    }
}

/* The first thing that is wrong stays. */
static void set_reason(struct watched *watched, const struct point *point, const char *what)
{
    if (watched->reason[0] == '\0') {
        (void)snprintf(watched->reason, sizeof(watched->reason), "test point %s %s", point->name,
                       what);
    }
}

/* The code that is none, told by its number: some lists say in it why they do not answer. */
static void set_reason_code(struct watched *watched, const struct point *point,
                            const struct dns_answer *answer)
{
    char what[POINT_MAX + INET_ADDRSTRLEN] = "is answered with what is no address";
    char code[INET_ADDRSTRLEN];
    for (uint32_t i = 0; i < answer->count; i++) {
        if (answer->records[i].len == 4 &&
            listing_judge_code(NULL, &answer->records[i]) == HEARD_ERROR) {
            (void)inet_ntop(AF_INET, answer->records[i].data, code, sizeof(code));
            (void)snprintf(what, sizeof(what), "is answered with %s", code);
            break;
        }
    }
    set_reason(watched, point, what);
}

static void judge_unlisted(struct watched *watched, const struct point *point)
{
    bool is_optional = watched->is_of_names && !watched->has_listed_point;
    if (point->must_be_listed && !is_optional) {
        set_reason(watched, point, "is not listed");
    }
}

static void judge_listed(struct watched *watched, const struct point *point)
{
    if (point->must_be_listed) {
        watched->has_listed_point = true;
    } else {
        set_reason(watched, point, "is listed");
    }
}

static void on_point(struct dns_query *query, const struct dns_answer *answer)
{
    const struct point *point = list_entry(query, struct point, query);
    struct watched *watched = point->watched;
    assert(watched->owed > 0);
    watched->owed--;
    enum listing_heard heard = listing_judge(NULL, answer);
    if (answer->status == DNS_FAILED) {
        watched->is_silent = true;
    } else if (heard == HEARD_ERROR) {
        set_reason_code(watched, point, answer);
    } else if (heard == HEARD_LISTED) {
        judge_listed(watched, point);
    } else {
        judge_unlisted(watched, point);
    }
    if (watched->owed == 0) {
        end_test(watched);
    }
}

/* What is made up changes with every second of the loop's clock. Other addresses of the loopback network
 * find lists that count everything in by number, other names those that do so by wildcard. */
static void name_points(struct watched *watched)
{
    struct point *points = watched->points;
    uint32_t now_s = (uint32_t)(loop_now_ms(watched->watch->loop) / 1000);
    points[0].must_be_listed = true;
    if (watched->is_of_names) {
        (void)snprintf(points[0].name, POINT_MAX, "test");
        (void)snprintf(points[1].name, POINT_MAX, "invalid");
        (void)snprintf(points[2].name, POINT_MAX, "watch-%u.invalid", now_s);
    } else {
        (void)snprintf(points[0].name, POINT_MAX, "2.0.0.127");
        (void)snprintf(points[1].name, POINT_MAX, "1.0.0.127");
        (void)snprintf(points[2].name, POINT_MAX, "%u.%u.%u.127", now_s & 255, now_s >> 8 & 255,
                       128 | (now_s >> 16 & 127));
    }
    (void)snprintf(points[3].name, POINT_MAX, "watch-%u", now_s);
}

static void start_test(struct watched *watched)
{
    char name[POINT_MAX + VERIFY_NAME_MAX];
    assert(watched->owed == 0);
    watched->is_silent = false;
    watched->reason[0] = '\0';
    name_points(watched);
    for (uint32_t i = 0; i < POINT_COUNT; i++) {
        struct point *point = &watched->points[i];
        int len = snprintf(name, sizeof(name), "%s.%s", point->name, watched->zone->name);
        if (dns_ask(watched->watch->dns, &point->query, name, (uint32_t)len, DNS_A, on_point) < 0) {
            watched->is_silent = true; /* the zone's name is too long to be asked */
        } else {
            watched->owed++;
        }
    }
    if (watched->owed == 0) {
        end_test(watched);
    }
}

static void on_timer(struct timer *timer)
{
    start_test(list_entry(timer, struct watched, timer));
}

/* ---- real answers ---- */

/* What stands for the network or the owner of a subject, as a number. */
static uint32_t network_of(const struct watched *watched, const char *subject)
{
    const char *from = subject;
    uint32_t dots = 0;
    if (watched->is_of_names) {
        for (from = subject + strlen(subject); from > subject; from--) {
            dots += from[-1] == '.' ? 1 : 0;
            if (dots == 2) {
                break;
            }
        }
    } else if (strlen(subject) == NIBBLES_LEN) {
        from = subject + NIBBLES_OUTSIDE;
    } else {
        from = subject + strcspn(subject, ".");
    }
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *from != '\0'; from++) {
        hash = (hash ^ (uint8_t)*from) * 16777619u;
    }
    return hash;
}

static bool has_network(const struct history *history, uint32_t network)
{
    for (uint32_t i = 0; i < history->count; i++) {
        if (history->networks[i] == network) {
            return true;
        }
    }
    return false;
}

/* The oldest of a full window goes into the running share: the plain mean of few, then one that
 * forgets. */
static void age(struct history *history)
{
    uint32_t at = history->at;
    if (history->older_count < DNSBL_WATCH_MEMORY) {
        history->older_count++;
    }
    history->older_share +=
        ((history->is_listed[at] ? 1.0 : 0.0) - history->older_share) / history->older_count;
    history->listed_count -= history->is_listed[at] ? 1 : 0;
}

static void add(struct history *history, uint32_t network, bool is_listed)
{
    if (has_network(history, network)) {
        return;
    }
    if (history->count == DNSBL_WATCH_WINDOW) {
        age(history);
    } else {
        history->count++;
    }
    history->networks[history->at] = network;
    history->is_listed[history->at] = is_listed;
    history->listed_count += is_listed ? 1 : 0;
    history->at = (history->at + 1) % DNSBL_WATCH_WINDOW;
}

static bool is_flood(const struct history *history)
{
    return history->older_count >= DNSBL_WATCH_WARM_UP &&
           history->older_share * 100 < DNSBL_WATCH_NORMAL_PERCENT &&
           history->listed_count * 100 > DNSBL_WATCH_WINDOW * DNSBL_WATCH_FLOOD_PERCENT;
}

static void note_error(struct watched *watched)
{
    watched->error_count++;
    if (watched->error_count >= DNSBL_WATCH_ERRORS_MAX) {
        take_out(watched, "it answers nothing but errors");
    }
}

static void note_answer(struct watched *watched, const char *subject, bool is_listed)
{
    watched->error_count = 0;
    add(&watched->history, network_of(watched, subject), is_listed);
    if (is_flood(&watched->history)) {
        char reason[REASON_MAX];
        (void)snprintf(reason, sizeof(reason), "it lists %u of %u, where it had listed %.0f %%",
                       watched->history.listed_count, DNSBL_WATCH_WINDOW,
                       watched->history.older_share * 100);
        watched->history = (struct history){0};
        take_out(watched, reason);
    }
}

/* ---- the owner's and the checks' calls ---- */

/* Of this table, or -1. */
static int64_t find(const struct verify_zone *zones, uint32_t count, const struct verify_zone *zone)
{
    for (uint32_t i = 0; i < count; i++) {
        if (&zones[i] == zone) {
            return i;
        }
    }
    return -1;
}

/* The zones stand in the order of the configuration, names behind addresses; or -1. */
static int64_t index_of(const struct dnsbl_watch *watch, const struct verify_zone *zone)
{
    const struct verify_conf *conf = watch->conf;
    assert(watch->magic == WATCH_MAGIC);
    int64_t at = find(conf->dnsbl.zones, conf->dnsbl.zone_count, zone);
    if (at >= 0) {
        return at;
    }
    at = find(conf->rhsbl.zones, conf->rhsbl.zone_count, zone);
    return at >= 0 ? at + conf->dnsbl.zone_count : -1;
}

bool dnsbl_watch_is_in(const struct dnsbl_watch *watch, const struct verify_zone *zone)
{
    int64_t at = watch == NULL ? -1 : index_of(watch, zone);
    return at < 0 || watch->zones[at].is_in;
}

void dnsbl_watch_note(struct dnsbl_watch *watch, const struct verify_zone *zone,
                      const char *subject, enum listing_heard heard)
{
    int64_t at = watch == NULL || watch->is_stopped ? -1 : index_of(watch, zone);
    if (at < 0 || !watch->zones[at].is_in) {
        return;
    }
    if (heard == HEARD_ERROR) {
        note_error(&watch->zones[at]);
    } else {
        note_answer(&watch->zones[at], subject, heard == HEARD_LISTED);
    }
}

static void add_zone(struct dnsbl_watch *watch, const struct verify_zone *zone, bool is_of_names)
{
    struct watched *watched = &watch->zones[watch->count++];
    watched->watch = watch;
    watched->zone = zone;
    watched->is_of_names = is_of_names;
    watched->is_in = true;
    timer_init(&watched->timer);
    for (uint32_t i = 0; i < POINT_COUNT; i++) {
        watched->points[i].watched = watched;
    }
    start_test(watched);
}

int dnsbl_watch_create(struct dnsbl_watch **ret_watch, struct loop *loop, struct dns *dns,
                       const struct verify_conf *conf, dnsbl_watch_changed *changed, void *owner)
{
    uint32_t count = conf->dnsbl.zone_count + conf->rhsbl.zone_count;
    struct dnsbl_watch *watch = calloc(1, sizeof(*watch) + count * sizeof(watch->zones[0]));
    if (watch == NULL) {
        return -ENOMEM;
    }
    watch->magic = WATCH_MAGIC;
    watch->loop = loop;
    watch->dns = dns;
    watch->conf = conf;
    watch->changed = changed;
    watch->owner = owner;
    for (uint32_t i = 0; i < conf->dnsbl.zone_count; i++) {
        add_zone(watch, &conf->dnsbl.zones[i], false);
    }
    for (uint32_t i = 0; i < conf->rhsbl.zone_count; i++) {
        add_zone(watch, &conf->rhsbl.zones[i], true);
    }
    *ret_watch = watch;
    return 0;
}

void dnsbl_watch_stop(struct dnsbl_watch *watch)
{
    assert(watch->magic == WATCH_MAGIC);
    watch->is_stopped = true;
    for (uint32_t i = 0; i < watch->count; i++) {
        cancel_test(&watch->zones[i]);
        loop_timer_stop(watch->loop, &watch->zones[i].timer);
    }
}

void dnsbl_watch_destroy(struct dnsbl_watch **watch)
{
    if (*watch != NULL) {
        dnsbl_watch_stop(*watch);
        (*watch)->magic = 0;
        free(*watch);
        *watch = NULL;
    }
}
