/*
 * stream - one connected socket: a window of received bytes, gathered output, an orderly end, and
 * the cipher that may stand in between.
 *
 *               net/loop             stream                                its owner
 *   receive:    lent buffer    ->    in: [ carried | new bytes ]    ->     stream_bytes(), stream_consume()
 *   unread rest:                     carry: a chunk, until the next receive fills a buffer behind it
 *   send:       tx op          <-    out: chunk, replies gather     <-     stream_put(), stream_flush()
 *                              <-    body: a lent buffer as it is   <-     stream_send_buf()
 *
 * With a cipher (net/cipher.h), set by stream_secure():
 *
 *   receive:    raw: lent buffer  ->  decrypt into carry  ->  in: the same buffer, now with plaintext
 *   send:       sealed: a chunk   <-  encrypt             <-  out, body
 *
 * Pull model: a receive is in flight only while the owner asked for one with stream_read();
 * back-pressure follows. An idle stream owns no memory but itself: `in` goes back to the loop when
 * it is consumed, `out` to the pool when it is sent. What a stream can own at most: one lent buffer
 * to read, one to send, STREAM_CHUNKS chunks.
 *
 * The owner learns of all that happens through one callback, always from the loop's ready queue and
 * never inside a call to stream_*. It embeds the stream and keeps it until stream_is_closed(). Both
 * ops are joined before the descriptor is closed (net/loop.h, clause 4). Not thread-safe; one loop.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "net/cipher.h"
#include "net/loop.h"
#include "net/pool.h"

enum {
    STREAM_CHUNK_SIZE =
        BUF_HEADROOM + BUF_SIZE,          /* item size of the pool of chunks: a whole window fits */
    STREAM_UNREAD_MAX = BUF_HEADROOM,     /* bytes that may stay unread when more are asked for */
    STREAM_CHUNKS = 3,                    /* carry, out, sealed */
    STREAM_LINGER_BYTES_MAX = 256 * 1024, /* input thrown away at the end of a lingering stop */
};

enum stream_state { STREAM_CLOSED, STREAM_CONNECTING, STREAM_OPEN, STREAM_STOPPING };

enum stream_security { SECURITY_NONE, SECURITY_HANDSHAKE, SECURITY_ON };

enum stream_event {
    STREAM_CONNECTED, /* result: 0 or -errno; after an error the owner calls stream_stop() */
    STREAM_SECURED,  /* the handshake is over and all of it is sent; 0 or -errno; after an error the
                         owner calls stream_stop(). Plaintext that came in one piece with its end
                         is in the window then */
    STREAM_RECEIVED, /* result: new bytes in the window */
    STREAM_ENDED,    /* the peer sends no more: result 0 (orderly) or -errno (with a cipher
                         -ECONNABORTED when it may have been cut short); unread bytes stay readable */
    STREAM_SENT,     /* all that was flushed has been taken by the kernel; result 0 or -errno; never
                         for what a cipher says by itself */
    STREAM_STOPPED,  /* the descriptor is closed; the stream may be used again or freed */
};

enum stream_stop_how {
    STOP_DRAIN,  /* send what is flushed, then close */
    STOP_LINGER, /* likewise, then shut down sending and read until the peer ends, so that our last
                    reply is not lost to a reset; the owner bounds the wait by calling
                    stream_stop(STOP_NOW) at its deadline */
    STOP_NOW,    /* drop what is unsent */
};

struct stream;
typedef void stream_on_event(struct stream *stream, enum stream_event event, int result);

struct stream {
    uint32_t magic;
    uint8_t state;        /* enum stream_state; written by stream_enter() alone */
    uint8_t stop_how;     /* enum stream_stop_how while STOPPING */
    uint8_t security;     /* enum stream_security; written by stream_enter_security() alone */
    bool ended;           /* the peer's end, or an error, has been received */
    bool owes_sent;       /* the owner has flushed something: STREAM_SENT follows */
    bool owes_secured;    /* STREAM_SECURED follows the send in flight */
    bool has_more;        /* the cipher may have plaintext, or its end, without another receive */
    bool awaits_flush;    /* decrypting goes on after the send in flight */
    bool has_verdict;     /* the cipher's end: `verdict`, told when all plaintext has been */
    bool close_is_sealed; /* the cipher has said its last word */
    int fd;
    struct loop *loop;   /* borrowed */
    struct pool *chunks; /* borrowed */
    stream_on_event *on_event;
    struct buf *in;
    char *carry;
    char *out;
    struct buf *body;
    struct cipher *cipher; /* borrowed from stream_secure() until the stream is closed */
    struct buf *raw;       /* received and not yet decrypted */
    char *sealed;          /* encrypted bytes on their way out */
    uint32_t carry_len;
    uint32_t out_begin; /* bytes of `out` before this are sealed already */
    uint32_t out_len;   /* offset behind its last byte */
    uint32_t lingered;
    int verdict;  /* 0 or -errno */
    int tx_error; /* why encrypting failed */
    struct op rx;
    struct op tx;
};

