/*
 * uring.h - the io_uring backend
 */
#ifndef COIL_IO_URING_H
#define COIL_IO_URING_H

#include "op.h"

/*
 * A ring of the calling thread. @ring_mode: enum coil_ring_mode. Errors: those of io_uring_setup(2); -ENOSYS, -EPERM
 * and -EINVAL mean that it is not to be had here (no io_uring, forbidden, older than Linux 6.1).
 */
#ifdef COIL_URING
extern unsigned coil__uring_sq_entries; /* of the submission queue; tests make it small */
int coil__uring_open(int ring_mode, int wake_fd, coil__backend **b);
#else
static inline int coil__uring_open(int ring_mode, int wake_fd, coil__backend **b)
{
    (void)ring_mode, (void)wake_fd;
    (void)b;
    return -ENOSYS; /* built without it */
}
#endif

#endif
