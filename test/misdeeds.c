/*
 * misdeeds - see test/misdeeds.h.
 */
#include "test/misdeeds.h"

#include <assert.h>
#include <string.h>

#define AT(place)     (1u << (place))
#define SEND(text)    .deed = DEED_SEND, .bytes = (text), .len = sizeof(text) - 1
#define GLUE(text)    .deed = DEED_GLUE, .bytes = (text), .len = sizeof(text) - 1
#define IDLE(text)    .deed = DEED_IDLE, .bytes = (text), .len = sizeof(text) - 1
#define FLOOD(text)   .deed = DEED_FLOOD, .bytes = (text), .len = sizeof(text) - 1
#define HALF(text)    .deed = DEED_HALF, .bytes = (text), .len = sizeof(text) - 1
#define STALL(text)   .deed = DEED_STALL, .bytes = (text), .len = sizeof(text) - 1
#define SLOW(text)    .deed = DEED_SLOW, .bytes = (text), .len = sizeof(text) - 1
#define CONNECT(kind) .deed = DEED_CONNECT, .how = (kind), .places = AT(PLACE_CONNECT)

enum {
    OPENING = AT(PLACE_GREETING) | AT(PLACE_EHLO) | AT(PLACE_HELO),
    ENVELOPE = AT(PLACE_RSET) | AT(PLACE_MAIL) | AT(PLACE_RCPT_FIRST) | AT(PLACE_RCPT_SECOND),
    MESSAGE = AT(PLACE_DATA) | AT(PLACE_BODY) | AT(PLACE_EOM),
    OWED = OPENING | ENVELOPE | AT(PLACE_DATA) | AT(PLACE_EOM) | AT(PLACE_QUIT),
    ANYWHERE = OPENING | ENVELOPE | MESSAGE | AT(PLACE_QUIT),
    BETWEEN = AT(PLACE_EHLO) | AT(PLACE_MAIL) | AT(PLACE_RCPT_FIRST) | AT(PLACE_RCPT_SECOND) |
              AT(PLACE_DATA) | AT(PLACE_EOM),
};

