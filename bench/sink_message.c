/*
 * sink_message - see bench/sink_message.h.
 */
#include "bench/sink_message.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "core/escape.h"

enum { SINK_MESSAGE_MAGIC = 0x534d5347, SINK_FILE_NAME_MAX = 32 };

/* What one envelope entry takes in the journal beside its octets: quotes and commas, twice. */
enum { LINE_PER_ENTRY = 8, LINE_FIXED = 512 };
_Static_assert(SINK_ENVELOPE_MAX * 6 + (1 + SINK_RCPT_MAX) * LINE_PER_ENTRY + LINE_FIXED <=
                   SINK_LINE_MAX,
               "the longest journal line fits");

void sink_message_init(struct sink_message *message, int folder, uint32_t incoming,
                       uint64_t connection)
{
    message->magic = SINK_MESSAGE_MAGIC;
    message->folder = folder;
    message->fd = -1;
    message->error = 0;
    message->number = 0;
    message->incoming = incoming;
    message->connection = connection;
    message->size = 0;
    message->owner = NULL;
    list_init(&message->node);
    message->digest.magic = 0;
    message->has_sender = false;
    message->rcpt_count = 0;
    message->envelope_len = 0;
}

/* ---- the envelope: entry 0 is the sender ---- */

bool sink_message_has_room(const struct sink_message *message, struct text path, struct text params)
{
    return message->rcpt_count < SINK_RCPT_MAX &&
           path.len + params.len <= SINK_ENVELOPE_MAX - message->envelope_len;
}

static void append(struct sink_message *message, uint32_t index, struct text text)
{
    if (text.len > 0) {
        memcpy(message->envelope + message->envelope_len, text.at, text.len);
        message->envelope_len += text.len;
    }
    message->ends[index] = message->envelope_len;
}

void sink_message_add_path(struct sink_message *message, struct text path, struct text params)
{
    assert(message->magic == SINK_MESSAGE_MAGIC);
    assert(sink_message_has_room(message, path, params));
    uint32_t entry = message->has_sender ? ++message->rcpt_count : 0;
    append(message, 2 * entry, path);
    append(message, 2 * entry + 1, params);
    message->has_sender = true;
}

static struct text envelope_at(const struct sink_message *message, uint32_t index)
{
    uint32_t begin = index == 0 ? 0 : message->ends[index - 1];
    return (struct text){.at = message->envelope + begin, .len = message->ends[index] - begin};
}

struct text sink_message_sender(const struct sink_message *message)
{
    assert(message->has_sender);
    return envelope_at(message, 0);
}

/* ---- the file ---- */

static void incoming_name(const struct sink_message *message, char name[SINK_FILE_NAME_MAX])
{
    (void)snprintf(name, SINK_FILE_NAME_MAX, "incoming-%" PRIu32, message->incoming);
}

static void sealed_name(uint32_t number, char name[SINK_FILE_NAME_MAX])
{
    (void)snprintf(name, SINK_FILE_NAME_MAX, "msg-%06" PRIu32 ".eml", number);
}

int sink_message_open(struct sink_message *message)
{
    assert(message->magic == SINK_MESSAGE_MAGIC);
    char name[SINK_FILE_NAME_MAX];
    if (message->fd >= 0) {
        assert(message->size == 0);
        return 0;
    }
    int result = digest_init(&message->digest);
    if (result < 0) {
        return result;
    }
    incoming_name(message, name);
    message->fd =
        openat(message->folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    return message->fd < 0 ? -errno : 0;
}

void sink_message_write(struct sink_message *message, const char *data, uint32_t len)
{
    assert(message->fd >= 0);
    if (message->error == 0) {
        digest_update(&message->digest, data, len);
        message->size += len;
    }
    while (message->error == 0 && len > 0) {
        ssize_t written = write(message->fd, data, len);
        if (written < 0 && errno != EINTR) {
            message->error = -errno;
        } else if (written > 0) {
            data += written;
            len -= (uint32_t)written;
        }
    }
}

int sink_message_seal(struct sink_message *message, uint32_t number)
{
    assert(message->magic == SINK_MESSAGE_MAGIC);
    assert(message->fd >= 0);
    char from[SINK_FILE_NAME_MAX];
    char to[SINK_FILE_NAME_MAX];
    if (message->error == 0 && fsync(message->fd) < 0) {
        message->error = -errno;
    }
    incoming_name(message, from);
    sealed_name(number, to);
    if (message->error == 0 && renameat(message->folder, from, message->folder, to) < 0) {
        message->error = -errno;
    }
    if (message->error < 0) {
        return message->error;
    }
    (void)close(message->fd); /* what it could tell, fsync has told */
    message->fd = -1;
    message->number = number;
    return 0;
}

void sink_message_fini(struct sink_message *message)
{
    assert(message->magic == SINK_MESSAGE_MAGIC);
    char name[SINK_FILE_NAME_MAX];
    digest_drop(&message->digest);
    if (message->fd >= 0) {
        incoming_name(message, name);
        (void)unlinkat(message->folder, name, 0); /* or the next start does it */
        (void)close(message->fd);                 /* thrown away */
        message->fd = -1;
    }
    message->magic = 0;
}

/* ---- the journal line ---- */

struct line {
    char *out;
    uint32_t len;
};

static void line_put(struct line *line, const char *string)
{
    uint32_t len = (uint32_t)strlen(string);
    assert(len <= SINK_LINE_MAX - line->len);
    memcpy(line->out + line->len, string, len);
    line->len += len;
}

static void line_put_json(struct line *line, struct text text)
{
    line_put(line, "\"");
    line->len += escape_json(line->out + line->len, SINK_LINE_MAX - line->len, text);
    line_put(line, "\"");
}

static void line_put_number(struct line *line, uint64_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    line_put(line, digits);
}

/* An array of the recipients' addresses (part 0) or parameters (part 1). */
static void line_put_rcpts(struct line *line, const struct sink_message *message, uint32_t part)
{
    line_put(line, "[");
    for (uint32_t i = 1; i <= message->rcpt_count; i++) {
        line_put(line, i == 1 ? "" : ",");
        line_put_json(line, envelope_at(message, 2 * i + part));
    }
    line_put(line, "]");
}

uint32_t sink_message_line(struct sink_message *message, char *out)
{
    assert(message->number > 0);
    struct line line = {.out = out};
    uint8_t sum[DIGEST_SIZE];
    char hex[DIGEST_HEX_SIZE];
    char name[SINK_FILE_NAME_MAX];
    digest_final(&message->digest, sum);
    digest_hex(sum, hex);
    sealed_name(message->number, name);
    line_put(&line, "{\"n\":");
    line_put_number(&line, message->number);
    line_put(&line, ",\"connection\":");
    line_put_number(&line, message->connection);
    line_put(&line, ",\"sha256\":");
    line_put_json(&line, text_of(hex));
    line_put(&line, ",\"size\":");
    line_put_number(&line, message->size);
    line_put(&line, ",\"from\":");
    line_put_json(&line, envelope_at(message, 0));
    line_put(&line, ",\"from_params\":");
    line_put_json(&line, envelope_at(message, 1));
    line_put(&line, ",\"rcpt\":");
    line_put_rcpts(&line, message, 0);
    line_put(&line, ",\"rcpt_params\":");
    line_put_rcpts(&line, message, 1);
    line_put(&line, ",\"file\":");
    line_put_json(&line, text_of(name));
    line_put(&line, "}\n");
    return line.len;
}
