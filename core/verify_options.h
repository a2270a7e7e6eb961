/*
 * verify_options - the command line of `mailweir --verify`: see core/verify_tool.h.
 *
 * The strings are those of argv. What is wrong is told on stderr, with the remedy.
 */
#ifndef CORE_VERIFY_OPTIONS_H
#define CORE_VERIFY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "core/smtp_command.h"

struct verify_options {
    bool wants_help; /* and nothing else counts */
    const char *file;
    const char *conf; /* NULL: none, as with the next */
    const char *zone;
    const char *client; /* as text */
    const char *helo;
    const char *from;
    const char *now;
    struct sockaddr_storage client_addr; /* 0.0.0.0 without --client */
    char from_text[300];                 /* in brackets */
    struct smtp_path from_path;          /* the empty one without --from */
    int64_t now_s;                       /* the clock's without --now */
};

/* 0 or -EINVAL. The struct is zero before, and stays where it is. */
int verify_options_parse(struct verify_options *options, int argc, char **argv)
    __attribute__((warn_unused_result));

#endif
