/*
 * task.c - tasks: creation, cancellation, names, sleeping
 *
 * How tasks run is in step.c. Source: asyncio.tasks of CPython 3.11.
 */
#include "task.h"

#include <coil/combine.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "context.h"
#include "error.h"
#include "place.h"
#include "sleeper.h"
#include "step.h"

enum { NUMBERS_BLOCK = 1024 };

static _Atomic uint64_t numbers; /* of default names; one sequence a process, as in asyncio */

/* --- class ------------------------------------------------------------------------------------------------------------- */

enum met { MARKED, WAITS, DONE };
enum { CANCELLING_MOST = (1 << 24) - 1, IN_FLIGHT_MOST = (1 << 8) - 1 };

size_t coil__task_count(const coil_loop *loop)
{
    if (coil_likely(!loop->parallel))
        return loop->task_count;
    uint64_t entered = 0, ended = 0;
    for (unsigned i = 0; i < loop->member_count; i++)
        ended += load_acquire(&loop->members[i]->tasks_ended); /* [ROLL-4] acquire: whose end is seen, whose start is */
    for (unsigned i = 0; i < loop->member_count; i++)
        entered += load_relaxed(&loop->members[i]->made.entered); /* [ROLL-4] */
    return entered + load_relaxed(&loop->facade->foreign.entered) - ended;
}

static void mark(coil__task *t, coil_error *message, coil__request *request)
{
    store_relaxed(&t->must_cancel, true); /* [TASK-2] */
    if (t == coil__current()->task)
        t->future.asked |= COIL__ASKED_SELF;
    else if ((t->future.asked & COIL__ASKED_MOST) < COIL__ASKED_MOST)
        t->future.asked++;
    if (request)
        *request = (coil__request){t->future.round, true};
    coil_error_release(t->future.cancel_message);
    t->future.cancel_message = coil_error_retain(message);
}

/* What @t waits for, with a reference; a task that waits for nothing, or is the @last to be looked at, is marked. */
static enum met meet(coil__task *t, coil_error *message, bool first_time, bool last, coil__request *request,
                     coil_future **waiter)
{
    COIL__GUARD(&t->future.latch);
    if (!coil__future_pending(&t->future))
        return DONE;
    if (first_time && t->cancelling < CANCELLING_MOST)
        t->cancelling++;
    if (t->waiter && !last) {
        *waiter = coil_retain(t->waiter);
        return WAITS;
    }
    mark(t, message, request);
    return MARKED;
}

/* What @t was found waiting for refuses to be cancelled: it is done, and @t about to be woken, or woken already. */
static enum met refused(coil__task *t, coil_error *message, coil__request *request, const coil_future *waiter)
{
    COIL__GUARD(&t->future.latch);
    if (!coil__future_pending(&t->future) || (t->waiter && t->waiter != waiter))
        return DONE; /* it has gone on meanwhile */
    mark(t, message, request);
    return MARKED;
}

/*
 * A chain of tasks that await each other is walked, not recursed into: it may be longer than the stack is deep. A pending task
 * never refuses, so that only the last one of the chain is marked. Tasks in a circle are each met once. DONE: the chain has
 * changed under the walk, which another worker only can do. @request is that of the first task.
 */
static enum met cancel_chain(coil_future *f, coil_error *message, bool first_time, coil__request *request)
{
    size_t met = 0, tasks = coil__task_count(f->loop);
    enum met result;
    for (coil_future *at = coil_retain(f), *waiter = NULL;; at = waiter) {
        coil__task *t = coil__task_of(at);
        result = meet(t, message, first_time, met == tasks, request, &waiter);
        bool chained = result == WAITS && waiter->class == &coil__task_class && coil__future_pending(waiter) &&
                       ++met <= tasks;
        if (result == WAITS && !chained) {
            result = coil__future_cancel(waiter, message) ? MARKED : refused(t, message, request, waiter);
            coil_release(waiter);
        }
        coil_release(at);
        if (!chained)
            return result;
        coil__future_looked_at(waiter);
        request = NULL;
    }
}

