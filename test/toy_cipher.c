/*
 * toy_cipher - see test/toy_cipher.h.
 */
#include "test/toy_cipher.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static const struct cipher_ops toy_ops;

void toy_init(struct toy *toy, const struct toy_step *steps)
{
    memset(toy, 0, sizeof(*toy));
    toy->cipher.ops = &toy_ops;
    toy->record_max = TOY_RECORD_MAX;
    while (steps[toy->step_count].len > 0) {
        assert(toy->step_count < TOY_STEPS_MAX);
        toy->steps[toy->step_count] = steps[toy->step_count];
        toy->step_count++;
    }
}

/* ---- records ---- */

static uint8_t sum_of(const char *data, uint32_t len)
{
    uint32_t sum = 1;
    for (uint32_t i = 0; i < len; i++) {
        sum = sum * 31 + (uint8_t)data[i];
    }
    return (uint8_t)(sum ^ sum >> 8 ^ sum >> 16);
}

uint32_t toy_record(char *out, enum toy_type type, const char *data, uint32_t len)
{
    assert(len <= TOY_RECORD_MAX);
    out[0] = (char)type;
    out[1] = (char)(len >> 8);
    out[2] = (char)len;
    out[3] = (char)sum_of(data, len);
    for (uint32_t i = 0; i < len; i++) {
        out[TOY_HEADER + i] = (char)(data[i] ^ TOY_KEY);
    }
    return TOY_HEADER + len;
}

static uint32_t length_of(const uint8_t *header)
{
    return (uint32_t)header[1] << 8 | header[2];
}

int toy_parse(const char *bytes, uint32_t len, char *ret_type, char *out)
{
    uint8_t header[TOY_HEADER];
    if (len < TOY_HEADER) {
        return 0;
    }
    memcpy(header, bytes, TOY_HEADER);
    uint32_t payload = length_of(header);
    if (payload > TOY_RECORD_MAX || strchr("HDKkXA", header[0]) == NULL || header[0] == '\0') {
        return -1;
    }
    if (len < TOY_HEADER + payload) {
        return 0;
    }
    for (uint32_t i = 0; i < payload; i++) {
        out[i] = (char)(bytes[TOY_HEADER + i] ^ TOY_KEY);
    }
    *ret_type = (char)header[0];
    return sum_of(out, payload) == header[3] ? (int)(TOY_HEADER + payload) : -1;
}

/* ---- the cipher ---- */

static struct toy *toy_of(struct cipher *cipher)
{
    return (struct toy *)cipher; /* its first member */
}

static uint32_t room_of(const struct cipher_io *io)
{
    assert(io->out_len <= io->out_size);
    return io->out_size - io->out_len;
}

static void put(struct cipher_io *io, enum toy_type type, const char *data, uint32_t len)
{
    assert(room_of(io) >= TOY_HEADER + len);
    io->out_len += toy_record(io->out + io->out_len, type, data, len);
}

static int fail(struct toy *toy, struct cipher_io *io)
{
    toy->error = TOY_ERROR;
    if (room_of(io) >= TOY_HEADER) {
        put(io, TOY_ALERT, "", 0);
    }
    return toy->error;
}

/* A length that is too large shows before the record is taken in. */
static bool is_too_long(const struct toy *toy)
{
    return toy->len >= TOY_HEADER && length_of(toy->record) > TOY_RECORD_MAX;
}

/* Takes in what is missing of the record, and no more. True when it is whole, or hopeless. */
static bool take_record(struct toy *toy, struct cipher_io *io)
{
    uint32_t want = TOY_HEADER;
    for (;;) {
        if (is_too_long(toy)) {
            return true;
        }
        if (toy->len >= TOY_HEADER) {
            want = TOY_HEADER + length_of(toy->record);
        }
        uint32_t len = io->in_len - io->in_used;
        len = len < want - toy->len ? len : want - toy->len;
        if (len == 0) {
            return false;
        }
        memcpy(toy->record + toy->len, io->in + io->in_used, len);
        toy->len += len;
        io->in_used += len;
        if (toy->len >= TOY_HEADER && toy->len == TOY_HEADER + length_of(toy->record)) {
            return true;
        }
    }
}

/* The record in clear, in place; its type, or 0. */
static char open_record(struct toy *toy)
{
    static char clear[TOY_RECORD_MAX];
    char type = 0;
    if (toy_parse((const char *)toy->record, toy->len, &type, clear) <= 0) {
        return 0;
    }
    memcpy(toy->record + TOY_HEADER, clear, toy->len - TOY_HEADER);
    return type;
}

static int step_in(struct toy *toy, struct cipher_io *io, const struct toy_step *step)
{
    uint32_t begin = io->in_used;
    if (!take_record(toy, io)) {
        if (toy->step == 0) {
            io->in_used = begin; /* as TLS does with a ClientHello */
            toy->len = 0;
        }
        return CIPHER_WANT_BYTES;
    }
    if (open_record(toy) != TOY_HANDSHAKE || toy->len != TOY_HEADER + step->len) {
        return fail(toy, io);
    }
    toy->len = 0;
    return CIPHER_OK;
}

