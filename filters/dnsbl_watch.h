/*
 * dnsbl_watch - whether the lists that are asked are still what they were. A list that cannot be
 * believed is left out until it can: it is neither asked nor counted.
 *
 *                  wrong test points, 3 silent tests,
 *                  a run of errors, a flood of listings
 *            IN ------------------------------------------> OUT
 *       test every  <------------------------------------  test every
 *       10 minutes          all test points right           minute
 *
 * A test asks for what a list must contain and what it must not (RFC 5782, 5): 127.0.0.2 and .1, or TEST
 * and INVALID; and for two subjects made up for this test, which nobody can have listed. Caches may
 * answer for the fixed points, longer than either interval; never for what is made up, so a cache alone
 * brings no list back (but for resolvers that derive absence from a signed list, RFC 8198). Until its
 * first test is over a list is in. A name list may lack TEST, as some do, but not lose it. IPv6 test
 * points are not asked: a list may have none, so that no answer would mean anything.
 *
 * A flood: nearly all of the last answers are listings, of a list that had listed less than half before.
 * A network (/24, /48; of names the last two labels) counts once in the window, so that one client
 * cannot make a flood by coming back. When the next test is right, it was the traffic (a wave of spam),
 * and the running share begins anew: what is always high is no flood, as long as the tests are right.
 *
 * One per worker: no threads, no locks. Never logs; the owner is told.
 */
#ifndef FILTERS_DNSBL_WATCH_H
#define FILTERS_DNSBL_WATCH_H

#include <stdbool.h>

#include "filters/listing.h"

enum {
    DNSBL_WATCH_INTERVAL_MS = 600 * 1000,
    DNSBL_WATCH_RETRY_MS = 60 * 1000,
    DNSBL_WATCH_SILENT_MAX = 3, /* tests: a lost datagram or a resolver's restart is one */

    /* In a row. Names that happen to fail come one by one; a list that blocks us fails them all. */
    DNSBL_WATCH_ERRORS_MAX = 20,

    /* Of a share of 49 %, 46 of 50 or more come by chance once in 10^10 times. */
    DNSBL_WATCH_WINDOW = 50,
    DNSBL_WATCH_FLOOD_PERCENT = 90,  /* above: a flood */
    DNSBL_WATCH_NORMAL_PERCENT = 50, /* below: what makes it one */

    /* Answers older than the window: from 200 on the running share is known to 3.5 % (one sigma), and
     * it is that of about the last 1000. */
    DNSBL_WATCH_WARM_UP = 200,
    DNSBL_WATCH_MEMORY = 1000,
};

struct loop;
struct dnsbl_watch;

/* `reason`: clean text, valid inside the call. The watch may be asked in it, but not stopped. */
typedef void dnsbl_watch_changed(void *owner, const struct verify_zone *zone, bool is_in,
                                 const char *reason);

/* Watches the zones of conf->dnsbl and conf->rhsbl, and puts the first questions. Loop, DNS and conf
 * are borrowed until it is destroyed. 0 or -ENOMEM. */
int dnsbl_watch_create(struct dnsbl_watch **ret_watch, struct loop *loop, struct dns *dns,
                       const struct verify_conf *conf, dnsbl_watch_changed *changed, void *owner)
    __attribute__((warn_unused_result));

/* No questions, timers and calls of `changed` any more; every zone stays as it is. */
void dnsbl_watch_stop(struct dnsbl_watch *watch);

/* Stops it as well. Nulls the pointer, accepts NULL in it. */
void dnsbl_watch_destroy(struct dnsbl_watch **watch);

/* True also without a watch, and for a zone that it does not watch. */
bool dnsbl_watch_is_in(const struct dnsbl_watch *watch, const struct verify_zone *zone);

/* What a zone has answered to a real question about `subject`; HEARD_ERROR: also that nothing came.
 * NULL for no watch is fine. */
void dnsbl_watch_note(struct dnsbl_watch *watch, const struct verify_zone *zone,
                      const char *subject, enum listing_heard heard);

#endif
