/*
 * stream - see net/stream.h.
 *
 * Two ops, and one place where they are joined: every completion starts what is next, tells the
 * owner, or, while stopping, closes the descriptor once both ops are idle. What a cipher changes is
 * in net/stream_cipher.c.
 */
#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "net/stream_priv.h"

enum { STREAM_MAGIC = 0x57454952 };

static void on_received(struct op *op, int result);
static void on_sent(struct op *op, int result);
static void on_connected(struct op *op, int result);

static void stream_enter(struct stream *stream, enum stream_state state)
{
    stream->state = (uint8_t)state;
}

struct stream *stream_of_rx(struct op *op)
{
    struct stream *stream = list_entry(op, struct stream, rx);
    assert(stream->magic == STREAM_MAGIC);
    return stream;
}

struct stream *stream_of_tx(struct op *op)
{
    struct stream *stream = list_entry(op, struct stream, tx);
    assert(stream->magic == STREAM_MAGIC);
    return stream;
}

void stream_init(struct stream *stream, struct loop *loop, struct pool *chunks,
                 stream_on_event *on_event)
{
    *stream = (struct stream){
        .magic = STREAM_MAGIC,
        .fd = -1,
        .loop = loop,
        .chunks = chunks,
        .on_event = on_event,
    };
    op_init(&stream->rx);
    op_init(&stream->tx);
}

void stream_open(struct stream *stream, int fd)
{
    assert(stream->magic == STREAM_MAGIC);
    assert(stream->state == STREAM_CLOSED);
    stream->fd = fd;
    stream->ended = false;
    stream->owes_sent = false;
    stream->lingered = 0;
    stream->stop_how = STOP_DRAIN;
    stream_forget_cipher(stream);
    stream_enter(stream, STREAM_OPEN);
}

int stream_connect(struct stream *stream, const struct sockaddr *addr, socklen_t len)
{
    assert(stream->state == STREAM_CLOSED);
    int fd = loop_socket(stream->loop, addr->sa_family);
    if (fd < 0) {
        return fd;
    }
    stream_open(stream, fd);
    stream_enter(stream, STREAM_CONNECTING);
    loop_connect(stream->loop, &stream->rx, fd, addr, len, on_connected);
    return 0;
}

static void on_connected(struct op *op, int result)
{
    struct stream *stream = stream_of_rx(op);
    if (stream->state == STREAM_STOPPING) {
        stream_advance_stop(stream);
        return;
    }
    assert(stream->state == STREAM_CONNECTING);
    stream_enter(stream, STREAM_OPEN);
    stream->ended = result < 0;
    stream->on_event(stream, STREAM_CONNECTED, result);
}

/* ---- reading ---- */

const char *stream_bytes(const struct stream *stream)
{
    if (stream->in != NULL) {
        return buf_bytes(stream->in);
    }
    return stream->carry;
}

uint32_t stream_len(const struct stream *stream)
{
    if (stream->in != NULL) {
        return buf_len(stream->in);
    }
    return stream->carry_len;
}

void stream_drop_carry(struct stream *stream)
{
    if (stream->carry != NULL) {
        pool_put(stream->chunks, stream->carry);
        stream->carry = NULL;
        stream->carry_len = 0;
    }
}

static void stream_drop_in(struct stream *stream)
{
    if (stream->in != NULL) {
        loop_buf_release(stream->loop, stream->in);
        stream->in = NULL;
    }
}

void stream_consume(struct stream *stream, uint32_t len)
{
    assert(stream->magic == STREAM_MAGIC);
    assert(len <= stream_len(stream));
    if (stream->in != NULL) {
        stream->in->begin += len;
        if (buf_len(stream->in) == 0) {
            stream_drop_in(stream);
        }
        return;
    }
    if (stream->carry != NULL) {
        stream->carry_len -= len;
        memmove(stream->carry, stream->carry + len, stream->carry_len);
        if (stream->carry_len == 0) {
            stream_drop_carry(stream);
        }
    }
}

/* Copies the unread rest out of the lent buffer, so that waiting for more does not keep it. */
int stream_keep_unread(struct stream *stream)
{
    uint32_t len = stream_len(stream);
    if (stream->in == NULL || len == 0) {
        return 0;
    }
    assert(len <= STREAM_UNREAD_MAX);
    assert(stream->carry == NULL);
    stream->carry = pool_get(stream->chunks);
    if (stream->carry == NULL) {
        return -ENOBUFS;
    }
    memcpy(stream->carry, buf_bytes(stream->in), len);
    stream->carry_len = len;
    stream_drop_in(stream);
    return 0;
}