static bool walk(coil_future *f, coil_error *message, coil__request *request)
{
    bool first_time = true;
    while (coil__future_pending(f)) {
        if (cancel_chain(f, message, first_time, request) == MARKED)
            return true;
        first_time = false;
    }
    return false;
}

static bool count_in_flight(coil__task *t)
{
    COIL__GUARD(&t->future.latch);
    bool counted = t->in_flight < IN_FLIGHT_MOST;
    t->in_flight += counted;
    return counted;
}

static bool cancel(coil_future *f, coil_error *message, coil__request *request)
{
    coil__task *t = coil__task_of(f);
    coil__future_looked_at(f);
    bool counted = count_in_flight(t), cancelled = walk(f, message, request);
    COIL__GUARD(&f->latch);
    t->in_flight -= counted;
    return cancelled;
}

static bool task_cancel(coil_future *f, coil_error *message)
{
    return cancel(f, message, NULL);
}

bool coil__task_request(coil__task *t, coil__request *request)
{
    request->marked = false;
    return cancel(&t->future, NULL, request);
}

bool coil__task_withdraw(coil__task *t, coil__request *request)
{
    COIL__GUARD(&t->future.latch);
    bool open = request->marked && request->round == t->future.round && load_relaxed(&t->must_cancel); /* [TASK-2] */
    request->marked = false;
    if (open && (t->future.asked & COIL__ASKED_MOST) < COIL__ASKED_MOST && --t->future.asked == 0)
        store_relaxed(&t->must_cancel, false); /* [TASK-2] nobody else has asked */
    return open;
}

static bool count_met(coil__task *t, unsigned *met)
{
    COIL__GUARD(&t->future.latch);
    unsigned unmet = t->future.asked & COIL__ASKED_MOST;
    *met = t->cancelling > unmet ? t->cancelling - unmet : 0;
    return t->in_flight == 0;
}

/* A request in flight has found the task waiting: it has woken it, or is about to see that it runs. */
unsigned coil__task_cancelling_met(coil__task *t)
{
    unsigned met;
    while (!count_met(t, &met))
        sched_yield();
    return met;
}

static void task_free(coil_future *f)
{
    coil__task *t = coil__task_of(f);
    coil_debug_assert(!coil__node_linked(&t->all));
    coil_context_release(t->step.context);
    coil__error_drop(t->error);
    coil__error_drop(t->thrown);
    if (t->name)
        coil__free(t->name);
    coil__future_fini(f);
    coil__object_free(t, sizeof *t);
}

const coil__future_class coil__task_class = {.name = "Task", .cancel = task_cancel, .free = task_free};

/* --- creation ---------------------------------------------------------------------------------------------------------- */

static const coil_task_options defaults = {.size = sizeof defaults};

static int check_options(const coil_loop *loop, const coil_task_options *o)
{
    if (o->size != sizeof *o)
        return coil_raise(-EINVAL, "coil_task_options.size is %zu, not %zu", o->size, sizeof *o);
    if (o->stack_bytes > COIL_STACK_BYTES_MAX)
        return coil_raise(-EINVAL, "a stack of %zu bytes is too large", o->stack_bytes);
    if (o->migration > COIL_PINNED)
        return coil_raise(-EINVAL, "unknown migration %d", (int)o->migration);
    if (o->worker > (loop->place ? loop->member_count : 1))
        return coil_raise(-EINVAL, "there is no worker number %u", o->worker - 1);
    if (o->worker > 0 && o->migration != COIL_PINNED)
        return coil_raise(-EINVAL, "only a pinned task belongs to a chosen worker");
    return 0;
}

