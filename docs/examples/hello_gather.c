/*
 * hello_gather.c - hello world by two coroutines at a time, the second word first
 *
 * asyncio: await asyncio.gather(say(0.2, 'world'), say(0.1, 'hello'))
 */
#include <coil.h>
#include <stdio.h>

struct words {
    int64_t delay_ns;
    const char *text;
};

static int say(void *arg, void **result)
{
    const struct words *words = arg;
    (void)result;
    COIL_TRY(coil_sleep(words->delay_ns));
    puts(words->text);
    return 0;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    struct words world = {COIL_MS(200), "world"};
    struct words hello = {COIL_MS(100), "hello"};
    coil_coro both[] = {coil_coro_of(say, &world), coil_coro_of(say, &hello)};
    return coil_gather_await(both, 2, NULL);
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
