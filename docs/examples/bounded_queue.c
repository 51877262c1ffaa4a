/*
 * bounded_queue.c - a queue of one place: join it, then cancel the consumer, which would wait for ever
 *
 * asyncio: await queue.join(); consumer.cancel()
 */
#include <coil.h>
#include <stdio.h>

static int produce(void *arg, void **result)
{
    static const char *const messages[] = {"one", "two", "three"};
    (void)result;
    for (size_t i = 0; i < 3; i++) {
        printf("producing %s\n", messages[i]);
        COIL_TRY(coil_queue_put(arg, (void *)messages[i]));
        printf("produced %s\n", messages[i]);
    }
    return 0;
}

static int consume(void *arg, void **result)
{
    (void)result;
    for (;;) {
        void *message;
        COIL_TRY(coil_queue_get(arg, &message));
        printf("consuming %s\n", (const char *)message);
        COIL_TRY(coil_sleep(COIL_MS(100)));
        printf("consumed %s\n", (const char *)message);
        COIL_TRY(coil_queue_task_done(arg));
    }
}

static int supervise(coil_queue *queue)
{
    coil_task *consumer, *producer;
    COIL_TRY(coil_create_task(coil_coro_of(consume, queue), &consumer));
    COIL_TRY(coil_create_task(coil_coro_of(produce, queue), &producer));
    COIL_TRY(coil_join(producer, NULL));
    COIL_TRY(coil_queue_join(queue));
    puts("joined");

    coil_task_cancel(consumer, NULL);
    int rc = coil_join(consumer, NULL);
    printf("the consumer ended with %s\n", coil_error_name(rc));
    return rc == -ECANCELED ? 0 : rc;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_queue *queue;
    COIL_TRY(coil_queue_new(1, &queue));
    int rc = supervise(queue);
    coil_queue_free(queue);
    return rc;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
