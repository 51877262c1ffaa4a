/*
 * coil/thread.h - coroutines for other threads: asyncio.run_coroutine_threadsafe
 */
#ifndef COIL_THREAD_H
#define COIL_THREAD_H

#include <coil/loop.h>
COIL_BEGIN

/* A result that plain threads can wait for: concurrent.futures.Future. */
typedef struct coil_thread_future coil_thread_future;

/**
 * coil_run_coroutine_threadsafe - run @coro as a task of @loop
 * @coro:   takes, also on failure. Bytes given by coil_coro_copy() are copied before the call returns.
 * @future: gives; NULL if the result is not wanted
 *
 * Errors: COIL_ELOOPCLOSED, COIL_ETYPE, -ENOMEM.
 */
COIL_ANY_THREAD int coil_run_coroutine_threadsafe(coil_coro coro, coil_loop *loop, coil_thread_future **future);

/**
 * coil_thread_future_wait - block the calling thread until it is done
 * @timeout_ns: by CLOCK_MONOTONIC; COIL_FOREVER: no limit
 * @result:     the value, borrowed until the last release; may be NULL
 *
 * Not from the thread that runs the loop: it would wait for itself. Errors: what it raised (-ECANCELED if cancelled),
 * -ETIMEDOUT if it is not done in time.
 */
COIL_ANY_THREAD int coil_thread_future_wait(coil_thread_future *future, int64_t timeout_ns, void **result);

/** coil_thread_future_cancel - cancel the task; false if it is finished. It counts as cancelled at once. */
COIL_ANY_THREAD bool coil_thread_future_cancel(coil_thread_future *future);
COIL_ANY_THREAD bool coil_thread_future_done(coil_thread_future *future);
COIL_ANY_THREAD bool coil_thread_future_cancelled(coil_thread_future *future);
COIL_ANY_THREAD void coil_thread_future_release(coil_thread_future *future); /* the task goes on; NULL is allowed */

COIL_END
#endif
