/*
 * explorer.c - every interleaving of a few model threads (explorer.h)
 *
 * A thread stops before() each step, and choose() says how to go on: with a thread's step, or a store that leaves a
 * buffer. Choices with alternatives are kept in `path`; after each run the last one that has an alternative left takes
 * it, and the program runs again. Runs are repeatable, since nothing else in the program varies: objects are static.
 *
 * I1 the first `replayed` entries of path have been chosen before; beyond them the first alternative is taken
 * I2 run.memory is the sum, over all locations, of hash(address, value) - hash(address, value at the start)
 * I3 a location counts as shared if two threads were seen to use it, one of them writing. When one is found, all
 *    begins anew; so what was explored in the end has found all of them.
 */
#include "explorer.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/coro.h"
#include "base/latch.h"

#include "atomics.h"
#include "visited.h"

enum { STORES_MAX = 8, STEPS_MAX = 2000, CHOICES_MAX = MODEL_THREADS_MAX * (1 + STORES_MAX), NAMES_MAX = 32,
       LATCHES_MAX = 12, FREED_MAX = 4, LOCATIONS_MAX = 256 };

enum kind { LOAD, STORE, RMW, CAS_FAILED, LOCK, UNLOCK, SLEEP, DRAIN };
static const char *const kind_names[] = {"load", "store", "rmw", "cas failed", "lock", "unlock", "sleep", "drain"};

struct step {
    enum kind kind;
    const volatile void *p;
    enum coil__model_order order;
    bool shared; /* I3 */
};

struct pending {
    volatile void *p;
    unsigned size;
    bool release;
    bool unlock; /* of a mutex that excludes others */
    uint64_t value;
};

struct thread {
    coil__coro coro;
    coil__stack *stack;
    bool started, done;
    struct step next;             /* before which it waits */
    uint64_t history;             /* hash of all that it has read, and of how far it is */
    struct pending buffer[STORES_MAX];
    unsigned pending;
};

struct choice {
    struct thread *thread;
    int store; /* to drain; -1: the thread's next step */
};

struct event {
    unsigned thread;
    enum kind kind;
    const volatile void *p;
    uint64_t value;
};

static struct {
    const model *m;
    struct thread threads[MODEL_THREADS_MAX];
    unsigned count;
    struct thread *current; /* NULL: the explorer itself */
    coil__coro main;
    uint64_t memory; /* I2 */
    bool ended;      /* no thread can go on, and all stores are in memory */
    const char *failure;
    unsigned depth, steps;
    struct event trace[STEPS_MAX];
} run;

static struct {
    uint8_t chosen, count;
} path[STEPS_MAX];
static unsigned replayed; /* I1 */

static struct {
    const volatile void *p;
    const char *name;
} names[NAMES_MAX];
static unsigned name_count;

/* Open addressing; what the threads use: I3. */
static struct {
    const volatile void *p;
    uint8_t users, writers; /* a bit for each thread */
    bool shared, count;
} locations[LOCATIONS_MAX];
static bool found_shared;

/* A latch stays as it is; who enters and leaves it locks and unlocks this mutex. */
static struct {
    const volatile void *latch;
    volatile uint64_t mutex;
} latches[LATCHES_MAX];
static unsigned latch_count;

/* Memory that was given back in this run. */
static struct {
    const volatile char *p;
    size_t bytes;
    const struct thread *by; /* whose own stores may reach it later */
} freed[FREED_MAX];
static unsigned freed_count;

/* --- states that were reached before ---------------------------------------------------------------------------- */

static uint64_t state_key(void)
{
    uint64_t key = run.memory;
    for (unsigned i = 0; i < run.count; i++) {
        const struct thread *t = &run.threads[i];
        key = visited_mix(key, t->history);
        for (unsigned s = 0; s < t->pending; s++)
            key = visited_mix(visited_mix(key, (uintptr_t)t->buffer[s].p), t->buffer[s].value * 2 + t->buffer[s].release);
    }
    return key;
}

static bool reached_before(void)
{
    return !visited_add(state_key());
}

/* Of a latch that the model knows; NULL of anything else. */
static volatile uint64_t *mutex_of(const volatile void *p)
{
    for (unsigned i = 0; i < latch_count; i++) {
        if (latches[i].latch == p)
            return &latches[i].mutex;
    }
    return NULL;
}

static const volatile void *latch_of(const volatile void *p)
{
    for (unsigned i = 0; i < latch_count; i++) {
        if (&latches[i].mutex == p)
            return latches[i].latch;
    }
    return p;
}

