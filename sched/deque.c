/*
 * deque.c - fresh spawns: owner's end, thieves' end
 *
 * See deque.h for who may call what, and for I1-I4. The pair that must not both miss, over the last node at position b:
 *
 *   owner, coil__deque_pop                   thief, coil__deque_steal
 *   [DQ-3] bottom = b                        [DQ-4] t = top
 *   [DQ-4] t = top                           [DQ-3] bottom
 *   t < b: takes b without asking            t < bottom: takes t if top is still t
 *
 * All four are sequentially consistent. A thief that goes for b has read a bottom above b, so before the owner's DQ-3
 * in the total order, and before that a top of b. Then the owner, who reads top later, sees b or more, and has to ask
 * as well: both compare and swap the same top, and one wins.
 */
#include "deque.h"

static inline _Atomic(coil__node *) *slot_of(coil__deque *d, int64_t position)
{
    return &d->slot[(uint64_t)position % COIL_DEQUE_CAPACITY];
}

void coil__deque_init(coil__deque *d)
{
    store_relaxed(&d->top, 0);    /* [DQ-4] nobody else knows it yet, nor bottom */
    store_relaxed(&d->bottom, 0); /* [DQ-3] */
}

bool coil__deque_push(coil__deque *d, coil__node *n)
{
    int64_t bottom = load_relaxed(&d->bottom); /* [DQ-1] relaxed: the owner's own */
    /* [DQ-4] acquire: the thief that moved top has read the slot that is to be overwritten; pairs with its [DQ-2]. */
    int64_t top = load_acquire(&d->top);
    coil_debug_assert(bottom - top <= COIL_DEQUE_CAPACITY); /* I1 */
    if (bottom - top == COIL_DEQUE_CAPACITY)
        return false;
    store_relaxed(slot_of(d, bottom), n); /* [DQ-6] relaxed: the next store publishes it */
    /* [DQ-1] release: publishes the slot and what @n points to; pairs with the load of bottom in coil__deque_steal.
     * Relaxed would let a thief take the slot's previous node. */
    store_release(&d->bottom, bottom + 1);
    return true;
}

coil__node *coil__deque_pop(coil__deque *d)
{
    int64_t b = load_relaxed(&d->bottom) - 1; /* [DQ-1] relaxed: the owner's own */
    if (load_relaxed(&d->top) > b)            /* [DQ-4] relaxed: a top of earlier is no higher (I2), so it is empty */
        return NULL;
    exchange_seq_cst(&d->bottom, b);   /* [DQ-3] seq_cst, see above */
    int64_t t = load_seq_cst(&d->top); /* [DQ-4] seq_cst, see above */
    coil__node *n = NULL;
    if (t <= b)
        n = load_relaxed(slot_of(d, b)); /* [DQ-6] relaxed: the owner's own */
    if (t < b)
        return n; /* I3 */
    if (t == b && !cas_strong_seq_cst(&d->top, &t, t + 1)) /* [DQ-2] the last one; I2 */
        n = NULL;
    /* [DQ-1] relaxed: publishes nothing. A thief that reads it finds top there, or its compare-and-swap fails. */
    store_relaxed(&d->bottom, b + 1);
    return n;
}

coil__node *coil__deque_steal(coil__deque *d)
{
    for (;;) {
        int64_t t = load_seq_cst(&d->top);         /* [DQ-4] seq_cst, see above */
        int64_t bottom = load_seq_cst(&d->bottom); /* [DQ-3] seq_cst, see above; acquires what [DQ-1] published */
        if (t >= bottom)
            return NULL;
        coil__node *n = load_relaxed(slot_of(d, t)); /* [DQ-6] relaxed: forgotten if top has moved */
        /* [DQ-2] seq_cst: in the total order; and a release: the slot is read before the owner may see it free. */
        if (cas_strong_seq_cst(&d->top, &t, t + 1))
            return n; /* I2 */
    }
}
