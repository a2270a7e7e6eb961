/*
 * weir_client - see test/weir_client.h.
 */
#include "test/weir_client.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { TURNS_MAX = 2000000, QUIET_MAX = 10000 };

void client_open(struct client *client, struct weir *weir, struct model *model)
{
    memset(client, 0, offsetof(struct client, text));
    client->weir = weir;
    client->model = model;
    client->fd = weir_dial(weir);
}

bool client_send(struct client *client, const char *bytes, uint32_t len)
{
    return client->fd >= 0 && sim_write(client->weir->sim, client->fd, bytes, len) == (int64_t)len;
}

static bool is_code(const char *line)
{
    return line[0] >= '2' && line[0] <= '5' && line[1] >= '0' && line[1] <= '9' && line[2] >= '0' &&
           line[2] <= '9';
}

/* A line of a reply is good: code, separator, text without control characters. */
static bool is_line(const char *line, uint32_t len)
{
    if (len < 3 || !is_code(line) || (len > 3 && line[3] != ' ' && line[3] != '-')) {
        return false;
    }
    for (uint32_t i = 3; i < len; i++) {
        if (((uint8_t)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

int client_find_reply(const char *bytes, uint32_t len)
{
    uint32_t at = 0;
    while (at < len) {
        const char *line = bytes + at;
        const char *lf = memchr(line, '\n', len - at);
        if (lf == NULL) {
            return 0;
        }
        uint32_t line_len = (uint32_t)(lf - line);
        bool good = line_len > 0 && lf[-1] == '\r' && is_line(line, line_len - 1);
        if (!good || memcmp(line, bytes, 3) != 0) {
            return -1;
        }
        at += line_len + 1;
        if (line_len == 4 || line[3] == ' ') {
            return (int)at;
        }
    }
    return 0;
}

/* Takes in what has arrived. True when anything had. */
static bool client_take_in(struct client *client)
{
    if (client->fd < 0 || client->ended) {
        return false;
    }
    int64_t got = sim_read(client->weir->sim, client->fd, client->bytes + client->len,
                           CLIENT_BYTES_MAX - client->len);
    if (got > 0) {
        client->len += (uint32_t)got;
    } else if (got != -EAGAIN && client->len < CLIENT_BYTES_MAX) {
        client->ended = true;
    }
    return got > 0 || client->ended;
}

/* One turn of everybody. */
static bool everybody(struct client *client)
{
    bool moved = weir_turn(client->weir);
    if (client->model != NULL) {
        moved |= model_act(client->model);
    }
    if (client->act != NULL) {
        moved |= client->act(client->arg);
    }
    return moved;
}

/* A complete reply is taken off the bytes. Its code, or 0. */
static int take_reply(struct client *client)
{
    int found = client_find_reply(client->bytes, client->len);
    if (found < 0) {
        return CLIENT_NONSENSE;
    }
    if (found == 0) {
        return 0;
    }
    memcpy(client->text, client->bytes, (uint32_t)found);
    client->text[found] = '\0';
    client->text_len = (uint32_t)found;
    client->len -= (uint32_t)found;
    memmove(client->bytes, client->bytes + found, client->len);
    client->replies++;
    return (client->text[0] - '0') * 100 + (client->text[1] - '0') * 10 + client->text[2] - '0';
}

int client_reply(struct client *client)
{
    int64_t begun_ms = sim_now_ms(client->weir->sim);
    client->text[0] = '\0';
    client->text_len = 0;
    for (uint32_t turn = 0; turn < TURNS_MAX; turn++) {
        int code = take_reply(client);
        client->waited_ms = sim_now_ms(client->weir->sim) - begun_ms;
        if (code != 0) {
            return code;
        }
        if (client->ended || client->fd < 0) {
            return client->len == 0 ? CLIENT_ENDED : CLIENT_NONSENSE;
        }
        bool moved = everybody(client);
        if (client_take_in(client) || moved) {
            continue;
        }
        if (client->waited_ms > CLIENT_WAIT_MAX_MS) {
            return CLIENT_STUCK;
        }
        weir_wait(client->weir);
    }
    return CLIENT_STUCK;
}

int client_command(struct client *client, const char *line)
{
    if (!client_send(client, line, (uint32_t)strlen(line)) || !client_send(client, "\r\n", 2)) {
        client_settle(client); /* the other side is gone: what it said last may still be here */
    }
    return client_reply(client);
}

void client_settle(struct client *client)
{
    for (uint32_t turn = 0; turn < QUIET_MAX; turn++) {
        bool moved = everybody(client);
        if (!client_take_in(client) && !moved) {
            return;
        }
    }
}

bool client_sees_end(struct client *client)
{
    return client_reply(client) == CLIENT_ENDED;
}

void client_close(struct client *client)
{
    if (client->fd >= 0) {
        sim_close(client->weir->sim, client->fd);
        client->fd = -1;
    }
}
