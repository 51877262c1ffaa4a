/*
 * executor.c - blocking work on other threads: executors, jobs, run_in_executor, to_thread
 *
 * The marks in coil/executor.h say which thread calls what. The executor decides where and when a job runs; everything
 * about its future happens here, on the loop's thread.
 *
 * I1, I2, I3: see executor.h
 * I4 port->mutex is held while a handle is posted, so that a loop that has been cut from its port is not touched again
 *
 * Source: asyncio.base_events.run_in_executor, asyncio.futures._chain_future, asyncio.threads and concurrent.futures of
 * CPython 3.11.
 */
#include "executor.h"

#include "base/alloc.h"
#include "context.h"
#include "error.h"
#include "loop.h"
#include "sync.h"
#include "task.h"

/* --- executors --------------------------------------------------------------------------------------------------- */

/* What lies in coil_executor.state_. */
typedef struct __attribute__((may_alias)) executor_state {
    _Atomic uint32_t refs;
    _Atomic bool shut;
} executor_state;
_Static_assert(sizeof(executor_state) <= sizeof((coil_executor){0}.state_), "coil's part of an executor has to fit");
_Static_assert(_Alignof(executor_state) <= _Alignof(void *), "and to be aligned");

static executor_state *state_of(coil_executor *executor)
{
    return (executor_state *)(void *)executor->state_;
}

void coil_executor_init(coil_executor *executor, const coil_executor_ops *ops)
{
    executor->ops = ops;
    store_relaxed(&state_of(executor)->refs, 1);     /* [EXEC-1] not shared yet */
    store_relaxed(&state_of(executor)->shut, false); /* [EXEC-2] */
}

coil_executor *coil_executor_retain(coil_executor *executor)
{
    fetch_add_relaxed(&state_of(executor)->refs, 1); /* [EXEC-1] relaxed: the caller has a reference */
    return executor;
}

void coil_executor_release(coil_executor *executor)
{
    if (!executor || fetch_sub_acq_rel(&state_of(executor)->refs, 1) != 1) /* [EXEC-1] acq_rel: all use is over */
        return;
    if (!load_relaxed(&state_of(executor)->shut)) /* [EXEC-2] ordered by EXEC-1 */
        coil_executor_shutdown(executor, false);
    executor->ops->free(executor);
}

void coil_executor_shutdown(coil_executor *executor, bool wait)
{
    /* [EXEC-2] relaxed: a submission that is being made at the same time may come before this or after. */
    store_relaxed(&state_of(executor)->shut, true);
    executor->ops->shutdown(executor, wait);
}

static int submit(coil_executor *executor, coil_job *job)
{
    if (load_relaxed(&state_of(executor)->shut)) /* [EXEC-2] */
        return coil_raise(COIL_ERUNTIME, "cannot schedule new futures after shutdown");
    return executor->ops->submit(executor, job);
}

/* --- ports ------------------------------------------------------------------------------------------------------- */

static void port_release(coil__port *port)
{
    if (fetch_sub_acq_rel(&port->refs, 1) != 1) /* [PORT-1] acq_rel: all use is over before the last one frees it */
        return;
    pthread_mutex_destroy(&port->mutex);
    coil__free(port);
}

static coil__port *port_retain(coil__port *port)
{
    fetch_add_relaxed(&port->refs, 1); /* [PORT-1] relaxed: the loop has a reference */
    return port;
}

/* The loop's port, made at the first use. */
static coil__port *port_of(coil_loop *loop)
{
    if (loop->port)
        return loop->port;
    coil__port *port = coil__malloc(sizeof *port);
    if (!port) {
        coil_raise(-ENOMEM, NULL);
        return NULL;
    }
    pthread_mutex_init(&port->mutex, NULL);
    port->loop = loop;
    coil__list_init(&port->jobs);
    store_relaxed(&port->refs, 1); /* [PORT-1] not shared yet */
    return loop->port = port;
}

/* Any thread. False if the loop is closed; the handle stays the caller's then. */
static bool port_post(coil__port *port, coil__handle *h)
{
    pthread_mutex_lock(&port->mutex);
    bool open = port->loop != NULL;
    if (open)
        coil__loop_post(port->loop, h); /* I4 */
    pthread_mutex_unlock(&port->mutex);
    return open;
}

