/*
 * test_runtime_loop.c - what a runtime's loop tells, and is told, is that of all workers: tasks, statistics, debug mode
 *
 * Tasks of one worker stay there: what they make is listed there as well.
 */
#include "base/atomic.h"
#include "workers.h"

enum { WORKERS = 4, EACH = 50 };

typedef struct world {
    coil_future *end;                      /* what the tasks that wait are waiting for */
    _Atomic uint32_t waiting;
    _Atomic uint32_t slow_steps[WORKERS];  /* reported, by worker */
    _Atomic bool over;
} world;

static world w;

static void count_slow(coil_loop *loop, const char *what, int64_t duration_ns, void *arg)
{
    (void)loop, (void)what, (void)duration_ns, (void)arg;
    fetch_add_relaxed(&w.slow_steps[coil_worker_number()], 1);
}

static void run(coil_coro_fn *fn)
{
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = WORKERS,
        .stall_ns = COIL_FOREVER,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report, .slow_callback_handler = count_slow},
    };
    memset(&w, 0, sizeof w);
    OK(coil_runtime_run(&o, coil_coro_of(fn, NULL), NULL));
}

static void wait_until(const _Atomic uint32_t *count, uint32_t least)
{
    while (load_relaxed(count) < least)
        OK(coil_sleep(0));
}

/* --- tasks ------------------------------------------------------------------------------------------------------------- */

static int wait_for_the_end(void *arg, void **result)
{
    (void)arg, (void)result;
    fetch_add_relaxed(&w.waiting, 1);
    return coil_await(w.end, NULL);
}

static int make_tasks_that_wait(void *arg, void **result)
{
    coil_task *tasks[EACH];
    for (int i = 0; i < EACH; i++)
        tasks[i] = spawn(coil_coro_of(wait_for_the_end, NULL));
    COIL_TRY(wait_for_the_end(arg, result));
    for (int i = 0; i < EACH; i++)
        OK(coil_join(tasks[i], NULL));
    return 0;
}

static void begin_to_wait(coil_task *makers[WORKERS])
{
    OK(coil_create_future(&w.end));
    for (unsigned i = 0; i < WORKERS; i++)
        makers[i] = on_worker(i, make_tasks_that_wait, NULL);
    wait_until(&w.waiting, WORKERS * (EACH + 1));
}

static void end_to_wait(coil_task *makers[WORKERS])
{
    OK(coil_future_set_result(w.end, NULL));
    for (unsigned i = 0; i < WORKERS; i++)
        OK(coil_join(makers[i], NULL));
    coil_release(w.end);
}

static bool contains(coil_task *const *tasks, size_t n, const coil_task *wanted)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += tasks[i] == wanted;
    ck_assert_uint_le(found, 1);
    return found == 1;
}

