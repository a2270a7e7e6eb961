/*
 * test_dns_client - the client asks servers on loopback that tell the truth, lie, or are silent.
 *
 * The servers are plain sockets that this thread serves between the turns of the loop. Every test
 * runs on io_uring and on epoll. What must never happen is an address of 6.6.6.6 in an answer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/dns_client.h"
#include "net/dns_zone.h"
#include "net/loop_backend.h"
#include "test/dns_liar.h"

enum {
    TIMEOUT_MS = 80,
    SERVERS_MAX = 2,
    QUERIES_MAX = 8,
    STREAMS_MAX = 4,
    QUESTIONS_MAX = 16,
    PATIENCE_MS = 5000,
};

struct server {
    enum lie lie;
    int udp;
    int tcp;
    int other; /* what does not come from the server's own address */
    int streams[STREAMS_MAX];
    int asked;
    bool is_late; /* answers only when the next question comes */
    uint32_t late_len;
    uint8_t late[512];
    struct sockaddr_in late_to;
    uint16_t ports[64]; /* of the clients, in the order of their questions */
    struct sockaddr_in addr;
};

struct asked {
    struct dns_query query;
    int calls;
    enum dns_status status;
    const char *reason;
    uint32_t ttl_s;
    uint32_t count;
    uint32_t address; /* the first */
    bool is_inside_ask;
};

static struct {
    const struct loop_backend *backend;
    struct loop *loop;
    struct dns_client *client;
    struct server servers[SERVERS_MAX];
    uint32_t server_count;
    struct asked asked[QUERIES_MAX];
    bool asking;
} lab;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- servers ---- */

