/*
 * record - the line that explains a transaction (contract: core/record.h).
 *
 * Runs once per message, so a line is put together with memcpy and a small number printer; nothing
 * is formatted and nothing allocated. It cannot overflow because every part has a limit of its own:
 *
 *   head (FIELD limits)  |  recipients, until only TAIL_ROOM is left  |  tail (FIELD limits)
 *
 * Text lines carry the same facts as key=value in the same order: null is "-", a recipient is the
 * pair "rcpt=PATH rcpt_code=CODE", and a value that is empty, is "-", or holds a space or an equals
 * sign stands in quotes (quotes and backslashes inside are \xXX).
 */
#include "core/record.h"

#include <assert.h>

#include "core/record_checks.h"
#include "core/record_writer.h"

/* Longest output of one string, in bytes after escaping. */
enum {
    FIELD_ID = 128,      /* session, listener, decided_by */
    FIELD_ADDRESS = 512, /* client, upstream */
    FIELD_HELO = 4096,
    FIELD_PATH = 8192, /* reverse-path, each recipient */
    FIELD_REPLY = 16384,
    RCPT_ROOM = FIELD_PATH + 64,
    TAIL_ROOM = FIELD_REPLY + FIELD_ADDRESS + FIELD_ID + 1024,
    HEAD_ROOM = 2 * FIELD_ID + FIELD_ADDRESS + FIELD_HELO + FIELD_PATH + 1024,
};

_Static_assert(HEAD_ROOM + RCPT_ROOM + TAIL_ROOM + RECORD_CHECKS_MAX <= RECORD_MAX,
               "a record fits into its room");

static void put_time(struct writer *w, int64_t ts_ms);

/* Both are names of ours: the library's constants. */
static void json_tls(struct writer *w, const struct record *record)
{
    if (record->tls_version == NULL) {
        writer_put(w, TEXT(",\"tls\":null"));
        return;
    }
    writer_put(w, TEXT(",\"tls\":{\"version\":"));
    writer_json(w, text_of(record->tls_version), FIELD_ID);
    writer_put(w, TEXT(",\"cipher\":"));
    writer_json(w, text_of(record->tls_cipher), FIELD_ID);
    writer_put(w, TEXT("}"));
}

static void json_head(struct writer *w, const struct record *record);
static void json_rcpts(struct writer *w, const struct record *record);
static void json_tail(struct writer *w, const struct record *record);
static void json_ms(struct writer *w, const struct record_ms *ms);
static void text_head(struct writer *w, const struct record *record);
static void text_rcpts(struct writer *w, const struct record *record);
static void text_tail(struct writer *w, const struct record *record);
static void text_ms(struct writer *w, const struct record_ms *ms);

uint32_t record_write(const struct record *record, enum config_log_format format, char *out)
{
    assert(record != NULL);
    assert(out != NULL);
    struct writer w = {.at = out, .end = out + RECORD_MAX};
    if (format == LOG_FORMAT_JSON) {
        json_head(&w, record);
        json_rcpts(&w, record);
        json_tail(&w, record);
    } else {
        text_head(&w, record);
        text_rcpts(&w, record);
        text_tail(&w, record);
    }
    return (uint32_t)(w.at - out);
}

const char *record_verdict_name(enum record_verdict verdict)
{
    static const char *const names[] = {
        [VERDICT_ACCEPT] = "accept", [VERDICT_REJECT] = "reject", [VERDICT_DEFER] = "defer",
        [VERDICT_TAG] = "tag",       [VERDICT_ABORT] = "abort",
    };
    assert((size_t)verdict < sizeof(names) / sizeof(names[0]));
    return names[verdict];
}

void record_time(int64_t ts_ms, char out[25])
{
    enum { DAY_MS = 86400000, DAYS_PER_ERA = 146097, EPOCH_SHIFT = 719468 };
    const int64_t last_ms = 253402300799999; /* 9999-12-31T23:59:59.999Z */
    int64_t clamped = ts_ms < 0 ? 0 : ts_ms > last_ms ? last_ms : ts_ms;
    uint32_t of_day = (uint32_t)(clamped % DAY_MS);
    /* Days since 0000-03-01: a year that begins in March has its leap day at the end. */
    uint32_t days = (uint32_t)(clamped / DAY_MS) + EPOCH_SHIFT;
    uint32_t era = days / DAYS_PER_ERA;
    uint32_t of_era = days % DAYS_PER_ERA;
    uint32_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint32_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t march_month = (5 * of_year + 2) / 153;
    uint32_t day = of_year - (153 * march_month + 2) / 5 + 1;
    uint32_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    uint32_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);

    struct writer w = {.at = out, .end = out + 25};
    writer_digits(&w, 4, year);
    writer_put(&w, TEXT("-"));
    writer_digits(&w, 2, month);
    writer_put(&w, TEXT("-"));
    writer_digits(&w, 2, day);
    writer_put(&w, TEXT("T"));
    writer_digits(&w, 2, of_day / 3600000);
    writer_put(&w, TEXT(":"));
    writer_digits(&w, 2, of_day / 60000 % 60);
    writer_put(&w, TEXT(":"));
    writer_digits(&w, 2, of_day / 1000 % 60);
    writer_put(&w, TEXT("."));
    writer_digits(&w, 3, of_day % 1000);
    writer_put(&w, (struct text){"Z", 2}); /* with its NUL */
}

