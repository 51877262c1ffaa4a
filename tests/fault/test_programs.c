/*
 * test_programs.c - memory that runs out: small programs in which the first, second, third, ... allocation fails
 *
 * Each program runs by coil_run_with() with its n-th allocation failing, for n = 1, 2, 3, ... until it needs fewer. It may
 * raise -ENOMEM or come through; it must not crash, hang, or leak (the sanitizer's and valgrind's business), and what it
 * drops it drops once.
 */
#include "coil_test.h"

#include "base/alloc.h"

enum { ALLOCATIONS_MAX = 2000 };

enum { VALUES_MAX = 200 };

static char values[VALUES_MAX]; /* 1: made and not dropped */
static int made, live;

static void *new_value(void)
{
    ck_assert_int_lt(made, VALUES_MAX);
    live++;
    values[made] = 1;
    return &values[made++];
}

static void drop_value(void *value)
{
    char *v = value;
    ck_assert(v >= values && v < values + VALUES_MAX);
    ck_assert_int_eq(*v, 1);
    *v = 0;
    live--;
}

/* Whether the failure is still to come: then it comes now. */
static bool failure_is_pending(void)
{
    for (int i = 0; i < ALLOCATIONS_MAX; i++) {
        void *p = coil__malloc(1);
        if (!p)
            return true;
        coil__free(p);
    }
    return false;
}

/* Reports are not the matter here: an error may get lost with the memory for it. */
static int ignore_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    (void)context;
    (void)arg;
    return 0;
}

static void run_program(coil_coro_fn *program, uint64_t n)
{
    coil_loop_options options = test_options();
    options.default_exception_handler = ignore_report;
    live = made = 0;
    coil__alloc_fail_at(n);
    int rc = coil_run_with(&options, coil_coro_owning(program, new_value(), drop_value), NULL);
    coil_error_release(coil_catch(rc));
}

static void fail_everywhere(coil_coro_fn *program)
{
    uint64_t n = 1;
    for (;; n++) {
        run_program(program, n);
        bool pending = failure_is_pending();
        coil__alloc_fail_at(0);
        ck_assert_msg(live == 0, "%d values left after allocation %lu failed", live, (unsigned long)n);
        if (pending)
            break;
        ck_assert_uint_lt(n, ALLOCATIONS_MAX);
    }
    ck_assert_uint_gt(n, 3);
}

/* The body owns its argument. */
#define PROGRAM(name)                                  \
    static int name##_program(void);                   \
    static int name(void *arg, void **result)          \
    {                                                  \
        (void)result;                                  \
        drop_value(arg);                               \
        return name##_program();                       \
    }                                                  \
    static int name##_program(void)

static int child(void *arg, void **result)
{
    coil_task_set_result_drop(coil_current_task(), drop_value);
    int rc = coil_sleep(COIL_MS(1));
    if (rc < 0) {
        drop_value(arg);
        return rc;
    }
    *result = arg;
    return 0;
}

static coil_coro child_coro(void)
{
    return coil_coro_owning(child, new_value(), drop_value);
}

static int failing_child(void *arg, void **result)
{
    (void)result;
    drop_value(arg);
    COIL_TRY(coil_sleep(0));
    return coil_raise(COIL_EUSER(1), "failed");
}

PROGRAM(tasks)
{
    coil_task *first, *second;
    COIL_TRY(coil_create_task(child_coro(), &first));
    int rc = coil_create_task(child_coro(), &second);
    if (rc == 0) {
        rc = coil_task_set_name(second, "second");
        coil_task_cancel(second, "with a message");
        coil_release(second);
    }
    coil_error *error = coil_catch(rc);
    rc = coil_join(first, NULL);
    coil_error_release(coil_catch(rc));
    return coil_raise_error(error);
}

TEST(tasks_without_memory)
{
    fail_everywhere(tasks);
}

PROGRAM(timers)
{
    COIL_TRY(coil_sleep(COIL_MS(1)));
    coil_task_cancel(coil_current_task(), "with a message");
    int rc = coil_sleep(COIL_MS(1));
    coil_task_uncancel(coil_current_task());
    return rc == -ECANCELED ? coil_sleep(0) : rc;
}

TEST(sleeping_without_memory)
{
    fail_everywhere(timers);
}

