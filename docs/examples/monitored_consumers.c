/*
 * monitored_consumers.c - three producers and three consumers, watched: are all items consumed, is anybody left to do it?
 *
 * The watch looks every 250 ms. The shield keeps its impatience from cancelling what it watches.
 * asyncio: await asyncio.wait_for(asyncio.shield(asyncio.gather(queue.join(), *producers)), 0.25)
 */
#include <coil.h>
#include <stdio.h>

enum { N = 3, ITEMS = 3 };

struct plant {
    coil_queue *queue;
    int consumed;
    int endurance[N]; /* of each consumer: items until it fails */
    coil_task *consumers[N];
    coil_task *producers[N];
};

struct consumer {
    struct plant *plant;
    int number;
};

static int produce(void *arg, void **result)
{
    struct plant *plant = arg;
    (void)result;
    for (int i = 0; i < ITEMS; i++) {
        COIL_TRY(coil_queue_put(plant->queue, "item"));
        COIL_TRY(coil_sleep(COIL_MS(50)));
    }
    return 0;
}

static int consume(void *arg, void **result)
{
    struct consumer *self = arg;
    struct plant *plant = self->plant;
    (void)result;
    for (int i = 0; i < plant->endurance[self->number]; i++) {
        void *item;
        COIL_TRY(coil_queue_get(plant->queue, &item));
        COIL_TRY(coil_sleep(COIL_MS(200)));
        plant->consumed++;
        COIL_TRY(coil_queue_task_done(plant->queue));
    }
    return coil_raise(COIL_ERUNTIME, "consumer %d is exhausted", self->number);
}

/* Prints what the consumers that are done have died of. */
static int report(struct plant *plant)
{
    for (int i = 0; i < N; i++) {
        if (!coil_future_done(plant->consumers[i]))
            continue;
        coil_error *error;
        COIL_TRY(coil_future_exception(plant->consumers[i], &error));
        printf("  %s\n", coil_error_message(error));
        coil_error_release(error);
    }
    return 0;
}

/* Waits for @all as long as there is hope: 0, what it raised, or COIL_ERUNTIME. */
static int watch(struct plant *plant, coil_future *all)
{
    for (;;) {
        coil_future *shielded;
        COIL_TRY(coil_shield(all, &shielded));
        int rc = coil_wait_for(shielded, COIL_MS(250), NULL);
        coil_release(shielded);
        if (rc != -ETIMEDOUT)
            return rc;

        size_t done;
        COIL_TRY(coil_wait(plant->consumers, N, 0, COIL_FIRST_EXCEPTION, &done));
        printf("not finished; consumers at work: %zu\n", N - done);
        COIL_TRY(report(plant));
        if (done == N)
            return coil_raise(COIL_ERUNTIME, "no consumers left");
    }
}

static int start(struct plant *plant, coil_future **all)
{
    coil_awaitable awaitables[1 + N];
    awaitables[0] = COIL_AWAITABLE(coil_queue_join_coro(plant->queue));
    for (int i = 0; i < N; i++) {
        struct consumer consumer = {plant, i};
        COIL_TRY(coil_create_task(coil_coro_of(produce, plant), &plant->producers[i]));
        COIL_TRY(coil_create_task(coil_coro_copy(consume, &consumer, sizeof consumer), &plant->consumers[i]));
        awaitables[1 + i] = COIL_AWAITABLE(plant->producers[i]);
    }
    return coil_gather(awaitables, 1 + N, false, all);
}

static int stop(struct plant *plant, coil_future *all)
{
    coil_awaitable consumers[N];
    for (int i = 0; i < N; i++) {
        coil_task_cancel(plant->consumers[i], NULL);
        consumers[i] = COIL_AWAITABLE(plant->consumers[i]);
    }
    if (coil_future_cancel(all, NULL))
        printf("producing: %s\n", coil_error_name(coil_await(all, NULL)));

    coil_future *ends;
    COIL_TRY(coil_gather(consumers, N, true, &ends));
    return coil_join(ends, NULL);
}

static int operate(struct plant *plant)
{
    coil_future *all;
    COIL_TRY(coil_queue_new(4, &plant->queue));
    COIL_TRY(start(plant, &all));
    coil_error *error = coil_catch(watch(plant, all));
    printf("%s, items consumed: %d\n", error ? coil_error_message(error) : "finished", plant->consumed);
    coil_error_release(error);

    int rc = stop(plant, all);
    coil_release(all);
    for (int i = 0; i < N; i++) {
        coil_release(plant->producers[i]);
        coil_release(plant->consumers[i]);
    }
    coil_queue_free(plant->queue);
    return rc;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    struct plant reliable = {.endurance = {100, 100, 100}};
    struct plant failing = {.endurance = {1, 2, 1}};
    puts("--- consumers that last");
    COIL_TRY(operate(&reliable));
    puts("--- consumers that fail");
    return operate(&failing);
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
