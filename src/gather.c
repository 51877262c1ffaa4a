/*
 * gather.c - one future for several
 *
 * The gathering future, its children's callbacks and its results are one object. Everything runs on the loop's thread.
 * Source: asyncio.tasks.gather of CPython 3.11.
 *
 * I1 each registered child callback holds a reference to the gathering
 * I2 a child that stands twice among the arguments has one callback and one count
 */
#include <coil/combine.h>

#include "base/alloc.h"
#include "distinct.h"
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

struct gather {
    coil_future future;
    size_t count, distinct, finished;
    bool return_exceptions, cancel_requested, cancelling, abandoned;
    coil_outcome *outcomes;
    child children[];
};

static coil_future *future_of(const gather *g, size_t i)
{
    return g->children[g->children[i].same_as].future;
}

static void gather_free(coil_future *f)
{
    gather *g = coil_container_of(f, gather, future);
    for (size_t i = 0; i < g->count; i++) {
        if (g->outcomes)
            coil_error_release(g->outcomes[i].error);
        coil_release(g->children[i].future);
    }
    coil__free(g->outcomes);
    coil__future_fini(f);
    coil__free(g);
}

static bool gather_cancel(coil_future *f, coil_error *message)
{
    gather *g = coil_container_of(f, gather, future);
    if (f->state != COIL__PENDING || g->cancelling)
        return false;
    bool any = false;
    g->cancelling = true; /* a child may await this very future */
    for (size_t i = 0; i < g->count; i++)
        any |= coil__future_cancel(future_of(g, i), message);
    g->cancelling = false;
    if (any)
        g->cancel_requested = true;
    return any;
}

static const coil__future_class gather_class = {.name = "Future", .cancel = gather_cancel, .free = gather_free};

/* --- completion -------------------------------------------------------------------------------------------------------- */

static void fill_outcome(coil_outcome *o, coil_future *f)
{
    o->value = NULL;
    if (f->state == COIL__CANCELLED) /* asyncio makes a new error here, leaving the saved one */
        o->error = f->cancel_message ? coil_error_retain(f->cancel_message) : coil_error_new(-ECANCELED, NULL);
    else
        o->error = coil__future_get_error(f);
    o->code = coil_error_code(o->error);
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

static void child_done(gather *g, coil_future *f)
{
    g->finished++;
    if (g->abandoned || g->future.state != COIL__PENDING) {
        if (f->state == COIL__FINISHED)
            f->log_traceback = false;
        return;
    }
    if (!g->return_exceptions) {
        coil_error *e = coil__future_get_error(f);
        if (e) {
            coil__future_fail(&g->future, e);
            return;
        }
    }
    if (g->finished == g->distinct)
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

/* --- making -------------------------------------------------------------------------------------------------------------- */

static int add_child(gather *g, size_t i, const coil_awaitable *aw, coil_loop *loop)
{
    child *c = &g->children[i];
    COIL_TRY(coil__loop_ensure_future(loop, *aw, &c->future));
    c->gather = g;
    coil__handle_init(&c->handle, &child_ops);
    COIL_TRY(coil__future_add_handle(c->future, &c->handle));
    coil_retain(&g->future); /* I1 */
    g->distinct++;
    return 0;
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
    g->count = n;
    g->outcomes = outcomes;
    g->return_exceptions = return_exceptions;
    return g;
}

/*
 * Adds all children. On failure those that are there go on, as in asyncio, and what was not reached is dropped; a coroutine
 * object that was reached under an earlier index is a task already.
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
        g->abandoned = true;
        coil_release(&g->future);
        return rc;
    }
    if (n == 0)
        finish_all(g);
    *future = &g->future;
    return 0;
}

const coil_outcome *coil_gather_outcomes(coil_future *future, size_t *n)
{
    if (future->class != &gather_class || future->state != COIL__FINISHED || future->error)
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
