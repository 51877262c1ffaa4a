/*
 * future.c - futures
 *
 * Callbacks are handles in the future's list; completion appends the whole list to the ready queue. Called on the loop's
 * thread, and in a runtime on any. Source: asyncio.futures of CPython 3.11 (the C accelerator's order where they differ).
 *
 * I1, I2: see future.h
 */
#include "future.h"

#include <string.h>

#include "base/alloc.h"
#include "context.h"
#include "error.h"
#include "loop.h"
#include "step.h"
#include "task.h"

/* --- memory ------------------------------------------------------------------------------------------------------- */

void coil__future_init_uncounted(coil_future *f, const coil__future_class *class, coil_loop *loop)
{
    f->class = class;
    coil__list_init(&f->callbacks);
    f->loop = loop->facade;
    store_relaxed(&f->refs, 1); /* [REF-1] not shared yet */
    f->counted = 0;
    store_relaxed(&f->state, COIL__PENDING); /* [FUT-1] not shared yet */
    store_relaxed(&f->notice, COIL__NOTED);
    f->asked = f->round = 0;
    coil__latch_init(&f->latch);
    f->value = NULL;
    store_relaxed(&f->drop, NULL); /* [FUT-3] not shared yet */
    f->error = NULL;
    f->cancel_message = NULL;
}

