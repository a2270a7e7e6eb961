/*
 * log - where lines and records go: stderr, syslog, or a file that SIGHUP reopens.
 *
 * Only core/ logs. A line is written with one write(2), so lines of different threads never mix.
 * Peer bytes must have been escaped before they come here (core/escape.h); as a last line of
 * defence control characters become "?". log_open() is called before threads start; log_reopen()
 * puts the new file under the same descriptor number (dup3), so workers need no lock and no
 * message. A log that cannot be written never stops mail: the loss is counted and said once it
 * works again.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdint.h>
#include <stdio.h>

#include "core/config.h"

/* Opens the target. 0, or -errno with a line on `errors` that names target, reason and remedy. */
int log_open(const struct config *config, FILE *errors) __attribute__((warn_unused_result));

/* Opens the file again (SIGHUP); the old one stays when that fails, and a line says so. */
void log_reopen(void);

void log_close(void);

/* A plain line: "2026-01-31T23:59:59.123Z mailweir[pid] warning: text"; to syslog without the time.
 * Any thread. */
void log_line(enum config_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Records gather per worker and go out with one write per turn. One worker owns a buffer. A record
 * longer than the buffer is cut by its maker (core/record.c), never here. syslog gets one message
 * per record.
 */
enum { LOG_BUFFER_SIZE = 128 * 1024 };

struct log_buffer {
    uint32_t len;
    char bytes[LOG_BUFFER_SIZE];
};

/* Room for one more record of `len` bytes (at most LOG_BUFFER_SIZE): flushes first if need be. The
 * caller writes the record (with its '\n') there and calls log_buffer_commit() with the real
 * length. */
char *log_buffer_room(struct log_buffer *buffer, uint32_t len);
void log_buffer_commit(struct log_buffer *buffer, uint32_t len);
void log_buffer_flush(struct log_buffer *buffer);

#endif
