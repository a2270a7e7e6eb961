/*
 * verify_conf - what the operator set for the checks; filled by core, immutable, shared by workers.
 */
#ifndef FILTERS_VERIFY_CONF_H
#define FILTERS_VERIFY_CONF_H

#include "filters/filter.h"

enum {
    VERIFY_ZONES_MAX = FOUND_ZONES_MAX,
    VERIFY_RANGES_MAX = 8,
    VERIFY_NAME_MAX = 256,
};

/* Answers a.b.c.d with first <= it <= last; host byte order. */
struct verify_range {
    uint32_t first;
    uint32_t last;
};

struct verify_zone {
    char name[VERIFY_NAME_MAX];
    int32_t weight; /* negative: an allow list */
    uint32_t range_count;
    struct verify_range ranges[VERIFY_RANGES_MAX];
};

struct verify_conf {
    char authserv_id[VERIFY_NAME_MAX];
    struct {
        uint32_t zone_count;
        struct verify_zone zones[VERIFY_ZONES_MAX];
        int32_t threshold;
        enum filter_action action;
    } dnsbl;
    struct { /* of domains; threshold and action are those of dnsbl */
        uint32_t zone_count;
        struct verify_zone zones[VERIFY_ZONES_MAX];
    } rhsbl;
    struct {
        enum filter_action action;
    } spf;
    struct {
        enum filter_action action;
        uint32_t signatures_max; /* 1..FOUND_SIGNATURES_MAX */
    } dkim;
    struct {
        enum filter_action action; /* REJECT: what the domain's owner asks for */
    } dmarc;
};

#endif
