/*
 * test_thread.c - other threads: call_soon_threadsafe, run_coroutine_threadsafe, and futures for plain threads
 *
 * Loops here sleep in the kernel by the real clock and are woken by the threads (event_loop of the default options).
 */
#include "coil_test.h"

#include <pthread.h>
#include <stdlib.h>

enum { THREADS = 4, CALLS = 2000 };

static coil_loop *loop;

static void begin(void)
{
    coil_loop_options options = {.size = sizeof options, .default_exception_handler = keep_report};
    trace[0] = '\0';
    OK(coil_new_event_loop(&options, &loop));
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, fn, arg), 0);
    return thread;
}

static int stop(void *arg)
{
    (void)arg;
    coil_loop_stop(loop);
    return 0;
}

/* --- call_soon_threadsafe -------------------------------------------------------------------------------------------------- */

/* One call of one thread. */
struct call {
    struct caller *caller;
    int number;
};

struct caller {
    struct call calls[CALLS];
    int ran; /* on the loop's thread */
};

static int running;

static int count_call(void *arg)
{
    struct call *call = arg;
    ck_assert_int_eq(call->number, call->caller->ran); /* in the order of the calls */
    if (++call->caller->ran == CALLS && --running == 0)
        coil_loop_stop(loop);
    return 0;
}

static void *make_calls(void *arg)
{
    struct caller *caller = arg;
    for (int i = 0; i < CALLS; i++) {
        caller->calls[i] = (struct call){caller, i};
        OK(coil_loop_call_soon_threadsafe(loop, count_call, &caller->calls[i], NULL));
    }
    return NULL;
}

TEST(threadsafe_calls_of_each_thread_run_in_their_order)
{
    struct caller *callers = calloc(THREADS, sizeof *callers);
    pthread_t threads[THREADS];
    begin();
    running = THREADS;
    for (int i = 0; i < THREADS; i++)
        threads[i] = start(make_calls, &callers[i]);
    OK(coil_loop_run_forever(loop));
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(callers[i].ran, CALLS);
    }
    coil_loop_stats stats = {.size = sizeof stats};
    coil_loop_get_stats(loop, &stats);
    ck_assert_uint_ge(stats.handles, THREADS * CALLS);
    ck_assert_uint_le(stats.wakeups, THREADS * CALLS);
    coil_loop_free(loop);
    free(callers);
}

static int run_burst(void *caller)
{
    pthread_join(start(make_calls, caller), NULL);
    return 0;
}

TEST(threadsafe_burst_while_the_loop_is_awake_wakes_it_not_once)
{
    struct caller *caller = calloc(1, sizeof *caller);
    begin();
    running = 1;
    OK(coil_loop_call_soon(loop, run_burst, caller, NULL));
    OK(coil_loop_run_forever(loop));
    ck_assert_int_eq(caller->ran, CALLS);
    coil_loop_stats stats = {.size = sizeof stats};
    coil_loop_get_stats(loop, &stats);
    ck_assert_uint_eq(stats.wakeups, 0);
    coil_loop_free(loop);
    free(caller);
}

TEST(threadsafe_calls_before_the_loop_runs_are_kept)
{
    struct caller *caller = calloc(1, sizeof *caller);
    begin();
    running = 1;
    pthread_join(start(make_calls, caller), NULL);
    OK(coil_loop_run_forever(loop));
    ck_assert_int_eq(caller->ran, CALLS);
    coil_loop_free(loop);
    free(caller);
}

static int say(void *word)
{
    note("%s", (char *)word);
    return 0;
}

static int say_in_order(void *arg)
{
    (void)arg;
    OK(coil_loop_call_soon(loop, say, "a", NULL));
    OK(coil_loop_call_soon_threadsafe(loop, say, "b", NULL));
    OK(coil_loop_call_soon(loop, say, "c", NULL));
    OK(coil_loop_call_soon(loop, stop, NULL, NULL));
    return 0;
}

TEST(threadsafe_call_on_the_loops_own_thread_keeps_its_place)
{
    begin();
    OK(say_in_order(NULL));
    OK(coil_loop_run_forever(loop));
    TRACE_IS("a b c");
    OK(coil_loop_call_soon(loop, say_in_order, NULL, NULL));
    OK(coil_loop_run_forever(loop));
    TRACE_IS("a b c");
    coil_loop_free(loop);
}

