/*
 * checker - see core/checker.h.
 */
#include "core/checker.h"

#include <stdio.h>

#include "core/escape.h"
#include "core/log.h"
#include "core/verification.h"
#include "filters/dnsbl_watch.h"
#include "net/dns_client.h"

enum {
    QUESTIONS_MAX = 1024,      /* to DNS servers at once */
    BLOCKS_MAX = 1u << 22,     /* of held messages: 64 GiB of addresses, memory where it is used */
    BLOCKS_SPARE = 4,          /* of each message, beyond its memory */
    MESSAGES_SPARE = 64,       /* released, with their last op still under way */
    STREAM_MEMORY = 64 * 1024, /* of a message on its way through, in `stream` */
};

uint32_t checker_op_count(const struct config *config, uint32_t session_max)
{
    return config->verify_mode == VERIFY_OFF
               ? 0
               : session_max + MESSAGES_SPARE + DNS_CLIENT_OPS(QUESTIONS_MAX);
}

uint32_t checker_fd_count(const struct config *config)
{
    return config->verify_mode == VERIFY_OFF ? 0 : DNS_CLIENT_FDS(QUESTIONS_MAX);
}

/* ---- lists that cannot be believed any more, or again ---- */

static void on_watch(void *owner, const struct verify_zone *zone, bool is_in, const char *reason)
{
    (void)owner;
    if (is_in) {
        log_line(LEVEL_WARNING, "list %s is asked again: %s", zone->name, reason);
    } else {
        log_line(LEVEL_ERROR, "list %s is left out: %s; it is tried again every minute", zone->name,
                 reason);
    }
}

static int start_watch(struct checker *checker, struct loop *loop)
{
    const struct verify_conf *conf = &checker->config->verify;
    bool has_lists = conf->dnsbl.zone_count > 0 || conf->rhsbl.zone_count > 0;
    if (!has_lists || conf->dnsbl.action == ACTION_OFF) {
        return 0;
    }
    return dnsbl_watch_create(&checker->watch, loop, dns_client_dns(checker->dns), conf, on_watch,
                              checker);
}

/* ---- life ---- */

int checker_create_dns(struct dns_client **ret_client, struct loop *loop,
                       const struct config_dns *config, const struct dns_zone *zone,
                       uint32_t questions_max)
{
    struct dns_client_conf conf = {
        .servers = config->servers,
        .server_count = config->server_count,
        .timeout_ms = (uint32_t)config->timeout_ms,
        .attempts = config->attempts,
        .cache_entries = config->cache_entries,
        .questions_max = questions_max,
        .zone = zone,
    };
    return dns_client_create(ret_client, loop, &conf);
}

int checker_create(struct checker *checker, const struct config *config, struct loop *loop,
                   const struct dns_zone *zone, uint32_t session_max)
{
    bool is_stream = config->verify_mode == VERIFY_STREAM;
    *checker = (struct checker){
        .config = config,
        .message_conf = {.memory_max = is_stream ? STREAM_MEMORY : config->hold_memory,
                         .spool_dir = is_stream ? NULL : config->spool_dir},
    };
    if (config->verify_mode == VERIFY_OFF) {
        return 0;
    }
    uint64_t blocks =
        session_max * (checker->message_conf.memory_max / MESSAGE_BLOCK_SIZE + BLOCKS_SPARE);
    int result = pool_init(&checker->screenings, screening_size(), session_max);
    if (result == 0) {
        result = pool_init(&checker->verifications, verification_size(), session_max);
    }
    if (result == 0) {
        result = message_store_init(&checker->messages, loop, session_max + MESSAGES_SPARE,
                                    (uint32_t)(blocks < BLOCKS_MAX ? blocks : BLOCKS_MAX));
    }
    if (result == 0) {
        result = checker_create_dns(&checker->dns, loop, &config->dns, zone, QUESTIONS_MAX);
    }
    if (result == 0) {
        result = start_watch(checker, loop);
    }
    checker->is_on = result == 0; /* else the process ends, and what exists ends with it */
    return result;
}

void checker_stop(struct checker *checker)
{
    if (checker->is_on && !checker->is_stopped) {
        checker->is_stopped = true;
        if (checker->watch != NULL) {
            dnsbl_watch_stop(checker->watch);
        }
        dns_client_stop(checker->dns);
    }
}

bool checker_is_idle(const struct checker *checker)
{
    return !checker->is_on || (checker->is_stopped && message_store_is_idle(&checker->messages) &&
                               dns_client_is_idle(checker->dns));
}

void checker_log_stats(const struct checker *checker, uint32_t worker)
{
    if (checker->is_on) {
        const struct checker_stats *stats = &checker->stats;
        const struct dns_client_stats *dns = dns_client_stats(checker->dns);
        log_line(
            LEVEL_INFO,
            "worker %u: %llu messages checked, %llu tagged, %llu refused, %llu with a temperror; "
            "DNS: %llu questions sent, %llu answered by the cache, %llu strangers dropped",
            worker, (unsigned long long)stats->checked, (unsigned long long)stats->tagged,
            (unsigned long long)stats->refused, (unsigned long long)stats->temperrors,
            (unsigned long long)dns->messages, (unsigned long long)dns->hits,
            (unsigned long long)dns->strangers);
    }
}

void checker_destroy(struct checker *checker)
{
    if (checker->is_on) {
        dnsbl_watch_destroy(&checker->watch);
        dns_client_destroy(&checker->dns);
        message_store_fini(&checker->messages);
        pool_fini(&checker->screenings);
        pool_fini(&checker->verifications);
        checker->is_on = false;
    }
}
