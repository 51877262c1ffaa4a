/*
 * wait.c - wait and wait_for
 *
 * Source: asyncio.tasks of CPython 3.11 (wait_for with its helper task, not the later one on top of timeout).
 */
#include <coil/combine.h>

#include "base/alloc.h"
#include "distinct.h"
#include "error.h"
#include "loop.h"
#include "task.h"

static int resolve(void *future)
{
    coil_future *f = future;
    return f->state == COIL__PENDING ? coil__future_finish(f, NULL, NULL) : 0;
}

/* --- wait -------------------------------------------------------------------------------------------------------------- */

typedef struct waiting waiting;

typedef struct watched {
    coil__handle handle;
    waiting *waiting;
    coil_future *future; /* a reference; NULL: a duplicate */
} watched;

/*
 * I1 refs: the waiting call's, and one of each registered or ready handle: a callback may still be in the ready queue when
 *    the call is over, and then counts on
 */
struct waiting {
    coil_future *waiter;
    size_t refs;
    size_t count; /* of `each` */
    size_t left;  /* futures whose callbacks have not run */
    enum coil_return_when when;
    watched each[];
};

static void waiting_release(waiting *w)
{
    if (--w->refs > 0)
        return;
    for (size_t i = 0; i < w->count; i++)
        coil_release(w->each[i].future);
    coil_release(w->waiter);
    coil__free(w);
}

static bool raised(coil_future *f)
{
    if (f->state == COIL__CANCELLED)
        return false;
    f->log_traceback = false; /* asyncio looks at the exception here */
    return f->error != NULL;
}

static void watched_run(coil__handle *h)
{
    watched *x = coil_container_of(h, watched, handle);
    waiting *w = x->waiting;
    if (w->left > 0)
        w->left--;
    if (w->left == 0 || w->when == COIL_FIRST_COMPLETED || (w->when == COIL_FIRST_EXCEPTION && raised(x->future)))
        resolve(w->waiter);
    waiting_release(w); /* I1 */
}

static void watched_discard(coil__handle *h)
{
    waiting_release(coil_container_of(h, watched, handle)->waiting); /* I1 */
}

static const coil__handle_ops watched_ops = {watched_run, watched_discard, "wait"};

static void add_distinct(waiting *w, coil_future *const *futures, size_t n, coil__distinct *seen)
{
    for (size_t i = 0; i < n; i++) {
        coil_awaitable aw = coil_awaitable_of_future(futures[i]);
        if (coil__distinct_add(seen, &aw, i) != i)
            continue;
        watched *x = &w->each[w->count++];
        coil__handle_init(&x->handle, &watched_ops);
        x->waiting = w;
        x->future = coil_retain(futures[i]);
    }
    w->left = w->count;
}

static waiting *waiting_new(coil_loop *loop, coil_future *const *futures, size_t n, enum coil_return_when when)
{
    coil__distinct seen;
    waiting *w = n > SIZE_MAX / 2 / sizeof(watched) ? NULL : coil__calloc(sizeof *w + n * sizeof(watched));
    if (w && coil__distinct_init(&seen, n) == 0) {
        w->waiter = coil__future_new(loop);
        if (w->waiter) {
            w->refs = 1;
            w->when = when;
            add_distinct(w, futures, n, &seen);
            coil__distinct_fini(&seen);
            return w;
        }
        coil__distinct_fini(&seen);
    }
    coil__free(w);
    coil_raise(-ENOMEM, NULL);
    return NULL;
}

static int watch_all(waiting *w)
{
    for (size_t i = 0; i < w->count; i++) {
        COIL_TRY(coil__future_add_handle(w->each[i].future, &w->each[i].handle));
        w->refs++; /* I1 */
    }
    return 0;
}

static void unwatch_all(waiting *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (coil__future_remove_handle(w->each[i].future, &w->each[i].handle))
            waiting_release(w); /* I1 */
}

static int check_wait(size_t n, enum coil_return_when when)
{
    if (n == 0)
        return coil_raise(-EINVAL, "Set of Tasks/Futures is empty.");
    if (when != COIL_ALL_COMPLETED && when != COIL_FIRST_COMPLETED && when != COIL_FIRST_EXCEPTION)
        return coil_raise(-EINVAL, "Invalid return_when value: %d", (int)when);
    return 0;
}

static void forget_timer(coil_handle *timer)
{
    if (!timer)
        return;
    coil_handle_cancel(timer);
    coil_handle_release(timer);
}

static int wait_on(coil_loop *loop, waiting *w, int64_t timeout_ns)
{
    coil_handle *timer = NULL;
    if (timeout_ns != COIL_FOREVER)
        COIL_TRY(coil_loop_call_later(loop, timeout_ns, resolve, w->waiter, &timer));
    int rc = watch_all(w);
    if (rc == 0)
        rc = coil_await(w->waiter, NULL);
    forget_timer(timer);
    unwatch_all(w);
    return rc;
}

int coil_wait(coil_future *const *futures, size_t n, int64_t timeout_ns, enum coil_return_when when, size_t *done)
{
    coil__task *t = coil__task_current();
    if (!t)
        return coil__task_missing();
    COIL_TRY(check_wait(n, when));
    coil_loop *loop = t->future.loop;
    waiting *w = waiting_new(loop, futures, n, when);
    if (!w)
        return -ENOMEM;
    int rc = wait_on(loop, w, timeout_ns);
    size_t count = 0;
    for (size_t i = 0; i < w->count; i++)
        count += w->each[i].future->state != COIL__PENDING;
    if (rc == 0 && done)
        *done = count;
    waiting_release(w);
    return rc;
}

/* --- wait_for ---------------------------------------------------------------------------------------------------------- */