/* The coroutine's argument, copied if it asks for that. */
static int take_arg(coil__task *t, const coil_coro *coro)
{
    t->fn = coro->fn;
    t->arg = coro->arg;
    t->drop = coro->drop;
    t->fn_name = coro->name;
    t->copy_bytes = (uint32_t)coro->copy_bytes;
    if (coro->copy_bytes == 0)
        return 0;
    if (coro->copy_bytes > UINT32_MAX || !(t->arg = coil__sized_alloc(coro->copy_bytes)))
        return coil_raise(-ENOMEM, NULL);
    memcpy(t->arg, coro->arg, coro->copy_bytes);
    return 0;
}

static void free_copy(coil__task *t)
{
    if (t->copy_bytes > 0)
        coil__sized_free(t->arg, t->copy_bytes);
}

static uint32_t stack_bytes_for(const coil_loop *loop, const coil_task_options *o)
{
    size_t bytes = o->stack_bytes ? o->stack_bytes : loop->options.stack_bytes;
    return (uint32_t)(bytes ? bytes : COIL_STACK_BYTES_DEFAULT);
}

static void init_plain_fields(coil__task *t, coil_loop *loop, const coil_task_options *o)
{
    coil__future_init_uncounted(&t->future, &coil__task_class, loop);
    coil__handle_init(&t->step, &coil__step_ops);
    coil__node_init(&t->all);
    t->coro.stack = NULL;
    t->coro.fp_control = o->save_fp_control;
    t->top = NULL;
    t->waiter = NULL;
    t->error = t->thrown = NULL;
    t->name = NULL;
    t->number = 0;
    t->stack_bytes = stack_bytes_for(loop, o);
    t->cancelling = 0;
    t->in_flight = 0;
    t->open_scopes = 0;
    t->pins = 0;
    t->migration = (unsigned)o->migration & 3;
    t->home = (uint8_t)(o->worker ? o->worker - 1 : loop->index);
    store_relaxed(&t->must_cancel, false); /* [TASK-2] not shared yet */
    t->must_exit = t->dying = false;
    t->raised_in = 0;
}

/* Fills in what may fail. */
static int init_owned_fields(coil__task *t, const coil_coro *coro, const coil_task_options *o)
{
    int rc = take_arg(t, coro);
    COIL_TRY(rc);
    t->step.context = coil__context_for(o->context, &rc);
    if (rc == 0 && o->name && !(t->name = coil__strdup(o->name)))
        rc = coil_raise(-ENOMEM, NULL);
    if (rc < 0)
        free_copy(t);
    return rc;
}

static int check_creatable(const coil_loop *loop, const coil_coro *coro, const coil_task_options *o)
{
    if (!coro->fn)
        return coil_raise(COIL_ETYPE, "a coroutine was expected");
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    return o == &defaults ? 0 : check_options(loop, o);
}

/* A worker takes numbers by the block: else all workers would meet at the count. */
static uint64_t next_number(coil_loop *here)
{
    /* [TASK-1] relaxed: only distinct numbers are asked for */
    if (coil_likely(!here->place))
        return fetch_add_relaxed(&numbers, 1) + 1;
    if (here->numbers_left == 0) {
        here->numbers_left = NUMBERS_BLOCK;
        here->last_number = fetch_add_relaxed(&numbers, NUMBERS_BLOCK); /* [TASK-1] */
    }
    here->numbers_left--;
    return ++here->last_number;
}

/* Of several workers, or from outside of them. */
static int enter_roll(coil_loop *here, bool own, coil__task *t)
{
    if (own)
        return coil__roll_enter(&here->made, t);
    COIL__GUARD(&here->tasks_latch);
    return coil__roll_enter(&here->foreign, t);
}

/* Among the loop's tasks; step.c takes it out. -ENOMEM without raising. */
static int enter(coil_loop *here, bool own, coil__task *t)
{
    if (coil_unlikely(here->parallel))
        return enter_roll(here, own, t);
    coil__list_append(&here->tasks, &t->all);
    here->task_count++;
    return 0;
}

