/*
 * test_loop_reports.c - the event loop: reports of errors, debug mode, options, statistics, threads and descriptors
 *
 * Loops are made by new_test_loop() (an event_loop on a virtual clock) unless a test is about another clock.
 */
#include "descriptors.h"
#include "one_loop.h"

#include <pthread.h>
#include <stdlib.h>

static int answer(void *arg, void **result)
{
    COIL_TRY(coil_sleep(COIL_MS(1)));
    *result = arg;
    return 0;
}

/* --- reports --------------------------------------------------------------------------------------------------------- */

static int fail_with_message(void *arg)
{
    return coil_raise(COIL_EUSER(1), "%s", (char *)arg);
}

TEST(loop_reports_the_error_of_a_callback_and_goes_on)
{
    begin();
    OK(coil_loop_call_soon(loop, fail_with_message, "first", NULL));
    soon("after");
    OK(coil_loop_call_later(loop, COIL_MS(1), fail_with_message, "second", NULL));
    run_for(2);
    TRACE_IS("after");
    expect_report("Exception in callback", COIL_EUSER(1), "first");
    expect_report("Exception in callback", COIL_EUSER(1), "second");
    end();
}

static int my_handler(coil_loop *l, const coil_exception_context *context, void *arg)
{
    ck_assert_ptr_eq(l, loop);
    note("%s:%s/%s", (char *)arg, context->message, coil_error_message(context->error));
    return 0;
}

TEST(loop_calls_the_exception_handler_that_was_set)
{
    void *arg;
    begin();
    ck_assert_ptr_null(coil_loop_get_exception_handler(loop, NULL));
    coil_loop_set_exception_handler(loop, my_handler, "mine");
    ck_assert(coil_loop_get_exception_handler(loop, &arg) == my_handler);
    ck_assert_str_eq(arg, "mine");
    OK(coil_loop_call_soon(loop, fail_with_message, "oops", NULL));
    run_for(0);
    TRACE_IS("mine:Exception in callback/oops");
    coil_exception_context context = {.message = "by hand"};
    coil_loop_call_exception_handler(loop, &context);
    TRACE_IS("mine:by hand/");
    coil_loop_default_exception_handler(loop, &context);
    expect_report("by hand", 0, "");
    coil_loop_set_exception_handler(loop, NULL, NULL);
    coil_loop_call_exception_handler(loop, &context);
    expect_report("by hand", 0, "");
    end();
}

static int failing_handler(coil_loop *l, const coil_exception_context *context, void *arg)
{
    (void)l;
    (void)context;
    return fail_with_message(arg);
}

TEST(loop_reports_the_failure_of_a_handler_by_the_default_one)
{
    begin();
    coil_loop_set_exception_handler(loop, failing_handler, "worse");
    OK(coil_loop_call_soon(loop, fail_with_message, "bad", NULL));
    run_for(0);
    expect_report("Unhandled error in exception handler", COIL_EUSER(1), "worse");
    end();
}

static int report_while_raising(void *arg)
{
    (void)arg;
    int rc = coil_raise(COIL_EUSER(5), "mine");
    coil_exception_context context = {.message = "in between"};
    coil_loop_call_exception_handler(loop, &context);
    return rc;
}

TEST(loop_report_does_not_disturb_the_current_error)
{
    begin();
    coil_loop_set_exception_handler(loop, failing_handler, "worse");
    RAISES(COIL_EUSER(5), "mine", report_while_raising(NULL));
    expect_report("Unhandled error in exception handler", COIL_EUSER(1), "worse");
    end();
}

/* --- debug mode, options, statistics ----------------------------------------------------------------------------------- */

static void slow(coil_loop *l, const char *what, int64_t duration_ns, void *arg)
{
    (void)l;
    (void)arg;
    note("slow:%s:%ld", strstr(what, "Task") ? "task" : what, (long)(duration_ns / 1000000));
}

static int take_time(void *ms)
{
    test_clock.time_ns += COIL_MS((intptr_t)ms);
    return 0;
}

