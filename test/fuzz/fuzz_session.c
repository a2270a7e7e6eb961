/*
 * fuzz_session - a worker with clients and an upstream on the simulated loop, all driven by the
 * input: what the clients send and in which pieces, what the upstream answers, when connections end
 * and when time passes.
 *
 * Byte 0 chooses the configuration, byte 1 how the world behaves, byte 2 is its seed. Then come
 * operations, one byte each: the kind in the low three bits, a number in the high five, for some
 * kinds followed by bytes of their own. What must hold for every input:
 *
 *   no assert fails, nothing is used after it was freed (ASan)
 *   what a client reads is a sequence of correct replies
 *   as many transactions are recorded as accepted as the upstream has accepted, at most
 *   the model has no violation to report, as long as it answers each command with one reply
 *   at the end no session, lease, buffer or chunk is left
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/lease.h"
#include "core/log.h"
#include "core/session.h"
#include "net/loop_backend.h"
#include "test/sim_priv.h"
#include "test/weir_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    CLIENTS_MAX = 3,
    OPERATIONS_MAX = 300,
    ANSWERS_MAX = 32,
    ANSWER_SIZE = 96,
    TURNS_MAX = 4000,
    ENDS_MAX = 200,
    RECORDS_MAX = 1 << 20,
};

enum operation {
    DO_SEND,   /* the client sends bytes of the input */
    DO_SAY,    /* the client sends a phrase */
    DO_ANSWER, /* the upstream's next answer is made of bytes of the input */
    DO_REPLY,  /* it is a phrase */
    DO_BLURT,  /* the upstream speaks without being asked */
    DO_EVENT,  /* see enum event */
    DO_TURNS,  /* so many turns, and no time */
    DO_SETTLE, /* turns until nothing moves */
};

enum event {
    EVENT_WAIT,
    EVENT_CLIENT_CLOSE,
    EVENT_CLIENT_EOF,
    EVENT_CLIENT_RESET,
    EVENT_CLIENT_DEAF,
    EVENT_CLIENT_HEARS,
    EVENT_CLIENT_NEW,
    EVENT_CLIENT_NEXT,
    EVENT_UPSTREAM_CLOSE,
    EVENT_UPSTREAM_EOF,
    EVENT_UPSTREAM_RESET,
    EVENT_UPSTREAM_REFUSES,
    EVENT_UPSTREAM_SILENT,
    EVENT_UPSTREAM_ACCEPTS,
    EVENT_DRAIN,
    EVENT_STOP,
    EVENT_COUNT
};

static const char *const phrases[32] = {
    "EHLO a\r\n",
    "HELO a\r\n",
    "MAIL FROM:<a@b>\r\n",
    "MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\n",
    "RCPT TO:<c@d>\r\n",
    "RCPT TO:<e@f>\r\nRCPT TO:<g@h>\r\n",
    "DATA\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "QUIT\r\n",
    "VRFY x\r\n",
    "HELP\r\n",
    "STARTTLS\r\n",
    "\r\n",
    ".\r\n",
    "\r\n.\r\n",
    "x: y\r\n",
    "\r\nbody\r\n",
    "..\r\n",
    "\n.\n",
    "\r.\r",
    "a\0b",
    "Received: x\r\n",
    " \r\n",
    "\n",
    "\r",
    ".",
    "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
    "x: y\r\n\r\nz\r\n.\r\n",
    "x: y\r\n\r\nz\r\n.\r\nQUIT\r\n",
    "GET / HTTP/1.1\r\n",
    "RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;x\r\n",
};

static const char *const replies[32] = {
    "220 hi\r\n",
    "250 ok\r\n",
    "250-a\r\n250 b\r\n",
    "250-up\r\n250-PIPELINING\r\n250 DSN\r\n",
    "250-up\r\n250-SMTPUTF8\r\n250-SIZE 100\r\n250-CHUNKING\r\n250 8BITMIME\r\n",
    "354 go\r\n",
    "421 bye\r\n",
    "450 later\r\n",
    "451 4.3.0 later\r\n",
    "500 what\r\n",
    "550 no\r\n",
    "550-a\r\n550 b\r\n",
    "554 5.0.0 no\r\n",
    "250\r\n",
    "250 \r\n",
    "250-\r\n",
    "250-a\r\n",
    "250 a\r\n550 b\r\n",
    "250-a\r\n550 b\r\n",
    "2",
    "25",
    "250",
    "250 o",
    "150 x\r\n",
    "334 x\r\n",
    "600 x\r\n",
    "x\r\n",
    "\r\n",
    "354 go\r\n250 ok\r\n",
    "221 bye\r\n",
    "250 a\n",
    "250 \xc3\xa4\r\n",
};

