/*
 * gather.c - one future for several
 *
 * The gathering future, its children's callbacks and its results are one object. Callbacks of several children, and
 * calls of cancel, may run at the same time on several workers of a runtime. Source: asyncio.tasks.gather of
 * CPython 3.11.
 *
 *   child_done, each child's once      the latch: fails the future, or counts; the last to count may have to finish it
 *   gather_cancel, any number          the latch: joins `cancellers`; cancels the children without it; leaves
 *   coil_gather                        `building` from the first child to the last: some may be done by then
 *
 * All children are in, nobody cancels, and it is built: whoever makes the last of these true sets `finishing`, and
 * finishes the future without the latch. So a cancellation that has reached a child is not overtaken by the child's
 * end: asyncio's _cancel_requested is known when the results are put together.
 *
 * I1 each registered or ready child callback holds a reference to the gathering
 * I2 a child that stands twice among the arguments has one callback and one count
 * I3 children[] and count do not change once the future is given out; outcomes belongs to whoever has set `finishing`
 */
#include <coil/combine.h>

#include "base/alloc.h"
#include "current.h"
#include "distinct.h"
#include "ending.h"
#include "error.h"
#include "loop.h"
#include "task.h"

typedef struct gather gather;

typedef struct child {
    coil__handle handle;
    gather *gather;
    coil_future *future; /* a reference; NULL: a duplicate of an earlier argument */
    size_t same_as;      /* index of the argument that it stands for: its own, or the earlier one */
} child;

/* A call of cancel(), in its frame: a child may await this very future, and lead back to it. */
typedef struct canceller {
    struct canceller *next;
    const coil__current_state *thread;
} canceller;

struct gather {
    coil_future future;
    coil__latch latch; /* guards what follows, to cancellers; the future is failed under it */
    bool building, abandoned, finishing, cancel_requested;
    size_t distinct; /* the builder's while `building` */
    size_t finished;
    canceller *cancellers;
    bool return_exceptions;
    size_t count;
    coil__ending ending;
    coil_outcome *outcomes; /* I3 */
    child children[];       /* I3 */
};

static coil_future *future_of(const gather *g, size_t i)
{
    return g->children[g->children[i].same_as].future;
}

static void gather_free(coil_future *f)
{
    gather *g = coil_container_of(f, gather, future);
    coil__ending_leave(&g->ending, f->loop);
    for (size_t i = 0; i < g->count; i++) {
        if (g->outcomes)
            coil_error_release(g->outcomes[i].error);
        coil_release(g->children[i].future);
    }
    coil__free(g->outcomes);
    coil__future_fini(f);
    coil__free(g);
}

/* --- completion -------------------------------------------------------------------------------------------------------- */

static void fill_outcome(coil_outcome *o, coil_future *f)
{
    o->value = NULL;
    if (coil__future_state(f) == COIL__CANCELLED) /* asyncio makes a new error here, leaving the saved one */
        o->error = f->cancel_message ? coil_error_retain(f->cancel_message) : coil_error_new(-ECANCELED, NULL);
    else
        o->error = coil__future_get_error(f);
    o->code = coil_error_code(o->error);
    COIL__GUARD(&f->latch); /* somebody may be taking the value */
    if (o->code == 0)
        o->value = f->value;
}

static void finish_all(gather *g)
{
    for (size_t i = 0; i < g->count; i++)
        fill_outcome(&g->outcomes[i], future_of(g, i));
    if (g->cancel_requested) /* then there are children */
        coil__future_fail(&g->future, coil__future_make_cancelled_error(future_of(g, g->count - 1)));
    else
        coil__future_finish(&g->future, g->outcomes, NULL);
}

/* Under the latch: whether the caller has to finish_all(). */
static bool take_finish(gather *g)
{
    if (g->building || g->abandoned || g->finishing || g->cancellers || g->finished < g->distinct)
        return false;
    g->finishing = coil__future_pending(&g->future);
    return g->finishing;
}

