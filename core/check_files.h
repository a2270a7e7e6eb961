/*
 * check_files - what the checks need of the disk, looked at before anybody is served: the local zone,
 * and a folder for messages that are too long for memory.
 */
#ifndef CORE_CHECK_FILES_H
#define CORE_CHECK_FILES_H

#include "core/config.h"

struct dns_zone;

struct check_files_error {
    uint32_t line; /* of the configuration; 0: the key has its default */
    char text[2 * CONFIG_TEXT_MAX + 256];
};

/* Reads [dns] local_zone; NULL where none is configured. The caller owns it (dns_zone_destroy()). 0, or
 * -errno and why. */
int check_files_read_zone(const struct config *config, struct dns_zone **ret_zone,
                          struct check_files_error *error) __attribute__((warn_unused_result));

/* [verify] spool_dir is a folder that the user of this process may write to. 0, or -errno and why. */
int check_files_try_spool(const struct config *config, struct check_files_error *error)
    __attribute__((warn_unused_result));

#endif
