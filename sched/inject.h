/*
 * inject.h - the queue that all workers share: tasks from outside the runtime, and what found no room inside
 *
 * Any thread may call anything. First in, first out, under a mutex: it is the slow way in, taken rarely and in
 * batches. To find it empty costs one load and no lock.
 *
 * I1 length is the number of nodes, changed only under the mutex
 */
#ifndef COIL_SCHED_INJECT_H
#define COIL_SCHED_INJECT_H

#include <pthread.h>
#include <stdalign.h>

#include "../src/base/atomic.h"
#include "../src/base/list.h"

typedef struct coil__inject {
    alignas(64) _Atomic size_t length; /* I1 */
    pthread_mutex_t mutex;
    coil__list nodes; /* under the mutex */
} coil__inject;

void coil__inject_init(coil__inject *q);

/* The queue must be empty. */
void coil__inject_fini(coil__inject *q);

/* Appends a node that is in no list. */
void coil__inject_push(coil__inject *q, coil__node *n);

/* Appends the @count nodes of @chain, which is empty afterwards. */
void coil__inject_push_chain(coil__inject *q, coil__list *chain, size_t count);

/*
 * Appends the caller's share to @chain: one in @workers of what is there, and one more, so that a burst is spread in
 * a few rounds; but at most @limit. Returns how many.
 */
size_t coil__inject_pop(coil__inject *q, size_t workers, size_t limit, coil__list *chain);

/* How many there were a moment ago. */
static inline size_t coil__inject_length(const coil__inject *q)
{
    /* [INJ-1] relaxed: a hint; who takes takes the mutex. For the look of a worker that goes to sleep [IDLE-1] has
     * acquired what it must see. */
    return load_relaxed(&q->length);
}

#endif