static bool weakened(const volatile void *p, enum model_mutation mutation)
{
    p = latch_of(p);
    for (unsigned i = 0; i < MODEL_WEAKENED_MAX; i++) {
        if (run.m->weakened[i].p == p && run.m->weakened[i].mutation == mutation)
            return true;
    }
    return false;
}

/* --- memory ----------------------------------------------------------------------------------------------------- */

static uint64_t peek(const volatile void *p, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)p, size);
    return value;
}

static void poke(volatile void *p, unsigned size, uint64_t value)
{
    run.memory += visited_mix((uintptr_t)p, value) - visited_mix((uintptr_t)p, peek(p, size)); /* I2 */
    memcpy((void *)p, &value, size);
}

static void record(const struct thread *t, enum kind kind, const volatile void *p, uint64_t value)
{
    if (run.steps == STEPS_MAX)
        model_fail("this takes too many steps");
    run.trace[run.steps++] = (struct event){(unsigned)(t - run.threads), kind, p, value};
}

static unsigned location_of(const volatile void *p)
{
    unsigned i = (unsigned)(visited_mix(0, (uintptr_t)p) % LOCATIONS_MAX), probes = 0;
    for (; locations[i].p && locations[i].p != p; i = (i + 1) % LOCATIONS_MAX)
        coil_assert(++probes < LOCATIONS_MAX);
    locations[i].p = p;
    return i;
}

/* Whether others use the location too, with the current thread's use of it. */
static bool is_shared(const volatile void *p, bool writes)
{
    unsigned i = location_of(p), self = 1u << (run.current - run.threads);
    locations[i].users |= (uint8_t)self;
    locations[i].writers |= (uint8_t)(writes ? self : 0);
    bool several = (locations[i].users & (locations[i].users - 1u)) != 0;
    if (!locations[i].shared && several && locations[i].writers != 0)
        locations[i].shared = found_shared = true;
    return locations[i].shared;
}

/* The current thread has taken a step, and has learnt @value. */
static void learn(enum kind kind, const volatile void *p, uint64_t value)
{
    record(run.current, kind, p, value);
    if (locations[location_of(p)].count && value > 2)
        value = 2;
    run.current->history = visited_mix(run.current->history, visited_mix(value, kind));
}

/* Whether a store waits in the buffer. */
static bool buffered(enum coil__model_order order)
{
    return run.m->memory != MODEL_SC && order != coil__model_seq_cst;
}

static bool drainable(const struct thread *t, unsigned store)
{
    if (store == 0)
        return true;
    if (run.m->memory == MODEL_TSO || t->buffer[store].release)
        return false;
    for (unsigned i = 0; i < store; i++) {
        if (t->buffer[i].p == t->buffer[store].p)
            return false;
    }
    return true;
}

/* By others than @t; NULL: by anybody. */
static bool was_freed(const volatile void *p, const struct thread *t)
{
    const volatile char *at = latch_of(p);
    for (unsigned i = 0; i < freed_count; i++) {
        if (at >= freed[i].p && at < freed[i].p + freed[i].bytes && (!t || freed[i].by != t))
            return true;
    }
    return false;
}

static void drain(struct thread *t, unsigned store)
{
    struct pending s = t->buffer[store];
    t->pending--;
    memmove(&t->buffer[store], &t->buffer[store + 1], (t->pending - store) * sizeof s);
    poke(s.p, s.size, s.value);
    record(t, DRAIN, s.p, s.value);
    if (was_freed(s.p, t))
        model_fail("a store reaches memory that was freed");
}

static const struct pending *newest_pending(const struct thread *t, const volatile void *p)
{
    for (unsigned i = t->pending; i-- > 0;) {
        if (t->buffer[i].p == p)
            return &t->buffer[i];
    }
    return NULL;
}

/* --- choosing --------------------------------------------------------------------------------------------------- */

static bool releases(enum coil__model_order order)
{
    return order >= coil__model_release;
}

static bool enabled(const struct thread *t)
{
    const struct step *s = &t->next;
    if (t->done)
        return false;
    switch (s->kind) {
    case LOAD:
        return true;
    case STORE:
    case UNLOCK:
        return buffered(s->order) ? t->pending < STORES_MAX : t->pending == 0;
    default:
        break;
    }
    if (releases(s->order) ? t->pending > 0 : newest_pending(t, s->p) != NULL)
        return false;
    if (s->kind == LOCK)
        return peek(s->p, 8) % 2 == 0;
    return s->kind != SLEEP || peek(s->p, 8) != 0;
}

