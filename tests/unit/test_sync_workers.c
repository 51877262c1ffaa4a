/*
 * test_sync_workers.c - locks, queues and the like between tasks on several workers of a runtime
 *
 * Each test is the main task of a runtime of two workers. Tasks pinned to different workers really run at the same
 * time; where a test says "elsewhere", it is on the other worker. The stress programs try the same at random.
 */
#include "workers.h"

#include "base/atomic.h"

enum { ITEMS = 2000 };

static coil_lock *lock;
static coil_event *event;
static coil_condition *condition;
static coil_semaphore *semaphore;
static coil_barrier *barrier;
static coil_queue *queue;
static unsigned plain; /* what a lock guards, or a queue hands over */

/* The same function on both, and the end of both. */
static void run_on_both(coil_coro_fn *first, coil_coro_fn *second)
{
    coil_task *a = on_worker(0, first, NULL), *b = on_worker(1, second, NULL);
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
}

#define BODY(name) static int name(COIL_TEST_UNUSED void *arg, COIL_TEST_UNUSED void **result)

BODY(add_under_lock)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        COIL_TRY(coil_lock_acquire(lock));
        plain++;
        COIL_TRY(coil_lock_release(lock));
    }
    return 0;
}

WORKERS_TEST(2, lock_excludes_tasks_of_all_workers)
{
    plain = 0;
    OK(coil_lock_new(&lock));
    run_on_both(add_under_lock, add_under_lock);
    ck_assert_uint_eq(plain, 2 * ITEMS);
    ck_assert(!coil_lock_locked(lock));
    coil_lock_free(lock);
}

BODY(set_event)
{
    coil_event_set(event);
    return 0;
}

WORKERS_TEST(2, event_may_be_freed_by_a_waiter_that_was_woken_from_elsewhere)
{
    for (unsigned i = 0; i < ITEMS / 10; i++) {
        OK(coil_event_new(&event));
        coil_task *setter = on_worker(1, set_event, NULL);
        OK(coil_event_wait(event));
        coil_event_free(event);
        OK(coil_join(setter, NULL));
    }
}

BODY(notify_often)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        COIL_TRY(coil_condition_acquire(condition));
        plain++;
        COIL_TRY(coil_condition_notify(condition, 1));
        COIL_TRY(coil_condition_release(condition));
    }
    return 0;
}

static int is_there(void *arg)
{
    (void)arg;
    return plain > 0;
}

BODY(wait_often)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        COIL_TRY(coil_condition_acquire(condition));
        COIL_TRY(coil_condition_wait_for(condition, is_there, NULL));
        plain--;
        COIL_TRY(coil_condition_release(condition));
    }
    return 0;
}

WORKERS_TEST(2, condition_misses_no_notification_from_elsewhere)
{
    plain = 0;
    OK(coil_condition_new(NULL, &condition));
    run_on_both(wait_often, notify_often);
    ck_assert_uint_eq(plain, 0);
    coil_condition_free(condition);
}

BODY(use_semaphore)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        COIL_TRY(coil_semaphore_acquire(semaphore));
        plain++;
        COIL_TRY(coil_semaphore_release(semaphore));
    }
    return 0;
}

WORKERS_TEST(2, semaphore_of_one_unit_excludes_tasks_of_all_workers)
{
    plain = 0;
    OK(coil_bounded_semaphore_new(1, &semaphore));
    run_on_both(use_semaphore, use_semaphore);
    ck_assert_uint_eq(plain, 2 * ITEMS);
    ck_assert(!coil_semaphore_locked(semaphore));
    RAISES(-EINVAL, "BoundedSemaphore released too many times", coil_semaphore_release(semaphore));
    coil_semaphore_free(semaphore);
}

static unsigned generations[2];

/* Nobody is a generation ahead: who has been let through has seen the other come. */
static int pass_barrier(unsigned own)
{
    for (unsigned i = 1; i <= ITEMS / 4; i++) {
        generations[own] = i;
        COIL_TRY(coil_barrier_wait(barrier, NULL));
        ck_assert_uint_eq(generations[!own], i);
        COIL_TRY(coil_barrier_wait(barrier, NULL));
    }
    return 0;
}

