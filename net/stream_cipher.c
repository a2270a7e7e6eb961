/*
 * stream_cipher - the stream's bytes through a cipher (contract: net/stream.h, net/cipher.h).
 *
 * Handshake: what came in and what goes out alternate in stream_shake(), which runs while no send is
 * in flight. Then each received buffer is decrypted behind the unread plaintext in `carry`, and
 * becomes the window itself once nothing encrypted is left in it; when a record that was begun in
 * earlier buffers makes more than fits, the rest stays and is decrypted at the next stream_read().
 * Output is encrypted into `sealed`, and what it came from is given back at once.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "net/stream_priv.h"

static void on_unseal(struct op *op, int result);
static void stream_unseal(struct stream *stream);
static void unseal_early(struct stream *stream);

static void stream_enter_security(struct stream *stream, enum stream_security security)
{
    stream->security = (uint8_t)security;
}

void stream_drop_raw(struct stream *stream)
{
    if (stream->raw != NULL) {
        loop_buf_release(stream->loop, stream->raw);
        stream->raw = NULL;
    }
}

void stream_drop_sealed(struct stream *stream)
{
    if (stream->sealed != NULL) {
        pool_put(stream->chunks, stream->sealed);
        stream->sealed = NULL;
    }
}

void stream_forget_cipher(struct stream *stream)
{
    stream_drop_raw(stream);
    stream_drop_sealed(stream);
    stream->cipher = NULL;
    stream->owes_secured = false;
    stream->has_more = false;
    stream->awaits_flush = false;
    stream->has_verdict = false;
    stream->close_is_sealed = false;
    stream->verdict = 0;
    stream_enter_security(stream, SECURITY_NONE);
}

/* ---- handshake ---- */

static void shake_failed(struct stream *stream, int error)
{
    stream->ended = true;
    stream->on_event(stream, STREAM_SECURED, error);
}

/* The handshake is complete. What the peer has sent behind it is data. */
static void shake_done(struct stream *stream)
{
    stream_enter_security(stream, SECURITY_ON);
    assert(stream->raw == NULL);
    stream->raw = stream->in;
    stream->in = NULL;
    if (!op_is_idle(&stream->tx)) {
        stream->owes_secured = true;
        return;
    }
    unseal_early(stream);
    stream->on_event(stream, STREAM_SECURED, 0);
}

static void shake_read(struct stream *stream)
{
    int result = -EMSGSIZE;
    if (stream_len(stream) <= STREAM_UNREAD_MAX) {
        result = stream_keep_unread(stream);
    }
    if (result < 0) {
        shake_failed(stream, result);
        return;
    }
    stream_receive(stream, RECV_LATER);
}

/* One round: what is there goes in, what comes out is sent. */
static int shake_round(struct stream *stream, uint32_t *ret_sent)
{
    stream->sealed = pool_get(stream->chunks);
    if (stream->sealed == NULL) {
        return -ENOBUFS;
    }
    struct cipher_io io = {
        .in = stream_bytes(stream),
        .in_len = stream_len(stream),
        .out = stream->sealed,
        .out_size = STREAM_CHUNK_SIZE,
    };
    int result = stream->cipher->ops->handshake(stream->cipher, &io);
    stream_consume(stream, io.in_used);
    *ret_sent = io.out_len;
    if (io.out_len > 0) {
        stream_send_sealed(stream, io.out_len);
    } else {
        stream_drop_sealed(stream);
    }
    return result;
}

static void stream_shake(struct stream *stream)
{
    uint32_t sent = 0;
    if (!op_is_idle(&stream->tx)) {
        return; /* its completion comes back here */
    }
    int result = shake_round(stream, &sent);
    bool stuck = result == CIPHER_WANT_FLUSH && sent == 0;
    if (result == CIPHER_OK && stream->carry_len == 0) {
        shake_done(stream);
    } else if (result == CIPHER_WANT_BYTES) {
        shake_read(stream);
    } else if (result != CIPHER_WANT_FLUSH || stuck) {
        shake_failed(stream, result < 0 ? result : -EPROTO);
    }
}

static void on_shake(struct op *op, int result)
{
    struct stream *stream = stream_of_rx(op);
    (void)result; /* a posted op has no outcome */
    if (stream->state == STREAM_STOPPING) {
        stream_advance_stop(stream);
        return;
    }
    stream_shake(stream);
}

void stream_secure(struct stream *stream, struct cipher *cipher)
{
    assert(stream->state == STREAM_OPEN);
    assert(stream->security == SECURITY_NONE);
    assert(op_is_idle(&stream->rx));
    assert(stream_is_drained(stream));
    stream->cipher = cipher;
    stream_enter_security(stream, SECURITY_HANDSHAKE);
    loop_post(stream->loop, &stream->rx, on_shake);
}