static unsigned list_choices(struct choice *choices)
{
    unsigned n = 0;
    if (run.current && enabled(run.current))
        choices[n++] = (struct choice){run.current, -1};
    for (unsigned i = 0; i < run.count; i++) {
        struct thread *t = &run.threads[i];
        if (t != run.current && enabled(t))
            choices[n++] = (struct choice){t, -1};
    }
    for (unsigned i = 0; i < run.count; i++) {
        struct thread *t = &run.threads[i];
        for (unsigned s = 0; s < t->pending; s++) {
            if (drainable(t, s))
                choices[n++] = (struct choice){t, (int)s};
        }
    }
    return n;
}

/* The index of the alternative to take; -1: this state was reached before. */
static int decide(unsigned count)
{
    if (count == 1)
        return 0;
    coil_assert(run.depth < STEPS_MAX);
    if (run.depth == replayed) {
        if (reached_before())
            return -1;
        path[replayed].chosen = 0;
        path[replayed].count = (uint8_t)count;
        replayed++;
    }
    coil_assert(path[run.depth].count == count); /* runs are repeatable */
    return path[run.depth++].chosen;
}

/*
 * A mutex that is given back: nobody else can do anything with it before, so that whatever others could do first
 * they can do after. To let it reach memory as soon as it may leaves nothing out.
 */
static void drain_unlocks(void)
{
    for (unsigned i = 0; i < run.count; i++) {
        struct thread *t = &run.threads[i];
        for (unsigned s = 0; s < t->pending; s++) {
            if (t->buffer[s].unlock && drainable(t, s)) {
                drain(t, s);
                s = UINT_MAX; /* it may have been in another one's way */
            }
        }
    }
}

/* The thread to go on; NULL: the run is over. */
static struct thread *choose(void)
{
    for (unsigned i = 0; i < run.count; i++) {
        if (!run.threads[i].started) /* up to its first step it does nothing that others could see */
            return &run.threads[i];
    }
    struct choice choices[CHOICES_MAX];
    for (unsigned count; drain_unlocks(), (count = list_choices(choices)) > 0;) {
        int chosen = decide(count);
        if (chosen < 0)
            return NULL;
        struct choice *c = &choices[chosen];
        if (c->store < 0)
            return c->thread;
        drain(c->thread, (unsigned)c->store);
    }
    run.ended = true;
    return NULL;
}

static coil__coro *coro_of(struct thread *t)
{
    return t ? &t->coro : &run.main;
}

static void switch_to(struct thread *to)
{
    struct thread *from = run.current;
    if (from == to)
        return;
    run.current = to;
    if (to)
        to->started = true;
    coil__coro_switch(coro_of(from), coro_of(to));
}

/*
 * A step that others neither see nor influence: a store goes to the thread's own buffer, a load is served from it. To
 * take it at once, and before anything else, leaves no interleaving out that would differ from all others.
 */
static bool local(const struct thread *t)
{
    const struct step *s = &t->next;
    if (!s->shared && (s->kind == LOAD || s->kind == STORE || s->kind == UNLOCK))
        return true;
    if (!s->shared && t->pending == 0) /* for it orders other stores too */
        return s->kind == RMW || (s->kind == LOCK && peek(s->p, 8) % 2 == 0);
    if (s->kind == LOAD)
        return newest_pending(t, s->p) != NULL;
    if (s->kind == UNLOCK && t->pending == 0 && !weakened(s->p, MODEL_MUTEX))
        return true; /* as in drain_unlocks() */
    return (s->kind == STORE || s->kind == UNLOCK) && buffered(s->order) && t->pending < STORES_MAX;
}

static void before(enum kind kind, const volatile void *p, enum coil__model_order order)
{
    run.current->next = (struct step){kind, p, order, is_shared(p, kind != LOAD)};
    if (found_shared)
        switch_to(NULL); /* I3 */
    if (!local(run.current))
        switch_to(choose());
    if (was_freed(p, NULL))
        model_fail("memory is used that was freed");
}

void model_fail(const char *what)
{
    if (!run.failure)
        run.failure = what;
    if (run.current)
        switch_to(NULL); /* for good */
}

