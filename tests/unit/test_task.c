/*
 * test_task.c - tasks: order of steps, results, cancellation, names, contexts, sleeping, arguments
 *
 * Most tests are the main task of a loop of its own (coil_run_with) on a virtual clock. What is expected is what
 * asyncio.tasks of CPython 3.11 does.
 */
#include "coil_test.h"

#include <fenv.h>

static void drop_note(void *value)
{
    note("drop:%s", (char *)value);
}

/* Three steps. */
static int stepper(void *name, void **result)
{
    for (int i = 1; i <= 2; i++) {
        note("%s%d", (char *)name, i);
        COIL_TRY(coil_sleep(0));
    }
    note("%s3", (char *)name);
    *result = name;
    return 0;
}

static coil_task *spawn_stepper(const char *name)
{
    return spawn(coil_coro_of(stepper, (void *)(uintptr_t)name));
}

/* Waits for ever, and tells how that ended. */
static int waiter(void *name, void **result)
{
    (void)result;
    coil_future *future;
    OK(coil_create_future(&future));
    int rc = coil_await(future, NULL);
    coil_release(future);
    coil_error *error = coil_catch(rc);
    note("%s:%s%s", (char *)name, coil_error_name(rc), coil_error_message(error));
    return coil_raise_error(error);
}

static coil_task *spawn_waiter(const char *name)
{
    return spawn(coil_coro_of(waiter, (void *)(uintptr_t)name));
}

/* --- steps and results ----------------------------------------------------------------------------------------------- */

TASK_TEST(task_starts_in_the_next_iteration_and_tasks_take_turns)
{
    coil_task *a = spawn_stepper("a"), *b = spawn_stepper("b");
    TRACE_IS("");
    turns(1);
    TRACE_IS("a1 b1");
    coil_task *c = spawn_stepper("c");
    turns(3);
    TRACE_IS("a2 b2 c1 a3 b3 c2 c3");
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    OK(coil_join(c, NULL));
}

TASK_TEST(task_is_a_future_with_the_result_of_its_body)
{
    void *value;
    coil_task *task = spawn_stepper("a");
    ck_assert(coil_future_is_task(task));
    ck_assert(!coil_future_done(task));
    RAISES(COIL_EINVALIDSTATE, "Result is not set.", coil_future_result(task, &value));
    OK(coil_await(task, &value));
    ck_assert_str_eq(value, "a");
    OK(coil_future_result(task, &value));
    ck_assert_str_eq(value, "a");
    coil_release(task);
}

TASK_TEST(task_result_cannot_be_set_by_hand)
{
    coil_task *task = spawn_stepper("a");
    RAISES(COIL_ERUNTIME, "Task does not support set_result operation", coil_future_set_result(task, NULL));
    RAISES(COIL_ERUNTIME, "Task does not support set_exception operation",
           coil_future_set_exception(task, coil_error_new(-EINVAL, "x")));
    OK(coil_join(task, NULL));
    trace[0] = '\0';
}

static int failing(void *message, void **result)
{
    (void)result;
    COIL_TRY(coil_sleep(0));
    return coil_raise(COIL_EUSER(1), "%s", (char *)message);
}

TASK_TEST(task_raises_what_its_body_raises)
{
    coil_task *task = spawn(coil_coro_of(failing, "bad"));
    RAISES(COIL_EUSER(1), "bad", coil_await(task, NULL));
    RAISES(COIL_EUSER(1), "bad", coil_await(task, NULL));
    coil_release(task);
}

TASK_TEST(task_error_that_nobody_saw_is_reported)
{
    OK(coil_create_task(coil_coro_of(failing, "lost"), NULL));
    turns(3);
    expect_report("Task exception was never retrieved", COIL_EUSER(1), "lost");
}

static int bare_code(void *arg, void **result)
{
    (void)result;
    int rc = coil_raise(COIL_EUSER(1), "handled");
    ck_assert_int_eq(rc, COIL_EUSER(1));
    return (int)(intptr_t)arg;
}

TASK_TEST(task_does_not_mix_the_errors_of_others_up_with_its_own)
{
    coil_task *task = spawn(coil_coro_of(bare_code, (void *)(intptr_t)COIL_EUSER(2)));
    RAISES(COIL_EUSER(2), "", coil_await(task, NULL));
    coil_release(task);
    int rc = coil_raise(-EINVAL, "mine");
    task = spawn_stepper("a");
    OK(coil_await(task, NULL)); /* others raise and suspend meanwhile */
    RAISES(-EINVAL, "mine", rc);
    coil_release(task);
    trace[0] = '\0';
}

