/*
 * test_sync.c - locks, events, conditions and semaphores: who is woken, when, and what cancellation does
 *
 * Each test is the main task of a loop of its own (coil_run_with). The expected orders are those of asyncio.locks of
 * CPython 3.11.
 */
#include "coil_test.h"

#include "base/alloc.h"

static coil_lock *lock;
static coil_event *event;
static coil_condition *condition;
static coil_semaphore *semaphore;
static int data; /* what conditions are about */

/* --- lock -------------------------------------------------------------------------------------------------------- */

/* Takes the lock, keeps it for one turn. */
static int lock_user(void *name, void **result)
{
    (void)result;
    int rc = coil_lock_acquire(lock);
    if (rc < 0) {
        note("%s:cancelled", (char *)name);
        return rc;
    }
    note("%s:in", (char *)name);
    rc = coil_sleep(0);
    note("%s:out", (char *)name);
    OK(coil_lock_release(lock));
    return rc;
}

static coil_task *spawn_lock_user(const char *name)
{
    return spawn(coil_coro_of(lock_user, (void *)(uintptr_t)name));
}

TASK_TEST(lock_acquire_of_a_free_lock_does_not_suspend)
{
    OK(coil_lock_new(&lock));
    coil_task *other = spawn_lock_user("a");
    OK(coil_lock_acquire(lock));
    ck_assert(coil_lock_locked(lock));
    TRACE_IS("");
    OK(coil_lock_release(lock));
    ck_assert(!coil_lock_locked(lock));
    OK(coil_join(other, NULL));
    coil_lock_free(lock);
}

TASK_TEST(lock_release_of_a_free_lock_raises)
{
    OK(coil_lock_new(&lock));
    RAISES(COIL_ERUNTIME, "Lock is not acquired.", coil_lock_release(lock));
    OK(coil_lock_acquire(lock));
    OK(coil_lock_release(lock));
    RAISES(COIL_ERUNTIME, "Lock is not acquired.", coil_lock_release(lock));
    coil_lock_free(lock);
}

TASK_TEST(lock_waiters_get_it_in_the_order_of_arrival)
{
    OK(coil_lock_new(&lock));
    coil_task *a = spawn_lock_user("a"), *b = spawn_lock_user("b"), *c = spawn_lock_user("c");
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    OK(coil_join(c, NULL));
    TRACE_IS("a:in a:out b:in b:out c:in c:out");
    coil_lock_free(lock);
}

TASK_TEST(lock_waiter_runs_one_iteration_after_the_release)
{
    OK(coil_lock_new(&lock));
    OK(coil_lock_acquire(lock));
    coil_task *a = spawn_lock_user("a");
    turns(1);
    OK(coil_lock_release(lock));
    ck_assert(!coil_lock_locked(lock)); /* until the waiter runs */
    TRACE_IS("");
    turns(1);
    TRACE_IS("a:in");
    ck_assert(coil_lock_locked(lock));
    OK(coil_join(a, NULL));
    coil_lock_free(lock);
}

TASK_TEST(lock_newcomer_queues_behind_a_woken_waiter)
{
    OK(coil_lock_new(&lock));
    OK(coil_lock_acquire(lock));
    coil_task *a = spawn_lock_user("a");
    turns(1);
    OK(coil_lock_release(lock));
    OK(coil_lock_acquire(lock)); /* free, but a is to have it */
    note("main:in");
    TRACE_IS("a:in a:out main:in");
    OK(coil_lock_release(lock));
    OK(coil_join(a, NULL));
    coil_lock_free(lock);
}

TASK_TEST(lock_cancelled_waiter_leaves_the_queue)
{
    OK(coil_lock_new(&lock));
    OK(coil_lock_acquire(lock));
    coil_task *a = spawn_lock_user("a"), *b = spawn_lock_user("b");
    turns(1);
    ck_assert(coil_task_cancel(a, "enough"));
    RAISES(-ECANCELED, "enough", coil_await(a, NULL));
    coil_release(a);
    OK(coil_lock_release(lock));
    OK(coil_join(b, NULL));
    TRACE_IS("a:cancelled b:in b:out");
    coil_lock_free(lock);
}

