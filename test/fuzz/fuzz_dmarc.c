/*
 * fuzz_dmarc - a DMARC record: what is behind it, or unknown in it, changes nothing of what it says.
 */
#include "filters/dmarc_record.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct span copied(const uint8_t *data, size_t size, const char *behind)
{
    size_t more = strlen(behind);
    char *text = malloc(size + more + 1); /* of that size, so that reading past it is seen */
    assert(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    memcpy(text + size, behind, more + 1);
    return (struct span){text, (uint32_t)(size + more)};
}

static bool is_equal(const struct dmarc_record *a, const struct dmarc_record *b)
{
    return a->is_usable == b->is_usable && a->is_spf_strict == b->is_spf_strict &&
           a->is_dkim_strict == b->is_dkim_strict && a->is_testing == b->is_testing &&
           a->psd == b->psd && a->domain == b->domain && a->below == b->below &&
           a->missing == b->missing;
}

static void check(const uint8_t *data, size_t size, const char *behind,
                  const struct dmarc_record *wanted)
{
    struct dmarc_record record;
    struct span text = copied(data, size, behind);
    bool is_record = dmarc_record_parse(text, &record);
    assert(is_record && is_equal(&record, wanted));
    free((char *)(uintptr_t)text.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dmarc_record record;
    struct span text = copied(data, size, "");
    if (dmarc_record_parse(text, &record)) {
        assert(size >= 8 && strncasecmp(text.at, "v", 1) == 0);
        assert(record.psd <= DMARC_PSD_NO && record.domain <= DMARC_POLICY_REJECT);
        assert(record.below <= DMARC_POLICY_REJECT && record.missing <= DMARC_POLICY_REJECT);
        assert(record.is_usable || record.missing == DMARC_POLICY_NONE);
        check(data, size, ";", &record);
        check(data, size, "; pct=10; x=y; v=DMARC2;", &record);
        if (record.is_usable && record.domain != DMARC_POLICY_NONE) {
            check(data, size, ";p=none;p=bad", &record);
        }
    }
    free((char *)(uintptr_t)text.at);
    return 0;
}
