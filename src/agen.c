/*
 * agen.c - asynchronous generators
 *
 * A generator has a stack of its own. Whoever asks for a value switches to it with its task's `top` pointing at the
 * generator's coroutine, so that whatever the body awaits suspends the whole chain and resumes in the body; a yield
 * switches back. Source: CPython 3.11, genobject.c (async_gen_asend_send, async_gen_athrow_send), base_events.py.
 *
 *   CREATED    no stack; the body has not run; thrown into, it ends without having run
 *   SUSPENDED  at a yield
 *   RUNNING    its stack is in some task's chain; `running` is set for as long as that call lasts
 *   FINISHED   the body has ended; no stack
 *
 * In a runtime all that is called on any worker. A call claims the generator (`running`, under its latch); one that
 * comes meanwhile is refused with COIL_EBUSY. The stack goes wherever its caller's goes; the end of a claim
 * publishes it to the next, so that the body runs on on any worker. Who takes a generator off its loop's list,
 * under the loop's latch, has it closed: the last release, coil_agen_finalize or coil_loop_shutdown_asyncgens. The
 * order of latches is the generator's, then the loop's shared_latch.
 *
 * I1 caller is the coroutine that switched to the body, valid while RUNNING
 * I2 the generator is in its loop's list from its first use under a running loop until it has finished, or the loop
 *    has been told to close it. The list has no reference: one without any is about to leave it, and not to be
 *    touched
 * I3 a claim holds a reference
 * I4 the latch guards running, closed and used. The rest is the claimer's, or whose release was the last
 */
#include <coil/agen.h>
#include <coil/combine.h>
#include <stdio.h>

#include "agen.h"
#include "base/alloc.h"
#include "base/refs.h"
#include "context.h"
#include "error.h"
#include "step.h"

enum state { CREATED, SUSPENDED, RUNNING, FINISHED };

struct coil_agen {
    coil__coro coro;
    coil__coro *caller; /* I1 */
    coil__latch latch;  /* I4 */
    bool running;       /* asyncio's ag_running_async */
    bool closed;        /* ag_closed: closing was tried, or it has ended */
    bool used;          /* the first use is over: hooks are set */
    _Atomic int state;  /* enum state */
    coil__refs refs;
    coil_agen_fn *fn;
    void *arg;
    void (*drop)(void *);
    const char *name;
    coil_loop *loop;    /* of the first use, the runtime's facade; held while I2 */
    coil__node node;    /* I2 */
    _Atomic bool listed; /* I2: node is in loop->agens */
    coil__handle finalizer;
    void *value;        /* on its way out, or in (sent) */
    coil_error *thrown; /* on its way in */
    uint16_t open_scopes; /* the body's, while it does not run */
    int rc;             /* what the body ended with */
    coil_error *error;
};

/*
 * [AGEN-1] release, and acquire for those who have no claim: who sees FINISHED sees all that the body did. Claimers
 * are ordered by the latch.
 */
static inline enum state state_of(const coil_agen *a)
{
    return (enum state)load_acquire(&a->state);
}

static inline void set_state(coil_agen *a, enum state state)
{
    store_release(&a->state, state); /* [AGEN-1] */
}

int coil_agen_new(coil_agen_fn *fn, void *arg, void (*drop)(void *), const char *name, coil_agen **agen)
{
    coil_agen *a = coil__object_alloc(sizeof *a);
    if (!a)
        return coil_raise(-ENOMEM, NULL);
    *a = (coil_agen){.fn = fn, .arg = arg, .drop = drop, .name = name};
    coil__latch_init(&a->latch);
    store_relaxed(&a->state, CREATED); /* [AGEN-1] not shared yet */
    coil__refs_init(&a->refs, 1);
    store_relaxed(&a->listed, false);  /* [AGEN-2] likewise */
    coil__node_init(&a->node);
    *agen = a;
    return 0;
}

