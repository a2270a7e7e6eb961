/*
 * loop_sim - see test/loop_sim.h: ops, their order, and the clock.
 *
 * An op is looked at when it was submitted and when something it may wait for has changed
 * (sim_touch). A pass takes all such ops in an order that the seed decides; each completes, moves a
 * part of its bytes, is put off, or goes back to waiting at its end. A poll makes passes until
 * something is ready or nothing is left to look at; then, if it may wait, it moves the clock.
 */
#include "test/loop_sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim_priv.h"

/* Bits of op->flags. */
enum {
    SIM_RUNNABLE = 1,  /* in sim->runnable */
    SIM_CANCELLED = 2, /* and not yet decided */
    SIM_STARVED = 4,   /* in loop->starved */
};

static const uint64_t FNV_PRIME = UINT64_C(0x100000001b3);

static struct sim *sim_of(const struct loop *loop)
{
    return loop->backend_data;
}

void sim_touch(struct sim *sim, struct op *op)
{
    if ((op->flags & (SIM_RUNNABLE | SIM_STARVED)) != 0) {
        return;
    }
    assert(sim->runnable_count < sim->runnable_max);
    op->flags |= SIM_RUNNABLE;
    sim->runnable[sim->runnable_count++] = op;
}

static void trace_add(struct sim *sim, uint64_t word)
{
    sim->trace = (sim->trace ^ word) * FNV_PRIME;
}

/* It was to be looked at again (a part of it was sent), and now a cancel ends it. */
static void look_no_more(struct sim *sim, struct op *op)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sim->runnable_count; i++) {
        if (sim->runnable[i] != op) {
            sim->runnable[kept++] = sim->runnable[i];
        }
    }
    sim->runnable_count = kept;
    op->flags &= (uint8_t)~SIM_RUNNABLE;
}

/* Where an op in flight at this end is kept. */
static struct op **place_of(struct sim_end *end, const struct op *op)
{
    return op->kind == OP_SEND || op->kind == OP_WRITE_AT ? &end->tx : &end->rx;
}

static void complete(struct sim *sim, struct op *op, int result)
{
    if ((op->flags & SIM_RUNNABLE) != 0) {
        look_no_more(sim, op);
    }
    if (op->kind != OP_WAKE) {
        struct op **place = place_of(sim_end(sim, op->fd), op);
        assert(*place == op);
        *place = NULL;
    }
    trace_add(sim, (uint64_t)(uint32_t)op->fd << 8 | op->kind);
    trace_add(sim, (uint64_t)(uint32_t)result);
    trace_add(sim, (uint64_t)sim->now_ms);
    sim->activity++;
    loop_ready(sim->loop, op, result);
}

/* ---- one op, one look ---- */

/* How much of `len` bytes is moved at once. */
static uint32_t cut_short(struct sim *sim, uint32_t len, uint32_t bound, uint32_t chance)
{
    if (bound > 0 && bound < len) {
        len = bound;
    }
    if (len > 1 && sim_chance(sim, chance, 1000)) {
        len = 1 + (uint32_t)(sim_random(sim) % (len - 1));
    }
    return len;
}

/* The receive's share of what waits; none of it crosses a cut. */
static uint32_t recv_len(struct sim *sim, struct sim_end *end)
{
    uint32_t len = sim_waiting(end) < BUF_SIZE ? sim_waiting(end) : BUF_SIZE;
    len = cut_short(sim, len, end->read_max, sim->options.short_read);
    while (end->cut_next < end->cut_count && end->cuts[end->cut_next] <= end->read_total) {
        end->cut_next++;
    }
    if (end->cut_next < end->cut_count && end->cuts[end->cut_next] - end->read_total < len) {
        len = (uint32_t)(end->cuts[end->cut_next] - end->read_total);
    }
    return len;
}

static void recv_bytes(struct sim *sim, struct sim_end *end, struct op *op)
{
    if (end->dgram && sim_dgram_len(end) == 0) {
        sim_dgram_take(sim, end, NULL);
        complete(sim, op, 0);
        return;
    }
    struct loop *loop = sim->loop;
    struct buf *buf = buf_get(&loop->bufs);
    if (buf == NULL) {
        loop->stats.starved++;
        op->flags |= SIM_STARVED;
        list_push_back(&loop->starved, &op->node);
        return;
    }
    uint32_t len = end->dgram ? (uint32_t)sim_dgram_len(end) : recv_len(sim, end);
    assert(len <= BUF_SIZE);
    if (end->dgram) {
        sim_dgram_take(sim, end, buf_bytes(buf));
    } else {
        memcpy(buf_bytes(buf), end->queue + end->begin, len);
        sim_queue_take(sim, end, len);
    }
    buf->end += len;
    op->buf = buf;
    complete(sim, op, (int)len);
}

