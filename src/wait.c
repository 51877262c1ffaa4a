/*
 * wait.c - wait and wait_for
 *
 * Source: asyncio.tasks of CPython 3.11 (wait_for with its helper task, not the later one on top of timeout).
 *
 * The call suspends on a future of its own, the waiter, which callbacks of what it waits for and a timer resolve,
 * each on its worker, and which whoever cancels the task cancels: the first one ends it, the waiter's latch decides,
 * and the others find it done. After the wake-up the call looks at the futures themselves, never at who woke it: a
 * future that is done counts as done although the time ran out at the same moment, and -ETIMEDOUT means that it was
 * pending after the deadline.
 *
 * I1 whatever a callback or the timer touches is counted: one reference of the call, and one of each that is
 *    registered, armed, ready or running
 */
#include <coil/combine.h>

#include "base/alloc.h"
#include "base/refs.h"
#include "distinct.h"
#include "error.h"
#include "loop.h"
#include "sleeper.h"
#include "task.h"

/* --- wait -------------------------------------------------------------------------------------------------------------- */

typedef struct waiting waiting;

typedef struct watched {
    coil__handle handle;
    waiting *waiting;
    coil_future *future; /* a reference; NULL: a duplicate */
} watched;

/* A callback may still be in a ready queue when the call is over, and then counts on. */
struct waiting {
    coil__sleeper *waiter;
    coil__refs refs; /* I1 */
    size_t count;    /* of `each` */
    coil__latch latch;
    size_t left;     /* futures whose callbacks have not run; guarded by the latch */
    enum coil_return_when when;
    watched each[];
};

static void waiting_release(waiting *w)
{
    if (!coil__refs_drop(&w->refs))
        return;
    for (size_t i = 0; i < w->count; i++)
        coil_release(w->each[i].future);
    coil_release(&w->waiter->future);
    coil__free(w);
}

static bool raised(coil_future *f)
{
    if (coil__future_state(f) == COIL__CANCELLED)
        return false;
    coil__future_looked_at(f); /* asyncio looks at the exception here */
    return f->error != NULL;
}

/* How many are left now that one is done. */
static size_t count_down(waiting *w)
{
    COIL__GUARD(&w->latch);
    return --w->left;
}

