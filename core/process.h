/*
 * process - what main() asks of the system once: descriptors, user, signals.
 */
#ifndef CORE_PROCESS_H
#define CORE_PROCESS_H

#include <signal.h>
#include <stdint.h>

#include "core/config.h"

/* Raises RLIMIT_NOFILE to its hard limit and returns the limit that holds now. */
uint32_t process_raise_descriptors(void);

/* Sessions that fit into so many descriptors: idle ones need one, active ones a second to the
 * upstream. */
uint32_t process_session_room(uint32_t descriptors, const struct config *config);

/* Becomes `user` with its groups, for good. 0, or -errno after a line in the log. Empty name: 0. */
int process_drop_to(const char *user) __attribute__((warn_unused_result));

/* Blocks the signals that main() waits for, in this thread and in those it starts; ignores SIGPIPE.
 */
void process_block_signals(sigset_t *ret_set);

#endif
