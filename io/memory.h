/*
 * memory.h - a wire without a kernel: two ends in memory, for streams that are connected to each other in tests
 *
 * Each end is a transport's, which uses these functions instead of those of op.h with the same names, with its latch
 * held or not. What one end writes the other reads; each way has room for some bytes, as a socket has. Ends may be
 * used on different workers: the pair's latch guards all of it.
 *
 * I1 an end has at most one operation that reads and one that writes in flight, and none when it is closed
 * I2 the pair is freed with its second end
 * I3 a reading operation is in flight only while there is nothing to read, a writing one only while there is no room
 */
#ifndef COIL_IO_MEMORY_H
#define COIL_IO_MEMORY_H

#include "op.h"

struct coil__memory_end;

/* A pair, with room for @capacity bytes each way. Errors: -ENOMEM. */
int coil__memory_open(coil_loop *loop, size_t capacity, struct coil__memory_end *ends[2]);

/* READ, WRITE: the number of bytes; -EAGAIN; 0 at the end of what the other end writes; -EPIPE if nobody reads. */
int coil__memory_try(struct coil__memory_end *end, const struct coil__op *op);

/* POLL: waits until READ would have a result. WRITE: waits for room, and writes. As coil__op_submit(). */
void coil__memory_submit(struct coil__memory_end *end, struct coil__op *op);
void coil__memory_cancel(struct coil__memory_end *end, struct coil__op *op);

/* The other end reads what there is, and then the end. */
void coil__memory_shut_down(struct coil__memory_end *end);

/* Gives the end back. */
void coil__memory_close(struct coil__memory_end *end);

#endif