/* There is no memory for its place among the loop's tasks. */
static __attribute__((cold)) int unmake(coil__task *t)
{
    free_copy(t);
    store_relaxed(&t->future.refs, 1); /* [REF-1] never shared */
    coil_release(&t->future);
    return coil_raise(-ENOMEM, NULL);
}

/* @own: this thread runs @here. One of the @references is the loop's. */
static int make(coil_loop *here, bool own, const coil_coro *coro, const coil_task_options *o, bool numbered,
                uint32_t references, coil__task **task)
{
    COIL_TRY(check_creatable(here, coro, o));
    coil__task *t = coil__object_alloc(sizeof *t);
    if (!t)
        return coil_raise(-ENOMEM, NULL);
    init_plain_fields(t, here, o);
    if (own)
        here->objects++;
    else
        coil__loop_hold(here);
    int rc = init_owned_fields(t, coro, o);
    if (rc < 0) {
        coil_release(&t->future);
        return rc;
    }
    if (numbered)
        t->number = next_number(here);
    store_relaxed(&t->future.refs, references); /* [REF-1] not shared yet */
    if (coil_unlikely(enter(here, own, t) < 0))
        return unmake(t);
    *task = t;
    return 0;
}

static void schedule(coil_loop *here, bool own, coil__task *t)
{
    if (own && coil_unlikely(here->parallel) && coil_likely(!coil__task_pinned(t)))
        here->place->spawned(here, t);
    else if (here->newest_first)
        coil__list_prepend(&here->fresh, &t->step.node);
    else
        coil__loop_ready(here, &t->step);
}

/* @numbered: whether it takes a number although it has a name. */
static int create(coil_loop *here, bool own, const coil_coro *coro, const coil_task_options *options, bool numbered,
                  coil_task **task)
{
    coil__task *t = NULL;
    const coil_task_options *o = options ? options : &defaults;
    int rc = make(here, own, coro, o, numbered || !o->name, task ? 2 : 1, &t);
    if (rc < 0) {
        coil_coro_drop(*coro);
        return rc;
    }
    if (task)
        *task = &t->future;
    if (coil_unlikely(load_relaxed(&here->debug)) && here->task_watch) /* [SET-1] */
        here->task_watch(&t->future, here->task_watch_arg);
    schedule(here, own, t);
    return 0;
}

int coil_loop_create_task(coil_loop *loop, coil_coro coro, const coil_task_options *options, coil_task **task)
{
    coil_loop *own = coil__current()->loop;
    if (own && own->facade == loop->facade)
        return create(own, true, &coro, options, false, task);
    return create(loop->facade, false, &coro, options, false, task);
}

static int create_here(const coil_coro *coro, const coil_task_options *options, coil_task **task)
{
    coil_loop *own = coil__current()->loop;
    if (coil_likely(own != NULL))
        return create(own, true, coro, options, true, task);
    coil_coro_drop(*coro);
    return coil_raise(COIL_ENOLOOP, "no running event loop");
}

int coil_create_task_with(coil_coro coro, const coil_task_options *options, coil_task **task)
{
    return create_here(&coro, options, task);
}

int coil_create_task(coil_coro coro, coil_task **task)
{
    return create_here(&coro, NULL, task);
}

int coil__loop_ensure_future(coil_loop *loop, coil_awaitable awaitable, coil_future **future)
{
    if (awaitable.future) {
        if (loop && awaitable.future->loop != loop)
            return coil_raise(-EINVAL,
                              "The future belongs to a different loop than the one specified as the loop argument");
        *future = coil_retain(awaitable.future);
        return 0;
    }
    if (!awaitable.coro.fn) {
        coil_coro_drop(awaitable.coro);
        return coil_raise(COIL_ETYPE, "An asyncio.Future, a coroutine or an awaitable is required");
    }
    if (!loop && !(loop = coil_get_event_loop())) {
        coil_coro_drop(awaitable.coro);
        return COIL_ENOLOOP;
    }
    return coil_loop_create_task(loop, awaitable.coro, NULL, future);
}