/* In the place of the library's: in a model thread a broken invariant is a failure that was found. */
_Noreturn void coil__assert_failed(const char *what, const char *file, int line)
{
    if (run.current)
        model_fail(what);
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
    abort();
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

uint64_t coil__model_load(const volatile void *p, unsigned size, enum coil__model_order order)
{
    if (!run.current)
        return peek(p, size);
    before(LOAD, p, order);
    const struct pending *own = newest_pending(run.current, p);
    uint64_t value = own ? own->value : peek(p, size);
    learn(LOAD, p, value);
    return value;
}

static void store(enum kind kind, struct pending s, enum coil__model_order order)
{
    before(kind, s.p, order);
    learn(kind, s.p, s.value);
    if (buffered(order) && run.current->next.shared)
        run.current->buffer[run.current->pending++] = s;
    else
        poke(s.p, s.size, s.value);
}

void coil__model_store(volatile void *p, unsigned size, uint64_t value, enum coil__model_order order)
{
    if (!run.current) {
        poke(p, size, value);
        return;
    }
    if (mutex_of(p)) {
        coil__model_unlock(mutex_of(p));
        return;
    }
    if (weakened(p, MODEL_STORES))
        order = coil__model_relaxed;
    store(STORE, (struct pending){.p = p, .size = size, .release = releases(order), .value = value}, order);
}

static enum coil__model_order order_of_rmw(const volatile void *p, enum coil__model_order order)
{
    return weakened(p, MODEL_RMWS) ? coil__model_relaxed : order;
}

uint64_t coil__model_exchange(volatile void *p, unsigned size, uint64_t value, enum coil__model_order order)
{
    if (run.current && mutex_of(p)) {
        coil__model_lock(mutex_of(p));
        return 0;
    }
    if (run.current && weakened(p, MODEL_RMWS)) {
        uint64_t seen = coil__model_load(p, size, coil__model_relaxed);
        coil__model_store(p, size, value, coil__model_relaxed);
        return seen;
    }
    if (run.current)
        before(RMW, p, order);
    uint64_t old = peek(p, size);
    poke(p, size, value);
    if (run.current)
        learn(RMW, p, old);
    return old;
}

_Atomic uint64_t coil__model_fence;

uint64_t coil__model_fetch_add(volatile void *p, unsigned size, uint64_t value, enum coil__model_order order)
{
    if (run.current)
        before(RMW, p, order_of_rmw(p, order));
    uint64_t old = peek(p, size);
    poke(p, size, old + value);
    if (run.current)
        learn(RMW, p, old);
    return old;
}

bool coil__model_cas(volatile void *p, unsigned size, uint64_t *expected, uint64_t value, enum coil__model_order order)
{
    if (run.current)
        before(RMW, p, order_of_rmw(p, order));
    uint64_t old = peek(p, size);
    bool won = old == *expected;
    if (won)
        poke(p, size, value);
    if (run.current)
        learn(won ? RMW : CAS_FAILED, p, old);
    *expected = old;
    return won;
}

/* An acquire read-modify-write. It learns the last holder's mark, and with it what has become of what is guarded. */
void coil__model_lock(volatile uint64_t *mutex)
{
    if (!run.current)
        return;
    before(weakened(mutex, MODEL_MUTEX) ? RMW : LOCK, mutex, coil__model_acquire);
    uint64_t mark = peek(mutex, 8);
    poke(mutex, 8, mark | 1);
    learn(LOCK, mutex, mark);
}

void coil__model_unlock(volatile uint64_t *mutex)
{
    if (!run.current)
        return;
    bool excludes = !weakened(mutex, MODEL_MUTEX);
    enum coil__model_order order = weakened(mutex, MODEL_STORES) ? coil__model_relaxed : coil__model_release;
    store(UNLOCK, (struct pending){.p = mutex, .size = 8, .release = releases(order), .unlock = excludes,
                                    .value = run.current->history << 1}, order);
}

/* In the place of the library's (latch.c): those that the model knows wait as mutexes do. */
_Atomic unsigned coil__parallel;

void coil__latch_wait(coil__latch *l)
{
    (void)l;
    model_fail("a latch that is not a model_latch()");
}

void model_signal(model_event *e)
{
    coil__model_fetch_add(&e->count, 8, 1, coil__model_acq_rel);
}

bool model_poll(model_event *e)
{
    return coil__model_exchange(&e->count, 8, 0, coil__model_acq_rel) > 0;
}

void model_sleep(model_event *e)
{
    before(SLEEP, &e->count, coil__model_acq_rel);
    learn(SLEEP, &e->count, peek(&e->count, 8));
    poke(&e->count, 8, 0);
}

/* --- running ---------------------------------------------------------------------------------------------------- */

static _Noreturn void run_thread(void *arg)
{
    struct thread *t = arg;
    run.m->thread[t - run.threads]();
    t->done = true;
    t->history = visited_mix(t->history, 1);
    switch_to(choose());
    __builtin_unreachable();
}

static void start(struct thread *t)
{
    coil__stack *stack = t->stack;
    coil__stack_reuse(stack);
    *t = (struct thread){.stack = stack};
    coil__coro_init(&t->coro, stack, false, run_thread, t);
}

static void judge(void)
{
    for (unsigned i = 0; i < run.count; i++) {
        if (!run.threads[i].done && run.threads[i].next.kind != SLEEP)
            run.failure = "a thread waits for a mutex for ever";
    }
    if (!run.failure && run.m->check)
        run.m->check();
}

static void run_once(void)
{
    run.ended = false;
    run.memory = run.depth = run.steps = freed_count = 0;
    run.m->setup();
    run.memory = 0; /* I2 */
    for (unsigned i = 0; i < run.count; i++)
        start(&run.threads[i]);
    switch_to(choose());
    if (run.ended)
        judge();
}

/* I3 */
static void begin_anew(void)
{
    found_shared = false;
    replayed = 0;
    visited_clear();
}

/* The last choice with an alternative left takes it. False: there is none. */
static bool next_path(void)
{
    while (replayed > 0 && path[replayed - 1].chosen + 1 == path[replayed - 1].count)
        replayed--;
    if (replayed == 0)
        return false;
    path[replayed - 1].chosen++;
    return true;
}

static const char *name_of(const volatile void *p)
{
    static char text[32];
    for (unsigned i = 0; i < name_count; i++) {
        if (names[i].p == p)
            return names[i].name;
    }
    snprintf(text, sizeof text, "%p", (const void *)p);
    return text;
}

void model_name_address(const volatile void *p, const char *name)
{
    for (unsigned i = 0; i < name_count; i++) {
        if (names[i].p == p)
            return;
    }
    coil_assert(name_count < NAMES_MAX);
    names[name_count].p = p;
    names[name_count++].name = name;
}

void model_latch_address(coil__latch *l, const char *name)
{
    volatile uint64_t *mutex = mutex_of(&l->held);
    if (!mutex) {
        coil_assert(latch_count < LATCHES_MAX);
        latches[latch_count].latch = &l->held;
        mutex = &latches[latch_count++].mutex;
        model_name_address(mutex, name);
    }
    *mutex = 0;
}

void model_free(const volatile void *p, size_t bytes)
{
    model_assert(!was_freed(p, NULL));
    coil_assert(freed_count < FREED_MAX);
    freed[freed_count].by = run.current;
    freed[freed_count].p = p;
    freed[freed_count++].bytes = bytes;
    for (unsigned i = 0; i < LOCATIONS_MAX; i++) {
        if (locations[i].p && was_freed(locations[i].p, NULL))
            is_shared(locations[i].p, true);
    }
    if (found_shared)
        switch_to(NULL); /* I3 */
}

bool model_freed(const volatile void *p)
{
    return was_freed(p, NULL);
}

void model_count_address(const volatile void *p, const char *name)
{
    locations[location_of(p)].count = true;
    model_name_address(p, name);
}

unsigned model_thread(void)
{
    return run.current ? (unsigned)(run.current - run.threads) : MODEL_THREADS_MAX;
}

static void print_trace(void)
{
    for (unsigned i = 0; i < run.steps; i++) {
        const struct event *e = &run.trace[i];
        printf("    %*sthread %u: %s %s %" PRIx64 "\n", (int)e->thread * 4, "", e->thread, kind_names[e->kind],
               name_of(e->p), e->value);
    }
}

static void begin(const model *m)
{
    run.m = m;
    run.failure = NULL;
    replayed = name_count = latch_count = 0;
    found_shared = false;
    memset(locations, 0, sizeof locations);
    coil__coro_init_thread(&run.main);
    for (run.count = 0; run.count < MODEL_THREADS_MAX && m->thread[run.count]; run.count++) {
        run.threads[run.count].stack = coil__stack_alloc(COIL_STACK_BYTES_DEFAULT, NULL);
        coil_assert(run.threads[run.count].stack);
    }
}

static void end(void)
{
    for (unsigned i = 0; i < run.count; i++)
        coil__stack_free(run.threads[i].stack);
    visited_free();
    run.m = NULL;
}

model_result model_explore(const model *m, bool verbose)
{
    model_result result = {0};
    begin(m);
    do {
        run_once();
        while (found_shared) {
            begin_anew();
            run_once();
            result.interleavings = 0;
        }
        result.interleavings++;
        if (run.steps > result.steps)
            result.steps = run.steps;
    } while (!run.failure && next_path());
    result.failure = run.failure;
    result.states = visited_count();
    printf("%s: %" PRIu64 " interleavings, %" PRIu64 " states, at most %u steps: %s\n", m->name, result.interleavings,
           result.states, result.steps, result.failure ? result.failure : "holds");
    if (result.failure && verbose)
        print_trace();
    end();
    return result;
}
