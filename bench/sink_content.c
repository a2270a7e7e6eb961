/*
 * sink_content - see bench/sink_content.h.
 */
#include "bench/sink_content.h"

void sink_content_init(struct sink_content *content)
{
    *content = (struct sink_content){.line_start = true};
    smtp_body_init(&content->body);
}

/* Copies without the dots that were stuffed (RFC 5321, 4.5.2). Returns the octets written. */
static uint32_t unstuff(struct sink_content *content, const char *data, uint32_t len, char *out)
{
    uint32_t written = 0;
    while (len > 0) {
        if (content->line_start && *data == '.') {
            content->line_start = false;
            data++;
            len--;
            continue;
        }
        const char *lf = memchr(data, '\n', len);
        uint32_t run = lf == NULL ? len : (uint32_t)(lf - data) + 1;
        memcpy(out + written, data, run);
        content->line_start = lf != NULL;
        written += run;
        data += run;
        len -= run;
    }
    return written;
}

uint32_t sink_content_data(struct sink_content *content, const char *data, uint32_t len, char *out,
                           uint32_t *ret_out_len, bool *ret_end)
{
    struct smtp_body_step step;
    uint32_t written = 0;
    smtp_body_scan(&content->body, data, len, &step);
    if (out != NULL) {
        written = unstuff(content, step.held.at, step.held.len, out);
        written += unstuff(content, data, step.clean, out + written);
    }
    *ret_out_len = written;
    *ret_end = step.end;
    return step.taken;
}

void sink_content_chunk(struct sink_content *content, const char *data, uint32_t len)
{
    bool after_cr = content->after_cr;
    bool bad = content->bad;
    for (uint32_t i = 0; i < len; i++) {
        bad |= data[i] == '\0' || after_cr != (data[i] == '\n');
        after_cr = data[i] == '\r';
    }
    content->after_cr = after_cr;
    content->bad = bad;
    content->chunked += len;
}

bool sink_content_is_bad(const struct sink_content *content)
{
    return content->body.fault != BODY_CLEAN || content->bad || content->after_cr;
}

uint64_t sink_content_size(const struct sink_content *content)
{
    return content->body.size + content->chunked;
}