TASK_TEST(lock_waiter_that_is_woken_and_then_cancelled_wakes_the_next)
{
    OK(coil_lock_new(&lock));
    OK(coil_lock_acquire(lock));
    coil_task *a = spawn_lock_user("a"), *b = spawn_lock_user("b");
    turns(1);
    OK(coil_lock_release(lock));
    coil_task_cancel(a, NULL);
    RAISES(-ECANCELED, "", coil_await(a, NULL));
    coil_release(a);
    OK(coil_join(b, NULL));
    TRACE_IS("a:cancelled b:in b:out");
    coil_lock_free(lock);
}

TASK_TEST(lock_cancelled_waiters_do_not_stop_a_newcomer)
{
    OK(coil_lock_new(&lock));
    OK(coil_lock_acquire(lock));
    coil_task *a = spawn_lock_user("a"), *b = spawn_lock_user("b");
    turns(1);
    coil_task_cancel(a, NULL);
    coil_task_cancel(b, NULL);
    OK(coil_lock_release(lock)); /* its head is done: nobody is woken */
    OK(coil_lock_acquire(lock));
    TRACE_IS("");
    turns(1);
    TRACE_IS("a:cancelled b:cancelled");
    OK(coil_lock_release(lock));
    coil_release(a);
    coil_release(b);
    coil_lock_free(lock);
}

TASK_TEST(lock_has_a_coroutine_form)
{
    OK(coil_lock_new(&lock));
    OK(coil_join(spawn(coil_lock_acquire_coro(lock)), NULL));
    ck_assert(coil_lock_locked(lock));
    RAISES(-ETIMEDOUT, "", coil_wait_for(coil_lock_acquire_coro(lock), COIL_MS(5), NULL));
    ck_assert_int_eq(now_ms(), 5);
    coil_lock_free(lock);
}

TASK_TEST(lock_acquire_without_memory_for_a_waiter_raises_and_leaves_the_lock_alone)
{
    OK(coil_lock_new(&lock));
    OK(coil_lock_acquire(lock));
    coil__alloc_fail_at(1);
    RAISES(-ENOMEM, "", coil_lock_acquire(lock));
    coil__alloc_fail_at(0);
    OK(coil_lock_release(lock));
    OK(coil_lock_acquire(lock));
    coil_lock_free(lock);
}

static int acquire_both(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_task *waiter = spawn(coil_lock_acquire_coro(lock));
    turns(1);
    coil_task_cancel(waiter, NULL);
    coil_release(waiter);
    return 0;
}

static int acquire_wrongly(void *arg, void **result)
{
    (void)arg;
    (void)result;
    RAISES(COIL_EWRONGLOOP, "bound to a different event loop", coil_lock_acquire(lock));
    return 0;
}

TEST(lock_belongs_to_the_loop_in_which_somebody_first_waited)
{
    OK(coil_lock_new(&lock));
    coil_loop *first = new_test_loop(), *second = new_test_loop();
    OK(coil_loop_run_until_complete(first, coil_lock_acquire_coro(lock), NULL)); /* does not wait, does not bind */
    OK(coil_loop_run_until_complete(second, coil_coro_of(acquire_both, NULL), NULL));
    OK(coil_loop_run_until_complete(first, coil_coro_of(acquire_wrongly, NULL), NULL));
    OK(coil_lock_release(lock));
    OK(coil_loop_run_until_complete(first, coil_lock_acquire_coro(lock), NULL)); /* does not wait: no matter */
    coil_loop_free(first);
    coil_loop_free(second);
    coil_lock_free(lock);
}

static int acquire_in_callback(void *arg)
{
    (void)arg;
    int rc = coil_lock_acquire(lock);
    ck_assert_int_eq(rc, COIL_ERUNTIME);
    note("callback");
    return 0;
}

TASK_TEST(lock_acquire_in_a_callback_raises)
{
    OK(coil_lock_new(&lock));
    OK(coil_loop_call_soon(coil_get_running_loop(), acquire_in_callback, NULL, NULL));
    turns(1);
    TRACE_IS("callback");
    coil_lock_free(lock);
}

TEST(lock_acquire_without_a_loop_raises)
{
    OK(coil_lock_new(&lock));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_lock_acquire(lock));
    ck_assert(!coil_lock_locked(lock));
    coil_lock_free(lock);
    coil_lock_free(NULL);
}

