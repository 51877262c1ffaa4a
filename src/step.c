/*
 * step.c - the steps of tasks: suspending, resuming, the first and the last step
 *
 * A task that suspends or has ended looks for the next step itself and switches to that task directly; only when the next
 * handle is not a task's, or the loop has something to collect, does it return to the main stack. A task whose body has
 * ended runs a fresh successor on its own stack, without any switch; else it leaves its stack as the loop's spare one, on
 * which the next task to start will run, from whatever stack it is started.
 *
 * I1 loop->current->task and ->stack are set by whoever hands the processor over, before the switch
 * I2 loop->spare is the stack of the task that ended last, or NULL; it is touched only after that task has left
 */
#include "step.h"

#include "agen.h"
#include "base/alloc.h"
#include "error.h"

static void step_run_handle(coil__handle *h)
{
    coil__task *t = coil_container_of(h, coil__task, step);
    coil__step_run(t->future.loop, t);
}

/* Dropped by a closed loop: the task stays as it is, until the loop is freed. */
static void step_discard(coil__handle *h)
{
    (void)h;
}

const coil__handle_ops coil__step_ops = {step_run_handle, step_discard, "task step"};

/* --- the last step ----------------------------------------------------------------------------------------------------- */

static void forget_arg(coil__task *t, bool ran)
{
    if (t->copy_bytes > 0)
        coil__sized_free(t->arg, t->copy_bytes);
    else if (!ran && t->drop)
        t->drop(t->arg);
    t->drop = NULL;
    t->arg = NULL;
}

/* asyncio's step, rules 3 to 5: what the body came to becomes the task's result. */
static void complete(coil__task *t, int rc, void *value)
{
    coil_future *f = &t->future;
    if (coil_unlikely(t->dying)) {
        coil_error_release(coil_catch(rc)); /* there is nobody left to tell */
        if (rc >= 0 && f->drop)
            f->drop(value);
        coil__future_set_cancelled(f, NULL, NULL);
    } else if (coil_likely(rc >= 0) && coil_likely(!t->must_cancel)) {
        coil__future_finish(f, value, f->drop);
    } else if (rc >= 0) {
        t->must_cancel = false;
        if (f->drop)
            f->drop(value);
        coil__future_set_cancelled(f, coil_error_retain(f->cancel_message), NULL);
    } else if (rc == -ECANCELED) {
        coil__future_set_cancelled(f, NULL, coil_catch(rc));
    } else {
        coil__future_fail(f, coil_catch(rc));
    }
}

/* The task is done: out of the loop's list, and its reference with it. @t may be freed. */
static void retire(coil__task *t)
{
    coil_loop *loop = t->future.loop;
    coil_assert(t->open_scopes == 0); /* a timeout or group was entered and not left */
    coil__error_drop(t->error);
    t->error = NULL;
    coil__node_unlink(&t->all);
    loop->task_count--;
    coil_release(&t->future);
}

/* Cancelled before its first step; the closing of a generator runs all the same. */
static bool never_runs(const coil__task *t)
{
    return t->must_cancel && t->fn != coil__agen_close_body;
}

/* A task cancelled before its first step: its body never runs. */
static void cancel_before_start(coil__task *t)
{
    t->must_cancel = false;
    forget_arg(t, false);
    coil__future_set_cancelled(&t->future, NULL, coil__future_make_cancelled_error(&t->future));
    retire(t);
}

/* --- handing over ------------------------------------------------------------------------------------------------------ */

/* Everything that must be known before @t runs. */
static void set_running(coil_loop *loop, coil__task *t, coil__stack *stack)
{
    loop->current->task = t; /* I1 */
    loop->current->stack = stack;
}

static void set_main(coil_loop *loop)
{
    loop->current->task = NULL;
    loop->current->stack = NULL;
}

static bool started(const coil__task *t)
{
    return t->top != NULL;
}

static void run_body(coil__task *t)
{
    void *value = NULL;
    int rc = t->fn(t->arg, &value);
    forget_arg(t, true);
    complete(t, rc, value);
}

