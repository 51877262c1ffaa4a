/*
 * thread_pool.c - executors made of threads, which come on demand and leave after some idle time
 *
 * submit runs on any thread, most often a loop's: it holds the mutex for a few steps, or for the start of a thread.
 * Jobs run in the order of their submission, outside of the mutex.
 *
 * I1 everything but `refs` is under the mutex
 * I2 a thread leaves only when the queue is empty, so whatever was submitted runs, also after shutdown
 * I3 refs: one of the executor, until its last reference goes, and one of each thread
 * I4 `left` has the threads that have left and are still to be joined: by who starts a thread or leaves, if they have
 *    ended by then, or else by a waiting shutdown, outside of the mutex. None is waited for under it: the program's
 *    destructors of thread-local variables may take their time, and may need the pool. Once the executor has gone nobody
 *    can wait any more: they are detached then, and who leaves later detaches itself
 *
 * Source: concurrent.futures.ThreadPoolExecutor of CPython 3.11.
 */
#define _GNU_SOURCE /* pthread_setname_np, pthread_tryjoin_np */
#include "executor.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"

#define IDLE_NS COIL_SECONDS(5)

struct pool;

/* One of its threads. */
typedef struct member {
    struct pool *pool;
    struct member *next; /* I4 */
    pthread_t thread;    /* when it has left */
} member;

typedef struct pool {
    coil_executor executor;
    _Atomic uint32_t refs; /* I3 */
    pthread_mutex_t mutex;
    pthread_cond_t work;  /* for idle threads: a job, or stopping */
    pthread_cond_t empty; /* for shutdown: no thread is left */
    coil_job *first, **end;
    size_t queued;
    unsigned threads, threads_max;
    unsigned idle; /* waiting for work, woken ones included until they run */
    unsigned named;
    int64_t idle_ns;
    bool stopping;
    bool gone;    /* the executor */
    member *left; /* I4 */
} pool;

static pool *pool_of(coil_executor *executor)
{
    return coil_container_of(executor, pool, executor);
}

int coil__thread_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? -EAGAIN : 0; /* whatever it lacks */
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

static void destroy(pool *p)
{
    coil_debug_assert(!p->first && !p->left); /* I2, I4 */
    pthread_cond_destroy(&p->empty);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->mutex);
    coil__free(p);
}

static void release(pool *p)
{
    if (fetch_sub_acq_rel(&p->refs, 1) == 1) /* [POOL-1] acq_rel: all use is over before the last one frees it */
        destroy(p);
}

static member *take_left(member **at)
{
    member *m = *at;
    *at = m->next;
    return m;
}

static void detach(member *m)
{
    pthread_detach(m->thread);
    coil__free(m);
}

/* A thread's own destructors may wait for its pool, too. */
static void join(member *m)
{
    if (pthread_equal(m->thread, pthread_self()))
        pthread_detach(m->thread);
    else
        pthread_join(m->thread, NULL);
    coil__free(m);
}

/* Joins those that have ended by now. */
static void join_ended(pool *p)
{
    for (member **at = &p->left; *at;) {
        if (pthread_tryjoin_np((*at)->thread, NULL) == 0)
            coil__free(take_left(at));
        else
            at = &(*at)->next;
    }
}

