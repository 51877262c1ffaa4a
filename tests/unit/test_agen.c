/*
 * test_agen.c - asynchronous generators: values in both directions, closing, release, the loop's end
 *
 * Most tests are the main task of a loop of its own (coil_run_with) on a virtual clock. What is expected is what
 * CPython 3.11 does (genobject.c, asyncio.base_events).
 */
#include "agens.h"

static void drop_note(void *arg)
{
    note("drop:%s", (char *)arg);
}

/* --- next ---------------------------------------------------------------------------------------------------------- */

TASK_TEST(agen_gives_what_its_body_yields_and_then_stops)
{
    coil_agen *g = agen(count, "g");
    ck_assert(!coil_agen_suspended(g));
    ck_assert_int_eq(next_of(g), 1);
    ck_assert(coil_agen_suspended(g));
    ck_assert_int_eq(next_of(g), 2);
    ck_assert_int_eq(next_of(g), 3);
    TRACE_IS("");
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    ck_assert(coil_agen_finished(g));
    TRACE_IS("g:end");
    coil_agen_release(g);
}

TASK_TEST(agen_body_awaits_in_the_task_that_asks)
{
    coil_agen *g = agen(slow, "g");
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(next_of(g), i);
        ck_assert_int_eq(now_ms(), 10 * i);
    }
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    coil_agen_release(g);
}

TASK_TEST(agen_without_a_yield_stops_at_once)
{
    coil_agen *g = agen(slow, "g");
    OK(coil_agen_close(g));
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    ck_assert_int_eq(now_ms(), 0);
    coil_agen_release(g);
}

static int failing(coil_agen *g, void *arg)
{
    (void)arg;
    COIL_TRY(coil_agen_yield(g, (void *)1, NULL));
    return coil_raise(COIL_EUSER(1), "inside");
}

TASK_TEST(agen_error_ends_it)
{
    coil_agen *g = begun(failing, "g");
    RAISES(COIL_EUSER(1), "inside", next_of(g));
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    coil_agen_release(g);
}

static int stops(coil_agen *g, void *arg)
{
    (void)g;
    (void)arg;
    return coil_raise(COIL_ESTOPITERATION, NULL);
}

TASK_TEST(agen_body_cannot_raise_the_end_of_the_iteration)
{
    coil_agen *g = agen(stops, "g");
    RAISES(COIL_ERUNTIME, "async generator raised StopAsyncIteration", next_of(g));
    coil_agen_release(g);
}

/* --- send and throw ------------------------------------------------------------------------------------------------ */

/* Notes what it is sent or what is thrown in, and goes on. */
static int parrot(coil_agen *g, void *arg)
{
    (void)arg;
    for (intptr_t i = 1;; i++) {
        void *sent;
        int rc = coil_agen_yield(g, (void *)i, &sent);
        if (rc == COIL_EGENERATOREXIT || rc == COIL_EUSER(9))
            return rc;
        note("%s", rc < 0 ? caught(rc) : sent ? (char *)sent : "nothing");
    }
}

TASK_TEST(agen_send_gives_a_value_to_the_yield)
{
    void *value;
    coil_agen *g = begun(parrot, "g");
    OK(coil_agen_send(g, "hello", &value));
    ck_assert_int_eq((intptr_t)value, 2);
    OK(coil_agen_next(g, NULL));
    TRACE_IS("hello nothing");
    close_and_release(g);
}

TASK_TEST(agen_cannot_be_sent_a_value_before_its_first_yield)
{
    coil_agen *g = agen(parrot, "g");
    RAISES(COIL_ETYPE, "can't send non-None value to a just-started async generator",
           coil_agen_send(g, "early", NULL));
    ck_assert_int_eq(next_of(g), 1);
    close_and_release(g);
}

TASK_TEST(agen_throw_raises_at_the_yield)
{
    void *value;
    coil_agen *g = begun(parrot, "g");
    OK(coil_agen_throw(g, coil_error_new(COIL_EUSER(1), "stone"), &value));
    ck_assert_int_eq((intptr_t)value, 2);
    TRACE_IS("stone");
    RAISES(COIL_EUSER(9), "last", coil_agen_throw(g, coil_error_new(COIL_EUSER(9), "last"), &value));
    ck_assert(coil_agen_finished(g));
    value = &value;
    OK(coil_agen_throw(g, coil_error_new(COIL_EUSER(1), "late"), &value));
    ck_assert_ptr_null(value);
    coil_agen_release(g);
}

