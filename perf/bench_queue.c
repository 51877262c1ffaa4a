/*
 * bench_queue.c - W3: what does passing items between two tasks cost?
 *
 * W3.pingpong_cap1: two queues of one place; an item goes there and another comes back, ns a round trip.
 * W3.pipeline_1024: one producer, one consumer, one queue of 1024 places, items one by one. With several
 * workers the same again with a side on one worker and a side on another: _xthread.
 *
 * I1 a side that is to be on a worker of its own holds that worker until the other side runs too, and is then pinned
 */
#include "bench.h"

#include <stdatomic.h>

typedef struct queues {
    coil_queue *there, *back;
    uint64_t items;
    bool apart;           /* I1 */
    atomic_int arrived;   /* sides that run; only counted when they are to be apart */
    bench_lap *lap;       /* of the round; started by one side when both are where they belong */
} queues;

/* I1: neither suspends, so they cannot be on the same worker. */
static void begin(queues *q)
{
    if (!q->apart)
        return;
    bool first = atomic_fetch_add(&q->arrived, 1) == 0;
    while (atomic_load(&q->arrived) < 2) {
    }
    coil_pin();
    if (first)
        bench_lap_start(q->lap);
}

static int end(const queues *q)
{
    if (q->apart)
        coil_unpin();
    return 0;
}

/* --- ping-pong ----------------------------------------------------------------------------------------------- */

static int echo(void *arg, void **result)
{
    (void)result;
    queues *q = arg;
    begin(q);
    for (uint64_t i = 0; i < q->items; i++) {
        void *item;
        COIL_TRY(coil_queue_get(q->there, &item));
        COIL_TRY(coil_queue_put(q->back, item));
    }
    return end(q);
}

static int ping(void *arg, void **result)
{
    (void)result;
    queues *q = arg;
    begin(q);
    for (uint64_t i = 0; i < q->items; i++) {
        void *item;
        COIL_TRY(coil_queue_put(q->there, (void *)(uintptr_t)i));
        COIL_TRY(coil_queue_get(q->back, &item));
        if ((uintptr_t)item != i)
            return coil_raise(COIL_EUSER(0), "an item came back changed");
    }
    return end(q);
}

/* --- pipeline ------------------------------------------------------------------------------------------------ */

static int producer(void *arg, void **result)
{
    (void)result;
    queues *q = arg;
    begin(q);
    for (uint64_t i = 0; i < q->items; i++)
        COIL_TRY(coil_queue_put(q->there, (void *)(uintptr_t)i));
    return end(q);
}

static int consumer(void *arg, void **result)
{
    (void)result;
    queues *q = arg;
    begin(q);
    for (uint64_t i = 0; i < q->items; i++) {
        void *item;
        COIL_TRY(coil_queue_get(q->there, &item));
        if ((uintptr_t)item != i)
            return coil_raise(COIL_EUSER(0), "an item arrived out of order");
    }
    return end(q);
}

/* --- workload ------------------------------------------------------------------------------------------------ */

static int timed_pair(queues *q, coil_coro left, coil_coro right, bench_lap *lap)
{
    coil_task *a, *b;
    atomic_store(&q->arrived, 0);
    q->lap = lap;
    if (!q->apart)
        bench_lap_start(lap);
    COIL_TRY(coil_create_task(left, &a));
    COIL_TRY(coil_create_task(right, &b));
    COIL_TRY(coil_join(a, NULL));
    COIL_TRY(coil_join(b, NULL));
    bench_lap_stop(lap);
    return 0;
}

static int round_of_pingpong(void *state, bench_lap *laps)
{
    return timed_pair(state, coil_coro_of(ping, state), coil_coro_of(echo, state), &laps[0]);
}

static int round_of_pipeline(void *state, bench_lap *laps)
{
    return timed_pair(state, coil_coro_of(producer, state), coil_coro_of(consumer, state), &laps[0]);
}

/* The queues live as long as all rounds, so that the first one has made their arrays. */
static int run_pingpong(const bench_options *options, const char *name, uint64_t items, bool apart)
{
    queues q = {.items = bench_count(options, items), .apart = apart};
    const bench_figure figure = {name, BENCH_NS, q.items};
    COIL_TRY(coil_queue_new(1, &q.there));
    int rc = coil_queue_new(1, &q.back);
    if (rc == 0)
        rc = bench_repeat_in_task(options, &figure, 1, round_of_pingpong, &q);
    coil_queue_free(q.there);
    coil_queue_free(q.back);
    return rc;
}

static int run_pipeline(const bench_options *options, const char *name, bool apart)
{
    queues q = {.items = bench_count(options, 10000000), .apart = apart};
    const bench_figure figure = {name, BENCH_PER_SECOND, q.items};
    COIL_TRY(coil_queue_new(1024, &q.there));
    int rc = bench_repeat_in_task(options, &figure, 1, round_of_pipeline, &q);
    coil_queue_free(q.there);
    return rc;
}

static int run(const bench_options *options)
{
    COIL_TRY(run_pingpong(options, "W3.pingpong_cap1", 1000000, false));
    COIL_TRY(run_pipeline(options, "W3.pipeline_1024", false));
    if (options->workers < 2)
        return 0;
    COIL_TRY(run_pingpong(options, "W3.pingpong_cap1_xthread", 100000, true));
    return run_pipeline(options, "W3.pipeline_1024_xthread", true);
}

const bench_workload bench_queue = {"queue", "W3: ping-pong and pipeline through queues", run};