TEST(lock_waiters_leave_the_queue_when_their_loop_is_freed)
{
    OK(coil_lock_new(&lock));
    coil_loop *loop = new_test_loop();
    OK(coil_loop_run_until_complete(loop, coil_lock_acquire_coro(lock), NULL));
    trace[0] = '\0';
    OK(coil_loop_create_task(loop, coil_coro_of(lock_user, "a"), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_coro_of(lock_user, "b"), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_coro_of(stop_after_two_turns, NULL), NULL, NULL));
    OK(coil_loop_run_forever(loop));
    coil_loop_free(loop);
    TRACE_IS("b:cancelled a:cancelled");
    expect_report("Task was destroyed but it is pending!", 0, "");
    expect_report("Task was destroyed but it is pending!", 0, "");
    coil_lock_free(lock);
}

static void free_under_a_waiter(void)
{
    OK(coil_lock_new(&lock));
    OK(coil_lock_acquire(lock));
    spawn_lock_user("a");
    turns(1);
    coil_lock_free(lock);
}

ABORTS(lock_that_somebody_waits_for_may_not_be_freed)
{
    run_as_task(free_under_a_waiter);
}

/* --- event ------------------------------------------------------------------------------------------------------- */

static int event_waiter(void *name, void **result)
{
    (void)result;
    int rc = coil_event_wait(event);
    note("%s:%s", (char *)name, rc < 0 ? "cancelled" : coil_event_is_set(event) ? "set" : "clear");
    return rc;
}

TASK_TEST(event_wait_for_a_set_event_does_not_suspend)
{
    OK(coil_event_new(&event));
    coil_task *other = spawn(coil_coro_of(event_waiter, "a"));
    ck_assert(!coil_event_is_set(event));
    coil_event_set(event);
    ck_assert(coil_event_is_set(event));
    OK(coil_event_wait(event));
    TRACE_IS("");
    OK(coil_join(other, NULL));
    TRACE_IS("a:set");
    coil_event_free(event);
}

TASK_TEST(event_set_wakes_everybody_in_order_even_if_it_is_cleared_at_once)
{
    OK(coil_event_new(&event));
    coil_task *a = spawn(coil_coro_of(event_waiter, "a")), *b = spawn(coil_coro_of(event_waiter, "b"));
    turns(1);
    coil_event_set(event);
    coil_event_set(event);
    coil_event_clear(event);
    coil_task *c = spawn(coil_coro_of(event_waiter, "c"));
    turns(2);
    TRACE_IS("a:clear b:clear");
    coil_event_set(event);
    OK(coil_join(c, NULL));
    TRACE_IS("c:set");
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    coil_event_free(event);
}

TASK_TEST(event_cancelled_waiter_does_not_disturb_the_others)
{
    OK(coil_event_new(&event));
    coil_task *a = spawn(coil_coro_of(event_waiter, "a")), *b = spawn(coil_event_wait_coro(event));
    turns(1);
    coil_task_cancel(a, NULL);
    coil_event_set(event);
    OK(coil_join(b, NULL));
    TRACE_IS("a:cancelled");
    ck_assert(coil_future_cancelled(a));
    coil_release(a);
    coil_event_free(event);
}

TASK_TEST(event_waiter_that_is_woken_and_then_cancelled_raises)
{
    OK(coil_event_new(&event));
    coil_task *a = spawn(coil_coro_of(event_waiter, "a"));
    turns(1);
    coil_event_set(event);
    coil_task_cancel(a, "late");
    RAISES(-ECANCELED, "late", coil_await(a, NULL));
    TRACE_IS("a:cancelled");
    coil_release(a);
    coil_event_free(event);
    coil_event_free(NULL);
}

TEST(event_wait_without_a_loop_raises)
{
    OK(coil_event_new(&event));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_event_wait(event));
    coil_event_free(event);
}

/* --- condition --------------------------------------------------------------------------------------------------- */

static int condition_waiter(void *name, void **result)
{
    (void)result;
    COIL_TRY(coil_condition_acquire(condition));
    coil_error *error = coil_catch(coil_condition_wait(condition));
    note("%s:%s%s", (char *)name, error ? "cancelled" : "notified", coil_error_message(error));
    ck_assert(coil_condition_locked(condition));
    OK(coil_condition_release(condition));
    return coil_raise_error(error);
}