static void *cancelled_call(void *arg)
{
    coil_handle *handle;
    (void)arg;
    OK(coil_loop_call_soon_threadsafe(loop, say, "released", &handle));
    coil_handle_release(handle);
    OK(coil_loop_call_soon_threadsafe(loop, stop, NULL, NULL));
    return NULL;
}

TEST(threadsafe_call_may_be_forgotten_at_once)
{
    begin();
    pthread_t thread = start(cancelled_call, NULL);
    OK(coil_loop_run_forever(loop));
    pthread_join(thread, NULL);
    TRACE_IS("released");
    coil_loop_free(loop);
}

static void *ping(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++)
        OK(coil_loop_call_soon_threadsafe(loop, say, ".", NULL));
    OK(coil_loop_call_soon_threadsafe(loop, stop, NULL, NULL));
    return NULL;
}

static int sleeper(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return coil_sleep(COIL_SECONDS(3600));
}

TEST(threadsafe_calls_wake_a_loop_that_sleeps_until_a_timer)
{
    begin();
    coil_task *task;
    OK(coil_loop_create_task(loop, coil_coro_of(sleeper, NULL), NULL, &task));
    pthread_t thread = start(ping, NULL);
    OK(coil_loop_run_forever(loop));
    pthread_join(thread, NULL);
    ck_assert_uint_eq(strlen(trace), 399);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_loop_run_until_complete(loop, task, NULL));
    coil_release(task);
    coil_loop_free(loop);
}

/* --- run_coroutine_threadsafe ------------------------------------------------------------------------------------------------ */

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

static int failing(void *arg, void **result)
{
    (void)result;
    COIL_TRY(coil_sleep(0));
    return coil_raise(COIL_EUSER(1), "%s", (char *)arg);
}

static int add(void *arg, void **result)
{
    const int *numbers = arg;
    COIL_TRY(coil_sleep(0));
    *result = (void *)(intptr_t)(numbers[0] + numbers[1]);
    return 0;
}

static coil_thread_future *submit(coil_coro coro)
{
    coil_thread_future *future;
    OK(coil_run_coroutine_threadsafe(coro, loop, &future));
    return future;
}

/* Runs @fn on a thread beside the loop, and stops the loop after it. */
static void *(*beside_fn)(void *);

static void *run_beside(void *arg)
{
    beside_fn(arg);
    OK(coil_loop_call_soon_threadsafe(loop, stop, NULL, NULL)); /* in line, behind what the thread has posted */
    return NULL;
}

static void beside_the_loop(void *(*fn)(void *))
{
    begin();
    beside_fn = fn;
    pthread_t thread = start(run_beside, NULL);
    OK(coil_loop_run_forever(loop));
    pthread_join(thread, NULL);
    coil_loop_free(loop);
}

static void *submit_and_wait(void *arg)
{
    void *result;
    (void)arg;
    coil_thread_future *future = submit(coil_coro_of(answer, "42"));
    OK(coil_thread_future_wait(future, COIL_FOREVER, &result));
    ck_assert_str_eq(result, "42");
    ck_assert(coil_thread_future_done(future));
    ck_assert(!coil_thread_future_cancelled(future));
    ck_assert(!coil_thread_future_cancel(future));
    OK(coil_thread_future_wait(future, 0, NULL));
    coil_thread_future_release(future);
    coil_thread_future_release(NULL);
    return NULL;
}

TEST(threadsafe_coroutine_gives_its_result_to_the_thread)
{
    beside_the_loop(submit_and_wait);
}

static void *submit_failing(void *arg)
{
    (void)arg;
    coil_thread_future *future = submit(coil_coro_of(failing, "bad"));
    RAISES(COIL_EUSER(1), "bad", coil_thread_future_wait(future, COIL_FOREVER, NULL));
    RAISES(COIL_EUSER(1), "bad", coil_thread_future_wait(future, COIL_FOREVER, NULL));
    coil_thread_future_release(future);
    return NULL;
}

TEST(threadsafe_coroutine_gives_its_error_to_the_thread)
{
    beside_the_loop(submit_failing);
}

static void *submit_copy(void *arg)
{
    void *sum;
    (void)arg;
    int numbers[] = {20, 22};
    coil_thread_future *future = submit(coil_coro_copy(add, numbers, sizeof numbers));
    numbers[0] = numbers[1] = -1;
    OK(coil_thread_future_wait(future, COIL_FOREVER, &sum));
    ck_assert_int_eq((intptr_t)sum, 42);
    coil_thread_future_release(future);
    return NULL;
}

