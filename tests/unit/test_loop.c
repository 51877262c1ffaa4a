/*
 * test_loop.c - the event loop: order of callbacks, timers, running, stopping, closing
 *
 * The expected orders are those of asyncio.base_events of CPython 3.11. Loops are made by new_test_loop() (an event_loop
 * on a virtual clock) unless a test is about another clock.
 */
#include "one_loop.h"

static void later(int ms, const char *word)
{
    OK(coil_loop_call_later(loop, COIL_MS(ms), say, (void *)(uintptr_t)word, NULL));
}

/* --- callbacks ------------------------------------------------------------------------------------------------------- */

TEST(loop_callbacks_run_in_the_order_of_their_calls)
{
    begin();
    soon("a");
    soon("b");
    soon("c");
    run_for(0);
    TRACE_IS("a b c");
    end();
}

static int say_and_call(void *word)
{
    soon("nested");
    return say(word);
}

TEST(loop_callback_added_by_a_callback_runs_in_the_next_iteration)
{
    begin();
    OK(coil_loop_call_soon(loop, say_and_call, "a", NULL));
    soon("b");
    coil_loop_stop(loop);
    OK(coil_loop_run_forever(loop));
    TRACE_IS("a b");
    coil_loop_stop(loop);
    OK(coil_loop_run_forever(loop));
    TRACE_IS("nested");
    end();
}

static int cancel_handle(void *handle)
{
    coil_handle_cancel(*(coil_handle **)handle);
    return say("cancel");
}

TEST(loop_callback_cancelled_in_the_same_iteration_does_not_run)
{
    coil_handle *handle;
    begin();
    OK(coil_loop_call_soon(loop, cancel_handle, &handle, NULL));
    OK(coil_loop_call_soon(loop, say, "no", &handle));
    ck_assert(!coil_handle_cancelled(handle));
    ck_assert_int_eq(coil_handle_when(handle), -1);
    run_for(0);
    TRACE_IS("cancel");
    ck_assert(coil_handle_cancelled(handle));
    coil_handle_release(handle);
    coil_handle_release(NULL);
    end();
}

TEST(loop_handle_may_be_cancelled_twice_and_after_the_run)
{
    coil_handle *ran, *timer;
    begin();
    OK(coil_loop_call_soon(loop, say, "ran", &ran));
    OK(coil_loop_call_later(loop, COIL_MS(1), say, "timer", &timer));
    run_for(5);
    TRACE_IS("ran timer");
    coil_handle_cancel(ran);
    coil_handle_cancel(ran);
    coil_handle_cancel(timer);
    coil_handle_cancel(timer);
    ck_assert(coil_handle_cancelled(ran));
    coil_handle_release(ran);
    coil_handle_release(timer);
    end();
}

TEST(loop_handle_may_be_released_before_its_callback_runs)
{
    coil_handle *handle;
    begin();
    OK(coil_loop_call_later(loop, COIL_MS(1), say, "a", &handle));
    coil_handle_release(handle);
    run_for(5);
    TRACE_IS("a");
    end();
}

TEST(loop_handle_may_outlive_its_loop)
{
    coil_handle *timer, *callback;
    begin();
    OK(coil_loop_call_later(loop, COIL_MS(1), say, "no", &timer));
    OK(coil_loop_call_soon(loop, say, "no", &callback));
    end();
    TRACE_IS("");
    coil_handle_cancel(timer);
    coil_handle_cancel(callback);
    ck_assert_int_eq(coil_handle_when(timer), COIL_MS(1));
    coil_handle_release(timer);
    coil_handle_release(callback);
}

/* --- timers ---------------------------------------------------------------------------------------------------------- */

TEST(loop_timers_run_by_time_and_equal_times_in_the_order_armed)
{
    begin();
    later(30, "30");
    later(10, "10a");
    later(20, "20");
    later(10, "10b");
    OK(coil_loop_call_at(loop, COIL_MS(10), say, "10c", NULL));
    run_for(30);
    TRACE_IS("10a 10b 10c 20 30");
    ck_assert_int_eq(now_ms(), 30);
    ck_assert_int_eq(coil_loop_time(loop), COIL_MS(30));
    end();
}

TEST(loop_timers_of_every_size_of_heap_run_in_order)
{
    begin();
    unsigned random = 7;
    for (int i = 0; i < 500; i++) {
        random = random * 1103515245 + 12345;
        later((int)(random >> 8) % 1000, ".");
    }
    coil_loop_stats stats = {.size = sizeof stats};
    coil_loop_get_stats(loop, &stats);
    ck_assert_uint_eq(stats.timers, 500);
    run_for(1000);
    ck_assert_uint_eq(strlen(trace), 999);
    coil_loop_get_stats(loop, &stats);
    ck_assert_uint_eq(stats.timers, 0);
    end();
}

