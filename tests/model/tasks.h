/*
 * tasks.h - tasks, futures and workers in a model: src/future.c, step.c, task.c, roll.c and loop.c themselves
 *
 * Included once, by a model of what they do. Model threads 0 and 1 are the workers of a runtime, others are not. Tasks
 * run on stacks of their own, and the switches between them are real: what was suspended in one worker's thread
 * goes on in the other's. Replaced are the run queues (each task has an event, which is signalled when it can
 * run, so that whoever waits for it takes the task), memory (what is made is static), and the variable that knows
 * what a thread runs.
 *
 * I1 `queued`: the task is in a run queue; it is not put there twice, and not while its stack is in use. Handed over by
 *    `turn`
 * I2 `in_use`: so many run on the stack; nobody else is switched there. To count it is a step, which orders nothing
 */
#ifndef COIL_MODEL_TASKS_H
#define COIL_MODEL_TASKS_H

#include <stdalign.h>

#include "base/alloc.h"
#include "base/coro.h"
#include "task.h"
#include "timer.h"

#include "model_test.h"

enum { WORKERS = 2, TASKS = 2, FUTURES = 2, OBJECTS = 2 };

/* --- what the sources see of the world -------------------------------------------------------------------------- */

/* What is left out of the code, to see that it was needed. */
static struct {
    bool registers_blindly; /* who registers a task does not look at the future again, under its latch */
    bool registers_early;   /* it is registered before its stack is left */
    bool marks_blindly;     /* a refused cancellation marks the task without looking whether it has gone on */
    bool disarms_blindly;   /* who disarms a sleeper's timer does not heed whether it was armed */
} lacks;

static void change_stacks(const coil__coro *from, const coil__coro *to);

static inline void model_switch(coil__coro *from, coil__coro *to)
{
    change_stacks(from, to);
    coil__coro_switch(from, to);
}

static inline _Noreturn void model_leave(coil__coro *from, coil__coro *to)
{
    change_stacks(from, to);
    coil__coro_leave(from, to);
}

/* Objects: of one kind in a model, so that they have one size. */
static struct {
    alignas(64) char bytes[COIL_OBJECT_BYTES_MAX];
} objects[OBJECTS];
static unsigned objects_made, objects_freed;

static void *model_object_alloc(size_t bytes)
{
    coil_assert(bytes <= COIL_OBJECT_BYTES_MAX && objects_made < OBJECTS);
    return &objects[objects_made++];
}

static void model_object_free(void *p, size_t bytes)
{
    objects_freed++;
    model_free(p, bytes);
}

static bool mark_blindly(coil__task *t, coil_error *message, coil__request *request);

#define coil__object_alloc model_object_alloc
#define coil__object_free model_object_free
#include "src/future.c"

#define coil__coro_switch model_switch
#define coil__coro_leave model_leave
#define coil__stack_free(stack) ((void)(stack)) /* they are the model's */
#define coil__future_pending(f) \
    ((lacks.registers_blindly && strcmp(__func__, "register_waiter") == 0) || coil__future_pending(f))
#include "src/step.c"
#undef coil__future_pending
#undef coil__stack_free
#undef coil__coro_leave
#undef coil__coro_switch

#define coil__future_cancel(f, message) /* in cancel_chain(), what follows a refusal */ \
    (coil__future_cancel(f, message) || (lacks.marks_blindly && mark_blindly(t, message, request)))
#include "src/task.c"
#undef coil__future_cancel

#define coil__timer_disarm(loop, timer) (coil__timer_disarm(loop, timer) || lacks.disarms_blindly)
#include "src/sleeper.c"
#undef coil__timer_disarm

#define COIL_ROLL_SLOTS 2
#include "src/roll.c"

#define check_options check_loop_options
#include "src/loop.c"
#undef check_options

static bool mark_blindly(coil__task *t, coil_error *message, coil__request *request)
{
    COIL__GUARD(&t->future.latch);
    mark(t, message, request);
    return true;
}

static coil__current_state currents[MODEL_THREADS_MAX + 1];

coil__current_state *coil__current(void)
{
    return &currents[model_thread()];
}

void coil__current_own(coil__current_state *current)
{
    (void)current;
}

/* --- tasks and workers ------------------------------------------------------------------------------------------ */

static coil_loop loops[WORKERS];
static coil_future futures[FUTURES];
static struct model_task {
    coil__task task;
    coil__stack *stack;
    bool queued; /* I1 */
    _Atomic uint32_t in_use; /* I2 */
    model_event turn;
} tasks[TASKS];

static struct model_task *user_of(const coil__stack *stack)
{
    for (unsigned i = 0; stack && i < TASKS; i++) {
        if (tasks[i].stack == stack)
            return &tasks[i];
    }
    return NULL; /* a thread's own */
}

static void change_stacks(const coil__coro *from, const coil__coro *to)
{
    if (user_of(from->stack))
        fetch_add_relaxed(&user_of(from->stack)->in_use, UINT32_MAX); /* I2 */
    if (user_of(to->stack))
        model_assert(fetch_add_relaxed(&user_of(to->stack)->in_use, 1) == 0); /* I2 */
}

