/*
 * test_combine.c - gather, shield, wait, wait_for, as_completed
 *
 * Most tests are the main task of a loop of its own (coil_run_with) on a virtual clock. What is expected is what
 * asyncio.tasks of CPython 3.11 does (its wait_for is the one with a helper task).
 */
#include "coil_test.h"

/* A coroutine that sleeps, then returns or raises. */
struct job {
    const char *name;
    int ms, code;
};

static int run_job(void *arg, void **result)
{
    const struct job *job = arg;
    int rc = coil_sleep(COIL_MS(job->ms));
    if (rc < 0) {
        note("%s:%s", job->name, coil_error_name(rc));
        return rc;
    }
    note("%s", job->name);
    *result = (void *)(uintptr_t)job->name;
    return job->code < 0 ? coil_raise(job->code, "%s failed", job->name) : 0;
}

static struct job a10 = {"a", 10, 0}, b20 = {"b", 20, 0}, c30 = {"c", 30, 0}, bad5 = {"bad", 5, COIL_EUSER(1)};

static coil_coro job(struct job *j)
{
    return coil_coro_of(run_job, j);
}

static coil_task *spawn_job(struct job *j)
{
    return spawn(job(j));
}

/* Lets a task end that was left over, and releases it. */
static void finish(coil_task *task)
{
    int rc = coil_await(task, NULL);
    coil_error_release(coil_catch(rc));
    coil_release(task);
}

static void drop_note(void *arg)
{
    note("drop:%s", (char *)arg);
}

static coil_coro dropped(void)
{
    return coil_coro_owning(run_job, "it", drop_note);
}

/* --- gather ------------------------------------------------------------------------------------------------------------ */

TASK_TEST(gather_gives_results_in_the_order_of_the_arguments)
{
    coil_coro coros[] = {job(&c30), job(&a10), job(&b20)};
    void *results[3];
    OK(coil_gather_await(coros, 3, results));
    TRACE_IS("a b c");
    ck_assert_str_eq(results[0], "c");
    ck_assert_str_eq(results[1], "a");
    ck_assert_str_eq(results[2], "b");
    ck_assert_int_eq(now_ms(), 30);
}

TASK_TEST(gather_of_nothing_is_done)
{
    coil_future *all;
    size_t n = 99;
    OK(coil_gather(NULL, 0, false, &all));
    ck_assert(coil_future_done(all));
    ck_assert_ptr_nonnull(coil_gather_outcomes(all, &n));
    ck_assert_uint_eq(n, 0);
    OK(coil_await(all, NULL));
    coil_release(all);
    OK(coil_gather_await(NULL, 0, NULL));
}

TASK_TEST(gather_raises_the_first_error_at_once_and_the_others_go_on)
{
    coil_task *a = spawn_job(&a10), *bad = spawn_job(&bad5);
    coil_awaitable aws[] = {COIL_AWAITABLE(a), COIL_AWAITABLE(bad)};
    coil_future *all;
    OK(coil_gather(aws, 2, false, &all));
    RAISES(COIL_EUSER(1), "bad failed", coil_await(all, NULL));
    ck_assert_int_eq(now_ms(), 5);
    ck_assert_ptr_null(coil_gather_outcomes(all, NULL));
    ck_assert(!coil_future_done(a));
    ck_assert(!coil_future_cancel(all, NULL));
    finish(a);
    TRACE_IS("bad a");
    coil_release(bad);
    coil_release(all);
}

TASK_TEST(gather_may_give_errors_as_results)
{
    coil_task *cancelled = spawn_job(&c30);
    coil_awaitable aws[] = {COIL_AWAITABLE(job(&a10)), COIL_AWAITABLE(job(&bad5)), COIL_AWAITABLE(cancelled)};
    coil_future *all;
    size_t n;
    OK(coil_gather(aws, 3, true, &all));
    turns(1);
    coil_task_cancel(cancelled, "m");
    OK(coil_await(all, NULL));
    const coil_outcome *outcomes = coil_gather_outcomes(all, &n);
    ck_assert_uint_eq(n, 3);
    ck_assert_int_eq(outcomes[0].code, 0);
    ck_assert_str_eq(outcomes[0].value, "a");
    ck_assert_ptr_null(outcomes[0].error);
    ck_assert_int_eq(outcomes[1].code, COIL_EUSER(1));
    ck_assert_str_eq(coil_error_message(outcomes[1].error), "bad failed");
    ck_assert_int_eq(outcomes[2].code, -ECANCELED);
    coil_release(cancelled);
    coil_release(all);
    TRACE_IS("c:CancelledError bad a");
}

