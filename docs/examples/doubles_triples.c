/*
 * doubles_triples.c - two kinds of coroutines in one gather
 *
 * asyncio: await asyncio.gather(*map(get_double, range(10)), *map(get_triple, range(10)))
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 10 };

static int get_double(void *arg, void **result)
{
    intptr_t n = (intptr_t)arg;
    COIL_TRY(coil_sleep(COIL_MS(rand() % 100)));
    *result = (void *)(n * 2);
    return 0;
}

static int get_triple(void *arg, void **result)
{
    intptr_t n = (intptr_t)arg;
    COIL_TRY(coil_sleep(COIL_MS(rand() % 100)));
    *result = (void *)(n * 3);
    return 0;
}

static void print_row(const char *what, void *const *values)
{
    printf("%s:", what);
    for (int i = 0; i < N; i++)
        printf(" %d", (int)(intptr_t)values[i]);
    printf("\n");
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_coro coros[2 * N];
    void *values[2 * N];
    for (intptr_t i = 0; i < N; i++) {
        coros[i] = coil_coro_of(get_double, (void *)i);
        coros[N + i] = coil_coro_of(get_triple, (void *)i);
    }
    COIL_TRY(coil_gather_await(coros, 2 * N, values));
    print_row("doubles", values);
    print_row("triples", values + N);
    return 0;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
