/* The README's first program: two coroutines that wait at the same time. */
#include <coil.h>
#include <stdio.h>

static int ask(void *arg, void **result)
{
    printf("asking %s\n", (char *)arg);
    COIL_TRY(coil_sleep(COIL_MS(100))); /* suspends; the other one runs meanwhile */
    *result = arg;
    return 0;
}

static int async_main(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_coro coros[] = {coil_coro_of(ask, "Ann"), coil_coro_of(ask, "Bob")};
    void *answers[2];
    COIL_TRY(coil_gather_await(coros, 2, answers));
    printf("answers from %s and %s\n", (char *)answers[0], (char *)answers[1]);
    return 0;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