coil_agen *coil_agen_retain(coil_agen *a)
{
    coil__refs_take(&a->refs);
    return a;
}

/* A reference for who has none, and found it in the list. False: the last one has gone (I2). */
static bool try_retain(coil_agen *a)
{
    size_t refs = load_relaxed(&a->refs.count);                              /* [REFS-1] the CAS checks it */
    while (refs > 0 && !cas_weak_release(&a->refs.count, &refs, refs + 1)) { /* [REFS-1] as for more references */
    }
    return refs > 0;
}

bool coil_agen_finished(const coil_agen *a)
{
    return state_of(a) == FINISHED;
}

bool coil_agen_suspended(const coil_agen *agen)
{
    coil_agen *a = (coil_agen *)(uintptr_t)agen; /* const for the caller; the latch is taken */
    COIL__GUARD(&a->latch);
    return state_of(a) == SUSPENDED && !a->running;
}

/* --- the loop's list ------------------------------------------------------------------------------------------- */

/*
 * [AGEN-2] relaxed: changed under the loop's latch. Looked at without it only so that a loop which may be gone is
 * not touched: who reads false then was ordered after that by whatever told it of the generator.
 */
static bool unlist(coil_agen *a)
{
    bool listed = load_relaxed(&a->listed); /* [AGEN-2] */
    store_relaxed(&a->listed, false);
    coil__node_unlink(&a->node);
    return listed;
}

/* Off its loop's list; true if that was this call's doing: then the caller gives the hold back. */
static bool leave_list(coil_agen *a)
{
    if (!load_relaxed(&a->listed)) /* [AGEN-2] */
        return false;
    COIL__GUARD(&a->loop->shared_latch);
    return unlist(a);
}

static void leave_loop(coil_agen *a)
{
    if (leave_list(a))
        coil__loop_unhold(a->loop);
}

static void join_loop(coil_agen *a, coil_loop *loop)
{
    a->loop = loop;
    coil__loop_hold(loop);
    COIL__GUARD(&loop->shared_latch);
    store_relaxed(&a->listed, true); /* [AGEN-2] */
    coil__list_append(&loop->agens, &a->node);
}

/* The first use: under a running loop the generator becomes known to it. */
static void first_use(coil_agen *a)
{
    COIL__GUARD(&a->latch);
    if (coil_likely(a->used))
        return;
    a->used = true;
    coil_loop *loop = coil__running_loop();
    if (loop)
        join_loop(a, loop);
}

/* --- claims ------------------------------------------------------------------------------------------------------ */

enum claimant { SENDER, THROWER, CLOSER, CANCELLED_CLOSER };
enum verdict { CLAIMED, TAKEN, OVER, SHUT };

/* A call is about to run the body. The order is CPython's. OVER: it has ended; SHUT: it was closed before. */
static enum verdict claim(coil_agen *a, enum claimant who)
{
    COIL__GUARD(&a->latch);
    bool over = state_of(a) == FINISHED;
    if (a->running && !(over && who != SENDER))
        return TAKEN;
    if (over)
        return OVER;
    if (a->closed && (who == THROWER || who == CLOSER))
        return SHUT;
    a->running = true;
    a->closed |= who == CLOSER;
    coil_agen_retain(a); /* I3 */
    return CLAIMED;
}

/*
 * The end of a claim, after a step that raised @rc, which is raised again. @closed: that closed the generator.
 * @running: it goes on to count as running, see coil_agen_close.
 */
static int unclaim(coil_agen *a, int rc, bool closed, bool running)
{
    coil_error *e = coil_catch(rc);
    {
        COIL__GUARD(&a->latch);
        a->running = running;
        a->closed |= closed;
    }
    coil_agen_release(a); /* I3 */
    return coil_raise_error(e);
}

/* --- switching ------------------------------------------------------------------------------------------------- */

static void finish(coil_agen *a)
{
    set_state(a, FINISHED);
    leave_loop(a); /* I2 */
}