TASK_TEST(task_that_nobody_holds_goes_on)
{
    OK(coil_create_task(coil_coro_of(stepper, "a"), NULL));
    coil_detach(spawn_stepper("b"));
    turns(3);
    TRACE_IS("a1 b1 a2 b2 a3 b3");
}

static int awaits_itself(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return coil_await(coil_current_task(), NULL);
}

TASK_TEST(task_cannot_await_itself)
{
    coil_task *task = spawn(coil_coro_of(awaits_itself, NULL));
    RAISES(COIL_ERUNTIME, "Task cannot await on itself", coil_await(task, NULL));
    coil_release(task);
}

static int awaits_itself_and_sleeps(void *arg, void **result)
{
    RAISES(COIL_ERUNTIME, "Task cannot await on itself", coil_await(coil_current_task(), NULL));
    RAISES(COIL_ERUNTIME, "await wasn't used with future", coil_await(coil_current_task(), NULL));
    *result = arg;
    return coil_sleep(COIL_MS(1));
}

TASK_TEST(task_that_awaited_itself_cannot_be_awaited_until_it_is_done)
{
    void *result;
    coil_task *task = spawn(coil_coro_of(awaits_itself_and_sleeps, "end"));
    turns(2);
    RAISES(COIL_ERUNTIME, "await wasn't used with future", coil_await(task, NULL));
    coil_task_cancel(task, NULL);
    coil_task_uncancel(task);
    RAISES(COIL_ERUNTIME, "await wasn't used with future", coil_await(task, NULL));
    turns(3);
    RAISES(-ECANCELED, "", coil_await(task, &result));
    coil_release(task);
}

static int callback(coil_future *future, void *word)
{
    (void)future;
    note("%s", (char *)word);
    return 0;
}

static int await_task(void *task, void **result)
{
    int rc = coil_await(task, result);
    note("awaited");
    return rc;
}

TASK_TEST(task_end_wakes_waiters_and_callbacks_in_the_order_they_came)
{
    coil_task *task = spawn_stepper("t");
    OK(coil_future_add_done_callback(task, callback, "first"));
    coil_task *other = spawn(coil_coro_of(await_task, task));
    turns(1);
    OK(coil_future_add_done_callback(task, callback, "second"));
    turns(2);
    TRACE_IS("t1 t2 t3");
    turns(1);
    TRACE_IS("first awaited second");
    OK(coil_join(task, NULL));
    OK(coil_join(other, NULL));
}

/* --- arguments and who owns them --------------------------------------------------------------------------------------- */

struct pair {
    int a, b;
};

static int add(void *arg, void **result)
{
    struct pair *pair = arg;
    COIL_TRY(coil_sleep(COIL_MS(1)));
    *result = (void *)(intptr_t)(pair->a + pair->b);
    pair->a = -1; /* its own copy */
    return 0;
}

static coil_task *spawn_add(int a, int b)
{
    struct pair pair = {a, b};
    return spawn(coil_coro_copy(add, &pair, sizeof pair));
}

TASK_TEST(task_may_have_a_copy_of_its_argument)
{
    void *sum;
    coil_task *first = spawn_add(1, 2), *second = spawn_add(10, 20);
    OK(coil_join(first, &sum));
    ck_assert_int_eq((intptr_t)sum, 3);
    OK(coil_join(second, &sum));
    ck_assert_int_eq((intptr_t)sum, 30);
}

TASK_TEST(task_that_never_runs_drops_its_argument_once)
{
    coil_task *task = spawn(coil_coro_owning(stepper, "arg", drop_note));
    coil_task_cancel(task, "never");
    RAISES(-ECANCELED, "never", coil_await(task, NULL));
    TRACE_IS("drop:arg");
    coil_release(task);
    TRACE_IS("");
    task = spawn(coil_coro_owning(stepper, "a", drop_note));
    OK(coil_join(task, NULL));
    TRACE_IS("a1 a2 a3"); /* the body owns it once it runs */
    struct pair pair = {1, 2};
    task = spawn(coil_coro_copy(add, &pair, sizeof pair));
    coil_task_cancel(task, NULL);
    turns(1);
    coil_release(task);
}

