/*
 * coil/future.h - futures: a result that will be there later
 *
 * A future is pending, then either finished (with a value or an error) or cancelled. Counted: coil_retain and
 * coil_release. When the last reference to a future goes whose error nobody looked at, the exception handler is
 * told ("Future exception was never retrieved"). Source: asyncio.futures.
 */
#ifndef COIL_FUTURE_H
#define COIL_FUTURE_H

#include <coil/coro.h>
#include <coil/error.h>
COIL_BEGIN

/* A done callback; runs in the iteration after the future was completed. */
typedef int coil_done_callback(coil_future *future, void *arg);

/** coil_create_future - a pending future of the running loop; gives. Errors: COIL_ENOLOOP, -ENOMEM. */
COIL_ON_LOOP int coil_create_future(coil_future **future);

/** coil_loop_create_future - the same for a given loop, running or not. */
COIL_ON_LOOP int coil_loop_create_future(coil_loop *loop, coil_future **future);

COIL_ON_LOOP coil_future *coil_retain(coil_future *future); /* shares; returns @future */
COIL_ON_LOOP void coil_release(coil_future *future);        /* NULL is allowed */

/**
 * coil_await - wait for a future or task
 * @future: borrows
 * @result: its value, borrowed until the future's last release; may be NULL
 *
 * Does not suspend if it is done already. Cancelling the waiting task cancels @future.
 * Errors: what the future raised; -ECANCELED; COIL_EWRONGLOOP; COIL_ERUNTIME if a task awaits itself.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_await(coil_future *future, void **result);

/**
 * coil_join - coil_await, then release (@future is taken, also on failure); @result is moved out: the caller owns it
 *
 * Of a gathering future, whose outcomes cannot outlive it, and of one that shields it, @result must be NULL (COIL_ETYPE).
 */
COIL_IN_TASK COIL_SUSPENDS int coil_join(coil_future *future, void **result);

/** coil_detach - the task or future goes on, and nobody will look: release under a name that says so. */
COIL_ON_LOOP void coil_detach(coil_future *future);

/**
 * coil_future_set_result - complete with a value
 * @value: borrows for as long as anybody may look at the future; or
 * @drop:  takes it: called with @value at the last release, unless coil_future_take() moved it out
 *
 * On failure the value stays the caller's. Errors: COIL_EINVALIDSTATE if it is done; COIL_ERUNTIME for a task;
 * COIL_ELOOPCLOSED if callbacks could not be scheduled (the state has changed all the same).
 */
COIL_ON_LOOP int coil_future_set_result(coil_future *future, void *value);
COIL_ON_LOOP int coil_future_set_result_owned(coil_future *future, void *value, void (*drop)(void *));

/** coil_future_set_exception - complete with an error (taken, also on failure). Errors: as coil_future_set_result. */
COIL_ON_LOOP int coil_future_set_exception(coil_future *future, coil_error *error);

/**
 * coil_future_cancel - cancel a future or task; true if that had an effect
 *
 * A task gets the error -ECANCELED at its next step, inside what it waits for, which is cancelled at once.
 * @message may be NULL. In a runtime it may be called from any thread that has a reference; with one worker a call from
 * another thread takes effect when the worker gets to it.
 */
COIL_ON_LOOP bool coil_future_cancel(coil_future *future, const char *message);

COIL_ON_LOOP bool coil_future_done(const coil_future *future);
COIL_ON_LOOP bool coil_future_cancelled(const coil_future *future);

/** coil_future_result - raise what the future raised, or give its value as coil_await does. COIL_EINVALIDSTATE if pending. */
COIL_ON_LOOP int coil_future_result(coil_future *future, void **result);

/**
 * coil_future_exception - look at the error without raising it
 * @error: the error, shared with the caller (gives), or NULL without one
 *
 * Errors: -ECANCELED if it was cancelled, COIL_EINVALIDSTATE if pending.
 */
COIL_ON_LOOP int coil_future_exception(coil_future *future, coil_error **error);

/** coil_future_take - coil_future_result, moving the value out: its drop will not be called, a second take gives NULL. */
COIL_ON_LOOP int coil_future_take(coil_future *future, void **result);

/** coil_future_exception_unretrieved - whether it holds an error that nobody has looked at. */
COIL_ON_LOOP bool coil_future_exception_unretrieved(const coil_future *future);

/**
 * coil_future_add_done_callback - call @fn(@future, @arg) in the iteration after completion
 *
 * At once scheduled if it is done already. The callback runs in a copy of the current context.
 * Errors: -ENOMEM, COIL_ELOOPCLOSED.
 */
COIL_ON_LOOP int coil_future_add_done_callback(coil_future *future, coil_done_callback *fn, void *arg);
COIL_ON_LOOP int coil_future_add_done_callback_in(coil_future *future, coil_context *context,
                                                  coil_done_callback *fn, void *arg);

/** coil_future_remove_done_callback - remove every callback with this @fn and @arg; returns their number. */
COIL_ON_LOOP size_t coil_future_remove_done_callback(coil_future *future, coil_done_callback *fn, void *arg);

/** coil_future_loop - the loop that it belongs to; borrowed. */
COIL_ON_LOOP coil_loop *coil_future_loop(const coil_future *future);

/** coil_future_is_task - whether the task functions may be used on it. */
COIL_ON_LOOP bool coil_future_is_task(const coil_future *future);

COIL_END
#endif
