/*
 * test_across_workers.c - generators, contexts, executors, run_coroutine_threadsafe between a runtime's workers
 *
 * Tasks are pinned to workers, and wait for each other by events, so that each test has one course only.
 */
#include <pthread.h>

#include "jobs.h"
#include "workers.h"

enum { WORKERS = 3 };

/* Runs @fn on that worker, to its end; gives what it returns. */
static intptr_t ask_worker(unsigned number, coil_coro_fn *fn, void *arg)
{
    void *result = NULL;
    OK(coil_join(on_worker(number, fn, arg), &result));
    return (intptr_t)result;
}

static coil_event *new_event(void)
{
    coil_event *event;
    OK(coil_event_new(&event));
    return event;
}

/* --- generators -------------------------------------------------------------------------------------------------- */

/* Yields the number of the worker that it runs on. */
static int where(coil_agen *g, void *arg)
{
    (void)arg;
    for (;;)
        COIL_TRY(coil_agen_yield(g, (void *)(uintptr_t)coil_worker_number(), NULL));
}

static coil_agen *new_agen(coil_agen_fn *fn, void *arg)
{
    coil_agen *g;
    OK(coil_agen_new(fn, arg, NULL, "generator", &g));
    return g;
}

static int next_value(void *g, void **result)
{
    return coil_agen_next(g, result);
}

WORKERS_TEST(WORKERS, agen_goes_on_on_whichever_worker_asks)
{
    coil_agen *g = new_agen(where, NULL);
    for (unsigned i = 0; i < 4 * WORKERS; i++)
        ck_assert_int_eq(ask_worker(i % WORKERS, next_value, g), i % WORKERS);
    OK(coil_agen_close(g));
    coil_agen_release(g);
}

typedef struct meeting {
    coil_event *inside, *go_on;
    _Atomic int ended;
} meeting;

static meeting new_meeting(void)
{
    return (meeting){.inside = new_event(), .go_on = new_event()};
}

static void end_meeting(meeting *m)
{
    coil_event_free(m->inside);
    coil_event_free(m->go_on);
}

static int wait_inside(meeting *m)
{
    coil_event_set(m->inside);
    return coil_event_wait(m->go_on);
}

static int awaits_at_once(coil_agen *g, void *m)
{
    COIL_TRY(wait_inside(m));
    return coil_agen_yield(g, (void *)7, NULL);
}

WORKERS_TEST(WORKERS, agen_is_busy_while_another_worker_runs_it)
{
    void *value = NULL;
    meeting m = new_meeting();
    coil_agen *g = new_agen(awaits_at_once, &m);
    coil_task *asking = on_worker(1, next_value, g);
    OK(coil_event_wait(m.inside));
    ck_assert(!coil_agen_suspended(g));
    RAISES(COIL_EBUSY, "anext(): asynchronous generator is already running", coil_agen_next(g, &value));
    RAISES(COIL_EBUSY, "aclose(): asynchronous generator is already running", coil_agen_close(g));
    coil_event_set(m.go_on);
    OK(coil_join(asking, &value));
    ck_assert_int_eq((intptr_t)value, 7);
    RAISES(COIL_ESTOPITERATION, "", coil_agen_next(g, &value));
    coil_agen_release(g);
    end_meeting(&m);
}

/* Tells when it is closed, and where. */
static int tells(coil_agen *g, void *m)
{
    int rc = coil_agen_yield(g, (void *)1, NULL);
    atomic_store(&((meeting *)m)->ended, rc);
    coil_event_set(((meeting *)m)->go_on);
    return rc;
}

static int release_it(void *g, void **result)
{
    (void)result;
    coil_agen_release(g);
    return 0;
}

WORKERS_TEST(WORKERS, agen_released_on_another_worker_is_closed)
{
    meeting m = new_meeting();
    coil_agen *g = new_agen(tells, &m);
    ask_worker(1, next_value, g);
    ask_worker(2, release_it, g);
    OK(coil_event_wait(m.go_on));
    ck_assert_int_eq(atomic_load(&m.ended), COIL_EGENERATOREXIT);
    end_meeting(&m);
}

static _Atomic int closed_agens;

static int counts_its_end(coil_agen *g, void *arg)
{
    (void)arg;
    int rc = coil_agen_yield(g, (void *)1, NULL);
    coil_error *e = coil_catch(rc);
    OK(coil_sleep(0));
    atomic_fetch_add(&closed_agens, 1);
    return coil_raise_error(e);
}