TEST(loop_timer_that_is_due_runs_behind_what_was_ready)
{
    begin();
    later(0, "timer");
    later(-5, "past");
    soon("a");
    soon("b");
    coil_loop_stop(loop);
    OK(coil_loop_run_forever(loop));
    TRACE_IS("a b past timer");
    end();
}

TEST(loop_timer_cancelled_before_its_time_neither_runs_nor_is_waited_for)
{
    coil_handle *handle;
    begin();
    OK(coil_loop_call_later(loop, COIL_MS(10), say, "no", &handle));
    ck_assert_int_eq(coil_handle_when(handle), COIL_MS(10));
    coil_handle_cancel(handle);
    coil_handle_release(handle);
    coil_loop_stats stats = {.size = sizeof stats};
    coil_loop_get_stats(loop, &stats);
    ck_assert_uint_eq(stats.timers, 0);
    run_for(5);
    ck_assert_int_eq(now_ms(), 5);
    run_for(20);
    TRACE_IS("");
    end();
}

TEST(loop_time_for_ever_never_comes)
{
    begin();
    OK(coil_loop_call_later(loop, COIL_FOREVER, say, "no", NULL));
    run_for(5);
    OK(coil_loop_call_later(loop, COIL_FOREVER - 1, say, "no", NULL));
    run_for(5);
    TRACE_IS("");
    end();
}

/* A clock whose idle work is to say so and to move the time a little. */
struct lazy_clock {
    coil_clock clock;
    int64_t time;
};

static int64_t lazy_now(coil_clock *clock)
{
    return ((struct lazy_clock *)(void *)clock)->time;
}

static bool lazy_idle(coil_clock *clock, int64_t deadline)
{
    note("idle-until-%ld", (long)deadline);
    ((struct lazy_clock *)(void *)clock)->time += 3;
    return true;
}

TEST(loop_asks_its_clock_when_it_would_sleep)
{
    struct lazy_clock clock = {{lazy_now, lazy_idle}, 100};
    coil_loop_options options = {.size = sizeof options, .clock = &clock.clock};
    trace[0] = '\0';
    OK(coil_new_event_loop(&options, &loop));
    ck_assert_int_eq(coil_loop_time(loop), 100);
    OK(coil_loop_call_at(loop, 105, say, "due", NULL));
    OK(coil_loop_call_at(loop, 106, stop, NULL, NULL));
    OK(coil_loop_run_forever(loop));
    TRACE_IS("idle-until-105 idle-until-105 due");
    end();
}

/* --- running --------------------------------------------------------------------------------------------------------- */

TEST(loop_stopped_before_it_runs_makes_one_iteration)
{
    begin();
    soon("a");
    later(1, "timer");
    coil_loop_stop(loop);
    OK(coil_loop_run_forever(loop));
    TRACE_IS("a");
    ck_assert_int_eq(now_ms(), 0);
    run_for(2);
    TRACE_IS("timer");
    end();
}

TEST(loop_stop_lets_the_iteration_end)
{
    begin();
    soon("a");
    OK(coil_loop_call_soon(loop, stop, NULL, NULL));
    soon("b");
    OK(coil_loop_call_soon(loop, say_and_call, "c", NULL));
    OK(coil_loop_run_forever(loop));
    TRACE_IS("a b c");
    run_for(0);
    TRACE_IS("nested");
    end();
}

static int check_running(void *arg)
{
    (void)arg;
    ck_assert_ptr_eq(coil_get_running_loop(), loop);
    ck_assert_ptr_eq(coil_get_event_loop(), loop);
    ck_assert(coil_loop_is_running(loop));
    return say("checked");
}

TEST(loop_is_the_running_one_only_while_it_runs)
{
    begin();
    ck_assert(!coil_loop_is_running(loop));
    ck_assert_ptr_null(coil_get_running_loop());
    ck_assert_str_eq(caught(COIL_ENOLOOP), "no running event loop");
    OK(coil_loop_call_soon(loop, check_running, NULL, NULL));
    run_for(0);
    TRACE_IS("checked");
    ck_assert(!coil_loop_is_running(loop));
    ck_assert_ptr_null(coil_get_running_loop());
    end();
}