struct peer {
    int fd; /* -1: none */
    bool is_deaf;
    uint32_t len;
    char bytes[1 << 15];
};

struct fuzz {
    const uint8_t *data;
    size_t left;
    struct weir *weir;
    int records; /* a file in memory, where the log goes */
    struct model model;
    struct peer clients[CLIENTS_MAX];
    uint32_t client;
    struct model_conn *conn; /* the one that was asked last */
    uint32_t answer_first;
    uint32_t answer_count;
    char answers[ANSWERS_MAX][ANSWER_SIZE];
    uint64_t accepted; /* at most, by the upstream */
    bool is_strict;    /* each answer so far was one reply */
    bool is_new_world; /* this one cannot be used again */
};

static struct fuzz fuzz;

/* ---- the upstream ---- */

static bool is_special(const char *answer)
{
    return answer == MODEL_DROP || answer == MODEL_RESET || answer == MODEL_SILENT;
}

static void note_answer(enum model_stage stage, const char *answer)
{
    int len = (int)strlen(answer);
    bool owes_none = stage == STAGE_BODY;
    bool is_one = client_find_reply(answer, (uint32_t)len) == len;
    fuzz.is_strict &= is_special(answer) || (owes_none && len == 0) || (!owes_none && is_one);
    if (stage == STAGE_EOM || stage == STAGE_BODY) {
        fuzz.accepted += answer[0] == '2';
    }
}

static const char *script(struct model *model, struct model_conn *conn, enum model_stage stage,
                          const char *line, uint32_t len)
{
    (void)model; /* there is one */
    (void)line;
    (void)len;
    fuzz.conn = conn;
    if (fuzz.answer_count == 0) {
        fuzz.accepted += stage == STAGE_EOM; /* the usual answer is yes */
        return NULL;
    }
    const char *answer = fuzz.answers[fuzz.answer_first];
    fuzz.answer_first = (fuzz.answer_first + 1) % ANSWERS_MAX;
    fuzz.answer_count--;
    note_answer(stage, answer);
    return answer;
}

static char *new_answer(void)
{
    static char none[ANSWER_SIZE];
    if (fuzz.answer_count == ANSWERS_MAX) {
        return none;
    }
    uint32_t slot = (fuzz.answer_first + fuzz.answer_count) % ANSWERS_MAX;
    fuzz.answer_count++;
    return fuzz.answers[slot];
}

static bool has_upstream(void)
{
    return fuzz.conn != NULL && fuzz.conn->fd >= 0;
}

/* Nobody knows what such bytes will be taken for. */
static void blurt(const char *bytes, uint32_t len)
{
    if (has_upstream()) {
        fuzz.is_strict = false;
        fuzz.accepted++;
        (void)sim_write(fuzz.weir->sim, fuzz.conn->fd, bytes, len); /* the proxy may be gone */
    }
}

/* ---- the clients ---- */

static struct peer *peer(void)
{
    return &fuzz.clients[fuzz.client];
}

static void peer_dial(struct peer *client)
{
    if (client->fd < 0) {
        client->len = 0;
        client->is_deaf = false;
        client->fd = weir_dial(fuzz.weir);
    }
}

static void peer_close(struct peer *client)
{
    if (client->fd >= 0) {
        sim_close(fuzz.weir->sim, client->fd);
        client->fd = -1;
    }
}

static void peer_send(const char *bytes, uint32_t len)
{
    if (peer()->fd >= 0) {
        (void)sim_write(fuzz.weir->sim, peer()->fd, bytes, len); /* what does not fit is lost */
    }
}

/* What has come must be replies, and the beginning of one. */
static bool peer_read(struct peer *client)
{
    if (client->fd < 0 || client->is_deaf) {
        return false;
    }
    int64_t got = sim_read(fuzz.weir->sim, client->fd, client->bytes + client->len,
                           (uint32_t)sizeof(client->bytes) - client->len);
    if (got <= 0) {
        return false;
    }
    client->len += (uint32_t)got;
    int found;
    while ((found = client_find_reply(client->bytes, client->len)) > 0) {
        client->len -= (uint32_t)found;
        memmove(client->bytes, client->bytes + found, client->len);
    }
    assert(found == 0);
    assert(client->len < sizeof(client->bytes));
    return true;
}

/* ---- operations ---- */

static bool turn(void)
{
    bool moved = weir_turn(fuzz.weir);
    moved |= model_act(&fuzz.model);
    for (uint32_t i = 0; i < CLIENTS_MAX; i++) {
        moved |= peer_read(&fuzz.clients[i]);
    }
    return moved;
}

static void settle(void)
{
    for (int i = 0; i < TURNS_MAX && turn(); i++) {
        continue;
    }
}

static uint8_t next_byte(void)
{
    if (fuzz.left == 0) {
        return 0;
    }
    fuzz.left--;
    return *fuzz.data++;
}