TASK_TEST(agen_throw_before_the_first_yield_ends_it)
{
    coil_agen *g;
    OK(coil_agen_new(count, "g", drop_note, "g", &g));
    RAISES(COIL_EUSER(1), "early", coil_agen_throw(g, coil_error_new(COIL_EUSER(1), "early"), NULL));
    TRACE_IS("drop:g");
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    coil_agen_release(g);
}

/* --- close --------------------------------------------------------------------------------------------------------- */

TASK_TEST(agen_close_waits_for_the_clean_up)
{
    coil_agen *g = begun(tidy, "g");
    OK(coil_agen_close(g));
    TRACE_IS("g:GeneratorExit g:tidy");
    ck_assert_int_eq(now_ms(), 10);
    OK(coil_agen_close(g));
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    coil_agen_release(g);
}

TASK_TEST(agen_close_before_the_first_yield_never_runs_the_body)
{
    coil_agen *g;
    OK(coil_agen_new(count, "g", drop_note, "g", &g));
    OK(coil_agen_close(g));
    TRACE_IS("drop:g");
    coil_agen_release(g);
    TRACE_IS("");
}

static int failing_close(coil_agen *g, void *arg)
{
    (void)arg;
    coil_error_release(coil_catch(coil_agen_yield(g, (void *)1, NULL)));
    return coil_raise(COIL_EUSER(1), "in close");
}

TASK_TEST(agen_close_raises_what_the_clean_up_raises)
{
    coil_agen *g = begun(failing_close, "g");
    RAISES(COIL_EUSER(1), "in close", coil_agen_close(g));
    OK(coil_agen_close(g));
    coil_agen_release(g);
}

static int stubborn(coil_agen *g, void *arg)
{
    (void)arg;
    for (intptr_t i = 1; i <= 3; i++)
        coil_error_release(coil_catch(coil_agen_yield(g, (void *)i, NULL)));
    return 0;
}

TASK_TEST(agen_that_yields_when_it_is_closed_is_an_error)
{
    coil_agen *g = begun(stubborn, "g");
    RAISES(COIL_ERUNTIME, "async generator ignored GeneratorExit", coil_agen_close(g));
    RAISES(COIL_ESTOPITERATION, "", coil_agen_close(g)); /* so CPython says when it is tried again */
    ck_assert_int_eq(next_of(g), 3);
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    coil_agen_release(g);
}

/* --- pipelines ----------------------------------------------------------------------------------------------------- */

struct stage {
    coil_agen *source; /* owned */
    const char *name;
};

/* Passes on what its source yields, plus 10. */
static int pass_on(coil_agen *g, void *arg)
{
    struct stage *s = arg;
    void *value;
    int rc;
    while ((rc = coil_agen_next(s->source, &value)) == 0)
        if ((rc = coil_agen_yield(g, (char *)value + 10, NULL)) < 0)
            break;
    coil_error *error = rc == COIL_ESTOPITERATION ? NULL : coil_catch(rc);
    note("%s", s->name);
    rc = coil_agen_close(s->source);
    coil_agen_release(s->source);
    ck_assert_int_eq(rc, 0);
    return coil_raise_error(error);
}

static coil_agen *stage(struct stage *s, coil_agen *source, const char *name)
{
    coil_agen *g;
    *s = (struct stage){source, name};
    OK(coil_agen_new(pass_on, s, NULL, name, &g));
    return g;
}

TASK_TEST(agen_pipeline_passes_everything_on)
{
    struct stage s, t;
    coil_agen *g = stage(&t, stage(&s, agen(count, "g"), "s"), "t");
    for (int i = 1; i <= 3; i++)
        ck_assert_int_eq(next_of(g), 20 + i);
    RAISES(COIL_ESTOPITERATION, "", next_of(g));
    TRACE_IS("g:end s t");
    coil_agen_release(g);
}

