/*
 * semaphore.c - semaphores, bounded or not
 *
 * Called on the loop's thread, and in a runtime on any worker's. A release takes the unit away again at once for the
 * waiter that it wakes, so that nobody can overtake it. Source: asyncio.locks.Semaphore, BoundedSemaphore.
 *
 *   Call      finds, under the latch                      does
 *   acquire   units, and nobody but cancelled ones waits  takes one
 *             else                                        enlists at the end
 *   woken     resolved, and units left                    hands one on (I2)
 *             resolved, but -ECANCELED                    gives its unit back, and hands one on
 *             cancelled                                   nothing: it was given nothing
 *   release                                               adds a unit, and hands one on
 *
 * Handing on: resolves the first waiter that was not cancelled before, and takes a unit for it.
 *
 * I1 a waiter that was resolved owns one unit until its call returns. The units that are free, owned so, and acquired
 *    are always as many as there were at first and were added since
 * I2 while there are a free unit and a pending waiter, there is also a resolved one, which hands on when it goes on:
 *    so none waits for a unit that nobody uses
 */
#include "sync.h"

#include <limits.h>

#include "base/alloc.h"

struct coil_semaphore {
    coil__waiters waiters;
    coil__latch latch;
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
    coil__latch_init(&s->latch);
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

/* Hands a unit on, if somebody waits for one; under the latch. */
static int hand_on(coil_semaphore *semaphore)
{
    const coil__waiter *next;
    while ((next = coil__waiters_first_pending(&semaphore->waiters)) != NULL) {
        int rc = coil__waiter_wake(next);
        if (rc == COIL_EINVALIDSTATE)
            continue; /* it is not pending any more */
        semaphore->value--; /* I1 */
        return rc;
    }
    return 0;
}

static bool is_locked(const coil_semaphore *semaphore)
{
    return semaphore->value == 0 || coil__waiters_any(&semaphore->waiters);
}

bool coil_semaphore_locked(const coil_semaphore *semaphore)
{
    coil_assert(semaphore);
    coil_semaphore *s = (coil_semaphore *)(uintptr_t)semaphore; /* const for the caller; the latch is taken */
    COIL__GUARD(&s->latch);
    return is_locked(s);
}

/* Waits for a unit, and sees to it that none is left over; under the latch. */
static int wait_for_unit(coil_semaphore *semaphore, coil__guard *guard)
{
    bool granted;
    int rc = coil__waiters_wait_granted(&semaphore->waiters, guard, &granted);
    bool back = rc == -ECANCELED && granted;
    semaphore->value += back; /* I1 */
    if (back || (rc == 0 && semaphore->value > 0))
        COIL_TRY(hand_on(semaphore)); /* I2 */
    return rc;
}

int coil_semaphore_acquire(coil_semaphore *semaphore)
{
    coil_assert(semaphore);
    COIL_TRY(coil__task_may_go_on());
    int rc = 0;
    coil__guard guard = coil__guard_enter(&semaphore->latch);
    if (is_locked(semaphore))
        rc = wait_for_unit(semaphore, &guard);
    else
        semaphore->value--;
    coil__guard_leave(&guard);
    return rc;
}

int coil_semaphore_release(coil_semaphore *semaphore)
{
    coil_assert(semaphore);
    coil__guard guard = coil__guard_enter(&semaphore->latch);
    bool room = semaphore->value < semaphore->bound;
    semaphore->value += room;
    int rc = room ? hand_on(semaphore) : 0;
    coil__guard_leave(&guard);
    return room ? rc : coil_raise(-EINVAL, "BoundedSemaphore released too many times");
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
