/*
 * tls_wire - see test/tls_wire.h.
 */
#include "test/tls_wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { OUT_LOW = WIRE_OUT_MAX - 40 * 1024 };

static const char starttls_line[] = "STARTTLS\r\n";

int wire_open(struct tls_wire *wire, struct sim *sim, int outer, struct tls_ctx *ctx,
              bool is_server)
{
    int fds[2];
    int result = sim_pair(sim, fds);
    assert(result == 0);
    memset(wire, 0, offsetof(struct tls_wire, in));
    wire->sim = sim;
    wire->plain = fds[0];
    wire->outer = outer;
    wire->ctx = ctx;
    wire->is_server = is_server;
    wire->end_at = UINT64_MAX;
    return fds[1];
}

void wire_secure(struct tls_wire *wire)
{
    assert(wire->ctx != NULL);
    wire->is_due = true;
}

void wire_put(struct tls_wire *wire, const char *bytes, uint32_t len)
{
    assert(len <= WIRE_OUT_MAX - wire->out_len);
    memcpy(wire->out + wire->out_len, bytes, len);
    wire->out_len += len;
}

static void close_fd(struct tls_wire *wire, int *fd)
{
    if (*fd >= 0) {
        sim_close(wire->sim, *fd);
        *fd = -1;
    }
}

void wire_close(struct tls_wire *wire)
{
    close_fd(wire, &wire->plain);
    close_fd(wire, &wire->outer);
    tls_fini(&wire->tls);
}

static void drop_in(struct tls_wire *wire, uint32_t len)
{
    wire->in_len -= len;
    memmove(wire->in, wire->in + len, wire->in_len);
}

static void to_actor(struct tls_wire *wire, const char *bytes, uint32_t len)
{
    if (wire->plain >= 0) {
        (void)sim_write(wire->sim, wire->plain, bytes, len); /* it may be gone */
    }
}

/* ---- TLS ---- */

static void fail(struct tls_wire *wire)
{
    wire->mode = WIRE_FAILED;
    wire->in_len = 0;
}

static struct cipher_io io_of(struct tls_wire *wire)
{
    return (struct cipher_io){
        .in = wire->in,
        .in_len = wire->in_len,
        .out = wire->out + wire->out_len,
        .out_size = WIRE_OUT_MAX - wire->out_len,
    };
}

static void take(struct tls_wire *wire, const struct cipher_io *io)
{
    drop_in(wire, io->in_used);
    wire->out_len += io->out_len;
}

static void begin(struct tls_wire *wire)
{
    wire->is_due = false;
    wire->mode = WIRE_SHAKE;
    if (wire->is_server) {
        tls_init_server(&wire->tls, wire->ctx);
    } else {
        int result = tls_init_client(&wire->tls, wire->ctx, "mx.example.org");
        assert(result == 0);
    }
}

static bool shake(struct tls_wire *wire)
{
    if (wire->refuses) {
        if (wire->in_len == 0) {
            return false;
        }
        wire_put(wire, "\x15\x03\x03\x00\x02\x02\x28", 7); /* handshake_failure */
        fail(wire);
        return true;
    }
    struct cipher_io io = io_of(wire);
    int result = tls_handshake(&wire->tls, &io);
    take(wire, &io);
    if (result == CIPHER_OK) {
        wire->mode = WIRE_ON;
    } else if (result < 0) {
        fail(wire);
    }
    return io.in_used > 0 || io.out_len > 0 || result == CIPHER_OK || result < 0;
}

static bool decrypt(struct tls_wire *wire)
{
    static char text[TLS_RECORD_DATA_MAX];
    int result = CIPHER_OK;
    if (wire->saw_close || wire->in_len == 0) {
        return false;
    }
    while (result == CIPHER_OK) { /* what stopped it behind plaintext shows in the next call */
        uint32_t len = 0;
        struct cipher_io io = io_of(wire);
        result = tls_decrypt(&wire->tls, &io, text, sizeof(text), &len);
        take(wire, &io);
        to_actor(wire, text, len);
    }
    wire->saw_close = result == CIPHER_CLOSED;
    if (result < 0) {
        fail(wire);
    }
    return true;
}

static void encrypt(struct tls_wire *wire, const char *text, uint32_t len)
{
    uint32_t taken = 0;
    struct cipher_io io = io_of(wire);
    int result = tls_encrypt(&wire->tls, &io, text, len, &taken);
    if (result < 0) {
        fail(wire);
        return;
    }
    assert(taken == len); /* the caller has made room */
    take(wire, &io);
    wire->text += len;
}

static void say_close(struct tls_wire *wire)
{
    struct cipher_io io = io_of(wire);
    if (wire->mode == WIRE_ON && !wire->tls.close_sent) {
        int result = tls_shutdown(&wire->tls, &io);
        assert(result == CIPHER_OK); /* there is room */
        take(wire, &io);
    }
}

/* ---- inwards ---- */

static bool take_in(struct tls_wire *wire)
{
    if (wire->outer < 0 || wire->outer_ended || wire->in_len == WIRE_IN_MAX) {
        return false;
    }
    int64_t got =
        sim_read(wire->sim, wire->outer, wire->in + wire->in_len, WIRE_IN_MAX - wire->in_len);
    if (got > 0) {
        wire->in_len += (uint32_t)got;
    } else if (got != -EAGAIN) {
        wire->outer_ended = true;
    }
    return got != -EAGAIN;
}