/* -1 when the port is taken. */
static int bound_socket(int type, struct sockaddr_in *addr)
{
    socklen_t len = sizeof(*addr);
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    if (bind(fd, (struct sockaddr *)addr, len) < 0) {
        close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

static void server_open(struct server *server, enum lie lie)
{
    struct sockaddr_in other = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memset(server, 0, sizeof(*server));
    server->lie = lie;
    server->tcp = -1;
    for (int i = 0; i < 100 && server->tcp < 0; i++) { /* one port, free for both */
        server->addr = other;
        server->udp = bound_socket(SOCK_DGRAM, &server->addr);
        server->tcp = bound_socket(SOCK_STREAM, &server->addr);
        if (server->tcp < 0) {
            close(server->udp);
        }
    }
    assert_true(server->tcp >= 0);
    assert_int_equal(listen(server->tcp, 8), 0);
    server->other = bound_socket(SOCK_DGRAM, &other);
    for (int i = 0; i < STREAMS_MAX; i++) {
        server->streams[i] = -1;
    }
}

static void server_close(struct server *server)
{
    close(server->udp);
    close(server->tcp);
    close(server->other);
    for (int i = 0; i < STREAMS_MAX; i++) {
        if (server->streams[i] >= 0) {
            close(server->streams[i]);
        }
    }
}

static struct liar liar;

static void server_udp(struct server *server)
{
    uint8_t ask[1024];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    ssize_t len;
    while ((len = recvfrom(server->udp, ask, sizeof(ask), 0, (struct sockaddr *)&from, &from_len)) >
           0) {
        server->ports[server->asked % 64] = from.sin_port;
        server->asked++;
        liar_answer(&liar, server->lie, false, ask, (uint32_t)len);
        if (server->late_len > 0) {
            sendto(server->udp, server->late, server->late_len, 0,
                   (struct sockaddr *)&server->late_to, sizeof(from));
        }
        for (uint32_t i = 0; i < liar.count; i++) {
            const struct liar_message *message = &liar.messages[i];
            if (server->is_late) {
                memcpy(server->late, message->bytes, message->len);
                server->late_len = message->len;
                server->late_to = from;
            } else {
                sendto(message->from_other ? server->other : server->udp, message->bytes,
                       message->len, 0, (struct sockaddr *)&from, sizeof(from));
            }
        }
    }
}

static void server_stream(struct server *server, int *stream)
{
    uint8_t ask[1024];
    ssize_t len = recv(*stream, ask, sizeof(ask), MSG_DONTWAIT);
    if (len > 2) {
        server->asked++;
        assert_int_equal(len, 2 + (ask[0] << 8 | ask[1]));
        liar_answer(&liar, server->lie, true, ask + 2, (uint32_t)len - 2);
        for (uint32_t i = 0; i < liar.count; i++) {
            uint8_t prefix[] = {(uint8_t)(liar.messages[i].len >> 8),
                                (uint8_t)liar.messages[i].len};
            /* In three segments, the first of half a length. */
            assert_int_equal(send(*stream, prefix, 1, MSG_NOSIGNAL), 1);
            assert_int_equal(send(*stream, prefix + 1, 1, MSG_NOSIGNAL), 1);
            send(*stream, liar.messages[i].bytes, liar.messages[i].len, MSG_NOSIGNAL);
        }
    } else if (len == 0 || errno != EAGAIN) {
        close(*stream);
        *stream = -1;
    }
}

static void server_turn(struct server *server)
{
    server_udp(server);
    for (int i = 0; i < STREAMS_MAX; i++) {
        if (server->streams[i] < 0) {
            server->streams[i] = accept(server->tcp, NULL, NULL);
        }
        if (server->streams[i] >= 0) {
            server_stream(server, &server->streams[i]);
        }
    }
}

/* ---- the lab ---- */

static void lab_turn(void)
{
    assert_int_equal(loop_run_once(lab.loop, 2), 0);
    for (uint32_t i = 0; i < lab.server_count; i++) {
        server_turn(&lab.servers[i]);
    }
}

static void lab_open(struct dns_client_conf conf)
{
    struct loop_limits limits = {.fd_count = 1024, .op_count = 64, .buf_count = 4};
    struct sockaddr_storage addrs[SERVERS_MAX];
    memset(addrs, 0, sizeof(addrs));
    for (uint32_t i = 0; i < lab.server_count; i++) {
        memcpy(&addrs[i], &lab.servers[i].addr, sizeof(lab.servers[i].addr));
    }
    assert_int_equal(loop_create(&lab.loop, lab.backend, &limits, NULL), 0);
    conf.servers = addrs;
    conf.server_count = lab.server_count;
    conf.timeout_ms = conf.timeout_ms == 0 ? TIMEOUT_MS : conf.timeout_ms;
    conf.attempts = conf.attempts == 0 ? 1 : conf.attempts;
    conf.cache_entries = 64;
    conf.questions_max = QUESTIONS_MAX;
    assert_int_equal(dns_client_create(&lab.client, lab.loop, &conf), 0);
    memset(lab.asked, 0, sizeof(lab.asked));
}

static void lab_open_one(enum lie lie)
{
    lab.server_count = 1;
    server_open(&lab.servers[0], lie);
    lab_open((struct dns_client_conf){0});
}

static void lab_open_two(enum lie first, enum lie second)
{
    lab.server_count = 2;
    server_open(&lab.servers[0], first);
    server_open(&lab.servers[1], second);
    lab_open((struct dns_client_conf){0});
}

static void lab_close(void)
{
    dns_client_stop(lab.client);
    for (int i = 0; i < 100 && !dns_client_is_idle(lab.client); i++) {
        lab_turn();
    }
    assert_true(dns_client_is_idle(lab.client));
    dns_client_destroy(&lab.client);
    assert_null(lab.client);
    loop_destroy(&lab.loop); /* asserts that every op and buffer is back */
    for (uint32_t i = 0; i < lab.server_count; i++) {
        server_close(&lab.servers[i]);
    }
    lab.server_count = 0;
}

static void on_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct asked *asked = (struct asked *)query;
    assert_false(lab.asking);
    assert_false(dns_is_asking(query));
    asked->calls++;
    asked->status = answer->status;
    asked->reason = answer->reason;
    asked->ttl_s = answer->ttl_s;
    asked->count = answer->count;
    assert_int_equal(answer->status == DNS_OK, answer->count > 0);
    assert_int_equal(answer->status == DNS_FAILED, answer->reason != NULL);
    for (uint32_t i = 0; i < answer->count; i++) {
        uint32_t address;
        assert_int_equal(answer->records[i].len, 4);
        memcpy(&address, answer->records[i].data, 4);
        asked->address = ntohl(address);
        assert_int_not_equal(asked->address, 0x06060606); /* accepted wrongly */
    }
}

static struct asked *ask(int index, const char *name)
{
    struct asked *asked = &lab.asked[index];
    asked->calls = 0;
    asked->address = 0;
    lab.asking = true;
    int result = dns_ask(dns_client_dns(lab.client), &asked->query, name, (uint32_t)strlen(name),
                         DNS_A, on_answer);
    lab.asking = false;
    assert_int_equal(result, 0);
    return asked;
}

static void wait_for(struct asked *asked)
{
    int64_t until_ms = now_ms() + PATIENCE_MS;
    while (asked->calls == 0) {
        assert_true(now_ms() < until_ms);
        lab_turn();
    }
    assert_int_equal(asked->calls, 1);
}

static struct asked *ask_and_wait(const char *name)
{
    struct asked *asked = ask(0, name);
    wait_for(asked);
    return asked;
}

static void is_true_answer(const struct asked *asked)
{
    assert_int_equal(asked->status, DNS_OK);
    assert_int_equal(asked->count, 1);
    assert_int_equal(asked->address, 0xc0000201);
}

/* ---- tests ---- */

/* Alone: the truth where it can be had, else a failure or what the server says; in bounded time. */
static void every_behaviour_alone(void)
{
    for (int lie = 0; lie < LIES; lie++) {
        lab_open_one((enum lie)lie);
        int64_t begin_ms = now_ms();
        struct asked *asked = ask_and_wait("host.example.org");
        int64_t took_ms = now_ms() - begin_ms;
        print_message("    %s: status %d, %s, %d questions, %d ms\n", lie_name((enum lie)lie),
                      asked->status, asked->reason == NULL ? "-" : asked->reason,
                      lab.servers[0].asked, (int)took_ms);
        assert_true(took_ms < TIMEOUT_MS * 3);
        if (lie_allows_truth((enum lie)lie)) {
            is_true_answer(asked);
        } else if (lie == LIE_NO_NAME) {
            assert_int_equal(asked->status, DNS_NO_NAME);
            assert_int_equal(asked->ttl_s, 60);
        } else if (lie == LIE_NO_DATA || lie == LIE_OWNER) {
            assert_int_equal(asked->status, DNS_NO_DATA);
            assert_int_equal(asked->ttl_s, lie == LIE_NO_DATA ? 60 : 0);
        } else {
            assert_int_equal(asked->status, DNS_FAILED);
        }
        lab_close();
    }
}

/* In front of an honest server: a server's trouble is not the name's. */
static void every_behaviour_in_front_of_the_truth(void)
{
    for (int lie = 0; lie < LIES; lie++) {
        if (lie == LIE_NO_NAME || lie == LIE_NO_DATA || lie == LIE_OWNER || lie == LIE_CNAME_LOOP ||
            lie == LIE_CNAME_ENDLESS) {
            continue; /* answers, as far as one can tell */
        }
        lab_open_two((enum lie)lie, LIE_NONE);
        is_true_answer(ask_and_wait("host.example.org"));
        lab_close();
    }
}

static void late_answer_to_the_former_message(void)
{
    lab.server_count = 1;
    server_open(&lab.servers[0], LIE_PEER); /* 6.6.6.6, with all that was right for the first */
    lab.servers[0].is_late = true;
    lab_open((struct dns_client_conf){.attempts = 3});
    assert_int_equal(ask_and_wait("host.example.org")->status, DNS_FAILED);
    assert_int_equal(lab.servers[0].asked, 3);
    lab_close();
}

static void equal_questions_are_one(void)
{
    lab_open_one(LIE_NONE);
    for (int i = 0; i < QUERIES_MAX; i++) {
        (void)ask(i, i % 2 == 0 ? "host.example.org" : "HOST.Example.ORG.");
    }
    for (int i = 0; i < QUERIES_MAX; i++) {
        wait_for(&lab.asked[i]);
        is_true_answer(&lab.asked[i]);
    }
    assert_int_equal(lab.servers[0].asked, 1);
    assert_int_equal(dns_client_stats(lab.client)->joined, QUERIES_MAX - 1);
    (void)ask_and_wait("host.example.org");
    assert_int_equal(lab.servers[0].asked, 1);
    assert_int_equal(dns_client_stats(lab.client)->hits, 1);
    lab_close();
}

static void failures_are_kept_for_a_moment(void)
{
    lab_open_one(LIE_SERVFAIL);
    (void)ask_and_wait("host.example.org");
    const struct asked *asked = ask_and_wait("host.example.org");
    assert_int_equal(asked->status, DNS_FAILED);
    assert_string_equal(asked->reason, "server failure");
    assert_int_equal(lab.servers[0].asked, 1);
    lab_close();
}

static void edns_is_not_tried_again(void)
{
    lab_open_one(LIE_FORMERR_TO_EDNS);
    is_true_answer(ask_and_wait("a.example.org"));
    assert_int_equal(lab.servers[0].asked, 2);
    is_true_answer(ask_and_wait("b.example.org"));
    assert_int_equal(lab.servers[0].asked, 3);
    lab_close();
}

static void a_silent_server_is_left_alone(void)
{
    lab_open_two(LIE_SILENCE, LIE_NONE);
    static const char *const names[] = {"a.org", "b.org", "c.org", "d.org", "e.org", "f.org"};
    for (int i = 0; i < 6; i++) {
        is_true_answer(ask_and_wait(names[i]));
    }
    assert_int_equal(lab.servers[0].asked, 3);
    lab_close();
}

static void nobody_listens(void)
{
    lab.server_count = 1;
    server_open(&lab.servers[0], LIE_NONE);
    close(lab.servers[0].udp);
    lab.servers[0].udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    lab_open((struct dns_client_conf){.timeout_ms = 60000});
    const struct asked *asked = ask_and_wait("host.example.org"); /* at once, not after a minute */
    assert_int_equal(asked->status, DNS_FAILED);
    assert_string_equal(asked->reason, "no contact with the server");
    lab_close();
}

static void no_server(void)
{
    lab.server_count = 0;
    lab_open((struct dns_client_conf){0});
    const struct asked *asked = ask_and_wait("host.example.org");
    assert_int_equal(asked->status, DNS_FAILED);
    assert_string_equal(asked->reason, "no server");
    lab_close();
}

static void cancelled_questions_are_not_answered(void)
{
    lab_open_one(LIE_NONE);
    struct asked *first = ask(0, "a.example.org");
    dns_cancel(&first->query); /* not yet started */
    struct asked *second = ask(1, "b.example.org");
    struct asked *third = ask(2, "b.example.org");
    assert_int_equal(loop_run_once(lab.loop, 0), 0); /* the message is on its way */
    dns_cancel(&second->query);
    wait_for(third);
    is_true_answer(third);
    assert_int_equal(first->calls + second->calls, 0);
    assert_int_equal(lab.servers[0].asked, 1);
    lab_close();
}

static void stopped_with_messages_on_their_way(void)
{
    lab_open_one(LIE_SILENCE);
    for (int turns = 0; turns < 6; turns++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d.org", turns);
        struct asked *asked = ask(turns, name);
        for (int i = 0; i < turns; i++) {
            lab_turn();
        }
        dns_cancel(&asked->query);
    }
    lab_close();
}

static void too_many_questions(void)
{
    static struct asked asked[QUESTIONS_MAX + 1];
    memset(asked, 0, sizeof(asked));
    lab_open_one(LIE_SILENCE);
    for (int i = 0; i <= QUESTIONS_MAX; i++) {
        char name[32];
        int len = snprintf(name, sizeof(name), "n%d.org", i);
        assert_int_equal(dns_ask(dns_client_dns(lab.client), &asked[i].query, name, (uint32_t)len,
                                 DNS_A, on_answer),
                         0);
    }
    wait_for(&asked[QUESTIONS_MAX]);
    assert_string_equal(asked[QUESTIONS_MAX].reason, "too many questions at once");
    for (int i = 0; i < QUESTIONS_MAX; i++) {
        wait_for(&asked[i]);
        assert_string_equal(asked[i].reason, "no answer in time");
    }
    lab_close();
}

static void every_message_has_a_port_of_its_own(void)
{
    lab_open_one(LIE_NONE);
    for (int i = 0; i < 40; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d.org", i);
        is_true_answer(ask_and_wait(name));
    }
    int in_order = 0;
    int equal = 0;
    for (int i = 1; i < 40; i++) {
        int step = ntohs(lab.servers[0].ports[i]) - ntohs(lab.servers[0].ports[i - 1]);
        in_order += step == 1 || step == 2;
        equal += step == 0;
    }
    assert_true(in_order < 4);
    assert_true(equal < 4);
    lab_close();
}

static void zone_comes_first(void)
{
    char path[] = "/tmp/test_dns_client.XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "$TTL 60\n"
                               "example.org. SOA a. b. 1 2 3 4 5\n"
                               "host.example.org. A 192.0.2.1\n"
                               "out.example.org. CNAME host.example.net.\n";
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    struct dns_zone *zone;
    char error[256];
    assert_int_equal(dns_zone_read(&zone, path, error, sizeof(error)), 0);
    unlink(path);
    lab.server_count = 1;
    server_open(&lab.servers[0], LIE_NONE);
    lab_open((struct dns_client_conf){.zone = zone});
    is_true_answer(ask_and_wait("host.example.org"));
    assert_int_equal(ask_and_wait("none.example.org")->status, DNS_NO_NAME);
    assert_int_equal(lab.servers[0].asked, 0);
    is_true_answer(ask_and_wait("out.example.org"));
    assert_int_equal(lab.servers[0].asked, 1);
    lab_close();
    dns_zone_destroy(&zone);
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"every_behaviour_alone", every_behaviour_alone},
    {"every_behaviour_in_front_of_the_truth", every_behaviour_in_front_of_the_truth},
    {"late_answer_to_the_former_message", late_answer_to_the_former_message},
    {"equal_questions_are_one", equal_questions_are_one},
    {"failures_are_kept_for_a_moment", failures_are_kept_for_a_moment},
    {"edns_is_not_tried_again", edns_is_not_tried_again},
    {"a_silent_server_is_left_alone", a_silent_server_is_left_alone},
    {"nobody_listens", nobody_listens},
    {"no_server", no_server},
    {"cancelled_questions_are_not_answered", cancelled_questions_are_not_answered},
    {"stopped_with_messages_on_their_way", stopped_with_messages_on_their_way},
    {"too_many_questions", too_many_questions},
    {"every_message_has_a_port_of_its_own", every_message_has_a_port_of_its_own},
    {"zone_comes_first", zone_comes_first},
};

