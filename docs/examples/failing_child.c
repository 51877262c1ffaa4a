/*
 * failing_child.c - one of the gathered coroutines raises: what becomes of the others, in three variants
 *
 * asyncio: gather(fail(), work()); gather(..., return_exceptions=True); and cancelling the siblings by hand
 */
#include <coil.h>
#include <stdio.h>

#define EFLAT COIL_EUSER(0) /* an error of this program's own */

static int fail(void *arg, void **result)
{
    (void)arg;
    (void)result;
    COIL_TRY(coil_sleep(COIL_MS(150)));
    return coil_raise(EFLAT, "out of air");
}

static int work(void *arg, void **result)
{
    (void)arg;
    for (int i = 1; i <= 3; i++) {
        int rc = coil_sleep(COIL_MS(100));
        if (rc < 0) {
            printf("  work: %s\n", coil_error_name(rc));
            return rc;
        }
        printf("  work: step %d\n", i);
    }
    *result = "done";
    return 0;
}

static void print_error(const char *who, const coil_error *error)
{
    printf("  %s raised %s\n", who, error ? coil_error_message(error) : "nothing");
}

/* The gathering raises at once, and the other one goes on. */
static int the_others_go_on(void)
{
    coil_coro both[] = {coil_coro_of(fail, NULL), coil_coro_of(work, NULL)};
    coil_error *error = coil_catch(coil_gather_await(both, 2, NULL));
    print_error("gather", error);
    coil_error_release(error);
    return coil_sleep(COIL_MS(400));
}

/* The gathering waits for both, and an error is a result like any other. */
static int errors_are_results(void)
{
    coil_awaitable both[] = {COIL_AWAITABLE(coil_coro_of(fail, NULL)), COIL_AWAITABLE(coil_coro_of(work, NULL))};
    coil_future *all;
    COIL_TRY(coil_gather(both, 2, true, &all));
    int rc = coil_await(all, NULL);
    if (rc == 0) {
        const coil_outcome *outcomes = coil_gather_outcomes(all, NULL);
        print_error("fail", outcomes[0].error);
        printf("  work returned %s\n", (const char *)outcomes[1].value);
    }
    coil_release(all);
    return rc;
}

/* The others are cancelled by whoever sees the error; a second gathering waits for their end. */
static int cancel_the_others(void)
{
    coil_task *tasks[2];
    COIL_TRY(coil_create_task(coil_coro_of(fail, NULL), &tasks[0]));
    COIL_TRY(coil_create_task(coil_coro_of(work, NULL), &tasks[1]));
    coil_awaitable both[] = {COIL_AWAITABLE(tasks[0]), COIL_AWAITABLE(tasks[1])};
    coil_future *all;

    COIL_TRY(coil_gather(both, 2, false, &all));
    coil_error *error = coil_catch(coil_join(all, NULL));
    print_error("gather", error);
    coil_error_release(error);

    for (int i = 0; i < 2; i++)
        printf("  cancel: %s\n", coil_task_cancel(tasks[i], NULL) ? "yes" : "it has ended");
    COIL_TRY(coil_gather(both, 2, true, &all));
    int rc = coil_join(all, NULL);
    coil_release(tasks[0]);
    coil_release(tasks[1]);
    return rc;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    puts("the others go on:");
    COIL_TRY(the_others_go_on());
    puts("errors are results:");
    COIL_TRY(errors_are_results());
    puts("the others are cancelled:");
    return cancel_the_others();
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
