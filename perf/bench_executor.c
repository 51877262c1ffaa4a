/*
 * bench_executor.c - W5: what does it cost to have an empty job done elsewhere?
 *
 * W5.pool_1: 20,000 empty jobs, one after the other, through a pool of four threads and back to the loop; W5.pool_64:
 * 200,000 with 64 outstanding. W5.process_1 and W5.process_64: a tenth of that through a pool of four processes, with
 * eight bytes each way. A job is a hand-over to another thread (or a thread and a process) and back, so what is
 * measured is waking; `taskset -c 0` tells what it costs without the way to another core.
 *
 * I1 64 tasks, each of which has one job outstanding, take their jobs from `left`, an atomic: on a runtime they are on
 *    several workers
 */
#include "bench.h"

#include <stdatomic.h>
#include <string.h>

enum { POOL = 4 };

typedef struct rounds {
    coil_executor *pool;
    bool processes;
    unsigned outstanding;
    uint64_t jobs;
    _Atomic int64_t left; /* I1 */
} rounds;

/* --- jobs -------------------------------------------------------------------------------------------------------- */

static int nothing(void *arg, void **result)
{
    *result = arg;
    return 0;
}

static int nothing_elsewhere(const void *data, size_t n, coil_process_output *output)
{
    return coil_process_output_write(output, data, n);
}

void bench_executor_register(void)
{
    coil_process_register("nothing", nothing_elsewhere);
}

/* --- in the task ------------------------------------------------------------------------------------------------- */

static int thread_job(const rounds *r)
{
    coil_future *future;
    COIL_TRY(coil_loop_run_in_executor(coil_get_running_loop(), r->pool, nothing, NULL, &future));
    return coil_join(future, NULL);
}

static int process_job(const rounds *r)
{
    uint64_t number = 0;
    coil_process_call call = {.size = sizeof call, .name = "nothing", .data = &number, .n = sizeof number};
    return coil_to_process(r->pool, &call, NULL);
}

static int submit_jobs(void *arg, void **result)
{
    rounds *r = arg;
    (void)result;
    while (atomic_fetch_sub(&r->left, 1) > 0)
        COIL_TRY(r->processes ? process_job(r) : thread_job(r));
    return 0;
}

static int round_of_jobs(void *state, bench_lap *laps)
{
    rounds *r = state;
    coil_coro coros[64];
    for (unsigned i = 0; i < r->outstanding; i++)
        coros[i] = coil_coro_of(submit_jobs, r);
    atomic_store(&r->left, (int64_t)r->jobs);
    bench_lap_start(&laps[0]);
    int rc = coil_gather_await(coros, r->outstanding, NULL);
    bench_lap_stop(&laps[0]);
    return rc;
}

/* --- workload ---------------------------------------------------------------------------------------------------- */

static int run_rounds(const bench_options *options, rounds *r, const char *name, unsigned outstanding, uint64_t jobs)
{
    r->outstanding = outstanding;
    r->jobs = bench_count(options, jobs);
    const bench_figure figure = {name, BENCH_PER_SECOND, r->jobs};
    return bench_repeat_in_task(options, &figure, 1, round_of_jobs, r);
}

static void end_pool(rounds *r)
{
    coil_executor_shutdown(r->pool, true);
    coil_executor_release(r->pool);
}

static int run_threads(const bench_options *options)
{
    rounds r = {0};
    COIL_TRY(coil_thread_pool_new(POOL, &r.pool));
    int rc = run_rounds(options, &r, "W5.pool_1", 1, 20000);
    if (rc == 0)
        rc = run_rounds(options, &r, "W5.pool_64", 64, 200000);
    end_pool(&r);
    return rc;
}

static int run_processes(const bench_options *options)
{
    rounds r = {.processes = true};
    coil_process_pool_options pool = {.size = sizeof pool, .workers_max = POOL};
    COIL_TRY(coil_process_pool_new(&pool, &r.pool));
    int rc = run_rounds(options, &r, "W5.process_1", 1, 2000);
    if (rc == 0)
        rc = run_rounds(options, &r, "W5.process_64", 64, 20000);
    end_pool(&r);
    return rc;
}

static int run(const bench_options *options)
{
    COIL_TRY(run_threads(options));
    return run_processes(options);
}

const bench_workload bench_executor = {"executor", "W5: empty jobs through pools of threads and processes", run};
