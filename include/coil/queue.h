/*
 * coil/queue.h - queues between tasks of one loop, in a runtime from any of its workers: FIFO, LIFO, priority
 *
 * Items are pointers. What is still in a queue when it is freed is given to the queue's drop function. Who gets an
 * item sees what was written before it was put. In a runtime what qsize, empty and full answer may be over when the
 * caller looks at it. Source: asyncio.queues.
 */
#ifndef COIL_QUEUE_H
#define COIL_QUEUE_H

#include <coil/coro.h>
COIL_BEGIN

typedef struct coil_queue coil_queue;

/*
 * Whether a comes before b: 1, 0, or a negative code, which put or get then raises. It must not suspend, nor use the
 * queue, which in a runtime is closed to the other workers meanwhile.
 */
typedef int coil_queue_less(const void *a, const void *b);

/** coil_queue_new - first in, first out. @items_max: 0 or negative for no bound. Gives. Errors: -ENOMEM. */
COIL_ANY_THREAD int coil_queue_new(ssize_t items_max, coil_queue **queue);
COIL_ANY_THREAD int coil_lifo_queue_new(ssize_t items_max, coil_queue **queue);

/** coil_priority_queue_new - the least item first: Python's heapq on @less. */
COIL_ANY_THREAD int coil_priority_queue_new(ssize_t items_max, coil_queue_less *less, coil_queue **queue);

/** coil_queue_set_drop - @drop gets each item that is left when the queue is freed. */
COIL_ON_LOOP void coil_queue_set_drop(coil_queue *queue, void (*drop)(void *item));

/** coil_queue_free - nobody may be waiting (asserted); NULL is allowed. */
COIL_ON_LOOP void coil_queue_free(coil_queue *queue);

/** coil_queue_put - wait for room, then put. Takes @item; on failure it stays the caller's. Errors: -ECANCELED, -ENOMEM. */
COIL_IN_TASK COIL_SUSPENDS int coil_queue_put(coil_queue *queue, void *item);

/** coil_queue_get - wait for an item, then take it: gives @item. Errors: -ECANCELED (no item was taken). */
COIL_IN_TASK COIL_SUSPENDS int coil_queue_get(coil_queue *queue, void **item);

/** coil_queue_put_nowait - Errors: COIL_EQUEUEFULL, -ENOMEM. */
COIL_ON_LOOP int coil_queue_put_nowait(coil_queue *queue, void *item);

/** coil_queue_get_nowait - Errors: COIL_EQUEUEEMPTY. */
COIL_ON_LOOP int coil_queue_get_nowait(coil_queue *queue, void **item);

/** coil_queue_join - wait until task_done was called for every item put. */
COIL_IN_TASK COIL_SUSPENDS int coil_queue_join(coil_queue *queue);

/** coil_queue_task_done - Errors: -EINVAL if called more often than items were put. */
COIL_ON_LOOP int coil_queue_task_done(coil_queue *queue);

COIL_ON_LOOP size_t coil_queue_qsize(const coil_queue *queue);
COIL_ON_LOOP bool coil_queue_empty(const coil_queue *queue);
COIL_ON_LOOP bool coil_queue_full(const coil_queue *queue);
COIL_ON_LOOP ssize_t coil_queue_maxsize(const coil_queue *queue);

/* As coroutines; the queue is borrowed until they end. A get's result is the item. */
COIL_ON_LOOP coil_coro coil_queue_put_coro(coil_queue *queue, void *item);
COIL_ON_LOOP coil_coro coil_queue_get_coro(coil_queue *queue);
COIL_ON_LOOP coil_coro coil_queue_join_coro(coil_queue *queue);

COIL_END
#endif
