/*
 * uring_compat.h - liburing, and what its version 2.3 lacks
 *
 * The one file that includes <liburing.h>; included by uring.c and uring_probe.c only. Constants are the kernel's
 * (include/uapi/linux/io_uring.h).
 *
 * coil__uring_flush() exists because liburing offers no way to publish prepared requests without entering the kernel
 * with flags of its own choice, and IORING_ENTER_NO_IOWAIT is not among them. It does what liburing's own
 * __io_uring_flush_sq() does, for rings with an index array (2.3) and without one (2.6 and later).
 */
#ifndef COIL_IO_URING_COMPAT_H
#define COIL_IO_URING_COMPAT_H

#include <liburing.h>

#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7) /* Linux 6.15 */
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
#ifndef IORING_FEAT_MIN_TIMEOUT
#define IORING_FEAT_MIN_TIMEOUT (1U << 15) /* Linux 6.12 */
#endif

/* Of all of coil's rings; each has DEFER_TASKRUN or COOP_TASKRUN as well. */
#define COIL__URING_FLAGS \
    (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP)

/* Requests that were prepared but not published. */
static inline unsigned coil__uring_prepared(const struct io_uring *ring)
{
    return ring->sq.sqe_tail - ring->sq.sqe_head;
}

/* Publishes what is prepared; returns how many requests the kernel has not taken yet. */
static inline unsigned coil__uring_flush(struct io_uring *ring)
{
    struct io_uring_sq *sq = &ring->sq;
    unsigned tail = *sq->ktail, mask = *sq->kring_mask;
    while (sq->sqe_head != sq->sqe_tail) {
        if (sq->array)
            sq->array[tail & mask] = sq->sqe_head & mask;
        tail++;
        sq->sqe_head++;
    }
    io_uring_smp_store_release(sq->ktail, tail);
    return tail - io_uring_smp_load_acquire(sq->khead);
}

/* The oldest visible completion, or NULL. Unlike io_uring_peek_cqe() it never enters the kernel. */
static inline const struct io_uring_cqe *coil__uring_first(const struct io_uring *ring)
{
    unsigned head = *ring->cq.khead;
    if (head == io_uring_smp_load_acquire(ring->cq.ktail))
        return NULL;
    return &ring->cq.cqes[head & *ring->cq.kring_mask];
}

/* Whether the kernel has something that only an enter brings out. */
static inline bool coil__uring_needs_enter(const struct io_uring *ring)
{
    return IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

#endif
