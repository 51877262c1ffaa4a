/*
 * three_requests.c - three slow requests at once take as long as the slowest of them
 *
 * asyncio: await asyncio.gather(*map(request, ['/slow', '/slower', '/fast']))
 */
#include <coil.h>
#include <stdio.h>

struct request {
    const char *path;
    int64_t latency_ns;
};

static int perform(void *arg, void **result)
{
    const struct request *request = arg;
    printf("GET %s\n", request->path);
    COIL_TRY(coil_sleep(request->latency_ns));
    printf("answer to %s\n", request->path);
    *result = "200 OK";
    return 0;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    struct request requests[] = {{"/slow", COIL_MS(300)}, {"/slower", COIL_MS(500)}, {"/fast", COIL_MS(100)}};
    coil_coro coros[3];
    void *statuses[3];
    for (size_t i = 0; i < 3; i++)
        coros[i] = coil_coro_of(perform, &requests[i]);

    coil_loop *loop = coil_get_running_loop();
    int64_t start = coil_loop_time(loop);
    COIL_TRY(coil_gather_await(coros, 3, statuses));
    int64_t took = coil_loop_time(loop) - start;

    for (size_t i = 0; i < 3; i++)
        printf("%s: %s\n", requests[i].path, (const char *)statuses[i]);
    printf("as long as the slowest: %s\n", took >= COIL_MS(500) && took < COIL_MS(900) ? "yes" : "no");
    return 0;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
