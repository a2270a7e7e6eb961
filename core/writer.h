/*
 * writer - a line that is put together from pieces, without formatting.
 *
 *   at: the next octet   end: behind the room
 *
 * For the lines that each message needs: the commands for an upstream, our Received field, the record.
 * printf takes a third of all instructions of a small message when it writes them. The caller has made
 * sure of the room; running out of it is an assert. A writer owns nothing.
 */
#ifndef CORE_WRITER_H
#define CORE_WRITER_H

#include <assert.h>
#include <sys/socket.h>

#include "core/text.h"

struct writer {
    char *at;
    char *end;
};

/* As it is: text of ours, or of a peer once it was judged. */
static inline void writer_put(struct writer *w, struct text text)
{
    assert(text.len <= (size_t)(w->end - w->at));
    if (text.len > 0) {
        memcpy(w->at, text.at, text.len);
        w->at += text.len;
    }
}

static inline void writer_string(struct writer *w, const char *string)
{
    writer_put(w, text_of(string));
}

static inline uint32_t writer_len(const struct writer *w, const char *begin)
{
    return (uint32_t)(w->at - begin);
}

/* Decimal. */
void writer_number(struct writer *w, uint64_t number);
void writer_signed(struct writer *w, int64_t number);

/* The last `count` decimal digits, with zeros in front. */
void writer_digits(struct writer *w, uint32_t count, uint32_t number);

/* An address of AF_INET or AF_INET6 in its usual notation, without brackets or port; "unknown" for any
 * other. At most INET6_ADDRSTRLEN - 1 octets. */
void writer_address(struct writer *w, const struct sockaddr *addr);

#endif
