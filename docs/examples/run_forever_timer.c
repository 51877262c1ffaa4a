/*
 * run_forever_timer.c - run_forever, until a timer stops the loop
 *
 * asyncio: loop.call_later(0.5, loop.stop); loop.run_forever()
 */
#include <coil.h>
#include <stdio.h>

static int tick(void *arg, void **result)
{
    (void)arg;
    (void)result;
    for (;;) {
        puts("tick");
        COIL_TRY(coil_sleep(COIL_MS(200)));
    }
}

static int stop(void *arg)
{
    coil_loop_stop(arg);
    return 0;
}

static int run(coil_loop *loop)
{
    coil_task *ticker;
    COIL_TRY(coil_loop_create_task(loop, coil_coro_of(tick, NULL), NULL, &ticker));
    COIL_TRY(coil_loop_call_later(loop, COIL_MS(500), stop, loop, NULL));
    COIL_TRY(coil_loop_run_forever(loop));
    puts("stopped");

    /* The ticker still sleeps. Cancelled, it needs the loop once more to end. */
    coil_task_cancel(ticker, NULL);
    int rc = coil_loop_run_until_complete(loop, ticker, NULL);
    printf("the ticker ended with %s\n", coil_error_name(rc));
    coil_release(ticker);
    return rc == -ECANCELED ? 0 : rc;
}

int main(void)
{
    coil_loop *loop;
    if (coil_new_event_loop(NULL, &loop) < 0)
        return 1;
    int rc = run(loop);
    coil_loop_free(loop);
    return rc < 0;
}
