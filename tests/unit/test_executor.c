/*
 * test_executor.c - blocking work on other threads: jobs, their futures, and loops that end before them
 *
 * The traces of steps are those of CPython 3.11's asyncio with the same executors. Thread pools: test_thread_pool.c.
 */
#include "jobs.h"

#include <pthread.h>

#include "base/alloc.h"

/* --- an executor that runs its jobs when it is told to ----------------------------------------------------------- */

typedef struct late {
    coil_executor executor;
    coil_job *jobs[8];
    int count, shutdowns, waits, frees;
    bool start, refuse;
} late;

static int late_submit(coil_executor *executor, coil_job *job)
{
    late *l = coil_container_of(executor, late, executor);
    if (l->refuse)
        return coil_raise(COIL_EUSER(3), "not today");
    if (l->start)
        ck_assert(coil_job_start(job));
    l->jobs[l->count++] = job;
    return 0;
}

static int late_shutdown(coil_executor *executor, int64_t timeout_ns)
{
    late *l = coil_container_of(executor, late, executor);
    l->shutdowns++;
    l->waits += timeout_ns > 0;
    return 0;
}

static void late_free(coil_executor *executor)
{
    coil_container_of(executor, late, executor)->frees++;
}

static const coil_executor_ops late_ops = {late_submit, late_shutdown, late_free};

static void late_init(late *l, bool start)
{
    *l = (late){.start = start};
    coil_executor_init(&l->executor, &late_ops);
}

static int late_run(void *arg)
{
    late *l = arg;
    for (int i = 0; i < l->count; i++)
        coil_job_run(l->jobs[i]);
    l->count = 0;
    return 0;
}

static void *late_thread(void *arg)
{
    late_run(arg);
    return NULL;
}

/* Runs the jobs on another thread, and returns when they have ended. */
static void late_run_elsewhere(late *l)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, late_thread, l), 0);
    pthread_join(thread, NULL);
}

static void late_end(late *l)
{
    coil_executor_release(&l->executor);
    ck_assert_int_eq(l->frees, 1);
    ck_assert_int_ge(l->shutdowns, 1);
}

/* --- results and errors ------------------------------------------------------------------------------------------ */

TASK_TEST(to_thread_gives_what_the_job_returned)
{
    void *result = NULL;
    OK(coil_to_thread(answer, "forty-two", &result));
    ck_assert_str_eq(result, "forty-two");
    OK(coil_to_thread(answer, NULL, NULL));
}

TASK_TEST(run_in_executor_gives_a_future)
{
    void *result;
    coil_future *future = submit_to(NULL, answer, "yes");
    ck_assert(!coil_future_is_task(future));
    ck_assert(!coil_future_done(future));
    OK(coil_join(future, &result));
    ck_assert_str_eq(result, "yes");
}

static int no_luck(void *arg, void **result)
{
    *result = arg;
    coil_job_set_result_drop(count_drop); /* but there will be no result */
    return coil_raise(COIL_EUSER(1), "no luck on thread %d", 7);
}

TASK_TEST(errors_of_jobs_keep_their_message)
{
    nothing_counted_yet();
    void *result = NULL;
    RAISES(COIL_EUSER(1), "no luck on thread 7", coil_to_thread(no_luck, &result, &result));
    ck_assert_ptr_null(result);
    ck_assert_int_eq(drops, 0);
}

TASK_TEST(errors_of_jobs_that_nobody_looked_at_are_reported)
{
    coil_future *future = submit_to(NULL, no_luck, NULL);
    OK(coil_wait(&future, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL));
    ck_assert(coil_future_exception_unretrieved(future));
    coil_release(future);
    expect_report("Future exception was never retrieved", COIL_EUSER(1), "no luck on thread 7");
}

static int cancels_itself(void *arg, void **result)
{
    (void)arg, (void)result;
    return -ECANCELED;
}

TASK_TEST(a_job_that_raises_a_cancellation_did_not_cancel_its_future)
{
    coil_future *future = submit_to(NULL, cancels_itself, NULL);
    int rc = coil_await(future, NULL);
    ck_assert_int_eq(rc, -ECANCELED);
    ck_assert(coil_future_done(future));
    ck_assert(!coil_future_cancelled(future));
    coil_release(future);
}

