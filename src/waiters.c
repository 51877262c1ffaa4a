/*
 * waiters.c - the lists of waiters behind locks, events, conditions, semaphores and queues
 *
 * Called on the loop's thread. Source: the common parts of asyncio.locks, asyncio.queues and asyncio.mixins.
 */
#include "sync.h"

#include "current.h"
#include "task.h"

void coil__waiters_init(coil__waiters *w)
{
    coil__list_init(&w->list);
    w->loop = NULL;
}

void coil__waiters_fini(const coil__waiters *w)
{
    coil_assert(coil__list_empty(&w->list)); /* freeing what somebody waits for */
}

/* Binds to the loop of the running task, or checks that it is the one bound to. */
static int bind_loop(coil__waiters *w, coil_loop *loop)
{
    if (!w->loop)
        w->loop = loop;
    if (w->loop != loop)
        return coil_raise(COIL_EWRONGLOOP, "bound to a different event loop");
    return 0;
}

int coil__waiters_wait(coil__waiters *w, bool *granted)
{
    coil_loop *loop = coil__current()->loop;
    if (granted)
        *granted = false;
    COIL_TRY(bind_loop(w, loop));
    coil__waiter waiter = {.future = coil__future_new(loop)};
    if (!waiter.future)
        return -ENOMEM;
    coil__list_append(&w->list, &waiter.node);
    int rc = coil_await(waiter.future, NULL);
    coil__node_unlink(&waiter.node); /* I1; a queue may have taken it out already */
    if (granted)
        *granted = waiter.future->state == COIL__FINISHED;
    coil_release(waiter.future);
    return rc;
}

coil__waiter *coil__waiters_first_pending(const coil__waiters *w)
{
    for (coil__node *n = w->list.head.next; n != &w->list.head; n = n->next)
        if (coil__waiter_pending(coil__waiter_of_node(n)))
            return coil__waiter_of_node(n);
    return NULL;
}

bool coil__waiters_any(const coil__waiters *w)
{
    for (coil__node *n = w->list.head.next; n != &w->list.head; n = n->next)
        if (coil__waiter_of_node(n)->future->state != COIL__CANCELLED)
            return true;
    return false;
}
