/*
 * test_runtime_tasks.c - tasks on several workers: where they run, who cancels them, timers, callbacks, fairness
 */
#include <coil.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "workers.h"

static int64_t now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void run_on(unsigned workers, unsigned budget, void (*fn)(void))
{
    coil_runtime_options o = workers_options(workers);
    o.budget = budget;
    run_with_workers(&o, fn);
}

/* Suspends until somebody has set the flag, without waiting for anything else. */
static void until(atomic_int *flag)
{
    while (atomic_load(flag) == 0)
        OK(coil_sleep(0));
}

/* --- where they run --------------------------------------------------------------------------------------------- */

/* Suspends in every way there is; the worker must stay the same. */
static void stay(unsigned number)
{
    for (int i = 0; i < 50; i++) {
        ck_assert_uint_eq(coil_worker_number(), number);
        OK(i % 10 ? coil_sleep(0) : coil_sleep(COIL_US(100)));
    }
    ck_assert_uint_eq(coil_worker_number(), number);
}

static int stay_where_told(void *arg, void **result)
{
    (void)result;
    stay((unsigned)(uintptr_t)arg);
    return 0;
}

WORKERS_TEST(4, a_pinned_task_stays_on_the_chosen_worker)
{
    coil_task *tasks[16];
    for (unsigned i = 0; i < 16; i++)
        tasks[i] = on_worker(i % 4, stay_where_told, (void *)(uintptr_t)(i % 4));
    for (unsigned i = 0; i < 16; i++)
        OK(coil_join(tasks[i], NULL));
}

static int spawn_pinned(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_task *task;
    coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED};
    OK(coil_create_task_with(coil_coro_of(stay_where_told, (void *)(uintptr_t)coil_worker_number()), &o, &task));
    return coil_join(task, NULL);
}

WORKERS_TEST(4, a_pinned_task_stays_where_it_was_made)
{
    for (unsigned i = 0; i < 4; i++)
        do_on_worker(i, spawn_pinned, NULL);
}

static int stay_where_started(void *arg, void **result)
{
    (void)arg, (void)result;
    stay(coil_worker_number());
    return 0;
}

WORKERS_TEST(4, a_task_that_may_be_stolen_at_its_start_stays_after_its_first_step)
{
    coil_task *tasks[64];
    coil_task_options o = {.size = sizeof o, .migration = COIL_STEAL_START};
    for (unsigned i = 0; i < 64; i++)
        OK(coil_create_task_with(coil_coro_of(stay_where_started, NULL), &o, &tasks[i]));
    for (unsigned i = 0; i < 64; i++)
        OK(coil_join(tasks[i], NULL));
}

static int pin_and_stay(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 5; i++) {
        coil_pin();
        unsigned number = coil_worker_number();
        coil_pin();
        stay(number);
        coil_unpin();
        stay(number);
        coil_unpin();
        OK(coil_sleep(0));
    }
    return 0;
}

WORKERS_TEST(4, a_task_stays_between_pin_and_unpin)
{
    coil_task *tasks[32];
    for (unsigned i = 0; i < 32; i++)
        tasks[i] = spawn(coil_coro_of(pin_and_stay, NULL));
    for (unsigned i = 0; i < 32; i++)
        OK(coil_join(tasks[i], NULL));
}

static int nothing(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

static int yield_often(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 10; i++)
        COIL_TRY(coil_sleep(0));
    return 0;
}

WORKERS_TEST(2, only_pinned_tasks_choose_a_worker_and_only_one_that_there_is)
{
    coil_task_options o = {.size = sizeof o, .worker = 1};
    RAISES(-EINVAL, "only a pinned task belongs to a chosen worker",
           coil_create_task_with(coil_coro_of(nothing, NULL), &o, NULL));
    o = (coil_task_options){.size = sizeof o, .migration = COIL_PINNED, .worker = 3};
    RAISES(-EINVAL, "there is no worker number 2", coil_create_task_with(coil_coro_of(nothing, NULL), &o, NULL));
}

/* Holds its worker until the task that it has made runs elsewhere. */
static int be_stolen(void *arg, void **result)
{
    (void)result;
    atomic_store((atomic_int *)arg, 1 + (int)coil_worker_number());
    return 0;
}

