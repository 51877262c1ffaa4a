/*
 * test_regressions.c - faults that were found by attacking finished pieces, each named by what it broke
 */
#include "coil_test.h"

#include <pthread.h>

/* --- a thread that waits for a coroutine whose loop goes away --------------------------------------------------------------- */

static int sleep_long(void *arg, void **result)
{
    (void)arg, (void)result;
    return coil_sleep(COIL_SECONDS(1000));
}

static int stop_running_loop(void *arg)
{
    coil_loop_stop(arg);
    return 0;
}

static coil_loop *new_loop(void)
{
    coil_loop_options options = {.size = sizeof options, .default_exception_handler = keep_report};
    coil_loop *loop;
    OK(coil_new_event_loop(&options, &loop));
    return loop;
}

TEST(thread_futures_do_not_hang_when_their_loop_is_freed)
{
    coil_loop *loop = new_loop();
    coil_thread_future *future;
    OK(coil_run_coroutine_threadsafe(coil_coro_of(sleep_long, NULL), loop, &future));
    OK(coil_loop_call_later(loop, COIL_MS(1), stop_running_loop, loop, NULL));
    OK(coil_loop_run_forever(loop));
    coil_loop_free(loop);
    ck_assert(coil_thread_future_done(future));
    ck_assert_int_lt(coil_thread_future_wait(future, COIL_FOREVER, NULL), 0);
    ck_assert(coil_thread_future_cancel(future)); /* too late, and harmless */
    coil_thread_future_release(future);
    expect_report("Task was destroyed but it is pending!", 0, "");
}

/* --- long chains, and circles ------------------------------------------------------------------------------------------------ */

static int join_next(void *next, void **result)
{
    if (!next)
        return sleep_long(NULL, result);
    return coil_await(next, NULL);
}

TASK_TEST(cancelling_a_chain_of_five_thousand_tasks_needs_no_stack)
{
    enum { LENGTH = 5000 };
    static coil_task *chain[LENGTH];
    for (int i = 0; i < LENGTH; i++)
        OK(coil_create_task(coil_coro_of(join_next, i > 0 ? chain[i - 1] : NULL), &chain[i]));
    OK(coil_sleep(0));
    ck_assert(coil_task_cancel(chain[LENGTH - 1], NULL));
    ck_assert_int_eq(coil_await(chain[LENGTH - 1], NULL), -ECANCELED);
    for (int i = 0; i < LENGTH; i++) {
        ck_assert(coil_future_cancelled(chain[i]));
        coil_release(chain[i]);
    }
}

/* --- clean-up of bodies that are unwound -------------------------------------------------------------------------------------- */

static int connect_in_cleanup(void *arg, void **result)
{
    coil_stream *stream = NULL;
    int rc = sleep_long(arg, result);
    coil_error *e = coil_catch(rc);
    ck_assert_int_eq(coil_open_connection("127.0.0.1", "9", &stream), COIL_EGENERATOREXIT);
    ck_assert_ptr_null(stream);
    return coil_raise_error(e);
}

TEST(connecting_while_the_loop_is_freed_raises)
{
    coil_loop *loop = new_loop();
    OK(coil_loop_create_task(loop, coil_coro_of(connect_in_cleanup, NULL), NULL, NULL));
    OK(coil_loop_call_later(loop, COIL_MS(1), stop_running_loop, loop, NULL));
    OK(coil_loop_run_forever(loop));
    coil_loop_free(loop);
    expect_report("Task was destroyed but it is pending!", 0, "");
}

/* --- copies ------------------------------------------------------------------------------------------------------------------- */

static int overwrite(void *arg, void **result)
{
    (void)result;
    *(int *)arg = 2;
    return 0;
}

TASK_TEST(awaited_coroutines_get_a_copy_of_their_bytes)
{
    int x = 1;
    OK(coil_coro_await(coil_coro_copy(overwrite, &x, sizeof x), NULL));
    ck_assert_int_eq(x, 1);
}

TASK_TEST(outcomes_cannot_be_moved_out_of_a_gathering_future)
{
    coil_awaitable aw = COIL_AWAITABLE(coil_sleep_coro(0, NULL));
    coil_future *all;
    void *outcomes;
    OK(coil_gather(&aw, 1, false, &all));
    ck_assert_int_eq(coil_join(all, &outcomes), COIL_ETYPE);
}

TASK_TEST(ports_beyond_sixteen_bits_are_refused)
{
    coil_stream *stream;
    RAISES(-EINVAL, "port 70000 is out of range (0 to 65535)", coil_open_connection("127.0.0.1", "70000", &stream));
}

COIL_TEST_MAIN("regressions")
