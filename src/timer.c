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
    t->slot.when = when_ns;
    t->slot.sequence = ++loop->timer_sequence;
    return coil__heap_push(&loop->timers, &t->slot);
}

bool coil__timer_disarm(coil_loop *loop, coil__timer *t)
{
    if (!coil__timer_armed(t))
        return false;
    coil__heap_remove(&loop->timers, &t->slot);
    return true;
}

static coil__timer *pop_first(coil_loop *loop)
{
    coil__heap_slot *slot = loop->timers.entries[0].slot;
    coil__heap_remove(&loop->timers, slot);
    return coil_container_of(slot, coil__timer, slot);
}

void coil__timers_expire(coil_loop *loop, int64_t now)
{
    while (loop->timers.count > 0 && loop->timers.entries[0].when <= now)
        coil__loop_ready(loop, &pop_first(loop)->handle);
}

void coil__timers_discard(coil_loop *loop)
{
    while (loop->timers.count > 0) {
        coil__timer *t = pop_first(loop);
        t->handle.ops->discard(&t->handle);
    }
}