static int take_time_in_task(void *ms, void **result)
{
    (void)result;
    return take_time(ms);
}

TEST(loop_in_debug_mode_tells_who_held_it_for_long)
{
    coil_loop_options options = test_options();
    options.slow_callback_handler = slow;
    options.debug = true;
    trace[0] = '\0';
    OK(coil_new_event_loop(&options, &loop));
    ck_assert(coil_loop_get_debug(loop));
    OK(coil_loop_call_soon(loop, take_time, (void *)99, NULL));
    OK(coil_loop_call_soon(loop, take_time, (void *)100, NULL));
    OK(coil_loop_create_task(loop, coil_coro_of(take_time_in_task, (void *)200), NULL, NULL));
    run_for(0);
    TRACE_IS("slow:<callback>:100 slow:task:200");
    coil_loop_set_slow_callback_duration(loop, COIL_MS(5));
    OK(coil_loop_call_soon(loop, take_time, (void *)7, NULL));
    run_for(0);
    TRACE_IS("slow:<callback>:7");
    coil_loop_set_debug(loop, false);
    OK(coil_loop_call_soon(loop, take_time, (void *)1000, NULL));
    run_for(0);
    TRACE_IS("");
    end();
}

static void *call_soon_from_thread(void *arg)
{
    (void)arg;
    RAISES(COIL_ERUNTIME, "Non-thread-safe operation invoked on an event loop other than the current one",
           coil_loop_call_soon(loop, say, "no", NULL));
    RAISES(COIL_ERUNTIME, "Non-thread-safe operation invoked on an event loop other than the current one",
           coil_loop_call_later(loop, 0, say, "no", NULL));
    return NULL;
}

static int start_thread(void *fn)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, *(void *(**)(void *))fn, NULL), 0);
    pthread_join(thread, NULL);
    return say("joined");
}

TEST(loop_in_debug_mode_refuses_calls_from_other_threads)
{
    void *(*body)(void *) = call_soon_from_thread;
    begin();
    coil_loop_set_debug(loop, true);
    OK(coil_loop_call_soon(loop, start_thread, &body, NULL));
    run_for(0);
    TRACE_IS("joined");
    end();
}

TEST(loop_options_that_make_no_sense_are_refused)
{
    coil_clock no_clock = {NULL, NULL};
    coil_loop_options options = {.size = sizeof options - 1};
    ck_assert_int_eq(coil_new_event_loop(&options, &loop), -EINVAL);
    options.size = sizeof options;
    options.backend = (enum coil_backend_kind)99;
    ck_assert_int_eq(coil_new_event_loop(&options, &loop), -EINVAL);
    options.backend = COIL_BACKEND_AUTO;
    options.stack_bytes = SIZE_MAX;
    ck_assert_int_eq(coil_new_event_loop(&options, &loop), -EINVAL);
    options.stack_bytes = 0;
    options.clock = &no_clock;
    ck_assert_int_eq(coil_new_event_loop(&options, &loop), -EINVAL);
}

TEST(loop_of_an_unknown_backend_does_not_run)
{
    coil_loop_options options = test_options();
    const char *backend = getenv("COIL_BACKEND");
    char *saved = backend ? strdup(backend) : NULL;
    setenv("COIL_BACKEND", "abacus", 1);
    int rc = coil_new_event_loop(&options, &loop);
    if (rc == 0) {
        rc = coil_loop_run_until_complete(loop, coil_coro_of(answer, "it"), NULL);
        coil_loop_free(loop);
    }
    ck_assert_int_eq(rc, -EINVAL);
    if (saved)
        setenv("COIL_BACKEND", saved, 1);
    else
        unsetenv("COIL_BACKEND");
    free(saved);
    report_count = reports_expected; /* the task that never ran */
}

