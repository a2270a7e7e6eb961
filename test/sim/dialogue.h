/*
 * dialogue - one client, one worker, one upstream on the simulated loop: what test_limits and
 * test_states have in common. For test programs only (it fails through cmocka).
 */
#ifndef TEST_SIM_DIALOGUE_H
#define TEST_SIM_DIALOGUE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/weir_client.h"

struct dialogue {
    struct weir *weir;
    struct model model;
    struct client client;
    uint64_t memory_max;    /* seen so far */
    enum model_stage stage; /* the script says `answer` there */
    const char *answer;
    uint32_t rcpts; /* seen by the upstream */
    uint32_t resets;
    uint32_t datas;
    struct model_conn *sink; /* reads its message without keeping it */
    uint64_t sunk;
    char tail[5];
};

static inline const char *dialogue_script(struct model *model, struct model_conn *conn,
                                          enum model_stage stage, const char *line, uint32_t len)
{
    struct dialogue *world = model->arg;
    (void)line;
    (void)len;
    world->rcpts += stage == STAGE_RCPT;
    world->resets += stage == STAGE_RSET;
    world->datas += stage == STAGE_DATA;
    if (stage == world->stage && world->answer != NULL) {
        return world->answer;
    }
    if (stage == STAGE_BODY && world->sink == NULL && world->stage == STAGE_BODY) {
        world->sink = conn;
        conn->is_deaf = true; /* from here on dialogue_sink() reads */
        world->sunk = conn->len;
        conn->len = 0;
    }
    return NULL;
}

/* Reads what there is of a message that is too long to keep, and answers its end. */
static inline bool dialogue_sink(struct dialogue *world)
{
    uint32_t len;
    const char *bytes = sim_peek(world->weir->sim, world->sink->fd, &len);
    if (len == 0) {
        return false;
    }
    uint32_t seen = len < 5 ? len : 5;
    memmove(world->tail, world->tail + seen, 5 - seen);
    memcpy(world->tail + 5 - seen, bytes + len - seen, seen);
    world->sunk += len;
    sim_skip(world->weir->sim, world->sink->fd, len);
    if (memcmp(world->tail, "\r\n.\r\n", 5) == 0) {
        assert_int_equal(sim_write(world->weir->sim, world->sink->fd, "250 2.0.0 sunk\r\n", 16),
                         16);
        world->sink->is_deaf = false;
        world->sink->in_data = false;
        world->sink->has_mail = false;
        world->sink = NULL;
    }
    return true;
}

static inline bool dialogue_watch(void *arg)
{
    struct dialogue *world = arg;
    uint64_t memory = weir_memory(world->weir);
    world->memory_max = memory > world->memory_max ? memory : world->memory_max;
    return world->sink != NULL && dialogue_sink(world);
}

/* ---- a world and a client in it ---- */

static inline void open_world_with(struct dialogue *world, const struct weir_options *options)
{
    memset(world, 0, offsetof(struct dialogue, model));
    world->weir = weir_create(options);
    model_init(&world->model, world->weir);
    world->model.script = dialogue_script;
    world->model.arg = world;
    world->memory_max = 0;
    world->stage = STAGE_COUNT;
    world->answer = NULL;
    world->rcpts = 0;
    world->resets = 0;
    world->datas = 0;
    world->sink = NULL;
}

static inline struct weir_options usual_options(enum config_contact contact)
{
    return (struct weir_options){
        .sim = {.seed = 1, .fd_count = 256},
        .contact = contact,
        .extensions = EXT_PIPELINING | EXT_8BITMIME | EXT_SIZE,
        .buf_count = 64,
        .pool_idle = 4,
    };
}

static inline void open_world(struct dialogue *world, enum config_contact contact)
{
    struct weir_options options = usual_options(contact);
    open_world_with(world, &options);
}

static inline void open_client(struct dialogue *world, struct client *client)
{
    client_open(client, world->weir, &world->model);
    client->act = dialogue_watch;
    client->arg = world;
}

/* The reply begins so, and no time passes: nobody has a reason to wait. */
static inline void expect(struct client *client, const char *line, const char *begins)
{
    (void)client_command(client, line);
    assert_int_equal(client->waited_ms, 0);
    if (strncmp(client->text, begins, strlen(begins)) != 0) {
        fail_msg("%s: expected \"%s\", got \"%s\"", line, begins, client->text);
    }
}

static inline void expect_reply(struct client *client, const char *begins)
{
    (void)client_reply(client);
    if (strncmp(client->text, begins, strlen(begins)) != 0) {
        fail_msg("expected \"%s\", got \"%s\"", begins, client->text);
    }
}

static inline void say(struct client *client, const char *text)
{
    assert_true(client_send(client, text, (uint32_t)strlen(text)));
}

static inline void say_hello(struct dialogue *world, struct client *client)
{
    open_client(world, client);
    expect_reply(client, "220 mx.example.org ESMTP mailweir\r\n");
    expect(client, "EHLO client.example", "250-mx.example.org\r\n");
}

/* The upstream offers CHUNKING as well. */
static inline void open_chunking_session(struct dialogue *world, enum config_contact contact)
{
    open_world(world, contact);
    world->model.ehlo = "250-up.example\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
    say_hello(world, &world->client);
}

static inline void open_session(struct dialogue *world, enum config_contact contact)
{
    open_world(world, contact);
    say_hello(world, &world->client);
}

static inline void say_envelope(struct client *client)
{
    expect(client, "MAIL FROM:<a@example.org>", "250 ");
    expect(client, "RCPT TO:<b@example.org>", "250 ");
    expect(client, "DATA", "354 ");
}

static inline void deliver(struct client *client)
{
    uint32_t messages = client->model->messages;
    say_envelope(client);
    expect(client, "Subject: x\r\n\r\nbody\r\n.", "250 2.0.0 taken\r\n");
    assert_int_equal(client->model->messages, messages + 1);
}

static inline void close_world(struct dialogue *world)
{
    client_settle(&world->client);
    assert_int_equal(world->client.len, 0); /* no reply that nobody asked for */
    client_close(&world->client);
    client_settle(&world->client);
    assert_string_equal(world->model.violations > 0 ? world->model.violation : "none", "none");
    weir_destroy(&world->weir);
}

static inline void assert_ended(struct dialogue *world)
{
    assert_true(client_sees_end(&world->client));
}

#endif
