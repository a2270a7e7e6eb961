/*
 * fuzz_path - MAIL and RCPT arguments. The first byte says which extensions are offered and whether
 * the transaction is SMTPUTF8; the rest is what follows the verb.
 */
#include "core/smtp_command.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { XTEXT_MAX = 500 };

static bool is_inside(struct text part, struct text whole)
{
    return part.at >= whole.at && part.at + part.len <= whole.at + whole.len;
}

/* UTF-8 once more, by decoding: the shortest form of a character that is no surrogate. */
static uint32_t decode_utf8(const uint8_t *at, const uint8_t *end, uint32_t *ret_character)
{
    static const uint32_t lowest[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t len = *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2;
    assert(*at >= 0xc0 && *at < 0xf8 && end - at >= (ptrdiff_t)len);
    uint32_t character = *at & (0x7fu >> len);
    for (uint32_t i = 1; i < len; i++) {
        assert(at[i] >> 6 == 2);
        character = character << 6 | (at[i] & 0x3f);
    }
    assert(character >= lowest[len] && character <= 0x10ffff);
    assert(character < 0xd800 || character > 0xdfff);
    *ret_character = character;
    return len;
}

/* No control character of any kind. Returns whether there was one above ASCII. */
static bool check_characters(struct text text)
{
    const uint8_t *at = (const uint8_t *)text.at;
    const uint8_t *end = at + text.len;
    bool has_utf8 = false;
    while (at < end) {
        uint32_t character = *at;
        uint32_t len = 1;
        if (character >= 0x80) {
            len = decode_utf8(at, end, &character);
            has_utf8 = true;
        }
        assert(character >= ' ' && (character < 0x7f || character > 0x9f));
        at += len;
    }
    return has_utf8;
}

static void check_domain(const struct smtp_path *path)
{
    struct text domain = path->domain;
    bool has_brackets = domain.at[0] == '[' && domain.at[domain.len - 1] == ']';
    assert(path->is_literal == has_brackets);
    char before = '.';
    for (uint32_t i = 0; i < domain.len && !has_brackets; i++) {
        assert(domain.at[i] != '.' || before != '.');
        assert((uint8_t)domain.at[i] >= 0x80 || strchr(" <>@()[]\\,;:\"", domain.at[i]) == NULL);
        before = domain.at[i];
    }
    assert(before != '.' || has_brackets);
}

static void check_path(const struct smtp_path *path, struct text args)
{
    assert(is_inside(path->whole, args));
    assert(path->whole.len <= 256 && path->local.len <= 64 && path->domain.len <= 255);
    assert(check_characters(path->whole) == path->has_utf8);
    assert(path->whole.at[-1] == '<' && path->whole.at[path->whole.len] == '>');
    if (path->domain.len == 0) {
        assert(path->local.len == path->whole.len && !path->is_literal);
        return;
    }
    assert(path->local.len > 0 && path->local.at == path->whole.at);
    assert(path->local.at[path->local.len] == '@');
    assert(path->domain.at == path->local.at + path->local.len + 1);
    assert(path->whole.len == path->local.len + 1 + path->domain.len);
    bool is_quoted = path->local.at[0] == '"';
    assert(!is_quoted || (path->local.len > 1 && path->local.at[path->local.len - 1] == '"'));
    assert(is_quoted || memchr(path->local.at, '"', path->local.len) == NULL);
    assert(is_quoted || memchr(path->local.at, ' ', path->local.len) == NULL);
    check_domain(path);
}

/* A parameter's value is part of the arguments and has no white space in it. */
static void check_value(struct text value, uint32_t len_max, struct text args)
{
    assert(value.len <= len_max && is_inside(value, args));
    check_characters(value);
    assert(memchr(value.at, ' ', value.len) == NULL);
    assert(value.len == 0 || value.at[-1] == '=');
}

/* What was taken for a path is one again, alone and on the other side. */
static void check_again(const struct smtp_path *path)
{
    char args[300];
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
    int len =
        snprintf(args, sizeof(args), "FROM:<%.*s> SMTPUTF8", (int)path->whole.len, path->whole.at);
    struct text text = {.at = args, .len = (uint32_t)len};
    bool is_mail_path = path->whole.len == 0 || path->domain.len > 0;
    enum smtp_syntax syntax = smtp_mail_parse(text, EXT_SMTPUTF8, &mail);
    assert(syntax == (is_mail_path ? SYNTAX_OK : SYNTAX_PATH));
    len = snprintf(args, sizeof(args), "TO:<%.*s>", (int)path->whole.len, path->whole.at);
    text.len = (uint32_t)len;
    syntax = smtp_rcpt_parse(text, 0, true, &rcpt);
    assert(syntax == (path->whole.len > 0 ? SYNTAX_OK : SYNTAX_PATH));
    if (path->has_utf8) {
        assert(smtp_rcpt_parse(text, 0, false, &rcpt) == SYNTAX_PATH_UTF8);
    }
}

static void try_mail(struct text args, uint32_t offered)
{
    struct smtp_mail mail;
    if (smtp_mail_parse(args, offered, &mail) != SYNTAX_OK) {
        return;
    }
    check_path(&mail.path, args);
    check_again(&mail.path);
    check_value(mail.ret, 4, args);
    check_value(mail.envid, 100, args);
    assert(!mail.path.has_utf8 || mail.smtputf8);
    assert(!mail.smtputf8 || (offered & EXT_SMTPUTF8) != 0);
    assert(!mail.has_size || (offered & EXT_SIZE) != 0);
    assert(mail.has_size || mail.size == 0);
    assert(mail.body == BODY_TYPE_NONE || (offered & EXT_8BITMIME) != 0);
    assert((mail.ret.len == 0 && mail.envid.len == 0) || (offered & EXT_DSN) != 0);
}

static void try_rcpt(struct text args, uint32_t offered, bool smtputf8)
{
    struct smtp_rcpt rcpt;
    if (smtp_rcpt_parse(args, offered, smtputf8, &rcpt) != SYNTAX_OK) {
        return;
    }
    check_path(&rcpt.path, args);
    check_again(&rcpt.path);
    check_value(rcpt.notify, args.len, args);
    check_value(rcpt.orcpt, XTEXT_MAX, args);
    assert(!rcpt.path.has_utf8 || smtputf8);
    assert(rcpt.path.whole.len > 0);
    assert((rcpt.notify.len == 0 && rcpt.orcpt.len == 0) || (offered & EXT_DSN) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct text args = {.at = (const char *)data + 1, .len = (uint32_t)size - 1};
    try_mail(args, data[0] & 0x0f);
    try_rcpt(args, data[0] & 0x0f, (data[0] & 0x10) != 0);
    return 0;
}
