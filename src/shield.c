/*
 * shield.c - a future that follows another without passing a cancellation on
 *
 * The outer future and both callbacks are one object. Source: asyncio.tasks.shield of CPython 3.11.
 *
 * In a runtime the callbacks may run on two workers at the same time, and with a cancellation on a third. There is
 * nothing to guard: which of them ends the outer future its own latch decides, and whether the inner one's callback
 * is taken out or runs the inner one's latch; each callback holds a reference of its own.
 *
 * I1 the inner future's callback, while registered or ready, holds a reference to the outer future
 * I2 the outer future holds a reference to the inner one, whose value it shows
 */
#include <coil/combine.h>

#include "base/alloc.h"
#include "ending.h"
#include "error.h"
#include "loop.h"
#include "task.h"

typedef struct shield {
    coil_future outer;
    coil_future *inner; /* I2 */
    coil__handle inner_done, outer_done;
    coil__ending ending;
} shield;

static void shield_free(coil_future *f)
{
    shield *s = coil_container_of(f, shield, outer);
    coil__ending_leave(&s->ending, f->loop);
    coil__future_fini(f);
    coil_release(s->inner);
    coil__object_free(s, sizeof *s);
}

static bool shield_cancel(coil_future *f, coil_error *message)
{
    coil__future_looked_at(f);
    if (!coil__future_pending(f))
        return false;
    return coil__future_set_cancelled(f, coil_error_retain(message), NULL) != COIL_EINVALIDSTATE;
}

static coil_future *shield_owner(coil_future *f)
{
    return coil_container_of(f, shield, outer)->inner;
}

static const coil__future_class shield_class = {"Future", shield_cancel, shield_free, shield_owner};

/* Of a future whose owner may be taking it. */
static void *value_of(coil_future *f)
{
    COIL__GUARD(&f->latch);
    return f->value;
}

/* Somebody else may have finished the outer future, which is reported; a cancelled one is left alone. */
static void show_outcome(coil_future *outer, coil_future *inner)
{
    coil_error *e = coil__future_get_error(inner);
    if (coil__future_state(outer) == COIL__CANCELLED) {
        coil_error_release(e);
        return;
    }
    int rc = e ? coil__future_fail(outer, e) : coil__future_finish(outer, value_of(inner), NULL);
    if (rc == COIL_EINVALIDSTATE && coil__future_state(outer) == COIL__FINISHED)
        coil__loop_report_callback(outer->loop, coil_raise(rc, "invalid state"));
}

static void inner_done_run(coil__handle *h)
{
    shield *s = coil_container_of(h, shield, inner_done);
    coil_future *inner = s->inner, *outer = &s->outer;
    if (coil__future_state(inner) == COIL__FINISHED)
        show_outcome(outer, inner);
    else if (coil__future_state(outer) != COIL__CANCELLED)
        shield_cancel(outer, NULL);
    coil_release(outer); /* I1 */
}

static void inner_done_discard(coil__handle *h)
{
    coil_release(&coil_container_of(h, shield, inner_done)->outer); /* I1 */
}

static const coil__handle_ops inner_done_ops = {inner_done_run, inner_done_discard, "shield"};

static void outer_done_run(coil__handle *h)
{
    shield *s = coil_container_of(h, shield, outer_done);
    if (coil__future_remove_handle(s->inner, &s->inner_done))
        coil_release(&s->outer); /* I1 */
    coil_release(&s->outer);     /* counted */
}

static void outer_done_discard(coil__handle *h)
{
    shield *s = coil_container_of(h, shield, outer_done);
    if (!coil__future_pending(&s->outer))
        coil_release(&s->outer); /* counted */
}

static const coil__handle_ops outer_done_ops = {outer_done_run, outer_done_discard, "shield"};

/* The loop is going. */
static void cut(coil__ending *e)
{
    shield *s = coil_container_of(e, shield, ending);
    if (coil__future_remove_handle(s->inner, &s->inner_done))
        coil_release(&s->outer); /* I1 */
}

static int follow(shield *s)
{
    coil__handle_init(&s->inner_done, &inner_done_ops);
    coil__handle_init(&s->outer_done, &outer_done_ops);
    coil_retain(&s->outer); /* I1: it may run before the call is over */
    int rc = coil__future_add_handle(s->inner, &s->inner_done);
    if (rc < 0) {
        coil_release(&s->outer); /* I1 */
        return rc;
    }
    coil__ending_follow(&s->ending, s->inner);
    return coil__future_add_counted_handle(&s->outer, &s->outer_done);
}

int coil_shield_(coil_awaitable awaitable, coil_future **future)
{
    coil_future *inner;
    COIL_TRY(coil_ensure_future_(awaitable, &inner));
    if (!coil__future_pending(inner)) {
        *future = inner;
        return 0;
    }
    shield *s = coil__object_alloc(sizeof *s);
    if (!s) {
        coil_release(inner);
        return coil_raise(-ENOMEM, NULL);
    }
    coil__future_init(&s->outer, &shield_class, inner->loop);
    coil__ending_init(&s->ending, cut);
    s->inner = inner;
    int rc = follow(s);
    if (rc < 0)
        coil_release(&s->outer);
    else
        *future = &s->outer;
    return rc;
}
