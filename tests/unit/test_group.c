/*
 * test_group.c - task groups: waiting for all, errors, cancellation, misuse
 *
 * Each test is the main task of a loop of its own (coil_run_with) on a virtual clock. What is expected is what
 * asyncio.taskgroups of CPython 3.11 does.
 */
#include "coil_test.h"

#include "base/alloc.h"

/* What a child does: sleeps, then raises code if it is negative. */
struct child {
    const char *name;
    int ms, code;
};

static int child(void *arg, void **result)
{
    const struct child *c = arg;
    int rc = coil_sleep(COIL_MS(c->ms));
    if (rc < 0) {
        note("%s:%s", c->name, coil_error_name(rc));
        return rc;
    }
    note("%s", c->name);
    *result = (void *)(uintptr_t)c->name;
    return c->code < 0 ? coil_raise(c->code, "%s failed", c->name) : 0;
}

/* A child that answers its cancellation with an error. */
static int stubborn_child(void *arg, void **result)
{
    const struct child *c = arg;
    (void)result;
    int rc = coil_sleep(COIL_MS(c->ms));
    note("%s:%s", c->name, coil_error_name(rc));
    return coil_raise(c->code, "%s was cancelled", c->name);
}

static void add(coil_group *group, coil_coro_fn *fn, const char *name, int ms, int code)
{
    struct child c = {name, ms, code};
    coil_coro coro = coil_coro_copy(fn, &c, sizeof c);
    OK(coil_group_create_task(group, coro, NULL, NULL));
}

/* The group's error has exactly these sub-errors: "message message ...". */
static void is_group(int rc, const char *messages)
{
    char all[256] = "";
    coil_error *const *errors, *error = coil_catch(rc);
    ck_assert_int_eq(rc, COIL_EGROUP);
    ck_assert_str_eq(coil_error_message(error), "unhandled errors in a TaskGroup");
    size_t n = coil_error_suberrors(error, &errors);
    for (size_t i = 0; i < n; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", coil_error_message(errors[i]));
    ck_assert_str_eq(all, messages);
    coil_error_release(error);
}

/* --- the normal course ----------------------------------------------------------------------------------------------- */

static int two_children(coil_group *group, void *arg)
{
    (void)arg;
    add(group, child, "a", 20, 0);
    add(group, child, "b", 10, 0);
    note("body");
    return 0;
}

TASK_TEST(group_waits_for_its_tasks)
{
    OK(coil_group_run(two_children, NULL));
    TRACE_IS("body b a");
    ck_assert_int_eq(now_ms(), 20);
}

static int nothing(coil_group *group, void *arg)
{
    (void)group;
    return (int)(intptr_t)arg;
}

TASK_TEST(group_without_tasks_does_not_suspend)
{
    struct child c = {"a", 0, 0};
    coil_task *other = spawn(coil_coro_of(child, &c));
    ck_assert_int_eq(coil_group_run(nothing, (void *)5), 5);
    TRACE_IS("");
    OK(coil_join(other, NULL));
}

TASK_TEST(group_gives_its_tasks_to_who_asks)
{
    coil_group *group;
    coil_task *task;
    void *result;
    struct child c = {"a", 5, 0};
    coil_task_options options = {.size = sizeof options, .name = "alice"};
    OK(coil_group_new(&group));
    OK(coil_group_enter(group));
    OK(coil_group_create_task(group, coil_coro_of(child, &c), &options, &task));
    ck_assert_str_eq(coil_task_get_name(task), "alice");
    OK(coil_await(task, &result));
    ck_assert_str_eq(result, "a");
    OK(coil_group_exit(group, 0));
    coil_group_free(group);
    coil_release(task);
    coil_group_free(NULL);
}

static int child_with_child(void *group, void **result)
{
    (void)result;
    COIL_TRY(coil_sleep(COIL_MS(5)));
    add(group, child, "grandchild", 10, 0);
    note("child");
    return 0;
}

static int start_child_with_child(coil_group *group, void *arg)
{
    (void)arg;
    return coil_group_create_task(group, coil_coro_of(child_with_child, group), NULL, NULL);
}

TASK_TEST(group_waits_for_tasks_that_its_tasks_add)
{
    OK(coil_group_run(start_child_with_child, NULL));
    TRACE_IS("child grandchild");
    ck_assert_int_eq(now_ms(), 15);
}

TASK_TEST(group_parent_continues_two_iterations_after_the_last_task)
{
    coil_group *group;
    struct child c = {"a", 0, 0};
    coil_loop_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    OK(coil_group_new(&group));
    OK(coil_group_enter(group));
    coil_loop_get_stats(coil_get_running_loop(), &before);
    OK(coil_group_create_task(group, coil_coro_of(child, &c), NULL, NULL));
    OK(coil_group_exit(group, 0));
    coil_loop_get_stats(coil_get_running_loop(), &after);
    ck_assert_uint_eq(after.iterations - before.iterations, 4); /* starts, ends after its sleep, +1, +2 */
    coil_group_free(group);
}

/* --- errors ---------------------------------------------------------------------------------------------------------- */

static int one_fails(coil_group *group, void *arg)
{
    (void)arg;
    add(group, child, "a", 20, 0);
    add(group, child, "b", 10, COIL_EUSER(1));
    add(group, child, "c", 30, 0);
    int rc = coil_sleep(COIL_MS(50));
    note("body:%s", coil_error_name(rc));
    return rc;
}

TASK_TEST(group_task_that_fails_cancels_the_others_and_the_body)
{
    is_group(coil_group_run(one_fails, NULL), "b failed");
    TRACE_IS("b a:CancelledError c:CancelledError body:CancelledError");
    ck_assert_int_eq(now_ms(), 10);
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 0);
    turns(1);
}