static coil_task *spawn_condition_waiter(const char *name)
{
    return spawn(coil_coro_of(condition_waiter, (void *)(uintptr_t)name));
}

TASK_TEST(condition_calls_without_the_lock_raise)
{
    OK(coil_condition_new(NULL, &condition));
    RAISES(COIL_ERUNTIME, "cannot wait on un-acquired lock", coil_condition_wait(condition));
    RAISES(COIL_ERUNTIME, "cannot notify on un-acquired lock", coil_condition_notify(condition, 1));
    RAISES(COIL_ERUNTIME, "cannot notify on un-acquired lock", coil_condition_notify_all(condition));
    RAISES(COIL_ERUNTIME, "Lock is not acquired.", coil_condition_release(condition));
    coil_condition_free(condition);
    coil_condition_free(NULL);
}

TASK_TEST(condition_notify_wakes_that_many_in_order)
{
    OK(coil_condition_new(NULL, &condition));
    coil_task *a = spawn_condition_waiter("a"), *b = spawn_condition_waiter("b"), *c = spawn_condition_waiter("c");
    turns(2);
    OK(coil_condition_acquire(condition));
    OK(coil_condition_notify(condition, 0));
    OK(coil_condition_notify(condition, 2));
    OK(coil_condition_release(condition));
    turns(4);
    TRACE_IS("a:notified b:notified");
    OK(coil_condition_acquire(condition));
    OK(coil_condition_notify_all(condition));
    TRACE_IS("");
    OK(coil_condition_release(condition));
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    OK(coil_join(c, NULL));
    TRACE_IS("c:notified");
    coil_condition_free(condition);
}

TASK_TEST(condition_wait_that_is_cancelled_acquires_the_lock_again)
{
    OK(coil_condition_new(NULL, &condition));
    coil_task *a = spawn_condition_waiter("a");
    turns(1);
    OK(coil_condition_acquire(condition));
    coil_task_cancel(a, "!");
    turns(3);
    TRACE_IS(""); /* it waits for the lock */
    OK(coil_condition_release(condition));
    RAISES(-ECANCELED, "!", coil_await(a, NULL));
    TRACE_IS("a:cancelled!");
    coil_release(a);
    coil_condition_free(condition);
}

TASK_TEST(condition_wait_cancelled_while_acquiring_again_raises_without_a_message)
{
    OK(coil_condition_new(NULL, &condition));
    coil_task *a = spawn_condition_waiter("a");
    turns(1);
    OK(coil_condition_acquire(condition));
    OK(coil_condition_notify(condition, 1));
    turns(2);
    coil_task_cancel(a, "once");
    turns(2);
    coil_task_cancel(a, "twice");
    turns(2);
    OK(coil_condition_release(condition));
    RAISES(-ECANCELED, "", coil_await(a, NULL));
    TRACE_IS("a:cancelled");
    coil_release(a);
    coil_condition_free(condition);
}

TASK_TEST(condition_notification_of_a_cancelled_waiter_is_lost)
{
    OK(coil_condition_new(NULL, &condition));
    coil_task *a = spawn_condition_waiter("a"), *b = spawn_condition_waiter("b");
    turns(1);
    OK(coil_condition_acquire(condition));
    OK(coil_condition_notify(condition, 1));
    coil_task_cancel(a, NULL);
    OK(coil_condition_release(condition));
    turns(5);
    TRACE_IS("a:cancelled");
    coil_task_cancel(b, NULL);
    turns(3);
    TRACE_IS("b:cancelled");
    coil_release(a);
    coil_release(b);
    coil_condition_free(condition);
}

static int data_is_three(void *arg)
{
    ck_assert_ptr_eq(arg, &data);
    note("%d?", data);
    return data == 3 ? 77 : data < 0 ? COIL_EUSER(1) : 0;
}

static int produce(void *arg, void **result)
{
    (void)result;
    for (int i = 1; i <= 3; i++) {
        COIL_TRY(coil_condition_acquire(condition));
        data = arg && i == 2 ? -1 : i;
        OK(coil_condition_notify_all(condition));
        OK(coil_condition_release(condition));
        COIL_TRY(coil_sleep(COIL_MS(1)));
    }
    return 0;
}