static void make_runnable(coil__task *t)
{
    struct model_task *m = coil_container_of(t, struct model_task, task);
    model_assert(!m->queued); /* I1 */
    model_assert(load_relaxed(&m->in_use) == 0); /* I1 */
    m->queued = true;
    model_signal(&m->turn);
}

static void make_runnable_here(coil_loop *here, coil__task *t)
{
    (void)here;
    make_runnable(t);
}

/* The task that is left hands over to the main stack. */
static coil__task *next_task(coil_loop *here)
{
    if (lacks.registers_early && here->leaving)
        coil__step_settle(here);
    return NULL;
}

static const struct coil__place model_place = {
    .spawned = make_runnable_here,
    .woken = make_runnable_here,
    .yielded = make_runnable_here,
    .injected = make_runnable_here,
    .next = next_task,
};

/* By a worker, on its main stack. */
static void run_task(struct model_task *m)
{
    m->queued = false;
    coil__step_run(&loops[model_thread()], &m->task);
}

/* Runs the task whenever it can run, until the model ends. */
static COIL_TEST_UNUSED void serve(struct model_task *m)
{
    for (;;) {
        model_sleep(&m->turn);
        run_task(m);
    }
}

/* --- setup ------------------------------------------------------------------------------------------------------ */

static void future_gone(coil_future *f)
{
    model_assert(coil__list_empty(&f->callbacks));
    model_free(f, sizeof *f);
}

static const coil__future_class future_class = {.name = "Future", .cancel = plain_cancel, .free = future_gone};

static int64_t time_zero(coil_clock *clock)
{
    (void)clock;
    return 0;
}

static void setup_workers(void)
{
    static coil_clock still = {.now = time_zero};
    static coil_loop *members[WORKERS];
    coil__list left;
    coil__list_init(&left);
    coil__roll_fold(&loops[0].made, &left); /* of the run before: its memory */
    memset(loops, 0, sizeof loops);
    memset(currents, 0, sizeof currents);
    for (unsigned w = 0; w < WORKERS; w++) {
        coil_loop *loop = members[w] = &loops[w];
        currents[w].loop = loop;
        loop->current = &currents[w];
        loop->facade = &loops[0];
        loop->members = members;
        loop->member_count = 1; /* to count tasks: none is made by the second; those that it ends count on */
        loop->index = w;
        loop->place = &model_place;
        loop->clock = &still;
        loop->parallel = true;
        store_relaxed(&loop->direct, true);
        coil__list_init(&loop->ready);
        coil__list_init(&loop->fresh);
        coil__list_init(&loop->tasks);
        coil__coro_init_thread(&loop->main);
    }
    model_latch(loops[0].tasks_latch);
    model_latch(loops[0].timers_latch);
}

/* @references: of those who complete it, and of the tasks that wait for it, which each gives back. */
static COIL_TEST_UNUSED void setup_future(unsigned i, uint32_t references)
{
    coil__future_init_uncounted(&futures[i], &future_class, &loops[0]);
    store_relaxed(&futures[i].refs, references);
}

/* A task that can be switched to, and runs @body. The model has a reference. */
static COIL_TEST_UNUSED void setup_task(unsigned i, coil_coro_fn *body)
{
    coil__task *t = &tasks[i].task;
    if (!tasks[i].stack)
        tasks[i].stack = coil__stack_alloc(COIL_STACK_BYTES_DEFAULT, NULL);
    init_plain_fields(t, &loops[0], &defaults);
    t->fn = body;
    t->fn_name = "body";
    t->arg = NULL;
    t->drop = NULL;
    t->copy_bytes = 0;
    store_relaxed(&t->future.refs, 2);
    coil__stack_reuse(tasks[i].stack);
    coil__coro_init(&t->coro, tasks[i].stack, false, task_entry, t);
    t->top = &t->coro;
    coil_assert(enter(&loops[0], true, t) == 0);
    tasks[i].queued = true; /* for its first step */
    store_relaxed(&tasks[i].in_use, 0);
    tasks[i].turn.count = 0;
}

static void setup_world(void)
{
    store_relaxed(&coil__parallel, 1);
    memset(&lacks, 0, sizeof lacks);
    objects_made = objects_freed = 0;
    setup_workers();
    model_latch(futures[0].latch);
    model_latch(futures[1].latch);
    model_latch(tasks[0].task.future.latch);
    model_latch(tasks[1].task.future.latch);
    model_name(futures[0].state);
    model_count(futures[0].refs);
    model_name(futures[1].state);
    model_count(futures[1].refs);
    model_name(futures[0].notice);
    model_name(futures[1].notice);
    model_name(tasks[0].task.future.state);
    model_count(tasks[0].task.future.refs);
    model_name(tasks[0].task.future.notice);
    model_name(tasks[0].task.must_cancel);
    model_name(tasks[0].in_use);
    model_name(tasks[0].turn);
    model_name(tasks[1].task.future.state);
    model_count(tasks[1].task.future.refs);
    model_name(tasks[1].task.must_cancel);
    model_name(tasks[1].turn);
}

#endif