PROGRAM(gathering)
{
    coil_coro coros[20];
    void *results[20];
    for (int i = 0; i < 20; i++)
        coros[i] = child_coro();
    COIL_TRY(coil_gather_await(coros, 20, results));
    for (int i = 0; i < 20; i++)
        drop_value(results[i]);
    return 0;
}

TEST(gather_without_memory)
{
    fail_everywhere(gathering);
}

PROGRAM(waiting_for)
{
    void *value = NULL;
    int rc = coil_wait_for(child_coro(), COIL_MS(5), &value);
    if (value)
        drop_value(value);
    COIL_TRY(rc);
    rc = coil_wait_for(child_coro(), COIL_US(5), NULL);
    return rc == -ETIMEDOUT ? 0 : rc;
}

TEST(wait_for_without_memory)
{
    fail_everywhere(waiting_for);
}

PROGRAM(waiting)
{
    coil_task *tasks[2];
    COIL_TRY(coil_create_task(child_coro(), &tasks[0]));
    int rc = coil_create_task(child_coro(), &tasks[1]);
    if (rc == 0) {
        rc = coil_wait(tasks, 2, COIL_MS(5), COIL_ALL_COMPLETED, NULL);
        coil_release(tasks[1]);
    }
    coil_release(tasks[0]);
    return rc;
}

TEST(wait_without_memory)
{
    fail_everywhere(waiting);
}

PROGRAM(shielding)
{
    coil_future *outer;
    COIL_TRY(coil_shield(child_coro(), &outer));
    int rc = coil_await(outer, NULL);
    coil_release(outer);
    return rc;
}

TEST(shield_without_memory)
{
    fail_everywhere(shielding);
}

PROGRAM(completing)
{
    coil_awaitable aws[] = {COIL_AWAITABLE(child_coro()), COIL_AWAITABLE(child_coro())};
    coil_as_completed *it;
    coil_coro next;
    int rc;
    COIL_TRY(coil_as_completed_new(aws, 2, COIL_MS(5), &it));
    while ((rc = coil_as_completed_next(it, &next)) == 0) {
        void *value;
        rc = coil_coro_await(next, &value);
        if (rc < 0)
            break;
        drop_value(value);
    }
    coil_as_completed_release(it);
    return rc == COIL_ESTOPITERATION ? 0 : rc;
}

TEST(as_completed_without_memory)
{
    fail_everywhere(completing);
}

static int group_body(coil_group *group, void *fails)
{
    COIL_TRY(coil_group_create_task(group, child_coro(), NULL, NULL));
    if (fails)
        COIL_TRY(coil_group_create_task(group, coil_coro_owning(failing_child, new_value(), drop_value), NULL, NULL));
    return coil_group_create_task(group, child_coro(), NULL, NULL);
}

PROGRAM(grouping)
{
    return coil_group_run(group_body, NULL);
}

TEST(group_without_memory)
{
    fail_everywhere(grouping);
}

PROGRAM(grouping_errors)
{
    int rc = coil_group_run(group_body, "fails");
    return rc == COIL_EGROUP ? 0 : rc;
}

TEST(group_with_errors_without_memory)
{
    fail_everywhere(grouping_errors);
}

static int nap(void *arg, void **result)
{
    (void)result;
    drop_value(arg);
    return coil_sleep(COIL_MS(1));
}

PROGRAM(timing)
{
    COIL_TRY(coil_timeout_run(COIL_MS(5), coil_coro_owning(nap, new_value(), drop_value), NULL));
    int rc = coil_timeout_run(COIL_US(5), coil_coro_owning(nap, new_value(), drop_value), NULL);
    return rc == -ETIMEDOUT ? 0 : rc;
}

TEST(timeout_without_memory)
{
    fail_everywhere(timing);
}

static int put_many(void *queue, void **result)
{
    (void)result;
    for (int i = 0; i < 30; i++) {
        void *item = new_value();
        int rc = coil_queue_put(queue, item);
        if (rc < 0) {
            drop_value(item);
            return rc;
        }
    }
    return 0;
}

static int get_many(void *queue, void **result)
{
    (void)result;
    for (int i = 0; i < 20; i++) {
        void *item;
        COIL_TRY(coil_queue_get(queue, &item));
        drop_value(item);
        COIL_TRY(coil_queue_task_done(queue));
    }
    return 0;
}

static int use_queue(coil_group *group, void *queue)
{
    COIL_TRY(coil_group_create_task(group, coil_coro_of(put_many, queue), NULL, NULL));
    COIL_TRY(coil_group_create_task(group, coil_coro_of(get_many, queue), NULL, NULL));
    COIL_TRY(coil_group_create_task(group, coil_queue_put_coro(queue, new_value()), NULL, NULL));
    return 0;
}