TEST(task_that_cannot_be_made_drops_its_argument)
{
    coil_task *task;
    trace[0] = '\0';
    RAISES(COIL_ENOLOOP, "no running event loop",
           coil_create_task(coil_coro_owning(stepper, "arg", drop_note), &task));
    TRACE_IS("drop:arg");
    coil_loop *loop = new_test_loop();
    RAISES(COIL_ETYPE, "a coroutine was expected",
           coil_loop_create_task(loop, coil_coro_make(NULL, "arg", drop_note, 0, NULL), NULL, &task));
    TRACE_IS("drop:arg");
    coil_task_options options = {.size = 1};
    ck_assert_int_eq(coil_loop_create_task(loop, coil_coro_owning(stepper, "arg", drop_note), &options, &task), -EINVAL);
    TRACE_IS("drop:arg");
    coil_loop_free(loop);
}

static int make_value(void *arg, void **result)
{
    coil_task_set_result_drop(coil_current_task(), drop_note);
    *result = arg;
    return 0;
}

TASK_TEST(task_result_with_a_drop_is_dropped_unless_it_is_taken)
{
    void *value;
    OK(coil_join(spawn(coil_coro_of(make_value, "taken")), &value));
    ck_assert_str_eq(value, "taken");
    OK(coil_create_task(coil_coro_of(make_value, "left"), NULL));
    turns(1);
    TRACE_IS("drop:left");
    OK(coil_join(spawn(coil_coro_of(make_value, "ignored")), NULL));
    TRACE_IS("drop:ignored");
}

static int cancel_oneself(void *arg, void **result)
{
    coil_task_cancel(coil_current_task(), "at the end");
    return make_value(arg, result);
}

TASK_TEST(task_cancelled_in_its_last_step_is_cancelled_and_drops_its_result)
{
    coil_task *task = spawn(coil_coro_of(cancel_oneself, "v"));
    RAISES(-ECANCELED, "at the end", coil_await(task, NULL));
    TRACE_IS("drop:v");
    coil_release(task);
}

/* --- cancellation ------------------------------------------------------------------------------------------------------ */

TASK_TEST(task_cancelled_while_it_waits_gets_the_error_there)
{
    coil_task *task = spawn_waiter("a");
    turns(1);
    ck_assert(coil_task_cancel(task, "now"));
    ck_assert(!coil_future_done(task));
    ck_assert_uint_eq(coil_task_cancelling(task), 1);
    turns(1);
    TRACE_IS("a:CancelledErrornow");
    ck_assert(coil_future_cancelled(task));
    ck_assert(!coil_task_cancel(task, NULL));
    RAISES(-ECANCELED, "now", coil_await(task, NULL)); /* the error itself, once */
    RAISES(-ECANCELED, "", coil_await(task, NULL));    /* then new ones without its message */
    coil_release(task);
}

TASK_TEST(task_cancelled_twice_before_its_step_gets_the_last_message_once)
{
    coil_task *task = spawn_stepper("a");
    turns(1);
    coil_task_cancel(task, "first");
    coil_task_cancel(task, "second");
    ck_assert_uint_eq(coil_task_cancelling(task), 2);
    RAISES(-ECANCELED, "second", coil_await(task, NULL));
    TRACE_IS("a1");
    coil_release(task);
}

static int swallow(void *arg, void **result)
{
    (void)arg;
    (void)result;
    int rc = coil_sleep(COIL_MS(10));
    note("%s", coil_error_name(rc));
    OK(coil_sleep(COIL_MS(5)));
    note("went on");
    return 0;
}

TASK_TEST(task_may_swallow_a_cancellation)
{
    coil_task *task = spawn(coil_coro_of(swallow, NULL));
    turns(1);
    coil_task_cancel(task, NULL);
    OK(coil_await(task, NULL));
    TRACE_IS("CancelledError went on");
    ck_assert(!coil_future_cancelled(task));
    ck_assert_uint_eq(coil_task_cancelling(task), 1);
    ck_assert_uint_eq(coil_task_uncancel(task), 0);
    ck_assert_uint_eq(coil_task_uncancel(task), 0);
    coil_release(task);
}

static int convert(void *arg, void **result)
{
    (void)arg;
    (void)result;
    int rc = coil_sleep(COIL_MS(10));
    return rc == -ECANCELED ? coil_raise(COIL_EUSER(8), "converted") : rc;
}

TASK_TEST(task_may_answer_a_cancellation_with_another_error)
{
    coil_task *task = spawn(coil_coro_of(convert, NULL));
    turns(1);
    coil_task_cancel(task, NULL);
    RAISES(COIL_EUSER(8), "converted", coil_await(task, NULL));
    ck_assert(!coil_future_cancelled(task));
    coil_release(task);
}

