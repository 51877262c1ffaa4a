/*
 * bench_spawn_join.c - W2: what do making a task and joining it cost?
 *
 * W2.spawn_one: one at a time. W2.spawn_batch1000: a thousand are made, then all of them are joined; their stacks and
 * objects are those of the batch before.
 */
#include "bench.h"

#define BATCH 1000

static int nothing(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return 0;
}

static int round_one_by_one(void *state, bench_lap *laps)
{
    uint64_t tasks = *(const uint64_t *)state;
    bench_lap_start(&laps[0]);
    for (uint64_t i = 0; i < tasks; i++) {
        coil_task *task;
        COIL_TRY(coil_create_task(coil_coro_of(nothing, NULL), &task));
        COIL_TRY(coil_join(task, NULL));
    }
    bench_lap_stop(&laps[0]);
    return 0;
}

static int batch(void)
{
    coil_task *tasks[BATCH];
    for (int i = 0; i < BATCH; i++)
        COIL_TRY(coil_create_task(coil_coro_of(nothing, NULL), &tasks[i]));
    for (int i = 0; i < BATCH; i++)
        COIL_TRY(coil_join(tasks[i], NULL));
    return 0;
}

static int round_of_batches(void *state, bench_lap *laps)
{
    uint64_t batches = *(const uint64_t *)state;
    bench_lap_start(&laps[0]);
    for (uint64_t i = 0; i < batches; i++)
        COIL_TRY(batch());
    bench_lap_stop(&laps[0]);
    return 0;
}

static int run(const bench_options *options)
{
    uint64_t tasks = bench_count(options, 1000000), batches = bench_count(options, 1000);
    const bench_figure one = {"W2.spawn_one", BENCH_NS, tasks};
    const bench_figure many = {"W2.spawn_batch1000", BENCH_NS, batches * BATCH};
    COIL_TRY(bench_repeat_in_task(options, &one, 1, round_one_by_one, &tasks));
    return bench_repeat_in_task(options, &many, 1, round_of_batches, &batches);
}

const bench_workload bench_spawn_join = {"spawn_join", "W2: make tasks that return at once, and join them", run};
