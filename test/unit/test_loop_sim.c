/*
 * test_loop_sim - the simulation keeps its own promises: the same seed does the same, cuts are
 * where they were asked for, connects do what they were told, and time moves only when nobody else
 * does.
 *
 * The contract of the loop itself is in test_loop.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/loop_sim.h"

enum { SEED = 20240607, SESSIONS = 20, ROUNDS = 30 };

static const struct loop_limits limits = {.fd_count = 4096, .op_count = 4096, .buf_count = 64};

/* A server on the loop that sends back what it gets, and scripted clients. */
struct server {
    struct op rx;
    struct op tx;
    struct town *town;
    struct buf *buf;
    int fd;
};

struct client {
    int fd;
    int rounds;
    int unread;
};

struct town {
    struct sim *sim;
    struct loop *loop;
    struct op accept;
    int listener;
    int served;
    int errors;
    struct sockaddr_in addr;
    struct server servers[SESSIONS];
    struct client clients[SESSIONS];
};

static void on_received(struct op *op, int result);

static void server_end(struct server *server, int result)
{
    server->town->errors += result < 0;
    server->town->served++;
    loop_close(server->town->loop, server->fd);
}

static void on_sent(struct op *op, int result)
{
    struct server *server = list_entry(op, struct server, tx);
    loop_buf_release(server->town->loop, server->buf);
    if (result < 0) {
        server_end(server, result);
        return;
    }
    loop_recv(server->town->loop, &server->rx, server->fd, RECV_LATER, on_received);
}

static void on_received(struct op *op, int result)
{
    struct server *server = list_entry(op, struct server, rx);
    if (result <= 0) {
        server_end(server, result);
        return;
    }
    server->buf = op->buf;
    loop_send(server->town->loop, &server->tx, server->fd, buf_bytes(op->buf), buf_len(op->buf),
              on_sent);
}

static void on_accepted(struct op *op, int result)
{
    struct town *town = list_entry(op, struct town, accept);
    if (result == -ECANCELED) {
        return;
    }
    assert_true(result >= 0);
    struct server *server = town->servers;
    while (server->fd != 0) {
        server++;
    }
    server->fd = result;
    server->town = town;
    op_init(&server->rx);
    op_init(&server->tx);
    loop_recv(town->loop, &server->rx, result, RECV_LIKELY, on_received);
    loop_accept(town->loop, op, town->listener, on_accepted);
}

static void client_step(struct town *town, struct client *client)
{
    char line[100];
    memset(line, 'x', sizeof(line));
    if (client->fd <= 0) {
        return;
    }
    int64_t got = sim_read(town->sim, client->fd, line, sizeof(line));
    if (got > 0) {
        client->unread -= (int)got;
        return;
    }
    bool over = got == 0 || (got < 0 && got != -EAGAIN);
    if (over || (client->rounds == ROUNDS && client->unread == 0)) {
        sim_close(town->sim, client->fd);
        client->fd = -1;
    } else if (client->unread == 0) {
        int64_t put = sim_write(town->sim, client->fd, line, sizeof(line));
        client->unread += put > 0 ? (int)put : 0;
        client->rounds++;
    }
}

static bool town_step(void *arg)
{
    struct town *town = arg;
    for (int i = 0; i < SESSIONS; i++) {
        client_step(town, &town->clients[i]);
    }
    return town->served == SESSIONS;
}

static void town_open(struct town *town, const struct sim_options *options)
{
    memset(town, 0, sizeof(*town));
    town->addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(25)};
    town->sim = sim_create(options);
    assert_int_equal(loop_create(&town->loop, &loop_sim, &limits, town->sim), 0);
    town->listener = sim_listen(town->sim, (struct sockaddr *)&town->addr, sizeof(town->addr));
    assert_true(town->listener > 0);
    op_init(&town->accept);
}

static void town_close(struct town *town)
{
    loop_close(town->loop, town->listener);
    assert_int_equal(sim_open_count(town->sim), 0);
    loop_destroy(&town->loop);
    sim_destroy(&town->sim);
}

