/*
 * lease_tls - TLS of an upstream connection while it opens (contract: core/lease.h).
 *
 *    implicit:                CONNECTING -> TLS -> GREETING -> EHLO -> READY
 *    required, opportunistic: CONNECTING -> GREETING -> EHLO -> STARTTLS -> TLS -> EHLO -> READY
 *
 * What the server said before the handshake is forgotten with it: EHLO is said and read again (RFC
 * 3207, 4.2). Bytes behind the reply to STARTTLS end the connection before the handshake begins.
 * With `opportunistic` TLS is better than nothing and nothing better than no mail: a server whose
 * handshake fails is tried once more, without.
 */
#include <assert.h>
#include <string.h>

#include "core/lease_priv.h"
#include "core/worker.h"

static uint32_t server_bit(const struct lease *lease)
{
    return 1u << lease->server;
}

static bool is_opportunistic(const struct lease *lease)
{
    return lease->upstream->config->tls == UPSTREAM_TLS_OPPORTUNISTIC;
}

bool lease_is_implicit(const struct lease *lease)
{
    return lease->upstream->config->tls == UPSTREAM_TLS_IMPLICIT;
}

/* True when the connection is as it should be, or as good as this server's can be. */
static bool is_safe_enough(const struct lease *lease)
{
    if (lease->upstream->config->tls == UPSTREAM_TLS_OFF || stream_is_secured(&lease->stream)) {
        return true;
    }
    bool offers = (lease->extensions & EXT_STARTTLS) != 0;
    return is_opportunistic(lease) && (!offers || (lease->plain & server_bit(lease)) != 0);
}

/* EHLO, or the HELO that it fell back to, has been answered. */
void lease_hello_done(struct lease *lease)
{
    if (is_safe_enough(lease)) {
        lease_ready(lease);
    } else if ((lease->extensions & EXT_STARTTLS) != 0) {
        lease_say(lease, LEASE_STARTTLS, "STARTTLS\r\n");
    } else {
        lease_lose(lease, "TLS: it does not offer STARTTLS", "");
    }
}

void lease_starttls_answered(struct lease *lease, const struct smtp_reply *reply)
{
    if (!stream_is_drained(&lease->stream)) {
        lease_lose(lease, "TLS: answered STARTTLS before it can have read it", "");
    } else if (reply->code == 220) {
        stream_consume(&lease->stream, reply->len);
        lease_secure(lease);
    } else if (is_opportunistic(lease) && reply->code >= 400) {
        stream_consume(&lease->stream, reply->len);
        lease_ready(lease);
    } else {
        lease_refused(lease, "TLS: answered STARTTLS with ", reply);
    }
}

/* What the certificate must be for: announced where it is a name, verified where the group says so.
 * NULL: a unix socket whose group verifies nothing. */
static const char *tls_name_of(const struct lease *lease)
{
    const char *name = lease->upstream->config->tls_name;
    if (name[0] == '\0') {
        name = lease_server(lease)->config->host;
    }
    return name[0] != '\0' ? name : NULL;
}

void lease_lose_tls(struct lease *lease, const char *why)
{
    lease->falls_back = is_opportunistic(lease) && (lease->plain & server_bit(lease)) == 0;
    if (lease->falls_back) {
        lease->plain |= server_bit(lease);
        lease->tried &= ~server_bit(lease);
    }
    lease_lose(lease, "TLS: ", why);
}

void lease_secure(struct lease *lease)
{
    struct tls_ctx *ctx = lease->worker->credentials.clients[lease_group(lease)];
    lease_enter(lease, LEASE_TLS);
    assert(ctx != NULL); /* the group's `tls` is not off */
    int result = tls_init_client(&lease->tls, ctx, tls_name_of(lease));
    if (result < 0) {
        lease_lose_tls(lease, strerrordesc_np(-result));
        return;
    }
    stream_secure(&lease->stream, &lease->tls.cipher);
}

void lease_secured(struct lease *lease, int result)
{
    if (result < 0) {
        const char *reason = tls_reason(&lease->tls);
        lease_lose_tls(lease, reason != NULL ? reason : strerrordesc_np(-result));
        return;
    }
    if (lease_is_implicit(lease)) {
        lease_enter(lease, LEASE_GREETING);
        lease_received(lease); /* it may have come with the end of the handshake */
    } else if (stream_len(&lease->stream) > 0) {
        lease_lose(lease, "TLS: spoke before EHLO", ""); /* it is not the server's turn */
        return;
    } else {
        lease->extensions = 0;
        lease->size_max = 0;
        lease_say_hello(lease, LEASE_EHLO, "EHLO");
        lease_read(lease);
    }
}
