/*
 * header_index - see filters/header_index.h.
 */
#include "filters/header_index.h"

#include <string.h>
#include <strings.h>

static uint32_t hash(struct span name)
{
    uint32_t hash = 2166136261u; /* FNV-1a, over lower case */
    for (uint32_t i = 0; i < name.len; i++) {
        uint8_t c = (uint8_t)name.at[i];
        c = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
        hash = (hash ^ c) * 16777619u;
    }
    return hash ^ hash >> 15;
}

static struct span name_of(const struct header *header, const struct header_field *field)
{
    return (struct span){header->text + field->at, field->name_len};
}

/* The slot of that name, or the free one where it belongs. */
static uint32_t find(const struct header_index *index, struct span name)
{
    uint32_t slot = hash(name) % HEADER_SLOTS;
    while (index->slots[slot] != 0) {
        const struct header_field *field = &index->header->fields[index->slots[slot] - 1];
        struct span other = name_of(index->header, field);
        if (other.len == name.len && strncasecmp(other.at, name.at, name.len) == 0) {
            break;
        }
        slot = (slot + 1) % HEADER_SLOTS;
    }
    return slot;
}

void header_index_init(struct header_index *index, const struct header *header)
{
    _Static_assert(HEADER_SLOTS >= 2 * HEADER_FIELDS_MAX, "probing stays short");
    index->header = header;
    memset(index->slots, 0, sizeof(index->slots));
    for (uint32_t i = 0; i < header->count; i++) {
        uint32_t slot = find(index, name_of(header, &header->fields[i]));
        index->above[i] = index->slots[slot];
        index->slots[slot] = (uint16_t)(i + 1);
    }
}

void header_cursor_init(struct header_cursor *cursor, const struct header_index *index)
{
    cursor->index = index;
    memcpy(cursor->slots, index->slots, sizeof(cursor->slots));
}

const struct header_field *header_cursor_take(struct header_cursor *cursor, struct span name)
{
    uint32_t slot = find(cursor->index, name);
    uint16_t number = cursor->slots[slot];
    if (number == 0) {
        return NULL;
    }
    cursor->slots[slot] = cursor->index->above[number - 1];
    return &cursor->index->header->fields[number - 1];
}