static void a_busy_worker_loses(enum coil_migration migration)
{
    atomic_int where = 0;
    coil_task *task;
    coil_task_options o = {.size = sizeof o, .migration = migration};
    unsigned here = coil_worker_number();
    OK(coil_create_task_with(coil_coro_of(be_stolen, &where), &o, &task));
    while (atomic_load(&where) == 0) {
    }
    ck_assert_uint_ne((unsigned)atomic_load(&where) - 1, here);
    OK(coil_join(task, NULL));
}

WORKERS_TEST(2, a_new_task_is_stolen_from_a_worker_that_computes)
{
    for (int i = 0; i < 100; i++) {
        a_busy_worker_loses(COIL_STEAL_ANY);
        a_busy_worker_loses(COIL_STEAL_START);
    }
}

typedef struct waking {
    coil_future *future;
    atomic_int waits, woken;
} waking;

static int wait_for_future(void *arg, void **result)
{
    (void)result;
    waking *w = arg;
    atomic_store(&w->waits, 1);
    OK(coil_await(w->future, NULL));
    atomic_store(&w->woken, 1);
    return 0;
}

static void wake_and_compute(void)
{
    for (int i = 0; i < 20; i++) {
        waking w = {0};
        OK(coil_create_future(&w.future));
        coil_task *task = spawn(coil_coro_of(wait_for_future, &w));
        until(&w.waits);
        OK(coil_sleep(0));
        OK(coil_future_set_result(w.future, NULL));
        while (atomic_load(&w.woken) == 0) {
        }
        OK(coil_join(task, NULL));
        coil_release(w.future);
    }
}

/* Its worker would take it next: only when that takes long the watchdog tells others. */
TEST(a_woken_task_is_stolen_from_a_worker_that_computes)
{
    coil_runtime_options o = workers_options(2);
    o.stall_ns = COIL_MS(40);
    run_with_workers(&o, wake_and_compute);
}

/* --- fairness --------------------------------------------------------------------------------------------------- */

typedef struct greed {
    coil_lock *lock;
    coil_event *set;
    coil_queue *queue;
    int (*call)(struct greed *g);
    atomic_int over;
} greed;

/* Calls that never have to wait. */
static int call_lock(greed *g)
{
    COIL_TRY(coil_lock_acquire(g->lock));
    return coil_lock_release(g->lock);
}

static int call_event(greed *g)
{
    return coil_event_wait(g->set);
}

static int call_queue(greed *g)
{
    void *item;
    COIL_TRY(coil_queue_put(g->queue, g));
    return coil_queue_get(g->queue, &item);
}

static int be_greedy(void *arg, void **result)
{
    (void)result;
    greed *g = arg;
    while (atomic_load(&g->over) == 0)
        OK(g->call(g));
    return 0;
}

static int end_greed(void *arg, void **result)
{
    (void)result;
    atomic_store(&((greed *)arg)->over, 1);
    return 0;
}

/* On one worker the second task runs only if the first one lets it. */
static void greed_ends(void)
{
    static int (*const calls[])(greed *) = {call_lock, call_event, call_queue};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        greed g = {.call = calls[i]};
        OK(coil_lock_new(&g.lock));
        OK(coil_event_new(&g.set));
        OK(coil_queue_new(0, &g.queue));
        coil_event_set(g.set);
        coil_task *greedy = spawn(coil_coro_of(be_greedy, &g)), *other = spawn(coil_coro_of(end_greed, &g));
        OK(coil_join(greedy, NULL));
        OK(coil_join(other, NULL));
        coil_queue_free(g.queue);
        coil_event_free(g.set);
        coil_lock_free(g.lock);
    }
}

TEST(a_task_that_never_has_to_wait_lets_others_run_when_its_budget_is_spent)
{
    run_on(1, 0, greed_ends);
    run_on(1, 1, greed_ends);
    run_on(1, 10000, greed_ends);
    run_on(2, 0, greed_ends);
}

static int yield_until_over(void *arg, void **result)
{
    (void)result;
    while (atomic_load((atomic_int *)arg) == 0)
        OK(coil_sleep(0));
    return 0;
}