static int several_fail(coil_group *group, void *arg)
{
    add(group, stubborn_child, "a", 20, COIL_EUSER(1));
    add(group, child, "b", 10, COIL_EUSER(2));
    add(group, stubborn_child, "c", 30, COIL_EUSER(3));
    int rc = coil_sleep(COIL_MS(50));
    return arg ? coil_raise(COIL_EUSER(4), "body failed") : rc;
}

TASK_TEST(group_raises_all_errors_in_the_order_of_completion)
{
    is_group(coil_group_run(several_fail, NULL), "b failed, a was cancelled, c was cancelled");
}

TASK_TEST(group_raises_the_error_of_the_body_last)
{
    is_group(coil_group_run(several_fail, "and the body"), "b failed, a was cancelled, c was cancelled, body failed");
}

static int body_fails(coil_group *group, void *arg)
{
    (void)arg;
    add(group, child, "a", 20, 0);
    COIL_TRY(coil_sleep(COIL_MS(5)));
    return coil_raise(COIL_EUSER(9), "body failed");
}

TASK_TEST(group_body_that_fails_cancels_the_tasks)
{
    is_group(coil_group_run(body_fails, NULL), "body failed");
    TRACE_IS("a:CancelledError");
    ck_assert_int_eq(now_ms(), 5);
}

static int fails_after_body(coil_group *group, void *arg)
{
    (void)arg;
    add(group, child, "a", 20, COIL_EUSER(1));
    add(group, child, "b", 30, 0);
    return 0;
}

TASK_TEST(group_task_that_fails_while_the_parent_waits_leaves_its_cancellation_counted)
{
    is_group(coil_group_run(fails_after_body, NULL), "a failed");
    TRACE_IS("a b:CancelledError");
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 1); /* as in CPython 3.11 */
    turns(1);
}

static int one_cancels_itself(coil_group *group, void *arg)
{
    (void)arg;
    coil_task *task;
    struct child c = {"a", 20, 0};
    COIL_TRY(coil_group_create_task(group, coil_coro_copy(child, &c, sizeof c), NULL, &task));
    add(group, child, "b", 10, 0);
    COIL_TRY(coil_sleep(0));
    coil_task_cancel(task, NULL);
    coil_release(task);
    return 0;
}

TASK_TEST(group_task_that_is_cancelled_alone_is_no_error)
{
    OK(coil_group_run(one_cancels_itself, NULL));
    TRACE_IS("a:CancelledError b");
}

/* --- cancelling the parent ------------------------------------------------------------------------------------------- */

static int parent(void *body, void **result)
{
    (void)result;
    int rc = coil_group_run(*(int (**)(coil_group *, void *))body, NULL);
    note("parent:%s", coil_error_name(rc));
    return rc;
}

TASK_TEST(group_parent_cancelled_while_it_waits_cancels_the_tasks)
{
    int (*body)(coil_group *, void *) = two_children;
    coil_task *task = spawn(coil_coro_of(parent, &body));
    OK(coil_sleep(COIL_MS(5)));
    coil_task_cancel(task, "stop");
    RAISES(-ECANCELED, "stop", coil_await(task, NULL));
    TRACE_IS("body a:CancelledError b:CancelledError parent:CancelledError");
    coil_release(task);
}

