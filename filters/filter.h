/*
 * filter - one check as the chain sees it: facts in, findings and a verdict out.
 *
 * Adding a check is one file with a `const struct filter`, and one row in filters/checks.h.
 *
 *   CONNECT    HELO    MAIL    RCPT    HEADER    BODY...    EOM
 *      |        the chain starts a check when the phase `begins` is reached        |
 *      |        feeds it the body, tells it the end, and waits for it at `due`     |
 *
 * A check works in the memory that its row asks for, puts questions to facts->dns, and says
 * filter_done() exactly once, from wherever it is; after cancel() it must not. It never waits, logs,
 * or reads configuration files; what the operator set is in facts->conf.
 */
#ifndef FILTERS_FILTER_H
#define FILTERS_FILTER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "filters/findings.h"
#include "filters/header.h"
#include "net/dns.h"

enum filter_phase {
    PHASE_CONNECT,
    PHASE_HELO,
    PHASE_MAIL,
    PHASE_RCPT,
    PHASE_HEADER, /* the header section is complete */
    PHASE_BODY,
    PHASE_EOM,
    PHASE_COUNT
};

/* What a bad result does; the strongest of a transaction's checks decides. */
enum filter_action { ACTION_OFF, ACTION_REPORT, ACTION_TAG, ACTION_DEFER, ACTION_REJECT };

enum { FILTER_REPLY_MAX = 512 };

struct verdict {
    enum filter_action action;    /* never OFF; REPORT: nothing to do */
    const char *decided_by;       /* the check's name; NULL with REPORT */
    char reply[FILTER_REPLY_MAX]; /* with DEFER and REJECT: "550 5.7.1 text", clean, no CRLF */
};

struct dnsbl_watch; /* filters/dnsbl_watch.h */
struct verify_conf; /* filters/verify_conf.h */

/* Read-only for the checks. What a phase has not reached yet is empty. */
struct facts {
    const struct verify_conf *conf;
    struct dns *dns;
    struct dnsbl_watch *watch;     /* over the lists; NULL: all of them are in use */
    const struct sockaddr *client; /* AF_INET or AF_INET6 */
    const char *hostname;          /* ours */
    const char *helo;              /* as the client said it */
    const char *from; /* reverse-path without brackets, `from_len` octets; empty for <> */
    uint32_t from_len;
    const struct header *header;
    int64_t now_s; /* of the real-time clock */
    struct findings *findings;
};

struct filter_run;

struct filter {
    const char *name; /* of its section, and in `decided_by` */
    enum filter_phase begins;
    enum filter_phase due;
    const struct filter *const
        *after;  /* checks whose results conclude() needs, then NULL; or NULL */
    size_t size; /* of its memory, which start() sets up */
    enum filter_action (*action)(const struct facts *facts);
    void (*start)(struct filter_run *run);
    void (*feed)(struct filter_run *run, const char *bytes, uint32_t len); /* body; or NULL */
    void (*end)(struct filter_run *run);      /* of the message; or NULL */
    void (*conclude)(struct filter_run *run); /* the checks in `after` are done; or NULL */
    void (*cancel)(struct filter_run *run);   /* when not done: forget everything */
    void (*give_up)(struct filter_run *run); /* behind cancel(), at the deadline: write temperror */
    void (*judge)(const struct filter_run *run, struct verdict *ret_verdict); /* when done */
};

struct chain;

struct filter_run {
    const struct filter *filter;
    struct chain *chain;
    const struct facts *facts;
    uint8_t state; /* the chain's, as the next */
    bool is_concluded;
    void *memory;
};

/* The check has written its findings. Never inside start(), feed(), end() or conclude() of another
 * check; inside its own is fine. */
void filter_done(struct filter_run *run);

#endif