static void watched_run(coil__handle *h)
{
    watched *x = coil_container_of(h, watched, handle);
    waiting *w = x->waiting;
    size_t left = count_down(w);
    if (left == 0 || w->when == COIL_FIRST_COMPLETED || (w->when == COIL_FIRST_EXCEPTION && raised(x->future)))
        coil__future_finish(&w->waiter->future, NULL, NULL);
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
        w->waiter = coil__sleeper_new(loop, &coil__timeout_ops);
        if (w->waiter) {
            coil__refs_init(&w->refs, 1);
            coil__latch_init(&w->latch);
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
        coil__refs_take(&w->refs); /* I1: it may run before the call is over */
        int rc = coil__future_add_handle(w->each[i].future, &w->each[i].handle);
        if (rc < 0) {
            waiting_release(w); /* I1 */
            return rc;
        }
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

static int wait_on(waiting *w, int64_t timeout_ns)
{
    if (timeout_ns != COIL_FOREVER)
        COIL_TRY(coil__sleeper_arm(w->waiter, timeout_ns));
    int rc = watch_all(w);
    if (rc == 0)
        rc = coil_await(&w->waiter->future, NULL);
    coil__sleeper_disarm(w->waiter);
    unwatch_all(w);
    return rc;
}

int coil_wait(coil_future *const *futures, size_t n, int64_t timeout_ns, enum coil_return_when when, size_t *done)
{
    coil__task *t = coil__task_current();
    if (!t)
        return coil__task_missing();
    COIL_TRY(check_wait(n, when));
    waiting *w = waiting_new(t->future.loop, futures, n, when);
    if (!w)
        return -ENOMEM;
    int rc = wait_on(w, timeout_ns);
    size_t count = 0;
    for (size_t i = 0; i < w->count; i++)
        count += !coil__future_pending(w->each[i].future);
    if (rc == 0 && done)
        *done = count;
    waiting_release(w);
    return rc;
}

/* --- wait_for ---------------------------------------------------------------------------------------------------------- */

/* A callback that resolves a waiter. */
typedef struct releaser {
    coil__handle handle;
    coil_future *waiter; /* a reference */
    coil__refs refs;     /* I1 */
} releaser;

static void releaser_release(releaser *r)
{
    if (!coil__refs_drop(&r->refs))
        return;
    coil_release(r->waiter);
    coil__object_free(r, sizeof *r);
}

static void releaser_run(coil__handle *h)
{
    releaser *r = coil_container_of(h, releaser, handle);
    coil__future_finish(r->waiter, NULL, NULL);
    releaser_release(r); /* I1 */
}

static void releaser_discard(coil__handle *h)
{
    releaser_release(coil_container_of(h, releaser, handle)); /* I1 */
}

static const coil__handle_ops releaser_ops = {releaser_run, releaser_discard, "wait_for"};

/* Completion of @f will resolve @resolved (shared). */
static int releaser_new(coil_future *f, coil_future *resolved, releaser **releaser_out)
{
    releaser *r = coil__object_alloc(sizeof *r);
    if (!r)
        return coil_raise(-ENOMEM, NULL);
    coil__handle_init(&r->handle, &releaser_ops);
    r->waiter = coil_retain(resolved);
    coil__refs_init(&r->refs, 2); /* I1: it may run before the call is over */
    int rc = coil__future_add_handle(f, &r->handle);
    if (rc < 0) {
        releaser_release(r);
        releaser_release(r);
        return rc;
    }
    *releaser_out = r;
    return 0;
}

static void releaser_free(releaser *r, coil_future *f)
{
    if (coil__future_remove_handle(f, &r->handle))
        releaser_release(r); /* I1 */
    releaser_release(r);
}

/* Cancels @f and waits until it has ended. */
static int cancel_and_wait(coil_loop *loop, coil_future *f)
{
    coil_future *ended = coil__future_new(loop);
    releaser *r = NULL;
    if (!ended)
        return -ENOMEM;
    int rc = releaser_new(f, ended, &r);
    if (rc == 0) {
        coil__future_cancel(f, NULL);
        rc = coil_await(ended, NULL);
        releaser_free(r, f);
    }
    coil_release(ended);
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

/* The wait failed with @rc: cancelled, or the loop is going. */
static int interrupted(coil_loop *loop, coil_future *f, bool own, int rc, void **result)
{
    if (rc != -ECANCELED)
        return rc;
    if (!coil__future_pending(f))
        return result_of(f, own, result); /* asyncio 3.11 swallows the cancellation here */
    coil_error *e = coil_catch(rc);
    rc = cancel_and_wait(loop, f);
    if (rc < 0) {
        coil_error_release(e);
        return rc;
    }
    return coil_raise_error(e);
}

static int wait_until(coil_loop *loop, coil_future *f, bool own, coil__sleeper *w, void **result)
{
    releaser *r = NULL;
    COIL_TRY(releaser_new(f, &w->future, &r));
    int rc = coil_await(&w->future, NULL);
    if (rc < 0 || coil__future_pending(f)) {
        releaser_free(r, f);
        return rc < 0 ? interrupted(loop, f, own, rc, result) : timed_out(loop, f, own, result);
    }
    releaser_free(r, f);
    return result_of(f, own, result);
}

static int wait_limited(coil_loop *loop, coil_awaitable aw, int64_t timeout_ns, void **result)
{
    coil_future *f;
    coil__sleeper *w = coil__sleeper_new(loop, &coil__timeout_ops);
    int rc = w ? coil__sleeper_arm(w, timeout_ns) : -ENOMEM;
    if (rc < 0) {
        if (w)
            coil_release(&w->future);
        if (!aw.future)
            coil_coro_drop(aw.coro);
        return rc;
    }
    rc = coil__loop_ensure_future(loop, aw, &f);
    if (rc == 0) {
        rc = wait_until(loop, f, !aw.future, w, result);
        coil_release(f);
    }
    coil__sleeper_disarm(w);
    coil_release(&w->future);
    return rc;
}

/* A coroutine becomes a task that is pinned, so that no other worker begins it before it is cancelled. */
static int ensure_unbegun(coil_loop *loop, coil_awaitable aw, coil_future **future)
{
    static const coil_task_options pinned = {.size = sizeof pinned, .migration = COIL_PINNED};
    if (aw.future || !aw.coro.fn)
        return coil__loop_ensure_future(loop, aw, future);
    return coil_loop_create_task(loop, aw.coro, &pinned, future);
}

/* A time that is up already: cancels what is not done, without waiting for the time. */
static int wait_not_at_all(coil_loop *loop, coil_awaitable aw, void **result)
{
    coil_future *f;
    COIL_TRY(ensure_unbegun(loop, aw, &f));
    int rc = !coil__future_pending(f) ? coil_future_result(f, result) : timed_out(loop, f, !aw.future, result);
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
