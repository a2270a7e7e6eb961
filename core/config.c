/*
 * config - proxy.ini into one struct (contract: core/config.h).
 *
 *   file -> config_line -> inih -> on_pair -> setters of the table -> struct config -> finish
 *               |
 *               sections, and the lines that inih would take otherwise than they were meant
 *
 * inih (release 55) takes keys, values and comments apart. It tells no line numbers and nothing of
 * empty sections, and goes on after errors. So it reads through read_line(), which counts and
 * enters sections; on_pair() is called while its line is the last one read, so the count names it.
 *
 * Errors never stop the reading: they are printed and counted, the first ERRORS_MAX of them.
 */
#include "core/config.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config_address.h"
#include "core/config_checks.h"
#include "core/config_dns.h"
#include "core/config_line.h"
#include "core/config_table.h"
#include "core/config_tls.h"
#include "core/config_value.h"
#include "core/escape.h"

enum { ERRORS_MAX = 100 };

static const char RESOLV_CONF[] = "/etc/resolv.conf";

/* What finish() must know of a section with a name. */
struct section_notes {
    uint32_t line;
    bool has_required;              /* the key stood there, right or wrong */
    uint32_t tls_line;              /* of the key, if any */
    uint32_t upstream_line;         /* of a listener: of its upstream key, if any */
    char upstream[CONFIG_NAME_MAX]; /* of a listener */
};

struct config_build {
    struct config *config;
    FILE *stream;
    FILE *errors;
    enum config_names names;
    uint32_t line;
    uint32_t error_count;
    enum config_section section;
    void *target;                       /* the struct that the section fills */
    struct section_notes *notes;        /* of a section with a name, else NULL */
    char label[CONFIG_TEXT_MAX];        /* "[listen:mx]"; empty before the first section */
    uint32_t key_line[CONFIG_KEYS_MAX]; /* where each key of this section stood; 0: not yet */
    uint32_t section_line[SECTION_COUNT];
    uint32_t hostname_line; /* 0: not given */
    uint32_t authserv_id_line;
    struct section_notes listeners[CONFIG_LISTENERS_MAX];
    struct section_notes upstreams[CONFIG_UPSTREAMS_MAX];
};

static struct config_build *build_create(FILE *stream, const char *name, enum config_names names,
                                         FILE *errors);
static void set_defaults(struct config_build *build, enum config_section section, void *target);
static char *read_line(char *out, int size, void *stream);
static void enter_section(struct config_build *build, const char *name);
static enum config_section find_section(const char *name);
static bool enter_named(struct config_build *build, enum config_section section, const char *name);
static int add_listener(struct config_build *build, const char *name);
static int add_upstream(struct config_build *build, const char *name);
static int find_upstream(const struct config *config, const char *name);
static int on_pair(void *user, const char *section, const char *name, const char *value);
static const struct config_key *find_key(const struct config_build *build, const char *name,
                                         uint32_t *ret_index);
static void note_line(struct config_build *build, const struct config_key *key);
static void fail_unknown_key(struct config_build *build, const char *name);
static int set_value(struct config_build *build, const struct config_key *key, const char *value,
                     struct config_why *why);
static int set_upstream(struct config_build *build, const char *value, struct config_why *why);
static int check_user(const struct config_build *build, const char *value, struct config_why *why);
static void finish(struct config_build *build);
static void finish_listener(struct config_build *build, uint32_t index);
static void finish_upstream(struct config_build *build, uint32_t index);
static void finish_hostname(struct config_build *build);
static void finish_checks(struct config_build *build);
static void finish_authserv_id(struct config_build *build);
static void fail(struct config_build *build, uint32_t line, const char *label, const char *key,
                 const char *reason);

int config_load(const char *path, FILE *errors, struct config **ret_config)
{
    FILE *stream = fopen(path, "re");
    if (stream == NULL) {
        int error = errno;
        fprintf(errors, "%s:0: cannot be opened: %s; name a file that mailweir may read\n", path,
                strerror(error));
        return -error;
    }
    int error = config_load_stream(stream, path, NAMES_RESOLVE, errors, ret_config);
    (void)fclose(stream); /* it was only read */
    return error;
}

