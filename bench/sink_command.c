/*
 * sink_command - weir-sink's table of verbs.
 *
 * Declared in bench/sink_session.h. `check` judges a command and says what it deserves, without
 * changing anything that a refusal by the rules would have to take back; `apply` gives effect to
 * what was answered with success.
 */
#include "bench/sink_session.h"

#include <assert.h>
#include <stdio.h>

#include "core/smtp_command.h"

struct request {
    struct text args;
    struct text params; /* of MAIL and RCPT, as given */
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
};

typedef struct text check_verb(struct sink_session *session, struct request *request);
typedef void apply_verb(struct sink_session *session, const struct request *request);

/* The peer broke the protocol. */
static struct text refuse(struct sink_session *session, struct text reply)
{
    session->sink->counts.refused++;
    return reply;
}

static uint32_t offered(const struct sink_session *session)
{
    return session->greeted == GREETED_EHLO ? session->sink->offer.extensions : 0;
}

/* ---- EHLO, HELO ---- */

static struct text check_ehlo(struct sink_session *session, struct request *request)
{
    const struct sink_offer *offer = &session->sink->offer;
    if (offer->ehlo_refused) {
        return TEXT("502 5.5.1 EHLO not implemented\r\n");
    }
    if (!smtp_helo_is_valid(request->args)) {
        return refuse(session, TEXT("501 5.5.4 EHLO needs one name\r\n"));
    }
    return (struct text){.at = offer->ehlo, .len = offer->ehlo_len};
}

static struct text check_helo(struct sink_session *session, struct request *request)
{
    const struct sink_offer *offer = &session->sink->offer;
    if (!smtp_helo_is_valid(request->args)) {
        return refuse(session, TEXT("501 5.5.4 HELO needs one name\r\n"));
    }
    return (struct text){.at = offer->helo, .len = offer->helo_len};
}

static void apply_ehlo(struct sink_session *session, const struct request *request)
{
    (void)request;
    sink_session_reset(session);
    session->greeted = GREETED_EHLO;
}

static void apply_helo(struct sink_session *session, const struct request *request)
{
    (void)request;
    sink_session_reset(session);
    session->greeted = GREETED_HELO;
}

/* ---- MAIL, RCPT ---- */

static struct text syntax_reply(enum smtp_syntax syntax, bool is_mail)
{
    switch (syntax) {
    case SYNTAX_PATH:
    case SYNTAX_PATH_LONG:
    case SYNTAX_ROUTE:
        return is_mail ? TEXT("501 5.1.7 Bad sender address\r\n")
                       : TEXT("501 5.1.3 Bad recipient address\r\n");
    case SYNTAX_PATH_UTF8:
        return TEXT("553 5.6.7 Address needs SMTPUTF8\r\n");
    case SYNTAX_PARAM_UNKNOWN:
        return TEXT("555 5.5.4 Unknown parameter\r\n");
    case SYNTAX_OK:
    case SYNTAX_ARGUMENT:
    case SYNTAX_PARAM:
        break;
    }
    return TEXT("501 5.5.4 Bad arguments\r\n");
}

/* What stands behind the path's bracket, without white space around it. */
static struct text params_behind(struct text args, struct text path)
{
    const char *end = args.at + args.len;
    const char *at = path.len > 0 ? path.at + path.len : memchr(args.at, '>', args.len);
    assert(at != NULL);
    assert(*at == '>');
    for (at++; at < end && (*at == ' ' || *at == '\t'); at++) {
    }
    return (struct text){.at = at, .len = (uint32_t)(end - at)};
}

static bool text_begins(struct text text, const char *prefix)
{
    return text_is((struct text){.at = text.at, .len = (uint32_t)strnlen(prefix, text.len)},
                   prefix);
}

/* With -a the reply repeats the address, and an address may ask for a refusal. */
static struct text judge_address(struct sink_session *session, struct text path, struct text usual)
{
    if (!session->sink->names_addresses) {
        return usual;
    }
    const char *code = "250 2.1.5";
    if (text_begins(path, "refuse")) {
        code = "550 5.1.1";
    } else if (text_begins(path, "defer")) {
        code = "450 4.2.1";
    }
    int path_len = path.len < SINK_ANSWER_PATH_MAX ? (int)path.len : SINK_ANSWER_PATH_MAX;
    int len =
        snprintf(session->space, sizeof(session->space), "%s <%.*s>\r\n", code, path_len, path.at);
    return (struct text){.at = session->space, .len = (uint32_t)len};
}

