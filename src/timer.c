/*
 * timer.c - deadlines of a loop: see timer.h
 */
#include "timer.h"

int64_t coil__deadline(coil_loop *loop, int64_t delay_ns)
{
    int64_t when;
    if (delay_ns == COIL_FOREVER || __builtin_add_overflow(coil_loop_time(loop), delay_ns, &when))
        return delay_ns < 0 ? INT64_MIN : COIL_FOREVER - 1;
    return when;
}

int coil__timer_arm(coil_loop *loop, coil__timer *t, int64_t when_ns)
{
    coil_loop *home = coil__here(loop);
    COIL__GUARD(&home->timers_latch);
    t->home = home->index;
    t->slot.when = when_ns;
    t->slot.sequence = ++home->timer_sequence;
    return coil__heap_push(&home->timers, &t->slot);
}

bool coil__timer_disarm(coil_loop *loop, coil__timer *t)
{
    coil_loop *home = coil_likely(!loop->parallel) ? loop : loop->members[t->home];
    COIL__GUARD(&home->timers_latch);
    if (t->slot.index == COIL_HEAP_NONE)
        return false;
    coil__heap_remove(&home->timers, &t->slot);
    return true;
}

/* Takes the first timer out if it is due at @now; NULL otherwise. */
static coil__timer *pop_due(coil_loop *loop, int64_t now)
{
    COIL__GUARD(&loop->timers_latch);
    if (loop->timers.count == 0 || loop->timers.entries[0].when > now)
        return NULL;
    coil__heap_slot *slot = loop->timers.entries[0].slot;
    coil__heap_remove(&loop->timers, slot);
    return coil_container_of(slot, coil__timer, slot);
}

void coil__timers_expire(coil_loop *loop, int64_t now)
{
    coil__timer *t;
    while ((t = pop_due(loop, now)) != NULL)
        coil__loop_ready(loop, &t->handle);
}

void coil__timers_discard(coil_loop *loop)
{
    coil__timer *t;
    while ((t = pop_due(loop, INT64_MAX)) != NULL)
        t->handle.ops->discard(&t->handle);
}