TASK_TEST(condition_wait_for_returns_what_the_predicate_returned)
{
    OK(coil_condition_new(NULL, &condition));
    data = 0;
    coil_task *producer = spawn(coil_coro_of(produce, NULL));
    OK(coil_condition_acquire(condition));
    ck_assert_int_eq(coil_condition_wait_for(condition, data_is_three, &data), 77);
    TRACE_IS("0? 1? 2? 3?");
    OK(coil_condition_release(condition));
    OK(coil_join(producer, NULL));
    coil_condition_free(condition);
}

TASK_TEST(condition_wait_for_raises_what_the_predicate_raises)
{
    OK(coil_condition_new(NULL, &condition));
    data = 0;
    coil_task *producer = spawn(coil_coro_of(produce, &data));
    OK(coil_condition_acquire(condition));
    RAISES(COIL_EUSER(1), "", coil_condition_wait_for(condition, data_is_three, &data));
    TRACE_IS("0? 1? -1?");
    OK(coil_condition_release(condition));
    OK(coil_join(producer, NULL));
    coil_condition_free(condition);
}

TASK_TEST(condition_may_share_a_lock)
{
    OK(coil_lock_new(&lock));
    OK(coil_condition_new(lock, &condition));
    OK(coil_lock_acquire(lock));
    ck_assert(coil_condition_locked(condition));
    coil_task *waiter = spawn(coil_condition_acquire_coro(condition));
    turns(1);
    ck_assert(!coil_future_done(waiter));
    OK(coil_condition_release(condition));
    ck_assert(!coil_lock_locked(lock));
    OK(coil_join(waiter, NULL));
    ck_assert(coil_lock_locked(lock));
    waiter = spawn(coil_condition_wait_coro(condition));
    turns(1);
    ck_assert(!coil_lock_locked(lock));
    OK(coil_lock_acquire(lock));
    OK(coil_condition_notify(condition, 1));
    OK(coil_lock_release(lock));
    OK(coil_join(waiter, NULL));
    ck_assert(coil_lock_locked(lock));
    coil_condition_free(condition);
    coil_lock_free(lock);
}

TASK_TEST(condition_wait_without_memory_returns_with_the_lock)
{
    OK(coil_condition_new(NULL, &condition));
    OK(coil_condition_acquire(condition));
    coil__alloc_fail_at(1);
    RAISES(-ENOMEM, "", coil_condition_wait(condition));
    coil__alloc_fail_at(0);
    ck_assert(coil_condition_locked(condition));
    coil_condition_free(condition);
}

TEST(condition_waiters_end_when_their_loop_is_freed)
{
    OK(coil_condition_new(NULL, &condition));
    coil_loop *loop = new_test_loop();
    OK(coil_loop_create_task(loop, coil_condition_acquire_coro(condition), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_condition_wait_coro(condition), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_condition_acquire_coro(condition), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_condition_acquire_coro(condition), NULL, NULL));
    OK(coil_loop_create_task(loop, coil_coro_of(stop_after_two_turns, NULL), NULL, NULL));
    OK(coil_loop_run_forever(loop));
    coil_loop_free(loop); /* one waits for a notification, one for the lock */
    expect_report("Task was destroyed but it is pending!", 0, "");
    expect_report("Task was destroyed but it is pending!", 0, "");
    coil_condition_free(condition);
}

/* --- semaphores -------------------------------------------------------------------------------------------------- */

static int semaphore_user(void *name, void **result)
{
    (void)result;
    int rc = coil_semaphore_acquire(semaphore);
    note("%s:%s", (char *)name, rc < 0 ? "cancelled" : "in");
    return rc;
}

static coil_task *spawn_semaphore_user(const char *name)
{
    return spawn(coil_coro_of(semaphore_user, (void *)(uintptr_t)name));
}

TEST(semaphore_values_below_zero_are_refused)
{
    RAISES(-EINVAL, "Semaphore initial value must be >= 0", coil_semaphore_new(-1, &semaphore));
    RAISES(-EINVAL, "Semaphore initial value must be >= 0", coil_bounded_semaphore_new(-1, &semaphore));
    OK(coil_semaphore_new(0, &semaphore));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_semaphore_acquire(semaphore));
    coil_semaphore_free(semaphore);
    coil_semaphore_free(NULL);
}

