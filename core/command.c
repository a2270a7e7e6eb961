/*
 * command - see core/command.h. RFC 5321, 4.1; the reply codes are those of 4.2 and RFC 3463.
 *
 * Reading order: checks and proceeds verb by verb, the table, the runner.
 */
#include "core/command.h"

#include <assert.h>
#include <stdio.h>

#include "core/dispatch.h"
#include "core/forward.h"
#include "core/gather.h"
#include "core/hold.h"
#include "core/verification.h"
#include "core/writer.h"

/* ---- EHLO, HELO ---- */

static const char *check_helo(struct session *session, struct command *command)
{
    (void)session; /* HELO is allowed at any time (RFC 5321, 4.1.4) */
    if (!smtp_helo_is_valid(command->parsed.args)) {
        return "501 5.5.4 a host name or an address literal is needed";
    }
    return NULL;
}

static void helo_accept(struct session *session, struct text name, bool extended)
{
    session_abort_transaction(session, "client");
    assert(name.len < sizeof(session->helo));
    memcpy(session->helo, name.at, name.len);
    session->helo[name.len] = '\0';
    session->is_extended = extended;
    session->offered = 0;
}

static enum step proceed_helo(struct session *session, const struct command *command)
{
    char line[CONFIG_TEXT_MAX + 8];
    helo_accept(session, command->parsed.args, false);
    (void)snprintf(line, sizeof(line), "250 %s", session->worker->config->hostname);
    session_reply(session, line);
    return session_command_done(session);
}

/* The smaller of the upstream's limit and ours; 0: none. */
static uint64_t ehlo_size(uint64_t upstream_size, uint64_t our_size)
{
    if (upstream_size == 0 || (our_size > 0 && our_size < upstream_size)) {
        return our_size;
    }
    return upstream_size;
}