TEST(loop_may_be_set_as_the_current_one)
{
    begin();
    ck_assert_ptr_null(coil_get_event_loop());
    ck_assert_str_eq(caught(COIL_ENOLOOP), "no current event loop");
    coil_set_event_loop(loop);
    ck_assert_ptr_eq(coil_get_event_loop(), loop);
    end();
    ck_assert_ptr_null(coil_get_event_loop()); /* freeing unsets it */
}

static int answer(void *arg, void **result)
{
    COIL_TRY(coil_sleep(COIL_MS(1)));
    *result = arg;
    return 0;
}

TEST(loop_run_until_complete_gives_the_result)
{
    void *result = NULL;
    coil_future *future;
    begin();
    OK(coil_loop_run_until_complete(loop, coil_coro_of(answer, "42"), &result));
    ck_assert_str_eq(result, "42");
    OK(coil_loop_create_future(loop, &future));
    OK(coil_future_set_result(future, "done"));
    OK(coil_loop_run_until_complete(loop, future, &result));
    ck_assert_str_eq(result, "done");
    OK(coil_loop_run_until_complete(loop, future, NULL));
    coil_release(future);
    end();
}

static int failing(void *arg, void **result)
{
    (void)arg;
    (void)result;
    COIL_TRY(coil_sleep(0));
    return coil_raise(COIL_EUSER(3), "no luck");
}

TEST(loop_run_until_complete_raises_what_the_coroutine_raises)
{
    begin();
    RAISES(COIL_EUSER(3), "no luck", coil_loop_run_until_complete(loop, coil_coro_of(failing, NULL), NULL));
    end();
}

TEST(loop_run_until_complete_runs_what_is_ready_in_its_last_iteration)
{
    coil_future *future;
    begin();
    OK(coil_loop_create_future(loop, &future));
    OK(coil_future_set_result(future, NULL));
    soon("before");
    OK(coil_loop_run_until_complete(loop, future, NULL));
    TRACE_IS("before");
    coil_release(future);
    end();
}

static int stopping_body(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_loop_stop(loop);
    COIL_TRY(coil_sleep(COIL_MS(5)));
    note("finished");
    return 0;
}

TEST(loop_that_is_stopped_before_the_future_is_done_says_so)
{
    begin();
    RAISES(COIL_ERUNTIME, "Event loop stopped before Future completed.",
           coil_loop_run_until_complete(loop, coil_coro_of(stopping_body, NULL), NULL));
    TRACE_IS("");
    run_for(10);
    TRACE_IS("finished"); /* the task survived */
    end();
}

static void drop_note(void *arg)
{
    note("drop:%s", (char *)arg);
}

static coil_coro dropped(void)
{
    return coil_coro_owning(answer, "it", drop_note);
}

static int run_again(void *arg)
{
    coil_loop *other = arg;
    RAISES(COIL_EBUSY, "This event loop is already running", coil_loop_run_forever(loop));
    RAISES(COIL_EBUSY, "This event loop is already running", coil_loop_run_until_complete(loop, dropped(), NULL));
    RAISES(COIL_EBUSY, "Cannot run the event loop while another loop is running", coil_loop_run_forever(other));
    RAISES(COIL_EBUSY, "Cannot close a running event loop", coil_loop_close(loop));
    return say("checked");
}

TEST(loop_runs_once_at_a_time_and_one_loop_a_thread)
{
    begin();
    coil_loop *other = new_test_loop();
    OK(coil_loop_call_soon(loop, run_again, other, NULL));
    run_for(0);
    TRACE_IS("drop:it checked");
    coil_loop_free(other);
    end();
}

TEST(loop_run_until_complete_refuses_what_is_not_its_own)
{
    coil_future *future;
    begin();
    coil_loop *other = new_test_loop();
    OK(coil_loop_create_future(other, &future));
    RAISES(-EINVAL, "The future belongs to a different loop than the one specified as the loop argument",
           coil_loop_run_until_complete(loop, future, NULL));
    RAISES(COIL_ETYPE, "An asyncio.Future, a coroutine or an awaitable is required",
           coil_loop_run_until_complete(loop, coil_coro_make(NULL, NULL, NULL, 0, NULL), NULL));
    coil_release(future);
    coil_loop_free(other);
    end();
}

/* --- closing --------------------------------------------------------------------------------------------------------- */

TEST(loop_close_drops_what_is_scheduled)
{
    begin();
    soon("no");
    later(1, "no");
    OK(coil_loop_call_soon_threadsafe(loop, say, "no", NULL));
    ck_assert(!coil_loop_is_closed(loop));
    OK(coil_loop_close(loop));
    ck_assert(coil_loop_is_closed(loop));
    OK(coil_loop_close(loop));
    end();
    TRACE_IS("");
    coil_loop_free(NULL);
}