TASK_TEST(task_cancel_reaches_through_a_chain_of_tasks)
{
    coil_task *inner = spawn_waiter("inner"), *outer = spawn(coil_coro_of(await_task, inner));
    turns(1);
    coil_task_cancel(outer, "chain");
    ck_assert_uint_eq(coil_task_cancelling(inner), 1);
    RAISES(-ECANCELED, "chain", coil_await(outer, NULL));
    TRACE_IS("inner:CancelledErrorchain awaited");
    ck_assert(coil_future_cancelled(inner));
    coil_release(inner);
    coil_release(outer);
}

TASK_TEST(task_cancelled_after_what_it_waits_for_is_done_is_cancelled_all_the_same)
{
    coil_future *future;
    OK(coil_create_future(&future));
    coil_task *task = spawn(coil_coro_of(await_task, future));
    turns(1);
    OK(coil_future_set_result(future, NULL));
    coil_task_cancel(task, "late");
    RAISES(-ECANCELED, "late", coil_await(task, NULL));
    ck_assert(!coil_future_cancelled(future));
    trace[0] = '\0';
    coil_release(task);
    coil_release(future);
}

TASK_TEST(task_that_cancels_itself_notices_at_its_next_wait)
{
    coil_task_cancel(coil_current_task(), "self");
    note("still here");
    RAISES(-ECANCELED, "self", coil_sleep(COIL_MS(5)));
    TRACE_IS("still here");
    ck_assert_int_eq(now_ms(), 0);
    ck_assert_uint_eq(coil_task_uncancel(coil_current_task()), 0);
    coil_future *done;
    OK(coil_create_future(&done));
    OK(coil_future_set_result(done, NULL));
    coil_task_cancel(coil_current_task(), NULL);
    OK(coil_await(done, NULL)); /* does not wait, so does not notice */
    RAISES(-ECANCELED, "", coil_sleep(0));
    coil_task_uncancel(coil_current_task());
    coil_release(done);
}

TASK_TEST(task_uncancel_does_not_take_a_cancellation_back)
{
    coil_task *task = spawn_stepper("a");
    coil_task_cancel(task, NULL);
    ck_assert_uint_eq(coil_task_uncancel(task), 0);
    RAISES(-ECANCELED, "", coil_await(task, NULL));
    TRACE_IS("");
    coil_release(task);
}

/* --- sleeping ---------------------------------------------------------------------------------------------------------- */

static int sleeper(void *ms, void **result)
{
    (void)result;
    COIL_TRY(coil_sleep(COIL_MS((intptr_t)ms)));
    note("%ld", (long)(intptr_t)ms);
    return 0;
}

TASK_TEST(sleep_ends_in_the_order_of_time)
{
    intptr_t times[] = {30, 10, 20, 10};
    coil_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = spawn(coil_coro_of(sleeper, (void *)times[i]));
    for (int i = 0; i < 4; i++)
        OK(coil_join(tasks[i], NULL));
    TRACE_IS("10 10 20 30");
    ck_assert_int_eq(now_ms(), 30);
}

TASK_TEST(sleep_that_is_not_positive_suspends_once)
{
    coil_task *a = spawn_stepper("a");
    OK(coil_sleep(-COIL_MS(100)));
    TRACE_IS("a1");
    OK(coil_sleep(0));
    TRACE_IS("a2");
    OK(coil_join(a, NULL));
    ck_assert_int_eq(now_ms(), 0);
}

TASK_TEST(sleep_that_is_cancelled_takes_its_timer_along)
{
    coil_loop_stats stats = {.size = sizeof stats};
    coil_task *task = spawn(coil_coro_of(sleeper, (void *)1000));
    turns(1);
    coil_task_cancel(task, NULL);
    turns(1);
    ck_assert(coil_future_cancelled(task));
    coil_loop_get_stats(coil_get_running_loop(), &stats);
    ck_assert_uint_eq(stats.timers, 0);
    coil_release(task);
}

TASK_TEST(sleep_has_a_coroutine_form_with_a_result)
{
    void *result;
    OK(coil_join(spawn(coil_sleep_coro(COIL_MS(3), "slept")), &result));
    ck_assert_str_eq(result, "slept");
    ck_assert_int_eq(now_ms(), 3);
    coil_coro_drop(coil_sleep_coro(COIL_MS(3), NULL));
}

TEST(sleep_needs_a_task)
{
    RAISES(COIL_ENOLOOP, "no running event loop", coil_sleep(0));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_sleep(COIL_MS(1)));
}

