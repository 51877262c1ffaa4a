/*
 * future.c - futures
 *
 * Callbacks are handles in the future's list; completion appends the whole list to the ready queue. Everything here
 * runs on the loop's thread. Source: asyncio.futures of CPython 3.11 (the C accelerator's order where they differ).
 *
 * I1, I2: see future.h
 */
#include "future.h"

#include <string.h>

#include "base/alloc.h"
#include "context.h"
#include "error.h"
#include "loop.h"
#include "task.h"

/* --- memory ------------------------------------------------------------------------------------------------------- */

void coil__future_init(coil_future *f, const coil__future_class *class, coil_loop *loop)
{
    f->class = class;
    coil__list_init(&f->callbacks);
    f->loop = loop;
    f->refs = 1;
    f->counted = 0;
    f->state = COIL__PENDING;
    f->log_traceback = false;
    f->value = NULL;
    f->drop = NULL;
    f->error = NULL;
    f->cancel_message = NULL;
    coil__loop_hold(loop);
}

static void discard_all(coil__list *callbacks)
{
    while (!coil__list_empty(callbacks)) {
        coil__handle *h = coil__handle_of_node(coil__list_pop(callbacks));
        h->ops->discard(h);
    }
}

void coil__future_fini(coil_future *f)
{
    discard_all(&f->callbacks);
    if (f->drop && f->state == COIL__FINISHED)
        f->drop(f->value);
    coil__error_drop(f->error);
    coil__error_drop(f->cancel_message);
    coil__loop_unhold(f->loop);
}

static void plain_free(coil_future *f)
{
    coil__future_fini(f);
    coil__object_free(f, sizeof *f);
}

static bool plain_cancel(coil_future *f, coil_error *message)
{
    f->log_traceback = false;
    if (f->state != COIL__PENDING)
        return false;
    coil__future_set_cancelled(f, coil_error_retain(message), NULL);
    return true;
}

static const coil__future_class plain_class = {.name = "Future", .cancel = plain_cancel, .free = plain_free};

coil_future *coil__future_new(coil_loop *loop)
{
    coil_future *f = coil__object_alloc(sizeof *f);
    if (f)
        coil__future_init(f, &plain_class, loop);
    else
        coil_raise(-ENOMEM, NULL);
    return f;
}

int coil_loop_create_future(coil_loop *loop, coil_future **future)
{
    coil_future *f = coil__future_new(loop);
    if (!f)
        return -ENOMEM;
    *future = f;
    return 0;
}

int coil_create_future(coil_future **future)
{
    coil_loop *loop = coil_get_running_loop();
    return loop ? coil_loop_create_future(loop, future) : COIL_ENOLOOP;
}

coil_future *coil_retain(coil_future *f)
{
    coil_debug_assert(f->refs > 0);
    f->refs++;
    return f;
}

/* The last reference is going: somebody should have looked at that error. */
static void report_unretrieved(coil_future *f)
{
    f->log_traceback = false;
    f->refs = 1; /* the handler may look at it, even keep it */
    bool task = coil_future_is_task(f);
    coil_exception_context context = {
        .message = task ? "Task exception was never retrieved" : "Future exception was never retrieved",
        .error = f->error,
        .future = f,
    };
    coil_loop_call_exception_handler(f->loop, &context);
    f->refs--;
}

void coil_release(coil_future *f)
{
    if (!f)
        return;
    coil_assert(f->refs > 0);
    if (--f->refs > 0)
        return;
    if (coil_unlikely(f->log_traceback)) {
        report_unretrieved(f);
        if (f->refs > 0)
            return;
    }
    f->class->free(f);
}

void coil_detach(coil_future *f)
{
    coil_release(f);
}

/* --- completion --------------------------------------------------------------------------------------------------- */

static int schedule_callbacks(coil_future *f)
{
    coil_loop *loop = f->loop;
    if (coil__list_empty(&f->callbacks))
        return 0;
    f->refs += f->counted;
    f->counted = 0;
    if (coil_unlikely(coil__loop_closed(loop))) {
        coil_retain(f);
        discard_all(&f->callbacks);
        coil_release(f);
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    }
    if (coil_unlikely(load_relaxed(&loop->inbox) != NULL)) /* [INBOX-2] as in coil__loop_ready */
        coil__loop_take_inbox(loop);
    coil__list_splice(&loop->ready, &f->callbacks); /* I1 */
    return 0;
}