static int set_flag(void *arg)
{
    atomic_store((atomic_int *)arg, 1);
    return 0;
}

static void callbacks_and_timers_get_their_turn(void)
{
    atomic_int soon = 0, later = 0;
    coil_loop *loop = coil_get_running_loop();
    coil_task *tasks[6];
    for (int i = 0; i < 6; i++)
        tasks[i] = spawn(coil_coro_of(yield_until_over, i % 2 ? &soon : &later));
    OK(coil_loop_call_later(loop, COIL_MS(2), set_flag, &later, NULL));
    OK(coil_loop_call_soon(loop, set_flag, &soon, NULL));
    for (int i = 0; i < 6; i++)
        OK(coil_join(tasks[i], NULL));
}

TEST(tasks_that_only_yield_do_not_keep_callbacks_and_timers_away)
{
    run_on(1, 0, callbacks_and_timers_get_their_turn);
    run_on(2, 0, callbacks_and_timers_get_their_turn);
}

/* --- timers, callbacks ------------------------------------------------------------------------------------------ */

static int sleep_precisely(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int ms = 1; ms <= 5; ms++) {
        int64_t start = now();
        OK(coil_sleep(COIL_MS(ms)));
        ck_assert_int_ge(now() - start, COIL_MS(ms));
        ck_assert_int_lt(now() - start, COIL_SECONDS(5)); /* on a very busy machine; a lost one would never come */
    }
    return 0;
}

WORKERS_TEST(4, timers_end_the_sleep_of_the_workers_that_armed_them)
{
    coil_task *tasks[4];
    for (unsigned i = 0; i < 4; i++)
        tasks[i] = on_worker(i, sleep_precisely, NULL);
    for (unsigned i = 0; i < 4; i++)
        OK(coil_join(tasks[i], NULL));
}

typedef struct call {
    unsigned worker;
    coil_future *done;
    coil_handle *handle;
    atomic_int armed;
} call;

static int called(void *arg)
{
    call *c = arg;
    ck_assert_uint_eq(coil_worker_number(), c->worker);
    ck_assert_ptr_null(coil_current_task());
    return coil_future_set_result(c->done, NULL);
}

static int call_from_here(void *arg, void **result)
{
    (void)result;
    call *c = arg;
    coil_loop *loop = coil_get_running_loop();
    for (int way = 0; way < 3; way++) {
        OK(coil_create_future(&c->done));
        if (way == 0)
            OK(coil_loop_call_soon(loop, called, c, NULL));
        else if (way == 1)
            OK(coil_loop_call_later(loop, COIL_MS(1), called, c, NULL));
        else
            OK(coil_loop_call_soon_threadsafe(loop, called, c, NULL));
        OK(coil_join(c->done, NULL));
    }
    return 0;
}

WORKERS_TEST(4, callbacks_run_on_the_worker_that_asked_for_them)
{
    for (unsigned i = 0; i < 4; i++) {
        call c = {.worker = i};
        do_on_worker(i, call_from_here, &c);
    }
}

static int never_called(void *arg)
{
    (void)arg;
    ck_abort_msg("a cancelled callback has run");
    return 0;
}

static int arm(void *arg, void **result)
{
    (void)result;
    call *c = arg;
    OK(coil_loop_call_later(coil_get_running_loop(), COIL_SECONDS(1), never_called, c, &c->handle));
    return 0;
}

static int cancel_handle(void *arg, void **result)
{
    (void)result;
    call *c = arg;
    coil_handle_cancel(c->handle);
    ck_assert(coil_handle_cancelled(c->handle));
    coil_handle_cancel(c->handle);
    coil_handle_release(c->handle);
    return 0;
}

static void timers_are_cancelled_from_other_workers(void)
{
    for (unsigned i = 0; i < 9; i++) {
        call c = {.worker = i};
        do_on_worker(i % 3, arm, &c);
        do_on_worker(i / 3, cancel_handle, &c);
    }
    OK(coil_sleep(COIL_SECONDS(2)));
}

/* Its time does not come before somebody has got round to cancelling it: the clock stands still while workers work. */
TEST(a_timer_is_cancelled_from_another_worker)
{
    coil_runtime_options o = workers_options(3);
    o.loop.clock = &test_clock.clock;
    coil_virtual_clock_init(&test_clock);
    run_with_workers(&o, timers_are_cancelled_from_other_workers);
    ck_assert_int_eq(now_ms(), 2000);
}

