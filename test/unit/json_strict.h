/*
 * json_strict - a strict parser for the tests of records (RFC 8259, UTF-8 by RFC 3629): it accepts nothing
 * that the grammar does not have, and of numbers only the integers that occur. Its own test is in
 * test_record.c. Included by test/unit/test_record*.c only.
 */
#ifndef TEST_UNIT_JSON_STRICT_H
#define TEST_UNIT_JSON_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { JSON_KEYS_MAX = 32, JSON_DEPTH_MAX = 8 };

struct json {
    const char *at;
    const char *end;
    char keys[JSON_KEYS_MAX][32]; /* of the outermost object, in order */
    int key_count;
    int object_count; /* of all objects */
};

static bool json_value(struct json *json, int depth);

static bool json_take(struct json *json, char c)
{
    bool is_it = json->at < json->end && *json->at == c;
    json->at += is_it ? 1 : 0;
    return is_it;
}

static bool json_word(struct json *json, const char *word)
{
    size_t len = strlen(word);
    bool is_it = (size_t)(json->end - json->at) >= len && memcmp(json->at, word, len) == 0;
    json->at += is_it ? len : 0;
    return is_it;
}

static bool json_escape(struct json *json)
{
    if (json_take(json, 'u')) {
        for (int i = 0; i < 4; i++) {
            if (json->at == json->end || strchr("0123456789abcdefABCDEF", *json->at) == NULL) {
                return false;
            }
            json->at++;
        }
        return true;
    }
    return json->at < json->end && *json->at != '\0' && strchr("\"\\/bfnrt", *json->at++) != NULL;
}

/* One UTF-8 character by its value, unlike core/escape.c, which looks at bytes. */
static bool json_utf8(struct json *json)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = (unsigned char)*json->at;
    int len = c < 0x80 ? 1 : (c >> 5) == 6 ? 2 : (c >> 4) == 14 ? 3 : (c >> 3) == 30 ? 4 : 0;
    if (len == 0 || json->end - json->at < len) {
        return false;
    }
    uint32_t value = len == 1 ? c : c & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        if (((unsigned char)json->at[i] & 0xc0) != 0x80) {
            return false;
        }
        value = value << 6 | ((unsigned char)json->at[i] & 0x3f);
    }
    json->at += len;
    bool is_surrogate = value >= 0xd800 && value <= 0xdfff;
    return value >= smallest[len] && value <= 0x10ffff && !is_surrogate && value >= 0x20;
}

static bool json_string(struct json *json)
{
    if (!json_take(json, '"')) {
        return false;
    }
    while (json->at < json->end && *json->at != '"') {
        if (json_take(json, '\\') ? !json_escape(json) : !json_utf8(json)) {
            return false;
        }
    }
    return json_take(json, '"');
}

/* Only integers occur. */
static bool json_number(struct json *json)
{
    (void)json_take(json, '-');
    const char *start = json->at;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9') {
        json->at++;
    }
    return json->at > start && (*start != '0' || json->at - start == 1);
}

static bool json_member(struct json *json, int depth)
{
    const char *start = json->at + 1;
    if (!json_string(json)) {
        return false;
    }
    if (depth == 0 && json->key_count < JSON_KEYS_MAX) {
        snprintf(json->keys[json->key_count++], sizeof(json->keys[0]), "%.*s",
                 (int)(json->at - 1 - start), start);
    }
    return json_take(json, ':') && json_value(json, depth + 1);
}

static bool json_value(struct json *json, int depth)
{
    if (depth > JSON_DEPTH_MAX || json->at == json->end) {
        return false;
    }
    if (json_take(json, '{')) {
        json->object_count++;
        if (json_take(json, '}')) {
            return true;
        }
        do {
            if (!json_member(json, depth)) {
                return false;
            }
        } while (json_take(json, ','));
        return json_take(json, '}');
    }
    if (json_take(json, '[')) {
        if (json_take(json, ']')) {
            return true;
        }
        do {
            if (!json_value(json, depth + 1)) {
                return false;
            }
        } while (json_take(json, ','));
        return json_take(json, ']');
    }
    if (*json->at == '"') {
        return json_string(json);
    }
    return json_word(json, "null") || json_word(json, "true") || json_word(json, "false") ||
           json_number(json);
}

static bool json_parse(struct json *json, const char *bytes, size_t len)
{
    *json = (struct json){.at = bytes, .end = bytes + len};
    return json_value(json, 0) && json->at == json->end;
}

#endif
