/*
 * model_roll.c - every interleaving of workers that make and end tasks with a thread that asks for all (src/roll.h)
 *
 * What must hold: whoever asks gets references to tasks that are still there, and finds those that are there from before to
 * after. A task is freed once, by whoever gives the last reference back.
 */
#include "tasks.h"

static _Atomic uint32_t looks; /* that are over */
static bool first_found;       /* by the last look: the first task, which nobody ends unless it is said */

static void rest(void)
{
}

static void end_first(void)
{
    retire(&loops[model_thread()], &tasks[0].task);
}

static void end_second(void)
{
    retire(&loops[model_thread()], &tasks[1].task);
}

static void look_for_all(void)
{
    coil_task *found[TASKS + 1];
    size_t n = look(&loops[0], found, TASKS + 1);
    model_assert(n <= TASKS);
    first_found = false;
    for (size_t i = 0; i < n; i++) {
        first_found |= found[i] == &tasks[0].task.future;
        coil_release(found[i]);
    }
    fetch_add_relaxed(&looks, 1);
}

/* --- setup and outcomes ----------------------------------------------------------------------------------------- */

/* Both have one reference, the loop's. */
static void two_tasks(void)
{
    setup_world();
    model_name(loops[0].lookers);
    model_name(coil__model_fence);
    store_relaxed(&looks, 0);
    for (unsigned i = 0; i < TASKS; i++) {
        setup_task(i, NULL);
        store_relaxed(&tasks[i].task.future.refs, 1);
    }
}

static void both_are_gone(void)
{
    model_assert(load_relaxed(&looks) == 1);
    model_assert(objects_freed == 2);
}

static void the_first_was_found(void)
{
    model_assert(load_relaxed(&looks) == 1);
    model_assert(first_found);
    model_assert(objects_freed == 1);
}

/* --- models ----------------------------------------------------------------------------------------------------- */

static const model ending = {
    .name = "two workers that end a task each, a thread that asks for all",
    .setup = two_tasks,
    .thread = {end_first, end_second, look_for_all},
    .check = both_are_gone,
    .memory = MODEL_WEAK,
};

TEST(who_asks_for_all_tasks_gets_none_that_is_gone)
{
    holds(ending);
}

TEST(a_task_that_stays_is_found)
{
    holds((model){
        .name = "a worker that ends another task, a thread that asks for all",
        .setup = two_tasks,
        .thread = {rest, end_second, look_for_all},
        .check = the_first_was_found,
        .memory = MODEL_WEAK,
    });
}

TEST(without_fences_a_task_goes_while_it_is_looked_at)
{
    finds(weaken(ending, &coil__model_fence, MODEL_RMWS));
}

TEST(without_the_latch_a_task_goes_while_it_is_looked_at)
{
    finds(weaken(ending, &loops[0].tasks_latch, MODEL_MUTEX));
}

COIL_TEST_MAIN("roll")
