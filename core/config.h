/*
 * config - INI rows to one immutable struct (design, section 9).
 *
 * Built on the main thread before any other thread exists, read by all, freed after all have ended.
 * Every key stands in one table of section, key, type, minimum, maximum and default; proxy.ini in
 * the repository shows each of them and a test holds the two together. Names of servers are
 * resolved here for the first time (getaddrinfo may block).
 *
 * Durations are in milliseconds (written 500ms, 10s, 5m, 1h), sizes in bytes (written 10, 64k, 50m,
 * 1g). Errors name file, line, key, reason and what would be right; all of them are collected
 * before giving up.
 */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "core/network.h"
#include "filters/verify_conf.h"
#include "net/dns_server.h"

enum {
    CONFIG_WORKERS_MAX = 64,
    CONFIG_LISTENERS_MAX = 32,
    CONFIG_BINDS_MAX = 16,
    CONFIG_UPSTREAMS_MAX = 32,
    CONFIG_SERVERS_MAX = 32,
    CONFIG_NAME_MAX = 64,
    CONFIG_TEXT_MAX = 256,
    CONFIG_NETWORKS_MAX = 64,
    CONFIG_CERTIFICATES_MAX = 64,
    CONFIG_PINS_MAX = 8,
    CONFIG_PIN_SIZE = 32,  /* SHA-256 */
    CONFIG_FIELD_MAX = 64, /* the name of a header field, with its NUL */
};

enum config_io { IO_AUTO, IO_URING, IO_EPOLL };
enum config_listen_mode { LISTEN_GATEWAY };
enum config_listen_tls {
    LISTEN_TLS_OFF,
    LISTEN_TLS_STARTTLS,
    LISTEN_TLS_REQUIRED,
    LISTEN_TLS_IMPLICIT
};
enum config_upstream_tls {
    UPSTREAM_TLS_OFF,
    UPSTREAM_TLS_OPPORTUNISTIC,
    UPSTREAM_TLS_REQUIRED,
    UPSTREAM_TLS_IMPLICIT
};
enum config_tls_version { MIN_TLS_1_2, MIN_TLS_1_3 };
enum config_contact { CONTACT_RCPT, CONTACT_MAIL, CONTACT_CONNECT };
enum config_balance { BALANCE_LEAST_CONN, BALANCE_ROUND_ROBIN, BALANCE_HASH };
enum config_verify_mode { VERIFY_OFF, VERIFY_HOLD, VERIFY_STREAM };
enum config_log_format { LOG_FORMAT_JSON, LOG_FORMAT_TEXT };
enum config_chunking { CHUNKING_OFF, CHUNKING_AUTO };
enum config_log_level { LEVEL_ERROR, LEVEL_WARNING, LEVEL_INFO, LEVEL_DEBUG };

enum config_names { NAMES_RESOLVE, NAMES_REFUSE }; /* refuse: literal addresses only, no look-up */

struct config_address {
    struct sockaddr_storage addr;
    socklen_t len;
    char text[CONFIG_TEXT_MAX]; /* 192.0.2.1:25, [2001:db8::1]:25, unix:/run/x */
};

/* PEM files; empty paths: none. */
struct config_files {
    char chain[CONFIG_TEXT_MAX];
    char key[CONFIG_TEXT_MAX];
    uint32_t line; /* where they are named; for errors when they are read */
};

struct config_certificates {
    struct config_files files[CONFIG_CERTIFICATES_MAX];
    uint32_t count;
};

struct config_pins {
    uint8_t sums[CONFIG_PINS_MAX][CONFIG_PIN_SIZE];
    uint32_t count;
};

struct config_server {
    char name[CONFIG_TEXT_MAX]; /* as written: address or name with port, or unix:PATH */
    char host[CONFIG_TEXT_MAX]; /* its part without port and brackets; empty for unix:PATH */
    struct config_address address;
    bool is_name;    /* `address` was looked up: it is looked up again (core/resolver.h) */
    uint32_t weight; /* 1..1000, default 1 */
    uint32_t max; /* connections at once, all workers together; default 200; 0: no limit of ours */
    bool is_backup; /* used only when every other server is down */
};

struct config_upstream {
    char name[CONFIG_NAME_MAX];
    struct config_server servers[CONFIG_SERVERS_MAX];
    uint32_t server_count;
    enum config_balance balance; /* default least_conn */
    enum config_contact contact;
    enum config_chunking chunking;  /* default auto: BDAT where the server offers CHUNKING */
    enum config_upstream_tls tls;   /* default off */
    bool tls_verify;                /* default yes; with required and implicit: chain and name */
    char tls_ca[CONFIG_TEXT_MAX];   /* PEM file of the trusted */
    uint32_t tls_ca_line;           /* 0: the default one */
    char tls_name[CONFIG_TEXT_MAX]; /* announced (SNI) and verified; empty: the server's host */
    struct config_pins pins;        /* one of them, if there are any, is the server's key */
    struct config_files tls_files;  /* our own certificate, if it asks for one */
    int64_t connect_timeout_ms; /* from connect(2) to the end of the EHLO reply, for each server */
    int64_t check_interval_ms;
    uint32_t pool_idle; /* idle upstream connections kept per worker; 0: none */
    int64_t pool_idle_timeout_ms;
    int64_t pool_max_age_ms;
    int64_t
        lease_hold_ms; /* longest that a client may keep a lease while it sends its message, where
                              messages are held; default 2s */
};

