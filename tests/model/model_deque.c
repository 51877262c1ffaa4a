/*
 * model_deque.c - every interleaving of an owner and thieves of a deque of four (sched/deque.h)
 */
#include "sched/deque.h"

#include "items.h"

static coil__deque deque;

/* The deque has turned three times, and holds @held. */
static void setup(int held)
{
    model_name(deque.top);
    model_name(deque.bottom);
    coil__deque_init(&deque);
    items_reset();
    store_relaxed(&deque.top, 3);
    store_relaxed(&deque.bottom, 3);
    while (held-- > 0)
        coil__deque_push(&deque, make_item());
}

static void setup_empty(void)
{
    setup(0);
}

static void setup_two(void)
{
    setup(2);
}

static void setup_full(void)
{
    setup(COIL_DEQUE_CAPACITY);
}

static void push(void)
{
    coil__node *n = make_item();
    if (!coil__deque_push(&deque, n))
        take(n); /* as if it had gone to the injection queue */
}

static void pop(void)
{
    coil__node *n = coil__deque_pop(&deque);
    if (n)
        take(n);
}

static void steal(void)
{
    coil__node *n = coil__deque_steal(&deque);
    if (n)
        take(n);
}

static void push_and_pop(void)
{
    push();
    push();
    pop();
    pop();
}

static void pop_push_pop(void)
{
    pop();
    push();
    pop();
}

static void pop_twice(void)
{
    pop();
    pop();
}

static void push_twice(void)
{
    push();
    push();
}

static void steal_twice(void)
{
    steal();
    steal();
}

static void take_the_rest(void)
{
    for (coil__node *n; (n = coil__deque_pop(&deque)) != NULL;)
        take(n);
    each_item_was_taken();
}

static const model push_pop_steal = {
    .name = "push, pop and two steals",
    .setup = setup_empty,
    .thread = {push_and_pop, steal_twice},
    .check = take_the_rest,
    .memory = MODEL_WEAK,
};

static const model last_node = {
    .name = "two pops, and two thieves",
    .setup = setup_two,
    .thread = {pop_twice, steal, steal},
    .check = take_the_rest,
    .memory = MODEL_WEAK,
};

TEST(deque_gives_each_item_to_one_thread)
{
    holds(push_pop_steal);
}

TEST(deque_gives_its_last_nodes_to_one_of_three)
{
    holds(last_node);
}

TEST(deque_that_was_emptied_goes_on)
{
    holds((model){
        .name = "pop, push, pop, and three steals",
        .setup = setup_two,
        .thread = {pop_push_pop, steal_twice, steal},
        .check = take_the_rest,
        .memory = MODEL_WEAK,
    });
}

TEST(deque_that_is_full_reuses_no_slot_too_early)
{
    holds((model){
        .name = "two pushes into a full deque, and two thieves",
        .setup = setup_full,
        .thread = {push_twice, steal, steal},
        .check = take_the_rest,
        .memory = MODEL_WEAK,
    });
}

TEST(deque_without_a_release_of_bottom_hands_over_old_slots) /* [DQ-1] */
{
    finds(weaken(push_pop_steal, &deque.bottom, MODEL_STORES));
}

TEST(deque_whose_pop_does_not_wait_for_its_store_gives_the_last_node_twice) /* [DQ-3] */
{
    finds(weaken(last_node, &deque.bottom, MODEL_RMWS));
}

TEST(deque_whose_pop_does_not_wait_for_its_store_fails_on_x86_too) /* [DQ-3] */
{
    model m = weaken(last_node, &deque.bottom, MODEL_RMWS);
    m.memory = MODEL_TSO;
    finds(m);
}

COIL_TEST_MAIN("deque")
