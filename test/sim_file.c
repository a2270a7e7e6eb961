/*
 * sim_file - see test/loop_sim.h: the files of the simulation, and what goes wrong with them.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim_priv.h"

enum { FILE_ROOM_MIN = 65536 };

void sim_set_files(struct sim *sim, const struct sim_files *files)
{
    assert(files->open_error <= 0);
    assert(files->read_error <= 0);
    sim->files = *files;
    sim->activity++;
    for (uint32_t fd = 0; fd < sim->options.fd_count; fd++) {
        const struct sim_end *end = &sim->ends[fd];
        if (end->kind == SIM_FILE && end->rx != NULL) {
            sim_touch(sim, end->rx);
        }
        if (end->kind == SIM_FILE && end->tx != NULL) {
            sim_touch(sim, end->tx);
        }
    }
}

uint64_t sim_file_bytes(const struct sim *sim)
{
    return sim->file_bytes;
}

uint64_t sim_file_moves(const struct sim *sim)
{
    return sim->file_moves;
}

static struct sim_end *file_of(const struct sim *sim, int fd)
{
    struct sim_end *end = sim_end(sim, fd);
    assert(end->kind == SIM_FILE);
    return end;
}

/* Makes the file so long; what was not written is zeros, as in a file with holes. */
static void file_grow(struct sim *sim, struct sim_end *end, uint64_t len)
{
    if (len > end->file_room) {
        uint64_t room = end->file_room == 0 ? FILE_ROOM_MIN : end->file_room;
        while (room < len) {
            room *= 2;
        }
        end->file = realloc(end->file, room);
        assert(end->file != NULL);
        end->file_room = room;
    }
    memset(end->file + end->file_len, 0, len - end->file_len);
    sim->file_bytes += len - end->file_len;
    end->file_len = len;
}

int sim_file_write(struct sim *sim, int fd, const char *data, uint32_t len, uint64_t offset)
{
    struct sim_end *end = file_of(sim, fd);
    sim->activity++;
    sim->file_moves++;
    if (offset + len > end->file_len && sim->files.space_max > 0) {
        uint64_t used = sim->file_bytes;
        uint64_t left = used < sim->files.space_max ? sim->files.space_max - used : 0;
        uint64_t end_max = end->file_len + left;
        if (end_max <= offset) {
            return -ENOSPC;
        }
        len = end_max - offset < len ? (uint32_t)(end_max - offset) : len;
    }
    if (offset + len > end->file_len) {
        file_grow(sim, end, offset + len);
    }
    memcpy(end->file + offset, data, len);
    return (int)len;
}

int sim_file_read(struct sim *sim, int fd, char *data, uint32_t len, uint64_t offset)
{
    const struct sim_end *end = file_of(sim, fd);
    sim->activity++;
    sim->file_moves++;
    if (sim->files.read_error != 0) {
        return sim->files.read_error;
    }
    if (offset >= end->file_len) {
        return 0;
    }
    uint64_t there = end->file_len - offset;
    len = there < len ? (uint32_t)there : len;
    memcpy(data, end->file + offset, len);
    return (int)len;
}

void sim_file_drop(struct sim *sim, struct sim_end *end)
{
    assert(sim->file_bytes >= end->file_len);
    sim->file_bytes -= end->file_len;
    free(end->file);
    end->file = NULL;
    end->file_len = 0;
    end->file_room = 0;
}