/*
 * A callback that resolves a waiter. I2 it has a reference of its maker's, and one while it is registered or ready.
 */
typedef struct releaser {
    coil__handle handle;
    coil_future *waiter; /* a reference */
    unsigned refs;
} releaser;

static void releaser_release(releaser *r)
{
    if (--r->refs > 0)
        return;
    coil_release(r->waiter);
    coil__object_free(r, sizeof *r);
}

static void releaser_run(coil__handle *h)
{
    releaser *r = coil_container_of(h, releaser, handle);
    resolve(r->waiter);
    releaser_release(r); /* I2 */
}

static void releaser_discard(coil__handle *h)
{
    releaser_release(coil_container_of(h, releaser, handle)); /* I2 */
}

static const coil__handle_ops releaser_ops = {releaser_run, releaser_discard, "wait_for"};

/* Completion of @f will resolve @waiter (shared). */
static int releaser_new(coil_future *f, coil_future *waiter, releaser **releaser_out)
{
    releaser *r = coil__object_alloc(sizeof *r);
    if (!r)
        return coil_raise(-ENOMEM, NULL);
    coil__handle_init(&r->handle, &releaser_ops);
    r->waiter = coil_retain(waiter);
    r->refs = 1;
    int rc = coil__future_add_handle(f, &r->handle);
    if (rc < 0) {
        releaser_release(r);
        return rc;
    }
    r->refs++; /* I2 */
    *releaser_out = r;
    return 0;
}

static void releaser_free(releaser *r, coil_future *f)
{
    if (coil__future_remove_handle(f, &r->handle))
        releaser_release(r); /* I2 */
    releaser_release(r);
}

/* Cancels @f and waits until it has ended. */
static int cancel_and_wait(coil_loop *loop, coil_future *f)
{
    coil_future *waiter = coil__future_new(loop);
    releaser *r;
    if (!waiter)
        return -ENOMEM;
    int rc = releaser_new(f, waiter, &r);
    if (rc == 0) {
        coil__future_cancel(f, NULL);
        rc = coil_await(waiter, NULL);
        releaser_free(r, f);
    }
    coil_release(waiter);
    return rc;
}

/* The value of @f: moved out of a task that is wait_for's own, else borrowed. */
static int result_of(coil_future *f, bool own, void **result)
{
    return own ? coil_future_take(f, result) : coil_future_result(f, result);
}

/* After @f was cancelled: a result or another error wins, its cancellation is the timeout. */
static int timed_out(coil_loop *loop, coil_future *f, bool own, void **result)
{
    COIL_TRY(cancel_and_wait(loop, f));
    int rc = result_of(f, own, result);
    return rc == -ECANCELED ? coil_raise(-ETIMEDOUT, NULL) : rc;
}

/* The wait for @waiter failed with @rc: cancelled, or the loop is going. */
static int interrupted(coil_loop *loop, coil_future *f, bool own, int rc, void **result)
{
    if (rc != -ECANCELED)
        return rc;
    if (f->state != COIL__PENDING)
        return result_of(f, own, result); /* asyncio 3.11 swallows the cancellation here */
    coil_error *e = coil_catch(rc);
    rc = cancel_and_wait(loop, f);
    if (rc < 0) {
        coil_error_release(e);
        return rc;
    }
    return coil_raise_error(e);
}

static int wait_until(coil_loop *loop, coil_future *f, bool own, coil_future *waiter, void **result)
{
    releaser *r;
    COIL_TRY(releaser_new(f, waiter, &r));
    int rc = coil_await(waiter, NULL);
    if (rc < 0 || f->state == COIL__PENDING) {
        releaser_free(r, f);
        return rc < 0 ? interrupted(loop, f, own, rc, result) : timed_out(loop, f, own, result);
    }
    releaser_free(r, f);
    return result_of(f, own, result);
}

static int wait_limited(coil_loop *loop, coil_awaitable aw, int64_t timeout_ns, void **result)
{
    coil_future *f, *waiter = coil__future_new(loop);
    coil_handle *timer;
    int rc = waiter ? coil_loop_call_later(loop, timeout_ns, resolve, waiter, &timer) : -ENOMEM;
    if (rc < 0) {
        coil_release(waiter);
        if (!aw.future)
            coil_coro_drop(aw.coro);
        return rc;
    }
    rc = coil__loop_ensure_future(loop, aw, &f);
    if (rc == 0) {
        rc = wait_until(loop, f, !aw.future, waiter, result);
        coil_release(f);
    }
    forget_timer(timer);
    coil_release(waiter);
    return rc;
}

/* A time that is up already: cancels what is not done, without waiting for the time. */
static int wait_not_at_all(coil_loop *loop, coil_awaitable aw, void **result)
{
    coil_future *f;
    COIL_TRY(coil__loop_ensure_future(loop, aw, &f));
    int rc = f->state != COIL__PENDING ? coil_future_result(f, result) : timed_out(loop, f, !aw.future, result);
    coil_release(f);
    return rc;
}

int coil_wait_for_(coil_awaitable awaitable, int64_t timeout_ns, void **result)
{
    coil__task *t = coil__task_current();
    if (!t) {
        if (!awaitable.future)
            coil_coro_drop(awaitable.coro);
        return coil__task_missing();
    }
    coil_loop *loop = t->future.loop;
    if (timeout_ns == COIL_FOREVER)
        return awaitable.future ? coil_await(awaitable.future, result) : coil_coro_await(awaitable.coro, result);
    if (timeout_ns <= 0)
        return wait_not_at_all(loop, awaitable, result);
    return wait_limited(loop, awaitable, timeout_ns, result);
}