void coil__future_init(coil_future *f, const coil__future_class *class, coil_loop *loop)
{
    coil__future_init_uncounted(f, class, loop);
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
    coil__drop_fn *drop = load_relaxed(&f->drop); /* [FUT-3] nobody shares it any more */
    if (drop && coil__future_state(f) == COIL__FINISHED)
        drop(f->value);
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
    coil__future_looked_at(f);
    if (!coil__future_pending(f))
        return false;
    return coil__future_set_cancelled(f, coil_error_retain(message), NULL) != COIL_EINVALIDSTATE;
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

/*
 * [REF-1] In a runtime references come and go on any thread: relaxed for more, since the caller has one; acq_rel for less,
 * so that all use is over before the last one frees. On a loop of its own plain loads and stores do.
 */
static void add_references(coil_future *f, uint32_t n)
{
    if (coil_likely(!f->loop->place))
        store_relaxed(&f->refs, load_relaxed(&f->refs) + n);
    else
        fetch_add_relaxed(&f->refs, n);
}

/* How many are left. */
static uint32_t drop_reference(coil_future *f)
{
    if (coil_unlikely(f->loop->place != NULL)) {
        if (load_acquire(&f->refs) == 1) /* [REF-1] acquire: as the subtraction; nobody else has one to make more of */
            return 0;
        return fetch_sub_acq_rel(&f->refs, 1) - 1;
    }
    uint32_t left = load_relaxed(&f->refs) - 1;
    store_relaxed(&f->refs, left);
    return left;
}

coil_future *coil_retain(coil_future *f)
{
    coil_debug_assert(load_relaxed(&f->refs) > 0);
    add_references(f, 1);
    return f;
}

/* The last reference is going: somebody should have looked at that error. */
static void report_unretrieved(coil_future *f)
{
    coil__future_looked_at(f);
    store_relaxed(&f->refs, 1); /* [REF-1] nobody else has one; the handler may look at it, even keep it */
    bool task = coil_future_is_task(f);
    coil_exception_context context = {
        .message = task ? "Task exception was never retrieved" : "Future exception was never retrieved",
        .error = f->error,
        .future = f,
    };
    coil_loop_call_exception_handler(f->loop, &context);
}

void coil_release(coil_future *f)
{
    if (!f)
        return;
    coil_assert(load_relaxed(&f->refs) > 0);
    if (drop_reference(f) > 0)
        return;
    if (coil_unlikely(load_relaxed(&f->notice) == COIL__UNSEEN)) { /* [FUT-2] */
        report_unretrieved(f);
        if (drop_reference(f) > 0)
            return;
    }
    f->class->free(f);
}

void coil_detach(coil_future *f)
{
    coil_release(f);
}

/* --- completion --------------------------------------------------------------------------------------------------- */

static int schedule_in_loop(coil_future *f)
{
    coil_loop *loop = f->loop;
    add_references(f, f->counted);
    f->counted = 0;
    if (coil_unlikely(coil__loop_closed(loop))) {
        coil_retain(f);
        discard_all(&f->callbacks);
        coil_release(f);
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    }
    if (coil_unlikely(coil__loop_posted(loop))) /* as in coil__loop_ready */
        coil__loop_take_inbox(loop);
    coil__step_fetch(coil__handle_of_node(coil__list_first(&f->callbacks)));
    coil__list_splice(&loop->ready, &f->callbacks); /* I1 */
    return 0;
}

/* In a runtime: each where it belongs. What became ready may run elsewhere at once, and with it the future may go. */
static int schedule_in_runtime(coil_future *f, const coil__guard *guard)
{
    coil_loop *loop = f->loop;
    coil__list callbacks;
    coil__list_init(&callbacks);
    coil__list_splice(&callbacks, &f->callbacks); /* I1 */
    if (f->counted > 0)
        add_references(f, f->counted);
    f->counted = 0;
    coil__guard_leave(guard);
    while (!coil__list_empty(&callbacks))
        coil__loop_place(loop, coil__handle_of_node(coil__list_pop(&callbacks)));
    return 0;
}

/* The end of a transition: gives the latch back. */
static inline int schedule_callbacks(coil_future *f, const coil__guard *guard)
{
    bool none = coil__list_empty(&f->callbacks);
    if (coil_unlikely(f->loop->parallel) && !none)
        return schedule_in_runtime(f, guard);
    coil__guard_leave(guard);
    return none ? 0 : schedule_in_loop(f);
}

/* The beginning: takes the latch. False, without it, if the future is done or @unless holds. */
static inline bool begin_transition(coil_future *f, const _Atomic bool *unless, coil__guard *guard)
{
    *guard = coil__guard_enter(&f->latch);
    if (coil_likely(load_relaxed(&f->state) == COIL__PENDING) && coil_likely(!unless || !load_relaxed(unless)))
        return true; /* [FUT-1] relaxed: under the latch */
    coil__guard_leave(guard);
    return false;
}

int coil__future_finish_unless(coil_future *f, const _Atomic bool *unless, void *value, coil__drop_fn *drop)
{
    coil__guard guard;
    if (!begin_transition(f, unless, &guard))
        return COIL_EINVALIDSTATE;
    f->value = value;
    store_relaxed(&f->drop, drop);            /* [FUT-3] before the state, which publishes it */
    store_release(&f->state, COIL__FINISHED); /* [FUT-1] */
    return schedule_callbacks(f, &guard);
}

int coil__future_finish(coil_future *f, void *value, coil__drop_fn *drop)
{
    return coil__future_finish_unless(f, NULL, value, drop);
}

int coil__future_fail(coil_future *f, coil_error *error)
{
    coil__guard guard;
    if (!begin_transition(f, NULL, &guard)) {
        coil_error_release(error);
        return COIL_EINVALIDSTATE;
    }
    f->error = error;
    store_relaxed(&f->drop, NULL);            /* [FUT-3] */
    store_relaxed(&f->notice, COIL__UNSEEN);  /* [FUT-2] before the state, which publishes it */
    store_release(&f->state, COIL__FINISHED); /* [FUT-1] */
    return schedule_callbacks(f, &guard);
}

int coil__future_set_cancelled(coil_future *f, coil_error *message, coil_error *cancelled_error)
{
    coil__guard guard;
    if (!begin_transition(f, NULL, &guard)) {
        coil_error_release(message);
        coil_error_release(cancelled_error);
        return COIL_EINVALIDSTATE;
    }
    coil_error *before = f->cancel_message;
    f->cancel_message = message;
    f->error = cancelled_error;                /* I2 */
    store_release(&f->state, COIL__CANCELLED); /* [FUT-1] */
    int rc = schedule_callbacks(f, &guard);
    coil_error_release(before);
    return rc;
}

/* Whether a result may be set by hand. */
static int check_settable(const coil_future *f, const char *operation)
{
    if (f->class == &coil__task_class)
        return coil_raise(COIL_ERUNTIME, "Task does not support %s operation", operation);
    if (!coil__future_pending(f))
        return coil_raise(COIL_EINVALIDSTATE, "invalid state");
    return 0;
}

/* The outcome of a transition by hand: another worker may have been first. */
static int set_outcome(int rc)
{
    return coil_likely(rc != COIL_EINVALIDSTATE) ? rc : coil_raise(COIL_EINVALIDSTATE, "invalid state");
}

int coil_future_set_result_owned(coil_future *f, void *value, void (*drop)(void *))
{
    COIL_TRY(check_settable(f, "set_result"));
    return set_outcome(coil__future_finish(f, value, drop));
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
    return set_outcome(coil__future_fail(f, error));
}

/* A cancellation on its way to the only worker of a runtime, whose futures have no need of latches. */
typedef struct remote_cancel {
    coil__handle handle;
    coil_future *future; /* a reference */
    coil_error *message; /* owned */
} remote_cancel;

static void remote_cancel_discard(coil__handle *h)
{
    remote_cancel *c = coil_container_of(h, remote_cancel, handle);
    coil_error_release(c->message);
    coil_release(c->future);
    coil__object_free(c, sizeof *c);
}

static void remote_cancel_run(coil__handle *h)
{
    const remote_cancel *c = coil_container_of(h, remote_cancel, handle);
    coil__future_cancel(c->future, c->message);
    remote_cancel_discard(h);
}

static const coil__handle_ops remote_cancel_ops = {remote_cancel_run, remote_cancel_discard, "cancel"};

static bool cancel_remotely(coil_future *f, coil_error *message)
{
    remote_cancel *c = coil__object_alloc(sizeof *c);
    if (!c || !coil__future_pending(f)) {
        coil__object_free(c, sizeof *c);
        return false;
    }
    coil__handle_init(&c->handle, &remote_cancel_ops);
    c->future = coil_retain(f);
    c->message = coil_error_retain(message);
    coil__loop_post(f->loop, &c->handle);
    return true;
}

bool coil_future_cancel(coil_future *f, const char *message)
{
    coil_error *e = message ? coil_error_new(-ECANCELED, "%s", message) : NULL;
    bool remote = coil_unlikely(f->loop->place != NULL) && !f->loop->parallel && !coil__loop_is_here(f->loop);
    bool cancelled = remote ? cancel_remotely(f, e) : coil__future_cancel(f, e);
    coil_error_release(e);
    return cancelled;
}

/* --- looking at it -------------------------------------------------------------------------------------------------- */

bool coil_future_done(const coil_future *f)
{
    return !coil__future_pending(f);
}

bool coil_future_cancelled(const coil_future *f)
{
    return coil__future_state(f) == COIL__CANCELLED;
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
    return load_relaxed(&f->notice) == COIL__UNSEEN; /* [FUT-2] */
}

coil_error *coil__future_make_cancelled_error(coil_future *f)
{
    COIL__GUARD(&f->latch);
    coil_error *e = f->error;
    if (e && coil__future_state(f) == COIL__CANCELLED) {
        f->error = NULL; /* I2: handed out once */
        return e;
    }
    return f->cancel_message ? coil_error_retain(f->cancel_message) : coil_error_new(-ECANCELED, NULL);
}

coil_error *coil__future_get_error(coil_future *f)
{
    enum coil__future_state state = coil__future_state(f);
    if (coil_likely(state == COIL__FINISHED)) {
        coil__future_looked_at(f);
        return coil_likely(!f->error) ? NULL : coil_error_retain(f->error);
    }
    if (state == COIL__CANCELLED)
        return coil__future_make_cancelled_error(f);
    return coil_error_new(COIL_EINVALIDSTATE, "Result is not set.");
}

coil_future *coil__future_value_owner(coil_future *f)
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
    enum coil__future_state state = coil__future_state(f);
    if (state == COIL__CANCELLED)
        return coil_raise_error(coil__future_make_cancelled_error(f));
    if (state == COIL__PENDING)
        return coil_raise(COIL_EINVALIDSTATE, "Exception is not set.");
    coil__future_looked_at(f);
    *error = coil_error_retain(f->error);
    return 0;
}