static struct text check_mail(struct sink_session *session, struct request *request)
{
    const struct sink *sink = session->sink;
    if (session->greeted == GREETED_NO) {
        return refuse(session, TEXT("503 5.5.1 EHLO first\r\n"));
    }
    if (session->transaction.has_mail) {
        return refuse(session, TEXT("503 5.5.1 MAIL was given\r\n"));
    }
    enum smtp_syntax syntax = smtp_mail_parse(request->args, offered(session), &request->mail);
    if (syntax != SYNTAX_OK) {
        return refuse(session, syntax_reply(syntax, true));
    }
    if (sink->offer.size_max > 0 && request->mail.size > sink->offer.size_max) {
        return refuse(session, TEXT("552 5.3.4 Message too big\r\n"));
    }
    if (sink->journal != NULL && sink_journal_is_full(sink->journal)) {
        return TEXT("452 4.3.1 Too many messages in work\r\n");
    }
    request->params = params_behind(request->args, request->mail.path.whole);
    return judge_address(session, request->mail.path.whole, TEXT("250 2.1.0 Ok\r\n"));
}

static void apply_mail(struct sink_session *session, const struct request *request)
{
    struct sink_transaction *transaction = &session->transaction;
    sink_content_init(&transaction->content);
    transaction->has_mail = true;
    transaction->smtputf8 = request->mail.smtputf8;
    if (session->sink->journal != NULL) {
        transaction->message = sink_journal_begin(session->sink->journal, session->number);
        assert(transaction->message != NULL);
        transaction->message->owner = session;
        sink_message_add_path(transaction->message, request->mail.path.whole, request->params);
    }
}

static struct text check_rcpt(struct sink_session *session, struct request *request)
{
    const struct sink_transaction *transaction = &session->transaction;
    if (!transaction->has_mail || transaction->is_chunked) {
        return refuse(session, TEXT("503 5.5.1 MAIL first\r\n"));
    }
    enum smtp_syntax syntax =
        smtp_rcpt_parse(request->args, offered(session), transaction->smtputf8, &request->rcpt);
    if (syntax != SYNTAX_OK) {
        return refuse(session, syntax_reply(syntax, false));
    }
    struct text path = request->rcpt.path.whole;
    request->params = params_behind(request->args, path);
    bool is_full = transaction->rcpt_count == SINK_RCPT_MAX;
    if (transaction->message != NULL) {
        is_full |= !sink_message_has_room(transaction->message, path, request->params);
    }
    return is_full ? TEXT("452 4.5.3 Too many recipients\r\n")
                   : judge_address(session, path, TEXT("250 2.1.5 Ok\r\n"));
}

static void apply_rcpt(struct sink_session *session, const struct request *request)
{
    struct sink_transaction *transaction = &session->transaction;
    transaction->rcpt_count++;
    if (transaction->message != NULL) {
        sink_message_add_path(transaction->message, request->rcpt.path.whole, request->params);
    }
}

/* ---- DATA, BDAT ---- */

/* May a message begin, or go on? */
static struct text check_message(struct sink_session *session, struct text go_ahead)
{
    struct sink_transaction *transaction = &session->transaction;
    if (!transaction->has_mail) {
        return refuse(session, TEXT("503 5.5.1 MAIL first\r\n"));
    }
    if (transaction->rcpt_count == 0) {
        return refuse(session, TEXT("554 5.5.1 No valid recipients\r\n"));
    }
    if (transaction->message != NULL && !transaction->is_chunked &&
        sink_message_open(transaction->message) < 0) {
        return TEXT("451 4.3.0 No file for the message\r\n");
    }
    return go_ahead;
}

static struct text check_data(struct sink_session *session, struct request *request)
{
    if (request->args.len > 0) {
        return refuse(session, TEXT("501 5.5.4 DATA takes no arguments\r\n"));
    }
    if (session->transaction.is_chunked) {
        return refuse(session, TEXT("503 5.5.1 BDAT was given\r\n"));
    }
    return check_message(session, TEXT("354 End data with <CR><LF>.<CR><LF>\r\n"));
}

static void apply_data(struct sink_session *session, const struct request *request)
{
    (void)request;
    if (session->answer.at[0] == '3') {
        bool early = sink_rules_answer_early(&session->sink->rules);
        session->next = early ? SINK_EARLY : SINK_BODY;
    }
}

/* "SIZE" or "SIZE LAST". */
static bool bdat_parse(struct text args, uint64_t *ret_size, bool *ret_last)
{
    uint64_t size = 0;
    uint32_t at = 0;
    while (at < args.len && at < 18 && args.at[at] >= '0' && args.at[at] <= '9') {
        size = size * 10 + (uint64_t)(args.at[at] - '0');
        at++;
    }
    struct text rest = {.at = args.at + at, .len = args.len - at};
    *ret_size = size;
    *ret_last = rest.len > 0;
    return at > 0 && (rest.len == 0 || text_is_nocase(rest, " LAST"));
}

