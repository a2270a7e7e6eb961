/*
 * proxy_header - the PROXY protocol's header, versions 1 and 2, as a receiver reads it.
 *
 * Pure. The header says whose connection a load balancer hands on; whether a peer may send one is
 * the caller's matter (design P7), and so is that nothing behind it is looked at before it is
 * complete. Never guesses: what is not exactly a header is PROXY_BAD, at the first byte that shows
 * it. The specification is HAProxy's doc/proxy-protocol.txt.
 */
#ifndef NET_PROXY_HEADER_H
#define NET_PROXY_HEADER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    PROXY_V1_MAX = 107, /* bytes of a version 1 header with its CRLF */
    PROXY_V2_MAX =
        2048, /* bytes of a version 2 header with its TLVs that we take; longer ones are BAD */
};

enum proxy_result {
    PROXY_MORE, /* a header so far, but incomplete */
    PROXY_OK,
    PROXY_BAD,
};

struct proxy_header {
    uint32_t len;    /* bytes of the header: what follows is the client's */
    bool has_source; /* false for LOCAL, UNKNOWN and unspecified families: the real peer is the
                        client */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } source;
};

/* Looks at the first bytes of a connection. *ret_header is written on PROXY_OK only. */
enum proxy_result proxy_header_scan(const char *data, uint32_t len,
                                    struct proxy_header *ret_header);

#endif