static int step_out(struct toy *toy, struct cipher_io *io, const struct toy_step *step)
{
    static char record[TOY_HEADER + TOY_RECORD_MAX];
    static const char zeros[TOY_RECORD_MAX];
    uint32_t whole = toy_record(record, TOY_HANDSHAKE, zeros, step->len);
    uint32_t len = whole - toy->step_out;
    len = len < room_of(io) ? len : room_of(io);
    memcpy(io->out + io->out_len, record + toy->step_out, len);
    io->out_len += len;
    toy->step_out += len;
    if (toy->step_out < whole) {
        return CIPHER_WANT_FLUSH;
    }
    toy->step_out = 0;
    return CIPHER_OK;
}

static int toy_handshake(struct cipher *cipher, struct cipher_io *io)
{
    struct toy *toy = toy_of(cipher);
    int result = toy->error;
    while (result == CIPHER_OK && toy->step < toy->step_count) {
        const struct toy_step *step = &toy->steps[toy->step];
        result = step->is_out ? step_out(toy, io, step) : step_in(toy, io, step);
        toy->step += result == CIPHER_OK ? 1 : 0;
    }
    return result;
}

/* One whole record. */
static int on_record(struct toy *toy, struct cipher_io *io)
{
    switch (open_record(toy)) {
    case TOY_DATA:
        toy->held_at = TOY_HEADER;
        toy->held_len = toy->len - TOY_HEADER;
        break;
    case TOY_UPDATE:
        toy->answers++;
        break;
    case TOY_ANSWER:
        break;
    case TOY_CLOSE:
        toy->closed = true;
        break;
    default:
        return fail(toy, io);
    }
    toy->len = 0;
    return CIPHER_OK;
}

/* CIPHER_OK: some plaintext is held. */
static int next_plaintext(struct toy *toy, struct cipher_io *io)
{
    while (toy->held_len == 0) {
        if (toy->error < 0) {
            return toy->error;
        }
        if (toy->closed) {
            io->in_used = io->in_len;
            return CIPHER_CLOSED;
        }
        if (toy->answers > 0) {
            if (room_of(io) < TOY_HEADER) {
                return CIPHER_WANT_FLUSH;
            }
            put(io, TOY_ANSWER, "", 0);
            toy->answers--;
            continue;
        }
        if (!take_record(toy, io)) {
            return CIPHER_WANT_BYTES;
        }
        int result = on_record(toy, io);
        if (result < 0) {
            return result;
        }
    }
    return CIPHER_OK;
}

static int toy_decrypt(struct cipher *cipher, struct cipher_io *io, char *out, uint32_t size,
                       uint32_t *ret_len)
{
    struct toy *toy = toy_of(cipher);
    assert(toy->step == toy->step_count);
    assert(size > 0);
    *ret_len = 0;
    int result = CIPHER_OK;
    while (*ret_len < size && result == CIPHER_OK) {
        result = next_plaintext(toy, io);
        uint32_t len = toy->held_len < size - *ret_len ? toy->held_len : size - *ret_len;
        memcpy(out + *ret_len, toy->record + toy->held_at, len);
        toy->held_at += len;
        toy->held_len -= len;
        *ret_len += len;
    }
    return *ret_len > 0 ? CIPHER_OK : result;
}

static int toy_encrypt(struct cipher *cipher, struct cipher_io *io, const char *data, uint32_t len,
                       uint32_t *ret_taken)
{
    struct toy *toy = toy_of(cipher);
    assert(toy->step == toy->step_count);
    assert(!toy->close_sent);
    *ret_taken = 0;
    if (toy->error < 0 || toy->encrypt_error < 0) {
        return toy->error < 0 ? toy->error : toy->encrypt_error;
    }
    while (*ret_taken < len) {
        if (room_of(io) <= TOY_HEADER) {
            return CIPHER_WANT_FLUSH;
        }
        uint32_t part = len - *ret_taken;
        part = part < toy->record_max ? part : toy->record_max;
        part = part < room_of(io) - TOY_HEADER ? part : room_of(io) - TOY_HEADER;
        put(io, TOY_DATA, data + *ret_taken, part);
        *ret_taken += part;
    }
    return CIPHER_OK;
}

static int toy_shutdown(struct cipher *cipher, struct cipher_io *io)
{
    struct toy *toy = toy_of(cipher);
    if (toy->error < 0 || toy->close_sent) {
        return CIPHER_OK;
    }
    if (room_of(io) < TOY_HEADER) {
        return CIPHER_WANT_FLUSH;
    }
    put(io, TOY_CLOSE, "", 0);
    toy->close_sent = true;
    return CIPHER_OK;
}

static int toy_ended(const struct cipher *cipher)
{
    return ((const struct toy *)cipher)->closed ? 0 : -ECONNABORTED;
}

static const struct cipher_ops toy_ops = {
    .handshake = toy_handshake,
    .decrypt = toy_decrypt,
    .encrypt = toy_encrypt,
    .shutdown = toy_shutdown,
    .ended = toy_ended,
};