int config_load_stream(FILE *stream, const char *name, enum config_names names, FILE *errors,
                       struct config **ret_config)
{
    struct config_build *build = build_create(stream, name, names, errors);
    if (build == NULL) {
        fprintf(errors, "%s:0: there is no memory to read it; free some\n", name);
        return -ENOMEM;
    }
    errno = 0;
    int first_bad = ini_parse_stream(read_line, build, on_pair, build);
    if (ferror(stream)) {
        struct config_why why;
        config_why_set(&why, "cannot be read: %s; name a file that mailweir may read",
                       strerror(errno));
        fail(build, build->line, "", "", why.text);
    } else {
        /* Every line that inih refuses was refused before, or in on_pair(). */
        assert(first_bad == 0 || build->error_count > 0);
        finish(build);
    }
    int result = build->error_count == 0 ? 0 : -EINVAL;
    if (result == 0) {
        *ret_config = build->config;
    } else {
        config_destroy(&build->config);
    }
    free(build);
    return result;
}

void config_destroy(struct config **config)
{
    free(*config);
    *config = NULL;
}

static struct config_build *build_create(FILE *stream, const char *name, enum config_names names,
                                         FILE *errors)
{
    struct config_build *build = calloc(1, sizeof(*build));
    struct config *config = calloc(1, sizeof(*config));
    if (build == NULL || config == NULL) {
        free(build);
        free(config);
        return NULL;
    }
    (void)snprintf(config->file, sizeof(config->file), "%s", name); /* may be cut: for messages */
    build->config = config;
    build->stream = stream;
    build->errors = errors;
    build->names = names;
    build->section = SECTION_NONE;
    for (int i = 0; i < SECTION_COUNT; i++) {
        enum config_section section = (enum config_section)i;
        if (!config_section_is_named(section)) {
            set_defaults(build, section, config);
        }
    }
    return build;
}

static void set_defaults(struct config_build *build, enum config_section section, void *target)
{
    uint32_t count;
    const struct config_key *keys = config_keys(&count);
    build->target = target;
    for (uint32_t i = 0; i < count; i++) {
        if (keys[i].section == section && !keys[i].is_required) {
            struct config_why why;
            int error = set_value(build, &keys[i], keys[i].fallback, &why);
            assert(error == 0);
        }
    }
}

/* lines and sections */

/* fgets() for inih. */
static char *read_line(char *out, int size, void *stream)
{
    struct config_build *build = stream;
    struct config_line line;
    config_line_read(build->stream, build->line == 0, out, (uint32_t)size, &line);
    if (line.kind == LINE_END) {
        return NULL;
    }
    build->line++;
    if (line.kind == LINE_BAD) {
        fail(build, build->line, build->label, "", line.why.text);
    } else if (line.kind == LINE_SECTION) {
        enter_section(build, line.section);
    }
    return out;
}

/* After an error the section is none, and its keys are passed over. */
static void enter_section(struct config_build *build, const char *name)
{
    struct config_why why;
    enum config_section section = find_section(name);
    const char *colon = strchr(name, ':');
    build->section = SECTION_NONE;
    build->notes = NULL;
    (void)snprintf(build->label, sizeof(build->label), "[%.200s]", name);
    if (section == SECTION_NONE || config_section_is_named(section) != (colon != NULL)) {
        fail(build, build->line, build->label, "",
             "is an unknown section; write [proxy], [listen:NAME], [upstream:NAME], [tls], [dns], "
             "[verify], [dnsbl], [spf], [dkim], [dmarc], [limits] or [log]");
        return;
    }
    if (colon != NULL) {
        if (!enter_named(build, section, colon + 1)) {
            return;
        }
    } else if (build->section_line[section] != 0) {
        config_why_set(&why, "stands twice, first in line %u; put its keys together",
                       build->section_line[section]);
        fail(build, build->line, build->label, "", why.text);
        return;
    } else {
        build->section_line[section] = build->line;
        build->target = build->config;
    }
    build->section = section;
    memset(build->key_line, 0, sizeof(build->key_line));
}

