/*
 * verify_tool - see core/verify_tool.h.
 *
 *    options -> settings (-c FILE, or the defaults) -> loop, DNS client, chains
 *      -> MAIL, the file in pieces, the end of the message -> wait for the checks -> report
 *
 * A file comes with the line ends of mail (CRLF) or of this system (LF): the first one tells which. In a
 * file with LF each is read as CRLF, one with CRLF is taken as it is.
 */
#include "core/verify_tool.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/checker.h"
#include "core/config.h"
#include "core/config_checks.h"
#include "core/config_value.h"
#include "core/verify_options.h"
#include "core/verify_report.h"
#include "filters/chain.h"
#include "net/dns_client.h"
#include "net/dns_zone.h"
#include "net/loop_backend.h"
#include "net/pool.h"

enum {
    STATUS_GOOD = 0,
    STATUS_BAD = 1,
    STATUS_FAILED = 2,
    QUESTIONS_MAX = 256,
    OPS_SPARE = 16,
    FDS_SPARE = 64, /* of this process: the file, the loop's own */
    BUFS = 16,
    PIECE = 32 * 1024,
};

enum line_end { LINE_END_UNKNOWN, LINE_END_CRLF, LINE_END_LF };

struct tool {
    struct verify_options options;
    struct config *config;
    struct dns_zone *zone;
    struct loop *loop;
    struct dns_client *dns;
    struct chain *session;
    struct chain *transaction;
    FILE *file;
    enum line_end line_end;
    char last; /* octet of the file so far */
    struct facts facts;
    struct findings findings;
    struct header header;
};

static const char usage_text[] =
    "usage: mailweir --verify FILE [--zone ZONE] [--client IP] [--helo NAME] [--from ADDRESS]\n"
    "                [--now EPOCH] [-c CONF]\n"
    "\n"
    "Runs the checks on one message: prints an Authentication-Results field, and a line with the\n"
    "reason for each result.\n"
    "\n"
    "  --verify FILE    the message; - is standard input. Line ends are CRLF; or bare LF, as mail\n"
    "                   on disk has them, read as CRLF. The first one tells which\n"
    "  --zone ZONE      zone file that is asked before any name server. Without -c nobody else is\n"
    "                   asked: what is below none of its SOAs is temperror\n"
    "  --client IP      the client's address; without it neither SPF nor lists of addresses\n"
    "  --helo NAME      what the client said after EHLO; default: nothing\n"
    "  --from ADDRESS   the reverse-path, with or without <>; default: the empty one\n"
    "  --now EPOCH      the time that signatures are held against, in seconds since 1970\n"
    "  -c CONF          checks, name servers and zone as in this configuration; without it the\n"
    "                   defaults of proxy.ini and the name servers of /etc/resolv.conf\n"
    "  -h               this text\n"
    "\n"
    "Exit status: 0, every result is pass or none; 1, one is not; 2, it could not run.\n";

void verify_tool_usage(FILE *out)
{
    (void)fputs(usage_text, out);
}