static void agen_entry(void *arg)
{
    coil_agen *a = arg;
    a->rc = a->fn(a, a->arg);
    a->error = coil_catch(a->rc);
    set_state(a, FINISHED); /* the caller does the rest, on its own stack */
    coil__coro_leave(&a->coro, a->caller);
}

static void stack_name(const void *owner, char *buf, size_t size)
{
    const coil_agen *a = owner;
    const char *name = a->name ? a->name : "asynchronous generator";
    size_t i = 0;
    for (; name[i] && i + 1 < size; i++)
        buf[i] = name[i];
    if (size > 0)
        buf[i] = '\0';
}

/* As large as that of a task of @loop. */
static int take_stack(coil_agen *a, const coil_loop *loop)
{
    const char *reason = NULL;
    size_t bytes = loop->options.stack_bytes ? loop->options.stack_bytes : COIL_STACK_BYTES_DEFAULT;
    coil__stack *stack = coil__stack_alloc(bytes, &reason);
    if (!stack)
        return coil_raise(-ENOMEM, "no stack for a generator: %s", reason);
    stack->owner = a;
    stack->overflow_name = stack_name;
    coil__coro_init(&a->coro, stack, false, agen_entry, a);
    return 0;
}

/* The task is the body's for a while. Returns how many scopes are open outside of it. */
static uint16_t enter_body(coil__task *t, coil_agen *a)
{
    uint16_t outside = t->open_scopes;
    t->open_scopes = a->open_scopes;
    t->top = &a->coro;
    return outside;
}

static void leave_body(coil__task *t, coil_agen *a, coil__coro *from, uint16_t outside)
{
    coil_assert((state_of(a) != FINISHED || t->open_scopes == 0) && "a timeout or group was entered and not left");
    a->open_scopes = t->open_scopes;
    t->open_scopes = outside;
    t->top = from;
}

/* Runs the body from @from, as @t (NULL: outside tasks), until it yields or ends. */
static void run_body(coil_agen *a, coil__task *t, coil__coro *from)
{
    coil__current_state *current = coil__current();
    coil__stack *outer = current->stack;
    a->caller = from; /* I1 */
    set_state(a, RUNNING);
    uint16_t scopes = t ? enter_body(t, a) : 0;
    current->stack = a->coro.stack;
    coil__coro_switch(from, &a->coro);
    current = coil__current();
    current->stack = outer;
    if (t)
        leave_body(t, a, from, scopes);
    if (state_of(a) != FINISHED)
        return;
    coil__stack_free(a->coro.stack);
    a->coro.stack = NULL;
    a->arg = NULL;
    leave_loop(a); /* I2 */
}

/* What the body's step came to: 0 with a value, or what it raised; COIL_ESTOPITERATION at its end. */
static int outcome(coil_agen *a, void **value)
{
    if (state_of(a) != FINISHED) {
        *value = a->value;
        return 0;
    }
    coil_error *e = a->error;
    a->error = NULL;
    if (a->rc >= 0)
        return coil_raise(COIL_ESTOPITERATION, NULL);
    if (a->rc == COIL_ESTOPITERATION) {
        coil_error_release(e);
        return coil_raise(COIL_ERUNTIME, "async generator raised StopAsyncIteration");
    }
    return coil_raise_error(e);
}

/* Ends a generator whose body has not run, and never will. */
static int end_unstarted(coil_agen *a, coil_error *thrown)
{
    if (a->drop)
        a->drop(a->arg);
    a->drop = NULL;
    finish(a);
    return coil_raise_error(thrown);
}

/* One step of the body, which is claimed: sends @sent or throws @thrown (taken). @value gets what it yields. */
static int step(coil_agen *a, coil__task *t, void *sent, coil_error *thrown, void **value)
{
    if (state_of(a) == CREATED && thrown)
        return end_unstarted(a, thrown);
    if (state_of(a) == CREATED) {
        COIL_TRY(take_stack(a, t->future.loop));
        a->drop = NULL; /* the body's now */
    }
    a->value = sent;
    a->thrown = thrown;
    run_body(a, t, t->top);
    return outcome(a, value);
}