int coil_ensure_future_(coil_awaitable awaitable, coil_future **future)
{
    return coil__loop_ensure_future(NULL, awaitable, future);
}

/* --- looking ----------------------------------------------------------------------------------------------------------- */

coil_task *coil_current_task(void)
{
    coil__current_state *current = coil__current();
    if (!current->loop)
        coil_raise(COIL_ENOLOOP, "no running event loop");
    return current->task ? &current->task->future : NULL;
}

coil__task *coil__task_current(void)
{
    return coil__current()->task;
}

__attribute__((cold)) int coil__task_missing(void)
{
    if (coil__current()->loop)
        return coil_raise(COIL_ERUNTIME, "a call that suspends needs a task: callbacks cannot wait");
    return coil_raise(COIL_ENOLOOP, "no running event loop");
}

void coil__task_close_scope(void)
{
    coil__task *t = coil__current()->task;
    if (!t)
        return; /* a generator is being unwound */
    coil_assert(t->open_scopes > 0);
    t->open_scopes--;
}

static size_t look_at_list(const coil_loop *loop, coil_task **all)
{
    size_t n = 0;
    coil__list_foreach_safe(&loop->tasks, node, next) {
        coil_future *f = &coil_container_of(node, coil__task, all)->future;
        if (coil__future_pending(f))
            all[n++] = coil_retain(f);
    }
    return n;
}

static size_t look_at_roll(const coil__roll *roll, coil_task **all, size_t room, size_t n)
{
    return n + coil__roll_look(roll, n < room ? all + n : NULL, n < room ? room - n : 0);
}

/* How many tasks there are that are not done; the first @room of them are stored. */
static size_t look(coil_loop *facade, coil_task **all, size_t room)
{
    if (coil_likely(!facade->parallel))
        return look_at_list(facade, all);
    COIL__GUARD(&facade->tasks_latch);
    coil__roll_begin_look(&facade->lookers);
    size_t n = 0;
    for (unsigned i = 0; i < facade->member_count; i++)
        n = look_at_roll(&facade->members[i]->made, all, room, n);
    n = look_at_roll(&facade->foreign, all, room, n);
    coil__roll_end_look(&facade->lookers);
    return n;
}

int coil_all_tasks(coil_loop *loop, coil_task ***tasks, size_t *n)
{
    for (size_t room = coil__task_count(loop), count;; room = count + count / 4) {
        coil_task **all = coil__malloc((room + 1) * sizeof *all);
        if (!all)
            return coil_raise(-ENOMEM, NULL);
        count = look(loop->facade, all, room);
        if (coil_likely(count <= room)) {
            *tasks = all;
            *n = count;
            return 0;
        }
        coil_tasks_free(all, room); /* others have made more of them meanwhile */
    }
}

void coil_tasks_free(coil_task **tasks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_release(tasks[i]);
    coil__free(tasks);
}

unsigned coil_task_cancelling(const coil_task *task)
{
    coil_assert(task->class == &coil__task_class);
    coil__task *t = coil__task_of((coil_future *)(uintptr_t)task); /* const for the caller; the latch is taken */
    COIL__GUARD(&t->future.latch);
    return t->cancelling;
}

unsigned coil_task_uncancel(coil_task *task)
{
    coil_assert(task->class == &coil__task_class);
    coil__task *t = coil__task_of(task);
    COIL__GUARD(&t->future.latch);
    if (t->cancelling > 0)
        t->cancelling--;
    return t->cancelling;
}

void coil_task_set_result_drop(coil_task *task, void (*drop)(void *))
{
    coil_assert(task->class == &coil__task_class);
    coil_assert(coil__future_pending(task));
    store_relaxed(&task->drop, drop); /* [FUT-3] before the state, which publishes it */
}

