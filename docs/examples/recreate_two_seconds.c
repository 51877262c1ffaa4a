/*
 * recreate_two_seconds.c - the same for two seconds: a gather with a sleep keeps the loop running
 *
 * asyncio: await asyncio.gather(again(1), asyncio.sleep(2))
 */
#include <coil.h>
#include <stdio.h>

static int again(void *arg, void **result)
{
    intptr_t n = (intptr_t)arg;
    (void)result;
    printf("again, number %d\n", (int)n);
    COIL_TRY(coil_sleep(COIL_MS(450)));
    return coil_create_task(coil_coro_of(again, (void *)(n + 1)), NULL);
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_coro both[] = {coil_coro_of(again, (void *)1), coil_sleep_coro(COIL_SECONDS(2), NULL)};
    COIL_TRY(coil_gather_await(both, 2, NULL));
    puts("two seconds are over");
    return 0;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