int coil_agen_yield(coil_agen *a, void *value, void **sent)
{
    coil_assert(state_of(a) == RUNNING);
    coil__task *t = coil__current()->task;
    coil_assert(!t || t->top == &a->coro); /* only the body itself yields */
    a->value = value;
    set_state(a, SUSPENDED);
    coil__coro_switch(&a->coro, a->caller);
    coil_error *thrown = a->thrown;
    a->thrown = NULL;
    if (thrown)
        return coil_raise_error(thrown);
    if (sent)
        *sent = a->value;
    return 0;
}

/* --- asend, athrow, aclose ------------------------------------------------------------------------------------- */

static int busy(const char *what)
{
    return coil_raise(COIL_EBUSY, "%s(): asynchronous generator is already running", what);
}

/* Whether a step that raised @rc has ended the generator for good. */
static bool ends(int rc)
{
    return rc == COIL_ESTOPITERATION || rc == COIL_EGENERATOREXIT;
}

int coil_agen_send(coil_agen *a, void *sent, void **value)
{
    coil__task *t = coil__task_current();
    if (!t)
        return coil__task_missing();
    first_use(a);
    if (state_of(a) == CREATED && sent)
        return coil_raise(COIL_ETYPE, "can't send non-None value to a just-started async generator");
    enum verdict verdict = claim(a, SENDER);
    if (verdict == TAKEN)
        return busy("anext"); /* as CPython 3.11 calls it, for asend too */
    if (verdict == OVER)
        return coil_raise(COIL_ESTOPITERATION, NULL);
    void *yielded = NULL;
    int rc = step(a, t, sent, NULL, &yielded);
    rc = unclaim(a, rc, ends(rc), false);
    if (rc == 0 && value)
        *value = yielded;
    return rc;
}

int coil_agen_next(coil_agen *a, void **value)
{
    return coil_agen_send(a, NULL, value);
}

/* What athrow and aclose look at before they touch the body. 1: claimed; 0: nothing to do; negative: raised. */
static int begin_throw(coil_agen *a, enum claimant who, const char *what)
{
    if (!coil__task_current())
        return coil__task_missing();
    first_use(a);
    switch (claim(a, who)) {
    case OVER:
        return 0;
    case TAKEN:
        return busy(what);
    case SHUT:
        return coil_raise(COIL_ESTOPITERATION, NULL);
    default:
        return 1;
    }
}

int coil_agen_throw(coil_agen *a, coil_error *error, void **value)
{
    int rc = begin_throw(a, THROWER, "athrow");
    if (rc <= 0) {
        coil_error_release(error);
        if (rc == 0 && value)
            *value = NULL;
        return rc;
    }
    void *yielded = NULL;
    rc = step(a, coil__task_current(), NULL, error, &yielded);
    rc = unclaim(a, rc, ends(rc), false);
    if (rc == 0 && value)
        *value = yielded;
    return rc;
}

/* What aclose makes of the outcome of the body. */
static int closed(int rc)
{
    if (rc == 0)
        return coil_raise(COIL_ERUNTIME, "async generator ignored GeneratorExit");
    if (rc != COIL_ESTOPITERATION && rc != COIL_EGENERATOREXIT)
        return rc;
    coil_error_release(coil_catch(rc));
    return 0;
}

/*
 * CPython's aclose leaves ag_running_async set if the body ends in a step that began by raising in it
 * (async_gen_athrow_throw). anext then says that the generator is running, not that it is over. With several
 * workers the numbers of steps cannot tell, and there is no such trace to be followed.
 */
static bool stays_running(coil__task *t, int rc)
{
    coil_loop *loop = t->future.loop;
    return rc < 0 && !loop->parallel && coil__step_id(loop) == t->raised_in;
}

