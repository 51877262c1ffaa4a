/*
 * recreate_task.c - a task that creates its successor: it prints as long as somebody keeps the loop running
 *
 * asyncio: async def again(n): print(...); await asyncio.sleep(0.2); asyncio.create_task(again(n + 1))
 */
#include <coil.h>
#include <stdio.h>

static int again(void *arg, void **result)
{
    intptr_t n = (intptr_t)arg;
    (void)result;
    printf("again, number %d\n", (int)n);
    COIL_TRY(coil_sleep(COIL_MS(200)));
    return coil_create_task(coil_coro_of(again, (void *)(n + 1)), NULL);
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    COIL_TRY(coil_create_task(coil_coro_of(again, (void *)1), NULL));
    COIL_TRY(coil_sleep(COIL_MS(300)));
    puts("main ends, and with it the loop; what still runs is cancelled");
    return 0;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
