/*
 * process_pool.c - process pools as their users see them: making, submitting, waiting for room, shutting down
 *
 * Runs on the submitting threads, most often loops', and holds the mutex for a few steps. A call is a job (executor.h)
 * whose function, run by the manager when the worker has answered, only hands over what the answer was.
 *
 * P1 to P4: see process_pool.h
 *
 * Source: concurrent.futures.process of CPython 3.11.
 */
#include "process_pool.h"

#include <coil/errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../src/base/alloc.h"
#include "../src/base/clock.h"
#include "../src/sync.h"
#include "../src/task.h"

#define JOBS_MAX 1024
#define PATIENCE_NS COIL_SECONDS(5)

/* Who waits for room: a job too, whose result is the room. */
typedef struct ticket {
    coil__node node;
    coil__process_pool *pool; /* a reference, which the room has later */
    coil_job *job;
    bool refused;
} ticket;

static coil__process_pool *pool_of(coil_executor *executor)
{
    return coil_container_of(executor, coil__process_pool, executor);
}

static int raise_stopped(void)
{
    return coil_raise(COIL_ERUNTIME, "cannot schedule new futures after shutdown");
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

void coil_process_result_free(coil_process_result *result)
{
    coil__free(result);
}

static void drop_result(void *result)
{
    coil_process_result_free(result);
}

static void call_free(coil__process_call *call)
{
    if (call->drop)
        call->drop(call->data);
    coil_process_result_free(call->result);
    coil_error_release(call->error);
    coil__free(call);
}

/* The job's function. */
static int hand_over(void *arg, void **result)
{
    coil__process_call *call = arg;
    coil_error *error = call->error;
    call->error = NULL;
    if (error)
        return coil_raise_error(error);
    coil_job_set_result_drop(drop_result);
    *result = call->result;
    call->result = NULL;
    return 0;
}

void coil__process_call_end(coil__process_call *call)
{
    coil_job_run(call->job); /* does nothing for one that was cancelled */
    call_free(call);
}

void coil__process_call_fail(coil__process_call *call, coil_error *error)
{
    call->error = error;
    coil__process_call_end(call);
}

static void drop_bytes(const coil_process_call *c)
{
    if (c->drop)
        c->drop(c->data);
}

/* Takes the bytes, also on failure. */
static int call_new(const coil_process_call *c, coil__process_call **call)
{
    coil__process_call *made = coil__calloc(sizeof *made);
    void *copy = made && !c->drop ? coil__malloc(c->n ? c->n : 1) : NULL;
    if (!made || (!c->drop && !copy)) {
        coil__free(made);
        drop_bytes(c);
        return coil_raise(-ENOMEM, NULL);
    }
    if (copy && c->n > 0)
        memcpy(copy, c->data, c->n);
    coil__node_init(&made->node);
    made->data = copy ? copy : c->data;
    made->drop = copy ? coil__free : c->drop;
    made->n = c->n;
    made->timeout_ns = c->timeout_ns;
    strcpy(made->name, c->name);
    *call = made;
    return 0;
}

static int check(coil_executor *executor, const coil_process_call *c)
{
    coil_assert(c->size == sizeof *c);
    coil_assert(c->name);
    coil_assert(c->data || c->n == 0);
    if (executor->ops != &coil__process_pool_ops)
        return coil_raise(COIL_ETYPE, "the executor is not a process pool");
    if (!coil__process_pool_find(c->name))
        return coil_raise(COIL_ELOOKUP, "no job '%s' is registered", c->name);
    if (c->timeout_ns < 0)
        return coil_raise(-EINVAL, "the timeout of job '%s' is negative", c->name);
    return 0;
}

/* --- room -------------------------------------------------------------------------------------------------------- */

/* Under the mutex. */
static bool room(const coil__process_pool *p)
{
    return p->queued < p->jobs_max && p->reserved < p->jobs_max - p->queued; /* P2 */
}

/* Under the mutex: the first ticket that room may be given to, with it, or that was cancelled. NULL: none. */
static ticket *next_ticket(coil__process_pool *p)
{
    if (coil__list_empty(&p->tickets) || !(room(p) || p->stopping))
        return NULL;
    ticket *t = coil_container_of(coil__list_pop(&p->tickets), ticket, node);
    t->refused = p->stopping;
    if (coil_job_start(t->job) && !t->refused)
        p->reserved++;
    return t;
}

static void ticket_end(ticket *t)
{
    coil__process_pool *p = t->pool;
    coil_job_run(t->job);
    coil__free(t);
    coil__process_pool_release(p); /* P3 */
}

/* Gives what room there is to those who wait for it; the mutex is free meanwhile (P4). */
static void give_room(coil__process_pool *p)
{
    ticket *t;
    pthread_mutex_lock(&p->mutex);
    while ((t = next_ticket(p))) {
        pthread_mutex_unlock(&p->mutex);
        ticket_end(t);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
}

static void return_room(coil__process_pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->reserved--;
    pthread_mutex_unlock(&p->mutex);
    give_room(p);
}

/* Of a ticket's result that nobody has taken. */
static void drop_room(void *arg)
{
    coil__process_pool *p = arg;
    return_room(p);
    coil__process_pool_release(p);
}

/* The job's function of a ticket. */
static int take_room(void *arg, void **result)
{
    ticket *t = arg;
    if (t->refused)
        return raise_stopped();
    fetch_add_relaxed(&t->pool->refs, 1); /* [PROC-1] relaxed: the ticket has a reference */
    coil_job_set_result_drop(drop_room);
    *result = t->pool;
    return 0;
}

/* Takes calls whose futures were cancelled out of the full queue. */
static void sweep(coil__process_pool *p, coil__list *swept)
{
    coil__list_foreach_safe(&p->queue, node, next) {
        coil__process_call *call = coil_container_of(node, coil__process_call, node);
        if (call->started || !coil__job_cancelled(call->job))
            continue;
        coil__node_unlink(node);
        coil__list_append(swept, node);
        p->queued--;
    }
}

/* One place in the queue. */
static int reserve(coil__process_pool *p)
{
    coil__list swept;
    coil__list_init(&swept);
    pthread_mutex_lock(&p->mutex);
    if (!room(p) && coil__list_empty(&p->tickets))
        sweep(p, &swept);
    bool stopped = p->stopping, given = !stopped && room(p);
    p->reserved += given;
    pthread_mutex_unlock(&p->mutex);
    while (!coil__list_empty(&swept))
        coil__process_call_end(coil_container_of(coil__list_pop(&swept), coil__process_call, node));
    if (stopped)
        return raise_stopped();
    return given ? 0 : coil_raise(COIL_EQUEUEFULL, "the process pool's queue is full: %u jobs wait", p->jobs_max);
}

/* --- the executor ------------------------------------------------------------------------------------------------ */

/* Under the mutex. Whoever gets true has to write to the eventfd. */
static bool must_wake(coil__process_pool *p)
{
    bool sleeping = p->sleeping;
    p->sleeping = false;
    return sleeping;
}

static void wake(coil__process_pool *p)
{
    uint64_t one = 1;
    while (write(p->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static int submit_call(coil__process_pool *p, coil_job *job)
{
    coil__process_call *call = job->arg;
    pthread_mutex_lock(&p->mutex);
    bool stopped = p->stopping;
    if (!stopped) {
        call->job = job;
        coil__list_append(&p->queue, &call->node);
        p->queued++;
        p->reserved--; /* P2 */
    }
    bool asleep = !stopped && must_wake(p);
    pthread_mutex_unlock(&p->mutex);
    if (asleep)
        wake(p);
    return stopped ? raise_stopped() : 0;
}

static int submit_ticket(coil__process_pool *p, coil_job *job)
{
    ticket *t = job->arg;
    pthread_mutex_lock(&p->mutex);
    bool stopped = p->stopping;
    if (!stopped) {
        t->job = job;
        coil__list_append(&p->tickets, &t->node);
    }
    pthread_mutex_unlock(&p->mutex);
    if (stopped)
        return raise_stopped();
    give_room(p); /* there may be some by now */
    return 0;
}

static int submit(coil_executor *executor, coil_job *job)
{
    coil__process_pool *p = pool_of(executor);
    if (job->fn == hand_over)
        return submit_call(p, job);
    if (job->fn == take_room)
        return submit_ticket(p, job);
    return coil_raise(COIL_ETYPE, "a process pool runs registered jobs only: coil_loop_run_in_process");
}

coil__process_call *coil__process_pool_take(coil__process_pool *p)
{
    coil__process_call *call = NULL;
    for (bool cancelled = true; cancelled;) {
        pthread_mutex_lock(&p->mutex);
        coil__node *node = coil__list_empty(&p->queue) ? NULL : coil__list_pop(&p->queue);
        if (node)
            p->queued--;
        pthread_mutex_unlock(&p->mutex);
        call = node ? coil_container_of(node, coil__process_call, node) : NULL;
        cancelled = call && !coil_job_start(call->job);
        if (cancelled)
            coil__process_call_end(call);
    }
    if (call)
        call->started = true;
    give_room(p);
    return call;
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

void coil__process_pool_release(coil__process_pool *p)
{
    if (fetch_sub_acq_rel(&p->refs, 1) != 1) /* [PROC-1] acq_rel: all use is over before the last one frees it */
        return;
    close(p->wake_fd);
    pthread_cond_destroy(&p->over);
    pthread_mutex_destroy(&p->mutex);
    coil__free(p->polls);
    coil__free(p->workers);
    coil__free(p);
}

/* Waits under the mutex until the manager has done its work. False: the time is up. */
static bool wait_over(coil__process_pool *p, int64_t timeout_ns)
{
    int64_t end;
    bool waits = true;
    if (timeout_ns == COIL_FOREVER || __builtin_add_overflow(coil__monotonic_ns(), timeout_ns, &end))
        end = INT64_MAX;
    struct timespec until = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    while (!p->ended && waits)
        waits = pthread_cond_timedwait(&p->over, &p->mutex, &until) == 0;
    return p->ended;
}

static int shut_down(coil_executor *executor, int64_t timeout_ns)
{
    coil__process_pool *p = pool_of(executor);
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    p->sleeping = false;
    wake(p);
    bool over = timeout_ns > 0 && wait_over(p, timeout_ns);
    bool join = over && !p->joined;
    p->joined |= join;
    pthread_mutex_unlock(&p->mutex);
    if (join)
        pthread_join(p->manager, NULL);
    give_room(p); /* refuses it */
    return over || timeout_ns == 0 ? 0 : -ETIMEDOUT;
}

static void pool_free(coil_executor *executor)
{
    coil__process_pool *p = pool_of(executor);
    if (!p->joined)
        pthread_detach(p->manager); /* it ends when the jobs have */
    coil__process_pool_release(p);  /* P3 */
}

const coil_executor_ops coil__process_pool_ops = {submit, shut_down, pool_free};

/* --- making ------------------------------------------------------------------------------------------------------ */

static void init_sync(coil__process_pool *p)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->over, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&p->mutex, NULL);
}

static unsigned default_workers(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 1 ? 1 : cpus > COIL_PROCESS_WORKERS_MAX ? COIL_PROCESS_WORKERS_MAX : (unsigned)cpus;
}

static coil__process_pool *pool_new(unsigned workers_max, unsigned jobs_max, int wake_fd)
{
    coil__process_pool *p = coil__calloc(sizeof *p);
    if (!p)
        return NULL;
    coil_executor_init(&p->executor, &coil__process_pool_ops);
    init_sync(p);
    store_relaxed(&p->refs, 1); /* [PROC-1] not shared yet; P3 */
    p->wake_fd = wake_fd;
    p->workers_max = workers_max;
    p->jobs_max = jobs_max;
    coil__list_init(&p->queue);
    coil__list_init(&p->tickets);
    p->server_fd = -1;
    p->patience = INT64_MAX;
    p->workers = coil__calloc(workers_max * sizeof *p->workers);
    p->polls = coil__calloc((workers_max + 2) * sizeof *p->polls);
    for (uint32_t i = 0; p->workers && i < workers_max; i++)
        p->workers[i] = (coil__process_worker){.number = i, .fd = -1, .theirs = -1};
    return p;
}

/* Takes the caller's reference on failure. */
static int start_manager(coil__process_pool *p)
{
    int rc = -ENOMEM;
    if (p->workers && p->polls) {
        fetch_add_relaxed(&p->refs, 1); /* [PROC-1] the manager's; P3 */
        rc = coil__thread_start(&p->manager, coil__process_pool_manage, p);
        if (rc < 0)
            coil__process_pool_release(p);
    }
    if (rc < 0)
        coil__process_pool_release(p);
    return rc < 0 ? coil_raise(rc, rc == -EAGAIN ? "can't start new thread" : NULL) : 0;
}

int coil__process_pool_new(const coil_process_pool_options *options, int64_t patience_ns, coil_executor **executor)
{
    coil_assert(!options || options->size == sizeof *options);
    unsigned workers_max = options && options->workers_max ? options->workers_max : default_workers();
    unsigned jobs_max = options && options->jobs_max ? options->jobs_max : JOBS_MAX;
    if (!coil__process_pool_ready())
        return coil_raise(COIL_ERUNTIME, "process pools need coil_process_init(argc, argv) first in main()");
    if (workers_max > COIL_PROCESS_WORKERS_MAX)
        return coil_raise(-EINVAL, "a process pool has at most %d workers", COIL_PROCESS_WORKERS_MAX);
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0)
        return coil_raise(-errno, NULL);
    coil__process_pool *p = pool_new(workers_max, jobs_max, wake_fd);
    if (!p) {
        close(wake_fd);
        return coil_raise(-ENOMEM, NULL);
    }
    p->patience_ns = patience_ns;
    COIL_TRY(start_manager(p));
    *executor = &p->executor;
    return 0;
}

int coil_process_pool_new(const coil_process_pool_options *options, coil_executor **executor)
{
    return coil__process_pool_new(options, PATIENCE_NS, executor);
}

/* --- using them -------------------------------------------------------------------------------------------------- */

/* With room reserved, which is given back on failure; takes the bytes. */
static int start(coil_loop *loop, coil_executor *executor, const coil_process_call *c, coil_future **future)
{
    coil__process_call *call = NULL;
    int rc = call_new(c, &call);
    if (rc == 0)
        rc = coil_loop_run_in_executor(loop, executor, hand_over, call, future);
    if (rc == 0)
        return 0;
    coil_error *e = coil_catch(rc);
    if (call)
        call_free(call);
    return_room(pool_of(executor));
    return coil_raise_error(e);
}

int coil_loop_run_in_process(coil_loop *loop, coil_executor *executor, const coil_process_call *c,
                             coil_future **future)
{
    int rc = check(executor, c);
    if (rc == 0)
        rc = reserve(pool_of(executor));
    if (rc == 0)
        return start(loop, executor, c, future);
    coil_error *e = coil_catch(rc);
    drop_bytes(c);
    return coil_raise_error(e);
}

/* The future of a place in the queue. */
static int ask_for_room(coil_executor *executor, coil_future **future)
{
    coil__process_pool *p = pool_of(executor);
    ticket *t = coil__calloc(sizeof *t);
    if (!t)
        return coil_raise(-ENOMEM, NULL);
    fetch_add_relaxed(&p->refs, 1); /* [PROC-1] relaxed: the caller has a reference; P3 */
    *t = (ticket){.pool = p};
    int rc = coil_loop_run_in_executor(coil__running_loop(), executor, take_room, t, future);
    if (rc < 0) {
        coil__free(t);
        coil__process_pool_release(p);
    }
    return rc;
}

/* Like reserve(), but waits. */
static int await_room(coil_executor *executor)
{
    void *room;
    coil_future *future;
    COIL_TRY(ask_for_room(executor, &future));
    int rc = coil_await(future, NULL);
    if (rc == 0)
        rc = coil_future_take(future, &room);
    coil_error *e = coil_catch(rc);
    coil_release(future); /* room that nobody has taken goes back with it */
    if (!e)
        coil__process_pool_release(pool_of(executor)); /* the caller has a reference */
    return coil_raise_error(e);
}

static int submit_waiting(coil_executor *executor, const coil_process_call *c)
{
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(check(executor, c));
    int rc = reserve(pool_of(executor));
    if (rc != COIL_EQUEUEFULL)
        return rc;
    coil_error_release(coil_catch(rc));
    return await_room(executor);
}

int coil_process_submit(coil_executor *executor, const coil_process_call *c, coil_future **future)
{
    int rc = submit_waiting(executor, c);
    if (rc == 0)
        return start(coil__running_loop(), executor, c, future);
    coil_error *e = coil_catch(rc);
    drop_bytes(c);
    return coil_raise_error(e);
}

int coil_to_process(coil_executor *executor, const coil_process_call *c, coil_process_result **result)
{
    coil_future *future;
    COIL_TRY(coil_process_submit(executor, c, &future));
    void *value = NULL;
    int rc = coil_await(future, NULL);
    if (rc == 0 && result)
        rc = coil_future_take(future, &value);
    coil_error *e = coil_catch(rc);
    coil_release(future);
    if (!e && result)
        *result = value;
    return coil_raise_error(e);
}
