/*
 * test_thread_pool.c - executors made of threads: how many, what becomes of their jobs, who waits for whom
 */
#define _GNU_SOURCE /* pthread_getname_np, pthread_setattr_default_np */
#include "jobs.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "executor.h"

/* --- thread pools ------------------------------------------------------------------------------------------------ */

static _Atomic int busy, busiest;

static int count_busy(void *arg, void **result)
{
    int now = atomic_fetch_add(&busy, 1) + 1, seen = atomic_load(&busiest);
    while (now > seen && !atomic_compare_exchange_weak(&busiest, &seen, now))
        ;
    sched_yield();
    atomic_fetch_sub(&busy, 1);
    return answer(arg, result);
}

TASK_TEST(many_jobs_share_a_few_threads)
{
    nothing_counted_yet();
    enum { JOBS = 64 };
    coil_future *futures[JOBS];
    coil_executor *pool;
    OK(coil_thread_pool_new(3, &pool));
    for (intptr_t i = 0; i < JOBS; i++)
        futures[i] = submit_to(pool, count_busy, (void *)(i + 1));
    ck_assert_uint_le(coil__thread_pool_size(pool), 3);
    for (intptr_t i = 0; i < JOBS; i++) {
        void *result;
        OK(coil_join(futures[i], &result));
        ck_assert_int_eq((intptr_t)result, i + 1);
    }
    ck_assert_int_eq(runs, JOBS);
    ck_assert_int_le(busiest, 3);
    end_pool(pool);
}

TASK_TEST(sixty_four_jobs_can_be_outstanding_in_the_default_executor)
{
    nothing_counted_yet();
    enum { JOBS = 64 };
    gated g;
    coil_future *futures[JOBS];
    gated_init(&g);
    for (int i = 0; i < JOBS; i++)
        futures[i] = submit_to(NULL, wait_at_gate, &g);
    turns(3);
    for (int i = 0; i < JOBS; i++)
        ck_assert(!coil_future_done(futures[i]));
    for (int i = 0; i < JOBS; i++)
        sem_post(&g.gate);
    for (int i = 0; i < JOBS; i++)
        OK(coil_join(futures[i], NULL));
    ck_assert_int_eq(runs, JOBS);
    ck_assert_int_eq(drops, JOBS);
}

TASK_TEST(pools_start_a_thread_for_each_job_that_waits)
{
    gated g;
    coil_executor *pool;
    coil_future *futures[3];
    gated_init(&g);
    OK(coil_thread_pool_new(8, &pool));
    ck_assert_uint_eq(coil__thread_pool_size(pool), 0);
    for (unsigned i = 0; i < 3; i++) {
        futures[i] = submit_to(pool, wait_at_gate, &g);
        ck_assert_uint_eq(coil__thread_pool_size(pool), i + 1);
        pass(&g.running);
    }
    for (int i = 0; i < 3; i++)
        sem_post(&g.gate);
    for (int i = 0; i < 3; i++)
        OK(coil_join(futures[i], NULL));
    end_pool(pool);
}

TASK_TEST(a_burst_of_completions_wakes_the_loop_at_most_once)
{
    nothing_counted_yet();
    enum { JOBS = 64 };
    coil_future *futures[JOBS];
    coil_loop_stats before = {.size = sizeof before}, after = before;
    coil_executor *pool;
    OK(coil_thread_pool_new(4, &pool));
    for (int i = 0; i < JOBS; i++)
        futures[i] = submit_to(pool, answer, NULL);
    coil_executor_shutdown(pool, true); /* all have been reported to the loop, which has not looked */
    ck_assert_int_eq(runs, JOBS);
    coil_loop_get_stats(this_loop(), &before);
    for (int i = 0; i < JOBS; i++)
        OK(coil_join(futures[i], NULL));
    coil_loop_get_stats(this_loop(), &after);
    ck_assert_uint_le(after.wakeups - before.wakeups, 1);
    ck_assert_uint_le(after.iterations - before.iterations, 4); /* they came together */
    end_pool(pool);
}

TASK_TEST(submitting_does_not_wait_for_busy_threads)
{
    nothing_counted_yet();
    enum { JOBS = 2000 };
    static coil_future *futures[JOBS];
    gated g;
    coil_executor *pool;
    gated_init(&g);
    OK(coil_thread_pool_new(1, &pool));
    coil_future *first = submit_to(pool, wait_at_gate, &g);
    pass(&g.running);
    for (int i = 0; i < JOBS; i++)
        futures[i] = submit_to(pool, answer, NULL);
    ck_assert_int_eq(runs, 0);
    sem_post(&g.gate);
    OK(coil_join(first, NULL));
    for (int i = 0; i < JOBS; i++)
        OK(coil_join(futures[i], NULL));
    end_pool(pool);
}

