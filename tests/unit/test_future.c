/*
 * test_future.c - futures: states, results and who owns them, callbacks, awaiting, errors that nobody looks at
 *
 * Most tests are the main task of a loop of its own (coil_run_with). What is expected is what asyncio.futures of CPython
 * 3.11 does.
 */
#include "coil_test.h"

#include "base/alloc.h"

static coil_future *future;

static void new_future(void)
{
    OK(coil_create_future(&future));
}

static void drop_note(void *value)
{
    note("drop:%s", (char *)value);
}

/* --- states ---------------------------------------------------------------------------------------------------------- */

TASK_TEST(future_is_pending_at_first)
{
    void *value = "untouched";
    coil_error *error;
    new_future();
    ck_assert(!coil_future_done(future));
    ck_assert(!coil_future_cancelled(future));
    ck_assert(!coil_future_is_task(future));
    ck_assert_ptr_eq(coil_future_loop(future), coil_get_running_loop());
    RAISES(COIL_EINVALIDSTATE, "Result is not set.", coil_future_result(future, &value));
    RAISES(COIL_EINVALIDSTATE, "Exception is not set.", coil_future_exception(future, &error));
    RAISES(COIL_EINVALIDSTATE, "Result is not set.", coil_future_take(future, &value));
    ck_assert_str_eq(value, "untouched");
    coil_release(future);
    coil_release(NULL);
}

TASK_TEST(future_with_a_result_gives_it_to_everybody)
{
    void *value;
    coil_error *error;
    new_future();
    OK(coil_future_set_result(future, "value"));
    ck_assert(coil_future_done(future));
    ck_assert(!coil_future_cancelled(future));
    for (int i = 0; i < 2; i++) {
        OK(coil_future_result(future, &value));
        ck_assert_str_eq(value, "value");
        OK(coil_await(future, &value));
        ck_assert_str_eq(value, "value");
    }
    OK(coil_future_result(future, NULL));
    OK(coil_future_exception(future, &error));
    ck_assert_ptr_null(error);
    coil_release(future);
}

TASK_TEST(future_with_an_error_raises_it_for_everybody)
{
    coil_error *error;
    new_future();
    OK(coil_future_set_exception(future, coil_error_new(COIL_EUSER(1), "bad")));
    ck_assert(coil_future_exception_unretrieved(future));
    RAISES(COIL_EUSER(1), "bad", coil_future_result(future, NULL));
    ck_assert(!coil_future_exception_unretrieved(future));
    RAISES(COIL_EUSER(1), "bad", coil_await(future, NULL));
    OK(coil_future_exception(future, &error));
    ck_assert_str_eq(coil_error_message(error), "bad");
    coil_error_release(error);
    coil_release(future);
}

TASK_TEST(future_is_completed_only_once)
{
    new_future();
    OK(coil_future_set_result(future, NULL));
    RAISES(COIL_EINVALIDSTATE, "invalid state", coil_future_set_result(future, NULL));
    RAISES(COIL_EINVALIDSTATE, "invalid state", coil_future_set_result_owned(future, "mine", drop_note));
    RAISES(COIL_EINVALIDSTATE, "invalid state", coil_future_set_exception(future, coil_error_new(-EINVAL, "x")));
    ck_assert(!coil_future_cancel(future, NULL));
    TRACE_IS("");
    coil_release(future);
    new_future();
    ck_assert(coil_future_cancel(future, NULL));
    ck_assert(!coil_future_cancel(future, NULL));
    RAISES(COIL_EINVALIDSTATE, "invalid state", coil_future_set_result(future, NULL));
    coil_release(future);
}

TASK_TEST(future_that_is_cancelled_raises_with_the_message)
{
    coil_error *error;
    new_future();
    ck_assert(coil_future_cancel(future, "because"));
    ck_assert(coil_future_done(future));
    ck_assert(coil_future_cancelled(future));
    RAISES(-ECANCELED, "because", coil_future_result(future, NULL));
    RAISES(-ECANCELED, "because", coil_future_exception(future, &error));
    RAISES(-ECANCELED, "because", coil_await(future, NULL));
    coil_release(future);
}