static int sleep_for_an_hour(void *arg, void **result)
{
    (void)arg, (void)result;
    int64_t start = coil_loop_time(coil_get_running_loop());
    for (int i = 0; i < 10; i++)
        OK(coil_sleep(COIL_SECONDS(360)));
    ck_assert_int_ge(coil_loop_time(coil_get_running_loop()) - start, COIL_SECONDS(3600));
    return 0;
}

static int sleep_on_all_workers(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_task *tasks[8];
    for (unsigned i = 0; i < 8; i++)
        tasks[i] = on_worker(i % coil_worker_count(), sleep_for_an_hour, NULL);
    for (unsigned i = 0; i < 8; i++)
        OK(coil_join(tasks[i], NULL));
    return 0;
}

TEST(a_virtual_clock_jumps_when_all_workers_sleep)
{
    for (unsigned workers = 1; workers <= 4; workers++) {
        coil_virtual_clock_init(&test_clock);
        coil_runtime_options o = {.size = sizeof o, .workers = workers};
        o.loop = (coil_loop_options){.size = sizeof o.loop, .clock = &test_clock.clock};
        OK(coil_runtime_run(&o, coil_coro_of(sleep_on_all_workers, NULL), NULL));
    }
}

/* --- other threads ---------------------------------------------------------------------------------------------- */

typedef struct visitor {
    pthread_t thread;
    coil_loop *loop;
    coil_task *task;
    coil_future *done;
    atomic_int calls;
} visitor;

static void start_visitor(visitor *v, void *(*fn)(void *))
{
    v->loop = coil_get_running_loop();
    ck_assert_int_eq(pthread_create(&v->thread, NULL, fn, v), 0);
}

enum { CALLS = 1000 };

static int count_call(void *arg)
{
    visitor *v = arg;
    return atomic_fetch_add(&v->calls, 1) + 1 == CALLS ? coil_future_set_result(v->done, NULL) : 0;
}

static void *call_often(void *arg)
{
    visitor *v = arg;
    for (int i = 0; i < CALLS; i++)
        OK(coil_loop_call_soon_threadsafe(v->loop, count_call, v, NULL));
    return NULL;
}

static void calls_of_another_thread_arrive(void)
{
    visitor v = {0};
    OK(coil_create_future(&v.done));
    start_visitor(&v, call_often);
    OK(coil_join(v.done, NULL));
    pthread_join(v.thread, NULL);
    ck_assert_int_eq(atomic_load(&v.calls), CALLS);
}

TEST(calls_of_another_thread_all_arrive)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        run_on(workers, 0, calls_of_another_thread_arrive);
}

static int double_it(void *arg, void **result)
{
    COIL_TRY(coil_sleep(COIL_US(10)));
    *result = (void *)(2 * (intptr_t)arg);
    return (intptr_t)arg % 7 == 0 ? coil_raise(COIL_EUSER(7), "seven") : 0;
}

static void *ask_often(void *arg)
{
    visitor *v = arg;
    for (intptr_t i = 1; i < 100; i++) {
        coil_thread_future *f;
        void *result = NULL;
        OK(coil_run_coroutine_threadsafe(coil_coro_of(double_it, (void *)i), v->loop, &f));
        int rc = coil_thread_future_wait(f, COIL_FOREVER, &result);
        if (i % 7 == 0)
            RAISES(COIL_EUSER(7), "seven", rc);
        else
            ck_assert_ptr_eq(result, (void *)(2 * i));
        coil_thread_future_release(f);
    }
    OK(coil_loop_call_soon_threadsafe(v->loop, count_call, v, NULL));
    return NULL;
}

static void results_reach_another_thread(void)
{
    visitor v = {.calls = CALLS - 1};
    OK(coil_create_future(&v.done));
    start_visitor(&v, ask_often);
    OK(coil_join(v.done, NULL));
    pthread_join(v.thread, NULL);
}

TEST(another_thread_gets_the_results_of_coroutines)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        run_on(workers, 0, results_reach_another_thread);
}