TEST(loop_calls_after_close_raise)
{
    begin();
    run_for(1);
    OK(coil_loop_close(loop));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_call_soon(loop, say, "no", NULL));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_call_later(loop, 1, say, "no", NULL));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_call_at(loop, 1, say, "no", NULL));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_call_soon_threadsafe(loop, say, "no", NULL));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_run_forever(loop));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_run_until_complete(loop, dropped(), NULL));
    TRACE_IS("drop:it");
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_create_task(loop, dropped(), NULL, NULL));
    TRACE_IS("drop:it");
    coil_backend_info info = {.size = sizeof info};
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_backend_info(loop, &info));
    end();
}

static int sleeper(void *name, void **result)
{
    (void)result;
    int rc = coil_sleep(COIL_MS(100));
    note("%s:%s", (char *)name, coil_error_name(rc));
    rc = coil_sleep(0);
    note("%s", coil_error_name(rc));
    rc = coil_sleep(COIL_MS(5));
    note("%s", coil_error_name(rc));
    return 0;
}

TEST(loop_free_unwinds_tasks_that_never_finished)
{
    begin();
    OK(coil_loop_create_task(loop, coil_coro_of(sleeper, "a"), NULL, NULL));
    coil_task *b;
    OK(coil_loop_create_task(loop, coil_coro_of(sleeper, "b"), NULL, &b));
    run_for(1);
    TRACE_IS("");
    end();
    TRACE_IS("b:GeneratorExit GeneratorExit GeneratorExit a:GeneratorExit GeneratorExit GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, "");
    expect_report("Task was destroyed but it is pending!", 0, "");
    ck_assert(coil_future_done(b));
    coil_release(b);
}

TEST(loop_free_drops_coroutines_that_never_ran)
{
    begin();
    OK(coil_loop_create_task(loop, dropped(), NULL, NULL));
    end();
    TRACE_IS("drop:it");
    expect_report("Task was destroyed but it is pending!", 0, "");
}

static int spawner(void *arg, void **result)
{
    (void)arg;
    (void)result;
    int rc = coil_sleep(COIL_MS(100));
    note("%s", coil_error_name(rc));
    rc = coil_create_task(dropped(), NULL);
    note("%s", coil_error_name(rc));
    return rc;
}

TEST(loop_that_is_being_freed_takes_no_tasks)
{
    begin();
    OK(coil_loop_create_task(loop, coil_coro_of(spawner, NULL), NULL, NULL));
    run_for(1);
    end();
    TRACE_IS("GeneratorExit drop:it RuntimeError");
    expect_report("Task was destroyed but it is pending!", 0, "");
}

static int busy_waiter(void *future, void **result)
{
    int rc = coil_await(future, result);
    note("%s", coil_error_name(rc));
    return rc;
}

TEST(loop_free_unwinds_tasks_that_wait_for_each_other)
{
    coil_task *first, *second;
    begin();
    OK(coil_loop_create_task(loop, coil_coro_of(sleeper, "first"), NULL, &first));
    OK(coil_loop_create_task(loop, coil_coro_of(busy_waiter, first), NULL, &second));
    run_for(1);
    end();
    TRACE_IS("GeneratorExit first:GeneratorExit GeneratorExit GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, "");
    expect_report("Task was destroyed but it is pending!", 0, "");
    coil_release(first);
    coil_release(second);
}

TEST(loop_futures_may_outlive_it)
{
    coil_future *pending, *done;
    begin();
    OK(coil_loop_create_future(loop, &pending));
    OK(coil_loop_create_future(loop, &done));
    OK(coil_future_set_result(done, "value"));
    end();
    void *value;
    OK(coil_future_result(done, &value));
    ck_assert_str_eq(value, "value");
    ck_assert(coil_future_cancel(pending, NULL));
    coil_release(pending);
    coil_release(done);
}

static int never(coil_future *future, void *arg)
{
    (void)future;
    (void)arg;
    note("no");
    return 0;
}

TEST(loop_that_is_closed_does_not_run_the_callbacks_of_its_futures)
{
    coil_future *future;
    begin();
    OK(coil_loop_create_future(loop, &future));
    OK(coil_future_add_done_callback(future, never, NULL));
    OK(coil_loop_close(loop));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_future_set_result(future, NULL));
    ck_assert(coil_future_done(future));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_future_add_done_callback(future, never, NULL));
    coil_release(future);
    end();
    TRACE_IS("");
}

COIL_TEST_MAIN("loop")