/* The futures of jobs that will not come back stay pending, as asyncio's do. */
static void abandon_jobs(coil__port *port)
{
    coil__list_foreach_safe(&port->jobs, node, next) {
        coil_job *job = coil_container_of(node, coil_job, outstanding);
        if (coil__node_linked(&job->copy.node))
            continue; /* it came back in time, and is discarded with the ready queue */
        coil__node_unlink(node);
        coil_release(&job->future); /* I3 */
    }
}

void coil__executor_close(coil_loop *loop)
{
    coil__port *port = loop->port;
    coil_executor *executor = loop->executor;
    loop->executor_shutdown = true;
    loop->executor = NULL;
    loop->port = NULL;
    if (port) {
        pthread_mutex_lock(&port->mutex);
        port->loop = NULL; /* I4 */
        pthread_mutex_unlock(&port->mutex);
        coil__loop_take_inbox(loop); /* so that what was posted before can be told from what was not */
        abandon_jobs(port);
        port_release(port);
    }
    if (executor) {
        coil_executor_shutdown(executor, false);
        coil_executor_release(executor);
    }
}

/* --- jobs: the loop's side --------------------------------------------------------------------------------------- */

/* One of I1's references is going; on either thread. */
static void job_release(coil_job *job)
{
    if (fetch_sub_acq_rel(&job->refs, 1) != 1) /* [JOB-1] acq_rel: the other side's use is over */
        return;
    coil_context_release(job->context);
    port_release(job->port);
    coil__object_free(job, sizeof *job);
}

static void job_future_free(coil_future *f)
{
    coil__future_fini(f);
    job_release(coil_container_of(f, coil_job, future)); /* I1 */
}

static bool job_future_cancel(coil_future *f, coil_error *message)
{
    f->log_traceback = false;
    if (f->state != COIL__PENDING)
        return false;
    coil__future_set_cancelled(f, coil_error_retain(message), NULL);
    return true;
}

static const coil__future_class job_class = {.name = "Future", .cancel = job_future_cancel, .free = job_future_free};

static void drop_outcome(coil_job *job)
{
    if (job->drop)
        job->drop(job->value);
    coil_error_release(job->error);
    job->drop = NULL;
    job->error = NULL;
}

/* Gives what the job came to to its future. (No callback can fail to be scheduled: the loop is running.) */
static void copy_outcome(coil_job *job)
{
    if (job->error)
        (void)coil__future_fail(&job->future, job->error);
    else
        (void)coil__future_finish(&job->future, job->value, job->drop);
    job->error = NULL;
    job->drop = NULL;
}

static void copy_run(coil__handle *h)
{
    coil_job *job = coil_container_of(h, coil_job, copy);
    coil__node_unlink(&job->outstanding);
    if (job->future.state == COIL__PENDING)
        copy_outcome(job);
    else
        drop_outcome(job);
    coil_release(&job->future); /* I3 */
}

static void copy_discard(coil__handle *h)
{
    coil_job *job = coil_container_of(h, coil_job, copy);
    coil__node_unlink(&job->outstanding);
    drop_outcome(job);
    coil_release(&job->future); /* I3 */
}

static const coil__handle_ops copy_ops = {copy_run, copy_discard, "run_in_executor"};

/* PENDING -> @state; false if it is too late. */
static bool leave_pending(coil_job *job, int state)
{
    int expected = COIL__JOB_PENDING;
    /* [JOB-2] relaxed: the two sides only compete for the word. The executor published the job to its thread, and the
     * thread that loses touches nothing but the count. */
    return cas_strong_relaxed(&job->state, &expected, state);
}

static void check_cancel_run(coil__handle *h)
{
    coil_job *job = coil_container_of(h, coil_job, check_cancel);
    if (job->future.state == COIL__CANCELLED && leave_pending(job, COIL__JOB_CANCELLED))
        coil__loop_ready(job->future.loop, &job->copy); /* a step that finds nothing to copy, as in asyncio */
    coil_release(&job->future); /* counted */
}

