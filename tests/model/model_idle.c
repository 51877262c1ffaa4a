/*
 * model_idle.c - workers going idle against submitters: no wake-up is lost (sched/idle.h)
 *
 * A worker here does what one of the runtime does, with nothing but its queues: runs what it has, searches, parks. When
 * nobody can go on any more, all workers are asleep; then nothing may be left to do.
 */
#include "sched/idle.h"
#include "sched/inject.h"
#include "sched/runq.h"

#include "items.h"

enum { WORKERS = 3 };

static coil__idle idle;
static coil__inject inject;
static coil__runq runq[WORKERS];
static model_event event[WORKERS];
static bool steals;      /* workers have run queues, and nothing is injected; else it is the other way round */

/* Mutations. */
static bool looks_again;  /* a worker, after it has parked */
static bool always_wakes; /* a worker that pushes; else only if its queue was empty before */
static bool announces;    /* a worker that has told of its spawns by a glance only, when its step has ended */

static void setup(unsigned workers)
{
    model_name(idle.state);
    model_name(coil__model_fence);
    model_name(idle.mutex);
    model_name(inject.length);
    model_name(inject.mutex);
    model_name(event[0]);
    model_name(event[1]);
    coil__idle_init(&idle, workers);
    coil__inject_init(&inject);
    for (unsigned w = 0; w < WORKERS; w++) {
        coil__runq_init(&runq[w]);
        event[w].count = 0;
    }
    steals = false;
    looks_again = always_wakes = announces = true;
    items_reset();
}

static void wake_one(void)
{
    int worker = coil__idle_pick(&idle);
    if (worker >= 0)
        model_signal(&event[worker]);
}

/* --- a worker --------------------------------------------------------------------------------------------------- */

static bool work_anywhere(void)
{
    if (!steals)
        return coil__inject_length(&inject) > 0;
    for (unsigned w = 0; w < idle.workers; w++) {
        if (coil__runq_length(&runq[w]) > 0)
            return true;
    }
    return false;
}

static coil__node *own_work(unsigned w)
{
    if (steals)
        return coil__runq_pop(&runq[w]);
    coil__list chain;
    coil__list_init(&chain);
    return coil__inject_pop(&inject, idle.workers, 1, &chain) > 0 ? coil__list_pop(&chain) : NULL;
}

static coil__node *search(unsigned w)
{
    if (!steals)
        return own_work(w);
    for (unsigned victim = 0; victim < idle.workers; victim++) {
        coil__node *n = victim == w ? NULL : coil__runq_steal(&runq[victim], &runq[w]);
        if (n)
            return n;
    }
    return NULL;
}

/* Returns whether it is searching. */
static bool park(unsigned w, bool searching)
{
    bool nobody_searches = coil__idle_park(&idle, w, searching);
    if (!(nobody_searches && looks_again && work_anywhere()))
        model_sleep(&event[w]);
    return !coil__idle_unpark_self(&idle, w);
}

/* The next item to run; sleeps until there is one. */
static coil__node *next_item(unsigned w, bool searching)
{
    for (;;) {
        coil__node *n = searching ? NULL : own_work(w);
        if (!n) {
            searching = searching || coil__idle_begin_search(&idle);
            n = searching ? search(w) : NULL;
        }
        if (n) {
            if (searching && coil__idle_end_search(&idle))
                wake_one();
            return n;
        }
        searching = park(w, searching);
    }
}

/* Until the model ends. */
static void work(unsigned w)
{
    for (;;)
        take(next_item(w, false));
}

static void worker_0(void)
{
    work(0);
}

static void worker_1(void)
{
    work(1);
}

static void spawn_item(void)
{
    bool was_empty = coil__runq_length(&runq[0]) == 0;
    coil__runq_push(&runq[0], make_item());
    if (always_wakes || was_empty)
        wake_one();
}

/* A worker whose task has made two more, which others can take. */
static void spawning_worker(void)
{
    coil__runq_push(&runq[0], make_item());
    spawn_item();
    work(0);
}

/* The same with a task that never ends. */
static void spawning_busy_worker(void)
{
    spawn_item();
    spawn_item();
}

static void spawn_at_a_glance(void)
{
    coil__runq_push(&runq[0], make_item());
    if (coil__idle_wants_work(&idle))
        wake_one();
}

/* A worker whose task has made two more and then suspends; the one that it goes on with never ends. */
static void spawning_suspending_worker(void)
{
    spawn_at_a_glance();
    spawn_at_a_glance();
    coil__node *n = coil__runq_pop(&runq[0]);
    if (n)
        take(n);
    if (announces && coil__runq_length(&runq[0]) > 0)
        wake_one();
}

