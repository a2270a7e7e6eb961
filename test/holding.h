/*
 * holding - a dialogue (test/sim/dialogue.h) whose messages are checked: a zone that answers at once, a
 * DNS server that answers when it likes, and all that the upstream was told, word for word. For test
 * programs only (it fails through cmocka).
 *
 * The message arrives without Received and without our trace field, so that what is expected can be
 * written down. Which checks run, the test says in its configuration; at first none.
 */
#ifndef TEST_HOLDING_H
#define TEST_HOLDING_H

#include "core/session.h"
#include "test/sim/dialogue.h"

struct dns_zone;

enum { SAID_MAX = 1 << 17, LINES_MAX = 256, ASK_MAX = 512 };

enum { DNS_NEVER = -1 };

/* A question on its way back. */
struct dns_line {
    int fd; /* -1: free */
    int64_t due_ms;
    uint32_t len; /* 0: nothing was asked yet */
    uint8_t ask[ASK_MAX];
};

struct holding {
    struct dialogue talk; /* first: the argument of the model's script */
    struct dns_zone *zone;
    int64_t answers_after_ms; /* "no such name", of the server */
    uint32_t asked;
    struct dns_line lines[LINES_MAX];
    uint32_t said_len;
    char said[SAID_MAX]; /* "NUMBER LINE" for each command of the envelope, and DATA */
};

/* What it answers at once: 192.0.2.2 is on the list, example.org has policies. */
#define HOLDING_ZONE                                                                               \
    "$TTL 60\n"                                                                                    \
    "bl.test.                     SOA . . 1 2 3 4 5\n"                                             \
    "2.2.0.192.bl.test.           A 127.0.0.2\n"                                                   \
    "2.2.0.192.bl.test.           TXT \"you are on it\"\n"                                         \
    "org.                         SOA . . 1 2 3 4 5\n"                                             \
    "example.org.                 TXT \"v=spf1 -all\"\n"                                           \
    "_dmarc.example.org.          TXT \"v=DMARC1; p=reject\"\n"                                    \
    "com.                         SOA . . 1 2 3 4 5\n"                                             \
    "example.com.                 TXT \"v=spf1 ip4:192.0.2.2 -all\"\n"                             \
    "net.                         SOA . . 1 2 3 4 5\n"                                             \
    "client.example.              SOA . . 1 2 3 4 5\n"

/* `mode` is HOLD or STREAM; the other options count as they are. The zone answers at once; without it
 * (`is_slow`) the server is asked. */
void holding_open(struct holding *world, enum config_verify_mode mode, struct weir_options options,
                  bool is_slow);
/* EHLO and its reply are behind. */
void holding_hello(struct holding *world, struct client *client);
/* As close_world(). */
void holding_close(struct holding *world);

/* The upstream offers CHUNKING, or does not. */
void holding_offer(struct holding *world, bool chunking);

/* One list, on which the client's address is. */
void holding_set_list(struct holding *world);

/* Compares all that the upstream was told since the last time. */
void holding_expect_said(struct holding *world, const char *text);

/* The last message that arrived is exactly this (in DATA's form, without the end-of-data). */
void holding_expect_message(const struct holding *world, const char *text, uint32_t len);

/* MAIL, RCPT and DATA, with the usual addresses. */
void holding_envelope(struct client *client, const char *from);

/* The session's state; CLOSING when there is none. */
enum session_state holding_state(const struct holding *world);

void holding_pass_time(struct holding *world, int64_t ms);

/* What a client's actor does: watches the memory, plays the DNS server. */
bool holding_act(void *arg);

#endif
