/*
 * test_queue.c - queues: order, waiting, cancellation, join, and who owns the items
 *
 * Each test is the main task of a loop of its own (coil_run_with). The expected orders are those of asyncio.queues and
 * heapq of CPython 3.11.
 */
#include "coil_test.h"

#include <stdlib.h>

#include "base/alloc.h"

static coil_queue *queue;

static void *number(intptr_t n)
{
    return (void *)n;
}

/* Takes an item without waiting. */
static long take(void)
{
    void *item;
    OK(coil_queue_get_nowait(queue, &item));
    return (long)(intptr_t)item;
}

static int getter(void *name, void **result)
{
    int rc = coil_queue_get(queue, result);
    if (rc < 0)
        note("%s:cancelled", (char *)name);
    else
        note("%s:%ld", (char *)name, (long)(intptr_t)*result);
    return rc;
}

static coil_task *spawn_getter(const char *name)
{
    return spawn(coil_coro_of(getter, (void *)(uintptr_t)name));
}

static int putter(void *item, void **result)
{
    (void)result;
    int rc = coil_queue_put(queue, item);
    note("%ld%s", (long)(intptr_t)item, rc < 0 ? ":cancelled" : "");
    return rc;
}

static coil_task *spawn_putter(intptr_t item)
{
    return spawn(coil_coro_of(putter, number(item)));
}

/* --- order ------------------------------------------------------------------------------------------------------- */

TASK_TEST(queue_gives_items_first_in_first_out)
{
    OK(coil_queue_new(0, &queue));
    for (intptr_t i = 0; i < 5; i++)
        OK(coil_queue_put(queue, number(i)));
    ck_assert_uint_eq(coil_queue_qsize(queue), 5);
    for (long i = 0; i < 5; i++)
        ck_assert_int_eq(take(), i);
    ck_assert(coil_queue_empty(queue));
    coil_queue_free(queue);
    coil_queue_free(NULL);
}

TASK_TEST(queue_keeps_its_order_when_its_ring_grows_after_wrapping_around)
{
    OK(coil_queue_new(0, &queue));
    intptr_t in = 0;
    long out = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 7; i++)
            OK(coil_queue_put_nowait(queue, number(in++)));
        for (int i = 0; i < 5; i++)
            ck_assert_int_eq(take(), out++);
    }
    ck_assert_uint_eq(coil_queue_qsize(queue), 100);
    while (!coil_queue_empty(queue))
        ck_assert_int_eq(take(), out++);
    ck_assert_int_eq(out, in);
    coil_queue_free(queue);
}

TASK_TEST(lifo_queue_gives_items_last_in_first_out)
{
    OK(coil_lifo_queue_new(0, &queue));
    for (intptr_t i = 0; i < 20; i++)
        OK(coil_queue_put(queue, number(i)));
    for (long i = 19; i >= 10; i--)
        ck_assert_int_eq(take(), i);
    OK(coil_queue_put(queue, number(100)));
    ck_assert_int_eq(take(), 100);
    ck_assert_int_eq(take(), 9);
    coil_queue_free(queue);
}

/* Items of priority queues: the priority in the hundreds, an identity below. */
static size_t comparisons, fail_at;

static int less(const void *a, const void *b)
{
    if (++comparisons == fail_at)
        return coil_raise(COIL_EUSER(7), "not comparable");
    return (intptr_t)a / 100 < (intptr_t)b / 100;
}

static void put_all(const int *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        OK(coil_queue_put_nowait(queue, number(items[i])));
}

TASK_TEST(priority_queue_gives_the_least_item_first)
{
    OK(coil_priority_queue_new(0, less, &queue));
    unsigned random = 1;
    for (int i = 0; i < 1000; i++) {
        random = random * 1103515245 + 12345;
        OK(coil_queue_put_nowait(queue, number((intptr_t)(random >> 8) % 100000)));
    }
    long last = 0;
    for (int i = 0; i < 1000; i++) {
        long item = take();
        ck_assert_int_le(last / 100, item / 100);
        last = item;
    }
    coil_queue_free(queue);
}

/* What heapq of CPython 3.11 gives for the same items with the same comparison. */
TASK_TEST(priority_queue_breaks_ties_as_heapq_does)
{
    static const int items[] = {301, 102, 303, 104, 205, 206, 107, 308, 209, 110};
    static const int sorted[] = {102, 107, 104, 110, 206, 205, 209, 303, 308, 301};
    OK(coil_priority_queue_new(0, less, &queue));
    put_all(items, 10);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(take(), sorted[i]);
    coil_queue_free(queue);
}

