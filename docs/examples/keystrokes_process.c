/*
 * keystrokes_process.c - keystrokes.c with its reader in a child process: keystrokes_process [SECONDS]
 *
 * The child is this program once more, with --reader: it reads the terminal, blocking, and writes each key into a
 * pipe, which is a stream here. A child, unlike a thread, can be ended while it waits for a key. q and Ctrl-D end the
 * program.
 * asyncio: await asyncio.create_subprocess_exec(sys.executable, __file__, '--reader', stdout=PIPE)
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CTRL_D = 4, REPORT = 256 }; /* what is in the queue: keys, and this */

struct desk {
    coil_queue *queue;
    coil_process *reader;
    double seconds;
};

/* The child. */
static int read_blocking(void)
{
    char key;
    while (read(STDIN_FILENO, &key, 1) == 1)
        if (write(STDOUT_FILENO, &key, 1) != 1)
            return EXIT_FAILURE;
    return EXIT_SUCCESS;
}

static bool ends(intptr_t key)
{
    return key == 'q' || key == CTRL_D;
}

static int pass_keys_on(void *arg, void **result)
{
    const struct desk *desk = arg;
    coil_stream *keys = coil_process_stdout(desk->reader);
    unsigned char key = 0;
    (void)result;
    while (!ends(key)) {
        size_t n;
        COIL_TRY(coil_stream_read(keys, &key, 1, &n));
        if (n == 0)
            key = CTRL_D;
        COIL_TRY(coil_queue_put(desk->queue, (void *)(intptr_t)key));
    }
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
    COIL_TRY(coil_group_create_task(group, coil_coro_of(pass_keys_on, desk), NULL, NULL));
    COIL_TRY(coil_group_create_task(group, coil_coro_of(work_slowly, desk), NULL, &slow));
    int rc = print_what_comes(desk);
    coil_task_cancel(slow, NULL);
    coil_release(slow);
    return rc;
}

static int read_with_a_child(struct desk *desk)
{
    COIL_TRY(coil_create_subprocess_exec(
        &(coil_process_options){.size = sizeof(coil_process_options),
                                .argv = (const char *[]){"/proc/self/exe", "--reader", NULL},
                                .stdout_to = COIL_SUBPROCESS_PIPE},
        &desk->reader));
    puts("press keys, q to quit");
    fflush(stdout);
    coil_error *error = coil_catch(coil_group_run(start_both, desk));
    (void)coil_process_terminate(desk->reader); /* unless it has ended by itself */
    int rc = coil_process_wait(desk->reader, NULL);
    coil_process_free(desk->reader);
    return error ? coil_raise_error(error) : rc;
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
        rc = read_with_a_child(desk);
        coil_queue_free(desk->queue);
    }
    coil_terminal_restore(saved);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--reader") == 0)
        return read_blocking();
    char *end;
    struct desk desk = {.seconds = argc > 1 ? strtod(argv[1], &end) : 10};
    if (argc > 1 && (!(desk.seconds > 0 && desk.seconds < 1e9) || *end)) {
        fprintf(stderr, "usage: keystrokes_process [SECONDS]\n");
        return 2;
    }
    return coil_main(coil_coro_of(async_main, &desk));
}