/* --- pinning ----------------------------------------------------------------------------------------------------------- */

void coil_pin(void)
{
    coil__current_state *current = coil__current();
    coil__task *t = current->task;
    coil_assert(t && "call coil_pin() inside a task: it is the running one that it pins");
    if (!coil__task_pinned(t))
        t->home = (uint8_t)current->loop->index;
    t->pins++;
    coil_assert(t->pins > 0 && "coil_pin() nests 65,535 deep at most");
}

void coil_unpin(void)
{
    coil__task *t = coil__task_current();
    coil_assert(t && "call coil_unpin() inside the task that called coil_pin()");
    coil_assert(t->pins > 0 && "coil_unpin() without its coil_pin()");
    t->pins--;
}

/* --- names ------------------------------------------------------------------------------------------------------------- */

void coil__task_copy_name(const coil__task *t, char *buf, size_t size)
{
    if (t->name)
        snprintf(buf, size, "%s", t->name);
    else
        snprintf(buf, size, "Task-%llu", (unsigned long long)t->number);
}

const char *coil_task_get_name(coil_task *task)
{
    coil_assert(task->class == &coil__task_class);
    coil__task *t = coil__task_of(task);
    COIL__GUARD(&task->latch);
    if (!t->name) {
        char name[32];
        coil__task_copy_name(t, name, sizeof name);
        t->name = coil__strdup(name);
    }
    return t->name ? t->name : "";
}

int coil_task_set_name(coil_task *task, const char *name)
{
    coil_assert(task->class == &coil__task_class);
    char *copy = coil__strdup(name);
    if (!copy)
        return coil_raise(-ENOMEM, NULL);
    coil__task *t = coil__task_of(task);
    {
        COIL__GUARD(&task->latch);
        char *before = t->name;
        t->name = copy;
        copy = before;
    }
    coil__free(copy);
    return 0;
}

static size_t append(char *buf, size_t size, size_t at, const char *text)
{
    return at + (size_t)snprintf(at < size ? buf + at : NULL, at < size ? size - at : 0, "%s", text);
}

static const char *state_word(const coil_future *f)
{
    enum coil__future_state state = coil__future_state(f);
    if (state == COIL__PENDING)
        return f->class == &coil__task_class &&
                       load_relaxed(&coil_container_of(f, const coil__task, future)->must_cancel) /* [TASK-2] */
                   ? "cancelling"
                   : "pending";
    return state == COIL__CANCELLED ? "cancelled" : "finished";
}

size_t coil_future_repr(coil_future *f, char *buf, size_t size)
{
    char part[256];
    COIL__GUARD(&f->latch);
    enum coil__future_state state = coil__future_state(f);
    snprintf(part, sizeof part, "<%s %s", f->class->name, state_word(f));
    size_t n = append(buf, size, 0, part);
    if (f->class == &coil__task_class) {
        coil__task *t = coil__task_of(f);
        char name[128];
        coil__task_copy_name(t, name, sizeof name);
        snprintf(part, sizeof part, " name='%s' fn=%s", name, t->fn_name ? t->fn_name : "?");
        n = append(buf, size, n, part);
        if (t->waiter) {
            snprintf(part, sizeof part, " wait_for=<%s %s>", t->waiter->class->name, state_word(t->waiter));
            n = append(buf, size, n, part);
        }
    }
    if (state == COIL__FINISHED && f->error) {
        n = append(buf, size, n, " exception=");
        coil_error_format(f->error, part, sizeof part);
        n = append(buf, size, n, part);
    } else if (state == COIL__FINISHED) {
        snprintf(part, sizeof part, " result=%p", f->value);
        n = append(buf, size, n, part);
    }
    return append(buf, size, n, ">");
}

/* --- awaiting and sleeping ---------------------------------------------------------------------------------------------- */