static coil_agen *left[WORKERS * 4];

typedef struct self_wait {
    coil_event *tried, *end;
} self_wait;

/* Again and again: on a loop of its own only the first call says that. */
static int awaits_itself(void *arg, void **result)
{
    self_wait *w = arg;
    (void)result;
    for (int i = 0; i < 3; i++)
        RAISES(COIL_ERUNTIME, "Task cannot await on itself", coil_await(coil_current_task(), NULL));
    coil_event_set(w->tried);
    return coil_event_wait(w->end);
}

static int set_event(void *arg, void **result)
{
    (void)result;
    coil_event_set(arg);
    return 0;
}

WORKERS_TEST(WORKERS, a_task_that_awaited_itself_can_be_awaited_all_the_same)
{
    self_wait w = {new_event(), new_event()};
    coil_task *task = spawn(coil_coro_of(awaits_itself, &w));
    OK(coil_event_wait(w.tried));
    coil_pin();
    coil_task *setter = on_worker((unsigned)coil_worker_number(), set_event, w.end); /* when this task waits */
    OK(coil_join(task, NULL));
    OK(coil_join(setter, NULL));
    coil_unpin();
    coil_event_free(w.tried);
    coil_event_free(w.end);
}

WORKERS_TEST(WORKERS, agens_of_all_workers_are_closed_together)
{
    atomic_store(&closed_agens, 0);
    for (unsigned i = 0; i < WORKERS * 4; i++) {
        left[i] = new_agen(counts_its_end, NULL);
        ask_worker(i % WORKERS, next_value, left[i]);
    }
    OK(coil_loop_shutdown_asyncgens(coil_get_running_loop()));
    ck_assert_int_eq(closed_agens, WORKERS * 4);
    for (unsigned i = 0; i < WORKERS * 4; i++) {
        ck_assert(coil_agen_finished(left[i]));
        coil_agen_release(left[i]);
    }
}

static int leave_agens(void *arg, void **result)
{
    (void)arg;
    (void)result;
    for (unsigned i = 0; i < WORKERS * 4; i++) {
        left[i] = new_agen(counts_its_end, NULL);
        ask_worker(i % WORKERS, next_value, left[i]);
    }
    return 0;
}

TEST(agens_that_are_left_are_closed_with_the_runtime)
{
    coil_runtime_options o = {.size = sizeof o, .workers = WORKERS};
    atomic_store(&closed_agens, 0);
    OK(coil_runtime_run(&o, coil_coro_of(leave_agens, NULL), NULL));
    ck_assert_int_eq(closed_agens, WORKERS * 4);
    for (unsigned i = 0; i < WORKERS * 4; i++)
        coil_agen_release(left[i]);
}

/* --- contexts ---------------------------------------------------------------------------------------------------- */

static coil_contextvar *variable;

static int set_variable(void *value, void **result)
{
    (void)result;
    OK(coil_contextvar_set(variable, value, NULL));
    return 0;
}

static int look(void *value)
{
    return coil_contextvar_get(variable, value);
}

WORKERS_TEST(WORKERS, context_shared_by_tasks_of_two_workers_shows_what_either_sets)
{
    coil_context *context;
    coil_task *task;
    void *value = NULL;
    OK(coil_contextvar_new("variable", NULL, &variable));
    OK(coil_copy_context(&context));
    for (unsigned i = 0; i < WORKERS; i++) {
        coil_task_options o = {
            .size = sizeof o, .context = context, .migration = COIL_PINNED, .worker = i + 1};
        OK(coil_create_task_with(coil_coro_of(set_variable, (void *)(uintptr_t)(i + 1)), &o, &task));
        OK(coil_join(task, NULL));
        OK(coil_context_run(context, look, &value));
        ck_assert_int_eq((intptr_t)value, (intptr_t)i + 1);
    }
    coil_context_release(context);
    RAISES(COIL_ELOOKUP, "variable", coil_contextvar_get(variable, &value));
    coil_contextvar_free(variable);
}

static int hold_context(void *m)
{
    return wait_inside(m);
}

typedef struct entering {
    coil_context *context;
    meeting m;
} entering;

static int enter(void *arg, void **result)
{
    (void)result;
    entering *e = arg;
    return coil_context_run(e->context, hold_context, &e->m);
}

