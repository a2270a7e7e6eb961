/*
 * sink_journal - see bench/sink_journal.h.
 */
#include "bench/sink_journal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SINK_JOURNAL_MAGIC = 0x534a4e4c };

/* ---- opening and mending ---- */

/* Removes what was still growing when the last process ended. */
static int remove_incoming(int folder)
{
    int fd = dup(folder);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        return -errno;
    }
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, "incoming-", 9) == 0) {
            (void)unlinkat(folder, entry->d_name, 0); /* it will be truncated when its turn comes */
        }
    }
    (void)closedir(dir); /* only read */
    return 0;
}

/* The number of a journal line; false when it is none of ours. */
static bool line_number(struct text line, uint32_t *ret_number)
{
    static const char head[] = "{\"n\":";
    uint64_t number = 0;
    uint32_t at = sizeof(head) - 1;
    if (line.len <= at || memcmp(line.at, head, at) != 0) {
        return false;
    }
    while (at < line.len && line.at[at] >= '0' && line.at[at] <= '9' && number < UINT32_MAX) {
        number = number * 10 + (uint64_t)(line.at[at] - '0');
        at++;
    }
    *ret_number = (uint32_t)number;
    return number > 0 && number < UINT32_MAX && at < line.len && line.at[at] == ',';
}

/* Finds the end of the last whole line and its number. */
static int tail_read(struct sink_journal *journal, const char *bytes, size_t len)
{
    const char *end = memrchr(bytes, '\n', len);
    uint32_t number;
    if (end == NULL) {
        return 0;
    }
    const char *begin = memrchr(bytes, '\n', (size_t)(end - bytes));
    begin = begin == NULL ? bytes : begin + 1;
    struct text line = {.at = begin, .len = (uint32_t)(end - begin)};
    if (end - begin > SINK_LINE_MAX || !line_number(line, &number)) {
        return -EBADMSG;
    }
    journal->next = number + 1;
    journal->len = end + 1 - bytes;
    return 0;
}

static int journal_mend(struct sink_journal *journal)
{
    struct stat status;
    if (fstat(journal->fd, &status) < 0) {
        return -errno;
    }
    size_t len = (size_t)status.st_size;
    if (len == 0) {
        return 0;
    }
    void *bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, journal->fd, 0);
    if (bytes == MAP_FAILED) {
        return -errno;
    }
    int result = tail_read(journal, bytes, len);
    (void)munmap(bytes, len); /* our own mapping */
    if (result == 0 && ftruncate(journal->fd, journal->len) < 0) {
        result = -errno;
    }
    return result;
}

/* A journal's lock is kept for as long as its descriptor is open, so a crash gives it free. */
static int journal_lock(int fd)
{
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    }
    return 0;
}

static int files_open(struct sink_journal *journal, const char *folder)
{
    if (mkdir(folder, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    journal->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (journal->folder < 0) {
        return -errno;
    }
    journal->fd = openat(journal->folder, "journal", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (journal->fd < 0) {
        return -errno;
    }
    int result = journal_lock(journal->fd);
    if (result == 0) {
        result = remove_incoming(journal->folder);
    }
    return result == 0 ? journal_mend(journal) : result;
}

static void files_close(struct sink_journal *journal)
{
    if (journal->fd >= 0) {
        (void)close(journal->fd); /* what was promised has been synced */
    }
    if (journal->folder >= 0) {
        (void)close(journal->folder); /* likewise */
    }
}

int sink_journal_open(struct sink_journal *journal, const char *folder, uint32_t message_count,
                      sink_journal_done *done)
{
    journal->fd = -1;
    journal->folder = -1;
    journal->next = 1;
    journal->incoming = 0;
    journal->len = 0;
    journal->broken = false;
    journal->done = done;
    list_init(&journal->queue);
    int result = files_open(journal, folder);
    if (result == 0) {
        result = pool_init(&journal->messages, sizeof(struct sink_message), message_count);
    }
    if (result < 0) {
        files_close(journal);
        return result;
    }
    journal->magic = SINK_JOURNAL_MAGIC;
    return 0;
}

void sink_journal_close(struct sink_journal *journal)
{
    assert(journal->magic == SINK_JOURNAL_MAGIC);
    assert(list_is_empty(&journal->queue));
    pool_fini(&journal->messages);
    files_close(journal);
    journal->magic = 0;
}

/* ---- messages ---- */

bool sink_journal_is_full(const struct sink_journal *journal)
{
    return journal->messages.used == journal->messages.count_max;
}

struct sink_message *sink_journal_begin(struct sink_journal *journal, uint64_t connection)
{
    assert(journal->magic == SINK_JOURNAL_MAGIC);
    struct sink_message *message = pool_get(&journal->messages);
    if (message != NULL) {
        sink_message_init(message, journal->folder, ++journal->incoming, connection);
    }
    return message;
}

void sink_journal_drop(struct sink_journal *journal, struct sink_message *message)
{
    assert(!list_is_linked(&message->node));
    sink_message_fini(message);
    pool_put(&journal->messages, message);
}

void sink_journal_queue(struct sink_journal *journal, struct sink_message *message)
{
    assert(journal->magic == SINK_JOURNAL_MAGIC);
    assert(!list_is_linked(&message->node));
    list_push_back(&journal->queue, &message->node);
}

static int write_all(int fd, const char *data, uint32_t len, int64_t offset)
{
    while (len > 0) {
        ssize_t written = pwrite(fd, data, len, offset);
        if (written < 0 && errno != EINTR) {
            return -errno;
        }
        if (written > 0) {
            data += written;
            len -= (uint32_t)written;
            offset += written;
        }
    }
    return 0;
}

/* Appends the line of one sealed message; *end is where the journal ends. */
static int write_line(struct sink_journal *journal, struct sink_message *message, int64_t *end)
{
    if (message->error < 0) {
        return 0;
    }
    uint32_t len = sink_message_line(message, journal->line);
    int result = write_all(journal->fd, journal->line, len, *end);
    if (result == 0) {
        *end += len;
    }
    return result;
}

/* Everything up to the journal's fsync. 0, or what made the whole batch fail. */
static int write_batch(struct sink_journal *journal, struct list_node *batch)
{
    int64_t end = journal->len;
    if (journal->broken) {
        return -EIO;
    }
    struct list_node *node;
    for (node = batch->next; node != batch; node = node->next) {
        struct sink_message *message = list_entry(node, struct sink_message, node);
        if (sink_message_seal(message, journal->next) == 0) {
            journal->next++;
        }
    }
    int result = fsync(journal->folder) < 0 ? -errno : 0;
    for (node = batch->next; node != batch && result == 0; node = node->next) {
        result = write_line(journal, list_entry(node, struct sink_message, node), &end);
    }
    if (result == 0 && fsync(journal->fd) < 0) {
        result = -errno;
    }
    if (result < 0) {
        journal->broken = ftruncate(journal->fd, journal->len) < 0;
        return result;
    }
    journal->len = end;
    return 0;
}

void sink_journal_commit(struct sink_journal *journal)
{
    while (!list_is_empty(&journal->queue)) {
        struct list_node batch;
        struct list_node *node;
        list_init(&batch);
        list_splice_back(&batch, &journal->queue);
        int result = write_batch(journal, &batch);
        while ((node = list_pop_front(&batch)) != NULL) {
            struct sink_message *message = list_entry(node, struct sink_message, node);
            journal->done(message, message->error < 0 ? message->error : result);
            sink_journal_drop(journal, message);
        }
    }
}
