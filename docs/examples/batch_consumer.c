/*
 * batch_consumer.c - items from a queue go to executors in batches: of BATCH items, or of what came within a while
 *
 * The consumer waits for a first item, then for more until the batch is full or its time is up, and has the batch done
 * by an executor: a thread pool, then a process pool. It does not wait for that: a done callback marks the batch's
 * items as done, also when it failed, so that queue.join() waits for all of them. Then the consumer is cancelled.
 * asyncio: batch = [await queue.get()]; async with asyncio.timeout(WHILE): while len(batch) < BATCH: ...
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 4, PARTS = 3 };
#define WHILE COIL_MS(100)

/* How many items come together; the last group waits until the batch before has had its time. */
static const int parts[PARTS] = {10, 1, 5};

struct shop {
    coil_executor *executor;
    bool processes;
    coil_queue *queue;
    int batches, sums, failed; /* seen by done callbacks */
    long total;
};

struct batch {
    struct shop *shop;
    int number, count;
    int items[BATCH];
};

/* --- the work: on a thread, or in another process ---------------------------------------------------------------- */

/* There is a batch that cannot be done. */
static int add(const int *items, int count, int *sum)
{
    *sum = 0;
    for (int i = 0; i < count; i++) {
        if (items[i] == 6)
            return coil_raise(COIL_EUSER(0), "cannot add %d", items[i]);
        *sum += items[i];
    }
    return 0;
}

static int add_on_thread(void *arg, void **result)
{
    struct batch *batch = arg;
    int sum;
    COIL_TRY(add(batch->items, batch->count, &sum));
    *result = (void *)(intptr_t)sum;
    return 0;
}

static int add_in_process(const void *data, size_t n, coil_process_output *output)
{
    int sum;
    COIL_TRY(add(data, (int)(n / sizeof(int)), &sum));
    return coil_process_output_write(output, &sum, sizeof sum);
}

/* --- on the loop ------------------------------------------------------------------------------------------------- */

static int sum_of(const struct shop *shop, void *value)
{
    int sum = (int)(intptr_t)value;
    if (shop->processes)
        memcpy(&sum, ((coil_process_result *)value)->data, sizeof sum);
    return sum;
}

/* Marks the items of a batch as done, whatever has become of it. */
static int batch_done(coil_future *future, void *arg)
{
    struct batch *batch = arg;
    struct shop *shop = batch->shop;
    void *value;
    coil_error *error = coil_catch(coil_future_result(future, &value));
    if (error) {
        shop->failed++;
        printf("batch %d of %d: %s\n", batch->number, batch->count, coil_error_message(error));
    } else {
        shop->sums++;
        shop->total += sum_of(shop, value);
    }
    coil_error_release(error);
    for (int i = 0; i < batch->count; i++)
        COIL_TRY(coil_queue_task_done(shop->queue));
    free(batch);
    return 0;
}

static int submit(struct batch *batch, coil_future **future)
{
    struct shop *shop = batch->shop;
    coil_loop *loop = coil_get_running_loop();
    if (!shop->processes)
        return coil_loop_run_in_executor(loop, shop->executor, add_on_thread, batch, future);
    coil_process_call call = {
        .size = sizeof call, .name = "add", .data = batch->items, .n = (size_t)batch->count * sizeof batch->items[0]};
    return coil_process_submit(shop->executor, &call, future); /* waits while the pool's queue is full */
}

/* Takes the batch. */
static int hand_over(struct batch *batch)
{
    coil_future *future;
    int rc = submit(batch, &future);
    if (rc < 0) {
        free(batch);
        return rc;
    }
    rc = coil_future_add_done_callback(future, batch_done, batch);
    coil_detach(future);
    return rc;
}

static int fill(void *arg, void **result)
{
    struct batch *batch = arg;
    (void)result;
    while (batch->count < BATCH) {
        void *item;
        COIL_TRY(coil_queue_get(batch->shop->queue, &item));
        batch->items[batch->count++] = (int)(intptr_t)item;
    }
    return 0;
}

/* The next batch, which has an item at least. */
static int collect(struct shop *shop, struct batch **collected)
{
    void *item;
    COIL_TRY(coil_queue_get(shop->queue, &item));
    struct batch *batch = calloc(1, sizeof *batch);
    *batch = (struct batch){.shop = shop, .number = ++shop->batches, .count = 1, .items = {(int)(intptr_t)item}};
    int rc = coil_timeout_run(WHILE, coil_coro_of(fill, batch), NULL);
    if (rc < 0 && rc != -ETIMEDOUT) {
        free(batch);
        return rc;
    }
    coil_error_release(coil_catch(rc)); /* time is up: what there is will do */
    *collected = batch;
    return 0;
}

static int consume(void *arg, void **result)
{
    (void)result;
    for (;;) {
        struct batch *batch;
        COIL_TRY(collect(arg, &batch));
        COIL_TRY(hand_over(batch));
    }
}

static int produce(struct shop *shop)
{
    intptr_t item = 0;
    for (int part = 0; part < PARTS; part++) {
        for (int i = 0; i < parts[part]; i++)
            COIL_TRY(coil_queue_put(shop->queue, (void *)++item));
        COIL_TRY(coil_sleep(3 * WHILE));
    }
    return 0;
}

/* --- a day in the shop ------------------------------------------------------------------------------------------- */

static int run_shop(struct shop *shop)
{
    coil_task *consumer;
    COIL_TRY(coil_queue_new(0, &shop->queue));
    COIL_TRY(coil_create_task(coil_coro_of(consume, shop), &consumer));
    COIL_TRY(produce(shop));
    COIL_TRY(coil_queue_join(shop->queue));
    coil_task_cancel(consumer, NULL);
    printf("consumer: %s\n", coil_error_name(coil_join(consumer, NULL)));
    printf("%d batches, %d added up to %ld, %d failed\n", shop->batches, shop->sums, shop->total, shop->failed);
    coil_queue_free(shop->queue);
    coil_executor_shutdown(shop->executor, true);
    coil_executor_release(shop->executor);
    return 0;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    struct shop threads = {0}, processes = {.processes = true};
    coil_process_pool_options options = {.size = sizeof options, .workers_max = 2};
    puts("--- a thread pool");
    COIL_TRY(coil_thread_pool_new(2, &threads.executor));
    COIL_TRY(run_shop(&threads));
    puts("--- a process pool");
    COIL_TRY(coil_process_pool_new(&options, &processes.executor));
    return run_shop(&processes);
}

int main(int argc, char **argv)
{
    coil_process_register("add", add_in_process);
    coil_process_init(argc, argv); /* before anything else: fork servers stay in there */
    return coil_main(coil_coro_of(async_main, NULL));
}
