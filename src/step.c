/*
 * step.c - the steps of tasks: suspending, resuming, the first and the last step
 *
 * A task that suspends or has ended looks for the next step itself and switches to that task directly; only when the next
 * handle is not a task's, or the loop has something to collect, does it return to the main stack. A task whose body has
 * ended runs a fresh successor on its own stack, without any switch; else it leaves its stack as the loop's spare one, on
 * which the next task to start will run, from whatever stack it is started.
 *
 * On a worker of a runtime the next task comes from its run queues instead, and a task that suspends is put where it
 * belongs by the code that runs next (place.h). A step may end on another thread than it began on: after a switch the
 * running loop is found anew.
 *
 * I1 loop->current->task and ->stack are set by whoever hands the processor over, before the switch
 * I2 loop->spare is the stack of the task that ended last, or NULL; it is touched only after that task has left
 */
#include "step.h"

#include "agen.h"
#include "base/alloc.h"
#include "error.h"

/* The oldest has its turn rarely: each time a tree of tasks is entered at another end, and memory grows by its depth. */
enum { FRESH_OLDEST_EVERY = 1 << 16, FRESH_PASSED_MAX = 1024, FRESH_PAUSE_EVERY = 63 };

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

coil__task *coil__loop_take_fresh(coil_loop *loop)
{
    if (coil__list_empty(&loop->fresh) || ++loop->fresh_turn % FRESH_PAUSE_EVERY == 0)
        return NULL;
    bool neglected = loop->fresh_passed >= FRESH_PASSED_MAX || loop->fresh_turn % FRESH_OLDEST_EVERY == 0;
    if (!coil__list_empty(&loop->ready) && !neglected) {
        loop->fresh_passed++;
        return NULL;
    }
    loop->fresh_passed = 0;
    coil__node *node = neglected ? coil__list_last(&loop->fresh) : coil__list_first(&loop->fresh);
    coil__node_unlink(node);
    coil__loop_count(&loop->handles_run);
    return coil_container_of(coil__handle_of_node(node), coil__task, step);
}

bool coil__step_take_cancel(coil__task *t)
{
    COIL__GUARD(&t->future.latch);
    bool must = load_relaxed(&t->must_cancel); /* [TASK-2] */
    store_relaxed(&t->must_cancel, false);
    t->future.asked = 0;
    if (must)
        t->future.round++;
    return must;
}

/* What it was last cancelled with, with a reference: another worker may cancel it again meanwhile. */
static coil_error *cancel_message(coil__task *t)
{
    COIL__GUARD(&t->future.latch);
    return coil_error_retain(t->future.cancel_message);
}

/* Of a task that is not done: its own. */
static coil__drop_fn *drop_of(const coil_future *f)
{
    return load_relaxed(&f->drop); /* [FUT-3] */
}

static void drop_value(const coil_future *f, void *value)
{
    if (drop_of(f))
        drop_of(f)(value);
}

/* The body returned a value, but the task was told to be cancelled since its last step began. */
static void complete_cancelled(coil__task *t, void *value)
{
    coil_future *f = &t->future;
    coil__step_take_cancel(t);
    drop_value(f, value);
    coil__future_set_cancelled(f, cancel_message(t), NULL);
}

/* asyncio's step, rules 3 to 5: what the body came to becomes the task's result. */
static void complete(coil__task *t, int rc, void *value)
{
    coil_future *f = &t->future;
    if (coil_unlikely(t->dying)) {
        coil_error_release(coil_catch(rc)); /* there is nobody left to tell */
        if (rc >= 0)
            drop_value(f, value);
        coil__future_set_cancelled(f, NULL, NULL);
    } else if (coil_likely(rc >= 0)) {
        if (coil__future_finish_unless(f, &t->must_cancel, value, drop_of(f)) == COIL_EINVALIDSTATE)
            complete_cancelled(t, value);
    } else if (rc == -ECANCELED) {
        coil__future_set_cancelled(f, NULL, coil_catch(rc));
    } else {
        coil__future_fail(f, coil_catch(rc));
    }
}

static void leave_list(coil_loop *here, coil__task *t)
{
    if (coil_unlikely(here->parallel)) {
        coil__roll_leave(t, &here->facade->lookers, &here->facade->tasks_latch);
        store_release(&here->tasks_ended, load_relaxed(&here->tasks_ended) + 1); /* [ROLL-4] */
        return;
    }
    coil__node_unlink(&t->all);
    here->task_count--;
}