static void look_recv(struct sim *sim, struct op *op)
{
    struct sim_end *end = sim_end(sim, op->fd);
    if (end->kind != SIM_STREAM) {
        complete(sim, op, -ENOTCONN);
    } else if (sim_waiting(end) > 0 && !end->read_closed) {
        recv_bytes(sim, end, op);
    } else if (end->error != 0) {
        int error = end->error;
        end->error = 0;
        complete(sim, op, error);
    } else if (end->eof || end->dead || end->read_closed) {
        complete(sim, op, 0);
    }
}

static void look_send(struct sim *sim, struct op *op)
{
    struct sim_end *end = sim_end(sim, op->fd);
    int error = end->kind == SIM_STREAM ? sim_send_error(end) : -ENOTCONN;
    if (error != 0) {
        complete(sim, op, error);
        return;
    }
    if (end->dgram) {
        sim_dgram_put(sim, end, op->data, op->len);
        complete(sim, op, (int)op->len);
        return;
    }
    if (end->orphan) {
        complete(sim, op, (int)op->len);
        sim_break(sim, end);
        return;
    }
    uint32_t rest = op->len - op->sent;
    uint32_t space = sim_space(sim, end);
    if (space == 0) {
        return;
    }
    uint32_t len = rest < space ? rest : space;
    len = cut_short(sim, len, end->write_max, sim->options.short_write);
    sim_queue_put(sim, sim_peer(sim, end), (const char *)op->data + op->sent, len);
    op->sent += len;
    if (op->sent == op->len) {
        complete(sim, op, (int)op->len);
    } else if (len < space) {
        sim_touch(sim, op);
    }
}

static void look_accept(struct sim *sim, struct op *op)
{
    int result = sim_accept(sim, op->fd);
    if (result != -EAGAIN) {
        complete(sim, op, result);
    }
}

static int connect_outcome(struct sim *sim, struct sim_listener *listener, int fd)
{
    switch (listener->how) {
    case SIM_CONNECT_REFUSED:
        return -ECONNREFUSED;
    case SIM_CONNECT_TIMEOUT:
        return -ETIMEDOUT;
    case SIM_CONNECT_OK:
        break;
    case SIM_CONNECT_SILENT:
        return -EAGAIN;
    }
    return sim_establish(sim, listener, fd);
}

static void look_connect(struct sim *sim, struct op *op)
{
    struct sim_end *end = sim_end(sim, op->fd);
    struct sim_listener *listener = sim_find_listener(sim, op->data, op->len);
    if (end->kind != SIM_SOCKET) {
        complete(sim, op, -EISCONN);
        return;
    }
    if (listener == NULL) {
        complete(sim, op, -ECONNREFUSED);
        return;
    }
    if (end->connect_due_ms == 0) {
        end->connect_due_ms = sim->now_ms + listener->delay_ms;
    }
    int result = -EAGAIN;
    if (end->connect_due_ms <= sim->now_ms) {
        result = connect_outcome(sim, listener, op->fd);
    }
    if (result != -EAGAIN) {
        complete(sim, op, result);
    } else if (listener->how != SIM_CONNECT_SILENT && !list_is_linked(&end->connecting)) {
        if (end->connect_due_ms <= sim->now_ms) {
            end->connect_due_ms = sim->now_ms + 1000; /* backlog full: knock again */
        }
        list_push_back(&sim->connecting, &end->connecting);
    }
}

/* A part of a read or write; the rest is looked at again, as a short one of the kernel is. */
static void look_file(struct sim *sim, struct op *op)
{
    const struct sim_options *options = &sim->options;
    bool writes = op->kind == OP_WRITE_AT;
    if (sim->files.is_stuck) {
        return;
    }
    uint32_t len =
        cut_short(sim, op->len - op->sent, 0, writes ? options->short_write : options->short_read);
    uint64_t offset = op->offset + op->sent;
    int result = writes
                     ? sim_file_write(sim, op->fd, (const char *)op->data + op->sent, len, offset)
                     : sim_file_read(sim, op->fd, (char *)op->into + op->sent, len, offset);
    if (result > 0) {
        op->sent += (uint32_t)result;
    }
    if (result < 0) {
        complete(sim, op, result);
    } else if (op->sent == op->len || result == 0) {
        complete(sim, op, (int)op->sent);
    } else {
        sim_touch(sim, op);
    }
}

