/*
 * check_files - see core/check_files.h.
 */
#include "core/check_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/dns_zone.h"

int check_files_read_zone(const struct config *config, struct dns_zone **ret_zone,
                          struct check_files_error *error)
{
    char reason[256];
    *ret_zone = NULL;
    if (config->verify_mode == VERIFY_OFF || config->dns.local_zone[0] == '\0') {
        return 0;
    }
    int result = dns_zone_read(ret_zone, config->dns.local_zone, reason, sizeof(reason));
    if (result < 0) {
        error->line = config->dns.local_zone_line;
        (void)snprintf(error->text, sizeof(error->text),
                       "[dns] local_zone: %s: %s; write the path of a zone file (RFC 1035)",
                       config->dns.local_zone, reason);
    }
    return result;
}

int check_files_try_spool(const struct config *config, struct check_files_error *error)
{
    char path[CONFIG_TEXT_MAX + 2];
    if (config->verify_mode != VERIFY_HOLD) {
        return 0;
    }
    (void)snprintf(path, sizeof(path), "%s/", config->spool_dir); /* a file is no folder */
    if (config->spool_dir[0] == '/' && access(path, W_OK | X_OK) == 0) {
        return 0;
    }
    int result = config->spool_dir[0] == '/' ? -errno : -ENOENT;
    error->line = config->spool_dir_line;
    (void)snprintf(error->text, sizeof(error->text),
                   "[verify] spool_dir: '%s': %s; write the path of a folder that %s may write to",
                   config->spool_dir, strerrordesc_np(-result),
                   config->user[0] != '\0' ? config->user : "mailweir");
    return result;
}
