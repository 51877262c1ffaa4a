/*
 * call.h - an operation that a task waits for: sock_* calls, files, everything without a transport
 *
 * The operation lies in the waiting call's frame, and so may its buffer: the kernel uses both until it has completed.
 * Therefore a cancelled task goes on only when the kernel has let go:
 *
 *   the task is cancelled    the operation then    the call
 *   before it was submitted  -                     raises -ECANCELED
 *   while it is in flight    is cancelled          raises -ECANCELED
 *                            completes all the     delivers the result; the next call that suspends raises
 *                            same                  -ECANCELED, as if the task had been cancelled just after this one
 *
 * Nothing is lost: bytes that were read are delivered, a descriptor that was accepted has an owner.
 *
 * Operations of files that the backend does not take (coil__backend.file_kinds) are made by a thread of the loop's
 * default executor; nobody sees a difference.
 */
#ifndef COIL_IO_CALL_H
#define COIL_IO_CALL_H

#include "op.h"

typedef struct coil__call {
    struct coil__op op; /* the caller fills in what its kind uses */
    coil_future *done;
} coil__call;

void coil__call_init(coil__call *c, enum coil__op_kind kind, int fd);

/*
 * In a task, on any worker. 0: it has completed, and c->op.res is its result or a negative errno, which was not
 * raised. Else what was raised: -ECANCELED (see above), -ENOMEM, COIL_EGENERATOREXIT, or why no thread can be had.
 * When the loop is closed the operation may have completed before: whose result is a descriptor closes it if
 * c->op.res has one.
 */
COIL_SUSPENDS int coil__call_await(coil_loop *loop, coil__call *c);

/* The same, raising a negative result with "@what: ..." as its message. Returns the result, or what was raised. */
COIL_SUSPENDS int coil__call_result(coil_loop *loop, coil__call *c, const char *what);

/* io/offload.c: coil__call_await() by a thread of the default executor. */
COIL_SUSPENDS int coil__call_offload(coil_loop *loop, coil__call *c);

#endif
