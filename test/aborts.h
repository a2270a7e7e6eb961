/*
 * aborts - does a call end in an assert? Looked at in a child process, so that the test goes on.
 */
#ifndef TEST_ABORTS_H
#define TEST_ABORTS_H

#include <stdbool.h>

/* True when `run(arg)` in a child dies of SIGABRT; false when it returns or dies otherwise. What
 * the assert prints is dropped. */
bool aborts(void (*run)(void *arg), void *arg);

#endif
