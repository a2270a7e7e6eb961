/*
 * checks - the table of all checks: a row here and a file beside it make one (filters/filter.h).
 */
#ifndef FILTERS_CHECKS_H
#define FILTERS_CHECKS_H

#include "filters/chain.h"
#include "filters/dkim.h"
#include "filters/dmarc.h"
#include "filters/dnsbl.h"
#include "filters/rhsbl.h"
#include "filters/spf.h"

/* In the order of the record and of Authentication-Results; among equals the first one decides. */
#define CHECK_ROWS                                                                                 \
    {                                                                                              \
        {&filter_dnsbl, SCOPE_SESSION}, {&filter_rhsbl, SCOPE_TRANSACTION},                        \
            {&filter_spf, SCOPE_TRANSACTION}, {&filter_dkim, SCOPE_TRANSACTION},                   \
            {&filter_dmarc, SCOPE_TRANSACTION},                                                    \
    }

#endif