WORKERS_TEST(WORKERS, context_entered_on_one_worker_cannot_be_entered_on_another)
{
    entering e = {.m = new_meeting()};
    OK(coil_copy_context(&e.context));
    coil_task *inside = on_worker(1, enter, &e);
    OK(coil_event_wait(e.m.inside));
    RAISES(COIL_ERUNTIME, "cannot enter context: already entered", coil_context_run(e.context, hold_context, &e.m));
    coil_event_set(e.m.go_on);
    OK(coil_join(inside, NULL));
    OK(coil_context_run(e.context, hold_context, &e.m));
    coil_context_release(e.context);
    end_meeting(&e.m);
}

/* --- executors --------------------------------------------------------------------------------------------------- */

static int note_worker(coil_future *f, void *number)
{
    (void)f;
    *(int *)number = (int)coil_worker_number();
    return 0;
}

/* Gives the number of the worker on which its job came back. */
static int submit_from_here(void *executor, void **result)
{
    int number = -1;
    coil_future *f = submit_to(executor, answer, NULL);
    OK(coil_future_add_done_callback(f, note_worker, &number));
    OK(coil_await(f, NULL));
    while (number < 0)
        OK(coil_sleep(0));
    coil_release(f);
    *result = (void *)(intptr_t)number;
    return 0;
}

WORKERS_TEST(WORKERS, job_comes_back_to_the_worker_that_submitted_it)
{
    for (unsigned i = 0; i < 3 * WORKERS; i++)
        ck_assert_int_eq(ask_worker(i % WORKERS, submit_from_here, NULL), i % WORKERS);
}

static int cancel_it(void *f, void **result)
{
    (void)result;
    ck_assert(coil_future_cancel(f, NULL));
    return 0;
}

static int next_turn(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return coil_sleep(0);
}

WORKERS_TEST(WORKERS, job_cancelled_by_another_worker_does_not_begin)
{
    gated g;
    coil_executor *pool;
    nothing_counted_yet();
    gated_init(&g);
    OK(coil_thread_pool_new(1, &pool));
    coil_future *first = submit_to(pool, wait_at_gate, &g), *second = submit_to(pool, answer, NULL);
    pass(&g.running);
    ask_worker(1, cancel_it, second);
    RAISES(-ECANCELED, "", coil_join(second, NULL));
    for (int i = 0; i < 10; i++)
        ask_worker(1, next_turn, NULL); /* the cancellation has got to the job */
    sem_post(&g.gate);
    OK(coil_await(first, NULL));
    coil_release(first);
    end_pool(pool);
    ck_assert_int_eq(runs, 1); /* the first */
}

/* --- coroutines for other threads -------------------------------------------------------------------------------- */

static _Atomic int seen;

static int wait_for_ever(void *m, void **result)
{
    (void)result;
    int rc = wait_inside(m);
    atomic_store(&seen, rc);
    return rc;
}

typedef struct caller {
    meeting m;
    coil_loop *loop;
    sem_t inside;
    bool cancelled;
    int rc;
} caller;

static void *call_and_cancel(void *arg)
{
    caller *c = arg;
    coil_thread_future *f;
    OK(coil_run_coroutine_threadsafe(coil_coro_of(wait_for_ever, &c->m), c->loop, &f));
    pass(&c->inside);
    c->cancelled = coil_thread_future_cancel(f);
    c->rc = coil_thread_future_wait(f, COIL_FOREVER, NULL);
    coil_error_release(coil_catch(c->rc));
    coil_thread_future_release(f);
    return NULL;
}

WORKERS_TEST(WORKERS, thread_cancels_its_coroutine_wherever_that_runs)
{
    pthread_t thread;
    caller c = {.m = new_meeting(), .loop = coil_get_running_loop()};
    sem_init(&c.inside, 0, 0);
    atomic_store(&seen, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, call_and_cancel, &c), 0);
    OK(coil_event_wait(c.m.inside));
    sem_post(&c.inside);
    while (atomic_load(&seen) == 0)
        OK(coil_sleep(0));
    pthread_join(thread, NULL);
    ck_assert(c.cancelled);
    ck_assert_int_eq(c.rc, -ECANCELED);
    ck_assert_int_eq(seen, -ECANCELED);
    end_meeting(&c.m);
}

COIL_TEST_MAIN("across_workers")
