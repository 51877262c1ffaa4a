/*
 * lock.c - a lock that wakes those who wait in the order of their arrival
 *
 * Called on the loop's thread, and in a runtime on any worker's. Between a release and the step of the waiter that it
 * woke the lock is free, but whoever comes then queues up behind the waiter. Source: asyncio.locks.Lock.
 *
 *   Call      finds, under the latch                       does
 *   acquire   free, and nobody but cancelled ones waits    takes the lock
 *             else                                         enlists at the end
 *   woken     its future resolved                          takes the lock (I2)
 *             -ECANCELED, and the lock is free             resolves the head of the queue (I3)
 *   release   locked                                       frees the lock, resolves the head of the queue
 *
 * I1 only the head of the queue is ever resolved, and only while the lock is free
 * I2 while a resolved waiter is in the queue, nobody else takes the lock: newcomers enlist behind it, and it is the
 *    head
 * I3 while the lock is free and there are waiters, the head is resolved, or it was cancelled: then its call, going on,
 *    resolves the next. So no release is lost, and a waker that finds the head cancelled has nothing to do.
 */
#include "sync.h"

#include "base/alloc.h"

void coil__lock_init(coil_lock *lock)
{
    coil__waiters_init(&lock->waiters);
    coil__latch_init(&lock->latch);
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

/* Resolves the head of the queue, under the latch. Done already, it will take the lock, or wake the next (I3). */
static int wake_head(const coil_lock *lock)
{
    if (coil__list_empty(&lock->waiters.list))
        return 0;
    const coil__waiter *head = coil__waiter_of_node(coil__list_first(&lock->waiters.list));
    int rc = coil__waiter_pending(head) ? coil__waiter_wake(head) : 0;
    return rc == COIL_EINVALIDSTATE ? 0 : rc;
}

int coil_lock_acquire(coil_lock *lock)
{
    coil_assert(lock);
    COIL_TRY(coil__task_may_go_on());
    coil__guard guard = coil__guard_enter(&lock->latch);
    int rc = 0;
    if (lock->locked || coil__waiters_any(&lock->waiters))
        rc = coil__waiters_wait(&lock->waiters, &guard);
    int woken = 0;
    if (rc == 0)
        lock->locked = true;
    else if (rc == -ECANCELED && !lock->locked)
        woken = wake_head(lock); /* the release that woke us must not be lost */
    coil__guard_leave(&guard);
    return woken < 0 ? woken : rc;
}

int coil_lock_release(coil_lock *lock)
{
    coil_assert(lock);
    coil__guard guard = coil__guard_enter(&lock->latch);
    bool locked = lock->locked;
    lock->locked = false;
    int woken = locked ? wake_head(lock) : 0;
    coil__guard_leave(&guard);
    return locked ? woken : coil_raise(COIL_ERUNTIME, "Lock is not acquired.");
}

bool coil_lock_locked(const coil_lock *lock)
{
    coil_assert(lock);
    coil_lock *l = (coil_lock *)(uintptr_t)lock; /* const for the caller; the latch is taken */
    COIL__GUARD(&l->latch);
    return l->locked;
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
