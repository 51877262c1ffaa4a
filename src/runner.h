/*
 * runner.h - runners inside
 */
#ifndef COIL_RUNNER_INTERNAL_H
#define COIL_RUNNER_INTERNAL_H

#include <coil/runner.h>

/* A runner of a loop that exists; takes it. -ENOMEM: the loop stays the caller's. */
int coil__runner_adopt(coil_loop *loop, coil_runner **runner);

#endif
