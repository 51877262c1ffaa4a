/*
 * thread.c - coroutines for other threads: run_coroutine_threadsafe and the future that plain threads wait for
 *
 * State table of a coil_thread_future, all under its mutex:
 *
 *   PENDING  -> CANCELLED  coil_thread_future_cancel, any thread; or the task was cancelled, loop's thread
 *   PENDING  -> FINISHED   the task has ended, or could not be made, loop's thread
 *
 * In a runtime "loop's thread" is any worker's: the task may end on one while a cancellation is taken from the
 * inbox on another, and it may have ended before the call that made it returns.
 *
 * I1 refs: the caller's; one of the loop, from the post until the task has ended (or the loop was closed before)
 * I2 `task` is under the mutex, from when the task was made until it has ended
 * I3 a cancellation is posted by whoever comes second: the canceller, if the task was made, else the one who makes
 *    it; under the mutex, which settling takes as well, so that the loop cannot be freed meanwhile
 *
 * Source: asyncio.tasks.run_coroutine_threadsafe, asyncio.futures._chain_future.
 */
#include <coil/thread.h>
#include <pthread.h>
#include <stdalign.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "context.h"
#include "error.h"
#include "loop.h"
#include "task.h"

enum state { PENDING, FINISHED, CANCELLED };

struct coil_thread_future {
    coil__handle start;     /* posted to the loop */
    coil__handle done;      /* among the task's callbacks */
    coil__handle cancel;    /* I3: posted at most once */
    coil_loop *loop;
    coil_coro coro;
    coil_future *task;      /* I2; a reference */
    _Atomic uint32_t refs;  /* I1 */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum state state;
    void *value;
    void (*drop)(void *);
    coil_error *error;
    alignas(max_align_t) char bytes[]; /* the coroutine's argument, if it is to be copied */
};

static void release(coil_thread_future *tf)
{
    if (fetch_sub_acq_rel(&tf->refs, 1) != 1) /* [TF-1] acq_rel: all use is over before the last one frees it */
        return;
    if (tf->drop)
        tf->drop(tf->value);
    coil_error_release(tf->error);
    coil_context_release(tf->start.context);
    pthread_cond_destroy(&tf->changed);
    pthread_mutex_destroy(&tf->mutex);
    coil__free(tf);
}

void coil_thread_future_release(coil_thread_future *tf)
{
    if (tf)
        release(tf);
}

/* PENDING -> @state; takes @error and the value, and drops them if it is too late. */
static void settle(coil_thread_future *tf, enum state state, void *value, void (*drop)(void *), coil_error *error)
{
    pthread_mutex_lock(&tf->mutex);
    bool first = tf->state == PENDING;
    if (first) {
        tf->state = state;
        tf->value = value;
        tf->drop = drop;
        tf->error = error;
        pthread_cond_broadcast(&tf->changed);
    }
    pthread_mutex_unlock(&tf->mutex);
    if (first)
        return;
    if (drop)
        drop(value);
    coil_error_release(error);
}

/* --- on the loop's thread ------------------------------------------------------------------------------------------------ */

/* What a task comes to that was told to be cancelled stays its own: its error counts as not retrieved. */
static void settle_from_task(coil_thread_future *tf, coil_future *task)
{
    void *value = NULL;
    void (*drop)(void *) = NULL;
    if (coil_thread_future_cancelled(tf))
        return;
    if (coil__future_state(task) == COIL__CANCELLED) {
        settle(tf, CANCELLED, NULL, NULL, NULL);
        return;
    }
    coil_error *e = coil__error_for_other_thread(coil__future_get_error(task));
    if (!e && coil__future_take(task, &value, &drop) < 0)
        e = coil_error_new(COIL_EINVALIDSTATE, NULL);
    settle(tf, FINISHED, value, drop, e);
}

/* The task, with the reference. */
static coil_future *take_task(coil_thread_future *tf)
{
    pthread_mutex_lock(&tf->mutex);
    coil_future *task = tf->task;
    tf->task = NULL;
    pthread_mutex_unlock(&tf->mutex);
    return task;
}

/* The task has ended, or will never run again: its loop is closed. */
static void done_run(coil__handle *h)
{
    coil_thread_future *tf = coil_container_of(h, coil_thread_future, done);
    coil_future *task = take_task(tf);
    settle_from_task(tf, task);
    coil_release(task);
    release(tf); /* I1 */
}

static const coil__handle_ops done_ops = {done_run, done_run, "run_coroutine_threadsafe"};

static void cancel_discard(coil__handle *h)
{
    release(coil_container_of(h, coil_thread_future, cancel)); /* taken by post_cancel */
}

static void cancel_run(coil__handle *h)
{
    coil_thread_future *tf = coil_container_of(h, coil_thread_future, cancel);
    pthread_mutex_lock(&tf->mutex);
    coil_future *task = tf->task ? coil_retain(tf->task) : NULL;
    pthread_mutex_unlock(&tf->mutex);
    if (task)
        coil_future_cancel(task, NULL);
    coil_release(task);
    cancel_discard(h);
}

static const coil__handle_ops cancel_ops = {cancel_run, cancel_discard, "thread future: cancel"};

/* Appends from any thread; in line with call_soon on the loop's own. */
static void post(coil_loop *loop, coil__handle *h)
{
    if (coil__loop_is_here(loop))
        coil__loop_ready(loop, h);
    else
        coil__loop_post(loop, h);
}

/* Asks the loop to cancel the task. I3 */
static void post_cancel(coil_thread_future *tf)
{
    fetch_add_relaxed(&tf->refs, 1); /* [TF-1] relaxed: the caller has a reference */
    post(tf->loop, &tf->cancel);
}

