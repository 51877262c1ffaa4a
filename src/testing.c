/*
 * testing.c - a look at what is left in a loop, for the component coil-testing: see testing.h
 *
 * On the loop's thread, while no task runs.
 */
#include "testing.h"

#include "handle.h"
#include "loop.h"
#include "timer.h"

void coil__testing_watch_tasks(coil_loop *loop, coil__task_watch *watch, void *arg)
{
    loop->task_watch = watch;
    loop->task_watch_arg = arg;
}

int coil__testing_wake_fd(const coil_loop *loop)
{
    return loop->wake_fd;
}

size_t coil__testing_timers(coil_loop *loop, coil__armed_timer *timers, size_t max)
{
    COIL__GUARD(&loop->timers_latch);
    for (size_t i = 0; i < loop->timers.count && i < max; i++) {
        const coil__timer *t = coil_container_of(loop->timers.entries[i].slot, coil__timer, slot);
        timers[i] = (coil__armed_timer){
            .when_ns = t->slot.when, .what = t->handle.ops->what, .fn = coil__handle_callback(&t->handle)};
    }
    return loop->timers.count;
}
