/*
 * verify_options - see core/verify_options.h.
 */
#include "core/verify_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/config_value.h"
#include "core/smtp_path.h"
#include "core/verify_report.h"

static const int64_t NOW_MAX = 253402300799; /* the last second of the year 9999 */

static const struct option long_options[] = {
    {"verify", required_argument, NULL, 'v'}, {"zone", required_argument, NULL, 'z'},
    {"client", required_argument, NULL, 'i'}, {"helo", required_argument, NULL, 'e'},
    {"from", required_argument, NULL, 'f'},   {"now", required_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
};

static const char **option_place(struct verify_options *options, int option)
{
    switch (option) {
    case 'v':
        return &options->file;
    case 'c':
        return &options->conf;
    case 'z':
        return &options->zone;
    case 'i':
        return &options->client;
    case 'e':
        return &options->helo;
    case 'f':
        return &options->from;
    case 'n':
        return &options->now;
    default:
        return NULL;
    }
}

/* The one that getopt_long() has just refused. */
static int refuse_option(int option, char **argv)
{
    char letter[] = {'-', (char)optopt, '\0'};
    bool is_letter = option == '?' && optopt != 0; /* it may stand in the middle of a word */
    return verify_report_fault("option", is_letter ? letter : argv[optind - 1],
                               option == ':' ? "its value is missing"
                                             : "--verify has no such option",
                               "mailweir -h tells what there is");
}

static int read_options(struct verify_options *options, int argc, char **argv)
{
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":c:h", long_options, NULL)) != -1) {
        if (option == 'h') {
            options->wants_help = true;
            return 0;
        }
        const char **place = option_place(options, option);
        if (place == NULL) {
            return refuse_option(option, argv);
        }
        if (*place != NULL) {
            return verify_report_fault("value", optarg, "its option is given twice",
                                       "give each option once");
        }
        *place = optarg;
    }
    return optind == argc ? 0
                          : verify_report_fault("argument", argv[optind],
                                                "nothing is wanted behind the options",
                                                "give one file, behind --verify");
}

static int take_client(struct verify_options *options)
{
    const char *text = options->client;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (text == NULL || inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(&options->client_addr, &in, sizeof(in));
        return 0;
    }
    if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) {
        memcpy(&options->client_addr, &in6, sizeof(in6));
        return 0;
    }
    return verify_report_fault("--client", text, "no IP address",
                               "write one as 192.0.2.1 or 2001:db8::1");
}

static int take_from(struct verify_options *options)
{
    const char *text = options->from != NULL ? options->from : "";
    bool has_brackets = text[0] == '<';
    int len = snprintf(options->from_text, sizeof(options->from_text), has_brackets ? "%s" : "<%s>",
                       text);
    struct text whole = {options->from_text, (uint32_t)len};
    uint32_t taken = 0;
    bool is_path = len < (int)sizeof(options->from_text) &&
                   smtp_path_parse(whole, &options->from_path, &taken) == SYNTAX_OK &&
                   taken == whole.len;
    bool is_whole =
        is_path && (options->from_path.whole.len == 0 || options->from_path.domain.len > 0);
    return is_whole
               ? 0
               : verify_report_fault("--from", text, "no address that MAIL FROM takes",
                                     "write one as alice@example.org, or <> for the empty one");
}

static int take_helo(const struct verify_options *options)
{
    return options->helo == NULL || smtp_helo_is_valid(text_of(options->helo))
               ? 0
               : verify_report_fault("--helo", options->helo, "no name that EHLO takes",
                                     "write one as mail.example.org or [192.0.2.1]");
}

static int take_now(struct verify_options *options)
{
    options->now_s = (int64_t)time(NULL);
    return options->now == NULL ||
                   config_parse_number(options->now, (struct config_range){0, NOW_MAX},
                                       &options->now_s) == 0
               ? 0
               : verify_report_fault("--now", options->now, "no time",
                                     "write seconds since 1970, as 1700000000");
}

int verify_options_parse(struct verify_options *options, int argc, char **argv)
{
    int result = read_options(options, argc, argv);
    if (result < 0 || options->wants_help) {
        return result;
    }
    bool is_good = take_client(options) == 0 && take_from(options) == 0 &&
                   take_helo(options) == 0 && take_now(options) == 0;
    return is_good ? 0 : -EINVAL;
}
