/*
 * message - see core/message.h.
 *
 * A block is in one place: `head` (octets that stay in memory), `tail` (octets on their way to the
 * file; the first may be in flight), `spare` (empty, kept for the file), `ahead` (octets that came
 * from it), or `fetching` (being read into). Only the last of head or tail is filled, only the first
 * of head or ahead is consumed. Blocks go to the file whole, the last one after the seal; so the
 * file is read only when all of it is written, and one op is enough for both.
 *
 *      position of a message's octets:   0 ... head ... | file: 0 ... fetched ... written | tail
 */
#include "core/message.h"

#include <assert.h>
#include <errno.h>

#include "net/loop.h"

enum {
    MESSAGE_MAGIC = 0x4d455353,
    TAIL_MAX = 4,   /* blocks on their way to the file: one is written, the others are filled */
    READING_MAX = 2 /* blocks for the way back: one is consumed, the other read ahead */
};

static const uint64_t MEMORY_MAX = UINT64_C(1) << 30;

struct block {
    struct list_node node;
    uint32_t begin; /* octets before it are consumed */
    uint32_t end;   /* octets before it are filled */
    char bytes[MESSAGE_BLOCK_SIZE];
};

struct blocks {
    struct list_node list;
    uint32_t count;
};

struct message {
    uint32_t magic;
    int error;
    int fd; /* the file; -1: none yet */
    uint32_t memory_max;
    uint32_t head_max; /* blocks that memory_max takes */
    uint32_t tail_max; /* with a file */
    bool sealed;
    bool wanted;   /* sealed, and somebody has begun to read */
    bool released; /* goes when its op is joined */
    const char *spool_dir;
    struct message_store *store;
    message_poke *poke;
    void *owner;
    uint64_t appended; /* octets in all */
    uint64_t consumed;
    uint64_t written; /* octets in the file */
    uint64_t fetched; /* position in the file up to which it was read */
    struct blocks head;
    struct blocks tail;
    struct blocks spare;
    struct blocks ahead;
    struct block *fetching;
    struct op op;
    struct list_node live;
};

/* ---- the store ---- */

int message_store_init(struct message_store *store, struct loop *loop, uint32_t message_max,
                       uint32_t block_max)
{
    *store = (struct message_store){.loop = loop};
    list_init(&store->live);
    int result = pool_init(&store->messages, sizeof(struct message), message_max);
    if (result < 0) {
        return result;
    }
    result = pool_init(&store->blocks, sizeof(struct block), block_max);
    if (result < 0) {
        pool_fini(&store->messages);
    }
    return result;
}

void message_store_fini(struct message_store *store)
{
    assert(store->count == 0);
    assert(list_is_empty(&store->live));
    pool_fini(&store->blocks);
    pool_fini(&store->messages);
}

bool message_store_is_idle(const struct message_store *store)
{
    return store->count == 0;
}

/* ---- blocks ---- */

static struct block *blocks_first(const struct blocks *blocks)
{
    return blocks->count == 0 ? NULL : list_entry(blocks->list.next, struct block, node);
}

static struct block *blocks_last(const struct blocks *blocks)
{
    return blocks->count == 0 ? NULL : list_entry(blocks->list.prev, struct block, node);
}

static void blocks_push(struct blocks *blocks, struct block *block)
{
    list_push_back(&blocks->list, &block->node);
    blocks->count++;
}

static void blocks_remove(struct blocks *blocks, struct block *block)
{
    assert(blocks->count > 0);
    list_remove(&block->node);
    blocks->count--;
}

/* The first one, unlinked; NULL when there is none. */
static struct block *blocks_pop(struct blocks *blocks)
{
    struct block *block = blocks_first(blocks);
    if (block != NULL) {
        blocks_remove(blocks, block);
    }
    return block;
}

/* Octets that the last block still takes. */
static uint32_t blocks_space(const struct blocks *blocks)
{
    const struct block *last = blocks_last(blocks);
    return last == NULL ? 0 : MESSAGE_BLOCK_SIZE - last->end;
}

/* Gives blocks back to the pool until `keep` are left. */
static void blocks_trim(struct message *message, struct blocks *blocks, uint32_t keep)
{
    while (blocks->count > keep) {
        pool_put(&message->store->blocks, blocks_pop(blocks));
    }
}

/* ---- the life of a message ---- */

static bool has_file(const struct message *message)
{
    return message->fd >= 0;
}

