/*
 * sink_rules - what weir-sink does wrong, and when: the -m options.
 *
 *      STAGE[/N]:ACTION        "rcpt/2:reply=450 4.2.1 later", "eom:delay=500", "data:drop"
 *
 * A stage is a point at which the sink is about to answer. Each time one is reached the rules that
 * name it are combined into a plan: how long to wait, what to say instead, how to go on. Several
 * rules may work together (delay=100 and close-after); where two say the same thing differently the
 * later one holds. Counting is per process, so /N means the N-th time on any connection.
 *
 * Parsing is pure. The rules are set up once and live as long as the process; a plan borrows its
 * text from them.
 */
#ifndef BENCH_SINK_RULES_H
#define BENCH_SINK_RULES_H

#include "core/text.h"

enum {
    SINK_RULES_MAX = 64,
    SINK_RULE_TEXT_MAX = 2048,      /* bytes of one reply, its last CRLF included */
    SINK_RULE_MS_MAX = 3600 * 1000, /* of delay and drip */
};

enum sink_stage {
    STAGE_CONNECT, /* the banner */
    STAGE_EHLO,
    STAGE_HELO,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA, /* and a BDAT chunk that is not the last one */
    STAGE_BODY, /* the first bytes of a message are there; its usual answer is none */
    STAGE_EOM,  /* the message is complete */
    STAGE_RSET,
    STAGE_NOOP,
    STAGE_QUIT,
    STAGE_COUNT,
    STAGE_NONE = STAGE_COUNT, /* no rule can name it */
};

enum sink_action {
    ACTION_DELAY,
    ACTION_REPLY,
    ACTION_DROP,
    ACTION_RESET,
    ACTION_GARBAGE,
    ACTION_HANG,
    ACTION_DRIP,
    ACTION_EARLY,
    ACTION_CLOSE_AFTER,
};

struct sink_rule {
    enum sink_stage stage;
    uint32_t nth; /* 0: always */
    enum sink_action action;
    uint32_t ms;
    uint32_t text_len;
    char text[SINK_RULE_TEXT_MAX]; /* CRLF at its end */
};

struct sink_rules {
    uint32_t count;
    uint32_t stages; /* set of the stages that rules name */
    uint32_t reached[STAGE_COUNT];
    struct sink_rule rules[SINK_RULES_MAX];
};

enum sink_end { END_NORMAL, END_CLOSE_AFTER, END_DROP, END_RESET, END_HANG };

struct sink_plan {
    uint32_t delay_ms; /* before anything else; 0: none */
    uint32_t drip_ms;  /* between two bytes of the answer; 0: all at once */
    bool has_reply;    /* `reply` replaces the usual answer */
    bool garbage;      /* so do random bytes */
    enum sink_end end;
    struct text reply; /* borrowed from the rules */
};

/* Parses one option. 0, or -EINVAL with the reason, in words, in *ret_why. */
int sink_rule_parse(struct sink_rule *ret_rule, const char *option, const char **ret_why)
    __attribute__((warn_unused_result));

/* Parses an option and adds it: likewise, or -ENOSPC. */
int sink_rules_add(struct sink_rules *rules, const char *option, const char **ret_why)
    __attribute__((warn_unused_result));

/* The stage is reached: counts that, and tells what to do. */
void sink_rules_reach(struct sink_rules *rules, enum sink_stage stage, struct sink_plan *ret_plan);

/* Whether the next end-of-message is to be answered before the message has come. */
bool sink_rules_answer_early(const struct sink_rules *rules);

#endif
