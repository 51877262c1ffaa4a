/*
 * test_timeout.c - timeout scopes: when they cancel, and when they turn the cancellation into a timeout
 *
 * Each test is the main task of a loop of its own (coil_run_with) on a virtual clock. What is expected is what
 * asyncio.timeouts of CPython 3.11 does.
 */
#include "coil_test.h"

#include "base/alloc.h"

/* A body of coil_timeout_run(): sleeps for arg milliseconds; its result is arg. */
static int nap(void *arg, void **result)
{
    COIL_TRY(coil_sleep(COIL_MS((intptr_t)arg)));
    *result = arg;
    return 0;
}

static coil_coro nap_coro(intptr_t ms)
{
    return coil_coro_of(nap, (void *)ms);
}

TASK_TEST(timeout_ends_a_body_that_is_too_slow)
{
    void *result = NULL;
    RAISES(-ETIMEDOUT, "", coil_timeout_run(COIL_MS(10), nap_coro(50), &result));
    ck_assert_ptr_null(result);
    ck_assert_int_eq(now_ms(), 10);
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 0);
    turns(1); /* no cancellation is left */
}

TASK_TEST(timeout_leaves_a_fast_body_alone)
{
    void *result;
    OK(coil_timeout_run(COIL_MS(50), nap_coro(10), &result));
    ck_assert_int_eq((intptr_t)result, 10);
    OK(coil_sleep(COIL_MS(100)));
    ck_assert_int_eq(now_ms(), 110);
}

TASK_TEST(timeout_for_ever_never_comes)
{
    OK(coil_timeout_run(COIL_FOREVER, nap_coro(100000), NULL));
    OK(coil_timeout_run(INT64_MAX - 1, nap_coro(1), NULL)); /* beyond the end of the clock */
    ck_assert_int_eq(now_ms(), 100001);
}

TASK_TEST(timeout_of_zero_ends_the_first_wait)
{
    RAISES(-ETIMEDOUT, "", coil_timeout_run(0, nap_coro(10), NULL));
    RAISES(-ETIMEDOUT, "", coil_timeout_run(-COIL_MS(5), nap_coro(10), NULL));
    ck_assert_int_eq(now_ms(), 0);
    OK(coil_sleep(COIL_MS(20)));
}

static int failing(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return coil_raise(COIL_EUSER(1), "no luck");
}

TASK_TEST(timeout_passes_the_errors_of_the_body_on)
{
    RAISES(COIL_EUSER(1), "no luck", coil_timeout_run(COIL_MS(10), coil_coro_of(failing, NULL), NULL));
    OK(coil_sleep(COIL_MS(20)));
}

TASK_TEST(timeout_is_expired_from_the_moment_it_cancels)
{
    coil_timeout *t;
    OK(coil_timeout_new(COIL_MS(5), &t));
    ck_assert_int_eq(coil_timeout_when(t), COIL_MS(5));
    OK(coil_timeout_enter(t));
    ck_assert(!coil_timeout_expired(t));
    int rc = coil_sleep(COIL_MS(10));
    ck_assert_int_eq(rc, -ECANCELED);
    ck_assert(coil_timeout_expired(t));
    RAISES(COIL_ERUNTIME, "Cannot change state of expiring Timeout", coil_timeout_reschedule(t, COIL_MS(50)));
    rc = coil_timeout_exit(t, rc);
    ck_assert_int_eq(rc, -ETIMEDOUT);
    ck_assert(coil_timeout_expired(t));
    RAISES(COIL_ERUNTIME, "Cannot change state of expired Timeout", coil_timeout_reschedule(t, COIL_MS(50)));
    coil_timeout_free(t);
    coil_timeout_free(NULL);
}

TASK_TEST(timeout_misuse_raises)
{
    coil_timeout *t;
    OK(coil_timeout_at_new(COIL_MS(50), &t));
    RAISES(COIL_ERUNTIME, "Timeout has not been entered", coil_timeout_reschedule(t, COIL_MS(5)));
    OK(coil_timeout_enter(t));
    RAISES(COIL_EBUSY, "Timeout has already been entered", coil_timeout_enter(t));
    OK(coil_timeout_exit(t, 0));
    ck_assert(!coil_timeout_expired(t));
    RAISES(COIL_EBUSY, "Timeout has already been entered", coil_timeout_enter(t));
    RAISES(COIL_ERUNTIME, "Cannot change state of finished Timeout", coil_timeout_reschedule(t, COIL_MS(5)));
    coil_timeout_free(t);
}

static int enter_in_callback(void *t)
{
    RAISES(COIL_ERUNTIME, "Timeout should be used inside a task", coil_timeout_enter(t));
    note("callback");
    return 0;
}

TASK_TEST(timeout_enter_needs_a_task)
{
    coil_timeout *t;
    OK(coil_timeout_new(COIL_MS(5), &t));
    OK(coil_loop_call_soon(coil_get_running_loop(), enter_in_callback, t, NULL));
    turns(1);
    TRACE_IS("callback");
    coil_timeout_free(t);
}

static void drop_note(void *arg)
{
    note("drop:%s", (char *)arg);
}

TEST(timeout_needs_a_running_loop)
{
    coil_timeout *t;
    trace[0] = '\0';
    RAISES(COIL_ENOLOOP, "no running event loop", coil_timeout_new(COIL_MS(5), &t));
    RAISES(COIL_ENOLOOP, "no running event loop",
           coil_timeout_run(COIL_MS(5), coil_coro_owning(nap, "body", drop_note), NULL));
    TRACE_IS("drop:body");
    OK(coil_timeout_at_new(COIL_MS(5), &t));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_timeout_enter(t));
    coil_timeout_free(t);
}