static void check_cancel_discard(coil__handle *h)
{
    coil_job *job = coil_container_of(h, coil_job, check_cancel);
    if (job->future.state != COIL__PENDING)
        coil_release(&job->future); /* counted */
}

static const coil__handle_ops check_cancel_ops = {check_cancel_run, check_cancel_discard, "run_in_executor"};

static void job_init(coil_job *job, coil_loop *loop, coil_context *context, coil_job_fn *fn, void *arg)
{
    *job = (coil_job){.fn = fn, .arg = arg, .context = context, .port = port_retain(loop->port)};
    coil__future_init(&job->future, &job_class, loop);
    coil__handle_init(&job->check_cancel, &check_cancel_ops);
    coil__handle_init(&job->copy, &copy_ops);
    store_relaxed(&job->refs, 2);                  /* [JOB-1] not shared yet; I1 */
    store_relaxed(&job->state, COIL__JOB_PENDING); /* [JOB-2] likewise */
    (void)coil__future_add_counted_handle(&job->future, &job->check_cancel); /* cannot fail while it is pending */
    coil__list_append(&loop->port->jobs, &job->outstanding);
    coil_retain(&job->future); /* I3 */
}

/* The executor did not take it. */
static void job_undo(coil_job *job)
{
    coil__node_unlink(&job->outstanding);
    coil_release(&job->future); /* I3 */
    coil_release(&job->future); /* the caller's */
    job_release(job);           /* the executor's */
}

/* --- jobs: the executor's side ----------------------------------------------------------------------------------- */

bool coil_job_start(coil_job *job)
{
    if (leave_pending(job, COIL__JOB_RUNNING))
        return true;
    return load_relaxed(&job->state) == COIL__JOB_RUNNING; /* [JOB-2] final: RUNNING was this side's own doing */
}

static coil_context **context_slot(coil__current_state *current)
{
    return current->task ? &current->task->step.context : &current->context;
}

/* The function finds no error, and its own context; neither is left behind on the executor's thread. */
static void call(coil_job *job)
{
    coil__current_state *current = coil__current();
    coil_error **error = coil__error_slot(), *outer_error = *error;
    coil_context **context = context_slot(current), *outer_context = *context;
    coil_job *outer_job = current->job;
    *error = NULL;
    *context = job->context;
    job->context = NULL;
    current->job = job;
    job->error = coil_catch(job->fn(job->arg, &job->value));
    if (job->error)
        job->drop = NULL; /* there is no value */
    current->job = outer_job;
    coil_context_release(*context);
    *context = outer_context;
    coil_error_release(*error);
    *error = outer_error;
}

void coil_job_run(coil_job *job)
{
    if (coil_job_start(job)) {
        call(job);
        if (!port_post(job->port, &job->copy))
            drop_outcome(job);
    }
    job_release(job); /* I1 */
}

void coil_job_set_result_drop(void (*drop)(void *))
{
    coil_job *job = coil__current()->job;
    coil_assert(job);
    job->drop = drop;
}

/* --- using them -------------------------------------------------------------------------------------------------- */

static int default_executor(coil_loop *loop, coil_executor **executor)
{
    if (loop->executor_shutdown)
        return coil_raise(COIL_ERUNTIME, "Executor shutdown has been called");
    if (!loop->executor)
        COIL_TRY(coil_thread_pool_new(0, &loop->executor));
    *executor = loop->executor;
    return 0;
}

static int check_submit(coil_loop *loop, coil_executor **executor)
{
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    if (!*executor)
        COIL_TRY(default_executor(loop, executor));
    return port_of(loop) ? 0 : -ENOMEM;
}

/* Takes @context, also on failure. */
static int start(coil_loop *loop, coil_executor *executor, coil_context *context, coil_job_fn *fn, void *arg,
                 coil_future **future)
{
    int rc = check_submit(loop, &executor);
    coil_job *job = rc == 0 ? coil__object_alloc(sizeof *job) : NULL;
    if (rc == 0 && !job)
        rc = coil_raise(-ENOMEM, NULL);
    if (rc < 0) {
        coil_context_release(context);
        return rc;
    }
    job_init(job, loop, context, fn, arg);
    rc = submit(executor, job);
    if (rc < 0)
        job_undo(job);
    else
        *future = &job->future;
    return rc;
}

