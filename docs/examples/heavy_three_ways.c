/*
 * heavy_three_ways.c - a long computation beside a task that should tick every 10 ms: heavy_three_ways [LIMIT]
 *
 * Called like any function it blocks the loop, and debug mode says who did; with checkpoints the loop gets a turn now
 * and then; in the executor it runs on another thread.
 * asyncio: loop.set_debug(True); await asyncio.sleep(0); await asyncio.to_thread(count_primes, limit)
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT = 2000000, NUMBERS_BETWEEN_CHECKPOINTS = 1000 };

static bool is_prime(long n)
{
    for (long d = 2; d * d <= n; d++)
        if (n % d == 0)
            return false;
    return n >= 2;
}

static long count_primes(long from, long to)
{
    long count = 0;
    for (long n = from; n < to; n++)
        count += is_prime(n);
    return count;
}

/* --- three ways ----------------------------------------------------------------------------------------------- */

static int block_the_loop(long limit, long *count)
{
    *count = count_primes(0, limit);
    return 0;
}

static int with_checkpoints(long limit, long *count)
{
    *count = 0;
    for (long from = 0; from < limit; from += NUMBERS_BETWEEN_CHECKPOINTS) {
        long to = from + NUMBERS_BETWEEN_CHECKPOINTS;
        *count += count_primes(from, to < limit ? to : limit);
        COIL_TRY(coil_sleep(0));
    }
    return 0;
}

struct job {
    long limit, count;
};

static int count_on_another_thread(void *arg, void **result)
{
    struct job *job = arg;
    (void)result;
    job->count = count_primes(0, job->limit);
    return 0;
}

static int in_the_executor(long limit, long *count)
{
    struct job job = {.limit = limit};
    COIL_TRY(coil_to_thread(count_on_another_thread, &job, NULL));
    *count = job.count;
    return 0;
}

/* --- what the rest of the program notices ----------------------------------------------------------------------- */

static int tick(void *arg, void **result)
{
    int *ticks = arg;
    (void)result;
    for (;;) {
        COIL_TRY(coil_sleep(COIL_MS(10)));
        ++*ticks;
    }
}

static int try_one(const char *name, int (*way)(long, long *), long limit)
{
    int ticks = 0;
    long count;
    coil_task *ticking;
    COIL_TRY(coil_create_task(coil_coro_of(tick, &ticks), &ticking));
    COIL_TRY(coil_sleep(0)); /* it starts */
    int rc = way(limit, &count);
    int during = ticks;
    coil_task_cancel(ticking, NULL);
    int end = coil_join(ticking, NULL);
    COIL_TRY(rc);
    printf("%s: %ld primes, %d ticks meanwhile\n", name, count, during);
    return end == -ECANCELED ? 0 : end;
}

static void print_slow(coil_loop *loop, const char *what, int64_t duration_ns, void *arg)
{
    (void)loop;
    (void)arg;
    printf("debug mode: %s held the loop for %.3f s\n", what, (double)duration_ns / 1e9);
}

static int async_main(void *arg, void **result)
{
    long limit = *(long *)arg;
    (void)result;
    COIL_TRY(try_one("blocking the loop", block_the_loop, limit));
    COIL_TRY(try_one("with checkpoints", with_checkpoints, limit));
    return try_one("in the executor", in_the_executor, limit);
}

int main(int argc, char **argv)
{
    char *end;
    long limit = LIMIT;
    if (argc > 1 && ((limit = strtol(argv[1], &end, 10)) <= 0 || *end)) {
        fprintf(stderr, "usage: heavy_three_ways [LIMIT]\n");
        return 2;
    }
    coil_loop_options options = {.size = sizeof options, .debug = true, .slow_callback_handler = print_slow};
    return coil_run_with(&options, coil_coro_of(async_main, &limit), NULL) < 0;
}
