/*
 * test_loop_result - the contract of net/loop.h, each clause on each backend: the end of a
 * descriptor, and results that are the same numbers everywhere.
 */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/unit/loop_clause.h"

/* ---- clause 4: the end of a descriptor ---- */

static void shutdown_ends_a_waiting_recv(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx;
    probe_init(&rx, world, ours);
    probe_recv(&rx, RECV_LATER);
    settle(world);
    assert_int_equal(loop_shutdown(world->loop, ours, SHUT_RDWR), 0);
    probe_expect(&rx, 0);
    loop_close(world->loop, ours);
    char byte;
    settle(world);
    assert_int_equal(far_read(world, far, &byte, 1), 0);
    far_close(world, far);
}

/* The number of a closed descriptor is used again at once, while its connection lives on
 * elsewhere: what happens there is not the new one's business. */
static void reused_number_hears_nothing_old(struct world *world)
{
    int old, old_far, new, new_far;
    world_pair(world, &old, &old_far);
    if (world->sim == NULL) {
        world_pair(world, &new, &new_far); /* gets the number below */
    }
    struct probe rx;
    probe_init(&rx, world, old);
    probe_recv(&rx, RECV_LATER);
    settle(world);
    loop_cancel(world->loop, &rx.op);
    probe_expect(&rx, -ECANCELED);
    int copy = world->sim == NULL ? fcntl(old, F_DUPFD_CLOEXEC, 900) : -1;
    loop_close(world->loop, old);
    if (world->sim == NULL) {
        assert_int_equal(dup3(new, old, O_CLOEXEC), old);
        close(new);
        new = old;
    } else {
        world_pair(world, &new, &new_far);
        assert_true(new == old || new_far == old);
    }
    probe_init(&rx, world, new);
    probe_recv(&rx, RECV_LATER);
    settle(world);
    far_write_all(world, old_far, "for the old one", 15);
    settle(world);
    assert_int_equal(rx.calls, 0);
    far_write_all(world, new_far, "new", 3);
    probe_expect(&rx, 3);
    probe_release(&rx);
    if (copy >= 0) {
        close(copy);
    }
    loop_close(world->loop, new);
    far_close(world, old_far);
    far_close(world, new_far);
}

/* Likewise, the reset of the old connection is no answer to the connect of the new one. */
static void reused_number_connects_for_itself(struct world *world)
{
    struct sockaddr_in addr;
    world_addr_silent(world, &addr);
    int old, old_far;
    world_pair(world, &old, &old_far);
    int fd = world->sim == NULL ? loop_socket(world->loop, AF_INET) : -1;
    struct probe rx, connect;
    probe_init(&rx, world, old);
    probe_recv(&rx, RECV_LATER);
    settle(world);
    loop_cancel(world->loop, &rx.op);
    probe_expect(&rx, -ECANCELED);
    int copy = world->sim == NULL ? fcntl(old, F_DUPFD_CLOEXEC, 900) : -1;
    loop_close(world->loop, old);
    if (world->sim == NULL) {
        assert_int_equal(dup3(fd, old, O_CLOEXEC), old);
        close(fd);
        fd = old;
    } else {
        fd = loop_socket(world->loop, AF_INET);
        assert_int_equal(fd, old);
    }
    probe_init(&connect, world, fd);
    probe_connect(&connect, &addr);
    settle(world);
    far_reset(world, old_far);
    settle(world);
    assert_int_equal(connect.calls, 0);
    loop_cancel(world->loop, &connect.op);
    probe_expect(&connect, -ECANCELED);
    loop_close(world->loop, fd);
    if (copy >= 0) {
        close(copy);
    }
}

/* ---- clause 5: results ---- */

static void fill_pattern(char *data, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        data[i] = (char)(i * 31 + (i >> 8) * 7);
    }
}

static void short_sends_continue(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    world_shrink(world, ours, far);
    uint32_t len = 8 << 20;
    char *data = malloc(len);
    char *got = malloc(len);
    fill_pattern(data, len);
    struct probe tx;
    probe_init(&tx, world, ours);
    probe_send(&tx, data, len);
    uint32_t total = 0;
    int64_t n = 0;
    for (int turn = 0; turn < 100000 && total < len; turn++) {
        world_turns(world, 1, n < 0 ? 5 : 0);
        n = far_read(world, far, got + total, 50000);
        assert_true(n > 0 || n == -EAGAIN);
        total += n > 0 ? (uint32_t)n : 0;
        assert_true(tx.calls == 0 || total > len / 2); /* it did wait for the reader */
    }
    assert_int_equal(total, len);
    assert_true(world_until(world, &tx.calls, 1));
    assert_int_equal(tx.result, (int)len);
    assert_memory_equal(data, got, len);
    loop_close(world->loop, ours);
    far_close(world, far);
    free(data);
    free(got);
}

