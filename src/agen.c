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
 * I1 caller is the coroutine that switched to the body, valid while RUNNING
 * I2 the generator is in its loop's list from its first use under a running loop until it has finished, or the loop
 *    has been told to close it
 * I3 the body's call in flight holds a reference
 */
#include <coil/agen.h>
#include <coil/combine.h>
#include <stdio.h>

#include "agen.h"
#include "base/alloc.h"
#include "context.h"
#include "error.h"
#include "step.h"

enum state { CREATED, SUSPENDED, RUNNING, FINISHED };

struct coil_agen {
    coil__coro coro;
    coil__coro *caller; /* I1 */
    enum state state;
    bool running;       /* asyncio's ag_running_async */
    bool closed;        /* ag_closed: closing was tried, or it has ended */
    bool used;          /* the first use is over: hooks are set */
    size_t refs;
    coil_agen_fn *fn;
    void *arg;
    void (*drop)(void *);
    const char *name;
    coil_loop *loop;    /* of the first use; held while I2 */
    coil__node node;    /* I2 */
    coil__handle finalizer;
    void *value;        /* on its way out, or in (sent) */
    coil_error *thrown; /* on its way in */
    uint32_t open_scopes; /* the body's, while it does not run */
    int rc;             /* what the body ended with */
    coil_error *error;
};

int coil_agen_new(coil_agen_fn *fn, void *arg, void (*drop)(void *), const char *name, coil_agen **agen)
{
    coil_agen *a = coil__object_alloc(sizeof *a);
    if (!a)
        return coil_raise(-ENOMEM, NULL);
    *a = (coil_agen){.state = CREATED, .refs = 1, .fn = fn, .arg = arg, .drop = drop, .name = name};
    coil__node_init(&a->node);
    *agen = a;
    return 0;
}

coil_agen *coil_agen_retain(coil_agen *a)
{
    a->refs++;
    return a;
}

bool coil_agen_finished(const coil_agen *a)
{
    return a->state == FINISHED;
}

bool coil_agen_suspended(const coil_agen *a)
{
    return a->state == SUSPENDED && !a->running;
}

/* --- the loop's list ------------------------------------------------------------------------------------------- */

static void leave_loop(coil_agen *a)
{
    if (!coil__node_linked(&a->node))
        return;
    coil__node_unlink(&a->node);
    coil__loop_unhold(a->loop);
}

/* The first use: under a running loop the generator becomes known to it. */
static void first_use(coil_agen *a)
{
    if (a->used)
        return;
    a->used = true;
    a->loop = coil__current()->loop;
    if (!a->loop)
        return;
    coil__list_append(&a->loop->agens, &a->node);
    coil__loop_hold(a->loop);
}

/* --- switching ------------------------------------------------------------------------------------------------- */

static void finish(coil_agen *a)
{
    a->state = FINISHED;
    leave_loop(a); /* I2 */
}