/* The task is done, on @here: out of the loop's list, and its reference with it. @t may be freed. */
static void retire(coil_loop *here, coil__task *t)
{
    coil_assert(t->open_scopes == 0 && "a timeout or group was entered and not left");
    coil_assert(t->pins == 0);        /* a coil_pin() without its coil_unpin() */
    coil__error_drop(t->error);
    t->error = NULL;
    leave_list(here, t);
    coil_release(&t->future);
}

/* Cancelled before its first step; the closing of a generator runs all the same. */
static bool never_runs(const coil__task *t)
{
    return load_relaxed(&t->must_cancel) && t->fn != coil__agen_close_body; /* [TASK-2] */
}

/* A task cancelled before its first step: its body never runs. */
static void cancel_before_start(coil_loop *here, coil__task *t)
{
    coil__step_take_cancel(t);
    forget_arg(t, false);
    coil__future_set_cancelled(&t->future, NULL, coil__future_make_cancelled_error(&t->future));
    retire(here, t);
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

/* Whether a fresh task can run on the stack of one that has just ended. */
static bool fits(const coil__task *t, const coil__coro *coro)
{
    return !started(t) && !load_relaxed(&t->must_cancel) && t->stack_bytes == coro->stack->bytes && /* [TASK-2] */
           !t->coro.fp_control && !coro->fp_control;
}

static void adopt(coil_loop *loop, coil__task *t, const coil__coro *coro)
{
    t->coro = *coro;
    t->top = &t->coro;
    t->home = (uint8_t)loop->index;
    t->coro.stack->owner = t;
    set_running(loop, t, t->coro.stack);
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
    t->home = (uint8_t)loop->index;
    return true;
}

/*
 * Prepares to hand over to @t, NULL: to the main stack. A task that will not start, being cancelled or without a stack, is left
 * to the main stack, which takes it next.
 */
static inline coil__coro *hand_over(coil_loop *loop, coil__task *t)
{
    const char *reason;
    if (t && (coil_likely(started(t)) ||
              (!load_relaxed(&t->must_cancel) && prepare_start(loop, t, &reason)))) { /* [TASK-2] */
        set_running(loop, t, t->top->stack);
        return t->top;
    }
    loop->handoff = t;
    set_main(loop);
    return &loop->main;
}

/* Another coroutine has been switched away from on this worker. */
static inline void landed(coil_loop *loop)
{
    if (coil_unlikely(loop->parallel)) {
        coil_loop *here = coil__here(loop);
        if (here->leaving)
            coil__step_settle(here);
    }
}

/* The bottom of every task's stack. */
static void task_entry(void *arg)
{
    coil__task *t = arg;
    coil_loop *loop = t->future.loop;
    coil__coro self;
    landed(loop);
    for (;;) {
        run_body(t);
        loop = coil__here(loop);
        self = t->coro;
        t->coro.stack = NULL;
        t->top = NULL;
        loop->current->task = NULL; /* @t may go: what its drop functions raise is the thread's */
        retire(loop, t);
        t = coil__loop_next_task(loop);
        if (!t || !fits(t, &self))
            break;
        adopt(loop, t, &self);
    }
    coil__coro *to = hand_over(loop, t);
    coil__step_drop_spare(loop);
    loop->spare = self.stack; /* I2 */
    coil__coro_leave(&self, to);
}

/* The main stack's way to start a task; false if it is over already: cancelled, or without a stack. */
static bool start(coil_loop *loop, coil__task *t)
{
    const char *reason = NULL;
    if (never_runs(t)) {
        cancel_before_start(loop, t);
        return false;
    }
    if (coil_likely(prepare_start(loop, t, &reason)))
        return true;
    forget_arg(t, false);
    coil__future_fail(&t->future, coil_error_new(-ENOMEM, "no stack for a task: %s", reason));
    retire(loop, t);
    return false;
}

void coil__step_run(coil_loop *loop, coil__task *t)
{
    for (; t; t = loop->handoff) {
        loop->handoff = NULL;
        if (!started(t) && !start(loop, t))
            continue;
        set_running(loop, t, t->top->stack);
        coil__coro_switch(&loop->main, t->top);
        landed(loop);
        coil_debug_assert(loop->current->task == NULL);
    }
}

void coil__step_drop_spare(coil_loop *loop)
{
    if (loop->spare)
        coil__stack_free(loop->spare);
    loop->spare = NULL; /* I2 */
}

/* --- suspending -------------------------------------------------------------------------------------------------------- */

/* Hands over to whoever is next; returns in the task's next step. */
static inline __attribute__((always_inline)) void switch_away(coil__task *t)
{
    coil_loop *loop = coil__here(t->future.loop);
    coil__task *next = coil__loop_next_task(loop);
    if (next == t)
        return;
    coil__coro_switch(t->top, hand_over(loop, next));
    landed(t->future.loop);
}

/* The same on a worker: it will be settled by the code that runs next. */
static __attribute__((noinline)) void leave(coil__task *t, bool yields)
{
    coil_loop *here = coil__here(t->future.loop);
    here->leaving = t;
    here->leaving_yields = yields;
    switch_away(t);
}

/* Lets everything that is ready run first. */
static inline __attribute__((always_inline)) void let_others_run(coil__task *t)
{
    if (coil_unlikely(t->future.loop->parallel)) {
        leave(t, true);
        return;
    }
    coil__loop_ready(t->future.loop, &t->step);
    switch_away(t);
}

/* A task that waits, at the latest now that its stack is not used any more: registers it, or wakes it if that is in vain. */
static void register_waiter(coil__task *t)
{
    coil_future *f = t->waiter;
    {
        COIL__GUARD(&f->latch);
        if (coil__future_pending(f)) {
            coil__list_append(&f->callbacks, &t->step.node);
            return; /* it is its waker's from here on */
        }
    }
    coil__loop_place(f->loop, &t->step);
}

void coil__step_settle(coil_loop *loop)
{
    coil__task *t = loop->leaving;
    loop->leaving = NULL;
    if (!loop->leaving_yields)
        register_waiter(t);
    else if (coil__task_pinned(t))
        coil__list_append(&loop->ready, &t->step.node);
    else
        loop->place->yielded(loop, t);
}

/* What the step raises instead of @e, for a task that was told to be cancelled or to exit. */
static coil_error *interfere(coil__task *t, coil_error *e)
{
    if (coil__step_take_cancel(t)) {
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

/* What was awaited; whoever cancels the task does not find it any more. */
static inline coil_future *take_waiter(coil__task *t)
{
    if (!t->waiter) /* which the task alone writes */
        return NULL;
    COIL__GUARD(&t->future.latch);
    coil_future *waiter = t->waiter;
    t->waiter = NULL;
    return waiter;
}

/* asyncio's step, rules 1 and 2: what the step that has just begun raises in the body. 0 for nothing. */
static int begin_step(coil__task *t)
{
    if (coil_unlikely(t->dying))
        return coil_raise(COIL_EGENERATOREXIT, NULL);
    coil_error *e = t->thrown;
    t->thrown = NULL;
    coil_future *waiter = take_waiter(t);
    if (waiter)
        e = coil__future_get_error(waiter);
    if (coil_unlikely(load_relaxed(&t->must_cancel) | t->must_exit)) /* [TASK-2] what take_waiter's latch shows */
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
    let_others_run(t);
    if (coil_likely(!t->thrown) && coil_likely(!(load_relaxed(&t->must_cancel) | t->must_exit | t->dying)))
        return 0; /* [TASK-2] what begin_step() comes to without a waiter and anything to raise */
    return begin_step(t);
}

int coil__task_spend(coil__task *t)
{
    coil_loop *here = coil__here(t->future.loop);
    if (coil_likely(here->budget > 0)) {
        here->budget--;
        return 0;
    }
    here->budget = here->budget_full;
    return coil__task_yield(t);
}

/*
 * From now on nobody can await the future, as long as it is pending; see coil_await. Another loop's may be ending now. On several
 * workers it would be chance who comes before and who after: there it can be awaited.
 */
static __attribute__((cold)) coil_error *shun(coil_future *f, int code, const char *message)
{
    uint8_t expected = COIL__NOTED;
    if (!f->loop->parallel)
        (void)cas_strong_relaxed(&f->notice, &expected, COIL__SHUNNED); /* [FUT-2] relaxed: an error that is there stays */
    return coil_error_new(code, "%s", message);
}

/* The future is not one that @t can wait for: NULL if it is. Gives. */
static coil_error *cannot_wait(const coil__task *t, coil_future *f)
{
    if (coil_unlikely(f == &t->future))
        return shun(f, COIL_ERUNTIME, "Task cannot await on itself");
    if (coil_unlikely(f->loop != t->future.loop))
        return shun(f, COIL_EWRONGLOOP, "Task got Future attached to a different loop");
    return NULL;
}

/* From here on who cancels the task cancels @f. True if the task was to be cancelled before. */
static inline bool set_waiter(coil__task *t, coil_future *f)
{
    COIL__GUARD(&t->future.latch);
    t->waiter = f;
    return load_relaxed(&t->must_cancel); /* [TASK-2] */
}

/* The task was to be cancelled before it began to wait for @f. */
static __attribute__((cold)) void cancel_at_once(coil__task *t, coil_future *f)
{
    coil_error *message = cancel_message(t);
    if (coil__future_cancel(f, message))
        coil__step_take_cancel(t);
    coil_error_release(message);
}

/* A waiting task's successor begins; the one behind it needs its stack soon. It was fetched when it woke, but that may be long ago. */
static inline __attribute__((always_inline)) void fetch_second(const coil_loop *loop)
{
    const coil__node *end = &loop->ready.head, *second = loop->ready.head.next->next;
    if (second != end)
        coil__step_fetch(coil__handle_of_node((coil__node *)(uintptr_t)second));
}

/* asyncio's step, rule 7: registers with what is awaited, or arranges for the error; then lets others run. */
static inline __attribute__((always_inline)) void wait_on(coil__task *t, coil_future *f)
{
    coil_loop *loop = t->future.loop;
    t->thrown = cannot_wait(t, f);
    if (coil_unlikely(t->thrown != NULL)) {
        let_others_run(t);
        return;
    }
    bool cancel = set_waiter(t, f);
    if (coil_likely(!loop->parallel))
        coil__list_append(&f->callbacks, &t->step.node);
    if (coil_unlikely(cancel))
        cancel_at_once(t, f);
    if (coil_likely(!loop->parallel)) {
        fetch_second(loop);
        switch_away(t);
    } else {
        leave(t, false);
    }
}

int coil_await(coil_future *f, void **result)
{
    coil__task *t = coil__task_current();
    if (!t)
        return coil__task_missing();
    if (coil__future_pending(f)) {
        if (coil_unlikely(t->dying))
            return coil_raise(COIL_EGENERATOREXIT, NULL);
        if (coil_unlikely(load_relaxed(&f->notice) == COIL__SHUNNED)) /* [FUT-2] */
            return coil_raise(COIL_ERUNTIME, "await wasn't used with future");
        wait_on(t, f);
        COIL_TRY(begin_step(t));
    }
    if (coil_unlikely(coil__future_state(f) != COIL__FINISHED) || coil_unlikely(f->error != NULL))
        return coil_future_result(f, result);
    if (result)
        *result = f->value;
    return 0;
}

int coil__task_outlast(coil__task *t, coil_future *f)
{
    if (coil_likely(!t->dying))
        wait_on(t, f);
    if (coil_unlikely(t->dying))
        return coil_raise(COIL_EGENERATOREXIT, NULL);
    (void)take_waiter(t);
    return 0;
}

int coil__task_meet(coil__task *t)
{
    return begin_step(t);
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
        cancel_before_start(loop, t);
        return;
    }
    t->waiter = NULL;
    coil__step_run(loop, t);
}

void coil__step_unwind_all(coil_loop *loop)
{
    if (coil__list_empty(&loop->tasks))
        return;
    coil__current_state *current = coil__current(), saved = *current;
    loop->current = current;
    store_relaxed(&loop->direct, false); /* [SET-1] each body runs to its end on its own */
    current->loop = loop;
    coil__coro_init_thread(&loop->main);
    while (!coil__list_empty(&loop->tasks)) /* newest first: who made a task may free what it uses */
        unwind(loop, coil_container_of(coil__list_last(&loop->tasks), coil__task, all));
    coil__step_drop_spare(loop);
    current->loop = saved.loop;
    current->task = saved.task;
    current->stack = saved.stack;
}
