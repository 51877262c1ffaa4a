/*
 * jobs.h - jobs for the tests of executors: they count, and wait at gates (semaphores) that the tests open, so that
 * nothing depends on time
 */
#ifndef COIL_TEST_JOBS_H
#define COIL_TEST_JOBS_H

#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "coil_test.h"

static _Atomic int drops, runs;

static COIL_TEST_UNUSED void nothing_counted_yet(void)
{
    runs = drops = 0;
}

static void count_drop(void *value)
{
    ck_assert_ptr_nonnull(value);
    atomic_fetch_add(&drops, 1);
}

static COIL_TEST_UNUSED int answer(void *arg, void **result)
{
    atomic_fetch_add(&runs, 1);
    *result = arg;
    return 0;
}

/* Its result is to be dropped. */
static COIL_TEST_UNUSED int owned_answer(void *arg, void **result)
{
    coil_job_set_result_drop(count_drop);
    return answer(arg, result);
}

static COIL_TEST_UNUSED void pass(sem_t *gate)
{
    while (sem_wait(gate) != 0)
        ;
}

/* A job that tells when it runs, and then waits. */
typedef struct gated {
    sem_t running, gate;
    int rc;
} gated;

static COIL_TEST_UNUSED void gated_init(gated *g)
{
    sem_init(&g->running, 0, 0);
    sem_init(&g->gate, 0, 0);
    g->rc = 0;
}

static COIL_TEST_UNUSED int wait_at_gate(void *arg, void **result)
{
    gated *g = arg;
    coil_job_set_result_drop(count_drop);
    sem_post(&g->running);
    pass(&g->gate);
    atomic_fetch_add(&runs, 1);
    *result = g;
    return g->rc < 0 ? coil_raise(g->rc, "after the gate") : 0;
}

static COIL_TEST_UNUSED coil_loop *this_loop(void)
{
    return coil_get_running_loop();
}

static COIL_TEST_UNUSED coil_future *submit_to(coil_executor *executor, coil_job_fn *fn, void *arg)
{
    coil_future *future;
    OK(coil_loop_run_in_executor(this_loop(), executor, fn, arg, &future));
    return future;
}

/* Waits for the pool's threads, so that none is left when the test's process ends right after. */
static inline void end_pool(coil_executor *pool)
{
    coil_executor_shutdown(pool, true);
    coil_executor_release(pool);
}

#endif
