/*
 * bench_switch.c - W1: what does a yield cost?
 *
 * W1.switch: two tasks yield in turn. W1.switch_via_scheduler is the limit to hold it against, the library's bare stack
 * switch in a scheduler's shape: main to a, a to main, main to b, ...; nothing else happens, a yield is two switches.
 * W1.resume_yield counts each of them. The only benchmark that includes a private header, for that limit.
 */
#include "bench.h"

#include "../src/base/coro.h"

#include <stdlib.h>

/* --- tasks --------------------------------------------------------------------------------------------------- */

static int yielder(void *arg, void **result)
{
    (void)result;
    uint64_t yields = *(const uint64_t *)arg;
    for (uint64_t i = 0; i < yields; i++)
        COIL_TRY(coil_sleep(0));
    return 0;
}

static int round_of_yields(void *state, bench_lap *laps)
{
    coil_task *a, *b;
    bench_lap_start(&laps[0]);
    COIL_TRY(coil_create_task(coil_coro_of(yielder, state), &a));
    COIL_TRY(coil_create_task(coil_coro_of(yielder, state), &b));
    COIL_TRY(coil_join(a, NULL));
    COIL_TRY(coil_join(b, NULL));
    bench_lap_stop(&laps[0]);
    return 0;
}

/* --- the bare switch ----------------------------------------------------------------------------------------- */

typedef struct bare {
    uint64_t yields; /* of each coroutine */
    coil__coro main;
    coil__coro sides[2];
} bare;

typedef struct bare_side {
    coil__coro *self;
    coil__coro *main;
    uint64_t yields;
} bare_side;

static void bare_entry(void *arg)
{
    const bare_side *side = arg;
    coil__coro *self = side->self, *main = side->main;
    for (uint64_t i = 0; i < side->yields; i++)
        coil__coro_switch(self, main);
    coil__coro_leave(self, main);
}

static int bare_start(bare *b, bare_side sides[2])
{
    coil__coro_init_thread(&b->main);
    for (int i = 0; i < 2; i++) {
        const char *reason;
        coil__stack *stack = coil__stack_alloc(COIL_STACK_BYTES_DEFAULT, &reason);
        if (!stack)
            return -ENOMEM;
        sides[i] = (bare_side){.self = &b->sides[i], .main = &b->main, .yields = b->yields};
        coil__coro_init(&b->sides[i], stack, false, bare_entry, &sides[i]);
    }
    return 0;
}

/* The laps of both figures are the same time; they differ in what they count. */
static int round_of_switches(void *state, bench_lap *laps)
{
    bare *b = state;
    bare_side sides[2];
    COIL_TRY(bare_start(b, sides));
    bench_lap_start(&laps[0]);
    for (uint64_t i = 0; i < b->yields; i++) {
        coil__coro_switch(&b->main, &b->sides[0]);
        coil__coro_switch(&b->main, &b->sides[1]);
    }
    bench_lap_stop(&laps[0]);
    laps[1] = laps[0];
    for (int i = 0; i < 2; i++) {
        coil__coro_switch(&b->main, &b->sides[i]); /* lets it end */
        coil__stack_free(b->sides[i].stack);
    }
    return 0;
}

/* --- workload ------------------------------------------------------------------------------------------------ */

static int run(const bench_options *options)
{
    uint64_t yields = bench_count(options, 10000000);
    bare limit = {.yields = yields};
    const bench_figure limits[] = {{"W1.switch_via_scheduler", BENCH_NS, 2 * yields},
                                   {"W1.resume_yield", BENCH_NS, 4 * yields}};
    const bench_figure figure = {"W1.switch", BENCH_NS, 2 * yields};
    COIL_TRY(bench_repeat(options, limits, 2, round_of_switches, &limit));
    return bench_repeat_in_task(options, &figure, 1, round_of_yields, &yields);
}

const bench_workload bench_switch = {"switch", "W1: two tasks yield in turn; beside it the bare switch", run};
