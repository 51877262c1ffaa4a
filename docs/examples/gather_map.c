/*
 * gather_map.c - results in the order of the inputs, whatever the order in which they were computed
 *
 * asyncio: dict(zip(numbers, await asyncio.gather(*map(square, numbers))))
 */
#include <coil.h>
#include <stdio.h>

enum { N = 5 };

static int square(void *arg, void **result)
{
    intptr_t n = (intptr_t)arg;
    COIL_TRY(coil_sleep(COIL_MS(100) * (N - n)));
    printf("computed %d\n", (int)n);
    *result = (void *)(n * n);
    return 0;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_coro coros[N];
    void *squares[N];
    for (intptr_t n = 0; n < N; n++)
        coros[n] = coil_coro_of(square, (void *)n);
    COIL_TRY(coil_gather_await(coros, N, squares));
    for (int n = 0; n < N; n++)
        printf("%d -> %d\n", n, (int)(intptr_t)squares[n]);
    return 0;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