static int look_at_thread(void *arg, void **result)
{
    (void)result;
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (sigismember(&blocked, SIGTERM) != 1 || sigismember(&blocked, SIGUSR1) != 1)
        return COIL_EUSER(1);
    if (coil_get_running_loop())
        return COIL_EUSER(2);
    return -pthread_getname_np(pthread_self(), arg, 16);
}

TASK_TEST(threads_of_a_pool_have_names_and_take_no_signals)
{
    char name[16];
    coil_executor *pool;
    OK(coil_thread_pool_new(1, &pool));
    OK(coil_join(submit_to(pool, look_at_thread, name), NULL));
    ck_assert_str_eq(name, "coil-pool-0");
    end_pool(pool);
}

TASK_TEST(idle_threads_leave_and_come_back)
{
    nothing_counted_yet();
    coil_executor *pool;
    OK(coil__thread_pool_new(4, COIL_MS(1), &pool));
    for (int i = 0; i < 3; i++) {
        coil_future *one = submit_to(pool, answer, NULL), *two = submit_to(pool, answer, NULL);
        OK(coil_join(one, NULL));
        OK(coil_join(two, NULL));
        while (coil__thread_pool_size(pool) > 0)
            sched_yield();
    }
    ck_assert_int_eq(runs, 6);
    end_pool(pool);
}

TASK_TEST(shutdown_waits_for_queued_jobs)
{
    nothing_counted_yet();
    coil_executor *pool;
    coil_future *futures[5];
    OK(coil_thread_pool_new(1, &pool));
    for (int i = 0; i < 5; i++)
        futures[i] = submit_to(pool, owned_answer, "x");
    coil_executor_shutdown(pool, true);
    ck_assert_int_eq(runs, 5);
    ck_assert_uint_eq(coil__thread_pool_size(pool), 0);
    coil_executor_shutdown(pool, true);
    end_pool(pool);
    for (int i = 0; i < 5; i++)
        OK(coil_join(futures[i], NULL));
}

TASK_TEST(shutdown_without_waiting_lets_the_jobs_run)
{
    nothing_counted_yet();
    gated g;
    coil_executor *pool;
    coil_future *refused = NULL;
    gated_init(&g);
    OK(coil_thread_pool_new(1, &pool));
    coil_future *first = submit_to(pool, wait_at_gate, &g), *second = submit_to(pool, answer, NULL);
    coil_executor_shutdown(pool, false);
    RAISES(COIL_ERUNTIME, "cannot schedule new futures after shutdown",
           coil_loop_run_in_executor(this_loop(), pool, answer, NULL, &refused));
    ck_assert_ptr_null(refused);
    sem_post(&g.gate);
    OK(coil_join(first, NULL));
    OK(coil_join(second, NULL));
    ck_assert_int_eq(runs, 2);
    end_pool(pool);
}

/* Makes pthread_create() fail, or work again. */
static void allow_threads(bool allow)
{
    static pthread_attr_t normal;
    static bool saved;
    pthread_attr_t huge;
    if (!saved)
        pthread_getattr_default_np(&normal);
    saved = true;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, (size_t)1 << 50);
    ck_assert_int_eq(pthread_setattr_default_np(allow ? &normal : &huge), 0);
}

TASK_TEST(shutdown_waits_no_longer_than_it_is_told_to)
{
    nothing_counted_yet();
    gated g;
    coil_executor *pool;
    coil_future *refused = NULL;
    gated_init(&g);
    OK(coil_thread_pool_new(1, &pool));
    coil_future *job = submit_to(pool, wait_at_gate, &g);
    OK(coil_executor_shutdown_within(pool, 0));
    RAISES(COIL_ERUNTIME, "cannot schedule new futures after shutdown",
           coil_loop_run_in_executor(this_loop(), pool, answer, NULL, &refused));
    RAISES(-ETIMEDOUT, "", coil_executor_shutdown_within(pool, COIL_MS(1)));
    sem_post(&g.gate);
    OK(coil_executor_shutdown_within(pool, COIL_FOREVER));
    OK(coil_executor_shutdown_within(pool, COIL_MS(1)));
    ck_assert_uint_eq(coil__thread_pool_size(pool), 0);
    coil_executor_release(pool);
    OK(coil_await(job, NULL));
    coil_release(job);
}