TASK_TEST(agen_pipeline_that_is_left_early_cleans_up_from_the_last_to_the_first)
{
    struct stage s, t;
    coil_agen *g = stage(&t, stage(&s, agen(tidy, "g"), "s"), "t");
    ck_assert_int_eq(next_of(g), 21);
    close_and_release(g);
    TRACE_IS("t s g:GeneratorExit g:tidy");
    ck_assert_int_eq(now_ms(), 10);
}

TASK_TEST(agen_pipeline_may_be_long)
{
    struct stage stages[100];
    coil_agen *g = agen(count, "g");
    for (size_t i = 0; i < 100; i++)
        g = stage(&stages[i], g, "");
    ck_assert_int_eq(next_of(g), 1001);
    ck_assert_int_eq(next_of(g), 1002);
    close_and_release(g);
    trace[0] = '\0';
}

/* --- as coroutines ------------------------------------------------------------------------------------------------- */

TASK_TEST(agen_steps_are_coroutines_too)
{
    void *value;
    coil_agen *g = agen(parrot, "g");
    OK(coil_wait_for(coil_agen_next_coro(g), COIL_SECONDS(1), &value));
    ck_assert_int_eq((intptr_t)value, 1);
    OK(coil_join(spawn(coil_agen_send_coro(g, "sent")), &value));
    ck_assert_int_eq((intptr_t)value, 2);
    OK(coil_join(spawn(coil_agen_throw_coro(g, coil_error_new(COIL_EUSER(1), "thrown"))), NULL));
    OK(coil_join(spawn(coil_agen_close_coro(g)), NULL));
    TRACE_IS("sent thrown");
    ck_assert(coil_agen_finished(g));
    coil_agen_release(g);
}

TASK_TEST(agen_coroutine_that_nobody_runs_can_be_dropped)
{
    coil_agen *g = begun(parrot, "g");
    coil_coro_drop(coil_agen_next_coro(g));
    coil_coro_drop(coil_agen_throw_coro(g, coil_error_new(COIL_EUSER(1), "unused")));
    coil_coro_drop(coil_agen_close_coro(g));
    ck_assert_int_eq(next_of(g), 2);
    close_and_release(g);
}

/* --- release ------------------------------------------------------------------------------------------------------- */

TASK_TEST(agen_that_was_never_used_drops_its_argument)
{
    coil_agen *g;
    OK(coil_agen_new(count, "g", drop_note, "g", &g));
    coil_agen_release(coil_agen_retain(g));
    TRACE_IS("");
    coil_agen_release(g);
    TRACE_IS("drop:g");
    coil_agen_release(NULL);
}

TASK_TEST(agen_released_while_suspended_is_closed_by_a_task)
{
    coil_agen_release(begun(tidy, "a"));
    coil_agen_release(begun(count, "b"));
    TRACE_IS("");
    turns(1); /* makes the tasks */
    TRACE_IS("");
    turns(1);
    TRACE_IS("a:GeneratorExit b:GeneratorExit");
    OK(coil_sleep(COIL_MS(20)));
    TRACE_IS("a:tidy");
}

TASK_TEST(agen_released_after_its_end_is_just_gone)
{
    coil_agen *g = begun(failing, "g");
    RAISES(COIL_EUSER(1), "inside", next_of(g));
    coil_agen_release(g);
    g = begun(stubborn, "g");
    RAISES(COIL_ERUNTIME, "async generator ignored GeneratorExit", coil_agen_close(g));
    coil_agen_release(g); /* unwound at once, since closing was tried */
    turns(2);
}

TASK_TEST(agen_finalize_arranges_the_closing_once)
{
    coil_agen *g = begun(count, "g");
    ck_assert_int_eq(coil_agen_finalize(g), 1);
    ck_assert_int_eq(coil_agen_finalize(g), 0);
    turns(2);
    TRACE_IS("g:GeneratorExit");
    ck_assert(coil_agen_finished(g));
    ck_assert_int_eq(coil_agen_finalize(g), 0);
    coil_agen_release(g);
    g = agen(count, "unused");
    ck_assert_int_eq(coil_agen_finalize(g), 0);
    coil_agen_release(g);
}

