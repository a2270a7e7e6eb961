/*
 * smtp_command - parses one command line: verb, path, parameters (RFC 5321, 4.1; RFC 1870, 3461,
 * 6152, 6531).
 *
 * Pure: bytes in, slices of the same bytes out. It parses and says what is wrong; it never repairs,
 * unquotes or lower-cases. What the reply to a finding is, the command table decides
 * (core/command.c).
 */
#ifndef CORE_SMTP_COMMAND_H
#define CORE_SMTP_COMMAND_H

#include "core/text.h"

enum smtp_verb {
    VERB_UNKNOWN,
    VERB_EHLO,
    VERB_HELO,
    VERB_MAIL,
    VERB_RCPT,
    VERB_DATA,
    VERB_RSET,
    VERB_NOOP,
    VERB_VRFY,
    VERB_EXPN,
    VERB_HELP,
    VERB_QUIT,
    VERB_STARTTLS,
    VERB_AUTH,
    VERB_BDAT,
    VERB_ETRN,
    VERB_XCLIENT,
    VERB_XFORWARD,
    VERB_HTTP, /* GET, POST, PUT, HEAD, CONNECT, OPTIONS, and Host: a browser was sent here
                  (ALPACA): drop the session */
    VERB_COUNT
};

struct smtp_command {
    enum smtp_verb verb;
    struct text word; /* the verb as the client spelled it */
    struct text args; /* what follows, without the white space (SP, HT) around it; may be empty */
};

/* Splits a line (without CRLF). Verbs compare without case. Never fails: what is no verb is
 * VERB_UNKNOWN. */
void smtp_command_parse(struct text line, struct smtp_command *ret_command);

/* The canonical upper-case name, for logs ("UNKNOWN" for VERB_UNKNOWN). */
const char *smtp_verb_name(enum smtp_verb verb);

/* Service extensions that have parameters or that we pass on; a set of these is a uint32_t. */
enum smtp_ext {
    EXT_SIZE = 1u << 0,
    EXT_8BITMIME = 1u << 1,
    EXT_SMTPUTF8 = 1u << 2,
    EXT_DSN = 1u << 3,
    EXT_ENHANCEDSTATUSCODES = 1u << 4,
    EXT_PIPELINING = 1u << 5,
    EXT_STARTTLS = 1u << 6,
    EXT_CHUNKING = 1u << 7,
    EXT_XCLIENT = 1u << 8,
    EXT_XFORWARD = 1u << 9,
};

enum smtp_syntax {
    SYNTAX_OK,
    SYNTAX_ARGUMENT,  /* missing "FROM:"/"TO:", or surplus text that is no parameter: 501 5.5.4 */
    SYNTAX_PATH,      /* no valid path: 501 5.1.7 (MAIL) or 5.1.3 (RCPT) */
    SYNTAX_PATH_LONG, /* local part > 64, domain > 255 or path (without brackets) > 256 octets (RFC
                         5321, 4.5.3.1): 501, same codes */
    SYNTAX_ROUTE,     /* a source route, "@a,@b:user@c": 501, refused rather than stripped */
    SYNTAX_PATH_UTF8, /* non-ASCII without SMTPUTF8 given (or not offered), or invalid UTF-8:
                         553 5.6.7 */
    SYNTAX_PARAM,     /* a known parameter with a bad or missing value, or given twice: 501 5.5.4 */
    SYNTAX_PARAM_UNKNOWN, /* not known, or of an extension that was not offered: 555 5.5.4 */
};

/* local + "@" + domain, or only a local part ("postmaster", RCPT only), or empty ("<>", MAIL only).
 */
struct smtp_path {
    struct text whole;  /* between the angle brackets */
    struct text local;  /* as given, with quotes if it was quoted */
    struct text domain; /* as given, with brackets if it is an address literal; empty for <> and
                           <postmaster> */
    bool has_utf8;      /* holds bytes above 127 (valid UTF-8) */
    bool is_literal; /* domain is an address literal: [192.0.2.1], [IPv6:2001:db8::1] (checked for
                        syntax) */
};

enum smtp_body_type { BODY_TYPE_NONE, BODY_TYPE_7BIT, BODY_TYPE_8BITMIME };

struct smtp_mail {
    struct smtp_path path;
    bool has_size;
    uint64_t size; /* of SIZE=; digits only, at most 20, saturating at UINT64_MAX */
    enum smtp_body_type body;
    bool smtputf8;
    struct text ret;   /* "FULL" or "HDRS" as given; empty when absent */
    struct text envid; /* xtext as given; 1 to 100 octets */
};

struct smtp_rcpt {
    struct smtp_path path;
    struct text notify; /* "NEVER", or a comma list of SUCCESS, FAILURE, DELAY; as given */
    struct text orcpt;  /* addr-type ";" xtext; at most 500 octets. UTF-8 if the type is utf-8 and
                           the transaction SMTPUTF8 (RFC 6533) */
};

/*
 * Parses what follows MAIL / RCPT. `offered` is the set of extensions of our EHLO reply (0 after
 * HELO). White space between "FROM:" and "<" is tolerated, a path without angle brackets is not.
 * RCPT needs `smtputf8` of the transaction's MAIL. On anything but SYNTAX_OK the output is
 * undefined. The slices point into `args`.
 */
enum smtp_syntax smtp_mail_parse(struct text args, uint32_t offered, struct smtp_mail *ret_mail);
enum smtp_syntax smtp_rcpt_parse(struct text args, uint32_t offered, bool smtputf8,
                                 struct smtp_rcpt *ret_rcpt);

/* EHLO/HELO argument: 1 to 255 visible ASCII characters (or valid UTF-8) without white space,
 * nothing behind. */
bool smtp_helo_is_valid(struct text args);

#endif
