/*
 * executor.c - blocking work on other threads: executors, jobs, run_in_executor, to_thread
 *
 * The marks in coil/executor.h say which thread calls what. The executor decides where and when a job runs;
 * everything about its future happens here, on the loop's thread; in a runtime on any worker.
 *
 * I1 to I4: see executor.h
 * I5 loop->executor, executor_shutdown and port are the facade's, under its shared_latch; the port, once made,
 *    stays until the loop is closed. Who submits to the default executor has a reference to it: another worker may
 *    set a new one
 *
 * Source: asyncio.base_events.run_in_executor, asyncio.futures._chain_future, asyncio.threads and
 * concurrent.futures of CPython 3.11.
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

int coil_executor_shutdown_within(coil_executor *executor, int64_t timeout_ns)
{
    /* [EXEC-2] relaxed: a submission that is being made at the same time may come before this or after. */
    store_relaxed(&state_of(executor)->shut, true);
    int rc = executor->ops->shutdown(executor, timeout_ns > 0 ? timeout_ns : 0);
    return rc < 0 ? coil_raise(rc, NULL) : 0;
}

void coil_executor_shutdown(coil_executor *executor, bool wait)
{
    (void)coil_executor_shutdown_within(executor, wait ? COIL_FOREVER : 0); /* neither can time out */
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

static coil__port *port_new(coil_loop *loop)
{
    coil__port *port = coil__malloc(sizeof *port);
    if (!port) {
        coil_raise(-ENOMEM, NULL);
        return NULL;
    }
    pthread_mutex_init(&port->mutex, NULL);
    port->loop = loop;
    port->spread = loop->parallel;
    coil__latch_init(&port->latch);
    coil__list_init(&port->jobs);
    store_relaxed(&port->refs, 1); /* [PORT-1] not shared yet */
    return port;
}

/* The port, which becomes @made (may be NULL) if there is none. */
static coil__port *install_port(coil_loop *loop, coil__port *made)
{
    COIL__GUARD(&loop->shared_latch);
    if (!loop->port)
        loop->port = made;
    return loop->port;
}

/* The loop's port, made at the first use. NULL without memory. */
static coil__port *port_of(coil_loop *loop)
{
    coil__port *port = install_port(loop, NULL);
    if (coil_likely(port != NULL))
        return port;
    coil__port *made = port_new(loop);
    port = install_port(loop, made);
    if (made && port != made)
        port_release(made); /* another worker was first */
    return port;
}

/* Any thread. To the worker @home. False if the loop is closed; the handle stays the caller's then. */
static bool port_post(coil__port *port, unsigned home, coil__handle *h)
{
    pthread_mutex_lock(&port->mutex);
    coil_loop *loop = port->loop;
    if (loop)
        coil__loop_post(port->spread ? loop->members[home] : loop, h); /* I4 */
    pthread_mutex_unlock(&port->mutex);
    return loop != NULL;
}

void coil__executor_gather(coil_loop *facade)
{
    coil__port *port = facade->port;
    if (!port)
        return;
    pthread_mutex_lock(&port->mutex);
    port->spread = false;
    pthread_mutex_unlock(&port->mutex);
}

/* Off the list of jobs that are to come back; the caller releases the future. */
static void leave_jobs(coil_job *job)
{
    COIL__GUARD(&job->port->latch);
    coil__node_unlink(&job->outstanding);
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
    coil__future_looked_at(f);
    if (!coil__future_pending(f))
        return false;
    return coil__future_set_cancelled(f, coil_error_retain(message), NULL) != COIL_EINVALIDSTATE;
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

/*
 * Gives what the job came to to its future, unless that was cancelled, by whichever worker. (No callback can fail
 * to be scheduled: the loop is running.)
 */
static void copy_outcome(coil_job *job)
{
    int rc;
    if (job->error)
        rc = coil__future_fail(&job->future, coil__error_for_other_thread(job->error));
    else
        rc = coil__future_finish(&job->future, job->value, job->drop);
    job->error = NULL;
    if (rc != COIL_EINVALIDSTATE)
        job->drop = NULL; /* the future's now */
}

static void copy_run(coil__handle *h)
{
    coil_job *job = coil_container_of(h, coil_job, copy);
    leave_jobs(job);
    if (coil__future_pending(&job->future))
        copy_outcome(job);
    drop_outcome(job);
    coil_release(&job->future); /* I3 */
}

static void copy_discard(coil__handle *h)
{
    coil_job *job = coil_container_of(h, coil_job, copy);
    leave_jobs(job);
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
    if (coil__future_state(&job->future) == COIL__CANCELLED && leave_pending(job, COIL__JOB_CANCELLED))
        coil__loop_ready(job->future.loop, &job->copy); /* a step that finds nothing to copy, as in asyncio */
    coil_release(&job->future); /* counted */
}

static void check_cancel_discard(coil__handle *h)
{
    coil_job *job = coil_container_of(h, coil_job, check_cancel);
    if (!coil__future_pending(&job->future))
        coil_release(&job->future); /* counted */
}

static const coil__handle_ops check_cancel_ops = {check_cancel_run, check_cancel_discard, "run_in_executor"};

static void job_init(coil_job *job, coil_loop *loop, coil__port *port, coil_context *context, coil_job_fn *fn,
                     void *arg)
{
    *job = (coil_job){.fn = fn, .arg = arg, .context = context, .port = port_retain(port)};
    coil__future_init(&job->future, &job_class, loop);
    coil__handle_init(&job->check_cancel, &check_cancel_ops);
    coil__handle_init(&job->copy, &copy_ops);
    job->home = coil__here(loop)->index;
    store_relaxed(&job->refs, 2);                  /* [JOB-1] not shared yet; I1 */
    store_relaxed(&job->state, COIL__JOB_PENDING); /* [JOB-2] likewise */
    (void)coil__future_add_counted_handle(&job->future, &job->check_cancel); /* cannot fail while it is pending */
    coil_retain(&job->future);                     /* I3 */
    COIL__GUARD(&port->latch);
    coil__list_append(&port->jobs, &job->outstanding);
}

/* The executor did not take it. */
static void job_undo(coil_job *job)
{
    leave_jobs(job);
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

bool coil__job_cancelled(coil_job *job)
{
    return load_relaxed(&job->state) == COIL__JOB_CANCELLED; /* [JOB-2] nothing leaves that state */
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
        if (!port_post(job->port, job->home, &job->copy))
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

/* The default executor as it is, with a reference; NULL: not made yet. @made, which may be NULL, becomes it then. */
static coil_executor *install_executor(coil_loop *loop, coil_executor *made, bool *shutdown)
{
    COIL__GUARD(&loop->shared_latch);
    *shutdown = loop->executor_shutdown;
    if (*shutdown)
        return NULL;
    if (!loop->executor && made)
        loop->executor = coil_executor_retain(made);
    return loop->executor ? coil_executor_retain(loop->executor) : NULL;
}

/* Gives a reference. Made once, whoever asks at the same time. */
static int default_executor(coil_loop *loop, coil_executor **executor)
{
    bool shutdown;
    coil_executor *made = NULL, *e = install_executor(loop, NULL, &shutdown);
    if (!e && !shutdown) {
        COIL_TRY(coil_thread_pool_new(0, &made));
        e = install_executor(loop, made, &shutdown);
        coil_executor_release(made);
    }
    if (shutdown)
        return coil_raise(COIL_ERUNTIME, "Executor shutdown has been called");
    *executor = e;
    return 0;
}

/* A new job, with the executor that it is for (@executor or the default one; gives a reference). */
static int prepare(coil_loop *loop, coil_executor **executor, coil__port **port, coil_job **job)
{
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    if (!*executor)
        COIL_TRY(default_executor(loop, executor));
    else
        coil_executor_retain(*executor);
    *port = port_of(loop);
    *job = *port ? coil__object_alloc(sizeof **job) : NULL;
    if (*job)
        return 0;
    coil_executor_release(*executor);
    return coil_raise(-ENOMEM, NULL);
}

/* Takes @context, also on failure. */
static int start(coil_loop *loop, coil_executor *executor, coil_context *context, coil_job_fn *fn, void *arg,
                 coil_future **future)
{
    coil__port *port = NULL;
    coil_job *job = NULL;
    int rc = prepare(loop, &executor, &port, &job);
    if (rc < 0) {
        coil_context_release(context);
        return rc;
    }
    job_init(job, loop, port, context, fn, arg);
    rc = submit(executor, job);
    coil_error *e = coil_catch(rc);
    coil_executor_release(executor);
    if (rc < 0)
        job_undo(job);
    else
        *future = &job->future;
    return coil_raise_error(e);
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
    COIL_TRY(start(coil__running_loop(), NULL, context, fn, arg, &future));
    return coil_join(future, result);
}

static coil_executor *replace_executor(coil_loop *loop, coil_executor *executor)
{
    COIL__GUARD(&loop->shared_latch);
    coil_executor *before = loop->executor;
    loop->executor = executor;
    return before;
}

void coil_loop_set_default_executor(coil_loop *loop, coil_executor *executor)
{
    coil_assert(executor);
    if (coil__loop_closed(loop))
        return; /* nothing will run in it, and nobody would release it */
    coil_executor_release(replace_executor(loop, coil_executor_retain(executor)));
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
    unsigned home;           /* index of the worker that shuts it down */
    ended *ended;            /* the loop's once it is posted */
    bool posted;             /* read after the join */
} waiter;

static void *wait_for_executor(void *arg)
{
    waiter *w = arg;
    coil_executor_shutdown(w->executor, true);
    w->posted = port_post(w->port, w->home, &w->ended->handle);
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

/* From now on the default executor takes no more jobs. With a reference; NULL: it was never used. */
static coil_executor *begin_shutdown(coil_loop *loop)
{
    COIL__GUARD(&loop->shared_latch);
    loop->executor_shutdown = true;
    return loop->executor ? coil_executor_retain(loop->executor) : NULL;
}

int coil_loop_shutdown_default_executor(coil_loop *loop)
{
    int rc = -ENOMEM;
    COIL_TRY(coil__task_needed());
    waiter w = {.executor = begin_shutdown(loop), .home = coil__here(loop)->index};
    if (!w.executor)
        return 0;
    coil__port *port = port_of(loop);
    w.ended = port ? ended_new(loop) : NULL;
    if (w.ended) {
        w.port = port_retain(port);
        coil_executor_shutdown(w.executor, false); /* from this step on, not from when the thread has got so far */
        rc = run_waiter(&w);
        port_release(port);
    }
    coil_error *e = coil_catch(rc);
    coil_executor_release(w.executor);
    return coil_raise_error(e);
}
