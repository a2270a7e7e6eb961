/*
 * sim_net - see test/loop_sim.h: the world without the loop. Ends, their queues, listeners, and the
 * calls of the actors.
 *
 * Whatever changes what an op could be waiting for ends in sim_touch().
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim_priv.h"

enum { SIM_FD_COUNT = 4096, SIM_QUEUE_BYTES = 65536, SIM_EPOCH_MS = 1000000 };

static const uint64_t FNV_OFFSET = UINT64_C(0xcbf29ce484222325);

/* ---- the world ---- */

uint64_t sim_random(struct sim *sim)
{
    sim->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = sim->random;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

bool sim_chance(struct sim *sim, uint32_t chance, uint32_t of)
{
    return chance != 0 && sim_random(sim) % of < chance;
}

struct sim *sim_create(const struct sim_options *options)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    assert(sim != NULL);
    sim->options = *options;
    if (sim->options.fd_count == 0) {
        sim->options.fd_count = SIM_FD_COUNT;
    }
    if (sim->options.queue_bytes == 0) {
        sim->options.queue_bytes = SIM_QUEUE_BYTES;
    }
    uint32_t count = sim->options.fd_count;
    assert(count > SIM_FD_FIRST);
    sim->random = options->seed;
    sim->trace = FNV_OFFSET;
    sim->now_ms = SIM_EPOCH_MS;
    sim->ends = calloc(count, sizeof(*sim->ends));
    sim->free_fds = calloc(count, sizeof(*sim->free_fds));
    assert(sim->ends != NULL);
    assert(sim->free_fds != NULL);
    for (uint32_t fd = count - 1; fd >= SIM_FD_FIRST; fd--) {
        sim->free_fds[sim->free_count++] = (int)fd;
    }
    for (uint32_t i = 0; i < SIM_LISTENERS_MAX; i++) {
        sim->listeners[i].fd = -1;
    }
    list_init(&sim->connecting);
    return sim;
}

void sim_destroy(struct sim **ret_sim)
{
    struct sim *sim = *ret_sim;
    if (sim == NULL) {
        return;
    }
    assert(sim->loop == NULL);
    for (uint32_t fd = 0; fd < sim->options.fd_count; fd++) {
        free(sim->ends[fd].queue);
        free(sim->ends[fd].file);
    }
    free(sim->ends);
    free(sim->free_fds);
    free(sim);
    *ret_sim = NULL;
}

int64_t sim_now_ms(const struct sim *sim)
{
    return sim->now_ms;
}

void sim_advance(struct sim *sim, int64_t ms)
{
    assert(ms >= 0);
    sim->now_ms += ms;
    sim->activity++;
}

uint64_t sim_trace(const struct sim *sim)
{
    return sim->trace;
}

uint64_t sim_activity(const struct sim *sim)
{
    return sim->activity;
}

uint32_t sim_open_count(const struct sim *sim)
{
    return sim->options.fd_count - SIM_FD_FIRST - sim->free_count;
}

/* ---- ends ---- */

struct sim_end *sim_end(const struct sim *sim, int fd)
{
    assert(fd >= SIM_FD_FIRST);
    assert((uint32_t)fd < sim->options.fd_count);
    assert(sim->ends[fd].kind != SIM_FREE);
    return &sim->ends[fd];
}

int sim_open(struct sim *sim, enum sim_kind kind)
{
    if (sim->free_count == 0) {
        return -EMFILE;
    }
    int fd = sim->free_fds[--sim->free_count];
    struct sim_end *end = &sim->ends[fd];
    assert(end->kind == SIM_FREE);
    char *queue = end->queue;
    *end = (struct sim_end){.kind = (uint8_t)kind, .peer = -1, .listener = -1, .queue = queue};
    end->room_max = sim->options.queue_bytes;
    list_init(&end->connecting);
    return fd;
}

static void sim_release(struct sim *sim, int fd)
{
    struct sim_end *end = sim_end(sim, fd);
    assert(end->rx == NULL); /* closed with an op in flight */
    assert(end->tx == NULL);
    list_remove(&end->connecting);
    end->kind = SIM_FREE;
    sim->free_fds[sim->free_count++] = fd;
}

static void touch_end(struct sim *sim, const struct sim_end *end)
{
    sim->activity++;
    if (end->rx != NULL) {
        sim_touch(sim, end->rx);
    }
    if (end->tx != NULL) {
        sim_touch(sim, end->tx);
    }
}