int stream_read(struct stream *stream, enum recv_hint hint)
{
    assert(stream->magic == STREAM_MAGIC);
    assert(stream->state == STREAM_OPEN);
    if (stream_is_reading(stream)) {
        return 0;
    }
    if (stream->ended) {
        return -EPIPE;
    }
    int result = stream_keep_unread(stream);
    if (result < 0) {
        return result;
    }
    if (stream_has_sealed_input(stream)) {
        stream_post_unseal(stream);
    } else {
        stream_receive(stream, hint);
    }
    return 0;
}

void stream_receive(struct stream *stream, enum recv_hint hint)
{
    loop_recv(stream->loop, &stream->rx, stream->fd, hint, on_received);
}

/* Puts the carried bytes in front of the new ones. */
void stream_join_carry(struct stream *stream, struct buf *buf)
{
    if (stream->carry_len > 0) {
        assert(buf->begin >= stream->carry_len);
        buf->begin -= stream->carry_len;
        memcpy(buf_bytes(buf), stream->carry, stream->carry_len);
    }
    stream_drop_carry(stream);
}

static void on_received(struct op *op, int result)
{
    struct stream *stream = stream_of_rx(op);
    struct buf *buf = op->buf;
    op->buf = NULL;
    if (result <= 0) {
        stream->ended = true;
    }
    if (stream->state == STREAM_STOPPING) {
        if (buf != NULL) {
            stream->lingered += buf_len(buf);
            loop_buf_release(stream->loop, buf);
        }
        stream_advance_stop(stream);
        return;
    }
    assert(stream->state == STREAM_OPEN);
    if (stream->security != SECURITY_NONE) {
        stream_cipher_received(stream, buf, result);
        return;
    }
    if (result <= 0) {
        stream->on_event(stream, STREAM_ENDED, result);
        return;
    }
    assert(buf != NULL);
    stream_join_carry(stream, buf);
    stream->in = buf;
    stream->on_event(stream, STREAM_RECEIVED, result);
}

struct buf *stream_take(struct stream *stream)
{
    assert(stream->magic == STREAM_MAGIC);
    struct buf *buf = stream->in;
    stream->in = NULL;
    return buf;
}

/* ---- writing ---- */

uint32_t stream_room(const struct stream *stream)
{
    /* While `out` is with the kernel nothing may be added to it. */
    if (stream_is_sending(stream)) {
        return 0;
    }
    return STREAM_CHUNK_SIZE - stream->out_len;
}

int stream_put(struct stream *stream, const char *data, uint32_t len)
{
    assert(stream->magic == STREAM_MAGIC);
    assert(stream->body == NULL);
    if (len > stream_room(stream)) {
        return -ENOBUFS;
    }
    if (stream->out == NULL) {
        stream->out = pool_get(stream->chunks);
        if (stream->out == NULL) {
            return -ENOBUFS;
        }
    }
    memcpy(stream->out + stream->out_len, data, len);
    stream->out_len += len;
    return 0;
}

void stream_drop_out(struct stream *stream)
{
    if (stream->out != NULL) {
        pool_put(stream->chunks, stream->out);
        stream->out = NULL;
        stream->out_begin = 0;
        stream->out_len = 0;
    }
}

void stream_drop_body(struct stream *stream)
{
    if (stream->body != NULL) {
        loop_buf_release(stream->loop, stream->body);
        stream->body = NULL;
    }
}

/* Starts the next send: gathered bytes first, then the buffer. False when there is nothing to send.
 */
static bool stream_send_next(struct stream *stream)
{
    if (stream->security != SECURITY_NONE) {
        return stream_seal_next(stream);
    }
    if (stream->out_len > 0) {
        loop_send(stream->loop, &stream->tx, stream->fd, stream->out, stream->out_len, on_sent);
        return true;
    }
    if (stream->body != NULL) {
        loop_send(stream->loop, &stream->tx, stream->fd, buf_bytes(stream->body),
                  buf_len(stream->body), on_sent);
        return true;
    }
    return false;
}

void stream_flush(struct stream *stream)
{
    assert(stream->magic == STREAM_MAGIC);
    assert(stream->state == STREAM_OPEN);
    if (!stream_has_unsent(stream)) {
        return;
    }
    stream->owes_sent = true;
    if (op_is_idle(&stream->tx)) {
        (void)stream_send_next(stream); /* there is something */
    }
}

