/*
 * test_stack.c - stacks: sizes, guards, recycling, trimming, overflow reports (src/base/stack.h)
 *
 * A guard is tested by a write(2) from it, which must fail with EFAULT. Reports are read from the standard error of a child
 * that dies of its overflow; under sanitizers, whose handlers are chained to, it ends otherwise than by the signal.
 */
#define _GNU_SOURCE
#include "base/stack.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/coro.h"
#include "dying.h"

#ifdef COIL_VALGRIND
#include <valgrind/valgrind.h>
#define on_valgrind() RUNNING_ON_VALGRIND
#else
#define on_valgrind() 0
#endif

static coil__stack *alloc(size_t bytes)
{
    const char *reason = "no reason";
    coil__stack *s = coil__stack_alloc(bytes, &reason);
    ck_assert_msg(s != NULL, "%s", reason);
    return s;
}

/* Whether the byte can be read, without reading it. */
static bool readable(const char *address)
{
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    ssize_t n = write(fds[1], address, 1);
    bool fault = n < 0 && errno == EFAULT;
    close(fds[0]);
    close(fds[1]);
    ck_assert(n == 1 || fault);
    return n == 1;
}

static size_t usable(const coil__stack *s)
{
    return (size_t)(s->top - s->base);
}

/* --- sizes and guards ------------------------------------------------------------------------------------------------- */

TEST(stack_sizes_are_rounded_up_to_powers_of_two)
{
    size_t unit = coil__stack_round(1);
    ck_assert_uint_ge(unit, COIL_STACK_BYTES_MIN);
    for (size_t bytes = 1; bytes <= 1 << 22; bytes = bytes * 3 / 2 + 1) {
        coil__stack *s = alloc(bytes);
        ck_assert_uint_eq(s->bytes, coil__stack_round(bytes));
        ck_assert_uint_eq(s->bytes & (s->bytes - 1), 0);
        ck_assert_uint_ge(s->bytes, bytes);
        ck_assert_uint_eq((uintptr_t)s->top % 16, 0);
        ck_assert_uint_gt(usable(s), s->bytes / 2);
        ck_assert_uint_lt(usable(s), s->bytes);
        memset(s->top - 4096, 0x5a, 4096);
        memset(s->base, 0x5a, 4096);
        coil__stack_free(s);
    }
}

TEST(stack_beyond_the_largest_size_is_refused_with_a_reason)
{
    const char *reason = NULL;
    ck_assert_ptr_null(coil__stack_alloc(COIL_STACK_BYTES_MAX + 1, &reason));
    ck_assert_ptr_nonnull(reason);
    ck_assert_ptr_null(coil__stack_alloc(SIZE_MAX, NULL));
}

#if !defined(COIL_ASAN) && !defined(COIL_TSAN)

TEST(stack_without_address_space_is_refused_with_a_reason)
{
    const char *reason = NULL;
    coil__stack_free(alloc(1));
    struct rlimit limit = {1 << 20, 1 << 20};
    if (on_valgrind())
        return; /* valgrind lets go of the limit */
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    coil__stack *s = coil__stack_alloc((size_t)1 << 29, &reason);
    if (!s)
        ck_assert_ptr_nonnull(reason);
    else
        coil__stack_free(s); /* an emulator that does not keep the limit */
}

TEST(stack_of_the_largest_size_can_be_had)
{
    coil__stack *s = alloc(COIL_STACK_BYTES_MAX);
    ck_assert_uint_eq(s->bytes, COIL_STACK_BYTES_MAX);
    ck_assert(!readable(s->base - 1));
    coil__stack_free(s);
}

#endif

TEST(stack_has_a_guard_below_and_usable_ends)
{
    enum { COUNT = 200 };
    coil__stack *s[COUNT];
    for (int i = 0; i < COUNT; i++) {
        s[i] = alloc(i % 2 ? 1 : 100000);
        s[i]->base[0] = 1;
        s[i]->top[-1] = 1;
    }
    for (int i = 0; i < COUNT; i++) {
        ck_assert(readable(s[i]->base));
        ck_assert(!readable(s[i]->base - 1));
        ck_assert(!readable(s[i]->base - 4096));
    }
    for (int i = 0; i < COUNT; i++)
        coil__stack_free(s[i]);
}