struct message *message_create(struct message_store *store, const struct message_conf *conf,
                               message_poke *poke, void *owner)
{
    assert(poke != NULL);
    assert(conf->memory_max > 0 || conf->spool_dir != NULL);
    struct message *message = pool_get(&store->messages);
    if (message == NULL) {
        return NULL;
    }
    uint64_t memory_max = conf->memory_max < MEMORY_MAX ? conf->memory_max : MEMORY_MAX;
    uint64_t blocks = (memory_max + MESSAGE_BLOCK_SIZE - 1) / MESSAGE_BLOCK_SIZE;
    *message = (struct message){
        .magic = MESSAGE_MAGIC,
        .fd = -1,
        .memory_max = (uint32_t)memory_max,
        .head_max = blocks > 0 ? (uint32_t)blocks : 1,
        .spool_dir = conf->spool_dir,
        .store = store,
        .poke = poke,
        .owner = owner,
    };
    message->tail_max = message->head_max < TAIL_MAX ? message->head_max + 1 : TAIL_MAX;
    list_init(&message->head.list);
    list_init(&message->tail.list);
    list_init(&message->spare.list);
    list_init(&message->ahead.list);
    op_init(&message->op);
    list_push_back(&store->live, &message->live);
    store->count++;
    return message;
}

static void message_destroy(struct message *message)
{
    struct message_store *store = message->store;
    assert(message->released);
    assert(op_is_idle(&message->op));
    if (has_file(message)) {
        loop_close(store->loop, message->fd);
    }
    if (message->fetching != NULL) {
        pool_put(&store->blocks, message->fetching);
    }
    blocks_trim(message, &message->head, 0);
    blocks_trim(message, &message->tail, 0);
    blocks_trim(message, &message->spare, 0);
    blocks_trim(message, &message->ahead, 0);
    list_remove(&message->live);
    assert(store->count > 0);
    store->count--;
    message->magic = 0;
    pool_put(&store->messages, message);
}

void message_release(struct message **ret_message)
{
    struct message *message = *ret_message;
    if (message == NULL) {
        return;
    }
    assert(message->magic == MESSAGE_MAGIC);
    assert(!message->released);
    *ret_message = NULL;
    message->released = true;
    if (op_is_idle(&message->op)) {
        message_destroy(message);
    } else {
        loop_cancel(message->store->loop, &message->op);
    }
}

/* The op is joined: false when that was all the released message waited for. */
static bool message_goes_on(struct message *message)
{
    assert(message->magic == MESSAGE_MAGIC);
    if (message->released) {
        message_destroy(message);
        return false;
    }
    return true;
}

int message_error(const struct message *message)
{
    return message->error;
}

uint64_t message_len(const struct message *message)
{
    return message->appended;
}

bool message_is_busy(const struct message *message)
{
    return !op_is_idle(&message->op);
}

/* ---- the way back from the file ---- */

static void on_fetched(struct op *op, int result);

static uint32_t fetch_len(const struct message *message)
{
    uint64_t left = message->written - message->fetched;
    return left < MESSAGE_BLOCK_SIZE ? (uint32_t)left : MESSAGE_BLOCK_SIZE;
}

/* Reads a block ahead, when the file is complete and there is a block to read into. */
static void fetch_next(struct message *message)
{
    if (!message->wanted || message->tail.count > 0 || message_is_busy(message)) {
        return;
    }
    if (message->fetched == message->written || message->spare.count == 0) {
        return;
    }
    assert(message->fetching == NULL);
    message->fetching = blocks_pop(&message->spare);
    loop_read_at(message->store->loop, &message->op, message->fd, message->fetching->bytes,
                 fetch_len(message), message->fetched, on_fetched);
}

static void on_fetched(struct op *op, int result)
{
    struct message *message = list_entry(op, struct message, op);
    if (!message_goes_on(message)) {
        return;
    }
    bool was_empty = message->head.count + message->ahead.count == 0;
    if (result < (int)fetch_len(message)) {
        message->error = result < 0 ? result : -EIO;
        message->poke(message, message->owner);
        return;
    }
    struct block *block = message->fetching;
    message->fetching = NULL;
    block->begin = 0;
    block->end = (uint32_t)result;
    blocks_push(&message->ahead, block);
    message->fetched += block->end;
    if (message->fetched == message->written) {
        blocks_trim(message, &message->spare, 0);
    }
    fetch_next(message);
    if (was_empty) {
        message->poke(message, message->owner);
    }
}

/* ---- the way to the file ---- */

static void on_written(struct op *op, int result);

/* The file is complete: what the way back does not need goes back to the pool. */
static void file_complete(struct message *message)
{
    blocks_trim(message, &message->spare, READING_MAX);
    fetch_next(message);
}

/* Writes the first block once it is full, or the last. */
static void write_next(struct message *message)
{
    const struct block *block = blocks_first(&message->tail);
    if (block == NULL || message_is_busy(message)) {
        return;
    }
    if (block->end == MESSAGE_BLOCK_SIZE || message->sealed) {
        loop_write_at(message->store->loop, &message->op, message->fd, block->bytes, block->end,
                      message->written, on_written);
    }
}

static void on_written(struct op *op, int result)
{
    struct message *message = list_entry(op, struct message, op);
    if (!message_goes_on(message)) {
        return;
    }
    if (result < 0) {
        message->error = result;
        message->poke(message, message->owner);
        return;
    }
    struct block *block = blocks_pop(&message->tail);
    assert(block != NULL);
    assert((uint32_t)result == block->end);
    message->written += block->end;
    blocks_push(&message->spare, block);
    write_next(message);
    bool is_complete = message->sealed && message->tail.count == 0;
    if (is_complete) {
        file_complete(message);
    }
    if (is_complete || message_room(message) > 0) { /* an owner may wait for either */
        message->poke(message, message->owner);
    }
}

