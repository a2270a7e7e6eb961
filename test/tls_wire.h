/*
 * tls_wire - a piece of wire on the simulated loop that speaks TLS for an actor.
 *
 *      actor (client, model)  <-- plain -->  wire  <-- cipher -->  code under test
 *
 * The actor reads and writes its end as if there were no TLS. The wire starts in plaintext; it goes
 * over to TLS when it is told to, or, at a server, when STARTTLS comes by, which it answers itself.
 * It writes in pieces of a chosen size, and can end the connection in several ways behind a chosen
 * byte. Ends in the middle count bytes as they go out; a close_notify counts bytes of plaintext, so
 * that it stands between records.
 */
#ifndef TEST_TLS_WIRE_H
#define TEST_TLS_WIRE_H

#include "test/loop_sim.h"
#include "tls/tls.h"
#include "tls/tls_ctx.h"

enum wire_mode { WIRE_PLAIN, WIRE_SHAKE, WIRE_ON, WIRE_FAILED };
enum wire_end { WIRE_EOF, WIRE_RESET, WIRE_GARBAGE, WIRE_SILENT, WIRE_NOTIFY, WIRE_ENDS };

enum { WIRE_IN_MAX = 1 << 17, WIRE_OUT_MAX = 1 << 18 };

struct tls_wire {
    struct sim *sim;
    int plain; /* the wire's end towards the actor; -1: closed */
    int outer; /* the actor's end of the real connection; -1: closed */
    enum wire_mode mode;
    bool is_due; /* TLS begins when what is gathered is out */
    bool outer_ended;
    bool is_mute;        /* writes no more */
    bool saw_close;      /* the code under test has said close_notify */
    bool refuses;        /* its handshake goes wrong on purpose */
    struct tls_ctx *ctx; /* NULL: never TLS; decides which side it is */
    bool is_server;
    const char *starttls; /* a server's answer to STARTTLS; NULL: the actor's matter */
    struct tls tls;
    uint32_t step;   /* bytes a turn; 0: all */
    uint64_t count;  /* bytes that went out */
    uint64_t text;   /* plaintext that was encrypted */
    uint64_t end_at; /* UINT64_MAX: no end */
    enum wire_end end;
    uint32_t in_len;
    uint32_t out_len;
    char in[WIRE_IN_MAX];
    char out[WIRE_OUT_MAX];
};

/* Puts the wire between `outer` and the actor, whose end is returned. */
int wire_open(struct tls_wire *wire, struct sim *sim, int outer, struct tls_ctx *ctx,
              bool is_server);

/* TLS begins once what was written before is out. */
void wire_secure(struct tls_wire *wire);

/* Bytes for the other side, as they are, behind what is gathered. */
void wire_put(struct tls_wire *wire, const char *bytes, uint32_t len);

/* Moves what can be moved. True when anything was. */
bool wire_act(struct tls_wire *wire);

/* Closes what is open and ends the session. */
void wire_close(struct tls_wire *wire);

#endif
