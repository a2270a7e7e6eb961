/*
 * config_line - one line of proxy.ini, read and checked before inih sees it.
 *
 * inih cuts lines that are too long for it, joins indented lines to the key before, takes ":" for
 * "=", and passes over whatever follows the "]" of a section. Here such lines are refused.
 */
#ifndef CORE_CONFIG_LINE_H
#define CORE_CONFIG_LINE_H

#include "core/config_value.h"

enum config_line_kind {
    LINE_END,     /* of the file: there was no line */
    LINE_BLANK,   /* empty or a comment */
    LINE_SECTION, /* `section` holds what stands in the brackets */
    LINE_PAIR,    /* KEY = VALUE */
    LINE_BAD,     /* `why` says why */
};

struct config_line {
    enum config_line_kind kind;
    char section[CONFIG_TEXT_MAX];
    struct config_why why;
};

/*
 * Reads one line into `out` (`size` bytes, as fgets(3) would, at most CONFIG_TEXT_MAX), always with
 * a '\n' at its end; an empty line in the place of a bad one. `is_first`: a byte order mark is
 * fine.
 */
void config_line_read(FILE *stream, bool is_first, char *out, uint32_t size,
                      struct config_line *ret_line);

#endif
