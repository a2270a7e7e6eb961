/*
 * verify_report - what the checks found, for somebody at a terminal: see core/verify_tool.h.
 *
 * Whatever a message, a name server or a command line put there: nothing but visible ASCII, spaces, tabs
 * and our own line ends is printed. Other octets, and a backslash, stand there as \xXX.
 */
#ifndef CORE_VERIFY_REPORT_H
#define CORE_VERIFY_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "filters/filter.h"

/* The Authentication-Results field with the line ends of a terminal. */
void verify_report_field(FILE *out, const struct facts *facts);

/* A line for each check that ran, for each signature, and for the reply of a message that is refused. */
void verify_report_reasons(FILE *out, const struct facts *facts, const struct verdict *verdict);

/* Every result is pass or none, and no list is over the threshold or without an answer. */
bool verify_report_is_good(const struct findings *findings);

/* It could not run: "mailweir: WHAT 'NAME': WHY; REMEDY" on stderr; without a name (NULL), no 'NAME'.
 * Returns -EINVAL. */
int verify_report_fault(const char *what, const char *name, const char *why, const char *remedy);

#endif