int coil_agen_close(coil_agen *a)
{
    int rc = begin_throw(a, CLOSER, "aclose");
    if (rc <= 0)
        return rc;
    void *yielded;
    coil__task *t = coil__task_current();
    uint32_t first_step = coil__step_id(t->future.loop);
    rc = step(a, t, NULL, coil_error_new(COIL_EGENERATOREXIT, NULL), &yielded);
    bool suspended = coil__step_id(t->future.loop) != first_step;
    rc = unclaim(a, rc, true, suspended && stays_running(t, rc));
    return closed(rc);
}

/* --- the end of a generator ------------------------------------------------------------------------------------ */

/*
 * Unwinds a body that nobody can close any more: its loop is closed, or it never had one. Every call in it that
 * would suspend fails, since there is no task.
 */
static void unwind(coil_agen *a)
{
    coil__current_state *current = coil__current();
    coil__task *outer = current->task;
    coil_error *raised = current->error; /* whoever releases the generator may be raising it */
    coil__coro thread, *from = &thread;
    if (outer)
        from = outer->top;
    else
        coil__coro_init_thread(&thread);
    current->task = NULL;
    current->error = NULL;
    for (int attempt = 0; state_of(a) == SUSPENDED && attempt < 100; attempt++) {
        coil_error_release(a->thrown);
        a->thrown = coil_error_new(COIL_EGENERATOREXIT, NULL);
        run_body(a, NULL, from);
    }
    current = coil__current();
    coil_error_release(current->error);
    current->error = raised;
    current->task = outer;
    coil_error_release(a->error);
    a->error = NULL;
}

static void destroy(coil_agen *a)
{
    coil_loop *held = leave_list(a) ? a->loop : NULL; /* first: with a reference it could be found there */
    coil_agen_retain(a);                              /* unwinding looks at it */
    if (state_of(a) == CREATED)
        end_unstarted(a, NULL);
    else if (state_of(a) == SUSPENDED)
        unwind(a);
    if (held)
        coil__loop_unhold(held);
    if (state_of(a) != FINISHED) { /* its frames cannot be ended, so they stay */
        fprintf(stderr, "coil: generator %s ignored GeneratorExit and is abandoned\n", a->name ? a->name : "?");
        return;
    }
    coil_error_release(a->error);
    coil_error_release(a->thrown);
    coil__object_free(a, sizeof *a);
}

/*
 * A close whose task was cancelled before its first step. CPython throws the cancellation into the generator; the
 * close itself counts as not begun, so that it is the next step without an error that raises GeneratorExit,
 * wherever the body waits then.
 */
static int close_cancelled(coil_agen *a, coil__task *t)
{
    void *yielded;
    coil_error *e = coil__future_make_cancelled_error(&t->future);
    coil__step_take_cancel(t);
    enum verdict verdict = claim(a, CANCELLED_CLOSER);
    if (verdict == OVER)
        return coil_raise_error(e);
    if (verdict == TAKEN) {
        coil_error_release(e);
        return busy("aclose");
    }
    t->must_exit = true;
    int rc = step(a, t, NULL, e, &yielded);
    bool begun = !t->must_exit;
    t->must_exit = false;
    rc = unclaim(a, rc, begun, begun && stays_running(t, rc));
    return closed(rc);
}

int coil__agen_close_body(void *arg, void **result)
{
    (void)result;
    coil__task *t = coil__task_current();
    bool cancelled = t && load_relaxed(&t->must_cancel) && t->fn == coil__agen_close_body; /* [TASK-2] */
    int rc = cancelled ? close_cancelled(arg, t) : coil_agen_close(arg);
    coil_error *e = coil_catch(rc);
    coil_agen_release(arg);
    return coil_raise_error(e);
}

