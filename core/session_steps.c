/*
 * session_steps - the dialogue in its order: greeting, commands, contact, the end. The steps for
 * forwarded commands are in core/forward.c, those for a message in core/relay.c.
 */
#include <assert.h>
#include <stdio.h>

#include "core/command.h"
#include "core/forward.h"
#include "core/log.h"
#include "core/session.h"
#include "core/verification.h"
#include "net/proxy_header.h"

/*
 * The peer is a load balancer: whose connection it hands on, its PROXY header says. Nothing is said
 * and nothing else read before the header is complete; a second one would be an unknown command.
 */
enum step step_identify(struct session *session)
{
    struct proxy_header header;
    if (session->timed_out || session->client.ended) {
        return session_end(session, NULL, "trust_proxy");
    }
    switch (
        proxy_header_scan(stream_bytes(&session->client), stream_len(&session->client), &header)) {
    case PROXY_MORE:
        if (stream_read(&session->client, RECV_LIKELY) < 0) {
            return session_end(session, NULL, "client");
        }
        return session_wait(session, WAIT_CLIENT_BYTES);
    case PROXY_BAD:
        return session_end(session, "554 5.5.1 a PROXY header is needed here", "trust_proxy");
    case PROXY_OK:
        break;
    }
    stream_consume(&session->client, header.len);
    if (header.has_source) {
        memcpy(&session->peer, &header.source, sizeof(session->peer));
    }
    bool is_implicit = session_listener(session)->tls == LISTEN_TLS_IMPLICIT;
    session_enter(session, is_implicit ? SESSION_SECURE : SESSION_GREET);
    return STEP_MORE;
}

/* ---- TLS ---- */

static void begin_handshake(struct session *session)
{
    tls_init_server(&session->tls, session->worker->credentials.server);
    stream_secure(&session->client, &session->tls.cipher);
}

static enum step handshake_failed(struct session *session)
{
    const char *reason = tls_reason(&session->tls);
    char id[SESSION_ID_SIZE];
    session_id_text(session->id, id);
    if (session->timed_out) {
        reason = "timeout";
    } else if (reason == NULL) {
        reason = "connection closed";
    }
    log_line(LEVEL_INFO, "session %s: TLS handshake failed: %s", id, reason);
    return session_end(session, NULL, "tls");
}

/*
 * From the first byte (implicit), or behind the reply to STARTTLS, which has to be out before. What
 * was said until then is forgotten already (RFC 3207, 4.2); the greeting or a command comes next.
 */
enum step step_secure(struct session *session)
{
    if (stream_is_secured(&session->client)) {
        bool is_implicit = session_listener(session)->tls == LISTEN_TLS_IMPLICIT;
        tls_get_info(&session->tls, &session->tls_info);
        session_enter(session, is_implicit ? SESSION_GREET : SESSION_COMMAND);
        return STEP_MORE;
    }
    if (session->timed_out || session->client.ended) {
        return handshake_failed(session);
    }
    if (!stream_is_drained(&session->client)) {
        return session_wait(session, WAIT_CLIENT_DRAIN);
    }
    if (!stream_is_shaking(&session->client)) {
        begin_handshake(session);
    }
    return session_wait(session, WAIT_HANDSHAKE);
}

/* ---- greeting ---- */

static enum step greet(struct session *session)
{
    char line[CONFIG_TEXT_MAX + 32];
    (void)snprintf(line, sizeof(line), "220 %s ESMTP mailweir", session->worker->config->hostname);
    session_reply(session, line);
    session_enter(session, SESSION_COMMAND);
    return STEP_MORE;
}

/* contact = connect: the upstream comes first. */
static enum step greet_contact(struct session *session)
{
    if (session->lease == NULL && !session_take_lease(session, true) && session->lease == NULL) {
        return session_no_memory(session);
    }
    if (lease_is_opening(session->lease)) {
        return session_wait(session, WAIT_CONNECT);
    }
    if (lease_is_lost(session->lease)) {
        char line[LEASE_REASON_MAX + 64];
        (void)snprintf(line, sizeof(line), "421 4.4.1 no upstream server can be reached (%s)",
                       session->lease->reason);
        return session_end(session, line, "upstream");
    }
    return greet(session);
}

enum step step_greet(struct session *session)
{
    if (session->worker->phase != WORKER_RUNNING) {
        return session_end(session, "421 4.3.2 shutting down", "shutdown");
    }
    screening_begin(session);
    bool delays = session_listener(session)->greet_delay_ms > 0;
    if (delays && stream_len(&session->client) > 0) {
        return session_end(session, "554 5.5.1 you spoke before the greeting", "greet_delay");
    }
    if (session->client.ended) {
        return session_end(session, NULL, "client");
    }
    if (delays && !session->timed_out && session->lease == NULL) {
        if (stream_read(&session->client, RECV_LATER) < 0) {
            return session_end(session, NULL, "client");
        }
        return session_wait(session, WAIT_TIMER | WAIT_CLIENT_BYTES);
    }
    if (session_upstream(session)->config->contact == CONTACT_CONNECT) {
        return greet_contact(session);
    }
    return greet(session);
}