/* The whole town once; returns its trace. */
static uint64_t town_live(struct town *town, const struct sim_options *options)
{
    town_open(town, options);
    loop_accept(town->loop, &town->accept, town->listener, on_accepted);
    for (int i = 0; i < SESSIONS; i++) {
        town->clients[i].fd =
            sim_dial(town->sim, (struct sockaddr *)&town->addr, sizeof(town->addr));
        assert_true(town->clients[i].fd > 0);
    }
    assert_int_equal(sim_run(town->sim, town->loop, town_step, town, 1000000), 0);
    loop_cancel(town->loop, &town->accept);
    while (!op_is_idle(&town->accept)) {
        assert_int_equal(loop_run_once(town->loop, 0), 0);
    }
    uint64_t trace = sim_trace(town->sim);
    for (int i = 0; i < SESSIONS; i++) {
        if (town->clients[i].fd > 0) {
            sim_close(town->sim, town->clients[i].fd);
        }
    }
    town_close(town);
    return trace;
}

static struct town the_town;

static void same_seed_same_trace(void **state)
{
    (void)state;
    struct sim_options options = {
        .seed = SEED,
        .short_read = 300,
        .short_write = 300,
        .delay = 200,
        .reset_ppm = 300,
    };
    uint64_t first = town_live(&the_town, &options);
    int errors = the_town.errors;
    assert_true(errors > 0);
    assert_true(errors < SESSIONS);
    assert_true(town_live(&the_town, &options) == first);
    assert_int_equal(the_town.errors, errors);
    options.seed++;
    assert_true(town_live(&the_town, &options) != first);
}

static void without_faults_all_arrives(void **state)
{
    (void)state;
    struct sim_options options = {.seed = SEED};
    town_live(&the_town, &options);
    assert_int_equal(the_town.errors, 0);
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(the_town.clients[i].rounds, ROUNDS);
        assert_int_equal(the_town.clients[i].unread, 0);
    }
}

/* ---- one end on the loop ---- */

struct ear {
    struct op op;
    struct loop *loop;
    int fd;
    int calls;
    int result;
    int lens[64];
    bool keep_listening;
};

static void on_ear(struct op *op, int result)
{
    struct ear *ear = list_entry(op, struct ear, op);
    assert_true(ear->calls < 64);
    ear->lens[ear->calls++] = result;
    ear->result = result;
    if (result > 0 && op->kind == OP_RECV) {
        loop_buf_release(ear->loop, op->buf);
        if (ear->keep_listening) {
            loop_recv(ear->loop, op, ear->fd, RECV_LATER, on_ear);
        }
    }
}

static void ear_init(struct ear *ear, struct loop *loop, int fd)
{
    memset(ear, 0, sizeof(*ear));
    op_init(&ear->op);
    ear->loop = loop;
    ear->fd = fd;
    ear->keep_listening = true;
}

static bool ear_ended(void *arg)
{
    const struct ear *ear = arg;
    return ear->calls > 0 && ear->result <= 0;
}

static void cuts_are_where_they_were_asked_for(void **state)
{
    (void)state;
    static const uint64_t cuts[] = {1, 2, 10, 11, 500};
    static char data[700];
    town_open(&the_town, &(struct sim_options){.seed = SEED});
    int fds[2];
    assert_int_equal(sim_pair(the_town.sim, fds), 0);
    sim_set_cuts(the_town.sim, fds[0], cuts, 5);
    assert_int_equal(sim_write(the_town.sim, fds[1], data, sizeof(data)), sizeof(data));
    sim_eof(the_town.sim, fds[1]);
    struct ear ear;
    ear_init(&ear, the_town.loop, fds[0]);
    loop_recv(the_town.loop, &ear.op, fds[0], RECV_LIKELY, on_ear);
    assert_int_equal(sim_run(the_town.sim, the_town.loop, ear_ended, &ear, 100), 0);
    assert_int_equal(ear.calls, 7);
    static const int expected[] = {1, 1, 8, 1, 489, 200, 0};
    assert_memory_equal(ear.lens, expected, sizeof(expected));
    loop_close(the_town.loop, fds[0]);
    sim_close(the_town.sim, fds[1]);
    town_close(&the_town);
}

