/*
 * as_completed.c - awaitables in the order in which they complete
 *
 * Completed futures go through a queue; each coroutine that the iterator gives out takes the next one of it. Source:
 * asyncio.tasks.as_completed of CPython 3.11, a generator: nothing happens before the first step.
 *
 * I1 refs: the user's, one of each coroutine given out, one of each registered or ready callback
 * I2 todo counts the entries whose `waiting` is set: neither completed nor timed out
 */
#include <coil/combine.h>

#include "base/alloc.h"
#include "distinct.h"
#include "error.h"
#include "loop.h"
#include "queue.h"
#include "task.h"

typedef struct entry {
    coil__handle handle;
    coil_as_completed *it;
    coil_awaitable aw;   /* until the first step */
    coil_future *future; /* a reference, from then on */
    bool own;            /* a task that was made here */
    bool waiting;        /* I2 */
} entry;

struct coil_as_completed {
    size_t refs; /* I1 */
    size_t count, todo, given;
    bool started;
    int64_t timeout_ns;
    coil_handle *timer;
    coil_queue *done; /* entries; NULL for one that timed out */
    entry entries[];
};

static void forget_timer(coil_as_completed *it)
{
    if (!it->timer)
        return;
    coil_handle_cancel(it->timer);
    coil_handle_release(it->timer);
    it->timer = NULL;
}

static void release(coil_as_completed *it)
{
    if (--it->refs > 0)
        return;
    forget_timer(it);
    for (size_t i = 0; i < it->count; i++) {
        coil_release(it->entries[i].future);
        if (!it->started && !it->entries[i].aw.future)
            coil_coro_drop(it->entries[i].aw.coro);
        else if (!it->started)
            coil_release(it->entries[i].aw.future);
    }
    coil_queue_free(it->done);
    coil__free(it);
}

void coil_as_completed_release(coil_as_completed *it)
{
    release(it);
}

static void forget(entry *e)
{
    e->waiting = false;
    e->it->todo--; /* I2 */
}

/* Never fails: there is room for every entry (coil_as_completed_new). */
static void put(coil_as_completed *it, entry *e)
{
    int rc = coil_queue_put_nowait(it->done, e);
    coil_assert(rc == 0);
}

static void entry_run(coil__handle *h)
{
    entry *e = coil_container_of(h, entry, handle);
    coil_as_completed *it = e->it;
    if (e->waiting) {
        forget(e);
        put(it, e);
        if (it->todo == 0)
            forget_timer(it);
    }
    release(it); /* I1 */
}

static void entry_discard(coil__handle *h)
{
    release(coil_container_of(h, entry, handle)->it); /* I1 */
}

static const coil__handle_ops entry_ops = {entry_run, entry_discard, "as_completed"};

/* The time is up: the futures go on, and whoever waits for the rest gets the timeout. */
static int time_is_up(void *arg)
{
    coil_as_completed *it = arg;
    it->refs++;
    for (size_t i = 0; i < it->count; i++) {
        entry *e = &it->entries[i];
        if (!e->waiting)
            continue;
        if (coil__future_remove_handle(e->future, &e->handle))
            release(it); /* I1 */
        forget(e);
        put(it, NULL);
    }
    release(it);
    return 0;
}

/* --- the first step ------------------------------------------------------------------------------------------------------ */

static int make_futures(coil_as_completed *it, coil_loop *loop)
{
    int rc = 0;
    coil_error *failed = NULL;
    for (size_t i = 0; i < it->count; i++) {
        entry *e = &it->entries[i];
        e->own = !e->aw.future;
        if (rc < 0) {
            if (e->own)
                coil_coro_drop(e->aw.coro);
        } else {
            rc = coil__loop_ensure_future(loop, e->aw, &e->future);
            failed = coil_catch(rc);
        }
        coil_release(e->aw.future);
    }
    return coil_raise_error(failed);
}