TEST(future_needs_a_loop)
{
    RAISES(COIL_ENOLOOP, "no running event loop", coil_create_future(&future));
    coil_loop *loop = new_test_loop();
    OK(coil_loop_create_future(loop, &future));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_await(future, NULL));
    coil_release(future);
    coil_loop_free(loop);
}

TASK_TEST(future_without_memory_is_not_made)
{
    coil__alloc_fail_at(1);
    RAISES(-ENOMEM, "", coil_create_future(&future));
    coil__alloc_fail_at(0);
}

/* --- who owns the result ----------------------------------------------------------------------------------------------- */

TASK_TEST(future_drops_its_result_at_the_last_release)
{
    new_future();
    OK(coil_future_set_result_owned(future, "v", drop_note));
    coil_retain(future);
    coil_release(future);
    TRACE_IS("");
    coil_release(future);
    TRACE_IS("drop:v");
}

TASK_TEST(future_result_that_was_taken_is_not_dropped)
{
    void *value, *again = "untouched";
    new_future();
    OK(coil_future_set_result_owned(future, "v", drop_note));
    OK(coil_future_take(future, &value));
    ck_assert_str_eq(value, "v");
    OK(coil_future_take(future, &again));
    ck_assert_ptr_null(again);
    coil_release(future);
    TRACE_IS("");
}

TASK_TEST(future_result_taken_by_nobody_in_particular_is_dropped)
{
    new_future();
    OK(coil_future_set_result_owned(future, "v", drop_note));
    OK(coil_future_take(future, NULL));
    TRACE_IS("drop:v");
    coil_release(future);
    TRACE_IS("");
}

TASK_TEST(future_joined_moves_its_result_out)
{
    void *value;
    new_future();
    OK(coil_future_set_result_owned(future, "v", drop_note));
    OK(coil_join(future, &value));
    ck_assert_str_eq(value, "v");
    new_future();
    OK(coil_future_set_result_owned(future, "w", drop_note));
    OK(coil_join(future, NULL));
    TRACE_IS("drop:w");
    new_future();
    coil_future_cancel(future, "m");
    RAISES(-ECANCELED, "m", coil_join(future, NULL));
}

/* --- callbacks ------------------------------------------------------------------------------------------------------- */

static int callback(coil_future *f, void *word)
{
    ck_assert_ptr_eq(f, future);
    ck_assert(coil_future_done(f));
    note("%s", (char *)word);
    return 0;
}

TASK_TEST(future_callbacks_run_in_order_in_the_next_iteration)
{
    new_future();
    OK(coil_future_add_done_callback(future, callback, "a"));
    OK(coil_future_add_done_callback(future, callback, "b"));
    OK(coil_future_add_done_callback(future, callback, "a"));
    turns(1);
    OK(coil_future_set_result(future, NULL));
    TRACE_IS("");
    turns(1);
    TRACE_IS("a b a");
    coil_release(future);
}

TASK_TEST(future_that_is_done_schedules_a_callback_at_once)
{
    new_future();
    coil_future_cancel(future, NULL);
    OK(coil_future_add_done_callback(future, callback, "a"));
    TRACE_IS("");
    turns(1);
    TRACE_IS("a");
    coil_release(future);
}

TASK_TEST(future_callbacks_keep_the_future_alive)
{
    new_future();
    OK(coil_future_add_done_callback(future, callback, "a"));
    OK(coil_future_set_result_owned(future, "v", drop_note));
    coil_release(future);
    turns(1);
    TRACE_IS("a drop:v");
}

TASK_TEST(future_callbacks_of_a_future_that_is_never_done_do_not_run)
{
    new_future();
    OK(coil_future_add_done_callback(future, callback, "a"));
    coil_release(future);
    turns(2);
    TRACE_IS("");
}

