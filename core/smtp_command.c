/*
 * smtp_command - verbs, and what follows MAIL, RCPT and EHLO. See the header; the grammar of paths
 * is in core/smtp_path.c.
 *
 * A parameter is one row of a table: its keyword, the extension it belongs to, and the function
 * that checks its value and puts it in place.
 */
#include "core/smtp_command.h"

#include "core/smtp_path.h"

enum {
    SIZE_DIGITS_MAX = 20,
    ENVID_LEN_MAX = 100,
    ORCPT_LEN_MAX = 500,
    HELO_LEN_MAX = 255,
};

static const char *const verb_names[VERB_COUNT] = {
    [VERB_UNKNOWN] = "UNKNOWN",   [VERB_EHLO] = "EHLO",       [VERB_HELO] = "HELO",
    [VERB_MAIL] = "MAIL",         [VERB_RCPT] = "RCPT",       [VERB_DATA] = "DATA",
    [VERB_RSET] = "RSET",         [VERB_NOOP] = "NOOP",       [VERB_VRFY] = "VRFY",
    [VERB_EXPN] = "EXPN",         [VERB_HELP] = "HELP",       [VERB_QUIT] = "QUIT",
    [VERB_STARTTLS] = "STARTTLS", [VERB_AUTH] = "AUTH",       [VERB_BDAT] = "BDAT",
    [VERB_ETRN] = "ETRN",         [VERB_XCLIENT] = "XCLIENT", [VERB_XFORWARD] = "XFORWARD",
    [VERB_HTTP] = "HTTP",
};

static const char *const http_words[] = {"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"};

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

static struct text skip_space(struct text text)
{
    while (text.len > 0 && is_space(text.at[0])) {
        text.at++;
        text.len--;
    }
    return text;
}

static struct text trim_space(struct text text)
{
    text = skip_space(text);
    while (text.len > 0 && is_space(text.at[text.len - 1])) {
        text.len--;
    }
    return text;
}

static struct text text_behind(struct text text, uint32_t len)
{
    return (struct text){.at = text.at + len, .len = text.len - len};
}

/* The bytes in front of the first white space. */
static struct text first_word(struct text text)
{
    struct text word = {.at = text.at, .len = 0};
    while (word.len < text.len && !is_space(text.at[word.len])) {
        word.len++;
    }
    return word;
}

static bool begins_with_nocase(struct text text, const char *string)
{
    struct text head = {.at = text.at, .len = (uint32_t)strlen(string)};
    return text.len >= head.len && text_is_nocase(head, string);
}

static bool is_http(struct text word)
{
    for (size_t i = 0; i < sizeof(http_words) / sizeof(http_words[0]); i++) {
        if (text_is_nocase(word, http_words[i])) {
            return true;
        }
    }
    return begins_with_nocase(word, "Host:");
}

static enum smtp_verb find_verb(struct text word)
{
    for (enum smtp_verb verb = VERB_UNKNOWN + 1; verb < VERB_HTTP; verb++) {
        if (text_is_nocase(word, verb_names[verb])) {
            return verb;
        }
    }
    return is_http(word) ? VERB_HTTP : VERB_UNKNOWN;
}

void smtp_command_parse(struct text line, struct smtp_command *ret_command)
{
    struct text word = first_word(line);
    *ret_command = (struct smtp_command){
        .verb = find_verb(word),
        .word = word,
        .args = trim_space(text_behind(line, word.len)),
    };
}

const char *smtp_verb_name(enum smtp_verb verb)
{
    return verb < VERB_COUNT ? verb_names[verb] : verb_names[VERB_UNKNOWN];
}

static int hex_value(char byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    return byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
}

/* The length of one character of xtext (RFC 3461, 4): itself, or "+" and two upper-case hexadecimal
 * digits that stand for a printable one. 0 when there is none. */
static uint32_t xtext_length(struct text text)
{
    char byte = text.at[0];
    if (byte != '+') {
        return byte >= '!' && byte <= '~' && byte != '=' ? 1 : 0;
    }
    int high = text.len > 2 ? hex_value(text.at[1]) : -1;
    int low = text.len > 2 ? hex_value(text.at[2]) : -1;
    int value = high * 16 + low;
    return high >= 0 && low >= 0 && value >= ' ' && value <= '~' ? 3 : 0;
}

