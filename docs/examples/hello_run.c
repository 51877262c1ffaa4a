/*
 * hello_run.c - hello world: a coroutine is a C function, and coil_main() runs one on a loop of its own
 *
 * asyncio: asyncio.run(hello('world'))
 */
#include <coil.h>
#include <stdio.h>

static int hello(void *arg, void **result)
{
    (void)result;
    printf("hello %s\n", (const char *)arg);
    COIL_TRY(coil_sleep(COIL_MS(100)));
    printf("goodbye %s\n", (const char *)arg);
    return 0;
}

int main(void)
{
    return coil_main(coil_coro_of(hello, "world"));
}
