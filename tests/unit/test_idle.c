/*
 * test_idle.c - who searches, who is parked, whom to wake (sched/idle.h); all interleavings of it are in
 * tests/model/model_idle.c
 */
#include "sched/idle.h"

#include <semaphore.h>

#include "crew.h"
#include "sched/inject.h"

static coil__idle idle;

TEST(idle_lets_half_of_the_workers_search)
{
    coil__idle_init(&idle, 4);
    ck_assert(coil__idle_begin_search(&idle));
    ck_assert(coil__idle_begin_search(&idle));
    ck_assert(!coil__idle_begin_search(&idle));
    coil__idle_end_search(&idle);
    ck_assert(coil__idle_begin_search(&idle));
    coil__idle_fini(&idle);
}

TEST(idle_lets_the_only_worker_search)
{
    coil__idle_init(&idle, 1);
    ck_assert(coil__idle_begin_search(&idle));
    coil__idle_fini(&idle);
}

TEST(idle_tells_the_last_searcher_to_wake_another)
{
    coil__idle_init(&idle, 4);
    coil__idle_begin_search(&idle);
    coil__idle_begin_search(&idle);
    ck_assert(!coil__idle_end_search(&idle));
    ck_assert(coil__idle_end_search(&idle));
    coil__idle_fini(&idle);
}

TEST(idle_tells_who_parks_when_nobody_searches_to_look_again)
{
    coil__idle_init(&idle, 4);
    coil__idle_begin_search(&idle);
    coil__idle_begin_search(&idle);
    ck_assert(!coil__idle_park(&idle, 0, false));
    ck_assert(!coil__idle_park(&idle, 1, true));
    ck_assert(coil__idle_park(&idle, 2, true));
    ck_assert(coil__idle_park(&idle, 3, false));
    coil__idle_fini(&idle);
}

TEST(idle_picks_nobody_if_nobody_is_parked)
{
    coil__idle_init(&idle, 2);
    ck_assert_int_eq(coil__idle_pick(&idle), -1);
    coil__idle_fini(&idle);
}

TEST(idle_picks_nobody_while_somebody_searches)
{
    coil__idle_init(&idle, 4);
    coil__idle_park(&idle, 0, false);
    coil__idle_begin_search(&idle);
    ck_assert_int_eq(coil__idle_pick(&idle), -1);
    coil__idle_end_search(&idle);
    ck_assert_int_eq(coil__idle_pick(&idle), 0);
    coil__idle_fini(&idle);
}

TEST(idle_picks_one_at_a_time_and_who_parked_last_first)
{
    coil__idle_init(&idle, 3);
    coil__idle_park(&idle, 1, false);
    coil__idle_park(&idle, 2, false);
    coil__idle_park(&idle, 0, false);
    for (int i = 0; i < 3; i++) {
        static const int order[] = {0, 2, 1};
        ck_assert_int_eq(coil__idle_pick(&idle), order[i]);
        ck_assert_int_eq(coil__idle_pick(&idle), -1); /* the one that was picked searches */
        ck_assert(coil__idle_end_search(&idle));
    }
    coil__idle_fini(&idle);
}

TEST(idle_worker_that_wakes_by_itself_is_not_picked)
{
    coil__idle_init(&idle, 3);
    for (unsigned w = 0; w < 3; w++)
        coil__idle_park(&idle, w, false);
    ck_assert(coil__idle_unpark_self(&idle, 1));
    ck_assert_int_eq(coil__idle_pick(&idle), 2);
    coil__idle_end_search(&idle);
    ck_assert_int_eq(coil__idle_pick(&idle), 0);
    coil__idle_end_search(&idle);
    ck_assert_int_eq(coil__idle_pick(&idle), -1);
    coil__idle_fini(&idle);
}

TEST(idle_worker_that_was_picked_is_told_so)
{
    coil__idle_init(&idle, 2);
    coil__idle_park(&idle, 0, false);
    ck_assert_int_eq(coil__idle_pick(&idle), 0);
    ck_assert(!coil__idle_unpark_self(&idle, 0));
    ck_assert(coil__idle_end_search(&idle)); /* it is counted as searching */
    coil__idle_fini(&idle);
}

TEST(idle_knows_when_all_are_parked)
{
    coil__idle_init(&idle, COIL_WORKERS_MAX);
    for (unsigned w = 0; w < COIL_WORKERS_MAX; w++) {
        ck_assert(!coil__idle_all_parked(&idle));
        coil__idle_park(&idle, w, w % 2 == 0 && coil__idle_begin_search(&idle));
    }
    ck_assert(coil__idle_all_parked(&idle));
    coil__idle_pick(&idle);
    ck_assert(!coil__idle_all_parked(&idle));
    coil__idle_fini(&idle);
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

enum { WORKERS = 3 };

static coil__inject inject;
static sem_t wakes[WORKERS];
static _Atomic bool over;

static void wake_one(void)
{
    int worker = coil__idle_pick(&idle);
    if (worker >= 0)
        sem_post(&wakes[worker]);
}

static coil__node *next(void)
{
    coil__list one;
    coil__list_init(&one);
    return coil__inject_pop(&inject, 1, 1, &one) > 0 ? coil__list_pop(&one) : NULL;
}

/* Returns whether it is searching. */
static bool park(unsigned w, bool searching)
{
    if (!coil__idle_park(&idle, w, searching) || coil__inject_length(&inject) == 0)
        while (sem_wait(&wakes[w]) != 0) {
        }
    return !coil__idle_unpark_self(&idle, w);
}

static void *work(void *arg)
{
    unsigned w = (unsigned)(uintptr_t)arg;
    bool searching = false;
    while (!load_acquire(&over)) {
        searching = searching || coil__idle_begin_search(&idle);
        coil__node *n = next();
        if (!n) {
            searching = park(w, searching);
            continue;
        }
        if (searching && coil__idle_end_search(&idle))
            wake_one();
        for (searching = false; n; n = next())
            crew_take(n);
    }
    return NULL;
}

/* Bursts; after each, it waits until all is done, so that the workers are about to park when the next begins. */
static void submit_all(void)
{
    uint64_t seed = 4;
    size_t left = crew_left();
    while (left > 0) {
        for (uint32_t burst = 1 + crew_random(&seed) % 4; burst > 0 && left > 0; burst--, left--) {
            coil__inject_push(&inject, crew_make());
            wake_one();
        }
        while (crew_left() > left) /* for ever, if a wake-up was lost */
            sched_yield();
    }
}

TEST(idle_workers_lose_no_wake_up)
{
    pthread_t threads[WORKERS];
    crew_begin(crew_many() / 10);
    coil__idle_init(&idle, WORKERS);
    coil__inject_init(&inject);
    for (unsigned w = 0; w < WORKERS; w++) {
        sem_init(&wakes[w], 0, 0);
        crew_start(&threads[w], work, (void *)(uintptr_t)w);
    }
    submit_all();
    store_release(&over, true);
    for (unsigned w = 0; w < WORKERS; w++)
        sem_post(&wakes[w]);
    for (unsigned w = 0; w < WORKERS; w++)
        pthread_join(threads[w], NULL);
    coil__inject_fini(&inject);
    coil__idle_fini(&idle);
    crew_end();
}

COIL_TEST_MAIN("idle")