static bool is_xtext(struct text text, bool utf8)
{
    while (text.len > 0) {
        uint32_t len = xtext_length(text);
        if (len == 0 && utf8) {
            len = smtp_utf8_length(text);
        }
        if (len == 0) {
            return false;
        }
        text = text_behind(text, len);
    }
    return true;
}

/* What the parameters of one command are put into; MAIL's and RCPT's rows know which. */
struct params {
    struct smtp_mail *mail;
    struct smtp_rcpt *rcpt;
    bool smtputf8;
};

struct param {
    const char *keyword;
    enum smtp_ext ext;
    bool (*set)(struct params *params, struct text value);
};

static bool set_size(struct params *params, struct text value)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(value.at[i] - '0');
        size = size > (UINT64_MAX - digit) / 10 ? UINT64_MAX : size * 10 + digit;
    }
    params->mail->has_size = true;
    params->mail->size = size;
    return value.len > 0 && value.len <= SIZE_DIGITS_MAX;
}

static bool set_body(struct params *params, struct text value)
{
    if (text_is_nocase(value, "7BIT")) {
        params->mail->body = BODY_TYPE_7BIT;
    } else if (text_is_nocase(value, "8BITMIME")) {
        params->mail->body = BODY_TYPE_8BITMIME;
    }
    return params->mail->body != BODY_TYPE_NONE;
}

static bool set_smtputf8(struct params *params, struct text value)
{
    params->mail->smtputf8 = true;
    return value.at == NULL;
}

static bool set_ret(struct params *params, struct text value)
{
    params->mail->ret = value;
    return text_is_nocase(value, "FULL") || text_is_nocase(value, "HDRS");
}

static bool set_envid(struct params *params, struct text value)
{
    params->mail->envid = value;
    return value.len > 0 && value.len <= ENVID_LEN_MAX && is_xtext(value, false);
}

static bool is_notify_word(struct text word)
{
    return text_is_nocase(word, "SUCCESS") || text_is_nocase(word, "FAILURE") ||
           text_is_nocase(word, "DELAY");
}

static bool is_notify_list(struct text list)
{
    struct text word = {.at = list.at, .len = 0};
    for (uint32_t i = 0; i < list.len; i++) {
        if (list.at[i] != ',') {
            word.len++;
            continue;
        }
        if (!is_notify_word(word)) {
            return false;
        }
        word = (struct text){.at = list.at + i + 1, .len = 0};
    }
    return is_notify_word(word);
}

static bool set_notify(struct params *params, struct text value)
{
    params->rcpt->notify = value;
    return text_is_nocase(value, "NEVER") || is_notify_list(value);
}

/* addr-type ";" xtext; with SMTPUTF8 an address of type utf-8 may be written as it is (RFC 6533,
 * 3). */
static bool set_orcpt(struct params *params, struct text value)
{
    params->rcpt->orcpt = value;
    struct text type = {.at = value.at, .len = 0};
    while (type.len < value.len && smtp_is_atext(value.at[type.len])) {
        type.len++;
    }
    if (type.len == 0 || type.len == value.len || value.at[type.len] != ';') {
        return false;
    }
    bool utf8 = params->smtputf8 && text_is_nocase(type, "utf-8");
    return value.len <= ORCPT_LEN_MAX && is_xtext(text_behind(value, type.len + 1), utf8);
}

static const struct param mail_params[] = {
    {"SIZE", EXT_SIZE, set_size},
    {"BODY", EXT_8BITMIME, set_body},
    {"SMTPUTF8", EXT_SMTPUTF8, set_smtputf8},
    {"RET", EXT_DSN, set_ret},
    {"ENVID", EXT_DSN, set_envid},
    {.keyword = NULL},
};

static const struct param rcpt_params[] = {
    {"NOTIFY", EXT_DSN, set_notify},
    {"ORCPT", EXT_DSN, set_orcpt},
    {.keyword = NULL},
};

/* esmtp-keyword of RFC 5321, 4.1.2. */
static bool is_keyword(struct text text)
{
    for (uint32_t i = 0; i < text.len; i++) {
        char byte = text_lower(text.at[i]);
        bool is_alnum = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
        if (!is_alnum && (byte != '-' || i == 0)) {
            return false;
        }
    }
    return text.len > 0;
}

