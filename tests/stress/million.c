/*
 * million.c - a million tasks that wait for one event, and what each of them costs in memory
 *
 * A task that waits holds its stack: the page that it has touched, and its bookkeeping. The program fails if a task
 * takes more than 4.6 KiB of resident memory (VmRSS), or if any of them does not come back. It ends with 77 where guard
 * pages cost mappings (before Linux 6.13, and in emulators) and vm.max_map_count does not allow so many.
 *
 *     million [TASKS]
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/sanitized.h"

#ifdef COIL_TEST_SANITIZED
enum { TASKS = 5000, MOST_BYTES = 1 << 20 }; /* whether they come back: shadow memory is not to be counted */
#else
enum { TASKS = 1000000, MOST_BYTES = 4710 };
#endif

typedef struct crowd {
    coil_event *start;
    coil_task **task;
    size_t count, woken;
} crowd;

static int wait_for_start(void *arg, void **result)
{
    crowd *c = arg;
    (void)result;
    COIL_TRY(coil_event_wait(c->start));
    c->woken++;
    return 0;
}

/* Bytes of resident memory. */
static size_t resident_bytes(void)
{
    char line[256];
    size_t kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmRSS: %zu kB", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib * 1024;
}

static int check_memory(const crowd *c, size_t before)
{
    size_t after = resident_bytes();
    if (before == 0 || after == 0) {
        fprintf(stderr, "million: no VmRSS in /proc/self/status\n");
        return COIL_EUSER(1);
    }
    size_t each = (after - before) / c->count;
    printf("%zu tasks wait: %zu bytes each, at most %d allowed\n", c->count, each, MOST_BYTES);
    return each > MOST_BYTES ? COIL_EUSER(1) : 0;
}

static int spawn_all(crowd *c)
{
    for (size_t i = 0; i < c->count; i++)
        COIL_TRY(coil_create_task(coil_coro_of(wait_for_start, c), &c->task[i]));
    return coil_sleep(0); /* each task runs until it waits */
}

static int join_all(crowd *c)
{
    for (size_t i = 0; i < c->count; i++) {
        COIL_TRY(coil_await(c->task[i], NULL));
        coil_release(c->task[i]);
    }
    if (c->woken == c->count)
        return 0;
    fprintf(stderr, "million: only %zu came back\n", c->woken);
    return COIL_EUSER(2);
}

static int run_crowd(void *arg, void **result)
{
    crowd *c = arg;
    (void)result;
    memset(c->task, 0xff, c->count * sizeof *c->task); /* resident before the measurement begins */
    size_t before = resident_bytes();
    COIL_TRY(spawn_all(c));
    int verdict = check_memory(c, before);
    coil_event_set(c->start);
    COIL_TRY(join_all(c));
    return verdict;
}

static int exit_status(int rc)
{
    coil_error *error = coil_catch(rc);
    const char *message = coil_error_message(error);
    int status = strstr(message, "vm.max_map_count") ? 77 : 1;
    fprintf(stderr, "million: %s: %s\n", coil_error_name(rc), message);
    coil_error_release(error);
    return status;
}

int main(int argc, char **argv)
{
    crowd c = {.count = argc > 1 ? strtoul(argv[1], NULL, 10) : TASKS};
    if (c.count == 0)
        return 2;
    c.task = malloc(c.count * sizeof *c.task);
    if (!c.task || coil_event_new(&c.start) < 0) {
        fprintf(stderr, "million: no memory\n");
        return 1;
    }
    int rc = coil_run(coil_coro_of(run_crowd, &c), NULL);
    coil_event_free(c.start);
    free(c.task);
    return rc < 0 ? exit_status(rc) : 0;
}
