/*
 * bench_sleepers.c - W6: a million tasks sleep a random 0..1 s; how long until the last has ended?
 *
 * From the first task made until the last has ended: W6.expire_wall is elapsed time, W6.expire_cpu what the process
 * used. Each task that sleeps needs its stack, so this takes some gigabytes, and the figure is the
 * page faults' as much as the timers'. The sleeps are splitmix64's with seed 1, in microseconds.
 */
#include "bench.h"

#include <time.h>

typedef struct sleepers {
    uint64_t n, left;
    coil_future *all_ended; /* borrowed from round_of_sleepers() */
} sleepers;

typedef struct sleeper {
    sleepers *all;
    int64_t delay_ns;
} sleeper;

static int sleep_once(void *arg, void **result)
{
    (void)result;
    const sleeper *s = arg;
    COIL_TRY(coil_sleep(s->delay_ns));
    if (--s->all->left == 0)
        return coil_future_set_result(s->all->all_ended, NULL);
    return 0;
}

static int start_all(sleepers *all)
{
    uint64_t random = 1;
    for (uint64_t i = 0; i < all->n; i++) {
        sleeper s = {.all = all, .delay_ns = COIL_US(bench_random(&random) % 1000000)};
        COIL_TRY(coil_create_task(coil_coro_copy(sleep_once, &s, sizeof s), NULL));
    }
    return 0;
}

static int64_t process_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int round_of_sleepers(void *state, bench_lap *laps)
{
    sleepers all = {.n = *(const uint64_t *)state, .left = *(const uint64_t *)state};
    COIL_TRY(coil_create_future(&all.all_ended));
    bench_lap_start(&laps[0]);
    int64_t cpu = process_cpu_ns();
    COIL_TRY(start_all(&all));
    COIL_TRY(coil_join(all.all_ended, NULL));
    laps[1].elapsed_ns = process_cpu_ns() - cpu;
    bench_lap_stop(&laps[0]);
    laps[1].allocations = laps[0].allocations;
    return coil_sleep(0); /* the last task is not over before its step has ended */
}

static int run(const bench_options *options)
{
    uint64_t n = bench_count(options, 1000000);
    const bench_figure figures[] = {{"W6.expire_wall", BENCH_SECONDS, n}, {"W6.expire_cpu", BENCH_SECONDS, n}};
    return bench_repeat_in_task(options, figures, 2, round_of_sleepers, &n);
}

const bench_workload bench_sleepers = {"sleepers", "W6: a million tasks sleep at most a second (takes gigabytes)", run};