bool verify_tool_is_asked(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verify") == 0 || strncmp(argv[i], "--verify=", 9) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- settings ---- */

/* The name of this machine where it can stand in the field. */
static void own_name(char *out, size_t size)
{
    if (gethostname(out, size - 1) < 0 || !config_is_hostname(out) ||
        config_fold_authserv_id(out) != NULL) {
        (void)snprintf(out, size, "localhost");
    }
}

/* Every key has its default in one table: what an empty configuration comes to. */
static int load_defaults(struct config **ret_config)
{
    char name[CONFIG_TEXT_MAX] = "";
    char text[CONFIG_TEXT_MAX + 256];
    own_name(name, sizeof(name));
    int len =
        snprintf(text, sizeof(text),
                 "[proxy]\nhostname = %s\n[listen:none]\nbind = 127.0.0.1:25\nupstream = none\n"
                 "[upstream:none]\nserver = 127.0.0.1:25\n",
                 name);
    FILE *stream = fmemopen(text, (size_t)len, "r");
    if (stream == NULL) {
        return verify_report_fault("defaults", NULL, strerrordesc_np(errno), "give it more memory");
    }
    int result = config_load_stream(stream, "defaults", NAMES_RESOLVE, stderr, ret_config);
    (void)fclose(stream); /* it was only read */
    return result;
}

/* What was not told cannot be checked. */
static void leave_out(const struct verify_options *options, struct verify_conf *verify)
{
    if (options->client == NULL) {
        verify->spf.action = ACTION_OFF;
        verify->dnsbl.zone_count = 0;
    }
    if (options->helo == NULL && options->from == NULL) {
        verify->rhsbl.zone_count = 0;
    }
}

static int take_facts(struct tool *tool)
{
    const struct verify_options *options = &tool->options;
    tool->facts = (struct facts){
        .conf = &tool->config->verify,
        .hostname = tool->config->hostname,
        .client = (const struct sockaddr *)&options->client_addr,
        .helo = options->helo != NULL ? options->helo : "",
        .from = options->from_path.whole.at,
        .from_len = options->from_path.whole.len,
        .header = &tool->header,
        .now_s = options->now_s,
        .findings = &tool->findings,
    };
    return 0;
}

static int take_settings(struct tool *tool)
{
    const struct verify_options *options = &tool->options;
    int result = options->conf != NULL ? config_load(options->conf, stderr, &tool->config)
                                       : load_defaults(&tool->config);
    if (result < 0) {
        return result; /* it has told why */
    }
    if (options->conf == NULL && options->zone != NULL) {
        tool->config->dns.server_count = 0;
    }
    leave_out(options, &tool->config->verify);
    return 0;
}

static int read_zone(struct tool *tool)
{
    const struct config_dns *dns = &tool->config->dns;
    const char *path = tool->options.zone != NULL ? tool->options.zone : dns->local_zone;
    char why[256];
    if (path[0] == '\0' && tool->options.zone == NULL) {
        return dns->server_count > 0
                   ? 0
                   : verify_report_fault(
                         "name servers", NULL, "there are none to ask",
                         "give --zone ZONE, or -c CONF with [dns] server = ADDRESS");
    }
    if (dns_zone_read(&tool->zone, path, why, sizeof(why)) < 0) {
        return verify_report_fault("zone", path, why,
                                   "give a zone file (RFC 1035) that can be read");
    }
    return 0;
}

/* ---- the machine ---- */

static int create_loop(struct tool *tool)
{
    struct loop_limits limits = {
        .fd_count = DNS_CLIENT_FDS(QUESTIONS_MAX) + FDS_SPARE,
        .op_count = DNS_CLIENT_OPS(QUESTIONS_MAX) + OPS_SPARE,
        .buf_count = BUFS,
    };
    enum config_io io = tool->config->io;
    int result = io == IO_EPOLL ? -ENOSYS : loop_create(&tool->loop, &loop_uring, &limits, NULL);
    if (result < 0 && io != IO_URING) {
        result = loop_create(&tool->loop, &loop_epoll, &limits, NULL);
    }
    return result == 0 ? 0
                       : verify_report_fault("event loop", NULL, strerrordesc_np(-result),
                                             "set [proxy] io = auto");
}

static int create_dns(struct tool *tool)
{
    int result =
        checker_create_dns(&tool->dns, tool->loop, &tool->config->dns, tool->zone, QUESTIONS_MAX);
    if (result < 0) {
        return verify_report_fault("DNS client", NULL, strerrordesc_np(-result),
                                   "give it more memory");
    }
    tool->facts.dns = dns_client_dns(tool->dns);
    return 0;
}

static void on_done(struct chain *chain)
{
    (void)chain; /* await() asks after each turn */
}

static struct chain *create_chain(struct tool *tool, enum chain_scope scope)
{
    struct chain *chain = pages_reserve(chain_size(scope));
    if (chain != NULL) {
        chain_init(chain, scope, tool->loop, &tool->facts, on_done, tool);
    }
    return chain;
}

static int create_chains(struct tool *tool)
{
    header_init(&tool->header);
    tool->session = create_chain(tool, SCOPE_SESSION);
    tool->transaction = create_chain(tool, SCOPE_TRANSACTION);
    return tool->session != NULL && tool->transaction != NULL
               ? 0
               : verify_report_fault("checks", NULL, "no memory", "give it more memory");
}

static void destroy_chain(struct chain *chain, enum chain_scope scope)
{
    if (chain != NULL) {
        chain_cancel(chain);
        pages_release(chain, chain_size(scope));
    }
}

static void destroy_machine(struct tool *tool)
{
    destroy_chain(tool->transaction, SCOPE_TRANSACTION);
    destroy_chain(tool->session, SCOPE_SESSION);
    if (tool->dns != NULL) {
        dns_client_stop(tool->dns);
        while (!dns_client_is_idle(tool->dns)) {
            int result = loop_run_once(tool->loop, -1);
            assert(result == 0);
        }
    }
    if (tool->file != NULL && tool->file != stdin) {
        (void)fclose(tool->file); /* it was only read */
    }
    dns_client_destroy(&tool->dns);
    loop_destroy(&tool->loop);
    dns_zone_destroy(&tool->zone);
    config_destroy(&tool->config);
}

/* ---- the message ---- */

static int open_file(struct tool *tool)
{
    const char *path = tool->options.file;
    tool->file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    return tool->file != NULL
               ? 0
               : verify_report_fault("message", path, strerrordesc_np(errno),
                                     "give a file that can be read, or - for standard input");
}

/* Up to twice as many octets as came. */
static uint32_t convert(struct tool *tool, const char *in, uint32_t len, char *out)
{
    uint32_t written = 0;
    for (uint32_t i = 0; i < len; i++) {
        bool is_bare = in[i] == '\n' && tool->last != '\r';
        if (in[i] == '\n' && tool->line_end == LINE_END_UNKNOWN) {
            tool->line_end = is_bare ? LINE_END_LF : LINE_END_CRLF;
        }
        if (is_bare && tool->line_end == LINE_END_LF) {
            out[written++] = '\r';
        }
        out[written++] = in[i];
        tool->last = in[i];
    }
    return written;
}

static int feed_file(struct tool *tool)
{
    char in[PIECE];
    char out[2 * PIECE];
    size_t len;
    while ((len = fread(in, 1, sizeof(in), tool->file)) > 0) {
        uint32_t out_len = convert(tool, in, (uint32_t)len, out);
        (void)chain_take(tool->transaction, &tool->header, out, out_len); /* nothing is kept */
        int result = loop_run_once(tool->loop, 0);
        assert(result == 0);
    }
    if (ferror(tool->file)) {
        return verify_report_fault("message", tool->options.file, strerrordesc_np(errno),
                                   "give a file that can be read, or - for standard input");
    }
    chain_take_end(tool->transaction, &tool->header);
    return 0;
}

static void await(struct tool *tool, struct chain *chain, enum filter_phase phase,
                  int64_t deadline_ms)
{
    bool is_done = chain_await(chain, phase, deadline_ms);
    while (!is_done && chain_is_awaited(chain)) {
        int result = loop_run_once(tool->loop, -1);
        assert(result == 0);
    }
}

static int check(struct tool *tool)
{
    chain_reach(tool->session, PHASE_CONNECT);
    chain_reach(tool->transaction, PHASE_MAIL);
    int result = feed_file(tool);
    if (result == 0) {
        result = loop_run_once(tool->loop, 0); /* what the clock says now */
        assert(result == 0);
        /* One deadline for all: the client's, who waits for the reply to its message. */
        int64_t deadline_ms = loop_now_ms(tool->loop) + tool->config->verify_deadline_ms;
        await(tool, tool->session, PHASE_RCPT, deadline_ms);
        await(tool, tool->transaction, PHASE_EOM, deadline_ms);
    }
    return result;
}

/* ---- the report ---- */

static int report(const struct tool *tool)
{
    struct verdict verdict;
    struct verdict listed;
    chain_judge(tool->transaction, PHASE_EOM, &verdict);
    chain_judge(tool->session, PHASE_EOM, &listed);
    verify_report_field(stdout, &tool->facts);
    verify_report_reasons(stdout, &tool->facts,
                          listed.action >= verdict.action ? &listed : &verdict);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)verify_report_fault("standard output", NULL, strerrordesc_np(errno),
                                  "give it a place to write to");
        return STATUS_FAILED;
    }
    return verify_report_is_good(&tool->findings) ? STATUS_GOOD : STATUS_BAD;
}

static int run(struct tool *tool)
{
    static int (*const steps[])(struct tool *) = {take_settings, take_facts, read_zone,
                                                  create_loop,   create_dns, create_chains,
                                                  open_file,     check};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int result = steps[i](tool);
        if (result < 0) {
            return STATUS_FAILED;
        }
    }
    return report(tool);
}

int verify_tool_run(int argc, char **argv)
{
    struct tool *tool = pages_reserve(sizeof(*tool));
    int status = STATUS_FAILED;
    if (tool == NULL) {
        (void)verify_report_fault("--verify", NULL, "no memory", "give it more memory");
        return status;
    }
    int result = verify_options_parse(&tool->options, argc, argv);
    if (result == 0 && tool->options.wants_help) {
        verify_tool_usage(stdout);
        status = STATUS_GOOD;
    } else if (result == 0) {
        status = run(tool);
    }
    destroy_machine(tool);
    pages_release(tool, sizeof(*tool));
    return status;
}
