/*
 * verify_tool - `mailweir --verify FILE`: the checks on one message file, for operators, and for tests of
 * the checks without a network (design, section 12).
 *
 * Prints the Authentication-Results field that a message with these findings would get, then the reasons.
 * It serves nobody: one loop, one DNS client, one chain of each scope, on the calling thread.
 */
#ifndef CORE_VERIFY_TOOL_H
#define CORE_VERIFY_TOOL_H

#include <stdbool.h>
#include <stdio.h>

/* True when the command line holds --verify. */
bool verify_tool_is_asked(int argc, char **argv);

/* Runs it. The exit status: 0, every result is pass or none; 1, one is not; 2, it could not run, and a
 * line on stderr says what is wrong and what would be right. */
int verify_tool_run(int argc, char **argv);

/* The manual page. */
void verify_tool_usage(FILE *out);

#endif
