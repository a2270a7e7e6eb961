/*
 * fuzz_command - a received window: the line search, the skip, the split into verb and arguments,
 * and the EHLO argument.
 */
#include "core/smtp_command.h"
#include "core/smtp_line.h"

#include <assert.h>
#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct text part, struct text whole)
{
    return part.at >= whole.at && part.at + part.len <= whole.at + whole.len;
}

static uint32_t find_crlf(const char *data, uint32_t len)
{
    for (uint32_t i = 1; i < len; i++) {
        if (data[i - 1] == '\r' && data[i] == '\n') {
            return i + 1;
        }
    }
    return len;
}

static void check_split(struct text line)
{
    struct smtp_command command;
    smtp_command_parse(line, &command);
    assert(command.verb < VERB_COUNT);
    assert(is_inside(command.word, line));
    assert(is_inside(command.args, line));
    assert(command.word.at == line.at);
    for (uint32_t i = 0; i < command.word.len; i++) {
        assert(command.word.at[i] != ' ' && command.word.at[i] != '\t');
    }
    if (command.args.len > 0) {
        char first = command.args.at[0];
        char last = command.args.at[command.args.len - 1];
        assert(first != ' ' && first != '\t' && last != ' ' && last != '\t');
    }
    if (command.verb != VERB_UNKNOWN && command.verb != VERB_HTTP) {
        assert(text_is_nocase(command.word, smtp_verb_name(command.verb)));
    }
    if (smtp_helo_is_valid(command.args)) {
        assert(command.args.len >= 1 && command.args.len <= 255);
        for (uint32_t i = 0; i < command.args.len; i++) {
            assert((uint8_t)command.args.at[i] > ' ' && command.args.at[i] != 0x7f);
        }
    }
}

/* What a window says once, a longer one says too. Long ones are tried in steps. */
static void check_growing(const char *bytes, uint32_t len, enum smtp_line_result result)
{
    enum smtp_line_result before = LINE_MORE;
    for (uint32_t cut = 0; cut < len; cut += cut < 200 ? 1 : 149) {
        struct text line;
        uint32_t taken;
        enum smtp_line_result now = smtp_line_scan(bytes, cut, &line, &taken);
        assert(before == LINE_MORE || now == before);
        before = now;
    }
    assert(before == LINE_MORE || before == result);
}

static void check_skip(const char *bytes, uint32_t len)
{
    struct smtp_line_skip whole = {.after_cr = false};
    struct smtp_line_skip single = {.after_cr = false};
    bool found;
    bool single_found = false;
    uint32_t single_taken = 0;
    uint32_t taken = smtp_line_skip(&whole, bytes, len, &found);
    while (single_taken < len && !single_found) {
        single_taken += smtp_line_skip(&single, bytes + single_taken, 1, &single_found);
    }
    assert(found == single_found && taken == single_taken);
    assert(whole.after_cr == single.after_cr);
    assert(taken == find_crlf(bytes, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    uint32_t len = (uint32_t)size;
    struct text line;
    uint32_t taken;
    enum smtp_line_result result = smtp_line_scan(bytes, len, &line, &taken);
    if (result == LINE_OK) {
        assert(line.at == bytes && taken == line.len + 2 && taken <= len);
        assert(taken <= SMTP_LINE_MAX && taken == find_crlf(bytes, len));
        assert(memchr(line.at, '\r', line.len) == NULL);
        assert(memchr(line.at, '\n', line.len) == NULL);
        assert(memchr(line.at, '\0', line.len) == NULL);
        check_split(line);
    }
    assert(result != LINE_MORE || len < SMTP_LINE_MAX);
    assert(result != LINE_LONG || len >= SMTP_LINE_MAX);
    check_growing(bytes, len, result);
    check_skip(bytes, len);
    check_split((struct text){.at = bytes, .len = len}); /* holds for any bytes */
    return 0;
}