TASK_TEST(group_parent_cancelled_in_the_body_cancels_the_tasks)
{
    int (*body)(coil_group *, void *) = one_fails;
    coil_task *task = spawn(coil_coro_of(parent, &body));
    OK(coil_sleep(COIL_MS(5)));
    coil_task_cancel(task, "stop");
    RAISES(-ECANCELED, "stop", coil_await(task, NULL));
    TRACE_IS("body:CancelledError a:CancelledError b:CancelledError c:CancelledError parent:CancelledError");
    coil_release(task);
}

static int slow_end(void *arg, void **result)
{
    (void)arg;
    (void)result;
    RAISES(-ECANCELED, "", coil_sleep(COIL_MS(100)));
    COIL_TRY(coil_sleep(COIL_MS(10)));
    note("cleaned");
    return -ECANCELED;
}

static int start_slow_end(coil_group *group, void *arg)
{
    (void)arg;
    return coil_group_create_task(group, coil_coro_of(slow_end, NULL), NULL, NULL);
}

TASK_TEST(group_parent_cancelled_twice_still_waits_for_the_tasks)
{
    int (*body)(coil_group *, void *) = start_slow_end;
    coil_task *task = spawn(coil_coro_of(parent, &body));
    OK(coil_sleep(COIL_MS(5)));
    coil_task_cancel(task, "first");
    OK(coil_sleep(COIL_MS(1)));
    coil_task_cancel(task, "second");
    RAISES(-ECANCELED, "first", coil_await(task, NULL));
    TRACE_IS("cleaned parent:CancelledError");
    ck_assert_int_eq(now_ms(), 15);
    coil_release(task);
}

TASK_TEST(group_errors_go_before_a_cancellation_from_outside)
{
    int (*body)(coil_group *, void *) = several_fail;
    coil_task *task = spawn(coil_coro_of(parent, &body));
    OK(coil_sleep(COIL_MS(5)));
    coil_task_cancel(task, NULL);
    is_group(coil_await(task, NULL), "a was cancelled, c was cancelled");
    coil_release(task);
}

/* --- nesting --------------------------------------------------------------------------------------------------------- */

static int outer_body(coil_group *group, void *arg)
{
    (void)arg;
    add(group, child, "outer", 15, COIL_EUSER(1));
    return coil_group_run(two_children, NULL);
}

TASK_TEST(group_inside_a_group_is_cancelled_with_it)
{
    is_group(coil_group_run(outer_body, NULL), "outer failed");
    TRACE_IS("body b outer a:CancelledError");
}

static int with_timeout(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return coil_group_run(two_children, NULL);
}

TASK_TEST(group_inside_a_timeout_is_cancelled_by_it)
{
    RAISES(-ETIMEDOUT, "", coil_timeout_run(COIL_MS(15), coil_coro_of(with_timeout, NULL), NULL));
    TRACE_IS("body b a:CancelledError");
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 0);
}

/* --- misuse ---------------------------------------------------------------------------------------------------------- */

static void drop_note(void *arg)
{
    note("drop:%s", (char *)arg);
}

static int may_not_run(void *arg, void **result)
{
    (void)arg;
    (void)result;
    note("ran");
    return 0;
}

static coil_coro dropped(void)
{
    return coil_coro_owning(may_not_run, "it", drop_note);
}

TASK_TEST(group_misuse_raises_and_drops_the_coroutine)
{
    coil_group *group;
    OK(coil_group_new(&group));
    RAISES(COIL_ERUNTIME, "TaskGroup has not been entered", coil_group_create_task(group, dropped(), NULL, NULL));
    TRACE_IS("drop:it");
    OK(coil_group_enter(group));
    RAISES(COIL_EBUSY, "TaskGroup has already been entered", coil_group_enter(group));
    RAISES(COIL_ETYPE, "a coroutine was expected",
           coil_group_create_task(group, coil_coro_make(NULL, NULL, NULL, 0, NULL), NULL, NULL));
    OK(coil_group_exit(group, 0));
    RAISES(COIL_ERUNTIME, "TaskGroup is finished", coil_group_create_task(group, dropped(), NULL, NULL));
    TRACE_IS("drop:it");
    RAISES(COIL_EBUSY, "TaskGroup has already been entered", coil_group_enter(group));
    coil_group_free(group);
}

