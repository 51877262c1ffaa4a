/*
 * keystrokes.c - single keystrokes beside a slow task, through one queue: keystrokes [SECONDS]
 *
 * Each key is printed at once, without Enter; meanwhile a slow coroutine works for 10 s (or SECONDS) and then reports.
 * q and Ctrl-D end the program. Reading a terminal blocks, so it is done in the executor; keystrokes_process.c does it
 * in a child process, and coil_open_stdin() would do without either.
 * asyncio: key = await asyncio.to_thread(sys.stdin.read, 1)
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CTRL_D = 4, REPORT = 256 }; /* what is in the queue: keys, and this */

struct desk {
    coil_queue *queue;
    double seconds;
};

static bool ends(intptr_t key)
{
    return key == 'q' || key == CTRL_D;
}

/* Blocking, so it runs on a thread of the executor. The end of a file counts as Ctrl-D. */
static int read_key(void *arg, void **result)
{
    unsigned char key;
    (void)arg;
    ssize_t n = read(STDIN_FILENO, &key, 1);
    if (n < 0)
        return coil_raise(-errno, "standard input: %s", strerror(errno));
    *result = (void *)(intptr_t)(n == 0 ? CTRL_D : key);
    return 0;
}

static int read_keys(void *arg, void **result)
{
    const struct desk *desk = arg;
    void *key;
    (void)result;
    do {
        COIL_TRY(coil_to_thread(read_key, NULL, &key));
        COIL_TRY(coil_queue_put(desk->queue, key));
    } while (!ends((intptr_t)key));
    return 0;
}

static int work_slowly(void *arg, void **result)
{
    const struct desk *desk = arg;
    (void)result;
    COIL_TRY(coil_sleep(COIL_SECONDS(desk->seconds)));
    return coil_queue_put(desk->queue, (void *)(intptr_t)REPORT);
}

static int print_what_comes(const struct desk *desk)
{
    void *item = NULL;
    while (!ends((intptr_t)item)) {
        COIL_TRY(coil_queue_get(desk->queue, &item));
        if ((intptr_t)item == REPORT)
            printf("[the slow one has worked for %g s]\n", desk->seconds);
        else if (!ends((intptr_t)item))
            printf("key %c\n", (int)(intptr_t)item);
        fflush(stdout);
    }
    puts("bye");
    return 0;
}

static int start_both(coil_group *group, void *arg)
{
    struct desk *desk = arg;
    coil_task *slow;
    COIL_TRY(coil_group_create_task(group, coil_coro_of(read_keys, desk), NULL, NULL));
    COIL_TRY(coil_group_create_task(group, coil_coro_of(work_slowly, desk), NULL, &slow));
    int rc = print_what_comes(desk);
    coil_task_cancel(slow, NULL);
    coil_release(slow);
    return rc;
}

static int async_main(void *arg, void **result)
{
    struct desk *desk = arg;
    coil_terminal *saved = NULL;
    (void)result;
    if (isatty(STDIN_FILENO))
        COIL_TRY(coil_terminal_cbreak(STDIN_FILENO, &saved));
    int rc = coil_queue_new(0, &desk->queue);
    if (rc == 0) {
        puts("press keys, q to quit");
        fflush(stdout);
        rc = coil_group_run(start_both, desk);
        coil_queue_free(desk->queue);
    }
    coil_terminal_restore(saved);
    return rc;
}

int main(int argc, char **argv)
{
    char *end;
    struct desk desk = {.seconds = argc > 1 ? strtod(argv[1], &end) : 10};
    if (argc > 1 && (!(desk.seconds > 0 && desk.seconds < 1e9) || *end)) {
        fprintf(stderr, "usage: keystrokes [SECONDS]\n");
        return 2;
    }
    return coil_main(coil_coro_of(async_main, &desk));
}
