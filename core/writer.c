/*
 * writer - see core/writer.h.
 */
#include "core/writer.h"

#include <arpa/inet.h>

void writer_number(struct writer *w, uint64_t number)
{
    char digits[20];
    uint32_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    writer_put(w, (struct text){.at = digits + at, .len = (uint32_t)sizeof(digits) - at});
}

void writer_signed(struct writer *w, int64_t number)
{
    if (number < 0) {
        writer_put(w, TEXT("-"));
        writer_number(w, 0 - (uint64_t)number);
        return;
    }
    writer_number(w, (uint64_t)number);
}

void writer_digits(struct writer *w, uint32_t count, uint32_t number)
{
    assert(count <= (size_t)(w->end - w->at));
    for (uint32_t i = count; i > 0; i--) {
        w->at[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
    w->at += count;
}

static void put_v4(struct writer *w, const unsigned char octets[4])
{
    for (int i = 0; i < 4; i++) {
        if (i > 0) {
            writer_put(w, TEXT("."));
        }
        writer_number(w, octets[i]);
    }
}

void writer_address(struct writer *w, const struct sockaddr *addr)
{
    char text[INET6_ADDRSTRLEN] = "unknown";
    if (addr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof(in));
        unsigned char octets[4];
        memcpy(octets, &in.sin_addr, sizeof(octets));
        put_v4(w, octets);
        return;
    }
    if (addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr, sizeof(in6));
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
    }
    writer_string(w, text);
}
