/*
 * trace - see core/trace.h.
 *
 * What a client says of itself (its HELO name) stands where the standard wants it, with every byte
 * that could end the field, open a comment or be taken for markup replaced; the address beside it
 * is the one we see.
 */
#include "core/trace.h"

#include <time.h>

#include "core/writer.h"

enum { TRACE_NAME_MAX = CONFIG_TEXT_MAX - 1 };

/* Letters, digits and what host names and literals hold; all else, and anything above 127, becomes
 * "?". */
static void put_name(struct writer *w, const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    char *begin = w->at;
    writer_put(w, (struct text){name, (uint32_t)strnlen(name, TRACE_NAME_MAX)});
    for (char *at = begin; at < w->at; at++) {
        if (strchr(allowed, *at) == NULL) {
            *at = '?';
        }
    }
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321, 4.1.3). */
static void put_literal(struct writer *w, const union client_addr *peer)
{
    writer_put(w, peer->sa.sa_family == AF_INET6 ? TEXT("[IPv6:") : TEXT("["));
    writer_address(w, &peer->sa);
    writer_put(w, TEXT("]"));
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

/* "Tue, 03 Feb 2026 10:00:00 +0000" (RFC 5322, 3.3). */
static void put_date(struct writer *w, time_t now)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm;
    gmtime_r(&now, &tm);
    writer_string(w, days[tm.tm_wday]);
    writer_put(w, TEXT(", "));
    writer_digits(w, 2, (uint32_t)tm.tm_mday);
    writer_put(w, TEXT(" "));
    writer_string(w, months[tm.tm_mon]);
    writer_put(w, TEXT(" "));
    writer_digits(w, 4, (uint32_t)tm.tm_year + 1900);
    writer_put(w, TEXT(" "));
    writer_digits(w, 2, (uint32_t)tm.tm_hour);
    writer_put(w, TEXT(":"));
    writer_digits(w, 2, (uint32_t)tm.tm_min);
    writer_put(w, TEXT(":"));
    writer_digits(w, 2, (uint32_t)tm.tm_sec);
    writer_put(w, TEXT(" +0000"));
}

uint32_t trace_received(const struct session *session, char *out)
{
    char id[SESSION_ID_SIZE];
    struct writer w = {.at = out, .end = out + TRACE_MAX};
    session_id_text(session->id, id);
    writer_put(&w, TEXT("Received: from "));
    put_name(&w, session->helo);
    writer_put(&w, TEXT(" ("));
    put_literal(&w, &session->peer);
    writer_put(&w, TEXT(")\r\n\tby "));
    writer_string(&w, session->worker->config->hostname);
    writer_put(&w, TEXT(" with "));
    writer_string(&w, trace_protocol(session));
    writer_put(&w, TEXT(" id "));
    writer_string(&w, id);
    writer_put(&w, TEXT("-"));
    writer_number(&w, session->transactions);
    writer_put(&w, TEXT(";\r\n\t"));
    put_date(&w, time(NULL));
    writer_put(&w, TEXT("\r\n"));
    return writer_len(&w, out);
}

uint32_t trace_part(char first, uint32_t len, char *out)
{
    if (len == 0 || (first != ' ' && first != '\t')) {
        return 0;
    }
    memcpy(out + len, "\r\n", TRACE_PART_MAX);
    return TRACE_PART_MAX;
}