struct sim_end *sim_peer(const struct sim *sim, const struct sim_end *end)
{
    return end->peer < 0 ? NULL : sim_end(sim, end->peer);
}

uint32_t sim_space(const struct sim *sim, const struct sim_end *end)
{
    const struct sim_end *peer = sim_peer(sim, end);
    return peer == NULL ? 0 : peer->room_max - sim_waiting(peer);
}

void sim_queue_put(struct sim *sim, struct sim_end *end, const char *data, uint32_t len)
{
    assert(len <= end->room_max - sim_waiting(end));
    if (end->queue == NULL) {
        end->queue = malloc(sim->options.queue_bytes);
        assert(end->queue != NULL);
    }
    if (end->begin > 0 && len > sim->options.queue_bytes - end->end) {
        memmove(end->queue, end->queue + end->begin, sim_waiting(end));
        end->end -= end->begin;
        end->begin = 0;
    }
    memcpy(end->queue + end->end, data, len);
    end->end += len;
    touch_end(sim, end);
}

void sim_queue_take(struct sim *sim, struct sim_end *end, uint32_t len)
{
    assert(len <= sim_waiting(end));
    end->begin += len;
    end->read_total += len;
    if (end->begin == end->end) {
        end->begin = 0;
        end->end = 0;
    }
    sim->activity++;
    struct sim_end *peer = sim_peer(sim, end);
    if (peer != NULL && peer->tx != NULL) {
        sim_touch(sim, peer->tx);
    }
}

int sim_dgram_len(const struct sim_end *end)
{
    uint16_t len;
    if (sim_waiting(end) == 0) {
        return -1;
    }
    memcpy(&len, end->queue + end->begin, sizeof(len));
    return len;
}

void sim_dgram_take(struct sim *sim, struct sim_end *end, void *data)
{
    uint32_t len = (uint32_t)sim_dgram_len(end);
    if (len > 0) {
        memcpy(data, end->queue + end->begin + sizeof(uint16_t), len);
    }
    sim_queue_take(sim, end, (uint32_t)sizeof(uint16_t) + len);
}

void sim_dgram_put(struct sim *sim, struct sim_end *end, const void *data, uint32_t len)
{
    struct sim_end *peer = sim_peer(sim, end);
    uint16_t head = (uint16_t)len;
    if (peer != NULL && sizeof(head) + len <= sim_space(sim, end)) {
        sim_queue_put(sim, peer, (const char *)&head, sizeof(head));
        sim_queue_put(sim, peer, data, len);
    }
}

static void end_fail(struct sim *sim, struct sim_end *end)
{
    end->error = -ECONNRESET;
    end->dead = true;
    end->peer = -1;
    touch_end(sim, end);
}

void sim_break(struct sim *sim, struct sim_end *end)
{
    struct sim_end *peer = sim_peer(sim, end);
    if (peer != NULL) {
        end_fail(sim, peer);
    }
    end_fail(sim, end);
}

int sim_send_error(struct sim_end *end)
{
    if (end->error != 0) {
        int error = end->error;
        end->error = 0;
        return error;
    }
    return end->dead || end->write_closed ? -EPIPE : 0;
}

int sim_shutdown_end(struct sim *sim, int fd, int how)
{
    struct sim_end *end = sim_end(sim, fd);
    if (end->kind != SIM_STREAM || end->dead) {
        return -ENOTCONN;
    }
    if (how != SHUT_WR) {
        end->read_closed = true;
    }
    if (how != SHUT_RD) {
        end->write_closed = true;
        struct sim_end *peer = sim_peer(sim, end);
        if (peer != NULL) {
            peer->eof = true;
            touch_end(sim, peer);
        }
    }
    touch_end(sim, end);
    return 0;
}

/* ---- listeners ---- */

struct sim_listener *sim_find_listener(struct sim *sim, const void *addr, socklen_t len)
{
    for (uint32_t i = 0; i < SIM_LISTENERS_MAX; i++) {
        struct sim_listener *listener = &sim->listeners[i];
        if (listener->fd >= 0 && listener->len == len && memcmp(listener->addr, addr, len) == 0) {
            return listener;
        }
    }
    return NULL;
}

static struct sim_listener *listener_of(struct sim *sim, int fd)
{
    struct sim_end *end = sim_end(sim, fd);
    assert(end->kind == SIM_LISTENER);
    return &sim->listeners[end->listener];
}

