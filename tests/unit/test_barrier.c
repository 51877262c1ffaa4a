/*
 * test_barrier.c - barriers: who passes when, what breaking, resetting and cancelling do
 *
 * Each test is the main task of a loop of its own (coil_run_with). The expected orders are those of asyncio.locks of
 * CPython 3.11.
 */
#include "coil_test.h"

static coil_barrier *barrier;

static int barrier_party(void *name, void **result)
{
    (void)result;
    size_t index = 99;
    int rc = coil_barrier_wait(barrier, &index);
    coil_error *error = coil_catch(rc);
    if (error)
        note("%s:%s(%s)", (char *)name, coil_error_name(rc), coil_error_message(error));
    else
        note("%s:%zu", (char *)name, index);
    return coil_raise_error(error);
}

static coil_task *spawn_party(const char *name)
{
    return spawn(coil_coro_of(barrier_party, (void *)(uintptr_t)name));
}

TEST(barrier_needs_a_party)
{
    RAISES(-EINVAL, "parties must be > 0", coil_barrier_new(0, &barrier));
    RAISES(-EINVAL, "parties must be > 0", coil_barrier_new(-3, &barrier));
    OK(coil_barrier_new(2, &barrier));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_barrier_wait(barrier, NULL));
    coil_barrier_free(barrier);
    coil_barrier_free(NULL);
}

TASK_TEST(barrier_of_one_never_suspends)
{
    OK(coil_barrier_new(1, &barrier));
    coil_task *a = spawn_party("a");
    size_t index = 99;
    OK(coil_barrier_wait(barrier, &index));
    OK(coil_barrier_wait(barrier, NULL));
    ck_assert_uint_eq(index, 0);
    TRACE_IS("");
    OK(coil_join(a, NULL));
    coil_barrier_free(barrier);
}

TASK_TEST(barrier_lets_all_go_when_the_last_arrives_and_fills_again)
{
    OK(coil_barrier_new(3, &barrier));
    ck_assert_uint_eq(coil_barrier_parties(barrier), 3);
    for (int round = 0; round < 2; round++) {
        coil_task *a = spawn_party("a"), *b = spawn_party("b");
        turns(3);
        ck_assert_uint_eq(coil_barrier_n_waiting(barrier), 2);
        TRACE_IS("");
        void *index;
        OK(coil_join(spawn(coil_barrier_wait_coro(barrier)), &index));
        ck_assert_uint_eq((size_t)index, 2);
        ck_assert_uint_eq(coil_barrier_n_waiting(barrier), 0);
        OK(coil_join(a, NULL));
        OK(coil_join(b, NULL));
        TRACE_IS("a:0 b:1");
    }
    coil_barrier_free(barrier);
}

TASK_TEST(barrier_newcomer_waits_while_it_drains)
{
    OK(coil_barrier_new(2, &barrier));
    coil_task *a = spawn_party("a"), *b = spawn_party("b"), *c = spawn_party("c"), *d = spawn_party("d");
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    OK(coil_join(c, NULL));
    OK(coil_join(d, NULL));
    TRACE_IS("b:1 a:0 d:1 c:0");
    coil_barrier_free(barrier);
}

TASK_TEST(barrier_abort_breaks_it_for_all)
{
    OK(coil_barrier_new(3, &barrier));
    coil_task *a = spawn_party("a"), *b = spawn_party("b");
    turns(2);
    ck_assert(!coil_barrier_broken(barrier));
    OK(coil_barrier_abort(barrier));
    ck_assert(coil_barrier_broken(barrier));
    RAISES(COIL_EBROKENBARRIER, "Abort or reset of barrier", coil_await(a, NULL));
    RAISES(COIL_EBROKENBARRIER, "Abort or reset of barrier", coil_await(b, NULL));
    RAISES(COIL_EBROKENBARRIER, "Barrier aborted", coil_barrier_wait(barrier, NULL));
    coil_release(a);
    coil_release(b);
    TRACE_IS("a:BrokenBarrierError(Abort or reset of barrier) b:BrokenBarrierError(Abort or reset of barrier)");
    OK(coil_barrier_reset(barrier));
    ck_assert(!coil_barrier_broken(barrier));
    coil_barrier_free(barrier);
}

TASK_TEST(barrier_reset_sends_away_who_is_waiting_and_fills_again)
{
    OK(coil_barrier_new(2, &barrier));
    coil_task *a = spawn_party("a");
    turns(2);
    OK(coil_barrier_reset(barrier));
    ck_assert_uint_eq(coil_barrier_n_waiting(barrier), 0);
    coil_task *b = spawn_party("b"), *c = spawn_party("c"); /* wait until a has gone */
    RAISES(COIL_EBROKENBARRIER, "Abort or reset of barrier", coil_await(a, NULL));
    OK(coil_join(b, NULL));
    OK(coil_join(c, NULL));
    coil_release(a);
    TRACE_IS("a:BrokenBarrierError(Abort or reset of barrier) c:1 b:0");
    OK(coil_barrier_reset(barrier));
    ck_assert(!coil_barrier_broken(barrier));
    coil_barrier_free(barrier);
}

TASK_TEST(barrier_cancelled_party_does_not_count)
{
    OK(coil_barrier_new(2, &barrier));
    coil_task *a = spawn_party("a");
    turns(2);
    coil_task_cancel(a, "no");
    RAISES(-ECANCELED, "no", coil_await(a, NULL));
    coil_release(a);
    ck_assert_uint_eq(coil_barrier_n_waiting(barrier), 0);
    coil_task *b = spawn_party("b");
    turns(2);
    TRACE_IS("a:CancelledError(no)");
    OK(coil_barrier_wait(barrier, NULL));
    OK(coil_join(b, NULL));
    TRACE_IS("b:0");
    coil_barrier_free(barrier);
}

TEST(barrier_parties_end_when_their_loop_is_freed)
{
    OK(coil_barrier_new(3, &barrier));
    coil_loop *loop = new_test_loop();
    OK(coil_loop_create_task(loop, coil_barrier_wait_coro(barrier), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_barrier_wait_coro(barrier), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_coro_of(stop_after_two_turns, NULL), NULL, NULL));
    OK(coil_loop_run_forever(loop));
    ck_assert_uint_eq(coil_barrier_n_waiting(barrier), 2);
    coil_loop_free(loop);
    ck_assert_uint_eq(coil_barrier_n_waiting(barrier), 0);
    expect_report("Task was destroyed but it is pending!", 0, "");
    expect_report("Task was destroyed but it is pending!", 0, "");
    coil_barrier_free(barrier);
}

COIL_TEST_MAIN("barrier")
