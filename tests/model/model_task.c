/*
 * model_task.c - every interleaving of a task that suspends and goes on, of what completes that which it waits for,
 * and of who cancels it (src/place.h, step.c, task.c, future.c)
 *
 * What must hold: for each suspension the task is made runnable once, and not before its stack is free (I1 and I2 of
 * tasks.h). A request to cancel that was accepted is delivered, once; one that was not changes nothing. What is
 * awaited may go when the task has taken notice of it. What was written before a future was completed is there for who
 * awaits it.
 *
 * Three threads with all that they do are too many interleavings for a test; the models share that out among them.
 */
#include "tasks.h"

static _Atomic int content[FUTURES]; /* a relaxed store, before the future is completed */
static unsigned accepted;            /* requests */
static unsigned met;                 /* cancellations, by the body of the first task */

/* --- what tasks do ---------------------------------------------------------------------------------------------- */

static int await_future(unsigned i)
{
    int rc = coil_await(&futures[i], NULL);
    model_assert(rc == 0 ? load_relaxed(&content[i]) == 1 : rc == -ECANCELED);
    coil_release(&futures[i]);
    return rc;
}

static int await_one(void *arg, void **result)
{
    (void)arg, (void)result;
    int rc = await_future(0);
    met += rc < 0;
    return rc;
}

static int await_two_unless_cancelled(void *arg, void **result)
{
    int rc = await_one(arg, result);
    if (rc < 0)
        return rc;
    rc = await_future(1);
    met += rc < 0;
    return rc;
}

/* Goes on after a cancellation, so that one which is delivered twice is noticed. */
static int await_two(void *arg, void **result)
{
    await_one(arg, result);
    met += await_future(1) < 0;
    return 0;
}

/* The second half of await_one(): the model begins in its middle. */
static int go_on(void *arg, void **result)
{
    (void)arg, (void)result;
    int rc = begin_step(coil__task_current());
    met += rc < 0;
    coil_release(&futures[0]);
    return rc;
}

static int yield_twice(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 2; i++)
        met += coil__task_yield(coil__task_current()) < 0;
    return 0;
}

static int await_task(void *arg, void **result)
{
    (void)arg, (void)result;
    int rc = coil_await(&tasks[1].task.future, NULL);
    met += rc < 0;
    return rc;
}

static int be_awaited(void *arg, void **result)
{
    (void)arg, (void)result;
    return await_future(0);
}

