/*
 * agen.h - asynchronous generators inside: what the loop knows of them
 */
#ifndef COIL_AGEN_INTERNAL_H
#define COIL_AGEN_INTERNAL_H

#include "loop.h"

/* The body of a task that closes a generator. It runs even if the task is cancelled before its first step. */
int coil__agen_close_body(void *arg, void **result);

/* coil_agen_release for coroutine arguments. */
void coil__agen_release_arg(void *agen);

/* The loop is closed: it forgets its generators, which stay as they are until they are released. */
void coil__agens_forget(coil_loop *loop);

#endif
