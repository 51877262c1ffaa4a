/*
 * bench_cross_thread.c - W4: what does calling into a loop from a thread that is not its own cost?
 *
 * W4.post: a foreign thread posts a million callbacks that count; from the first post until the loop, asleep at the
 * start, has run the last. W4.rtt: it posts one that wakes it again, and sleeps meanwhile, 20,000 times in turn;
 * W4.rtt_1core: the same with both threads on one core, so without the cost of waking another.
 *
 * Each round has a poster thread of its own. The loop's side runs in a task, which waits for the last callback.
 * I1 only callbacks of the loop touch `count`; the poster is joined before the round ends
 */
#define _GNU_SOURCE /* sched_setaffinity */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <time.h>

typedef struct posting {
    uint64_t calls;
    coil_callback *callback; /* what is posted */
    coil_loop *loop;
    coil_future *done; /* completed by the last callback */
    bench_lap *lap;
    uint64_t count; /* I1 */
    sem_t reply;
    int rc; /* of the poster: the first post that failed */
} posting;

/* --- on the loop --------------------------------------------------------------------------------------------- */

static int count(void *arg)
{
    posting *p = arg;
    if (++p->count < p->calls)
        return 0;
    bench_lap_stop(p->lap);
    return coil_future_set_result(p->done, NULL);
}

static int reply(void *arg)
{
    posting *p = arg;
    sem_post(&p->reply);
    return count(p);
}

/* --- the foreign thread -------------------------------------------------------------------------------------- */

static void until_loop_sleeps(void)
{
    const struct timespec two_ms = {.tv_nsec = 2000000};
    nanosleep(&two_ms, NULL);
}

/* A loop that lost a callback would be waited for without end; so a failed post ends it. */
static int give_up(void *arg)
{
    posting *p = arg;
    return coil_future_set_exception(p->done, coil_error_new(p->rc, "a post failed"));
}

static int post(posting *p)
{
    for (uint64_t i = 0; i < p->calls; i++) {
        COIL_TRY(coil_loop_call_soon_threadsafe(p->loop, p->callback, p, NULL));
        while (p->callback == reply && sem_wait(&p->reply) < 0) {
        }
    }
    return 0;
}

static void *poster(void *arg)
{
    posting *p = arg;
    until_loop_sleeps();
    bench_lap_start(p->lap);
    p->rc = post(p);
    if (p->rc < 0)
        coil_loop_call_soon_threadsafe(p->loop, give_up, p, NULL);
    return NULL;
}

/* --- rounds -------------------------------------------------------------------------------------------------- */

static int wait_for_poster(posting *p)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, poster, p);
    if (rc != 0)
        return coil_raise(-rc, "no thread to post from");
    rc = coil_await(p->done, NULL);
    pthread_join(thread, NULL);
    /* The poster's allocations are known now that it has ended. */
    p->lap->allocations = bench_allocations() - p->lap->allocations_before;
    return rc;
}

static int round_of_posts(void *state, bench_lap *laps)
{
    posting *p = state;
    p->loop = coil_get_running_loop();
    p->lap = &laps[0];
    p->count = 0;
    COIL_TRY(coil_create_future(&p->done));
    int rc = wait_for_poster(p);
    coil_release(p->done);
    return rc;
}

static int run_posting(const bench_options *options, const char *name, enum bench_unit unit, coil_callback *callback,
                       uint64_t calls)
{
    posting p = {.calls = bench_count(options, calls), .callback = callback};
    const bench_figure figure = {name, unit, p.calls};
    sem_init(&p.reply, 0, 0);
    int rc = bench_repeat_in_task(options, &figure, 1, round_of_posts, &p);
    sem_destroy(&p.reply);
    return rc;
}

/* Threads made meanwhile are on that core too. */
static int run_on_one_core(const bench_options *options)
{
    cpu_set_t before, one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (sched_getaffinity(0, sizeof before, &before) < 0 || sched_setaffinity(0, sizeof one, &one) < 0)
        return coil_raise(-EPERM, "cannot stay on one core");
    int rc = run_posting(options, "W4.rtt_1core", BENCH_NS, reply, 20000);
    sched_setaffinity(0, sizeof before, &before);
    return rc;
}

static int run(const bench_options *options)
{
    COIL_TRY(run_posting(options, "W4.post", BENCH_PER_SECOND, count, 1000000));
    COIL_TRY(run_posting(options, "W4.rtt", BENCH_NS, reply, 20000));
    return run_on_one_core(options);
}

const bench_workload bench_cross_thread = {"cross_thread", "W4: a foreign thread posts callbacks into a loop", run};