TASK_TEST(gather_cancelled_cancels_what_is_not_done)
{
    coil_task *a = spawn_job(&a10), *b = spawn_job(&b20);
    coil_awaitable aws[] = {COIL_AWAITABLE(a), COIL_AWAITABLE(b)};
    coil_future *all;
    OK(coil_gather(aws, 2, false, &all));
    OK(coil_sleep(COIL_MS(15)));
    ck_assert(coil_future_cancel(all, "stop"));
    ck_assert(!coil_future_done(all)); /* when its children are */
    RAISES(-ECANCELED, "stop", coil_await(all, NULL));
    ck_assert(!coil_future_cancelled(a));
    ck_assert(coil_future_cancelled(b));
    TRACE_IS("a b:CancelledError");
    coil_release(a);
    coil_release(b);
    coil_release(all);
}

TASK_TEST(gather_child_cancelled_alone_makes_the_gathering_raise)
{
    coil_task *a = spawn_job(&a10), *b = spawn_job(&b20);
    coil_awaitable aws[] = {COIL_AWAITABLE(a), COIL_AWAITABLE(b)};
    coil_future *all;
    OK(coil_gather(aws, 2, false, &all));
    turns(1);
    coil_task_cancel(a, "one");
    RAISES(-ECANCELED, "one", coil_await(all, NULL));
    ck_assert(!coil_future_cancelled(all)); /* it finished with that error, as in asyncio */
    finish(b);
    TRACE_IS("a:CancelledError b");
    coil_release(a);
    coil_release(all);
}

TASK_TEST(gather_counts_an_argument_given_twice_once)
{
    coil_task *a = spawn_job(&a10);
    coil_awaitable aws[] = {COIL_AWAITABLE(a), COIL_AWAITABLE(job(&b20)), COIL_AWAITABLE(a)};
    coil_future *all;
    size_t n;
    OK(coil_gather(aws, 3, false, &all));
    OK(coil_await(all, NULL));
    const coil_outcome *outcomes = coil_gather_outcomes(all, &n);
    ck_assert_uint_eq(n, 3);
    ck_assert_str_eq(outcomes[0].value, "a");
    ck_assert_str_eq(outcomes[1].value, "b");
    ck_assert_str_eq(outcomes[2].value, "a");
    TRACE_IS("a b");
    coil_release(a);
    coil_release(all);
}

TASK_TEST(gather_of_many_keeps_their_order)
{
    enum { MANY = 300 };
    static struct job jobs[MANY];
    coil_coro coros[MANY];
    void *results[MANY];
    for (int i = 0; i < MANY; i++) {
        jobs[i] = (struct job){"x", (i * 7919) % 100, 0};
        coros[i] = job(&jobs[i]);
        jobs[i].name += i % 2; /* "x" or "" */
    }
    OK(coil_gather_await(coros, MANY, results));
    for (int i = 0; i < MANY; i++)
        ck_assert_str_eq(results[i], i % 2 ? "" : "x");
    trace[0] = '\0';
}

TASK_TEST(gather_refuses_a_future_of_another_loop_and_what_is_no_coroutine)
{
    coil_loop *other;
    coil_future *foreign, *all, *own;
    OK(coil_new_event_loop(NULL, &other));
    OK(coil_loop_create_future(other, &foreign));
    OK(coil_create_future(&own));
    coil_awaitable aws[] = {COIL_AWAITABLE(own), COIL_AWAITABLE(foreign), COIL_AWAITABLE(dropped())};
    RAISES(-EINVAL, "The future belongs to a different loop than the one specified as the loop argument",
           coil_gather(aws, 3, false, &all));
    TRACE_IS("drop:it");
    OK(coil_future_set_result(own, NULL));
    coil_awaitable nothing[] = {COIL_AWAITABLE(coil_coro_make(NULL, NULL, NULL, 0, NULL))};
    RAISES(COIL_ETYPE, "An asyncio.Future, a coroutine or an awaitable is required",
           coil_gather(nothing, 1, false, &all));
    coil_release(own);
    coil_release(foreign);
    coil_loop_free(other);
}

TEST(gather_without_a_loop_raises_and_drops)
{
    coil_future *all;
    coil_awaitable aws[] = {COIL_AWAITABLE(dropped())};
    trace[0] = '\0';
    ck_assert_int_eq(coil_gather(aws, 1, false, &all), COIL_ENOLOOP);
    TRACE_IS("drop:it");
}