static int adds_too_late(void *group, void **result)
{
    (void)result;
    ck_assert_int_eq(coil_sleep(COIL_MS(50)), -ECANCELED);
    RAISES(COIL_ERUNTIME, "TaskGroup is shutting down", coil_group_create_task(group, dropped(), NULL, NULL));
    return 0;
}

static int late_body(coil_group *group, void *arg)
{
    (void)arg;
    COIL_TRY(coil_group_create_task(group, coil_coro_of(adds_too_late, group), NULL, NULL));
    COIL_TRY(coil_sleep(0));
    return coil_raise(COIL_EUSER(1), "body failed");
}

TASK_TEST(group_that_is_shutting_down_takes_no_tasks)
{
    is_group(coil_group_run(late_body, NULL), "body failed");
    TRACE_IS("drop:it");
}

static int enter_in_callback(void *group)
{
    RAISES(COIL_ERUNTIME, "TaskGroup cannot determine the parent task", coil_group_enter(group));
    note("callback");
    return 0;
}

TASK_TEST(group_enter_needs_a_task)
{
    coil_group *group;
    OK(coil_group_new(&group));
    OK(coil_loop_call_soon(coil_get_running_loop(), enter_in_callback, group, NULL));
    turns(1);
    TRACE_IS("callback");
    coil_group_free(group);
}

TEST(group_enter_needs_a_loop)
{
    coil_group *group;
    OK(coil_group_new(&group));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_group_enter(group));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_group_run(nothing, NULL));
    coil_group_free(group);
}

static void never_leave(void)
{
    coil_group *group;
    OK(coil_group_new(&group));
    OK(coil_group_enter(group));
}

ABORTS(group_may_not_be_open_when_its_task_ends)
{
    run_as_task(never_leave);
}

static void leave_twice(void)
{
    coil_group *group;
    OK(coil_group_new(&group));
    OK(coil_group_enter(group));
    OK(coil_group_exit(group, 0));
    int rc = coil_group_exit(group, 0);
    ck_assert_int_eq(rc, 0);
}

ABORTS(group_may_not_be_left_twice)
{
    run_as_task(leave_twice);
}

/* --- the unusual ----------------------------------------------------------------------------------------------------- */

static int fail_to_add(coil_group *group, void *arg)
{
    (void)arg;
    for (uint64_t n = 1;; n++) {
        coil__alloc_fail_at(n);
        int rc = coil_group_create_task(group, dropped(), NULL, NULL);
        coil__alloc_fail_at(0);
        if (rc == 0)
            break;
        RAISES(-ENOMEM, "", rc);
        TRACE_IS("drop:it");
    }
    TRACE_IS("");
    return 0;
}

TASK_TEST(group_create_task_without_memory_raises_and_drops_the_coroutine)
{
    OK(coil_group_run(fail_to_add, NULL));
    TRACE_IS("ran");
}

static int exit_without_memory(coil_group *group, void *arg)
{
    (void)arg;
    add(group, child, "a", 0, 0);
    coil__alloc_fail_at(1);
    return 0;
}

TASK_TEST(group_exit_without_memory_waits_all_the_same)
{
    OK(coil_group_run(exit_without_memory, NULL));
    coil__alloc_fail_at(0);
    TRACE_IS("a");
}

static int stop_loop(void *arg, void **result)
{
    (void)arg;
    (void)result;
    COIL_TRY(coil_sleep(COIL_MS(12)));
    coil_loop_stop(coil_get_running_loop());
    return 0;
}

static void free_loop_with(int (*body)(coil_group *, void *))
{
    coil_loop *loop = new_test_loop();
    trace[0] = '\0';
    OK(coil_loop_create_task(loop, coil_coro_of(parent, &body), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_coro_of(stop_loop, NULL), NULL, NULL));
    OK(coil_loop_run_forever(loop));
    coil_loop_free(loop);
}

TEST(group_is_left_when_its_loop_is_freed)
{
    free_loop_with(two_children);
    TRACE_IS("body b a:GeneratorExit parent:GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, "");
    expect_report("Task was destroyed but it is pending!", 0, "");
}

static int fails_beside_slow_end(coil_group *group, void *arg)
{
    add(group, child, "b", 10, COIL_EUSER(1));
    return start_slow_end(group, arg);
}

TEST(group_with_errors_is_left_when_its_loop_is_freed)
{
    free_loop_with(fails_beside_slow_end);
    TRACE_IS("b parent:GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, "");
    expect_report("Task was destroyed but it is pending!", 0, "");
}

COIL_TEST_MAIN("group")
