/*
 * header_index - see filters/header_index.h.
 */
#include "filters/header_index.h"

#include <string.h>
#include <strings.h>

static uint32_t hash_of(struct span name)
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

static bool is_name_at(const struct header_index *index, uint32_t slot, struct span name)
{
    const struct header_field *field = &index->header->fields[index->slots[slot] - 1];
    struct span other = name_of(index->header, field);
    return other.len == name.len && strncasecmp(other.at, name.at, name.len) == 0;
}

/* The slot of that name, or the free one where it belongs, or HEADER_SLOTS: neither is near. */
static uint32_t find(const struct header_index *index, struct span name, uint32_t hash)
{
    uint32_t slot = hash % HEADER_SLOTS;
    for (uint32_t probe = 0; probe < HEADER_PROBES_MAX; probe++) {
        bool is_free = index->slots[slot] == 0;
        if (is_free || (index->hashes[slot] == hash && is_name_at(index, slot, name))) {
            return slot;
        }
        slot = (slot + 1) % HEADER_SLOTS;
    }
    return HEADER_SLOTS;
}

bool header_index_init(struct header_index *index, const struct header *header)
{
    _Static_assert(HEADER_SLOTS >= 2 * HEADER_FIELDS_MAX, "probing stays short");
    index->header = header;
    memset(index->slots, 0, sizeof(index->slots));
    for (uint32_t i = 0; i < header->count; i++) {
        struct span name = name_of(header, &header->fields[i]);
        uint32_t hash = hash_of(name);
        uint32_t slot = find(index, name, hash);
        if (slot == HEADER_SLOTS) {
            return false;
        }
        index->above[i] = index->slots[slot];
        index->slots[slot] = (uint16_t)(i + 1);
        index->hashes[slot] = hash;
    }
    return true;
}

void header_cursor_init(struct header_cursor *cursor, const struct header_index *index)
{
    cursor->index = index;
    memcpy(cursor->slots, index->slots, sizeof(cursor->slots));
}

const struct header_field *header_cursor_take(struct header_cursor *cursor, struct span name)
{
    uint32_t slot = find(cursor->index, name, hash_of(name));
    uint16_t number = slot == HEADER_SLOTS ? 0 : cursor->slots[slot];
    if (number == 0) {
        return NULL;
    }
    cursor->slots[slot] = cursor->index->above[number - 1];
    return &cursor->index->header->fields[number - 1];
}
