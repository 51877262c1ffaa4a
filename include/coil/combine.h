/*
 * coil/combine.h - several awaitables at a time: gather, shield, wait, wait_for, as_completed
 *
 * Source: asyncio.tasks of CPython 3.11.
 */
#ifndef COIL_COMBINE_H
#define COIL_COMBINE_H

#include <coil/task.h>
COIL_BEGIN

/* --- gather -------------------------------------------------------------------------------------------------- */

/* What one awaitable came to, for those who want errors as results. */
typedef struct coil_outcome {
    int code;          /* 0, or what it raised */
    void *value;       /* borrowed from the gathering future */
    coil_error *error; /* borrowed likewise; NULL without one */
} coil_outcome;

/**
 * coil_gather - one future for @n awaitables
 * @awaitables: borrows; coroutines are taken (also on failure) and become tasks, from left to right
 * @future:     gives. Its value is an array of @n coil_outcome in the order of the arguments, borrowed from it.
 *
 * If one raises, the future raises that at once, and the others go on; with @return_exceptions it waits for all and
 * puts errors among the outcomes. Cancelling it cancels all that are not done.
 * Errors: COIL_ENOLOOP, -EINVAL for futures of different loops, COIL_ETYPE, -ENOMEM.
 */
COIL_ON_LOOP int coil_gather(const coil_awaitable *awaitables, size_t n, bool return_exceptions,
                             coil_future **future);

/**
 * coil_gather_await - gather coroutines and wait for them
 * @coros:   takes all @n
 * @results: @n values in the order of the arguments, moved out: the caller owns them. May be NULL.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_gather_await(const coil_coro *coros, size_t n, void **results);

/** coil_gather_outcomes - a gathering future's value with its type; NULL if it has none. */
COIL_ON_LOOP const coil_outcome *coil_gather_outcomes(coil_future *future, size_t *n);

/* --- shield -------------------------------------------------------------------------------------------------- */

/**
 * coil_shield - a future that follows @awaitable but does not pass a cancellation on
 * @future: gives; @awaitable itself if that is a future that is done
 */
#define coil_shield(awaitable, future) coil_shield_(COIL_AWAITABLE(awaitable), future)
COIL_ON_LOOP int coil_shield_(coil_awaitable awaitable, coil_future **future);

/* --- wait ---------------------------------------------------------------------------------------------------- */

enum coil_return_when { COIL_ALL_COMPLETED, COIL_FIRST_COMPLETED, COIL_FIRST_EXCEPTION };

/**
 * coil_wait - wait until some or all of @n futures are done
 * @futures:    borrows until return
 * @timeout_ns: COIL_FOREVER for none. Running out of time is no error.
 * @done:       number of distinct futures that are done; may be NULL. coil_future_done() tells which.
 *
 * Never cancels the futures. Errors: -EINVAL for none ("Set of Tasks/Futures is empty.") or an unknown @when.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_wait(coil_future *const *futures, size_t n, int64_t timeout_ns,
                                         enum coil_return_when when, size_t *done);

/* --- wait_for ------------------------------------------------------------------------------------------------ */

/**
 * coil_wait_for - wait for at most @timeout_ns, then cancel
 * @awaitable:  a coroutine (taken, runs as a task of its own unless the time is unlimited) or a future
 * @timeout_ns: COIL_FOREVER for no limit
 * @result:     as for coil_loop_run_until_complete(); may be NULL
 *
 * Returns after what was cancelled has ended. Errors: -ETIMEDOUT, -ECANCELED, what it raised.
 */
#define coil_wait_for(awaitable, timeout_ns, result) coil_wait_for_(COIL_AWAITABLE(awaitable), timeout_ns, result)
COIL_IN_TASK COIL_SUSPENDS int coil_wait_for_(coil_awaitable awaitable, int64_t timeout_ns, void **result);

/* --- as_completed -------------------------------------------------------------------------------------------- */

/*
 * An iterator over awaitables in the order in which they complete:
 *
 *     COIL_TRY(coil_as_completed_new(aws, n, COIL_FOREVER, &it));
 *     while ((rc = coil_as_completed_next(it, &next)) == 0) {
 *         rc = coil_coro_await(next, &value);           // or make it a task
 *         if (rc < 0)
 *             ...                                       // what that awaitable raised, or -ETIMEDOUT
 *     }
 *     coil_as_completed_release(it);                    // rc == COIL_ESTOPITERATION: that was all
 */
typedef struct coil_as_completed coil_as_completed;

/** coil_as_completed_new - nothing happens before the first coil_as_completed_next(). Takes coroutines. */
COIL_ON_LOOP int coil_as_completed_new(const coil_awaitable *awaitables, size_t n, int64_t timeout_ns,
                                       coil_as_completed **it);

/**
 * coil_as_completed_next - the next coroutine; its result is that of the next awaitable to complete
 *
 * Errors: COIL_ESTOPITERATION after as many as there were distinct awaitables. The coroutines raise what the awaitables
 * raised, or -ETIMEDOUT after the timeout.
 */
COIL_ON_LOOP int coil_as_completed_next(coil_as_completed *it, coil_coro *coro);

/** coil_as_completed_release - coroutines that it gave out stay valid; the awaitables go on. */
COIL_ON_LOOP void coil_as_completed_release(coil_as_completed *it);

/** coil_coro_await - run a coroutine value in this task, at once: asyncio's `await coro`. */
COIL_IN_TASK COIL_SUSPENDS int coil_coro_await(coil_coro coro, void **result);

COIL_END
#endif