/* What we pass on when the upstream has it; PIPELINING is our own. */
static const struct {
    uint32_t extension;
    const char *keyword;
} ehlo_rows[] = {
    {EXT_8BITMIME, "8BITMIME"},
    {EXT_SMTPUTF8, "SMTPUTF8"},
    {EXT_DSN, "DSN"},
    {EXT_ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES"},
};

static uint32_t ehlo_format(const struct session *session, char *out, uint32_t size)
{
    struct writer w = {.at = out, .end = out + size};
    writer_put(&w, TEXT("250-"));
    writer_string(&w, session->worker->config->hostname);
    for (uint32_t i = 0; i < sizeof(ehlo_rows) / sizeof(ehlo_rows[0]); i++) {
        if (session->offered & ehlo_rows[i].extension) {
            writer_put(&w, TEXT("\r\n250-"));
            writer_string(&w, ehlo_rows[i].keyword);
        }
    }
    if (session->offered & EXT_SIZE) {
        writer_put(&w, TEXT("\r\n250-SIZE"));
    }
    if ((session->offered & EXT_SIZE) && session->size_max > 0) {
        writer_put(&w, TEXT(" "));
        writer_number(&w, session->size_max);
    }
    if (session_may_secure(session)) {
        writer_put(&w, TEXT("\r\n250-STARTTLS"));
    }
    writer_put(&w, TEXT("\r\n250 PIPELINING\r\n"));
    return writer_len(&w, out);
}

static enum step proceed_ehlo(struct session *session, const struct command *command)
{
    char text[CONFIG_TEXT_MAX + 256];
    uint64_t size = 0;
    helo_accept(session, command->parsed.args, true);
    if (session->lease != NULL && !lease_is_lost(session->lease)) {
        session->offered = session->lease->extensions;
        size = session->lease->size_max;
    } else {
        session->offered = upstream_extensions(session_upstream(session), &size);
    }
    session->offered &= EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN | EXT_ENHANCEDSTATUSCODES | EXT_SIZE;
    session->size_max = ehlo_size(size, session->worker->config->message_size);
    struct smtp_reply reply = {.code = 250, .len = ehlo_format(session, text, sizeof(text))};
    session_pass_reply(session, &reply, text);
    return session_command_done(session);
}

/* ---- MAIL ---- */

static const char *syntax_reply(enum smtp_syntax syntax, bool is_mail)
{
    switch (syntax) {
    case SYNTAX_OK:
        return NULL;
    case SYNTAX_ARGUMENT:
        return is_mail ? "501 5.5.4 syntax: MAIL FROM:<address>"
                       : "501 5.5.4 syntax: RCPT TO:<address>";
    case SYNTAX_PATH:
        return is_mail ? "501 5.1.7 bad sender address syntax"
                       : "501 5.1.3 bad recipient address syntax";
    case SYNTAX_PATH_LONG:
        return is_mail ? "501 5.1.7 sender address too long"
                       : "501 5.1.3 recipient address too long";
    case SYNTAX_ROUTE:
        return is_mail ? "501 5.1.7 source routes are not accepted"
                       : "501 5.1.3 source routes are not accepted";
    case SYNTAX_PATH_UTF8:
        return "553 5.6.7 address needs SMTPUTF8";
    case SYNTAX_PARAM:
        return "501 5.5.4 bad parameter";
    case SYNTAX_PARAM_UNKNOWN:
        return "555 5.5.4 parameter not recognised or not offered";
    }
    return "501 5.5.4 syntax error";
}

static bool is_too_big(const struct session *session, uint64_t size)
{
    uint64_t max = session->worker->config->message_size;
    return (max > 0 && size > max) || (session->size_max > 0 && size > session->size_max);
}

static const char *check_mail(struct session *session, struct command *command)
{
    if (session->helo[0] == '\0') {
        return "503 5.5.1 say EHLO first";
    }
    if (session->transaction != NULL && !session->is_resumed) {
        return "503 5.5.1 nested MAIL command";
    }
    enum smtp_syntax syntax =
        smtp_mail_parse(command->parsed.args, session->offered, &command->mail);
    if (syntax != SYNTAX_OK) {
        return syntax_reply(syntax, true);
    }
    if (command->mail.has_size && is_too_big(session, command->mail.size)) {
        return "552 5.3.4 message size exceeds fixed limit";
    }
    return NULL;
}

/* Keeps what the upstream will have to be told, now or at the first RCPT. False when there is no
 * memory for it. */
static bool mail_remember(struct session *session, const struct smtp_mail *mail)
{
    if (!session_begin_transaction(session)) {
        return false;
    }
    struct transaction *t = session->transaction;
    t->has_size = mail->has_size;
    t->declared_size = mail->size;
    t->body_type = (uint8_t)mail->body;
    t->smtputf8 = mail->smtputf8;
    t->needs |= mail->body == BODY_TYPE_8BITMIME ? EXT_8BITMIME : 0;
    t->needs |= mail->smtputf8 ? EXT_SMTPUTF8 : 0;
    struct writer w = {.at = t->params, .end = t->params + sizeof(t->params)};
    if (mail->ret.len > 0) {
        writer_put(&w, TEXT(" RET="));
        writer_put(&w, mail->ret);
    }
    if (mail->envid.len > 0) {
        writer_put(&w, TEXT(" ENVID="));
        writer_put(&w, mail->envid);
    }
    t->params_len = writer_len(&w, t->params);
    return envelope_set_from(&t->envelope, mail->path.whole) == 0;
}

static enum step proceed_mail(struct session *session, const struct command *command)
{
    if (session->transaction == NULL) {
        bool has_room = mail_remember(session, &command->mail) &&
                        (!hold_is_on(session) || verification_begin(session));
        if (!has_room) {
            return session_no_memory(session);
        }
    }
    if (session_upstream(session)->config->contact != CONTACT_RCPT) {
        return dispatch_envelope(session, NULL);
    }
    session_reply(session, "250 2.1.0 sender ok");
    return session_command_done(session);
}

/* ---- RCPT ---- */

static const char *check_rcpt(struct session *session, struct command *command)
{
    struct transaction *t = session->transaction;
    if (t == NULL) {
        return "503 5.5.1 need MAIL command";
    }
    enum smtp_syntax syntax =
        smtp_rcpt_parse(command->parsed.args, session->offered, t->smtputf8, &command->rcpt);
    if (syntax != SYNTAX_OK) {
        return syntax_reply(syntax, false);
    }
    if (t->is_broken) {
        return "451 4.4.2 upstream connection lost, start the transaction again";
    }
    if (t->envelope.accepted_count >= session->worker->config->recipients) {
        t->decided_by = "limits.recipients";
        return "452 4.5.3 too many recipients";
    }
    return NULL;
}

static enum step proceed_rcpt(struct session *session, const struct command *command)
{
    session->transaction->rcpt = command->rcpt;
    if (hold_is_on(session) && !session->is_resumed) {
        session_enter(session, SESSION_SCREEN);
        return STEP_MORE;
    }
    if (hold_is_on(session)) {
        const struct verdict *verdict = verification_judge(session, PHASE_RCPT);
        if (verdict->action >= ACTION_DEFER) {
            session->transaction->decided_by = verdict->decided_by;
            return forward_refuse(session, verdict->reply);
        }
    }
    return dispatch_envelope(session, &command->rcpt);
}

/* ---- DATA ---- */

static const char *check_data(struct session *session, struct command *command)
{
    struct transaction *t = session->transaction;
    if (t == NULL) {
        return "503 5.5.1 need MAIL command";
    }
    if (command->parsed.args.len > 0) {
        return "501 5.5.4 DATA takes no argument";
    }
    if (t->envelope.accepted_count == 0 && !t->is_broken) {
        return "554 5.5.1 no valid recipients";
    }
    return NULL;
}

static enum step proceed_data(struct session *session, const struct command *command)
{
    struct transaction *t = session->transaction;
    struct lease *lease = session->lease;
    (void)command; /* no argument */
    if (hold_is_on(session) && !t->is_broken) {
        return hold_begin(session);
    }
    if (t->is_broken || lease == NULL || lease_is_lost(lease)) {
        session_reply(session, "451 4.4.2 upstream connection lost");
        session_end_transaction(session, VERDICT_DEFER, "upstream");
        return session_command_done(session);
    }
    if (gather_is_possible(session)) {
        return gather_begin(session);
    }
    if (lease_put(lease, "DATA\r\n", 6) < 0) {
        return session_no_memory(session);
    }
    lease_expect(lease, EXPECT_DATA);
    lease_flush(lease);
    session_enter(session, SESSION_FORWARD);
    return STEP_MORE;
}

/* ---- STARTTLS (RFC 3207) ---- */

static const char *check_starttls(struct session *session, struct command *command)
{
    if (stream_is_secured(&session->client)) {
        return "503 5.5.1 TLS is in use already";
    }
    if (!session_may_secure(session)) {
        return "502 5.5.1 command not offered";
    }
    return command->parsed.args.len > 0 ? "501 5.5.4 STARTTLS takes no argument" : NULL;
}

/* All that was said in plaintext is forgotten, whoever said it; what came with the command must not
 * wait to be taken for something said in private. */
static enum step proceed_starttls(struct session *session, const struct command *command)
{
    (void)command; /* no argument */
    session_abort_transaction(session, "client");
    if (stream_len(&session->client) > session->line_len) {
        return session_end(session, "554 5.5.1 nothing may follow STARTTLS before the handshake",
                           "tls");
    }
    session->helo[0] = '\0';
    session->is_extended = false;
    session->offered = 0;
    session->size_max = 0;
    session_reply(session, "220 2.0.0 ready for TLS");
    (void)session_command_done(session);
    stream_flush(&session->client);
    session_enter(session, SESSION_SECURE);
    return STEP_MORE;
}

/* ---- verbs that are answered here ---- */

static const char *check_no_argument(struct session *session, struct command *command)
{
    (void)session; /* allowed at any time */
    return command->parsed.args.len > 0 ? "501 5.5.4 no argument allowed" : NULL;
}

static const char *check_argument(struct session *session, struct command *command)
{
    (void)session; /* allowed at any time */
    return command->parsed.args.len == 0 ? "501 5.5.4 an argument is needed" : NULL;
}

static enum step proceed_rset(struct session *session, const struct command *command)
{
    (void)command;
    session_abort_transaction(session, "client");
    session_reply(session, "250 2.0.0 ok");
    return session_command_done(session);
}

static enum step proceed_noop(struct session *session, const struct command *command)
{
    (void)command;
    session_reply(session, "250 2.0.0 ok");
    return session_command_done(session);
}

static enum step proceed_vrfy(struct session *session, const struct command *command)
{
    (void)command;
    session_reply(session,
                  "252 2.5.2 cannot verify, but will take the message for this address and try");
    return session_command_done(session);
}

static enum step proceed_help(struct session *session, const struct command *command)
{
    (void)command;
    session_reply(session, "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT");
    return session_command_done(session);
}

static enum step proceed_quit(struct session *session, const struct command *command)
{
    (void)command;
    session_abort_transaction(session, "client");
    return session_end(session, "221 2.0.0 bye", "client");
}

static const char *refuse_unknown(struct session *session, struct command *command)
{
    (void)session;
    (void)command;
    return "500 5.5.1 command not recognised";
}

static const char *refuse_not_offered(struct session *session, struct command *command)
{
    (void)session;
    (void)command;
    return "502 5.5.1 command not offered";
}

static const char *refuse_identity(struct session *session, struct command *command)
{
    (void)session;
    (void)command;
    return "550 5.7.1 not accepted from this client";
}

static enum step proceed_http(struct session *session, const struct command *command)
{
    (void)command;
    return session_end(session, "554 5.5.1 this is an SMTP server", "protocol");
}

/* ---- the table ---- */

static const struct command_row {
    const char *(*check)(struct session *session, struct command *command);
    enum step (*proceed)(struct session *session, const struct command *command);
    bool may_be_plain; /* also where TLS is required and not yet in use (RFC 3207, 4) */
} rows[VERB_COUNT] = {
    [VERB_UNKNOWN] = {refuse_unknown, NULL},
    [VERB_EHLO] = {check_helo, proceed_ehlo, .may_be_plain = true},
    [VERB_HELO] = {check_helo, proceed_helo},
    [VERB_MAIL] = {check_mail, proceed_mail},
    [VERB_RCPT] = {check_rcpt, proceed_rcpt},
    [VERB_DATA] = {check_data, proceed_data},
    [VERB_RSET] = {check_no_argument, proceed_rset},
    [VERB_NOOP] = {NULL, proceed_noop, .may_be_plain = true},
    [VERB_VRFY] = {check_argument, proceed_vrfy},
    [VERB_EXPN] = {refuse_not_offered, NULL},
    [VERB_HELP] = {NULL, proceed_help},
    [VERB_QUIT] = {check_no_argument, proceed_quit, .may_be_plain = true},
    [VERB_STARTTLS] = {check_starttls, proceed_starttls, .may_be_plain = true},
    [VERB_AUTH] = {refuse_not_offered, NULL},
    [VERB_BDAT] = {refuse_not_offered, NULL},
    [VERB_ETRN] = {refuse_not_offered, NULL},
    [VERB_XCLIENT] = {refuse_identity, NULL},
    [VERB_XFORWARD] = {refuse_identity, NULL},
    [VERB_HTTP] = {NULL, proceed_http, .may_be_plain = true},
};

/* A recipient refused by a limit of ours belongs into the record as well. */
static void note_refused_rcpt(struct session *session, const struct command *command)
{
    struct transaction *t = session->transaction;
    bool by_limit = command->parsed.verb == VERB_RCPT && t != NULL && t->decided_by != NULL;
    if (by_limit) {
        dispatch_note_rcpt(t, &command->rcpt, t->reply_code);
    }
}

enum step command_run(struct session *session, struct text line)
{
    struct command command;
    smtp_command_parse(line, &command.parsed);
    session->verb = (uint8_t)command.parsed.verb;
    const struct command_row *row = &rows[command.parsed.verb];
    const char *refusal = NULL;
    if (!row->may_be_plain && session_must_secure(session)) {
        refusal = "530 5.7.0 must issue a STARTTLS command first";
    } else if (row->check != NULL) {
        refusal = row->check(session, &command);
    }
    if (refusal != NULL) {
        session_reply(session, refusal);
        note_refused_rcpt(session, &command);
        return session_command_done(session);
    }
    return row->proceed(session, &command);
}