int sim_listen(struct sim *sim, const struct sockaddr *addr, socklen_t len)
{
    assert(len <= sizeof(sim->listeners[0].addr));
    if (sim_find_listener(sim, addr, len) != NULL) {
        return -EADDRINUSE;
    }
    int index = 0;
    while (sim->listeners[index].fd >= 0) {
        index++;
        assert(index < SIM_LISTENERS_MAX);
    }
    int fd = sim_open(sim, SIM_LISTENER);
    if (fd < 0) {
        return fd;
    }
    struct sim_listener *listener = &sim->listeners[index];
    listener->fd = fd;
    listener->how = SIM_CONNECT_OK;
    listener->delay_ms = 0;
    listener->first = 0;
    listener->count = 0;
    listener->len = len;
    memcpy(listener->addr, addr, len);
    sim->ends[fd].listener = index;
    return fd;
}

void sim_set_connect(struct sim *sim, int fd, enum sim_connect how, int64_t delay_ms)
{
    assert(delay_ms >= 0);
    listener_of(sim, fd)->how = how;
    listener_of(sim, fd)->delay_ms = delay_ms;
}

static void join(struct sim *sim, int a, int b)
{
    sim_end(sim, a)->kind = SIM_STREAM;
    sim_end(sim, b)->kind = SIM_STREAM;
    sim_end(sim, a)->peer = b;
    sim_end(sim, b)->peer = a;
    sim->activity++;
}

int sim_establish(struct sim *sim, struct sim_listener *listener, int fd)
{
    if (listener->count == SIM_BACKLOG_MAX) {
        return -EAGAIN;
    }
    int other = sim_open(sim, SIM_STREAM);
    if (other < 0) {
        return other;
    }
    sim_end(sim, other)->dgram = sim_end(sim, fd)->dgram;
    join(sim, fd, other);
    listener->backlog[(listener->first + listener->count) % SIM_BACKLOG_MAX] = other;
    listener->count++;
    touch_end(sim, sim_end(sim, listener->fd));
    return 0;
}

int sim_accept(struct sim *sim, int fd)
{
    struct sim_listener *listener = listener_of(sim, fd);
    if (listener->count == 0) {
        return -EAGAIN;
    }
    int accepted = listener->backlog[listener->first];
    listener->first = (listener->first + 1) % SIM_BACKLOG_MAX;
    listener->count--;
    sim->activity++;
    return accepted;
}

int sim_dial(struct sim *sim, const struct sockaddr *addr, socklen_t len)
{
    struct sim_listener *listener = sim_find_listener(sim, addr, len);
    if (listener == NULL) {
        return -ECONNREFUSED;
    }
    int fd = sim_open(sim, SIM_SOCKET);
    if (fd < 0) {
        return fd;
    }
    int result = sim_establish(sim, listener, fd);
    if (result < 0) {
        sim_release(sim, fd);
        return result;
    }
    return fd;
}

int sim_pair(struct sim *sim, int ret_fds[2])
{
    int a = sim_open(sim, SIM_STREAM);
    if (a < 0) {
        return a;
    }
    int b = sim_open(sim, SIM_STREAM);
    if (b < 0) {
        sim_release(sim, a);
        return b;
    }
    join(sim, a, b);
    ret_fds[0] = a;
    ret_fds[1] = b;
    return 0;
}

/* ---- actors ---- */

int64_t sim_write(struct sim *sim, int fd, const void *data, uint32_t len)
{
    struct sim_end *end = sim_end(sim, fd);
    assert(end->kind == SIM_STREAM);
    assert(end->tx == NULL); /* driven by the loop */
    if (end->dgram) {
        sim_dgram_put(sim, end, data, len);
        return len;
    }
    int error = sim_send_error(end);
    if (error != 0) {
        return error;
    }
    if (end->orphan) {
        end_fail(sim, end);
        return len;
    }
    uint32_t space = sim_space(sim, end);
    uint32_t moved = len < space ? len : space;
    if (moved > 0) {
        sim_queue_put(sim, sim_peer(sim, end), data, moved);
    }
    return moved;
}

