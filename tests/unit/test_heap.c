/*
 * test_heap.c - the timers' heap: order, ties, removal from anywhere (src/base/heap.h)
 */
#include "base/heap.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "coil_test.h"

enum { MANY = 2000 };

static coil__timer_heap heap;
static coil__heap_slot slot[MANY];
static uint64_t seed = 12345, sequence;

static uint32_t next_random(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static void push(coil__heap_slot *s, int64_t when)
{
    s->when = when;
    s->sequence = ++sequence;
    ck_assert_int_eq(coil__heap_push(&heap, s), 0);
}

static coil__heap_slot *pop(void)
{
    coil__heap_slot *s = heap.entries[0].slot;
    coil__heap_remove(&heap, s);
    ck_assert_uint_eq(s->index, COIL_HEAP_NONE);
    return s;
}

TEST(heap_gives_the_earliest_first)
{
    for (int i = 0; i < MANY; i++)
        push(&slot[i], next_random() % 1000000);
    coil__heap_verify(&heap);
    for (int64_t last = -1; heap.count > 0;) {
        int64_t when = pop()->when;
        ck_assert_int_ge(when, last);
        last = when;
    }
    coil__heap_fini(&heap);
}

TEST(heap_orders_equal_deadlines_by_sequence)
{
    for (int i = 0; i < MANY; i++)
        push(&slot[i], i % 7);
    for (int64_t when = 0; when < 7; when++)
        for (int i = (int)when; i < MANY; i += 7)
            ck_assert_ptr_eq(pop(), &slot[i]);
    coil__heap_fini(&heap);
}

TEST(heap_holds_the_extreme_deadlines)
{
    push(&slot[0], INT64_MAX);
    push(&slot[1], INT64_MIN);
    push(&slot[2], 0);
    ck_assert_ptr_eq(pop(), &slot[1]);
    ck_assert_ptr_eq(pop(), &slot[2]);
    ck_assert_ptr_eq(pop(), &slot[0]);
    coil__heap_fini(&heap);
}

TEST(heap_removes_from_anywhere)
{
    for (int i = 0; i < MANY; i++)
        push(&slot[i], next_random() % 500);
    for (int i = 0; i < MANY; i += 2) {
        coil__heap_remove(&heap, &slot[i]);
        ck_assert_uint_eq(slot[i].index, COIL_HEAP_NONE);
        if (i % 64 == 0)
            coil__heap_verify(&heap);
    }
    coil__heap_verify(&heap);
    ck_assert_uint_eq(heap.count, MANY / 2);
    for (const coil__heap_slot *last = NULL; heap.count > 0;) {
        const coil__heap_slot *s = pop();
        ck_assert_int_eq((s - slot) % 2, 1);
        if (last)
            ck_assert(last->when < s->when || (last->when == s->when && last->sequence < s->sequence));
        last = s;
    }
    coil__heap_fini(&heap);
}

TEST(heap_agrees_with_a_sorted_list_over_random_operations)
{
    for (int i = 0; i < MANY; i++)
        slot[i].index = COIL_HEAP_NONE;
    for (int step = 0; step < 20000; step++) {
        coil__heap_slot *s = &slot[next_random() % 100];
        if (s->index == COIL_HEAP_NONE)
            push(s, next_random() % 50);
        else
            coil__heap_remove(&heap, s);
        const coil__heap_slot *least = NULL;
        for (int i = 0; i < 100; i++) {
            const coil__heap_slot *c = &slot[i];
            if (c->index != COIL_HEAP_NONE &&
                (!least || c->when < least->when || (c->when == least->when && c->sequence < least->sequence)))
                least = c;
        }
        ck_assert_ptr_eq(heap.count ? heap.entries[0].slot : NULL, least);
    }
    coil__heap_verify(&heap);
    coil__heap_fini(&heap);
}

TEST(heap_push_without_memory_changes_nothing)
{
    coil__alloc_fail_at(1);
    ck_assert_int_eq(coil__heap_push(&heap, &slot[0]), -ENOMEM);
    ck_assert_uint_eq(heap.count, 0);
    push(&slot[0], 1);
    while (heap.count < heap.capacity)
        push(&slot[heap.count], heap.count);
    slot[MANY - 1].index = COIL_HEAP_NONE;
    uint32_t count = heap.count;
    coil__alloc_fail_at(1);
    ck_assert_int_eq(coil__heap_push(&heap, &slot[MANY - 1]), -ENOMEM);
    ck_assert_uint_eq(slot[MANY - 1].index, COIL_HEAP_NONE);
    ck_assert_uint_eq(heap.count, count);
    coil__heap_verify(&heap);
    coil__heap_fini(&heap);
}

TEST(heap_fini_lets_go_of_what_it_held)
{
    push(&slot[0], 1);
    push(&slot[1], 2);
    coil__heap_fini(&heap);
    ck_assert_uint_eq(slot[0].index, COIL_HEAP_NONE);
    ck_assert_uint_eq(slot[1].index, COIL_HEAP_NONE);
    ck_assert_ptr_null(heap.entries);
}

COIL_TEST_MAIN("heap")
