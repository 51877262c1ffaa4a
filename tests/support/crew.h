/*
 * crew.h - real threads that hand items around: each must be taken exactly once
 *
 * crew_begin(n) makes n items; threads take() them, in whatever way the test is about, until crew_left() is 0.
 */
#ifndef COIL_TEST_CREW_H
#define COIL_TEST_CREW_H

#include <pthread.h>
#include <sched.h>

#include "base/atomic.h"
#include "base/list.h"
#include "base/stack.h"
#include "coil_test.h"

typedef struct crew_item {
    coil__node node;
    int content;          /* plain: ThreadSanitizer sees if it is handed over without synchronisation */
    _Atomic unsigned taken;
} crew_item;

enum { CREW_MANY = 200000, CREW_MANY_ON_VALGRIND = 10000 };

static crew_item *crew_items;
static _Atomic size_t crew_remaining;
static size_t crew_count, crew_made;

static inline size_t crew_many(void)
{
    return coil__under_valgrind() ? CREW_MANY_ON_VALGRIND : CREW_MANY;
}

static inline void crew_begin(size_t n)
{
    crew_items = calloc(n, sizeof *crew_items);
    ck_assert_ptr_nonnull(crew_items);
    crew_count = n;
    crew_made = 0;
    store_relaxed(&crew_remaining, n);
}

/* The next item; NULL: all were made. In one thread only. */
static inline coil__node *crew_make(void)
{
    if (crew_made == crew_count)
        return NULL;
    crew_item *it = &crew_items[crew_made++];
    coil__node_init(&it->node);
    it->content = 42;
    return &it->node;
}

static inline void crew_take(coil__node *n)
{
    crew_item *it = coil_container_of(n, crew_item, node);
    ck_assert_int_eq(it->content, 42);
    ck_assert_uint_eq(fetch_add_relaxed(&it->taken, 1), 0);
    fetch_sub_acq_rel(&crew_remaining, 1);
}

static COIL_TEST_UNUSED void crew_take_all(coil__list *chain)
{
    while (!coil__list_empty(chain))
        crew_take(coil__list_pop(chain));
}

static inline size_t crew_left(void)
{
    return load_acquire(&crew_remaining);
}

static inline void crew_end(void)
{
    ck_assert_uint_eq(crew_left(), 0);
    for (size_t i = 0; i < crew_count; i++)
        ck_assert_uint_eq(load_relaxed(&crew_items[i].taken), 1);
    free(crew_items);
}

/* Random numbers that are the same in each run; each thread has a state of its own. */
static COIL_TEST_UNUSED uint32_t crew_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

static inline void crew_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    ck_assert_int_eq(pthread_create(thread, NULL, fn, arg), 0);
}

#endif
