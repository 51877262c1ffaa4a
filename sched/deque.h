/*
 * deque.h - a worker's fresh spawns: newest first for the owner, oldest first for thieves
 *
 * The owner, one thread, pushes and pops at the bottom; any other thread may steal at the top. The owner and a thief
 * meet only over the last node. Nothing is written to the nodes.
 *
 * I1 top <= bottom + 1 always, top <= bottom outside coil__deque_pop; bottom - top <= COIL_DEQUE_CAPACITY
 * I2 top only grows, and by compare-and-swap; who moves it from t to t + 1 takes position t, and nobody else does
 * I3 the owner alone writes slots and bottom; it takes the position that it has lowered bottom to without asking if top
 *    was below that position even then
 * I4 positions never wrap: 64 bits last for centuries
 *
 * Source: Chase, Lev: Dynamic circular work-stealing deque (2005), without growing; Le, Pop, Cohen, Zappa Nardelli:
 * Correct and efficient work-stealing for weak memory models (2013). Their two fences are sequentially consistent
 * accesses to top and bottom here: as cheap on x86-64 and aarch64, and ThreadSanitizer, which does not know fences,
 * can follow.
 */
#ifndef COIL_SCHED_DEQUE_H
#define COIL_SCHED_DEQUE_H

#include <stdalign.h>

#include "../src/base/atomic.h"
#include "../src/base/list.h"

#ifndef COIL_DEQUE_CAPACITY /* model tests shrink it */
#define COIL_DEQUE_CAPACITY 1024
#endif
_Static_assert((COIL_DEQUE_CAPACITY & (COIL_DEQUE_CAPACITY - 1)) == 0, "a power of two: % is a mask");

typedef struct coil__deque {
    /* Written by thieves, and by the owner for the last node. */
    alignas(64) _Atomic int64_t top;
    /* Written by the owner only. */
    alignas(64) _Atomic int64_t bottom;
    _Atomic(coil__node *) slot[COIL_DEQUE_CAPACITY];
} coil__deque;

void coil__deque_init(coil__deque *d);

/* Owner. False: full. */
bool coil__deque_push(coil__deque *d, coil__node *n);

/* Owner. The newest; NULL: empty. */
coil__node *coil__deque_pop(coil__deque *d);

/* Any other thread. The oldest; NULL: empty. */
coil__node *coil__deque_steal(coil__deque *d);

/* Any thread: how many there were a moment ago. Exact for the owner if nobody steals. */
static inline size_t coil__deque_length(const coil__deque *d)
{
    /* [DQ-5] relaxed: a hint. For the look of a worker that goes to sleep [IDLE-1] has acquired what it must see. */
    int64_t top = load_relaxed(&d->top), bottom = load_relaxed(&d->bottom);
    return bottom > top ? (size_t)(bottom - top) : 0;
}

#endif
