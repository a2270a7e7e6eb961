/*
 * fuzz_reply - an upstream's bytes: one reply, in a window that grows byte by byte, and the EHLO
 * list in it.
 */
#include "core/smtp_command.h"
#include "core/smtp_reply.h"

#include <assert.h>
#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GROWTH_MAX = 120 };

/* Each line once more: the code, a separator, no control characters, CRLF. Returns their number. */
static uint32_t check_lines(const char *data, const struct smtp_reply *reply)
{
    uint32_t lines = 0;
    const char *end = data + reply->len;
    for (const char *at = data; at < end; lines++) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        assert(lf != NULL && lf - at >= 4 && lf[-1] == '\r');
        assert(memcmp(at, data, 3) == 0);
        bool is_last = lf + 1 == end;
        assert(is_last ? at[3] == ' ' || at[3] == '\r' : at[3] == '-');
        for (const char *byte = at; byte < lf - 1; byte++) {
            uint8_t value = (uint8_t)*byte;
            assert(value == '\t' || (value >= ' ' && value != 0x7f));
        }
        at = lf + 1;
    }
    return lines;
}

static void check_reply(const char *data, uint32_t len, const struct smtp_reply *reply)
{
    assert(reply->len <= len && reply->len >= 5 && reply->len <= SMTP_REPLY_MAX);
    assert(reply->code >= 200 && reply->code <= 559 && reply->code / 10 % 10 <= 5);
    assert(reply->code == (data[0] - '0') * 100 + (data[1] - '0') * 10 + (data[2] - '0'));
    assert(check_lines(data, reply) == reply->lines);
    assert(reply->last.at + reply->last.len + 2 == data + reply->len);
    assert(reply->last.at >= data + 3);
    if (reply->enhanced.len > 0) {
        assert(reply->enhanced.at == reply->last.at && reply->enhanced.len <= reply->last.len);
        assert(reply->enhanced.len >= 5 && reply->enhanced.len <= 9);
        assert(reply->enhanced.at[0] == data[0]);
    }
    /* The same bytes alone are the same reply, one byte less is none yet. */
    struct smtp_reply again;
    assert(smtp_reply_scan(data, reply->len, &again) == REPLY_OK);
    assert(again.len == reply->len && again.lines == reply->lines);
    assert(smtp_reply_scan(data, reply->len - 1, &again) == REPLY_MORE);
}

static void check_extensions(const char *data, const struct smtp_reply *reply)
{
    uint64_t size;
    uint32_t extensions = smtp_reply_extensions(data, reply->len, &size);
    assert((extensions & EXT_SIZE) != 0 || size == 0);
    assert(extensions < EXT_XFORWARD << 1);
    assert(reply->lines > 1 || extensions == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    uint32_t len = (uint32_t)size;
    struct smtp_reply reply;
    enum smtp_reply_result result = smtp_reply_scan(bytes, len, &reply);
    if (result == REPLY_OK) {
        check_reply(bytes, len, &reply);
        check_extensions(bytes, &reply);
    }
    assert(result != REPLY_MORE || len < SMTP_REPLY_MAX);
    assert(result != REPLY_LONG || len >= SMTP_REPLY_MAX);
    enum smtp_reply_result before = REPLY_MORE;
    for (uint32_t cut = 0; cut <= len && cut <= GROWTH_MAX; cut++) {
        struct smtp_reply ignored;
        enum smtp_reply_result now = smtp_reply_scan(bytes, cut, &ignored);
        assert(before == REPLY_MORE || now == before);
        before = now;
    }
    assert(before == REPLY_MORE || before == result);
    assert(before == result || len > GROWTH_MAX);
    return 0;
}
