/*
 * call.c - an operation that a task waits for; see call.h
 *
 * In a runtime the task may go on on another worker than the one that has the operation, even before the operation's
 * handle has returned; and it may be cancelled from any worker at any moment. So the future is an object of its own:
 *
 * I1 `call` is followed under the future's latch only, and NULL once the waiting call has gone on
 * I2 two references: the waiting call's, and the handle's until it has run or was discarded
 */
#include "call.h"

#include "../src/base/alloc.h"
#include "../src/future.h"
#include "../src/step.h"
#include "../src/sync.h"

typedef struct waiting {
    coil_future future;
    coil__call *call; /* I1 */
} waiting;

static waiting *waiting_of(coil_future *f)
{
    return coil_container_of(f, waiting, future);
}

/* A request to cancel the task: passed on to the kernel, whose answer is waited for. Refused, so it stays pending. */
static bool refuse_cancel(coil_future *f, coil_error *message)
{
    (void)message;
    COIL__GUARD(&f->latch);
    if (waiting_of(f)->call)
        coil__op_cancel(f->loop, &waiting_of(f)->call->op);
    return false;
}

static void free_waiting(coil_future *f)
{
    coil__future_fini(f);
    coil__object_free(waiting_of(f), sizeof(waiting));
}

static const coil__future_class waiting_class = {.name = "Future", .cancel = refuse_cancel, .free = free_waiting};

static void run_call(coil__handle *h)
{
    coil_future *done = coil_container_of(h, coil__call, op.handle)->done;
    (void)coil__future_finish(done, NULL, NULL); /* the call may be gone when this returns */
    coil_release(done);                          /* I2 */
}

static void discard_call(coil__handle *h)
{
    coil_release(coil_container_of(h, coil__call, op.handle)->done); /* I2 */
}

static const coil__handle_ops call_ops = {run_call, discard_call, "operation"};

void coil__call_init(coil__call *c, enum coil__op_kind kind, int fd)
{
    coil__op_init(&c->op, kind, fd, &call_ops);
    c->op.once = true;
    c->op.res = -ECANCELED; /* until it has a result: a call that raises may have one all the same */
    c->done = NULL;
}

static waiting *new_waiting(coil_loop *loop, coil__call *c)
{
    waiting *w = coil__object_alloc(sizeof *w);
    if (!w)
        return NULL;
    coil__future_init(&w->future, &waiting_class, loop);
    w->call = c;
    return w;
}

/* Nobody reaches the call through the future any more: I1. */
static void part(waiting *w)
{
    coil__guard guard = coil__guard_enter(&w->future.latch);
    w->call = NULL;
    coil__guard_leave(&guard);
    coil_release(&w->future);
}

/*
 * The operation was cancelled because the task was. Of a request from another worker the task may not have been
 * marked yet: that worker is about to do it.
 */
static int meet_cancel(coil__task *t)
{
    int rc = coil__task_meet(t);
    while (rc == 0)
        rc = coil__task_yield(t);
    return rc;
}

/* Of the backend of the worker that runs this. */
static int await_backend(coil_loop *loop, coil__task *t, coil__call *c)
{
    waiting *w = new_waiting(loop, c);
    if (!w)
        return coil_raise(-ENOMEM, NULL);
    c->done = coil_retain(&w->future); /* I2 */
    coil__op_submit(loop, &c->op);
    int rc = coil__task_outlast(t, &w->future);
    part(w);
    return rc;
}

/* A kernel that would have had to wait, or was interrupted, says that instead. */
static bool was_cancelled(const coil__call *c)
{
    int res = c->op.res;
    return res == -ECANCELED || (c->op.cancelled && (res == -EAGAIN || res == -EINTR));
}

static bool needs_thread(coil_loop *loop, enum coil__op_kind kind)
{
    if (coil_likely(!coil__op_is_of_files(kind)))
        return false;
    return !(coil__here(loop)->backend->file_kinds >> kind & 1);
}

int coil__call_await(coil_loop *loop, coil__call *c)
{
    COIL_TRY(coil__task_may_wait());
    coil__task *t = coil__current()->task;
    if (coil_unlikely(load_relaxed(&t->must_cancel))) /* [TASK-2] asked for before this call: nothing is begun */
        COIL_TRY(coil__task_yield(t));
    c->op.res = -ECANCELED; /* until it has a result: a call that raises may have one all the same */
    COIL_TRY(needs_thread(loop, c->op.kind) ? coil__call_offload(loop, c) : await_backend(loop, t, c));
    return was_cancelled(c) ? meet_cancel(t) : 0;
}

int coil__call_result(coil_loop *loop, coil__call *c, const char *what)
{
    COIL_TRY(coil__call_await(loop, c));
    int res = c->op.res;
    return res < 0 ? coil_raise(res, "%s: %s", what, coil_strerror(res)) : res;
}
