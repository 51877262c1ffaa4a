/*
 * producer_consumer.c - a queue of two places: who runs when, without sleeps and with them
 *
 * Putting suspends when the queue is full, getting when it is empty, and neither when it can go on at once: without
 * sleeps each side therefore goes on as long as it can.
 * asyncio: await asyncio.gather(producer(queue), consumer(queue))
 */
#include <coil.h>
#include <stdio.h>

struct belt {
    coil_queue *queue;
    int64_t produce_ns, consume_ns; /* 0: does not sleep */
};

static const char *const items[] = {"apple", "bread", "cheese", "dates", "eggs"};

static int produce(void *arg, void **result)
{
    const struct belt *belt = arg;
    (void)result;
    for (size_t i = 0; i < 5; i++) {
        if (belt->produce_ns)
            COIL_TRY(coil_sleep(belt->produce_ns));
        COIL_TRY(coil_queue_put(belt->queue, (void *)items[i]));
        printf("  put %s\n", items[i]);
    }
    return coil_queue_put(belt->queue, NULL);
}

static int consume(void *arg, void **result)
{
    const struct belt *belt = arg;
    (void)result;
    for (;;) {
        void *item;
        COIL_TRY(coil_queue_get(belt->queue, &item));
        if (!item)
            return 0;
        printf("  got %s\n", (const char *)item);
        if (belt->consume_ns)
            COIL_TRY(coil_sleep(belt->consume_ns));
    }
}

static int run_belt(int64_t produce_ns, int64_t consume_ns)
{
    struct belt belt = {.produce_ns = produce_ns, .consume_ns = consume_ns};
    COIL_TRY(coil_queue_new(2, &belt.queue));
    coil_coro both[] = {coil_coro_of(produce, &belt), coil_coro_of(consume, &belt)};
    int rc = coil_gather_await(both, 2, NULL);
    coil_queue_free(belt.queue);
    return rc;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    puts("without sleeps:");
    COIL_TRY(run_belt(0, 0));
    puts("with a consumer that is slow:");
    return run_belt(COIL_MS(100), COIL_MS(250));
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
