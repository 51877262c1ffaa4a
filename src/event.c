/*
 * event.c - a flag that tasks wait for
 *
 * Called on the loop's thread. Source: asyncio.locks.Event.
 */
#include "sync.h"

#include "base/alloc.h"

void coil__event_init(coil_event *event)
{
    coil__waiters_init(&event->waiters);
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
    COIL_TRY(coil__task_needed());
    return event->set ? 0 : coil__waiters_wait(&event->waiters, NULL);
}

void coil_event_set(coil_event *event)
{
    coil_assert(event);
    if (event->set)
        return;
    event->set = true;
    coil__list_foreach_safe(&event->waiters.list, it, next) {
        coil__waiter *waiter = coil__waiter_of_node(it);
        if (coil__waiter_pending(waiter)) {
            /* A closed loop runs nobody, which whoever closed it knows: there is nothing to raise here. */
            int rc = coil__waiter_wake(waiter);
            coil_error_release(coil_catch(rc));
        }
    }
}

void coil_event_clear(coil_event *event)
{
    coil_assert(event);
    event->set = false;
}

bool coil_event_is_set(const coil_event *event)
{
    coil_assert(event);
    return event->set;
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
