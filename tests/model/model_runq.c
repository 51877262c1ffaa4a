/*
 * model_runq.c - every interleaving of an owner and thieves of a run queue of four (sched/runq.h)
 */
#include "sched/runq.h"

#include "items.h"

static coil__runq queue, mine[2];
static coil__list overflown; /* the owner's */

/* The queue has turned three times, and holds @held. */
static void setup(int held)
{
    model_name(queue.head);
    model_name(queue.tail);
    coil__runq_init(&queue);
    coil__runq_init(&mine[0]);
    coil__runq_init(&mine[1]);
    coil__list_init(&overflown);
    items_reset();
    store_relaxed(&queue.head, 3);
    store_relaxed(&queue.tail, 3);
    while (held-- > 0)
        coil__runq_push(&queue, make_item());
}

static void setup_empty(void)
{
    setup(0);
}

static void setup_three(void)
{
    setup(3);
}

static void push(void)
{
    coil__node *n = make_item();
    while (!coil__runq_push(&queue, n)) {
        bool moved = coil__runq_overflow(&queue, &overflown);
        model_assert(moved || coil__runq_length(&queue) < COIL_RUNQ_CAPACITY);
    }
}

static void pop(coil__runq *q)
{
    coil__node *n = coil__runq_pop(q);
    if (n)
        take(n);
}

static void push_and_pop(void)
{
    push();
    push();
    pop(&queue);
    pop(&queue);
}

static void push_two(void)
{
    push();
    push();
}

static void push_three(void)
{
    push();
    push();
    push();
}

static void steal(coil__runq *q)
{
    coil__node *n = coil__runq_steal(&queue, q);
    if (n)
        take(n);
}

static void first_thief(void)
{
    steal(&mine[0]);
}

static void second_thief(void)
{
    steal(&mine[1]);
}

static void steal_twice(void)
{
    steal(&mine[0]);
    steal(&mine[0]);
}

/* Steals, and pops what it has stolen while the other steals that. */
static void steal_and_pop(void)
{
    steal(&mine[0]);
    pop(&mine[0]);
}

static void steal_from_thief(void)
{
    coil__node *n = coil__runq_steal(&mine[0], &mine[1]);
    if (n)
        take(n);
}

static void take_the_rest(void)
{
    coil__runq *const all[] = {&queue, &mine[0], &mine[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (coil__node *n; (n = coil__runq_pop(all[i])) != NULL;)
            take(n);
    }
    take_all(&overflown);
    each_item_was_taken();
}

static const model push_pop_steal = {
    .name = "push, pop and two steals",
    .setup = setup_empty,
    .thread = {push_and_pop, steal_twice},
    .check = take_the_rest,
    .memory = MODEL_WEAK,
};

static const model push_into_full = {
    .name = "three pushes into a queue of three, and a thief",
    .setup = setup_three,
    .thread = {push_three, first_thief},
    .check = take_the_rest,
    .memory = MODEL_WEAK,
};

TEST(runq_gives_each_item_to_one_thread)
{
    holds(push_pop_steal);
}

TEST(runq_gives_each_item_to_one_of_two_thieves)
{
    holds((model){
        .name = "push, pop and two thieves",
        .setup = setup_three,
        .thread = {push_two, first_thief, second_thief},
        .check = take_the_rest,
        .memory = MODEL_WEAK,
    });
}

TEST(runq_that_overflows_loses_nothing)
{
    holds(push_into_full);
}

TEST(runq_of_a_thief_can_be_stolen_from)
{
    holds((model){
        .name = "a thief of a thief",
        .setup = setup_three,
        .thread = {push_and_pop, steal_and_pop, steal_from_thief},
        .check = take_the_rest,
        .memory = MODEL_WEAK,
    });
}

TEST(runq_without_a_release_of_tail_hands_over_old_slots) /* [RQ-1] */
{
    finds(weaken(push_pop_steal, &queue.tail, MODEL_STORES));
}

COIL_TEST_MAIN("runq")
