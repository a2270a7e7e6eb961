/*
 * stream_priv - what the two halves of the stream share: stream.c (bytes) and stream_cipher.c (bytes
 * through a cipher). Nobody else includes it.
 */
#ifndef NET_STREAM_PRIV_H
#define NET_STREAM_PRIV_H

#include "net/stream.h"

struct stream *stream_of_rx(struct op *op);
struct stream *stream_of_tx(struct op *op);

/* ---- stream.c ---- */

void stream_receive(struct stream *stream, enum recv_hint hint);
/* Copies the unread rest into `carry`. 0 or -ENOBUFS. */
int stream_keep_unread(struct stream *stream);
/* Puts the carried bytes in front of the buffer's. */
void stream_join_carry(struct stream *stream, struct buf *buf);
void stream_drop_carry(struct stream *stream);
void stream_drop_out(struct stream *stream);
void stream_drop_body(struct stream *stream);
/* Sends `len` bytes of `sealed`, and what follows a send's completion. */
void stream_send_sealed(struct stream *stream, uint32_t len);
void stream_sent(struct stream *stream, int result);
void stream_advance_stop(struct stream *stream);

/* ---- stream_cipher.c ---- */

/* Plain again; nothing of a cipher may be in flight. */
void stream_forget_cipher(struct stream *stream);
void stream_drop_raw(struct stream *stream);
void stream_drop_sealed(struct stream *stream);
/* True when plaintext, or the end, may be had without another receive. */
bool stream_has_sealed_input(const struct stream *stream);
/* Decrypts in the next turn; STREAM_RECEIVED or STREAM_ENDED follow as after a receive. */
void stream_post_unseal(struct stream *stream);
/* A receive has completed; takes the buffer over. */
void stream_cipher_received(struct stream *stream, struct buf *buf, int result);
/* A send has completed while OPEN, and nothing is left to send; 0 or -errno. True when it was the
 * handshake's. */
bool stream_cipher_sent(struct stream *stream, int error);
/* Starts to send what is gathered or given, and while stopping the cipher's last word. False when
 * there is nothing. */
bool stream_seal_next(struct stream *stream);

#endif