/* Before the first use. `chunks` has items of STREAM_CHUNK_SIZE bytes. */
void stream_init(struct stream *stream, struct loop *loop, struct pool *chunks,
                 stream_on_event *on_event);

/* Takes a connected, non-blocking descriptor over. The stream must be closed. */
void stream_open(struct stream *stream, int fd);

/* Opens a socket and connects; STREAM_CONNECTED follows. `addr` is borrowed until then. 0 or -errno
 * of socket(2). */
int stream_connect(struct stream *stream, const struct sockaddr *addr, socklen_t len)
    __attribute__((warn_unused_result));

static inline bool stream_is_closed(const struct stream *stream)
{
    return stream->state == STREAM_CLOSED;
}

/* Reading. The window is contiguous; it is valid until the next stream_* call that consumes, reads
 * or takes. */
const char *stream_bytes(const struct stream *stream);
uint32_t stream_len(const struct stream *stream);
void stream_consume(struct stream *stream, uint32_t len);

/*
 * Asks for more bytes; STREAM_RECEIVED or STREAM_ENDED follows. Harmless when a receive is in
 * flight. Unread bytes (at most STREAM_UNREAD_MAX, assert) are kept and will stand in front of the
 * new ones. 0; -ENOBUFS when no chunk is free to keep them in; -EPIPE after STREAM_ENDED.
 */
int stream_read(struct stream *stream, enum recv_hint hint) __attribute__((warn_unused_result));

static inline bool stream_is_reading(const struct stream *stream)
{
    return !op_is_idle(&stream->rx) || stream->awaits_flush;
}

/* Hands the window's buffer over to the caller, who gives it to stream_send_buf() or
 * loop_buf_release(). NULL when the window is empty, or is no lent buffer. */
struct buf *stream_take(struct stream *stream);

/* Writing. Gathers bytes; nothing is sent before stream_flush(). 0, or -ENOBUFS when they do not
 * fit (nothing is taken then: flush and wait for STREAM_SENT, or give up when stream_room() says
 * they can never fit). */
int stream_put(struct stream *stream, const char *data, uint32_t len)
    __attribute__((warn_unused_result));
uint32_t stream_room(const struct stream *stream);

/* Sends what was gathered; STREAM_SENT follows. Harmless with nothing gathered or a send in flight
 * (STREAM_SENT then comes when all of it is out). */
void stream_flush(struct stream *stream);

/* Sends the buffer's bytes behind what was gathered; STREAM_SENT follows. Takes the buffer over in
 * every case. At most one at a time (assert). */
void stream_send_buf(struct stream *stream, struct buf *buf);

/* True from a flush that had something to send until its STREAM_SENT. */
static inline bool stream_is_sending(const struct stream *stream)
{
    return stream->owes_sent;
}

/* True while anything gathered or given is not yet taken by the kernel, flushed or not. */
static inline bool stream_has_unsent(const struct stream *stream)
{
    return stream->owes_sent || stream->out_len > 0 || stream->body != NULL;
}

/* True when nothing is gathered, given or in flight, a cipher's own words included. */
static inline bool stream_is_drained(const struct stream *stream)
{
    return op_is_idle(&stream->tx) && stream->out_len == 0 && stream->body == NULL;
}

/*
 * From here on all bytes go through `cipher` (borrowed until the stream is closed), those that are
 * unread in the window too: an owner for whom they must not be there looks before. STREAM_SECURED
 * follows; until then nothing may be read or put. No receive may be in flight, and all output must
 * be drained (assert).
 */
void stream_secure(struct stream *stream, struct cipher *cipher);

static inline bool stream_is_shaking(const struct stream *stream)
{
    return stream->security == SECURITY_HANDSHAKE || stream->owes_secured;
}

static inline bool stream_is_secured(const struct stream *stream)
{
    return stream->security == SECURITY_ON && !stream->owes_secured;
}

/*
 * Ends the stream. Where a cipher is in use, DRAIN and LINGER tell the peer so in its terms. It may be closed when this returns (no event then), or STREAM_STOPPED follows.
 * Calling again with a stronger `how` hurries it up. Harmless on a closed stream. No other event
 * comes after this call.
 */
void stream_stop(struct stream *stream, enum stream_stop_how how);

#endif
