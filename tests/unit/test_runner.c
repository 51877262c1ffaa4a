/*
 * test_runner.c - coil_run, coil_main and runners: results, errors, what happens at the end
 *
 * What is expected is what asyncio.runners of CPython 3.11 does.
 */
#include "coil_test.h"

#include <unistd.h>

static void drop_note(void *arg)
{
    note("drop:%s", (char *)arg);
}

static int answer(void *arg, void **result)
{
    COIL_TRY(coil_sleep(COIL_MS(1)));
    *result = arg;
    return 0;
}

static coil_coro dropped(void)
{
    return coil_coro_owning(answer, "it", drop_note);
}

static int failing(void *arg, void **result)
{
    (void)result;
    COIL_TRY(coil_sleep(0));
    return coil_raise(COIL_EUSER(1), "%s", (char *)arg);
}

static int run_with(coil_coro coro, void **result)
{
    coil_loop_options options = test_options();
    trace[0] = '\0';
    return coil_run_with(&options, coro, result);
}

/* --- run --------------------------------------------------------------------------------------------------------------- */

TEST(run_gives_the_result)
{
    void *result;
    OK(coil_run(coil_coro_of(answer, "42"), &result));
    ck_assert_str_eq(result, "42");
    OK(coil_run(coil_coro_of(answer, NULL), NULL));
}

TEST(run_raises_what_the_coroutine_raises)
{
    RAISES(COIL_EUSER(1), "bad", run_with(coil_coro_of(failing, "bad"), NULL));
}

TEST(run_wants_a_coroutine)
{
    RAISES(-EINVAL, "a coroutine was expected", coil_run(coil_coro_make(NULL, NULL, NULL, 0, NULL), NULL));
}

static int run_inside(void *arg, void **result)
{
    (void)arg;
    (void)result;
    RAISES(COIL_EBUSY, "asyncio.run() cannot be called from a running event loop", coil_run(dropped(), NULL));
    return 0;
}

TEST(run_inside_a_running_loop_raises_and_drops)
{
    OK(run_with(coil_coro_of(run_inside, NULL), NULL));
    TRACE_IS("drop:it");
}

static int straggler(void *name, void **result)
{
    (void)result;
    int rc = coil_sleep(COIL_SECONDS(100));
    note("%s:%s", (char *)name, coil_error_name(rc));
    COIL_TRY(coil_sleep(COIL_MS(5)));
    note("%s:cleaned", (char *)name);
    return strcmp(name, "bad") == 0 ? coil_raise(COIL_EUSER(2), "in cleanup") : rc;
}

static int leaves_stragglers(void *arg, void **result)
{
    coil_detach(spawn(coil_coro_of(straggler, "a")));
    coil_detach(spawn(coil_coro_of(straggler, "bad")));
    coil_detach(spawn(coil_coro_of(straggler, "b")));
    turns(1);
    note("end");
    *result = arg;
    return 0;
}

TEST(run_cancels_what_is_left_waits_for_it_and_reports_its_errors)
{
    void *result;
    OK(run_with(coil_coro_of(leaves_stragglers, "r"), &result));
    ck_assert_str_eq(result, "r");
    TRACE_IS("end a:CancelledError bad:CancelledError b:CancelledError a:cleaned bad:cleaned b:cleaned");
    ck_assert_int_eq(now_ms(), 5);
    expect_report("unhandled exception during asyncio.run() shutdown", COIL_EUSER(2), "in cleanup");
}

static int cancels_itself(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_task_cancel(coil_current_task(), "self");
    return coil_sleep(0);
}

TEST(run_whose_main_task_is_cancelled_raises_that)
{
    RAISES(-ECANCELED, "self", run_with(coil_coro_of(cancels_itself, NULL), NULL));
}

static int owned(void *arg, void **result)
{
    coil_task_set_result_drop(coil_current_task(), drop_note);
    *result = arg;
    return 0;
}

TEST(run_moves_the_result_out_or_drops_it)
{
    void *result;
    OK(run_with(coil_coro_of(owned, "taken"), &result));
    ck_assert_str_eq(result, "taken");
    TRACE_IS("");
    OK(run_with(coil_coro_of(owned, "left"), NULL));
    TRACE_IS("drop:left");
}

static int stops_the_loop(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_loop_stop(coil_get_running_loop());
    COIL_TRY(coil_sleep(COIL_MS(1)));
    note("not reached");
    return 0;
}