/* asyncio's finalizer, second part: a task that closes the generator. The handle's reference becomes the task's. */
static void finalizer_run(coil__handle *h)
{
    coil_agen *a = coil_container_of(h, coil_agen, finalizer);
    coil_loop *loop = a->loop;
    coil_coro coro = coil_coro_make(coil__agen_close_body, a, coil__agen_release_arg, 0, "coil_agen_close");
    int rc = coil_loop_create_task(loop, coro, NULL, NULL);
    if (rc < 0)
        coil__loop_report_callback(loop, rc);
}

static void finalizer_discard(coil__handle *h)
{
    coil_agen *a = coil_container_of(h, coil_agen, finalizer);
    coil_context_release(h->context);
    h->context = NULL;
    coil_agen_release(a);
}

static const coil__handle_ops finalizer_ops = {finalizer_run, finalizer_discard, "generator finalizer"};

void coil__agen_release_arg(void *agen)
{
    coil_agen_release(agen);
}

/* The handle goes to the worker that let the generator go; from another thread to the loop's inbox. */
static void schedule_finalizer(coil_agen *a)
{
    if (coil__loop_is_here(a->loop))
        coil__loop_ready(a->loop, &a->finalizer);
    else
        coil__loop_post(a->loop, &a->finalizer);
}

/* Called by the last release too, without a reference: so it is off the list before it gets one (I2). */
int coil_agen_finalize(coil_agen *a)
{
    int rc = 0;
    if (!load_relaxed(&a->listed) || coil__loop_closed(a->loop)) /* [AGEN-2] */
        return 0;
    coil_context *context = coil__context_copy_current(&rc);
    COIL_TRY(rc);
    if (!leave_list(a)) {
        coil_context_release(context);
        return 0;
    }
    coil_loop *loop = a->loop;
    coil__handle_init(&a->finalizer, &finalizer_ops);
    a->finalizer.context = context;
    coil_agen_retain(a); /* the handle's */
    schedule_finalizer(a);
    coil__loop_unhold(loop); /* the loop stays: it has the handle */
    return 1;
}

void coil_agen_release(coil_agen *a)
{
    if (!a)
        return;
    coil_assert(load_relaxed(&a->refs.count) > 0); /* [REFS-1] the caller has one */
    if (!coil__refs_drop(&a->refs))
        return;
    if (a->closed || coil_agen_finalize(a) <= 0)
        destroy(a);
}

/* --- coroutines ------------------------------------------------------------------------------------------------ */

struct call {
    coil_agen *agen;
    void *sent;
    coil_error *error; /* throw */
    enum { SEND, THROW } kind;
};

static void call_drop(void *arg)
{
    struct call *c = arg;
    coil_error_release(c->error);
    coil_agen_release(c->agen);
    coil__object_free(c, sizeof *c);
}

static int call_body(void *arg, void **result)
{
    struct call *c = arg;
    int rc;
    if (c->kind == SEND)
        rc = coil_agen_send(c->agen, c->sent, result);
    else
        rc = coil_agen_throw(c->agen, coil_error_retain(c->error), result);
    coil_error *e = coil_catch(rc);
    call_drop(c);
    return coil_raise_error(e);
}

static coil_coro call_coro(struct call call, const char *name)
{
    first_use(call.agen);
    struct call *c = coil__object_alloc(sizeof *c);
    if (!c) {
        coil_error_release(call.error);
        return coil__coro_without_memory(name);
    }
    *c = call;
    coil_agen_retain(c->agen);
    return coil_coro_make(call_body, c, call_drop, 0, name);
}

coil_coro coil_agen_next_coro(coil_agen *a)
{
    return call_coro((struct call){.agen = a, .kind = SEND}, "coil_agen_next");
}

coil_coro coil_agen_send_coro(coil_agen *a, void *sent)
{
    return call_coro((struct call){.agen = a, .sent = sent, .kind = SEND}, "coil_agen_send");
}

coil_coro coil_agen_throw_coro(coil_agen *a, coil_error *error)
{
    return call_coro((struct call){.agen = a, .error = error, .kind = THROW}, "coil_agen_throw");
}