/* --- coroutines in place, ensure_future ----------------------------------------------------------------------------------- */

TASK_TEST(coroutine_awaited_directly_runs_in_the_same_task)
{
    void *result;
    coil_task *other = spawn_stepper("b");
    OK(coil_coro_await(coil_coro_of(stepper, "a"), &result));
    ck_assert_str_eq(result, "a");
    TRACE_IS("a1 b1 a2 b2 a3");
    OK(coil_join(other, NULL));
    RAISES(COIL_EUSER(1), "bad", coil_coro_await(coil_coro_of(failing, "bad"), NULL));
    RAISES(COIL_ETYPE, "a coroutine was expected", coil_coro_await(coil_coro_make(NULL, NULL, NULL, 0, NULL), NULL));
    trace[0] = '\0';
}

TEST(coroutine_awaited_outside_a_task_is_dropped)
{
    trace[0] = '\0';
    RAISES(COIL_ENOLOOP, "no running event loop", coil_coro_await(coil_coro_owning(stepper, "x", drop_note), NULL));
    TRACE_IS("drop:x");
}

TASK_TEST(ensure_future_makes_a_task_of_a_coroutine_and_leaves_a_future_alone)
{
    coil_future *future, *same;
    OK(coil_create_future(&future));
    OK(coil_ensure_future(future, &same));
    ck_assert_ptr_eq(same, future);
    coil_release(same);
    coil_release(future);
    OK(coil_ensure_future(coil_coro_of(stepper, "a"), &future));
    ck_assert(coil_future_is_task(future));
    OK(coil_join(future, NULL));
    TRACE_IS("a1 a2 a3");
    RAISES(COIL_ETYPE, "An asyncio.Future, a coroutine or an awaitable is required",
           coil_ensure_future(coil_coro_make(NULL, NULL, NULL, 0, NULL), &future));
}

/* --- names, who is there --------------------------------------------------------------------------------------------------- */

TASK_TEST(task_names_can_be_given_and_changed)
{
    coil_task_options options = {.size = sizeof options, .name = "worker"};
    coil_task *task;
    OK(coil_create_task_with(coil_coro_of(stepper, "a"), &options, &task));
    ck_assert_str_eq(coil_task_get_name(task), "worker");
    OK(coil_task_set_name(task, "renamed"));
    ck_assert_str_eq(coil_task_get_name(task), "renamed");
    OK(coil_join(task, NULL));
    trace[0] = '\0';
}

static long number_of(coil_task *task)
{
    long n;
    ck_assert_int_eq(sscanf(coil_task_get_name(task), "Task-%ld", &n), 1);
    return n;
}

TASK_TEST(task_numbers_count_up_and_a_name_given_to_the_loop_uses_none)
{
    coil_task_options options = {.size = sizeof options, .name = "named"};
    coil_task *tasks[4];
    tasks[0] = spawn_stepper("");
    OK(coil_create_task_with(coil_coro_of(stepper, ""), &options, &tasks[1]));
    OK(coil_loop_create_task(coil_get_running_loop(), coil_coro_of(stepper, ""), &options, &tasks[2]));
    tasks[3] = spawn_stepper("");
    ck_assert_int_eq(number_of(tasks[3]), number_of(tasks[0]) + 2);
    for (int i = 0; i < 4; i++)
        OK(coil_join(tasks[i], NULL));
    trace[0] = '\0';
}

static int check_current(void *arg)
{
    (void)arg;
    ck_assert_ptr_null(coil_current_task());
    note("callback");
    return 0;
}

static int self(void *arg, void **result)
{
    (void)arg;
    *result = coil_current_task();
    return 0;
}

TASK_TEST(task_that_runs_is_the_current_one)
{
    coil_task *task = spawn(coil_coro_of(self, NULL)), *me = coil_current_task();
    void *result;
    ck_assert_ptr_nonnull(me);
    OK(coil_await(task, &result));
    ck_assert_ptr_eq(result, task);
    ck_assert_ptr_eq(coil_current_task(), me);
    OK(coil_loop_call_soon(coil_get_running_loop(), check_current, NULL, NULL));
    turns(1);
    TRACE_IS("callback");
    coil_release(task);
}

TEST(task_current_outside_a_loop_is_an_error)
{
    ck_assert_ptr_null(coil_current_task());
    ck_assert_str_eq(caught(COIL_ENOLOOP), "no running event loop");
}