/* JSON */

static void json_head(struct writer *w, const struct record *record)
{
    writer_put(w, record->is_transaction ? TEXT("{\"event\":\"transaction\",\"ts\":\"")
                                         : TEXT("{\"event\":\"session\",\"ts\":\""));
    put_time(w, record->ts_ms);
    writer_put(w, TEXT("\",\"session\":"));
    writer_json(w, record->session, FIELD_ID);
    writer_put(w, TEXT(",\"transaction\":"));
    writer_number(w, record->transaction);
    writer_put(w, TEXT(",\"listener\":"));
    writer_json(w, record->listener, FIELD_ID);
    writer_put(w, TEXT(",\"client\":"));
    writer_json(w, record->client, FIELD_ADDRESS);
    writer_put(w, TEXT(",\"helo\":"));
    writer_json_or_null(w, record->helo, FIELD_HELO);
    json_tls(w, record);
    writer_put(w, TEXT(",\"from\":"));
    if (record->from.at == NULL) {
        writer_put(w, TEXT("null"));
    } else {
        writer_json(w, record->from, FIELD_PATH);
    }
}

static uint32_t tail_room(const struct record *record)
{
    return TAIL_ROOM + record_checks_room(record->findings);
}

static void json_rcpts(struct writer *w, const struct record *record)
{
    uint32_t omitted = 0;
    bool is_first = true;
    writer_put(w, TEXT(",\"rcpt\":["));
    struct envelope_cursor cursor = {0};
    const struct envelope_rcpt *rcpt;
    while (record->envelope != NULL &&
           (rcpt = envelope_next_rcpt(record->envelope, &cursor)) != NULL) {
        if (omitted > 0 || w->end - w->at < RCPT_ROOM + tail_room(record)) {
            omitted++;
            continue;
        }
        writer_put(w, is_first ? TEXT("{\"to\":") : TEXT(",{\"to\":"));
        writer_json(w, (struct text){.at = rcpt->to, .len = rcpt->len}, FIELD_PATH);
        writer_put(w, TEXT(",\"code\":"));
        writer_number(w, rcpt->code);
        writer_put(w, TEXT("}"));
        is_first = false;
    }
    writer_put(w, TEXT("]"));
    if (omitted > 0) {
        writer_put(w, TEXT(",\"rcpt_omitted\":"));
        writer_number(w, omitted);
    }
}

static void json_tail(struct writer *w, const struct record *record)
{
    writer_put(w, TEXT(",\"size\":"));
    writer_number(w, record->size);
    writer_put(w, TEXT(",\"upstream\":"));
    writer_json_or_null(w, record->upstream, FIELD_ADDRESS);
    if (record->reply_code == 0) {
        writer_put(w, TEXT(",\"reply\":null"));
    } else {
        writer_put(w, TEXT(",\"reply\":{\"code\":"));
        writer_number(w, record->reply_code);
        writer_put(w, TEXT(",\"text\":"));
        writer_json(w, record->reply_text, FIELD_REPLY);
        writer_put(w, TEXT("}"));
    }
    writer_put(w, TEXT(",\"decided_by\":"));
    writer_json_or_null(w, text_of(record->decided_by == NULL ? "" : record->decided_by), FIELD_ID);
    writer_put(w, TEXT(",\"verdict\":\""));
    writer_put(w, text_of(record_verdict_name(record->verdict)));
    writer_put(w, TEXT("\",\"checks\":{"));
    record_checks_json(w, record->findings);
    writer_put(w, TEXT("},\"ms\":{"));
    json_ms(w, &record->ms);
    writer_put(w, TEXT("}}\n"));
}