/* A fresh task that can run on the stack of one that has just ended. */
static coil__task *fresh_successor(coil_loop *loop, const coil__coro *coro)
{
    coil__task *t = coil__loop_next_step(loop);
    if (!t || started(t) || t->must_cancel || t->stack_bytes != coro->stack->bytes ||
        t->coro.fp_control || coro->fp_control)
        return NULL;
    coil__loop_pop(loop);
    return t;
}

static void adopt(coil__task *t, const coil__coro *coro)
{
    t->coro = *coro;
    t->top = &t->coro;
    t->coro.stack->owner = t;
    set_running(t->future.loop, t, t->coro.stack);
}

static void overflow_name(const void *owner, char *buf, size_t size)
{
    coil__task_copy_name(owner, buf, size);
}

/* A stack for a fresh task: that of the task which ended last, if it fits (I2). */
static coil__stack *take_stack(coil_loop *loop, const coil__task *t, const char **reason)
{
    coil__stack *spare = loop->spare;
    if (coil_likely(spare && spare->bytes == t->stack_bytes)) {
        loop->spare = NULL;
        coil__stack_reuse(spare);
        return spare;
    }
    return coil__stack_alloc(t->stack_bytes, reason);
}

static void task_entry(void *arg);

/* Gives a fresh task its stack, so that it can be switched to. False without memory. */
static bool prepare_start(coil_loop *loop, coil__task *t, const char **reason)
{
    coil__stack *stack = take_stack(loop, t, reason);
    if (coil_unlikely(!stack))
        return false;
    stack->owner = t;
    stack->overflow_name = overflow_name;
    coil__coro_init(&t->coro, stack, t->coro.fp_control, task_entry, t);
    t->top = &t->coro;
    return true;
}

/* To whom a task that suspends or has ended hands over. Tasks that will not start are left to the main stack. */
static inline coil__coro *next_coro(coil_loop *loop)
{
    const char *reason;
    coil__task *t = coil__loop_next_step(loop);
    if (t && (coil_likely(started(t)) || (!t->must_cancel && prepare_start(loop, t, &reason)))) {
        coil__loop_pop(loop);
        set_running(loop, t, t->top->stack);
        return t->top;
    }
    set_main(loop);
    return &loop->main;
}

/* The bottom of every task's stack. */
static void task_entry(void *arg)
{
    coil__task *t = arg;
    coil_loop *loop = t->future.loop;
    coil__coro self;
    do {
        run_body(t);
        self = t->coro;
        t->coro.stack = NULL;
        t->top = NULL;
        retire(t);
        loop->current->task = NULL;
        t = fresh_successor(loop, &self);
        if (t)
            adopt(t, &self);
    } while (t);
    coil__coro *to = next_coro(loop);
    coil__step_drop_spare(loop);
    loop->spare = self.stack; /* I2 */
    coil__coro_leave(&self, to);
}

/* The main stack's way to start a task; false if it is over already: cancelled, or without a stack. */
static bool start(coil_loop *loop, coil__task *t)
{
    const char *reason = NULL;
    if (never_runs(t)) {
        cancel_before_start(t);
        return false;
    }
    if (coil_likely(prepare_start(loop, t, &reason)))
        return true;
    forget_arg(t, false);
    coil__future_fail(&t->future, coil_error_new(-ENOMEM, "no stack for a task: %s", reason));
    retire(t);
    return false;
}

void coil__step_run(coil_loop *loop, coil__task *t)
{
    if (!started(t) && !start(loop, t))
        return;
    set_running(loop, t, t->top->stack);
    coil__coro_switch(&loop->main, t->top);
    coil_debug_assert(loop->current->task == NULL);
}

void coil__step_drop_spare(coil_loop *loop)
{
    if (loop->spare)
        coil__stack_free(loop->spare);
    loop->spare = NULL; /* I2 */
}

/* --- suspending -------------------------------------------------------------------------------------------------------- */

static inline void switch_away(coil__task *t)
{
    coil_loop *loop = t->future.loop;
    coil__coro *from = t->top, *to = next_coro(loop);
    if (to != from)
        coil__coro_switch(from, to);
}