static int ask_for_all(void *arg, void **result)
{
    coil_task *makers[WORKERS], **tasks;
    size_t n;
    (void)arg, (void)result;
    begin_to_wait(makers);
    OK(coil_all_tasks(coil_get_running_loop(), &tasks, &n));
    ck_assert_uint_eq(n, 1 + WORKERS * (EACH + 1));
    ck_assert(contains(tasks, n, coil_current_task()));
    for (unsigned i = 0; i < WORKERS; i++)
        ck_assert(contains(tasks, n, makers[i]));
    coil_tasks_free(tasks, n);
    end_to_wait(makers);
    OK(coil_all_tasks(coil_get_running_loop(), &tasks, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_ptr_eq(tasks[0], coil_current_task());
    coil_tasks_free(tasks, n);
    return 0;
}

TEST(all_tasks_of_a_runtime_are_those_of_all_workers)
{
    run(ask_for_all);
}

static int nothing(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

/* More and more at a time, so that there are more than when somebody began to ask. */
static int make_and_join(void *arg, void **result)
{
    static _Thread_local unsigned many;
    coil_task *tasks[4 * EACH];
    (void)arg, (void)result;
    while (!load_relaxed(&w.over)) {
        unsigned n = many++ % (4 * EACH) + 1;
        for (unsigned i = 0; i < n; i++)
            tasks[i] = spawn(coil_coro_of(nothing, NULL));
        for (unsigned i = 0; i < n; i++)
            OK(coil_join(tasks[i], NULL));
    }
    return 0;
}

static void ask_once(coil_task *const makers[WORKERS], coil_task *const others[WORKERS])
{
    coil_task **tasks;
    size_t n;
    OK(coil_all_tasks(coil_get_running_loop(), &tasks, &n));
    ck_assert_uint_ge(n, 1 + WORKERS * (EACH + 2));
    for (unsigned i = 0; i < WORKERS; i++)
        ck_assert(contains(tasks, n, makers[i]) && contains(tasks, n, others[i]));
    coil_tasks_free(tasks, n);
}

static int ask_while_others_make_some(void *arg, void **result)
{
    coil_task *makers[WORKERS], *others[WORKERS];
    (void)arg, (void)result;
    begin_to_wait(makers);
    for (unsigned i = 0; i < WORKERS; i++)
        others[i] = on_worker(i, make_and_join, NULL);
    for (int i = 0; i < 300; i++) {
        ask_once(makers, others);
        OK(coil_sleep(0));
    }
    store_relaxed(&w.over, true);
    for (unsigned i = 0; i < WORKERS; i++)
        OK(coil_join(others[i], NULL));
    end_to_wait(makers);
    return 0;
}

TEST(all_tasks_leaves_none_out_that_stays_while_others_make_tasks)
{
    run(ask_while_others_make_some);
}

/* --- statistics -------------------------------------------------------------------------------------------------------- */

static coil_loop_stats stats_now(void)
{
    coil_loop_stats stats = {.size = sizeof stats};
    coil_loop_get_stats(coil_get_running_loop(), &stats);
    return stats;
}

static uint64_t handles_of_workers(void)
{
    uint64_t handles = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        coil_worker_stats stats = {.size = sizeof stats};
        OK(coil_worker_get_stats(i, &stats));
        handles += stats.handles;
    }
    return handles;
}

static int look_at_statistics(void *arg, void **result)
{
    coil_task *makers[WORKERS];
    (void)arg, (void)result;
    begin_to_wait(makers);
    uint64_t before = handles_of_workers();
    coil_loop_stats stats = stats_now();
    ck_assert_uint_eq(stats.tasks, 1 + WORKERS * (EACH + 1));
    ck_assert_uint_ge(stats.handles, before);
    ck_assert_uint_ge(stats.handles, stats.tasks);
    ck_assert_uint_ge(stats.iterations, WORKERS);
    while (stats_now().kernel_waits == 0) /* they have nothing to do */
        OK(coil_sleep(0));
    end_to_wait(makers);
    return 0;
}

TEST(statistics_of_a_runtime_are_those_of_all_workers)
{
    run(look_at_statistics);
}

static int sleep_long(void *arg, void **result)
{
    (void)arg, (void)result;
    fetch_add_relaxed(&w.waiting, 1);
    return coil_sleep(COIL_SECONDS(1000));
}

static int count_timers(void *arg, void **result)
{
    coil_task *tasks[WORKERS];
    (void)arg, (void)result;
    for (unsigned i = 0; i < WORKERS; i++)
        tasks[i] = on_worker(i, sleep_long, NULL);
    wait_until(&w.waiting, WORKERS);
    while (stats_now().timers != WORKERS) /* the last of them is about to arm it */
        OK(coil_sleep(0));
    for (unsigned i = 0; i < WORKERS; i++) {
        coil_future_cancel(tasks[i], NULL);
        RAISES(-ECANCELED, "", coil_join(tasks[i], NULL));
    }
    ck_assert_uint_eq(stats_now().timers, 0);
    return 0;
}

TEST(timers_of_all_workers_are_counted)
{
    run(count_timers);
}

/* --- debug mode -------------------------------------------------------------------------------------------------------- */

static int yield_until_over(void *arg, void **result)
{
    (void)arg, (void)result;
    while (!load_relaxed(&w.over))
        COIL_TRY(coil_sleep(0));
    return 0;
}

static int switch_debugging_on(void *arg, void **result)
{
    coil_loop *loop = coil_get_running_loop();
    coil_task *tasks[WORKERS];
    (void)arg, (void)result;
    for (unsigned i = 0; i < WORKERS; i++)
        tasks[i] = on_worker(i, yield_until_over, NULL);
    coil_loop_set_slow_callback_duration(loop, 0);
    coil_loop_set_debug(loop, true);
    ck_assert(coil_loop_get_debug(loop));
    for (unsigned i = 0; i < WORKERS; i++)
        wait_until(&w.slow_steps[i], 3);
    coil_loop_set_debug(loop, false);
    ck_assert(!coil_loop_get_debug(loop));
    store_relaxed(&w.over, true);
    for (unsigned i = 0; i < WORKERS; i++)
        OK(coil_join(tasks[i], NULL));
    return 0;
}

TEST(debug_mode_is_switched_on_and_off_for_all_workers)
{
    run(switch_debugging_on);
}

static int allow_them_all_time(void *arg, void **result)
{
    coil_loop *loop = coil_get_running_loop();
    coil_task *tasks[WORKERS];
    (void)arg, (void)result;
    coil_loop_set_slow_callback_duration(loop, COIL_SECONDS(1000));
    coil_loop_set_debug(loop, true);
    for (unsigned i = 0; i < WORKERS; i++)
        tasks[i] = on_worker(i, yield_until_over, NULL);
    for (int i = 0; i < 100; i++)
        OK(coil_sleep(0));
    store_relaxed(&w.over, true);
    for (unsigned i = 0; i < WORKERS; i++)
        OK(coil_join(tasks[i], NULL));
    coil_loop_set_debug(loop, false);
    return 0;
}

TEST(what_is_slow_is_told_to_all_workers)
{
    run(allow_them_all_time);
    for (unsigned i = 0; i < WORKERS; i++)
        ck_assert_uint_eq(load_relaxed(&w.slow_steps[i]), 0);
}

COIL_TEST_MAIN("runtime_loop")