TEST(threadsafe_coroutine_may_have_a_copy_of_its_argument)
{
    beside_the_loop(submit_copy);
}

static void *submit_and_cancel(void *arg)
{
    (void)arg;
    coil_thread_future *future = submit(coil_coro_of(sleeper, NULL));
    RAISES(-ETIMEDOUT, "", coil_thread_future_wait(future, COIL_MS(2), NULL));
    ck_assert(!coil_thread_future_done(future));
    ck_assert(coil_thread_future_cancel(future));
    ck_assert(coil_thread_future_cancelled(future));
    RAISES(-ECANCELED, "", coil_thread_future_wait(future, COIL_FOREVER, NULL));
    coil_thread_future_release(future);
    future = submit(coil_coro_of(answer, NULL)); /* the loop has seen the cancellation when this one is done */
    OK(coil_thread_future_wait(future, COIL_FOREVER, NULL));
    coil_thread_future_release(future);
    return NULL;
}

TEST(threadsafe_coroutine_can_be_cancelled_by_the_thread)
{
    beside_the_loop(submit_and_cancel);
}

static int cancels_itself(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_task_cancel(coil_current_task(), NULL);
    return coil_sleep(0);
}

static void *submit_one_that_is_cancelled(void *arg)
{
    (void)arg;
    coil_thread_future *future = submit(coil_coro_of(cancels_itself, NULL));
    RAISES(-ECANCELED, "", coil_thread_future_wait(future, COIL_FOREVER, NULL));
    ck_assert(coil_thread_future_cancelled(future));
    coil_thread_future_release(future);
    return NULL;
}

TEST(threadsafe_coroutine_that_is_cancelled_on_its_loop_tells_the_thread)
{
    beside_the_loop(submit_one_that_is_cancelled);
}

static void *submit_and_forget(void *arg)
{
    (void)arg;
    OK(coil_run_coroutine_threadsafe(coil_coro_of(answer, NULL), loop, NULL));
    coil_thread_future *future = submit(coil_coro_of(answer, NULL));
    coil_thread_future_release(future);
    future = submit(coil_sleep_coro(COIL_MS(5), "end"));
    OK(coil_thread_future_wait(future, COIL_FOREVER, NULL));
    coil_thread_future_release(future);
    return NULL;
}

TEST(threadsafe_coroutine_may_be_forgotten)
{
    beside_the_loop(submit_and_forget);
}

TEST(threadsafe_coroutine_for_a_closed_loop_is_dropped)
{
    coil_thread_future *future;
    begin();
    OK(coil_loop_close(loop));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed",
           coil_run_coroutine_threadsafe(coil_coro_owning(answer, "it", drop_note), loop, &future));
    TRACE_IS("drop:it");
    RAISES(COIL_ETYPE, "A coroutine object is required",
           coil_run_coroutine_threadsafe(coil_coro_make(NULL, NULL, NULL, 0, NULL), loop, &future));
    coil_loop_free(loop);
}

TEST(threadsafe_coroutine_that_the_loop_never_got_to_fails)
{
    begin();
    coil_thread_future *future = submit(coil_coro_owning(answer, "it", drop_note));
    ck_assert(!coil_thread_future_done(future));
    coil_loop_free(loop);
    TRACE_IS("drop:it");
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_thread_future_wait(future, COIL_FOREVER, NULL));
    coil_thread_future_release(future);
}

/* --- many threads wait for many coroutines ------------------------------------------------------------------------------------ */

static void *submit_many(void *arg)
{
    void *result;
    (void)arg;
    for (intptr_t i = 0; i < 200; i++) {
        coil_thread_future *future = submit(coil_sleep_coro(i % 3 ? 0 : COIL_US(10), (void *)i));
        OK(coil_thread_future_wait(future, COIL_FOREVER, &result));
        ck_assert_int_eq((intptr_t)result, i);
        coil_thread_future_release(future);
    }
    OK(coil_loop_call_soon_threadsafe(loop, say, ".", NULL));
    return NULL;
}

static void *submit_from_threads(void *arg)
{
    pthread_t threads[THREADS];
    (void)arg;
    for (int i = 0; i < THREADS; i++)
        threads[i] = start(submit_many, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return NULL;
}

TEST(threadsafe_coroutines_of_many_threads_all_come_back)
{
    beside_the_loop(submit_from_threads);
    TRACE_IS(". . . .");
}

COIL_TEST_MAIN("thread")
