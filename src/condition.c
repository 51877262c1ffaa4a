/*
 * condition.c - a condition variable: wait until somebody says that something has changed
 *
 * Called on the loop's thread, and in a runtime on any worker's. Source: asyncio.locks.Condition.
 *
 *   Call     holding the lock                                 holding the latch
 *   wait     at the beginning                                 enlists
 *            releases it, then awaits: nothing
 *            nothing                                          takes itself out
 *            acquires it, whatever happens
 *   notify   throughout                                       chooses pending waiters, which it resolves afterwards
 *
 * I1 coil_condition_wait() returns with the lock held, unless its loop is being freed or is the wrong one
 * I2 who waits is enlisted before the lock is free: whoever acquires it then, on another worker, and notifies, finds it
 * I3 notify counts those that it has resolved itself: one that is cancelled first does not count, and another is
 *    chosen. One that is cancelled afterwards has used up its notification, as in asyncio
 */
#include "sync.h"

#include "base/alloc.h"

void coil__condition_init(coil_condition *condition, coil_lock *lock)
{
    coil__waiters_init(&condition->waiters);
    coil__latch_init(&condition->latch);
    coil__lock_init(&condition->own);
    condition->lock = lock ? lock : &condition->own;
}

int coil_condition_new(coil_lock *lock, coil_condition **condition)
{
    coil_condition *c = coil__object_alloc(sizeof *c);
    if (!c)
        return coil_raise(-ENOMEM, NULL);
    coil__condition_init(c, lock);
    *condition = c;
    return 0;
}

void coil_condition_free(coil_condition *condition)
{
    if (!condition)
        return;
    coil__waiters_fini(&condition->waiters);
    coil__waiters_fini(&condition->own.waiters);
    coil__object_free(condition, sizeof *condition);
}

int coil_condition_acquire(coil_condition *condition)
{
    coil_assert(condition);
    return coil_lock_acquire(condition->lock);
}

int coil_condition_release(coil_condition *condition)
{
    coil_assert(condition);
    return coil_lock_release(condition->lock);
}

bool coil_condition_locked(const coil_condition *condition)
{
    coil_assert(condition);
    return coil_lock_locked(condition->lock);
}

/*
 * Acquires the lock whatever happens meanwhile; -ECANCELED tells that the task was cancelled at least once. Without
 * memory for a waiter it lets others run and tries again, because the caller will release the lock (I1).
 */
static int reacquire(coil_lock *lock)
{
    bool cancelled = false;
    for (;;) {
        int rc = coil_lock_acquire(lock);
        if (rc == 0)
            return cancelled ? coil_raise(-ECANCELED, NULL) : 0;
        if (rc == -ENOMEM)
            rc = coil__task_yield(coil__current()->task);
        if (rc == -ECANCELED)
            cancelled = true;
        else if (rc < 0)
            return rc;
    }
}

static int enlist(coil_condition *condition, coil__waiter *waiter)
{
    COIL__GUARD(&condition->latch);
    return coil__waiter_enlist(&condition->waiters, waiter);
}

static void leave(coil_condition *condition, coil__waiter *waiter)
{
    COIL__GUARD(&condition->latch);
    coil__waiter_leave(waiter);
}

/* Releases the lock and waits for a notification. */
static int release_and_wait(coil_condition *condition, bool *released)
{
    coil__waiter waiter;
    int refused = enlist(condition, &waiter); /* I2 */
    int rc = coil_lock_release(condition->lock);
    *released = rc == 0;
    if (refused < 0)
        return rc < 0 ? rc : coil__waiter_refused(refused);
    if (rc == 0)
        rc = coil__waiter_await(&waiter);
    leave(condition, &waiter);
    return rc;
}

int coil_condition_wait(coil_condition *condition)
{
    coil_assert(condition);
    COIL_TRY(coil__task_needed());
    if (!coil_lock_locked(condition->lock))
        return coil_raise(COIL_ERUNTIME, "cannot wait on un-acquired lock");
    bool released;
    int rc = release_and_wait(condition, &released);
    if (!released)
        return rc;
    coil_error *error = coil_catch(rc);
    rc = reacquire(condition->lock);
    if (rc == 0)
        return coil_raise_error(error);
    coil_error_release(error);
    return rc;
}

int coil_condition_wait_for(coil_condition *condition, int (*predicate)(void *), void *arg)
{
    coil_assert(condition);
    coil_assert(predicate);
    COIL_TRY(coil__task_may_go_on());
    int answer;
    while ((answer = predicate(arg)) == 0)
        COIL_TRY(coil_condition_wait(condition));
    return answer;
}

int coil_condition_notify(coil_condition *condition, size_t n)
{
    coil_assert(condition);
    if (!coil_lock_locked(condition->lock))
        return coil_raise(COIL_ERUNTIME, "cannot notify on un-acquired lock");
    coil__guard guard = coil__guard_enter(&condition->latch);
    return coil__waiters_wake(&condition->waiters, &guard, n);
}

int coil_condition_notify_all(coil_condition *condition)
{
    return coil_condition_notify(condition, SIZE_MAX);
}

coil_coro coil_condition_acquire_coro(coil_condition *condition)
{
    coil_assert(condition);
    return coil_lock_acquire_coro(condition->lock);
}

static int wait_body(void *condition, void **result)
{
    (void)result;
    return coil_condition_wait(condition);
}

coil_coro coil_condition_wait_coro(coil_condition *condition)
{
    return coil_coro_make(wait_body, condition, NULL, 0, "coil_condition_wait");
}
