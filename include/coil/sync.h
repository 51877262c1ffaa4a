/*
 * coil/sync.h - lock, event, condition, semaphores, barrier
 *
 * For tasks of one loop, in a runtime from any of its workers; fair in the order of arrival; bound to the loop of the
 * first task that has to wait (COIL_EWRONGLOOP elsewhere). Freeing one that somebody waits for is asserted against;
 * who was woken may free it, even if the call that woke it has not returned. The _coro forms make coroutines of the
 * suspending calls; they borrow the object until they end. Source: asyncio.locks.
 *
 * In a runtime what a query answers (locked, is_set, n_waiting, broken) may be over when the caller looks at it. A
 * lock's holder sees what the holders before it wrote, a woken task what its waker wrote.
 */
#ifndef COIL_SYNC_H
#define COIL_SYNC_H

#include <coil/coro.h>
COIL_BEGIN

typedef struct coil_lock coil_lock;
typedef struct coil_event coil_event;
typedef struct coil_condition coil_condition;
typedef struct coil_semaphore coil_semaphore;
typedef struct coil_barrier coil_barrier;

/* --- lock ---------------------------------------------------------------------------------------------------- */
COIL_ANY_THREAD int coil_lock_new(coil_lock **lock);
COIL_ON_LOOP void coil_lock_free(coil_lock *lock);
COIL_IN_TASK COIL_SUSPENDS int coil_lock_acquire(coil_lock *lock);
COIL_ON_LOOP int coil_lock_release(coil_lock *lock); /* COIL_ERUNTIME "Lock is not acquired." */
COIL_ON_LOOP bool coil_lock_locked(const coil_lock *lock);
COIL_ON_LOOP coil_coro coil_lock_acquire_coro(coil_lock *lock);

/* --- event --------------------------------------------------------------------------------------------------- */
COIL_ANY_THREAD int coil_event_new(coil_event **event);
COIL_ON_LOOP void coil_event_free(coil_event *event);
COIL_IN_TASK COIL_SUSPENDS int coil_event_wait(coil_event *event);
COIL_ON_LOOP void coil_event_set(coil_event *event);   /* wakes all who wait, also if it is cleared at once */
COIL_ON_LOOP void coil_event_clear(coil_event *event);
COIL_ON_LOOP bool coil_event_is_set(const coil_event *event);
COIL_ON_LOOP coil_coro coil_event_wait_coro(coil_event *event);

/* --- condition ----------------------------------------------------------------------------------------------- */

/** coil_condition_new - @lock: borrows until the condition is freed; NULL: a lock of its own. */
COIL_ANY_THREAD int coil_condition_new(coil_lock *lock, coil_condition **condition);
COIL_ON_LOOP void coil_condition_free(coil_condition *condition);
COIL_IN_TASK COIL_SUSPENDS int coil_condition_acquire(coil_condition *condition);
COIL_ON_LOOP int coil_condition_release(coil_condition *condition);
COIL_ON_LOOP bool coil_condition_locked(const coil_condition *condition);

/** coil_condition_wait - release, wait, acquire again (also when cancelled). COIL_ERUNTIME if not acquired. */
COIL_IN_TASK COIL_SUSPENDS int coil_condition_wait(coil_condition *condition);

/**
 * coil_condition_wait_for - wait until @predicate(@arg) is positive
 *
 * @predicate returns 0 for no, a positive number for yes, or a negative code, which is raised.
 * Returns the predicate's last value.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_condition_wait_for(coil_condition *condition, int (*predicate)(void *),
                                                       void *arg);
COIL_ON_LOOP int coil_condition_notify(coil_condition *condition, size_t n); /* COIL_ERUNTIME if not acquired */
COIL_ON_LOOP int coil_condition_notify_all(coil_condition *condition);
COIL_ON_LOOP coil_coro coil_condition_acquire_coro(coil_condition *condition);
COIL_ON_LOOP coil_coro coil_condition_wait_coro(coil_condition *condition);

/* --- semaphores ---------------------------------------------------------------------------------------------- */

/** coil_semaphore_new - Errors: -EINVAL for a negative @value. */
COIL_ANY_THREAD int coil_semaphore_new(long value, coil_semaphore **semaphore);

/** coil_bounded_semaphore_new - release beyond the initial value is -EINVAL. */
COIL_ANY_THREAD int coil_bounded_semaphore_new(long value, coil_semaphore **semaphore);
COIL_ON_LOOP void coil_semaphore_free(coil_semaphore *semaphore);
COIL_IN_TASK COIL_SUSPENDS int coil_semaphore_acquire(coil_semaphore *semaphore);
COIL_ON_LOOP int coil_semaphore_release(coil_semaphore *semaphore);
COIL_ON_LOOP bool coil_semaphore_locked(const coil_semaphore *semaphore);
COIL_ON_LOOP coil_coro coil_semaphore_acquire_coro(coil_semaphore *semaphore);

/* --- barrier ------------------------------------------------------------------------------------------------- */

/** coil_barrier_new - Errors: -EINVAL for fewer than 1 @parties. */
COIL_ANY_THREAD int coil_barrier_new(long parties, coil_barrier **barrier);
COIL_ON_LOOP void coil_barrier_free(coil_barrier *barrier);

/** coil_barrier_wait - @index (may be NULL): 0 .. parties-1. Errors: COIL_EBROKENBARRIER, -ECANCELED. */
COIL_IN_TASK COIL_SUSPENDS int coil_barrier_wait(coil_barrier *barrier, size_t *index);
COIL_IN_TASK COIL_SUSPENDS int coil_barrier_reset(coil_barrier *barrier);
COIL_IN_TASK COIL_SUSPENDS int coil_barrier_abort(coil_barrier *barrier);
COIL_ON_LOOP size_t coil_barrier_parties(const coil_barrier *barrier);
COIL_ON_LOOP size_t coil_barrier_n_waiting(const coil_barrier *barrier);
COIL_ON_LOOP bool coil_barrier_broken(const coil_barrier *barrier);
COIL_ON_LOOP coil_coro coil_barrier_wait_coro(coil_barrier *barrier); /* result: (void *)index */

COIL_END
#endif