/* By what stands before the colon, if there is one. */
static enum config_section find_section(const char *name)
{
    size_t len = strcspn(name, ":");
    for (int i = 0; i < SECTION_COUNT; i++) {
        const char *known = config_section_name((enum config_section)i);
        if (strlen(known) == len && strncmp(known, name, len) == 0) {
            return (enum config_section)i;
        }
    }
    return SECTION_NONE;
}

/* A new listener or upstream becomes the target. */
static bool enter_named(struct config_build *build, enum config_section section, const char *name)
{
    struct config_why why;
    if (!config_is_section_name(name)) {
        fail(build, build->line, build->label, "",
             "has a bad name after the colon; write 1 to 32 letters, digits, '-', '_' or '.'");
        return false;
    }
    int error = section == SECTION_LISTEN ? add_listener(build, name) : add_upstream(build, name);
    if (error == 0) {
        set_defaults(build, section, build->target);
        build->notes->line = build->line;
        return true;
    }
    if (error == -EEXIST) {
        config_why_set(&why, "stands twice; put its keys together or choose another name");
    } else {
        config_why_set(&why, "is one section too many; write at most %d of this kind",
                       section == SECTION_LISTEN ? (int)CONFIG_LISTENERS_MAX
                                                 : (int)CONFIG_UPSTREAMS_MAX);
    }
    fail(build, build->line, build->label, "", why.text);
    return false;
}

static int add_listener(struct config_build *build, const char *name)
{
    struct config *config = build->config;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        if (strcmp(config->listeners[i].name, name) == 0) {
            return -EEXIST;
        }
    }
    if (config->listener_count == CONFIG_LISTENERS_MAX) {
        return -ENOSPC;
    }
    uint32_t index = config->listener_count++;
    (void)snprintf(config->listeners[index].name, CONFIG_NAME_MAX, "%s", name);
    build->target = &config->listeners[index];
    build->notes = &build->listeners[index];
    return 0;
}

static int add_upstream(struct config_build *build, const char *name)
{
    struct config *config = build->config;
    if (find_upstream(config, name) >= 0) {
        return -EEXIST;
    }
    if (config->upstream_count == CONFIG_UPSTREAMS_MAX) {
        return -ENOSPC;
    }
    uint32_t index = config->upstream_count++;
    (void)snprintf(config->upstreams[index].name, CONFIG_NAME_MAX, "%s", name);
    build->target = &config->upstreams[index];
    build->notes = &build->upstreams[index];
    return 0;
}