BODY(pass_first)
{
    return pass_barrier(0);
}

BODY(pass_second)
{
    return pass_barrier(1);
}

WORKERS_TEST(2, barrier_lets_parties_of_different_workers_go_together)
{
    OK(coil_barrier_new(2, &barrier));
    run_on_both(pass_first, pass_second);
    ck_assert_uint_eq(coil_barrier_n_waiting(barrier), 0);
    coil_barrier_free(barrier);
}

static unsigned items[ITEMS];

BODY(put_items)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        items[i] = i;
        COIL_TRY(coil_queue_put(queue, &items[i]));
    }
    return 0;
}

BODY(get_items)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        void *item;
        COIL_TRY(coil_queue_get(queue, &item));
        ck_assert_uint_eq(*(unsigned *)item, i);
        COIL_TRY(coil_queue_task_done(queue));
    }
    return 0;
}

WORKERS_TEST(2, queue_hands_items_from_one_worker_to_another_in_order)
{
    static const ssize_t sizes[] = {1, 3, 0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        OK(coil_queue_new(sizes[i], &queue));
        run_on_both(put_items, get_items);
        OK(coil_queue_join(queue));
        ck_assert(coil_queue_empty(queue));
        coil_queue_free(queue);
    }
}

BODY(get_one)
{
    void *item;
    return coil_queue_get(queue, &item);
}

static bool first_took;

BODY(get_first)
{
    void *item;
    COIL_TRY(coil_queue_get(queue, &item));
    first_took = true;
    return 0;
}

WORKERS_TEST(2, queue_item_of_a_getter_that_is_cancelled_from_elsewhere_goes_to_the_next)
{
    OK(coil_queue_new(0, &queue));
    for (unsigned i = 0; i < ITEMS / 10; i++) {
        first_took = false;
        coil_task *first = on_worker(0, get_first, NULL), *second = on_worker(1, get_one, NULL);
        OK(coil_queue_put_nowait(queue, &plain));
        coil_task_cancel(first, NULL);
        int rc = coil_join(first, NULL);
        coil_error_release(coil_catch(rc));
        if (first_took) /* even if it was cancelled in the step that took it: the other one needs an item of its own */
            OK(coil_queue_put_nowait(queue, &plain));
        OK(coil_join(second, NULL));
        ck_assert(coil_queue_empty(queue));
    }
    coil_queue_free(queue);
}

static _Atomic bool spinning;

BODY(take_turns)
{
    store_relaxed(&spinning, false); /* [SPIN-1] */
    return 0;
}

/* Calls that never have to wait: without a budget they would keep their only worker. */
BODY(spin)
{
    void *item;
    store_relaxed(&spinning, true); /* [SPIN-1] relaxed: on one thread */
    coil_task *other;
    OK(coil_create_task(coil_coro_of(take_turns, NULL), &other));
    while (load_relaxed(&spinning)) { /* [SPIN-1] */
        COIL_TRY(coil_lock_acquire(lock));
        COIL_TRY(coil_lock_release(lock));
        COIL_TRY(coil_event_wait(event));
        COIL_TRY(coil_queue_put(queue, &plain));
        COIL_TRY(coil_queue_get(queue, &item));
        COIL_TRY(coil_queue_task_done(queue));
    }
    return coil_join(other, NULL);
}

TEST(calls_that_do_not_wait_let_others_run_in_a_runtime)
{
    OK(coil_lock_new(&lock));
    OK(coil_event_new(&event));
    OK(coil_queue_new(0, &queue));
    coil_event_set(event);
    coil_runtime_options options = {.size = sizeof options, .workers = 1};
    OK(coil_runtime_run(&options, coil_coro_of(spin, NULL), NULL));
    coil_lock_free(lock);
    coil_event_free(event);
    coil_queue_free(queue);
}

COIL_TEST_MAIN("sync_workers")
