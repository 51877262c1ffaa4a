/*
 * waiting.c - lines of suspended calls; see waiting.h
 *
 * Called on the loop's thread, in a runtime on any worker. Source: the waiters of asyncio.streams and
 * asyncio.base_events.
 */
#include "waiting.h"

#include "../src/future.h"

typedef struct place {
    coil__node node;
    coil_future *future; /* owned */
} place;

int coil__line_wait(coil__list *line, coil_loop *loop, coil__latch *latch, coil__guard *guard)
{
    place p = {.future = coil__future_new(loop)};
    if (!p.future)
        return -ENOMEM;
    coil__list_append(line, &p.node);
    coil__guard_leave(guard);
    int rc = coil_await(p.future, NULL);
    *guard = coil__guard_enter(latch);
    coil__node_unlink(&p.node);
    coil_release(p.future);
    return rc;
}

void coil__line_wake(coil__list *line, coil_error *error)
{
    coil__list_foreach_safe(line, n, next) {
        coil_future *f = coil_container_of(n, place, node)->future;
        if (!coil__future_pending(f))
            continue;
        if (error)
            (void)coil__future_fail(f, coil_error_retain(error));
        else
            (void)coil__future_finish(f, NULL, NULL);
    }
}
