/*
 * toy_cipher - a cipher that is no secret: framed records, each with a sum, for tests of the stream.
 *
 *      type | length, 2 bytes | sum | payload, each byte xor TOY_KEY
 *
 * It behaves as a TLS library does where a stream could notice: a record that came in part is kept
 * inside, plaintext that did not fit as well; the first record of a handshake is left unused until
 * it is whole; a 'K' demands an 'k' in answer before anything else is decrypted; after an error it
 * says so again and again; with the error goes an alert, if there is room.
 */
#ifndef TEST_TOY_CIPHER_H
#define TEST_TOY_CIPHER_H

#include <stdbool.h>

#include "net/cipher.h"

enum {
    TOY_HEADER = 4,
    TOY_KEY = 0x5a,
    TOY_RECORD_MAX = 16384,
    TOY_STEPS_MAX = 6,
    TOY_ERROR = -71, /* -EPROTO */
};

enum toy_type {
    TOY_HANDSHAKE = 'H',
    TOY_DATA = 'D',
    TOY_UPDATE = 'K',
    TOY_ANSWER = 'k',
    TOY_CLOSE = 'X',
    TOY_ALERT = 'A',
};

/* One record of a handshake, in or out. */
struct toy_step {
    bool is_out;
    uint32_t len;
};

struct toy {
    struct cipher cipher; /* first */
    uint32_t record_max;  /* plaintext in one of its records */
    int encrypt_error;    /* what encrypting shall fail with; 0: it works */
    struct toy_step steps[TOY_STEPS_MAX];
    uint32_t step_count;
    uint32_t step;     /* of the handshake */
    uint32_t step_out; /* bytes of this one that are out */
    uint32_t answers;  /* owed */
    int error;
    bool closed;
    bool close_sent;
    uint32_t len; /* of the record that has come so far */
    uint32_t held_at;
    uint32_t held_len; /* plaintext that did not fit */
    uint8_t record[TOY_HEADER + TOY_RECORD_MAX];
};

/* Steps end with one of length 0. */
void toy_init(struct toy *toy, const struct toy_step *steps);

/* Writes a record, its length is returned. */
uint32_t toy_record(char *out, enum toy_type type, const char *data, uint32_t len);

/* The peer's side: the first record of the bytes, its payload in clear in `out`. Its length with the
 * header; 0 while it is incomplete; -1 when it is none. */
int toy_parse(const char *bytes, uint32_t len, char *ret_type, char *out);

#endif
