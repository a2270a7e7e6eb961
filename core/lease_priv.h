/*
 * lease_priv - what the two halves of the lease share: lease.c (one connection) and lease_pool.c
 * (leases between owners). Nobody else includes it.
 */
#ifndef CORE_LEASE_PRIV_H
#define CORE_LEASE_PRIV_H

#include "core/lease.h"

void lease_enter(struct lease *lease, enum lease_state state);
uint32_t lease_group(const struct lease *lease); /* index of its upstream */
struct upstream_server *lease_server(const struct lease *lease);
void lease_set_deadline(struct lease *lease, int64_t timeout_ms);
void lease_forget_owner(struct lease *lease);

/* Counts the lease in, or out of, its server's active ones. */
void lease_count_held(struct lease *lease, bool is_held);

/* True when its server has another address by now: what it does says nothing about the server. */
bool lease_is_outdated(const struct lease *lease);

/* NULL when the worker's leases are all out. The state is NEXT. */
struct lease *lease_create(struct worker *worker, struct upstream *upstream, lease_poke *poke,
                           void *owner);

/* From NEXT: to this server (-1: none was found), else to the next one. */
void lease_connect(struct lease *lease, int server);

/* From NEXT, with a closed stream: CONNECTING, WAITING or LOST. */
void lease_connect_next(struct lease *lease);

/* Connection or protocol lost; the reason is what and why. The caller pokes the owner. */
void lease_lose(struct lease *lease, const char *what, const char *why);

/* Say QUIT, or close at once; the lease has no owner afterwards and frees itself. */
void lease_quit(struct lease *lease);
void lease_close(struct lease *lease);

/* Steps of opening, for lease_tls.c. lease_say() puts a line (with its CRLF) and enters `state`. */
void lease_say(struct lease *lease, enum lease_state state, const char *line);
void lease_say_hello(struct lease *lease, enum lease_state state, const char *verb);
void lease_ready(struct lease *lease);
/* Reads on, unless the connection has just been lost. */
void lease_read(struct lease *lease);
/* Looks at what is in the window while opening, and reads on. */
void lease_received(struct lease *lease);
void lease_refused(struct lease *lease, const char *what, const struct smtp_reply *reply);

/* lease_tls.c's part of opening. */
bool lease_is_implicit(const struct lease *lease);
void lease_hello_done(struct lease *lease);
void lease_starttls_answered(struct lease *lease, const struct smtp_reply *reply);
void lease_secure(struct lease *lease);
void lease_secured(struct lease *lease, int result);
/* The connection is lost for a reason of TLS: an opportunistic one may be tried without. */
void lease_lose_tls(struct lease *lease, const char *why);

/* lease_pool.c's part of opening and of the idle timer. */
void lease_wait(struct lease *lease);
void lease_wait_over(struct lease *lease);
void lease_leave_pool(struct lease *lease);

#endif
