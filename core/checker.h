/*
 * checker - what one worker needs to check messages: room for them, its own DNS client, its watch over
 * the lists. Where nothing is checked it is empty, and all that is below is harmless.
 */
#ifndef CORE_CHECKER_H
#define CORE_CHECKER_H

#include "core/config.h"
#include "core/message.h"
#include "net/pool.h"

struct dns_client;
struct dns_zone;
struct dnsbl_watch;
struct loop;

/* What came of the messages; for the meter. */
struct checker_stats {
    uint64_t checked;    /* messages with a verdict */
    uint64_t tagged;     /* of them, with a bad result that changed nothing */
    uint64_t refused;    /* 4xx and 5xx of ours, recipients included */
    uint64_t temperrors; /* messages of which something could not be found out */
};

struct checker {
    struct checker_stats stats;
    bool is_on;
    bool is_stopped;
    const struct config *config;
    struct pool screenings;    /* struct screening, one for each session */
    struct pool verifications; /* struct verification, one for each session */
    struct message_store messages;
    struct message_conf message_conf;
    struct dns_client *dns;
    struct dnsbl_watch *watch; /* NULL: there are no lists */
};

/* Config, loop and zone (or NULL) are borrowed until it is destroyed. 0 or -errno. */
int checker_create(struct checker *checker, const struct config *config, struct loop *loop,
                   const struct dns_zone *zone, uint32_t session_max)
    __attribute__((warn_unused_result));

/* The DNS client that the configuration describes; it is all that is checked with outside of a worker.
 * What is borrowed: as above. 0 or -errno. */
int checker_create_dns(struct dns_client **ret_client, struct loop *loop,
                       const struct config_dns *config, const struct dns_zone *zone,
                       uint32_t questions_max) __attribute__((warn_unused_result));

/* No session is left that could ask: turns of the loop follow until it is idle. Harmless again. */
void checker_stop(struct checker *checker);
bool checker_is_idle(const struct checker *checker);

/* One line, when a worker ends. */
void checker_log_stats(const struct checker *checker, uint32_t worker);

/* It must be idle (assert). */
void checker_destroy(struct checker *checker);

/* Ops and descriptors of the loop that the checks of `session_max` sessions can need, the spool files'
 * aside. */
uint32_t checker_op_count(const struct config *config, uint32_t session_max);
uint32_t checker_fd_count(const struct config *config);

#endif
