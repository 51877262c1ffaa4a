/*
 * bench.h - what coil-bench's measurements share: laps, repetition, output
 *
 * A workload (one bench_<what>.c, one question) describes its figures and a round: the work to be done once, which
 * starts and stops one lap per figure around the loop that is measured, and nothing else. bench_repeat() runs the round
 * once to warm up and then several times, prints the median of each figure as a line
 *
 *     coil W1.switch 9.1 ns
 *
 * (W1.switch_2w on a runtime of two workers)
 *
 * and, when the program runs on jemalloc, how many allocations the laps of one round made:
 *
 *     coil W1.switch.allocations 0 count
 *
 * One thread. I1 a lap is started and stopped exactly once per round.
 */
#ifndef COIL_PERF_BENCH_H
#define COIL_PERF_BENCH_H

#include <coil.h>

#define BENCH_FIGURES_MAX 4
#define BENCH_REPETITIONS_MAX 101
#define BENCH_WORKERS_MAX 64

typedef struct bench_options {
    coil_loop_options loop;
    unsigned workers;     /* of a runtime; 0: a plain loop */
    enum coil_ring_mode ring_mode; /* of a runtime */
    unsigned repetitions; /* measured rounds; the warm-up comes on top */
    uint64_t divide;      /* counts are divided by it, for runs under valgrind */
    uint64_t connections, bytes; /* of the echo; 0: the workload's own choice */
    const char *file;            /* to be read; NULL: the workload makes one */
} bench_options;

typedef struct bench_lap {
    int64_t started_ns;
    int64_t elapsed_ns;
    uint64_t allocations_before;
    uint64_t allocations; /* made during the lap */
} bench_lap;

enum bench_unit {
    BENCH_NS,         /* nanoseconds an operation */
    BENCH_PER_SECOND, /* operations a second */
    BENCH_MS,         /* milliseconds for all of them */
    BENCH_SECONDS     /* for all of them */
};

typedef struct bench_figure {
    const char *name;
    enum bench_unit unit;
    uint64_t operations; /* in one lap */
} bench_figure;

/* One round; fills @laps[i] for the i-th figure. 0 or a negative code, which ends the program. */
typedef int bench_round(void *state, bench_lap *laps);

typedef struct bench_workload {
    const char *name;
    const char *what;
    int (*run)(const bench_options *options);
} bench_workload;

extern const bench_workload bench_switch;
extern const bench_workload bench_spawn_join;
extern const bench_workload bench_queue;
extern const bench_workload bench_cross_thread;
extern const bench_workload bench_fork_join;
extern const bench_workload bench_stall;
extern const bench_workload bench_echo;
extern const bench_workload bench_idle;
extern const bench_workload bench_file;
extern const bench_workload bench_timers;
extern const bench_workload bench_sleepers;
extern const bench_workload bench_executor;

/* Names the jobs of bench_executor; before coil_process_init(). */
void bench_executor_register(void);

void bench_lap_start(bench_lap *lap);
void bench_lap_stop(bench_lap *lap);

/* Repeats @round on the calling thread, without a loop. */
int bench_repeat(const bench_options *options, const bench_figure *figures, size_t n, bench_round *round, void *state);

/* Repeats @round inside a task of a new loop, or of a new runtime if the options ask for workers. */
int bench_repeat_in_task(const bench_options *options, const bench_figure *figures, size_t n, bench_round *round,
                         void *state);

/* @count divided as the options say, at least 1. */
uint64_t bench_count(const bench_options *options, uint64_t count);

/* Whether allocations can be counted, and how many the process made so far (0 if not). */
bool bench_allocations_counted(void);
uint64_t bench_allocations(void);

/* splitmix64: the next of a sequence that is the same in every run (Steele, Lea, Flood 2014). */
static inline uint64_t bench_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
