/*
 * failing_consumers.c - consumers that fail at random, and a watch that replaces them: failing_consumers [SEED]
 *
 * A consumer that fails has put its item back first, so that nothing is lost, and says task_done() for what it took,
 * so that join() comes back: without that the program would hang. The watch looks every 250 ms; the shield keeps its
 * impatience from cancelling what it watches. On a virtual clock, since nothing here waits for the outside world.
 * asyncio: await asyncio.wait_for(asyncio.shield(everything), 0.25)
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONSUMERS = 3, PRODUCERS = 2, ITEMS = 6 };

struct plant {
    coil_queue *queue;
    uint32_t random;
    int consumed, failures;
    coil_task *consumers[CONSUMERS];
};

/* Marsaglia's xorshift: the same numbers everywhere, for a seed. */
static uint32_t next_random(struct plant *plant)
{
    uint32_t x = plant->random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return plant->random = x;
}

static int produce(void *arg, void **result)
{
    struct plant *plant = arg;
    (void)result;
    for (int i = 0; i < ITEMS; i++) {
        COIL_TRY(coil_queue_put(plant->queue, "item"));
        COIL_TRY(coil_sleep(COIL_MS(40)));
    }
    return 0;
}

/* Works on an item for a while; one time in three it fails. */
static int work(struct plant *plant)
{
    COIL_TRY(coil_sleep(COIL_MS(20 + next_random(plant) % 80)));
    return next_random(plant) % 3 == 0 ? coil_raise(COIL_EUSER(0), "machine %u broke", next_random(plant) % 100) : 0;
}

static int consume_one(struct plant *plant)
{
    void *item;
    COIL_TRY(coil_queue_get(plant->queue, &item));
    coil_error *error = coil_catch(work(plant));
    int rc = error ? coil_queue_put_nowait(plant->queue, item) : 0;
    if (!error)
        plant->consumed++;
    if (rc == 0)
        rc = coil_queue_task_done(plant->queue);
    if (rc < 0) {
        coil_error_release(error);
        return rc;
    }
    return coil_raise_error(error);
}

static int consume(void *arg, void **result)
{
    (void)result;
    for (;;)
        COIL_TRY(consume_one(arg));
}

/* Starts a consumer for each that has ended, and says what it has ended of. */
static int replace_the_dead(struct plant *plant)
{
    for (int i = 0; i < CONSUMERS; i++) {
        coil_error *error;
        if (!coil_future_done(plant->consumers[i]))
            continue;
        COIL_TRY(coil_future_exception(plant->consumers[i], &error));
        printf("  consumer %d: %s; another one takes its place\n", i, coil_error_message(error));
        coil_error_release(error);
        coil_release(plant->consumers[i]);
        plant->failures++;
        COIL_TRY(coil_create_task(coil_coro_of(consume, plant), &plant->consumers[i]));
    }
    return 0;
}

static int watch(struct plant *plant, coil_future *everything)
{
    for (;;) {
        coil_future *shielded;
        COIL_TRY(coil_shield(everything, &shielded));
        int rc = coil_wait_for(shielded, COIL_MS(250), NULL);
        coil_release(shielded);
        if (rc != -ETIMEDOUT)
            return rc;
        printf("not finished, %d of %d items consumed\n", plant->consumed, PRODUCERS * ITEMS);
        COIL_TRY(replace_the_dead(plant));
    }
}

static int wait_for_all(void *arg, void **result)
{
    struct plant *plant = arg;
    (void)result;
    coil_coro producers[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++)
        producers[i] = coil_coro_of(produce, plant);
    COIL_TRY(coil_gather_await(producers, PRODUCERS, NULL));
    return coil_queue_join(plant->queue);
}

static int stop(struct plant *plant)
{
    int rc = 0;
    for (int i = 0; i < CONSUMERS; i++)
        coil_task_cancel(plant->consumers[i], NULL);
    for (int i = 0; i < CONSUMERS; i++) {
        int end = coil_join(plant->consumers[i], NULL);
        plant->failures += end == COIL_EUSER(0);
        if (end != -ECANCELED && end != COIL_EUSER(0))
            rc = end;
    }
    return rc;
}

static int async_main(void *arg, void **result)
{
    struct plant plant = {.random = *(uint32_t *)arg};
    coil_task *everything;
    (void)result;
    COIL_TRY(coil_queue_new(0, &plant.queue));
    for (int i = 0; i < CONSUMERS; i++)
        COIL_TRY(coil_create_task(coil_coro_of(consume, &plant), &plant.consumers[i]));
    COIL_TRY(coil_create_task(coil_coro_of(wait_for_all, &plant), &everything));
    COIL_TRY(watch(&plant, everything));
    COIL_TRY(stop(&plant));
    printf("finished: %d of %d items consumed, %d failures\n", plant.consumed, PRODUCERS * ITEMS, plant.failures);
    coil_release(everything);
    coil_queue_free(plant.queue);
    return 0;
}

int main(int argc, char **argv)
{
    char *end;
    uint32_t seed = argc > 1 ? (uint32_t)strtoul(argv[1], &end, 10) : 0;
    if (argc > 1 && (end == argv[1] || *end)) {
        fprintf(stderr, "usage: failing_consumers [SEED]\n");
        return 2;
    }
    coil_virtual_clock clock;
    coil_virtual_clock_init(&clock);
    coil_loop_options options = {.size = sizeof options, .clock = &clock.clock};
    seed = seed * 2654435761u + 2463534242u; /* spread; it must not be 0 */
    return coil_run_with(&options, coil_coro_of(async_main, &seed), NULL) < 0;
}