/* The task was made: from now on it is told of cancellations, also of one that came before. */
static void publish(coil_thread_future *tf, coil_future *task)
{
    pthread_mutex_lock(&tf->mutex);
    tf->task = task;
    if (tf->state == CANCELLED)
        post_cancel(tf);
    pthread_mutex_unlock(&tf->mutex);
}

static int start(coil_thread_future *tf)
{
    coil_future *task;
    COIL_TRY(coil_loop_create_task(tf->loop, tf->coro, NULL, &task));
    publish(tf, task);
    return coil__future_add_handle(task, &tf->done);
}

static void start_run(coil__handle *h)
{
    coil_thread_future *tf = coil_container_of(h, coil_thread_future, start);
    coil_loop *loop = tf->loop;
    int rc = start(tf);
    if (rc == 0)
        return;
    coil_error *e = coil_catch(rc);
    settle(tf, FINISHED, NULL, NULL, coil_error_retain(e));
    release(tf); /* I1 */
    coil__loop_report_callback(loop, coil_raise_error(e));
}

/* The loop was closed before it got there. */
static void start_discard(coil__handle *h)
{
    coil_thread_future *tf = coil_container_of(h, coil_thread_future, start);
    coil_coro_drop(tf->coro);
    settle(tf, FINISHED, NULL, NULL, coil_error_new(COIL_ELOOPCLOSED, "Event loop is closed"));
    release(tf); /* I1 */
}

static const coil__handle_ops start_ops = {start_run, start_discard, "run_coroutine_threadsafe"};

/* --- on any thread -------------------------------------------------------------------------------------------------------- */

/* Bytes to copy lie behind the object, since the caller's may be gone when the loop makes the task and copies them. */
static void own_bytes(coil_thread_future *tf)
{
    if (tf->coro.copy_bytes > 0)
        tf->coro.arg = memcpy(tf->bytes, tf->coro.arg, tf->coro.copy_bytes);
}

static void init_sync(coil_thread_future *tf)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&tf->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&tf->mutex, NULL);
}

static int make(coil_coro coro, coil_loop *loop, coil_thread_future **future)
{
    int rc = 0;
    coil_thread_future *tf = coil__calloc(sizeof *tf + coro.copy_bytes);
    if (!tf)
        return coil_raise(-ENOMEM, NULL);
    coil__handle_init(&tf->start, &start_ops);
    coil__handle_init(&tf->done, &done_ops);
    coil__handle_init(&tf->cancel, &cancel_ops);
    tf->start.context = coil__context_copy_current(&rc);
    if (rc < 0) {
        coil__free(tf);
        return rc;
    }
    init_sync(tf);
    tf->loop = loop;
    tf->coro = coro;
    own_bytes(tf);
    store_relaxed(&tf->refs, 2); /* [TF-1] not shared yet; I1 */
    *future = tf;
    return 0;
}

static int check(coil_coro coro, const coil_loop *loop)
{
    if (!coro.fn)
        return coil_raise(COIL_ETYPE, "A coroutine object is required");
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    return coro.copy_bytes > UINT32_MAX ? coil_raise(-ENOMEM, NULL) : 0;
}

int coil_run_coroutine_threadsafe(coil_coro coro, coil_loop *loop, coil_thread_future **future)
{
    coil_thread_future *tf = NULL;
    int rc = check(coro, loop);
    if (rc == 0)
        rc = make(coro, loop, &tf);
    if (rc < 0) {
        coil_coro_drop(coro);
        return rc;
    }
    if (future)
        *future = tf;
    post(loop, &tf->start);
    if (!future)
        release(tf);
    return 0;
}

/* Waits under the mutex; false when the time is up. */
static bool wait_settled(coil_thread_future *tf, int64_t timeout_ns)
{
    int64_t end;
    bool limited = timeout_ns != COIL_FOREVER && !__builtin_add_overflow(coil__monotonic_ns(), timeout_ns, &end);
    struct timespec until = {0};
    if (limited && end > 0)
        until = (struct timespec){.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    int rc = 0;
    while (tf->state == PENDING && rc == 0)
        rc = limited ? pthread_cond_timedwait(&tf->changed, &tf->mutex, &until)
                     : pthread_cond_wait(&tf->changed, &tf->mutex);
    return tf->state != PENDING;
}

int coil_thread_future_wait(coil_thread_future *tf, int64_t timeout_ns, void **result)
{
    pthread_mutex_lock(&tf->mutex);
    bool settled = wait_settled(tf, timeout_ns);
    enum state state = tf->state;
    coil_error *e = coil_error_retain(tf->error);
    void *value = tf->value;
    pthread_mutex_unlock(&tf->mutex);
    if (!settled)
        return coil_raise(-ETIMEDOUT, NULL);
    if (state == CANCELLED)
        return coil_raise(-ECANCELED, NULL);
    if (e)
        return coil_raise_error(e);
    if (result)
        *result = value;
    return 0;
}

bool coil_thread_future_cancel(coil_thread_future *tf)
{
    pthread_mutex_lock(&tf->mutex);
    enum state before = tf->state;
    if (before == PENDING) {
        tf->state = CANCELLED;
        pthread_cond_broadcast(&tf->changed);
        if (tf->task)
            post_cancel(tf);
    }
    pthread_mutex_unlock(&tf->mutex);
    return before != FINISHED;
}

bool coil_thread_future_done(coil_thread_future *tf)
{
    pthread_mutex_lock(&tf->mutex);
    bool done = tf->state != PENDING;
    pthread_mutex_unlock(&tf->mutex);
    return done;
}

bool coil_thread_future_cancelled(coil_thread_future *tf)
{
    pthread_mutex_lock(&tf->mutex);
    bool cancelled = tf->state == CANCELLED;
    pthread_mutex_unlock(&tf->mutex);
    return cancelled;
}