TASK_TEST(task_list_has_what_is_not_done_in_the_order_of_creation)
{
    coil_task **tasks, *a = spawn_waiter("a"), *done = spawn_stepper("d"), *b = spawn_waiter("b");
    size_t n;
    turns(4);
    OK(coil_all_tasks(coil_get_running_loop(), &tasks, &n));
    ck_assert_uint_eq(n, 3);
    ck_assert_ptr_eq(tasks[0], coil_current_task());
    ck_assert_ptr_eq(tasks[1], a);
    ck_assert_ptr_eq(tasks[2], b);
    coil_tasks_free(tasks, n);
    coil_task_cancel(a, NULL);
    coil_task_cancel(b, NULL);
    turns(1);
    coil_release(a);
    coil_release(b);
    coil_release(done);
    trace[0] = '\0';
}

TASK_TEST(task_shows_its_name_function_and_state)
{
    char text[200];
    coil_task *task = spawn_waiter("a");
    OK(coil_task_set_name(task, "w"));
    coil_future_repr(task, text, sizeof text);
    ck_assert_str_eq(text, "<Task pending name='w' fn=waiter>");
    turns(1);
    coil_future_repr(task, text, sizeof text);
    ck_assert_str_eq(text, "<Task pending name='w' fn=waiter wait_for=<Future pending>>");
    coil_task_cancel(task, NULL);
    turns(1);
    coil_future_repr(task, text, sizeof text);
    ck_assert_str_eq(text, "<Task cancelled name='w' fn=waiter>");
    coil_release(task);
    trace[0] = '\0';
}

/* --- stacks and registers ---------------------------------------------------------------------------------------------------- */

static int deep(int depth)
{
    volatile char frame[1024];
    memset((char *)frame, depth, sizeof frame);
    if (depth > 0) {
        COIL_TRY(deep(depth - 1));
    } else {
        COIL_TRY(coil_sleep(0));
    }
    ck_assert_int_eq(frame[512], (char)depth);
    return 0;
}

static int deep_body(void *depth, void **result)
{
    (void)result;
    return deep((int)(intptr_t)depth);
}

TASK_TEST(task_may_suspend_in_the_depth_of_its_stack)
{
    coil_task *tasks[20];
    for (intptr_t i = 0; i < 20; i++)
        tasks[i] = spawn(coil_coro_of(deep_body, (void *)(i + 10)));
    for (int i = 0; i < 20; i++)
        OK(coil_join(tasks[i], NULL));
}

TASK_TEST(task_may_ask_for_a_larger_stack)
{
    coil_task_options options = {.size = sizeof options, .stack_bytes = 4 * 1024 * 1024};
    coil_task *task;
    OK(coil_create_task_with(coil_coro_of(deep_body, (void *)1000), &options, &task));
    OK(coil_join(task, NULL));
    options.stack_bytes = SIZE_MAX;
    ck_assert_int_eq(coil_create_task_with(coil_coro_of(deep_body, NULL), &options, &task), -EINVAL);
}

static int round_upward(void *arg, void **result)
{
    (void)arg;
    (void)result;
    ck_assert_int_eq(fesetround(FE_UPWARD), 0);
    COIL_TRY(coil_sleep(0));
    ck_assert_int_eq(fegetround(), FE_UPWARD);
    return 0;
}

TASK_TEST(task_may_have_floating_point_control_of_its_own)
{
    coil_task_options options = {.size = sizeof options, .save_fp_control = true};
    coil_task *task;
    OK(coil_create_task_with(coil_coro_of(round_upward, NULL), &options, &task));
    turns(1);
    ck_assert_int_eq(fegetround(), FE_TONEAREST);
    OK(coil_join(task, NULL));
    ck_assert_int_eq(fegetround(), FE_TONEAREST);
}

static int tree(void *depth, void **result)
{
    intptr_t n = (intptr_t)depth;
    void *left = (void *)1, *right = NULL;
    if (n > 0) {
        coil_task *a = spawn(coil_coro_of(tree, (void *)(n - 1))), *b = spawn(coil_coro_of(tree, (void *)(n - 1)));
        OK(coil_join(a, &left));
        OK(coil_join(b, &right));
    }
    *result = (void *)((intptr_t)left + (intptr_t)right);
    return 0;
}

TASK_TEST(task_trees_of_thousands_come_together)
{
    void *leaves;
    OK(coil_coro_await(coil_coro_of(tree, (void *)11), &leaves));
    ck_assert_int_eq((intptr_t)leaves, 2048);
}

COIL_TEST_MAIN("task")
