/*
 * semaphore.c - semaphores, bounded or not
 *
 * Called on the loop's thread. A release takes the unit away again at once for the waiter that it wakes, so that nobody
 * can overtake it. Source: asyncio.locks.Semaphore, BoundedSemaphore.
 *
 * I1 a waiter that was resolved owns one unit until its call returns
 */
#include "sync.h"

#include <limits.h>

#include "base/alloc.h"

struct coil_semaphore {
    coil__waiters waiters;
    long value;
    long bound; /* LONG_MAX: none */
};

static int semaphore_new(long value, long bound, coil_semaphore **semaphore)
{
    if (value < 0)
        return coil_raise(-EINVAL, "Semaphore initial value must be >= 0");
    coil_semaphore *s = coil__object_alloc(sizeof *s);
    if (!s)
        return coil_raise(-ENOMEM, NULL);
    coil__waiters_init(&s->waiters);
    s->value = value;
    s->bound = bound;
    *semaphore = s;
    return 0;
}

int coil_semaphore_new(long value, coil_semaphore **semaphore)
{
    return semaphore_new(value, LONG_MAX, semaphore);
}

int coil_bounded_semaphore_new(long value, coil_semaphore **semaphore)
{
    return semaphore_new(value, value, semaphore);
}

void coil_semaphore_free(coil_semaphore *semaphore)
{
    if (!semaphore)
        return;
    coil__waiters_fini(&semaphore->waiters);
    coil__object_free(semaphore, sizeof *semaphore);
}

static int wake_next(coil_semaphore *semaphore)
{
    coil__waiter *next = coil__waiters_first_pending(&semaphore->waiters);
    if (!next)
        return 0;
    semaphore->value--; /* I1 */
    return coil__waiter_wake(next);
}

bool coil_semaphore_locked(const coil_semaphore *semaphore)
{
    coil_assert(semaphore);
    return semaphore->value == 0 || coil__waiters_any(&semaphore->waiters);
}

int coil_semaphore_acquire(coil_semaphore *semaphore)
{
    coil_assert(semaphore);
    COIL_TRY(coil__task_needed());
    if (!coil_semaphore_locked(semaphore)) {
        semaphore->value--;
        return 0;
    }
    bool granted;
    int rc = coil__waiters_wait(&semaphore->waiters, &granted);
    if (rc == -ECANCELED && granted) {
        semaphore->value++; /* I1: gives it back */
        COIL_TRY(wake_next(semaphore));
    }
    if (rc < 0)
        return rc;
    return semaphore->value > 0 ? wake_next(semaphore) : 0;
}

int coil_semaphore_release(coil_semaphore *semaphore)
{
    coil_assert(semaphore);
    if (semaphore->value >= semaphore->bound)
        return coil_raise(-EINVAL, "BoundedSemaphore released too many times");
    semaphore->value++;
    return wake_next(semaphore);
}

static int acquire_body(void *semaphore, void **result)
{
    (void)result;
    return coil_semaphore_acquire(semaphore);
}

coil_coro coil_semaphore_acquire_coro(coil_semaphore *semaphore)
{
    return coil_coro_make(acquire_body, semaphore, NULL, 0, "coil_semaphore_acquire");
}
