/*
 * bench_queue.c - W3: what does passing items between two tasks of one loop cost?
 *
 * W3.pingpong_cap1: two queues of one place; an item goes there and another comes back, ns a round trip.
 * W3.pipeline_1024: one producer, one consumer, one queue of 1024 places, items one by one.
 */
#include "bench.h"

typedef struct queues {
    coil_queue *there, *back;
    uint64_t items;
} queues;

/* --- ping-pong ----------------------------------------------------------------------------------------------- */

static int echo(void *arg, void **result)
{
    (void)result;
    const queues *q = arg;
    for (uint64_t i = 0; i < q->items; i++) {
        void *item;
        COIL_TRY(coil_queue_get(q->there, &item));
        COIL_TRY(coil_queue_put(q->back, item));
    }
    return 0;
}

static int ping(void *arg, void **result)
{
    (void)result;
    const queues *q = arg;
    for (uint64_t i = 0; i < q->items; i++) {
        void *item;
        COIL_TRY(coil_queue_put(q->there, (void *)(uintptr_t)i));
        COIL_TRY(coil_queue_get(q->back, &item));
        if ((uintptr_t)item != i)
            return coil_raise(COIL_EUSER(0), "an item came back changed");
    }
    return 0;
}

/* --- pipeline ------------------------------------------------------------------------------------------------ */

static int producer(void *arg, void **result)
{
    (void)result;
    const queues *q = arg;
    for (uint64_t i = 0; i < q->items; i++)
        COIL_TRY(coil_queue_put(q->there, (void *)(uintptr_t)i));
    return 0;
}

static int consumer(void *arg, void **result)
{
    (void)result;
    const queues *q = arg;
    for (uint64_t i = 0; i < q->items; i++) {
        void *item;
        COIL_TRY(coil_queue_get(q->there, &item));
        if ((uintptr_t)item != i)
            return coil_raise(COIL_EUSER(0), "an item arrived out of order");
    }
    return 0;
}

/* --- workload ------------------------------------------------------------------------------------------------ */

static int timed_pair(coil_coro left, coil_coro right, bench_lap *lap)
{
    coil_task *a, *b;
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
    return timed_pair(coil_coro_of(ping, state), coil_coro_of(echo, state), &laps[0]);
}

static int round_of_pipeline(void *state, bench_lap *laps)
{
    return timed_pair(coil_coro_of(producer, state), coil_coro_of(consumer, state), &laps[0]);
}

/* The queues live as long as all rounds, so that the first one has made their arrays. */
static int run_pingpong(const bench_options *options)
{
    queues q = {.items = bench_count(options, 1000000)};
    const bench_figure figure = {"W3.pingpong_cap1", BENCH_NS, q.items};
    COIL_TRY(coil_queue_new(1, &q.there));
    int rc = coil_queue_new(1, &q.back);
    if (rc == 0)
        rc = bench_repeat_in_task(options, &figure, 1, round_of_pingpong, &q);
    coil_queue_free(q.there);
    coil_queue_free(q.back);
    return rc;
}

static int run_pipeline(const bench_options *options)
{
    queues q = {.items = bench_count(options, 10000000)};
    const bench_figure figure = {"W3.pipeline_1024", BENCH_PER_SECOND, q.items};
    COIL_TRY(coil_queue_new(1024, &q.there));
    int rc = bench_repeat_in_task(options, &figure, 1, round_of_pipeline, &q);
    coil_queue_free(q.there);
    return rc;
}

static int run(const bench_options *options)
{
    COIL_TRY(run_pingpong(options));
    return run_pipeline(options);
}

const bench_workload bench_queue = {"queue", "W3: ping-pong and pipeline through queues of one loop", run};
