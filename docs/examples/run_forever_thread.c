/*
 * run_forever_thread.c - run_forever, until another thread stops the loop
 *
 * Other threads reach a loop through coil_loop_call_soon_threadsafe(), which wakes it.
 * asyncio: loop.call_soon_threadsafe(loop.stop)
 */
#include <coil.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

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
    puts("asked to stop");
    coil_loop_stop(arg);
    return 0;
}

static void *other_thread(void *arg)
{
    struct timespec half_a_second = {.tv_nsec = COIL_MS(500)};
    nanosleep(&half_a_second, NULL);
    return coil_loop_call_soon_threadsafe(arg, stop, arg, NULL) < 0 ? arg : NULL;
}

static int run(coil_loop *loop)
{
    COIL_TRY(coil_loop_create_task(loop, coil_coro_of(tick, NULL), NULL, NULL));
    pthread_t thread;
    if (pthread_create(&thread, NULL, other_thread, loop) != 0)
        return -EAGAIN;
    int rc = coil_loop_run_forever(loop);
    pthread_join(thread, NULL);
    puts("stopped");
    return rc;
}

int main(void)
{
    coil_runner *runner;
    coil_loop *loop;
    if (coil_runner_new(NULL, &runner) < 0)
        return 1;
    int rc = coil_runner_get_loop(runner, &loop);
    if (rc == 0)
        rc = run(loop);
    /* Cancels the ticker, waits for its end, and closes the loop. */
    coil_runner_free(runner);
    return rc < 0;
}
