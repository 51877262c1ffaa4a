/*
 * as_completed.c - awaitables in the order in which they complete
 *
 * Completed futures go through a queue; each coroutine that the iterator gives out takes the next one of it. Source:
 * asyncio.tasks.as_completed of CPython 3.11, a generator: nothing happens before the first step.
 *
 * In a runtime the futures' callbacks and the timer's may run at the same time, each on its worker, and so may the
 * coroutines. Who clears an entry's `waiting`, under the latch, puts it into the queue, without the latch: each entry
 * goes in once, as itself or as a timeout. The iterator itself, like a generator, is stepped by one task at a time.
 *
 * I1 refs: the user's, one of each coroutine given out, of each registered or ready callback, of the armed timer
 * I2 todo counts the entries whose `waiting` is set: neither completed nor timed out
 * I3 the timer is armed once, under the latch, and only while todo > 0; who brings todo to 0 disarms it
 */
#include <coil/combine.h>

#include "base/alloc.h"
#include "base/refs.h"
#include "distinct.h"
#include "ending.h"
#include "error.h"
#include "loop.h"
#include "queue.h"
#include "task.h"
#include "timer.h"

typedef struct entry {
    coil__handle handle;
    coil_as_completed *it;
    coil_awaitable aw;   /* until the first step */
    coil_future *future; /* a reference, from then on */
    bool own;            /* a task that was made here */
    bool waiting;        /* I2; guarded by the latch */
} entry;

struct coil_as_completed {
    coil__refs refs; /* I1 */
    coil__latch latch;
    size_t todo;       /* I2; guarded by the latch, and so is armed */
    bool armed;        /* I3 */
    bool started;
    size_t count, given;
    int64_t timeout_ns;
    coil_loop *loop;   /* of the timer; NULL before the first step */
    coil__timer timer;
    coil_queue *done;  /* entries; NULL for one that timed out */
    coil__ending ending;
    entry entries[];
};

static void release(coil_as_completed *it)
{
    if (!coil__refs_drop(&it->refs))
        return;
    if (it->loop)
        coil__ending_leave(&it->ending, it->loop);
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

/* Whether the caller is the first to find that @e does not wait any more. Disarms the timer after the last entry. */
static bool forget(coil_as_completed *it, entry *e, bool *disarmed)
{
    COIL__GUARD(&it->latch);
    if (!e->waiting)
        return false;
    e->waiting = false;
    it->todo--; /* I2 */
    *disarmed = it->todo == 0 && it->armed && coil__timer_disarm(it->loop, &it->timer); /* I3 */
    return true;
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
    bool disarmed = false;
    if (forget(it, e, &disarmed))
        put(it, e);
    if (disarmed)
        release(it); /* I1: the timer's */
    release(it);     /* I1 */
}

static void entry_discard(coil__handle *h)
{
    release(coil_container_of(h, entry, handle)->it); /* I1 */
}

static const coil__handle_ops entry_ops = {entry_run, entry_discard, "as_completed"};

/* The time is up: the futures go on, and whoever waits for the rest gets the timeout. */
static void timer_due(coil__handle *h)
{
    coil_as_completed *it = coil_container_of(h, coil_as_completed, timer.handle);
    for (size_t i = 0; i < it->count; i++) {
        entry *e = &it->entries[i];
        bool disarmed;
        if (!forget(it, e, &disarmed))
            continue;
        if (coil__future_remove_handle(e->future, &e->handle))
            release(it); /* I1 */
        put(it, NULL);
    }
    release(it); /* I1 */
}

static void timer_discard(coil__handle *h)
{
    release(coil_container_of(h, coil_as_completed, timer.handle)); /* I1 */
}

static const coil__handle_ops timer_ops = {timer_due, timer_discard, "as_completed timeout"};

/* I3. Some or all of the entries may be done by now. */
static int arm(coil_as_completed *it)
{
    int rc = 0;
    {
        COIL__GUARD(&it->latch);
        if (it->todo == 0)
            return 0;
        if (coil__loop_closed(it->loop))
            rc = COIL_ELOOPCLOSED;
        else
            rc = coil__timer_arm(it->loop, &it->timer, coil__deadline(it->loop, it->timeout_ns));
        it->armed = rc == 0;
        if (it->armed)
            coil__refs_take(&it->refs); /* I1 */
    }
    if (rc == COIL_ELOOPCLOSED)
        return coil_raise(rc, "Event loop is closed");
    return rc < 0 ? coil_raise(rc, NULL) : 0;
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

/* I2 */
static void set_waiting(coil_as_completed *it, entry *e)
{
    COIL__GUARD(&it->latch);
    e->waiting = true;
    it->todo++;
}

/* The loop is going. */
static void cut(coil__ending *e)
{
    coil_as_completed *it = coil_container_of(e, coil_as_completed, ending);
    coil__refs_take(&it->refs);
    for (size_t i = 0; i < it->count; i++)
        if (coil__future_remove_handle(it->entries[i].future, &it->entries[i].handle))
            release(it); /* I1 */
    release(it);
}

static int watch(coil_as_completed *it)
{
    for (size_t i = 0; i < it->count; i++) {
        entry *e = &it->entries[i];
        bool disarmed;
        set_waiting(it, e);
        coil__refs_take(&it->refs); /* I1: it may run before the call is over */
        int rc = coil__future_add_handle(e->future, &e->handle);
        if (rc < 0) {
            forget(it, e, &disarmed);
            release(it); /* I1 */
            return rc;
        }
        coil__ending_follow(&it->ending, e->future);
    }
    return 0;
}

static int start_on(coil_as_completed *it, coil_loop *loop)
{
    COIL_TRY(make_futures(it, loop));
    it->loop = loop;
    COIL_TRY(watch(it));
    return it->timeout_ns != COIL_FOREVER ? arm(it) : 0;
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
    coil__refs_take(&it->refs); /* I1 */
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
    coil__refs_init(&it->refs, 1);
    coil__latch_init(&it->latch);
    coil__timer_init(&it->timer, &timer_ops);
    coil__ending_init(&it->ending, cut);
    it->timeout_ns = timeout_ns;
    add_entries(it, aws, n, &seen);
    coil__distinct_fini(&seen);
    *iterator = it;
    return 0;
}
