/*
 * stress.h - what stress programs on a runtime have in common
 *
 *     program [SECONDS [WORKERS [SEED]]]     3 seconds, 4 workers, and a seed from the clock by default
 *
 * stress_begin() prints the seed; stress_run() runs a coroutine on a runtime; stress_main() does both;
 * stress_time_left() tells for how long. A MUST() that does not hold ends the program. Each task takes its random
 * numbers from a state of its own: which it draws is in the seed, in what order the workers get to it is not.
 */
#ifndef COIL_TEST_STRESS_H
#define COIL_TEST_STRESS_H

#include <coil.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "descriptors.h"

#define STRESS_UNUSED __attribute__((unused))

static uint64_t stress_seed;
static double stress_end;

/* The invariant holds. */
#define MUST(what)                                                                                          \
    do {                                                                                                    \
        if (!(what)) {                                                                                      \
            fprintf(stderr, "%s:%d: seed %" PRIu64 ": not so: %s\n", __FILE__, __LINE__, stress_seed, #what); \
            abort();                                                                                        \
        }                                                                                                   \
    } while (0)

static inline double stress_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static STRESS_UNUSED bool stress_time_left(void)
{
    return stress_now() < stress_end;
}

/* Starts a sequence of random numbers of its own for each @number. */
static inline uint64_t stress_random_state(uint64_t number)
{
    uint64_t z = stress_seed + (number + 1) * UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) | 1;
}

/* The next one, below @limit. */
static inline uint32_t stress_random(uint64_t *state, uint32_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % limit;
}

/* The call succeeds. */
static STRESS_UNUSED void stress_ok(int rc)
{
    if (rc >= 0)
        return;
    char text[256];
    coil_error *e = coil_catch(rc);
    coil_error_format(e, text, sizeof text);
    fprintf(stderr, "seed %" PRIu64 ": %s\n", stress_seed, text);
    abort();
}

/* The error is dealt with. */
static STRESS_UNUSED int stress_caught(int rc)
{
    coil_error_release(coil_catch(rc));
    return rc;
}

static STRESS_UNUSED void stress_join(coil_task *task)
{
    stress_ok(coil_join(task, NULL));
}

/* Of one that others cancel, now and then between its last call and its end; so they may cancel who waits here. */
static STRESS_UNUSED void stress_join_killed(coil_task *task)
{
    while (!coil_future_done(task))
        (void)stress_caught(coil_await(task, NULL));
    int rc = stress_caught(coil_future_result(task, NULL));
    MUST(rc == 0 || rc == -ECANCELED);
    coil_release(task);
}

/* Computes for a while, of which a compiler cannot rid us. */
static STRESS_UNUSED void stress_spin(uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++)
        __asm__ volatile("" : : "r"(i) : "memory");
}

static coil_runtime_options stress_options = {.size = sizeof(coil_runtime_options), .workers = 4};

static STRESS_UNUSED void stress_begin(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    if (argc > 2)
        stress_options.workers = (unsigned)atoi(argv[2]);
    stress_seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
    stress_end = stress_now() + seconds;
    printf("%.1f s, %u workers, seed %" PRIu64 "\n", seconds, stress_options.workers, stress_seed);
    fflush(stdout);
}

/*
 * Waits until no more descriptors are open than @most: one is closed when the kernel has let go of it, which may be a little
 * after the loss of its connection. Returns how many there are. Shows them if they stay.
 */
static STRESS_UNUSED int stress_descriptors_settle(int most)
{
    double until = stress_now() + 10;
    int now;
    while ((now = open_descriptors()) > most && stress_now() < until)
        stress_ok(coil_sleep(COIL_US(100)));
    if (now > most)
        print_descriptors();
    MUST(now <= most);
    return now;
}

/* A runtime's whole life. */
static STRESS_UNUSED void stress_run(coil_coro_fn *body, void *arg)
{
    stress_ok(coil_runtime_run(&stress_options, coil_coro_make(body, arg, NULL, 0, "main"), NULL));
}

static STRESS_UNUSED int stress_main(int argc, char **argv, coil_coro_fn *body, void *arg)
{
    stress_begin(argc, argv);
    stress_run(body, arg);
    return 0;
}

#endif
