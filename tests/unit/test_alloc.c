/*
 * test_alloc.c - the allocator's front: object cache and injected failures (src/base/alloc.h)
 */
#include "base/alloc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "coil_test.h"

#include "base/depot.h"

TEST(strdup_copies_the_text)
{
    const char text[] = "a task's name";
    char *copy = coil__strdup(text);
    ck_assert_ptr_ne(copy, text);
    ck_assert_str_eq(copy, text);
    coil__free(copy);
}

TEST(calloc_gives_zeroes)
{
    unsigned char *p = coil__calloc(1000);
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(p[i], 0);
    coil__free(p);
}

TEST(free_accepts_null)
{
    coil__free(NULL);
    coil__object_free(NULL, 100);
}

TEST(objects_of_all_sizes_are_whole_and_aligned)
{
    unsigned char *p[COIL_OBJECT_BYTES_MAX + 1];
    for (int round = 0; round < 3; round++) {
        for (size_t n = 1; n <= COIL_OBJECT_BYTES_MAX; n++) {
            p[n] = coil__object_alloc(n);
            ck_assert_uint_eq((uintptr_t)p[n] % 16, 0);
            memset(p[n], (int)(n % 251), n);
        }
        for (size_t n = 1; n <= COIL_OBJECT_BYTES_MAX; n++) {
            ck_assert_uint_eq(p[n][0], n % 251);
            ck_assert_uint_eq(p[n][n - 1], n % 251);
            coil__object_free(p[n], n);
        }
    }
}

#ifndef COIL_PLAIN_OBJECTS

TEST(object_freed_last_is_allocated_first)
{
    void *a = coil__object_alloc(200), *b = coil__object_alloc(200);
    coil__object_free(a, 200);
    coil__object_free(b, 200);
    ck_assert_ptr_eq(coil__object_alloc(200), b);
    ck_assert_ptr_eq(coil__object_alloc(193), a); /* the same class */
    coil__object_free(a, 193);
    coil__object_free(b, 200);
}

#endif

enum { HANDED_OVER = 10000 }; /* more than a thread's cache holds */

static void *handed_over[HANDED_OVER];

static void *free_them_all(void *unused)
{
    (void)unused;
    for (int i = 0; i < HANDED_OVER; i++)
        coil__object_free(handed_over[i], 64);
    void *again = coil__object_alloc(64);
    coil__object_free(again, 64);
    return NULL;
}

TEST(objects_may_be_freed_on_another_thread)
{
    pthread_t thread;
    for (int i = 0; i < HANDED_OVER; i++)
        handed_over[i] = coil__object_alloc(64);
    ck_assert_int_eq(pthread_create(&thread, NULL, free_them_all, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

#ifndef COIL_PLAIN_OBJECTS

enum { PASSED_ON = 4 * COIL__MAGAZINE };

static void *passed_on[PASSED_ON];

/* Frees what it is given, and lives on: its cache is not emptied. */
static void *free_and_stay(void *barrier)
{
    for (int i = 0; i < PASSED_ON; i++)
        coil__object_free(passed_on[i], 400);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

TEST(what_another_thread_has_freed_is_used_again)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < PASSED_ON; i++)
        passed_on[i] = coil__object_alloc(400);
    ck_assert_int_eq(pthread_create(&thread, NULL, free_and_stay, &barrier), 0);
    pthread_barrier_wait(&barrier);
    qsort(passed_on, PASSED_ON, sizeof *passed_on, by_address);
    static void *again[PASSED_ON];
    int old = 0;
    for (int i = 0; i < PASSED_ON; i++) {
        again[i] = coil__object_alloc(400);
        old += bsearch(&again[i], passed_on, PASSED_ON, sizeof *passed_on, by_address) != NULL;
    }
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    ck_assert_int_ge(old, PASSED_ON - 3 * COIL__MAGAZINE); /* but for two magazines that its cache keeps, and a part of one */
    for (int i = 0; i < PASSED_ON; i++)
        coil__object_free(again[i], 400);
    pthread_barrier_destroy(&barrier);
}

static void *allocate_one(void *place)
{
    *(void **)place = coil__object_alloc(400);
    return NULL;
}

/* Under valgrind: what a thread has taken from the others, and never needed, is not lost with it. */
TEST(a_thread_that_only_allocates_leaves_nothing_behind)
{
    enum { OBJECTS = 4 * COIL__MAGAZINE };
    static void *p[OBJECTS];
    void *last = NULL;
    pthread_t thread;
    for (int i = 0; i < OBJECTS; i++)
        p[i] = coil__object_alloc(400);
    for (int i = 0; i < OBJECTS; i++)
        coil__object_free(p[i], 400);
    ck_assert_int_eq(pthread_create(&thread, NULL, allocate_one, &last), 0);
    pthread_join(thread, NULL);
    qsort(p, OBJECTS, sizeof *p, by_address);
    ck_assert_ptr_nonnull(bsearch(&last, p, OBJECTS, sizeof *p, by_address)); /* it has come from the depot */
    coil__object_free(last, 400);
}

#endif

TEST(the_nth_next_allocation_fails_and_only_that)
{
    coil__alloc_fail_at(3);
    void *a = coil__malloc(10), *b = coil__object_alloc(10), *c = coil__calloc(10), *d = coil__malloc(10);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_null(c);
    ck_assert_ptr_nonnull(d);
    coil__free(a);
    coil__object_free(b, 10);
    coil__free(d);
}

TEST(an_injected_failure_hits_cached_objects_too)
{
    coil__object_free(coil__object_alloc(48), 48);
    coil__alloc_fail_at(1);
    ck_assert_ptr_null(coil__object_alloc(48));
    coil__alloc_fail_at(1);
    ck_assert_ptr_null(coil__strdup("x"));
    coil__alloc_fail_at(0);
    void *p = coil__object_alloc(48);
    ck_assert_ptr_nonnull(p);
    coil__object_free(p, 48);
}

TEST(a_failed_realloc_leaves_the_memory_alone)
{
    char *p = coil__strdup("kept");
    coil__alloc_fail_at(1);
    ck_assert_ptr_null(coil__realloc(p, 1000));
    ck_assert_str_eq(p, "kept");
    coil__free(p);
}

COIL_TEST_MAIN("alloc")
