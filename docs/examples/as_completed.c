/*
 * as_completed.c - results in the order in which they arrive
 *
 * asyncio: for next in asyncio.as_completed(map(fetch, range(1, 5))): print(await next)
 */
#include <coil.h>
#include <stdio.h>

enum { N = 4 };

static int fetch(void *arg, void **result)
{
    intptr_t n = (intptr_t)arg;
    COIL_TRY(coil_sleep(COIL_MS(100) * (n * 2 % 5)));
    *result = (void *)n;
    return 0;
}

static int print_arrivals(coil_as_completed *arrivals)
{
    coil_coro next;
    int rc;
    while ((rc = coil_as_completed_next(arrivals, &next)) == 0) {
        void *n;
        COIL_TRY(coil_coro_await(next, &n));
        printf("arrived: %d\n", (int)(intptr_t)n);
    }
    return rc == COIL_ESTOPITERATION ? 0 : rc;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_awaitable fetches[N];
    for (intptr_t n = 1; n <= N; n++)
        fetches[n - 1] = COIL_AWAITABLE(coil_coro_of(fetch, (void *)n));

    coil_as_completed *arrivals;
    COIL_TRY(coil_as_completed_new(fetches, N, COIL_FOREVER, &arrivals));
    int rc = print_arrivals(arrivals);
    coil_as_completed_release(arrivals);
    return rc;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
