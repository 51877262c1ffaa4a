/*
 * test_deque.c - fresh spawns (sched/deque.h); all interleavings of it are in tests/model/model_deque.c
 */
#include "sched/deque.h"

#include "crew.h"

enum { CAPACITY = COIL_DEQUE_CAPACITY };

static coil__deque deque;
static coil__node nodes[CAPACITY + 1];

/* The deque has turned often enough that its positions wrap within the ring, and holds nodes[0 .. held - 1]. */
static void fill(size_t held)
{
    coil__deque_init(&deque);
    for (int i = 0; i < CAPACITY - 3; i++) {
        ck_assert(coil__deque_push(&deque, &nodes[0]));
        ck_assert_ptr_eq(coil__deque_steal(&deque), &nodes[0]);
    }
    for (size_t i = 0; i < held; i++)
        ck_assert(coil__deque_push(&deque, &nodes[i]));
    ck_assert_uint_eq(coil__deque_length(&deque), held);
}

TEST(deque_pop_takes_the_newest)
{
    fill(10);
    for (size_t i = 10; i-- > 0;)
        ck_assert_ptr_eq(coil__deque_pop(&deque), &nodes[i]);
    ck_assert_ptr_null(coil__deque_pop(&deque));
}

TEST(deque_steal_takes_the_oldest)
{
    fill(10);
    for (size_t i = 0; i < 10; i++)
        ck_assert_ptr_eq(coil__deque_steal(&deque), &nodes[i]);
    ck_assert_ptr_null(coil__deque_steal(&deque));
}

TEST(deque_pop_and_steal_meet_in_the_middle)
{
    fill(3);
    ck_assert_ptr_eq(coil__deque_steal(&deque), &nodes[0]);
    ck_assert_ptr_eq(coil__deque_pop(&deque), &nodes[2]);
    ck_assert_ptr_eq(coil__deque_pop(&deque), &nodes[1]);
    ck_assert_ptr_null(coil__deque_pop(&deque));
    ck_assert_ptr_null(coil__deque_steal(&deque));
    ck_assert_uint_eq(coil__deque_length(&deque), 0);
}

TEST(deque_that_was_emptied_goes_on)
{
    fill(1);
    ck_assert_ptr_eq(coil__deque_pop(&deque), &nodes[0]);
    ck_assert_ptr_null(coil__deque_pop(&deque));
    ck_assert(coil__deque_push(&deque, &nodes[1]));
    ck_assert_ptr_eq(coil__deque_steal(&deque), &nodes[1]);
}

TEST(deque_takes_no_more_than_its_capacity)
{
    fill(CAPACITY);
    ck_assert(!coil__deque_push(&deque, &nodes[CAPACITY]));
    ck_assert_ptr_eq(coil__deque_steal(&deque), &nodes[0]);
    ck_assert(coil__deque_push(&deque, &nodes[CAPACITY]));
    ck_assert_ptr_eq(coil__deque_pop(&deque), &nodes[CAPACITY]);
    ck_assert_ptr_eq(coil__deque_pop(&deque), &nodes[CAPACITY - 1]);
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

static void push(coil__node *n)
{
    if (!coil__deque_push(&deque, n))
        crew_take(n);
}

/* Few at a time, so that it is the last one that is fought for; now and then more than there is room for. */
static void own(void)
{
    uint64_t seed = 2;
    while (crew_left() > 0) {
        coil__node *n;
        uint32_t burst = crew_random(&seed) % 64 == 0 ? 2 * CAPACITY : crew_random(&seed) % 4;
        for (; burst > 0 && (n = crew_make()) != NULL; burst--)
            push(n);
        for (uint32_t i = crew_random(&seed) % 5; i > 0 && (n = coil__deque_pop(&deque)) != NULL; i--)
            crew_take(n);
        if (crew_made == crew_count)
            sched_yield();
    }
}

static void *thieve(void *arg)
{
    (void)arg;
    while (crew_left() > 0) {
        coil__node *n = coil__deque_steal(&deque);
        if (n)
            crew_take(n);
        else
            sched_yield();
    }
    return NULL;
}

TEST(deque_gives_each_item_to_one_of_three_threads)
{
    pthread_t thieves[2];
    crew_begin(crew_many());
    coil__deque_init(&deque);
    for (int i = 0; i < 2; i++)
        crew_start(&thieves[i], thieve, NULL);
    own();
    for (int i = 0; i < 2; i++)
        pthread_join(thieves[i], NULL);
    crew_end();
}

COIL_TEST_MAIN("deque")