void stream_send_buf(struct stream *stream, struct buf *buf)
{
    assert(stream->state == STREAM_OPEN);
    assert(stream->body == NULL);
    if (buf_len(buf) == 0) {
        loop_buf_release(stream->loop, buf);
    } else {
        stream->body = buf;
    }
    stream_flush(stream);
}

/* A send has completed, well or not: what it carried is done with. */
static void stream_drop_sent(struct stream *stream)
{
    if (stream->security != SECURITY_NONE) {
        stream_drop_sealed(stream);
    } else if (stream->out_len > 0) {
        stream_drop_out(stream);
    } else {
        stream_drop_body(stream);
    }
}

/* What else is to go out: all of it at an orderly stop, else what the owner has flushed. What is
 * only gathered does not go out behind a cipher's own words. */
static bool stream_has_to_send(const struct stream *stream)
{
    if (stream->state == STREAM_STOPPING) {
        return stream->stop_how != STOP_NOW;
    }
    return stream->owes_sent;
}

void stream_sent(struct stream *stream, int result)
{
    int error = result < 0 ? result : 0;
    stream_drop_sent(stream);
    if (stream_has_to_send(stream)) {
        if (error == 0 && stream_send_next(stream)) {
            return;
        }
        stream_drop_out(stream);
        stream_drop_body(stream);
    }
    if (stream->state == STREAM_STOPPING) {
        stream->ended = stream->ended || error < 0;
        stream_advance_stop(stream);
        return;
    }
    if (stream->security != SECURITY_NONE && stream_cipher_sent(stream, error)) {
        return;
    }
    if (stream->owes_sent) {
        stream->owes_sent = false;
        stream->on_event(stream, STREAM_SENT, error);
    }
}

static void on_sent(struct op *op, int result)
{
    stream_sent(stream_of_tx(op), result);
}

void stream_send_sealed(struct stream *stream, uint32_t len)
{
    loop_send(stream->loop, &stream->tx, stream->fd, stream->sealed, len, on_sent);
}

/* ---- the end ---- */

/* Closes the descriptor; both ops are idle. */
static void stream_finish(struct stream *stream)
{
    stream_drop_in(stream);
    stream_drop_carry(stream);
    stream_drop_out(stream);
    stream_drop_body(stream);
    stream_forget_cipher(stream);
    loop_close(stream->loop, stream->fd);
    stream->fd = -1;
    stream_enter(stream, STREAM_CLOSED);
}

/* One step towards closed: send the rest, linger, join, close. False while an op is still out. */
static bool stream_try_finish(struct stream *stream)
{
    if (!op_is_idle(&stream->tx)) {
        return false;
    }
    bool linger = stream->stop_how == STOP_LINGER && !stream->ended &&
                  stream->lingered < STREAM_LINGER_BYTES_MAX;
    if (linger && op_is_idle(&stream->rx)) {
        /* A failure to shut down shows in the receive. */
        (void)loop_shutdown(stream->loop, stream->fd, SHUT_WR);
        loop_recv(stream->loop, &stream->rx, stream->fd, RECV_LATER, on_received);
        return false;
    }
    if (!op_is_idle(&stream->rx)) {
        if (!linger) {
            loop_cancel(stream->loop, &stream->rx);
        } else if (stream->lingered == 0) {
            (void)loop_shutdown(stream->loop, stream->fd, SHUT_WR); /* as above */
        }
        return false;
    }
    stream_finish(stream);
    return true;
}

void stream_advance_stop(struct stream *stream)
{
    if (stream_try_finish(stream)) {
        stream->on_event(stream, STREAM_STOPPED, 0);
    }
}

void stream_stop(struct stream *stream, enum stream_stop_how how)
{
    assert(stream->magic == STREAM_MAGIC);
    if (stream->state == STREAM_CLOSED) {
        return;
    }
    bool connecting = stream->state == STREAM_CONNECTING;
    if (stream->state != STREAM_STOPPING || how > stream->stop_how) {
        stream->stop_how = (uint8_t)(connecting ? STOP_NOW : how);
    }
    stream_enter(stream, STREAM_STOPPING);
    stream->owes_sent = false;
    stream_drop_in(stream);
    stream_drop_carry(stream);
    stream_drop_raw(stream);
    if (stream->stop_how == STOP_NOW) {
        loop_cancel(stream->loop, &stream->tx);
    } else if (op_is_idle(&stream->tx)) {
        (void)stream_send_next(stream); /* nothing left: the next line closes */
    }
    (void)stream_try_finish(stream); /* what is still out finishes it from its completion */
}
