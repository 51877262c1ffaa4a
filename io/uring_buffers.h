/*
 * uring_buffers.h - a ring's provided buffers: the kernel takes one when data arrive, not before
 *
 * Thousands of connections that wait for data share them. A buffer is in the kernel's ring, or it has data and is in
 * the chain of the operation that they belong to (op->first .. op->last), or it was taken out of that and is to be given back.
 * Owned by the io_uring backend, under its latch.
 *
 * I1 bytes[n] is 0 exactly if buffer n is in the kernel's ring
 *
 * Source: io_uring_register_buf_ring(3), io_uring_buf_ring_add(3).
 */
#ifndef COIL_IO_URING_BUFFERS_H
#define COIL_IO_URING_BUFFERS_H

#include "op.h"

struct io_uring;
struct io_uring_buf_ring;

#define COIL__BUFFERS_GROUP 0

typedef struct coil__buffers {
    struct io_uring_buf_ring *ring; /* owned, with what follows; NULL: none */
    char *memory;
    size_t mapped_bytes;
    uint32_t *bytes; /* I1 */
    uint16_t *next;  /* in a chain */
} coil__buffers;

/* Makes the buffers, and gives those that have no data to @uring; again for another ring. 0 or a negative errno. */
int coil__buffers_open(coil__buffers *b, struct io_uring *uring);

/* No ring uses them any more. */
void coil__buffers_close(coil__buffers *b);

/* The kernel has put @bytes into buffer @number, for @op. */
void coil__buffers_chain(coil__buffers *b, struct coil__op *op, uint16_t number, uint32_t bytes);

/* For coil__backend_ops. */
size_t coil__buffers_take(coil__buffers *b, struct coil__op *op, const char **data);
void coil__buffers_give(coil__buffers *b, uint16_t number);

#endif
