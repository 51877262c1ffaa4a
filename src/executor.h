/*
 * executor.h - jobs inside: a job is the future that run_in_executor gives, and what the executor runs
 *
 * State table; one step, decided by a compare-and-swap (JOB-2):
 *
 *   PENDING -> RUNNING    coil_job_start or coil_job_run, executor's thread
 *   PENDING -> CANCELLED  the iteration after the future was cancelled, on the worker where that happened
 *
 * When the job has run, or was cancelled, its `copy` handle goes to the loop, whose next iteration copies the outcome
 * to the future, or drops it if that is cancelled; whoever waits for the future runs in the iteration after.
 *
 * In a runtime the executor posts `copy` to the worker that submitted the job: what waits there is warm, the
 * submitters share the work, and no worker is everybody's. Of a burst only the first post wakes it. What is woken
 * then may be stolen.
 *
 * Jobs may outlive their loop. They reach it through its port, a counted object that the closing loop is cut from;
 * before that a closing runtime has everything posted to its facade.
 *
 * I1 refs: one of the future, released with the future's own last reference; one of the executor, until coil_job_run
 * I2 value, drop, error: of the thread that runs the job, until it posts `copy`, then of the worker that runs that
 * I3 from submission until `copy` has run or was discarded, or the loop was closed before it was posted, the job is
 *    in port->jobs, and that holds a reference to the future
 * I4 port->mutex is held while a handle is posted, so that a loop that has been cut from its port is not touched
 *    again
 */
#ifndef COIL_EXECUTOR_INTERNAL_H
#define COIL_EXECUTOR_INTERNAL_H

#include <coil/executor.h>
#include <pthread.h>

#include "base/atomic.h"
#include "base/latch.h"
#include "future.h"

enum coil__job_state { COIL__JOB_PENDING, COIL__JOB_RUNNING, COIL__JOB_CANCELLED };

typedef struct coil__port {
    pthread_mutex_t mutex;
    coil_loop *loop;       /* under the mutex; NULL: closed */
    bool spread;           /* under the mutex: jobs come back to the workers that submitted them */
    coil__latch latch;     /* guards jobs */
    coil__list jobs;       /* I3 */
    _Atomic uint32_t refs; /* the loop's until it is closed, and one of each job */
} coil__port;

struct coil_job {
    coil_future future;
    coil__handle check_cancel; /* the future's first callback */
    coil__handle copy;
    coil__node outstanding; /* I3 */
    coil__port *port;       /* a reference */
    coil_job *next;         /* in the queue of a thread pool */
    coil_job_fn *fn;
    void *arg;
    coil_context *context; /* to run in; owned; NULL: the empty one, or taken by the run */
    unsigned home;         /* index of the worker that submitted it */
    _Atomic uint32_t refs; /* I1 */
    _Atomic int state;
    void *value;
    void (*drop)(void *);
    coil_error *error;
};

/* A runtime closes, and its workers are about to end: what comes back from now on goes to the facade. */
void coil__executor_gather(coil_loop *facade);

/* The loop closes: its default executor is shut down without waiting, and jobs that run go on without the loop. */
void coil__executor_close(coil_loop *loop);

/* Whether it was cancelled before it started, which is final. Any thread that has a reference. */
bool coil__job_cancelled(coil_job *job);

/* Starts a thread that takes no signals: they are for the program's own. 0 or -EAGAIN. */
int coil__thread_start(pthread_t *thread, void *(*fn)(void *), void *arg);

/* coil_thread_pool_new() with a choice of how long a thread stays without work. */
int coil__thread_pool_new(unsigned threads_max, int64_t idle_ns, coil_executor **executor);

/* The threads that a pool has now. */
unsigned coil__thread_pool_size(coil_executor *executor);

#endif