TASK_TEST(priority_queue_compares_as_often_as_heapq_does)
{
    static const int items[] = {301, 102, 303, 104, 205, 206, 107, 308, 209, 110};
    OK(coil_priority_queue_new(0, less, &queue));
    comparisons = 0;
    put_all(items, 10);
    ck_assert_uint_eq(comparisons, 14);
    while (!coil_queue_empty(queue))
        take();
    ck_assert_uint_eq(comparisons, 33);
    coil_queue_free(queue);
}

TASK_TEST(priority_queue_put_raises_what_the_comparison_raises_and_leaves_the_queue_alone)
{
    static const int items[] = {100, 300, 200, 400};
    OK(coil_priority_queue_new(0, less, &queue));
    put_all(items, 4);
    for (size_t n = 1; n <= 2; n++) {
        fail_at = comparisons + n;
        RAISES(COIL_EUSER(7), "not comparable", coil_queue_put(queue, number(50)));
        ck_assert_uint_eq(coil_queue_qsize(queue), 4);
    }
    fail_at = 0;
    for (long priority = 100; priority <= 400; priority += 100)
        ck_assert_int_eq(take(), priority);
    coil_queue_free(queue);
}

TASK_TEST(priority_queue_get_raises_what_the_comparison_raises_and_leaves_the_queue_alone)
{
    static const int items[] = {100, 300, 200, 400, 500};
    OK(coil_priority_queue_new(0, less, &queue));
    put_all(items, 5);
    void *item = number(-1);
    for (size_t n = 1; n <= 2; n++) {
        fail_at = comparisons + n;
        RAISES(COIL_EUSER(7), "not comparable", coil_queue_get(queue, &item));
        ck_assert_int_eq((intptr_t)item, -1);
        ck_assert_uint_eq(coil_queue_qsize(queue), 5);
    }
    fail_at = 0;
    for (long priority = 100; priority <= 500; priority += 100)
        ck_assert_int_eq(take(), priority);
    coil_queue_free(queue);
}

/* --- without waiting ----------------------------------------------------------------------------------------------- */

TASK_TEST(queue_nowait_calls_raise_instead_of_waiting)
{
    OK(coil_queue_new(2, &queue));
    ck_assert_int_eq(coil_queue_maxsize(queue), 2);
    void *item = number(-1);
    RAISES(COIL_EQUEUEEMPTY, "", coil_queue_get_nowait(queue, &item));
    ck_assert_int_eq((intptr_t)item, -1);
    OK(coil_queue_put_nowait(queue, number(1)));
    ck_assert(!coil_queue_full(queue));
    OK(coil_queue_put_nowait(queue, number(2)));
    ck_assert(coil_queue_full(queue));
    RAISES(COIL_EQUEUEFULL, "", coil_queue_put_nowait(queue, number(3)));
    ck_assert_int_eq(take(), 1);
    ck_assert_int_eq(take(), 2);
    coil_queue_free(queue);
}

TASK_TEST(queue_without_a_bound_is_never_full)
{
    OK(coil_queue_new(-5, &queue));
    for (intptr_t i = 0; i < 100; i++)
        OK(coil_queue_put_nowait(queue, number(i)));
    ck_assert(!coil_queue_full(queue));
    coil_queue_free(queue);
}

TEST(queue_waiting_calls_need_a_loop)
{
    void *item;
    OK(coil_queue_new(0, &queue));
    OK(coil_queue_put_nowait(queue, number(1)));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_queue_get(queue, &item));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_queue_put(queue, number(1)));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_queue_join(queue));
    ck_assert_int_eq(take(), 1);
    coil_queue_free(queue);
}

TASK_TEST(queue_put_without_memory_leaves_the_item_with_the_caller)
{
    OK(coil_queue_new(0, &queue));
    coil__alloc_fail_at(1);
    RAISES(-ENOMEM, "", coil_queue_put(queue, number(1)));
    coil__alloc_fail_at(0);
    ck_assert(coil_queue_empty(queue));
    OK(coil_queue_join(queue)); /* it does not count as unfinished */
    coil_queue_free(queue);
}

/* --- waiting ------------------------------------------------------------------------------------------------------- */

TASK_TEST(queue_get_waits_for_an_item)
{
    OK(coil_queue_new(0, &queue));
    coil_task *a = spawn_getter("a"), *b = spawn_getter("b");
    turns(1);
    OK(coil_queue_put(queue, number(1)));
    OK(coil_queue_put(queue, number(2)));
    TRACE_IS("");
    turns(1);
    TRACE_IS("a:1 b:2");
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    coil_queue_free(queue);
}