/* What the step raises instead of @e, for a task that was told to be cancelled or to exit. */
static coil_error *interfere(coil__task *t, coil_error *e)
{
    if (t->must_cancel) {
        t->must_cancel = false;
        if (coil_error_code(e) == -ECANCELED)
            return e;
        coil_error_release(e);
        return coil__future_make_cancelled_error(&t->future);
    }
    if (e)
        return e;
    t->must_exit = false;
    return coil_error_new(COIL_EGENERATOREXIT, NULL);
}

/* asyncio's step, rules 1 and 2: what the step that has just begun raises in the body. 0 for nothing. */
static int begin_step(coil__task *t)
{
    if (coil_unlikely(t->dying))
        return coil_raise(COIL_EGENERATOREXIT, NULL);
    coil_error *e = t->thrown;
    t->thrown = NULL;
    coil_future *waiter = t->waiter;
    if (waiter) {
        t->waiter = NULL;
        e = coil__future_get_error(waiter);
        coil_release(waiter);
    }
    if (coil_unlikely(t->must_cancel | t->must_exit))
        e = interfere(t, e);
    if (coil_likely(!e))
        return 0;
    t->raised_in = coil__step_id(t->future.loop);
    return coil_raise_error(e);
}

int coil__task_yield(coil__task *t)
{
    if (coil_unlikely(t->dying))
        return coil_raise(COIL_EGENERATOREXIT, NULL);
    coil__loop_ready(t->future.loop, &t->step);
    switch_away(t);
    if (coil_likely(!t->thrown) && coil_likely(!(t->must_cancel | t->must_exit | t->dying)))
        return 0; /* what begin_step() comes to without a waiter and anything to raise */
    return begin_step(t);
}

/* asyncio's step, rule 7: registers with what is awaited, or arranges for the error. */
static void wait_on(coil__task *t, coil_future *f)
{
    coil_loop *loop = t->future.loop;
    if (coil_unlikely(f == &t->future || f->loop != loop)) {
        t->thrown = f == &t->future ? coil_error_new(COIL_ERUNTIME, "Task cannot await on itself")
                                    : coil_error_new(COIL_EWRONGLOOP,
                                                     "Task got Future attached to a different loop");
        coil__loop_ready(loop, &t->step);
        return;
    }
    t->waiter = coil_retain(f);
    coil__list_append(&f->callbacks, &t->step.node);
    if (coil_unlikely(t->must_cancel) && coil__future_cancel(f, t->future.cancel_message))
        t->must_cancel = false;
}

int coil_await(coil_future *f, void **result)
{
    coil__task *t = coil__task_current();
    if (!t)
        return coil__task_missing();
    if (f->state == COIL__PENDING) {
        if (coil_unlikely(t->dying))
            return coil_raise(COIL_EGENERATOREXIT, NULL);
        wait_on(t, f);
        switch_away(t);
        COIL_TRY(begin_step(t));
    }
    return coil_future_result(f, result);
}

/* --- unwinding --------------------------------------------------------------------------------------------------------- */

/* Runs the body to its end: all that it was or will be suspended in returns COIL_EGENERATOREXIT. */
static void unwind(coil_loop *loop, coil__task *t)
{
    coil_exception_context context = {.message = "Task was destroyed but it is pending!", .future = &t->future};
    coil_loop_call_exception_handler(loop, &context);
    t->dying = true;
    coil__node_unlink(&t->step.node);
    if (!started(t)) {
        t->must_cancel = true;
        cancel_before_start(t);
        return;
    }
    if (t->waiter) {
        coil_release(t->waiter);
        t->waiter = NULL;
    }
    coil__step_run(loop, t);
}

void coil__step_unwind_all(coil_loop *loop)
{
    if (coil__list_empty(&loop->tasks))
        return;
    coil__current_state *current = coil__current(), saved = *current;
    loop->current = current;
    loop->direct = false; /* each body runs to its end on its own */
    current->loop = loop;
    coil__coro_init_thread(&loop->main);
    while (!coil__list_empty(&loop->tasks)) /* newest first: who made a task may free what it uses */
        unwind(loop, coil_container_of(coil__list_last(&loop->tasks), coil__task, all));
    coil__step_drop_spare(loop);
    current->loop = saved.loop;
    current->task = saved.task;
    current->stack = saved.stack;
}