TASK_TEST(future_callbacks_can_be_removed)
{
    new_future();
    OK(coil_future_add_done_callback(future, callback, "a"));
    OK(coil_future_add_done_callback(future, callback, "b"));
    OK(coil_future_add_done_callback(future, callback, "a"));
    ck_assert_uint_eq(coil_future_remove_done_callback(future, callback, "a"), 2);
    ck_assert_uint_eq(coil_future_remove_done_callback(future, callback, "a"), 0);
    OK(coil_future_set_result(future, NULL));
    ck_assert_uint_eq(coil_future_remove_done_callback(future, callback, "b"), 0); /* too late */
    turns(1);
    TRACE_IS("b");
    coil_release(future);
}

static int failing_callback(coil_future *f, void *arg)
{
    (void)f;
    return coil_raise(COIL_EUSER(2), "%s", (char *)arg);
}

TASK_TEST(future_callback_that_fails_is_reported_and_the_others_run)
{
    new_future();
    OK(coil_future_add_done_callback(future, failing_callback, "oops"));
    OK(coil_future_add_done_callback(future, callback, "b"));
    OK(coil_future_set_result(future, NULL));
    turns(1);
    TRACE_IS("b");
    expect_report("Exception in callback", COIL_EUSER(2), "oops");
    coil_release(future);
}

/* --- awaiting -------------------------------------------------------------------------------------------------------- */

static int waiter(void *name, void **result)
{
    void *value = NULL;
    int rc = coil_await(future, &value);
    coil_error *error = coil_catch(rc);
    note("%s:%s%s", (char *)name, rc < 0 ? coil_error_name(rc) : (char *)value, coil_error_message(error));
    *result = value;
    return coil_raise_error(error);
}

static coil_task *spawn_waiter(const char *name)
{
    return spawn(coil_coro_of(waiter, (void *)(uintptr_t)name));
}

TASK_TEST(future_wakes_all_who_wait_in_order_one_iteration_later)
{
    new_future();
    coil_task *a = spawn_waiter("a"), *b = spawn_waiter("b");
    turns(1);
    OK(coil_future_set_result(future, "v"));
    TRACE_IS("");
    turns(1);
    TRACE_IS("a:v b:v");
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    coil_release(future);
}

TASK_TEST(future_error_reaches_all_who_wait)
{
    new_future();
    coil_task *a = spawn_waiter("a"), *b = spawn_waiter("b");
    turns(1);
    OK(coil_future_set_exception(future, coil_error_new(-ETIMEDOUT, "!")));
    RAISES(-ETIMEDOUT, "!", coil_await(a, NULL));
    RAISES(-ETIMEDOUT, "!", coil_await(b, NULL));
    TRACE_IS("a:TimeoutError! b:TimeoutError!");
    coil_release(a);
    coil_release(b);
    coil_release(future);
}

TASK_TEST(future_cancelled_by_somebody_cancels_who_waits)
{
    new_future();
    coil_task *a = spawn_waiter("a");
    turns(1);
    coil_future_cancel(future, "m");
    RAISES(-ECANCELED, "m", coil_await(a, NULL));
    ck_assert(coil_future_cancelled(a));
    ck_assert_uint_eq(coil_task_cancelling(a), 0); /* nobody asked the task */
    TRACE_IS("a:CancelledErrorm");
    coil_release(a);
    coil_release(future);
}

TASK_TEST(future_is_cancelled_when_the_task_that_waits_is)
{
    new_future();
    coil_task *a = spawn_waiter("a"), *b = spawn_waiter("b");
    turns(1);
    coil_task_cancel(a, "m");
    ck_assert(coil_future_cancelled(future)); /* at once */
    turns(1);
    TRACE_IS("a:CancelledErrorm b:CancelledErrorm");
    coil_release(a);
    coil_release(b);
    coil_release(future);
}

TASK_TEST(future_of_another_loop_cannot_be_awaited)
{
    coil_loop_options options = {.size = sizeof options};
    coil_loop *other;
    OK(coil_new_event_loop(&options, &other));
    OK(coil_loop_create_future(other, &future));
    RAISES(COIL_EWRONGLOOP, "Task got Future attached to a different loop", coil_await(future, NULL));
    coil_release(future);
    coil_loop_free(other);
}

