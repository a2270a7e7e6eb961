/*
 * tls_hello - what a ClientHello asks for, before any session memory is spent on it.
 *
 * Pure: reads bytes, changes nothing, allocates nothing. It answers which certificate would do and
 * whether the peer speaks TLS at all; the library judges everything else in its turn. A hello may
 * be spread over records; its size has a maximum.
 */
#ifndef TLS_TLS_HELLO_H
#define TLS_TLS_HELLO_H

#include <stdbool.h>
#include <stdint.h>

#include "tls/tls_cert.h"
#include "tls/tls_ctx.h"

enum {
    TLS_HELLO_MAX = 8192, /* its records, from the first byte to the last; fits a stream's carry */
};

struct tls_hello {
    bool is_1_3;                 /* offers TLS 1.3 */
    bool has_alpn;               /* offers application protocols ... */
    bool has_smtp;               /* ... and "smtp" is one of them */
    uint8_t keys;                /* 1 << enum tls_key for each kind it can verify */
    char name[TLS_NAME_MAX + 1]; /* server_name in lower case, or empty */
};

/* 1: complete; 0: more bytes are needed; -EPROTO: this is no ClientHello; -EMSGSIZE: too large. */
int tls_hello_parse(const void *bytes, uint32_t len, struct tls_hello *ret_hello)
    __attribute__((warn_unused_result));

#endif
