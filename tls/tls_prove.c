/*
 * tls_prove - does a certificate work with its key? A handshake in memory says it.
 *
 * Both ends are ours; what one writes the other reads, in turn, until both are done or one fails.
 * Used when contexts are made, never with a peer.
 */
#include "tls/tls_internal.h"

#include <string.h>

enum {
    ROUNDS_MAX = 8,         /* a handshake takes three */
    FLIGHT_MAX = 64 * 1024, /* the longest chain that is accepted, and the rest of its flight */
};

/* One end's turn on the bytes of the other. */
static int take_turn(struct tls *tls, struct cipher_io *from_peer, struct cipher_io *to_peer,
                     int result)
{
    if (result != CIPHER_WANT_BYTES) {
        return result;
    }
    struct cipher_io io = {.in = from_peer->out,
                           .in_len = from_peer->out_len,
                           .in_used = from_peer->in_used,
                           .out = to_peer->out,
                           .out_size = to_peer->out_size,
                           .out_len = to_peer->out_len};
    result = tls_handshake(tls, &io);
    from_peer->in_used = io.in_used;
    to_peer->out_len = io.out_len;
    return result;
}

static const char *shake_hands(struct tls *client, struct tls *server)
{
    char up_bytes[FLIGHT_MAX];
    char down_bytes[FLIGHT_MAX];
    struct cipher_io up = {.out = up_bytes, .out_size = sizeof(up_bytes)};
    struct cipher_io down = {.out = down_bytes, .out_size = sizeof(down_bytes)};
    int client_result = CIPHER_WANT_BYTES;
    int server_result = CIPHER_WANT_BYTES;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        client_result = take_turn(client, &down, &up, client_result);
        server_result = take_turn(server, &up, &down, server_result);
    }
    if (client_result == CIPHER_OK && server_result == CIPHER_OK) {
        return NULL;
    }
    if (client_result == CIPHER_WANT_FLUSH || server_result == CIPHER_WANT_FLUSH) {
        return "the chain is too long";
    }
    const char *reason = client_result < 0 ? tls_reason(client) : tls_reason(server);
    return reason != NULL ? reason : "the handshake does not end";
}

const char *tls_prove(struct tls_ctx *server)
{
    const struct tls_client_conf conf = {.verify = TLS_VERIFY_NONE};
    struct tls_ctx *ctx = NULL;
    struct tls_error error;
    struct tls client_end, server_end;
    if (tls_client_ctx_create(&conf, 1, &ctx, &error) != 0) {
        return "out of memory";
    }
    const char *reason = "out of memory";
    if (tls_init_client(&client_end, ctx, NULL) == 0) {
        tls_init_server(&server_end, server);
        reason = shake_hands(&client_end, &server_end);
        tls_fini(&server_end);
        tls_fini(&client_end);
    }
    tls_ctx_retire(&ctx);
    return reason;
}
