/*
 * wait_list.c - wait for a list of tasks, first for one of them, then for all
 *
 * asyncio: done, pending = await asyncio.wait([a, b], return_when=FIRST_COMPLETED)
 */
#include <coil.h>
#include <stdio.h>

struct words {
    int64_t delay_ns;
    const char *text;
};

static int say(void *arg, void **result)
{
    struct words *words = arg;
    COIL_TRY(coil_sleep(words->delay_ns));
    puts(words->text);
    *result = words;
    return 0;
}

static int wait_for_both(coil_task *const *tasks)
{
    size_t done;
    COIL_TRY(coil_wait(tasks, 2, COIL_FOREVER, COIL_FIRST_COMPLETED, &done));
    printf("%zu done\n", done);
    COIL_TRY(coil_wait(tasks, 2, COIL_FOREVER, COIL_ALL_COMPLETED, &done));
    printf("%zu done\n", done);
    return 0;
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    struct words world = {COIL_MS(200), "world"};
    struct words hello = {COIL_MS(100), "hello"};
    coil_task *tasks[2];
    COIL_TRY(coil_create_task(coil_coro_of(say, &world), &tasks[0]));
    COIL_TRY(coil_create_task(coil_coro_of(say, &hello), &tasks[1]));

    int rc = wait_for_both(tasks);
    coil_release(tasks[0]);
    coil_release(tasks[1]);
    return rc;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