int coil__future_finish(coil_future *f, void *value, void (*drop)(void *))
{
    coil_debug_assert(f->state == COIL__PENDING);
    f->state = COIL__FINISHED;
    f->value = value;
    f->drop = drop;
    return schedule_callbacks(f);
}

int coil__future_fail(coil_future *f, coil_error *error)
{
    coil_debug_assert(f->state == COIL__PENDING);
    f->state = COIL__FINISHED;
    f->error = error;
    f->drop = NULL;
    f->log_traceback = true;
    return schedule_callbacks(f);
}

int coil__future_set_cancelled(coil_future *f, coil_error *message, coil_error *cancelled_error)
{
    coil_debug_assert(f->state == COIL__PENDING);
    f->state = COIL__CANCELLED;
    coil_error_release(f->cancel_message);
    f->cancel_message = message;
    f->error = cancelled_error; /* I2 */
    return schedule_callbacks(f);
}

/* Whether a result may be set by hand. */
static int check_settable(const coil_future *f, const char *operation)
{
    if (f->class == &coil__task_class)
        return coil_raise(COIL_ERUNTIME, "Task does not support %s operation", operation);
    if (f->state != COIL__PENDING)
        return coil_raise(COIL_EINVALIDSTATE, "invalid state");
    return 0;
}

int coil_future_set_result_owned(coil_future *f, void *value, void (*drop)(void *))
{
    COIL_TRY(check_settable(f, "set_result"));
    return coil__future_finish(f, value, drop);
}

int coil_future_set_result(coil_future *f, void *value)
{
    return coil_future_set_result_owned(f, value, NULL);
}

int coil_future_set_exception(coil_future *f, coil_error *error)
{
    coil_assert(error);
    int rc = check_settable(f, "set_exception");
    if (rc < 0) {
        coil_error_release(error);
        return rc;
    }
    return coil__future_fail(f, error);
}

bool coil_future_cancel(coil_future *f, const char *message)
{
    coil_error *e = message ? coil_error_new(-ECANCELED, "%s", message) : NULL;
    bool cancelled = coil__future_cancel(f, e);
    coil_error_release(e);
    return cancelled;
}

/* --- looking at it -------------------------------------------------------------------------------------------------- */

bool coil_future_done(const coil_future *f)
{
    return f->state != COIL__PENDING;
}

bool coil_future_cancelled(const coil_future *f)
{
    return f->state == COIL__CANCELLED;
}

coil_loop *coil_future_loop(const coil_future *f)
{
    return f->loop;
}

bool coil_future_is_task(const coil_future *f)
{
    return f->class == &coil__task_class;
}

bool coil_future_exception_unretrieved(const coil_future *f)
{
    return f->log_traceback;
}

coil_error *coil__future_make_cancelled_error(coil_future *f)
{
    coil_error *e = f->error;
    if (e && f->state == COIL__CANCELLED) {
        f->error = NULL; /* I2: handed out once */
        return e;
    }
    return f->cancel_message ? coil_error_retain(f->cancel_message) : coil_error_new(-ECANCELED, NULL);
}

coil_error *coil__future_get_error(coil_future *f)
{
    if (coil_likely(f->state == COIL__FINISHED)) {
        f->log_traceback = false;
        return coil_likely(!f->error) ? NULL : coil_error_retain(f->error);
    }
    if (f->state == COIL__CANCELLED)
        return coil__future_make_cancelled_error(f);
    return coil_error_new(COIL_EINVALIDSTATE, "Result is not set.");
}

/* Whose value it is: a shielding future shows the shielded one's. */
static coil_future *value_owner(coil_future *f)
{
    while (f->class->owner)
        f = f->class->owner(f);
    return f;
}

int coil_future_result(coil_future *f, void **result)
{
    coil_error *e = coil__future_get_error(f);
    if (coil_unlikely(e != NULL))
        return coil_raise_error(e);
    if (result)
        *result = f->value;
    return 0;
}

int coil_future_exception(coil_future *f, coil_error **error)
{
    if (f->state == COIL__CANCELLED)
        return coil_raise_error(coil__future_make_cancelled_error(f));
    if (f->state == COIL__PENDING)
        return coil_raise(COIL_EINVALIDSTATE, "Exception is not set.");
    f->log_traceback = false;
    *error = coil_error_retain(f->error);
    return 0;
}

