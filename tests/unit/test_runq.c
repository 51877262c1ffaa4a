/*
 * test_runq.c - the ring of woken tasks (sched/runq.h); all interleavings of it are in tests/model/model_runq.c
 */
#include "sched/runq.h"

#include "crew.h"

enum { CAPACITY = COIL_RUNQ_CAPACITY };

static coil__runq queue, mine;
static coil__node nodes[CAPACITY + 1];

/* The queue has turned often enough that its positions wrap within the ring, and holds nodes[0 .. held - 1]. */
static void fill(size_t held)
{
    coil__runq_init(&queue);
    coil__runq_init(&mine);
    for (int i = 0; i < CAPACITY - 3; i++) {
        ck_assert(coil__runq_push(&queue, &nodes[0]));
        ck_assert_ptr_eq(coil__runq_pop(&queue), &nodes[0]);
    }
    for (size_t i = 0; i < held; i++)
        ck_assert(coil__runq_push(&queue, &nodes[i]));
}

static void expect(coil__runq *q, size_t first, size_t end)
{
    ck_assert_uint_eq(coil__runq_length(q), end - first);
    for (size_t i = first; i < end; i++)
        ck_assert_ptr_eq(coil__runq_pop(q), &nodes[i]);
    ck_assert_ptr_null(coil__runq_pop(q));
}

TEST(runq_is_first_in_first_out)
{
    fill(10);
    expect(&queue, 0, 10);
}

TEST(runq_takes_no_more_than_its_capacity)
{
    fill(CAPACITY);
    ck_assert(!coil__runq_push(&queue, &nodes[CAPACITY]));
    expect(&queue, 0, CAPACITY);
}

TEST(runq_steal_from_empty_takes_nothing)
{
    fill(0);
    ck_assert_ptr_null(coil__runq_steal(&queue, &mine));
    expect(&mine, 0, 0);
}

TEST(runq_steal_of_one_takes_it)
{
    fill(1);
    ck_assert_ptr_eq(coil__runq_steal(&queue, &mine), &nodes[0]);
    expect(&mine, 0, 0);
    expect(&queue, 0, 0);
}

TEST(runq_steal_takes_the_older_half_rounded_up)
{
    fill(7);
    ck_assert_ptr_eq(coil__runq_steal(&queue, &mine), &nodes[0]);
    expect(&mine, 1, 4);
    expect(&queue, 4, 7);
}

TEST(runq_steal_takes_half_of_a_full_queue)
{
    fill(CAPACITY);
    ck_assert_ptr_eq(coil__runq_steal(&queue, &mine), &nodes[0]);
    expect(&mine, 1, CAPACITY / 2);
    expect(&queue, CAPACITY / 2, CAPACITY);
}

TEST(runq_steal_takes_no_more_than_the_thief_has_room_for)
{
    fill(CAPACITY);
    for (int i = 0; i < CAPACITY - 2; i++)
        ck_assert(coil__runq_push(&mine, &nodes[CAPACITY]));
    ck_assert_ptr_eq(coil__runq_steal(&queue, &mine), &nodes[0]);
    ck_assert_uint_eq(coil__runq_length(&mine), CAPACITY);
    ck_assert_ptr_eq(coil__runq_steal(&queue, &mine), &nodes[3]); /* to run; there is room for none behind it */
    ck_assert_uint_eq(coil__runq_length(&mine), CAPACITY);
    expect(&queue, 4, CAPACITY);
    for (int i = 0; i < CAPACITY - 2; i++)
        ck_assert_ptr_eq(coil__runq_pop(&mine), &nodes[CAPACITY]);
    expect(&mine, 1, 3);
}

TEST(runq_overflow_moves_the_older_half)
{
    fill(CAPACITY);
    coil__list chain;
    coil__list_init(&chain);
    ck_assert(coil__runq_overflow(&queue, &chain));
    for (size_t i = 0; i < CAPACITY / 2; i++)
        ck_assert_ptr_eq(coil__list_pop(&chain), &nodes[i]);
    ck_assert(coil__list_empty(&chain));
    ck_assert(coil__runq_push(&queue, &nodes[CAPACITY]));
    expect(&queue, CAPACITY / 2, CAPACITY + 1);
}

TEST(runq_overflow_of_a_queue_with_room_moves_nothing)
{
    fill(CAPACITY - 1);
    coil__list chain;
    coil__list_init(&chain);
    ck_assert(!coil__runq_overflow(&queue, &chain));
    ck_assert(coil__list_empty(&chain));
    expect(&queue, 0, CAPACITY - 1);
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

static void push(coil__node *n)
{
    coil__list chain;
    coil__list_init(&chain);
    while (!coil__runq_push(&queue, n))
        coil__runq_overflow(&queue, &chain);
    crew_take_all(&chain);
}

/* Bursts of pushes and of pops. */
static void own(void)
{
    uint64_t seed = 1;
    while (crew_left() > 0) {
        coil__node *n;
        for (uint32_t i = crew_random(&seed) % (2 * CAPACITY); i > 0 && (n = crew_make()) != NULL; i--)
            push(n);
        for (uint32_t i = crew_random(&seed) % CAPACITY; i > 0 && (n = coil__runq_pop(&queue)) != NULL; i--)
            crew_take(n);
        if (crew_made == crew_count)
            sched_yield();
    }
}

static void *thieve(void *arg)
{
    coil__runq *q = arg;
    while (crew_left() > 0) {
        coil__node *n = coil__runq_steal(&queue, q);
        if (!n)
            sched_yield();
        for (; n; n = coil__runq_pop(q))
            crew_take(n);
    }
    return NULL;
}

TEST(runq_gives_each_item_to_one_of_three_threads)
{
    static coil__runq of_thief[2];
    pthread_t thieves[2];
    crew_begin(crew_many());
    coil__runq_init(&queue);
    for (int i = 0; i < 2; i++) {
        coil__runq_init(&of_thief[i]);
        crew_start(&thieves[i], thieve, &of_thief[i]);
    }
    own();
    for (int i = 0; i < 2; i++)
        pthread_join(thieves[i], NULL);
    crew_end();
}

COIL_TEST_MAIN("runq")
