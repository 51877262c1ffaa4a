/*
 * loop.c - the event loop: iterations, running and stopping, closing
 *
 * One iteration is asyncio's _run_once (loop.h lists its steps). Handles run on the main stack; tasks switch from one to
 * the next directly where they can. Source: asyncio.base_events of CPython 3.11.
 *
 * I1, I2: see loop.h
 * I3 current->task is the task whose stack runs, NULL on the main stack
 */
#include "loop.h"

#include <coil/errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agen.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "context.h"
#include "ending.h"
#include "error.h"
#include "executor.h"
#include "place.h"
#include "signals.h"
#include "step.h"
#include "timer.h"

/* --- clocks --------------------------------------------------------------------------------------------------------- */

static int64_t monotonic_now(coil_clock *clock)
{
    (void)clock;
    return coil__monotonic_ns();
}

static coil_clock monotonic = {.now = monotonic_now};

static int64_t virtual_now(coil_clock *clock)
{
    return coil_container_of(clock, coil_virtual_clock, clock)->time_ns;
}

static bool virtual_idle(coil_clock *clock, int64_t deadline)
{
    if (deadline == COIL_FOREVER)
        return false; /* only the outside world can go on */
    coil_virtual_clock *v = coil_container_of(clock, coil_virtual_clock, clock);
    if (deadline > v->time_ns)
        v->time_ns = deadline;
    return true;
}

void coil_virtual_clock_init(coil_virtual_clock *v)
{
    v->clock.now = virtual_now;
    v->clock.idle = virtual_idle;
    v->time_ns = 0;
}

int64_t coil_loop_time(coil_loop *loop)
{
    return loop->clock->now(loop->clock);
}

/* --- making --------------------------------------------------------------------------------------------------------- */

static int check_options(const coil_loop_options *o)
{
    if (o->size != sizeof *o)
        return coil_raise(-EINVAL, "coil_loop_options.size is %zu, not %zu", o->size, sizeof *o);
    if (o->backend > COIL_BACKEND_EPOLL)
        return coil_raise(-EINVAL, "unknown backend %d", (int)o->backend);
    if (o->stack_bytes > COIL_STACK_BYTES_MAX)
        return coil_raise(-EINVAL, "a stack of %zu bytes is too large", o->stack_bytes);
    if (o->clock && !o->clock->now)
        return coil_raise(-EINVAL, "a clock needs a now function");
    return 0;
}

static void init(coil_loop *loop, const coil_loop_options *o)
{
    const char *debug = getenv("COIL_DEBUG");
    coil__list_init(&loop->ready);
    coil__list_init(&loop->fresh);
    coil__list_init(&loop->tasks);
    coil__list_init(&loop->agens);
    coil__list_init(&loop->endings);
    loop->facade = loop;
    loop->options = *o;
    loop->clock = o->clock ? o->clock : &monotonic;
    store_relaxed(&loop->slow_callback_ns, COIL_MS(100)); /* [SET-1] */
    loop->wake_fd = -1;
    coil_loop_set_debug(loop, o->debug || (debug && *debug && strcmp(debug, "0") != 0));
}

int coil_new_event_loop(const coil_loop_options *options, coil_loop **loop)
{
    coil_loop_options o = {.size = sizeof o};
    if (options) {
        COIL_TRY(check_options(options));
        o = *options;
    }
    coil_loop *l = coil__calloc_aligned(alignof(coil_loop), sizeof *l);
    if (!l)
        return coil_raise(-ENOMEM, NULL);
    init(l, &o);
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0) {
        int rc = -errno;
        coil__free(l);
        return coil_raise(rc, NULL);
    }
    *loop = l;
    return 0;
}

/* --- the current loop ------------------------------------------------------------------------------------------------ */

coil_loop *coil_get_running_loop(void)
{
    coil_loop *loop = coil__running_loop();
    if (!loop)
        coil_raise(COIL_ENOLOOP, "no running event loop");
    return loop;
}

void coil_set_event_loop(coil_loop *loop)
{
    coil__current()->set_loop = loop;
}

