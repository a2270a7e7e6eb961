/*
 * tls_tickets - see tls_tickets.h for the promises.
 *
 * The order of the accesses: the writer makes the number odd, then stores each word with release;
 * so a reader that sees a new word (acquire) also sees the odd number when it looks at it again.
 */
#include "tls/tls_tickets.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

enum { ATTEMPTS_MAX = 4 };

static int fill_random(void *bytes, size_t len)
{
    ssize_t got;
    do {
        got = getrandom(bytes, len, 0);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)len) {
        return got < 0 ? -errno : -EIO;
    }
    return 0;
}

static void slot_write(struct tls_ticket_slot *slot, const uint64_t words[TLS_TICKET_WORDS])
{
    uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    assert(sequence % 2 == 0);
    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_relaxed);
    for (int i = 0; i < TLS_TICKET_WORDS; i++) {
        atomic_store_explicit(&slot->words[i], words[i], memory_order_release);
    }
    atomic_store_explicit(&slot->sequence, sequence + 2, memory_order_release);
}

static bool slot_read(const struct tls_ticket_slot *slot, struct tls_ticket_key *ret_key)
{
    uint64_t words[TLS_TICKET_WORDS];
    _Static_assert(sizeof(words) == sizeof(*ret_key), "a key is its words");
    uint32_t before = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    for (int i = 0; i < TLS_TICKET_WORDS; i++) {
        words[i] = atomic_load_explicit(&slot->words[i], memory_order_acquire);
    }
    uint32_t after = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    bool whole = before != 0 && before % 2 == 0 && before == after;
    if (whole) {
        memcpy(ret_key, words, sizeof(words));
    }
    explicit_bzero(words, sizeof(words));
    return whole;
}

int tls_tickets_init(struct tls_tickets *tickets)
{
    memset(tickets, 0, sizeof(*tickets));
    return tls_tickets_rotate(tickets);
}

int tls_tickets_rotate(struct tls_tickets *tickets)
{
    uint64_t words[TLS_TICKET_WORDS];
    int result = fill_random(words, sizeof(words));
    if (result != 0) {
        return result;
    }
    uint32_t newest = atomic_load_explicit(&tickets->newest, memory_order_relaxed);
    uint32_t next = (newest + 1) % TLS_TICKET_KEYS;
    slot_write(&tickets->slots[next], words);
    atomic_store_explicit(&tickets->newest, next, memory_order_release);
    /* The slot that comes next no longer opens: a key's end is its last rotation's, not the next.
     */
    uint64_t nothing[TLS_TICKET_WORDS] = {0};
    struct tls_ticket_slot *oldest = &tickets->slots[(next + 1) % TLS_TICKET_KEYS];
    if (atomic_load_explicit(&oldest->sequence, memory_order_relaxed) != 0) {
        slot_write(oldest, nothing);
    }
    explicit_bzero(words, sizeof(words));
    return 0;
}

void tls_tickets_fini(struct tls_tickets *tickets)
{
    explicit_bzero(tickets, sizeof(*tickets));
}

bool tls_tickets_newest(const struct tls_tickets *tickets, struct tls_ticket_key *ret_key)
{
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        uint32_t newest = atomic_load_explicit(&tickets->newest, memory_order_acquire);
        assert(newest < TLS_TICKET_KEYS);
        if (slot_read(&tickets->slots[newest], ret_key)) {
            return true;
        }
    }
    return false;
}

/* Names are random; the zero name of an emptied slot can be asked for by a peer, so it never
 * counts. */
bool tls_tickets_find(const struct tls_tickets *tickets, const uint8_t name[TLS_TICKET_NAME_SIZE],
                      struct tls_ticket_key *ret_key)
{
    static const uint8_t no_name[TLS_TICKET_NAME_SIZE];
    if (memcmp(name, no_name, sizeof(no_name)) == 0) {
        return false;
    }
    for (uint32_t i = 0; i < TLS_TICKET_KEYS; i++) {
        struct tls_ticket_key key;
        if (slot_read(&tickets->slots[i], &key) && memcmp(key.name, name, sizeof(key.name)) == 0) {
            *ret_key = key;
            return true;
        }
    }
    return false;
}