static int forgets_an_error(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_raise(COIL_EUSER(5), "forgotten");
    return 0;
}

static int raises_a_bare_code(void *arg, void **result)
{
    (void)arg, (void)result;
    return COIL_EUSER(5);
}

TASK_TEST(a_job_does_not_see_the_errors_of_the_one_before)
{
    coil_executor *pool;
    OK(coil_thread_pool_new(1, &pool));
    OK(coil_join(submit_to(pool, forgets_an_error, NULL), NULL));
    RAISES(COIL_EUSER(5), "", coil_join(submit_to(pool, raises_a_bare_code, NULL), NULL));
    end_pool(pool);
}

TASK_TEST(untaken_results_are_dropped)
{
    nothing_counted_yet();
    coil_future *future = submit_to(NULL, owned_answer, "x");
    OK(coil_await(future, NULL));
    ck_assert_int_eq(drops, 0);
    coil_release(future);
    ck_assert_int_eq(drops, 1);
    OK(coil_to_thread(owned_answer, "y", NULL));
    ck_assert_int_eq(drops, 2);
}

TASK_TEST(taken_results_are_the_callers)
{
    nothing_counted_yet();
    void *result;
    OK(coil_to_thread(owned_answer, "x", &result));
    ck_assert_str_eq(result, "x");
    ck_assert_int_eq(drops, 0);
}

TEST(to_thread_needs_a_task)
{
    nothing_counted_yet();
    RAISES(COIL_ENOLOOP, "no running event loop", coil_to_thread(answer, NULL, NULL));
    ck_assert_int_eq(runs, 0);
}

/* --- steps ------------------------------------------------------------------------------------------------------- */

static int tick(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 6; i++) {
        note("t%d", i);
        COIL_TRY(coil_sleep(0));
    }
    return 0;
}

static int noting_wait(void *arg, void **result)
{
    (void)result;
    int rc = coil_await(arg, NULL);
    note(rc == 0 ? "got" : rc == -ECANCELED ? "cancelled" : "?");
    return 0;
}

static int noting_job(void *arg, void **result)
{
    (void)arg, (void)result;
    note("job");
    return 0;
}

typedef struct scene {
    late executor;
    coil_future *future;
    coil_task *waiter, *ticker;
} scene;

static void scene_begin(scene *s, bool start)
{
    late_init(&s->executor, start);
    s->future = submit_to(&s->executor.executor, noting_job, NULL);
    s->waiter = spawn(coil_coro_of(noting_wait, s->future));
    s->ticker = spawn(coil_coro_of(tick, NULL));
    turns(1);
}

static void scene_end(scene *s)
{
    OK(coil_join(s->waiter, NULL));
    OK(coil_join(s->ticker, NULL));
    coil_release(s->future);
    late_end(&s->executor);
}

TASK_TEST(a_waiter_runs_two_iterations_after_the_job_has_ended)
{
    scene s;
    scene_begin(&s, false);
    OK(coil_loop_call_soon(this_loop(), late_run, &s.executor, NULL));
    scene_end(&s);
    TRACE_IS("t0 t1 job t2 t3 got t4 t5");
}

TASK_TEST(cancelling_a_future_cancels_a_job_that_has_not_started)
{
    scene s;
    scene_begin(&s, false);
    ck_assert(coil_future_cancel(s.future, NULL));
    note("cancel");
    turns(2);
    ck_assert(!coil_job_start(s.executor.jobs[0]));
    late_run(&s.executor);
    scene_end(&s);
    TRACE_IS("t0 cancel t1 cancelled t2 t3 t4 t5");
}

TASK_TEST(a_job_that_counts_as_started_is_not_cancelled)
{
    scene s;
    scene_begin(&s, true);
    ck_assert(coil_future_cancel(s.future, NULL));
    note("cancel");
    turns(2);
    ck_assert(coil_job_start(s.executor.jobs[0])); /* still */
    late_run(&s.executor);
    scene_end(&s);
    TRACE_IS("t0 cancel t1 cancelled t2 job t3 t4 t5");
}