TEST(loop_says_which_backend_it_uses)
{
    coil_loop_options options = test_options();
    coil_backend_info info = {.size = sizeof info};
    options.backend = COIL_BACKEND_EPOLL;
    OK(coil_new_event_loop(&options, &loop));
    OK(coil_loop_backend_info(loop, &info));
    ck_assert_str_eq(info.name, "epoll");
    ck_assert_str_ne(info.reason, "");
    ck_assert_str_ne(info.kernel, "");
    end();
}

TEST(loop_counts_what_it_does)
{
    coil_loop_stats stats = {.size = sizeof stats};
    begin();
    for (int i = 0; i < 10; i++)
        soon(".");
    OK(coil_loop_create_task(loop, coil_coro_of(answer, NULL), NULL, NULL));
    coil_loop_get_stats(loop, &stats);
    ck_assert_uint_eq(stats.iterations, 0);
    ck_assert_uint_eq(stats.tasks, 1);
    run_for(5);
    coil_loop_get_stats(loop, &stats);
    ck_assert_uint_ge(stats.iterations, 3);
    ck_assert_uint_ge(stats.handles, 10 + 2 + 2);
    ck_assert_uint_eq(stats.tasks, 0);
    ck_assert_uint_eq(stats.wakeups, 0);
    end();
}

TEST(loop_with_nothing_but_ready_work_makes_no_system_call)
{
    coil_loop_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    begin();
    run_for(1);
    coil_loop_get_stats(loop, &before);
    for (int i = 0; i < 100; i++) {
        soon(".");
        coil_loop_stop(loop);
        OK(coil_loop_run_forever(loop));
    }
    coil_loop_get_stats(loop, &after);
    ck_assert_uint_eq(after.kernel_waits, before.kernel_waits);
    end();
}

/* --- threads and descriptors ------------------------------------------------------------------------------------------- */

static void *run_in_thread(void *arg)
{
    (void)arg;
    void *result;
    OK(coil_loop_run_until_complete(loop, coil_coro_of(answer, "thread"), &result));
    ck_assert_str_eq(result, "thread");
    return NULL;
}

TEST(loop_may_be_made_on_one_thread_and_run_on_others)
{
    void *result;
    begin();
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, run_in_thread, NULL), 0);
        pthread_join(thread, NULL);
        OK(coil_loop_run_until_complete(loop, coil_coro_of(answer, "here"), &result));
        ck_assert_str_eq(result, "here");
    }
    end();
}

static void *stop_from_thread(void *arg)
{
    (void)arg;
    coil_loop_stop(loop);
    return NULL;
}

TEST(loop_that_sleeps_in_the_kernel_can_be_stopped_by_another_thread)
{
    pthread_t thread;
    OK(coil_new_event_loop(NULL, &loop));
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, stop_from_thread, NULL), 0);
        OK(coil_loop_run_forever(loop));
        pthread_join(thread, NULL);
    }
    end();
}

TEST(loop_on_the_real_clock_sleeps_until_a_timer)
{
    OK(coil_new_event_loop(NULL, &loop));
    trace[0] = '\0';
    int64_t start = coil_loop_time(loop);
    OK(coil_loop_call_later(loop, COIL_MS(3), say, "timer", NULL));
    OK(coil_loop_call_later(loop, COIL_MS(4), stop, NULL, NULL));
    OK(coil_loop_run_forever(loop));
    TRACE_IS("timer");
    ck_assert_int_ge(coil_loop_time(loop) - start, COIL_MS(4));
    end();
}

TEST(loop_gives_its_descriptors_back)
{
    begin();
    run_for(1);
    end();
    int before = open_descriptors();
    for (int i = 0; i < 10; i++) {
        begin();
        run_for(1);
        if (i % 2)
            OK(coil_loop_close(loop));
        end();
    }
    ck_assert_int_eq(open_descriptors(), before);
}

static void run_nested_free(void)
{
    coil_loop_free(coil_get_running_loop());
}

ABORTS(loop_may_not_be_freed_while_it_runs)
{
    run_as_task(run_nested_free);
}

COIL_TEST_MAIN("loop_reports")