coil_loop *coil_get_event_loop(void)
{
    coil__current_state *current = coil__current();
    coil_loop *loop = current->loop ? current->loop->facade : current->set_loop;
    if (!loop)
        coil_raise(COIL_ENOLOOP, "no current event loop");
    return loop;
}

/* --- workers of a runtime -------------------------------------------------------------------------------------------- */

/* The worker's loop that this thread runs; NULL on a thread that is no worker of @loop's runtime. */
static coil_loop *own_member(const coil_loop *loop)
{
    coil_loop *own = coil__current()->loop;
    return own && own->facade == loop->facade ? own : NULL;
}

coil_loop *coil__loop_here_slow(coil_loop *loop)
{
    coil_loop *own = own_member(loop);
    return own ? own : loop->facade;
}

bool coil__loop_is_here(const coil_loop *loop)
{
    return own_member(loop) != NULL;
}

void coil__loop_count_shared(coil_loop *loop, int64_t n)
{
    coil_loop *own = own_member(loop);
    if (own)
        own->objects += n;
    else
        fetch_add_relaxed(&loop->facade->foreign_objects, n); /* [OBJ-1] relaxed: summed up when all threads have ended */
}

/* Pinned tasks, and those that may move before their first step only, stand in the FIFO of their worker. */
static void place_step(coil_loop *loop, coil_loop *own, coil__task *t)
{
    if (coil__task_pinned(t)) {
        coil_loop *home = loop->facade->members[t->home];
        if (home == own)
            coil__list_append(&home->ready, &t->step.node);
        else
            coil__loop_post(home, &t->step);
    } else if (!own) {
        loop->place->injected(loop->facade, t);
    } else if (t->top) {
        loop->place->woken(own, t);
    } else {
        loop->place->spawned(own, t);
    }
}

void coil__loop_place(coil_loop *loop, coil__handle *h)
{
    coil_loop *own = own_member(loop);
    if (h->ops == &coil__step_ops)
        place_step(loop, own, coil_container_of(h, coil__task, step));
    else if (own)
        coil__list_append(&own->ready, &h->node);
    else
        coil__loop_post(loop->facade, h);
}

/* --- other threads --------------------------------------------------------------------------------------------------- */

/*
 * loop, going to sleep (coil__loop_sleep)            poster, any thread
 *
 * [PARK-1] RMW parked = 1                            [INBOX-1] push the handle, or set stopping
 * [INBOX-3] look at the inbox and at stopping        [PARK-2] RMW parked = 0; it was 1: write to the eventfd
 * empty: wait in the kernel
 *
 * Both RMWs (acq_rel) hit one word, so one is first. PARK-2 first: PARK-1 reads it and acquires the push, so the look sees
 * it. PARK-1 first: the poster sees 1 and writes. Of a burst of posters only the first sees 1: one wake-up.
 */
