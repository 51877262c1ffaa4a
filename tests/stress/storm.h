/*
 * storm.h - what the stress programs of timeouts, groups and combinators have in common
 *
 *     PROGRAM [WORKERS [SECONDS [SEED]]]
 *
 * storm_main() runs a coroutine on a runtime of so many workers. Random numbers come from a printed seed; each task
 * draws its own, so that a seed repeats what the tasks do, though not who runs when. EXPECT() ends the program.
 *
 * A target is a task that others cancel, with one request at a time, so that the task can tell a cancellation that
 * was asked for from one that was not, and none is lost:
 *
 *   IDLE -> ASKED   the sniper, before it cancels        ASKED -> SENT   after it
 *   SENT -> IDLE    the target has met it                CLOSED -> IDLE -> CLOSED   it begins; it ends
 */
#ifndef COIL_STRESS_STORM_H
#define COIL_STRESS_STORM_H

#include <coil.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EXPECT(condition, ...)                                                              \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: expected %s: ", __FILE__, __LINE__, #condition);         \
            fprintf(stderr, __VA_ARGS__);                                                   \
            fprintf(stderr, "\n");                                                          \
            abort();                                                                        \
        }                                                                                   \
    } while (0)

static struct {
    unsigned workers;
    double seconds;
    uint64_t seed;
    int64_t end_ns;
    _Atomic uint64_t streams; /* of random numbers */
} storm;

static inline int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline bool storm_over(void)
{
    return now_ns() >= storm.end_ns;
}

/* splitmix64 */
static inline uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline unsigned below(uint64_t *state, unsigned n)
{
    return (unsigned)(draw(state) % n);
}

static inline uint64_t new_stream(void)
{
    uint64_t state = storm.seed + atomic_fetch_add(&storm.streams, 1) * 0x632be59bd9b4e019u;
    return draw(&state);
}

/* Computes for about @ns, without suspending. */
static inline void compute(int64_t ns)
{
    for (int64_t end = now_ns() + ns; now_ns() < end;) {
    }
}

/* Removes the current error of a call that failed. */
static inline int dismiss(int rc)
{
    coil_error_release(coil_catch(rc));
    return rc;
}

/* --- targets ----------------------------------------------------------------------------------------------------- */

enum { CLOSED, IDLE, ASKED, SENT };

typedef struct target {
    coil_task *task;
    _Atomic int request;
    _Atomic uint64_t snipes; /* requests so far */
    uint64_t iterations, cancelled;
} target;

static inline bool asked(target *t)
{
    return atomic_load(&t->request) > IDLE;
}

static inline void snipe(target *t)
{
    int expected = IDLE;
    if (!atomic_compare_exchange_strong(&t->request, &expected, ASKED))
        return;
    atomic_fetch_add(&t->snipes, 1);
    coil_future_cancel(t->task, NULL);
    atomic_store(&t->request, SENT);
}

/* By the target, which has met its cancellation: the count goes back. */
static inline void absolve(target *t)
{
    EXPECT(asked(t), "a cancellation that nobody asked for");
    while (atomic_load(&t->request) != SENT)
        dismiss(coil_sleep(0));
    coil_task_uncancel(t->task);
    t->cancelled++;
    atomic_store(&t->request, IDLE);
}

/* By the target. A task that is cancelled before its first step never runs. */
static inline target *open_target(void *arg)
{
    target *t = arg;
    atomic_store(&t->request, IDLE);
    return t;
}

/* By the target: whether it may end, because nobody will cancel it any more. */
static inline bool close_target(target *t)
{
    int expected = IDLE;
    return storm_over() && atomic_compare_exchange_strong(&t->request, &expected, CLOSED);
}

/* The same after what may have met a request without showing it: a group that raises errors. */
static inline void forgive(target *t)
{
    if (!asked(t))
        return;
    while (atomic_load(&t->request) != SENT)
        dismiss(coil_sleep(0));
    dismiss(coil_sleep(0));
    absolve(t);
}

