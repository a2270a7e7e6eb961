/*
 * holding - see test/holding.h.
 */
#include "test/holding.h"

#include <stdlib.h>
#include <unistd.h>

#include "net/dns_zone.h"
#include "test/dns_liar.h"

/* ---- the DNS server ---- */

static void line_close(struct holding *world, struct dns_line *line)
{
    sim_close(world->talk.weir->sim, line->fd);
    *line = (struct dns_line){.fd = -1};
}

static bool line_answer(struct holding *world, struct dns_line *line)
{
    static struct liar liar;
    struct sim *sim = world->talk.weir->sim;
    if (line->len == 0 || world->answers_after_ms == DNS_NEVER || sim_now_ms(sim) < line->due_ms) {
        return false;
    }
    liar_answer(&liar, LIE_NO_NAME, false, line->ask, line->len);
    (void)sim_write(sim, line->fd, liar.messages[0].bytes,
                    liar.messages[0].len); /* or it is lost */
    line->len = 0;
    return true;
}

static bool line_act(struct holding *world, struct dns_line *line)
{
    struct sim *sim = world->talk.weir->sim;
    if (line->len > 0) {
        return line_answer(world, line);
    }
    int64_t len = sim_read(sim, line->fd, line->ask, sizeof(line->ask));
    if (len > 0) {
        line->len = (uint32_t)len;
        line->due_ms = sim_now_ms(sim) + world->answers_after_ms;
        world->asked++;
        (void)line_answer(world, line); /* if it is due at once */
        return true;
    }
    if (len == 0 || sim_room(sim, line->fd) == 0) {
        line_close(world, line);
    }
    return false;
}

static bool dns_act(struct holding *world)
{
    bool moved = false;
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        struct dns_line *line = &world->lines[i];
        if (line->fd < 0) {
            int fd = sim_accept(world->talk.weir->sim, world->talk.weir->dns);
            line->fd = fd >= 0 ? fd : -1;
        }
        moved |= line->fd >= 0 && line_act(world, line);
    }
    return moved;
}

bool holding_act(void *arg)
{
    struct holding *world = arg;
    bool moved = dialogue_watch(&world->talk);
    return (world->talk.weir->dns >= 0 && dns_act(world)) || moved;
}

/* ---- the upstream ---- */

static const char *holding_script(struct model *model, struct model_conn *conn,
                                  enum model_stage stage, const char *line, uint32_t len)
{
    struct holding *world = model->arg;
    bool is_envelope = stage == STAGE_RSET || stage == STAGE_MAIL || stage == STAGE_RCPT;
    if (is_envelope || stage == STAGE_DATA) {
        char *at = world->said + world->said_len;
        int put = snprintf(at, SAID_MAX - world->said_len, "%u %.*s", conn->number, (int)len, line);
        world->said_len += (uint32_t)put;
        assert_true(world->said_len < SAID_MAX);
    }
    return dialogue_script(model, conn, stage, line, len);
}

void holding_expect_said(struct holding *world, const char *text)
{
    assert_string_equal(world->said, text);
    world->said_len = 0;
    world->said[0] = '\0';
}

void holding_offer(struct holding *world, bool chunking)
{
    world->talk.model.ehlo =
        chunking ? "250-up.example\r\n250-CHUNKING\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME\r\n"
                 : "250-up.example\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME\r\n";
}

void holding_expect_message(const struct holding *world, const char *text, uint32_t len)
{
    const struct model *model = &world->talk.model;
    assert_int_equal(model->last_len, len);
    assert_memory_equal(model->last, text, len);
}

/* ---- the world ---- */

static struct dns_zone *read_zone(void)
{
    static const char text[] = HOLDING_ZONE;
    char path[] = "/tmp/test_hold.XXXXXX";
    char error[256];
    struct dns_zone *zone = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    int result = dns_zone_read(&zone, path, error, sizeof(error));
    unlink(path);
    assert_int_equal(result, 0);
    return zone;
}

void holding_open(struct holding *world, enum config_verify_mode mode, struct weir_options options,
                  bool is_slow)
{
    world->zone = is_slow ? NULL : read_zone();
    world->answers_after_ms = DNS_NEVER;
    world->asked = 0;
    world->said_len = 0;
    world->said[0] = '\0';
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        world->lines[i] = (struct dns_line){.fd = -1};
    }
    options.verify = mode;
    options.zone = world->zone;
    options.has_dns = is_slow;
    options.no_received = true;
    options.extensions |= EXT_DSN;
    open_world_with(&world->talk, &options);
    world->talk.model.script = holding_script;
    holding_offer(world, false);
    struct config *config = &world->talk.weir->config;
    config->trace_header[0] = '\0';
    config->verify.spf.action = ACTION_OFF;
    config->verify.dkim.action = ACTION_OFF;
    config->verify.dmarc.action = ACTION_OFF;
}

void holding_set_list(struct holding *world)
{
    struct verify_conf *verify = &world->talk.weir->config.verify;
    struct verify_zone *zone = &verify->dnsbl.zones[verify->dnsbl.zone_count++];
    (void)snprintf(zone->name, sizeof(zone->name), "bl.test");
    zone->weight = 3;
    zone->range_count = 1;
    zone->ranges[0] = (struct verify_range){0x7f000002, 0x7f000002};
}

void holding_hello(struct holding *world, struct client *client)
{
    client_open(client, world->talk.weir, &world->talk.model);
    client->act = holding_act;
    client->arg = world;
    expect_reply(client, "220 mx.example.org ESMTP mailweir\r\n");
    expect(client, "EHLO client.example", "250-mx.example.org\r\n");
}

void holding_close(struct holding *world)
{
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        if (world->lines[i].fd >= 0) {
            line_close(world, &world->lines[i]);
        }
    }
    close_world(&world->talk);
    dns_zone_destroy(&world->zone);
}

void holding_envelope(struct client *client, const char *from)
{
    char line[128];
    (void)snprintf(line, sizeof(line), "MAIL FROM:<%s>", from);
    expect(client, line, "250 ");
    expect(client, "RCPT TO:<b@example.net>", "250 ");
    expect(client, "DATA", "354 ");
}

enum session_state holding_state(const struct holding *world)
{
    const struct session *session = weir_session(world->talk.weir);
    return session == NULL ? SESSION_CLOSING : (enum session_state)session->state;
}

void holding_pass_time(struct holding *world, int64_t ms)
{
    sim_advance(world->talk.weir->sim, ms);
    client_settle(&world->talk.client);
}