/* `word` is keyword or keyword=value. *seen is the set of the table's rows met so far. */
static enum smtp_syntax parse_param(struct text word, uint32_t offered, const struct param *table,
                                    struct params *params, uint32_t *seen)
{
    struct text value = {.at = NULL, .len = 0}; /* no "=": not the same as an empty value */
    const char *equals = memchr(word.at, '=', word.len);
    struct text keyword = word;
    if (equals != NULL) {
        keyword.len = (uint32_t)(equals - word.at);
        value = text_behind(word, keyword.len + 1);
    }
    if (!is_keyword(keyword)) {
        return SYNTAX_ARGUMENT;
    }
    for (uint32_t i = 0; table[i].keyword != NULL; i++) {
        if (text_is_nocase(keyword, table[i].keyword) && (offered & table[i].ext) != 0) {
            bool is_again = (*seen & 1u << i) != 0;
            *seen |= 1u << i;
            return !is_again && table[i].set(params, value) ? SYNTAX_OK : SYNTAX_PARAM;
        }
    }
    return SYNTAX_PARAM_UNKNOWN;
}

static enum smtp_syntax parse_params(struct text text, uint32_t offered, const struct param *table,
                                     struct params *params)
{
    uint32_t seen = 0;
    if (text.len > 0 && !is_space(text.at[0])) {
        return SYNTAX_ARGUMENT; /* something sticks to the path */
    }
    for (text = skip_space(text); text.len > 0; text = skip_space(text)) {
        struct text word = first_word(text);
        enum smtp_syntax syntax = parse_param(word, offered, table, params, &seen);
        if (syntax != SYNTAX_OK) {
            return syntax;
        }
        text = text_behind(text, word.len);
    }
    return SYNTAX_OK;
}

/* "FROM:" or "TO:" and the path; *args becomes what follows. */
static enum smtp_syntax parse_path(struct text *args, const char *prefix, struct smtp_path *path)
{
    if (!begins_with_nocase(*args, prefix)) {
        return SYNTAX_ARGUMENT;
    }
    struct text rest = skip_space(text_behind(*args, (uint32_t)strlen(prefix)));
    uint32_t taken;
    enum smtp_syntax syntax = smtp_path_parse(rest, path, &taken);
    if (syntax == SYNTAX_OK) {
        *args = text_behind(rest, taken);
    }
    return syntax;
}

enum smtp_syntax smtp_mail_parse(struct text args, uint32_t offered, struct smtp_mail *ret_mail)
{
    struct text empty = {.at = args.at, .len = 0};
    *ret_mail = (struct smtp_mail){.ret = empty, .envid = empty};
    struct smtp_path *path = &ret_mail->path;
    enum smtp_syntax syntax = parse_path(&args, "FROM:", path);
    if (syntax != SYNTAX_OK) {
        return syntax;
    }
    if (path->whole.len > 0 && path->domain.len == 0) {
        return SYNTAX_PATH;
    }
    if (path->has_utf8 && (offered & EXT_SMTPUTF8) == 0) {
        return SYNTAX_PATH_UTF8;
    }
    struct params params = {.mail = ret_mail};
    syntax = parse_params(args, offered, mail_params, &params);
    if (syntax == SYNTAX_OK && path->has_utf8 && !ret_mail->smtputf8) {
        return SYNTAX_PATH_UTF8;
    }
    return syntax;
}

enum smtp_syntax smtp_rcpt_parse(struct text args, uint32_t offered, bool smtputf8,
                                 struct smtp_rcpt *ret_rcpt)
{
    struct text empty = {.at = args.at, .len = 0};
    *ret_rcpt = (struct smtp_rcpt){.notify = empty, .orcpt = empty};
    struct smtp_path *path = &ret_rcpt->path;
    enum smtp_syntax syntax = parse_path(&args, "TO:", path);
    if (syntax != SYNTAX_OK) {
        return syntax;
    }
    if (path->domain.len == 0 && !text_is_nocase(path->local, "postmaster")) {
        return SYNTAX_PATH;
    }
    if (path->has_utf8 && !smtputf8) {
        return SYNTAX_PATH_UTF8;
    }
    struct params params = {.rcpt = ret_rcpt, .smtputf8 = smtputf8};
    return parse_params(args, offered, rcpt_params, &params);
}

bool smtp_helo_is_valid(struct text args)
{
    if (args.len == 0 || args.len > HELO_LEN_MAX) {
        return false;
    }
    while (args.len > 0) {
        bool is_visible = args.at[0] >= '!' && args.at[0] <= '~';
        uint32_t len = is_visible ? 1 : smtp_utf8_length(args);
        if (len == 0) {
            return false;
        }
        args = text_behind(args, len);
    }
    return true;
}
