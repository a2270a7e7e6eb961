/*
 * lists_world - the checks that ask lists, on their way through the chain, against a table of records. A set-up
 * that fails is a failed assert.
 */
#ifndef TEST_LISTS_WORLD_H
#define TEST_LISTS_WORLD_H

#include <netinet/in.h>

#include "filters/chain.h"
#include "filters/verify_conf.h"
#include "test/fake_dns.h"

struct lists_world {
    struct loop *loop;
    struct fake_dns fake;
    struct verify_conf conf; /* reject at 3; the test adds its lists */
    struct findings findings;
    struct sockaddr_storage client;
    struct chain *chain;
    int done; /* calls of the chain's */
};

struct lists_world *lists_world_create(const char *client);

/* The lists of `scope` are asked; HELO and reverse-path are for those of domains. */
void lists_begin(struct lists_world *world, enum chain_scope scope, const char *helo,
                 const char *from);

/* Runs to the end; the verdict. */
struct verdict lists_finish(struct lists_world *world);

/* True when all is known; else not before 50 ms have passed. */
bool lists_await(struct lists_world *world);

/* Turns of the loop until `done` has come, or too many. */
void lists_run_to_deadline(struct lists_world *world);

void lists_world_destroy(struct lists_world *world);
/* The same when the chain is cancelled already. */
void lists_world_free(struct lists_world *world);

#endif