TASK_TEST(queue_put_waits_for_room)
{
    OK(coil_queue_new(1, &queue));
    OK(coil_queue_put(queue, number(0)));
    coil_task *a = spawn_putter(1), *b = spawn_putter(2);
    turns(1);
    TRACE_IS("");
    ck_assert_int_eq(take(), 0);
    turns(1);
    TRACE_IS("1");
    ck_assert_int_eq(take(), 1);
    OK(coil_join(b, NULL));
    TRACE_IS("2");
    ck_assert_int_eq(take(), 2);
    OK(coil_join(a, NULL));
    coil_queue_free(queue);
}

TASK_TEST(queue_getter_that_finds_its_item_taken_queues_up_at_the_end)
{
    OK(coil_queue_new(0, &queue));
    coil_task *a = spawn_getter("a"), *b = spawn_getter("b");
    turns(1);
    OK(coil_queue_put(queue, number(1)));
    ck_assert_int_eq(take(), 1); /* a has been woken */
    turns(1);
    OK(coil_queue_put(queue, number(2)));
    OK(coil_queue_put(queue, number(3)));
    turns(1);
    TRACE_IS("b:2 a:3");
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    coil_queue_free(queue);
}

TASK_TEST(queue_cancelled_getter_takes_nothing)
{
    OK(coil_queue_new(0, &queue));
    coil_task *a = spawn_getter("a"), *b = spawn_getter("b");
    turns(1);
    coil_task_cancel(a, "no");
    OK(coil_queue_put(queue, number(1)));
    OK(coil_join(b, NULL));
    RAISES(-ECANCELED, "no", coil_await(a, NULL));
    TRACE_IS("a:cancelled b:1");
    coil_release(a);
    coil_queue_free(queue);
}

TASK_TEST(queue_getter_that_is_woken_and_then_cancelled_passes_it_on)
{
    OK(coil_queue_new(0, &queue));
    coil_task *a = spawn_getter("a"), *b = spawn_getter("b");
    turns(1);
    OK(coil_queue_put(queue, number(1)));
    coil_task_cancel(a, NULL);
    OK(coil_join(b, NULL));
    TRACE_IS("a:cancelled b:1");
    ck_assert(coil_future_cancelled(a));
    coil_release(a);
    coil_queue_free(queue);
}

TASK_TEST(queue_putter_that_is_woken_and_then_cancelled_passes_it_on)
{
    OK(coil_queue_new(1, &queue));
    OK(coil_queue_put(queue, number(0)));
    coil_task *a = spawn_putter(1), *b = spawn_putter(2);
    turns(1);
    ck_assert_int_eq(take(), 0);
    coil_task_cancel(a, NULL);
    OK(coil_join(b, NULL));
    TRACE_IS("1:cancelled 2");
    ck_assert_int_eq(take(), 2);
    coil_release(a);
    coil_queue_free(queue);
}

TASK_TEST(queue_get_that_times_out_loses_no_item)
{
    OK(coil_queue_new(0, &queue));
    void *item = number(-1);
    RAISES(-ETIMEDOUT, "", coil_wait_for(coil_queue_get_coro(queue), COIL_MS(10), &item));
    OK(coil_queue_put(queue, number(1)));
    OK(coil_wait_for(coil_queue_get_coro(queue), COIL_MS(10), &item));
    ck_assert_int_eq((intptr_t)item, 1);
    coil_queue_free(queue);
}

static int produce(void *arg, void **result)
{
    (void)result;
    for (intptr_t i = 1; i <= 100; i++) {
        COIL_TRY(coil_queue_put(queue, number(i)));
        if (i % (intptr_t)arg == 0)
            COIL_TRY(coil_sleep(COIL_MS(1)));
    }
    return coil_queue_put(queue, number(0));
}

static int consume(void *arg, void **result)
{
    (void)arg;
    intptr_t sum = 0;
    void *item;
    do {
        COIL_TRY(coil_queue_get(queue, &item));
        sum += (intptr_t)item;
    } while (item);
    *result = number(sum);
    return 0;
}

TASK_TEST(queue_connects_producers_and_consumers)
{
    OK(coil_queue_new(3, &queue));
    coil_coro coros[] = {
        coil_coro_of(produce, number(7)), coil_coro_of(consume, NULL),
        coil_coro_of(produce, number(3)), coil_coro_of(consume, NULL),
    };
    void *results[4];
    OK(coil_gather_await(coros, 4, results));
    ck_assert_int_eq((intptr_t)results[1] + (intptr_t)results[3], 2 * 5050);
    ck_assert(coil_queue_empty(queue));
    coil_queue_free(queue);
}