/* Under the latch. An error that ends the gathering is given too, to be released without the latch. */
static coil_error *note_end(gather *g, coil_future *f)
{
    coil_error *e = NULL;
    g->finished++;
    if (g->abandoned || !coil__future_pending(&g->future)) {
        if (coil__future_state(f) == COIL__FINISHED)
            coil__future_looked_at(f);
    } else if (!g->return_exceptions && (e = coil__future_get_error(f)) != NULL) {
        coil__future_fail(&g->future, coil_error_retain(e));
    }
    return e;
}

static void child_done(gather *g, coil_future *f)
{
    coil__guard guard = coil__guard_enter(&g->latch);
    coil_error *e = note_end(g, f);
    bool last = take_finish(g);
    coil__guard_leave(&guard);
    coil__error_drop(e);
    if (last)
        finish_all(g);
}

static void child_run(coil__handle *h)
{
    child *c = coil_container_of(h, child, handle);
    gather *g = c->gather;
    child_done(g, c->future);
    coil_release(&g->future); /* I1 */
}

static void child_discard(coil__handle *h)
{
    coil_release(&coil_container_of(h, child, handle)->gather->future); /* I1 */
}

static const coil__handle_ops child_ops = {child_run, child_discard, "gather"};

/* --- cancelling --------------------------------------------------------------------------------------------------------- */

/* Not inlined: gcc would not see that @c leaves the list before its frame does, and warn. */
__attribute__((noinline)) static bool begin_cancel(gather *g, canceller *c)
{
    COIL__GUARD(&g->latch);
    if (!coil__future_pending(&g->future) || g->finishing)
        return false;
    for (const canceller *other = g->cancellers; other; other = other->next)
        if (other->thread == c->thread)
            return false;
    c->next = g->cancellers;
    g->cancellers = c;
    return true;
}

/* True: it has to finish_all(). */
static bool end_cancel(gather *g, canceller *c, bool any)
{
    COIL__GUARD(&g->latch);
    canceller **at = &g->cancellers;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (any)
        g->cancel_requested = true;
    return take_finish(g);
}

static bool gather_cancel(coil_future *f, coil_error *message)
{
    gather *g = coil_container_of(f, gather, future);
    canceller self = {NULL, coil__current()};
    if (!begin_cancel(g, &self))
        return false;
    bool any = false;
    for (size_t i = 0; i < g->count; i++)
        any |= coil__future_cancel(future_of(g, i), message);
    if (end_cancel(g, &self, any))
        finish_all(g);
    return any;
}

static const coil__future_class gather_class = {.name = "Future", .cancel = gather_cancel, .free = gather_free};

/* --- making -------------------------------------------------------------------------------------------------------------- */

/* The loop is going. */
static void cut(coil__ending *e)
{
    gather *g = coil_container_of(e, gather, ending);
    coil_retain(&g->future);
    for (size_t i = 0; i < g->count; i++)
        if (g->children[i].future && coil__future_remove_handle(g->children[i].future, &g->children[i].handle))
            coil_release(&g->future); /* I1 */
    coil_release(&g->future);
}

static int add_child(gather *g, size_t i, const coil_awaitable *aw, coil_loop *loop)
{
    child *c = &g->children[i];
    COIL_TRY(coil__loop_ensure_future(loop, *aw, &c->future));
    c->gather = g;
    coil__handle_init(&c->handle, &child_ops);
    g->distinct++;
    coil_retain(&g->future); /* I1: it may run before the call is over */
    int rc = coil__future_add_handle(c->future, &c->handle);
    if (rc < 0)
        coil_release(&g->future); /* I1 */
    else
        coil__ending_follow(&g->ending, c->future);
    return rc;
}

/* The loop of the first argument that has one, else the running or set one. */
static coil_loop *loop_for(const coil_awaitable *aws, size_t n)
{
    return n > 0 && aws[0].future ? aws[0].future->loop : coil_get_event_loop();
}