/* By the target, after an iteration: a request that was sent and not met yet is met now, and there is no other. */
static inline void settle(target *t)
{
    bool was_sent = atomic_load(&t->request) == SENT;
    int rc = dismiss(coil_sleep(0));
    EXPECT(rc == 0 || rc == -ECANCELED, "%s", coil_error_name(rc));
    EXPECT(rc == -ECANCELED || !was_sent, "a cancellation was lost");
    if (rc == -ECANCELED)
        absolve(t);
    unsigned left = coil_task_cancelling(t->task), mine = asked(t);
    EXPECT(left <= mine, "%u cancellations left", left);
    t->iterations++;
}

/* The same if one count may be left besides, which goes back too. */
static inline void settle_with_one(target *t)
{
    int idle = IDLE;
    while (!atomic_compare_exchange_strong(&t->request, &idle, CLOSED)) {
        forgive(t);
        idle = IDLE;
    }
    EXPECT(coil_task_cancelling(t->task) <= 1, "%u cancellations left", coil_task_cancelling(t->task));
    coil_task_uncancel(t->task);
    atomic_store(&t->request, IDLE);
    settle(t);
}

typedef struct sniper {
    target *targets;
    unsigned count;
    int64_t pause_ns; /* on average */
} sniper;

static inline int snipe_all(void *arg, void **result)
{
    sniper *s = arg;
    uint64_t random = new_stream();
    (void)result;
    while (!storm_over()) {
        snipe(&s->targets[below(&random, s->count)]);
        if (below(&random, 4) == 0)
            compute(below(&random, 20000));
        int64_t pause = (int64_t)(draw(&random) % (2 * (uint64_t)s->pause_ns));
        COIL_TRY(coil_sleep(below(&random, 3) == 0 ? pause : 0));
    }
    return 0;
}

/* @count targets that run @body(target), and @snipers; each body returns when storm_over(). Prints what they did. */
static inline int run_targets(int (*body)(void *, void **), unsigned count, unsigned snipers)
{
    target *targets = calloc(count, sizeof *targets);
    coil_task **others = calloc(snipers, sizeof(coil_task *));
    EXPECT(targets && others, "no memory");
    sniper s = {targets, count, COIL_US(200)};
    for (unsigned i = 0; i < count; i++)
        COIL_TRY(coil_create_task(coil_coro_make(body, &targets[i], NULL, 0, "target"), &targets[i].task));
    for (unsigned i = 0; i < snipers; i++)
        COIL_TRY(coil_create_task(coil_coro_make(snipe_all, &s, NULL, 0, "sniper"), &others[i]));
    uint64_t iterations = 0, cancelled = 0;
    for (unsigned i = 0; i < snipers; i++)
        COIL_TRY(coil_join(others[i], NULL));
    for (unsigned i = 0; i < count; i++) {
        COIL_TRY(coil_join(targets[i].task, NULL));
        iterations += targets[i].iterations;
        cancelled += targets[i].cancelled;
    }
    printf("%llu iterations, %llu cancelled from outside\n", (unsigned long long)iterations,
           (unsigned long long)cancelled);
    free(targets);
    free(others);
    return 0;
}

static inline int storm_main(int argc, char **argv, int (*root)(void *, void **))
{
    storm.workers = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
    storm.seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    storm.seed = argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)now_ns();
    if (storm.workers == 0 || storm.seconds <= 0)
        return 2;
    printf("%s %u %g %#llx\n", argv[0], storm.workers, storm.seconds, (unsigned long long)storm.seed);
    fflush(stdout);
    storm.end_ns = now_ns() + (int64_t)(storm.seconds * 1e9);
    coil_runtime_options options = {.size = sizeof options, .workers = storm.workers};
    int rc = coil_runtime_run(&options, coil_coro_make(root, NULL, NULL, 0, "storm"), NULL);
    if (rc == 0)
        return 0;
    char text[512];
    coil_error *e = coil_catch(rc);
    coil_error_format(e, text, sizeof text);
    fprintf(stderr, "%s: %s\n", argv[0], text);
    coil_error_release(e);
    return 1;
}

#endif
