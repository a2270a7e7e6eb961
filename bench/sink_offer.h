/*
 * sink_offer - what weir-sink says of itself: banner, HELO and EHLO replies, and what they allow.
 *
 * Made once from the options; immutable afterwards.
 */
#ifndef BENCH_SINK_OFFER_H
#define BENCH_SINK_OFFER_H

#include "core/smtp_command.h"

enum {
    SINK_NAME_MAX = 255,
    SINK_EHLO_MAX = 4096,
};

struct sink_offer {
    bool ehlo_refused;   /* -e none */
    uint32_t extensions; /* set of enum smtp_ext, of those the sink knows */
    uint64_t size_max;   /* of SIZE=N; 0: no limit */
    uint32_t banner_len;
    uint32_t helo_len;
    uint32_t ehlo_len;
    char banner[SINK_NAME_MAX + 32];
    char helo[SINK_NAME_MAX + 32];
    char ehlo[SINK_EHLO_MAX];
};

/*
 * `list` is that of -e: keywords with commas between them, "SIZE=N" for the keyword with its value;
 * other words are offered as they stand. 0, or -EINVAL with the reason in *ret_why.
 */
int sink_offer_init(struct sink_offer *offer, const char *name, const char *list,
                    const char **ret_why) __attribute__((warn_unused_result));

#endif
