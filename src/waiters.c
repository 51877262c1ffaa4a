/*
 * waiters.c - the lists of waiters behind locks, events, conditions, semaphores and queues
 *
 * Called on the loop's thread, and in a runtime on any worker's. Source: the common parts of asyncio.locks,
 * asyncio.queues and asyncio.mixins.
 *
 * I1 to I6: see sync.h
 * I7 a waiter's future has no value: from being chosen to being resolved, the field is the link of a chain of such
 *    futures
 */
#include "sync.h"

void coil__waiters_init(coil__waiters *w)
{
    coil__list_init(&w->list);
    w->loop = NULL;
}

void coil__waiters_fini(const coil__waiters *w)
{
    coil_assert(coil__list_empty(&w->list)); /* freeing what somebody waits for */
}

/*
 * Without raising: the current error is put aside, because what releasing it runs might want the latch (I6). That
 * there is no memory is an error without an object, so that nothing has to be released afterwards.
 */
static coil_future *new_future(coil__task *t)
{
    coil_error *before = t->error;
    t->error = NULL;
    coil_future *f = coil__future_new(t->future.loop);
    t->error = before;
    return f;
}

/* Binds to the loop of the running task, or finds that it is another than the one bound to. */
int coil__waiter_enlist(coil__waiters *w, coil__waiter *waiter)
{
    coil__task *t = coil__current()->task;
    if (!w->loop)
        w->loop = t->future.loop;
    if (w->loop != t->future.loop)
        return COIL_EWRONGLOOP;
    waiter->future = new_future(t);
    if (!waiter->future)
        return -ENOMEM;
    waiter->chosen = false;
    coil__list_append(&w->list, &waiter->node);
    return 0;
}

int coil__waiter_refused(int rc)
{
    return coil_raise(rc, rc == COIL_EWRONGLOOP ? "bound to a different event loop" : NULL);
}

int coil__waiter_await(const coil__waiter *waiter)
{
    return coil_await(waiter->future, NULL);
}

bool coil__waiter_leave(coil__waiter *waiter)
{
    coil__node_unlink(&waiter->node); /* I1; a queue may have taken it out already */
    bool granted = coil__future_state(waiter->future) == COIL__FINISHED;
    coil_release(waiter->future);
    return granted;
}

int coil__waiters_wait_granted(coil__waiters *w, coil__guard *guard, bool *granted)
{
    coil__waiter waiter;
    *granted = false;
    int rc = coil__waiter_enlist(w, &waiter);
    coil__guard_leave(guard);
    if (rc < 0) {
        rc = coil__waiter_refused(rc);
        coil__guard_return(guard);
        return rc;
    }
    rc = coil__waiter_await(&waiter);
    coil__guard_return(guard);
    *granted = coil__waiter_leave(&waiter);
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
        if (coil__future_state(coil__waiter_of_node(n)->future) != COIL__CANCELLED)
            return true;
    return false;
}

/* Chains the futures of the first @n pending waiters that nobody has chosen yet, with a reference each. */
static coil_future *choose(coil__waiters *w, size_t n)
{
    coil_future *first = NULL, *last = NULL;
    for (coil__node *node = w->list.head.next; n > 0 && node != &w->list.head; node = node->next) {
        coil__waiter *waiter = coil__waiter_of_node(node);
        if (waiter->chosen || !coil__waiter_pending(waiter))
            continue;
        waiter->chosen = true;
        coil_future *f = coil_retain(waiter->future);
        f->value = NULL; /* I7 */
        if (last)
            last->value = f;
        else
            first = f;
        last = f;
        n--;
    }
    return first;
}

/* Resolves a chain; how many of it were cancelled before is added to @late. */
static int resolve(coil_future *chain, size_t *late)
{
    int rc = 0;
    while (chain) {
        coil_future *f = chain;
        chain = f->value;
        int one = coil__future_finish(f, NULL, NULL);
        coil_release(f);
        if (one == COIL_EINVALIDSTATE)
            ++*late;
        else if (one < 0)
            rc = one;
    }
    return rc;
}

int coil__waiters_wake(coil__waiters *w, coil__guard *guard, size_t n)
{
    bool all = n == SIZE_MAX;
    int rc = 0;
    while (n > 0) {
        coil_future *chain = choose(w, n);
        n = 0;
        coil__guard_leave(guard);
        rc = resolve(chain, &n);
        if (all || n == 0)
            return rc;
        coil__guard_return(guard); /* I4: as many others */
    }
    coil__guard_leave(guard);
    return rc;
}