static int find_upstream(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->upstream_count; i++) {
        if (strcmp(config->upstreams[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -ENOENT;
}

/* keys */

/* inih's handler; it cuts long section names, so the section is the one that read_line() saw. */
static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct config_build *build = user;
    (void)section; /* see above */
    if (build->section == SECTION_NONE) {
        if (build->label[0] == '\0') {
            fail(build, build->line, "", name,
                 "stands before the first section; write [proxy] or another section above it");
        }
        return 0;
    }
    uint32_t index;
    const struct config_key *key = find_key(build, name, &index);
    if (key == NULL) {
        fail_unknown_key(build, name);
        return 0;
    }
    struct config_why why;
    if (build->key_line[index] != 0 && !config_key_is_repeatable(key)) {
        config_why_set(&why, "stands twice, first in line %u; keep one of them",
                       build->key_line[index]);
        fail(build, build->line, build->label, name, why.text);
        return 0;
    }
    build->key_line[index] = build->line;
    if (build->notes != NULL && key->is_required) {
        build->notes->has_required = true;
    }
    if (build->notes != NULL && strcmp(name, "tls") == 0) {
        build->notes->tls_line = build->line;
    }
    if (set_value(build, key, value, &why) < 0) {
        fail(build, build->line, build->label, name, why.text);
        return 0;
    }
    note_line(build, key);
    return 1;
}

/* What is only looked at later, as files are: an error in it should name the line as well. */
static void note_line(struct config_build *build, const struct config_key *key)
{
    struct config_certificates *certificates = &build->config->certificates;
    if (key->type == TYPE_CERTIFICATES && certificates->count > 0) {
        certificates->files[certificates->count - 1].line = build->line;
    } else if (key->type == TYPE_FILES) {
        ((struct config_upstream *)build->target)->tls_files.line = build->line;
    } else if (key->type == TYPE_PATH && key->section == SECTION_UPSTREAM) {
        ((struct config_upstream *)build->target)->tls_ca_line = build->line;
    } else if (key->type == TYPE_PATH && key->section == SECTION_DNS) {
        build->config->dns.local_zone_line = build->line;
    } else if (key->type == TYPE_PATH) {
        build->config->spool_dir_line = build->line;
    } else if (strcmp(key->key, "hostname") == 0) {
        build->hostname_line = build->line;
    } else if (strcmp(key->key, "authserv_id") == 0) {
        build->authserv_id_line = build->line;
    }
}

static const struct config_key *find_key(const struct config_build *build, const char *name,
                                         uint32_t *ret_index)
{
    uint32_t count;
    const struct config_key *keys = config_keys(&count);
    for (uint32_t i = 0; i < count; i++) {
        if (keys[i].section == build->section && strcmp(keys[i].key, name) == 0) {
            *ret_index = i;
            return &keys[i];
        }
    }
    return NULL;
}

static void fail_unknown_key(struct config_build *build, const char *name)
{
    char list[512] = "";
    uint32_t count;
    const struct config_key *keys = config_keys(&count);
    for (uint32_t i = 0; i < count; i++) {
        if (keys[i].section == build->section) {
            size_t len = strlen(list);
            (void)snprintf(list + len, sizeof(list) - len, "%s%s", len > 0 ? ", " : "",
                           keys[i].key);
        }
    }
    struct config_why why;
    config_why_set(&why, "is an unknown key; this section takes %s", list);
    fail(build, build->line, build->label, name, why.text);
}

static int set_value(struct config_build *build, const struct config_key *key, const char *value,
                     struct config_why *why)
{
    if (key->type == TYPE_BIND) {
        return config_add_bind(build->config, build->target, build->names, value, why);
    }
    if (key->type == TYPE_SERVER) {
        return config_add_server(build->target, build->names, value, why);
    }
    if (key->type == TYPE_UPSTREAM) {
        return set_upstream(build, value, why);
    }
    if (key->type == TYPE_USER && check_user(build, value, why) < 0) {
        return -EINVAL;
    }
    return config_key_set(key, value, build->target, why);
}

/* The section may come later: finish() looks the name up. */
static int set_upstream(struct config_build *build, const char *value, struct config_why *why)
{
    assert(build->notes != NULL);
    if (!config_is_section_name(value)) {
        config_why_set(why, "'%s' is not a name; write the NAME of an [upstream:NAME] section",
                       value);
        return -EINVAL;
    }
    (void)snprintf(build->notes->upstream, sizeof(build->notes->upstream), "%s", value);
    build->notes->upstream_line = build->line;
    return 0;
}

static int check_user(const struct config_build *build, const char *value, struct config_why *why)
{
    if (value[0] == '\0' || build->names == NAMES_REFUSE || getpwnam(value) != NULL) {
        return 0;
    }
    config_why_set(why,
                   "there is no user '%s'; write an existing user, or nothing to stay the one "
                   "that started mailweir",
                   value);
    return -EINVAL;
}

/* after the last line */

static void finish(struct config_build *build)
{
    const struct config *config = build->config;
    if (config->listener_count == 0) {
        fail(build, build->line, "[listen:NAME]", "bind",
             "there is no listener; add a section [listen:mx] with bind = 127.0.0.1:2525");
    }
    for (uint32_t i = 0; i < config->listener_count; i++) {
        finish_listener(build, i);
    }
    for (uint32_t i = 0; i < config->upstream_count; i++) {
        finish_upstream(build, i);
    }
    finish_hostname(build);
    finish_checks(build);
}

static void finish_listener(struct config_build *build, uint32_t index)
{
    struct config_listener *listener = &build->config->listeners[index];
    const struct section_notes *notes = &build->listeners[index];
    char label[CONFIG_NAME_MAX + 16];
    (void)snprintf(label, sizeof(label), "[listen:%s]", listener->name);
    if (!notes->has_required) {
        fail(build, notes->line, label, "bind",
             "is missing; write at least one, as bind = 127.0.0.1:2525");
    }
    int upstream = find_upstream(build->config, notes->upstream);
    if (upstream < 0) {
        struct config_why why;
        config_why_set(&why, "there is no section [upstream:%s]; add it, or name another",
                       notes->upstream);
        fail(build, notes->upstream_line, label, "upstream", why.text);
        return;
    }
    listener->upstream = (uint32_t)upstream;
    const char *fault = config_listener_tls_fault(build->config, listener);
    if (fault != NULL) {
        fail(build, notes->tls_line, label, "tls", fault);
    }
}

static void finish_upstream(struct config_build *build, uint32_t index)
{
    const struct config_upstream *upstream = &build->config->upstreams[index];
    const struct section_notes *notes = &build->upstreams[index];
    char label[CONFIG_NAME_MAX + 16];
    (void)snprintf(label, sizeof(label), "[upstream:%s]", upstream->name);
    if (!notes->has_required) {
        fail(build, notes->line, label, "server",
             "is missing; write at least one, as server = 127.0.0.1:2626");
        return;
    }
    const char *key;
    const char *fault = config_upstream_tls_fault(upstream, &key);
    if (fault != NULL) {
        fail(build, notes->tls_line > 0 ? notes->tls_line : notes->line, label, key, fault);
    }
}

static void finish_hostname(struct config_build *build)
{
    char *hostname = build->config->hostname;
    if (hostname[0] != '\0') {
        return;
    }
    char own[CONFIG_TEXT_MAX] = "";
    int error = gethostname(own, sizeof(own) - 1);
    if (error < 0 || !config_is_hostname(own)) {
        fail(build, build->line, "[proxy]", "hostname",
             "the name of this machine cannot stand in a banner; write the one that clients should "
             "see");
        return;
    }
    memcpy(hostname, own, sizeof(own));
}

static void finish_checks(struct config_build *build)
{
    struct config_dns *dns = &build->config->dns;
    finish_authserv_id(build);
    if (dns->server_count == 0 && build->names == NAMES_RESOLVE) {
        FILE *stream = fopen(RESOLV_CONF, "re");
        if (stream != NULL) {
            config_read_resolv_conf(dns, stream);
            (void)fclose(stream); /* it was only read */
        }
    }
}

/* Ours by default; an error is told where that name comes from. */
static void finish_authserv_id(struct config_build *build)
{
    char *id = build->config->verify.authserv_id;
    bool is_own = id[0] != '\0';
    if (!is_own) {
        (void)snprintf(id, VERIFY_NAME_MAX, "%s", build->config->hostname);
    }
    const char *fault = config_fold_authserv_id(id);
    if (fault == NULL || build->config->verify_mode == VERIFY_OFF) {
        return;
    }
    if (is_own) {
        fail(build, build->authserv_id_line, "[verify]", "authserv_id", fault);
    } else {
        fail(build, build->hostname_line > 0 ? build->hostname_line : build->line, "[proxy]",
             "hostname", fault);
    }
}

/* One line on `errors`; whatever the file holds is escaped. */
static void fail(struct config_build *build, uint32_t line, const char *label, const char *key,
                 const char *reason)
{
    build->error_count++;
    if (build->error_count > ERRORS_MAX) {
        if (build->error_count == ERRORS_MAX + 1) {
            fprintf(build->errors, "%s:%u: there are more errors; correct those above first\n",
                    build->config->file, line);
        }
        return;
    }
    char raw[3 * CONFIG_TEXT_MAX + sizeof(struct config_why)];
    bool has_label = label[0] != '\0';
    bool has_key = key[0] != '\0';
    int len = snprintf(raw, sizeof(raw), "%s%s%s%s%s", label, has_label && has_key ? " " : "", key,
                       has_key     ? ": "
                       : has_label ? " "
                                   : "",
                       reason);
    assert(len > 0 && (size_t)len < sizeof(raw));
    char escaped[4 * sizeof(raw)];
    uint32_t escaped_len = escape_text(escaped, sizeof(escaped), text_of(raw));
    fprintf(build->errors, "%s:%u: %.*s\n", build->config->file, line, (int)escaped_len, escaped);
}
