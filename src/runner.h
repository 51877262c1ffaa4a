/*
 * runner.h - runners inside
 */
#ifndef COIL_RUNNER_INTERNAL_H
#define COIL_RUNNER_INTERNAL_H

#include <coil/runner.h>

/* A runner of a loop that exists; takes it. -ENOMEM: the loop stays the caller's. */
int coil__runner_adopt(coil_loop *loop, coil_runner **runner);

/* COIL_EBUSY if @what, a function's name, is called in a running loop. */
int coil__runner_check(const char *what);

/* What a program ends with that ran @coro: prints what it raised, @rc, and dies of SIGINT if it was interrupted. */
int coil__exit_status(const coil_coro *coro, int rc);

#endif