TASK_TEST(a_job_may_start_until_the_iteration_after_the_cancellation)
{
    scene s;
    scene_begin(&s, false);
    ck_assert(coil_future_cancel(s.future, NULL));
    note("cancel");
    late_run(&s.executor);
    scene_end(&s);
    TRACE_IS("t0 cancel job t1 cancelled t2 t3 t4 t5");
}

/* --- cancellation ------------------------------------------------------------------------------------------------ */

static int gated_task(void *arg, void **result)
{
    return coil_to_thread(wait_at_gate, arg, result);
}

TASK_TEST(a_job_that_runs_goes_on_when_it_is_cancelled)
{
    nothing_counted_yet();
    gated g;
    gated_init(&g);
    coil_task *task = spawn(coil_coro_of(gated_task, &g));
    turns(1);
    pass(&g.running);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    ck_assert_int_eq(runs, 0);
    sem_post(&g.gate);
    OK(coil_loop_shutdown_default_executor(this_loop()));
    ck_assert_int_eq(runs, 1);
    ck_assert_int_eq(drops, 1);
}

TASK_TEST(queued_jobs_of_a_pool_can_be_cancelled)
{
    nothing_counted_yet();
    gated g;
    coil_executor *pool;
    gated_init(&g);
    OK(coil_thread_pool_new(1, &pool));
    coil_future *first = submit_to(pool, wait_at_gate, &g), *second = submit_to(pool, answer, NULL);
    pass(&g.running);
    ck_assert(coil_future_cancel(second, NULL));
    ck_assert(!coil_future_cancel(second, NULL));
    turns(1);
    sem_post(&g.gate);
    OK(coil_join(first, NULL));
    coil_executor_shutdown(pool, true);
    ck_assert_int_eq(runs, 1);
    ck_assert(coil_future_cancelled(second));
    coil_release(second);
    end_pool(pool);
}

/* --- contexts ---------------------------------------------------------------------------------------------------- */

static coil_contextvar *color;

static int read_and_change_color(void *arg, void **result)
{
    (void)arg;
    COIL_TRY(coil_contextvar_get(color, result));
    return coil_contextvar_set(color, "red", NULL);
}

static void color_begin(void)
{
    OK(coil_contextvar_new("color", NULL, &color));
    coil_contextvar_set_default(color, "none");
    OK(coil_contextvar_set(color, "blue", NULL));
}

static void color_end(void)
{
    void *value;
    OK(coil_contextvar_get(color, &value));
    ck_assert_str_eq(value, "blue");
    coil_contextvar_free(color);
}

TASK_TEST(jobs_in_an_executor_run_in_an_empty_context)
{
    void *value;
    coil_executor *pool;
    OK(coil_thread_pool_new(1, &pool));
    color_begin();
    for (int i = 0; i < 2; i++) {
        OK(coil_join(submit_to(pool, read_and_change_color, NULL), &value));
        ck_assert_str_eq(value, "none");
    }
    color_end();
    end_pool(pool);
}

TASK_TEST(to_thread_runs_in_a_copy_of_the_callers_context)
{
    void *value;
    color_begin();
    for (int i = 0; i < 2; i++) {
        OK(coil_to_thread(read_and_change_color, NULL, &value));
        ck_assert_str_eq(value, "blue");
    }
    color_end();
}

/* --- executors of the program ------------------------------------------------------------------------------------ */

TASK_TEST(a_program_may_bring_its_own_executor)
{
    late l;
    void *result;
    late_init(&l, true);
    coil_future *one = submit_to(&l.executor, answer, "one"), *two = submit_to(&l.executor, no_luck, NULL);
    late_run_elsewhere(&l);
    OK(coil_join(one, &result));
    ck_assert_str_eq(result, "one");
    RAISES(COIL_EUSER(1), "no luck on thread 7", coil_join(two, NULL));
    late_end(&l);
    ck_assert_int_eq(l.waits, 0);
}

