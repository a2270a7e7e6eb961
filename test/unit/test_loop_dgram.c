/*
 * test_loop_dgram - datagram sockets on all three backends: a receive is one message, a send is one.
 */
#include <arpa/inet.h>
#include <unistd.h>

#include "test/unit/loop_clause.h"

/* A connected datagram socket of the loop, and its far end. */
struct line {
    struct probe rx;
    struct probe tx;
    int fd;
    int far;
    struct sockaddr_in addr;
};

static void line_open(struct world *world, struct line *line)
{
    socklen_t len = sizeof(line->addr);
    line->addr = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (world->sim != NULL) {
        line->far = sim_listen(world->sim, (struct sockaddr *)&line->addr, len);
    } else {
        line->far = socket(AF_INET, SOCK_DGRAM, 0);
        assert_int_equal(bind(line->far, (struct sockaddr *)&line->addr, len), 0);
        assert_int_equal(getsockname(line->far, (struct sockaddr *)&line->addr, &len), 0);
    }
    assert_true(line->far >= 0);
    line->fd = loop_socket_dgram(world->loop, AF_INET);
    assert_true(line->fd >= 0);
    probe_init(&line->rx, world, line->fd);
    probe_init(&line->tx, world, line->fd);
    probe_connect(&line->rx, &line->addr);
    probe_expect(&line->rx, 0);
    if (world->sim != NULL) {
        int listener = line->far;
        line->far = sim_accept(world->sim, listener);
        assert_true(line->far >= 0);
        sim_close(world->sim, listener);
        return;
    }
    struct sockaddr_in ours;
    assert_int_equal(getsockname(line->fd, (struct sockaddr *)&ours, &len), 0);
    assert_int_equal(connect(line->far, (struct sockaddr *)&ours, len), 0);
}

static void line_close(struct world *world, struct line *line)
{
    loop_close(world->loop, line->fd);
    if (line->far >= 0) {
        far_close(world, line->far);
    }
}

static void far_message(struct world *world, struct line *line, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);
    assert_int_equal(world->sim != NULL ? sim_write(world->sim, line->far, text, len)
                                        : send(line->far, text, len, 0),
                     len);
}

static void expect_message(struct line *line, const char *text)
{
    probe_expect(&line->rx, (int)strlen(text));
    if (*text != '\0') {
        assert_memory_equal(buf_bytes(line->rx.buf), text, strlen(text));
        probe_release(&line->rx);
    }
}

/* All are there before the first receive; none is joined to another, none is forgotten. */
static void several_messages_are_several_receives(struct world *world)
{
    static const char *const texts[] = {"one", "", "three", "4"};
    struct line line;
    line_open(world, &line);
    for (int hint = RECV_LIKELY; hint <= RECV_LATER; hint++) {
        for (int i = 0; i < 4; i++) {
            far_message(world, &line, texts[i]);
        }
        for (int i = 0; i < 4; i++) {
            probe_recv(&line.rx, (enum recv_hint)hint);
            expect_message(&line, texts[i]);
        }
    }
    line_close(world, &line);
}

/* A receive that waited takes the first; the rest came in the same moment. */
static void messages_behind_the_awaited_one(struct world *world)
{
    struct line line;
    line_open(world, &line);
    for (int round = 0; round < 3; round++) {
        probe_recv(&line.rx, RECV_LATER);
        settle(world);
        far_message(world, &line, "first");
        far_message(world, &line, "second");
        far_message(world, &line, "third");
        expect_message(&line, "first");
        probe_recv(&line.rx, RECV_LATER);
        expect_message(&line, "second");
        probe_recv(&line.rx, RECV_LIKELY);
        expect_message(&line, "third");
    }
    line_close(world, &line);
}

static void a_send_is_one_message(struct world *world)
{
    struct line line;
    char got[64];
    line_open(world, &line);
    probe_send(&line.tx, "question", 8);
    probe_expect(&line.tx, 8);
    probe_send(&line.tx, "more", 4);
    probe_expect(&line.tx, 4);
    assert_int_equal(far_read(world, line.far, got, sizeof(got)), 8);
    assert_memory_equal(got, "question", 8);
    assert_int_equal(far_read(world, line.far, got, sizeof(got)), 4);
    line_close(world, &line);
}

static void nobody_there_is_a_result(struct world *world)
{
    struct line line;
    line_open(world, &line);
    if (world->sim == NULL) {
        far_close(world, line.far);
        line.far = -1;
    }
    probe_recv(&line.rx, RECV_LATER);
    probe_send(&line.tx, "anybody", 7);
    probe_expect(&line.tx, 7);
    if (world->sim != NULL) {
        sim_refuse(world->sim, line.far);
    }
    if (line.rx.calls == 1) { /* the connect was the first call */
        probe_expect(&line.rx, -ECONNREFUSED);
    }
    assert_int_equal(line.rx.result, -ECONNREFUSED);
    line_close(world, &line);
}

static void a_waiting_receive_can_be_cancelled(struct world *world)
{
    struct line line;
    line_open(world, &line);
    probe_recv(&line.rx, RECV_LATER);
    settle(world);
    loop_cancel(world->loop, &line.rx.op);
    probe_expect(&line.rx, -ECANCELED);
    line_close(world, &line);
}

static const struct clause clauses[] = {
    CLAUSE(several_messages_are_several_receives),
    CLAUSE(messages_behind_the_awaited_one),
    CLAUSE(a_send_is_one_message),
    CLAUSE(nobody_there_is_a_result),
    CLAUSE(a_waiting_receive_can_be_cancelled),
};

int main(int argc, char **argv)
{
    return clauses_run("loop_dgram", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
}
