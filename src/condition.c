/*
 * condition.c - a condition variable: wait until somebody says that something has changed
 *
 * Called on the loop's thread. Source: asyncio.locks.Condition.
 *
 * I1 coil_condition_wait() returns with the lock held, unless its loop is being freed or is the wrong one
 */
#include "sync.h"

#include "base/alloc.h"
#include "current.h"
#include "task.h"

void coil__condition_init(coil_condition *condition, coil_lock *lock)
{
    coil__waiters_init(&condition->waiters);
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
    return condition->lock->locked;
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

int coil_condition_wait(coil_condition *condition)
{
    coil_assert(condition);
    COIL_TRY(coil__task_needed());
    if (!condition->lock->locked)
        return coil_raise(COIL_ERUNTIME, "cannot wait on un-acquired lock");
    COIL_TRY(coil_lock_release(condition->lock));
    coil_error *error = coil_catch(coil__waiters_wait(&condition->waiters, NULL));
    int rc = reacquire(condition->lock);
    if (rc == 0)
        return coil_raise_error(error);
    coil_error_release(error);
    return rc;
}

int coil_condition_wait_for(coil_condition *condition, int (*predicate)(void *), void *arg)
{
    coil_assert(condition);
    coil_assert(predicate);
    COIL_TRY(coil__task_needed());
    int answer;
    while ((answer = predicate(arg)) == 0)
        COIL_TRY(coil_condition_wait(condition));
    return answer;
}

int coil_condition_notify(coil_condition *condition, size_t n)
{
    coil_assert(condition);
    if (!condition->lock->locked)
        return coil_raise(COIL_ERUNTIME, "cannot notify on un-acquired lock");
    coil__list_foreach_safe(&condition->waiters.list, it, next) {
        if (n == 0)
            break;
        coil__waiter *waiter = coil__waiter_of_node(it);
        if (coil__waiter_pending(waiter)) {
            n--;
            COIL_TRY(coil__waiter_wake(waiter));
        }
    }
    return 0;
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
