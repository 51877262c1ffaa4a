/*
 * runq.c - the ring of woken tasks: owner's end, thieves' end
 *
 * See runq.h for who may call what, and for I1-I4.
 */
#include "runq.h"

static inline _Atomic(coil__node *) *slot_of(coil__runq *q, uint64_t position)
{
    return &q->slot[position % COIL_RUNQ_CAPACITY];
}

void coil__runq_init(coil__runq *q)
{
    store_relaxed(&q->head, 0); /* [RQ-2] nobody else knows it yet, nor tail */
    store_relaxed(&q->tail, 0); /* [RQ-1] */
}

bool coil__runq_push(coil__runq *q, coil__node *n)
{
    uint64_t tail = load_relaxed(&q->tail); /* [RQ-1] relaxed: the owner's own */
    /* [RQ-2] acquire: whoever moved head has read the slot that is to be overwritten; pairs with [RQ-3]. Relaxed, the
     * thief could find @n at its own position, and its compare-and-swap would succeed. */
    uint64_t head = load_acquire(&q->head);
    coil_debug_assert(tail - head <= COIL_RUNQ_CAPACITY); /* I1 */
    if (tail - head == COIL_RUNQ_CAPACITY)
        return false;
    store_relaxed(slot_of(q, tail), n); /* [RQ-4] relaxed: the next store publishes it */
    /* [RQ-1] release: publishes the slot and what @n points to; pairs with the load in coil__runq_steal. Relaxed
     * would let a thief take the slot's previous node. */
    store_release(&q->tail, tail + 1);
    return true;
}

coil__node *coil__runq_pop(coil__runq *q)
{
    uint64_t tail = load_relaxed(&q->tail); /* [RQ-1] relaxed: the owner's own */
    uint64_t head = load_relaxed(&q->head); /* [RQ-2] relaxed: the compare-and-swap checks it */
    while (head != tail) {
        coil__node *n = load_relaxed(slot_of(q, head)); /* [RQ-4] relaxed: the owner's own */
        /* [RQ-3] release: a thief that acquires this head must see a tail that is not before it (I1). */
        if (cas_weak_release(&q->head, &head, head + 1))
            return n; /* I2 */
    }
    return NULL;
}

bool coil__runq_overflow(coil__runq *q, coil__list *chain)
{
    enum { HALF = COIL_RUNQ_CAPACITY / 2 };
    uint64_t head = load_relaxed(&q->head); /* [RQ-2] relaxed: the compare-and-swap checks it */
    if (load_relaxed(&q->tail) - head < COIL_RUNQ_CAPACITY) /* [RQ-1] relaxed: the owner's own */
        return false;
    if (!cas_strong_release(&q->head, &head, head + HALF)) /* [RQ-3] */
        return false;
    for (uint64_t i = head; i < head + HALF; i++)
        coil__list_append(chain, load_relaxed(slot_of(q, i))); /* [RQ-4] relaxed: nobody but the owner writes it (I3) */
    return true;
}

/* How many a thief takes of @available, the oldest to run and the others for @room in its own queue. */
static inline uint64_t share(uint64_t available, uint64_t room)
{
    uint64_t half = available - available / 2;
    return half <= room ? half : room + 1;
}

coil__node *coil__runq_steal(coil__runq *victim, coil__runq *mine)
{
    coil_debug_assert(victim != mine);
    uint64_t my_tail = load_relaxed(&mine->tail); /* [RQ-1] relaxed: the owner's own */
    uint64_t room = COIL_RUNQ_CAPACITY - (my_tail - load_acquire(&mine->head)); /* [RQ-2] as in coil__runq_push */
    for (;;) {
        uint64_t head = load_acquire(&victim->head); /* [RQ-2] acquire: a tail that is not before head; with [RQ-3] */
        uint64_t tail = load_acquire(&victim->tail); /* [RQ-1] acquire: the slots up to tail, and what they point to */
        if (head == tail)
            return NULL;
        if (tail - head > COIL_RUNQ_CAPACITY)
            continue; /* head has moved since it was read */
        uint64_t n = share(tail - head, room);
        /* [RQ-4] relaxed: what is read is right if head is still the same afterwards, and is forgotten if not. What is
         * written lies beyond my tail. */
        coil__node *first = load_relaxed(slot_of(victim, head));
        for (uint64_t i = 1; i < n; i++)
            store_relaxed(slot_of(mine, my_tail + i - 1), load_relaxed(slot_of(victim, head + i)));
        /* [RQ-3] release: the slots are read before the victim may see them free; pairs with [RQ-2]. */
        if (!cas_strong_release(&victim->head, &head, head + n))
            continue;
        if (n > 1)
            store_release(&mine->tail, my_tail + n - 1); /* [RQ-1] as in coil__runq_push */
        return first; /* I2 */
    }
}