TEST(stack_guard_survives_going_cold)
{
    coil__stack *s = alloc(1);
    const char *guard = s->base - 1;
    coil__stack_free(s);
    coil__stack_cache_clear();
    s = alloc(1);
    ck_assert_ptr_eq(s->base - 1, guard);
    ck_assert(!readable(guard));
    coil__stack_free(s);
}

TEST(stack_guard_kind_is_known)
{
    const char *kind = coil__stack_guard_kind();
    ck_assert(!strcmp(kind, "MADV_GUARD_INSTALL") || !strcmp(kind, "mprotect"));
}

/* --- recycling -------------------------------------------------------------------------------------------------------- */

TEST(stack_freed_last_is_allocated_first)
{
    coil__stack *a = alloc(65536), *b = alloc(65536), *other = alloc(200000);
    coil__stack_free(a);
    coil__stack_free(other);
    coil__stack_free(b);
    ck_assert_ptr_eq(alloc(65536), b);
    ck_assert_ptr_eq(alloc(65536), a);
    ck_assert_ptr_eq(alloc(200000), other);
}

TEST(stacks_in_use_do_not_overlap)
{
    enum { COUNT = 300 };
    coil__stack *s[COUNT];
    for (int i = 0; i < COUNT; i++) {
        s[i] = alloc(COIL_STACK_BYTES_MIN);
        memset(s[i]->base, i % 256, usable(s[i]));
    }
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq((unsigned char)s[i]->base[0], i % 256);
        ck_assert_int_eq((unsigned char)s[i]->top[-1], i % 256);
    }
    for (int i = 0; i < COUNT; i++)
        coil__stack_free(s[i]);
}

TEST(stack_tops_of_neighbours_differ_within_the_page)
{
    coil__stack *a = alloc(1), *b = alloc(1);
    ck_assert_uint_ne((uintptr_t)a->top % 4096, (uintptr_t)b->top % 4096);
    coil__stack_free(a);
    coil__stack_free(b);
}

TEST(more_stacks_than_the_caches_hold_are_given_back_and_served_again)
{
    enum { COUNT = 9000 };
    static coil__stack *s[COUNT];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++)
            s[i] = alloc(1);
        for (int i = 0; i < COUNT; i++)
            coil__stack_free(s[i]);
    }
    coil__stack_cache_clear();
    coil__stack_free(alloc(1));
}

static void *free_on_thread(void *stack)
{
    coil__stack_free(stack);
    return NULL;
}

TEST(stack_freed_by_a_thread_that_ended_is_used_again)
{
    pthread_t thread;
    coil__stack *s = alloc(1);
    ck_assert_int_eq(pthread_create(&thread, NULL, free_on_thread, s), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_ptr_eq(alloc(1), s);
    coil__stack_free(s);
}

static bool resident(char *address)
{
    unsigned char page = 0;
    ck_assert_int_eq(mincore((void *)((uintptr_t)address & ~(uintptr_t)4095), 4096, &page), 0);
    return page & 1;
}

TEST(stack_memory_of_a_deep_use_is_given_back)
{
    coil__stack *s = alloc(65536);
    memset(s->base, 1, usable(s));
    ck_assert(resident(s->base));
    char *deep = s->base;
    for (int i = 0; i < 64; i++) {
        coil__stack_free(s);
        s = alloc(65536);
        ck_assert_ptr_eq(s->base, deep);
    }
    ck_assert(!resident(deep));
    ck_assert(resident(s->top - 8192)); /* what most use stays */
    coil__stack_free(s);
}

#ifndef COIL_TSAN

TEST(stack_memory_is_given_back_by_a_cleared_cache)
{
    coil__stack *s = alloc(65536), *keeps_the_slab = alloc(65536);
    char *top = s->top - 1;
    *top = 1;
    ck_assert(resident(top));
    coil__stack_free(s);
    coil__stack_cache_clear();
    ck_assert(!resident(top));
    coil__stack_free(keeps_the_slab);
}

#endif

/* --- overflow reports --------------------------------------------------------------------------------------------------- */

static coil__stack *volatile current_stack;
static coil__coro main_coro, coro;

static __attribute__((noinline)) int recurse(int depth)
{
    volatile char frame[256];
    frame[0] = (char)depth;
    int below = depth == INT32_MAX ? 0 : recurse(depth + 1);
    return frame[0] + below;
}

static void overflow(void *unused)
{
    (void)unused;
    recurse(0);
    coil__coro_leave(&coro, &main_coro);
}

static void name_owner(const void *owner, char *buf, size_t size)
{
    strncpy(buf, owner, size - 1);
}

static void run_overflow(const char *name)
{
    ck_assert_int_eq(coil__stack_watch_thread(&current_stack), 0);
    coil__stack *s = alloc(65536);
    if (name) {
        s->overflow_name = name_owner;
        s->owner = name;
    }
    coil__coro_init_thread(&main_coro);
    coil__coro_init(&coro, s, false, overflow, NULL);
    current_stack = s;
    coil__coro_switch(&main_coro, &coro);
}

static void overflow_named(void)
{
    run_overflow("deep thought");
}

static void overflow_nameless(void)
{
    run_overflow(NULL);
}

static void *overflow_thread(void *unused)
{
    (void)unused;
    overflow_named();
    return NULL;
}

static void overflow_on_another_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, overflow_thread, NULL) == 0)
        pthread_join(thread, NULL);
}