TASK_TEST(an_executor_that_refuses_takes_nothing)
{
    late l;
    coil_future *future = NULL;
    late_init(&l, false);
    l.refuse = true;
    RAISES(COIL_EUSER(3), "not today", coil_loop_run_in_executor(this_loop(), &l.executor, answer, NULL, &future));
    ck_assert_ptr_null(future);
    coil_executor_shutdown(&l.executor, false);
    RAISES(COIL_ERUNTIME, "cannot schedule new futures after shutdown",
           coil_loop_run_in_executor(this_loop(), &l.executor, answer, NULL, &future));
    late_end(&l);
    ck_assert_int_eq(l.shutdowns, 1);
}

TASK_TEST(to_thread_uses_the_default_executor_that_was_set)
{
    static late before, l; /* the loop has a reference until it is closed, after this task */
    gated g;
    gated_init(&g);
    late_init(&before, false);
    late_init(&l, false);
    coil_loop_set_default_executor(this_loop(), &before.executor);
    coil_executor_release(&before.executor);
    ck_assert_int_eq(before.frees, 0);
    coil_loop_set_default_executor(this_loop(), &l.executor);
    ck_assert_int_eq(before.frees, 1);
    coil_task *task = spawn(coil_coro_of(gated_task, &g));
    turns(1);
    ck_assert_int_eq(l.count, 1);
    sem_post(&g.gate);
    late_run_elsewhere(&l);
    OK(coil_join(task, NULL));
    OK(coil_loop_shutdown_default_executor(this_loop()));
    ck_assert_int_eq(l.waits, 1);
    coil_executor_release(&l.executor);
    ck_assert_int_eq(l.frees, 0);
}

/* --- the end of the default executor ----------------------------------------------------------------------------- */

TASK_TEST(shutting_an_unused_executor_down_does_not_suspend)
{
    coil_future *future = NULL;
    coil_task *ticker = spawn(coil_coro_of(tick, NULL));
    OK(coil_loop_shutdown_default_executor(this_loop()));
    TRACE_IS("");
    RAISES(COIL_ERUNTIME, "Executor shutdown has been called",
           coil_loop_run_in_executor(this_loop(), NULL, answer, NULL, &future));
    RAISES(COIL_ERUNTIME, "Executor shutdown has been called", coil_to_thread(answer, NULL, NULL));
    OK(coil_join(ticker, NULL));
    coil_executor *pool;
    OK(coil_thread_pool_new(1, &pool)); /* others may still be used */
    OK(coil_join(submit_to(pool, answer, NULL), NULL));
    end_pool(pool);
}

static int open_gate(void *arg, void **result)
{
    (void)result;
    note("open");
    sem_post(&((gated *)arg)->gate);
    return 0;
}

TASK_TEST(shutting_down_waits_for_jobs_while_the_loop_runs)
{
    nothing_counted_yet();
    gated g;
    gated_init(&g);
    coil_future *future = submit_to(NULL, wait_at_gate, &g);
    coil_task *opener = spawn(coil_coro_of(open_gate, &g));
    OK(coil_loop_shutdown_default_executor(this_loop()));
    note("shut");
    TRACE_IS("open shut");
    ck_assert_int_eq(runs, 1);
    ck_assert(coil_future_done(future)); /* copied in the iteration before */
    coil_release(future);
    OK(coil_join(opener, NULL));
    OK(coil_loop_shutdown_default_executor(this_loop())); /* once more */
}

static int shut_down(void *arg, void **result)
{
    (void)arg, (void)result;
    return coil_loop_shutdown_default_executor(this_loop());
}

TASK_TEST(a_cancelled_shutdown_waits_all_the_same)
{
    nothing_counted_yet();
    gated g;
    gated_init(&g);
    coil_future *future = submit_to(NULL, wait_at_gate, &g);
    coil_task *task = spawn(coil_coro_of(shut_down, NULL));
    turns(1);
    coil_task_cancel(task, NULL);
    sem_post(&g.gate);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    ck_assert_int_eq(runs, 1);
    OK(coil_join(future, NULL));
    turns(2);
    expect_report("Exception in callback", COIL_EINVALIDSTATE, "invalid state");
}

