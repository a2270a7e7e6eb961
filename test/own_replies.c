/*
 * own_replies - see test/own_replies.h.
 */
#include "test/own_replies.h"

#include <stdint.h>
#include <string.h>

#define OF(ask) (1u << (ask))

static const struct {
    uint32_t asks;
    const char *text; /* how a reply of ours begins */
} ours[] = {
    {OF(ASK_GREETING), "220 mx.example.org ESMTP mailweir\r\n"},
    {OF(ASK_GREETING), "421 4.4.1 no upstream server can be reached ("},
    {OF(ASK_EHLO), "250-mx.example.org\r\n"},
    {OF(ASK_MAIL), "250 2.1.0 sender ok\r\n"},
    {OF(ASK_RSET) | OF(ASK_NOOP), "250 2.0.0 ok\r\n"},
    {OF(ASK_QUIT), "221 2.0.0 bye\r\n"},
    {OF(ASK_MAIL) | OF(ASK_RCPT), "451 4.4.1 no upstream server can be reached ("},
    {OF(ASK_MAIL) | OF(ASK_RCPT) | OF(ASK_DATA) | OF(ASK_EOM),
     "451 4.4.2 upstream connection lost"},
    {OF(ASK_EOM), "421 4.4.2 timeout while waiting for the message\r\n"},
    {OF(ASK_RCPT) | OF(ASK_DATA), "503 5.5.1 need MAIL command\r\n"},
    {OF(ASK_DATA), "554 5.5.1 no valid recipients\r\n"},
    {OF(ASK_DATA), "354 end data with <CR><LF>.<CR><LF>\r\n"},
};

bool own_reply(enum ask ask, const char *text)
{
    size_t len = strlen(text);
    if (ask != ASK_EHLO && strchr(text, '\n') != text + len - 1) {
        return false;
    }
    for (uint32_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if ((ours[i].asks & OF(ask)) != 0 &&
            strncmp(text, ours[i].text, strlen(ours[i].text)) == 0) {
            return true;
        }
    }
    return false;
}

bool own_reply_to_held(const char *text)
{
    static const char *const texts[] = {
        "451 4.4.1 no upstream server can be reached\r\n",
        "451 4.4.2 the upstream has changed its mind, please try again\r\n",
        "451 4.4.2 the upstream is too slow\r\n",
    };
    for (uint32_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(text, texts[i]) == 0) {
            return true;
        }
    }
    return false;
}