static void end_of_stream_is_zero(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx, tx;
    probe_init(&rx, world, ours);
    probe_init(&tx, world, ours);
    probe_recv(&rx, RECV_LATER);
    settle(world);
    far_write_all(world, far, "last", 4);
    far_eof(world, far);
    probe_expect(&rx, 4);
    probe_release(&rx);
    for (int i = 0; i < 3; i++) {
        probe_recv(&rx, i % 2 == 0 ? RECV_LIKELY : RECV_LATER);
        probe_expect(&rx, 0);
        assert_null(rx.buf);
    }
    probe_send(&tx, "half open", 9); /* the other direction is still there */
    probe_expect(&tx, 9);
    settle(world);
    char got[16];
    assert_int_equal(far_read(world, far, got, sizeof(got)), 9);
    loop_close(world->loop, ours);
    far_close(world, far);
}

/* Far more than a buffer, then the end: every byte once and in order, with each hint. */
static void stream_is_whole(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    uint32_t len = 300000;
    char *data = malloc(len);
    fill_pattern(data, len);
    struct probe rx;
    probe_init(&rx, world, ours);
    uint32_t written = 0;
    uint32_t total = 0;
    probe_recv(&rx, RECV_LIKELY);
    for (int turn = 0; turn < 100000; turn++) {
        if (written < len) {
            int64_t n = far_write(world, far, data + written, len - written);
            assert_true(n >= 0);
            written += (uint32_t)n;
            if (written == len) {
                far_eof(world, far);
            }
        }
        world_turns(world, 1, written == len ? 10 : 0);
        if (!op_is_idle(&rx.op)) {
            continue;
        }
        assert_true(rx.result >= 0);
        if (rx.result == 0) {
            break;
        }
        assert_true(total + buf_len(rx.buf) <= len);
        assert_memory_equal(buf_bytes(rx.buf), data + total, buf_len(rx.buf));
        total += buf_len(rx.buf);
        probe_release(&rx);
        probe_recv(&rx, turn % 2 == 0 ? RECV_LIKELY : RECV_LATER);
    }
    assert_int_equal(rx.result, 0);
    assert_int_equal(total, len);
    loop_close(world->loop, ours);
    far_close(world, far);
    free(data);
}

static void reset_is_told(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    struct probe rx, tx;
    probe_init(&rx, world, ours);
    probe_init(&tx, world, ours);
    probe_recv(&rx, RECV_LATER);
    settle(world);
    far_reset(world, far);
    probe_expect(&rx, -ECONNRESET);
    assert_null(rx.buf);
    probe_send(&tx, "to nobody", 9); /* and no signal */
    probe_expect(&tx, -EPIPE);
    loop_close(world->loop, ours);
}

static void reset_ends_a_waiting_send(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    world_shrink(world, ours, far);
    uint32_t len = 8 << 20;
    char *data = calloc(1, len);
    struct probe tx;
    probe_init(&tx, world, ours);
    probe_send(&tx, data, len);
    settle(world);
    assert_int_equal(tx.calls, 0);
    far_reset(world, far);
    assert_true(world_until(world, &tx.calls, 1));
    assert_true(tx.result == -ECONNRESET || tx.result == -EPIPE);
    loop_close(world->loop, ours);
    free(data);
}

static void connect_refused_is_told(struct world *world)
{
    struct sockaddr_in addr;
    world_addr_refused(world, &addr);
    struct probe connect;
    probe_init(&connect, world, loop_socket(world->loop, AF_INET));
    probe_connect(&connect, &addr);
    probe_expect(&connect, -ECONNREFUSED);
    loop_close(world->loop, connect.fd);
}

static void connect_and_accept_meet(struct world *world)
{
    world_listen(world);
    struct probe accept, connect, rx, tx;
    probe_init(&accept, world, world->listener);
    probe_init(&connect, world, loop_socket(world->loop, AF_INET));
    loop_accept(world->loop, &accept.op, world->listener, on_probe);
    settle(world);
    probe_connect(&connect, &world->addr);
    probe_expect(&connect, 0);
    if (accept.calls == 0) {
        assert_true(world_until(world, &accept.calls, 1));
    }
    int accepted = accept.result;
    assert_true(accepted >= 0);
    probe_init(&rx, world, accepted);
    probe_init(&tx, world, connect.fd);
    probe_recv(&rx, RECV_LATER);
    probe_send(&tx, "EHLO", 4);
    probe_expect(&rx, 4);
    probe_release(&rx);
    loop_close(world->loop, connect.fd);
    loop_close(world->loop, accepted);
}

