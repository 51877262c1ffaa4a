/*
 * test_agen_task.c - asynchronous generators and the tasks that run them: cancellation, several users, scopes, contexts
 *
 * Each test is the main task of a loop of its own (coil_run_with) on a virtual clock. What is expected is what CPython 3.11
 * does (genobject.c).
 */
#include "agens.h"

/* --- who runs the body --------------------------------------------------------------------------------------------- */

static int who(coil_agen *g, void *arg)
{
    (void)arg;
    for (;;) {
        note("%s", coil_task_get_name(coil_current_task()));
        COIL_TRY(coil_agen_yield(g, NULL, NULL));
    }
}

TASK_TEST(agen_runs_as_whichever_task_asks)
{
    coil_agen *g = agen(who, "g");
    const char *names[] = {"a", "b"};
    for (int i = 0; i < 2; i++) {
        coil_task_options options = {.size = sizeof options, .name = names[i]};
        coil_task *task;
        OK(coil_create_task_with(coil_coro_of(take_one, g), &options, &task));
        OK(coil_join(task, NULL));
    }
    TRACE_IS("a b");
    close_and_release(g);
}

static int next_in_callback(void *g)
{
    return coil_agen_next(g, NULL);
}

TASK_TEST(agen_needs_a_task)
{
    coil_agen *g = agen(count, "g");
    OK(coil_loop_call_soon(coil_get_running_loop(), next_in_callback, g, NULL));
    turns(1);
    expect_report("Exception in callback", COIL_ERUNTIME, "a call that suspends needs a task: callbacks cannot wait");
    coil_agen_release(g);
}

static int not_the_body(void *g, void **result)
{
    (void)result;
    return coil_agen_yield(g, NULL, NULL);
}

ABORTS(agen_yield_outside_of_its_body)
{
    coil_agen *g = agen(count, "g");
    coil_error_release(coil_catch(coil_run(coil_coro_of(not_the_body, g), NULL)));
}

/* --- cancellation -------------------------------------------------------------------------------------------------- */

TASK_TEST(agen_cancellation_of_the_asking_task_passes_through_the_body)
{
    coil_agen *g = begun(stuck, "g");
    coil_task *task = spawn(coil_coro_of(take_one, g));
    turns(1);
    ck_assert(!coil_agen_suspended(g));
    coil_task_cancel(task, "why");
    RAISES(-ECANCELED, "why", coil_join(task, NULL));
    TRACE_IS("g:CancelledError");
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    coil_agen_release(g);
}

static int close_it(void *g, void **result)
{
    (void)result;
    return coil_agen_close(g);
}

TASK_TEST(agen_whose_clean_up_was_cancelled_counts_as_running_as_in_python)
{
    coil_agen *g = begun(tidy, "g");
    coil_task *task = spawn(coil_coro_of(close_it, g));
    turns(1);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    TRACE_IS("g:GeneratorExit g:CancelledError");
    ck_assert(coil_agen_finished(g));
    RAISES(COIL_EBUSY, "anext(): asynchronous generator is already running", next_of(g));
    OK(coil_agen_close(g));
    coil_agen_release(g);
}

TASK_TEST(agen_close_that_is_cancelled_before_it_starts_throws_the_cancellation)
{
    coil_agen *g = begun(count, "g");
    coil_task *task = spawn(coil_agen_close_coro(g));
    coil_task_cancel(task, "why");
    RAISES(-ECANCELED, "why", coil_join(task, NULL));
    TRACE_IS("g:CancelledError");
    coil_agen_release(g);
}

TASK_TEST(agen_close_that_is_cancelled_before_it_starts_exits_where_the_clean_up_awaits)
{
    coil_agen *g = begun(tidy, "g");
    coil_task *task = spawn(coil_agen_close_coro(g));
    coil_task_cancel(task, NULL);
    OK(coil_join(task, NULL));
    TRACE_IS("g:CancelledError g:GeneratorExit");
    coil_agen_release(g);
}

/* --- several users ------------------------------------------------------------------------------------------------- */

TASK_TEST(agen_is_busy_while_a_task_runs_it)
{
    coil_agen *g = begun(slow, "g");
    coil_task *task = spawn(coil_coro_of(take_one, g));
    turns(1);
    RAISES(COIL_EBUSY, "anext(): asynchronous generator is already running", next_of(g));
    RAISES(COIL_EBUSY, "athrow(): asynchronous generator is already running",
           coil_agen_throw(g, coil_error_new(COIL_EUSER(1), NULL), NULL));
    RAISES(COIL_EBUSY, "aclose(): asynchronous generator is already running", coil_agen_close(g));
    void *value;
    OK(coil_join(task, &value));
    ck_assert_int_eq((intptr_t)value, 2);
    close_and_release(g);
}

/* --- contexts, stacks, misuse -------------------------------------------------------------------------------------- */

static coil_contextvar *colour;

static int colours(coil_agen *g, void *arg)
{
    (void)arg;
    for (;;) {
        void *value;
        OK(coil_contextvar_get(colour, &value));
        COIL_TRY(coil_agen_yield(g, value, NULL));
    }
}

