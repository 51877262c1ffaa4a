/*
 * runq.h - a worker's run queue: what was woken, in a bounded ring, oldest first
 *
 * The owner, one thread, pushes and pops; any other thread may steal. Nobody waits for anybody: a thief that loses its
 * processor in the middle keeps neither the owner nor other thieves from going on. Nothing is written to the nodes.
 *
 * I1 head <= tail <= head + COIL_RUNQ_CAPACITY; position i is in slot[i % COIL_RUNQ_CAPACITY]
 * I2 who moves head from a to b, by a compare-and-swap, takes the positions a .. b - 1, and nobody else does
 * I3 the owner alone writes slots and tail; it writes a slot only after it has seen head beyond its last position
 * I4 positions never wrap: 64 bits last for centuries. So a thief whose compare-and-swap succeeds has not slept while
 *    head went once around and came back to the value that it read.
 *
 * Source: the runq of Go's scheduler (runqput, runqget, runqgrab in runtime/proc.go), with wider positions.
 */
#ifndef COIL_SCHED_RUNQ_H
#define COIL_SCHED_RUNQ_H

#include <stdalign.h>

#include "../src/base/atomic.h"
#include "../src/base/list.h"

#ifndef COIL_RUNQ_CAPACITY /* model tests shrink it */
#define COIL_RUNQ_CAPACITY 256
#endif
_Static_assert(COIL_RUNQ_CAPACITY >= 2, "half of it is something");
_Static_assert((COIL_RUNQ_CAPACITY & (COIL_RUNQ_CAPACITY - 1)) == 0, "a power of two: % is a mask");

typedef struct coil__runq {
    /* Written by the owner and by thieves. */
    alignas(64) _Atomic uint64_t head;
    /* Written by the owner only. */
    alignas(64) _Atomic uint64_t tail;
    /* What was read from a slot is the reader's only once it has moved head past it (I2). */
    _Atomic(coil__node *) slot[COIL_RUNQ_CAPACITY];
} coil__runq;

void coil__runq_init(coil__runq *q);

/* Owner. False: full; coil__runq_overflow() makes room. */
bool coil__runq_push(coil__runq *q, coil__node *n);

/* Owner. The oldest; NULL: empty. */
coil__node *coil__runq_pop(coil__runq *q);

/* Owner, of a full queue: appends its older half to @chain. False: nothing moved, since thieves have made room. */
bool coil__runq_overflow(coil__runq *q, coil__list *chain);

/*
 * The owner of @mine, which is not @victim: takes the older half of @victim, rounded up, but no more than there is room
 * for. Returns the oldest, which is to be run now, and leaves the others in @mine; NULL: @victim is empty.
 */
coil__node *coil__runq_steal(coil__runq *victim, coil__runq *mine);

/* Any thread: how many there were a moment ago. Exact for the owner if nobody steals. */
static inline size_t coil__runq_length(const coil__runq *q)
{
    /* [RQ-5] relaxed: a hint. For the look of a worker that goes to sleep [IDLE-1] has acquired what it must see. */
    uint64_t head = load_relaxed(&q->head), tail = load_relaxed(&q->tail);
    return tail > head ? (size_t)(tail - head) : 0; /* the two may be of different moments */
}

#endif
