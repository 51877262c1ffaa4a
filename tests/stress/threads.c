/*
 * threads.c - plain threads that run coroutines on a runtime, and cancel them
 *
 * Each thread starts coroutines with coil_run_coroutine_threadsafe, waits for some, with and without a limit,
 * cancels others before, while and after they run, and drops futures that nobody waits for. Checked: every
 * coroutine's argument is freed once, by its body or because that never ran; a result belongs to its coroutine; a
 * future that was cancelled by us stays so.
 */
#include <pthread.h>

#include "../support/stress.h"

enum { THREADS = 4 };

typedef struct call {
    uint64_t random;
    uintptr_t number;
} call;

static atomic_long made, ran, never, finished, cancelled, late;
static atomic_int threads_left = THREADS;
static coil_loop *loop;

static void drop_call(void *c)
{
    free(c);
    atomic_fetch_add(&never, 1);
}

static void drop_result(void *result)
{
    free(result);
}

/* Waits in different ways; a cancellation ends it, or is ignored. */
static int wander(call *c)
{
    for (uint32_t n = stress_random(&c->random, 6); n > 0; n--) {
        uint32_t way = stress_random(&c->random, 8);
        int rc = way == 0 ? coil_sleep(COIL_US(50)) : way < 6 ? coil_sleep(0) : 0;
        if (rc < 0 && way != 1)
            return rc;
        stress_caught(rc);
    }
    return 0;
}

static int answer(void *arg, void **result)
{
    call *c = arg;
    coil_task_set_result_drop(coil_current_task(), drop_result);
    int rc = wander(c);
    if (rc == 0) {
        *result = malloc(sizeof c->number);
        *(uintptr_t *)*result = c->number;
    }
    atomic_fetch_add(&ran, 1);
    free(c);
    return rc;
}

/* What a future that may have been cancelled by us comes to. */
static void check(coil_thread_future *f, uintptr_t number, bool cancelled_by_us, int64_t timeout_ns)
{
    void *result;
    int rc = stress_caught(coil_thread_future_wait(f, timeout_ns, &result));
    if (rc == -ETIMEDOUT) {
        MUST(timeout_ns != COIL_FOREVER && !cancelled_by_us);
        atomic_fetch_add(&late, 1);
        return;
    }
    MUST(coil_thread_future_done(f));
    MUST(cancelled_by_us == (rc == -ECANCELED));
    MUST(cancelled_by_us == coil_thread_future_cancelled(f));
    if (rc == 0)
        MUST(*(uintptr_t *)result == number);
    atomic_fetch_add(rc == 0 ? &finished : &cancelled, 1);
}

static void one_call(uint64_t *random, uintptr_t number)
{
    coil_thread_future *f;
    call *c = malloc(sizeof *c);
    *c = (call){.random = *random | 1, .number = number};
    atomic_fetch_add(&made, 1);
    stress_ok(coil_run_coroutine_threadsafe(coil_coro_owning(answer, c, drop_call), loop, &f));
    uint32_t way = stress_random(random, 8);
    if (way > 1)
        stress_spin(stress_random(random, 20000));
    bool cancel = way < 5 && coil_thread_future_cancel(f);
    if (way < 7)
        check(f, number, cancel, way == 6 ? (int64_t)stress_random(random, 100) * 1000 : COIL_FOREVER);
    coil_thread_future_release(f);
}

static void *run_thread(void *arg)
{
    uint64_t random = stress_random_state((uintptr_t)arg);
    for (uintptr_t n = (uintptr_t)arg << 32; stress_time_left(); n++)
        one_call(&random, n);
    atomic_fetch_sub(&threads_left, 1);
    return NULL;
}

/* The workers have their own work meanwhile, so that the coroutines move. */
static int busy(void *arg, void **result)
{
    (void)result;
    uint64_t random = stress_random_state((uintptr_t)arg + 50);
    while (stress_time_left()) {
        stress_spin(stress_random(&random, 2000));
        COIL_TRY(coil_sleep(0));
    }
    return 0;
}

static int body(void *arg, void **result)
{
    (void)arg;
    (void)result;
    pthread_t threads[THREADS];
    coil_task *tasks[4];
    loop = coil_get_running_loop();
    for (uintptr_t i = 0; i < 4; i++)
        stress_ok(coil_create_task(coil_coro_of(busy, (void *)i), &tasks[i]));
    for (uintptr_t i = 0; i < THREADS; i++)
        MUST(pthread_create(&threads[i], NULL, run_thread, (void *)i) == 0);
    for (int i = 0; i < 4; i++)
        stress_ok(coil_join(tasks[i], NULL));
    while (atomic_load(&threads_left) > 0 || atomic_load(&ran) + atomic_load(&never) < atomic_load(&made))
        stress_ok(coil_sleep(COIL_MS(1)));
    for (int i = 0; i < THREADS; i++)
        MUST(pthread_join(threads[i], NULL) == 0);
    return 0;
}

int main(int argc, char **argv)
{
    stress_main(argc, argv, body, NULL);
    printf("%ld coroutines: %ld ran, %ld never; %ld waits ended with a result, %ld cancelled, %ld too late\n",
           atomic_load(&made), atomic_load(&ran), atomic_load(&never), atomic_load(&finished), atomic_load(&cancelled),
           atomic_load(&late));
    MUST(atomic_load(&ran) + atomic_load(&never) == atomic_load(&made));
    return 0;
}