TASK_TEST(agen_error_in_a_closing_that_nobody_waits_for_is_reported)
{
    coil_agen_release(begun(failing_close, "g"));
    turns(3);
    expect_report("Task exception was never retrieved", COIL_EUSER(1), "in close");
}

/* --- the end of the loop --------------------------------------------------------------------------------------------- */

static coil_agen *left[3];

static int leave_some(void *arg, void **result)
{
    (void)arg;
    (void)result;
    left[0] = agen(tidy, "a");
    left[1] = begun(tidy, "b");
    left[2] = begun(failing_close, "c");
    OK(coil_agen_next(left[0], NULL));
    return 0;
}

static void release_left(void)
{
    for (int i = 0; i < 3; i++)
        coil_agen_release(left[i]);
}

TEST(agen_left_suspended_is_closed_at_the_end_of_run_in_the_order_of_first_use)
{
    coil_loop_options options = test_options();
    OK(coil_run_with(&options, coil_coro_of(leave_some, NULL), NULL));
    TRACE_IS("b:GeneratorExit a:GeneratorExit b:tidy a:tidy");
    expect_report("an error occurred during closing of asynchronous generator", COIL_EUSER(1), "in close");
    release_left();
}

static int note_callback(void *arg)
{
    note("%s", (char *)arg);
    return 0;
}

TASK_TEST(agen_shutdown_with_nothing_to_close_does_not_suspend)
{
    coil_agen *g = begun(count, "g");
    close_and_release(g);
    trace[0] = '\0';
    OK(coil_loop_call_soon(coil_get_running_loop(), note_callback, "later", NULL));
    OK(coil_loop_shutdown_asyncgens(coil_get_running_loop()));
    TRACE_IS("");
    turns(1);
    TRACE_IS("later");
}

TEST(agen_released_after_its_loop_was_closed_is_unwound_without_waiting)
{
    coil_loop *loop = new_test_loop();
    trace[0] = '\0';
    OK(coil_loop_run_until_complete(loop, coil_coro_of(leave_some, NULL), NULL));
    OK(coil_loop_close(loop));
    TRACE_IS("");
    coil_agen_release(left[0]);
    TRACE_IS("a:GeneratorExit a:RuntimeError"); /* it cannot sleep any more */
    coil_loop_free(loop);
    coil_agen_release(left[1]);
    TRACE_IS("b:GeneratorExit b:RuntimeError");
    RAISES(COIL_EUSER(2), "kept", (coil_raise(COIL_EUSER(2), "kept"), coil_agen_release(left[2]), COIL_EUSER(2)));
}

TEST(agen_whose_finalizer_never_ran_is_unwound_with_the_loop)
{
    coil_loop *loop = new_test_loop();
    trace[0] = '\0';
    OK(coil_loop_run_until_complete(loop, coil_coro_of(leave_some, NULL), NULL));
    coil_agen_release(left[1]); /* posts the finalizer to a loop that does not run again */
    TRACE_IS("");
    coil_loop_free(loop);
    TRACE_IS("b:GeneratorExit b:RuntimeError");
    coil_agen_release(left[0]);
    coil_agen_release(left[2]);
    TRACE_IS("a:GeneratorExit a:RuntimeError");
}

static int iterate_stuck(void *g, void **result)
{
    (void)result;
    void *value;
    OK(coil_agen_next(g, &value));
    return coil_agen_next(g, &value);
}

TEST(agen_in_the_middle_of_a_task_is_unwound_with_it)
{
    coil_loop *loop = new_test_loop();
    coil_agen *g = agen(stuck, "g");
    trace[0] = '\0';
    OK(coil_loop_create_task(loop, coil_coro_of(iterate_stuck, g), NULL, NULL));
    OK(coil_loop_run_until_complete(loop, coil_sleep_coro(COIL_MS(1), NULL), NULL));
    coil_loop_free(loop);
    TRACE_IS("g:GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, "");
    ck_assert(coil_agen_finished(g));
    coil_agen_release(g);
}

COIL_TEST_MAIN("agen")