TASK_TEST(timeout_may_be_rescheduled)
{
    coil_timeout *t;
    OK(coil_timeout_new(COIL_MS(10), &t));
    OK(coil_timeout_enter(t));
    OK(coil_timeout_reschedule(t, COIL_MS(30)));
    ck_assert_int_eq(coil_timeout_when(t), COIL_MS(30));
    OK(coil_sleep(COIL_MS(20)));
    OK(coil_timeout_reschedule(t, COIL_FOREVER));
    OK(coil_sleep(COIL_MS(20)));
    OK(coil_timeout_reschedule(t, COIL_MS(1))); /* in the past: at once */
    int rc = coil_sleep(COIL_MS(20));
    rc = coil_timeout_exit(t, rc);
    ck_assert_int_eq(rc, -ETIMEDOUT);
    ck_assert_int_eq(now_ms(), 40);
    coil_timeout_free(t);
}

TASK_TEST(timeout_that_is_due_at_once_can_still_be_left_in_time)
{
    coil_timeout *t;
    OK(coil_timeout_new(0, &t));
    OK(coil_timeout_enter(t));
    OK(coil_timeout_exit(t, 7)); /* its callback is ready, and is cancelled */
    coil_timeout_free(t);
    turns(2);
}

TASK_TEST(timeout_swallowed_by_the_body_raises_nothing)
{
    coil_timeout *t;
    OK(coil_timeout_new(COIL_MS(1), &t));
    OK(coil_timeout_enter(t));
    RAISES(-ECANCELED, "", coil_sleep(COIL_MS(10)));
    int rc = coil_timeout_exit(t, 3);
    ck_assert_int_eq(rc, 3);
    ck_assert(coil_timeout_expired(t));
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 0);
    coil_timeout_free(t);
}

static int nested(void *arg, void **result)
{
    const int64_t *delays = arg;
    (void)result;
    int rc = coil_timeout_run(delays[1], nap_coro(100), NULL);
    note("inner:%s", coil_error_name(rc));
    return rc;
}

TASK_TEST(timeout_inside_a_timeout_the_inner_one_first)
{
    int64_t delays[] = {COIL_MS(20), COIL_MS(10)};
    RAISES(-ETIMEDOUT, "", coil_timeout_run(delays[0], coil_coro_of(nested, delays), NULL));
    TRACE_IS("inner:TimeoutError");
    ck_assert_int_eq(now_ms(), 10);
}

TASK_TEST(timeout_inside_a_timeout_the_outer_one_first)
{
    int64_t delays[] = {COIL_MS(10), COIL_MS(20)};
    RAISES(-ETIMEDOUT, "", coil_timeout_run(delays[0], coil_coro_of(nested, delays), NULL));
    TRACE_IS("inner:CancelledError");
    ck_assert_int_eq(now_ms(), 10);
}

TASK_TEST(timeout_inside_a_timeout_both_at_once)
{
    int64_t delays[] = {COIL_MS(10), COIL_MS(10)};
    RAISES(-ETIMEDOUT, "", coil_timeout_run(delays[0], coil_coro_of(nested, delays), NULL));
    TRACE_IS("inner:CancelledError"); /* two cancellations were asked for: the last to leave converts */
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 0);
}

static int timed(void *arg, void **result)
{
    (void)arg;
    int rc = coil_timeout_run(COIL_MS(10), nap_coro(50), result);
    note("%s", coil_error_name(rc));
    return rc;
}

static int cancel_task(void *task)
{
    coil_task_cancel(task, "from outside");
    return 0;
}

TASK_TEST(timeout_does_not_convert_a_cancellation_from_outside)
{
    coil_task *task = spawn(coil_coro_of(timed, NULL));
    OK(coil_sleep(COIL_MS(5)));
    coil_task_cancel(task, "from outside");
    RAISES(-ECANCELED, "from outside", coil_await(task, NULL));
    TRACE_IS("CancelledError");
    coil_release(task);
}

TASK_TEST(timeout_that_expires_together_with_a_cancellation_from_outside_lets_it_pass)
{
    coil_task *task = spawn(coil_coro_of(timed, NULL));
    OK(coil_loop_call_at(coil_get_running_loop(), COIL_MS(10), cancel_task, task, NULL));
    RAISES(-ECANCELED, "from outside", coil_await(task, NULL));
    TRACE_IS("CancelledError");
    ck_assert_uint_eq(coil_task_cancelling(task), 1);
    coil_release(task);
}

TASK_TEST(timeout_enter_without_memory_raises_and_may_be_tried_again)
{
    coil_timeout *t;
    OK(coil_timeout_new(COIL_MS(5), &t));
    coil__alloc_fail_at(1);
    RAISES(-ENOMEM, "", coil_timeout_enter(t));
    coil__alloc_fail_at(0);
    OK(coil_timeout_enter(t));
    OK(coil_timeout_exit(t, 0));
    coil_timeout_free(t);
}

static void never_leave(void)
{
    coil_timeout *t;
    OK(coil_timeout_new(COIL_FOREVER, &t));
    OK(coil_timeout_enter(t));
}

ABORTS(timeout_may_not_be_open_when_its_task_ends)
{
    run_as_task(never_leave);
}

TEST(timeout_scopes_are_left_when_their_loop_is_freed)
{
    coil_loop *loop = new_test_loop();
    trace[0] = '\0';
    OK(coil_loop_create_task(loop, coil_coro_of(timed, NULL), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_coro_of(stop_after_two_turns, NULL), NULL, NULL));
    OK(coil_loop_run_forever(loop));
    coil_loop_free(loop);
    TRACE_IS("GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, "");
}

COIL_TEST_MAIN("timeout")
