/*
 * workers.h - what tests on runtimes have in common: a test that is the main task of one, and tasks that stay on a
 * worker
 *
 *     WORKERS_TEST(4, a_sentence) { ... }    on a runtime of four workers, in real time; ends with as many open
 *                                            descriptors as it began with
 */
#ifndef COIL_TEST_WORKERS_H
#define COIL_TEST_WORKERS_H

#include "coil_test.h"
#include "descriptors.h"

#define WORKERS_TEST(count, name)                     \
    static void name##_task(void);                    \
    TEST(name)                                        \
    {                                                 \
        int before = open_descriptors();              \
        run_on_workers(count, name##_task);           \
        ck_assert_int_eq(open_descriptors(), before); \
    }                                                 \
    static void name##_task(void)

/* A busy machine is no stall of a test's. */
static inline void ignore_stall(coil_loop *loop, const char *what, int64_t duration_ns, void *arg)
{
    (void)loop, (void)what, (void)duration_ns, (void)arg;
}

static inline coil_runtime_options workers_options(unsigned count)
{
    return (coil_runtime_options){
        .size = sizeof(coil_runtime_options),
        .workers = count,
        .loop = {.size = sizeof(coil_loop_options),
                 .default_exception_handler = keep_report,
                 .slow_callback_handler = ignore_stall},
    };
}

static COIL_TEST_UNUSED void run_with_workers(const coil_runtime_options *options, void (*fn)(void))
{
    struct test_body body = {fn};
    OK(coil_runtime_run(options, coil_coro_of(run_test_body, &body), NULL));
}

static COIL_TEST_UNUSED void run_on_workers(unsigned count, void (*fn)(void))
{
    coil_runtime_options options = workers_options(count);
    run_with_workers(&options, fn);
}

/* A task that stays on that worker; the first has the number 0. */
static COIL_TEST_UNUSED coil_task *on_worker(unsigned number, coil_coro_fn *fn, void *arg)
{
    coil_task *task;
    coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED, .worker = number + 1};
    OK(coil_create_task_with(coil_coro_of(fn, arg), &o, &task));
    return task;
}

/* Runs @fn on that worker, to its end. */
static COIL_TEST_UNUSED void do_on_worker(unsigned number, coil_coro_fn *fn, void *arg)
{
    OK(coil_join(on_worker(number, fn, arg), NULL));
}

#endif
