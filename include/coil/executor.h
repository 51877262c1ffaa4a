/*
 * coil/executor.h - blocking work on other threads: run_in_executor, to_thread, executors
 *
 * Source: asyncio.base_events, asyncio.threads, concurrent.futures.
 */
#ifndef COIL_EXECUTOR_H
#define COIL_EXECUTOR_H

#include <coil/loop.h>
COIL_BEGIN

/* Work for another thread: like a coroutine's body, but it may block and must not suspend. */
typedef int coil_job_fn(void *arg, void **result);

/* --- executors --------------------------------------------------------------------------------------------------- */

typedef struct coil_executor coil_executor;
typedef struct coil_job coil_job;

/*
 * What an executor does; thread and process pools are made by coil, and programs may bring their own. All three may be called from
 * any thread.
 */
typedef struct coil_executor_ops {
    /* Takes a job and has coil_job_run() called for it, once, on another thread; or fails, and takes nothing. */
    int (*submit)(coil_executor *executor, coil_job *job);
    /*
     * No more jobs will be submitted; those that were still run. Returns when they have ended, or -ETIMEDOUT if that
     * takes longer than @timeout_ns; 0: returns 0 at once; COIL_FOREVER: no limit. May be called again: first without
     * waiting, then with it.
     */
    int (*shutdown)(coil_executor *executor, int64_t timeout_ns);
    /* The last reference is gone; shutdown was called before. */
    void (*free)(coil_executor *executor);
} coil_executor_ops;

/* An executor of the program's own embeds this, and calls coil_executor_init. */
struct coil_executor {
    const coil_executor_ops *ops;
    void *state_[4]; /* coil's */
};

/** coil_executor_init - one reference, the caller's. */
COIL_ANY_THREAD void coil_executor_init(coil_executor *executor, const coil_executor_ops *ops);
COIL_ANY_THREAD coil_executor *coil_executor_retain(coil_executor *executor);
COIL_ANY_THREAD void coil_executor_release(coil_executor *executor); /* the last one shuts it down without waiting */

/** coil_executor_shutdown - no more jobs. @wait: block this thread until those that were submitted have ended. */
COIL_ANY_THREAD void coil_executor_shutdown(coil_executor *executor, bool wait);

/**
 * coil_executor_shutdown_within - coil_executor_shutdown(), waiting for a limited time
 * @timeout_ns: by CLOCK_MONOTONIC; 0: do not wait; COIL_FOREVER: no limit
 *
 * Errors: -ETIMEDOUT if jobs are left; they go on. It may be called again.
 */
COIL_ANY_THREAD int coil_executor_shutdown_within(coil_executor *executor, int64_t timeout_ns);

/**
 * coil_job_start - for executors that decide late: the job counts as running from now on, and cannot be cancelled
 *
 * False if it was cancelled; coil_job_run() must still be called, and does nothing then.
 */
COIL_ANY_THREAD bool coil_job_start(coil_job *job);

/** coil_job_run - run the job on this thread (starting it if that was not done) and report its result; takes it. */
COIL_ANY_THREAD void coil_job_run(coil_job *job);

/**
 * coil_thread_pool_new - an executor with up to @threads_max threads
 * @threads_max: 0: the number of CPUs plus 4, at most 32, as in Python
 *
 * Threads are started on demand, when no idle one is left, and leave after some idle seconds. Gives.
 */
COIL_ANY_THREAD int coil_thread_pool_new(unsigned threads_max, coil_executor **executor);

/* --- using them -------------------------------------------------------------------------------------------------- */

/**
 * coil_loop_run_in_executor - run @fn(@arg) on another thread
 * @executor: NULL: the loop's default one, made at the first use
 * @arg:      borrows until the job has ended
 * @future:   gives: what the job returned or raised. Cancelling it cancels the job if that has not started; a job that
 *            runs goes on, and its result is dropped.
 *
 * The job runs in an empty context. Errors: COIL_ELOOPCLOSED; COIL_ERUNTIME after shutdown; -EAGAIN if there is no
 * thread for it; -ENOMEM.
 */
COIL_ON_LOOP int coil_loop_run_in_executor(coil_loop *loop, coil_executor *executor, coil_job_fn *fn, void *arg,
                                           coil_future **future);

/** coil_to_thread - run @fn(@arg) in the default executor, in a copy of the current context, and wait for it. */
COIL_IN_TASK COIL_SUSPENDS int coil_to_thread(coil_job_fn *fn, void *arg, void **result);

/**
 * coil_job_set_result_drop - in a job: what to do with its result if nobody takes it
 * @drop: called on the loop's thread; on the job's, if the loop was closed before the job ended
 */
COIL_ANY_THREAD void coil_job_set_result_drop(void (*drop)(void *));

/** coil_loop_set_default_executor - shared; the one before is released. */
COIL_ON_LOOP void coil_loop_set_default_executor(coil_loop *loop, coil_executor *executor);

/**
 * coil_loop_shutdown_default_executor - no more jobs, and wait, without blocking the loop, for those that there are
 *
 * Does not suspend if the default executor was never used. If the task is cancelled meanwhile, the call waits all the
 * same, blocking the loop, as asyncio's does. Errors: also -EAGAIN if there is no thread to wait on; -ENOMEM.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_loop_shutdown_default_executor(coil_loop *loop);

COIL_END
#endif
