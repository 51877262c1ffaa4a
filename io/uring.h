/*
 * uring.h - the io_uring backend
 */
#ifndef COIL_IO_URING_H
#define COIL_IO_URING_H

#include "op.h"

/*
 * A ring of the calling thread. Errors: those of io_uring_setup(2); -ENOSYS, -EPERM and -EINVAL mean that it is
 * not to be had here (no io_uring, forbidden, older than Linux 6.1).
 */
#ifdef COIL_URING
int coil__uring_open(int wake_fd, coil__backend **b);
#else
static inline int coil__uring_open(int wake_fd, coil__backend **b)
{
    (void)wake_fd;
    (void)b;
    return -ENOSYS; /* built without it */
}
#endif

#endif
