/*
 * test_runtime.c - runtimes: options, environment, results and errors, several runs, what is left at the end
 */
#define _GNU_SOURCE /* CPU sets */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomic.h"
#include "descriptors.h"
#include "jobs.h"
#include "threads.h"

/* Without a watchdog, whose thread would be counted. Reports are kept. */
static coil_runtime_options options_for(unsigned workers)
{
    return (coil_runtime_options){
        .size = sizeof(coil_runtime_options),
        .workers = workers,
        .stall_ns = COIL_FOREVER,
        .loop = {.size = sizeof(coil_loop_options), .default_exception_handler = keep_report},
    };
}

static int nothing(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

static int run(const coil_runtime_options *o, coil_coro_fn *fn, void *arg)
{
    return coil_runtime_run(o, coil_coro_of(fn, arg), NULL);
}

/* --- options ---------------------------------------------------------------------------------------------------- */

TEST(runtime_refuses_options_of_another_size)
{
    char message[128];
    coil_runtime_options o = {.size = 8};
    snprintf(message, sizeof message, "coil_runtime_options.size is 8, not %zu", sizeof o);
    RAISES(-EINVAL, message, run(&o, nothing, NULL));
    o = options_for(2);
    o.loop.size = 8;
    snprintf(message, sizeof message, "coil_loop_options.size is 8, not %zu", sizeof o.loop);
    RAISES(-EINVAL, message, run(&o, nothing, NULL));
}

TEST(runtime_refuses_options_that_make_no_sense)
{
    coil_runtime_options o = options_for(257);
    RAISES(-EINVAL, "257 workers are more than 256", run(&o, nothing, NULL));
    o = options_for(2);
    o.exact = true;
    RAISES(-EINVAL, "asyncio's exact order needs one worker, not 2", run(&o, nothing, NULL));
    o = options_for(2);
    unsetenv("COIL_RING_MODE"); /* it would override that */
    o.ring_mode = (enum coil_ring_mode)3;
    RAISES(-EINVAL, "unknown ring mode 3", run(&o, nothing, NULL));
    o = options_for(2);
    o.stall_ns = -1;
    RAISES(-EINVAL, "a stall cannot last less than no time", run(&o, nothing, NULL));
    o = options_for(2);
    o.loop.backend = (enum coil_backend_kind)9;
    RAISES(-EINVAL, "unknown backend 9", run(&o, nothing, NULL));
}

TEST(runtime_needs_a_coroutine)
{
    RAISES(-EINVAL, "a coroutine was expected", coil_runtime_run(NULL, (coil_coro){0}, NULL));
}

static int dropped;

static void count_dropped(void *arg)
{
    (void)arg;
    dropped++;
}

TEST(runtime_drops_the_coroutine_that_it_cannot_run)
{
    coil_runtime_options o = options_for(257);
    dropped = 0;
    RAISES(-EINVAL, "257 workers are more than 256",
           coil_runtime_run(&o, coil_coro_owning(nothing, &o, count_dropped), NULL));
    ck_assert_int_eq(dropped, 1);
}

/* --- the environment -------------------------------------------------------------------------------------------- */

static void refused_in_environment(const char *name, const char *value, const char *message)
{
    coil_runtime_options o = options_for(2);
    setenv(name, value, 1);
    RAISES(-EINVAL, message, run(&o, nothing, NULL));
    unsetenv(name);
}

TEST(runtime_refuses_variables_that_make_no_sense)
{
    refused_in_environment("COIL_WORKERS", "many", "COIL_WORKERS='many' is not a number from 0 to 256");
    refused_in_environment("COIL_WORKERS", "-1", "COIL_WORKERS='-1' is not a number from 0 to 256");
    refused_in_environment("COIL_WORKERS", "257", "COIL_WORKERS='257' is not a number from 0 to 256");
    refused_in_environment("COIL_WORKERS", "2 ", "COIL_WORKERS='2 ' is not a number from 0 to 256");
    refused_in_environment("COIL_PIN_CPUS", "2", "COIL_PIN_CPUS='2' is not a number from 0 to 1");
    refused_in_environment("COIL_BUDGET", "1e3", "COIL_BUDGET='1e3' is not a number from 0 to 4294967295");
    refused_in_environment("COIL_BLOCKING_THREADS", "x", "COIL_BLOCKING_THREADS='x' is not a number from 0 to 65536");
    refused_in_environment("COIL_STACK_BYTES", "64K", "COIL_STACK_BYTES='64K' is not a number from 0 to 1073741824");
    refused_in_environment("COIL_STALL_MS", "never", "COIL_STALL_MS='never' is not a number from 0 to 2147483647");
    refused_in_environment("COIL_RING_MODE", "both", "unknown COIL_RING_MODE 'both' (defer, shared)");
}

/* A number with a sign or blanks before it is none either. */
TEST(runtime_refuses_signs_in_variables)
{
    refused_in_environment("COIL_WORKERS", "+2", "COIL_WORKERS='+2' is not a number from 0 to 256");
    refused_in_environment("COIL_WORKERS", " -3", "COIL_WORKERS=' -3' is not a number from 0 to 256");
}

static int count_workers(void *arg, void **result)
{
    (void)result;
    *(unsigned *)arg = coil_worker_count();
    return 0;
}

static unsigned workers_of(coil_runtime_options o)
{
    unsigned n = 0;
    OK(run(&o, count_workers, &n));
    return n;
}

TEST(runtime_has_as_many_workers_as_the_environment_says)
{
    setenv("COIL_WORKERS", "3", 1);
    ck_assert_uint_eq(workers_of(options_for(2)), 3);
    setenv("COIL_WORKERS", "", 1);
    ck_assert_uint_eq(workers_of(options_for(2)), 2);
    unsetenv("COIL_WORKERS");
}

TEST(runtime_has_a_worker_for_each_cpu_that_the_thread_may_use)
{
    cpu_set_t cpus, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof cpus, &cpus), 0);
    ck_assert_uint_eq(workers_of(options_for(0)), (unsigned)CPU_COUNT(&cpus));
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &cpus))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_uint_eq(workers_of(options_for(0)), 1);
    ck_assert_int_eq(sched_setaffinity(0, sizeof cpus, &cpus), 0);
    coil_runtime_options exact = options_for(0);
    exact.exact = true;
    ck_assert_uint_eq(workers_of(exact), 1);
}