TASK_TEST(without_any_thread_a_job_is_refused)
{
    nothing_counted_yet();
    coil_executor *pool;
    coil_future *future = NULL;
    OK(coil_thread_pool_new(2, &pool));
    allow_threads(false);
    RAISES(-EAGAIN, "can't start new thread", coil_loop_run_in_executor(this_loop(), pool, answer, NULL, &future));
    allow_threads(true);
    ck_assert_ptr_null(future);
    OK(coil_join(submit_to(pool, answer, NULL), NULL));
    ck_assert_int_eq(runs, 1);
    end_pool(pool);
}

TASK_TEST(with_some_thread_a_job_waits_for_it)
{
    gated g;
    coil_executor *pool;
    gated_init(&g);
    OK(coil_thread_pool_new(2, &pool));
    coil_future *first = submit_to(pool, wait_at_gate, &g);
    pass(&g.running);
    allow_threads(false);
    coil_future *second = submit_to(pool, answer, NULL);
    allow_threads(true);
    ck_assert_uint_eq(coil__thread_pool_size(pool), 1);
    sem_post(&g.gate);
    OK(coil_join(first, NULL));
    OK(coil_join(second, NULL));
    end_pool(pool);
}

/* --- more than one thread ---------------------------------------------------------------------------------------- */

static coil_executor *shared_pool;

static int share_pool(void *arg, void **result)
{
    (void)arg, (void)result;
    for (intptr_t i = 0; i < 200; i++) {
        coil_future *cancelled, *future;
        void *value;
        COIL_TRY(coil_loop_run_in_executor(this_loop(), shared_pool, owned_answer, "x", &cancelled));
        COIL_TRY(coil_loop_run_in_executor(this_loop(), shared_pool, answer, (void *)i, &future));
        if (i % 3 == 0)
            coil_future_cancel(cancelled, NULL);
        coil_release(cancelled);
        COIL_TRY(coil_join(future, &value));
        if ((intptr_t)value != i)
            return COIL_EUSER(1);
    }
    return 0;
}

static void *run_share_pool(void *arg)
{
    *(int *)arg = coil_run(coil_coro_of(share_pool, NULL), NULL);
    return NULL;
}

TEST(loops_of_several_threads_share_a_pool)
{
    pthread_t threads[3];
    int rcs[3];
    OK(coil__thread_pool_new(2, COIL_US(50), &shared_pool));
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_share_pool, &rcs[i]), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(rcs[i], 0);
    }
    coil_executor_shutdown(shared_pool, true);
    coil_executor_release(shared_pool);
}

static pthread_key_t held_open;

/* The destructor of a thread-local variable of the program's. */
static void end_at_gate(void *arg)
{
    gated *g = arg;
    sem_post(&g->running);
    sem_wait(&g->gate);
}

static int hold_thread_open(void *arg, void **result)
{
    (void)result;
    return -pthread_setspecific(held_open, arg);
}

/* Those destructors may need the pool, or the loop, which submits to it. */
TASK_TEST(a_pool_does_not_wait_for_the_destructors_of_a_thread_that_leaves)
{
    nothing_counted_yet();
    gated g;
    coil_executor *pool;
    gated_init(&g);
    ck_assert_int_eq(pthread_key_create(&held_open, end_at_gate), 0);
    OK(coil__thread_pool_new(2, 1, &pool));
    OK(coil_join(submit_to(pool, hold_thread_open, &g), NULL));
    sem_wait(&g.running);
    for (int i = 1; i <= 3; i++) {
        OK(coil_join(submit_to(pool, answer, NULL), NULL));
        while (coil__thread_pool_size(pool) > 0)
            sched_yield();
    }
    ck_assert_int_eq(runs, 3);
    sem_post(&g.gate);
    end_pool(pool);
    ck_assert_int_eq(pthread_key_delete(held_open), 0);
}

/* Threads are leaving when it returns. */
static void free_loop_after_jobs(void)
{
    enum { JOBS = 4 };
    coil_loop *loop;
    coil_future *futures[JOBS];
    OK(coil_new_event_loop(NULL, &loop));
    for (int i = 0; i < JOBS; i++)
        OK(coil_loop_run_in_executor(loop, NULL, answer, NULL, &futures[i]));
    for (int i = 0; i < JOBS; i++) {
        OK(coil_loop_run_until_complete(loop, futures[i], NULL));
        coil_release(futures[i]);
    }
    coil_loop_free(loop);
}

/* ThreadSanitizer reports a thread that has ended, and that somebody still had to join. */
TEST(a_process_may_end_while_the_threads_of_its_pools_leave)
{
    for (int i = 0; i < 20; i++) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            free_loop_after_jobs();
            exit(0);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
}

COIL_TEST_MAIN("thread_pool")