/* ---- reading ---- */

bool stream_has_sealed_input(const struct stream *stream)
{
    return stream->raw != NULL || stream->has_more;
}

void stream_post_unseal(struct stream *stream)
{
    loop_post(stream->loop, &stream->rx, on_unseal);
}

static void on_unseal(struct op *op, int result)
{
    struct stream *stream = stream_of_rx(op);
    (void)result; /* a posted op has no outcome */
    if (stream->state == STREAM_STOPPING) {
        stream_advance_stop(stream);
        return;
    }
    stream_unseal(stream);
}

void stream_cipher_received(struct stream *stream, struct buf *buf, int result)
{
    bool shaking = stream->security == SECURITY_HANDSHAKE;
    if (result <= 0) {
        int error = result < 0 ? result : stream->cipher->ops->ended(stream->cipher);
        stream->on_event(stream, shaking ? STREAM_SECURED : STREAM_ENDED,
                         shaking && error == 0 ? -ECONNABORTED : error);
        return;
    }
    if (shaking) {
        stream_join_carry(stream, buf);
        stream->in = buf;
        stream_shake(stream);
        return;
    }
    assert(stream->raw == NULL);
    stream->raw = buf;
    stream_unseal(stream);
}

/* Decrypts into `carry` until it is full (CIPHER_OK) or the cipher says otherwise. */
static int unseal_into_carry(struct stream *stream, struct cipher_io *io, uint32_t *ret_got)
{
    int result = CIPHER_OK;
    if (stream->carry == NULL) {
        stream->carry = pool_get(stream->chunks);
    }
    if (stream->carry == NULL) {
        return -ENOBUFS;
    }
    while (result == CIPHER_OK && stream->carry_len < STREAM_CHUNK_SIZE) {
        uint32_t len = 0;
        result = stream->cipher->ops->decrypt(stream->cipher, io, stream->carry + stream->carry_len,
                                              STREAM_CHUNK_SIZE - stream->carry_len, &len);
        stream->carry_len += len;
        *ret_got += len;
    }
    return result;
}

/* What decrypting wants to be sent: an alert, an answer to a new key. */
static int unseal_answer(struct stream *stream, const struct cipher_io *io)
{
    if (io->out_len == 0) {
        return 0;
    }
    stream->sealed = pool_get(stream->chunks);
    if (stream->sealed == NULL) {
        return -ENOBUFS;
    }
    memcpy(stream->sealed, io->out, io->out_len);
    stream_send_sealed(stream, io->out_len);
    return 0;
}

/* The buffer that held the ciphertext is the window from now on, if it is used up. */
static void unseal_settle_window(struct stream *stream, uint32_t got)
{
    struct buf *buf = stream->raw;
    uint32_t len = stream->carry_len;
    if (buf != NULL && buf_len(buf) == 0 && got > 0) {
        uint32_t begin = STREAM_CHUNK_SIZE - len;
        buf->begin = begin < BUF_HEADROOM ? begin : BUF_HEADROOM;
        buf->end = buf->begin + len;
        memcpy(buf_bytes(buf), stream->carry, len);
        stream->raw = NULL;
        stream->in = buf;
        stream_drop_carry(stream);
    } else if (buf != NULL && buf_len(buf) == 0) {
        stream_drop_raw(stream);
    }
    if (stream->carry_len == 0) {
        stream_drop_carry(stream);
    }
}

/* No plaintext: the end is told, or a send or a receive goes before. */
static void unseal_wait(struct stream *stream, int result, bool could_flush)
{
    if (stream->has_verdict) {
        stream->ended = true;
        stream->on_event(stream, STREAM_ENDED, stream->verdict);
    } else if (result == CIPHER_WANT_BYTES) {
        stream_receive(stream, RECV_LATER);
    } else {
        assert(result == CIPHER_WANT_FLUSH);
        assert(could_flush);
        stream->awaits_flush = true;
    }
}

/* Decrypts what is there and settles what the window is; no event. */
static int unseal_once(struct stream *stream, uint32_t *ret_got)
{
    char answer[CIPHER_OUT_MIN];
    struct cipher_io io = {.out = answer};
    assert(stream->in == NULL);
    if (stream->raw != NULL) {
        io.in = buf_bytes(stream->raw);
        io.in_len = buf_len(stream->raw);
    }
    io.out_size = op_is_idle(&stream->tx) ? sizeof(answer) : 0;
    int result = unseal_into_carry(stream, &io, ret_got);
    if (stream->raw != NULL) {
        stream->raw->begin += io.in_used;
    }
    assert(result != CIPHER_WANT_BYTES || io.in_used == io.in_len);
    int error = unseal_answer(stream, &io);
    if (error < 0 || (result == CIPHER_WANT_FLUSH && op_is_idle(&stream->tx))) {
        result = error < 0 ? error : -EPROTO;
    }
    if (result < 0 || result == CIPHER_CLOSED) {
        stream->has_verdict = true;
        stream->verdict = result < 0 ? result : 0;
        stream_drop_raw(stream);
    }
    unseal_settle_window(stream, *ret_got);
    stream->has_more = *ret_got > 0 && result != CIPHER_WANT_BYTES;
    return result;
}

