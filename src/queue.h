/*
 * queue.h - queues inside: for those who must be able to put
 */
#ifndef COIL_QUEUE_INTERNAL_H
#define COIL_QUEUE_INTERNAL_H

#include <coil/queue.h>

/* Makes room for @n items (fewer than SIZE_MAX / 16), so that the queue does not allocate before it holds more. */
int coil__queue_reserve(coil_queue *queue, size_t n);

#endif