int coil__future_take(coil_future *f, void **value, void (**drop)(void *))
{
    COIL_TRY(coil_future_result(f, NULL));
    coil_future *owner = value_owner(f);
    *value = owner->value;
    *drop = owner->drop;
    if (owner->drop) { /* a borrowed value stays for the others */
        owner->value = NULL;
        owner->drop = NULL;
        f->value = NULL;
    }
    return 0;
}

int coil_future_take(coil_future *f, void **result)
{
    void *value = NULL;
    void (*drop)(void *) = NULL;
    COIL_TRY(coil__future_take(f, &value, &drop));
    if (result)
        *result = value;
    else if (drop)
        drop(value);
    return 0;
}

/* --- callbacks ------------------------------------------------------------------------------------------------------ */

int coil__future_add_handle(coil_future *f, coil__handle *h)
{
    if (coil_likely(f->state == COIL__PENDING)) {
        coil__list_append(&f->callbacks, &h->node);
        return 0;
    }
    if (coil__loop_closed(f->loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    coil__loop_ready(f->loop, h);
    return 0;
}

int coil__future_add_counted_handle(coil_future *f, coil__handle *h)
{
    COIL_TRY(coil__future_add_handle(f, h));
    if (f->state == COIL__PENDING)
        f->counted++;
    else
        coil_retain(f);
    return 0;
}

bool coil__future_remove_handle(coil_future *f, coil__handle *h)
{
    if (f->state != COIL__PENDING || !coil__node_linked(&h->node))
        return false;
    coil__node_unlink(&h->node);
    return true;
}

typedef struct done_callback {
    coil__handle handle;
    coil_done_callback *fn;
    void *arg;
    coil_future *future; /* a reference once scheduled */
} done_callback;

static void done_callback_free(done_callback *d)
{
    coil_context_release(d->handle.context);
    coil__object_free(d, sizeof *d);
}

static void done_callback_run(coil__handle *h)
{
    done_callback *d = coil_container_of(h, done_callback, handle);
    coil_future *f = d->future;
    coil_loop *loop = f->loop;
    coil_done_callback *fn = d->fn;
    void *arg = d->arg;
    done_callback_free(d);
    int rc = fn(f, arg);
    if (coil_unlikely(rc < 0))
        coil__loop_report_callback(loop, rc);
    coil_release(f);
}

static void done_callback_discard(coil__handle *h)
{
    done_callback *d = coil_container_of(h, done_callback, handle);
    coil_future *f = d->future->state == COIL__PENDING ? NULL : d->future;
    done_callback_free(d);
    coil_release(f);
}

static const coil__handle_ops done_callback_ops = {done_callback_run, done_callback_discard, "done callback"};

int coil_future_add_done_callback_in(coil_future *f, coil_context *context, coil_done_callback *fn, void *arg)
{
    int rc = 0;
    coil_context *own = coil__context_for(context, &rc);
    COIL_TRY(rc);
    done_callback *d = coil__object_alloc(sizeof *d);
    if (!d) {
        coil_context_release(own);
        return coil_raise(-ENOMEM, NULL);
    }
    coil__handle_init(&d->handle, &done_callback_ops);
    d->handle.context = own;
    d->fn = fn;
    d->arg = arg;
    d->future = f;
    rc = coil__future_add_counted_handle(f, &d->handle);
    if (rc < 0)
        done_callback_free(d);
    return rc;
}

int coil_future_add_done_callback(coil_future *f, coil_done_callback *fn, void *arg)
{
    return coil_future_add_done_callback_in(f, NULL, fn, arg);
}

size_t coil_future_remove_done_callback(coil_future *f, coil_done_callback *fn, void *arg)
{
    size_t removed = 0;
    coil__list_foreach_safe(&f->callbacks, node, next) {
        coil__handle *h = coil__handle_of_node(node);
        if (h->ops != &done_callback_ops)
            continue;
        done_callback *d = coil_container_of(h, done_callback, handle);
        if (d->fn != fn || d->arg != arg)
            continue;
        coil__node_unlink(node);
        f->counted--;
        done_callback_free(d);
        removed++;
    }
    return removed;
}