static void *cancel_task(void *arg)
{
    visitor *v = arg;
    ck_assert(coil_task_cancel(v->task, "from afar"));
    return NULL;
}

static int sleep_for_ever(void *arg, void **result)
{
    (void)result;
    atomic_store((atomic_int *)arg, 1);
    return coil_sleep(COIL_SECONDS(100000));
}

WORKERS_TEST(3, another_thread_cancels_a_task)
{
    for (unsigned i = 0; i < 30; i++) {
        atomic_int sleeps = 0;
        visitor v = {.task = on_worker(i % 3, sleep_for_ever, &sleeps)};
        if (i % 2)
            until(&sleeps);
        start_visitor(&v, cancel_task);
        RAISES(-ECANCELED, "from afar", coil_await(v.task, NULL));
        pthread_join(v.thread, NULL);
        coil_release(v.task);
    }
}

/* --- between workers -------------------------------------------------------------------------------------------- */

static int cancel_from_here(void *arg, void **result)
{
    (void)result;
    ck_assert(coil_task_cancel(arg, NULL));
    return 0;
}

WORKERS_TEST(3, a_task_is_cancelled_from_another_worker)
{
    for (unsigned i = 0; i < 9; i++) {
        atomic_int sleeps = 0;
        coil_task *task = on_worker(i % 3, sleep_for_ever, &sleeps);
        until(&sleeps);
        do_on_worker(i / 3, cancel_from_here, task);
        RAISES(-ECANCELED, "", coil_join(task, NULL));
    }
}

static int pass_on(void *arg, void **result)
{
    waking *w = arg;
    void *value;
    OK(coil_await(w->future, &value));
    *result = (void *)((intptr_t)value + 1);
    return 0;
}

WORKERS_TEST(4, results_travel_along_a_chain_of_tasks_on_all_workers)
{
    enum { LENGTH = 100 };
    waking links[LENGTH];
    coil_future *first;
    void *value;
    OK(coil_create_future(&first));
    links[0].future = first;
    for (unsigned i = 0; i < LENGTH; i++) {
        coil_task *task = on_worker(i % 4, pass_on, &links[i]);
        if (i + 1 < LENGTH)
            links[i + 1].future = task;
        else
            OK(coil_future_set_result(first, NULL));
        if (i + 1 == LENGTH) {
            OK(coil_join(task, &value));
            ck_assert_int_eq((intptr_t)value, LENGTH);
        }
    }
    for (unsigned i = 0; i < LENGTH; i++)
        coil_release(links[i].future);
}

static int sum(void *arg, void **result)
{
    intptr_t depth = (intptr_t)arg;
    void *left, *right;
    if (depth == 0) {
        *result = (void *)1;
        return 0;
    }
    coil_task *l = spawn(coil_coro_of(sum, (void *)(depth - 1))), *r = spawn(coil_coro_of(sum, (void *)(depth - 1)));
    OK(coil_join(l, &left));
    OK(coil_join(r, &right));
    *result = (void *)((intptr_t)left + (intptr_t)right);
    return 0;
}

static void a_tree_of_tasks_is_counted(void)
{
    void *total;
    OK(coil_join(spawn(coil_coro_of(sum, (void *)10)), &total));
    ck_assert_int_eq((intptr_t)total, 1024);
}

TEST(a_tree_of_tasks_ends_on_any_number_of_workers)
{
    for (unsigned workers = 1; workers <= 8; workers++)
        run_on(workers, 0, a_tree_of_tasks_is_counted);
}

WORKERS_TEST(2, more_tasks_than_the_queues_hold_all_run)
{
    enum { MANY = 5000 };
    static coil_task *tasks[MANY];
    for (int i = 0; i < MANY; i++)
        tasks[i] = spawn(coil_coro_of(i % 2 ? yield_often : nothing, NULL));
    for (int i = 0; i < MANY; i++)
        coil_task_cancel(tasks[i], NULL);
    for (int i = 0; i < MANY; i++) {
        int rc = coil_join(tasks[i], NULL);
        ck_assert(rc == 0 || rc == -ECANCELED);
        coil_error_release(coil_catch(rc));
    }
}

COIL_TEST_MAIN("runtime_tasks")
