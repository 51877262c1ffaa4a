/*
 * test_inject.c - the queue that all workers share (sched/inject.h); all interleavings of it are in
 * tests/model/model_inject.c
 */
#include "sched/inject.h"

#include "crew.h"

enum { MANY = 20 };

static coil__inject queue;
static coil__list chain;
static coil__node nodes[MANY];

static void fill(size_t held)
{
    coil__inject_init(&queue);
    coil__list_init(&chain);
    for (size_t i = 0; i < MANY; i++)
        coil__node_init(&nodes[i]);
    for (size_t i = 0; i < held; i++)
        coil__inject_push(&queue, &nodes[i]);
    ck_assert_uint_eq(coil__inject_length(&queue), held);
}

/* The chain is nodes[first .. end - 1]; it is empty afterwards. */
static void expect_chain(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        ck_assert_ptr_eq(coil__list_pop(&chain), &nodes[i]);
    ck_assert(coil__list_empty(&chain));
}

TEST(inject_is_first_in_first_out)
{
    fill(MANY);
    ck_assert_uint_eq(coil__inject_pop(&queue, 1, MANY, &chain), MANY);
    expect_chain(0, MANY);
    coil__inject_fini(&queue);
}

TEST(inject_pop_from_empty_takes_nothing)
{
    fill(0);
    ck_assert_uint_eq(coil__inject_pop(&queue, 1, MANY, &chain), 0);
    expect_chain(0, 0);
    coil__inject_fini(&queue);
}

TEST(inject_pop_takes_a_workers_share)
{
    fill(MANY);
    ck_assert_uint_eq(coil__inject_pop(&queue, 4, MANY, &chain), 6); /* 20 / 4 + 1 */
    expect_chain(0, 6);
    ck_assert_uint_eq(coil__inject_length(&queue), MANY - 6);
    ck_assert_uint_eq(coil__inject_pop(&queue, 4, MANY, &chain), 4); /* 14 / 4 + 1 */
    expect_chain(6, 10);
    ck_assert_uint_eq(coil__inject_pop(&queue, 1, MANY, &chain), 10);
    coil__inject_fini(&queue);
}

TEST(inject_pop_takes_no_more_than_its_limit)
{
    fill(MANY);
    ck_assert_uint_eq(coil__inject_pop(&queue, 1, 3, &chain), 3);
    expect_chain(0, 3);
    ck_assert_uint_eq(coil__inject_pop(&queue, 1, MANY, &chain), MANY - 3);
    coil__inject_fini(&queue);
}

TEST(inject_appends_chains)
{
    fill(1);
    for (size_t i = 1; i < 5; i++)
        coil__list_append(&chain, &nodes[i]);
    coil__inject_push_chain(&queue, &chain, 4);
    ck_assert(coil__list_empty(&chain));
    coil__inject_push_chain(&queue, &chain, 0);
    ck_assert_uint_eq(coil__inject_length(&queue), 5);
    ck_assert_uint_eq(coil__inject_pop(&queue, 1, MANY, &chain), 5);
    expect_chain(0, 5);
    coil__inject_fini(&queue);
}

ABORTS(inject_that_is_not_empty_is_not_to_be_ended)
{
    fill(1);
    coil__inject_fini(&queue);
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

static void push_all(void)
{
    uint64_t seed = 3;
    coil__node *n = crew_make();
    while (n) {
        coil__list burst;
        coil__list_init(&burst);
        size_t count = 0;
        for (uint32_t i = crew_random(&seed) % 10; i > 0 && n; i--, n = crew_make(), count++)
            coil__list_append(&burst, n);
        coil__inject_push_chain(&queue, &burst, count);
        if (n) {
            coil__inject_push(&queue, n);
            n = crew_make();
        }
    }
}

static void *pop_all(void *arg)
{
    (void)arg;
    coil__list mine;
    coil__list_init(&mine);
    while (crew_left() > 0) {
        if (coil__inject_pop(&queue, 3, 100, &mine) == 0)
            sched_yield();
        crew_take_all(&mine);
    }
    return NULL;
}

TEST(inject_gives_each_item_to_one_of_three_threads)
{
    pthread_t poppers[2];
    crew_begin(crew_many());
    coil__inject_init(&queue);
    for (int i = 0; i < 2; i++)
        crew_start(&poppers[i], pop_all, NULL);
    push_all();
    pop_all(NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(poppers[i], NULL);
    coil__inject_fini(&queue);
    crew_end();
}

COIL_TEST_MAIN("inject")
