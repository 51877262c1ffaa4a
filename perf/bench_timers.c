/*
 * bench_timers.c - W6: what do arming a timer and cancelling it cost, with a million of them?
 *
 * Timers are callbacks due in 1 s + a random 0..1000 s. All are armed, then all cancelled in the order of arming; none
 * expires. W6.cancel includes giving the handle back, as nobody needs it afterwards. Between the two, W6.rearm is the
 * steady state of a program with timeouts: while a million are armed, each is cancelled and armed anew with the delay of
 * another. Arming the million allocates, beyond what the thread keeps of the last round's handles; re-arming must not.
 */
#include "bench.h"

#include <stdlib.h>

typedef struct timers {
    uint64_t n;
    coil_handle **handles; /* owned by run() */
    int64_t *delays;       /* drawn before the clock starts; owned by run() */
} timers;

static int never(void *arg)
{
    (void)arg;
    return coil_raise(COIL_EUSER(0), "a cancelled timer ran");
}

static int arm_all(const timers *t)
{
    coil_loop *loop = coil_get_running_loop();
    for (uint64_t i = 0; i < t->n; i++)
        COIL_TRY(coil_loop_call_later(loop, t->delays[i], never, NULL, &t->handles[i]));
    return 0;
}

static void cancel_all(const timers *t)
{
    for (uint64_t i = 0; i < t->n; i++) {
        coil_handle_cancel(t->handles[i]);
        coil_handle_release(t->handles[i]);
    }
}

static int rearm_all(const timers *t)
{
    coil_loop *loop = coil_get_running_loop();
    for (uint64_t i = 0; i < t->n; i++) {
        coil_handle_cancel(t->handles[i]);
        coil_handle_release(t->handles[i]);
        COIL_TRY(coil_loop_call_later(loop, t->delays[t->n - 1 - i], never, NULL, &t->handles[i]));
    }
    return 0;
}

static int round_of_timers(void *state, bench_lap *laps)
{
    const timers *t = state;
    bench_lap_start(&laps[0]);
    COIL_TRY(arm_all(t));
    bench_lap_stop(&laps[0]);
    bench_lap_start(&laps[3]);
    COIL_TRY(rearm_all(t));
    bench_lap_stop(&laps[3]);
    bench_lap_start(&laps[1]);
    cancel_all(t);
    bench_lap_stop(&laps[1]);
    laps[2].elapsed_ns = laps[0].elapsed_ns + laps[1].elapsed_ns;
    laps[2].allocations = laps[0].allocations + laps[1].allocations;
    return coil_sleep(0); /* lets the loop forget what is cancelled, if it puts that off */
}

static int run(const bench_options *options)
{
    timers t = {.n = bench_count(options, 1000000)};
    uint64_t random = 1;
    const bench_figure figures[] = {{"W6.arm", BENCH_NS, t.n},
                                    {"W6.cancel", BENCH_NS, t.n},
                                    {"W6.arm_and_cancel", BENCH_NS, t.n},
                                    {"W6.rearm", BENCH_NS, t.n}};
    t.handles = calloc(t.n, sizeof(*t.handles));
    t.delays = calloc(t.n, sizeof(*t.delays));
    int rc = t.handles && t.delays ? 0 : -ENOMEM;
    for (uint64_t i = 0; i < t.n && rc == 0; i++)
        t.delays[i] = COIL_SECONDS(1) + COIL_US(bench_random(&random) % 1000000000);
    if (rc == 0)
        rc = bench_repeat_in_task(options, figures, 4, round_of_timers, &t);
    free(t.handles);
    free(t.delays);
    return rc;
}

const bench_workload bench_timers = {"timers", "W6: arm a million timers, cancel them all", run};