TEST(runtime_refuses_an_unknown_backend_of_the_environment)
{
    char *before = getenv("COIL_BACKEND") ? strdup(getenv("COIL_BACKEND")) : NULL;
    coil_runtime_options o = options_for(1);
    setenv("COIL_BACKEND", "kqueue", 1);
    RAISES(-EINVAL, "unknown COIL_BACKEND 'kqueue' (uring, epoll, auto)", run(&o, nothing, NULL));
    o = options_for(2);
    RAISES(-EINVAL, "worker 1 could not open its event loop: unknown COIL_BACKEND 'kqueue' (uring, epoll, auto)",
           run(&o, nothing, NULL));
    if (before)
        setenv("COIL_BACKEND", before, 1);
    else
        unsetenv("COIL_BACKEND");
    free(before);
}

/* Eats more than the default stack has. */
static int needs_stack(void *arg, void **result)
{
    (void)arg, (void)result;
    volatile char room[300 * 1024];
    for (size_t i = 0; i < sizeof room; i += 1024)
        room[sizeof room - 1 - i] = 1;
    return room[0] ? 0 : 0;
}

TEST(runtime_gives_stacks_of_the_size_in_the_environment)
{
    coil_runtime_options o = options_for(2);
    setenv("COIL_STACK_BYTES", "1048576", 1);
    OK(run(&o, needs_stack, NULL));
    unsetenv("COIL_STACK_BYTES");
}

