/*
 * sink_offer - see bench/sink_offer.h.
 */
#include "bench/sink_offer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static const struct keyword_row {
    const char *keyword;
    uint32_t ext;
} keyword_rows[] = {
    {"SIZE", EXT_SIZE},
    {"8BITMIME", EXT_8BITMIME},
    {"SMTPUTF8", EXT_SMTPUTF8},
    {"DSN", EXT_DSN},
    {"ENHANCEDSTATUSCODES", EXT_ENHANCEDSTATUSCODES},
    {"PIPELINING", EXT_PIPELINING},
    {"CHUNKING", EXT_CHUNKING},
};

static bool is_printable(struct text text, char lowest)
{
    for (uint32_t i = 0; i < text.len; i++) {
        if (text.at[i] < lowest || text.at[i] > '~') {
            return false;
        }
    }
    return text.len > 0;
}

/* The value of SIZE; false when it is no number that fits. */
static bool size_parse(struct text value, uint64_t *ret_size)
{
    uint64_t size = 0;
    if (value.len == 0 || value.len > 18) {
        return false;
    }
    for (uint32_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9') {
            return false;
        }
        size = size * 10 + (uint64_t)(value.at[i] - '0');
    }
    *ret_size = size;
    return true;
}

static int keyword_learn(struct sink_offer *offer, struct text word, const char **ret_why)
{
    struct text keyword = word;
    struct text value = {.at = word.at + word.len, .len = 0};
    const char *mark = memchr(word.at, '=', word.len);
    if (mark != NULL) {
        keyword.len = (uint32_t)(mark - word.at);
        value = (struct text){.at = mark + 1, .len = word.len - keyword.len - 1};
    }
    for (size_t i = 0; i < sizeof(keyword_rows) / sizeof(keyword_rows[0]); i++) {
        if (text_is_nocase(keyword, keyword_rows[i].keyword)) {
            offer->extensions |= keyword_rows[i].ext;
        }
    }
    if (text_is_nocase(keyword, "SIZE") && mark != NULL && !size_parse(value, &offer->size_max)) {
        *ret_why = "the value of SIZE is not a number";
        return -EINVAL;
    }
    return 0;
}

/* Appends one line; `=` stands for the space between keyword and value. */
static int ehlo_line(struct sink_offer *offer, struct text word, const char **ret_why)
{
    if (offer->ehlo_len + word.len + 6 > SINK_EHLO_MAX) {
        *ret_why = "the list is too long";
        return -EINVAL;
    }
    char *line = offer->ehlo + offer->ehlo_len;
    memcpy(line, "250-", 4);
    memcpy(line + 4, word.at, word.len);
    char *mark = memchr(line + 4, '=', word.len);
    if (mark != NULL) {
        *mark = ' ';
    }
    memcpy(line + 4 + word.len, "\r\n", 2);
    offer->ehlo_len += word.len + 6;
    return 0;
}

static int keywords_add(struct sink_offer *offer, struct text list, const char **ret_why)
{
    while (list.len > 0) {
        const char *comma = memchr(list.at, ',', list.len);
        struct text word = list;
        if (comma != NULL) {
            word.len = (uint32_t)(comma - list.at);
        }
        if (!is_printable(word, ' ')) {
            *ret_why = "a keyword is empty or not printable";
            return -EINVAL;
        }
        int result = keyword_learn(offer, word, ret_why);
        if (result == 0) {
            result = ehlo_line(offer, word, ret_why);
        }
        if (result < 0) {
            return result;
        }
        uint32_t used = word.len + (comma != NULL);
        list = (struct text){.at = list.at + used, .len = list.len - used};
    }
    return 0;
}

/* The last line of a reply has a space behind its code. */
static void ehlo_finish(struct sink_offer *offer)
{
    uint32_t start = offer->ehlo_len - 2;
    while (start > 0 && offer->ehlo[start - 1] != '\n') {
        start--;
    }
    assert(offer->ehlo[start + 3] == '-');
    offer->ehlo[start + 3] = ' ';
}

int sink_offer_init(struct sink_offer *offer, const char *name, const char *list,
                    const char **ret_why)
{
    struct text host = text_of(name);
    *offer = (struct sink_offer){0};
    if (!is_printable(host, '!') || host.len > SINK_NAME_MAX) {
        *ret_why = "the host name is not one word of at most 255 printable characters";
        return -EINVAL;
    }
    offer->banner_len = (uint32_t)snprintf(offer->banner, sizeof(offer->banner),
                                           "220 %s ESMTP weir-sink\r\n", name);
    offer->helo_len = (uint32_t)snprintf(offer->helo, sizeof(offer->helo), "250 %s\r\n", name);
    offer->ehlo_refused = strcmp(list, "none") == 0;
    int result = ehlo_line(offer, host, ret_why);
    if (result == 0 && !offer->ehlo_refused) {
        result = keywords_add(offer, text_of(list), ret_why);
    }
    if (result == 0) {
        ehlo_finish(offer);
    }
    return result;
}
