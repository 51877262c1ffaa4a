/*
 * backend.h - what the loop asks of the kernel: the table that io/uring.c and io/epoll.c implement
 *
 * A loop owns one backend, opened at its first run and closed with it. An operation (struct coil__op, io/op.h)
 * embeds a handle; a completed one is appended to the loop's ready queue by wait(), and nothing else happens there:
 * its handle runs in the same iteration, behind what was ready already.
 *
 * All calls come from the thread that runs the loop, its owner, but for forget(), reap_for() and for what io/op.c
 * does to cancel an operation of another worker's. These find the backend under the loop's backend_latch, under
 * which the loop takes it away before it closes it; then the backend's own latch guards all but the kernel's side of
 * it. Neither is held while the owner waits.
 *
 * I1 every submitted operation completes exactly once, cancelled or not; until then the kernel may use its buffer
 * I2 wait() makes no system call if nothing was submitted, nothing can have completed, and it must not block
 * I3 while the owner is in wait()'s system call (`waiting`) nobody else takes completions, so that none is taken
 *    from under it
 */
#ifndef COIL_BACKEND_H
#define COIL_BACKEND_H

#include <coil/loop.h>

#include "base/latch.h"
#include "handle.h"

struct coil__op;
typedef struct coil__backend coil__backend;

enum { COIL__BACKEND_FEATURES = 10 }; /* that coil_backend_info tells of (io/features.c) */

/* [BACKEND-1] relaxed: written by the owner, or under the latch; read by anybody, as statistics. */
typedef struct coil__backend_counters {
    _Atomic uint64_t kernel_waits; /* io_uring_enter, epoll_wait */
    _Atomic uint64_t submissions;
    _Atomic uint64_t completions;
} coil__backend_counters;

typedef struct coil__backend_ops {
    const char *name;
    /*
     * Submits what is pending, waits for at most @timeout_ns (0: does not block; COIL_FOREVER: no limit) for a
     * completion or a wake-up, appends the completed operations' handles to @ready. 0, or a negative errno that no
     * retry can mend.
     */
    int (*wait)(coil__backend *b, int64_t timeout_ns, coil__list *ready);
    /* Takes an operation. Never fails: what goes wrong becomes the operation's result. */
    void (*submit)(coil__backend *b, struct coil__op *op);
    /*
     * Asks for cancellation of an operation in flight, under the latch. The operation still completes, with
     * -ECANCELED, or its result if that was first. What cannot be asked for now is left in `asked`.
     */
    void (*cancel)(coil__backend *b, struct coil__op *op);
    /*
     * @fd is about to be closed; no operation on it is in flight anywhere. Called on the backends of all
     * workers, by any.
     */
    void (*forget)(coil__backend *b, int fd);
    /* Under the latch, only if receives_many: the first buffer with data, taken out of the chain; gives it back. */
    size_t (*take)(coil__backend *b, struct coil__op *op, const char **data);
    void (*give)(coil__backend *b, struct coil__op *op);
    /* The memory of that number (io/buffers.h) is about to go; the owner. NULL: nothing is known of memory. */
    void (*forget_region)(coil__backend *b, unsigned number);
    /* The calling thread is going to run the loop: makes the kernel's side its own. */
    int (*attach)(coil__backend *b);
    /* The calling thread, the owner, leaves the loop: waits for what cannot be moved to another thread. */
    void (*detach)(coil__backend *b);
    /*
     * Another worker, while the owner computes: appends what has completed to @ready, the caller's own. Returns how
     * many; 0 also if the backend is not shared (coil__backend_open), or the owner is not computing.
     */
    int (*reap_for)(coil__backend *b, coil__list *ready);
    /* Any thread, while the backend is there: whether reap_for() would find something. False if it is not shared. */
    bool (*has_completed)(coil__backend *b);
    /* Cancels what is in flight, waits until the kernel has let go of it, appends it to @ready; then frees @b. */
    void (*close)(coil__backend *b, coil__list *ready);
} coil__backend_ops;

struct coil__backend {
    const coil__backend_ops *ops;
    coil__backend_counters counters;
    _Atomic size_t in_flight; /* [BACKEND-1] operations that have not completed, and handles in `done` */
    coil__latch latch;        /* guards what follows, and the operations in flight */
    coil__list done;          /* handles of completed operations that wait() or reap_for() have still to append */
    size_t done_count;
    coil__list asked;         /* operations in flight whose cancellation is still to be asked for */
    char *scratch;            /* of the thread that runs: see coil__backend_scratch(); NULL at first */
    bool accepts_many;        /* it takes ACCEPT_MANY */
    bool receives_many;       /* it takes RECV_MANY; may become false, in a run only */
    uint32_t file_kinds;      /* that it takes: 1 << the kind of an operation of files (io/op.h). Set when it is opened */
    bool waiting;             /* I3 */
    bool shared;              /* others may collect what completes: COIL_RING_SHARED */
    const char *reason;       /* why this backend; static or owned by the backend */
    coil_backend_feature features[COIL__BACKEND_FEATURES];
};

/* Whether something was submitted that has not come back. */
static inline bool coil__backend_busy(const coil__backend *b)
{
    return load_relaxed(&b->in_flight) > 0; /* [BACKEND-1] */
}

/*
 * Opens a backend (io/backend.c). @kind: as in coil_loop_options. @ring_mode: enum coil_ring_mode. @wake_fd: an
 * eventfd; becoming readable ends a wait, and the backend reads it empty. Errors: -ENOMEM, -EMFILE, -EINVAL for an
 * unknown $COIL_BACKEND, ...; refused io_uring falls back to epoll if @kind is AUTO.
 */
int coil__backend_open(enum coil_backend_kind kind, int ring_mode, int wake_fd, coil__backend **b);

#endif
