/*
 * contexts.c - contexts among workers
 *
 * Tasks set variables, and find their own values wherever they go on; what they make inherits copies. Others share
 * one context: what they read there was set by one of them; of those that want to enter it at the same time one does.
 * Checked at the end: every value with a drop function was dropped once, and
 * not while it was looked at.
 */
#include "../support/stress.h"

enum { TASKS = 32, SHARERS = 6, ALIVE = 0x600d };

typedef struct value {
    uintptr_t number;
    uint32_t alive;
} value;

static atomic_long made, dropped, rounds, entered, refused;
static atomic_bool over;
static coil_contextvar *own, *other, *common;
static coil_context *shared;
static uintptr_t inside; /* by whoever has entered `shared`: plain, for ThreadSanitizer */

static void drop_value(void *p)
{
    value *v = p;
    MUST(v->alive == ALIVE);
    v->alive = 0;
    free(v);
    atomic_fetch_add(&dropped, 1);
}

static value *new_value(uintptr_t number)
{
    value *v = malloc(sizeof *v);
    *v = (value){.number = number, .alive = ALIVE};
    atomic_fetch_add(&made, 1);
    return v;
}

static uintptr_t number_in(coil_contextvar *var)
{
    void *p;
    stress_ok(coil_contextvar_get(var, &p));
    const value *v = p;
    MUST(v->alive == ALIVE);
    return v->number;
}

static int move_on(uint64_t *random)
{
    uint32_t way = stress_random(random, 8);
    return way == 0 ? coil_sleep(COIL_US(30)) : way < 6 ? coil_sleep(0) : 0;
}

/* Its maker's value, until it sets its own, which its maker does not see. */
static int child(void *number, void **result)
{
    (void)result;
    uint64_t random = stress_random_state((uintptr_t)number * 7);
    MUST(number_in(own) == (uintptr_t)number);
    stress_ok(move_on(&random));
    MUST(number_in(own) == (uintptr_t)number);
    stress_ok(coil_contextvar_set(own, new_value(0), NULL));
    return 0;
}

static int callback(void *future)
{
    void *p;
    stress_ok(coil_contextvar_get(own, &p));
    return coil_future_set_result(future, (void *)((value *)p)->number);
}

static void call_back(uintptr_t number)
{
    void *seen;
    coil_future *f;
    stress_ok(coil_create_future(&f));
    stress_ok(coil_loop_call_soon(coil_get_running_loop(), callback, f, NULL));
    stress_ok(coil_await(f, &seen));
    MUST((uintptr_t)seen == number);
    coil_release(f);
}

/* A value for a while, and back. */
static void set_and_reset(uintptr_t number, uint64_t *random)
{
    coil_context_token *token;
    uintptr_t before = number_in(other);
    stress_ok(coil_contextvar_set(other, new_value(number), &token));
    stress_ok(move_on(random));
    MUST(number_in(other) == number);
    stress_ok(coil_contextvar_reset(other, token));
    coil_context_token_free(token);
    MUST(number_in(other) == before);
}

static int isolated(void *arg, void **result)
{
    (void)result;
    uint64_t random = stress_random_state((uintptr_t)arg);
    stress_ok(coil_contextvar_set(other, new_value(1), NULL));
    for (uintptr_t n = (uintptr_t)arg << 32; !atomic_load(&over); n++) {
        coil_task *t;
        stress_ok(coil_contextvar_set(own, new_value(n), NULL));
        stress_ok(coil_create_task(coil_coro_of(child, (void *)n), &t));
        set_and_reset(n, &random);
        call_back(n);
        stress_ok(coil_join(t, NULL));
        MUST(number_in(own) == n);
        atomic_fetch_add(&rounds, 1);
    }
    return 0;
}

static int in_shared(void *arg)
{
    uint64_t *random = arg;
    uintptr_t before = ++inside;
    int rc = move_on(random);
    MUST(inside == before);
    return rc;
}

/* Runs in the shared context: its set may be followed by another's at once, so that only the kind of value is known. */
static int sharer(void *arg, void **result)
{
    (void)result;
    uint64_t random = stress_random_state((uintptr_t)arg + 500);
    while (!atomic_load(&over)) {
        void *p;
        coil_context_token *token;
        stress_ok(coil_contextvar_set(common, (void *)(uintptr_t)(1 + stress_random(&random, SHARERS)), &token));
        stress_ok(coil_contextvar_get(common, &p));
        MUST((uintptr_t)p >= 1 && (uintptr_t)p <= SHARERS);
        stress_ok(move_on(&random));
        if (stress_random(&random, 2) == 0)
            stress_ok(coil_contextvar_reset(common, token));
        coil_context_token_free(token);
        stress_ok(coil_contextvar_set(other, new_value(3), NULL)); /* a drop by whoever comes next */
        atomic_fetch_add(&rounds, 1);
    }
    return 0;
}

static int enter(void *arg, void **result)
{
    (void)result;
    uint64_t random = stress_random_state((uintptr_t)arg + 900);
    while (!atomic_load(&over)) {
        int rc = stress_caught(coil_context_run(shared, in_shared, &random));
        MUST(rc == 0 || rc == COIL_ERUNTIME);
        atomic_fetch_add(rc == 0 ? &entered : &refused, 1);
        stress_ok(coil_sleep(0));
    }
    return 0;
}

static void spawn(coil_coro_fn *fn, uintptr_t number, coil_context *context, coil_task **task)
{
    coil_task_options options = {.size = sizeof options, .context = context};
    stress_ok(coil_create_task_with(coil_coro_of(fn, (void *)number), &options, task));
}

static int body(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_task *tasks[TASKS + 2 * SHARERS];
    stress_ok(coil_contextvar_set(common, (void *)1, NULL));
    stress_ok(coil_copy_context(&shared));
    for (uintptr_t i = 0; i < TASKS; i++)
        spawn(isolated, i, NULL, &tasks[i]);
    for (uintptr_t i = 0; i < SHARERS; i++) {
        spawn(sharer, i, shared, &tasks[TASKS + i]);
        spawn(enter, i, NULL, &tasks[TASKS + SHARERS + i]);
    }
    while (stress_time_left())
        stress_ok(coil_sleep(COIL_MS(10)));
    atomic_store(&over, true);
    for (int i = 0; i < TASKS + 2 * SHARERS; i++)
        stress_ok(coil_join(tasks[i], NULL));
    coil_context_release(shared);
    return 0;
}

int main(int argc, char **argv)
{
    stress_ok(coil_contextvar_new("own", drop_value, &own));
    stress_ok(coil_contextvar_new("other", drop_value, &other));
    stress_ok(coil_contextvar_new("common", NULL, &common));
    stress_main(argc, argv, body, NULL);
    printf("%ld rounds, %ld times entered, %ld refused, %ld values\n", atomic_load(&rounds), atomic_load(&entered),
           atomic_load(&refused), atomic_load(&made));
    MUST(atomic_load(&made) == atomic_load(&dropped));
    coil_contextvar_free(own);
    coil_contextvar_free(other);
    coil_contextvar_free(common);
    return 0;
}