static void look_kind(struct sim *sim, struct op *op)
{
    switch ((enum op_kind)op->kind) {
    case OP_RECV:
        look_recv(sim, op);
        break;
    case OP_SEND:
        look_send(sim, op);
        break;
    case OP_ACCEPT:
        look_accept(sim, op);
        break;
    case OP_CONNECT:
        look_connect(sim, op);
        break;
    case OP_READ_AT:
    case OP_WRITE_AT:
        look_file(sim, op);
        break;
    case OP_WAKE:
        complete(sim, op, 0);
        break;
    case OP_POST:
    case OP_NONE:
        assert(!"an op for the backend");
    }
}

static void look_cancelled(struct sim *sim, struct op *op)
{
    op->flags &= (uint8_t)~SIM_CANCELLED;
    if (sim_chance(sim, sim->options.cancel_loses, 1000)) {
        look_kind(sim, op);
    }
    if (op->state != OP_STARTED) {
        return;
    }
    if ((op->flags & SIM_STARVED) != 0) {
        op->flags &= (uint8_t)~SIM_STARVED;
        list_remove(&op->node);
    }
    if (op->kind == OP_CONNECT) {
        struct sim_end *end = sim_end(sim, op->fd);
        list_remove(&end->connecting);
        end->connect_due_ms = 0;
    }
    complete(sim, op, -ECANCELED);
}

/* The connection breaks under the op, which will be looked at again. */
static bool break_by_chance(struct sim *sim, struct op *op)
{
    if (op->kind != OP_RECV && op->kind != OP_SEND) {
        return false;
    }
    struct sim_end *end = sim_end(sim, op->fd);
    if (end->peer < 0 || end->dgram || !sim_chance(sim, sim->options.reset_ppm, 1000000)) {
        return false;
    }
    sim_break(sim, end);
    return true;
}

static void look(struct sim *sim, struct op *op)
{
    if (break_by_chance(sim, op)) {
        return;
    }
    if ((op->flags & SIM_CANCELLED) != 0) {
        look_cancelled(sim, op);
    } else {
        look_kind(sim, op);
    }
}

/* ---- the turn ---- */

static void sim_pass(struct sim *sim)
{
    uint32_t count = sim->runnable_count;
    struct op **pass = sim->runnable;
    sim->runnable = sim->pass;
    sim->pass = pass;
    sim->runnable_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = i + (uint32_t)(sim_random(sim) % (count - i));
        struct op *op = pass[j];
        pass[j] = pass[i];
        op->flags &= (uint8_t)~SIM_RUNNABLE;
        if (sim_chance(sim, sim->options.delay, 1000)) {
            sim_touch(sim, op);
        } else {
            look(sim, op);
        }
    }
}

/* Connects whose time has come. Returns when the next one is due, -1 for never. */
static int64_t connecting_run(struct sim *sim)
{
    int64_t next_ms = -1;
    struct list_node *node = sim->connecting.next;
    while (node != &sim->connecting) {
        struct sim_end *end = list_entry(node, struct sim_end, connecting);
        node = node->next;
        if (end->connect_due_ms <= sim->now_ms) {
            list_remove(&end->connecting);
            sim_touch(sim, end->rx);
        } else if (next_ms < 0 || end->connect_due_ms < next_ms) {
            next_ms = end->connect_due_ms;
        }
    }
    return next_ms;
}

static void starved_run(struct sim *sim)
{
    struct loop *loop = sim->loop;
    for (uint32_t i = 0; i < loop->bufs.free_count && !list_is_empty(&loop->starved); i++) {
        struct op *op = list_entry(list_pop_front(&loop->starved), struct op, node);
        op->flags &= (uint8_t)~SIM_STARVED;
        sim_touch(sim, op);
    }
}

/* Passes until something is ready; with `patient` false one will do. */
static void sim_passes(struct sim *sim, bool patient)
{
    starved_run(sim);
    do {
        sim_pass(sim);
    } while (patient && sim->runnable_count > 0 && list_is_empty(&sim->loop->ready));
}

static int sim_poll(struct loop *loop, int64_t wait_ms)
{
    struct sim *sim = sim_of(loop);
    loop->stats.enters++;
    int64_t due_ms = connecting_run(sim);
    sim_passes(sim, wait_ms != 0);
    if (wait_ms == 0 || !list_is_empty(&loop->ready)) {
        return 0;
    }
    if (due_ms >= 0 && (wait_ms < 0 || due_ms - sim->now_ms < wait_ms)) {
        wait_ms = due_ms - sim->now_ms;
    }
    if (wait_ms > 0) {
        sim->now_ms += wait_ms;
        (void)connecting_run(sim); /* the next poll asks again */
        sim_passes(sim, true);
    }
    return 0;
}