static int watch(coil_as_completed *it)
{
    for (size_t i = 0; i < it->count; i++) {
        entry *e = &it->entries[i];
        COIL_TRY(coil__future_add_handle(e->future, &e->handle));
        it->refs++; /* I1 */
        e->waiting = true;
        it->todo++; /* I2 */
    }
    return 0;
}

static int start_on(coil_as_completed *it, coil_loop *loop)
{
    COIL_TRY(make_futures(it, loop));
    COIL_TRY(watch(it));
    if (it->todo > 0 && it->timeout_ns != COIL_FOREVER)
        COIL_TRY(coil_loop_call_later(loop, it->timeout_ns, time_is_up, it, &it->timer));
    return 0;
}

static int start(coil_as_completed *it)
{
    coil_loop *loop = coil_get_event_loop();
    if (!loop)
        return COIL_ENOLOOP;
    it->started = true;
    int rc = start_on(it, loop);
    if (rc < 0)
        it->given = it->count; /* a generator that raised is over */
    return rc;
}

/* --- giving out ---------------------------------------------------------------------------------------------------------- */

/* One of the coroutines: `it` with an address of its own, so that two of them are two coroutine objects. */
typedef struct next {
    coil_as_completed *it;
} next;

static void next_drop(void *arg)
{
    next *n = arg;
    release(n->it); /* I1 */
    coil__object_free(n, sizeof *n);
}

static int next_result(coil_as_completed *it, void **result)
{
    void *item;
    COIL_TRY(coil_queue_get(it->done, &item));
    entry *e = item;
    if (!e)
        return coil_raise(-ETIMEDOUT, NULL);
    return e->own ? coil_future_take(e->future, result) : coil_future_result(e->future, result);
}

static int next_body(void *arg, void **result)
{
    int rc = next_result(((next *)arg)->it, result);
    next_drop(arg);
    return rc;
}

int coil_as_completed_next(coil_as_completed *it, coil_coro *coro)
{
    if (!it->started)
        COIL_TRY(start(it));
    if (it->given == it->count)
        return coil_raise(COIL_ESTOPITERATION, NULL);
    next *n = coil__object_alloc(sizeof *n);
    if (!n)
        return coil_raise(-ENOMEM, NULL);
    n->it = it;
    it->refs++; /* I1 */
    it->given++;
    *coro = coil_coro_make(next_body, n, next_drop, 0, "coil_as_completed_next");
    return 0;
}

/* --- making -------------------------------------------------------------------------------------------------------------- */

static void add_entries(coil_as_completed *it, const coil_awaitable *aws, size_t n, coil__distinct *seen)
{
    for (size_t i = 0; i < n; i++) {
        if (coil__distinct_add(seen, &aws[i], i) != i)
            continue;
        entry *e = &it->entries[it->count++];
        coil__handle_init(&e->handle, &entry_ops);
        e->it = it;
        e->aw = aws[i];
        if (aws[i].future)
            coil_retain(aws[i].future);
    }
}

int coil_as_completed_new(const coil_awaitable *aws, size_t n, int64_t timeout_ns, coil_as_completed **iterator)
{
    coil__distinct seen;
    coil_as_completed *it = n > SIZE_MAX / 2 / sizeof(entry) ? NULL : coil__calloc(sizeof *it + n * sizeof(entry));
    bool ready = it && coil_queue_new(0, &it->done) == 0 && coil__queue_reserve(it->done, n) == 0;
    if (!ready || coil__distinct_init(&seen, n) < 0) {
        if (it)
            coil_queue_free(it->done);
        coil__free(it);
        coil__awaitables_drop(aws, n);
        return coil_raise(-ENOMEM, NULL);
    }
    it->refs = 1;
    it->timeout_ns = timeout_ns;
    add_entries(it, aws, n, &seen);
    coil__distinct_fini(&seen);
    *iterator = it;
    return 0;
}