static int with_colour(void *g, void **result)
{
    OK(coil_contextvar_set(colour, "red", NULL));
    return coil_agen_next(g, result);
}

TASK_TEST(agen_body_sees_the_context_of_the_task_that_asks)
{
    void *value;
    OK(coil_contextvar_new("colour", NULL, &colour));
    coil_contextvar_set_default(colour, "grey");
    coil_agen *g = agen(colours, "g");
    OK(coil_agen_next(g, &value));
    ck_assert_str_eq(value, "grey");
    OK(coil_join(spawn(coil_coro_of(with_colour, g)), &value));
    ck_assert_str_eq(value, "red");
    OK(coil_agen_next(g, &value));
    ck_assert_str_eq(value, "grey");
    close_and_release(g);
    coil_contextvar_free(colour);
}

/* Yields inside a timeout of 10 ms. */
static int scoped(coil_agen *g, void *arg)
{
    coil_timeout *timeout;
    (void)arg;
    COIL_TRY(coil_timeout_new(COIL_MS(10), &timeout));
    COIL_TRY(coil_timeout_enter(timeout));
    int rc = coil_timeout_exit(timeout, coil_agen_yield(g, (void *)1, NULL));
    coil_timeout_free(timeout);
    return rc;
}

/* Yields inside a group. */
static int grouped(coil_agen *g, void *arg)
{
    coil_group *group;
    (void)arg;
    COIL_TRY(coil_group_new(&group));
    COIL_TRY(coil_group_enter(group));
    int rc = coil_group_exit(group, coil_agen_yield(g, (void *)1, NULL));
    coil_group_free(group);
    return rc;
}

static int take_one_slowly(void *g, void **result)
{
    OK(coil_agen_next(g, result));
    return coil_sleep(COIL_MS(20));
}

TASK_TEST(agen_scope_belongs_to_the_task_that_entered_it)
{
    coil_agen *g = agen(scoped, "g");
    coil_task *task = spawn(coil_coro_of(take_one_slowly, g));
    RAISES(-ECANCELED, "", coil_join(task, NULL)); /* the timeout's doing, although the task has left the body */
    ck_assert_int_eq(now_ms(), 10);
    close_and_release(g);
}

TASK_TEST(agen_scope_may_stay_open_longer_than_the_task_that_entered_it)
{
    coil_agen *g = agen(scoped, "g");
    OK(coil_join(spawn(coil_coro_of(take_one, g)), NULL));
    OK(coil_sleep(COIL_MS(20)));
    close_and_release(g);
    g = agen(grouped, "g");
    OK(coil_join(spawn(coil_coro_of(take_one, g)), NULL));
    RAISES(COIL_EGROUP, "unhandled errors in a TaskGroup", coil_agen_close(g)); /* asyncio's, of the GeneratorExit */
    coil_agen_release(g);
}

TEST(agen_scope_is_left_when_its_body_is_unwound)
{
    coil_loop *loop = new_test_loop();
    coil_agen *g = agen(scoped, "g");
    OK(coil_loop_run_until_complete(loop, coil_coro_of(take_one, g), NULL));
    coil_loop_free(loop);
    coil_agen_release(g);
}

static int leaves_open(coil_agen *g, void *timeout)
{
    (void)g;
    return coil_timeout_enter(timeout);
}

static int use_open(void *arg, void **result)
{
    coil_timeout *timeout;
    coil_agen *g;
    (void)arg;
    OK(coil_timeout_new(COIL_FOREVER, &timeout));
    OK(coil_agen_new(leaves_open, timeout, NULL, "g", &g));
    return coil_agen_next(g, result);
}

ABORTS(agen_body_that_ends_inside_a_timeout)
{
    coil_error_release(coil_catch(coil_run(coil_coro_of(use_open, NULL), NULL)));
}

/* Uses most of a stack of 256 KiB. */
static int greedy(coil_agen *g, void *arg)
{
    volatile char room[200 * 1024];
    (void)arg;
    for (size_t i = 0; i < sizeof room; i += 1024)
        room[i] = 1;
    return coil_agen_yield(g, (void *)(intptr_t)room[0], NULL);
}

static int use_greedy(void *g, void **result)
{
    (void)result;
    ck_assert_int_eq(next_of(g), 1);
    return coil_agen_close(g);
}

TEST(agen_stack_is_as_large_as_that_of_the_tasks)
{
    coil_loop_options options = test_options();
    options.stack_bytes = 256 * 1024;
    coil_agen *g = agen(greedy, "g");
    coil_coro_drop(coil_agen_next_coro(g)); /* the first use, without a loop */
    OK(coil_run_with(&options, coil_coro_of(use_greedy, g), NULL));
    coil_agen_release(g);
}

TASK_TEST(agen_may_be_one_of_many)
{
    enum { MANY = 2000 };
    static coil_agen *many[MANY];
    for (int i = 0; i < MANY; i++)
        many[i] = begun(stuck, "");
    for (int i = 0; i < MANY; i++)
        coil_agen_release(many[i]);
    turns(3);
    TRACE_IS("");
}

COIL_TEST_MAIN("agen_task")
