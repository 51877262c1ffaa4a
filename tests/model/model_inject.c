/*
 * model_inject.c - every interleaving of pushes and pops of the injection queue (sched/inject.h)
 */
#include "sched/inject.h"

#include "items.h"

static coil__inject queue;

static void setup(void)
{
    model_name(queue.length);
    model_name(queue.mutex);
    coil__inject_init(&queue);
    items_reset();
    made = 4;
}

static void push_one(void)
{
    store_relaxed(&items[0].content, 1);
    coil__inject_push(&queue, &items[0].node);
}

static void push_three(void)
{
    coil__list chain;
    coil__list_init(&chain);
    for (int i = 1; i < 4; i++) {
        store_relaxed(&items[i].content, 1);
        coil__list_append(&chain, &items[i].node);
    }
    coil__inject_push_chain(&queue, &chain, 3);
    model_assert(coil__list_empty(&chain));
}

static void pop_share(void)
{
    coil__list chain;
    coil__list_init(&chain);
    size_t n = coil__inject_pop(&queue, 2, 2, &chain);
    model_assert(n <= 2);
    for (size_t i = 0; i < n; i++)
        take(coil__list_pop(&chain));
    model_assert(coil__list_empty(&chain));
}

static void pop_twice(void)
{
    pop_share();
    pop_share();
}

static void take_the_rest(void)
{
    size_t count = 0;
    coil__list_foreach_safe(&queue.nodes, n, next)
        count++;
    model_assert(coil__inject_length(&queue) == count);
    if (coil__inject_length(&queue) != count)
        return;
    coil__list rest;
    coil__list_init(&rest);
    coil__inject_pop(&queue, 1, ITEMS, &rest);
    take_all(&rest);
    model_assert(coil__list_empty(&queue.nodes));
    each_item_was_taken();
}

static const model two_push_one_pops = {
    .name = "two pushers and a popper",
    .setup = setup,
    .thread = {push_one, push_three, pop_twice},
    .check = take_the_rest,
    .memory = MODEL_WEAK,
};

TEST(inject_loses_nothing_of_two_pushers)
{
    holds(two_push_one_pops);
}

TEST(inject_gives_each_item_to_one_popper)
{
    holds((model){
        .name = "two pushers and two poppers",
        .setup = setup,
        .thread = {push_one, push_three, pop_share, pop_share},
        .check = take_the_rest,
        .memory = MODEL_WEAK,
    });
}

TEST(inject_without_its_mutex_loses_items)
{
    finds(weaken(two_push_one_pops, &queue.mutex, MODEL_MUTEX));
}

COIL_TEST_MAIN("inject")