int coil_loop_run_in_executor(coil_loop *loop, coil_executor *executor, coil_job_fn *fn, void *arg,
                              coil_future **future)
{
    return start(loop, executor, NULL, fn, arg, future);
}

int coil_to_thread(coil_job_fn *fn, void *arg, void **result)
{
    int rc = 0;
    coil_future *future = NULL;
    COIL_TRY(coil__task_may_wait());
    coil_context *context = coil__context_copy_current(&rc);
    COIL_TRY(rc);
    COIL_TRY(start(coil__current()->loop, NULL, context, fn, arg, &future));
    return coil_join(future, result);
}

void coil_loop_set_default_executor(coil_loop *loop, coil_executor *executor)
{
    coil_assert(executor);
    if (coil__loop_closed(loop))
        return; /* nothing will run in it, and nobody would release it */
    coil_executor *before = loop->executor;
    loop->executor = coil_executor_retain(executor);
    coil_executor_release(before);
}

/* --- shutting the default executor down -------------------------------------------------------------------------- */

/* Posted when the executor has ended. */
typedef struct ended {
    coil__handle handle;
    coil_future *future; /* a reference */
} ended;

static void ended_free(ended *e)
{
    coil_release(e->future);
    coil__object_free(e, sizeof *e);
}

/* The future may have been cancelled; asyncio reports that it cannot be set then. */
static void ended_run(coil__handle *h)
{
    ended *e = coil_container_of(h, ended, handle);
    coil_loop *loop = e->future->loop;
    int rc = coil_future_set_result(e->future, NULL);
    ended_free(e);
    if (rc < 0)
        coil__loop_report_callback(loop, rc);
}

static void ended_discard(coil__handle *h)
{
    ended_free(coil_container_of(h, ended, handle));
}

static const coil__handle_ops ended_ops = {ended_run, ended_discard, "shutdown_default_executor"};

/* The thread that waits; in the frame of the task, which joins it before it returns. */
typedef struct waiter {
    pthread_t thread;
    coil_executor *executor; /* a reference */
    coil__port *port;        /* a reference */
    ended *ended;            /* the loop's once it is posted */
    bool posted;             /* read after the join */
} waiter;

static void *wait_for_executor(void *arg)
{
    waiter *w = arg;
    coil_executor_shutdown(w->executor, true);
    w->posted = port_post(w->port, &w->ended->handle);
    return NULL;
}

static ended *ended_new(coil_loop *loop)
{
    coil_future *future = coil__future_new(loop);
    ended *e = future ? coil__object_alloc(sizeof *e) : NULL;
    if (!e) {
        coil_release(future);
        coil_raise(-ENOMEM, NULL);
        return NULL;
    }
    coil__handle_init(&e->handle, &ended_ops);
    e->future = future;
    return e;
}

/* Does not block the loop, unless the task is cancelled: then, as in asyncio, the thread is joined all the same. */
static int run_waiter(waiter *w)
{
    coil_future *future = coil_retain(w->ended->future);
    int rc = coil__thread_start(&w->thread, wait_for_executor, w);
    if (rc == 0) {
        rc = coil_await(future, NULL);
        pthread_join(w->thread, NULL);
    } else {
        coil_raise(rc, "can't start new thread");
    }
    if (!w->posted)
        ended_free(w->ended);
    coil_release(future);
    return rc;
}

int coil_loop_shutdown_default_executor(coil_loop *loop)
{
    COIL_TRY(coil__task_needed());
    loop->executor_shutdown = true;
    if (!loop->executor)
        return 0;
    waiter w = {.ended = port_of(loop) ? ended_new(loop) : NULL};
    if (!w.ended)
        return -ENOMEM;
    w.port = port_retain(loop->port);
    w.executor = coil_executor_retain(loop->executor);
    coil_executor_shutdown(w.executor, false); /* from this step on, not from when the thread has got so far */
    int rc = run_waiter(&w);
    coil_executor_release(w.executor);
    port_release(w.port);
    return rc;
}