static void pool_free(coil_executor *executor)
{
    pool *p = pool_of(executor);
    pthread_mutex_lock(&p->mutex);
    p->gone = true;
    while (p->left)
        detach(take_left(&p->left)); /* I4 */
    pthread_mutex_unlock(&p->mutex);
    release(p); /* I3 */
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

/* Until @end, on the monotonic clock. False: it has come. */
static bool wait_until(pool *p, pthread_cond_t *cond, int64_t end)
{
    struct timespec until = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    return pthread_cond_timedwait(cond, &p->mutex, &until) == 0;
}

static void wait_for_work(pool *p)
{
    int64_t end = coil__monotonic_ns() + p->idle_ns;
    p->idle++;
    while (!p->first && !p->stopping && wait_until(p, &p->work, end)) {
    }
    p->idle--;
}

/* NULL: it is time to leave. */
static coil_job *next_job(pool *p)
{
    if (!p->first && !p->stopping)
        wait_for_work(p);
    coil_job *job = p->first;
    if (job) {
        p->first = job->next;
        p->queued--;
        if (!p->first)
            p->end = &p->first;
    }
    return job;
}

/* Gives the mutex back. */
static void leave(member *m)
{
    pool *p = m->pool;
    join_ended(p); /* I4 */
    m->thread = pthread_self();
    if (p->gone) {
        detach(m);
    } else {
        m->next = p->left;
        p->left = m;
    }
    if (--p->threads == 0)
        pthread_cond_broadcast(&p->empty);
    pthread_mutex_unlock(&p->mutex);
    release(p); /* I3 */
}

static void set_name(unsigned number)
{
    char name[16];
    snprintf(name, sizeof name, "coil-pool-%u", number % 100000);
    pthread_setname_np(pthread_self(), name);
}

static void *run_thread(void *arg)
{
    member *m = arg;
    pool *p = m->pool;
    coil_job *job;
    pthread_mutex_lock(&p->mutex);
    set_name(p->named++);
    while ((job = next_job(p))) {
        pthread_mutex_unlock(&p->mutex);
        coil_job_run(job);
        pthread_mutex_lock(&p->mutex);
    }
    leave(m);
    return NULL;
}

static int add_thread(pool *p)
{
    pthread_t thread;
    member *m = coil__malloc(sizeof *m);
    if (!m)
        return -ENOMEM;
    m->pool = p;
    join_ended(p); /* I4 */
    fetch_add_relaxed(&p->refs, 1); /* [POOL-1] relaxed: the executor has a reference; I3 */
    p->threads++;
    int rc = coil__thread_start(&thread, run_thread, m);
    if (rc == 0)
        return 0;
    p->threads--;
    release(p);
    coil__free(m);
    return rc;
}

/* --- the executor ------------------------------------------------------------------------------------------------ */

/* Makes sure that somebody will take one job more. Without a new thread the others will, if there are any. */
static int prepare(pool *p)
{
    if (p->stopping)
        return coil_raise(COIL_ERUNTIME, "cannot schedule new futures after shutdown");
    if (p->queued < p->idle || p->threads == p->threads_max)
        return 0;
    int rc = add_thread(p);
    if (rc == 0 || p->threads > 0)
        return 0;
    return coil_raise(rc, rc == -EAGAIN ? "can't start new thread" : NULL);
}

static void push(pool *p, coil_job *job)
{
    job->next = NULL;
    *p->end = job;
    p->end = &job->next;
    p->queued++;
    if (p->idle > 0)
        pthread_cond_signal(&p->work);
}

static int pool_submit(coil_executor *executor, coil_job *job)
{
    pool *p = pool_of(executor);
    pthread_mutex_lock(&p->mutex);
    int rc = prepare(p);
    if (rc == 0)
        push(p, job);
    pthread_mutex_unlock(&p->mutex);
    return rc;
}

/* Waits under the mutex until no thread is left. False: the time is up. */
static bool wait_empty(pool *p, int64_t timeout_ns)
{
    int64_t end;
    bool waits = true;
    if (timeout_ns == COIL_FOREVER || __builtin_add_overflow(coil__monotonic_ns(), timeout_ns, &end))
        end = INT64_MAX;
    while (p->threads > 0 && waits)
        waits = wait_until(p, &p->empty, end);
    return p->threads == 0;
}

/* No more jobs; waits for those that there are, if there is a time to wait for. */
static int pool_shutdown(coil_executor *executor, int64_t timeout_ns)
{
    pool *p = pool_of(executor);
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    bool empty = timeout_ns > 0 && wait_empty(p, timeout_ns);
    member *left = empty ? p->left : NULL;
    if (empty)
        p->left = NULL; /* I4 */
    pthread_mutex_unlock(&p->mutex);
    while (left)
        join(take_left(&left));
    return empty || timeout_ns == 0 ? 0 : -ETIMEDOUT;
}

static const coil_executor_ops pool_ops = {pool_submit, pool_shutdown, pool_free};

/* --- making ------------------------------------------------------------------------------------------------------ */

static void init_sync(pool *p)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &attr);
    pthread_cond_init(&p->empty, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&p->mutex, NULL);
}

static unsigned default_threads(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 1 ? 5 : cpus > 28 ? 32 : (unsigned)cpus + 4;
}

int coil__thread_pool_new(unsigned threads_max, int64_t idle_ns, coil_executor **executor)
{
    pool *p = coil__calloc(sizeof *p);
    if (!p)
        return coil_raise(-ENOMEM, NULL);
    coil_executor_init(&p->executor, &pool_ops);
    init_sync(p);
    store_relaxed(&p->refs, 1); /* [POOL-1] not shared yet; I3 */
    p->end = &p->first;
    p->threads_max = threads_max ? threads_max : default_threads();
    p->idle_ns = idle_ns;
    *executor = &p->executor;
    return 0;
}

int coil_thread_pool_new(unsigned threads_max, coil_executor **executor)
{
    return coil__thread_pool_new(threads_max, IDLE_NS, executor);
}

unsigned coil__thread_pool_size(coil_executor *executor)
{
    pool *p = pool_of(executor);
    pthread_mutex_lock(&p->mutex);
    unsigned threads = p->threads;
    pthread_mutex_unlock(&p->mutex);
    return threads;
}