int64_t sim_read(struct sim *sim, int fd, void *data, uint32_t len)
{
    struct sim_end *end = sim_end(sim, fd);
    assert(end->kind == SIM_STREAM);
    assert(end->rx == NULL); /* driven by the loop */
    uint32_t waiting = sim_waiting(end);
    if (end->dgram) {
        int moved = waiting > 0 ? sim_dgram_len(end) : -EAGAIN;
        assert(moved <= (int)len);
        if (moved >= 0) {
            sim_dgram_take(sim, end, data);
        }
        return moved;
    }
    if (waiting > 0) {
        uint32_t moved = len < waiting ? len : waiting;
        memcpy(data, end->queue + end->begin, moved);
        sim_queue_take(sim, end, moved);
        return moved;
    }
    if (end->error != 0) {
        int error = end->error;
        end->error = 0;
        return error;
    }
    return end->eof || end->dead ? 0 : -EAGAIN;
}

const char *sim_peek(const struct sim *sim, int fd, uint32_t *ret_len)
{
    const struct sim_end *end = sim_end(sim, fd);
    *ret_len = sim_waiting(end);
    return *ret_len == 0 ? "" : end->queue + end->begin;
}

void sim_skip(struct sim *sim, int fd, uint32_t len)
{
    sim_queue_take(sim, sim_end(sim, fd), len);
}

uint32_t sim_pending(const struct sim *sim, int fd)
{
    return sim_waiting(sim_end(sim, fd));
}

uint32_t sim_room(const struct sim *sim, int fd)
{
    return sim_space(sim, sim_end(sim, fd));
}

bool sim_at_end(const struct sim *sim, int fd)
{
    const struct sim_end *end = sim_end(sim, fd);
    return sim_waiting(end) == 0 && (end->eof || end->dead);
}

void sim_eof(struct sim *sim, int fd)
{
    (void)sim_shutdown_end(sim, fd, SHUT_WR); /* of a broken stream: there is nothing to end */
}

void sim_reset(struct sim *sim, int fd)
{
    struct sim_end *end = sim_end(sim, fd);
    assert(end->kind == SIM_STREAM);
    struct sim_end *peer = sim_peer(sim, end);
    end->dead = true;
    end->peer = -1;
    touch_end(sim, end);
    if (peer != NULL) {
        end_fail(sim, peer);
    }
}

bool sim_is_dgram(const struct sim *sim, int fd)
{
    return sim_end(sim, fd)->dgram;
}

void sim_refuse(struct sim *sim, int fd)
{
    struct sim_end *peer = sim_peer(sim, sim_end(sim, fd));
    assert(sim_end(sim, fd)->dgram);
    if (peer != NULL) {
        peer->error = -ECONNREFUSED;
        touch_end(sim, peer);
    }
}

static void listener_close(struct sim *sim, int fd)
{
    struct sim_listener *listener = listener_of(sim, fd);
    while (listener->count > 0) {
        int waiting = sim_accept(sim, fd);
        sim_reset(sim, waiting);
        sim_release(sim, waiting);
    }
    listener->fd = -1;
}

void sim_close(struct sim *sim, int fd)
{
    struct sim_end *end = sim_end(sim, fd);
    struct sim_end *peer = sim_peer(sim, end);
    if (end->kind == SIM_LISTENER) {
        listener_close(sim, fd);
    } else if (end->kind == SIM_FILE) {
        sim_file_drop(sim, end);
    } else if (peer != NULL && end->dgram) {
        peer->peer = -1; /* it will never know */
    } else if (peer != NULL && sim_waiting(end) > 0) {
        end_fail(sim, peer);
    } else if (peer != NULL) {
        peer->eof = true;
        peer->orphan = true;
        peer->peer = -1;
        touch_end(sim, peer);
    }
    sim_release(sim, fd);
    sim->activity++;
}

/* ---- exact control ---- */

void sim_set_read_max(struct sim *sim, int fd, uint32_t len)
{
    sim_end(sim, fd)->read_max = len;
}

void sim_set_write_max(struct sim *sim, int fd, uint32_t len)
{
    sim_end(sim, fd)->write_max = len;
}

void sim_set_cuts(struct sim *sim, int fd, const uint64_t *cuts, uint32_t count)
{
    struct sim_end *end = sim_end(sim, fd);
    end->cuts = cuts;
    end->cut_count = count;
    end->cut_next = 0;
}

void sim_set_queue(struct sim *sim, int fd, uint32_t len)
{
    struct sim_end *end = sim_end(sim, fd);
    assert(len > 0);
    assert(len >= sim_waiting(end));
    assert(len <= sim->options.queue_bytes);
    end->room_max = len;
    struct sim_end *peer = sim_peer(sim, end);
    if (peer != NULL) {
        touch_end(sim, peer);
    }
}