static void read_max_and_write_max_bound_each_step(void **state)
{
    (void)state;
    town_open(&the_town, &(struct sim_options){.seed = SEED});
    int fds[2];
    assert_int_equal(sim_pair(the_town.sim, fds), 0);
    sim_set_read_max(the_town.sim, fds[0], 3);
    sim_set_write_max(the_town.sim, fds[0], 4);
    assert_int_equal(sim_write(the_town.sim, fds[1], "0123456789", 10), 10);
    sim_eof(the_town.sim, fds[1]);
    struct ear ear, mouth;
    ear_init(&ear, the_town.loop, fds[0]);
    ear_init(&mouth, the_town.loop, fds[0]);
    loop_recv(the_town.loop, &ear.op, fds[0], RECV_LIKELY, on_ear);
    assert_int_equal(sim_run(the_town.sim, the_town.loop, ear_ended, &ear, 100), 0);
    static const int expected[] = {3, 3, 3, 1, 0};
    assert_int_equal(ear.calls, 5);
    assert_memory_equal(ear.lens, expected, sizeof(expected));
    loop_send(the_town.loop, &mouth.op, fds[0], "0123456789", 10, on_ear);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(loop_run_once(the_town.loop, 0), 0);
        assert_int_equal(sim_pending(the_town.sim, fds[1]), i < 3 ? i * 4 : 10);
    }
    assert_int_equal(mouth.result, 10);
    loop_close(the_town.loop, fds[0]);
    sim_close(the_town.sim, fds[1]);
    town_close(&the_town);
}

static void queues_are_bounded(void **state)
{
    (void)state;
    town_open(&the_town, &(struct sim_options){.seed = SEED, .queue_bytes = 1000});
    int fds[2];
    assert_int_equal(sim_pair(the_town.sim, fds), 0);
    static char data[3000];
    assert_int_equal(sim_write(the_town.sim, fds[1], data, 3000), 1000);
    assert_int_equal(sim_write(the_town.sim, fds[1], data, 3000), 0);
    assert_int_equal(sim_room(the_town.sim, fds[1]), 0);
    sim_set_queue(the_town.sim, fds[1], 100);
    struct ear mouth;
    ear_init(&mouth, the_town.loop, fds[0]);
    loop_send(the_town.loop, &mouth.op, fds[0], data, 250, on_ear);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mouth.calls, 0);
        assert_int_equal(loop_run_once(the_town.loop, -1), 0);
        uint32_t len;
        assert_non_null(sim_peek(the_town.sim, fds[1], &len));
        assert_int_equal(len, i < 2 ? 100 : 50);
        sim_skip(the_town.sim, fds[1], len);
    }
    assert_int_equal(mouth.result, 250);
    loop_close(the_town.loop, fds[0]);
    sim_close(the_town.sim, fds[1]);
    town_close(&the_town);
}

/* ---- ends that end badly ---- */

static void closing_is_heard_as_on_tcp(void **state)
{
    (void)state;
    town_open(&the_town, &(struct sim_options){.seed = SEED});
    struct sim *sim = the_town.sim;
    int fds[2];
    char byte;
    /* What arrived before a reset can be read; then the error, once; then the end. */
    assert_int_equal(sim_pair(sim, fds), 0);
    assert_int_equal(sim_write(sim, fds[1], "z", 1), 1);
    sim_reset(sim, fds[1]);
    sim_close(sim, fds[1]);
    assert_int_equal(sim_read(sim, fds[0], &byte, 1), 1);
    assert_int_equal(sim_read(sim, fds[0], &byte, 1), -ECONNRESET);
    assert_int_equal(sim_read(sim, fds[0], &byte, 1), 0);
    assert_int_equal(sim_write(sim, fds[0], "z", 1), -EPIPE);
    sim_close(sim, fds[0]);
    /* A peer that closed with unread bytes resets. */
    assert_int_equal(sim_pair(sim, fds), 0);
    assert_int_equal(sim_write(sim, fds[0], "z", 1), 1);
    sim_close(sim, fds[1]);
    assert_int_equal(sim_read(sim, fds[0], &byte, 1), -ECONNRESET);
    sim_close(sim, fds[0]);
    /* What is sent to a closed peer is taken, and answered by a reset. */
    assert_int_equal(sim_pair(sim, fds), 0);
    sim_close(sim, fds[1]);
    assert_false(sim_pending(sim, fds[0]) > 0);
    assert_true(sim_at_end(sim, fds[0]));
    assert_int_equal(sim_write(sim, fds[0], "z", 1), 1);
    assert_int_equal(sim_write(sim, fds[0], "z", 1), -ECONNRESET);
    assert_int_equal(sim_write(sim, fds[0], "z", 1), -EPIPE);
    sim_close(sim, fds[0]);
    town_close(&the_town);
}