static int cpus_of_worker(void *arg, void **result)
{
    (void)arg, (void)result;
    cpu_set_t cpus;
    ck_assert_int_eq(sched_getaffinity(0, sizeof cpus, &cpus), 0);
    ck_assert_int_eq(CPU_COUNT(&cpus), 1);
    return 0;
}

TEST(runtime_pins_its_threads_if_asked_and_gives_the_first_its_cpus_back)
{
    cpu_set_t before, after;
    coil_runtime_options o = options_for(3);
    o.pin_cpus = true;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    OK(run(&o, cpus_of_worker, NULL));
    ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
    ck_assert(CPU_EQUAL(&before, &after));
}

/* --- who is running --------------------------------------------------------------------------------------------- */

static int look_at_workers(void *arg, void **result)
{
    (void)result;
    unsigned workers = *(unsigned *)arg;
    ck_assert_uint_eq(coil_worker_count(), workers);
    ck_assert_uint_lt(coil_worker_number(), workers);
    for (unsigned i = 0; i < workers; i++) {
        coil_worker_stats stats = {.size = sizeof stats};
        OK(coil_worker_get_stats(i, &stats));
    }
    coil_worker_stats stats = {.size = sizeof stats};
    char message[64];
    snprintf(message, sizeof message, "there is no worker number %u", workers);
    RAISES(-EINVAL, message, coil_worker_get_stats(workers, &stats));
    return 0;
}

TEST(runtime_tells_how_many_workers_there_are_and_which_one_it_is)
{
    for (unsigned workers = 1; workers <= 4; workers++) {
        coil_runtime_options o = options_for(workers);
        OK(run(&o, look_at_workers, &workers));
    }
    ck_assert_uint_eq(coil_worker_count(), 0);
    ck_assert_uint_eq(coil_worker_number(), 0);
    coil_worker_stats stats = {.size = sizeof stats};
    RAISES(COIL_ENOLOOP, "no running event loop", coil_worker_get_stats(0, &stats));
}

TASK_TEST(a_loop_of_its_own_counts_as_one_worker_without_statistics)
{
    ck_assert_uint_eq(coil_worker_count(), 1);
    ck_assert_uint_eq(coil_worker_number(), 0);
    coil_worker_stats stats = {.size = sizeof stats};
    RAISES(-EINVAL, "there is no worker number 0", coil_worker_get_stats(0, &stats));
}

static int give_facade(void *arg, void **result)
{
    (void)arg;
    *result = coil_get_running_loop();
    return 0;
}

static int same_loop_everywhere(void *arg, void **result)
{
    (void)result;
    ck_assert_ptr_eq(coil_get_running_loop(), arg);
    for (unsigned i = 1; i <= coil_worker_count(); i++) {
        coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED, .worker = i};
        coil_task *task;
        void *loop;
        OK(coil_create_task_with(coil_coro_of(give_facade, NULL), &o, &task));
        ck_assert_ptr_eq(coil_future_loop(task), arg);
        OK(coil_join(task, &loop));
        ck_assert_ptr_eq(loop, arg);
    }
    return 0;
}

TEST(all_workers_run_the_same_loop)
{
    coil_runtime *rt;
    coil_runtime_options o = options_for(3);
    OK(coil_runtime_new(&o, &rt));
    ck_assert_ptr_eq(coil_get_event_loop(), coil_runtime_loop(rt));
    OK(coil_runtime_enter(rt, coil_coro_of(same_loop_everywhere, coil_runtime_loop(rt)), NULL));
    coil_runtime_free(rt);
    RAISES(COIL_ENOLOOP, "no current event loop", coil_get_event_loop() ? 0 : COIL_ENOLOOP);
}

/* --- results and errors ----------------------------------------------------------------------------------------- */

static int give_memory(void *arg, void **result)
{
    (void)arg;
    coil_task_set_result_drop(coil_current_task(), free);
    OK(coil_sleep(0));
    *result = strdup("result");
    return 0;
}