int coil__future_take(coil_future *f, void **value, coil__drop_fn **drop)
{
    COIL_TRY(coil_future_result(f, NULL));
    coil_future *owner = coil__future_value_owner(f);
    {
        COIL__GUARD(&owner->latch);
        *value = owner->value;
        *drop = load_relaxed(&owner->drop); /* [FUT-3] under the latch */
        if (!*drop) /* a borrowed value stays for the others */
            return 0;
        owner->value = NULL;
        store_release(&owner->drop, NULL); /* [FUT-3] release: who sees it, without the latch, sees no value either */
    }
    if (f != owner) {
        COIL__GUARD(&f->latch);
        f->value = NULL; /* what a shielding future shows */
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

/* Among the callbacks of a pending future; false if it is done. */
static inline bool append_callback(coil_future *f, coil__handle *h, uint32_t counted)
{
    COIL__GUARD(&f->latch);
    if (coil_unlikely(load_relaxed(&f->state) != COIL__PENDING)) /* [FUT-1] relaxed: under the latch */
        return false;
    coil__list_append(&f->callbacks, &h->node);
    f->counted += counted;
    return true;
}

int coil__future_add_handle(coil_future *f, coil__handle *h)
{
    if (coil_likely(append_callback(f, h, 0)))
        return 0;
    if (coil__loop_closed(f->loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    coil__loop_ready(f->loop, h);
    return 0;
}

int coil__future_add_counted_handle(coil_future *f, coil__handle *h)
{
    if (coil_likely(append_callback(f, h, 1)))
        return 0;
    if (coil__loop_closed(f->loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    coil_retain(f);
    coil__loop_ready(f->loop, h);
    return 0;
}

bool coil__future_remove_handle(coil_future *f, coil__handle *h)
{
    COIL__GUARD(&f->latch);
    if (!coil__future_pending(f) || !coil__node_linked(&h->node))
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
    coil_future *f = coil__future_pending(d->future) ? NULL : d->future;
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

/* Moves the callbacks with that function and argument to @taken. */
static size_t take_done_callbacks(coil_future *f, coil_done_callback *fn, const void *arg, coil__list *taken)
{
    size_t n = 0;
    COIL__GUARD(&f->latch);
    coil__list_foreach_safe(&f->callbacks, node, next) {
        coil__handle *h = coil__handle_of_node(node);
        if (h->ops != &done_callback_ops)
            continue;
        const done_callback *d = coil_container_of(h, done_callback, handle);
        if (d->fn != fn || d->arg != arg)
            continue;
        coil__node_unlink(node);
        f->counted--;
        coil__list_append(taken, node);
        n++;
    }
    return n;
}

size_t coil_future_remove_done_callback(coil_future *f, coil_done_callback *fn, void *arg)
{
    coil__list taken;
    coil__list_init(&taken);
    size_t removed = take_done_callbacks(f, fn, arg, &taken);
    while (!coil__list_empty(&taken))
        done_callback_free(coil_container_of(coil__handle_of_node(coil__list_pop(&taken)), done_callback, handle));
    return removed;
}
