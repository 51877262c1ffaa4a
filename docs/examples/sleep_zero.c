/*
 * sleep_zero.c - coil_sleep(0) lets everybody else run first; as a coroutine it can carry a result
 *
 * asyncio: await asyncio.sleep(0); x = await asyncio.sleep(0, 'a result')
 */
#include <coil.h>
#include <stdio.h>

struct counter {
    const char *name;
    int n;
};

static int count(void *arg, void **result)
{
    const struct counter *counter = arg;
    (void)result;
    for (int i = 0; i < counter->n; i++) {
        printf("%s %d\n", counter->name, i);
        COIL_TRY(coil_sleep(0));
    }
    return 0;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    struct counter a = {"a", 4}, b = {"b", 2};
    coil_coro both[] = {coil_coro_of(count, &a), coil_coro_of(count, &b)};
    COIL_TRY(coil_gather_await(both, 2, NULL));

    void *value;
    COIL_TRY(coil_coro_await(coil_sleep_coro(0, "a result"), &value));
    puts(value);
    return 0;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