struct config_listener {
    char name[CONFIG_NAME_MAX];
    struct config_address binds[CONFIG_BINDS_MAX];
    uint32_t bind_count;
    enum config_listen_mode mode;
    enum config_listen_tls tls; /* default starttls; without a certificate that is off */
    uint32_t upstream;          /* index into config.upstreams */
    int64_t greet_delay_ms;     /* bytes before the banner = pregreet: 554 5.5.1 and the end of the
                               session */
    /* Peers that must begin with a PROXY header, which names the client; nobody else may send one.
     */
    struct network trust_proxy[CONFIG_NETWORKS_MAX];
    uint32_t trust_proxy_count;
};

struct config_dns {
    struct sockaddr_storage servers[DNS_SERVERS_MAX]; /* default: those of /etc/resolv.conf */
    uint32_t server_count;
    char local_zone[CONFIG_TEXT_MAX]; /* zone file that is asked first; empty: none */
    uint32_t local_zone_line;         /* where it is named; for errors when it is read */
    int64_t timeout_ms;               /* of one question to one server; default 2s */
    uint32_t attempts;                /* rounds over all servers; default 2 */
    uint32_t cache_entries;           /* per worker; default 65536 */
};

struct config {
    char file[CONFIG_TEXT_MAX];
    /* [proxy] */
    char hostname[CONFIG_TEXT_MAX]; /* default: gethostname(2) */
    uint32_t
        workers; /* 1..64; auto (one per core that this process may run on) is already resolved */
    enum config_io io;
    char user[CONFIG_NAME_MAX]; /* empty: stay who we are */
    uint32_t max_sessions;      /* 1..1000000, default 20000 */
    int64_t drain_timeout_ms;   /* default 30s */
    /* [listen:NAME], [upstream:NAME] */
    struct config_listener listeners[CONFIG_LISTENERS_MAX];
    uint32_t listener_count;
    struct config_upstream upstreams[CONFIG_UPSTREAMS_MAX];
    uint32_t upstream_count;
    /* [tls] */
    struct config_certificates certificates; /* the first is the default one */
    enum config_tls_version min_version;     /* default 1.2; for both sides */
    /* [verify] */
    enum config_verify_mode verify_mode;
    int64_t verify_deadline_ms;      /* of one transaction: how long its client may have to wait for
                                            the checks; default 20s */
    uint64_t hold_memory;            /* octets of one held message; default 256k */
    char spool_dir[CONFIG_TEXT_MAX]; /* where the rest of it goes; default /var/tmp */
    uint32_t spool_dir_line;         /* 0: the default one */
    bool received_header;            /* default yes */
    char trace_header
        [CONFIG_FIELD_MAX]; /* field of what the lists say; default X-Mailweir; empty: none */
    /* [dns] */
    struct config_dns dns;
    /* [dnsbl], [spf], [dkim], [dmarc]; and [verify] authserv_id, default hostname */
    struct verify_conf verify;
    /* [limits] */
    uint64_t message_size;      /* default 50m; 0: none */
    uint32_t recipients;        /* default 1000 */
    uint32_t errors;            /* default 20: that many 5xx of our own end the session with 421 */
    uint32_t commands;          /* default 1000 per session */
    int64_t command_timeout_ms; /* default 300s */
    int64_t data_timeout_ms;    /* default 180s: between two pieces of a message */
    int64_t session_timeout_ms; /* default 60m: the whole session */
    /* [log] */
    char log_target[CONFIG_TEXT_MAX]; /* "stderr", "syslog" or a path */
    enum config_log_format log_format;
    enum config_log_level log_level;
};

/*
 * Reads `path`. 0 and *ret_config (owned by the caller, config_destroy()), or a negative number
 * after one or more lines "FILE:LINE: [SECTION] KEY: reason; remedy" on `errors`.
 */
int config_load(const char *path, FILE *errors, struct config **ret_config)
    __attribute__((warn_unused_result));

/* The same from an open stream, which stays open; `name` stands for the file in errors. */
int config_load_stream(FILE *stream, const char *name, enum config_names names, FILE *errors,
                       struct config **ret_config) __attribute__((warn_unused_result));

/* Nulls the pointer; accepts NULL in it. */
void config_destroy(struct config **config);

/* One line per key of the table, "[section] key = default", in the table's order: for the test
 * against proxy.ini. Named sections are [listen:NAME] and [upstream:NAME]; where a key must be
 * given (bind, server) an example stands in the place of the default. */
void config_print_keys(FILE *out);

#endif
