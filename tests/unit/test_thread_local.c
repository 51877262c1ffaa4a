/*
 * test_thread_local.c - what the library keeps per thread is looked up anew after a coroutine has moved
 *
 * (src/current.c, src/base/alloc.c, src/base/errno.c, <coil/errno.h>; docs/thread-local.md.) Everything of one test happens
 * in one function with the switches inlined, so that a compiler that keeps an address is caught, in the presets `lto` and
 * `clang-lto` also across files.
 */
#include "base/alloc.h"
#include "current.h"

#include "coil_test.h"
#include "mover.h"

#include <coil/errno.h>

enum { HOPS = 60 };

/* --- the running thread's state ------------------------------------------------------------------------------------------ */

static coil__current_state *arrived_at;

static void note_current(bool home)
{
    (void)home;
    arrived_at = coil__current();
}

static void look_at_current(void)
{
    for (int i = 0; i < HOPS; i++) {
        coil__current_state *before = coil__current();
        ck_assert_ptr_eq(before, arrived_at);
        ck_assert_ptr_eq(coil__current(), before);
        hop();
        ck_assert_ptr_ne(coil__current(), before);
        ck_assert_ptr_eq(coil__current(), arrived_at);
        hop();
        ck_assert_ptr_eq(coil__current(), arrived_at);
    }
}

TEST(current_state_is_that_of_the_thread_that_a_coroutine_has_moved_to)
{
    ck_assert(on_two_threads(look_at_current, note_current));
}

/* --- errors and memory -------------------------------------------------------------------------------------------------- */

static void raise_at_home_look_abroad(void)
{
    int rc = coil_raise(COIL_EUSER(1), "at home");
    for (int i = 0; i < HOPS; i++) {
        hop();
        ck_assert_str_eq(caught(rc), ""); /* outside tasks the current error is the thread's */
        hop();
    }
    ck_assert_str_eq(caught(rc), "at home");
}

TEST(current_error_outside_tasks_stays_with_its_thread)
{
    ck_assert(on_two_threads(raise_at_home_look_abroad, NULL));
}

static void fail_at_home_only(void)
{
    for (int i = 0; i < HOPS; i++) {
        coil__alloc_fail_at(1);
        hop();
        void *memory = coil__malloc(64);
        ck_assert_ptr_nonnull(memory);
        hop();
        ck_assert_ptr_null(coil__malloc(64));
        hop();
        free(memory);
        coil__object_free(coil__object_alloc(64), 64);
        hop();
    }
}

TEST(allocation_uses_the_cache_of_the_thread_that_a_coroutine_has_moved_to)
{
    ck_assert(on_two_threads(fail_at_home_only, NULL));
}

/* --- errno --------------------------------------------------------------------------------------------------------------- */

static int *errno_here;

static void set_errno(bool home)
{
    errno_here = &errno;
    errno = home ? ENOENT : EAGAIN;
}

static void use_errno(void)
{
    for (int i = 0; i < HOPS; i++) {
        int *before = &errno;
        ck_assert_int_eq(errno, ENOENT);
        hop();
        ck_assert_ptr_ne(&errno, before);
        ck_assert_ptr_eq(&errno, errno_here);
        ck_assert_int_eq(errno, EAGAIN); /* the value did not travel */
        errno = EBADF;
        ck_assert_int_eq(errno, EBADF);
        hop();
        ck_assert_ptr_eq(&errno, before);
    }
}

TEST(errno_is_that_of_the_thread_that_a_coroutine_has_moved_to)
{
    ck_assert(on_two_threads(use_errno, set_errno));
}

TEST(errno_by_the_header_is_the_c_librarys)
{
    errno = 0;
    ck_assert_ptr_null(fopen("/nowhere/at/all", "r"));
    ck_assert_int_eq(errno, ENOENT);
    errno = ERANGE;
    ck_assert_str_eq(strerror(errno), strerror(ERANGE));
    ck_assert_int_eq(*__errno_location(), ERANGE);
}

COIL_TEST_MAIN("thread_local")
