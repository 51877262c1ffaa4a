/*
 * queue_sentinel.c - one loop run several times: three puts, then a consumer that ends at a sentinel
 *
 * asyncio: loop.run_until_complete(queue.put(1)) ...; loop.stop(); loop.run_forever(); loop.close()
 */
#include <coil.h>
#include <stdio.h>

static int consume(void *arg, void **result)
{
    coil_queue *queue = arg;
    (void)result;
    for (;;) {
        void *item;
        COIL_TRY(coil_queue_get(queue, &item));
        if (!item)
            break;
        printf("consumed %s\n", (const char *)item);
    }
    puts("the end");
    return 0;
}

static int run(coil_loop *loop, coil_queue *queue)
{
    COIL_TRY(coil_loop_run_until_complete(loop, coil_queue_put_coro(queue, "one"), NULL));
    COIL_TRY(coil_loop_run_until_complete(loop, coil_queue_put_coro(queue, "two"), NULL));
    COIL_TRY(coil_loop_run_until_complete(loop, coil_queue_put_coro(queue, NULL), NULL));
    printf("%zu items\n", coil_queue_qsize(queue));
    COIL_TRY(coil_loop_run_until_complete(loop, coil_coro_of(consume, queue), NULL));

    /* Stopped before it runs, the loop makes one round for what is left, then returns. */
    coil_loop_stop(loop);
    COIL_TRY(coil_loop_run_forever(loop));
    return coil_loop_close(loop);
}

int main(void)
{
    coil_loop *loop;
    coil_queue *queue;
    if (coil_new_event_loop(NULL, &loop) < 0 || coil_queue_new(0, &queue) < 0)
        return 1;
    int rc = run(loop, queue);
    printf("closed: %s\n", coil_loop_is_closed(loop) ? "yes" : "no");
    coil_queue_free(queue);
    coil_loop_free(loop);
    return rc < 0;
}
