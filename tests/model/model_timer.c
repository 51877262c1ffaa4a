/*
 * model_timer.c - every interleaving of a worker whose timers expire, and of others that disarm them (src/timer.c,
 * src/base/heap.c), and of a task that sleeps, is cancelled, and goes on elsewhere (sleep_until in src/task.c)
 *
 * What must hold: a timer that was armed becomes ready once, or was disarmed once, and who disarms is told which; the
 * heap stays one. A sleeper, to which its timer and its task have a reference, is freed once, and not before both are
 * done with it.
 */
#include "tasks.h"

#include "src/base/heap.c"

/* Within the latch of the timers, between looking and taking out: a step, at which others could go on. */
static _Atomic int pause_here;

#define coil__heap_remove(heap, slot) (fetch_add_relaxed(&pause_here, 0), coil__heap_remove(heap, slot))
#include "src/timer.c"
#undef coil__heap_remove

enum { TIMERS = 4 };

static struct counted {
    coil__timer timer;
    unsigned ran, disarmed;
} timers[TIMERS];
static coil__heap_entry entries[16];
static unsigned accepted;

static void count_run(coil__handle *h)
{
    coil_container_of(h, struct counted, timer.handle)->ran++;
}

static const coil__handle_ops counted_ops = {.run = count_run, .what = "counted"};

/* --- threads ---------------------------------------------------------------------------------------------------- */

static void expire_and_run(int64_t now)
{
    coil__list *ready = &loops[0].ready;
    coil__timers_expire(&loops[0], now);
    while (!coil__list_empty(ready)) {
        coil__handle *h = coil__handle_of_node(coil__list_pop(ready));
        h->ops->run(h);
    }
}

static void arm(unsigned i, int64_t when)
{
    coil__timer_arm(&loops[0], &timers[i].timer, when);
}

static void disarm(unsigned i)
{
    timers[i].disarmed += coil__timer_disarm(&loops[0], &timers[i].timer);
}

/* Their home: two are due, then a third, which is armed only now. */
static void expire(void)
{
    expire_and_run(2);
    arm(3, 3);
    expire_and_run(3);
}

static void disarm_three(void)
{
    disarm(1);
    disarm(0);
    disarm(2);
}

static void disarm_two(void)
{
    disarm(2);
    disarm(1);
}

static void disarm_first(void)
{
    disarm(0);
}

static int sleep_a_while(void *arg, void **result)
{
    (void)arg, (void)result;
    return sleep_for(&loops[0], 1);
}

static void begin_to_sleep_and_expire(void)
{
    run_task(&tasks[0]);
    expire_and_run(1);
}

static void serve_first(void)
{
    serve(&tasks[0]);
}

static void cancel_task(void)
{
    accepted += coil_future_cancel(&tasks[0].task.future, NULL);
}

/* --- what must hold in the end ---------------------------------------------------------------------------------- */

static void each_ran_or_was_disarmed(void)
{
    coil__heap_verify(&loops[0].timers);
    model_assert(loops[0].timers.count == 0);
    for (unsigned i = 0; i < TIMERS; i++)
        model_assert(timers[i].ran + timers[i].disarmed == 1);
}

static void the_sleeper_is_gone(void)
{
    coil_future *f = &tasks[0].task.future;
    model_assert(!coil__future_pending(f));
    model_assert(load_relaxed(&f->refs) == 1);
    model_assert(coil_future_cancelled(f) == (accepted > 0));
    model_assert(objects_made == 1 && objects_freed == 1);
    model_assert(loops[0].timers.count == 0);
}

/* --- setups ----------------------------------------------------------------------------------------------------- */

static void setup(void)
{
    setup_world();
    model_latch(loops[0].timers_latch);
    model_name(pause_here);
    loops[0].timers = (coil__timer_heap){.entries = entries, .capacity = sizeof entries / sizeof *entries};
    accepted = 0;
}

/* Three are armed, the first of which is the last to be due. */
static void has_timers(void)
{
    setup();
    for (unsigned i = 0; i < TIMERS; i++) {
        coil__timer_init(&timers[i].timer, &counted_ops);
        timers[i].ran = timers[i].disarmed = 0;
    }
    arm(0, 3);
    arm(1, 1);
    arm(2, 2);
}

static void sleeps(void)
{
    setup();
    setup_task(0, sleep_a_while);
    coil__sleeper *s = (coil__sleeper *)(void *)&objects[0];
    model_latch(s->future.latch);
    model_name(s->future.state);
    model_count(s->future.refs);
}

static void disarms_blindly(void)
{
    sleeps();
    lacks.disarms_blindly = true;
}

/* --- models ----------------------------------------------------------------------------------------------------- */

static const model disarming = {
    .name = "timers that expire, a worker that disarms them",
    .setup = has_timers,
    .thread = {expire, disarm_three},
    .check = each_ran_or_was_disarmed,
    .memory = MODEL_WEAK,
};

static const model sleeping = {
    .name = "a task that sleeps and is due, a worker that takes it, a cancellation",
    .setup = sleeps,
    .thread = {begin_to_sleep_and_expire, serve_first, cancel_task},
    .check = the_sleeper_is_gone,
    .memory = MODEL_WEAK,
};

TEST(a_timer_becomes_ready_or_is_disarmed)
{
    holds(disarming);
}

TEST(timers_are_disarmed_by_several)
{
    holds((model){
        .name = "timers that expire, two workers that disarm them",
        .setup = has_timers,
        .thread = {expire, disarm_two, disarm_first},
        .check = each_ran_or_was_disarmed,
        .memory = MODEL_WEAK,
    });
}

TEST(a_sleeper_is_freed_once)
{
    holds(sleeping);
}

TEST(timers_without_their_latch_are_taken_twice)
{
    finds(weaken(disarming, &loops[0].timers_latch, MODEL_MUTEX));
}

TEST(a_sleeper_whose_timers_have_no_latch_is_freed_too_early)
{
    finds(weaken(sleeping, &loops[0].timers_latch, MODEL_MUTEX));
}

TEST(a_sleeper_that_takes_its_timers_reference_is_freed_too_early)
{
    model m = sleeping;
    m.setup = disarms_blindly;
    finds(m);
}

COIL_TEST_MAIN("timer")
