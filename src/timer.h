/*
 * timer.h - one deadline: a handle that becomes ready at a time
 *
 * A timer is in its loop's heap from arm to expiry or cancel. The struct is embedded in heap objects, never on a stack.
 * Due timers are appended to the ready queue in the order (when, arming sequence). In a runtime a timer stays with the
 * worker that armed it, and any worker can take it out of that worker's heap, under the heap's latch.
 */
#ifndef COIL_TIMER_H
#define COIL_TIMER_H

#include "loop.h"

typedef struct coil__timer {
    coil__handle handle;
    coil__heap_slot slot;
    uint32_t home; /* index of the worker that armed it */
} coil__timer;

static inline void coil__timer_init(coil__timer *t, const coil__handle_ops *ops)
{
    coil__handle_init(&t->handle, ops);
    t->slot.index = COIL_HEAP_NONE;
}

/* Now plus a delay on the loop's clock, without overflow. */
int64_t coil__deadline(coil_loop *loop, int64_t delay_ns);

/* Arms it; -ENOMEM if the heap cannot grow. Must not be armed or ready. */
int coil__timer_arm(coil_loop *loop, coil__timer *t, int64_t when_ns);

/* Takes it out of the heap; true if it was armed. A timer that is in the ready queue already stays there. */
bool coil__timer_disarm(coil_loop *loop, coil__timer *t);

/* Moves what is due at @now to the ready queue. */
void coil__timers_expire(coil_loop *loop, int64_t now);

/* Drops all of them (closing). */
void coil__timers_discard(coil_loop *loop);

#endif
