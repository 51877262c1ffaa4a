/*
 * lock.c - a lock that wakes those who wait in the order of their arrival
 *
 * Called on the loop's thread. Between a release and the step of the waiter that it woke the lock is free, but whoever
 * comes then queues up behind the waiter. Source: asyncio.locks.Lock.
 */
#include "sync.h"

#include "base/alloc.h"

void coil__lock_init(coil_lock *lock)
{
    coil__waiters_init(&lock->waiters);
    lock->locked = false;
}

int coil_lock_new(coil_lock **lock)
{
    coil_lock *l = coil__object_alloc(sizeof *l);
    if (!l)
        return coil_raise(-ENOMEM, NULL);
    coil__lock_init(l);
    *lock = l;
    return 0;
}

void coil_lock_free(coil_lock *lock)
{
    if (!lock)
        return;
    coil__waiters_fini(&lock->waiters);
    coil__object_free(lock, sizeof *lock);
}

/* Resolves the head of the queue. If it is done already, it will take the lock, or wake the next, on its own. */
static int wake_first(coil_lock *lock)
{
    if (coil__list_empty(&lock->waiters.list))
        return 0;
    coil__waiter *first = coil__waiter_of_node(coil__list_first(&lock->waiters.list));
    return coil__waiter_pending(first) ? coil__waiter_wake(first) : 0;
}

int coil_lock_acquire(coil_lock *lock)
{
    coil_assert(lock);
    COIL_TRY(coil__task_needed());
    if (!lock->locked && !coil__waiters_any(&lock->waiters)) {
        lock->locked = true;
        return 0;
    }
    int rc = coil__waiters_wait(&lock->waiters, NULL);
    if (rc == -ECANCELED && !lock->locked)
        COIL_TRY(wake_first(lock)); /* the release that woke us must not be lost */
    if (rc < 0)
        return rc;
    lock->locked = true;
    return 0;
}

int coil_lock_release(coil_lock *lock)
{
    coil_assert(lock);
    if (!lock->locked)
        return coil_raise(COIL_ERUNTIME, "Lock is not acquired.");
    lock->locked = false;
    return wake_first(lock);
}

bool coil_lock_locked(const coil_lock *lock)
{
    coil_assert(lock);
    return lock->locked;
}

static int acquire_body(void *lock, void **result)
{
    (void)result;
    return coil_lock_acquire(lock);
}

coil_coro coil_lock_acquire_coro(coil_lock *lock)
{
    return coil_coro_make(acquire_body, lock, NULL, 0, "coil_lock_acquire");
}
