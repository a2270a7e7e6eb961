/*
 * result - the word that a check ends in (RFC 8601, 2.7; RFC 7208, 2.6 for softfail).
 *
 * "temperror" means that nothing is known: it is never the same as clean.
 */
#ifndef FILTERS_RESULT_H
#define FILTERS_RESULT_H

enum check_result {
    CHECK_NONE,
    CHECK_PASS,
    CHECK_FAIL,
    CHECK_SOFTFAIL,
    CHECK_NEUTRAL,
    CHECK_POLICY,
    CHECK_TEMPERROR,
    CHECK_PERMERROR,
};

/* "none", "pass", ... */
const char *check_result_name(enum check_result result);

#endif
