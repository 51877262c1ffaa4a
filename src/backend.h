/*
 * backend.h - what the loop asks of the kernel: the table that io/uring.c and io/epoll.c implement
 *
 * The loop owns one backend, opened at its first run and closed with it. All calls come from the thread that runs the
 * loop. An operation (struct coil__op, io/op.h) embeds a handle; a completed one is appended to the loop's ready queue
 * by wait(), and nothing else happens there: its handle runs in the same iteration, behind what was ready already.
 *
 * I1 every submitted operation completes exactly once, cancelled or not; until then the kernel may use its buffer
 * I2 wait() makes no system call if nothing was submitted, nothing can have completed, and it must not block
 */
#ifndef COIL_BACKEND_H
#define COIL_BACKEND_H

#include <coil/loop.h>
#include "handle.h"

struct coil__op;
typedef struct coil__backend coil__backend;

typedef struct coil__backend_counters {
    uint64_t kernel_waits; /* io_uring_enter, epoll_wait */
    uint64_t submissions;
    uint64_t completions;
} coil__backend_counters;

typedef struct coil__backend_ops {
    const char *name;
    /*
     * Submits what is pending, waits for at most @timeout_ns (0: does not block; COIL_FOREVER: no limit) for a completion
     * or a wake-up, appends the completed operations' handles to @ready. 0, or a negative errno that no retry can mend.
     */
    int (*wait)(coil__backend *b, int64_t timeout_ns, coil__list *ready);
    /* Takes an operation. Never fails: what goes wrong becomes the operation's result. */
    void (*submit)(coil__backend *b, struct coil__op *op);
    /* Asks for cancellation. The operation still completes, with -ECANCELED, or its result if that was first. */
    void (*cancel)(coil__backend *b, struct coil__op *op);
    /* @fd is about to be closed; no operation on it is in flight. */
    void (*forget)(coil__backend *b, int fd);
    /* The calling thread is going to run the loop: makes the kernel's side its own. */
    int (*attach)(coil__backend *b);
    /* Cancels what is in flight, waits until the kernel has let go of it, appends it to @ready; then frees @b. */
    void (*close)(coil__backend *b, coil__list *ready);
} coil__backend_ops;

struct coil__backend {
    const coil__backend_ops *ops;
    coil__backend_counters counters;
    size_t in_flight;   /* operations submitted whose handles wait() has not appended yet */
    coil__list done;    /* handles of completed operations that wait() has still to append */
    size_t done_count;
    const char *reason; /* why this backend; static or owned by the backend */
};

/*
 * Opens a backend (io/backend.c). @kind: as in coil_loop_options. @wake_fd: an eventfd; becoming readable ends a wait, and
 * the backend reads it empty. Errors: -ENOMEM, -EMFILE, -EINVAL for an unknown $COIL_BACKEND, ...; refused io_uring falls
 * back to epoll if @kind is AUTO.
 */
int coil__backend_open(enum coil_backend_kind kind, int wake_fd, coil__backend **b);

#endif