const struct misdeed misdeeds[] = {
    /* connections that end or say nothing */
    {"connect refused", CONNECT(SIM_CONNECT_REFUSED)},
    {"connect unanswered by the host", CONNECT(SIM_CONNECT_TIMEOUT)},
    {"connect silent", CONNECT(SIM_CONNECT_SILENT)},
    {"drop", SEND(""), .then = MODEL_DROP, .places = ANYWHERE},
    {"reset", SEND(""), .then = MODEL_RESET, .places = ANYWHERE},
    {"silence", SEND(""), .then = MODEL_SILENT, .places = ANYWHERE},
    {"half-close", .deed = DEED_EOF, .places = ANYWHERE},
    {"reads no more", .deed = DEED_DEAF, .places = ANYWHERE},
    /* what is no reply */
    {"garbage line", SEND("what is this?\r\n"), .places = ANYWHERE},
    {"garbage bytes", SEND("\xff\xfe\x80\x01\x02\r\n\x16\x03\x01"), .places = ANYWHERE},
    {"empty line", SEND("\r\n"), .places = ANYWHERE},
    {"white space in front", SEND(" @ ok\r\n"), .places = ANYWHERE},
    {"NUL in a reply", SEND("@ o\0k\r\n"), .places = ANYWHERE},
    {"NUL in front", SEND("\0@ ok\r\n"), .places = ANYWHERE},
    {"escape sequence in a reply", SEND("@ \x1b[2Jok\r\n"), .places = ANYWHERE},
    {"bare LF", SEND("@ ok\n"), .places = ANYWHERE},
    {"bare LF inside", SEND("@ ok\n@ injected\r\n"), .places = ANYWHERE},
    {"bare CR", SEND("@ o\rk\r\n"), .places = ANYWHERE},
    {"CR CR LF", SEND("@ ok\r\r\n"), .places = ANYWHERE},
    {"wrong separator", SEND("@_ok\r\n"), .places = ANYWHERE},
    {"four digits", SEND("@0 ok\r\n"), .places = ANYWHERE},
    {"two digits", SEND("25 ok\r\n"), .places = ANYWHERE},
    {"one digit and a line end", SEND("2\r\n"), .places = ANYWHERE},
    {"one digit, then drop", SEND("2"), .then = MODEL_DROP, .places = ANYWHERE},
    {"one digit, then silence", SEND("2"), .then = MODEL_SILENT, .places = ANYWHERE},
    {"reply without CRLF, then drop", SEND("@ ok"), .then = MODEL_DROP, .places = ANYWHERE},
    {"reply without LF, then silence", SEND("@ ok\r"), .then = MODEL_SILENT, .places = ANYWHERE},
    {"letters for digits", SEND("@-ok\r\n2x0 ok\r\n"), .places = ANYWHERE},
    /* replies that do not end as they began */
    {"code change in mid-reply", SEND("@-one\r\n550 two\r\n"), .places = ANYWHERE},
    {"success behind a refusal's line", SEND("550-one\r\n250 two\r\n"), .places = ANYWHERE},
    {"no last line, then drop", SEND("@-one\r\n"), .then = MODEL_DROP, .places = ANYWHERE},
    {"no last line, then reset", SEND("@-one\r\n"), .then = MODEL_RESET, .places = ANYWHERE},
    {"no last line, then silence", SEND("@-one\r\n"), .then = MODEL_SILENT, .places = ANYWHERE},
    {"refusal without last line, then drop", SEND("550-one\r\n"), .then = MODEL_DROP,
     .places = ANYWHERE},
    {"endless lines", FLOOD("250-more and more\r\n"), .places = ANYWHERE},
    {"endless line", FLOOD("250 more and more"), .places = ANYWHERE},
    {"endless refusal", FLOOD("550-more and more\r\n"), .places = ANYWHERE},
    {"endless bytes without a code", FLOOD("mailmailmail"), .places = ANYWHERE},
    {"endless line in drops", SLOW("250-"), .places = OWED},
    {"8193 bytes of reply", .deed = DEED_LONG, .len = 8193, .places = ANYWHERE},
    /* codes that make no sense there */
    {"code 1xx", SEND("150 wait\r\n"), .places = ANYWHERE},
    {"code 0xx", SEND("050 ok\r\n"), .places = ANYWHERE},
    {"code 600", SEND("600 ok\r\n"), .places = ANYWHERE},
    {"code 999", SEND("999 ok\r\n"), .places = ANYWHERE},
    {"code 334", SEND("334 go on\r\n"), .places = ANYWHERE},
    {"code 354 where it makes no sense", SEND("354 go on\r\n"),
     .places = ANYWHERE & ~AT(PLACE_DATA)},
    {"2xx to DATA", SEND("250 2.0.0 taken\r\n"), .places = AT(PLACE_DATA)},
    {"greeting 250", SEND("250 hello\r\n"), .places = AT(PLACE_GREETING)},
    /* more than was asked for */
    {"reply and another success", GLUE("250 2.0.0 taken\r\n"), .places = OWED},
    {"reply and a refusal", GLUE("550 5.0.0 no\r\n"), .places = OWED},
    {"reply and 421", GLUE("421 4.3.2 bye\r\n"), .places = OWED},
    {"reply and half a reply", GLUE("250"), .places = OWED},
    {"reply and garbage", GLUE("\r\n"), .places = OWED},
    {"354 twice", GLUE("354 go on\r\n"), .places = AT(PLACE_DATA)},
    {"354, 250 and drop", GLUE("250 2.0.0 taken\r\n"), .then = MODEL_DROP,
     .places = AT(PLACE_DATA)},
    {"reply, then drop", GLUE(""), .then = MODEL_DROP, .places = OWED, .is_good = true},
    {"reply, then reset", GLUE(""), .then = MODEL_RESET, .places = OWED, .is_good = true},
    /* out of turn */
    {"early 250", SEND("250 2.0.0 taken\r\n"), .places = AT(PLACE_BODY)},
    {"early 250, then drop", SEND("250 2.0.0 taken\r\n"), .then = MODEL_DROP,
     .places = AT(PLACE_BODY)},
    {"early 250, then silence", SEND("250 2.0.0 taken\r\n"), .then = MODEL_SILENT,
     .places = AT(PLACE_BODY)},
    {"early half of a 250, its CRLF late", HALF("250 2.0.0 taken"), .places = AT(PLACE_BODY)},
    {"early code, its CRLF late", HALF("250"), .places = AT(PLACE_BODY)},
    {"early line of a 250, its end late", HALF("250-2.0.0 taken\r\n250 2.0.0 taken"),
     .places = AT(PLACE_BODY)},
    {"250 to what it did not read", STALL("250 2.0.0 taken\r\n"), .places = AT(PLACE_BODY)},
    {"5xx to what it did not read", STALL("550 5.7.1 no\r\n"), .places = AT(PLACE_BODY),
     .is_good = true},
    {"421 to what it did not read", STALL("421 4.3.2 bye\r\n"), .places = AT(PLACE_BODY),
     .is_good = true},
    {"early 4xx", SEND("451 4.3.0 no more\r\n"), .places = AT(PLACE_BODY), .is_good = true},
    {"early 5xx", SEND("550-5.7.1 one\r\n550 5.7.1 two\r\n"), .places = AT(PLACE_BODY),
     .is_good = true},
    {"early 5xx, then drop", SEND("550 5.7.1 no\r\n"), .then = MODEL_DROP, .places = AT(PLACE_BODY),
     .is_good = true},
    {"early 5xx and 250", SEND("550 5.7.1 no\r\n250 2.0.0 taken\r\n"), .places = AT(PLACE_BODY)},
    {"early 421", SEND("421 4.3.2 bye\r\n"), .then = MODEL_DROP, .places = AT(PLACE_BODY),
     .is_good = true},
    {"idle: success", IDLE("250 2.0.0 taken\r\n"), .places = BETWEEN},
    {"idle: refusal", IDLE("550 5.0.0 no\r\n"), .places = BETWEEN},
    {"idle: 421 and drop", IDLE("421 4.4.2 bye\r\n"), .then = MODEL_DROP, .places = BETWEEN},
    {"idle: 421", IDLE("421 4.4.2 bye\r\n"), .places = BETWEEN},
    {"idle: 354", IDLE("354 go on\r\n"), .places = BETWEEN},
    {"idle: half a reply", IDLE("250 2.0"), .places = BETWEEN},
    {"idle: one digit", IDLE("2"), .places = BETWEEN},
    {"idle: garbage", IDLE("\0\n\r\n"), .places = BETWEEN},
    {"idle: drop", IDLE(""), .then = MODEL_DROP, .places = BETWEEN},
    {"idle: reset", IDLE(""), .then = MODEL_RESET, .places = BETWEEN},
    /* correct, but not what one hopes for */
    {"dripped byte by byte", .deed = DEED_DRIP, .places = OWED, .is_good = true},
    {"4xx", SEND("451 4.3.0 no\r\n"), .places = OWED, .is_good = true},
    {"5xx", SEND("550 5.7.1 no\r\n"), .places = OWED, .is_good = true},
    {"5xx in three lines", SEND("550-5.7.1 a\r\n550-5.7.1  b\r\n550 5.7.1 c\r\n"), .places = OWED,
     .is_good = true},
    {"5xx, then drop", SEND("554 5.7.1 no\r\n"), .then = MODEL_DROP, .places = OWED,
     .is_good = true},
    {"421, then drop", SEND("421 4.3.2 bye\r\n"), .then = MODEL_DROP, .places = OWED,
     .is_good = true},
    {"421, then silence", SEND("421 4.3.2 bye\r\n"), .then = MODEL_SILENT, .places = OWED,
     .is_good = true},
    {"421 and goes on", SEND("421-4.3.2 bye\r\n421 4.3.2 bye\r\n"), .places = OWED,
     .is_good = true},
    {"code only", SEND("@\r\n"), .places = OWED, .is_good = true},
    {"code and space only", SEND("@ \r\n"), .places = OWED, .is_good = true},
    {"refusal, code only", SEND("550\r\n"), .places = OWED, .is_good = true},
    {"bytes above 127", SEND("@ gr\xc3\xbc\xc3\x9f \xff\r\n"), .places = OWED, .is_good = true},
    {"8192 bytes of reply", .deed = DEED_LONG, .len = 8192, .places = OWED, .is_good = true},
};