TEST(runtime_moves_the_result_out)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        void *result = NULL;
        coil_runtime_options o = options_for(workers);
        OK(coil_runtime_run(&o, coil_coro_of(give_memory, NULL), &result));
        ck_assert_str_eq(result, "result");
        free(result);
        OK(coil_runtime_run(&o, coil_coro_of(give_memory, NULL), NULL)); /* dropped */
    }
}

static int fail_as_told(void *arg, void **result)
{
    (void)arg, (void)result;
    OK(coil_sleep(0));
    return coil_raise(COIL_EUSER(3), "as told");
}

TEST(runtime_raises_what_the_coroutine_raised)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        coil_runtime_options o = options_for(workers);
        RAISES(COIL_EUSER(3), "as told", run(&o, fail_as_told, NULL));
    }
}

static int run_inside(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_runtime_options o = options_for(2);
    coil_runtime *rt;
    RAISES(COIL_EBUSY, "asyncio.run() cannot be called from a running event loop", run(&o, nothing, NULL));
    RAISES(COIL_EBUSY, "a runtime cannot be made in a running event loop", coil_runtime_new(&o, &rt));
    RAISES(COIL_EBUSY, "asyncio.run() cannot be called from a running event loop",
           coil_run(coil_coro_of(nothing, NULL), NULL));
    return 0;
}

TEST(runtime_is_refused_inside_a_running_loop)
{
    coil_runtime_options o = options_for(2);
    OK(coil_run(coil_coro_of(run_inside, NULL), NULL));
    OK(run(&o, run_inside, NULL));
}

static int fail_unseen(void *arg, void **result)
{
    (void)arg, (void)result;
    return coil_raise(COIL_EUSER(4), "unseen");
}

static int leave_failure(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_task *task;
    OK(coil_create_task(coil_coro_of(fail_unseen, NULL), &task));
    while (!coil_future_done(task))
        OK(coil_sleep(0));
    coil_release(task);
    return 0;
}

TEST(an_error_that_nobody_looks_at_is_reported)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        coil_runtime_options o = options_for(workers);
        OK(run(&o, leave_failure, NULL));
        expect_report("Task exception was never retrieved", COIL_EUSER(4), "unseen");
    }
}

static int failing_callback(void *arg)
{
    coil_loop_call_soon(coil_get_running_loop(), (coil_callback *)(uintptr_t)arg, NULL, NULL);
    return coil_raise(COIL_EUSER(5), "in a callback");
}

static _Atomic int reached;

static int reach(void *arg)
{
    (void)arg;
    store_release(&reached, 1);
    return 0;
}

static int call_failing(void *arg, void **result)
{
    (void)arg, (void)result;
    store_relaxed(&reached, 0);
    OK(coil_loop_call_soon(coil_get_running_loop(), failing_callback, (void *)(uintptr_t)reach, NULL));
    while (!load_acquire(&reached))
        OK(coil_sleep(0));
    return 0;
}

TEST(an_error_of_a_callback_is_reported)
{
    coil_runtime_options o = options_for(2);
    OK(run(&o, call_failing, NULL));
    expect_report("Exception in callback", COIL_EUSER(5), "in a callback");
}

/* --- what is left ----------------------------------------------------------------------------------------------- */

static _Atomic int begun, cleaned;

static int wait_and_clean(void *arg, void **result)
{
    (void)arg, (void)result;
    fetch_add_acq_rel(&begun, 1);
    int rc = coil_sleep(COIL_SECONDS(1000));
    ck_assert_int_eq(rc, -ECANCELED);
    coil_error *e = coil_catch(rc);
    OK(coil_sleep(COIL_MS(1))); /* the end waits for that */
    fetch_add_acq_rel(&cleaned, 1);
    return coil_raise_error(e);
}