enum { TESTS = sizeof(tests) / sizeof(tests[0]), BACKENDS = 2 };

static const struct loop_backend *const backends[BACKENDS] = {&loop_uring, &loop_epoll};

static void run_one(void **state)
{
    size_t row = *(const size_t *)*state;
    lab.backend = backends[row % BACKENDS];
    struct loop_limits limits = {.fd_count = 64, .op_count = 8, .buf_count = 4};
    int result = loop_create(&lab.loop, lab.backend, &limits, NULL);
    if (result == -EPERM || result == -ENOSYS || result == -ENOMEM) {
        print_message("    skipped: %s is refused here\n", lab.backend->name);
        skip();
    }
    loop_destroy(&lab.loop);
    tests[row / BACKENDS].run();
}

int main(int argc, char **argv)
{
    static size_t rows[TESTS * BACKENDS];
    static char names[TESTS * BACKENDS][64];
    static struct CMUnitTest table[TESTS * BACKENDS];
    for (size_t i = 0; i < TESTS * BACKENDS; i++) {
        rows[i] = i;
        snprintf(names[i], sizeof(names[i]), "%s[%s]", tests[i / BACKENDS].name,
                 backends[i % BACKENDS]->name);
        table[i] = (struct CMUnitTest){
            .name = names[i],
            .test_func = run_one,
            .initial_state = &rows[i],
        };
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return _cmocka_run_group_tests("dns_client", table, TESTS * BACKENDS, NULL, NULL);
}
