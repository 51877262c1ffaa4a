/*
 * event.c - a flag that tasks wait for
 *
 * Called on the loop's thread, and in a runtime on any worker's. Source: asyncio.locks.Event.
 *
 *   Call    finds, under the latch    does
 *   wait    set                       nothing
 *           clear                     enlists
 *   set     clear                     sets it, chooses all who wait; then resolves them, without the latch
 *   clear                             clears it
 *
 * I1 who waits enlisted while it was clear, so that the next set chooses it: nobody is missed, also if it is cleared
 *    at once
 * I2 who comes after a set is not woken by it, being chosen by the next one only
 * I3 a cancelled waiter owes nobody anything
 */
#include "sync.h"

#include "base/alloc.h"

void coil__event_init(coil_event *event)
{
    coil__waiters_init(&event->waiters);
    coil__latch_init(&event->latch);
    event->set = false;
}

int coil_event_new(coil_event **event)
{
    coil_event *e = coil__object_alloc(sizeof *e);
    if (!e)
        return coil_raise(-ENOMEM, NULL);
    coil__event_init(e);
    *event = e;
    return 0;
}

void coil_event_free(coil_event *event)
{
    if (!event)
        return;
    coil__waiters_fini(&event->waiters);
    coil__object_free(event, sizeof *event);
}

int coil_event_wait(coil_event *event)
{
    coil_assert(event);
    COIL_TRY(coil__task_may_go_on());
    coil__guard guard = coil__guard_enter(&event->latch);
    int rc = event->set ? 0 : coil__waiters_wait(&event->waiters, &guard);
    coil__guard_leave(&guard);
    return rc;
}

void coil_event_set(coil_event *event)
{
    coil_assert(event);
    coil__guard guard = coil__guard_enter(&event->latch);
    if (event->set) {
        coil__guard_leave(&guard);
        return;
    }
    event->set = true;
    /* A closed loop runs nobody, which whoever closed it knows: there is nothing to raise here. */
    int rc = coil__waiters_wake(&event->waiters, &guard, SIZE_MAX);
    coil_error_release(coil_catch(rc));
}

void coil_event_clear(coil_event *event)
{
    coil_assert(event);
    COIL__GUARD(&event->latch);
    event->set = false;
}

bool coil_event_is_set(const coil_event *event)
{
    coil_assert(event);
    coil_event *e = (coil_event *)(uintptr_t)event; /* const for the caller; the latch is taken */
    COIL__GUARD(&e->latch);
    return e->set;
}

static int wait_body(void *event, void **result)
{
    (void)result;
    return coil_event_wait(event);
}

coil_coro coil_event_wait_coro(coil_event *event)
{
    return coil_coro_make(wait_body, event, NULL, 0, "coil_event_wait");
}