static void json_ms(struct writer *w, const struct record_ms *ms)
{
    writer_put(w, TEXT("\"total\":"));
    writer_signed(w, ms->total);
    writer_put(w, TEXT(",\"wait_dns\":"));
    writer_signed(w, ms->wait_dns);
    writer_put(w, TEXT(",\"verify\":"));
    writer_signed(w, ms->verify);
    writer_put(w, TEXT(",\"connect\":"));
    writer_signed(w, ms->connect);
    writer_put(w, TEXT(",\"data\":"));
    writer_signed(w, ms->data);
    writer_put(w, TEXT(",\"upstream_reply\":"));
    writer_signed(w, ms->upstream_reply);
}

/* key=value */

static void text_head(struct writer *w, const struct record *record)
{
    writer_put(w,
               record->is_transaction ? TEXT("event=transaction ts=") : TEXT("event=session ts="));
    put_time(w, record->ts_ms);
    writer_put(w, TEXT(" session="));
    writer_value(w, record->session, FIELD_ID);
    writer_put(w, TEXT(" transaction="));
    writer_number(w, record->transaction);
    writer_put(w, TEXT(" listener="));
    writer_value(w, record->listener, FIELD_ID);
    writer_put(w, TEXT(" client="));
    writer_value(w, record->client, FIELD_ADDRESS);
    writer_put(w, TEXT(" helo="));
    writer_value_or_dash(w, record->helo, FIELD_HELO);
    writer_put(w, TEXT(" tls="));
    if (record->tls_version == NULL) {
        writer_put(w, TEXT("-"));
    } else {
        writer_value(w, text_of(record->tls_version), FIELD_ID);
        writer_put(w, TEXT("/"));
        writer_value(w, text_of(record->tls_cipher), FIELD_ID);
    }
    writer_put(w, TEXT(" from="));
    if (record->from.at == NULL) {
        writer_put(w, TEXT("-"));
    } else {
        writer_value(w, record->from, FIELD_PATH);
    }
}

static void text_rcpts(struct writer *w, const struct record *record)
{
    uint32_t omitted = 0;
    struct envelope_cursor cursor = {0};
    const struct envelope_rcpt *rcpt;
    while (record->envelope != NULL &&
           (rcpt = envelope_next_rcpt(record->envelope, &cursor)) != NULL) {
        if (omitted > 0 || w->end - w->at < RCPT_ROOM + tail_room(record)) {
            omitted++;
            continue;
        }
        writer_put(w, TEXT(" rcpt="));
        writer_value(w, (struct text){.at = rcpt->to, .len = rcpt->len}, FIELD_PATH);
        writer_put(w, TEXT(" rcpt_code="));
        writer_number(w, rcpt->code);
    }
    if (omitted > 0) {
        writer_put(w, TEXT(" rcpt_omitted="));
        writer_number(w, omitted);
    }
}

static void text_tail(struct writer *w, const struct record *record)
{
    writer_put(w, TEXT(" size="));
    writer_number(w, record->size);
    writer_put(w, TEXT(" upstream="));
    writer_value_or_dash(w, record->upstream, FIELD_ADDRESS);
    if (record->reply_code == 0) {
        writer_put(w, TEXT(" reply_code=- reply_text=-"));
    } else {
        writer_put(w, TEXT(" reply_code="));
        writer_number(w, record->reply_code);
        writer_put(w, TEXT(" reply_text="));
        writer_value(w, record->reply_text, FIELD_REPLY);
    }
    writer_put(w, TEXT(" decided_by="));
    writer_value_or_dash(w, text_of(record->decided_by == NULL ? "" : record->decided_by),
                         FIELD_ID);
    writer_put(w, TEXT(" verdict="));
    writer_put(w, text_of(record_verdict_name(record->verdict)));
    writer_put(w, TEXT(" checks="));
    record_checks_text(w, record->findings);
    text_ms(w, &record->ms);
    writer_put(w, TEXT("\n"));
}

static void text_ms(struct writer *w, const struct record_ms *ms)
{
    writer_put(w, TEXT(" ms_total="));
    writer_signed(w, ms->total);
    writer_put(w, TEXT(" ms_wait_dns="));
    writer_signed(w, ms->wait_dns);
    writer_put(w, TEXT(" ms_verify="));
    writer_signed(w, ms->verify);
    writer_put(w, TEXT(" ms_connect="));
    writer_signed(w, ms->connect);
    writer_put(w, TEXT(" ms_data="));
    writer_signed(w, ms->data);
    writer_put(w, TEXT(" ms_upstream_reply="));
    writer_signed(w, ms->upstream_reply);
}

/* pieces */

static void put_time(struct writer *w, int64_t ts_ms)
{
    char time[25];
    record_time(ts_ms, time);
    writer_put(w, (struct text){.at = time, .len = 24});
}
