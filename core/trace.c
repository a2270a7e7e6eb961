/*
 * trace - see core/trace.h.
 *
 * What a client says of itself (its HELO name) stands where the standard wants it, with every byte
 * that could end the field, open a comment or be taken for markup replaced; the address beside it
 * is the one we see.
 */
#include "core/trace.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <time.h>

/* Letters, digits and what host names and literals hold; all else, and anything above 127, becomes
 * "?". */
static void trace_name(const char *name, char *out, size_t size)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    size_t len = 0;
    for (; name[len] != '\0' && len + 1 < size; len++) {
        out[len] = strchr(allowed, name[len]) != NULL ? name[len] : '?';
    }
    out[len] = '\0';
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]". */
static void trace_address(const union client_addr *peer, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "unknown";
    if (peer->sa.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &peer->in6.sin6_addr, text, sizeof(text));
        (void)snprintf(out, size, "[IPv6:%s]", text);
        return;
    }
    (void)inet_ntop(AF_INET, &peer->in.sin_addr, text, sizeof(text));
    (void)snprintf(out, size, "[%s]", text);
}

static const char *trace_protocol(const struct session *session)
{
    bool is_secured = stream_is_secured(&session->client);
    if (session->transaction->smtputf8) {
        return is_secured ? "UTF8SMTPS" : "UTF8SMTP"; /* RFC 6531, 4.3 */
    }
    if (session->is_extended) {
        return is_secured ? "ESMTPS" : "ESMTP"; /* RFC 3848 */
    }
    return "SMTP";
}

uint32_t trace_received(const struct session *session, char *out)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char helo[CONFIG_TEXT_MAX];
    char address[INET6_ADDRSTRLEN + 8];
    char id[SESSION_ID_SIZE];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    trace_name(session->helo, helo, sizeof(helo));
    trace_address(&session->peer, address, sizeof(address));
    session_id_text(session->id, id);
    int len = snprintf(out, TRACE_MAX,
                       "Received: from %s (%s)\r\n"
                       "\tby %s with %s id %s-%u;\r\n"
                       "\t%s, %02d %s %04d %02d:%02d:%02d +0000\r\n",
                       helo, address, session->worker->config->hostname, trace_protocol(session),
                       id, session->transactions, days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
                       tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return len > 0 && len < TRACE_MAX ? (uint32_t)len : 0;
}

uint32_t trace_part(char first, uint32_t len, char *out)
{
    if (len == 0 || (first != ' ' && first != '\t')) {
        return 0;
    }
    memcpy(out + len, "\r\n", TRACE_PART_MAX);
    return TRACE_PART_MAX;
}
