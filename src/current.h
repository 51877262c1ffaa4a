/*
 * current.h - what is running on this thread
 *
 * The one place that knows a thread-local variable. A task may resume on another thread after any suspension, so the
 * result of coil__current() must not be kept across one; the accessor is opaque to the optimiser, so that the compiler
 * does not keep the address either.
 */
#ifndef COIL_CURRENT_H
#define COIL_CURRENT_H

#include <coil/base.h>

struct coil__stack;

typedef struct coil__current_state {
    coil_loop *loop;                     /* running on this thread, or NULL */
    struct coil__task *task;             /* whose step is running, or NULL */
    coil_error *error;                   /* the current error outside tasks; owned */
    coil_context *context;               /* the current context outside tasks; owned; NULL is the empty one */
    struct coil__stack *volatile stack;  /* of the running coroutine; NULL: the thread's own (overflow report) */
    bool owns;                           /* coil__current_own() was called */
    coil_loop *set_loop;                 /* what coil_set_event_loop() gave */
    struct coil_job *job;                /* whose function is running here (executor.c), or NULL */
} coil__current_state;

coil__current_state *coil__current(void);

/* The thread has come to own something (error, context): release it when the thread ends. */
void coil__current_own(coil__current_state *current);

#endif