TEST(run_whose_loop_is_stopped_says_so)
{
    RAISES(COIL_ERUNTIME, "Event loop stopped before Future completed.",
           run_with(coil_coro_of(stops_the_loop, NULL), NULL));
    TRACE_IS("");
}

TEST(run_with_senseless_options_raises_and_drops)
{
    coil_loop_options options = {.size = 1};
    trace[0] = '\0';
    ck_assert_int_eq(coil_run_with(&options, dropped(), NULL), -EINVAL);
    TRACE_IS("drop:it");
}

TEST(run_without_a_backend_drops_the_coroutine_and_reports_nothing_else)
{
    const char *before = getenv("COIL_BACKEND");
    char *saved = before ? strdup(before) : NULL;
    setenv("COIL_BACKEND", "kqueue", 1);
    RAISES(-EINVAL, "unknown COIL_BACKEND 'kqueue' (uring, epoll, auto)", run_with(dropped(), NULL));
    TRACE_IS("drop:it");
    if (saved)
        setenv("COIL_BACKEND", saved, 1);
    else
        unsetenv("COIL_BACKEND");
    free(saved);
}

/* Runs @fn with the standard error in a pipe; @text gets what was written. */
static int with_stderr(int (*fn)(void), char *text, size_t size)
{
    int pipes[2], saved = dup(STDERR_FILENO);
    ck_assert_int_eq(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    int rc = fn();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipes[1]);
    ssize_t n = read(pipes[0], text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    close(pipes[0]);
    return rc;
}

static int good_main(void)
{
    return coil_main(coil_coro_of(answer, NULL));
}

static int bad_main(void)
{
    return coil_main(coil_coro_of(failing, "what went wrong"));
}

TEST(main_returns_the_exit_status_and_prints_errors)
{
    char text[300];
    ck_assert_int_eq(with_stderr(good_main, text, sizeof text), 0);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(with_stderr(bad_main, text, sizeof text), 1);
    ck_assert_ptr_nonnull(strstr(text, "what went wrong"));
    ck_assert_ptr_nonnull(strstr(text, "failing"));
}

/* --- runners ------------------------------------------------------------------------------------------------------------- */

static coil_runner *new_runner(void)
{
    coil_loop_options options = test_options();
    coil_runner *runner;
    trace[0] = '\0';
    OK(coil_runner_new(&options, &runner));
    return runner;
}

static coil_contextvar *var;

static int count_runs(void *arg, void **result)
{
    (void)arg;
    void *value;
    OK(coil_contextvar_get(var, &value));
    OK(coil_contextvar_set(var, (void *)((intptr_t)value + 1), NULL));
    *result = coil_get_running_loop();
    return 0;
}

TEST(runner_keeps_its_loop_and_its_context)
{
    void *first, *second;
    coil_loop *loop;
    coil_runner *runner = new_runner();
    OK(coil_contextvar_new("runs", NULL, &var));
    coil_contextvar_set_default(var, NULL);
    OK(coil_runner_run(runner, coil_coro_of(count_runs, NULL), &first));
    OK(coil_runner_run(runner, coil_coro_of(count_runs, NULL), &second));
    OK(coil_runner_get_loop(runner, &loop));
    ck_assert_ptr_eq(first, second);
    ck_assert_ptr_eq(first, loop);
    OK(coil_contextvar_get(var, &first));
    ck_assert_ptr_null(first); /* not in ours */
    coil_runner_free(runner);
    coil_contextvar_free(var);
}

static int leave_one(void *task, void **result)
{
    (void)result;
    *(coil_task **)task = spawn(coil_coro_of(straggler, "a"));
    return 0;
}

TEST(runner_leaves_tasks_alone_between_runs_and_cancels_them_at_the_end)
{
    coil_task *task;
    coil_runner *runner = new_runner();
    OK(coil_runner_run(runner, coil_coro_of(leave_one, &task), NULL));
    OK(coil_runner_run(runner, coil_coro_of(answer, NULL), NULL));
    TRACE_IS("");
    ck_assert(!coil_future_done(task));
    OK(coil_runner_close(runner));
    TRACE_IS("a:CancelledError a:cleaned");
    ck_assert(coil_future_cancelled(task));
    coil_release(task);
    coil_runner_free(runner);
}

TEST(runner_that_is_closed_does_not_run)
{
    coil_loop *loop;
    coil_runner *runner = new_runner();
    OK(coil_runner_enter(runner));
    OK(coil_runner_enter(runner));
    OK(coil_runner_close(runner));
    OK(coil_runner_close(runner));
    RAISES(COIL_ERUNTIME, "Runner is closed", coil_runner_run(runner, dropped(), NULL));
    TRACE_IS("drop:it");
    RAISES(COIL_ERUNTIME, "Runner is closed", coil_runner_get_loop(runner, &loop));
    RAISES(COIL_ERUNTIME, "Runner is closed", coil_runner_enter(runner));
    coil_runner_free(runner);
}

TEST(runner_that_never_ran_may_be_closed_and_used_all_the_same)
{
    void *result;
    coil_runner *runner = new_runner();
    OK(coil_runner_close(runner));
    OK(coil_runner_run(runner, coil_coro_of(answer, "yes"), &result));
    ck_assert_str_eq(result, "yes");
    coil_runner_free(runner);
    coil_runner_free(new_runner());
    coil_runner_free(NULL);
}

static int run_nested(void *runner, void **result)
{
    (void)result;
    RAISES(COIL_EBUSY, "Runner.run() cannot be called from a running event loop",
           coil_runner_run(runner, dropped(), NULL));
    return 0;
}

TEST(runner_does_not_run_inside_a_running_loop)
{
    coil_runner *runner = new_runner();
    OK(coil_runner_run(runner, coil_coro_of(run_nested, runner), NULL));
    TRACE_IS("drop:it");
    RAISES(-EINVAL, "a coroutine was expected",
           coil_runner_run(runner, coil_coro_make(NULL, NULL, NULL, 0, NULL), NULL));
    coil_runner_free(runner);
}

static int close_other(void *runner, void **result)
{
    (void)result;
    RAISES(COIL_EBUSY, "Cannot run the event loop while another loop is running", coil_runner_close(runner));
    OK(coil_runner_close(runner));
    return 0;
}

TEST(runner_closed_inside_another_loop_fails_but_is_closed)
{
    coil_task *task;
    coil_runner *runner = new_runner();
    OK(coil_runner_run(runner, coil_coro_of(leave_one, &task), NULL));
    OK(run_with(coil_coro_of(close_other, runner), NULL));
    ck_assert(!coil_future_done(task));
    RAISES(COIL_ERUNTIME, "Runner is closed", coil_runner_run(runner, dropped(), NULL));
    coil_runner_free(runner);
    coil_release(task);
    TRACE_IS("drop:it a:GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, "");
}

static int close_and_free_other(void *runner, void **result)
{
    (void)result;
    coil_runner_free(runner);
    note("freed");
    return coil_sleep(COIL_MS(1));
}

TEST(runner_freed_inside_another_loop_ends_what_is_suspended_in_its_own)
{
    coil_task *task;
    coil_runner *runner = new_runner();
    OK(coil_runner_run(runner, coil_coro_of(leave_one, &task), NULL));
    OK(run_with(coil_coro_of(close_and_free_other, runner), NULL));
    ck_assert(coil_future_done(task));
    coil_release(task);
    TRACE_IS("a:GeneratorExit freed");
    expect_report("Task was destroyed but it is pending!", 0, "");
}

static int close_own(void *runner, void **result)
{
    (void)result;
    RAISES(COIL_EBUSY, "Cannot close a running event loop", coil_runner_close(runner));
    return coil_sleep(COIL_MS(1));
}

TEST(runner_closed_inside_its_own_loop_fails_and_cancels_the_tasks)
{
    coil_runner *runner = new_runner();
    RAISES(-ECANCELED, "", coil_runner_run(runner, coil_coro_of(close_own, runner), NULL));
    OK(coil_runner_run(runner, coil_coro_of(answer, NULL), NULL));
    coil_runner_free(runner);
}

TEST(runner_goes_on_after_an_error)
{
    void *result;
    coil_runner *runner = new_runner();
    RAISES(COIL_EUSER(1), "bad", coil_runner_run(runner, coil_coro_of(failing, "bad"), NULL));
    OK(coil_runner_run(runner, coil_coro_of(answer, "good"), &result));
    ck_assert_str_eq(result, "good");
    coil_runner_free(runner);
}

COIL_TEST_MAIN("runner")
