/*
 * shield.c - a future that follows another without passing a cancellation on
 *
 * The outer future and both callbacks are one object. Source: asyncio.tasks.shield of CPython 3.11.
 *
 * I1 the inner future's callback, while registered or ready, holds a reference to the outer future
 * I2 the outer future holds a reference to the inner one, whose value it shows
 */
#include <coil/combine.h>

#include "base/alloc.h"
#include "error.h"
#include "loop.h"
#include "task.h"

typedef struct shield {
    coil_future outer;
    coil_future *inner; /* I2 */
    coil__handle inner_done, outer_done;
} shield;

static void shield_free(coil_future *f)
{
    shield *s = coil_container_of(f, shield, outer);
    coil__future_fini(f);
    coil_release(s->inner);
    coil__object_free(s, sizeof *s);
}

static bool shield_cancel(coil_future *f, coil_error *message)
{
    f->log_traceback = false;
    if (f->state != COIL__PENDING)
        return false;
    coil__future_set_cancelled(f, coil_error_retain(message), NULL);
    return true;
}

static coil_future *shield_owner(coil_future *f)
{
    return coil_container_of(f, shield, outer)->inner;
}

static const coil__future_class shield_class = {"Future", shield_cancel, shield_free, shield_owner};

static void inner_done_run(coil__handle *h)
{
    shield *s = coil_container_of(h, shield, inner_done);
    coil_future *inner = s->inner, *outer = &s->outer;
    if (outer->state != COIL__PENDING) {
        if (inner->state == COIL__FINISHED)
            inner->log_traceback = false;
    } else if (inner->state == COIL__CANCELLED) {
        coil__future_set_cancelled(outer, NULL, NULL);
    } else {
        coil_error *e = coil__future_get_error(inner);
        if (e)
            coil__future_fail(outer, e);
        else
            coil__future_finish(outer, inner->value, NULL);
    }
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
    if (s->outer.state != COIL__PENDING)
        coil_release(&s->outer); /* counted */
}

static const coil__handle_ops outer_done_ops = {outer_done_run, outer_done_discard, "shield"};

static int follow(shield *s)
{
    coil__handle_init(&s->inner_done, &inner_done_ops);
    coil__handle_init(&s->outer_done, &outer_done_ops);
    COIL_TRY(coil__future_add_handle(s->inner, &s->inner_done));
    coil_retain(&s->outer); /* I1 */
    return coil__future_add_counted_handle(&s->outer, &s->outer_done);
}

int coil_shield_(coil_awaitable awaitable, coil_future **future)
{
    coil_future *inner;
    COIL_TRY(coil_ensure_future_(awaitable, &inner));
    if (inner->state != COIL__PENDING) {
        *future = inner;
        return 0;
    }
    shield *s = coil__object_alloc(sizeof *s);
    if (!s) {
        coil_release(inner);
        return coil_raise(-ENOMEM, NULL);
    }
    coil__future_init(&s->outer, &shield_class, inner->loop);
    s->inner = inner;
    int rc = follow(s);
    if (rc < 0)
        coil_release(&s->outer);
    else
        *future = &s->outer;
    return rc;
}
