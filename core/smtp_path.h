/*
 * smtp_path - the grammar of reverse and forward paths (RFC 5321, 4.1.2 and 4.1.3; RFC 6531, 3.3).
 *
 * Pure: slices of the bytes given, nothing unquoted, nothing repaired. Strict where receivers
 * disagree: no source route, no white space, no control character (C1 included), no empty label,
 * no trailing dot, no general address literal. An underscore in a domain is let through, since
 * hosts with such names send mail.
 */
#ifndef CORE_SMTP_PATH_H
#define CORE_SMTP_PATH_H

#include "core/smtp_command.h"

/* The length of the valid UTF-8 sequence of a character above U+009F at the start of `text`, 2 to
 * 4; 0 when there is none. */
uint32_t smtp_utf8_length(struct text text);

/* Parses "<...>" at the start of `text`; *ret_taken is its length with the brackets. Non-ASCII is
 * parsed and reported in has_utf8: whether it was allowed, the caller knows. SYNTAX_OK,
 * SYNTAX_PATH, SYNTAX_PATH_LONG, SYNTAX_ROUTE or, for what is not valid UTF-8, SYNTAX_PATH_UTF8.
 * The empty path and a local part without a domain parse; who may use them, the caller knows. */
enum smtp_syntax smtp_path_parse(struct text text, struct smtp_path *ret_path, uint32_t *ret_taken);

/* Letters, digits and the other characters of an atom (RFC 5322, 3.2.3). */
bool smtp_is_atext(char byte);

#endif