static void end_with_42(int sig)
{
    (void)sig;
    _exit(42);
}

static void overflow_with_a_handler(void)
{
    signal(SIGSEGV, end_with_42);
    overflow_named();
}

static void fault_elsewhere(void)
{
    ck_assert_int_eq(coil__stack_watch_thread(&current_stack), 0);
    current_stack = alloc(1);
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile char *)page = 1;
}

static void be_killed(void)
{
    ck_assert_int_eq(coil__stack_watch_thread(&current_stack), 0);
    kill(getpid(), SIGSEGV);
}

static void check_died_of(int status, int sig)
{
#if defined(COIL_ASAN) || defined(COIL_TSAN)
    (void)sig;
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
#else
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), sig);
#endif
}

static const char *expected(const char *who)
{
    static char text[128];
    snprintf(text, sizeof text, "coil: %s overflowed its %zu KiB stack\n", who, coil__stack_round(65536) / 1024);
    return text;
}

TEST(overflow_is_reported_with_the_owners_name)
{
    check_died_of(status_of(overflow_named), SIGSEGV);
    ck_assert_msg(strstr(said, expected("task 'deep thought'")) != NULL, "%s", said);
}

TEST(overflow_is_reported_without_a_name)
{
    check_died_of(status_of(overflow_nameless), SIGSEGV);
    ck_assert_msg(strstr(said, expected("a coroutine")) != NULL, "%s", said);
}

TEST(overflow_is_reported_on_another_thread)
{
    check_died_of(status_of(overflow_on_another_thread), SIGSEGV);
    ck_assert_msg(strstr(said, expected("task 'deep thought'")) != NULL, "%s", said);
}

TEST(overflow_report_chains_to_the_handler_that_was_there)
{
    int status = status_of(overflow_with_a_handler);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 42);
    ck_assert_msg(strstr(said, expected("task 'deep thought'")) != NULL, "%s", said);
}

TEST(fault_outside_a_guard_is_no_overflow)
{
    check_died_of(status_of(fault_elsewhere), SIGSEGV);
    ck_assert_ptr_null(strstr(said, "coil:"));
}

TEST(signal_sent_by_somebody_ends_the_process)
{
    check_died_of(status_of(be_killed), SIGSEGV);
    ck_assert_ptr_null(strstr(said, "coil:"));
}

static char users_stack[1 << 16];

TEST(watching_a_thread_keeps_the_users_alternate_stack)
{
    stack_t now;
    ck_assert_int_eq(sigaltstack(&(stack_t){.ss_sp = users_stack, .ss_size = sizeof users_stack}, NULL), 0);
    ck_assert_int_eq(coil__stack_watch_thread(&current_stack), 0);
    ck_assert_int_eq(sigaltstack(NULL, &now), 0);
    ck_assert_ptr_eq(now.ss_sp, users_stack);
    coil__stack_unwatch_thread();
    ck_assert_int_eq(sigaltstack(NULL, &now), 0);
    ck_assert_ptr_eq(now.ss_sp, users_stack);
    ck_assert_int_eq(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL), 0);
}

static void *watch_and_end(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        if (coil__stack_watch_thread(&current_stack) < 0)
            return "failed";
        coil__stack_unwatch_thread();
    }
    return NULL;
}

TEST(watched_threads_come_and_go)
{
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        void *result;
        ck_assert_int_eq(pthread_create(&thread, NULL, watch_and_end, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        ck_assert_ptr_null(result);
    }
}

COIL_TEST_MAIN("stack")