static void go_idle_and_run_one(void)
{
    take(next_item(1, false));
}

/* A worker that was parked, and that runs one task, which never ends. */
static void run_one(unsigned w)
{
    model_sleep(&event[w]);
    take(next_item(w, !coil__idle_unpark_self(&idle, w)));
}

static void run_one_1(void)
{
    run_one(1);
}

static void run_one_2(void)
{
    run_one(2);
}

/* --- submitters and others -------------------------------------------------------------------------------------- */

static void submit(void)
{
    coil__inject_push(&inject, make_item());
    wake_one();
}

static void submit_two(void)
{
    submit();
    submit();
}

/* Something completes in a worker's backend. */
static void complete(void)
{
    model_signal(&event[0]);
}

static void all_asleep_and_nothing_to_do(void)
{
    model_assert(coil__idle_all_parked(&idle));
    model_assert(!work_anywhere());
    each_item_was_taken();
}

static void one_worker(void)
{
    setup(1);
}

static void one_that_does_not_look_again(void)
{
    setup(1);
    looks_again = false;
}

static void two_workers(void)
{
    setup(2);
}

static void two_workers_that_steal(void)
{
    setup(2);
    steals = true;
}

static void two_workers_that_do_not_announce(void)
{
    two_workers_that_steal();
    announces = false;
}

static void three_workers_two_parked(void)
{
    setup(3);
    steals = true;
    coil__idle_park(&idle, 1, false);
    coil__idle_park(&idle, 2, false);
}

static void three_workers_that_wake_for_the_first_only(void)
{
    three_workers_two_parked();
    always_wakes = false;
}

static const model one_worker_one_submitter = {
    .name = "one worker, two submissions",
    .setup = one_worker,
    .thread = {worker_0, submit_two},
    .check = all_asleep_and_nothing_to_do,
    .memory = MODEL_WEAK,
};

static const model busy_workers = {
    .name = "a worker that spawns two and is busy, and two parked ones",
    .setup = three_workers_two_parked,
    .thread = {spawning_busy_worker, run_one_1, run_one_2},
    .check = each_item_was_taken,
    .memory = MODEL_WEAK,
};

static const model suspending_worker = {
    .name = "a worker that spawns two and suspends, and one that goes idle",
    .setup = two_workers_that_steal,
    .thread = {spawning_suspending_worker, go_idle_and_run_one},
    .check = each_item_was_taken,
    .memory = MODEL_WEAK,
};

TEST(idle_worker_is_woken_by_a_submitter)
{
    holds(one_worker_one_submitter);
}

TEST(idle_worker_may_wake_by_itself)
{
    holds((model){
        .name = "one worker, a submitter, and a completion",
        .setup = one_worker,
        .thread = {worker_0, submit, complete},
        .check = all_asleep_and_nothing_to_do,
        .memory = MODEL_WEAK,
    });
}

TEST(idle_workers_never_all_sleep_with_work_submitted)
{
    holds((model){
        .name = "two workers, one submission",
        .setup = two_workers,
        .thread = {worker_0, worker_1, submit},
        .check = all_asleep_and_nothing_to_do,
        .memory = MODEL_WEAK,
    });
}

TEST(idle_workers_never_all_sleep_with_work_in_a_run_queue)
{
    holds((model){
        .name = "a worker that spawns two, and another",
        .setup = two_workers_that_steal,
        .thread = {spawning_worker, worker_1},
        .check = all_asleep_and_nothing_to_do,
        .memory = MODEL_WEAK,
    });
}

TEST(idle_workers_do_not_sleep_while_others_are_busy_and_have_work)
{
    holds(busy_workers);
}

TEST(idle_workers_sleep_on_work_if_only_the_first_push_wakes)
{
    model m = busy_workers;
    m.setup = three_workers_that_wake_for_the_first_only;
    finds(m);
}

TEST(idle_workers_do_not_sleep_on_spawns_that_were_told_by_a_glance)
{
    holds(suspending_worker);
}

TEST(idle_workers_sleep_on_spawns_that_were_told_by_a_glance_alone) /* [IDLE-2] */
{
    model m = suspending_worker;
    m.setup = two_workers_that_do_not_announce;
    finds(m);
}

TEST(idle_workers_that_do_not_look_again_sleep_on_work)
{
    model m = one_worker_one_submitter;
    m.setup = one_that_does_not_look_again;
    finds(m);
}

TEST(idle_without_its_fences_loses_wake_ups) /* [IDLE-1] [IDLE-2] */
{
    model m = weaken(one_worker_one_submitter, &coil__model_fence, MODEL_RMWS);
    finds(weaken(m, &idle.state, MODEL_RMWS)); /* which the submitter does not write */
}

COIL_TEST_MAIN("idle")