/* ---- connects and time ---- */

static void connect_takes_its_time(void **state)
{
    (void)state;
    static const struct {
        enum sim_connect how;
        int64_t delay_ms;
        int result;
    } rows[] = {
        {SIM_CONNECT_OK, 0, 0},
        {SIM_CONNECT_OK, 1500, 0},
        {SIM_CONNECT_REFUSED, 20, -ECONNREFUSED},
        {SIM_CONNECT_TIMEOUT, 127000, -ETIMEDOUT},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        town_open(&the_town, &(struct sim_options){.seed = SEED});
        sim_set_connect(the_town.sim, the_town.listener, rows[i].how, rows[i].delay_ms);
        int64_t begin_ms = sim_now_ms(the_town.sim);
        int fd = loop_socket(the_town.loop, AF_INET);
        struct ear ear;
        ear_init(&ear, the_town.loop, fd);
        loop_connect(the_town.loop, &ear.op, fd, (struct sockaddr *)&the_town.addr,
                     sizeof(the_town.addr), on_ear);
        assert_int_equal(sim_run(the_town.sim, the_town.loop, ear_ended, &ear, 1000), 0);
        assert_int_equal(ear.result, rows[i].result);
        assert_int_equal(sim_now_ms(the_town.sim) - begin_ms, rows[i].delay_ms);
        int accepted = sim_accept(the_town.sim, the_town.listener);
        assert_int_equal(accepted > 0, rows[i].result == 0);
        if (accepted > 0) {
            sim_close(the_town.sim, accepted);
        }
        loop_close(the_town.loop, fd);
        town_close(&the_town);
    }
}

static void count_timer(struct timer *timer)
{
    (void)timer;
    the_town.served++;
}

static bool timer_fired(void *arg)
{
    (void)arg;
    return the_town.served > 0;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void time_jumps_to_the_next_deadline(void **state)
{
    (void)state;
    town_open(&the_town, &(struct sim_options){.seed = SEED});
    struct timer timer;
    timer_init(&timer);
    int64_t begin_ms = loop_now_ms(the_town.loop);
    loop_timer_set(the_town.loop, &timer, begin_ms + 3600000, count_timer);
    assert_int_equal(sim_run(the_town.sim, the_town.loop, timer_fired, NULL, 1000), 0);
    int64_t passed_ms = loop_now_ms(the_town.loop) - begin_ms;
    assert_true(passed_ms >= 3600000);
    assert_true(passed_ms <= 3600000 + TIMER_TICK_MS);
    /* Nothing left that could ever happen. */
    assert_int_equal(sim_run(the_town.sim, the_town.loop, never, NULL, 1000), -EDEADLK);
    town_close(&the_town);
}

static void waiting_op_alone_is_a_deadlock(void **state)
{
    (void)state;
    town_open(&the_town, &(struct sim_options){.seed = SEED});
    int fds[2];
    assert_int_equal(sim_pair(the_town.sim, fds), 0);
    struct ear ear;
    ear_init(&ear, the_town.loop, fds[0]);
    loop_recv(the_town.loop, &ear.op, fds[0], RECV_LIKELY, on_ear);
    assert_int_equal(sim_run(the_town.sim, the_town.loop, ear_ended, &ear, 1000), -EDEADLK);
    sim_close(the_town.sim, fds[1]);
    assert_int_equal(sim_run(the_town.sim, the_town.loop, ear_ended, &ear, 1000), 0);
    assert_int_equal(ear.result, 0);
    loop_close(the_town.loop, fds[0]);
    town_close(&the_town);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_trace),
        cmocka_unit_test(without_faults_all_arrives),
        cmocka_unit_test(cuts_are_where_they_were_asked_for),
        cmocka_unit_test(read_max_and_write_max_bound_each_step),
        cmocka_unit_test(queues_are_bounded),
        cmocka_unit_test(closing_is_heard_as_on_tcp),
        cmocka_unit_test(connect_takes_its_time),
        cmocka_unit_test(time_jumps_to_the_next_deadline),
        cmocka_unit_test(waiting_op_alone_is_a_deadlock),
    };
    print_message("seed: %d\n", SEED);
    return cmocka_run_group_tests_name("loop_sim", tests, NULL, NULL);
}
