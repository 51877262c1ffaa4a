/*
 * latch.h - a lock for a few instructions, which costs nothing while no runtime has several workers
 *
 * Guards the state of an object that tasks on several workers may touch at the same time: a future's list of callbacks, a
 * queue's items. Held over straight code only: never over a suspension, and never while a user's function runs.
 *
 * As long as no runtime with several workers exists (coil__parallel is 0) nothing is locked: then every object belongs to
 * one thread. The count rises before the first worker starts and falls after the last one has ended, so that objects of a
 * runtime see it up; a loop of its own that runs meanwhile locks what nobody else touches, and a guard remembers whether
 * it locked, in case the count changes under it.
 *
 * Order of latches: an object's (queue, lock, gathering, transport ...) before a future's before a worker's (timers, list
 * of tasks). Two of the same kind are never held at once, except where docs/memory-order.md says so.
 */
#ifndef COIL_BASE_LATCH_H
#define COIL_BASE_LATCH_H

#include "assert.h"
#include "atomic.h"

typedef struct coil__latch {
    _Atomic uint32_t held;
} coil__latch;

typedef struct coil__guard {
    coil__latch *latch; /* NULL: it was not locked */
} coil__guard;

extern _Atomic unsigned coil__parallel; /* runtimes with several workers */

/* [PAR-1] relaxed: whoever shares an object with another worker has synchronised with the runtime's start. */
static inline bool coil__is_parallel(void)
{
    return coil_unlikely(load_relaxed(&coil__parallel) != 0);
}

/* Between two looks at what another thread is about to change. */
static inline void coil__cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

void coil__latch_wait(coil__latch *l);

static inline void coil__latch_init(coil__latch *l)
{
    store_relaxed(&l->held, 0); /* [LATCH-1] nobody else knows it yet */
}

static inline coil__guard coil__guard_enter(coil__latch *l)
{
    if (!coil__is_parallel())
        return (coil__guard){NULL};
    /* [LATCH-1] acquire: what the last holder wrote; pairs with the release below. */
    if (coil_unlikely(exchange_acquire(&l->held, 1) != 0))
        coil__latch_wait(l);
    return (coil__guard){l};
}

static inline void coil__guard_leave(const coil__guard *g)
{
    if (g->latch)
        store_release(&g->latch->held, 0); /* [LATCH-1] */
}

/* Holds @latch to the end of the enclosing block. */
#define COIL__GUARD(latch) COIL__GUARD_NAMED(latch, __COUNTER__)
#define COIL__GUARD_NAMED(latch, n) COIL__GUARD_NAMED_(latch, n)
#define COIL__GUARD_NAMED_(latch, n) \
    __attribute__((cleanup(coil__guard_leave), unused)) const coil__guard coil__guard_##n = coil__guard_enter(latch)

#endif