bool sim_is_quiet(const struct sim *sim)
{
    return list_is_empty(&sim->loop->ready) && sim->runnable_count == 0;
}

int sim_run(struct sim *sim, struct loop *loop, sim_step *step, void *arg, uint64_t turns_max)
{
    assert(sim->loop == loop);
    for (uint64_t turn = 0; turn < turns_max; turn++) {
        uint64_t before = sim->activity;
        int result = loop_run_once(loop, 0);
        if (result < 0) {
            return result;
        }
        if (step(arg)) {
            return 0;
        }
        if (sim->activity != before || !sim_is_quiet(sim)) {
            continue;
        }
        if (loop->wheel.count == 0 && list_is_empty(&sim->connecting)) {
            return -EDEADLK;
        }
        result = loop_run_once(loop, -1);
        if (result < 0) {
            return result;
        }
    }
    return -ETIMEDOUT;
}

/* ---- the backend ---- */

static void sim_submit(struct loop *loop, struct op *op)
{
    struct sim *sim = sim_of(loop);
    if (op->kind == OP_WAKE) {
        return; /* sim_wake() touches it */
    }
    struct op **place = place_of(sim_end(sim, op->fd), op);
    assert(*place == NULL);
    *place = op;
    sim_touch(sim, op);
}

static void sim_cancel(struct loop *loop, struct op *op)
{
    struct sim *sim = sim_of(loop);
    op->flags |= SIM_CANCELLED;
    if ((op->flags & SIM_STARVED) != 0) {
        op->flags &= (uint8_t)~SIM_STARVED;
        list_remove(&op->node);
    }
    sim_touch(sim, op);
}

static void sim_wake(struct loop *loop)
{
    if (loop->wake_op.state == OP_STARTED) {
        sim_touch(sim_of(loop), &loop->wake_op);
    }
}

static void sim_buf_release(struct loop *loop, struct buf *buf)
{
    buf_put(&loop->bufs, buf);
}

static int64_t sim_clock_ms(struct loop *loop)
{
    return sim_of(loop)->now_ms;
}

static int sim_socket(struct loop *loop, int family, int type)
{
    (void)family; /* addresses are bytes here */
    struct sim *sim = sim_of(loop);
    int fd = sim_open(sim, SIM_SOCKET);
    if (fd >= 0) {
        sim_end(sim, fd)->dgram = type == SOCK_DGRAM;
    }
    return fd;
}

static int sim_file(struct loop *loop, const char *dir)
{
    (void)dir;
    struct sim *sim = sim_of(loop);
    return sim->files.open_error != 0 ? sim->files.open_error : sim_open(sim, SIM_FILE);
}

static int sim_shutdown(struct loop *loop, int fd, int how)
{
    return sim_shutdown_end(sim_of(loop), fd, how);
}

static void sim_close_fd(struct loop *loop, int fd)
{
    sim_close(sim_of(loop), fd);
}

static int sim_init(struct loop *loop, const struct loop_limits *limits, void *arg)
{
    struct sim *sim = arg;
    assert(sim->loop == NULL);
    assert(limits->fd_count >= sim->options.fd_count);
    sim->runnable_max = limits->op_count + 1; /* and the wake op */
    sim->runnable = calloc(sim->runnable_max, sizeof(struct op *));
    sim->pass = calloc(sim->runnable_max, sizeof(struct op *));
    assert(sim->runnable != NULL);
    assert(sim->pass != NULL);
    sim->runnable_count = 0;
    sim->loop = loop;
    loop->backend_data = sim;
    return 0;
}

static void sim_fini(struct loop *loop)
{
    struct sim *sim = sim_of(loop);
    free(sim->runnable);
    free(sim->pass);
    sim->runnable = NULL;
    sim->pass = NULL;
    sim->loop = NULL;
}

const struct loop_backend loop_sim = {
    .name = "sim",
    .init = sim_init,
    .fini = sim_fini,
    .submit = sim_submit,
    .cancel = sim_cancel,
    .poll = sim_poll,
    .buf_release = sim_buf_release,
    .clock_ms = sim_clock_ms,
    .socket = sim_socket,
    .file = sim_file,
    .shutdown = sim_shutdown,
    .close = sim_close_fd,
    .wake = sim_wake,
};