static int await_in_callback(void *arg)
{
    (void)arg;
    int rc = coil_await(future, NULL);
    ck_assert_int_eq(rc, COIL_ERUNTIME);
    rc = coil_sleep(0);
    ck_assert_int_eq(rc, COIL_ERUNTIME);
    note("callback");
    return 0;
}

TASK_TEST(future_cannot_be_awaited_in_a_callback)
{
    new_future();
    OK(coil_loop_call_soon(coil_get_running_loop(), await_in_callback, NULL, NULL));
    turns(1);
    TRACE_IS("callback");
    coil_release(future);
}

TASK_TEST(future_has_a_coroutine_that_awaits_it)
{
    void *value;
    new_future();
    coil_coro_drop(coil_await_coro(future));
    coil_task *task = spawn(coil_await_coro(future));
    turns(1);
    OK(coil_future_set_result(future, "v"));
    OK(coil_join(task, &value));
    ck_assert_str_eq(value, "v");
    coil_release(future);
}

/* --- errors that nobody looks at --------------------------------------------------------------------------------------- */

static void new_failed_future(void)
{
    new_future();
    OK(coil_future_set_exception(future, coil_error_new(COIL_EUSER(4), "lost")));
}

TASK_TEST(future_error_that_nobody_saw_is_reported_at_the_last_release)
{
    new_failed_future();
    coil_retain(future);
    coil_release(future);
    no_more_reports();
    coil_detach(future);
    expect_report("Future exception was never retrieved", COIL_EUSER(4), "lost");
}

TASK_TEST(future_error_that_somebody_saw_is_not_reported)
{
    coil_error *error;
    new_failed_future();
    OK(coil_future_exception(future, &error));
    coil_error_release(error);
    coil_release(future);
    new_failed_future();
    RAISES(COIL_EUSER(4), "lost", coil_await(future, NULL));
    coil_release(future);
    new_failed_future();
    ck_assert(!coil_future_cancel(future, NULL)); /* counts, as in asyncio */
    coil_release(future);
}

TASK_TEST(future_callback_alone_does_not_count_as_looking)
{
    new_failed_future();
    OK(coil_future_add_done_callback(future, callback, "a"));
    coil_release(future);
    turns(1);
    TRACE_IS("a");
    expect_report("Future exception was never retrieved", COIL_EUSER(4), "lost");
}

static coil_future *kept;

static int keeping_handler(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    (void)arg;
    kept = coil_retain(context->future);
    note("%s", context->message);
    return 0;
}

TASK_TEST(future_may_be_kept_by_the_handler_that_is_told_of_its_error)
{
    coil_loop_set_exception_handler(coil_get_running_loop(), keeping_handler, NULL);
    new_failed_future();
    coil_release(future);
    TRACE_IS("Future exception was never retrieved");
    RAISES(COIL_EUSER(4), "lost", coil_future_result(kept, NULL));
    coil_release(kept);
    TRACE_IS("");
}

/* --- what people see --------------------------------------------------------------------------------------------------- */

static void shows(const char *text)
{
    char buf[200];
    size_t n = coil_future_repr(future, buf, sizeof buf);
    ck_assert_str_eq(buf, text);
    ck_assert_uint_eq(n, strlen(text));
}

TASK_TEST(future_shows_its_state)
{
    new_future();
    shows("<Future pending>");
    OK(coil_future_set_result(future, (void *)1));
    shows("<Future finished result=0x1>");
    coil_release(future);
    new_future();
    coil_future_cancel(future, NULL);
    shows("<Future cancelled>");
    coil_release(future);
    new_future();
    OK(coil_future_set_exception(future, coil_error_new(-EINVAL, "bad")));
    shows("<Future finished exception=ValueError: bad>");
    char small[8];
    ck_assert_uint_eq(coil_future_repr(future, small, sizeof small),
                      strlen("<Future finished exception=ValueError: bad>"));
    ck_assert_str_eq(small, "<Future");
    coil_future_cancel(future, NULL);
    coil_release(future);
}

COIL_TEST_MAIN("future")