static int leave_tasks(void *arg, void **result)
{
    (void)arg, (void)result;
    int n = (int)coil_worker_count();
    for (int i = 0; i < 2 * n; i++) {
        coil_task_options o = {.size = sizeof o, .migration = i < n ? COIL_PINNED : COIL_STEAL_ANY};
        if (i < n)
            o.worker = (unsigned)i + 1;
        OK(coil_create_task_with(coil_coro_of(wait_and_clean, NULL), &o, NULL));
    }
    while (load_acquire(&begun) < 2 * n)
        OK(coil_sleep(0));
    return 0;
}

TEST(tasks_that_are_left_are_cancelled_and_waited_for_on_all_workers)
{
    for (unsigned workers = 1; workers <= 4; workers++) {
        coil_runtime_options o = options_for(workers);
        store_relaxed(&begun, 0);
        store_relaxed(&cleaned, 0);
        OK(run(&o, leave_tasks, NULL));
        ck_assert_int_eq(load_relaxed(&cleaned), 2 * (int)workers);
    }
}

static int fail_when_cancelled(void *arg, void **result)
{
    (void)arg, (void)result;
    store_release(&begun, 1);
    int rc = coil_sleep(COIL_SECONDS(1000));
    coil_error_release(coil_catch(rc));
    return coil_raise(COIL_EUSER(6), "on the way out");
}

static int leave_failing_task(void *arg, void **result)
{
    (void)arg, (void)result;
    store_relaxed(&begun, 0);
    OK(coil_create_task(coil_coro_of(fail_when_cancelled, NULL), NULL));
    while (!load_acquire(&begun))
        OK(coil_sleep(0));
    return 0;
}

TEST(errors_of_tasks_that_are_left_are_reported)
{
    coil_runtime_options o = options_for(2);
    OK(run(&o, leave_failing_task, NULL));
    expect_report("unhandled exception during asyncio.run() shutdown", COIL_EUSER(6), "on the way out");
}

static int numbers(coil_agen *g, void *arg)
{
    (void)arg;
    for (intptr_t i = 1;; i++) {
        int rc = coil_agen_yield(g, (void *)i, NULL);
        if (rc < 0) {
            ck_assert_int_eq(rc, COIL_EGENERATOREXIT);
            fetch_add_acq_rel(&cleaned, 1);
            return rc;
        }
    }
}

static int leave_generator(void *generator, void **result)
{
    (void)result;
    void *value;
    coil_agen *g;
    OK(coil_agen_new(numbers, NULL, NULL, "numbers", &g));
    OK(coil_agen_next(g, &value));
    ck_assert_ptr_eq(value, (void *)1);
    *(coil_agen **)generator = g;
    return 0;
}

TEST(generators_that_are_left_are_closed)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        coil_agen *g = NULL;
        coil_runtime_options o = options_for(workers);
        store_relaxed(&cleaned, 0);
        OK(run(&o, leave_generator, &g));
        ck_assert_int_eq(load_relaxed(&cleaned), 1);
        coil_agen_release(g);
    }
}

static int job_until_the_end(void *arg, void **result)
{
    gated *g = arg;
    (void)result;
    sem_post(&g->running);
    pass(&g->gate);
    fetch_add_acq_rel(&cleaned, 1);
    return 0;
}

static int open_gate(void *gate)
{
    sem_post(gate);
    return 0;
}

/* The job goes on when everybody waits for it, and the virtual clock jumps. */
static int leave_job(void *arg, void **result)
{
    (void)arg, (void)result;
    static gated g;
    coil_loop *loop = coil_get_running_loop();
    coil_future *f;
    gated_init(&g);
    OK(coil_loop_run_in_executor(loop, NULL, job_until_the_end, &g, &f));
    pass(&g.running);
    OK(coil_loop_call_later(loop, COIL_SECONDS(1000), open_gate, &g.gate, NULL));
    coil_detach(f);
    return 0;
}

static void run_and_leave_job(unsigned workers)
{
    coil_runtime_options o = options_for(workers);
    o.blocking_threads = workers;
    o.loop.clock = &test_clock.clock;
    coil_virtual_clock_init(&test_clock);
    store_relaxed(&cleaned, 0);
    OK(run(&o, leave_job, NULL));
    ck_assert_int_eq(load_relaxed(&cleaned), 1);
}

