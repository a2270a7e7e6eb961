/*
 * tls_tickets - the keys that session tickets are sealed with.
 *
 * All workers share one set, so each resumes what another began, and reloads keep it. One thread
 * rotates it; any number read it at the same time without a lock. The key that seals is the newest;
 * those of the last TLS_TICKET_KEYS - 2 rotations still open, and then are overwritten.
 *
 * Each slot has a sequence number, odd while it is being written: a reader copies the words and
 * takes the copy only when the number did not change meanwhile.
 *
 *      slots:  [ newest: seals | older: opens | older: opens | the next to be written ]
 */
#ifndef TLS_TLS_TICKETS_H
#define TLS_TLS_TICKETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    TLS_TICKET_KEYS = 4,
    TLS_TICKET_NAME_SIZE = 16,
    TLS_TICKET_KEY_SIZE = 32,
    TLS_TICKET_WORDS = (TLS_TICKET_NAME_SIZE + TLS_TICKET_KEY_SIZE) / 8,
    TLS_TICKET_ROTATE_S = 3600,       /* how often the owner should rotate */
    TLS_TICKET_LIFETIME_S = 2 * 3600, /* what tickets announce */
};

struct tls_ticket_slot {
    _Atomic uint32_t sequence; /* 0: never written */
    _Atomic uint64_t words[TLS_TICKET_WORDS];
};

struct tls_tickets {
    _Atomic uint32_t newest;
    struct tls_ticket_slot slots[TLS_TICKET_KEYS];
};

struct tls_ticket_key {
    uint8_t name[TLS_TICKET_NAME_SIZE];
    uint8_t key[TLS_TICKET_KEY_SIZE];
};

/* With a first key. 0 or -errno of getrandom(2). */
int tls_tickets_init(struct tls_tickets *tickets) __attribute__((warn_unused_result));

/* A new newest key; the thread that owns the set. 0 or -errno (nothing has changed then). */
int tls_tickets_rotate(struct tls_tickets *tickets) __attribute__((warn_unused_result));

/* Overwrites all keys. No reader may be left. */
void tls_tickets_fini(struct tls_tickets *tickets);

/* The key that seals. False when it was overwritten during each of a few attempts. */
bool tls_tickets_newest(const struct tls_tickets *tickets, struct tls_ticket_key *ret_key);

/* The key of that name, if it still opens. */
bool tls_tickets_find(const struct tls_tickets *tickets, const uint8_t name[TLS_TICKET_NAME_SIZE],
                      struct tls_ticket_key *ret_key);

#endif