/* Opens the file and puts the last blocks of the head on their way to it. */
static int file_begin(struct message *message)
{
    int fd = loop_file(message->store->loop, message->spool_dir);
    if (fd < 0) {
        return fd;
    }
    message->fd = fd;
    while (message->tail.count < message->tail_max - 1) {
        struct block *block = blocks_last(&message->head);
        assert(block != NULL);
        blocks_remove(&message->head, block);
        list_push_front(&message->tail.list, &block->node);
        message->tail.count++;
    }
    /* Only the very first block of a message can be consumed in part. */
    const struct block *first = blocks_first(&message->tail);
    assert(first != NULL);
    message->fetched = first->begin;
    return 0;
}

/* ---- appending ---- */

uint32_t message_room(const struct message *message)
{
    assert(message->magic == MESSAGE_MAGIC);
    if (message->sealed || message->error != 0) {
        return 0;
    }
    if (message->spool_dir == NULL) {
        return message->memory_max - (uint32_t)(message->appended - message->consumed);
    }
    if (has_file(message)) {
        return (message->tail_max - message->tail.count) * MESSAGE_BLOCK_SIZE +
               blocks_space(&message->tail);
    }
    return (message->head_max + 1 - message->head.count) * MESSAGE_BLOCK_SIZE +
           blocks_space(&message->head);
}

static struct blocks *filled_blocks(struct message *message)
{
    return has_file(message) ? &message->tail : &message->head;
}

/* One more block to fill; it may be the one that needs the file. */
static int add_block(struct message *message)
{
    struct block *block = blocks_pop(&message->spare);
    if (block == NULL) {
        assert(!has_file(message)); /* that has all its blocks */
        block = pool_get(&message->store->blocks);
    }
    if (block == NULL) {
        return -ENOBUFS;
    }
    bool is_full = message->head.count == message->head_max;
    if (is_full && !has_file(message) && message->spool_dir != NULL) {
        int result = file_begin(message);
        if (result < 0) {
            pool_put(&message->store->blocks, block);
            return result;
        }
    }
    block->begin = 0;
    block->end = 0;
    blocks_push(filled_blocks(message), block);
    assert(message->head.count <= message->head_max + 1);
    assert(message->tail.count <= message->tail_max);
    return 0;
}

int message_append(struct message *message, const char *bytes, uint32_t len)
{
    assert(message->magic == MESSAGE_MAGIC);
    if (message->error != 0) {
        return message->error;
    }
    assert(!message->sealed);
    assert(len <= message_room(message));
    while (len > 0) {
        if (blocks_space(filled_blocks(message)) == 0) {
            message->error = add_block(message);
        }
        if (message->error != 0) {
            return message->error;
        }
        struct block *block = blocks_last(filled_blocks(message));
        assert(block != NULL);
        uint32_t space = MESSAGE_BLOCK_SIZE - block->end;
        uint32_t part = len < space ? len : space;
        memcpy(block->bytes + block->end, bytes, part);
        block->end += part;
        bytes += part;
        len -= part;
        message->appended += part;
    }
    write_next(message);
    return 0;
}

void message_seal(struct message *message)
{
    assert(message->magic == MESSAGE_MAGIC);
    assert(!message->sealed);
    message->sealed = true;
    if (message->error != 0) {
        return;
    }
    write_next(message);
    if (has_file(message) && message->tail.count == 0) {
        file_complete(message);
    }
}

/* ---- reading ---- */

static struct blocks *read_blocks(struct message *message)
{
    return message->head.count > 0 ? &message->head : &message->ahead;
}

int message_read(struct message *message, struct text *ret_run)
{
    assert(message->magic == MESSAGE_MAGIC);
    if (message->error != 0) {
        return message->error;
    }
    if (message->sealed) {
        message->wanted = true;
        fetch_next(message);
    }
    const struct block *block = blocks_first(read_blocks(message));
    if (block != NULL) {
        assert(block->begin < block->end);
        *ret_run =
            (struct text){.at = block->bytes + block->begin, .len = block->end - block->begin};
        return 1;
    }
    return message->sealed && message->consumed == message->appended ? -ENODATA : 0;
}

void message_consume(struct message *message, uint32_t len)
{
    assert(message->magic == MESSAGE_MAGIC);
    struct blocks *blocks = read_blocks(message);
    struct block *block = blocks_first(blocks);
    assert(block != NULL);
    assert(len <= block->end - block->begin);
    block->begin += len;
    message->consumed += len;
    if (block->begin < block->end) {
        return;
    }
    blocks_remove(blocks, block);
    if (blocks == &message->ahead && message->fetched < message->written) {
        blocks_push(&message->spare, block); /* the next message_read() uses it */
    } else {
        pool_put(&message->store->blocks, block);
    }
}