/*
 * BDAT is answered behind its octets, and these come whatever its command was worth (RFC 3030, 2).
 * Where their number is not known the dialogue is lost.
 */
static void run_bdat(struct sink_session *session, struct text args)
{
    struct sink_transaction *transaction = &session->transaction;
    bool last;
    if (!bdat_parse(args, &session->chunk_left, &last)) {
        struct text reply = refuse(session, TEXT("501 5.5.4 BDAT needs a size\r\n"));
        (void)sink_answer_begin(session, STAGE_DATA, reply, SINK_CLOSING); /* cannot succeed */
        sink_session_enter(session, SINK_ANSWER);
        return;
    }
    session->chunk_last = last;
    session->chunk_answer = check_message(session, TEXT("250 2.0.0 Chunk taken\r\n"));
    if (sink_is_positive(session->chunk_answer)) {
        transaction->is_chunked = true;
    }
    sink_session_enter(session, SINK_CHUNK);
}

/* ---- the rest ---- */

static struct text check_rset(struct sink_session *session, struct request *request)
{
    if (request->args.len > 0) {
        return refuse(session, TEXT("501 5.5.4 RSET takes no arguments\r\n"));
    }
    return TEXT("250 2.0.0 Ok\r\n");
}

static void apply_rset(struct sink_session *session, const struct request *request)
{
    (void)request;
    sink_session_reset(session);
}

static struct text check_noop(struct sink_session *session, struct request *request)
{
    (void)session;
    (void)request;
    return TEXT("250 2.0.0 Ok\r\n");
}

static struct text check_vrfy(struct sink_session *session, struct request *request)
{
    (void)session;
    (void)request;
    return TEXT("252 2.1.5 Send mail and see\r\n");
}

static struct text check_help(struct sink_session *session, struct request *request)
{
    (void)session;
    (void)request;
    return TEXT("214 2.0.0 RFC 5321\r\n");
}

static struct text check_quit(struct sink_session *session, struct request *request)
{
    if (request->args.len > 0) {
        return refuse(session, TEXT("501 5.5.4 QUIT takes no arguments\r\n"));
    }
    return TEXT("221 2.0.0 Bye\r\n");
}

static void apply_quit(struct sink_session *session, const struct request *request)
{
    (void)request;
    session->next = SINK_CLOSING;
}

static struct text check_other(struct sink_session *session, struct request *request)
{
    (void)request;
    return refuse(session, TEXT("502 5.5.1 Command not implemented\r\n"));
}

static struct text check_unrecognized(struct sink_session *session, struct request *request)
{
    (void)request;
    return refuse(session, TEXT("500 5.5.1 Command not recognized\r\n"));
}

static const struct verb_row {
    enum sink_stage stage;
    check_verb *check;
    apply_verb *apply; /* NULL: no effect */
} verb_rows[VERB_COUNT] = {
    [VERB_UNKNOWN] = {STAGE_NONE, check_unrecognized, NULL},
    [VERB_EHLO] = {STAGE_EHLO, check_ehlo, apply_ehlo},
    [VERB_HELO] = {STAGE_HELO, check_helo, apply_helo},
    [VERB_MAIL] = {STAGE_MAIL, check_mail, apply_mail},
    [VERB_RCPT] = {STAGE_RCPT, check_rcpt, apply_rcpt},
    [VERB_DATA] = {STAGE_DATA, check_data, apply_data},
    [VERB_RSET] = {STAGE_RSET, check_rset, apply_rset},
    [VERB_NOOP] = {STAGE_NOOP, check_noop, NULL},
    [VERB_VRFY] = {STAGE_NONE, check_vrfy, NULL},
    [VERB_HELP] = {STAGE_NONE, check_help, NULL},
    [VERB_QUIT] = {STAGE_QUIT, check_quit, apply_quit},
};

void sink_command_run(struct sink_session *session, struct text line)
{
    static const struct verb_row other = {STAGE_NONE, check_other, NULL};
    struct smtp_command command;
    session->sink->counts.commands++;
    smtp_command_parse(line, &command);
    if (command.verb == VERB_BDAT && (offered(session) & EXT_CHUNKING) != 0) {
        run_bdat(session, command.args);
        return;
    }
    const struct verb_row *row = &verb_rows[command.verb];
    if (row->check == NULL) {
        row = &other;
    }
    struct request request = {.args = command.args};
    struct text usual = row->check(session, &request);
    if (sink_answer_begin(session, row->stage, usual, SINK_COMMAND) && row->apply != NULL) {
        row->apply(session, &request);
    }
    sink_session_enter(session, SINK_ANSWER);
}