/* --- join ---------------------------------------------------------------------------------------------------------- */

TASK_TEST(queue_join_waits_until_every_item_is_done)
{
    OK(coil_queue_new(0, &queue));
    OK(coil_queue_join(queue)); /* nothing was put */
    OK(coil_queue_put(queue, number(1)));
    OK(coil_queue_put(queue, number(2)));
    coil_task *joiner = spawn(coil_queue_join_coro(queue));
    take();
    take();
    OK(coil_queue_task_done(queue));
    turns(2);
    ck_assert(!coil_future_done(joiner));
    OK(coil_queue_task_done(queue));
    turns(1);
    ck_assert(coil_future_done(joiner));
    OK(coil_join(joiner, NULL));
    coil_queue_free(queue);
}

TASK_TEST(queue_join_does_not_look_again_when_it_is_woken)
{
    OK(coil_queue_new(0, &queue));
    OK(coil_queue_put(queue, number(1)));
    coil_task *joiner = spawn(coil_queue_join_coro(queue));
    turns(1);
    OK(coil_queue_task_done(queue));
    OK(coil_queue_put(queue, number(2)));
    OK(coil_join(joiner, NULL));
    coil_queue_free(queue);
}

TASK_TEST(queue_task_done_too_often_raises)
{
    OK(coil_queue_new(0, &queue));
    RAISES(-EINVAL, "task_done() called too many times", coil_queue_task_done(queue));
    OK(coil_queue_put(queue, number(1)));
    OK(coil_queue_task_done(queue));
    RAISES(-EINVAL, "task_done() called too many times", coil_queue_task_done(queue));
    coil_queue_free(queue);
}

/* --- who owns the items ---------------------------------------------------------------------------------------------- */

static void drop(void *item)
{
    note("drop:%ld", (long)(intptr_t)item);
}

TASK_TEST(queue_drops_what_is_left_when_it_is_freed)
{
    OK(coil_queue_new(0, &queue));
    coil_queue_set_drop(queue, drop);
    for (intptr_t i = 0; i < 12; i++)
        OK(coil_queue_put(queue, number(i)));
    for (long i = 0; i < 9; i++)
        ck_assert_int_eq(take(), i);
    coil_queue_free(queue);
    TRACE_IS("drop:9 drop:10 drop:11");
}

TASK_TEST(queue_put_coroutine_puts_its_item)
{
    OK(coil_queue_new(0, &queue));
    coil_queue_set_drop(queue, drop);
    OK(coil_join(spawn(coil_queue_put_coro(queue, number(5))), NULL));
    TRACE_IS("");
    ck_assert_int_eq(take(), 5);
    coil_queue_free(queue);
}

TASK_TEST(queue_put_coroutine_that_does_not_put_drops_its_item_once)
{
    OK(coil_queue_new(1, &queue));
    coil_queue_set_drop(queue, drop);
    OK(coil_queue_put(queue, number(0)));
    coil_coro_drop(coil_queue_put_coro(queue, number(1)));
    TRACE_IS("drop:1");
    coil_task *never_run = spawn(coil_queue_put_coro(queue, number(2)));
    coil_task_cancel(never_run, NULL);
    turns(1);
    TRACE_IS("drop:2");
    RAISES(-ETIMEDOUT, "", coil_wait_for(coil_queue_put_coro(queue, number(3)), COIL_MS(1), NULL));
    TRACE_IS("drop:3");
    coil__alloc_fail_at(1);
    coil_coro out_of_memory = coil_queue_put_coro(queue, number(4));
    coil__alloc_fail_at(0);
    TRACE_IS("drop:4");
    RAISES(-ENOMEM, "", coil_coro_await(out_of_memory, NULL));
    coil_release(never_run);
    coil_queue_free(queue);
    TRACE_IS("drop:0");
}

TEST(queue_waiters_end_when_their_loop_is_freed)
{
    OK(coil_queue_new(1, &queue));
    coil_loop *loop = new_test_loop();
    trace[0] = '\0';
    OK(coil_loop_create_task(loop, coil_coro_of(getter, "a"), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_coro_of(stop_after_two_turns, NULL), NULL, NULL));
    OK(coil_loop_run_forever(loop));
    OK(coil_queue_put_nowait(queue, number(1))); /* wakes a, which never runs again */
    coil_loop_free(loop);
    TRACE_IS("a:cancelled");
    expect_report("Task was destroyed but it is pending!", 0, "");
    ck_assert_int_eq(take(), 1);
    coil_queue_free(queue);
}

COIL_TEST_MAIN("queue")
