/*
 * epoll.h - the epoll backend, for where io_uring is not to be had
 */
#ifndef COIL_IO_EPOLL_H
#define COIL_IO_EPOLL_H

#include "op.h"

/* @ring_mode: enum coil_ring_mode. */
int coil__epoll_open(int ring_mode, int wake_fd, coil__backend **b);

#endif