TEST(gather_is_let_go_when_its_loop_is_freed)
{
    coil_loop *loop = new_test_loop();
    coil_awaitable aws[] = {COIL_AWAITABLE(job(&a10)), COIL_AWAITABLE(job(&b20))};
    coil_future *all;
    trace[0] = '\0';
    coil_set_event_loop(loop);
    OK(coil_gather(aws, 2, false, &all));
    coil_release(all);
    coil_loop_stop(loop);
    OK(coil_loop_run_forever(loop));
    coil_loop_free(loop);
    TRACE_IS("b:GeneratorExit a:GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, "");
    expect_report("Task was destroyed but it is pending!", 0, "");
}

/* --- shield ------------------------------------------------------------------------------------------------------------ */

TASK_TEST(shield_shows_the_result_of_what_it_shields)
{
    coil_future *outer;
    void *result;
    OK(coil_shield(job(&a10), &outer));
    OK(coil_await(outer, &result));
    ck_assert_str_eq(result, "a");
    coil_release(outer);
    OK(coil_shield(job(&bad5), &outer));
    RAISES(COIL_EUSER(1), "bad failed", coil_await(outer, NULL));
    coil_release(outer);
    TRACE_IS("a bad");
}

TASK_TEST(shield_of_a_gathering_is_not_joined_for_its_outcomes)
{
    void *outcomes = NULL;
    coil_future *all, *outer;
    for (int asks = 0; asks < 2; asks++) {
        coil_awaitable child = coil_awaitable_of_coro(job(&a10));
        OK(coil_gather(&child, 1, false, &all));
        OK(coil_shield(all, &outer));
        coil_release(all);
        if (asks)
            RAISES(COIL_ETYPE, "a gathering future's outcomes go with it: use coil_await, then coil_release",
                   coil_join(outer, &outcomes));
        else
            OK(coil_join(outer, NULL));
    }
    ck_assert_ptr_null(outcomes);
}

TASK_TEST(shield_of_what_is_done_is_that_itself)
{
    coil_future *future, *outer;
    OK(coil_create_future(&future));
    OK(coil_future_set_result(future, NULL));
    OK(coil_shield(future, &outer));
    ck_assert_ptr_eq(outer, future);
    coil_release(outer);
    coil_release(future);
}

TASK_TEST(shield_keeps_a_cancellation_from_what_it_shields)
{
    coil_task *task = spawn_job(&a10);
    coil_future *outer;
    OK(coil_shield(task, &outer));
    turns(1);
    ck_assert(coil_future_cancel(outer, "out"));
    RAISES(-ECANCELED, "out", coil_await(outer, NULL));
    OK(coil_await(task, NULL));
    TRACE_IS("a");
    coil_release(outer);
    coil_release(task);
}

TASK_TEST(shield_is_cancelled_without_a_message_when_the_inner_is)
{
    coil_task *task = spawn_job(&a10);
    coil_future *outer;
    OK(coil_shield(task, &outer));
    turns(1);
    coil_task_cancel(task, "in");
    RAISES(-ECANCELED, "", coil_await(outer, NULL));
    ck_assert(coil_future_cancelled(outer));
    TRACE_IS("a:CancelledError");
    coil_release(outer);
    coil_release(task);
}

TASK_TEST(shield_that_was_cancelled_leaves_a_later_error_to_be_reported)
{
    coil_task *task = spawn_job(&bad5);
    coil_future *outer;
    OK(coil_shield(task, &outer));
    turns(1);
    coil_future_cancel(outer, NULL);
    coil_release(outer);
    coil_release(task);
    OK(coil_sleep(COIL_MS(10)));
    TRACE_IS("bad");
    expect_report("Task exception was never retrieved", COIL_EUSER(1), "bad failed");
}

/* --- wait ---------------------------------------------------------------------------------------------------------------- */

TASK_TEST(wait_for_all_of_several)
{
    coil_task *tasks[] = {spawn_job(&b20), spawn_job(&bad5), spawn_job(&a10)};
    size_t done;
    OK(coil_wait(tasks, 3, COIL_FOREVER, COIL_ALL_COMPLETED, &done));
    ck_assert_uint_eq(done, 3);
    ck_assert_int_eq(now_ms(), 20);
    ck_assert(coil_future_exception_unretrieved(tasks[1])); /* nobody looked */
    for (int i = 0; i < 3; i++)
        finish(tasks[i]);
    TRACE_IS("bad a b");
}

TASK_TEST(wait_for_the_first_of_several)
{
    coil_task *tasks[] = {spawn_job(&b20), spawn_job(&a10)};
    size_t done;
    OK(coil_wait(tasks, 2, COIL_FOREVER, COIL_FIRST_COMPLETED, &done));
    ck_assert_uint_eq(done, 1);
    ck_assert(coil_future_done(tasks[1]));
    ck_assert_int_eq(now_ms(), 10);
    finish(tasks[0]);
    finish(tasks[1]);
    TRACE_IS("a b");
}

TASK_TEST(wait_for_the_first_error_of_several)
{
    struct job late_bad = {"late", 15, COIL_EUSER(1)};
    coil_task *tasks[] = {spawn_job(&c30), spawn_job(&a10), spawn_job(&late_bad)};
    size_t done;
    OK(coil_wait(tasks, 3, COIL_FOREVER, COIL_FIRST_EXCEPTION, &done));
    ck_assert_uint_eq(done, 2);
    ck_assert_int_eq(now_ms(), 15);
    ck_assert(!coil_future_exception_unretrieved(tasks[2]));
    for (int i = 0; i < 3; i++)
        finish(tasks[i]);
    TRACE_IS("a late c");
}

TASK_TEST(wait_out_of_time_is_no_error_and_cancels_nothing)
{
    coil_task *tasks[] = {spawn_job(&b20), spawn_job(&a10), NULL};
    size_t done;
    tasks[2] = tasks[0]; /* twice: counted once */
    OK(coil_wait(tasks, 3, COIL_MS(15), COIL_ALL_COMPLETED, &done));
    ck_assert_uint_eq(done, 1);
    ck_assert_int_eq(now_ms(), 15);
    OK(coil_wait(tasks, 3, 0, COIL_ALL_COMPLETED, NULL));
    finish(tasks[0]);
    finish(tasks[1]);
    TRACE_IS("a b");
}

static int wait_for_two(void *tasks, void **result)
{
    (void)result;
    return coil_wait(tasks, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL);
}

TASK_TEST(wait_that_is_cancelled_leaves_the_futures_alone)
{
    coil_task *tasks[] = {spawn_job(&b20), spawn_job(&a10)};
    coil_task *waiting = spawn(coil_coro_of(wait_for_two, tasks));
    turns(1);
    coil_task_cancel(waiting, "w");
    RAISES(-ECANCELED, "w", coil_await(waiting, NULL));
    coil_release(waiting);
    finish(tasks[0]);
    finish(tasks[1]);
    TRACE_IS("a b");
}

TASK_TEST(wait_refuses_nothing_and_unknown_conditions)
{
    coil_task *task = spawn_job(&a10);
    RAISES(-EINVAL, "Set of Tasks/Futures is empty.", coil_wait(NULL, 0, COIL_FOREVER, COIL_ALL_COMPLETED, NULL));
    RAISES(-EINVAL, "Invalid return_when value: 99",
           coil_wait(&task, 1, COIL_FOREVER, (enum coil_return_when)99, NULL));
    finish(task);
    trace[0] = '\0';
}

TEST(wait_needs_a_task)
{
    RAISES(COIL_ENOLOOP, "no running event loop", coil_wait(NULL, 0, COIL_FOREVER, COIL_ALL_COMPLETED, NULL));
}

/* --- wait_for ------------------------------------------------------------------------------------------------------------ */

TASK_TEST(wait_for_gives_the_result_in_time)
{
    void *result;
    OK(coil_wait_for(job(&a10), COIL_MS(50), &result));
    ck_assert_str_eq(result, "a");
    OK(coil_wait_for(job(&b20), COIL_FOREVER, &result));
    ck_assert_str_eq(result, "b");
    ck_assert_int_eq(now_ms(), 30);
    RAISES(COIL_EUSER(1), "bad failed", coil_wait_for(job(&bad5), COIL_MS(50), NULL));
    coil_loop_stats stats = {.size = sizeof stats};
    coil_loop_get_stats(coil_get_running_loop(), &stats);
    ck_assert_uint_eq(stats.timers, 0);
    TRACE_IS("a b bad");
}

TASK_TEST(wait_for_cancels_what_is_too_slow_and_waits_for_its_end)
{
    void *result = "untouched";
    RAISES(-ETIMEDOUT, "", coil_wait_for(job(&a10), COIL_MS(5), &result));
    TRACE_IS("a:CancelledError");
    ck_assert_int_eq(now_ms(), 5);
    ck_assert_str_eq(result, "untouched");
}

TASK_TEST(wait_for_no_time_at_all)
{
    void *result;
    coil_future *done;
    RAISES(-ETIMEDOUT, "", coil_wait_for(dropped(), 0, NULL));
    TRACE_IS("drop:it");
    OK(coil_create_future(&done));
    OK(coil_future_set_result(done, "d"));
    OK(coil_wait_for(done, -1, &result));
    ck_assert_str_eq(result, "d");
    coil_release(done);
}

static int stubborn(void *name, void **result)
{
    int rc = coil_sleep(COIL_MS(10));
    note("%s", coil_error_name(rc));
    *result = name;
    return 0;
}

TASK_TEST(wait_for_something_that_answers_its_cancellation_with_a_result)
{
    void *result;
    OK(coil_wait_for(coil_coro_of(stubborn, "s"), COIL_MS(5), &result));
    ck_assert_str_eq(result, "s");
    TRACE_IS("CancelledError");
}

static int waits_for(void *arg, void **result)
{
    return coil_wait_for(job(arg), COIL_MS(50), result);
}

TASK_TEST(wait_for_that_is_cancelled_cancels_what_it_waits_for)
{
    coil_task *task = spawn(coil_coro_of(waits_for, &a10));
    turns(2);
    coil_task_cancel(task, "w");
    RAISES(-ECANCELED, "w", coil_await(task, NULL));
    TRACE_IS("a:CancelledError");
    coil_release(task);
}

TASK_TEST(wait_for_a_shielded_task_lets_it_go_on)
{
    coil_task *task = spawn_job(&b20);
    coil_future *outer;
    OK(coil_shield(task, &outer));
    RAISES(-ETIMEDOUT, "", coil_wait_for(outer, COIL_MS(5), NULL));
    OK(coil_await(task, NULL));
    TRACE_IS("b");
    coil_release(outer);
    coil_release(task);
}

TEST(wait_for_outside_a_task_drops_the_coroutine)
{
    trace[0] = '\0';
    RAISES(COIL_ENOLOOP, "no running event loop", coil_wait_for(dropped(), COIL_MS(5), NULL));
    TRACE_IS("drop:it");
}

/* --- as_completed -------------------------------------------------------------------------------------------------------- */

TASK_TEST(as_completed_gives_what_completes_in_that_order)
{
    coil_awaitable aws[] = {COIL_AWAITABLE(job(&c30)), COIL_AWAITABLE(job(&a10)), COIL_AWAITABLE(job(&b20))};
    coil_as_completed *it;
    coil_coro next;
    void *result;
    int rc;
    OK(coil_as_completed_new(aws, 3, COIL_FOREVER, &it));
    while ((rc = coil_as_completed_next(it, &next)) == 0) {
        OK(coil_coro_await(next, &result));
        note("got:%s", (char *)result);
    }
    ck_assert_int_eq(rc, COIL_ESTOPITERATION);
    coil_as_completed_release(it);
    TRACE_IS("a got:a b got:b c got:c");
}

TASK_TEST(as_completed_raises_what_the_awaitable_raised)
{
    coil_awaitable aws[] = {COIL_AWAITABLE(job(&a10)), COIL_AWAITABLE(job(&bad5))};
    coil_as_completed *it;
    coil_coro first, second;
    OK(coil_as_completed_new(aws, 2, COIL_FOREVER, &it));
    OK(coil_as_completed_next(it, &first));
    OK(coil_as_completed_next(it, &second));
    coil_as_completed_release(it); /* what it gave out stays valid */
    RAISES(COIL_EUSER(1), "bad failed", coil_coro_await(first, NULL));
    OK(coil_coro_await(second, NULL));
    TRACE_IS("bad a");
}

TASK_TEST(as_completed_out_of_time_raises_for_the_rest)
{
    coil_task *b = spawn_job(&b20);
    coil_awaitable aws[] = {COIL_AWAITABLE(job(&a10)), COIL_AWAITABLE(b)};
    coil_as_completed *it;
    coil_coro next;
    OK(coil_as_completed_new(aws, 2, COIL_MS(15), &it));
    OK(coil_as_completed_next(it, &next));
    OK(coil_coro_await(next, NULL));
    OK(coil_as_completed_next(it, &next));
    RAISES(-ETIMEDOUT, "", coil_coro_await(next, NULL));
    ck_assert_int_eq(now_ms(), 15);
    coil_as_completed_release(it);
    finish(b);
    TRACE_IS("a b");
}

TASK_TEST(as_completed_that_is_never_asked_starts_nothing)
{
    coil_awaitable aws[] = {COIL_AWAITABLE(dropped())};
    coil_as_completed *it;
    OK(coil_as_completed_new(aws, 1, COIL_MS(15), &it));
    turns(2);
    TRACE_IS("");
    coil_as_completed_release(it);
    TRACE_IS("drop:it");
}

TASK_TEST(as_completed_counts_an_argument_given_twice_once)
{
    coil_task *a = spawn_job(&a10);
    coil_awaitable aws[] = {COIL_AWAITABLE(a), COIL_AWAITABLE(a)};
    coil_as_completed *it;
    coil_coro next;
    OK(coil_as_completed_new(aws, 2, COIL_FOREVER, &it));
    OK(coil_as_completed_next(it, &next));
    OK(coil_coro_await(next, NULL));
    RAISES(COIL_ESTOPITERATION, "", coil_as_completed_next(it, &next));
    coil_as_completed_release(it);
    coil_release(a);
    TRACE_IS("a");
}

TASK_TEST(as_completed_coroutine_that_is_dropped_leaves_the_rest_usable)
{
    coil_awaitable aws[] = {COIL_AWAITABLE(job(&a10)), COIL_AWAITABLE(job(&b20))};
    coil_as_completed *it;
    coil_coro next;
    void *result;
    OK(coil_as_completed_new(aws, 2, COIL_FOREVER, &it));
    OK(coil_as_completed_next(it, &next));
    coil_coro_drop(next);
    OK(coil_as_completed_next(it, &next));
    OK(coil_coro_await(next, &result));
    ck_assert_str_eq(result, "a");
    coil_as_completed_release(it);
    OK(coil_sleep(COIL_MS(30)));
    TRACE_IS("a b");
}

/* --- with their loop --------------------------------------------------------------------------------------------------- */

static char kept[] = "it";

static int owned_result(void *arg, void **result)
{
    coil_task_set_result_drop(coil_current_task(), drop_note);
    *result = arg;
    return 0;
}

/* A future that never completes, and a task whose result is dropped when nobody holds it any more. */
static void make_followed(coil_loop *loop, coil_awaitable aws[2])
{
    OK(coil_loop_create_future(loop, &aws[0].future));
    OK(coil_loop_create_task(loop, coil_coro_of(owned_result, kept), NULL, &aws[1].future));
}

static int follow_gather(coil_awaitable aws[2], coil_future **future)
{
    return coil_gather(aws, 2, false, future);
}

static int follow_shield(coil_awaitable aws[2], coil_future **future)
{
    coil_future *gathering;
    COIL_TRY(coil_gather(aws, 2, false, &gathering));
    int rc = coil_shield(gathering, future);
    coil_release(gathering);
    return rc;
}

static int follow_as_completed(coil_awaitable aws[2], coil_future **future)
{
    coil_as_completed *it;
    coil_coro next;
    COIL_TRY(coil_as_completed_new(aws, 2, COIL_FOREVER, &it));
    COIL_TRY(coil_as_completed_next(it, &next));
    coil_coro_drop(next);
    coil_as_completed_release(it);
    *future = NULL;
    return 0;
}

static int (*follow)(coil_awaitable aws[2], coil_future **future);

static int follow_and_forget(void *arg, void **result)
{
    coil_awaitable aws[2] = {coil_awaitable_of_future(NULL), coil_awaitable_of_future(NULL)};
    coil_future *f;
    (void)arg;
    (void)result;
    make_followed(coil_get_running_loop(), aws);
    OK(follow(aws, &f));
    coil_release(f);
    coil_release(aws[0].future);
    coil_release(aws[1].future);
    turns(3);
    TRACE_IS("");
    return 0;
}

static void free_the_loop_of(int (*make)(coil_awaitable aws[2], coil_future **future))
{
    coil_loop *loop = new_test_loop();
    trace[0] = '\0';
    follow = make;
    OK(coil_loop_run_until_complete(loop, coil_coro_of(follow_and_forget, NULL), NULL));
    coil_loop_free(loop);
    TRACE_IS("drop:it");
}

TEST(gather_of_a_future_that_never_completes_ends_with_its_loop)
{
    free_the_loop_of(follow_gather);
}

TEST(shield_of_a_future_that_never_completes_ends_with_its_loop)
{
    free_the_loop_of(follow_shield);
}

TEST(as_completed_of_a_future_that_never_completes_ends_with_its_loop)
{
    free_the_loop_of(follow_as_completed);
}

COIL_TEST_MAIN("combine")