int coil_join(coil_future *f, void **result)
{
    int rc = coil_await(f, NULL);
    coil_future *owner = coil_likely(!f->class->owner) ? f : coil__future_value_owner(f);
    if (rc == 0 && result && coil_gather_outcomes(owner, NULL))
        rc = coil_raise(COIL_ETYPE, "a gathering future's outcomes go with it: use coil_await, then coil_release");
    if (coil_likely(rc == 0) && coil_likely(!load_acquire(&f->drop)) && owner == f) { /* [FUT-3] */
        if (result) /* a borrowed value: nothing to be moved out */
            *result = f->value;
    } else if (rc == 0) {
        rc = coil_future_take(f, result);
    }
    coil_release(f);
    return rc;
}

static int sleep_for(coil_loop *loop, int64_t delay_ns)
{
    coil__sleeper *s = coil__sleeper_new(loop, &coil__sleep_ops);
    if (!s)
        return -ENOMEM;
    int rc = coil__sleeper_arm(s, delay_ns);
    if (rc == 0)
        rc = coil_await(&s->future, NULL);
    coil__sleeper_disarm(s);
    coil_release(&s->future);
    return rc;
}

int coil_sleep(int64_t delay_ns)
{
    coil__task *t = coil__task_current();
    if (!t)
        return coil__task_missing();
    if (delay_ns <= 0)
        return coil__task_yield(t);
    if (coil_unlikely(t->dying))
        return coil_raise(COIL_EGENERATOREXIT, NULL);
    return sleep_for(t->future.loop, delay_ns);
}

struct sleep_args {
    int64_t delay_ns;
    void *result;
};

static int sleep_body(void *arg, void **result)
{
    struct sleep_args a = *(struct sleep_args *)arg;
    coil__free(arg);
    COIL_TRY(coil_sleep(a.delay_ns));
    *result = a.result;
    return 0;
}

/* Without memory for the arguments: a coroutine that says so when it runs. */
static int no_memory_body(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return coil_raise(-ENOMEM, NULL);
}

coil_coro coil__coro_without_memory(const char *name)
{
    return coil_coro_make(no_memory_body, NULL, NULL, 0, name);
}

coil_coro coil_sleep_coro(int64_t delay_ns, void *result)
{
    struct sleep_args *a = coil__malloc(sizeof *a);
    if (!a)
        return coil__coro_without_memory("coil_sleep");
    *a = (struct sleep_args){delay_ns, result};
    return coil_coro_make(sleep_body, a, coil__free, 0, "coil_sleep");
}

static void release_future(void *f)
{
    coil_release(f);
}

static int await_body(void *arg, void **result)
{
    coil_future *f = arg;
    int rc = coil_await(f, result);
    if (rc == 0 && load_relaxed(&f->refs) == 1) /* [REF-1] nobody else will look */
        rc = coil_future_take(f, result);
    coil_release(f);
    return rc;
}

coil_coro coil_await_coro(coil_future *future)
{
    return coil_coro_make(await_body, coil_retain(future), release_future, 0, "coil_await");
}

static int run_here(coil_coro coro, void **result)
{
    if (coro.copy_bytes == 0)
        return coro.fn(coro.arg, result);
    void *copy = coil__malloc(coro.copy_bytes);
    if (!copy)
        return coil_raise(-ENOMEM, NULL);
    int rc = coro.fn(memcpy(copy, coro.arg, coro.copy_bytes), result);
    coil__free(copy);
    return rc;
}

int coil_coro_await(coil_coro coro, void **result)
{
    bool here = coil__task_current() != NULL;
    if (!here || !coro.fn) {
        coil_coro_drop(coro);
        return here ? coil_raise(COIL_ETYPE, "a coroutine was expected") : coil__task_missing();
    }
    void *value = NULL;
    int rc = run_here(coro, &value);
    if (rc >= 0 && result)
        *result = value;
    return rc < 0 ? rc : 0;
}