static int with_queue(ssize_t items_max)
{
    coil_queue *queue;
    COIL_TRY(coil_queue_new(items_max, &queue));
    coil_queue_set_drop(queue, drop_value);
    int rc = coil_group_run(use_queue, queue);
    coil_queue_free(queue);
    return rc;
}

PROGRAM(queueing)
{
    return with_queue(0);
}

PROGRAM(queueing_bounded)
{
    return with_queue(12);
}

TEST(queue_without_memory)
{
    fail_everywhere(queueing);
}

TEST(queue_with_a_bound_without_memory)
{
    fail_everywhere(queueing_bounded);
}

static coil_condition *condition;
static coil_barrier *barrier;

static int wait_and_meet(void *arg, void **result)
{
    (void)arg;
    (void)result;
    COIL_TRY(coil_condition_acquire(condition));
    int rc = coil_condition_wait(condition);
    coil_error *error = coil_catch(rc);
    OK(coil_condition_release(condition));
    COIL_TRY(coil_raise_error(error));
    return coil_barrier_wait(barrier, NULL);
}

static int use_condition(coil_group *group, void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++)
        COIL_TRY(coil_group_create_task(group, coil_coro_of(wait_and_meet, NULL), NULL, NULL));
    COIL_TRY(coil_sleep(COIL_MS(1)));
    COIL_TRY(coil_condition_acquire(condition));
    OK(coil_condition_notify_all(condition));
    OK(coil_condition_release(condition));
    return coil_barrier_wait(barrier, NULL);
}

PROGRAM(synchronising)
{
    COIL_TRY(coil_condition_new(NULL, &condition));
    int rc = coil_barrier_new(3, &barrier);
    if (rc == 0) {
        rc = coil_group_run(use_condition, NULL);
        coil_barrier_free(barrier);
    }
    coil_condition_free(condition);
    return rc;
}

TEST(condition_and_barrier_without_memory)
{
    fail_everywhere(synchronising);
}

static int nothing(coil_future *future, void *arg)
{
    (void)future;
    (void)arg;
    return 0;
}

static int nothing_soon(void *arg)
{
    (void)arg;
    return 0;
}

PROGRAM(calling_back)
{
    coil_loop *loop = coil_get_running_loop();
    coil_future *future;
    coil_handle *handle;
    COIL_TRY(coil_loop_call_later(loop, COIL_MS(1), nothing_soon, NULL, &handle));
    coil_handle_cancel(handle);
    coil_handle_release(handle);
    COIL_TRY(coil_loop_call_soon(loop, nothing_soon, NULL, NULL));
    COIL_TRY(coil_loop_call_soon_threadsafe(loop, nothing_soon, NULL, NULL));
    COIL_TRY(coil_create_future(&future));
    int rc = coil_future_add_done_callback(future, nothing, NULL);
    OK(coil_future_set_result_owned(future, new_value(), drop_value));
    coil_release(future);
    return rc < 0 ? rc : coil_sleep(0);
}

TEST(callbacks_without_memory)
{
    fail_everywhere(calling_back);
}

static coil_contextvar *var;

static int look(void *arg, void **result)
{
    (void)arg;
    return coil_contextvar_get(var, result);
}

PROGRAM(using_context)
{
    void *value = new_value();
    int rc = coil_contextvar_set(var, value, NULL);
    if (rc < 0) {
        drop_value(value);
        return rc;
    }
    coil_task *task;
    COIL_TRY(coil_create_task(coil_coro_of(look, NULL), &task));
    return coil_join(task, NULL);
}

TEST(context_without_memory)
{
    OK(coil_contextvar_new("var", drop_value, &var));
    fail_everywhere(using_context);
    coil_contextvar_free(var);
}

/* Threads have allocations of their own; here the loop's fail. */
PROGRAM(running_threadsafe)
{
    coil_thread_future *future;
    COIL_TRY(coil_run_coroutine_threadsafe(child_coro(), coil_get_running_loop(), &future));
    int rc = coil_sleep(COIL_MS(5));
    coil_thread_future_release(future);
    return rc;
}

TEST(run_coroutine_threadsafe_without_memory)
{
    fail_everywhere(running_threadsafe);
}

COIL_TEST_MAIN("programs")