/* Up to `want` bytes of the input. */
static uint32_t take(uint32_t want, const char **ret_bytes)
{
    uint32_t len = want < fuzz.left ? want : (uint32_t)fuzz.left;
    *ret_bytes = (const char *)fuzz.data;
    fuzz.data += len;
    fuzz.left -= len;
    return len;
}

static void upstream_ends(enum event event)
{
    struct sim *sim = fuzz.weir->sim;
    if (!has_upstream()) {
        return;
    }
    if (event == EVENT_UPSTREAM_EOF) {
        sim_eof(sim, fuzz.conn->fd);
        return;
    }
    if (event == EVENT_UPSTREAM_RESET) {
        sim_reset(sim, fuzz.conn->fd);
    }
    sim_close(sim, fuzz.conn->fd);
    fuzz.conn->fd = -1;
}

static void client_event(enum event event)
{
    struct peer *client = peer();
    if (event == EVENT_CLIENT_NEXT || event == EVENT_CLIENT_NEW) {
        fuzz.client = (fuzz.client + 1) % CLIENTS_MAX;
        if (event == EVENT_CLIENT_NEW) {
            peer_dial(peer());
        }
        return;
    }
    if (client->fd < 0) {
        return;
    }
    if (event == EVENT_CLIENT_EOF) {
        sim_eof(fuzz.weir->sim, client->fd);
    } else if (event == EVENT_CLIENT_DEAF || event == EVENT_CLIENT_HEARS) {
        client->is_deaf = event == EVENT_CLIENT_DEAF;
    } else {
        if (event == EVENT_CLIENT_RESET) {
            sim_reset(fuzz.weir->sim, client->fd);
        }
        peer_close(client);
    }
}

static void happen(enum event event)
{
    struct weir *weir = fuzz.weir;
    switch (event) {
    case EVENT_WAIT:
        weir_wait(weir);
        break;
    case EVENT_CLIENT_CLOSE:
    case EVENT_CLIENT_EOF:
    case EVENT_CLIENT_RESET:
    case EVENT_CLIENT_DEAF:
    case EVENT_CLIENT_HEARS:
    case EVENT_CLIENT_NEW:
    case EVENT_CLIENT_NEXT:
        client_event(event);
        break;
    case EVENT_UPSTREAM_CLOSE:
    case EVENT_UPSTREAM_EOF:
    case EVENT_UPSTREAM_RESET:
        upstream_ends(event);
        break;
    case EVENT_UPSTREAM_REFUSES:
        sim_set_connect(weir->sim, weir->listener, SIM_CONNECT_REFUSED, 10);
        break;
    case EVENT_UPSTREAM_SILENT:
        sim_set_connect(weir->sim, weir->listener, SIM_CONNECT_SILENT, 0);
        break;
    case EVENT_UPSTREAM_ACCEPTS:
        sim_set_connect(weir->sim, weir->listener, SIM_CONNECT_OK, 0);
        break;
    case EVENT_DRAIN:
    case EVENT_STOP:
        worker_ask(weir->worker, event == EVENT_DRAIN ? WORKER_DRAINING : WORKER_STOPPING);
        fuzz.is_new_world = true;
        break;
    case EVENT_COUNT:
        break;
    }
}

static void operate(uint8_t byte)
{
    uint32_t number = byte >> 3;
    const char *bytes;
    uint32_t len;
    char *answer;
    switch ((enum operation)(byte & 7)) {
    case DO_SEND:
        len = take(number < 31 ? number + 1 : 32 + 4u * next_byte(), &bytes);
        peer_send(bytes, len);
        break;
    case DO_SAY:
        peer_send(phrases[number], number == 21 ? 3 : (uint32_t)strlen(phrases[number]));
        break;
    case DO_ANSWER:
        len = take(number + 1, &bytes);
        answer = new_answer();
        memcpy(answer, bytes, len);
        answer[len] = '\0';
        break;
    case DO_REPLY:
        (void)snprintf(new_answer(), ANSWER_SIZE, "%s", replies[number]);
        break;
    case DO_BLURT:
        if (number < 28) {
            blurt(replies[number], (uint32_t)strlen(replies[number]));
        } else {
            len = take(number - 27, &bytes);
            blurt(bytes, len);
        }
        break;
    case DO_EVENT:
        happen((enum event)(number % EVENT_COUNT));
        break;
    case DO_TURNS:
        for (uint32_t i = 0; i <= number; i++) {
            (void)turn(); /* whether anything moves is of no interest */
        }
        break;
    case DO_SETTLE:
        settle();
        break;
    }
}

/* ---- one input ---- */