/* Plaintext passes; a server's STARTTLS stops here. */
static bool pass_in(struct tls_wire *wire)
{
    uint32_t line = sizeof(starttls_line) - 1;
    uint32_t seen = wire->in_len < line ? wire->in_len : line;
    if (wire->in_len == 0 || wire->is_due) {
        return false;
    }
    if (wire->starttls == NULL || memcmp(wire->in, starttls_line, seen) != 0) {
        to_actor(wire, wire->in, wire->in_len);
        wire->in_len = 0;
        return true;
    }
    if (seen < line) {
        return false;
    }
    drop_in(wire, line);
    wire_put(wire, wire->starttls, (uint32_t)strlen(wire->starttls));
    wire->is_due = strncmp(wire->starttls, "220", 3) == 0;
    return true;
}

static bool digest(struct tls_wire *wire)
{
    switch (wire->mode) {
    case WIRE_PLAIN:
        return pass_in(wire);
    case WIRE_SHAKE:
        return shake(wire);
    case WIRE_ON:
        return decrypt(wire);
    case WIRE_FAILED:
        wire->in_len = 0;
        break;
    }
    return false;
}

/* ---- outwards ---- */

/* What the actor has written, up to the close_notify that may be due. */
static bool take_out(struct tls_wire *wire)
{
    uint32_t len = 0;
    bool open = wire->mode == WIRE_PLAIN ? !wire->is_due : wire->mode == WIRE_ON;
    if (!open || wire->plain < 0 || wire->is_mute || wire->out_len > OUT_LOW) {
        return false;
    }
    const char *bytes = sim_peek(wire->sim, wire->plain, &len);
    len = len < TLS_RECORD_DATA_MAX ? len : TLS_RECORD_DATA_MAX;
    if (wire->end == WIRE_NOTIFY && wire->mode == WIRE_ON && wire->end_at - wire->text < len) {
        len = (uint32_t)(wire->end_at - wire->text);
    }
    if (len == 0) {
        return false;
    }
    if (wire->mode == WIRE_ON) {
        encrypt(wire, bytes, len);
    } else {
        wire_put(wire, bytes, len);
    }
    sim_skip(wire->sim, wire->plain, len);
    return true;
}

/* The end that was ordered has come. */
static void end_now(struct tls_wire *wire)
{
    wire->is_mute = true;
    wire->out_len = 0;
    switch (wire->end) {
    case WIRE_RESET:
        sim_reset(wire->sim, wire->outer);
        close_fd(wire, &wire->outer);
        close_fd(wire, &wire->plain);
        break;
    case WIRE_GARBAGE:
        (void)sim_write(wire->sim, wire->outer, "QUIT\r\n\x16\x03\x03\xff\xff garbage", 19);
        break;
    case WIRE_EOF:
    case WIRE_NOTIFY:
        sim_eof(wire->sim, wire->outer);
        break;
    case WIRE_SILENT:
    case WIRE_ENDS:
        break;
    }
}

static bool write_out(struct tls_wire *wire)
{
    if (wire->outer < 0 || wire->is_mute) {
        return false;
    }
    uint64_t len = wire->out_len;
    len = wire->step > 0 && len > wire->step ? wire->step : len;
    bool counts = wire->end != WIRE_NOTIFY;
    len = counts && len > wire->end_at - wire->count ? wire->end_at - wire->count : len;
    int64_t done = len > 0 ? sim_write(wire->sim, wire->outer, wire->out, (uint32_t)len) : 0;
    if (done > 0) {
        wire->count += (uint64_t)done;
        wire->out_len -= (uint32_t)done;
        memmove(wire->out, wire->out + done, wire->out_len);
    } else if (done < 0) {
        wire->is_mute = true; /* the other side is gone; what it said first is read */
    }
    if (counts && wire->count == wire->end_at) {
        end_now(wire);
    } else if (!counts && wire->mode == WIRE_ON && wire->text == wire->end_at) {
        say_close(wire);
        if (wire->out_len == 0) {
            end_now(wire);
        }
    }
    return done != 0 || wire->is_mute;
}

/* The actor has closed, or the other side has: the end goes through, behind all bytes. */
static bool pass_ends(struct tls_wire *wire)
{
    bool failed = wire->mode == WIRE_FAILED && (wire->out_len == 0 || wire->is_mute);
    bool actor_gone = wire->plain >= 0 && sim_at_end(wire->sim, wire->plain);
    if (actor_gone && wire->outer >= 0 && !wire->is_mute) {
        say_close(wire);
    }
    if (wire->outer >= 0 && (failed || (actor_gone && (wire->out_len == 0 || wire->is_mute)))) {
        close_fd(wire, &wire->outer);
        close_fd(wire, &wire->plain);
        return true;
    }
    bool over = wire->outer_ended && (wire->in_len == 0 || wire->mode != WIRE_PLAIN);
    if (over && wire->plain >= 0) {
        close_fd(wire, &wire->plain);
        close_fd(wire, &wire->outer);
        return true;
    }
    return false;
}

bool wire_act(struct tls_wire *wire)
{
    bool moved = take_in(wire);
    while (digest(wire)) {
        moved = true;
    }
    moved |= take_out(wire);
    moved |= write_out(wire);
    if (wire->is_due && wire->out_len == 0) {
        begin(wire);
        moved = true;
    }
    return pass_ends(wire) || moved;
}
