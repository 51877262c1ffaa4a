/*
 * coil/process_pool.h - work for other processes: executors whose jobs may crash, or be killed, alone
 *
 * A job is a function with a name, bytes for its argument and bytes for its result:
 *
 *     static int digest(const void *data, size_t n, coil_process_output *output) { ... }
 *
 *     int main(int argc, char **argv)
 *     {
 *         coil_process_register("digest", digest);
 *         coil_process_init(argc, argv);      // before main does anything else
 *         ...
 *
 * A pool's first job has the program executed once more, through /proc/self/exe; that process never returns from
 * coil_process_init(): it is the pool's fork server, from which the workers are forked, one job at a time each.
 * docs/executors.md says what workers inherit, and what becomes of signals.
 *
 * Source: concurrent.futures.ProcessPoolExecutor and multiprocessing.forkserver of CPython 3.11.
 */
#ifndef COIL_PROCESS_POOL_H
#define COIL_PROCESS_POOL_H

#include <coil/executor.h>
COIL_BEGIN

#define COIL_PROCESS_NAME_MAX 63      /* bytes of a job's name */
#define COIL_PROCESS_WORKERS_MAX 1024 /* of one pool */

/* --- in main ----------------------------------------------------------------------------------------------------- */

typedef struct coil_process_output coil_process_output;

/* A job, in a worker process. What it returns or raises, with the message, is what its future gets. */
typedef int coil_process_job_fn(const void *data, size_t n, coil_process_output *output);

/**
 * coil_process_register - give a job its name; in main's thread, before coil_process_init()
 * @name: borrows for ever; 1 to COIL_PROCESS_NAME_MAX bytes
 *
 * Errors: -EINVAL for a bad name, or one that is taken; COIL_ERUNTIME after coil_process_init(); -ENOMEM.
 */
COIL_ANY_THREAD int coil_process_register(const char *name, coil_process_job_fn *fn);

/**
 * coil_process_init - make process pools possible; to be called first in main, after coil_process_register()
 *
 * In a fork server it does not return. What a program does before it, it does again in every fork server. Gives 0.
 */
COIL_ANY_THREAD int coil_process_init(int argc, char **argv);

/**
 * coil_process_output_write - in a job: append @n bytes (borrows) to its result; any number of times
 *
 * Errors: -ENOMEM, and nothing was appended.
 */
COIL_ANY_THREAD int coil_process_output_write(coil_process_output *output, const void *data, size_t n);

/* --- pools ------------------------------------------------------------------------------------------------------- */

typedef struct coil_process_pool_options {
    size_t size;          /* sizeof(coil_process_pool_options) */
    unsigned workers_max; /* processes; 0: as many as there are CPUs */
    unsigned jobs_max;    /* jobs that wait for a worker; 0: 1024 */
} coil_process_pool_options;

/**
 * coil_process_pool_new - an executor with up to options->workers_max processes
 * @options: borrows; NULL: the defaults
 *
 * Workers are started on demand, when a job finds none idle, and stay until the pool is shut down. Gives.
 * A pool is shut down, retained and released as any executor; those functions end all of its processes.
 * Jobs that are not coil_process_calls (coil_loop_run_in_executor) are refused with COIL_ETYPE.
 *
 * Errors: COIL_ERUNTIME without coil_process_init(); -EINVAL: more than COIL_PROCESS_WORKERS_MAX workers; -EAGAIN if
 * there is no thread for it; -EMFILE, -ENFILE; -ENOMEM.
 */
COIL_ANY_THREAD int coil_process_pool_new(const coil_process_pool_options *options, coil_executor **executor);

/* --- jobs -------------------------------------------------------------------------------------------------------- */

typedef struct coil_process_call {
    size_t size;           /* sizeof(coil_process_call) */
    const char *name;      /* of a registered job; borrows for the call */
    void *data;            /* its argument, which is only read; may be NULL if there are no bytes */
    size_t n;              /* bytes */
    void (*drop)(void *);  /* NULL: the bytes are copied before the call returns, or suspends for the last time. Else
                            * the call takes them, even if it fails: drop(data), on any thread, when they are not
                            * needed any more */
    int64_t timeout_ns;    /* from when a worker gets the job until it has answered; 0: no limit */
} coil_process_call;

/* What a job has written; drop it with coil_process_result_free. */
typedef struct coil_process_result {
    void *data; /* aligned for any type */
    size_t n;   /* bytes */
} coil_process_result;

COIL_ANY_THREAD void coil_process_result_free(coil_process_result *result); /* NULL is allowed */

/**
 * coil_loop_run_in_process - run a registered job in a process of @pool
 * @pool:   borrows
 * @call:   borrows; call->drop says what becomes of its bytes
 * @future: gives: its value is a coil_process_result, freed with the future unless coil_future_take() took it.
 *          Cancelling it cancels the job if that has not started; a job that runs goes on, and its result is dropped.
 *
 * Errors: COIL_EQUEUEFULL if jobs_max jobs wait; COIL_ELOOKUP: no job has that name; COIL_ETYPE if @pool is another
 * kind of executor; COIL_ELOOPCLOSED; COIL_ERUNTIME after shutdown; -EINVAL: a negative timeout; -ENOMEM.
 * The future raises what the job raised; COIL_EBROKENPROCESS if the worker died; -ETIMEDOUT if it was killed after
 * call->timeout_ns; -EAGAIN or another errno if no worker could be started; -ENOMEM.
 */
COIL_ON_LOOP int coil_loop_run_in_process(coil_loop *loop, coil_executor *pool, const coil_process_call *call,
                                          coil_future **future);

/** coil_process_submit - coil_loop_run_in_process() that waits, as long as the queue is full, for its turn. */
COIL_IN_TASK COIL_SUSPENDS int coil_process_submit(coil_executor *pool, const coil_process_call *call,
                                                   coil_future **future);

/**
 * coil_to_process - coil_process_submit(), and wait for the job
 * @result: gives, to be freed with coil_process_result_free(); NULL: not wanted
 */
COIL_IN_TASK COIL_SUSPENDS int coil_to_process(coil_executor *pool, const coil_process_call *call,
                                               coil_process_result **result);

COIL_END
#endif