static void agen_entry(void *arg)
{
    coil_agen *a = arg;
    a->rc = a->fn(a, a->arg);
    a->error = coil_catch(a->rc);
    a->state = FINISHED; /* the caller does the rest, on its own stack */
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
static uint32_t enter_body(coil__task *t, coil_agen *a)
{
    uint32_t outside = t->open_scopes;
    t->open_scopes = a->open_scopes;
    t->top = &a->coro;
    return outside;
}

static void leave_body(coil__task *t, coil_agen *a, coil__coro *from, uint32_t outside)
{
    coil_assert(a->state != FINISHED || t->open_scopes == 0); /* a timeout or group was entered and not left */
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
    a->state = RUNNING;
    uint32_t scopes = t ? enter_body(t, a) : 0;
    current->stack = a->coro.stack;
    coil__coro_switch(from, &a->coro);
    current = coil__current();
    current->stack = outer;
    if (t)
        leave_body(t, a, from, scopes);
    if (a->state != FINISHED)
        return;
    coil__stack_free(a->coro.stack);
    a->coro.stack = NULL;
    a->arg = NULL;
    leave_loop(a); /* I2 */
}

/* What the body's step came to: 0 with a value, or what it raised; COIL_ESTOPITERATION at its end. */
static int outcome(coil_agen *a, void **value)
{
    if (a->state != FINISHED) {
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

/* One step of the body: sends @sent or throws @thrown (taken). @value gets what it yields. */
static int step(coil_agen *a, coil__task *t, void *sent, coil_error *thrown, void **value)
{
    if (a->state == CREATED && thrown)
        return end_unstarted(a, thrown);
    if (a->state == CREATED) {
        COIL_TRY(take_stack(a, t->future.loop));
        a->drop = NULL; /* the body's now */
    }
    a->value = sent;
    a->thrown = thrown;
    coil_agen_retain(a); /* I3 */
    run_body(a, t, t->top);
    int rc = outcome(a, value);
    coil_error *e = coil_catch(rc);
    coil_agen_release(a);
    return coil_raise_error(e);
}

int coil_agen_yield(coil_agen *a, void *value, void **sent)
{
    coil_assert(a->state == RUNNING);
    coil__task *t = coil__current()->task;
    coil_assert(!t || t->top == &a->coro); /* only the body itself yields */
    a->value = value;
    a->state = SUSPENDED;
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

int coil_agen_send(coil_agen *a, void *sent, void **value)
{
    coil__task *t = coil__task_current();
    if (!t)
        return coil__task_missing();
    first_use(a);
    if (a->running)
        return busy("anext"); /* as CPython 3.11 calls it, for asend too */
    if (a->state == FINISHED)
        return coil_raise(COIL_ESTOPITERATION, NULL);
    if (a->state == CREATED && sent)
        return coil_raise(COIL_ETYPE, "can't send non-None value to a just-started async generator");
    void *yielded = NULL;
    a->running = true;
    int rc = step(a, t, sent, NULL, &yielded);
    a->running = false;
    if (rc == COIL_ESTOPITERATION || rc == COIL_EGENERATOREXIT)
        a->closed = true;
    if (rc == 0 && value)
        *value = yielded;
    return rc;
}

int coil_agen_next(coil_agen *a, void **value)
{
    return coil_agen_send(a, NULL, value);
}

/* What athrow and aclose look at before they touch the body. 1: go on; 0: nothing to do; negative: raised. */
static int check_throw(coil_agen *a, const char *what)
{
    if (!coil__task_current())
        return coil__task_missing();
    first_use(a);
    if (a->state == FINISHED)
        return 0;
    if (a->running)
        return busy(what);
    if (a->closed)
        return coil_raise(COIL_ESTOPITERATION, NULL);
    return 1;
}

int coil_agen_throw(coil_agen *a, coil_error *error, void **value)
{
    int rc = check_throw(a, "athrow");
    if (rc <= 0) {
        coil_error_release(error);
        if (rc == 0 && value)
            *value = NULL;
        return rc;
    }
    void *yielded = NULL;
    a->running = true;
    rc = step(a, coil__task_current(), NULL, error, &yielded);
    a->running = false;
    if (rc == COIL_ESTOPITERATION || rc == COIL_EGENERATOREXIT)
        a->closed = true;
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
 * (async_gen_athrow_throw). anext then says that the generator is running, not that it is over.
 */
int coil_agen_close(coil_agen *a)
{
    int rc = check_throw(a, "aclose");
    if (rc <= 0)
        return rc;
    void *yielded;
    coil__task *t = coil__task_current();
    uint32_t first_step = coil__step_id(t->future.loop);
    a->running = true;
    a->closed = true;
    rc = step(a, t, NULL, coil_error_new(COIL_EGENERATOREXIT, NULL), &yielded);
    uint32_t last_step = coil__step_id(t->future.loop);
    a->running = rc < 0 && last_step != first_step && last_step == t->raised_in;
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
    for (int attempt = 0; a->state == SUSPENDED && attempt < 100; attempt++) {
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
    a->refs++; /* unwinding looks at it */
    if (a->state == CREATED)
        end_unstarted(a, NULL);
    else if (a->state == SUSPENDED)
        unwind(a);
    if (a->state != FINISHED) { /* its frames cannot be ended, so they stay */
        fprintf(stderr, "coil: generator %s ignored GeneratorExit and is abandoned\n", a->name ? a->name : "?");
        return;
    }
    leave_loop(a);
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
    t->must_cancel = false;
    if (a->state == FINISHED)
        return coil_raise_error(e);
    if (a->running) {
        coil_error_release(e);
        return busy("aclose");
    }
    a->running = true;
    t->must_exit = true;
    int rc = step(a, t, NULL, e, &yielded);
    bool begun = !t->must_exit;
    t->must_exit = false;
    a->running = rc < 0 && begun && coil__step_id(t->future.loop) == t->raised_in;
    a->closed |= begun;
    return closed(rc);
}

int coil__agen_close_body(void *arg, void **result)
{
    (void)result;
    coil__task *t = coil__task_current();
    int rc = t && t->must_cancel && t->fn == coil__agen_close_body ? close_cancelled(arg, t) : coil_agen_close(arg);
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

int coil_agen_finalize(coil_agen *a)
{
    int rc = 0;
    if (!coil__node_linked(&a->node) || coil__loop_closed(a->loop)) /* I2 */
        return 0;
    coil__handle_init(&a->finalizer, &finalizer_ops);
    a->finalizer.context = coil__context_copy_current(&rc);
    COIL_TRY(rc);
    coil_loop *loop = a->loop;
    coil_agen_retain(a); /* the handle's */
    if (coil__current()->loop == loop)
        coil__loop_ready(loop, &a->finalizer);
    else
        coil__loop_post(loop, &a->finalizer);
    leave_loop(a); /* I2; the loop stays: it has the handle */
    return 1;
}

void coil_agen_release(coil_agen *a)
{
    if (!a)
        return;
    coil_assert(a->refs > 0);
    if (--a->refs > 0)
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

static void report_failed(coil_loop *loop, const coil_outcome *outcomes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        coil_exception_context context = {
            .message = "an error occurred during closing of asynchronous generator", .error = outcomes[i].error};
        if (outcomes[i].code < 0 && outcomes[i].code != -ECANCELED && outcomes[i].code != COIL_EGENERATOREXIT)
            coil_loop_call_exception_handler(loop, &context);
    }
}

static size_t count_agens(const coil_loop *loop)
{
    size_t n = 0;
    for (const coil__node *node = loop->agens.head.next; node != &loop->agens.head; node = node->next)
        n++;
    return n;
}

/* Takes all generators off the loop, as closing coroutines in the order of their first use. */
static void take_closing(coil_loop *loop, coil_awaitable *aws)
{
    for (size_t i = 0; !coil__list_empty(&loop->agens); i++) {
        coil_agen *a = coil_container_of(coil__list_first(&loop->agens), coil_agen, node);
        aws[i] = coil_awaitable_of_coro(coil_agen_close_coro(a));
        leave_loop(a); /* I2 */
    }
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
    take_closing(loop, aws);
    coil_future *all;
    int rc = coil_gather(aws, n, true, &all);
    coil__free(aws);
    COIL_TRY(rc);
    rc = coil_await(all, NULL);
    if (rc == 0)
        report_failed(loop, coil_gather_outcomes(all, NULL), n);
    coil_release(all);
    return rc;
}

void coil__agens_forget(coil_loop *loop)
{
    while (!coil__list_empty(&loop->agens))
        leave_loop(coil_container_of(coil__list_first(&loop->agens), coil_agen, node));
}