static void stream_unseal(struct stream *stream)
{
    uint32_t got = 0;
    int result = unseal_once(stream, &got);
    if (got > 0) {
        stream->on_event(stream, STREAM_RECEIVED, (int)got);
    } else {
        unseal_wait(stream, result, !op_is_idle(&stream->tx));
    }
}

/* What came in one piece with the end of the handshake is opened before the owner hears of it: words
 * of the cipher's own (session tickets) are nothing to him, plaintext stands in the window. */
static void unseal_early(struct stream *stream)
{
    uint32_t got = 0;
    if (stream->raw != NULL) {
        int result = unseal_once(stream, &got);
        stream->has_more = stream->has_more || stream->has_verdict || result == CIPHER_WANT_FLUSH;
    }
}

/* ---- writing ---- */

static void on_seal_failed(struct op *op, int result)
{
    struct stream *stream = stream_of_tx(op);
    (void)result; /* a posted op has no outcome */
    stream_sent(stream, stream->tx_error);
}

static int seal_out(struct stream *stream, struct cipher_io *io)
{
    uint32_t taken = 0;
    if (stream->out_len == 0) {
        return CIPHER_OK;
    }
    int result = stream->cipher->ops->encrypt(stream->cipher, io, stream->out + stream->out_begin,
                                              stream->out_len - stream->out_begin, &taken);
    stream->out_begin += taken;
    if (stream->out_begin == stream->out_len) {
        stream_drop_out(stream);
    }
    return result;
}

static int seal_body(struct stream *stream, struct cipher_io *io)
{
    uint32_t taken = 0;
    if (stream->body == NULL) {
        return CIPHER_OK;
    }
    int result = stream->cipher->ops->encrypt(stream->cipher, io, buf_bytes(stream->body),
                                              buf_len(stream->body), &taken);
    stream->body->begin += taken;
    if (buf_len(stream->body) == 0) {
        stream_drop_body(stream);
    }
    return result;
}

static int seal_close(struct stream *stream, struct cipher_io *io)
{
    bool polite = stream->state == STREAM_STOPPING && stream->stop_how != STOP_NOW;
    if (!polite || stream->close_is_sealed) {
        return CIPHER_OK;
    }
    int result = stream->cipher->ops->shutdown(stream->cipher, io);
    stream->close_is_sealed = result != CIPHER_WANT_FLUSH;
    return result;
}

static bool seal_is_due(const struct stream *stream)
{
    bool polite = stream->state == STREAM_STOPPING && stream->stop_how != STOP_NOW;
    return stream->out_len > 0 || stream->body != NULL || (polite && !stream->close_is_sealed);
}

bool stream_seal_next(struct stream *stream)
{
    if (stream->security != SECURITY_ON || !seal_is_due(stream)) {
        return false;
    }
    struct cipher_io io = {.out = pool_get(stream->chunks), .out_size = STREAM_CHUNK_SIZE};
    stream->sealed = io.out;
    int result = io.out == NULL ? -ENOBUFS : seal_out(stream, &io);
    if (result == CIPHER_OK) {
        result = seal_body(stream, &io);
    }
    if (result == CIPHER_OK) {
        result = seal_close(stream, &io);
    }
    if (result < 0 || (result != CIPHER_OK && io.out_len == 0)) {
        stream->tx_error = result < 0 ? result : -EPROTO;
        loop_post(stream->loop, &stream->tx, on_seal_failed);
        return true;
    }
    if (io.out_len == 0) {
        stream_drop_sealed(stream);
        return false;
    }
    stream_send_sealed(stream, io.out_len);
    return true;
}

bool stream_cipher_sent(struct stream *stream, int error)
{
    if (stream->security == SECURITY_HANDSHAKE) {
        if (error < 0 && op_is_idle(&stream->rx)) {
            shake_failed(stream, error);
        } else if (op_is_idle(&stream->rx) && !stream->ended) {
            stream_shake(stream);
        }
        return true; /* a failed send with a receive in flight shows in the receive */
    }
    if (stream->owes_secured) {
        stream->owes_secured = false;
        if (error == 0) {
            unseal_early(stream);
        }
        stream->on_event(stream, STREAM_SECURED, error);
        return true;
    }
    if (stream->awaits_flush) {
        stream->awaits_flush = false;
        stream_post_unseal(stream); /* in a turn of its own: the owner may hear of its send now */
    }
    return false;
}