static void new_sockets_have_their_options(struct world *world)
{
    world_listen(world);
    int far = world_dial(world);
    struct probe accept;
    probe_init(&accept, world, world->listener);
    loop_accept(world->loop, &accept.op, world->listener, on_probe);
    assert_true(world_until(world, &accept.calls, 1));
    int fds[] = {accept.result, loop_socket(world->loop, AF_INET)};
    for (int i = 0; i < 2; i++) {
        int on = 0;
        socklen_t len = sizeof(on);
        assert_true(fds[i] >= 0);
        assert_int_equal(getsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
        assert_int_not_equal(on, 0);
        assert_int_not_equal(fcntl(fds[i], F_GETFL) & O_NONBLOCK, 0);
        assert_int_not_equal(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, 0);
        loop_close(world->loop, fds[i]);
    }
    far_close(world, far);
}

/* Both directions of one descriptor at the same time. */
static void directions_are_independent(struct world *world)
{
    int ours, far;
    world_pair(world, &ours, &far);
    world_shrink(world, ours, far);
    uint32_t len = 8 << 20;
    char *data = calloc(1, len);
    struct probe rx, tx;
    probe_init(&rx, world, ours);
    probe_init(&tx, world, ours);
    probe_send(&tx, data, len);
    for (int i = 0; i < 20; i++) {
        probe_recv(&rx, i % 2 == 0 ? RECV_LIKELY : RECV_LATER);
        settle(world);
        far_write_all(world, far, "ping", 4);
        probe_expect(&rx, 4);
        probe_release(&rx);
    }
    assert_int_equal(tx.calls, 0);
    loop_cancel(world->loop, &tx.op);
    probe_expect(&tx, -ECANCELED);
    loop_close(world->loop, ours);
    far_close(world, far);
    free(data);
}

/* A descriptor beyond what the loop was made for is closed again, and told as an error. */
static void descriptors_are_bounded(struct world *world)
{
    world_listen(world);
    int copies[64];
    int count = 0;
    while (world->sim == NULL && count < 64) {
        copies[count++] = dup(world->listener);
    }
    int sockets[64];
    int socket_count = 0;
    int fd = loop_socket(world->loop, AF_INET);
    while (fd >= 0 && socket_count < 64) {
        sockets[socket_count++] = fd;
        fd = loop_socket(world->loop, AF_INET);
    }
    assert_int_equal(fd, -EMFILE);
    if (world->sim == NULL) {
        int far = world_dial(world);
        struct probe accept;
        probe_init(&accept, world, world->listener);
        loop_accept(world->loop, &accept.op, world->listener, on_probe);
        probe_expect(&accept, -EMFILE);
        char byte;
        int64_t result = -EAGAIN;
        for (int i = 0; i < 100 && result == -EAGAIN; i++) {
            world_turns(world, 1, 5);
            result = far_read(world, far, &byte, 1);
        }
        assert_int_equal(result, 0);
        far_close(world, far);
    }
    while (count > 0) {
        close(copies[--count]);
    }
    while (socket_count > 0) {
        loop_close(world->loop, sockets[--socket_count]);
    }
}

/* ---- the table ---- */

static const struct clause clauses[] = {
    CLAUSE(shutdown_ends_a_waiting_recv),
    CLAUSE(reused_number_hears_nothing_old),
    CLAUSE(reused_number_connects_for_itself),
    CLAUSE(short_sends_continue),
    CLAUSE(end_of_stream_is_zero),
    CLAUSE(stream_is_whole),
    CLAUSE(reset_is_told),
    CLAUSE(reset_ends_a_waiting_send),
    CLAUSE(connect_refused_is_told),
    CLAUSE(connect_and_accept_meet),
    CLAUSE(new_sockets_have_their_options, .skip = ON_SIM,
           .reason = "a simulated descriptor has no options"),
    CLAUSE(directions_are_independent),
    CLAUSE(descriptors_are_bounded, .limits.fd_count = 40),
};

int main(int argc, char **argv)
{
    return clauses_run("loop_result", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
}