TASK_TEST(semaphore_counts_without_suspending)
{
    OK(coil_semaphore_new(2, &semaphore));
    coil_task *a = spawn_semaphore_user("a");
    OK(coil_semaphore_acquire(semaphore));
    ck_assert(!coil_semaphore_locked(semaphore));
    OK(coil_semaphore_acquire(semaphore));
    ck_assert(coil_semaphore_locked(semaphore));
    TRACE_IS("");
    turns(1);
    OK(coil_semaphore_release(semaphore));
    OK(coil_join(a, NULL));
    TRACE_IS("a:in");
    coil_semaphore_free(semaphore);
}

TASK_TEST(semaphore_wakes_in_the_order_of_arrival_and_nobody_overtakes)
{
    OK(coil_semaphore_new(0, &semaphore));
    coil_task *a = spawn_semaphore_user("a"), *b = spawn_semaphore_user("b");
    turns(1);
    OK(coil_semaphore_release(semaphore));
    ck_assert(coil_semaphore_locked(semaphore));
    coil_task *c = spawn_semaphore_user("c");
    turns(2);
    TRACE_IS("a:in");
    OK(coil_semaphore_release(semaphore));
    OK(coil_semaphore_release(semaphore));
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    OK(coil_join(c, NULL));
    TRACE_IS("b:in c:in");
    coil_semaphore_free(semaphore);
}

TASK_TEST(semaphore_newcomer_waits_while_somebody_was_granted_and_has_not_run)
{
    OK(coil_semaphore_new(1, &semaphore));
    OK(coil_semaphore_acquire(semaphore));
    coil_task *a = spawn_semaphore_user("a");
    turns(1);
    OK(coil_semaphore_release(semaphore));
    OK(coil_semaphore_release(semaphore));
    ck_assert(coil_semaphore_locked(semaphore)); /* the value is 1, but a has not run yet */
    coil_task *b = spawn_semaphore_user("b");
    turns(1);
    TRACE_IS("a:in b:in"); /* a is gone from the queue when b comes */
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    coil_semaphore_free(semaphore);
}

TASK_TEST(semaphore_grant_of_a_cancelled_waiter_goes_to_the_next)
{
    OK(coil_semaphore_new(0, &semaphore));
    coil_task *a = spawn_semaphore_user("a"), *b = spawn_semaphore_user("b");
    turns(1);
    OK(coil_semaphore_release(semaphore));
    coil_task_cancel(a, NULL);
    OK(coil_join(b, NULL));
    TRACE_IS("a:cancelled b:in");
    ck_assert(coil_semaphore_locked(semaphore));
    coil_release(a);
    coil_semaphore_free(semaphore);
}

TASK_TEST(semaphore_waiter_cancelled_before_the_grant_takes_nothing)
{
    OK(coil_semaphore_new(0, &semaphore));
    coil_task *a = spawn_semaphore_user("a"), *b = spawn_semaphore_user("b");
    turns(1);
    coil_task_cancel(a, NULL);
    OK(coil_semaphore_release(semaphore));
    OK(coil_join(b, NULL));
    TRACE_IS("a:cancelled b:in");
    coil_release(a);
    OK(coil_semaphore_release(semaphore));
    OK(coil_join(spawn(coil_semaphore_acquire_coro(semaphore)), NULL));
    coil_semaphore_free(semaphore);
}

TASK_TEST(semaphore_without_a_bound_may_grow)
{
    OK(coil_semaphore_new(0, &semaphore));
    for (int i = 0; i < 3; i++)
        OK(coil_semaphore_release(semaphore));
    for (int i = 0; i < 3; i++)
        OK(coil_semaphore_acquire(semaphore));
    ck_assert(coil_semaphore_locked(semaphore));
    coil_semaphore_free(semaphore);
}

TASK_TEST(semaphore_with_a_bound_refuses_a_release_too_many)
{
    OK(coil_bounded_semaphore_new(1, &semaphore));
    RAISES(-EINVAL, "BoundedSemaphore released too many times", coil_semaphore_release(semaphore));
    OK(coil_semaphore_acquire(semaphore));
    OK(coil_semaphore_release(semaphore));
    RAISES(-EINVAL, "BoundedSemaphore released too many times", coil_semaphore_release(semaphore));
    coil_semaphore_free(semaphore);
}

COIL_TEST_MAIN("sync")
