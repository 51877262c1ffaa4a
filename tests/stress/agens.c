/*
 * agens.c - asynchronous generators among workers
 *
 * Runners take generators from a queue, ask for some values, and pass them on, release them suspended, or close
 * them; others contend for one generator; meanwhile runners are cancelled. Checked: every generator gives its
 * numbers in order wherever it runs; of a contended one each number goes to one caller, and whoever comes at the
 * same time is told that it is busy; every body that has begun ends, the last ones when the runtime closes.
 */
#include "../support/stress.h"

enum { RUNNERS = 24, ITEMS = 12, CONTENDERS = 6 };

/* What a body works on: plain memory, so that ThreadSanitizer sees a hand-over without synchronisation. */
typedef struct source {
    intptr_t last;
    uint64_t random;
    bool stubborn; /* goes on when it is cancelled */
} source;

typedef struct item {
    coil_agen *agen;
    intptr_t seen;
} item;

static atomic_long begun, ended, dropped, made, values, busy, cancelled, closed, released;
static atomic_bool over;
static coil_queue *queue;
static item items[ITEMS];
static coil_task *runners[RUNNERS];
static coil_agen *contended;

static void drop_source(void *s)
{
    free(s);
    atomic_fetch_add(&dropped, 1);
}

/* Now and then something to wait for. */
static int dawdle(uint64_t *random)
{
    uint32_t way = stress_random(random, 16);
    if (way < 4)
        return coil_sleep(0);
    return way == 4 ? coil_sleep(COIL_US(20)) : 0;
}

static int numbers(coil_agen *g, void *arg)
{
    source *s = arg;
    int rc = 0;
    atomic_fetch_add(&begun, 1);
    while (rc == 0) {
        s->last++;
        rc = dawdle(&s->random);
        if (rc == -ECANCELED && s->stubborn)
            rc = stress_caught(rc) * 0;
        if (rc == 0)
            rc = coil_agen_yield(g, (void *)s->last, NULL);
    }
    coil_error *e = coil_catch(rc);
    if (rc == COIL_EGENERATOREXIT && stress_random(&s->random, 2) == 0)
        stress_caught(coil_sleep(0)); /* cleaning up takes a while */
    free(s);
    atomic_fetch_add(&ended, 1);
    return coil_raise_error(e);
}

static coil_agen *new_agen(bool stubborn)
{
    coil_agen *g;
    source *s = calloc(1, sizeof *s);
    s->random = stress_random_state((uint64_t)atomic_fetch_add(&made, 1) + 1000);
    s->stubborn = stubborn;
    stress_ok(coil_agen_new(numbers, s, drop_source, "numbers", &g));
    return g;
}

static void renew(item *it)
{
    coil_agen_release(it->agen);
    *it = (item){.agen = new_agen(false)};
}

/* Some values, which must be the next ones. */
static int take_values(item *it, uint64_t *random)
{
    for (uint32_t n = stress_random(random, 8); n > 0; n--) {
        void *value;
        COIL_TRY(coil_agen_next(it->agen, &value));
        MUST((intptr_t)value == ++it->seen);
        atomic_fetch_add(&values, 1);
        COIL_TRY(dawdle(random));
    }
    return 0;
}

static void use(item *it, uint64_t *random)
{
    int rc = stress_caught(take_values(it, random));
    if (rc < 0) {
        MUST(rc == -ECANCELED);
        atomic_fetch_add(&cancelled, 1);
        if (coil_agen_finished(it->agen))
            renew(it);
    } else if (stress_random(random, 16) == 0) {
        atomic_fetch_add(&released, 1);
        renew(it); /* if it has begun, a finalizer closes it */
    } else if (stress_random(random, 16) == 0) {
        rc = stress_caught(coil_agen_close(it->agen));
        MUST(rc == 0 || rc == -ECANCELED);
        MUST(coil_agen_finished(it->agen));
        atomic_fetch_add(&closed, 1);
        renew(it);
    }
}

static int run(void *number, void **result)
{
    (void)result;
    uint64_t random = stress_random_state((uintptr_t)number);
    while (!atomic_load(&over)) {
        void *it;
        if (stress_caught(coil_queue_get(queue, &it)) < 0)
            continue; /* cancelled; nothing was taken */
        use(it, &random);
        stress_ok(coil_queue_put_nowait(queue, it));
    }
    return 0;
}

/* Each value that this caller gets is its own: the numbers of all of them together are those that were given. */
static int contend(void *sum, void **result)
{
    (void)result;
    while (!atomic_load(&over)) {
        void *value;
        int rc = stress_caught(coil_agen_next(contended, &value));
        if (rc == 0)
            *(uint64_t *)sum += (uintptr_t)value;
        else
            MUST(rc == COIL_EBUSY);
        atomic_fetch_add(rc == 0 ? &values : &busy, 1);
        if (rc != 0)
            stress_caught(coil_sleep(0));
    }
    return 0;
}

static void cancel_some(uint64_t *random)
{
    for (int i = 0; i < 3; i++)
        coil_task_cancel(runners[stress_random(random, RUNNERS)], NULL);
}

/* The next value of the contended generator tells how many there were. */
static void check_sum(const uint64_t *sums)
{
    void *value;
    uint64_t sum = 0;
    stress_ok(coil_agen_next(contended, &value));
    for (int i = 0; i < CONTENDERS; i++)
        sum += sums[i];
    MUST(sum == (uintptr_t)value * ((uintptr_t)value - 1) / 2);
}

static void storm(uint64_t *sums)
{
    coil_task *contenders[CONTENDERS];
    uint64_t random = stress_random_state(RUNNERS);
    for (uintptr_t i = 0; i < RUNNERS; i++)
        stress_ok(coil_create_task(coil_coro_of(run, (void *)i), &runners[i]));
    for (int i = 0; i < CONTENDERS; i++)
        stress_ok(coil_create_task(coil_coro_of(contend, &sums[i]), &contenders[i]));
    while (stress_time_left()) {
        cancel_some(&random);
        stress_ok(coil_sleep(COIL_US(100)));
    }
    atomic_store(&over, true);
    for (int i = 0; i < CONTENDERS; i++)
        stress_ok(coil_join(contenders[i], NULL));
    for (int i = 0; i < RUNNERS; i++) { /* they give back what they have taken */
        coil_task_cancel(runners[i], NULL);
        stress_caught(coil_join(runners[i], NULL));
    }
}

static int body(void *arg, void **result)
{
    (void)arg;
    (void)result;
    uint64_t sums[CONTENDERS * 8] = {0};
    stress_ok(coil_queue_new(0, &queue));
    contended = new_agen(true);
    for (int i = 0; i < ITEMS; i++) {
        items[i].agen = new_agen(false);
        stress_ok(coil_queue_put_nowait(queue, &items[i]));
    }
    storm(sums);
    check_sum(sums);
    coil_queue_free(queue);
    return 0; /* the runtime closes the generators that are left */
}

int main(int argc, char **argv)
{
    stress_main(argc, argv, body, NULL);
    coil_agen_release(contended);
    for (int i = 0; i < ITEMS; i++)
        coil_agen_release(items[i].agen);
    printf("%ld generators, %ld values, %ld times busy, %ld cancelled, %ld closed, %ld released\n", made, values, busy,
           cancelled, closed, released);
    MUST(atomic_load(&begun) == atomic_load(&ended));
    MUST(atomic_load(&ended) + atomic_load(&dropped) == atomic_load(&made));
    return 0;
}