/* ---- commands ---- */

/* No complete line: what was gathered goes out, and the client may speak. */
static enum step command_wait(struct session *session)
{
    stream_flush(&session->client);
    if (stream_read(&session->client, RECV_LATER) < 0) {
        return session_end(session, NULL, "client");
    }
    return session_wait(session, WAIT_CLIENT_BYTES);
}

static enum step skip_line(struct session *session)
{
    bool found = false;
    uint32_t taken = smtp_line_skip(&session->skip, stream_bytes(&session->client),
                                    stream_len(&session->client), &found);
    stream_consume(&session->client, taken);
    if (found) {
        session->is_skipping = false;
        return STEP_MORE;
    }
    return command_wait(session);
}

static enum step refuse_line(struct session *session, const char *line)
{
    session->verb = VERB_UNKNOWN;
    session_reply(session, line);
    session->is_skipping = true;
    session->skip = (struct smtp_line_skip){false};
    return STEP_MORE;
}

static enum step next_line(struct session *session)
{
    struct text line;
    uint32_t taken = 0;
    switch (smtp_line_scan(stream_bytes(&session->client), stream_len(&session->client), &line,
                           &taken)) {
    case LINE_MORE:
        return command_wait(session);
    case LINE_BAD:
        session->commands++;
        return refuse_line(session,
                           "500 5.5.2 only CRLF ends a line; bare CR, bare LF and NUL are refused");
    case LINE_LONG:
        session->commands++;
        return refuse_line(session, "500 5.5.2 line too long");
    case LINE_OK:
        break;
    }
    session->line_len = taken;
    session->commands += session->is_resumed ? 0 : 1;
    if (session->commands > session->worker->config->commands) {
        return session_end(session, "421 4.7.0 too many commands", "limits.commands");
    }
    return command_run(session, line);
}

enum step step_command(struct session *session)
{
    const struct config *config = session->worker->config;
    if (session->timed_out) {
        return session_end(session, "421 4.4.2 timeout, closing connection",
                           session->is_over ? "limits.session_timeout" : "limits.command_timeout");
    }
    if (stream_room(&session->client) < SESSION_REPLY_ROOM) {
        stream_flush(&session->client);
        return session_wait(session, WAIT_CLIENT_DRAIN);
    }
    if (session->worker->phase != WORKER_RUNNING && session->transaction == NULL) {
        return session_end(session, "421 4.3.2 shutting down", "shutdown");
    }
    if (session->is_mute) {
        return session_end(session, NULL, "limits.memory");
    }
    if (session->errors >= config->errors) {
        return session_end(session, "421 4.7.0 too many errors", "limits.errors");
    }
    if (session->is_skipping) {
        return skip_line(session);
    }
    return next_line(session);
}

/* ---- contact ---- */

enum step step_contact(struct session *session)
{
    if (session_awaits_lease(session)) {
        return session_wait(session, WAIT_CONNECT);
    }
    struct lease *lease = session->lease;
    if (lease == NULL || lease_is_lost(lease)) {
        return forward_unreachable(session);
    }
    session->transaction->connect_ms = lease->is_reused ? 0 : lease->ready_ms - lease->opened_ms;
    session->is_resumed = true;
    session_enter(session, SESSION_COMMAND);
    return STEP_MORE;
}

/* ---- checks that a recipient depends on ---- */

enum step step_screen(struct session *session)
{
    if (!verification_await(session, PHASE_RCPT)) {
        stream_flush(&session->client);
        return session_wait(session, WAIT_VERDICT);
    }
    session->transaction->waited_ms += session_now(session) - session->command_ms;
    session->is_resumed = true;
    session_enter(session, SESSION_COMMAND);
    return STEP_MORE;
}

/* ---- the end ---- */

enum step step_closing(struct session *session)
{
    if (session->farewell != NULL) {
        if (stream_is_sending(&session->client) && !session->timed_out) {
            return session_wait(session, WAIT_CLIENT_DRAIN);
        }
        session_say_farewell(session);
    }
    if (session->timed_out) {
        stream_stop(&session->client, STOP_NOW);
    }
    if (stream_is_closed(&session->client)) {
        return STEP_END;
    }
    return session_wait(session, WAIT_CLOSED);
}