const uint32_t misdeed_count = sizeof(misdeeds) / sizeof(misdeeds[0]);

static const struct {
    const char *name;
    const char *code;
} places[PLACE_COUNT] = {
    [PLACE_CONNECT] = {"connect", ""},
    [PLACE_GREETING] = {"greeting", "220"},
    [PLACE_EHLO] = {"EHLO", "250"},
    [PLACE_HELO] = {"HELO", "250"},
    [PLACE_RSET] = {"RSET", "250"},
    [PLACE_MAIL] = {"MAIL", "250"},
    [PLACE_RCPT_FIRST] = {"first RCPT", "250"},
    [PLACE_RCPT_SECOND] = {"second RCPT", "250"},
    [PLACE_DATA] = {"DATA", "354"},
    [PLACE_BODY] = {"body", "250"},
    [PLACE_EOM] = {"end-of-data", "250"},
    [PLACE_QUIT] = {"QUIT", "221"},
};

const char *place_name(enum place place)
{
    return places[place].name;
}

const char *place_code(enum place place)
{
    return places[place].code;
}

/* Lines of at most 64 bytes; the last one takes what is left over. */
static uint32_t long_reply(enum place place, uint32_t len, char *out)
{
    enum { LINE = 64, LAST_MIN = 6 };
    uint32_t at = 0;
    while (at < len) {
        bool is_last = len - at < LINE + LAST_MIN;
        uint32_t line = is_last ? len - at : LINE;
        memset(out + at, 'x', line);
        memcpy(out + at, places[place].code, 3);
        out[at + 3] = is_last ? ' ' : '-';
        memcpy(out + at + line - 2, "\r\n", 2);
        at += line;
    }
    return len;
}

uint32_t misdeed_bytes(const struct misdeed *misdeed, enum place place, char *out, uint32_t size)
{
    if (misdeed->deed == DEED_LONG) {
        assert(misdeed->len <= size);
        return long_reply(place, misdeed->len, out);
    }
    uint32_t len = 0;
    for (uint32_t i = 0; i < misdeed->len; i++) {
        assert(len + 3 <= size);
        if (misdeed->bytes[i] == '@') {
            memcpy(out + len, places[place].code, 3);
            len += 3;
        } else {
            out[len++] = misdeed->bytes[i];
        }
    }
    return len;
}