static int leave_a_job(void *arg, void **result)
{
    (void)result;
    gated *g = arg;
    coil_future *future;
    OK(coil_loop_run_in_executor(this_loop(), NULL, wait_at_gate, g, &future));
    coil_detach(future);
    pass(&g->running);
    sem_post(&g->gate);
    return 0;
}

TEST(a_run_ends_after_its_jobs)
{
    nothing_counted_yet();
    gated g;
    gated_init(&g);
    OK(coil_run(coil_coro_of(leave_a_job, &g), NULL));
    ck_assert_int_eq(runs, 1);
    ck_assert_int_eq(drops, 1);
}

/* --- loops that end before their jobs ---------------------------------------------------------------------------- */

typedef struct orphan {
    gated g;
    coil_executor *executor; /* NULL: the loop's default one */
    coil_future *future;
} orphan;

static int submit_orphan(void *arg, void **result)
{
    (void)result;
    orphan *o = arg;
    o->future = submit_to(o->executor, wait_at_gate, &o->g);
    return 0;
}

/* A loop that has come to rest while a job waits at its gate. */
static coil_loop *loop_with_job(orphan *o)
{
    coil_loop *loop = new_test_loop();
    gated_init(&o->g);
    OK(coil_loop_run_until_complete(loop, coil_coro_of(submit_orphan, o), NULL));
    pass(&o->g.running);
    return loop;
}

static void await_drops(int n)
{
    while (atomic_load(&drops) < n)
        sched_yield();
}

TEST(a_loop_can_be_freed_while_a_job_runs)
{
    nothing_counted_yet();
    orphan o = {0};
    OK(coil_thread_pool_new(0, &o.executor));
    coil_loop *loop = loop_with_job(&o);
    coil_release(o.future);
    coil_loop_free(loop);
    ck_assert_int_eq(drops, 0);
    sem_post(&o.g.gate);
    coil_executor_shutdown(o.executor, true);
    ck_assert_int_eq(runs, 1);
    ck_assert_int_eq(drops, 1);
    coil_executor_release(o.executor);
}

TEST(the_default_executor_goes_on_without_its_loop)
{
    nothing_counted_yet();
    orphan o = {0};
    coil_loop *loop = loop_with_job(&o);
    coil_release(o.future);
    coil_loop_free(loop);
    sem_post(&o.g.gate);
    await_drops(1);
}

TEST(errors_of_jobs_without_a_loop_vanish)
{
    nothing_counted_yet();
    orphan o = {0};
    OK(coil_thread_pool_new(0, &o.executor));
    coil_loop *loop = loop_with_job(&o);
    o.g.rc = COIL_EUSER(9);
    coil_release(o.future);
    coil_loop_free(loop);
    sem_post(&o.g.gate);
    coil_executor_shutdown(o.executor, true);
    coil_executor_release(o.executor);
    ck_assert_int_eq(runs, 1);
    ck_assert_int_eq(drops, 0);
}

TEST(a_future_outlives_loop_and_job)
{
    nothing_counted_yet();
    orphan o = {0};
    OK(coil_thread_pool_new(0, &o.executor));
    coil_loop *loop = loop_with_job(&o);
    OK(coil_loop_close(loop));
    sem_post(&o.g.gate);
    coil_executor_shutdown(o.executor, true);
    coil_executor_release(o.executor);
    ck_assert_int_eq(drops, 1);
    ck_assert(!coil_future_done(o.future));
    coil_loop_free(loop);
    coil_release(o.future);
}

TEST(results_that_came_back_too_late_are_dropped_by_close)
{
    nothing_counted_yet();
    orphan o = {0};
    OK(coil_thread_pool_new(0, &o.executor));
    coil_loop *loop = loop_with_job(&o);
    sem_post(&o.g.gate);
    coil_executor_shutdown(o.executor, true); /* posted to the loop, which does not run */
    ck_assert_int_eq(drops, 0);
    OK(coil_loop_close(loop));
    ck_assert_int_eq(drops, 1);
    ck_assert(!coil_future_done(o.future));
    coil_release(o.future);
    coil_loop_free(loop);
    coil_executor_release(o.executor);
}

