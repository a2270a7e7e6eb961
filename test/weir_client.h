/*
 * weir_client - a client as an actor on the simulated loop: it sends, waits for whole replies, and
 * knows how long it waited.
 *
 * Waiting runs the worker, the model upstream and the test's own actor by turns. The clock moves
 * only when all of them stand still, so the virtual time of a wait is the time that the code under
 * test let pass.
 */
#ifndef TEST_WEIR_CLIENT_H
#define TEST_WEIR_CLIENT_H

#include "test/model_upstream.h"

enum {
    CLIENT_BYTES_MAX = 1 << 15,
    CLIENT_WAIT_MAX_MS = 660 * 1000, /* nobody may be kept waiting longer; see client_reply() */
    CLIENT_ENDED = 0,                /* instead of a code: the connection is over */
    CLIENT_STUCK = -1,               /* no reply in time */
    CLIENT_NONSENSE = -2,            /* what came is no reply */
};

/* Acts once; true when it did anything. */
typedef bool client_actor(void *arg);

struct client {
    struct weir *weir;
    struct model *model; /* NULL: no upstream acts */
    client_actor *act;   /* NULL: none */
    void *arg;
    int fd;            /* -1: closed by us */
    bool ended;        /* the other side has closed, in whatever way */
    int64_t waited_ms; /* for the last reply, or for its absence */
    uint32_t replies;  /* so far */
    uint32_t text_len;
    uint32_t len;
    char text[CLIENT_BYTES_MAX];  /* the last reply, all lines, with a NUL behind */
    char bytes[CLIENT_BYTES_MAX]; /* received and not yet looked at */
};

/* Connects. The greeting is the first reply. */
void client_open(struct client *client, struct weir *weir, struct model *model);

/* False when not all of it was taken: the connection is gone, or the other side does not read. */
bool client_send(struct client *client, const char *bytes, uint32_t len);

/* The next reply: its code, with the bytes in client->text; or one of the values above. */
int client_reply(struct client *client);

/* Sends `line` and a CRLF and waits for the reply. */
int client_command(struct client *client, const char *line);

/* Lets everything happen that can without time passing, and takes in what was sent to the client.
 */
void client_settle(struct client *client);

/* Waits until the other side closes. False when it does not within the limit, or says something
 * more. */
bool client_sees_end(struct client *client);

/* Closes our end, if it is open. */
void client_close(struct client *client);

/* Length of the first complete reply in the bytes (RFC 5321, 4.2, read strictly), 0 when there is
 * none so far, -1 when there can be none any more. A second opinion, independent of core/. */
int client_find_reply(const char *bytes, uint32_t len);

#endif