TEST(the_default_executor_is_shut_down_when_its_jobs_have_ended)
{
    for (unsigned workers = 1; workers <= 2; workers++)
        run_and_leave_job(workers);
}

TEST(no_thread_and_no_descriptor_is_left)
{
    coil_runtime_options o = options_for(4);
    OK(run(&o, nothing, NULL)); /* a sanitizer starts a thread of its own with the first */
    size_t threads = live_threads();
    int descriptors = open_descriptors();
    for (int i = 0; i < 3; i++) {
        store_relaxed(&begun, 0);
        OK(run(&o, leave_tasks, NULL));
        run_and_leave_job(4);
    }
    ck_assert_int_eq(open_descriptors(), descriptors);
    ck_assert_uint_eq(live_threads(), threads);
}

/* --- several runs ----------------------------------------------------------------------------------------------- */

static _Atomic int ticks;

/* Never on worker 0, which sleeps between the runs. */
static int tick(void *arg, void **result)
{
    (void)arg, (void)result;
    for (;;) {
        fetch_add_acq_rel(&ticks, 1);
        COIL_TRY(coil_sleep(COIL_MS(1)));
    }
}

static int start_ticking(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED, .worker = 2};
    OK(coil_create_task_with(coil_coro_of(tick, NULL), &o, NULL));
    return 0;
}

static int add_one(void *arg, void **result)
{
    *result = (void *)((intptr_t)arg + 1);
    return coil_sleep(0);
}

TEST(a_runtime_runs_one_coroutine_after_the_other)
{
    coil_runtime *rt;
    coil_runtime_options o = options_for(3);
    OK(coil_runtime_new(&o, &rt));
    void *n = NULL;
    for (int i = 0; i < 100; i++)
        OK(coil_runtime_enter(rt, coil_coro_of(add_one, n), &n));
    ck_assert_ptr_eq(n, (void *)100);
    OK(coil_runtime_close(rt));
    OK(coil_runtime_close(rt));
    RAISES(COIL_ERUNTIME, "Runner is closed", coil_runtime_enter(rt, coil_coro_of(nothing, NULL), NULL));
    coil_runtime_free(rt);
    coil_runtime_free(NULL);
}

TEST(workers_go_on_between_the_runs)
{
    coil_runtime *rt;
    coil_runtime_options o = options_for(2);
    store_relaxed(&ticks, 0);
    OK(coil_runtime_new(&o, &rt));
    OK(coil_runtime_enter(rt, coil_coro_of(start_ticking, NULL), NULL));
    for (int seen = load_acquire(&ticks); load_acquire(&ticks) < seen + 10;)
        sched_yield();
    OK(coil_runtime_enter(rt, coil_coro_of(nothing, NULL), NULL));
    coil_runtime_free(rt); /* ends the task, too */
}

TEST(a_runtime_that_never_ran_ends)
{
    for (unsigned workers = 1; workers <= 4; workers++) {
        coil_runtime *rt;
        coil_runtime_options o = options_for(workers);
        OK(coil_runtime_new(&o, &rt));
        coil_runtime_free(rt);
    }
}

TEST(two_runtimes_run_at_the_same_time)
{
    coil_runtime *a, *b;
    coil_runtime_options o = options_for(2);
    store_relaxed(&ticks, 0);
    OK(coil_runtime_new(&o, &a));
    OK(coil_runtime_enter(a, coil_coro_of(start_ticking, NULL), NULL));
    OK(coil_runtime_new(&o, &b));
    OK(coil_runtime_enter(b, coil_coro_of(same_loop_everywhere, coil_runtime_loop(b)), NULL));
    coil_runtime_free(a);
    OK(coil_runtime_enter(b, coil_coro_of(same_loop_everywhere, coil_runtime_loop(b)), NULL));
    coil_runtime_free(b);
}

COIL_TEST_MAIN("runtime")
