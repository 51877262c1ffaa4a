/*
 * bench.c - laps, medians, and the lines that coil-bench prints
 *
 * Results go to stdout, one line each; progress and the spread (min - max) go to stderr. One thread.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct bench_run {
    const bench_options *options;
    const bench_figure *figures;
    size_t n;
    bench_round *round;
    void *state;
    char suffix[16]; /* of the figures' names: how many workers, "_2w"; empty on a plain loop */
} bench_run;

typedef struct bench_samples {
    double values[BENCH_REPETITIONS_MAX];
    uint64_t allocations; /* of the round that made most */
} bench_samples;

static const char *const unit_names[] = {
    [BENCH_NS] = "ns", [BENCH_PER_SECOND] = "ops/s", [BENCH_MS] = "ms", [BENCH_SECONDS] = "s"};

static int64_t monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void bench_lap_start(bench_lap *lap)
{
    lap->allocations_before = bench_allocations();
    lap->started_ns = monotonic_ns();
}

void bench_lap_stop(bench_lap *lap)
{
    lap->elapsed_ns = monotonic_ns() - lap->started_ns;
    lap->allocations = bench_allocations() - lap->allocations_before;
}

uint64_t bench_count(const bench_options *options, uint64_t count)
{
    uint64_t divided = count / options->divide;
    return divided > 0 ? divided : 1;
}

static double value_of(const bench_figure *figure, const bench_lap *lap)
{
    double operations = (double)figure->operations, elapsed = (double)lap->elapsed_ns;
    switch (figure->unit) {
    case BENCH_NS:
        return elapsed / operations;
    case BENCH_PER_SECOND:
        return operations * 1e9 / elapsed;
    case BENCH_MS:
        return elapsed / 1e6;
    case BENCH_SECONDS:
        return elapsed / 1e9;
    }
    return 0;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_figure(const bench_run *run, const bench_figure *figure, bench_samples *samples)
{
    unsigned n = run->options->repetitions;
    const char *unit = unit_names[figure->unit];
    int digits = figure->unit == BENCH_PER_SECOND ? 0 : 2;
    qsort(samples->values, n, sizeof samples->values[0], compare_doubles);
    printf("coil %s%s %.*f %s\n", figure->name, run->suffix, digits, samples->values[n / 2], unit);
    if (bench_allocations_counted())
        printf("coil %s%s.allocations %" PRIu64 " count\n", figure->name, run->suffix, samples->allocations);
    fflush(stdout);
    fprintf(stderr, "# %s: min %.*f, max %.*f %s, %u rounds of %" PRIu64 "\n", figure->name, digits,
            samples->values[0], digits, samples->values[n - 1], unit, n, figure->operations);
}

static int warm_up(const bench_run *run)
{
    bench_lap laps[BENCH_FIGURES_MAX] = {0};
    fprintf(stderr, "# %s: warm-up\n", run->figures[0].name);
    return run->round(run->state, laps);
}

static int sample(const bench_run *run, unsigned index, bench_samples *samples)
{
    bench_lap laps[BENCH_FIGURES_MAX] = {0};
    COIL_TRY(run->round(run->state, laps));
    for (size_t i = 0; i < run->n; i++) {
        samples[i].values[index] = value_of(&run->figures[i], &laps[i]);
        if (laps[i].allocations > samples[i].allocations)
            samples[i].allocations = laps[i].allocations;
        fprintf(stderr, "# %s: round %u of %u: %.2f\n", run->figures[i].name, index + 1, run->options->repetitions,
                samples[i].values[index]);
    }
    return 0;
}

static int repeat(const bench_run *run)
{
    /* Static: the rounds may run on a task's small stack. */
    static bench_samples samples[BENCH_FIGURES_MAX];
    for (size_t i = 0; i < run->n; i++)
        samples[i].allocations = 0;
    COIL_TRY(warm_up(run));
    for (unsigned i = 0; i < run->options->repetitions; i++)
        COIL_TRY(sample(run, i, samples));
    for (size_t i = 0; i < run->n; i++)
        print_figure(run, &run->figures[i], &samples[i]);
    return 0;
}

static int repeat_in_task(void *arg, void **result)
{
    (void)result;
    return repeat(arg);
}

int bench_repeat(const bench_options *options, const bench_figure *figures, size_t n, bench_round *round, void *state)
{
    bench_run run = {.options = options, .figures = figures, .n = n, .round = round, .state = state};
    return repeat(&run);
}

int bench_repeat_in_task(const bench_options *options, const bench_figure *figures, size_t n, bench_round *round,
                         void *state)
{
    bench_run run = {.options = options, .figures = figures, .n = n, .round = round, .state = state};
    if (options->workers == 0)
        return coil_run_with(&options->loop, coil_coro_of(repeat_in_task, &run), NULL);
    snprintf(run.suffix, sizeof run.suffix, "_%uw", options->workers);
    const coil_runtime_options runtime = {
        .size = sizeof runtime, .workers = options->workers, .ring_mode = options->ring_mode, .loop = options->loop};
    return coil_runtime_run(&runtime, coil_coro_of(repeat_in_task, &run), NULL);
}