TEST(a_job_that_was_not_started_can_run_after_its_loop)
{
    nothing_counted_yet();
    late l;
    late_init(&l, false);
    orphan o = {.executor = &l.executor};
    coil_loop *loop = new_test_loop();
    gated_init(&o.g);
    sem_post(&o.g.gate);
    OK(coil_loop_run_until_complete(loop, coil_coro_of(submit_orphan, &o), NULL));
    coil_release(o.future);
    coil_loop_free(loop);
    late_run_elsewhere(&l);
    ck_assert_int_eq(runs, 1);
    ck_assert_int_eq(drops, 1);
    late_end(&l);
}

TEST(freeing_a_loop_unwinds_a_task_that_waits_for_a_job)
{
    nothing_counted_yet();
    gated g;
    late l;
    gated_init(&g);
    late_init(&l, false);
    coil_loop *loop = new_test_loop();
    coil_loop_set_default_executor(loop, &l.executor);
    coil_task *task;
    OK(coil_loop_create_task(loop, coil_coro_of(gated_task, &g), NULL, &task));
    coil_detach(task);
    coil_loop_stop(loop);
    OK(coil_loop_run_forever(loop));
    ck_assert_int_eq(l.count, 1);
    coil_loop_free(loop);
    expect_report("Task was destroyed but it is pending!", 0, "");
    sem_post(&g.gate);
    late_run_elsewhere(&l);
    ck_assert_int_eq(drops, 1);
    late_end(&l);
}

TEST(a_closed_loop_takes_no_jobs)
{
    late l;
    coil_future *future = NULL;
    late_init(&l, false);
    coil_loop *loop = new_test_loop();
    OK(coil_loop_close(loop));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_run_in_executor(loop, NULL, answer, NULL, &future));
    coil_loop_set_default_executor(loop, &l.executor);
    coil_loop_free(loop);
    late_end(&l);
    ck_assert_ptr_null(future);
}

TEST(jobs_can_be_submitted_to_a_loop_that_does_not_run_yet)
{
    void *result;
    coil_future *future;
    coil_loop *loop = new_test_loop();
    OK(coil_loop_run_in_executor(loop, NULL, answer, "early", &future));
    OK(coil_loop_run_until_complete(loop, future, &result));
    ck_assert_str_eq(result, "early");
    coil_release(future);
    coil_loop_free(loop);
}

TEST(loops_may_be_freed_at_any_moment_of_their_jobs)
{
    nothing_counted_yet();
    coil_executor *pool;
    OK(coil_thread_pool_new(2, &pool));
    for (int i = 0; i < 200; i++) {
        coil_loop *loop = new_test_loop();
        for (int j = 0; j < 4; j++) {
            coil_future *future;
            OK(coil_loop_run_in_executor(loop, pool, owned_answer, "x", &future));
            coil_release(future);
        }
        if (i % 2) {
            coil_loop_stop(loop);
            OK(coil_loop_run_forever(loop));
        }
        coil_loop_free(loop);
    }
    coil_executor_shutdown(pool, true);
    end_pool(pool);
    ck_assert_int_eq(runs, 800);
    ck_assert_int_eq(drops, 800);
}

/* --- without memory ---------------------------------------------------------------------------------------------- */

TASK_TEST(without_memory_nothing_is_submitted)
{
    nothing_counted_yet();
    int rc = -ENOMEM;
    for (uint64_t n = 1; rc < 0; n++) {
        coil_future *future = NULL;
        ck_assert_uint_lt(n, 100);
        coil__alloc_fail_at(n);
        rc = coil_loop_run_in_executor(this_loop(), NULL, answer, NULL, &future);
        coil__alloc_fail_at(0);
        if (rc == 0)
            rc = coil_join(future, NULL);
        else
            ck_assert_int_eq(rc, -ENOMEM);
    }
    ck_assert_int_eq(runs, 1);
    rc = -ENOMEM;
    for (uint64_t n = 1; rc < 0; n++) {
        ck_assert_uint_lt(n, 100);
        coil__alloc_fail_at(n);
        rc = coil_loop_shutdown_default_executor(this_loop());
        coil__alloc_fail_at(0);
        ck_assert(rc == 0 || rc == -ENOMEM);
    }
}

COIL_TEST_MAIN("executor")