static void make_world(void)
{
    char path[64];
    if (fuzz.records == 0) {
        fuzz.records = memfd_create("records", 0);
        assert(fuzz.records > 0);
    }
    fuzz.weir = weir_create(&(struct weir_options){.sim = {.fd_count = 128}, .buf_count = 16});
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fuzz.records);
    (void)snprintf(fuzz.weir->config.log_target, sizeof(fuzz.weir->config.log_target), "%s", path);
    int result = log_open(&fuzz.weir->config, stderr);
    assert(result == 0);
}

static void configure(uint8_t choice, uint8_t behaviour, uint8_t seed)
{
    static const enum config_contact contacts[] = {CONTACT_RCPT, CONTACT_MAIL, CONTACT_CONNECT,
                                                   CONTACT_RCPT};
    struct config *config = &fuzz.weir->config;
    struct sim *sim = fuzz.weir->sim;
    config->upstreams[0].contact = contacts[choice & 3];
    config->upstreams[0].pool_idle = (choice >> 2) & 3;
    config->received_header = (choice & 16) == 0;
    config->errors = (choice & 32) == 0 ? 20 : 3;
    config->commands = (choice & 32) == 0 ? 1000 : 12;
    config->recipients = (choice & 32) == 0 ? 1000 : 2;
    config->message_size = (choice & 64) == 0 ? 50 << 20 : 40;
    config->listeners[0].greet_delay_ms = (choice & 128) == 0 ? 0 : 1000;
    if ((seed & 1) != 0) {
        fuzz.model.ehlo = "250-up\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
    }
    sim->random = seed;
    sim->options.short_read = (behaviour & 3) * 200;
    sim->options.short_write = ((behaviour >> 2) & 3) * 200;
    sim->options.delay = ((behaviour >> 4) & 3) * 150;
    sim->options.cancel_loses = ((behaviour >> 6) & 3) * 300;
    uint32_t extensions = EXT_PIPELINING | EXT_8BITMIME | EXT_SIZE | EXT_DSN;
    (void)upstream_note_up(&fuzz.weir->shared.upstreams[0].servers[0], extensions, 0, 0);
}

static void begin(void)
{
    if (fuzz.weir == NULL) {
        make_world();
    }
    model_init(&fuzz.model, fuzz.weir);
    fuzz.model.script = script;
    fuzz.conn = NULL;
    fuzz.client = 0;
    fuzz.answer_count = 0;
    fuzz.accepted = 0;
    fuzz.is_strict = true;
    fuzz.is_new_world = false;
    for (uint32_t i = 0; i < CLIENTS_MAX; i++) {
        fuzz.clients[i].fd = -1;
    }
    uint8_t choice = next_byte();
    uint8_t behaviour = next_byte();
    configure(choice, behaviour, next_byte());
    peer_dial(peer());
}

/* Everybody goes; what the worker holds must go as well. */
static void end(void)
{
    struct weir *weir = fuzz.weir;
    settle();
    for (uint32_t i = 0; i < CLIENTS_MAX; i++) {
        peer_close(&fuzz.clients[i]);
    }
    sim_set_connect(weir->sim, weir->listener, SIM_CONNECT_REFUSED, 0);
    for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
        if (fuzz.model.conns[i].fd >= 0) {
            sim_close(weir->sim, fuzz.model.conns[i].fd);
            fuzz.model.conns[i].fd = -1;
        }
    }
    settle();
    for (int i = 0; i < ENDS_MAX && weir_leftover(weir) != NULL; i++) {
        lease_pool_close(weir->worker, &weir->shared.upstreams[0]);
        settle();
        weir_wait(weir);
    }
    assert(weir_leftover(weir) == NULL);
    sim_set_connect(weir->sim, weir->listener, SIM_CONNECT_OK, 0);
    worker_turn(weir->worker, 0); /* the records go out at a turn's end */
}

/* Transactions that the records call accepted. */
static uint64_t count_accepted(void)
{
    static char text[RECORDS_MAX + 1];
    static const char mark[] = "\"verdict\":\"accept\"";
    ssize_t len = pread(fuzz.records, text, RECORDS_MAX, 0);
    assert(len >= 0);
    text[len] = '\0';
    int result = ftruncate(fuzz.records, 0);
    assert(result == 0);
    uint64_t count = 0;
    for (const char *at = strstr(text, mark); at != NULL; at = strstr(at + 1, mark)) {
        count++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz.data = data;
    fuzz.left = size;
    begin();
    for (int i = 0; i < OPERATIONS_MAX && fuzz.left > 0; i++) {
        operate(next_byte());
    }
    end();
    assert(count_accepted() <= fuzz.accepted);
    assert(!fuzz.is_strict || fuzz.model.violations == 0);
    if (fuzz.is_new_world) {
        weir_destroy(&fuzz.weir);
    }
    return 0;
}
