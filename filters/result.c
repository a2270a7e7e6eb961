/*
 * result - see filters/result.h.
 */
#include "filters/result.h"

const char *check_result_name(enum check_result result)
{
    switch (result) {
    case CHECK_NONE:
        return "none";
    case CHECK_PASS:
        return "pass";
    case CHECK_FAIL:
        return "fail";
    case CHECK_SOFTFAIL:
        return "softfail";
    case CHECK_NEUTRAL:
        return "neutral";
    case CHECK_POLICY:
        return "policy";
    case CHECK_TEMPERROR:
        return "temperror";
    case CHECK_PERMERROR:
        return "permerror";
    }
    return "permerror";
}