static int return_at_once(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

static void run_first(void)
{
    run_task(&tasks[0]);
    serve(&tasks[0]);
}

static void run_second(void)
{
    run_task(&tasks[1]);
    serve(&tasks[1]);
}

static void serve_first(void)
{
    serve(&tasks[0]);
}

static void complete_future(unsigned i)
{
    store_relaxed(&content[i], 1);
    coil__future_finish(&futures[i], NULL, NULL);
    coil_release(&futures[i]);
}

static void complete_first(void)
{
    complete_future(0);
}

static void complete_and_serve(void)
{
    complete_future(0);
    serve(&tasks[0]);
}

static void cancel_task(void)
{
    accepted += coil_future_cancel(&tasks[0].task.future, NULL);
}

static void cancel_twice(void)
{
    cancel_task();
    cancel_task();
}

static void cancel_and_complete(void)
{
    cancel_task();
    complete_future(0);
    complete_future(1);
}

static void cancel_between_completions(void)
{
    complete_future(0);
    cancel_task();
    complete_future(1);
}

/* --- what must hold in the end ---------------------------------------------------------------------------------- */

static void is_done(unsigned i)
{
    model_assert(!coil__future_pending(&tasks[i].task.future));
    model_assert(load_relaxed(&tasks[i].task.future.refs) == 1);
}

static void each_request_was_delivered_once(void)
{
    is_done(0);
    bool after_the_body = met == 0 && coil_future_cancelled(&tasks[0].task.future);
    model_assert(met + after_the_body == accepted);
}

/* Several requests may meet the task in one step. */
static void it_is_cancelled_if_that_was_accepted(void)
{
    is_done(0);
    model_assert(met <= 1);
    model_assert(coil_future_cancelled(&tasks[0].task.future) == (accepted > 0));
}

static void both_are_done(void)
{
    is_done(1);
    it_is_cancelled_if_that_was_accepted();
}

static void it_was_cancelled_once(void)
{
    each_request_was_delivered_once();
    model_assert(accepted == 1);
}

static void it_is_done_and_the_future_gone(void)
{
    is_done(0);
    model_assert(model_freed(&futures[0]));
}

/* --- setups ----------------------------------------------------------------------------------------------------- */

static void setup(coil_coro_fn *body)
{
    setup_world();
    setup_task(0, body);
    for (unsigned i = 0; i < FUTURES; i++) {
        setup_future(i, 2);
        store_relaxed(&content[i], 0);
    }
    model_name(content[0]);
    model_name(content[1]);
    accepted = met = 0;
}

static void awaits_one(void)
{
    setup(await_one);
}

static void awaits_two(void)
{
    setup(await_two);
}

static void awaits_two_unless_cancelled(void)
{
    setup(await_two_unless_cancelled);
}

static void waits(void)
{
    setup(go_on);
    tasks[0].queued = false;
    tasks[0].task.waiter = &futures[0];
    coil__list_append(&futures[0].callbacks, &tasks[0].task.step.node);
}

static void yields(void)
{
    setup(yield_twice);
}

static void awaits_a_task_that_waits(void)
{
    setup(await_task);
    setup_task(1, be_awaited);
}

static void awaits_a_task_that_ends(void)
{
    setup(await_task);
    setup_task(1, return_at_once);
}

/* --- models ----------------------------------------------------------------------------------------------------- */

static const model completion = {
    .name = "a task that awaits, and a worker that completes and may take it",
    .setup = awaits_one,
    .thread = {run_first, complete_and_serve},
    .check = it_is_done_and_the_future_gone,
    .memory = MODEL_WEAK,
};

static const model cancellation = {
    .name = "a task that awaits, a completion, a cancellation",
    .setup = awaits_one,
    .thread = {run_first, complete_first, cancel_task},
    .check = it_is_cancelled_if_that_was_accepted,
    .memory = MODEL_WEAK,
};

static const model going_on = {
    .name = "a task that awaits one after the other, one completion, a cancellation",
    .setup = awaits_two_unless_cancelled,
    .thread = {run_first, complete_first, cancel_task},
    .check = it_was_cancelled_once,
    .memory = MODEL_SC,
};

TEST(a_task_is_woken_once_and_not_before_it_has_left)
{
    holds(completion);
}

TEST(a_task_is_cancelled_or_completed)
{
    holds(cancellation);
}

TEST(a_task_is_cancelled_or_completed_and_taken)
{
    holds((model){
        .name = "a task that awaits, a worker that completes and may take it, a cancellation",
        .setup = awaits_one,
        .thread = {run_first, complete_and_serve, cancel_task},
        .check = it_is_cancelled_if_that_was_accepted,
        .memory = MODEL_SC,
    });
}

TEST(a_cancellation_follows_a_task_that_goes_on)
{
    holds(going_on);
}

TEST(a_cancellation_is_delivered_once)
{
    holds((model){
        .name = "a task that awaits twice, a cancellation and then both completions",
        .setup = awaits_two,
        .thread = {run_first, cancel_and_complete},
        .check = each_request_was_delivered_once,
        .memory = MODEL_WEAK,
    });
}

TEST(a_cancellation_is_delivered_once_between_completions)
{
    holds((model){
        .name = "a task that awaits twice, a completion, a cancellation, a completion",
        .setup = awaits_two,
        .thread = {run_first, cancel_between_completions},
        .check = each_request_was_delivered_once,
        .memory = MODEL_WEAK,
    });
}

TEST(two_cancellations_meet_a_task_that_waits)
{
    holds((model){
        .name = "a task that waits, and two cancellations",
        .setup = waits,
        .thread = {serve_first, cancel_task, cancel_task},
        .check = it_is_cancelled_if_that_was_accepted,
        .memory = MODEL_SC,
    });
}

TEST(two_cancellations_meet_a_task_that_begins_to_wait)
{
    holds((model){
        .name = "a task that awaits, and two cancellations in turn",
        .setup = awaits_one,
        .thread = {run_first, cancel_twice},
        .check = it_is_cancelled_if_that_was_accepted,
        .memory = MODEL_WEAK,
    });
}

TEST(a_task_that_yields_is_cancelled)
{
    holds((model){
        .name = "a task that yields, a worker that may take it, a cancellation",
        .setup = yields,
        .thread = {run_first, serve_first, cancel_task},
        .check = each_request_was_delivered_once,
        .memory = MODEL_WEAK,
    });
}

TEST(a_cancellation_reaches_what_the_awaited_task_awaits)
{
    holds((model){
        .name = "a task that awaits a task that awaits, a cancellation",
        .setup = awaits_a_task_that_waits,
        .thread = {run_first, run_second, cancel_task},
        .check = both_are_done,
        .memory = MODEL_SC,
    });
}

TEST(a_cancellation_meets_the_end_of_the_awaited_task)
{
    holds((model){
        .name = "a task that awaits a task that ends, a cancellation",
        .setup = awaits_a_task_that_ends,
        .thread = {run_first, run_second, cancel_task},
        .check = both_are_done,
        .memory = MODEL_SC,
    });
}

/* --- what is needed for that ------------------------------------------------------------------------------------ */

static void registers_blindly(void)
{
    awaits_one();
    lacks.registers_blindly = true;
}

static void registers_early(void)
{
    awaits_one();
    lacks.registers_early = true;
}

static void is_marked_blindly(void)
{
    awaits_two_unless_cancelled();
    lacks.marks_blindly = true;
}

TEST(a_task_registered_without_another_look_sleeps_for_ever)
{
    model m = completion;
    m.setup = registers_blindly;
    finds(m);
}

TEST(a_task_registered_before_it_has_left_is_resumed_on_a_stack_in_use)
{
    model m = completion;
    m.setup = registers_early;
    finds(m);
}

TEST(a_cancellation_that_does_not_look_again_is_lost)
{
    model m = going_on;
    m.setup = is_marked_blindly;
    finds(m);
}

TEST(a_future_without_its_latch_forgets_who_waits)
{
    finds(weaken(completion, &futures[0].latch, MODEL_MUTEX));
}

TEST(a_latch_without_its_release_does_not_guard) /* [LATCH-1] */
{
    finds(weaken(completion, &futures[0].latch, MODEL_STORES));
}

TEST(a_future_without_its_release_hands_over_what_is_not_there_yet) /* [FUT-1] */
{
    finds(weaken(completion, &futures[0].state, MODEL_STORES));
}

TEST(a_task_without_its_latch_is_cancelled_wrongly)
{
    finds(weaken(cancellation, &tasks[0].task.future.latch, MODEL_MUTEX));
}

COIL_TEST_MAIN("task")