coil_coro coil_agen_close_coro(coil_agen *a)
{
    first_use(a);
    return coil_coro_make(coil__agen_close_body, coil_agen_retain(a), coil__agen_release_arg, 0, "coil_agen_close");
}

/* --- shutdown -------------------------------------------------------------------------------------------------- */

/* Python's Exception, which these two, and groups that have one of them somewhere inside, are not. */
static bool is_exception(int code, const coil_error *e)
{
    coil_error *const *errors;
    size_t n = code == COIL_EGROUP ? coil_error_suberrors(e, &errors) : 0;
    for (size_t i = 0; i < n; i++)
        if (!is_exception(coil_error_code(errors[i]), errors[i]))
            return false;
    return code != -ECANCELED && code != COIL_EGENERATOREXIT;
}

static void report_failed(coil_loop *loop, const coil_outcome *outcomes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        coil_exception_context context = {
            .message = "an error occurred during closing of asynchronous generator", .error = outcomes[i].error};
        if (outcomes[i].code < 0 && is_exception(outcomes[i].code, outcomes[i].error))
            coil_loop_call_exception_handler(loop, &context);
    }
}

static size_t count_agens(coil_loop *loop)
{
    size_t n = 0;
    COIL__GUARD(&loop->shared_latch);
    for (const coil__node *node = loop->agens.head.next; node != &loop->agens.head; node = node->next)
        n++;
    return n;
}

/*
 * Takes at most @room generators off the loop, as closing coroutines in the order of their first use. One whose last
 * reference is going is left to whoever releases it.
 */
static size_t take_closing(coil_loop *loop, coil_awaitable *aws, size_t room)
{
    size_t n = 0;
    COIL__GUARD(&loop->shared_latch);
    coil__list_foreach_safe(&loop->agens, node, next) {
        coil_agen *a = coil_container_of(node, coil_agen, node);
        if (n == room || !try_retain(a))
            continue;
        unlist(a); /* I2 */
        aws[n++] = coil_awaitable_of_coro(
            coil_coro_make(coil__agen_close_body, a, coil__agen_release_arg, 0, "coil_agen_close"));
    }
    return n;
}

/* Closes those that @aws has room for, all at a time. */
static int close_all(coil_loop *loop, coil_awaitable *aws, size_t room)
{
    coil_future *all;
    size_t n = take_closing(loop, aws, room);
    int rc = n > 0 ? coil_gather(aws, n, true, &all) : 0;
    for (size_t i = 0; i < n; i++)
        coil__loop_unhold(loop);
    if (n == 0 || rc < 0)
        return rc;
    rc = coil_await(all, NULL);
    if (rc == 0)
        report_failed(loop, coil_gather_outcomes(all, NULL), n);
    coil_release(all);
    return rc;
}

int coil_loop_shutdown_asyncgens(coil_loop *loop)
{
    coil__task *t = coil__task_current();
    if (!t)
        return coil__task_missing();
    if (t->future.loop != loop)
        return coil_raise(COIL_EWRONGLOOP, "generators are closed by a task of their own loop");
    size_t n = count_agens(loop);
    if (n == 0)
        return 0;
    coil_awaitable *aws = coil__malloc(n * sizeof *aws);
    if (!aws)
        return coil_raise(-ENOMEM, NULL);
    int rc = close_all(loop, aws, n);
    coil_error *e = coil_catch(rc);
    coil__free(aws);
    return coil_raise_error(e);
}

static bool forget_first(coil_loop *loop)
{
    COIL__GUARD(&loop->shared_latch);
    if (coil__list_empty(&loop->agens))
        return false;
    return unlist(coil_container_of(coil__list_first(&loop->agens), coil_agen, node));
}

/* The caller holds the loop. */
void coil__agens_forget(coil_loop *loop)
{
    while (forget_first(loop))
        coil__loop_unhold(loop);
}
