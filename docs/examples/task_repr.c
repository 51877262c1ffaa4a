/*
 * task_repr.c - what a task looks like in text
 *
 * asyncio: print(asyncio.current_task())      <Task pending name='Task-1' coro=<main() ...>>
 */
#include <coil.h>
#include <stdio.h>

static int work(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return 0;
}

static void print_task(coil_task *task)
{
    char text[200];
    coil_future_repr(task, text, sizeof text);
    puts(text);
}

static int async_main(void *arg, void **result)
{
    (void)arg;
    (void)result;
    print_task(coil_current_task());

    coil_task *task;
    coil_task_options options = {.size = sizeof options, .name = "worker"};
    COIL_TRY(coil_create_task_with(coil_coro_of(work, NULL), &options, &task));
    print_task(task);
    coil_task_cancel(task, NULL);
    int rc = coil_await(task, NULL);
    print_task(task);
    coil_release(task);
    return rc == -ECANCELED ? 0 : rc;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
