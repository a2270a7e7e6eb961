/*
 * sim_priv - what the parts of the simulation share: sim_net.c (ends, queues, listeners), sim_file.c
 * (files) and loop_sim.c (ops, order, clock). Nobody else includes it.
 */
#ifndef TEST_SIM_PRIV_H
#define TEST_SIM_PRIV_H

#include "net/loop_backend.h"
#include "test/loop_sim.h"

enum {
    SIM_FD_FIRST = 3, /* nobody shall get away with 0 as "no descriptor" */
    SIM_BACKLOG_MAX = 4096,
    SIM_LISTENERS_MAX = 16,
};

enum sim_kind { SIM_FREE, SIM_SOCKET, SIM_LISTENER, SIM_STREAM, SIM_FILE };

struct sim_end {
    uint8_t kind;
    bool dgram;        /* the queue holds messages, each with its length in front */
    bool eof;          /* the other end sends no more */
    bool write_closed; /* this end sends no more */
    bool read_closed;
    bool orphan;  /* the other end was closed: what we send comes back as a reset */
    bool dead;    /* reset, and told */
    int error;    /* to be told once, negative */
    int peer;     /* the other end, -1 when it is gone */
    int listener; /* index, of a listener */
    char *queue;  /* bytes that wait at this end; stays with the descriptor when it is closed */
    uint32_t begin;
    uint32_t end;
    uint32_t room_max; /* bytes that may wait */
    uint32_t read_max;
    uint32_t write_max;
    uint32_t cut_count;
    uint32_t cut_next;
    const uint64_t *cuts;
    uint64_t read_total;
    char *file; /* bytes of a file: `file_len` of `file_room` */
    uint64_t file_len;
    uint64_t file_room;
    struct op *rx; /* in flight */
    struct op *tx;
    int64_t connect_due_ms; /* of a connect that takes its time; 0: not begun */
    struct list_node connecting;
};

struct sim_listener {
    int fd; /* -1: free */
    enum sim_connect how;
    int64_t delay_ms;
    socklen_t len;
    char addr[sizeof(struct sockaddr_storage)];
    uint32_t first; /* ring of ends that wait to be accepted */
    uint32_t count;
    int backlog[SIM_BACKLOG_MAX];
};

struct sim {
    struct sim_options options;
    uint64_t random;
    uint64_t trace;
    uint64_t activity;
    int64_t now_ms;
    struct sim_end *ends;
    int *free_fds; /* a stack: the number closed last is used next */
    uint32_t free_count;
    struct sim_listener listeners[SIM_LISTENERS_MAX];
    struct list_node connecting; /* ends whose connect is due later */
    struct sim_files files;
    uint64_t file_bytes; /* of all files */
    uint64_t file_moves;
    struct loop *loop;
    struct op **runnable; /* ops to look at in the next pass */
    struct op **pass;     /* ops of this pass */
    uint32_t runnable_count;
    uint32_t runnable_max;
};

/* True with this chance, in `of`. */
bool sim_chance(struct sim *sim, uint32_t chance, uint32_t of);

struct sim_end *sim_end(const struct sim *sim, int fd);
int sim_open(struct sim *sim, enum sim_kind kind);

/* How many bytes wait at this end. */
static inline uint32_t sim_waiting(const struct sim_end *end)
{
    return end->end - end->begin;
}

/* The other end, NULL when it is gone. */
struct sim_end *sim_peer(const struct sim *sim, const struct sim_end *end);

/* Bytes the other end can still take. */
uint32_t sim_space(const struct sim *sim, const struct sim_end *end);

void sim_queue_put(struct sim *sim, struct sim_end *end, const char *data, uint32_t len);
void sim_queue_take(struct sim *sim, struct sim_end *end, uint32_t len);

/* Datagrams: the length of the first that waits, -1 when there is none; taking it; leaving one at the
 * other end, where it is lost when there is no room, or nobody. */
int sim_dgram_len(const struct sim_end *end);
void sim_dgram_take(struct sim *sim, struct sim_end *end, void *data);
void sim_dgram_put(struct sim *sim, struct sim_end *end, const void *data, uint32_t len);

/* Both ends find a reset. */
void sim_break(struct sim *sim, struct sim_end *end);

/* An error or the end that a send meets: 0 when it can go on. */
int sim_send_error(struct sim_end *end);

struct sim_listener *sim_find_listener(struct sim *sim, const void *addr, socklen_t len);

/* Makes the socket `fd` one end of a stream whose other end waits to be accepted. 0, -EAGAIN,
 * -EMFILE. */
int sim_establish(struct sim *sim, struct sim_listener *listener, int fd);

int sim_shutdown_end(struct sim *sim, int fd, int how);

/* Writes at most `len` bytes, fewer at the bound of space; reads as many as there are, 0 at the end.
 * Bytes, or -errno. */
int sim_file_write(struct sim *sim, int fd, const char *data, uint32_t len, uint64_t offset);
int sim_file_read(struct sim *sim, int fd, char *data, uint32_t len, uint64_t offset);

/* The file is closed: its bytes are gone. */
void sim_file_drop(struct sim *sim, struct sim_end *end);

/* Something changed that the op in flight at this end may wait for. */
void sim_touch(struct sim *sim, struct op *op);

#endif