static gather *gather_new(coil_loop *loop, size_t n, bool return_exceptions)
{
    gather *g = NULL;
    coil_outcome *outcomes = NULL;
    if (n > SIZE_MAX / 2 / sizeof(child) || !(g = coil__calloc(sizeof *g + n * sizeof(child))) ||
        !(outcomes = coil__calloc((n ? n : 1) * sizeof *outcomes))) {
        coil__free(g);
        coil_raise(-ENOMEM, NULL);
        return NULL;
    }
    coil__future_init(&g->future, &gather_class, loop);
    coil__latch_init(&g->latch);
    coil__ending_init(&g->ending, cut);
    g->building = true;
    g->count = n;
    g->outcomes = outcomes;
    g->return_exceptions = return_exceptions;
    return g;
}

/*
 * Adds all children. On failure those that are there go on, as in asyncio, and what was not reached is dropped; a
 * coroutine object that was reached under an earlier index is a task already.
 */
static int add_children(gather *g, const coil_awaitable *aws, size_t n, coil_loop *loop, coil__distinct *seen)
{
    int rc = 0;
    coil_error *e = NULL;
    for (size_t i = 0; i < n; i++) {
        child *c = &g->children[i];
        c->same_as = coil__distinct_add(seen, &aws[i], i);
        if (c->same_as != i)
            continue;
        if (rc < 0) {
            if (!aws[i].future)
                coil_coro_drop(aws[i].coro);
            continue;
        }
        rc = add_child(g, i, &aws[i], loop);
        e = coil_catch(rc);
    }
    return coil_raise_error(e);
}

/* Nobody will get it: what the children raise is nobody's any more. */
static void abandon(gather *g)
{
    {
        COIL__GUARD(&g->latch);
        g->abandoned = true;
    }
    coil__future_looked_at(&g->future); /* one may have failed it already */
    coil_release(&g->future);
}

static bool end_building(gather *g)
{
    COIL__GUARD(&g->latch);
    g->building = false;
    return take_finish(g);
}

int coil_gather(const coil_awaitable *aws, size_t n, bool return_exceptions, coil_future **future)
{
    coil_loop *loop = loop_for(aws, n);
    gather *g = loop ? gather_new(loop, n, return_exceptions) : NULL;
    if (!g) {
        coil__awaitables_drop(aws, n);
        return loop ? -ENOMEM : COIL_ENOLOOP;
    }
    coil__distinct seen;
    int rc = coil__distinct_init(&seen, n);
    if (rc == 0) {
        rc = add_children(g, aws, n, loop, &seen);
        coil__distinct_fini(&seen);
    } else {
        coil__awaitables_drop(aws, n);
        coil_raise(rc, NULL);
    }
    if (rc < 0) {
        abandon(g);
        return rc;
    }
    if (end_building(g))
        finish_all(g);
    *future = &g->future;
    return 0;
}

const coil_outcome *coil_gather_outcomes(coil_future *future, size_t *n)
{
    if (future->class != &gather_class || coil__future_state(future) != COIL__FINISHED || future->error)
        return NULL;
    gather *g = coil_container_of(future, gather, future);
    if (n)
        *n = g->count;
    return g->outcomes;
}

static void take_results(gather *g, void **results)
{
    for (size_t i = 0; i < g->count; i++)
        results[i] = NULL;
    for (size_t i = 0; i < g->count; i++)
        if (g->children[i].future)
            coil_future_take(g->children[i].future, &results[i]);
}

int coil_gather_await(const coil_coro *coros, size_t n, void **results)
{
    coil_awaitable small[16], *aws = n <= 16 ? small : coil__malloc(n * sizeof *aws);
    if (!aws) {
        for (size_t i = 0; i < n; i++)
            coil_coro_drop(coros[i]);
        return coil_raise(-ENOMEM, NULL);
    }
    small[0] = coil_awaitable_of_future(NULL);
    for (size_t i = 0; i < n; i++)
        aws[i] = coil_awaitable_of_coro(coros[i]);
    coil_future *f = NULL;
    int rc = coil_gather(aws, n, false, &f);
    if (aws != small)
        coil__free(aws);
    COIL_TRY(rc);
    rc = coil_await(f, NULL);
    if (rc == 0 && results)
        take_results(coil_container_of(f, gather, future), results);
    coil_release(f);
    return rc;
}