static void wake(coil_loop *loop)
{
    if (exchange_acq_rel(&loop->parked, 0) == 0) /* [PARK-2] */
        return;
    uint64_t one = 1;
    while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void coil__loop_post(coil_loop *loop, coil__handle *h)
{
    coil__node *head = load_relaxed(&loop->inbox); /* [INBOX-1] the CAS checks it */
    do
        h->node.next = head;
    while (!cas_weak_release(&loop->inbox, &head, &h->node)); /* [INBOX-1] release: publishes the handle; with [INBOX-3] */
    wake(loop);
}

void coil__loop_notify(coil_loop *loop)
{
    store_release(&loop->notified, 1); /* [INBOX-1] like a post: before PARK-2 */
    wake(loop);
}

void coil__loop_take_inbox(coil_loop *loop)
{
    coil__node *node = exchange_acquire(&loop->inbox, NULL); /* [INBOX-3] acquire: the handles' contents; with [INBOX-1] */
    coil__list taken;
    coil__list_init(&taken);
    while (node) { /* newest first */
        coil__node *older = node->next;
        coil__list_prepend(&taken, node);
        node = older;
    }
    coil__list_splice(&loop->ready, &taken);
}

void coil_loop_stop(coil_loop *loop)
{
    store_release(&loop->stopping, 1); /* [STOP-1] release: what the stopper did before */
    wake(loop);
}

bool coil_loop_is_running(const coil_loop *loop)
{
    return load_relaxed(&loop->owner) != NULL; /* [OWNER-1] only compared; nothing is read through it */
}

bool coil_loop_is_closed(const coil_loop *loop)
{
    return coil__loop_closed(loop);
}

/* --- one iteration --------------------------------------------------------------------------------------------------- */

static void poll_backend(coil_loop *loop, int64_t timeout_ns)
{
    int rc = loop->backend->ops->wait(loop->backend, timeout_ns, &loop->ready);
    if (coil_unlikely(rc < 0))
        loop->failure = rc;
}

void coil__loop_poll(coil_loop *loop)
{
    if (coil__backend_busy(loop->backend))
        poll_backend(loop, 0);
}

int64_t coil__loop_first_deadline(coil_loop *loop)
{
    COIL__GUARD(&loop->timers_latch);
    return loop->timers.count > 0 ? loop->timers.entries[0].when : COIL_FOREVER;
}

/* [INBOX-3] Whether somebody wants the loop to get up. */
static bool called(coil_loop *loop)
{
    return coil__loop_posted(loop) || coil__loop_stopping(loop) || load_acquire(&loop->notified) != 0;
}

void coil__loop_sleep(coil_loop *loop)
{
    int64_t timeout = coil__loop_first_deadline(loop);
    if (timeout != COIL_FOREVER) {
        timeout -= coil_loop_time(loop);
        if (timeout < 0)
            timeout = 0;
    }
    exchange_acq_rel(&loop->parked, 1); /* [PARK-1] */
    if (called(loop) || (loop->parallel && loop->clock->idle && loop->place->quiet(loop)))
        timeout = 0;
    if (loop->place)
        loop->place->sleeps(loop);
    poll_backend(loop, timeout);
    if (loop->place)
        loop->place->rises(loop);
    if (exchange_acq_rel(&loop->parked, 0) == 0) /* [PARK-1] over; 0: a poster has written, or is about to */
        coil__loop_count(&loop->wakeups);
    store_relaxed(&loop->notified, 0); /* [INBOX-3] it is up */
}

/* Nothing is ready: completions that are there already, else the clock's idle work, else sleep. */
static void wait_for_work(coil_loop *loop)
{
    int64_t deadline = coil__loop_first_deadline(loop);
    if (deadline != COIL_FOREVER && deadline <= coil_loop_time(loop)) {
        coil__loop_poll(loop);
        return;
    }
    if (loop->parallel) {
        loop->place->idle(loop);
        return;
    }
    if (!loop->clock->idle) {
        coil__loop_sleep(loop);
        return;
    }
    coil__loop_poll(loop);
    if (coil__list_empty(&loop->ready) && !coil__loop_posted(loop) && !loop->clock->idle(loop->clock, deadline))
        coil__loop_sleep(loop);
}

/* Whether something can run without waiting. */
static bool has_work(coil_loop *loop)
{
    if (!coil__list_empty(&loop->ready) || coil__loop_stopping(loop))
        return true;
    return loop->parallel ? loop->place->busy(loop) : !coil__list_empty(&loop->fresh);
}

static void collect(coil_loop *loop)
{
    if (coil__loop_posted(loop))
        coil__loop_take_inbox(loop);
    if (has_work(loop))
        coil__loop_poll(loop);
    else
        wait_for_work(loop);
    if (coil__loop_posted(loop))
        coil__loop_take_inbox(loop);
    int64_t deadline = coil__loop_first_deadline(loop);
    if (deadline != COIL_FOREVER)
        coil__timers_expire(loop, coil_loop_time(loop));
}

static void run_callback(coil_loop *loop, coil__handle *h)
{
    coil__current_state *current = loop->current;
    coil_context *outer = current->context;
    current->context = h->context;
    h->context = NULL; /* it is the thread's now; the callback may have made one where there was none */
    h->ops->run(h);
    coil_context_release(current->context);
    current->context = outer;
}

static void run_quietly(coil_loop *loop, coil__handle *h)
{
    if (h->ops == &coil__step_ops)
        coil__step_run(loop, coil_container_of(h, coil__task, step));
    else
        run_callback(loop, h);
}

/* Debug mode: who held the loop for how long. The name is made before, since the handle may be gone after. */
static void run_handle_timed(coil_loop *loop, coil__handle *h)
{
    char what[256];
    if (h->ops == &coil__step_ops)
        coil_future_repr(&coil_container_of(h, coil__task, step)->future, what, sizeof what);
    else
        snprintf(what, sizeof what, "<%s>", h->ops->what);
    int64_t start = coil_loop_time(loop);
    store_relaxed(&loop->timed, true); /* [SET-1] */
    run_quietly(loop, h);
    store_relaxed(&loop->timed, false);
    store_relaxed(&loop->direct, !load_relaxed(&loop->debug)); /* it may have ended debug mode */
    int64_t took = coil_loop_time(loop) - start;
    if (took < load_relaxed(&loop->slow_callback_ns)) /* [SET-1] */
        return;
    if (loop->options.slow_callback_handler)
        loop->options.slow_callback_handler(loop, what, took, loop->options.handler_arg);
    else
        fprintf(stderr, "coil: Executing %s took %.3f seconds\n", what, (double)took / 1e9);
}

void coil__loop_run_handle(coil_loop *loop, coil__handle *h)
{
    if (coil_unlikely(load_relaxed(&loop->debug))) /* [SET-1] */
        run_handle_timed(loop, h);
    else
        run_quietly(loop, h);
}

/* Tasks that have not started go on to each other from the first one's stack. */
static void run_fresh(coil_loop *loop)
{
    coil__task *t = coil__loop_take_fresh(loop);
    if (t)
        coil__loop_run_handle(loop, &t->step);
}

void coil__loop_run_once(coil_loop *loop)
{
    collect(loop);
    coil__loop_begin_snapshot(loop);
    while (loop->last)
        coil__loop_run_handle(loop, coil__loop_pop(loop));
    if (loop->parallel)
        loop->place->run(loop);
    else if (loop->newest_first)
        run_fresh(loop);
}

/* --- running --------------------------------------------------------------------------------------------------------- */

static void set_backend(coil_loop *loop, coil__backend *b)
{
    COIL__GUARD(&loop->backend_latch);
    loop->backend = b;
}

int coil__loop_open_backend(coil_loop *loop)
{
    if (!loop->backend) {
        coil__backend *b;
        int rc = coil__backend_open(loop->options.backend, loop->ring_mode, loop->wake_fd, &b);
        if (rc < 0)
            return rc;
        set_backend(loop, b);
    }
    return loop->backend->ops->attach(loop->backend);
}

/* A backend that cannot be opened is found before anything waits for it. */
int coil__loop_prepare(coil_loop *loop)
{
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    if (coil_loop_is_running(loop))
        return coil_raise(COIL_EBUSY, "This event loop is already running");
    if (coil__current()->loop)
        return coil_raise(COIL_EBUSY, "Cannot run the event loop while another loop is running");
    return loop->backend ? 0 : coil__loop_open_backend(loop);
}

int coil__loop_enter(coil_loop *loop)
{
    coil__current_state *current = coil__current();
    COIL_TRY(coil__loop_open_backend(loop));
    COIL_TRY(coil__stack_watch_thread(&current->stack));
    coil__coro_init_thread(&loop->main);
    loop->current = current;
    loop->failure = 0;
    store_relaxed(&loop->owner, current); /* [OWNER-1] */
    current->loop = loop;
    if (loop->place)
        loop->place->entered(loop);
    return 0;
}

void coil__loop_leave(coil_loop *loop)
{
    loop->backend->ops->detach(loop->backend);
    if (loop->place)
        loop->place->left(loop);
    store_relaxed(&loop->stopping, 0); /* [STOP-1] consumed */
    store_relaxed(&loop->owner, NULL); /* [OWNER-1] */
    loop->current->loop = NULL;
    coil__stack_unwatch_thread();
    coil__step_drop_spare(loop);
}

static int run(coil_loop *loop)
{
    COIL_TRY(coil__loop_enter(loop));
    do
        coil__loop_run_once(loop);
    while (!coil__loop_stopping(loop) && loop->failure == 0);
    coil__loop_leave(loop);
    if (loop->failure < 0)
        return coil_raise(loop->failure, "the event loop's backend failed");
    return 0;
}

int coil_loop_run_forever(coil_loop *loop)
{
    COIL_TRY(coil__loop_prepare(loop));
    return run(loop);
}

static int stop_when_done(coil_future *f, void *arg)
{
    (void)arg;
    if (coil__future_state(f) == COIL__FINISHED)
        coil__future_looked_at(f); /* run_until_complete raises it */
    coil_loop_stop(f->loop);
    return 0;
}

/* @awaitable as a future of this loop, with a reference. */
static int future_of(coil_loop *loop, coil_awaitable awaitable, coil_future **future)
{
    if (!awaitable.future)
        return coil_loop_create_task(loop, awaitable.coro, NULL, future);
    if (awaitable.future->loop != loop)
        return coil_raise(-EINVAL, "The future belongs to a different loop than the one specified as the loop argument");
    *future = coil_retain(awaitable.future);
    return 0;
}

static int run_until_done(coil_loop *loop, coil_future *f)
{
    COIL_TRY(coil_future_add_done_callback(f, stop_when_done, NULL));
    int rc = run(loop);
    coil_future_remove_done_callback(f, stop_when_done, NULL);
    COIL_TRY(rc);
    if (coil__future_pending(f))
        return coil_raise(COIL_ERUNTIME, "Event loop stopped before Future completed.");
    return 0;
}

int coil_loop_run_until_complete_(coil_loop *loop, coil_awaitable awaitable, void **result)
{
    int rc = coil__loop_prepare(loop);
    if (rc < 0) {
        if (!awaitable.future)
            coil_coro_drop(awaitable.coro);
        return rc;
    }
    if (!awaitable.future && !awaitable.coro.fn) {
        coil_coro_drop(awaitable.coro);
        return coil_raise(COIL_ETYPE, "An asyncio.Future, a coroutine or an awaitable is required");
    }
    coil_future *f;
    COIL_TRY(future_of(loop, awaitable, &f));
    rc = run_until_done(loop, f);
    if (rc == 0)
        rc = awaitable.future ? coil_future_result(f, result) : coil_future_take(f, result);
    coil_release(f);
    return rc;
}

/* --- closing --------------------------------------------------------------------------------------------------------- */

static void discard(coil__list *handles)
{
    while (!coil__list_empty(handles)) {
        coil__handle *h = coil__handle_of_node(coil__list_pop(handles));
        h->ops->discard(h);
    }
}

int coil_loop_close(coil_loop *loop)
{
    if (coil_loop_is_running(loop))
        return coil_raise(COIL_EBUSY, "Cannot close a running event loop");
    if (coil__loop_closed(loop))
        return 0;
    if (loop->place)
        loop->place->close(loop);
    store_relaxed(&loop->closed, true); /* [CLOSED-1] */
    coil__signals_close(loop);
    coil__executor_close(loop);         /* no job posts after this */
    coil__loop_take_inbox(loop);
    discard(&loop->ready);
    discard(&loop->fresh);
    coil__timers_discard(loop);
    coil__backend *b = loop->backend;
    if (b) {
        set_backend(loop, NULL);
        b->ops->close(b, &loop->ready);
        discard(&loop->ready);
    }
    return 0;
}

static void destroy(coil_loop *loop)
{
    coil__loop_take_inbox(loop);
    discard(&loop->ready);
    close(loop->wake_fd);
    coil__heap_fini(&loop->timers);
    coil__free(loop->watches);
    coil__free(loop);
}

void coil__loop_unhold(coil_loop *loop)
{
    if (coil_unlikely(loop->place != NULL)) {
        coil__loop_count_shared(loop, -1);
        return;
    }
    coil_debug_assert(loop->objects > 0);
    if (--loop->objects == 0 && loop->freed)
        destroy(loop);
}

void coil_loop_free(coil_loop *loop)
{
    if (!loop)
        return;
    coil_assert(!coil_loop_is_running(loop));
    coil_loop_close(loop);
    coil__current_state *current = coil__current();
    if (current->set_loop == loop)
        current->set_loop = NULL;
    coil__loop_hold(loop);
    coil__step_unwind_all(loop);
    coil__agens_forget(loop);
    coil__endings_run(loop);
    loop->handler = NULL; /* what they point to may be gone when the last future reports */
    loop->options.default_exception_handler = NULL;
    loop->freed = true;
    coil__loop_unhold(loop);
}

/* --- errors, settings -------------------------------------------------------------------------------------------------- */

void coil_loop_default_exception_handler(coil_loop *loop, const coil_exception_context *context)
{
    if (loop->options.default_exception_handler) {
        coil_error_release(coil_catch(loop->options.default_exception_handler(loop, context, loop->options.handler_arg)));
        return;
    }
    char error[512] = "", future[256] = "";
    if (context->error)
        coil_error_format(context->error, error, sizeof error);
    if (context->future)
        coil_future_repr(context->future, future, sizeof future);
    const char *message = context->message && *context->message ? context->message
                                                                 : "Unhandled exception in event loop";
    fprintf(stderr, "coil: %s%s%s%s%s\n", message, *error ? ": " : "", error, *future ? "\n  future: " : "", future);
}

void coil_loop_call_exception_handler(coil_loop *loop, const coil_exception_context *context)
{
    coil_error **slot = coil__error_slot(), *saved = *slot; /* the handler must not disturb who is raising something */
    *slot = NULL;
    void *arg;
    coil_exception_handler *handler = coil_loop_get_exception_handler(loop, &arg);
    if (!handler) {
        coil_loop_default_exception_handler(loop, context);
    } else {
        coil_error *e = coil_catch(handler(loop, context, arg));
        coil_exception_context failed = {.message = "Unhandled error in exception handler", .error = e};
        if (e)
            coil_loop_default_exception_handler(loop, &failed);
        coil_error_release(e);
    }
    slot = coil__error_slot();
    coil_error_release(*slot);
    *slot = saved;
}

void coil__loop_report_callback(coil_loop *loop, int rc)
{
    coil_error *e = coil_catch(rc);
    coil_exception_context context = {.message = "Exception in callback", .error = e};
    coil_loop_call_exception_handler(loop, &context);
    coil_error_release(e);
}

void coil_loop_set_exception_handler(coil_loop *loop, coil_exception_handler *handler, void *arg)
{
    COIL__GUARD(&loop->shared_latch);
    loop->handler = handler;
    loop->handler_arg = arg;
}

coil_exception_handler *coil_loop_get_exception_handler(coil_loop *loop, void **arg)
{
    COIL__GUARD(&loop->shared_latch);
    if (arg)
        *arg = loop->handler_arg;
    return loop->handler;
}

/* A step whose time is taken ends on the main stack, also if it ends debug mode. */
void coil_loop_set_debug(coil_loop *loop, bool debug)
{
    coil_loop *member;
    for (unsigned i = 0; (member = coil__loop_member(loop, i)); i++) {
        store_relaxed(&member->debug, debug); /* [SET-1] */
        store_relaxed(&member->direct, !debug && !load_relaxed(&member->timed));
    }
}

bool coil_loop_get_debug(const coil_loop *loop)
{
    return load_relaxed(&loop->debug); /* [SET-1] */
}

void coil_loop_set_slow_callback_duration(coil_loop *loop, int64_t duration_ns)
{
    coil_loop *member;
    for (unsigned i = 0; (member = coil__loop_member(loop, i)); i++)
        store_relaxed(&member->slow_callback_ns, duration_ns); /* [SET-1] */
}
